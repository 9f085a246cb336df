"""What `store.protocol` promises, held against a real server: one suite for every store there will be."""

from __future__ import annotations

import hashlib
import json
import threading
import time
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from resguardo.api.errors import ObjectCorrupt, ObjectMissing, StoreAccessDenied, StoreError, WriteConflict
from resguardo.store.protocol import Store, Upload
from resguardo.store.s3 import S3Store
from tests.fixtures.s3 import S3Server
from tests.fixtures.stores import Ground

MIB = 1024 * 1024

ODD_KEYS = [
    "a b/c d",
    "plus+and%2Fpercent%25",
    "quotes'\"`$(x);&|<>",
    "Übung/submissões/日本/😀",
    "e\u0301 is not \u00e9",
    "tab\tinside",
    "question?mark#hash=equals&ampersand",
    "..hidden/...",
    "back\\slash",
    "x" * 200,
]


def test_what_is_put_is_got_with_the_same_etag_and_the_stores_time(store: Store) -> None:
    etag = store.put("a/b.json", b"{}")
    stored = store.get("a/b.json", max_bytes=2)
    assert (stored.body, stored.etag) == (b"{}", etag)
    assert abs(stored.last_modified - datetime.now(UTC)) < timedelta(minutes=2)


def test_an_empty_object_is_an_object(store: Store) -> None:
    store.put("empty", b"")
    assert store.get("empty", max_bytes=0).body == b""
    assert store.head("empty") is not None


def test_an_object_that_is_not_there_is_missing_for_get_range_and_head_and_no_error_to_delete(store: Store) -> None:
    with pytest.raises(ObjectMissing, match=r"prod/nothing/there"):
        store.get("nothing/there", max_bytes=10)
    with pytest.raises(ObjectMissing):
        store.read_range("nothing/there", 0, 10)
    assert store.head("nothing/there") is None
    store.delete("nothing/there")


def test_a_deleted_object_is_gone_and_may_be_deleted_again(store: Store) -> None:
    store.put("x", b"1")
    store.delete("x")
    store.delete("x")
    assert store.head("x") is None


def test_an_object_larger_than_the_reader_allows_is_refused_at_one_byte(store: Store) -> None:
    store.put("x", b"123")
    assert store.get("x", max_bytes=3).body == b"123"
    with pytest.raises(ObjectCorrupt, match="has 3 bytes, and such an object never has more than 2"):
        store.get("x", max_bytes=2)


@pytest.mark.parametrize("key", ODD_KEYS)
def test_any_legal_key_is_written_listed_read_and_removed(store: Store, ground: Ground, key: str) -> None:
    if key in ground.impossible:
        with pytest.raises(StoreError, match="cannot be"):
            store.put(f"odd/{key}", b"x")
        return
    store.put(f"odd/{key}", key.encode())
    assert [found.key for found in store.list("odd/")] == [f"odd/{key}"]
    assert store.get(f"odd/{key}", max_bytes=1000).body == key.encode()
    assert store.read_range(f"odd/{key}", 1, 1) == key.encode()[1:2]
    upload = store.begin_upload(f"odd/{key}.large")
    upload.upload_part(1, b"part", start=0, sha256=hashlib.sha256(b"part").digest())
    assert upload.complete().bytes == 4
    store.delete(f"odd/{key}")
    assert store.head(f"odd/{key}") is None


def test_a_listing_of_several_pages_is_complete_and_in_the_order_of_the_keys_bytes(
    store: Store, ground: Ground
) -> None:
    keys = sorted(
        [f"many/{number:05}" for number in range(ground.page + 5)] + ["many/a-b", "many/a.b", "many/a/b", "many/é"]
    )
    threads = [
        threading.Thread(target=lambda part=keys[i::4]: [store.put(key, b"x") for key in part]) for i in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found.key for found in store.list("many/")] == sorted(keys, key=str.encode)
    assert {found.bytes for found in store.list("many/")} == {1}


def test_folders_are_those_right_under_a_prefix(store: Store) -> None:
    for key in ["f/b/1", "f/a/1", "f/a/2/3", "f/file", "fx/c/1"]:
        store.put(key, b"x")
    assert list(store.list_folders("f/")) == ["a", "b"]
    assert list(store.list_folders("none/")) == []


def test_a_prefix_is_a_wall_on_both_sides(ground: Ground) -> None:
    prod, prodigy, root = (ground.store(prefix) for prefix in ("prod", "prodigy", ""))
    prod.put("x", b"prod")
    prodigy.put("x", b"prodigy")
    assert [found.key for found in prod.list("")] == ["x"]
    assert prod.get("x", max_bytes=10).body == b"prod"
    assert [found.key for found in root.list("")] == ["prod/x", "prodigy/x"]


class TestConditions:
    def test_if_absent_writes_once(self, store: Store) -> None:
        store.put("x", b"first", if_absent=True)
        with pytest.raises(WriteConflict, match="nothing was overwritten"):
            store.put("x", b"second", if_absent=True)
        assert store.get("x", max_bytes=10).body == b"first"

    def test_the_same_bytes_again_are_no_conflict(self, store: Store) -> None:
        etag = store.put("x", b"first", if_absent=True)
        assert store.put("x", b"first", if_absent=True) == etag

    def test_what_is_added_is_shown_as_it_stands_and_stands_once(self, store: Store) -> None:
        made = store.add("x", b"first", content_type="text/plain")
        assert made == store.head("x")
        assert made.bytes == 5
        assert store.add("x", b"first", content_type="text/plain") == made, "the same bytes again are no conflict"
        with pytest.raises(WriteConflict, match="nothing was overwritten"):
            store.add("x", b"other", content_type="text/plain")

    def test_if_match_replaces_exactly_what_was_read(self, store: Store) -> None:
        old = store.put("x", b"1")
        new = store.put("x", b"2", if_match=old)
        with pytest.raises(WriteConflict):
            store.put("x", b"3", if_match=old)
        assert store.get("x", max_bytes=10).etag == new

    def test_if_match_where_nothing_is_any_more_is_a_conflict(self, store: Store) -> None:
        etag = store.put("x", b"1")
        store.delete("x")
        with pytest.raises(WriteConflict):
            store.put("x", b"2", if_match=etag)

    def test_of_many_at_once_one_wins(self, store: Store) -> None:
        won: list[bytes] = []

        def attempt(body: bytes) -> None:
            try:
                store.put("x", body, if_absent=True)
            except WriteConflict:
                return
            won.append(body)

        threads = [threading.Thread(target=attempt, args=(b"%d" % number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert [store.get("x", max_bytes=10).body] == won


class TestRanges:
    @pytest.mark.parametrize(("start", "length"), [(0, 0), (0, 1), (0, 10), (9, 1), (3, 4)])
    def test_a_range_is_exact(self, store: Store, start: int, length: int) -> None:
        store.put("x", b"0123456789")
        assert store.read_range("x", start, length) == b"0123456789"[start : start + length]

    @pytest.mark.parametrize(("start", "length"), [(0, 11), (9, 2), (10, 1), (100, 1)])
    def test_a_range_past_the_end_is_corruption(self, store: Store, start: int, length: int) -> None:
        store.put("x", b"0123456789")
        with pytest.raises(ObjectCorrupt, match="prod/x"):
            store.read_range("x", start, length)


def _begin(store: Store, key: str) -> Upload:
    """An upload of which a part was sent: some stores know of none before."""
    upload = store.begin_upload(key)
    upload.upload_part(1, b"x", start=0, sha256=hashlib.sha256(b"x").digest())
    return upload


def _send(store: Store, key: str, parts: dict[int, bytes]) -> None:
    upload = store.begin_upload(key)
    for number, body in parts.items():
        start = sum(len(parts[earlier]) for earlier in range(1, number))
        upload.upload_part(number, body, start=start, sha256=hashlib.sha256(body).digest())
    assert store.head(key) is None, "an upload that is not complete is no object"
    made = upload.complete()
    assert made == store.head(key)
    upload.abort()  # does nothing any more
    assert store.head(key) is not None


class TestUploads:
    def test_parts_make_the_object_in_the_order_of_their_numbers(self, store: Store) -> None:
        _send(store, "big", {2: b"b" * 5 * MIB, 1: b"a" * 5 * MIB, 3: b"c"})
        assert store.read_range("big", 5 * MIB - 1, 2) == b"ab"
        assert store.read_range("big", 10 * MIB, 1) == b"c"

    def test_a_part_sent_again_replaces_the_first(self, store: Store) -> None:
        upload = store.begin_upload("big")
        for body in (b"first", b"second"):
            upload.upload_part(1, body, start=0, sha256=hashlib.sha256(body).digest())
        assert upload.complete().bytes == 6

    def test_an_aborted_upload_leaves_nothing_and_may_be_aborted_again(self, store: Store, ground: Ground) -> None:
        upload = _begin(store, "big")
        upload.abort()
        upload.abort()
        assert store.head("big") is None
        assert ground.uploads() == 0

    def test_an_upload_replaces_nothing_that_came_before_it_was_complete(self, store: Store, ground: Ground) -> None:
        upload = _begin(store, "big")
        store.put("big", b"theirs")
        with pytest.raises(StoreError):
            upload.complete()
        upload.abort()
        assert store.get("big", max_bytes=6).body == b"theirs"
        assert ground.uploads() == 0

    def test_abort_uploads_ends_those_under_a_prefix_and_no_others(self, store: Store, ground: Ground) -> None:
        for key in ("a/1", "a/2", "ab/3"):
            _begin(store, key)
        if ground.kind == "minio":
            # It lists uploads under an object's whole name alone, and forgets by itself those that are a day old.
            assert [store.abort_uploads(key) for key in ("a/1", "a/2", "a/2")] == [1, 1, 0]
            assert ground.uploads() == 1
            return
        assert store.abort_uploads("a/") == 2
        assert store.abort_uploads("a/") == 0
        assert store.abort_uploads("") == 1

    def test_a_part_that_is_not_what_its_digest_says_is_refused_by_a_store_that_knows_it(
        self, s3_store: S3Store
    ) -> None:
        upload = s3_store.begin_upload("big")
        with pytest.raises(Exception, match="bytes arrive changed"):
            upload.upload_part(1, b"x", start=0, sha256=hashlib.sha256(b"y").digest())
        upload.abort()


class TestErasing:
    def test_an_object_is_erased_and_those_whose_keys_begin_like_it_stay(self, store: Store) -> None:
        for key in ("a.json", "a.json.bak", "a/b"):
            store.put(key, b"x")
        assert store.erase("a.json") == {}
        assert store.erase("a.json") == {}
        assert [found.key for found in store.list("")] == ["a.json.bak", "a/b"]

    def test_objects_and_folders_are_erased_together(self, store: Store) -> None:
        for key in ("a", "b/1", "b/2", "c", "d"):
            store.put(key, b"x")
        assert store.erase("a", "b/", "none", "c") == {}
        assert [found.key for found in store.list("")] == ["d"]

    def test_a_folder_is_erased_with_all_below_it_but_one_and_nothing_beside_it(self, store: Store) -> None:
        for key in ("f/1", "f/2/3", "f/keep", "fx", "g/1"):
            store.put(key, b"x")
        assert store.erase("f/", but="f/keep") == {}
        assert [found.key for found in store.list("")] == ["f/keep", "fx", "g/1"]
        assert store.erase("f/") == {}
        assert store.erase("f/") == {}
        assert [found.key for found in store.list("")] == ["fx", "g/1"]

    def test_a_folder_of_more_than_one_batch_is_erased_whole(self, store: Store, ground: Ground) -> None:
        ground.fill("many", ground.page + 5)
        assert store.erase("many/") == {}
        assert list(store.list("")) == []

    @pytest.mark.parametrize("key", ODD_KEYS)
    def test_any_legal_key_is_erased(self, store: Store, ground: Ground, key: str) -> None:
        if key in ground.impossible:
            pytest.skip(f"{ground.kind} has no such key")
        store.put(f"odd/{key}", b"x")
        store.put("other", b"x")
        assert store.erase(f"odd/{key}") == {}
        assert [found.key for found in store.list("")] == ["other"]

    def test_a_batch_carries_the_digest_that_older_servers_ask_for(self, s3_store: S3Store) -> None:
        sent: list[bool] = []

        def look(request: Any, **_: Any) -> None:
            said = request.headers.get("Content-MD5", b"")
            digest = b64encode(hashlib.md5(request.body, usedforsecurity=False).digest())
            sent.append((said if isinstance(said, bytes) else said.encode()) == digest)

        s3_store._client.meta.events.register("before-send.s3.DeleteObjects", look)
        s3_store.put("x", b"x")
        assert s3_store.erase("x") == {}
        assert sent == [True]

    def test_what_is_locked_is_told_by_its_key_and_the_rest_goes(self, s3_server: S3Server) -> None:
        bucket = s3_server.make_bucket(locks=True)
        store = s3_server.store(bucket)
        for key in ("f/1", "f/2", "f/3"):
            store.put(key, b"x")
        s3_server.root.put_object_legal_hold(Bucket=bucket, Key="prod/f/2", LegalHold={"Status": "ON"})
        problems = store.erase("f/")
        assert list(problems) == ["f/2"]
        assert isinstance(problems["f/2"], StoreAccessDenied)
        assert "s3:DeleteObject" in str(problems["f/2"])
        assert "'prod/f/2'" in str(problems["f/2"])
        assert [found.key for found in store.list("")] == ["f/2"]


class TestVersions:
    """In a bucket that keeps versions, what is erased is gone with its bytes, and what is deleted is not."""

    @pytest.fixture
    def store(self, s3_versioning_server: S3Server, s3_versioned_bucket: str) -> Store:
        return s3_versioning_server.store(s3_versioned_bucket)

    def versions(self, server: S3Server, bucket: str) -> list[str]:
        answer = server.root.list_object_versions(Bucket=bucket)
        there = [*answer.get("Versions", []), *answer.get("DeleteMarkers", [])]
        return sorted(version["Key"] for version in there)

    def test_every_version_and_delete_marker_goes(
        self, store: Store, s3_versioning_server: S3Server, s3_versioned_bucket: str
    ) -> None:
        for key in ("f/1", "f/1", "f/2", "other", "f/1.x"):
            store.put(key, b"x")
            store.put(key, b"y")
        store.delete("f/2")
        assert store.erase("f/1") == {}
        assert self.versions(s3_versioning_server, s3_versioned_bucket) == [
            *["prod/f/1.x"] * 2, *["prod/f/2"] * 3, *["prod/other"] * 2,
        ]  # fmt: skip
        assert store.erase("f/") == {}
        assert self.versions(s3_versioning_server, s3_versioned_bucket) == ["prod/other"] * 2

    def test_cut_off_anywhere_nothing_shows_again_that_was_deleted(
        self, s3_versioning_server: S3Server, s3_versioned_bucket: str
    ) -> None:
        store = s3_versioning_server.store(s3_versioned_bucket)
        store.put("x", b"1")
        store.put("x", b"2")
        store.delete("x")
        asked: list[list[str]] = []
        delete_objects = store._eraser._client.delete_objects

        def note(**arguments: Any) -> Any:
            asked.append([version["VersionId"] for version in arguments["Delete"]["Objects"]])
            return delete_objects(**arguments)

        store._eraser._client.delete_objects = note  # type: ignore[method-assign]
        answer = s3_versioning_server.root.list_object_versions(Bucket=s3_versioned_bucket)
        (marker,) = [version["VersionId"] for version in answer["DeleteMarkers"]]
        assert store.erase("x") == {}
        ((*versions, last),) = asked
        assert (len(versions), last) == (2, marker)

    def test_keys_that_may_not_see_versions_delete_as_before(
        self, s3_versioning_server: S3Server, s3_versioned_bucket: str
    ) -> None:
        keys = s3_versioning_server.make_user()
        statement = {
            "Effect": "Allow",
            "Principal": {"AWS": [keys.access_key_id]},
            "Action": ["s3:PutObject", "s3:GetObject", "s3:DeleteObject", "s3:ListBucket"],
            "Resource": [f"arn:aws:s3:::{s3_versioned_bucket}", f"arn:aws:s3:::{s3_versioned_bucket}/*"],
        }
        s3_versioning_server.root.put_bucket_policy(
            Bucket=s3_versioned_bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        )
        store = s3_versioning_server.store(s3_versioned_bucket, keys=keys)
        store.put("f/1", b"x")
        assert store.erase("f/") == {}
        assert list(store.list("")) == []
        assert self.versions(s3_versioning_server, s3_versioned_bucket) == ["prod/f/1"] * 2


class TestLocks:
    def test_what_is_retained_or_held_is_locked_and_what_was_is_not(self, s3_server: S3Server) -> None:
        bucket = s3_server.make_bucket(locks=True)
        store = s3_server.store(bucket)
        for key in ("free", "held", "retained"):
            store.put(key, b"x")
        s3_server.root.put_object_legal_hold(Bucket=bucket, Key="prod/held", LegalHold={"Status": "ON"})
        s3_server.root.put_object_retention(
            Bucket=bucket,
            Key="prod/retained",
            Retention={"Mode": "GOVERNANCE", "RetainUntilDate": datetime.now(UTC) + timedelta(seconds=3)},
        )
        assert [store.is_locked(key) for key in ("free", "held", "retained")] == [False, True, True]
        s3_server.root.put_object_legal_hold(Bucket=bucket, Key="prod/held", LegalHold={"Status": "OFF"})
        deadline = time.monotonic() + 20
        while store.is_locked("retained") and time.monotonic() < deadline:
            time.sleep(0.2)
        assert [store.is_locked(key) for key in ("free", "held", "retained")] == [False, False, False]

    def test_in_a_bucket_without_locks_nothing_is_locked(self, store: Store) -> None:
        store.put("x", b"x")
        assert not store.is_locked("x")

    @pytest.mark.parametrize("period", [{"Days": 30}, {"Years": 2}])
    def test_a_buckets_own_retention_is_told(self, s3_server: S3Server, period: dict[str, Any]) -> None:
        bucket = s3_server.make_bucket(locks=True)
        assert s3_server.store(bucket).default_lock() is None
        s3_server.root.put_object_lock_configuration(
            Bucket=bucket,
            ObjectLockConfiguration={
                "ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "COMPLIANCE", **period}},
            },
        )  # fmt: skip
        assert str(s3_server.store(bucket).default_lock()) == ("30d" if "Days" in period else "2y")
        assert s3_server.store(bucket, keys=s3_server.make_user()).default_lock() is None, "they may not see it"

    def test_a_bucket_without_locks_has_no_retention_of_its_own(self, store: Store) -> None:
        assert store.default_lock() is None

    def test_locks_that_the_keys_may_not_see_are_no_freedom(self, s3_server: S3Server) -> None:
        bucket = s3_server.make_bucket(locks=True)
        s3_server.store(bucket).put("x", b"x")
        keys = s3_server.make_user()
        statement = {
            "Effect": "Allow",
            "Principal": {"AWS": [keys.access_key_id]},
            "Action": ["s3:GetBucketObjectLockConfiguration", "s3:GetObject"],
            "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
        }
        s3_server.root.put_bucket_policy(
            Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        )
        with pytest.raises(StoreAccessDenied, match="s3:GetObjectLegalHold"):
            s3_server.store(bucket, keys=keys).is_locked("x")


def test_the_stores_clock_is_the_one_by_which_it_dates_objects(store: Store) -> None:
    before = store.clock()
    store.put("x", b"x")
    assert before <= store.get("x", max_bytes=1).last_modified <= store.clock() + timedelta(seconds=1)
