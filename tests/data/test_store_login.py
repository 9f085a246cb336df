"""Who a pod is to an S3 store: what the policy names and nothing else, fetched from the cloud where it says so.

Real here: MinIO's AssumeRole and its AssumeRoleWithWebIdentity, which believes the tokens of an issuer that it was told of, as AWS
believes a cluster's; their keys end and carry a token. Played: what AWS' token service alone answers or is asked, and the node's agent
of EKS Pod Identity, which exists in AWS alone; the keys that they give out are those of a user of versitygw, so that what is done
with them is real again.
"""

from __future__ import annotations

import hashlib
import json
import threading
from base64 import urlsafe_b64encode
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import parse_qs

import boto3
import pytest

from resguardo.api.errors import CredentialsMissing, StoreAccessDenied, StoreUnreachable
from resguardo.api.roles import Role
from resguardo.api.store import Store as Spec
from resguardo.jobs.credentials import Credentials
from resguardo.store import s3_login
from resguardo.store.protocol import Store
from tests.fixtures.minio import run_minio
from tests.fixtures.oidc import AUDIENCE, Issuer, run_issuer
from tests.fixtures.s3 import ROOT, AccessKeys, S3Server

ARN = "arn:aws:iam::111122223333:role/resguardo-writer"
KEYS = {"AWS_ACCESS_KEY_ID": ROOT.access_key_id, "AWS_SECRET_ACCESS_KEY": ROOT.secret_access_key}


@dataclass
class Cloud:
    """What gives out keys: the token service, and the agent of a node."""

    url: str
    keys: AccessKeys = ROOT
    #: Status and body in place of keys.
    refusal: tuple[int, str] | None = None
    asked: list[dict[str, str]] = field(default_factory=list)


@pytest.fixture
def cloud() -> Iterator[Cloud]:
    class Handler(BaseHTTPRequestHandler):
        played: ClassVar[Cloud]

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"])).decode()
            asked = {name: values[0] for name, values in parse_qs(body).items()}
            self.played.asked.append(asked | {"signed": str("Authorization" in self.headers)})
            action = asked["Action"]
            credentials = (
                f"<Credentials><AccessKeyId>{self.played.keys.access_key_id}</AccessKeyId><SecretAccessKey>"
                f"{self.played.keys.secret_access_key.replace('&', '&amp;')}</SecretAccessKey>"
                # versitygw would refuse a token that it has not given out itself.
                f"<SessionToken></SessionToken><Expiration>{self._end()}</Expiration></Credentials>"
            )
            self._answer(f"<{action}Response><{action}Result>{credentials}</{action}Result></{action}Response>")

        def do_GET(self) -> None:
            self.played.asked.append({"path": self.path, "token": self.headers["Authorization"]})
            keys = {
                "AccessKeyId": self.played.keys.access_key_id,
                "SecretAccessKey": self.played.keys.secret_access_key,
            }
            self._answer(json.dumps({**keys, "Token": "", "Expiration": self._end()}))

        def _end(self) -> str:
            return (datetime.now(UTC) + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")

        def _answer(self, body: str) -> None:
            status, body = self.played.refusal or (200, body)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body.encode())

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Handler.played = Cloud(f"http://127.0.0.1:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield Handler.played
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def _fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    """No test is given keys that another one fetched, and none waits for a service that is played to be down."""
    s3_login.credentials_of.cache_clear()
    monkeypatch.setattr(s3_login, "ATTEMPTS", 1)


def open_as(
    server: S3Server, bucket: str, credentials: dict[str, Any], folder: Path, environment: dict[str, str], **store: Any
) -> Store:
    body = {"bucket": bucket, "prefix": "prod", "endpoint": server.endpoint, "credentials": credentials, **store}
    return Credentials(folder, environment).open_store(Spec.model_validate({"s3": body}), role=Role.WRITER)


def token(folder: Path, text: str = "a token of Kubernetes") -> str:
    path = folder / "token"
    path.write_text(text)
    return str(path)


ACCOUNT = {"serviceAccountName": "backups-writer"}


@dataclass(frozen=True)
class Cluster:
    """A MinIO that believes the tokens of an issuer, and the role that it knows for them."""

    server: S3Server
    bucket: str
    issuer: Issuer
    role_arn: str

    def token(self, **changes: Any) -> str:
        """As the kubelet writes it into a pod of the account."""
        return self.issuer.token("agepar:backups-writer", **changes)

    def open_in_a_pod(self, folder: Path, *, arn: str = "") -> Store:
        """The store with what EKS' webhook puts into a pod, whose token stands in the folder."""
        given = {"AWS_ROLE_ARN": arn or self.role_arn, "AWS_WEB_IDENTITY_TOKEN_FILE": str(folder / "token")}
        return open_as(self.server, self.bucket, ACCOUNT, folder, given)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    # The name that MinIO gives the one role which this way of logging in has.
    role = urlsafe_b64encode(hashlib.sha1(AUDIENCE.encode(), usedforsecurity=False).digest()).rstrip(b"=").decode()
    with (
        run_issuer() as issuer,
        run_minio(
            tmp_path_factory.mktemp("minio-with-issuer"),
            MINIO_IDENTITY_OPENID_CONFIG_URL=f"{issuer.url}/.well-known/openid-configuration",
            MINIO_IDENTITY_OPENID_CLIENT_ID=AUDIENCE,
            MINIO_IDENTITY_OPENID_ROLE_POLICY="readwrite",
        ) as server,
    ):
        yield Cluster(server, server.make_bucket(), issuer, f"arn:minio:iam:::role/{role}")


class TestAServiceAccountsToken:
    """IRSA, for real: a signed token in a file becomes keys, and what is done with them is done in the bucket."""

    def test_is_exchanged_for_keys_with_which_the_store_is_used(self, cluster: Cluster, tmp_path: Path) -> None:
        token(tmp_path, cluster.token())
        store = cluster.open_in_a_pod(tmp_path)
        store.put("a", b"1")
        upload = store.begin_upload("b")
        upload.upload_part(1, b"2", start=0, sha256=hashlib.sha256(b"2").digest())
        assert upload.complete().bytes == 1
        assert cluster.server.store(cluster.bucket).get("a", max_bytes=1).body == b"1"

    def test_is_read_anew_when_its_keys_are_about_to_end(self, cluster: Cluster, tmp_path: Path) -> None:
        """A backup may take longer than its first keys are good, and Kubernetes changes the token in its place."""
        token(tmp_path, cluster.token(lasts=300))  # less than botocore waits for before it asks again
        store = cluster.open_in_a_pod(tmp_path)
        store.put("a", b"1")
        token(tmp_path, cluster.token(lasts=-60))
        with pytest.raises(StoreAccessDenied, match="Token is expired"):
            store.put("a", b"2")
        token(tmp_path, cluster.token())
        store.put("a", b"3")
        assert store.get("a", max_bytes=1).body == b"3"

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"lasts": -60}, "Token is expired"),
            # The pod's token for the API server.
            ({"aud": ["https://kubernetes.default.svc"]}, "must match configured OpenID Client ID"),
        ],
        ids=["expired", "for somebody else"],
    )
    def test_that_is_no_good_is_refused_and_told_as_that(
        self, cluster: Cluster, tmp_path: Path, changes: dict[str, Any], told: str
    ) -> None:
        self.assert_refused(cluster, tmp_path, cluster.token(**changes), told)

    def test_that_another_cluster_signed_is_refused(self, cluster: Cluster, tmp_path: Path) -> None:
        self.assert_refused(cluster, tmp_path, Issuer(cluster.issuer.url).token("agepar:x"), "verification error")

    def test_of_a_role_that_nobody_knows_is_refused(self, cluster: Cluster, tmp_path: Path) -> None:
        self.assert_refused(cluster, tmp_path, cluster.token(), "is not defined", arn="arn:minio:iam:::role/none")

    @staticmethod
    def assert_refused(cluster: Cluster, folder: Path, text: str, told: str, *, arn: str = "") -> None:
        token(folder, text)
        with pytest.raises(StoreAccessDenied) as raised:
            cluster.open_in_a_pod(folder, arn=arn).put("a", b"1")
        said = str(raised.value)
        assert f"no keys for bucket {cluster.bucket}: AssumeRoleWithWebIdentity is refused (" in said
        assert told in said
        assert "Look at the role's ARN, at its trust policy" in said
        assert text.rsplit(".", maxsplit=1)[-1] not in said, "the token stands in no message"


def test_what_the_token_service_is_asked_for_a_service_accounts_token(
    s3_server: S3Server, s3_bucket: str, cloud: Cloud, tmp_path: Path
) -> None:
    """given what EKS' webhook puts into a pod, when the store is used, then its role's keys are asked for once by all clients"""
    given = {"AWS_ROLE_ARN": ARN, "AWS_WEB_IDENTITY_TOKEN_FILE": token(tmp_path)}
    store = open_as(s3_server, s3_bucket, ACCOUNT, tmp_path, given, stsEndpoint=cloud.url)
    assert cloud.asked == [], "nothing is asked before it is needed"
    store.put("a", b"1")
    upload = store.begin_upload("b")
    upload.abort()
    (asked,) = cloud.asked
    assert (asked["Action"], asked["RoleArn"], asked["WebIdentityToken"]) == (
        "AssumeRoleWithWebIdentity", ARN, "a token of Kubernetes",
    )  # fmt: skip
    assert asked["RoleSessionName"] == "resguardo-writer", "the store's log says who it was"
    assert asked["signed"] == "False"


def test_the_nodes_agent_gives_the_keys_of_a_pod_identity(
    s3_server: S3Server, s3_bucket: str, cloud: Cloud, tmp_path: Path
) -> None:
    given = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": f"{cloud.url}/v1/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": token(tmp_path, "a token\n"),
    }
    store = open_as(s3_server, s3_bucket, ACCOUNT, tmp_path, given)
    store.put("a", b"1")
    assert cloud.asked == [{"path": "/v1/credentials", "token": "a token"}]


def test_a_role_is_assumed_with_its_external_id(
    s3_server: S3Server, s3_bucket: str, cloud: Cloud, tmp_path: Path
) -> None:
    role = {"secretRef": {"name": "keys"}, "assumeRole": {"arn": ARN, "externalId": "agepar/prod"}}
    open_as(s3_server, s3_bucket, role, tmp_path, KEYS, stsEndpoint=cloud.url).put("a", b"1")
    (asked,) = cloud.asked
    assert (asked["Action"], asked["RoleArn"], asked["ExternalId"]) == ("AssumeRole", ARN, "agepar/prod")
    assert asked["signed"] == "True"


def test_a_service_account_assumes_a_further_role(
    s3_server: S3Server, s3_bucket: str, cloud: Cloud, tmp_path: Path
) -> None:
    given = {"AWS_ROLE_ARN": f"{ARN}-base", "AWS_WEB_IDENTITY_TOKEN_FILE": token(tmp_path)}
    role = {**ACCOUNT, "assumeRole": {"arn": ARN}}
    open_as(s3_server, s3_bucket, role, tmp_path, given, stsEndpoint=cloud.url).put("a", b"1")
    assert [(asked["Action"], asked["RoleArn"]) for asked in cloud.asked] == [
        ("AssumeRoleWithWebIdentity", f"{ARN}-base"), ("AssumeRole", ARN),
    ]  # fmt: skip


@dataclass(frozen=True)
class Refused:
    """What the token service says, and what becomes of it."""

    status: int
    code: str
    error: type[Exception]
    told: str


@pytest.mark.parametrize(
    "refused",
    [
        Refused(403, "AccessDenied", StoreAccessDenied, "is refused (AccessDenied: so it is). Look at the role's ARN"),
        # The code that AWS has for it; MinIO's refusals are told above.
        Refused(400, "ExpiredTokenException", StoreAccessDenied, "is refused (ExpiredTokenException: so it is)"),
        Refused(503, "ServiceUnavailable", StoreUnreachable, "failed, again and again (ServiceUnavailable: so it is)"),
    ],
    ids=lambda refused: refused.code,
)
def test_what_the_token_service_refuses_is_told_as_that(
    s3_server: S3Server, s3_bucket: str, cloud: Cloud, tmp_path: Path, refused: Refused
) -> None:
    said = f"<Code>{refused.code}</Code><Message>so it is</Message>"
    cloud.refusal = (refused.status, f"<ErrorResponse><Error>{said}</Error></ErrorResponse>")
    given = {"AWS_ROLE_ARN": ARN, "AWS_WEB_IDENTITY_TOKEN_FILE": token(tmp_path)}
    store = open_as(s3_server, s3_bucket, ACCOUNT, tmp_path, given, stsEndpoint=cloud.url)
    with pytest.raises(refused.error) as raised:
        store.put("a", b"1")
    assert f"no keys for bucket {s3_bucket}: AssumeRoleWithWebIdentity {refused.told}" in str(raised.value)


def test_what_the_nodes_agent_refuses_is_told_as_that(
    s3_server: S3Server, s3_bucket: str, cloud: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_login.ContainerMetadataFetcher, "SLEEP_TIME", 0)
    cloud.refusal = (404, "[ResourceNotFoundException]: no association")
    given = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": cloud.url,
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": token(tmp_path),
    }
    with pytest.raises(StoreAccessDenied, match=r"the node's agent gave none .*no association"):
        open_as(s3_server, s3_bucket, ACCOUNT, tmp_path, given).put("a", b"1")


def test_a_token_file_that_is_no_text_is_refused_and_not_repeated(
    s3_server: S3Server, s3_bucket: str, cloud: Cloud, tmp_path: Path
) -> None:
    file = tmp_path / "token"
    file.write_bytes(b"planted-secret\xff")
    given = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": cloud.url, "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": str(file)}
    with pytest.raises(StoreAccessDenied, match="can't decode byte 0xff") as raised:
        open_as(s3_server, s3_bucket, ACCOUNT, tmp_path, given).put("a", b"1")
    assert "planted" not in str(raised.value)
    assert cloud.asked == []


class TestNothingIsFoundByChance:
    """What botocore's own chain would take."""

    SURROUNDINGS: ClassVar = {"AWS_ROLE_ARN": ARN, "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://127.0.0.1:1/"}

    @pytest.fixture(autouse=True)
    def _environment(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        (tmp_path / "aws").write_text("[default]\naws_access_key_id = nobody\naws_secret_access_key = nothing\n")
        lying_about = {
            **self.SURROUNDINGS,
            "AWS_WEB_IDENTITY_TOKEN_FILE": token(tmp_path),
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_SESSION_TOKEN": "nothing",
            "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "aws"),
            "AWS_PROFILE": "default",
            "AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1",
        }
        for name, value in lying_about.items():
            monkeypatch.setenv(name, value)

    def test_a_policy_with_a_secret_uses_that(self, s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> None:
        for name, text in [("access-key-id", ROOT.access_key_id), ("secret-access-key", ROOT.secret_access_key)]:
            (tmp_path / "store").mkdir(exist_ok=True)
            (tmp_path / "store" / name).write_text(text)
        environment = {**self.SURROUNDINGS, "AWS_SESSION_TOKEN": "of other keys"}
        open_as(s3_server, s3_bucket, {"secretRef": {"name": "keys"}}, tmp_path, environment).put("a", b"1")

    def test_a_pod_that_was_given_nothing_has_nothing(
        self, s3_server: S3Server, s3_bucket: str, tmp_path: Path
    ) -> None:
        for credentials in ({"secretRef": {"name": "keys"}}, ACCOUNT):
            with pytest.raises(CredentialsMissing) as raised:
                open_as(s3_server, s3_bucket, credentials, tmp_path / "empty", {})
        assert "the cloud gave this pod no identity of service account backups-writer" in str(raised.value)
        assert "eks.amazonaws.com/role-arn" in str(raised.value)

    def test_a_token_that_is_not_there_is_named(self, s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> None:
        given = {"AWS_ROLE_ARN": ARN, "AWS_WEB_IDENTITY_TOKEN_FILE": str(tmp_path / "nowhere")}
        with pytest.raises(CredentialsMissing, match="which \\$AWS_WEB_IDENTITY_TOKEN_FILE names, is not there"):
            open_as(s3_server, s3_bucket, ACCOUNT, tmp_path, given)

    def test_by_hand_a_persons_keys_serve_for_a_service_account(
        self, s3_server: S3Server, s3_bucket: str, tmp_path: Path
    ) -> None:
        open_as(s3_server, s3_bucket, ACCOUNT, tmp_path, KEYS).put("a", b"1")


def test_keys_that_end_are_used_with_their_token(minio_server: S3Server, minio_bucket: str, tmp_path: Path) -> None:
    """MinIO's own AssumeRole, at the store's endpoint, which is taken where none is named."""
    role = {"secretRef": {"name": "keys"}, "assumeRole": {"arn": ARN}}
    store = open_as(minio_server, minio_bucket, role, tmp_path, KEYS)
    store.put("a", b"1")
    assert store.get("a", max_bytes=1).body == b"1"
    login = s3_login.AssumedRole(ARN, None, ROOT)
    assert "secret" not in repr(login).replace("secret_access_key", "")


def test_by_hand_a_token_goes_with_the_keys_of_the_same_place(
    minio_server: S3Server, minio_bucket: str, tmp_path: Path
) -> None:
    sts = boto3.client(
        "sts", endpoint_url=minio_server.endpoint, region_name="us-east-1",
        aws_access_key_id=ROOT.access_key_id, aws_secret_access_key=ROOT.secret_access_key,
    )  # fmt: skip
    given = sts.assume_role(RoleArn=ARN, RoleSessionName="test")["Credentials"]
    environment = {
        "AWS_ACCESS_KEY_ID": given["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": given["SecretAccessKey"],
        "AWS_SESSION_TOKEN": given["SessionToken"],
    }
    secret = {"secretRef": {"name": "keys"}}
    open_as(minio_server, minio_bucket, secret, tmp_path, environment).put("a", b"1")
    with pytest.raises(StoreAccessDenied):
        open_as(minio_server, minio_bucket, secret, tmp_path, environment | {"AWS_SESSION_TOKEN": ""}).put("a", b"1")
