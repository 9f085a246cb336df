"""Encryption by the store: what a policy asks for is proven to be in force, or nothing is a backup.

MinIO, with a KMS, does it for real; versitygw takes the headers and stores plain bytes without a word.
"""

from __future__ import annotations

import hashlib
import json
import os
import secrets
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from resguardo.api import s3 as spec
from resguardo.api.errors import (
    EncryptionNotHonoured,
    KmsKeyNotFound,
    ObjectLockNotHonoured,
    StoreAccessDenied,
    WriteConflict,
)
from resguardo.api.manifest import Manifest, StoreEncryption
from resguardo.api.roles import Role
from resguardo.rules.locks import Lock
from resguardo.store.catalogue import commit_manifest
from resguardo.store.ownership import probe_conditional_writes
from resguardo.store.s3 import S3Store
from tests.fixtures.history import manifest_of
from tests.fixtures.minio import KMS_KEY, assume, new_kms_key, run_minio, start_minio
from tests.fixtures.place import Place
from tests.fixtures.s3 import ROOT, AccessKeys, S3Server
from tests.fixtures.s3_proxy import Harm, run_proxy
from tests.fixtures.s3_roles import IamServer, documented
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


def store_of(
    server: S3Server, bucket: str, sse: dict[str, Any], *, keys: AccessKeys = ROOT, endpoint: str | None = None
) -> S3Store:
    document = server.spec(bucket, prefix="prod", endpoint=endpoint).model_dump(by_alias=True, exclude_none=True)
    return S3Store(spec.S3Store.model_validate({**document, "sse": sse}), keys, None, attempts=3, read_seconds=5)


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
        [
            ("put", "PutObject"),
            ("put", "HeadObject"),
            ("parts", "UploadPart"),
            ("parts", "HeadObject"),
            ("parts", "CompleteMultipartUpload"),
        ],
    )
    def test_an_answer_that_says_anything_else_is_believed_at_every_step(
        self, minio_server: S3Server, minio_bucket: str, write: str, operation: str, lie: dict[str, str]
    ) -> None:
        store = store_of(minio_server, minio_bucket, KMS)

        def falsify(parsed: dict[str, Any], **_: Any) -> None:
            for name in ("ServerSideEncryption", "SSEKMSKeyId") if not lie else ():
                parsed.pop(name, None)
            parsed.update(lie)

        for client in (store._client, store._patient_client):
            client.meta.events.register(f"after-call.s3.{operation}", falsify)
        if operation == "CompleteMultipartUpload" and not lie:
            # As MinIO's says of itself: its silence takes nothing back.
            assert send(store, "x", b"x") == StoreEncryption(algorithm="aws:kms", key_id=ARN)
            return
        with pytest.raises(EncryptionNotHonoured):
            store.put("x", b"x") if write == "put" else send(store, "x", b"x")


class TestTheCheck:
    """What an upload of several parts would meet in the night, it meets."""

    @pytest.mark.parametrize("may_delete", [True, False])
    @pytest.mark.parametrize("operation", ["UploadPart", "CompleteMultipartUpload", "HeadObject"])
    def test_a_store_that_encrypts_small_objects_alone_is_refused(
        self, minio_server: S3Server, minio_bucket: str, operation: str, may_delete: bool
    ) -> None:
        keys = ROOT if may_delete else assume(minio_server, *documented(Role.WRITER, minio_bucket))
        store = store_of(minio_server, minio_bucket, AES, keys=keys)

        def falsify(parsed: dict[str, Any], **_: Any) -> None:
            if operation != "HeadObject" or "-2" in parsed.get("ETag", ""):
                parsed["ServerSideEncryption"] = "none"

        for client in (store._client, store._patient_client):
            client.meta.events.register(f"after-call.s3.{operation}", falsify)
        with pytest.raises(EncryptionNotHonoured, match=r"encrypts by none.*probe.*\.upload"):
            probe_conditional_writes(store)
        if may_delete:
            assert list(store.list("")) == []
        assert "Uploads" not in minio_server.root.list_multipart_uploads(Bucket=minio_bucket)


class TestAWriterThatMayNotRead:
    """Its HEADs of data are refused, and a listing does not tell: what the store answered to the writes themselves is all there is."""

    DUMP = "backups/20261123T050000Z-3f9a1c/data/dump.zst"

    @pytest.fixture
    def writer(self, minio_server: S3Server, minio_bucket: str) -> AccessKeys:
        return assume(minio_server, *documented(Role.WRITER, minio_bucket))

    @pytest.mark.parametrize("way", [WAYS[0], WAYS[2]], ids=["AES256", "aws:kms"])
    def test_it_makes_backups_of_several_parts_and_each_manifest_says_how_the_store_encrypts(
        self,
        place: Place,
        minio_server: S3Server,
        minio_bucket: str,
        writer: AccessKeys,
        way: tuple[str, dict[str, Any], StoreEncryption],
    ) -> None:
        """given the documented policy, when the check has passed, then so does a backup; twice, since its probes stay"""
        _, sse, told = way
        place = replace(place, s3=minio_server, bucket=minio_bucket, store={"sse": sse})
        act_as(place, writer)
        place.grow_noise()
        policy = place.policy(retention={"daily": "30d"})
        for _ in range(2):
            assert place.run("check", "-f", policy)[0].reason == "CheckPassed"
        made, _, log = place.run("backup", "-f", policy)
        assert made.backup is not None
        assert "may not do" not in log
        folder = f"prod/backups/{made.backup.id}"
        body = place.s3.root.get_object(Bucket=place.bucket, Key=f"{folder}/manifest.json")["Body"].read()
        manifest = Manifest.model_validate_json(body)
        assert [entry.store_encryption for entry in manifest.objects] == [told] * 3
        assert manifest.objects[0].bytes > 8 * MIB, "it was an upload of several parts"
        for key in place.object_keys():
            head = place.s3.root.head_object(Bucket=place.bucket, Key=key)
            assert (head.get("ServerSideEncryption"), head.get("SSEKMSKeyId")) == (told.algorithm, told.key_id), key

        act_as(place, assume(minio_server, *documented(Role.READER, minio_bucket)))
        verified, _ = place.start("verify", made.backup.id, "-f", policy).communicate()
        assert verified.decode().startswith(f"{made.backup.id}: whole, ")
        act_as(place, assume(minio_server, *documented(Role.PRUNER, minio_bucket)))
        marked, _ = place.start("pin", made.backup.id, "-f", policy).communicate()
        assert made.backup.id in marked.decode()
        assert place.run("retention", "-f", policy)[0].reason == "RetentionEnforced"

    @pytest.mark.fault
    @pytest.mark.parametrize("times", [1, 3], ids=["told the second time", "nobody ever hears of it"])
    @pytest.mark.parametrize("way", [WAYS[0], WAYS[2]], ids=["AES256", "aws:kms"])
    def test_a_completion_whose_answer_is_lost_is_confirmed_by_what_was_said_of_the_parts(
        self,
        minio_server: S3Server,
        minio_bucket: str,
        writer: AccessKeys,
        way: tuple[str, dict[str, Any], StoreEncryption],
        times: int,
    ) -> None:
        _, sse, told = way
        with run_proxy(minio_server.endpoint) as proxy:
            proxy.harm(Harm.LOSE_ANSWER, "POST", "uploadId=", times=times)
            store = store_of(minio_server, minio_bucket, sse, keys=writer, endpoint=proxy.endpoint)
            assert send(store, self.DUMP, bytes(5 * MIB), b"end") == told
            assert proxy.is_spent

    def test_a_small_object_whose_answer_is_lost_is_known_by_its_etag(
        self, minio_server: S3Server, minio_bucket: str, writer: AccessKeys
    ) -> None:
        """The one digest that a listing tells; with a key of a KMS it is none."""
        store, key = minio_server.store(minio_bucket, keys=writer), self.DUMP
        etag = store.put(key, b"mine", if_absent=True)
        with pytest.raises(StoreAccessDenied):
            store.get(key, max_bytes=10)
        assert store.put(key, b"mine", if_absent=True) == etag
        with pytest.raises(WriteConflict, match="these keys may not read whether it is what they were to write"):
            store.put(key, b"hers", if_absent=True)

    def test_of_a_store_that_says_nothing_nothing_is_believed_and_nothing_written_down(
        self, iam_server: IamServer, iam_bucket: str
    ) -> None:
        """given versitygw, which takes the headers and stores plain bytes"""
        writer = iam_server.make_role(Role.WRITER, iam_bucket)
        with pytest.raises(EncryptionNotHonoured, match="says nothing of encryption"):
            send(store_of(iam_server, iam_bucket, AES, keys=writer), self.DUMP, b"x")
        assert send(iam_server.store(iam_bucket, keys=writer), self.DUMP, b"x") is None

    @pytest.mark.parametrize(
        ("lies", "is_believed"),
        [
            # What AWS answers.
            ({"CompleteMultipartUpload": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": ARN}}, True),
            # Half of it: a word that is left out is not taken back.
            ({"CompleteMultipartUpload": {"ServerSideEncryption": "aws:kms"}}, True),
            ({"CompleteMultipartUpload": {"ServerSideEncryption": "AES256"}}, False),
            ({"CompleteMultipartUpload": {"SSEKMSKeyId": "arn:aws:kms:other"}}, False),
            ({"UploadPart": {"ServerSideEncryption": ""}}, False),
            # Where HEAD is refused a completion cannot make up for parts of which nothing was said.
            (
                {
                    "UploadPart": {"ServerSideEncryption": ""},
                    "CompleteMultipartUpload": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": ARN},
                },
                False,
            ),
        ],
    )
    def test_what_an_answer_says_otherwise_is_believed(
        self,
        minio_server: S3Server,
        minio_bucket: str,
        writer: AccessKeys,
        lies: dict[str, dict[str, str]],
        is_believed: bool,
    ) -> None:
        """Played: MinIO's answer to a completion says nothing, and never another thing than its parts'."""
        store = store_of(minio_server, minio_bucket, KMS, keys=writer)
        for operation, lie in lies.items():
            for client in (store._client, store._patient_client):
                client.meta.events.register(
                    f"after-call.s3.{operation}", lambda parsed, lie=lie, **_: parsed.update(lie)
                )
        if is_believed:
            assert send(store, self.DUMP, b"x") == StoreEncryption(algorithm="aws:kms", key_id=ARN)
        else:
            with pytest.raises(EncryptionNotHonoured):
                send(store, self.DUMP, b"x")


@pytest.mark.fault
class TestAnAnswerThatIsLost:
    """The same bytes stand there: whether they are encrypted and locked is asked all the same."""

    @pytest.mark.parametrize("sse", [AES, KMS], ids=["AES256", "aws:kms"])
    @pytest.mark.parametrize("condition", ["if_absent", "if_match"])
    def test_plain_bytes_are_refused(
        self, s3_server: S3Server, s3_bucket: str, sse: dict[str, Any], condition: str
    ) -> None:
        options: dict[str, Any] = {"if_absent": True}
        if condition == "if_match":
            options = {"if_match": s3_server.store(s3_bucket).put("x", b"theirs")}
        with run_proxy(s3_server.endpoint) as proxy:
            store = store_of(s3_server, s3_bucket, sse, endpoint=proxy.endpoint)
            proxy.harm(Harm.LOSE_ANSWER, "PUT", "/prod/x")
            with pytest.raises(EncryptionNotHonoured, match=f"says nothing of encryption, and {sse['type']} was asked"):
                store.put("x", b"ours", **options)
            assert proxy.is_spent
        assert s3_server.store(s3_bucket).get("x", max_bytes=10).body == b"ours", "else it was another problem"

    def test_bytes_that_are_encrypted_as_asked_are_a_success(self, minio_server: S3Server, minio_bucket: str) -> None:
        with run_proxy(minio_server.endpoint) as proxy:
            store = store_of(minio_server, minio_bucket, KMS, endpoint=proxy.endpoint)
            proxy.harm(Harm.LOSE_ANSWER, "PUT", "/prod/x")
            etag = store.put("x", b"ours", if_absent=True)
            assert store.get("x", max_bytes=10).etag == etag
            proxy.harm(Harm.LOSE_ANSWER, "PUT", "/prod/y")
            made = store.add("y", b"ours", content_type="text/plain")
            assert (made, made.encryption) == (store.head("y"), StoreEncryption(algorithm="aws:kms", key_id=ARN))
            assert proxy.is_spent

    @pytest.mark.parametrize("is_lost", [False, True], ids=["answered", "lost"])
    def test_what_was_written_before_encryption_was_asked_for_may_stay_as_it_is(
        self, s3_server: S3Server, s3_bucket: str, is_lost: bool
    ) -> None:
        """given a decision of last week, which everybody writes alike, when it is made again with `sse`, then it stands"""
        etag = s3_server.store(s3_bucket).put("decided", b"purge", if_absent=True)
        age(s3_server.folder / s3_bucket / "prod" / "decided", timedelta(days=7))
        with run_proxy(s3_server.endpoint) as proxy:
            if is_lost:
                proxy.harm(Harm.LOSE_ANSWER, "PUT", "/prod/decided")
            store = store_of(s3_server, s3_bucket, KMS, endpoint=proxy.endpoint)
            assert store.put("decided", b"purge", if_absent=True) == etag
            assert proxy.is_spent

    def test_a_manifest_of_which_nobody_ever_hears_is_looked_at_too(self, s3_server: S3Server, s3_bucket: str) -> None:
        started_at = datetime(2026, 11, 23, 5, tzinfo=UTC)
        manifest = manifest_of(started_at, backup_id="20261123T050000Z-3f9a1c")
        with run_proxy(s3_server.endpoint) as proxy:
            proxy.harm(Harm.LOSE_ANSWER, "PUT", "/manifest.json", times=3)
            store = store_of(s3_server, s3_bucket, AES, endpoint=proxy.endpoint)
            with pytest.raises(EncryptionNotHonoured, match="says nothing of encryption"):
                commit_manifest(store, manifest, None)
            assert proxy.is_spent

    def test_bytes_that_are_not_locked_as_asked_are_refused(self, minio_server: S3Server) -> None:
        """Played: MinIO locks what it is told to lock, so that its word about it is taken from it."""
        bucket = minio_server.make_bucket(locks=True)
        lock = Lock("Governance", datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=2))
        with run_proxy(minio_server.endpoint) as proxy:
            store = minio_server.store(bucket, endpoint=proxy.endpoint)
            proxy.harm(Harm.LOSE_ANSWER, "PUT", "/prod/x")
            proxy.harm(Harm.LOSE_ANSWER, "PUT", "/prod/y")
            store.locking(lock).put("x", b"ours", if_absent=True)
            assert store.lock_of("x") == lock
            store._client.meta.events.register(
                "after-call.s3.GetObjectRetention", lambda parsed, **_: parsed.pop("Retention", None)
            )
            with pytest.raises(ObjectLockNotHonoured, match="and is not at all"):
                store.locking(lock).put("y", b"ours", if_absent=True)
            assert proxy.is_spent


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


def act_as(place: Place, keys: AccessKeys) -> None:
    place.credentials(
        store__access_key_id=keys.access_key_id,
        store__secret_access_key=keys.secret_access_key,
        store__session_token=keys.session_token or "",
    )


def age(path: Path, by: timedelta) -> None:
    """Let a file look that much older; it is the time that versitygw tells of an object."""
    then = time.time() - by.total_seconds()
    os.utime(path, (then, then))


def holds(folder: Path, planted: bytes) -> bool:
    """Whether a file of the server's holds these very bytes."""
    return any(planted in path.read_bytes() for path in folder.rglob("*") if path.is_file())
