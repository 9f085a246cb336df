"""The story: a portal's database is backed up, lost, brought back, and brought to a server that has nothing."""

from __future__ import annotations

import secrets
import subprocess
import sys
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pyrage
import yaml

from tests.demo import documents, portal
from tests.demo.bucket import fresh_bucket
from tests.demo.comparison import Record, differences, record
from tests.demo.documents import NAMESPACE, POLICY
from tests.demo.installation import install
from tests.demo.kubernetes import ClusterError, Document, Kubernetes, condition
from tests.demo.surroundings import ROOT, Surroundings
from tests.demo.telling import Teller

#: Seconds that each thing may take on a slow machine, many times what it takes on a quick one.
DEADLINES = {"operator": 120.0, "namespace gone": 120.0, "ready": 180.0, "backup": 600.0, "restore": 900.0}

RESOURCES = ("backuppolicies.resguardo.dev", "restorerequests.resguardo.dev")


class NotEqual(Exception):
    """The restored database is not the one that was lost; the message has a line for each difference."""


@dataclass
class Story:
    """One telling. Its steps are called in order; each leaves the cluster so that the next can begin."""

    place: Surroundings
    teller: Teller
    megabytes: int
    #: What a person sources to use the cluster by hand.
    env_file: Path
    kubernetes: Kubernetes = field(init=False)
    #: New for each telling: the same request, applied again, would rightly not be carried out again.
    stamp: str = field(default_factory=lambda: datetime.now(UTC).strftime("%Y%m%d-%H%M%S"))

    #: Who can open the backups: the cluster, and somebody who keeps the other one offline.
    cluster_identity: pyrage.x25519.Identity = field(default_factory=pyrage.x25519.Identity.generate, repr=False)
    offline_identity: pyrage.x25519.Identity = field(default_factory=pyrage.x25519.Identity.generate, repr=False)

    def __post_init__(self) -> None:
        self.kubernetes = Kubernetes(NAMESPACE, self.place.environment)

    def tell(self) -> None:
        """All of it. Raises ClusterError, BucketError, NotOurs or NotEqual; what was made stays, to be looked at."""
        self.kubernetes.refuse_unmarked()
        self.teller.chapter("The stage")
        self._clear()
        self._install()
        password = secrets.token_urlsafe(24)
        self._fill(password)
        self._prepare_namespace(password)
        self.teller.chapter("A policy, and a backup")
        with self.teller.step("recording every row, large object, owner, privilege and setting, to compare with later"):
            before = record(self.place.prod_dsn, portal.DATABASE)
            self.teller.say(_in_words(before))
        self._apply_policy()
        self._back_up()
        self.teller.chapter("A disaster, and the database again")
        with self.teller.step("dropping production's database"):
            portal.drop(self.place.prod_dsn, roles=False)
        self._restore(documents.restore_to_prod(self.place, f"dr-{self.stamp}"))
        self._prove(before, self.place.prod_dsn, "production")
        self.teller.chapter("The same on a server that has nothing of it, not even the roles")
        self._restore(documents.restore_to_homolog(self.place, f"homolog-{self.stamp}"))
        self._prove(before, self.place.homolog_dsn, "homolog")
        self._show("get", "restorerequests")
        self._what_next()

    def _clear(self) -> None:
        with self.teller.step("clearing what an earlier demo left: namespace, databases, bucket"):
            gone = DEADLINES["namespace gone"]
            self.kubernetes.kubectl(
                "delete", "namespace", NAMESPACE, "--ignore-not-found", f"--timeout={gone:.0f}s", timeout=gone + 10
            )
            portal.drop(self.place.prod_dsn, roles=True)
            portal.drop(self.place.homolog_dsn, roles=True)
            fresh_bucket(self.place)

    def _install(self) -> None:
        with self.teller.step(f"installing the operator, to serve namespace {NAMESPACE}"):
            self.kubernetes.kubectl("apply", "-f", "-", stdin=_yaml(documents.namespace()))
            install(self.kubernetes, self.place.image, seconds=DEADLINES["operator"])

    def _fill(self, password: str) -> None:
        with self.teller.step(f"filling production with a portal of about {self.megabytes} MB"):
            portal.fill(self.place.prod_dsn, megabytes=self.megabytes, passwords={portal.BACKUP_ROLE: password})
            self.teller.say(f"{portal.size_bytes(self.place.prod_dsn) / 1e6:.0f} MB on disk")

    def _prepare_namespace(self, password: str) -> None:
        with self.teller.step("making the Secrets that the resources name"):
            self.kubernetes.apply(
                *documents.credentials(
                    self.place,
                    backup_role=portal.BACKUP_ROLE,
                    backup_password=password,
                    identity=str(self.cluster_identity),
                ),
                documents.certificate_authorities(self.place),
            )

    def _apply_policy(self) -> None:
        with self.teller.step("applying the policy, and waiting until everything that it needs was tried"):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            recipients = [str(identity.to_public()) for identity in (self.cluster_identity, self.offline_identity)]
            self._file.write_text(_yaml(documents.policy(self.place, recipients)), encoding="utf-8")
            here = documents.policy(self.place, recipients, from_pods=False)
            self._file_here.write_text(_yaml(here), encoding="utf-8")
            self.teller.show(f"cat {self._file.relative_to(ROOT)}", self._file.read_text(encoding="utf-8"))
            command = ["apply", "-f", str(self._file.relative_to(ROOT))]
            self.teller.show(f"kubectl {' '.join(command)}", self.kubernetes.kubectl(*command))
            self._wait_ready()

    def _wait_ready(self) -> None:
        seconds = DEADLINES["ready"]
        command = [
            "wait",
            "--for=condition=Ready",
            f"backuppolicy/{POLICY}",
            "-n",
            NAMESPACE,
            f"--timeout={seconds:.0f}s",
        ]
        try:
            self.teller.show(f"kubectl {' '.join(command)}", self.kubernetes.kubectl(*command, timeout=seconds + 10))
        except ClusterError as error:
            raise ClusterError(f"{error}\n\n{self.kubernetes.explain(RESOURCES[0], POLICY)}") from None

    def _back_up(self) -> None:
        job = f"{POLICY}-by-hand-{self.stamp}"
        with self.teller.step("taking a backup now, rather than at 02:00"):
            command = ["create", "job", f"--from=cronjob/{POLICY}-backup", job, "-n", NAMESPACE]
            self.teller.show(f"kubectl {' '.join(command)}", self.kubernetes.kubectl(*command))
            self.kubernetes.wait(
                RESOURCES[0], POLICY, until="BackedUp", seconds=DEADLINES["backup"], check=_is_backed_up
            )
        self._show("get", "backuppolicies")
        with self.teller.step("listing the bucket from this machine, with no cluster in between"):
            self.teller.show(self._catalog_command(), self._catalog())

    def _restore(self, request: Document) -> None:
        name, host = request["metadata"]["name"], request["spec"]["target"]["postgres"]["connection"]["host"]
        with self.teller.step(f"applying RestoreRequest {name}: the latest good backup, to {host}"):
            self.kubernetes.kubectl("apply", "-f", "-", stdin=_yaml(request))
            done = self.kubernetes.wait(
                RESOURCES[1], name, until="Succeeded", seconds=DEADLINES["restore"], check=_is_restored
            )
            status = done["status"]
            self.teller.say(condition(done, "Succeeded")["message"])
            for check in status.get("checks", []):
                self.teller.say(f"{check['status']:<8} {check['name']}: {check.get('message', '')}")
            for left_out in status.get("omitted", []):
                self.teller.say(f"left out: {left_out}")
            self.teller.say(f"from request to first query: {status.get('recoveryTimeSeconds')} s")

    def _prove(self, before: Record, dsn: str, where: str) -> None:
        with self.teller.step(f"comparing {where}'s database with what was recorded before the disaster"):
            found = differences(before, record(dsn, portal.DATABASE))
            if found:
                raise NotEqual(
                    f"{len(found)} differences between {where}'s database and the one that was lost:\n"
                    + "\n".join(found)
                )
            self.teller.say("equal: " + _in_words(before))

    def _show(self, *arguments: str) -> None:
        command = [*arguments, "-n", NAMESPACE]
        self.teller.show(f"kubectl {' '.join(command)}", self.kubernetes.kubectl(*command))

    @property
    def _file(self) -> Path:
        """The applied policy, left for people to use by hand."""
        return self.env_file.parent / "demo" / "policy.yaml"

    @property
    def _file_here(self) -> Path:
        """The same policy with the bucket's address as this machine knows it, for commands by hand."""
        return self._file.with_name("policy-here.yaml")

    def _catalog_command(self) -> str:
        return f".venv/bin/resguardo catalog -f {self._file_here.relative_to(ROOT)}"

    def _catalog(self) -> str:
        environment = {
            **self.place.environment,
            "AWS_ACCESS_KEY_ID": self.place.s3_access_key,
            "AWS_SECRET_ACCESS_KEY": self.place.s3_secret_key,
            "COLUMNS": "160",
        }
        if self.place.s3_ca:
            environment["AWS_CA_BUNDLE"] = str(self.place.s3_ca)
        done = subprocess.run(
            [str(Path(sys.executable).parent / "resguardo"), "catalog", "-f", str(self._file_here)],
            env=environment, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            raise ClusterError(f"resguardo catalog ended with {done.returncode}: {done.stderr.strip()}")
        return done.stdout

    def _what_next(self) -> None:
        self.teller.chapter(f"All equal, twice, in {self.teller.seconds:.0f} s. The cluster stays up; try")
        keys = 'export AWS_ACCESS_KEY_ID="$RIG_S3_ACCESS_KEY" AWS_SECRET_ACCESS_KEY="$RIG_S3_SECRET_KEY"'
        ca = ' AWS_CA_BUNDLE="$RIG_S3_CA"' if self.place.s3_ca else ""
        for command in (
            f"source {self.env_file.relative_to(ROOT)}; {keys}{ca}",
            f"kubectl describe backuppolicy {POLICY} -n {NAMESPACE}",
            f"kubectl annotate backuppolicy {POLICY} -n {NAMESPACE} --overwrite resguardo.dev/backup-requested-at=$(date -u +%FT%TZ)",
            self._catalog_command(),
            f"kubectl describe restorerequest homolog-{self.stamp} -n {NAMESPACE}",
            "kubectl explain backuppolicy.spec.source.postgres",
            'psql "${RIG_HOMOLOG_DSN%/*}/agepar" -c "SELECT situacao, count(*) FROM portal.peticao GROUP BY 1"',
            "make down",
        ):
            self.teller.say(command)


def _yaml(document: Document) -> str:
    return yaml.safe_dump(document, sort_keys=False, allow_unicode=True)


def _is_backed_up(policy: Document) -> bool:
    backed_up = condition(policy, "BackedUp")
    if backed_up["status"] == "False":
        raise ClusterError(f"{backed_up['reason']}: {backed_up['message']}")
    return bool(backed_up["status"] == "True")


def _is_restored(request: Document) -> bool:
    succeeded = condition(request, "Succeeded")
    if succeeded["status"] == "False":
        raise ClusterError(f"{succeeded['reason']}: {succeeded['message']}")
    return bool(succeeded["status"] == "True")


def _in_words(found: Record) -> str:
    return ", ".join(
        f"{found.count(aspect)} {words}"
        for aspect, words in {
            "table": "tables with all their rows",
            "large object": "large objects",
            "sequence": "sequences",
            "owner": "owners",
            "privilege": "privileges",
            "default privilege": "default privileges",
            "setting": "settings",
            "role": "roles",
            "extension": "extensions",
        }.items()
    )
