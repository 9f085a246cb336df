"""Encryption by the store: what a policy asks for is proven to be in force, or nothing is a backup.

MinIO, with a KMS, does it for real; versitygw takes the headers and stores plain bytes without a word.
"""

from __future__ import annotations

import hashlib
import json
import secrets
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from resguardo.api.errors import EncryptionNotHonoured, KmsKeyNotFound
from resguardo.api.manifest import StoreEncryption
from resguardo.store.s3 import S3Store
from tests.fixtures.minio import KMS_KEY, new_kms_key, run_minio, start_minio
from tests.fixtures.place import Place
from tests.fixtures.s3 import ROOT, S3Server
from tests.fixtures.servers import end

MIB = 1024 * 1024
ARN = f"arn:aws:kms:{KMS_KEY}"
AES: dict[str, Any] = {"type": "AES256"}
KMS: dict[str, Any] = {"type": "aws:kms", "kmsKeyId": KMS_KEY}
WAYS = [
    ("keys of the store's own", AES, StoreEncryption(algorithm="AES256")),
    ("the bucket's key", {"type": "aws:kms"}, StoreEncryption(algorithm="aws:kms", key_id=ARN)),
    ("a key by its id", KMS, StoreEncryption(algorithm="aws:kms", key_id=ARN)),
    ("a key by its ARN", {"type": "aws:kms", "kmsKeyId": ARN}, StoreEncryption(algorithm="aws:kms", key_id=ARN)),
]


def store_of(server: S3Server, bucket: str, sse: dict[str, Any]) -> S3Store:
    spec = server.spec(bucket, prefix="prod").model_dump(by_alias=True, exclude_none=True) | {"sse": sse}
    return S3Store(type(server.spec(bucket)).model_validate(spec), ROOT, None, attempts=3, read_seconds=5)


def send(store: S3Store, key: str, *bodies: bytes) -> StoreEncryption | None:
    upload = store.begin_upload(key)
    start = 0
    for number, body in enumerate(bodies, start=1):
        upload.upload_part(number, body, start=start, sha256=hashlib.sha256(body).digest())
        start += len(body)
    return upload.complete().encryption


class TestAStoreThatDoesIt:
    @pytest.mark.parametrize(("sse", "told"), [way[1:] for way in WAYS], ids=[way[0] for way in WAYS])
    def test_every_write_is_encrypted_and_what_the_store_says_of_it_is_kept(
        self, minio_server: S3Server, minio_bucket: str, sse: dict[str, Any], told: StoreEncryption
    ) -> None:
        store = store_of(minio_server, minio_bucket, sse)
        planted = secrets.token_bytes(64)
        etag = store.put("small", planted)
        store.put("small", planted + b"!", if_match=etag)
        store.put("once", planted, if_absent=True)
        assert send(store, "large", planted + bytes(5 * MIB), planted) == told
        for key in ("small", "once", "large"):
            found = store.head(key)
            assert found is not None
            assert found.encryption == told
        assert store.read_range("large", 0, len(planted)) == planted
        assert store.get("small", max_bytes=100).body == planted + b"!"
        assert not holds(minio_server.folder / minio_bucket, planted)

    def test_without_it_the_bytes_lie_there_as_they_are(self, minio_server: S3Server, minio_bucket: str) -> None:
        store, planted = minio_server.store(minio_bucket), secrets.token_bytes(64)
        store.put("small", planted)
        assert send(store, "large", planted) is None
        assert holds(minio_server.folder / minio_bucket, planted), "else the test above proves nothing"

    def test_the_same_bytes_written_before_encryption_was_asked_for_are_no_conflict(
        self, minio_server: S3Server, minio_bucket: str
    ) -> None:
        etag = minio_server.store(minio_bucket).put("decided", b"purge", if_absent=True)
        assert store_of(minio_server, minio_bucket, KMS).put("decided", b"purge", if_absent=True) == etag

    def test_what_somebody_else_writes_in_between_is_not_ours_to_judge(
        self, minio_server: S3Server, minio_bucket: str
    ) -> None:
        store, other = store_of(minio_server, minio_bucket, AES), minio_server.store(minio_bucket)

        def overwrite(**_: Any) -> None:
            other.put("x", b"theirs")

        store._client.meta.events.register("after-call.s3.PutObject", overwrite)
        store.put("x", b"ours")
        assert other.get("x", max_bytes=10).body == b"theirs"

    @pytest.mark.parametrize("write", ["put", "part"])
    def test_a_key_that_the_kms_does_not_have_is_told_by_its_name(
        self, minio_server: S3Server, minio_bucket: str, write: str
    ) -> None:
        store = store_of(minio_server, minio_bucket, {"type": "aws:kms", "kmsKeyId": "nobody-knows"})
        with pytest.raises(KmsKeyNotFound, match=r"aws:kms with key nobody-knows: correct store\.s3\.sse\.kmsKeyId"):
            store.put("x", b"x") if write == "put" else store.begin_upload("x")
        assert list(store.list("")) == []


class TestAStoreThatDoesNot:
    @pytest.mark.parametrize("sse", [AES, KMS], ids=["AES256", "aws:kms"])
    def test_a_store_that_says_nothing_is_found_out_by_the_first_write(
        self, s3_server: S3Server, s3_bucket: str, sse: dict[str, Any]
    ) -> None:
        store = store_of(s3_server, s3_bucket, sse)
        with pytest.raises(EncryptionNotHonoured, match=f"says nothing of encryption, and {sse['type']} was asked for"):
            store.put("x", b"x")
        upload = store.begin_upload("y")
        with pytest.raises(EncryptionNotHonoured, match="'prod/y'"):
            upload.upload_part(1, b"y", start=0, sha256=hashlib.sha256(b"y").digest())

    def test_a_bucket_key_that_the_store_does_not_know_is_told(self, minio_server: S3Server, minio_bucket: str) -> None:
        with pytest.raises(EncryptionNotHonoured, match="does not say that a bucket key stands between"):
            store_of(minio_server, minio_bucket, {**KMS, "bucketKey": True}).put("x", b"x")

    @pytest.mark.parametrize("sse", [AES, KMS], ids=["AES256", "aws:kms"])
    def test_a_store_without_keys_says_so(self, tmp_path: Path, sse: dict[str, Any]) -> None:
        with run_minio(tmp_path) as server, pytest.raises(EncryptionNotHonoured, match="give it a KMS"):
            store_of(server, server.make_bucket(), sse).put("x", b"x")

    @pytest.mark.parametrize("lie", [{}, {"ServerSideEncryption": "AES256"}, {"SSEKMSKeyId": "arn:aws:kms:other"}])
    @pytest.mark.parametrize(
        ("write", "operation"),
        [("put", "PutObject"), ("put", "HeadObject"), ("parts", "UploadPart"), ("parts", "HeadObject")],
    )
    def test_an_answer_that_says_anything_else_is_believed_at_every_step(
        self, minio_server: S3Server, minio_bucket: str, write: str, operation: str, lie: dict[str, str]
    ) -> None:
        store = store_of(minio_server, minio_bucket, KMS)

        def falsify(parsed: dict[str, Any], **_: Any) -> None:
            for name in ("ServerSideEncryption", "SSEKMSKeyId") if not lie else ():
                parsed.pop(name, None)
            parsed.update(lie)

        store._client.meta.events.register(f"after-call.s3.{operation}", falsify)
        with pytest.raises(EncryptionNotHonoured):
            store.put("x", b"x") if write == "put" else send(store, "x", b"x")


class TestCommands:
    @pytest.fixture
    def minio_place(self, place: Place, minio_server: S3Server, minio_bucket: str) -> Place:
        return replace(place, s3=minio_server, bucket=minio_bucket)

    def test_a_backup_is_encrypted_verified_and_restored(self, minio_place: Place) -> None:
        place = replace(minio_place, store={"sse": KMS})
        policy = place.policy(retention={"daily": "30d"})
        assert place.run("check", "-f", policy)[0].reason == "CheckPassed"
        made, _, _ = place.run("backup", "-f", policy)
        assert made.backup is not None
        for item in place.s3.root.list_objects_v2(Bucket=place.bucket)["Contents"]:
            head = place.s3.root.head_object(Bucket=place.bucket, Key=item["Key"])
            assert head.get("SSEKMSKeyId") == ARN, item["Key"]

        shown = place.start("show", made.backup.id, "-f", policy, "-o", "json")
        told = {"algorithm": "aws:kms", "keyId": ARN}
        assert [entry["storeEncryption"] for entry in json.loads(shown.communicate()[0])["objects"]] == [told] * 3
        verified = place.start("verify", made.backup.id, "-f", policy)
        assert b"whole" in verified.communicate()[0]
        assert verified.returncode == 0
        place.run("retention", "-f", policy)

        place.postgres.execute(f'DROP DATABASE "{place.database}" WITH (FORCE)')
        assert place.run("restore", "-f", place.request("dr"), "-f", policy)[0].reason == "Restored"
        assert place.postgres.query("SELECT count(*) FROM peticoes", database=place.database) == [(50000,)]

    def test_the_buckets_own_default_is_enough_where_nothing_is_asked_and_the_manifest_tells_of_it(
        self, minio_place: Place
    ) -> None:
        rule = {"ApplyServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KMS_KEY}}
        minio_place.s3.root.put_bucket_encryption(
            Bucket=minio_place.bucket,
            ServerSideEncryptionConfiguration={"Rules": [rule]},  # type: ignore[list-item]
        )
        policy = minio_place.policy()
        made, _, _ = minio_place.run("backup", "-f", policy)
        assert made.backup is not None
        shown = minio_place.start("show", "latest", "-f", policy, "-o", "json")
        told = {entry["storeEncryption"]["keyId"] for entry in json.loads(shown.communicate()[0])["objects"]}
        assert told == {ARN}

    def test_a_store_that_does_not_encrypt_is_refused_by_the_check_and_nothing_is_left(self, place: Place) -> None:
        report = replace(place, store={"sse": AES}).fail("check", "-f", replace(place, store={"sse": AES}).policy())
        assert report.reason == "EncryptionNotHonoured"
        assert "says nothing of encryption, and AES256 was asked for" in report.message
        assert place.object_keys() == []
        assert place.uploads() == []

    def test_nothing_is_a_backup_where_the_store_stopped_encrypting(self, place: Place) -> None:
        place.run("check", "-f", place.policy())
        plain = replace(place, store={"sse": AES})
        assert plain.fail("backup", "-f", plain.policy()).reason == "EncryptionNotHonoured"
        place.assert_nothing_is_left()

    def test_an_unknown_key_ends_the_check_and_says_which(self, minio_place: Place) -> None:
        place = replace(minio_place, store={"sse": {"type": "aws:kms", "kmsKeyId": "nobody-knows"}})
        report = place.fail("check", "-f", place.policy())
        assert report.reason == "KmsKeyNotFound"
        assert "nobody-knows" in report.message
        assert place.object_keys() == []

    def test_a_backup_whose_key_is_gone_is_told_as_such_and_not_as_missing(self, place: Place, tmp_path: Path) -> None:
        root = tmp_path / "own"
        (root / "data").mkdir(parents=True)
        process, server = start_minio(root, environment={"MINIO_KMS_SECRET_KEY": new_kms_key("old")})
        try:
            encrypted = replace(
                place, s3=server, bucket=server.make_bucket(), store={"sse": {"type": "aws:kms", "kmsKeyId": "old"}}
            )
            encrypted.run("backup", "-f", encrypted.policy())
        finally:
            end(process)
        process, server = start_minio(root, environment={"MINIO_KMS_SECRET_KEY": new_kms_key("new")})
        try:
            later = replace(encrypted, s3=server, store={})
            report = later.fail("restore", "-f", later.request("dr"), "-f", later.policy())
            assert report.reason == "KmsKeyNotFound"
            assert "cannot be read" in report.message
        finally:
            end(process)


def holds(folder: Path, planted: bytes) -> bool:
    """Whether a file of the server's holds these very bytes."""
    return any(planted in path.read_bytes() for path in folder.rglob("*") if path.is_file())
