"""What is compared: Resguardo, and the standard tools that people would use in its place."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import yaml
from psycopg import sql
from psycopg.conninfo import make_conninfo

from bench.measure import Run, measure
from resguardo.postgres.run import tool
from tests.demo import portal
from tests.fixtures.postgres import PostgresServer
from tests.fixtures.s3 import ROOT as KEYS
from tests.fixtures.s3 import S3Server

#: A run that takes longer is no result.
LIMIT_SECONDS = 900.0
BUCKET = "bench"
POLICY = "bench"


@dataclass
class Bench:
    """One PostgreSQL with the portal's database in it, one bucket, and the files of both sides."""

    postgres: PostgresServer
    s3: S3Server
    folder: Path
    restores: int = 0
    restic_repositories: int = 0
    #: One for each raw restore: the same with what a planner needs to know afterwards, as Resguardo's has.
    raw_restores_analyzed: list[Run] = field(default_factory=list)

    def prepare(self, megabytes: int) -> int:
        """Fill the database and write the documents; gives the database's size in bytes."""
        portal.fill(self.dsn, megabytes=megabytes, locale="C.UTF-8", passwords={})
        self.s3.client().create_bucket(Bucket=BUCKET)
        self.write_policy(POLICY, self.s3)
        return portal.size_bytes(self.dsn)

    def write_policy(self, name: str, s3: S3Server, *, sse: dict[str, str] | None = None, **spec: object) -> Path:
        """A policy of that name, with a prefix of the same, in a bucket that is there; its file."""
        source = {"postgres": {"connection": self._connection(), "pgDump": {"database": portal.DATABASE}}}
        credentials = {"secretRef": {"name": "from-the-environment"}}
        store = {"bucket": BUCKET, "prefix": name, "endpoint": s3.endpoint, "credentials": credentials}
        store |= {"sse": sse} if sse else {}
        path = self.folder / ("policy.yaml" if name == POLICY else f"policy-{name}.yaml")
        document = {"schedule": "@daily", "source": source, "store": {"s3": store}, **spec}
        path.write_text(yaml.safe_dump(_document("BackupPolicy", name, document)))
        return path

    def resguardo_backup(self) -> Run:
        """Dump, census, compression, upload with checksums, manifest."""
        return self.back_up(self.folder / "policy.yaml")

    def back_up(self, policy: Path) -> Run:
        """A backup by that policy."""
        return measure(
            [self._resguardo, "backup", "-f", str(policy)], environment=self._environment, limit_seconds=LIMIT_SECONDS
        )

    def raw_backup(self) -> Run:
        """pg_dump | zstd, into nothing: what no backup can beat by much."""
        return measure(
            [tool("pg_dump"), "-Fc", "-Z0", portal.DATABASE], ["zstd", "-q", "-T0"],
            environment=self._environment, limit_seconds=LIMIT_SECONDS,
        )  # fmt: skip

    def uploaded_backup(self) -> Run:
        """The same pipe into the same bucket: what any backup to a store has to do, with the store on this machine."""
        return measure(
            [tool("pg_dump"), "-Fc", "-Z0", portal.DATABASE], ["zstd", "-q", "-T0"],
            [sys.executable, "-c", _UPLOAD, self.s3.endpoint, BUCKET],
            environment=self._environment, limit_seconds=LIMIT_SECONDS,
        )  # fmt: skip

    def restic_backup(self) -> Run:
        """restic fed by pg_dump, into a new repository each time, so that nothing is there already."""
        self.restic_repositories += 1
        repository = f"s3:{self.s3.endpoint}/{BUCKET}/restic-{self.restic_repositories}"
        environment = {**self._environment, "RESTIC_REPOSITORY": repository, "RESTIC_PASSWORD": "bench",
                       "RESTIC_CACHE_DIR": str(self.folder / "restic")}  # fmt: skip
        measure(["restic", "init", "-q"], environment=environment, limit_seconds=LIMIT_SECONDS)
        return measure(
            [tool("pg_dump"), "-Fc", "-Z0", portal.DATABASE],
            ["restic", "backup", "-q", "--stdin", "--stdin-filename", "agepar.dump"],
            environment=environment, limit_seconds=LIMIT_SECONDS,
        )  # fmt: skip

    def file_backup(self) -> Run:
        """pg_dump | zstd into the file that `raw_restore` reads; not compared."""
        return measure(
            [tool("pg_dump"), "-Fc", "-Z0", portal.DATABASE], ["zstd", "-q", "-T0"],
            environment=self._environment, stdout=self.dump, limit_seconds=LIMIT_SECONDS,
        )  # fmt: skip

    def crontab_backup(self) -> Run:
        """The line that Resguardo replaces: pg_dump | gzip to a file, then a copy to the bucket."""
        archive = self.folder / "crontab.sql.gz"
        dumped = measure(
            [tool("pg_dump"), portal.DATABASE], ["gzip"],
            environment=self._environment, stdout=archive, limit_seconds=LIMIT_SECONDS,
        )  # fmt: skip
        # The same transfer library as `aws s3 cp`, and without that program's time to start.
        copied = measure(
            [sys.executable, "-c", _COPY, self.s3.endpoint, str(archive), BUCKET],
            environment=self._environment, limit_seconds=LIMIT_SECONDS,
        )  # fmt: skip
        archive.unlink()
        return Run(dumped.seconds + copied.seconds, max(dumped.peak_bytes, copied.peak_bytes))

    def resguardo_restore(self) -> Run:
        """Manifest, contents list, verified parts, a new database, ANALYZE, census compared, rename."""
        name = self._new_name()
        path = self.folder / "request.yaml"
        path.write_text(yaml.safe_dump(self._request(name)))
        run = measure(
            [self._resguardo, "restore", "-f", str(path), "-f", str(self.folder / "policy.yaml")],
            environment=self._environment, limit_seconds=LIMIT_SECONDS,
        )  # fmt: skip
        self._drop(name)
        return run

    def raw_restore(self) -> Run:
        """zstd -d | pg_restore from a local file into a database that is there."""
        name = self._new_name()
        with psycopg.connect(self.dsn, autocommit=True) as server:
            server.execute(
                sql.SQL("CREATE DATABASE {} TEMPLATE template0 ENCODING 'UTF8' LOCALE 'C.UTF-8'").format(
                    sql.Identifier(name)
                )
            )
        run = measure(
            ["zstd", "-q", "-d", "-c"], [tool("pg_restore"), "--exit-on-error", "-d", name],
            environment=self._environment, stdin=self.dump, limit_seconds=LIMIT_SECONDS,
        )  # fmt: skip
        analyzed = measure(
            [tool("vacuumdb"), "--analyze-only", "-q", name], environment=self._environment, limit_seconds=LIMIT_SECONDS
        )
        self.raw_restores_analyzed.append(Run(run.seconds + analyzed.seconds, max(run.peak_bytes, analyzed.peak_bytes)))
        self._drop(name)
        return run

    @property
    def dsn(self) -> str:
        """The superuser's."""
        return make_conninfo(
            **{key.lower()[2:]: value for key, value in self._postgres_environment.items()}, dbname="postgres"
        )

    @property
    def dump(self) -> Path:
        """The raw side's file."""
        return self.folder / "raw.dump.zst"

    @property
    def stored_bytes(self) -> int:
        """What the bucket holds of Resguardo's first backup."""
        pages = self.s3.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=f"{POLICY}/backups/")
        sizes: dict[str, int] = {}
        for page in pages:
            for item in page.get("Contents", []):
                backup = item["Key"].split("/")[2]
                sizes[backup] = sizes.get(backup, 0) + item["Size"]
        return next(iter(sizes.values()))

    @property
    def _resguardo(self) -> str:
        return str(Path(sys.executable).parent / "resguardo")

    @property
    def _postgres_environment(self) -> dict[str, str]:
        login = self.postgres.login
        # By loopback on both sides: a policy names a host, never a socket.
        return {
            "PGHOST": "127.0.0.1",
            "PGPORT": str(login.port),
            "PGUSER": login.username,
            "PGPASSWORD": login.password,
        }

    @property
    def _environment(self) -> dict[str, str]:
        return {
            **self._postgres_environment,
            "PATH": os.environ["PATH"],
            "TMPDIR": str(self.folder),
            "LC_ALL": "C.UTF-8",
            "AWS_ACCESS_KEY_ID": KEYS.access_key_id,
            "AWS_SECRET_ACCESS_KEY": KEYS.secret_access_key,
        }

    def _request(self, database: str) -> dict[str, object]:
        target = {"postgres": {"connection": self._connection(), "database": database}}
        return _document("RestoreRequest", database, {"from": {"policyRef": {"name": POLICY}}, "target": target})

    def _connection(self) -> dict[str, object]:
        return {
            "host": "127.0.0.1",
            "port": self.postgres.port,
            "sslMode": "disable",
            "credentialsSecretRef": {"name": "from-the-environment"},
        }

    def _new_name(self) -> str:
        self.restores += 1
        return f"restored-{self.restores}"

    def _drop(self, name: str) -> None:
        self.postgres.drop_database(name)


_COPY = """
import sys, boto3
endpoint, path, bucket = sys.argv[1:]
boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").upload_file(path, bucket, "crontab.sql.gz")
"""


_UPLOAD = """
import sys, boto3
endpoint, bucket = sys.argv[1:]
boto3.client("s3", endpoint_url=endpoint, region_name="us-east-1").upload_fileobj(sys.stdin.buffer, bucket, "raw.dump.zst")
"""


def missing_tools() -> list[str]:
    """Programs of the raw sides that are not here."""
    return [name for name in ("zstd", "gzip", "restic") if shutil.which(name) is None]


def _document(kind: str, name: str, spec: dict[str, object]) -> dict[str, object]:
    return {"apiVersion": "resguardo.dev/v1alpha1", "kind": kind, "metadata": {"name": name}, "spec": spec}
