"""Credentials with random strings in them, used by good and by failing policies and requests, are found nowhere else.

Processes are read from the node, so this needs the rig, whose node is this machine.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import pyrage
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID
from psycopg import sql

from tests.cluster.traces import logs_by_pod, pod_of, traces_in_cluster
from tests.fixtures.cluster import Cluster, Document, condition, eventually, has_condition
from tests.fixtures.portal import Portal
from tests.fixtures.traces import Processes, finds, plant, plant_key, plant_signature, texts_of_objects

pytestmark = pytest.mark.skipif(
    os.environ.get("CLUSTER") == "current", reason="the processes of pods can be read on the rig's node alone"
)

#: The last characters of each: what shells, URLs, libpq, JSON, YAML and SQL treat specially.
SPECIAL = " '\"\\ %41$HOME;`&é#:@/ "
#: What a key of S3's may hold.
KEY_SPECIAL = "/+="


IDENTITY = pyrage.x25519.Identity.generate()
SIGNING_KEY = Ed25519PrivateKey.generate()
CLIENT_KEY = ec.generate_private_key(ec.SECP256R1())


@dataclass(frozen=True)
class Planted:
    """The secrets by name, and a row that is nobody's business either."""

    backup: str
    restore: str
    wrong_password: str
    access_key: str
    secret_key: str
    wrong_key: str
    #: What opens backups, what signs them, and what proves a client to the database: files that are text as well.
    identity: str
    signing_key: str
    client_key: str
    account_key: str
    sas_token: str
    row: str

    @property
    def credentials(self) -> dict[str, str]:
        return {name: text for name, text in vars(self).items() if name != "row"}


#: A CHECK that looks at another table holds when a row is written, and fails when the table is loaded before the other.
FAILS_WHEN_LOADED = [
    "CREATE TABLE zz_permitidos (v text)",
    """CREATE FUNCTION permitido(t text) RETURNS boolean LANGUAGE sql
       AS 'SELECT EXISTS (SELECT FROM public.zz_permitidos WHERE v = t)'""",
    "CREATE TABLE aa_pessoas (v text CONSTRAINT so_permitidos CHECK (permitido(v)))",
]


#: So that whoever looks at processes now and then meets each of them, on a busy machine too.
KEEPS_PROGRAMS_AT_WORK = (
    "INSERT INTO peticoes (texto, valor) SELECT repeat(md5(n::text), 30), n FROM generate_series(1, 150000) n"
)


@pytest.fixture
def planted(portal: Portal) -> Iterator[Planted]:
    """The portal with roles, an S3 user and Secrets of planted strings in place of the usual ones."""
    found = Planted(
        backup=plant(SPECIAL),
        restore=plant(SPECIAL),
        wrong_password=plant(SPECIAL),
        access_key=plant(""),
        secret_key=plant(KEY_SPECIAL),
        wrong_key=plant(KEY_SPECIAL),
        identity=str(IDENTITY),
        signing_key=SIGNING_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        client_key=CLIENT_KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode(),
        account_key=plant_key(),
        sas_token=plant_signature(),
        row=plant(SPECIAL),
    )
    restorer = sql.Identifier(f"restauro {portal.bucket}")
    with portal.connect() as connection:
        connection.execute(
            sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(portal.role), sql.Literal(found.backup))
        )
        connection.execute(
            sql.SQL("CREATE ROLE {} LOGIN SUPERUSER PASSWORD {}").format(restorer, sql.Literal(found.restore))
        )
    _s3_users(
        portal.cluster, "create-user", "--access", found.access_key, "--secret", found.secret_key, "--role", "admin"
    )
    keys = {"AWS_ACCESS_KEY_ID": found.access_key}
    portal.cluster.apply(
        portal.secret("db-backup", username=portal.role, password=found.backup),
        portal.secret("db-restore", username=f"restauro {portal.bucket}", password=found.restore),
        portal.secret("db-wrong", username=portal.role, password=found.wrong_password),
        portal.secret("backups", **keys, AWS_SECRET_ACCESS_KEY=found.secret_key),
        portal.secret("age-identity", identity=f"{found.identity}\n"),
        portal.secret("signing", **{"signing-key": found.signing_key}),
        portal.secret("client", **{"tls.crt": _certificate(CLIENT_KEY), "tls.key": found.client_key}),
        portal.secret("azure", accountKey=found.account_key, sasToken=found.sas_token),
        portal.secret("s3-wrong", **keys, AWS_SECRET_ACCESS_KEY=found.wrong_key),
    )
    yield found
    _s3_users(portal.cluster, "delete-user", "--access", found.access_key)
    suffix = portal.bucket.removeprefix("test-")
    with portal.connect() as connection:
        for name in portal.databases():
            if suffix in name:
                connection.execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))
        connection.execute(sql.SQL("DROP ROLE {}").format(restorer))


def _certificate(key: ec.EllipticCurvePrivateKey) -> str:
    """One that vouches for itself."""
    name, now = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "resguardo")]), datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    return certificate.public_bytes(Encoding.PEM).decode()


def _s3_users(cluster: Cluster, *arguments: str) -> None:
    root = ["--access", cluster["RIG_S3_ACCESS_KEY"], "--secret", cluster["RIG_S3_SECRET_KEY"]]
    argv = [cluster["RIG_VERSITYGW"], "admin", *root, "--endpoint-url", cluster["RIG_S3_ENDPOINT"], *arguments]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, done.stderr + done.stdout


def _control(portal: Portal, text: str) -> Document:
    """A pod that does all that ours must not do."""
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "control", "namespace": portal.namespace},
        "spec": {
            "restartPolicy": "Never",
            "automountServiceAccountToken": False,
            "securityContext": {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
            "containers": [
                {
                    "name": "control",
                    "image": portal.cluster["RIG_IMAGE"],
                    # Only as long as somebody may want to look; it is told to end.
                    "command": ["sh", "-c", 'echo "$PLANTED"; echo "$PLANTED" >/dev/termination-log; sleep 60', text],
                    "env": [{"name": "PLANTED", "value": text}],
                    "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
                }
            ],
        },
    }


def _play(portal: Portal, planted: Planted) -> None:
    """Good and failing policies and requests, each to its end."""
    cluster, namespace = portal.cluster, portal.namespace

    def ends(kind: str, name: str, what: str, status: str, reason: str | None = None) -> None:
        cluster.wait_for(kind, name, namespace, has_condition(what, status, reason), until="restore done")

    portal.execute(KEEPS_PROGRAMS_AT_WORK)
    cluster.apply(portal.policy())
    ends("bp", "portal", "Ready", "True")
    portal.run_backup("first")
    ends("bp", "portal", "BackedUp", "True")
    cluster.apply(portal.request("good", target={"database": f"{portal.database} 2"}))
    ends("rr", "good", "Succeeded", "True")

    portal.policy_name = "sealed"
    public_key = SIGNING_KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    sealed = {
        "encryption": {"age": {"recipients": [str(IDENTITY.to_public())]}},
        "signing": {"keySecretRef": {"name": "signing"}, "publicKeys": [public_key]},
    }
    by_certificate = {"sslMode": "require", "clientCertificateSecretRef": {"name": "client"}}
    cluster.apply(portal.policy(connection=by_certificate, store={"prefix": "prod/sealed"}, **sealed))
    ends("bp", "sealed", "Ready", "True")
    portal.run_backup("sealed")
    ends("bp", "sealed", "BackedUp", "True")
    opened = {"decryption": {"ageIdentitySecretRef": {"name": "age-identity"}}}
    cluster.apply(portal.request("opened", target={"database": f"{portal.database} 5"}, **opened))
    ends("rr", "opened", "Succeeded", "True")
    portal.policy_name = "portal"

    row = sql.Literal(planted.row)
    portal.execute(*FAILS_WHEN_LOADED)
    with portal.connect(portal.database) as connection:
        for table in ("zz_permitidos", "aa_pessoas"):
            connection.execute(sql.SQL("INSERT INTO {} VALUES ({})").format(sql.Identifier(table), row))
    portal.run_backup("second")
    cluster.wait_for(
        "bp", "portal", namespace, lambda found: found["status"]["inventory"]["backups"] == 2, until="backup done"
    )
    cluster.apply(portal.request("fails", target={"database": f"{portal.database} 3"}))
    ends("rr", "fails", "Succeeded", "False", "RestoreFailed")
    wrong = {"connection": portal.connection("db-wrong"), "database": f"{portal.database} 4"}
    cluster.apply(portal.request("locked-out", target=wrong))
    ends("rr", "locked-out", "Succeeded", "False", "AuthenticationFailed")

    for name, connection, store, reason in [
        ("wrong-password", {"credentialsSecretRef": {"name": "db-wrong"}}, {}, "AuthenticationFailed"),
        ("wrong-key", {}, {"credentials": {"secretRef": {"name": "s3-wrong"}}}, "StoreAccessDenied"),
    ]:
        portal.policy_name = name
        cluster.apply(portal.policy(connection=connection, store={"prefix": f"prod/{name}", **store}))
        ends("bp", name, "Accepted", "False", reason)

    # There is no Azure here: requests are signed, and sent to a server that refuses them, in words that are not Azure's.
    for name, way in [("by-account-key", "accountKeySecretRef"), ("by-signature", "sasTokenSecretRef")]:
        portal.policy_name = name
        policy = portal.policy()
        policy["spec"]["store"] = {
            "azure": {
                "account": "agepar",
                "container": "backups",
                "endpoint": f"{cluster['RIG_POD_S3_ENDPOINT']}/agepar",
                "credentials": {way: {"name": "azure"}},
            }
        }
        cluster.apply(policy)
        ends("bp", name, "Accepted", "False")


def test_planted_secrets_are_found_nowhere_and_the_search_finds_what_is_there(portal: Portal, planted: Planted) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    control = plant(SPECIAL)
    with Processes(pod_of) as processes:
        _play(portal, planted)
        cluster.apply(_control(portal, control))
        eventually(lambda: _assert_sees(processes, control), "object made")
        own = [*cluster.list("pods", namespace), *cluster.list("pods", "resguardo-system")]
    # The control ends, so that its last words are in its status.
    cluster.kubectl("exec", "-n", namespace, "control", "--", "sh", "-c", "kill $(pidof sleep) || kill 1", timeout=30)
    cluster.wait_for("pod", "control", namespace, lambda pod: pod["status"]["phase"] != "Running", until="object made")

    texts = traces_in_cluster(cluster, namespace) | texts_of_objects(portal.objects())
    uids = [pod["metadata"]["uid"] for pod in own]
    for name, seen in (("arguments", processes.arguments), ("environment", processes.environment)):
        texts[name] = "\n".join(text for uid in uids for text in seen[uid])

    # The search finds what is there: the control where it is, and in each other place something that we put there.
    known = {
        "arguments": control, "environment": control, "pods": control, "pods' logs": control,
        "operator's log": portal.bucket.removeprefix("test-"), "events": portal.role, "backuppolicies": portal.role, "restorerequests": portal.role,
        "jobs": portal.bucket, "cronjobs": portal.bucket, "configmaps": "kube-root-ca.crt", "operator's HTTP": "{", "operator's metrics": namespace,
        "bucket's documents": portal.database, "bucket's data": "petição",
    }  # fmt: skip
    assert known.keys() == texts.keys()
    missed = [place for place, text in known.items() if text not in texts[place] and not finds(text, texts[place])]
    assert missed == []
    # and our own programs were caught while they ran
    ran = texts["arguments"]
    assert [tool for tool in ("resguardo", "pg_dump", "pg_restore") if tool not in ran] == []

    # None of the credentials is anywhere
    found = [
        (name, place)
        for name, secret in planted.credentials.items()
        for place, text in texts.items()
        if finds(secret, text)
    ]
    assert found == []
    # nor the row that could not be loaded, but in the data itself and in the log of the pod that could not load it
    assert finds(planted.row, texts["bucket's data"])
    assert [place for place, text in texts.items() if finds(planted.row, text)] == ["pods' logs", "bucket's data"]
    assert [
        name.rsplit("-", 1)[0] for name, text in logs_by_pod(cluster, namespace).items() if finds(planted.row, text)
    ] == ["fails-restore"]
    failed = cluster.get("rr", "fails", namespace)
    assert failed is not None
    assert "so_permitidos" in condition(failed, "Succeeded")["message"]


def _assert_sees(processes: Processes, text: str) -> None:
    for seen in (processes.arguments, processes.environment):
        assert any(finds(text, item) for items in list(seen.values()) for item in list(items))
