"""Retention that is cut off, run twice, raced, denied, or looks at a prefix that is another's: nothing half, nothing lost."""

from __future__ import annotations

import json
import shutil
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from resguardo.api.errors import BackupNotFound
from resguardo.jobs import keeping
from resguardo.store.marks import Mark, set_mark
from resguardo.store.orphans import remove_dead_folder
from resguardo.store.ownership import claim
from resguardo.store.s3 import S3Store
from resguardo.store.trash import purge, read_trash, read_trashed, take_back
from tests.fixtures.history import DAY, History
from tests.fixtures.s3 import S3Server
from tests.fixtures.s3_proxy import Harm, Proxy, run_proxy

pytestmark = pytest.mark.fault


#: A folder that never became a backup.
DEAD = "20200101T020000Z-aaaaaa"


def now() -> datetime:
    return datetime.now(UTC)


class Killed(BaseException):
    """As if the process were no more: nothing that it would still send arrives."""


def before_writes(store: S3Store, act: Callable[[int], None]) -> None:
    """Call with 1, 2, … before each request of that store that changes something."""
    counter, lock = iter(range(1, 10_000)), threading.Lock()

    def on_request(request: Any, **_: Any) -> None:
        if request.method in ("PUT", "DELETE", "POST"):
            with lock:
                number = next(counter)
            act(number)

    store._client.meta.events.register("before-send.s3", on_request)


def due(history: History) -> list[str]:
    """Seven days: two backups to remove now, one to take back, one to mark, a dead folder, a record to forget."""
    history.spec["retention"] = {"daily": "3d", "minimum": 1}
    ids = history.add_days(7)
    history.enforce()
    assert history.marked == ids[:3]
    history.age_markers()
    set_mark(history.store, Mark.PINNED, ids[0], at=now())
    ids.append(history.add(now() + timedelta(hours=23), stored_at=now() + timedelta(hours=24)))
    history.put(f"backups/{DEAD}/data/dump.zst", b"x", at=now() - 900 * DAY)
    history.add_attempt(now() - 900 * DAY, ended=True)
    return ids


def assert_done(history: History, ids: list[str]) -> None:
    assert history.backups == [ids[0], *ids[3:]]
    assert history.marked == [ids[3]]
    assert history.about(ids[1:3]) == []
    assert history.under("attempts/") == []
    assert history.under(f"backups/{DEAD}/") == []


def assert_nothing_half(history: History) -> None:
    """Every manifest has its data; of the dead folder the words that forbid one may be left, and wait to be old."""
    whole = set(history.backups) - {DEAD}
    assert {f"backups/{name}/data/dump.zst" for name in whole} <= set(history.under("backups/"))
    if DEAD in history.backups:
        history.date(f"backups/{DEAD}/manifest.json", now() - 9 * DAY)


def test_killed_before_any_of_its_writes_it_leaves_nothing_half_and_the_next_run_ends_the_work(
    history: History, s3_server: S3Server
) -> None:
    ids = due(history)
    place, saved = (s3_server.folder / history.bucket / name for name in ("prod", "saved"))
    shutil.copytree(place, saved)
    cuts = 0
    while True:
        shutil.rmtree(place)
        shutil.copytree(saved, place)
        alive = True

        def cut(number: int, at: int = cuts + 1) -> None:
            nonlocal alive
            if number >= at or not alive:
                alive = False
                raise Killed

        history.watch = lambda store, cut=cut: before_writes(store, cut)
        try:
            history.enforce()
        except Killed:
            cuts += 1
        else:
            break
        assert_nothing_half(history)
        history.watch = lambda _store: None
        assert history.enforce().succeeded
        assert_done(history, ids)
    assert_done(history, ids)
    assert cuts > 15, "every write of a run was a cut"


def test_several_runs_at_once_do_what_one_does(history: History) -> None:
    ids = due(history)
    problems: list[BaseException] = []
    start = threading.Barrier(4)

    def run() -> None:
        start.wait()
        try:
            history.enforce_beside()
        except BaseException as error:
            problems.append(error)

    threads = [threading.Thread(target=run) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert_done(history, ids)


def test_a_manifest_that_arrives_after_all_finds_its_data(history: History) -> None:
    name = history.add(now() - 30 * DAY)
    body = history.store.get(f"backups/{name}/manifest.json", max_bytes=10_000).body
    history.store.delete(f"backups/{name}/manifest.json")
    store = history.store
    before_writes(store, lambda number: history.put(f"backups/{name}/manifest.json", body) if number == 1 else None)
    assert not remove_dead_folder(store, name, now=now(), timeout=timedelta(hours=1))
    assert_nothing_half(history)
    assert history.backups == [name]


def test_a_run_that_is_told_to_stop_says_that_what_it_did_stands(history: History) -> None:
    ids = due(history)

    def stop(number: int) -> None:
        if number == 3:
            signal.raise_signal(signal.SIGTERM)

    history.watch = lambda store: before_writes(store, stop)
    report = history.enforce()
    assert (report.succeeded, report.reason) == (False, "Stopped")
    assert "what was done stands" in report.message
    assert report.inventory is not None
    history.watch = lambda _store: None
    assert history.enforce().succeeded
    assert_done(history, ids)


class TestUndeleteAgainstPurge:
    """Of the two one wins, whoever is faster at whatever moment: the backup is gone, or it is whole, and both sides know."""

    @pytest.fixture
    def marked(self, history: History) -> str:
        ids = history.add_days(9)
        history.enforce()
        history.age_markers()
        assert history.marked == ids[:1]
        return ids[0]

    def is_whole(self, history: History, backup_id: str) -> bool:
        return history.about([backup_id]) == sorted(
            [
                f"backups/{backup_id}/data/dump.zst",
                f"backups/{backup_id}/manifest.json",
                f"pins/{backup_id}.json",
            ]
        )

    @pytest.mark.parametrize("moment", range(1, 9))
    def test_an_undelete_at_any_moment_of_a_purge(self, history: History, marked: str, moment: int) -> None:
        trashed = read_trashed(history.store, marked)
        assert trashed is not None
        taken_back: list[bool] = []

        def undelete(number: int) -> None:
            if number == moment:
                try:
                    keeping.pin(history.policy, history.store, marked, now())
                except BackupNotFound:
                    taken_back.append(False)
                else:
                    taken_back.append(True)

        store = history.store
        before_writes(store, undelete)
        purged = purge(store, trashed)
        if not taken_back:
            assert purged
            assert moment > 5, "the purge was over before"
            return
        assert taken_back == [not purged]
        assert (history.about([marked]) == []) if purged else self.is_whole(history, marked)

    @pytest.mark.parametrize("moment", range(1, 4))
    def test_a_purge_at_any_moment_of_an_undelete(self, history: History, marked: str, moment: int) -> None:
        trashed = read_trashed(history.store, marked)
        assert trashed is not None
        purged: list[bool] = []

        def remove(number: int) -> None:
            if number == moment:
                purged.append(purge(history.store, trashed))

        store = history.store
        before_writes(store, remove)
        try:
            keeping.pin(history.policy, store, marked, now())
        except BackupNotFound:
            assert purged == [True]
            assert history.about([marked]) == []
        else:
            assert purged == [False]
            assert self.is_whole(history, marked)

    def test_a_run_that_read_the_marker_long_ago_removes_nothing_that_was_taken_back(
        self, history: History, marked: str
    ) -> None:
        read_long_ago = read_trash(history.store).marked[marked]
        keeping.pin(history.policy, history.store, marked, now())
        history.enforce()
        assert not purge(history.store, read_long_ago)
        assert self.is_whole(history, marked)

    def test_an_undelete_that_read_the_marker_long_ago_says_that_it_is_too_late(
        self, history: History, marked: str
    ) -> None:
        read_long_ago = read_trash(history.store).marked[marked]
        history.enforce()
        assert history.about([marked]) == []
        assert not take_back(history.store, read_long_ago)

    def test_many_at_once(self, history: History) -> None:
        history.spec["retention"] = {"daily": "15d"}
        ids = history.add_days(30)
        history.enforce()
        history.age_markers()
        going = ids[:14]
        assert history.marked == going
        saved: list[str] = []

        def undelete() -> None:
            for backup_id in reversed(going):
                with suppress(BackupNotFound):
                    keeping.pin(history.policy, history.store, backup_id, now())
                    saved.append(backup_id)

        thread = threading.Thread(target=undelete)
        thread.start()
        history.enforce_beside()
        thread.join()
        history.enforce()
        assert set(history.backups) == {*ids[14:], *saved}
        assert all(self.is_whole(history, backup_id) for backup_id in saved)
        assert history.about(set(going) - set(saved)) == []


class TestDenied:
    def test_keys_that_may_not_delete_mark_and_say_what_is_missing_and_nothing_is_decided(
        self, history: History, s3_server: S3Server
    ) -> None:
        ids = history.add_days(10)
        history.keys = s3_server.make_user()
        allow(history, {"Effect": "Allow", "Action": ["s3:PutObject", "s3:GetObject", "s3:ListBucket"]})
        report = history.enforce()
        assert (report.succeeded, report.reason) == (True, "RetentionEnforced")
        history.age_markers()
        report = history.enforce()
        assert (report.succeeded, report.reason) == (False, "StoreAccessDenied")
        assert "s3:DeleteObject" in report.message
        assert report.inventory is not None
        assert report.inventory.backups == 10
        assert history.backups == ids
        assert all(read.decision is None for read in read_trash(history.store).marked.values())
        allow(history, {"Effect": "Allow", "Action": ["s3:*"]})
        assert history.enforce().succeeded
        assert history.backups == ids[2:]

    def test_what_cannot_be_removed_is_told_and_the_rest_goes(self, history: History, s3_server: S3Server) -> None:
        bucket = s3_server.make_bucket(locks=True)
        history = replace(history, bucket=bucket)
        history.claim()
        ids = history.add_days(11)
        history.enforce()
        history.age_markers()
        held = {"Bucket": bucket, "Key": f"prod/backups/{ids[1]}/data/dump.zst"}
        s3_server.root.put_object_legal_hold(**held, LegalHold={"Status": "ON"})
        report = history.enforce()
        assert (report.succeeded, report.reason) == (False, "StoreAccessDenied")
        assert f"backups/{ids[1]}/data/dump.zst" in report.message
        assert "1 steps of retention failed" in report.message
        assert report.retention is not None
        assert report.retention.removed == 2
        assert history.backups == ids[3:], "without its manifest it is no backup any more"
        assert history.marked == [ids[1]]
        s3_server.root.put_object_legal_hold(**held, LegalHold={"Status": "OFF"})
        assert history.enforce().succeeded
        assert history.about(ids[:3]) == []

    def test_a_locked_backup_stays_and_says_why(self, history: History, s3_server: S3Server) -> None:
        bucket = s3_server.make_bucket(locks=True)
        history = replace(history, bucket=bucket, spec={"retention": {"daily": "7d", "maxAge": "8d"}})
        history.claim()
        ids = history.add_days(10)
        s3_server.root.put_object_legal_hold(
            Bucket=bucket, Key=f"prod/backups/{ids[0]}/manifest.json", LegalHold={"Status": "ON"}
        )
        for _ in range(2):
            assert history.enforce().succeeded
            history.age_markers()
        assert history.backups == [ids[0], *ids[2:]]

    def test_a_lock_that_the_keys_may_not_see_is_met_by_the_removal_and_told(
        self, history: History, s3_server: S3Server
    ) -> None:
        history = replace(history, bucket=s3_server.make_bucket(locks=True), keys=s3_server.make_user())
        actions = ["GetObject", "PutObject", "DeleteObject", "ListBucket", "ListBucketMultipartUploads"]
        allow(history, {"Effect": "Allow", "Action": [f"s3:{action}" for action in actions]})
        history.claim()
        ids = history.add_days(10)
        held = [
            {"Bucket": history.bucket, "Key": f"prod/backups/{ids[0]}/{name}"}
            for name in ("manifest.json", "data/dump.zst")
        ]
        for each in held:
            s3_server.root.put_object_legal_hold(**each, LegalHold={"Status": "ON"})
        assert history.enforce().succeeded
        assert history.marked == ids[:2], "without that right it looks free"
        history.age_markers()
        for _ in range(2):
            report = history.enforce()
            assert (report.succeeded, report.reason) == (False, "StoreAccessDenied")
            assert "1 steps of retention failed, and the others were done" in report.message
            assert f"backups/{ids[0]}/manifest.json" in report.message
            assert history.backups == [ids[0], *ids[2:]]
            assert f"backups/{ids[0]}/data/dump.zst" in history.under("backups/"), "it is whole"
        for each in held:
            s3_server.root.put_object_legal_hold(**each, LegalHold={"Status": "OFF"})
        assert history.enforce().succeeded
        assert history.about(ids[:2]) == []


def allow(history: History, statement: dict[str, Any]) -> None:
    """Give the history's user rights on its bucket."""
    resources = [f"arn:aws:s3:::{history.bucket}", f"arn:aws:s3:::{history.bucket}/*"]
    who = {"Principal": {"AWS": [history.keys.access_key_id]}, "Resource": resources}
    history.server.root.put_bucket_policy(
        Bucket=history.bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [statement | who]})
    )


class TestAStoreThatFails:
    @pytest.fixture
    def proxy(self, s3_server: S3Server) -> Iterator[Proxy]:
        with run_proxy(s3_server.endpoint) as running:
            yield running
            assert running.is_spent, "a fault that never happened proves nothing"

    @pytest.mark.parametrize("harm", [Harm.BUSY, Harm.CUT, Harm.SLOW_DOWN, Harm.LOSE_ANSWER])
    def test_a_delete_that_fails_half_way_is_told_and_ended_by_the_next_run(
        self, history: History, proxy: Proxy, harm: Harm
    ) -> None:
        ids = history.add_days(9)
        history.enforce()
        history.age_markers()
        history.endpoint = proxy.endpoint

        def half_way(store: S3Store) -> None:
            # The probe is a put and a delete; then the decision, the manifest, and the rest of the folder.
            before_writes(store, lambda number: proxy.harm(harm, "POST", "delete", times=3) if number == 5 else None)

        history.watch = half_way
        report = history.enforce()
        assert (report.succeeded, report.reason) == (False, "StoreUnreachable")
        assert history.backups == ids[1:]
        assert history.marked == ids[:1]
        history.watch = lambda _store: None
        assert history.enforce().succeeded
        assert history.about(ids[:1]) == []

    def test_a_decision_whose_answer_is_lost_is_ones_own(self, history: History, proxy: Proxy) -> None:
        ids = history.add_days(9)
        history.enforce()
        history.age_markers()
        history.endpoint = proxy.endpoint
        proxy.harm(Harm.LOSE_ANSWER, "PUT", f"/prod/trash/{ids[0]}/")
        assert history.enforce().succeeded
        assert history.about(ids[:1]) == []

    def test_a_store_that_does_not_answer_is_no_empty_bucket(self, history: History, proxy: Proxy) -> None:
        ids = history.add_days(9)
        history.endpoint = proxy.endpoint
        proxy.harm(Harm.CUT, "GET", f"/{ids[4]}/manifest.json", times=3)
        report = history.enforce()
        assert report.reason == "StoreUnreachable"
        assert history.marked == []


class TestWhosePrefix:
    def test_anothers_prefix_is_not_touched(self, history: History) -> None:
        history.add_days(10)
        history.store.delete("resguardo.json")
        report = history.enforce()
        assert (report.reason, "nobody's" in report.message) == ("PrefixOwned", True)
        claim(history.store, "cluster-2/agepar/other", take_over_from=None, now=now())
        assert history.enforce().reason == "PrefixOwned"
        assert history.marked == []
        assert history.under("resguardo.json") == ["resguardo.json"]

    def test_a_take_over_in_the_middle_ends_the_run_before_the_next_batch(
        self, history: History, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("resguardo.jobs.retention.BATCH", 2)
        history.spec["retention"] = {"daily": "15d"}
        ids = history.add_days(26)

        def taken_over(number: int) -> None:
            if number == 3:
                owner = json.loads(history.store.get("resguardo.json", max_bytes=4096).body)
                claim(history.store, "c2/a/b", take_over_from=f"{owner['owner']}@{owner['epoch']}", now=now())

        history.watch = lambda store: before_writes(store, taken_over)
        assert history.enforce().reason == "PrefixOwned"
        assert history.marked == ids[:4]
