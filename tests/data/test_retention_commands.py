"""`resguardo retention`, its dry run, and what a person says about a backup, as typed, on a real bucket."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from resguardo.api.manifest import Oddity
from resguardo.rules.grace import GRACE_MIN
from resguardo.store.trash import mark
from tests.fixtures.history import DAY, History
from tests.fixtures.place import Place

HOUR = timedelta(hours=1)


def now() -> datetime:
    return datetime.now(UTC)


def dry_run(history: History) -> dict[str, Any]:
    answer = history.command("retention", "--dry-run", "-o", "json")
    assert answer.returncode == 0, answer.stderr
    seen: dict[str, Any] = json.loads(answer.stdout)
    return seen


def steps(seen: dict[str, Any]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for backup in seen["backups"]:
        if "step" in backup:
            found.setdefault(backup["step"], []).append(backup["id"])
    return found


class TestDryRun:
    def test_it_changes_nothing_and_a_run_then_does_what_it_said(self, history: History) -> None:
        ids = history.add_days(11)
        before = history.under()
        seen = dry_run(history)
        assert history.under() == before
        assert steps(seen) == {"mark": ids[:3]}
        assert [(backup["id"], backup["keep"]) for backup in seen["backups"]] == [
            (name, name not in ids[:3]) for name in ids
        ]
        assert seen["backups"][0]["reasons"] == ["no rule keeps it"]
        assert seen["paused"] is None

        assert history.command("retention").returncode == 0
        assert history.marked == ids[:3]
        seen = dry_run(history)
        assert steps(seen) == {"wait": ids[:3]}
        goes_at = datetime.fromisoformat(seen["backups"][0]["goesAt"])
        assert goes_at - datetime.fromisoformat(seen["backups"][0]["markedAt"]) == DAY

        history.age_markers()
        assert history.command("pin", ids[0]).returncode == 0
        assert steps(dry_run(history)) == {"purge": ids[1:3]}
        run = history.command("retention")
        assert "2 were removed" in run.stderr
        assert history.backups == [ids[0], *ids[3:]]
        assert steps(dry_run(history)) == {}

    def test_a_pause_shows_in_both(self, history: History) -> None:
        history.add_days(30)
        seen = dry_run(history)
        assert seen["paused"]["reason"] == "TooMuchAtOnce"
        assert seen["planHash"] in seen["paused"]["message"]
        assert {reason for backup in seen["backups"] for reason in backup["reasons"]} >= {"paused: TooMuchAtOnce"}
        assert steps(seen) == {}
        run = history.command("retention")
        assert (run.returncode, "accept-plan" in run.stderr) == (0, True)
        assert history.marked == []

    def test_as_a_table_it_says_when_what_is_marked_goes(self, history: History) -> None:
        ids = history.add_days(10)
        history.enforce()
        answer = history.command("retention", "--dry-run")
        (line,) = [line for line in answer.stdout.splitlines() if line.startswith(ids[0])]
        assert "no rule keeps it" in line
        assert "marked, goes after 20" in line
        assert "8 stay, 2 go" in answer.stdout

    def test_anothers_prefix_is_refused_as_by_a_run(self, history: History) -> None:
        history.store.delete("resguardo.json")
        for arguments in (["retention"], ["retention", "--dry-run"], ["pin", "20260101T000000Z-aaaaaa"]):
            answer = history.command(*arguments)
            assert (answer.returncode, "PrefixOwned" in answer.stderr) == (34, True)

    def test_a_policy_without_retention_is_refused(self, history: History) -> None:
        history.spec = {}
        for arguments in (["retention"], ["retention", "--dry-run"]):
            answer = history.command(*arguments)
            assert (answer.returncode, "no spec.retention" in answer.stderr) == (10, True)


class TestWhatAPersonSays:
    def test_each_may_be_said_again(self, history: History) -> None:
        ids = history.add_days(3)
        for command, key in [("pin", "pins"), ("accept", "accepted")]:
            said: list[bytes] = []
            for _ in range(2):
                answer = history.command(command, ids[0])
                assert (answer.returncode, ids[0] in answer.stdout) == (0, True)
                said.append(history.store.get(f"{key}/{ids[0]}.json", max_bytes=1000).body)
            assert history.under(f"{key}/") == [f"{key}/{ids[0]}.json"]
            assert said == [said[0]] * 2, "when it was said first stays written"
        for _ in range(2):
            assert history.command("unpin", ids[0]).returncode == 0
            assert history.under("pins/") == []

    def test_an_undelete_lasts(self, history: History) -> None:
        ids = history.add_days(10)
        history.enforce()
        for _ in range(2):
            assert history.command("undelete", ids[0]).returncode == 0
        history.age_markers()
        history.enforce()
        assert history.backups == [ids[0], *ids[2:]]
        history.command("unpin", ids[0])
        history.enforce()
        assert history.marked == ids[:1]

    @pytest.mark.parametrize("command", ["pin", "unpin", "undelete", "accept"])
    def test_an_unknown_backup_is_told_with_what_there_is(self, history: History, command: str) -> None:
        ids = history.add_days(3)
        answer = history.command(command, "20200101T000000Z-abcdef")
        assert answer.returncode == 40
        assert f"the bucket holds 3, the oldest {ids[0]}, the newest {ids[2]}" in answer.stderr
        answer = history.command(command, "latest")
        assert (answer.returncode, "resguardo catalog" in answer.stderr) == (2, True)

    def test_an_accepted_odd_backup_ends_the_pause(self, history: History) -> None:
        ids = history.add_days(10)
        odd = history.add(now(), oddities=[Oddity(oddness="Grew", message="twice")])
        assert dry_run(history)["paused"]["reason"] == "NewestIsOdd"
        assert history.command("accept", odd).returncode == 0
        seen = dry_run(history)
        assert seen["paused"] is None
        assert steps(seen) == {"mark": ids[:2]}

    def test_a_plan_is_accepted_by_its_hash_and_no_other(self, history: History) -> None:
        ids = history.add_days(30)
        plan = dry_run(history)["planHash"]
        assert history.command("accept-plan", "0" * 16).returncode == 12
        assert history.command("accept-plan", "all of it").returncode == 2
        for _ in range(2):
            assert history.command("accept-plan", plan).returncode == 0
        assert history.enforce().reason == "RetentionEnforced"
        assert history.marked == ids[:22]
        assert history.command("accept-plan", plan).returncode == 0, "carried out, it may be said again"


@pytest.mark.parametrize(("ahead", "paused"), [("+7m", True), ("-7m", True), ("+3m", False)])
def test_a_clock_that_is_not_the_stores_pauses_retention(history: History, ahead: str, paused: bool) -> None:
    if not Path("/usr/bin/faketime").exists():
        pytest.skip("no faketime here: apt-get install faketime")
    history.add_days(10)
    run = history.command("retention", before=("/usr/bin/faketime", "-f", ahead))
    assert run.returncode == 0
    assert ("set the one that is wrong" in run.stderr) == paused
    assert len(history.marked) == (0 if paused else 2)


def test_of_two_clocks_the_one_that_takes_less_decides_about_max_age(history: History) -> None:
    if not Path("/usr/bin/faketime").exists():
        pytest.skip("no faketime here: apt-get install faketime")
    history.spec["retention"] = {"daily": "7d", "minimum": 1, "maxAge": "36h"}
    over = history.add(now() - 37 * HOUR)
    history.add(now() - 36 * HOUR + timedelta(minutes=4))
    history.add(now() - HOUR)
    history.command("retention", before=("/usr/bin/faketime", "-f", "+7m"))
    assert history.marked == [over]


def test_a_clock_that_is_an_hour_off_is_told_with_both_times(history: History) -> None:
    if not Path("/usr/bin/faketime").exists():
        pytest.skip("no faketime here: apt-get install faketime")
    history.add_days(10)
    run = history.command("retention", before=("/usr/bin/faketime", "-f", "+1h"))
    assert (run.returncode, "clock" in run.stderr) == (31, True), run.stderr
    assert history.marked == []


def test_a_restore_of_a_backup_that_may_go_meanwhile_is_refused_before_anything_is_touched(place: Place) -> None:
    policy = place.policy(retention={"daily": "7d"})
    report, _, _ = place.run("backup", "-f", policy)
    assert report.backup is not None
    name = report.backup.id
    store = place.s3.store(place.bucket, prefix=place.prefix)
    mark(store, name, reasons=["no rule keeps it"], grace=GRACE_MIN, at=now())
    history = History(place.s3, place.bucket, place.folder)
    before = place.databases()

    history.date(f"trash/{name}.json", now() - 20 * HOUR)  # four hours are left, and a request may take six
    refused = place.fail("restore", "-f", place.request("late", database="copia"), "-f", policy)
    assert (refused.reason, f"resguardo undelete {name}" in refused.message) == ("BackupMarked", True)
    assert place.databases() == before

    history.date(f"trash/{name}.json", now() - 16 * HOUR)
    report, _, _ = place.run("restore", "-f", place.request("in-time", database="copia"), "-f", policy)
    assert report.reason == "Restored"
