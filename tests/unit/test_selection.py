"""Which backup a restore takes, and what a person reads when there is none."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resguardo.api.backup_id import new_backup_id
from resguardo.api.errors import BackupNotFound, ManifestInvalid, StoreError
from resguardo.api.manifest import CensusSummary, Manifest, SourceIdentity, Trigger
from resguardo.api.request import Recover
from resguardo.rules.selection import choose

MONDAY = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)


def backup(started_at: datetime, random_hex: str = "3f9a1c") -> Manifest:
    return Manifest(
        id=new_backup_id(started_at, random_hex),
        owner="c/agepar/portal-prod",
        epoch=1,
        source=SourceIdentity(system_identifier="7", database="agepar", server_version_num=150000),
        trigger=Trigger.SCHEDULED,
        started_at=started_at,
        completed_at=started_at + timedelta(minutes=5),
        snapshot_at=started_at,
        snapshot_lsn="0/1",
        tools={},
        objects=[],
        bytes=0,
        census=CensusSummary(tables=0, tables_counted=0, rows=0, database_bytes=0),
    )


THREE = [backup(MONDAY + timedelta(days=days)) for days in (1, 0, 2)]


def test_with_nothing_asked_for_the_one_that_started_last_is_taken_whatever_the_order() -> None:
    assert choose(THREE, Recover()).started_at == MONDAY + timedelta(days=2)


def test_one_that_is_no_good_one_is_passed_over_and_brought_back_by_its_id_alone() -> None:
    newest = THREE[2].id
    assert choose(THREE, Recover(), doubtful={newest}) is THREE[0]
    assert choose(THREE, Recover(backup=newest), doubtful={newest}) is THREE[2]


def test_where_none_is_good_a_person_has_to_name_one() -> None:
    with pytest.raises(BackupNotFound, match=rf"none is good.*recover.backup: {THREE[2].id}"):
        choose(THREE, Recover(), doubtful={manifest.id for manifest in THREE})


def test_a_backup_is_found_by_its_id() -> None:
    assert choose(THREE, Recover(backup=THREE[1].id)) is THREE[1]


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        (MONDAY + timedelta(days=1, seconds=1), MONDAY + timedelta(days=1)),
        (MONDAY + timedelta(days=1), MONDAY),
        (MONDAY + timedelta(seconds=1), MONDAY),
        (MONDAY + timedelta(days=400), MONDAY + timedelta(days=2)),
    ],
)
def test_before_is_strict(before: datetime, expected: datetime) -> None:
    assert choose(THREE, Recover(before=before)).started_at == expected


def test_two_of_one_second_are_told_apart_by_their_ids() -> None:
    twins = [backup(MONDAY, "bbbbbb"), backup(MONDAY, "aaaaaa")]
    assert choose(twins, Recover()).id == choose(twins[::-1], Recover()).id == "20261123T050000Z-bbbbbb"


@pytest.mark.parametrize(
    ("manifests", "recover", "unusable", "message"),
    [
        ([], Recover(), {}, "no backup; the bucket holds none under this prefix that can be used"),
        (
            [],
            Recover(),
            {THREE[0].id: ManifestInvalid("its manifest is no JSON")},
            f"no backup; the bucket holds none under this prefix that can be used, and 1 that cannot be used, the newest {THREE[0].id}: its manifest is no JSON",
        ),
        (
            THREE,
            Recover(before=MONDAY),
            {},
            (
                "no backup started before 2026-11-23T05:00:00Z; the bucket holds 3, the oldest "
                "20261123T050000Z-3f9a1c, the newest 20261125T050000Z-3f9a1c"
            ),
        ),
        (
            THREE[:1],
            Recover(backup="20200101T000000Z-000000"),
            {},
            "there is no backup 20200101T000000Z-000000; the bucket holds only 20261124T050000Z-3f9a1c",
        ),
    ],
)
def test_a_backup_that_is_not_there_is_told_with_what_there_is(
    manifests: list[Manifest], recover: Recover, unusable: dict[str, StoreError], message: str
) -> None:
    with pytest.raises(BackupNotFound) as raised:
        choose(manifests, recover, unusable=unusable)
    assert str(raised.value) == message


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=8), st.integers(-10, 10**6 + 10))
def test_what_is_chosen_started_before_and_nothing_newer_did(offsets: list[int], limit: int) -> None:
    manifests = [backup(MONDAY + timedelta(seconds=offset), f"{i:06x}") for i, offset in enumerate(offsets)]
    before = MONDAY + timedelta(seconds=limit)
    earlier = [manifest for manifest in manifests if manifest.started_at < before]
    if not earlier:
        with pytest.raises(BackupNotFound):
            choose(manifests, Recover(before=before))
        return
    chosen = choose(manifests, Recover(before=before))
    assert chosen in earlier
    assert all(manifest.started_at <= chosen.started_at for manifest in earlier)
