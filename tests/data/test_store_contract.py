"""What `store.protocol` promises, held against a real server: one suite for every store there will be."""

from __future__ import annotations

import hashlib
import threading
from datetime import UTC, datetime, timedelta

import pytest

from resguardo.api.errors import ObjectCorrupt, ObjectMissing, WriteConflict
from resguardo.store.protocol import Store
from resguardo.store.s3 import S3Store
from tests.fixtures.s3 import S3Server

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


@pytest.fixture
def store(s3_store: S3Store) -> Store:
    return s3_store


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
def test_any_legal_key_is_written_listed_read_and_removed(store: Store, key: str) -> None:
    store.put(f"odd/{key}", key.encode())
    assert [found.key for found in store.list("odd/")] == [f"odd/{key}"]
    assert store.get(f"odd/{key}", max_bytes=1000).body == key.encode()
    assert store.read_range(f"odd/{key}", 1, 1) == key.encode()[1:2]
    upload = store.begin_upload(f"odd/{key}.large")
    upload.upload_part(1, b"part", sha256=hashlib.sha256(b"part").digest())
    assert upload.complete().bytes == 4
    store.delete(f"odd/{key}")
    assert store.head(f"odd/{key}") is None


def test_a_listing_of_several_pages_is_complete_and_in_the_order_of_the_keys_bytes(store: Store) -> None:
    keys = sorted([f"many/{number:05}" for number in range(1005)] + ["many/a-b", "many/a.b", "many/a/b", "many/é"])
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


def test_a_prefix_is_a_wall_on_both_sides(s3_server: S3Server, s3_bucket: str) -> None:
    prod, prodigy, root = (s3_server.store(s3_bucket, prefix=prefix) for prefix in ("prod", "prodigy", ""))
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


def _send(store: Store, key: str, parts: dict[int, bytes]) -> None:
    upload = store.begin_upload(key)
    for number, body in parts.items():
        upload.upload_part(number, body, sha256=hashlib.sha256(body).digest())
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
            upload.upload_part(1, body, sha256=hashlib.sha256(body).digest())
        assert upload.complete().bytes == 6

    def test_an_aborted_upload_leaves_nothing_and_may_be_aborted_again(
        self, store: Store, s3_server: S3Server, s3_bucket: str
    ) -> None:
        upload = store.begin_upload("big")
        upload.upload_part(1, b"x", sha256=hashlib.sha256(b"x").digest())
        upload.abort()
        upload.abort()
        assert store.head("big") is None
        assert "Uploads" not in s3_server.root.list_multipart_uploads(Bucket=s3_bucket)

    def test_abort_uploads_ends_those_under_a_prefix_and_no_others(self, store: Store) -> None:
        for key in ("a/1", "a/2", "ab/3"):
            store.begin_upload(key)
        assert store.abort_uploads("a/") == 2
        assert store.abort_uploads("a/") == 0
        assert store.abort_uploads("") == 1

    def test_a_part_that_is_not_what_its_digest_says_is_refused_by_the_store(self, store: Store) -> None:
        upload = store.begin_upload("big")
        with pytest.raises(Exception, match="bytes arrive changed"):
            upload.upload_part(1, b"x", sha256=hashlib.sha256(b"y").digest())
        upload.abort()
