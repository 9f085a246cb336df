"""Lost answers, broken bodies and bytes that change on the way: the outcome is told as it is, never guessed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

import pytest

from resguardo.api.errors import StoreError, StoreUnreachable, WriteConflict
from resguardo.api.manifest import ObjectRole
from resguardo.store.download import open_object
from resguardo.store.ownership import claim
from resguardo.store.protocol import Upload
from resguardo.store.s3 import S3Store
from resguardo.store.seal import seal
from tests.data.test_store_ownership import NOW, OURS
from tests.fixtures.s3 import S3Server
from tests.fixtures.s3_proxy import Harm, Proxy, run_proxy
from tests.fixtures.streams import ID, KEY, MIB, noise, uploads_in

pytestmark = pytest.mark.fault


@pytest.fixture
def proxy(s3_server: S3Server) -> Iterator[Proxy]:
    with run_proxy(s3_server.endpoint) as running:
        yield running
        assert running.is_spent, "a fault that never happened proves nothing"


@pytest.fixture
def store(s3_server: S3Server, s3_bucket: str, proxy: Proxy) -> S3Store:
    return s3_server.store(s3_bucket, endpoint=proxy.endpoint)


def test_a_conditional_write_whose_answer_is_lost_succeeded(store: S3Store, proxy: Proxy) -> None:
    proxy.harm(Harm.LOSE_ANSWER, "PUT", "/prod/x")
    etag = store.put("x", b"mine", if_absent=True)
    assert store.get("x", max_bytes=10).etag == etag
    assert len([line for line in proxy.seen if line.startswith("PUT")]) == 2


def test_a_conditional_write_whose_answer_is_lost_to_another_is_a_conflict(store: S3Store, proxy: Proxy) -> None:
    store.put("x", b"theirs")
    proxy.harm(Harm.LOSE_ANSWER, "PUT", "/prod/x")
    with pytest.raises(WriteConflict):
        store.put("x", b"mine", if_absent=True)
    assert store.get("x", max_bytes=10).body == b"theirs"


def test_a_swap_whose_answer_is_lost_succeeded_once(store: S3Store, proxy: Proxy) -> None:
    etag = store.put("x", b"1")
    proxy.harm(Harm.LOSE_ANSWER, "PUT", "/prod/x")
    store.put("x", b"2", if_match=etag)
    assert store.get("x", max_bytes=10).body == b"2"


def test_a_claim_whose_answer_is_lost_is_ours(store: S3Store, proxy: Proxy) -> None:
    proxy.harm(Harm.LOSE_ANSWER, "PUT", "/prod/resguardo.json")
    assert claim(store, OURS, take_over_from=None, now=NOW).epoch == 1
    proxy.harm(Harm.LOSE_ANSWER, "PUT", "/prod/resguardo.json")
    assert claim(store, "c2/a/b", take_over_from=f"{OURS}@1", now=NOW).epoch == 2


def _upload(store: S3Store) -> Upload:
    upload = store.begin_upload("big")
    for number, start, body in [(1, 0, noise(5 * MIB)), (2, 5 * MIB, b"end")]:
        upload.upload_part(number, body, start=start, sha256=hashlib.sha256(body).digest())
    return upload


def test_a_completion_whose_answer_is_lost_succeeded(store: S3Store, proxy: Proxy) -> None:
    upload = _upload(store)
    proxy.harm(Harm.LOSE_ANSWER, "POST", "uploadId")
    made = upload.complete()
    assert made == store.head("big")
    assert made.bytes == 5 * MIB + 3


def test_a_completion_that_nobody_ever_hears_of_is_looked_for_and_found(store: S3Store, proxy: Proxy) -> None:
    upload = _upload(store)
    proxy.harm(Harm.LOSE_ANSWER, "POST", "uploadId", times=3)
    assert upload.complete() == store.head("big")


def test_a_completion_that_never_happened_is_an_error(store: S3Store, proxy: Proxy) -> None:
    upload = _upload(store)
    proxy.harm(Harm.BUSY, "POST", "uploadId", times=3)
    with pytest.raises(StoreUnreachable):
        upload.complete()
    upload.abort()
    assert store.head("big") is None


def test_a_second_completion_that_finds_the_upload_gone_is_proven_by_the_object(store: S3Store, proxy: Proxy) -> None:
    upload = _upload(store)
    proxy.harm(Harm.LOSE_ANSWER, "POST", "uploadId")
    proxy.harm(Harm.UPLOAD_GONE, "POST", "uploadId")
    assert upload.complete() == store.head("big")


@pytest.mark.parametrize("is_told", [True, False], ids=["a store that says so", "a store that says 200"])
def test_an_upload_that_somebody_aborted_is_an_error_even_where_another_object_of_its_size_stands(
    store: S3Store, proxy: Proxy, s3_server: S3Server, s3_bucket: str, is_told: bool
) -> None:
    upload = _upload(store)
    store.abort_uploads("big")
    s3_server.root.put_object(Bucket=s3_bucket, Key="prod/big", Body=noise(5 * MIB + 3, seed=7))
    if is_told:
        proxy.harm(Harm.UPLOAD_GONE, "POST", "uploadId")
    with pytest.raises(StoreError, match="NoSuchUpload" if is_told else "is another object"):
        upload.complete()


def test_damage_on_the_way_is_sent_again_and_never_stored(
    store: S3Store, proxy: Proxy, s3_server: S3Server, s3_bucket: str
) -> None:
    proxy.harm(Harm.DAMAGE_REQUEST, "PUT", "partNumber=2")
    proxy.harm(Harm.DAMAGE_REQUEST, "PUT", f"{KEY}.blocks")
    data = noise(20 * MIB)
    entry = seal(store, ID, KEY, ObjectRole.DUMP, [data])
    assert b"".join(open_object(s3_server.store(s3_bucket), ID, entry)) == data


def test_a_part_whose_answer_is_lost_or_that_is_refused_for_now_is_sent_again(store: S3Store, proxy: Proxy) -> None:
    proxy.harm(Harm.LOSE_ANSWER, "PUT", "partNumber=1")
    proxy.harm(Harm.BUSY, "PUT", "partNumber=2", times=2)
    data = noise(20 * MIB)
    entry = seal(store, ID, KEY, ObjectRole.DUMP, [data])
    assert b"".join(open_object(store, ID, entry)) == data


def test_a_store_that_stays_busy_ends_the_stream_and_the_upload_is_aborted(
    store: S3Store, proxy: Proxy, s3_server: S3Server, s3_bucket: str
) -> None:
    proxy.harm(Harm.BUSY, "PUT", "partNumber=2", times=3)
    with pytest.raises(StoreUnreachable, match="after 3 attempts"):
        seal(store, ID, KEY, ObjectRole.DUMP, [noise(20 * MIB)])
    assert uploads_in(s3_server, s3_bucket) == []


def test_a_body_that_breaks_off_or_changes_on_its_way_is_read_again(store: S3Store, proxy: Proxy) -> None:
    data = noise(20 * MIB)
    entry = seal(store, ID, KEY, ObjectRole.DUMP, [data])
    proxy.harm(Harm.BREAK_OFF, "GET", f"{KEY}.blocks")
    proxy.harm(Harm.DAMAGE_ANSWER, "GET", f"{KEY}.blocks")
    proxy.harm(Harm.BREAK_OFF, "GET", f"{KEY}$", times=2)
    proxy.harm(Harm.DAMAGE_ANSWER, "GET", f"{KEY}$")
    assert b"".join(open_object(store, ID, entry)) == data


def test_a_small_object_that_breaks_off_is_read_again(store: S3Store, proxy: Proxy) -> None:
    store.put("x", b"0123456789")
    proxy.harm(Harm.BREAK_OFF, "GET", "/prod/x", times=2)
    assert store.get("x", max_bytes=10).body == b"0123456789"


def test_a_body_that_always_breaks_off_is_unreachable(store: S3Store, proxy: Proxy) -> None:
    store.put("x", b"0123456789")
    proxy.harm(Harm.BREAK_OFF, "GET", "/prod/x", times=5)
    with pytest.raises(StoreUnreachable, match="broke off"):
        store.read_range("x", 0, 10)
