"""Object lock by tier: brief while a backup is made, then as long as it stands for something, and nobody lifts it before."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from resguardo.api.durations import parse_span
from resguardo.api.errors import ObjectLockNotHonoured, ObjectMissing, StoreAccessDenied, StoreError
from resguardo.api.store_fields import ObjectLock
from resguardo.jobs import backup
from resguardo.rules.locks import Lock
from resguardo.store.layout import LOCK_PROBE_KEY, manifest_key
from resguardo.store.locks import held_like, lock_backup, probe_locks
from resguardo.store.marks import Verification, record_verification
from resguardo.store.s3 import S3Store
from tests.fixtures.history import DAY, History
from tests.fixtures.people import ANA, EVA, give, sealed_to
from tests.fixtures.place import SECONDS, Place
from tests.fixtures.s3 import S3Server

SOON = timedelta(minutes=2)
ASKED = ObjectLock.model_validate({"mode": "Governance", "byTier": {"daily": "30d"}})


def later(length: timedelta = SOON) -> datetime:
    return datetime.now(UTC).replace(microsecond=0) + length


@pytest.fixture(params=["versitygw", "minio"])
def server(request: pytest.FixtureRequest) -> S3Server:
    name = "s3_server" if request.param == "versitygw" else "minio_server"
    found: S3Server = request.getfixturevalue(name)
    return found


@pytest.fixture
def bucket(server: S3Server) -> str:
    return server.make_bucket(locks=True)


@pytest.fixture
def store(server: S3Server, bucket: str) -> S3Store:
    return server.store(bucket)


def send(store: Any, key: str) -> None:
    upload = store.begin_upload(key)
    upload.upload_part(1, b"x", start=0, sha256=hashlib.sha256(b"x").digest())
    upload.complete()


def lock_by(write: str, store: S3Store) -> None:
    """Lock an object in one of three ways; `x` is there."""
    lock = Lock("Governance", later())
    if write == "put":
        store.locking(lock).put("y", b"y")
    elif write == "parts":
        send(store.locking(lock), "y")
    else:
        store.extend_lock("x", lock)


class TestTheStore:
    @pytest.mark.parametrize("mode", ["Governance", "Compliance"])
    def test_what_is_written_through_it_is_locked_and_all_else_is_not(self, store: S3Store, mode: str) -> None:
        lock = Lock(mode, later())
        locking = store.locking(lock)
        locking.put("whole", b"x", if_absent=True)
        send(locking, "parts")
        store.put("free", b"x")
        assert [store.lock_of(key) for key in ("whole", "parts", "free", "none")] == [lock, lock, None, None]
        assert store.is_locked("parts")
        problems = store.erase("whole", "parts", "free")
        assert problems.keys() == {"whole", "parts"}
        assert {type(problem) for problem in problems.values()} == {StoreAccessDenied}

    @pytest.mark.parametrize("mode", ["Governance", "Compliance"])
    def test_a_lock_is_extended_and_never_shortened_nor_is_its_mode_changed(self, store: S3Store, mode: str) -> None:
        first, second = Lock(mode, later()), Lock(mode, later(2 * SOON))
        store.put("x", b"x")
        store.extend_lock("x", first)
        assert store.lock_of("x") == first
        other = "Compliance" if mode == "Governance" else "Governance"
        store.extend_lock("x", Lock(other, second.until))
        assert store.lock_of("x") == second
        store.extend_lock("x", first)
        assert store.lock_of("x") == second

    def test_the_same_bytes_that_stand_without_a_lock_are_not_taken_for_locked_ones(self, store: S3Store) -> None:
        """given an object that is not locked, when a locking store is told to write just that, then it says that it did not"""
        store.put("x", b"x")
        with pytest.raises(ObjectLockNotHonoured, match="and is not at all"):
            store.locking(Lock("Governance", later())).put("x", b"x", if_absent=True)

    def test_where_nothing_is_there_is_nothing_to_lock(self, store: S3Store) -> None:
        with pytest.raises(ObjectMissing):
            store.extend_lock("none", Lock("Governance", later()))

    @pytest.mark.parametrize("write", ["put", "parts", "extend"])
    def test_a_bucket_without_locks_says_so(self, server: S3Server, write: str) -> None:
        store = server.store(server.make_bucket())
        store.put("x", b"x")
        with pytest.raises(ObjectLockNotHonoured, match="turned on when a bucket is made: use one that has it"):
            lock_by(write, store)

    @pytest.mark.parametrize("write", ["put", "parts", "extend"])
    def test_a_store_that_does_not_say_that_it_locks_is_not_believed(self, store: S3Store, write: str) -> None:
        store._client.meta.events.register(
            "after-call.s3.GetObjectRetention", lambda parsed, **_: parsed.pop("Retention", None)
        )
        store.put("x", b"x")
        with pytest.raises(ObjectLockNotHonoured, match="and is not at all"):
            lock_by(write, store)

    def test_a_probe_may_be_made_again_and_leaves_one_object(self, store: S3Store, server: S3Server) -> None:
        for _ in range(2):
            probe_locks(store, ASKED)
        assert [found.key for found in store.list("")] == [LOCK_PROBE_KEY]
        with pytest.raises(ObjectLockNotHonoured):
            probe_locks(server.store(server.make_bucket()), ASKED)

    def test_what_is_added_to_a_backup_is_locked_as_long_as_its_manifest_if_that_is(self, store: S3Store) -> None:
        backup_id, lock = "20261123T050000Z-3f9a1c", Lock("Governance", later())
        store.put(manifest_key(backup_id), b"x")
        held_like(store, backup_id).put("free", b"x")
        store.extend_lock(manifest_key(backup_id), lock)
        held_like(store, backup_id).put("held", b"x")
        assert (store.lock_of("free"), store.lock_of("held")) == (None, lock)

    def test_of_a_backup_the_manifest_comes_last_so_that_a_cut_is_seen_and_mended(
        self, store: S3Store, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        backup_id, lock = "20261123T050000Z-3f9a1c", Lock("Governance", later())
        keys = [f"backups/{backup_id}/{name}" for name in ("data/a", "data/b", "key.age", "manifest.json")]
        for key in keys:
            store.put(key, b"x")
        store.put("backups/20261123T050000Z-3f9a1d/manifest.json", b"x")
        extend = S3Store.extend_lock

        def cut(self: S3Store, key: str, lock: Lock) -> None:
            if key.endswith("/data/b"):
                raise StoreError("cut")
            extend(self, key, lock)

        with monkeypatch.context() as patch:
            patch.setattr(S3Store, "extend_lock", cut)
            with pytest.raises(StoreError, match="cut"):
                lock_backup(store, backup_id, lock)
        assert store.lock_of(manifest_key(backup_id)) is None
        assert lock_backup(store, backup_id, lock)
        assert [store.lock_of(key) for key in keys] == [lock] * 4
        assert not lock_backup(store, backup_id, lock)
        assert store.lock_of("backups/20261123T050000Z-3f9a1d/manifest.json") is None


LOCK = {"mode": "Compliance", "byTier": {"daily": "30d", "weekly": "3mo", "monthly": "1y"}}
SCHEDULED = {"RESGUARDO_JOB_NAME": "portal-backup-29400000"}


class TestBackups:
    @pytest.fixture
    def locked(self, place: Place, minio_server: S3Server) -> Place:
        bucket = minio_server.make_bucket(locks=True)
        return replace(place, s3=minio_server, bucket=bucket, store={"objectLock": LOCK}, environment=SCHEDULED)

    def locks(self, place: Place) -> dict[str, datetime | None]:
        """Until when each version of each object under the prefix is locked."""
        found: dict[str, datetime | None] = {}
        for version in place.s3.root.list_object_versions(Bucket=place.bucket).get("Versions", []):
            head = place.s3.root.head_object(Bucket=place.bucket, Key=version["Key"], VersionId=version["VersionId"])
            found[version["Key"].removeprefix("prod/")] = head.get("ObjectLockRetainUntilDate")
        return found

    def test_all_of_a_backup_is_locked_as_long_as_it_stands_for_its_month_and_nothing_else_is(
        self, locked: Place
    ) -> None:
        policy = locked.policy(retention={"daily": "30d", "weekly": "3mo", "monthly": "1y"})
        locked.run("check", "-f", policy)
        report, _, _ = locked.run("backup", "-f", policy)
        assert report.backup is not None
        start = report.backup.started_at
        until = start.replace(year=start.year + 1)
        assert f"locked until {until:%Y-%m-%dT%H:%M:%SZ}" in report.message
        found = self.locks(locked)
        of_backup = {key: lock for key, lock in found.items() if key.startswith("backups/")}
        assert len(of_backup) == 8
        assert set(of_backup.values()) == {until}
        assert {key for key, lock in found.items() if lock and not key.startswith("backups/")} == {LOCK_PROBE_KEY}

        # A second one on that day stands for nothing: it is free when its day is over
        again, _, _ = locked.run("backup", "-f", policy)
        assert again.backup is not None
        second = {lock for key, lock in self.locks(locked).items() if again.backup.id in key and "attempts" not in key}
        (lock,) = second
        assert lock is not None
        assert lock - again.backup.started_at == timedelta(minutes=5) + DAY

        # And a run of retention finds nothing that it would have to lock
        retention, _, _ = locked.run("retention", "-f", policy)
        assert "locked" not in retention.message

    def test_a_key_that_is_added_later_is_locked_as_long_as_its_backup(self, locked: Place) -> None:
        """given a locked backup, when it is given to another recipient, then what opens it for them is held as the backup is"""
        policy = locked.policy(encryption=sealed_to(ANA), retention={"monthly": "1y"})
        report, _, _ = locked.run("backup", "-f", policy)
        assert report.backup is not None
        before = self.locks(locked)
        until = before[manifest_key(report.backup.id)]
        assert until is not None

        give(locked, ANA.file)
        policy = locked.policy(encryption=sealed_to(ANA, EVA), retention={"monthly": "1y"})
        rewrap = locked.start("keys", "rewrap", "all", "-f", policy)
        _, errors = rewrap.communicate(timeout=SECONDS)
        assert rewrap.returncode == 0, errors.decode()
        added = {key: lock for key, lock in self.locks(locked).items() if key not in before}
        assert sorted(key.rsplit(".", 1)[1] for key in added) == ["age", "json"]
        assert set(added.values()) == {until}

    def test_what_a_failed_backup_leaves_is_free_after_a_day(
        self, locked: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def fail(*_: Any) -> None:
            raise StoreError("the store said no")

        monkeypatch.setattr(backup, "commit_manifest", fail)
        began = datetime.now(UTC)
        outcome = locked.back_up_here(retention={"monthly": "1y"})
        assert outcome.report.reason == "StoreError"
        locks = [lock for lock in self.locks(locked).values() if lock is not None]
        assert locks, "what is locked cannot be removed at once"
        assert all(lock - began < timedelta(minutes=6) + DAY for lock in locks)

    def test_a_bucket_without_locks_is_refused_by_the_check(self, place: Place, minio_server: S3Server) -> None:
        plain = replace(place, s3=minio_server, bucket=minio_server.make_bucket(), store={"objectLock": LOCK})
        report = plain.fail("check", "-f", plain.policy())
        assert report.reason == "ObjectLockNotHonoured"
        assert "has no object lock" in report.message
        assert plain.object_keys() == []

    def test_a_lock_that_outlives_max_age_is_refused(self, locked: Place) -> None:
        report = locked.fail("check", "-f", locked.policy(retention={"daily": "30d", "maxAge": "6mo"}))
        assert report.reason == "LockOutlivesMaxAge"
        assert "objectLock.byTier.monthly is 1y" in report.message


class TestRetention:
    @pytest.fixture
    def history(self, s3_server: S3Server, tmp_path: Path) -> History:
        made = History(s3_server, s3_server.make_bucket(locks=True), tmp_path)
        store = s3_server.spec(made.bucket, prefix="prod").model_dump(by_alias=True, exclude_none=True)
        made.spec = {
            "retention": {"daily": "7d", "weekly": "3mo"},
            "store": {"s3": store | {"objectLock": {"mode": "Governance", "byTier": {"daily": "7d", "weekly": "3mo"}}}},
        }
        made.claim()
        return made

    def test_a_backup_that_comes_to_stand_for_its_week_is_locked_for_that_once(self, history: History) -> None:
        today = datetime.now(UTC).replace(hour=2, minute=0, second=0, microsecond=0)
        monday = today - timedelta(days=14 + today.weekday())
        first, second = (history.add(monday + number * DAY) for number in range(2))
        last = history.add(today - DAY)
        assert "locked for longer" in history.enforce().message
        store = history.store

        def until(backup_id: str) -> datetime | None:
            lock = store.lock_of(manifest_key(backup_id))
            return lock.until if lock else None

        # The second stands for nothing, as long as the first is good
        assert until(first) == _three_months(monday)
        assert until(second) is None
        assert until(last) is not None

        record_verification(store, first, Verification(at=datetime.now(UTC), ok=False, message="cut"))
        assert "1 were locked for longer" in history.enforce().message
        assert until(second) == _three_months(monday + DAY)
        assert "locked for longer" not in history.enforce().message


def _three_months(moment: datetime) -> datetime:
    return parse_span("3mo").after(moment)
