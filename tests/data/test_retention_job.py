"""The retention job on a real bucket: what it marks, removes, takes back, and what it never touches."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from resguardo.api.manifest import Oddity, SourceIdentity
from resguardo.api.names import ACCEPT_PLAN_ANNOTATION
from resguardo.store.marks import Mark, Verification, accept_plan, record_verification, set_mark
from tests.fixtures.history import DAY, History, manifest_of


def now() -> datetime:
    return datetime.now(UTC)


class TestInTwoSteps:
    def test_what_no_rule_keeps_is_marked_and_removed_only_when_its_grace_is_over(self, history: History) -> None:
        ids = history.add_days(10)
        report = history.enforce()
        assert (report.reason, report.succeeded) == ("RetentionEnforced", True)
        assert history.backups == ids
        assert history.marked == ids[:2]
        assert report.retention is not None
        assert (report.retention.marked, report.retention.removed) == (2, 0)
        assert report.retention.next_removal_at is not None
        assert timedelta(hours=23) < report.retention.next_removal_at - now() <= timedelta(hours=24, minutes=1)
        assert report.retention.by_tier == {"daily": 8}
        assert report.retention.bytes_by_tier == {"daily": 8000}

        before = history.under()
        again = history.enforce().retention
        assert again is not None
        assert (again.marked, again.removed, again.by_tier) == (2, 0, {"daily": 8})
        assert history.under() == before, "a run with nothing to do changes nothing"
        history.age_markers(by=DAY - timedelta(minutes=2))
        history.enforce()
        assert history.backups == ids

        history.age_markers(by=DAY + timedelta(minutes=2))
        report = history.enforce()
        assert history.backups == ids[2:]
        assert history.about(ids[:2]) == []
        assert report.retention is not None
        assert (report.retention.marked, report.retention.removed) == (0, 2)
        assert report.inventory is not None
        assert (report.inventory.backups, report.inventory.bytes) == (8, 8000)

    def test_the_grace_is_four_timeouts_where_that_is_more_than_a_day(self, history: History) -> None:
        history.spec |= {"timeout": "12h"}
        ids = history.add_days(10)
        history.enforce()
        history.age_markers(by=2 * DAY - timedelta(minutes=2))
        history.enforce()
        assert history.backups == ids
        history.age_markers(by=2 * DAY + timedelta(minutes=2))
        history.enforce()
        assert history.backups == ids[2:]

    def test_everything_that_was_said_about_a_backup_goes_with_it(self, history: History) -> None:
        ids = history.add_days(10)
        history.put(f"attempts/{ids[0]}.json", b"{}")
        set_mark(history.store, Mark.ACCEPTED, ids[0], at=now())
        record_verification(history.store, ids[0], Verification(at=now(), ok=True))
        history.enforce()
        history.age_markers()
        history.enforce()
        assert history.about(ids[:2]) == []
        (decision,) = [key for key in history.under("trash/") if ids[0] in key]
        history.date(decision, now() - 2 * DAY)
        history.enforce()
        assert not any(ids[0] in key for key in history.under()), "a decision goes when nobody can act on its marker"

    def test_a_mark_is_taken_back_when_the_plan_keeps_its_backup_again(self, history: History) -> None:
        ids = history.add_days(10)
        history.enforce()
        history.age_markers()
        history.spec["retention"] = {"daily": "30d"}
        assert "2 that were to go stay after all" in history.enforce().message
        assert history.marked == []
        history.spec["retention"] = {"daily": "7d"}
        history.enforce()
        history.enforce()
        assert history.marked == ids[:2], "marked anew, with a grace of their own"
        assert history.backups == ids

    def test_the_newest_good_backup_never_goes(self, history: History) -> None:
        ids = history.add_days(5, until=now() - 900 * DAY)
        history.spec["retention"] = {"hourly": "1h", "minimum": 1, "maxAge": "2d"}
        for _ in range(2):
            history.enforce()
            history.age_markers()
        assert history.backups == ids[-1:]


class TestWhatIsNotTouched:
    def test_foreign_objects_and_names_stay_as_they_are(self, history: History) -> None:
        foreign = [
            "backups/notes.txt", "backups/notes/manifest.json", "backups/20260101T000000Z-zzzzzz/manifest.json",
            "attempts/readme.md", "pins/all.json", "trash/x.json", "trash/20260101T000000Z-abcdef.json.bak", "wal/1/2",
            "other.json",
        ]  # fmt: skip
        for key in foreign:
            history.put(key, b"{}", at=now() - 900 * DAY)
        ids = history.add_days(10)
        for _ in range(2):
            assert history.enforce().reason == "RetentionEnforced"
            history.age_markers()
        assert set(foreign) <= set(history.under())
        assert not set(ids[:2]) & set(history.backups)

    @pytest.mark.parametrize(
        "body",
        [b"", b"{", b"[]", b'{"formatVersion":9}', b" " * 70_000],
        ids=["empty", "cut", "list", "newer", "large"],
    )
    def test_a_manifest_that_cannot_be_read_is_kept_and_keeps_nothing_else(self, history: History, body: bytes) -> None:
        old = "20200101T020000Z-abcdef"
        history.put(f"backups/{old}/manifest.json", body, at=now() - 900 * DAY)
        ids = history.add_days(10)
        for _ in range(2):
            assert history.enforce().succeeded
            history.age_markers()
        assert history.backups == [old, *ids[2:]]

    def test_a_manifest_whose_start_is_not_its_ids_is_kept(self, history: History) -> None:
        liar = "20200101T020000Z-abcdef"
        start = now().replace(microsecond=0)
        history.put(f"backups/{liar}/manifest.json", manifest_of(start, backup_id=liar).to_json().encode())
        ids = history.add_days(10)
        for _ in range(2):
            history.enforce()
            history.age_markers()
        assert history.backups == [liar, *ids[2:]]

    @pytest.mark.parametrize("year", [1000, 1960, 9999])
    def test_a_backup_of_an_impossible_year_is_kept(self, history: History, year: int) -> None:
        odd = f"{year}0301T000000Z-abcdef"
        written = json.loads(manifest_of(now(), backup_id=odd).to_json())
        times = dict.fromkeys(("startedAt", "completedAt", "snapshotAt"), f"{year}-03-01T00:00:00Z")
        history.put(f"backups/{odd}/manifest.json", json.dumps(written | times).encode(), at=now() - 2 * DAY)
        ids = history.add_days(10)
        for _ in range(2):
            assert history.enforce().succeeded
            history.age_markers()
        assert sorted(history.backups) == sorted([odd, *ids[2:]])

    def test_pinned_and_depended_on_backups_stay_however_old_they_are(self, history: History) -> None:
        ids = history.add_days(10)
        set_mark(history.store, Mark.PINNED, ids[0], at=now())
        later = history.add(now() - timedelta(minutes=10), depends_on=[ids[1]])
        for _ in range(2):
            history.enforce()
            history.age_markers()
        assert history.backups == [*ids, later]
        history.store.delete(f"pins/{ids[0]}.json")
        for _ in range(2):
            history.enforce()
            history.age_markers()
        assert history.backups == [*ids[1:], later]

    def test_a_marker_that_cannot_be_read_is_told_and_its_backup_stays(self, history: History) -> None:
        ids = history.add_days(10)
        history.put(f"trash/{ids[0]}.json", b"junk", at=now() - 9 * DAY)
        report = history.enforce()
        assert (report.succeeded, report.reason) == (False, "ManifestInvalid")
        assert f"trash/{ids[0]}.json" in report.message
        history.age_markers()
        history.enforce()
        assert history.backups == [ids[0], *ids[2:]]

    @pytest.mark.parametrize("grace", [0, 3600, 10**9])
    def test_a_marker_with_a_grace_that_nobody_gives_removes_nothing(self, history: History, grace: int) -> None:
        ids = history.add_days(10)
        marker = '{"formatVersion":1,"id":"%s","nonce":"%s","markedAt":"2026-01-01T00:00:00Z","graceSeconds":%d}'
        history.put(f"trash/{ids[0]}.json", (marker % (ids[0], "a" * 16, grace)).encode(), at=now() - 9 * DAY)
        assert history.enforce().reason == "ManifestInvalid"
        assert ids[0] in history.backups


class TestPauses:
    """Nothing is removed, marked marks stay as they are, and the Report says why."""

    def paused(self, history: History, reason: str) -> str:
        before = history.under()
        report = history.enforce()
        assert (report.succeeded, report.reason) == (True, reason)
        assert report.retention is not None
        assert report.retention.next_removal_at is None
        assert history.under() == before
        return report.message

    def marked_days(self, history: History) -> list[str]:
        ids = history.add_days(10)
        history.enforce()
        history.age_markers()
        return ids

    def test_after_an_attempt_that_failed(self, history: History) -> None:
        ids = self.marked_days(history)
        failed = history.add_attempt(now() - timedelta(minutes=30), ended=True)
        assert failed in self.paused(history, "LastAttemptFailed")
        history.add(now())
        history.enforce()
        assert history.backups[0] == ids[2], "the next success ends the pause"

    def test_an_attempt_without_an_end_is_running_for_a_while_and_then_failed(self, history: History) -> None:
        ids = history.add_days(10, until=now() - 3 * DAY)
        history.enforce()
        history.age_markers()
        attempt = history.add_attempt(now() - 2 * DAY, ended=False)
        history.date(f"attempts/{attempt}.json", now() - DAY - timedelta(hours=2, minutes=2))
        self.paused(history, "LastAttemptFailed")
        history.date(f"attempts/{attempt}.json", now() - DAY - timedelta(hours=1, minutes=58))
        assert history.enforce().reason == "RetentionEnforced"
        assert history.backups == ids[2:]

    def test_while_the_newest_backup_is_odd_and_nobody_accepted_it(self, history: History) -> None:
        ids = self.marked_days(history)
        odd = history.add(now(), oddities=[Oddity(oddness="Shrank", message="half")])
        assert f"resguardo accept {odd}" in self.paused(history, "NewestIsOdd")
        set_mark(history.store, Mark.ACCEPTED, odd, at=now())
        assert history.enforce().reason == "RetentionEnforced"
        assert history.backups == [*ids[2:], odd]

    def test_when_another_database_took_the_name(self, history: History) -> None:
        self.marked_days(history)
        other = SourceIdentity(system_identifier="8", database="agepar", server_version_num=150000)
        new = history.add(now(), source=other)
        assert f"resguardo accept {new}" in self.paused(history, "SourceChanged")

    def test_while_the_policy_is_suspended(self, history: History) -> None:
        self.marked_days(history)
        history.spec["suspend"] = True
        self.paused(history, "Suspended")

    @pytest.mark.parametrize("by", ["command", "annotation"])
    def test_before_more_than_half_would_go_at_once_until_exactly_that_plan_is_accepted(
        self, history: History, by: str
    ) -> None:
        def accept(plan: str) -> None:
            if by == "command":
                accept_plan(history.store, plan, at=now())
            else:
                history.annotations[ACCEPT_PLAN_ANNOTATION] = plan

        ids = history.add_days(20)
        words = self.paused(history, "TooMuchAtOnce")
        plan = words.split("accept-plan ")[1][:16]
        accept("0" * 16)
        self.paused(history, "TooMuchAtOnce")
        accept(plan)
        assert history.enforce().reason == "RetentionEnforced"
        assert history.marked == ids[:12]
        ids.append(history.add(now() + timedelta(seconds=1), stored_at=now() + timedelta(minutes=1)))
        history.age_markers()
        assert history.enforce().reason == "RetentionEnforced", "what was accepted and marked is not asked about again"
        assert history.backups[0] >= ids[12]

    def test_what_is_older_than_max_age_goes_all_the_same(self, history: History) -> None:
        history.spec["retention"] = {"daily": "7d", "maxAge": "8d"}
        ids = history.add_days(10)
        history.add_attempt(now() - timedelta(minutes=30), ended=True)
        report = history.enforce()
        assert report.reason == "LastAttemptFailed"
        assert history.marked == ids[:2]
        history.age_markers()
        history.enforce()
        assert history.backups == ids[2:]


class TestDamagedAndSuspect:
    def test_a_backup_that_failed_its_verification_stands_for_nothing(self, history: History) -> None:
        history.spec["retention"] = {"daily": "2d", "minimum": 1}
        ids = history.add_days(4)
        record_verification(history.store, ids[-1], Verification(at=now(), ok=False, message="a block is damaged"))
        report = history.enforce()
        assert report.succeeded
        assert history.marked == [], "time is measured from the newest good one"
        record_verification(history.store, ids[-1], Verification(at=now(), ok=True))
        history.enforce()
        assert history.marked == ids[:1]

    def test_a_backup_dated_an_hour_ahead_of_the_stores_time_is_kept_and_shifts_nothing(self, history: History) -> None:
        history.spec["retention"] = {"daily": "7d", "minimum": 1}
        ids = history.add_days(9)
        ahead = history.add(now() + 400 * DAY, stored_at=now())
        history.enforce()
        assert history.marked == ids[:1]
        assert ahead in history.backups


class TestOrphans:
    def test_a_folder_without_a_manifest_goes_when_nobody_can_be_at_work_on_it(self, history: History) -> None:
        dead, alive = "20260101T020000Z-aaaaaa", "20260102T020000Z-bbbbbb"
        discarded = "20260103T020000Z-cccccc"
        for name in (dead, alive, discarded):
            history.put(f"backups/{name}/data/dump.zst", b"x", at=now() - 9 * DAY)
            history.put(f"backups/{name}/census.json.zst", b"x", at=now() - DAY - timedelta(hours=2, minutes=2))
        history.put(f"backups/{discarded}/manifest.json", b'{"discarded":true}\n', at=now() - 9 * DAY)
        history.date(f"backups/{alive}/census.json.zst", now() - DAY - timedelta(hours=1, minutes=58))
        ids = history.add_days(3)
        assert history.enforce().succeeded
        assert {key.split("/")[1] for key in history.under("backups/")} == {alive, *ids}

    def test_records_of_failures_go_when_they_are_older_than_the_longest_tier(self, history: History) -> None:
        old = history.add_attempt(now() - 8 * DAY, ended=True)
        recent = history.add_attempt(now() - 6 * DAY, ended=True)
        history.add_days(3)
        history.enforce()
        assert history.under("attempts/") == [f"attempts/{recent}.json"]
        assert old not in history.under()
