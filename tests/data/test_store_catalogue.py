"""The catalogue: what is a backup, what is not, and what cannot be read, none hiding another."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from resguardo.api.backup_id import new_backup_id
from resguardo.api.census import Census, DatabaseProperties
from resguardo.api.errors import (
    FormatTooNew,
    ManifestInvalid,
    ObjectCorrupt,
    ObjectMissing,
    StoreUnreachable,
    WriteConflict,
)
from resguardo.api.manifest import CensusSummary, Manifest, ObjectEntry, ObjectRole, SourceIdentity, Trigger
from resguardo.store.catalogue import (
    Attempt,
    backup_summary,
    commit_manifest,
    list_backups,
    newest_summary,
    read_census,
    read_manifest,
    record_attempt,
    summarise,
)
from resguardo.store.layout import census_key
from resguardo.store.s3 import S3Store
from resguardo.store.seal import seal
from resguardo.store.signatures import ANYBODY
from tests.fixtures.s3 import S3Server
from tests.fixtures.servers import free_port

START = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)
ID = "20261123T050000Z-3f9a1c"


def manifest(started_at: datetime = START, random_hex: str = "3f9a1c", **changes: Any) -> Manifest:
    facts: dict[str, Any] = {
        "id": new_backup_id(started_at, random_hex),
        "owner": "c/agepar/portal-prod",
        "epoch": 1,
        "source": SourceIdentity(system_identifier="7", database='a"g\u00e9par', server_version_num=150000),
        "trigger": Trigger.SCHEDULED,
        "started_at": started_at,
        "completed_at": started_at + timedelta(minutes=5),
        "snapshot_at": started_at,
        "snapshot_lsn": "0/1",
        "tools": {"pg_dump": "15.10"},
        "objects": [],
        "bytes": 300 * 1024 * 1024,
        "census": CensusSummary(tables=2, tables_counted=2, rows=10, database_bytes=1),
    }
    return Manifest.model_validate(facts | changes)


def entry(**changes: Any) -> ObjectEntry:
    facts: dict[str, Any] = {
        "role": ObjectRole.DUMP,
        "key": "data/dump.zst",
        "bytes": 1,
        "plain_bytes": 1,
        "sha256": "0" * 64,
        "compression": "zstd",
        "blocks_key": "data/dump.zst.blocks",
        "blocks_sha256": "0" * 64,
        "block_bytes": 8 * 1024 * 1024,
    }
    return ObjectEntry.model_validate(facts | changes)


def put_manifest(store: S3Store, body: bytes, backup_id: str = ID) -> None:
    store.put(f"backups/{backup_id}/manifest.json", body)


def test_an_empty_prefix_holds_no_backups(s3_store: S3Store) -> None:
    assert list_backups(s3_store, ANYBODY) == []
    assert summarise([]).model_dump() == {"backups": 0, "bytes": 0, "oldest": None, "newest": None}
    assert newest_summary([]) is None


def test_a_committed_manifest_is_listed_and_read_as_it_was(s3_store: S3Store) -> None:
    written = manifest(objects=[entry()])
    commit_manifest(s3_store, written, None)
    assert read_manifest(s3_store, ID) == written
    (listed,) = list_backups(s3_store, ANYBODY)
    assert (listed.id, listed.manifest, listed.problem) == (ID, written, None)


def test_a_manifest_is_committed_once_and_the_same_again_is_no_conflict(s3_store: S3Store) -> None:
    commit_manifest(s3_store, manifest(), None)
    commit_manifest(s3_store, manifest(), None)
    with pytest.raises(WriteConflict):
        commit_manifest(s3_store, manifest(bytes=1), None)
    assert read_manifest(s3_store, ID) == manifest()


def test_backups_are_listed_in_the_order_of_their_starts(s3_store: S3Store) -> None:
    starts = [START + timedelta(hours=hours) for hours in (30, 2, 700, 0, 5, 90, 31, 32, 33, 34, 35)]
    for start in starts:
        commit_manifest(s3_store, manifest(start), None)
    entries = list_backups(s3_store, ANYBODY)
    assert [found.manifest.started_at for found in entries if found.manifest] == sorted(starts)
    inventory = summarise(entries)
    assert (inventory.backups, inventory.bytes) == (11, 11 * 300 * 1024 * 1024)
    assert (inventory.oldest, inventory.newest) == (min(starts), max(starts))
    newest = newest_summary(entries)
    assert newest is not None
    assert (newest.started_at, newest.size, newest.duration_seconds) == (max(starts), "300MiB", 300)


def test_what_is_no_backup_is_not_listed(s3_store: S3Store) -> None:
    for key in [
        f"backups/{ID}/data/dump.zst",  # a backup that was never committed
        "backups/notes/manifest.json",
        "backups/20269999T050000Z-3f9a1c/manifest.json",
        "backups/manifest.json",
        f"attempts/{ID}.json",
        f"elsewhere/backups/{ID}/manifest.json",
    ]:
        s3_store.put(key, b"{}")
    assert list_backups(s3_store, ANYBODY) == []


GOOD = manifest(objects=[entry()]).to_json()

BAD_MANIFESTS = [
    pytest.param(b"", ManifestInvalid, "is no JSON", id="empty"),
    pytest.param(GOOD[:-1].encode(), ManifestInvalid, "is no JSON", id="cut off"),
    pytest.param(b"[" * 60_000, ManifestInvalid, "is no JSON", id="nested without end"),
    pytest.param(b"[]", ManifestInvalid, "cannot be read", id="a list"),
    pytest.param(b"{}", ManifestInvalid, "id, owner, epoch", id="no fields, the first of which are named"),
    pytest.param(b'{"formatVersion":2}', FormatTooNew, "has format 2", id="a newer format"),
    pytest.param(GOOD.encode() + b" " * 65_536, ObjectCorrupt, "never has more than 65536", id="too large"),
    pytest.param(GOOD.replace("3f9a1c", "3f9a1d").encode(), ManifestInvalid, "was copied there", id="another's"),
    pytest.param(GOOD.replace("150000", '"x"').encode(), ManifestInvalid, "source.serverVersionNum", id="a wrong type"),
    pytest.param(GOOD.replace('"zstd"', '"lzma"').encode(), ManifestInvalid, "compression", id="unknown compression"),
    *[
        pytest.param(
            manifest(objects=[entry(key=key)]).to_json().encode(),
            ManifestInvalid,
            "not one of its own",
            id=f"key {key}",
        )
        for key in ["../x", "a/../../x", "/etc/passwd", "a//b", ".", "", "a/", "manifest.json"]
    ],
    pytest.param(
        manifest(objects=[entry(blocks_key="../x")]).to_json().encode(), ManifestInvalid, "own", id="a list elsewhere"
    ),
    pytest.param(
        manifest(objects=[entry(), entry()]).to_json().encode(), ManifestInvalid, "twice", id="an object twice"
    ),
    pytest.param(
        manifest(objects=[entry(block_bytes=1)]).to_json().encode(), ManifestInvalid, "size", id="blocks of one byte"
    ),
    pytest.param(
        manifest(objects=[entry(block_bytes=2**40)]).to_json().encode(), ManifestInvalid, "size", id="blocks too large"
    ),
    pytest.param(
        manifest(objects=[entry(bytes=2**60)]).to_json().encode(), ManifestInvalid, "size", id="larger than any object"
    ),
]


@pytest.mark.parametrize(("body", "error", "message"), BAD_MANIFESTS)
def test_a_manifest_that_cannot_be_read_is_an_entry_with_a_problem_and_hides_no_other(
    s3_store: S3Store, body: bytes, error: type[Exception], message: str
) -> None:
    put_manifest(s3_store, body)
    good = manifest(START + timedelta(days=1))
    commit_manifest(s3_store, good, None)
    bad, fine = list_backups(s3_store, ANYBODY)
    assert (bad.id, bad.manifest, fine.manifest) == (ID, None, good)
    assert type(bad.problem) is error
    assert message in str(bad.problem)
    with pytest.raises(error):
        read_manifest(s3_store, ID)
    assert summarise([bad, fine]).backups == 1


def test_fields_of_a_later_version_of_this_format_are_passed_over(s3_store: S3Store) -> None:
    put_manifest(s3_store, GOOD.replace('"id"', '"future":{"x":1},"id"', 1).encode())
    assert read_manifest(s3_store, ID).id == ID


@pytest.mark.parametrize(
    "bad",
    [
        manifest(objects=[entry(key="../x")]),
        manifest(tools={f"tool-{number}": "x" * 50 for number in range(2000)}),
    ],
)
def test_nothing_is_committed_that_a_reader_would_refuse(s3_store: S3Store, bad: Manifest) -> None:
    with pytest.raises(ManifestInvalid):
        commit_manifest(s3_store, bad, None)
    assert list_backups(s3_store, ANYBODY) == []


def test_a_store_that_does_not_answer_is_no_empty_list(s3_server: S3Server, s3_bucket: str) -> None:
    with pytest.raises(StoreUnreachable):
        list_backups(s3_server.store(s3_bucket, endpoint=f"http://127.0.0.1:{free_port()}"), ANYBODY)


# ---- census and attempts


def census() -> Census:
    return Census(
        server_version_num=150000,
        system_identifier="7",
        taken_at=START,
        lsn="0/1",
        database=DatabaseProperties(
            name="agepar", encoding="UTF8", locale_provider="c", collate="C", ctype="C", owner="o", size_bytes=1
        ),
        roles=[],
        extensions=[],
        schema_fingerprint="x",
        tables=[],
        large_objects=0,
    )


def with_census(store: S3Store, text: bytes) -> Manifest:
    return manifest(objects=[seal(store, ID, census_key(), ObjectRole.CENSUS, [text])])


def test_a_census_comes_back_as_it_was(s3_store: S3Store) -> None:
    assert read_census(s3_store, with_census(s3_store, census().to_json().encode())) == census()


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (b"", ManifestInvalid),
        (b"{}", ManifestInvalid),
        (b'{"formatVersion":9}', FormatTooNew),
        (b"\xff", ManifestInvalid),
    ],
)
def test_a_census_that_cannot_be_read_is_told(s3_store: S3Store, text: bytes, error: type[Exception]) -> None:
    with pytest.raises(error, match=f"census of {ID}"):
        read_census(s3_store, with_census(s3_store, text))


def test_a_backup_has_one_census_of_a_bounded_size(s3_store: S3Store) -> None:
    with pytest.raises(ManifestInvalid, match="names 0 censuses"):
        read_census(s3_store, manifest())
    huge = entry(role=ObjectRole.CENSUS, plain_bytes=2**40)
    with pytest.raises(ManifestInvalid, match="more than 64MiB"):
        read_census(s3_store, manifest(objects=[huge]))
    with pytest.raises(ObjectMissing):
        read_census(s3_store, manifest(objects=[entry(role=ObjectRole.CENSUS)]))


def test_an_attempt_is_written_at_its_start_and_again_at_its_end(s3_store: S3Store) -> None:
    attempt = Attempt(id=ID, trigger=Trigger.MANUAL, started_at=START)
    record_attempt(s3_store, attempt)
    key = f"attempts/{ID}.json"
    assert Attempt.model_validate_json(s3_store.get(key, max_bytes=4096).body) == attempt
    ended = attempt.ended(reason="DumpFailed", message="pg_dump: é\n" * 1000, at=START + timedelta(hours=1))
    record_attempt(s3_store, ended)
    read = Attempt.model_validate_json(s3_store.get(key, max_bytes=4096).body)
    assert (read.reason, read.ended_at) == ("DumpFailed", START + timedelta(hours=1))
    assert read.message is not None
    assert read.message.startswith("pg_dump: é\n")


def test_a_clock_that_went_back_gives_a_duration_of_zero() -> None:
    assert backup_summary(manifest(completed_at=START - timedelta(hours=1))).duration_seconds == 0
