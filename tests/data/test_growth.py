"""Whether a backup's size is normal, found by real backups of a real database; the rules are in tests/unit/test_growth.py."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from resguardo.api.manifest import Oddity
from resguardo.api.policy import BackupSummary
from resguardo.store.catalogue import list_backups, read_manifest
from resguardo.store.layout import rows_key
from resguardo.store.marks import Mark, set_mark
from resguardo.store.protocol import Store
from resguardo.store.signatures import ANYBODY
from tests.fixtures.place import Place


def backed_up(place: Place, policy: str) -> tuple[BackupSummary, str]:
    """What a backup reported, and its log."""
    report, _, log = place.run("backup", "-f", policy)
    assert report.backup is not None
    assert report.newest_backup == report.backup
    return report.backup, log


def change(place: Place, statement: str) -> None:
    with place.postgres.connect(place.database) as connection:
        connection.execute(statement.encode())


def store_of(place: Place) -> Store:
    return place.s3.store(place.bucket)


def oddness(backup: BackupSummary) -> list[str]:
    return [oddity.oddness for oddity in backup.oddities]


def test_a_table_that_was_emptied_is_odd_until_a_person_accepts_it(place: Place) -> None:
    change(place, "CREATE TABLE segredos AS SELECT generate_series(1, 5000) AS i")
    policy = place.policy()
    first, _ = backed_up(place, policy)
    assert oddness(first) == []

    change(place, "TRUNCATE segredos")
    odd, log = backed_up(place, policy)
    assert odd.oddities == [
        Oddity(
            oddness="TablesEmptied", message="a table with 5,000 rows at the last backup: gone, or without a row now"
        )
    ]
    assert "public.segredos: 5,000 rows, now 0" in log

    manifest = read_manifest(store_of(place), odd.id)
    assert manifest.oddities == odd.oddities
    assert "segredos" not in manifest.to_json()
    again, _ = backed_up(place, policy)
    assert oddness(again) == ["TablesEmptied"]

    set_mark(store_of(place), Mark.ACCEPTED, again.id, at=datetime.now(UTC))
    after, _ = backed_up(place, policy)
    assert oddness(after) == []


def test_a_backup_of_less_than_half_the_size_is_odd(place: Place) -> None:
    policy = place.policy()
    backed_up(place, policy)
    change(place, "DELETE FROM peticoes WHERE ctid <> (SELECT min(ctid) FROM peticoes)")
    odd, _ = backed_up(place, policy)
    assert oddness(odd) == ["Shrank"]


@pytest.mark.parametrize(
    ("growth", "odd"),
    [({"minimumBytes": "1Ki"}, []), ({"minimumBytes": "1Ti"}, ["Shrank"])],
)
def test_the_policys_floor(place: Place, growth: dict[str, str], odd: list[str]) -> None:
    backup, _ = backed_up(place, place.policy(growth=growth))
    assert oddness(backup) == odd


def test_a_partition_that_is_dropped_is_no_table_that_is_lost(place: Place) -> None:
    change(
        place,
        "CREATE TABLE diario (i int) PARTITION BY RANGE (i);"
        "CREATE TABLE diario_1 PARTITION OF diario FOR VALUES FROM (0) TO (5000);"
        "CREATE TABLE diario_2 PARTITION OF diario FOR VALUES FROM (5000) TO (10000);"
        "INSERT INTO diario SELECT generate_series(0, 9999)",
    )
    policy = place.policy()
    backed_up(place, policy)
    change(place, "DROP TABLE diario_1")
    backup, _ = backed_up(place, policy)
    assert oddness(backup) == []


def test_the_rows_beside_the_census_name_no_table_and_may_be_lost(place: Place) -> None:
    policy = place.policy()
    first, _ = backed_up(place, policy)
    key = f"prod/{rows_key(first.id)}"
    body = place.s3.root.get_object(Bucket=place.bucket, Key=key)["Body"].read()
    assert b"peticoes" not in body
    assert [rows for _, rows in json.loads(body)["tables"]] == [50000]
    for junk in (b"[[", b'{"formatVersion":99,"tables":[]}', b'{"tables":[["a",1]]}'):
        place.s3.root.put_object(Bucket=place.bucket, Key=key, Body=junk)
        backup, _ = backed_up(place, policy)
        assert oddness(backup) == []


def test_a_scheduled_backup_says_for_which_tiers_it_stands(place: Place) -> None:
    policy = place.policy(retention={"daily": "30d", "weekly": "3mo", "monthly": "1y"})
    place.environment = {"RESGUARDO_JOB_NAME": "portal-backup-29400000"}
    backed_up(place, policy)
    backed_up(place, policy)
    place.environment = {}
    backed_up(place, policy)
    tiers = [entry.manifest.tiers for entry in list_backups(store_of(place), ANYBODY) if entry.manifest]
    # The second one may be of the next day only where midnight came between the two.
    assert sorted(tiers, key=len)[0] == []
    assert ["daily", "weekly", "monthly"] in tiers


def test_a_restore_of_the_latest_takes_the_latest_good_one(place: Place) -> None:
    change(place, "CREATE TABLE segredos AS SELECT generate_series(1, 5000) AS i")
    policy = place.policy()
    good, _ = backed_up(place, policy)
    change(place, "TRUNCATE segredos")
    odd, _ = backed_up(place, policy)
    report, _, log = place.run(
        "restore", "-f", place.request("dr", database=place.postgres.new_name("copia")), "-f", policy
    )
    assert report.reason == "Restored"
    assert report.backup is not None
    assert report.backup.id == good.id
    assert odd.id in log


def annotated(policy: str, **annotations: str) -> str:
    """The same policy with annotations of ours."""
    document = yaml.safe_load(Path(policy).read_text())
    document["metadata"]["annotations"] = {f"resguardo.dev/{key}": value for key, value in annotations.items()}
    Path(policy).write_text(yaml.safe_dump(document))
    return policy


def test_an_annotation_accepts_a_backup_as_a_person_does(place: Place) -> None:
    change(place, "CREATE TABLE segredos AS SELECT generate_series(1, 5000) AS i")
    backed_up(place, place.policy())
    change(place, "TRUNCATE segredos")
    odd, _ = backed_up(place, place.policy())
    assert oddness(odd) == ["TablesEmptied"]
    report, _, _ = place.run("check", "-f", annotated(place.policy(), accept=odd.id))
    assert report.newest_backup is not None
    assert report.newest_backup.id == odd.id
    assert oddness(report.newest_backup) == []
    after, _ = backed_up(place, place.policy())
    assert oddness(after) == []


@pytest.mark.parametrize("value", ["20200101T000000Z-000000", "../../etc/passwd", ""])
def test_an_annotation_that_accepts_nothing_that_is_there_is_logged_and_no_more(place: Place, value: str) -> None:
    report, _, log = place.run("check", "-f", annotated(place.policy(), accept=value))
    assert report.reason == "CheckPassed"
    assert "an annotation accepts a backup that is not there" in log
    assert not [key for key in place.object_keys() if "/accepted/" in key]
