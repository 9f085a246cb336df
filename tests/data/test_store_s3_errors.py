"""What goes wrong with a bucket, its keys or the way to it, told as it is; and nothing is believed but the document."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from resguardo.api.errors import BucketNotFound, CredentialsMissing, StoreAccessDenied, StoreError, StoreUnreachable
from resguardo.store.s3 import AccessKeys, S3Store
from tests.fixtures.s3 import ROOT, S3Server
from tests.fixtures.servers import free_port

CALLS = [
    ("put", lambda store: store.put("x", b"1"), "s3:PutObject"),
    ("get", lambda store: store.get("x", max_bytes=1), "s3:GetObject"),
    ("head", lambda store: store.head("x"), "s3:GetObject"),
    ("list", lambda store: list(store.list("")), "s3:ListBucket"),
    ("list_folders", lambda store: list(store.list_folders("")), "s3:ListBucket"),
    ("delete", lambda store: store.delete("x"), "s3:DeleteObject"),
    ("read_range", lambda store: store.read_range("x", 0, 1), "s3:GetObject"),
    ("begin_upload", lambda store: store.begin_upload("x"), "s3:PutObject"),
    ("abort_uploads", lambda store: store.abort_uploads(""), "s3:ListBucketMultipartUploads"),
]


@pytest.mark.parametrize(("name", "call", "action"), CALLS)
def test_a_key_without_rights_is_told_the_action_the_object_and_the_bucket(
    s3_server: S3Server, s3_bucket: str, name: str, call: object, action: str
) -> None:
    s3_server.store(s3_bucket).put("x", b"1")
    store = s3_server.store(s3_bucket, keys=s3_server.make_user())
    with pytest.raises(StoreAccessDenied) as raised:
        call(store)  # type: ignore[operator]
    for word in (action, s3_bucket, "'prod/", s3_server.endpoint):
        assert word in str(raised.value)


@pytest.mark.parametrize(
    "keys",
    [
        AccessKeys("nobody", "x"),
        AccessKeys(ROOT.access_key_id, "not the secret"),
        AccessKeys("Ünïcode".encode().hex(), "é"),
    ],
)
def test_wrong_keys_are_refused_without_showing_the_secret(
    s3_server: S3Server, s3_bucket: str, keys: AccessKeys
) -> None:
    with pytest.raises(StoreAccessDenied, match="refuses the access key") as raised:
        list(s3_server.store(s3_bucket, keys=keys).list(""))
    assert (
        keys.secret_access_key not in str(raised.value).replace(keys.access_key_id, "") or keys.secret_access_key == "x"
    )


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (AccessKeys("", "secret"), "the access key's id is empty"),
        (AccessKeys("id", " "), "the access key's secret is empty"),
        (AccessKeys("id\n", "secret"), "id begins or ends with white space or a line's end"),
        (AccessKeys("id", "secret\n"), "secret begins or ends with white space or a line's end"),
        (AccessKeys("i\nd", "secret"), "holds a character that no HTTP header can carry"),
        (AccessKeys("señor", "secret"), "holds a character that no HTTP header can carry"),
        (AccessKeys("id", "secret", "hush\n"), "session token begins or ends with white space or a line's end"),
        (AccessKeys("id", "secret", "hush\nhush"), "session token holds a character that no HTTP header can carry"),
    ],
)
def test_keys_that_no_request_can_carry_are_refused_before_any_request_and_not_told(
    s3_server: S3Server, keys: AccessKeys, message: str
) -> None:
    with pytest.raises(CredentialsMissing, match=message) as raised:
        s3_server.store("any-bucket", keys=keys)
    assert "hush" not in str(raised.value)


def test_a_secret_stands_in_no_repr() -> None:
    assert "hush" not in repr(AccessKeys("id", "hush"))


@pytest.mark.parametrize(
    ("name", "call", "action"), [call for call in CALLS if call[0] not in {"head", "abort_uploads"}]
)
def test_a_bucket_that_is_not_there_is_named(s3_server: S3Server, name: str, call: object, action: str) -> None:
    with pytest.raises(BucketNotFound, match="there is no bucket no-such-bucket at http://127"):
        call(s3_server.store("no-such-bucket"))  # type: ignore[operator]


def test_nobody_at_the_endpoint_is_unreachable(s3_server: S3Server, s3_bucket: str) -> None:
    store = s3_server.store(s3_bucket, endpoint=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(StoreUnreachable, match=r"no answer to s3:ListBucket .* at http://127"):
        list(store.list(""))


def test_a_server_without_the_tls_that_the_endpoint_promises_is_unreachable(
    s3_server: S3Server, s3_bucket: str
) -> None:
    store = s3_server.store(s3_bucket, endpoint=s3_server.endpoint.replace("http:", "https:"))
    with pytest.raises(StoreUnreachable, match="no trusted TLS"):
        list(store.list(""))


def test_a_ca_file_that_holds_no_certificate_is_an_error_of_the_store(
    s3_server: S3Server, s3_bucket: str, tmp_path: Path
) -> None:
    junk = tmp_path / "ca.crt"
    junk.write_text("no certificate")
    spec = s3_server.spec(s3_bucket, endpoint="https://127.0.0.1:1")
    with pytest.raises(StoreError):
        list(S3Store(spec, ROOT, junk, attempts=1).list(""))


def test_environment_and_configuration_files_are_never_consulted(
    s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = tmp_path / "config"
    config.write_text(
        "[default]\nregion = nowhere\nendpoint_url = http://127.0.0.1:1\ns3 =\n  addressing_style = virtual\n"
    )
    for name, text in {
        "AWS_ACCESS_KEY_ID": "junk",
        "AWS_SECRET_ACCESS_KEY": "junk",
        "AWS_SESSION_TOKEN": "junk",
        "AWS_PROFILE": "no-such-profile",
        "AWS_DEFAULT_REGION": "nowhere",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "AWS_CA_BUNDLE": "/no/such/file",
        "AWS_MAX_ATTEMPTS": "not a number",
        "AWS_RETRY_MODE": "junk",
        "AWS_USE_FIPS_ENDPOINT": "true",
        "AWS_USE_DUALSTACK_ENDPOINT": "true",
        "AWS_REQUEST_CHECKSUM_CALCULATION": "when_supported",
        "AWS_CONFIG_FILE": str(config),
        "AWS_SHARED_CREDENTIALS_FILE": str(config),
        "HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, text)
    store = s3_server.store(s3_bucket)
    store.put("x", b"1")
    assert store.get("x", max_bytes=1).body == b"1"


def test_a_user_with_a_policy_for_one_prefix_can_use_that_prefix_and_no_other(
    s3_server: S3Server, s3_bucket: str
) -> None:
    keys = s3_server.make_user()
    s3_server.root.put_bucket_policy(
        Bucket=s3_bucket,
        Policy=json.dumps(
            {
                "Version": "2012-10-17",
                "Statement": [
                    {
                        "Effect": "Allow",
                        "Principal": {"AWS": [keys.access_key_id]},
                        "Action": ["s3:PutObject", "s3:GetObject"],
                        "Resource": f"arn:aws:s3:::{s3_bucket}/prod/*",
                    }
                ],
            }
        ),
    )
    s3_server.store(s3_bucket, prefix="prod", keys=keys).put("x", b"1")
    with pytest.raises(StoreAccessDenied, match="may not do s3:PutObject on 'homolog/x'"):
        s3_server.store(s3_bucket, prefix="homolog", keys=keys).put("x", b"1")
