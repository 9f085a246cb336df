"""Storage classes: which object is written in which, whether a store has them, and a backup that lies in an archive.

versitygw has one class and no archive: a proxy of our own plays those of AWS in front of it (tests/fixtures/s3_shelf.py).
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from resguardo.api.documents import read_documents
from resguardo.api.errors import DeadlineExceeded, IdentityRefused, ObjectFrozen, StorageClassRefused
from resguardo.api.manifest import Manifest, ObjectRole
from resguardo.api.policy import BackupPolicy
from resguardo.api.report import Report, Task
from resguardo.api.request import RestoreRequest
from resguardo.api.roles import Role
from resguardo.jobs import archive
from resguardo.jobs.credentials import Credentials
from resguardo.jobs.progress import LogProgress
from resguardo.jobs.restore import origin_of, restore
from resguardo.jobs.task import Context, perform, subject_of
from resguardo.jobs.verify import Verified, verify
from resguardo.store.catalogue import list_backups
from resguardo.store.classes import probe_classes
from resguardo.store.identities import parse_identities
from resguardo.store.protocol import Availability
from resguardo.store.s3 import S3Store
from resguardo.store.seal import seal
from resguardo.store.signatures import ANYBODY
from tests.data.test_encryption import ANA, EVA, RUI, Person, give, sealed_to
from tests.fixtures.place import Place
from tests.fixtures.s3 import S3Server
from tests.fixtures.s3_proxy import Harm, Proxy, run_proxy
from tests.fixtures.s3_shelf import Shelf

TIERS = {"daily": "30d", "weekly": "3mo", "monthly": "1y"}
SCHEDULED = {"RESGUARDO_JOB_NAME": "portal-backup-29400000"}
ID = "20261123T050000Z-3f9a1c"


@pytest.fixture
def shelf() -> Shelf:
    return Shelf()


@pytest.fixture
def proxy(s3_server: S3Server, shelf: Shelf) -> Iterator[Proxy]:
    with run_proxy(s3_server.endpoint, shelf=shelf) as running:
        yield running


@pytest.fixture
def store(s3_server: S3Server, s3_bucket: str, proxy: Proxy) -> S3Store:
    return s3_server.store(s3_bucket, endpoint=proxy.endpoint)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """An archive that answers in moments, and is looked at as often."""
    monkeypatch.setattr(archive, "PAUSE_SECONDS", 0.02)
    monkeypatch.setattr(archive, "PAUSE_MAX_SECONDS", 0.05)


class TestTheStore:
    @pytest.mark.parametrize("size", [5, 40 * 1024 * 1024], ids=["whole", "in parts"])
    def test_an_object_has_the_class_that_was_asked_for_and_its_blocks_the_usual_one(
        self, store: S3Store, shelf: Shelf, size: int
    ) -> None:
        chunks = (os.urandom(min(size, 2**20)) for _ in range(max(1, size // 2**20)))
        entry = seal(store, ID, "data/dump.zst", ObjectRole.DUMP, chunks, storage_class="GLACIER_IR")
        assert entry.storage_class == "GLACIER_IR"
        found = store.head(f"backups/{ID}/data/dump.zst")
        assert found is not None
        assert found.storage_class == "GLACIER_IR"
        assert list(shelf.classes.values()) == ["GLACIER_IR"], "and nothing else"
        assert store.availability(f"backups/{ID}/data/dump.zst") is Availability.READY

    def test_an_object_without_a_class_has_the_usual_one(self, store: S3Store) -> None:
        store.put("x", b"x")
        found = store.head("x")
        assert found is not None
        assert found.storage_class == "STANDARD"
        assert store.availability("x") is Availability.READY
        assert store.availability("y") is None

    def test_what_is_kept_in_another_class_is_as_good_a_backup_and_says_so(
        self, s3_server: S3Server, s3_bucket: str
    ) -> None:
        entry = seal(
            s3_server.store(s3_bucket), ID, "data/dump.zst", ObjectRole.DUMP, iter([b"x"]), storage_class="GLACIER_IR"
        )
        assert entry.storage_class == "STANDARD"

    def test_an_object_in_an_archive_is_asked_for_and_comes_back(self, store: S3Store, shelf: Shelf) -> None:
        store.put("x", b"x", storage_class="DEEP_ARCHIVE")
        assert store.availability("x") is Availability.FROZEN
        with pytest.raises(ObjectFrozen, match="lies in an archive"):
            store.get("x", max_bytes=1)
        for _ in range(2):
            store.bring_back("x", keep=timedelta(hours=30))
        assert len(shelf.requests) == 1
        assert "<Days>2</Days>" in shelf.requests[0]
        assert "<Tier>Standard</Tier>" in shelf.requests[0]
        assert [store.availability("x") for _ in range(3)] == [
            Availability.COMING_BACK, Availability.COMING_BACK, Availability.READY,
        ]  # fmt: skip
        assert store.get("x", max_bytes=1).body == b"x"
        store.bring_back("x", keep=timedelta(hours=1))
        assert len(shelf.requests) == 2, "asked again, it stays longer"


class TestTheCheck:
    def test_every_class_is_tried_and_nothing_is_left(self, store: S3Store) -> None:
        probe_classes(store, ["GLACIER_IR", "STANDARD", "DEEP_ARCHIVE"])
        assert list(store.list("")) == []

    def test_classes_that_the_store_does_not_know_are_all_named(self, store: S3Store) -> None:
        with pytest.raises(StorageClassRefused) as refused:
            probe_classes(store, ["COLD", "STANDARD_IA", "WARM"])
        assert str(refused.value).count("does not know the storage class") == 2
        assert list(store.list("")) == []

    def test_a_store_that_takes_any_class_and_keeps_all_in_one_is_told(self, place: Place) -> None:
        place.store = {"storageClasses": {"daily": "STANDARD_IA", "monthly": "STANDARD"}}
        report = place.fail("check", "-f", place.policy(retention=TIERS))
        assert report.reason == "StorageClassRefused"
        assert "keeps an object in class STANDARD that was to be in STANDARD_IA" in report.message


@pytest.fixture
def classed(place: Place, proxy: Proxy) -> Place:
    """A place whose store has classes."""
    place.store = {
        "endpoint": proxy.endpoint,
        "storageClasses": {"daily": "STANDARD_IA", "weekly": "GLACIER_IR", "monthly": "GLACIER"},
    }
    return place


def backed_up(place: Place, **changes: Any) -> Manifest:
    report, _, errors = place.run("backup", "-f", place.policy(retention=TIERS, **changes))
    assert report.backup is not None, errors
    store = place.s3.store(place.bucket, prefix=place.prefix)
    return next(
        entry.manifest for entry in list_backups(store, ANYBODY) if entry.manifest and entry.id == report.backup.id
    )


def test_a_backups_dump_is_in_the_class_of_its_longest_tier_and_all_else_in_the_usual_one(
    classed: Place, shelf: Shelf
) -> None:
    assert classed.run("check", "-f", classed.policy(retention=TIERS))[0].reason == "CheckPassed"
    classed.environment = SCHEDULED
    scheduled = backed_up(classed)
    classed.environment = {}
    manual = backed_up(classed)
    assert scheduled.tiers == ["daily", "weekly", "monthly"]
    assert [entry.storage_class for entry in scheduled.objects] == ["GLACIER", None, None]
    assert [entry.storage_class for entry in manual.objects] == ["STANDARD_IA", None, None]
    assert {path.partition("backups/")[2]: name for path, name in shelf.classes.items()} == {
        f"{scheduled.id}/data/dump.zst": "GLACIER",
        f"{manual.id}/data/dump.zst": "STANDARD_IA",
    }


def documents(place: Place) -> tuple[BackupPolicy, RestoreRequest]:
    text = [Path(place.policy(retention=TIERS)).read_text(), Path(place.request("dr")).read_text()]
    policy, request = read_documents("\n---\n".join(text), origin="test")
    assert isinstance(policy, BackupPolicy)
    assert isinstance(request, RestoreRequest)
    return policy, request


def restored(place: Place, *, timeout: timedelta = timedelta(minutes=3)) -> Report:
    """A restore in this process, whose waits are short."""
    policy, request = documents(place)
    former = {number: signal.getsignal(number) for number in (signal.SIGALRM, signal.SIGTERM, signal.SIGINT)}
    work: Callable[[Context], None] = partial(restore, request, origin_of(request, [policy]))
    try:
        return perform(
            Task.RESTORE, subject_of(request), work, timeout=timeout,
            credentials=Credentials(place.folder / "credentials", {}), progress=LogProgress(),
        ).report  # fmt: skip
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


@pytest.fixture
def frozen(classed: Place, quick: None) -> Place:
    """A backup in GLACIER, whose database is lost."""
    classed.environment = SCHEDULED
    backed_up(classed)
    classed.postgres.drop_database(classed.database)
    return classed


def test_a_backup_in_an_archive_is_asked_for_waited_for_and_restored(
    frozen: Place, shelf: Shelf, capfd: pytest.CaptureFixture[str]
) -> None:
    shelf.looks = 4
    report = restored(frozen)
    assert report.reason == "Restored", report.message
    assert len(shelf.requests) == 1
    assert frozen.postgres.query("SELECT count(*) FROM peticoes", database=frozen.database) == [(50000,)]
    told = capfd.readouterr()
    assert "lies in an archive: it was asked for" in told.out + told.err
    assert "objects are to come" in told.out + told.err


@pytest.mark.fault
def test_a_wait_that_the_timeout_would_cut_ends_with_what_to_do_and_touches_nothing(
    frozen: Place, shelf: Shelf
) -> None:
    shelf.is_stuck = True
    before = frozen.databases()
    report = restored(frozen, timeout=timedelta(seconds=8))
    assert report.reason == "DeadlineExceeded"
    assert "lies in an archive" in report.message
    assert "ask again later, or with a longer timeout" in report.message
    assert frozen.databases() == before
    shelf.is_stuck = False
    assert restored(frozen).reason == "Restored", "what was asked for went on"
    assert len(shelf.requests) == 1


def test_what_cannot_be_asked_for_is_told_with_the_action(
    frozen: Place, shelf: Shelf, monkeypatch: pytest.MonkeyPatch
) -> None:
    denied = b"<?xml version='1.0'?><Error><Code>AccessDenied</Code><Message>no</Message></Error>"
    monkeypatch.setattr(shelf, "_ask", lambda _path, _body: (403, denied))
    report = restored(frozen)
    assert report.reason == "StoreAccessDenied"
    assert "s3:RestoreObject" in report.message


def test_verify_asks_for_all_first_and_reads_those_that_it_can(frozen: Place, shelf: Shelf, proxy: Proxy) -> None:
    frozen.database = frozen.postgres.fresh_database("outra", "CREATE TABLE peticoes AS SELECT 1 AS id")
    frozen.environment = {}
    ready = backed_up(frozen)
    policy, _ = documents(frozen)
    proxy.seen.clear()
    store = Credentials(frozen.folder / "credentials", {}).open_store(policy.spec.store, role=Role.READER)
    found = list(verify(policy, store, "all", LogProgress()))
    assert [one.problem for one in found] == [None, None]
    assert found[0].id == ready.id
    first_read = next(
        number for number, line in enumerate(proxy.seen) if line.startswith("GET") and line.endswith("dump.zst")
    )
    asked = next(number for number, line in enumerate(proxy.seen) if "restore" in line)
    assert asked < first_read


class TestEncrypted:
    """A backup's key stays where it can be read at once, so that who cannot open the backup brings nothing back, and pays nothing."""

    @pytest.fixture
    def sealed(self, classed: Place, shelf: Shelf, request: pytest.FixtureRequest) -> Place:
        """A backup in GLACIER that Ana can open."""
        request.getfixturevalue("quick")
        classed.environment = SCHEDULED
        backed_up(classed, encryption=sealed_to(ANA, RUI))
        assert [path.rpartition("/")[2] for path in shelf.classes] == ["dump.zst.age"], "and nothing else of it"
        return classed

    def verified(self, place: Place, person: Person | None) -> Verified:
        policy, _ = documents(place)
        store = Credentials(place.folder / "credentials", {}).open_store(policy.spec.store, role=Role.READER)
        identities = None if person is None else parse_identities(person.file.encode(), origin="a person")
        (found,) = verify(policy, store, "latest", LogProgress(), identities)
        return found

    def test_who_cannot_open_it_is_told_before_anything_is_asked_for_and_who_can_reads_nothing_too_soon(
        self, sealed: Place, shelf: Shelf
    ) -> None:
        assert isinstance(self.verified(sealed, EVA).problem, IdentityRefused)
        give(sealed, EVA.file)
        assert restored(sealed).reason == "IdentityRefused"
        assert shelf.requests == []
        found = self.verified(sealed, ANA)
        assert (found.problem, found.is_unopened) == (None, False)
        assert len(shelf.requests) == 1
        assert shelf.refused == [], "nothing was read before it was there"

    def test_its_bytes_alone_are_compared_and_it_is_restored_from_what_was_brought_back(
        self, sealed: Place, shelf: Shelf
    ) -> None:
        found = self.verified(sealed, None)
        assert (found.problem, found.is_unopened) == (None, True)
        sealed.postgres.drop_database(sealed.database)
        give(sealed, ANA.file)
        report = restored(sealed)
        assert report.reason == "Restored", report.message
        assert len(shelf.requests) == 1
        assert shelf.refused == []


@pytest.mark.fault
def test_a_store_that_is_away_for_a_while_is_looked_at_again(store: S3Store, proxy: Proxy, quick: None) -> None:
    entry = seal(store, ID, "data/dump.zst", ObjectRole.DUMP, iter([b"x"]), storage_class="GLACIER")
    manifest = Manifest.model_construct(id=ID, objects=[entry])
    assert archive.ask_for(store, manifest, keep=timedelta(hours=1)) == [f"backups/{ID}/data/dump.zst"]
    looks = iter(range(100))
    real = store.availability

    def look(key: str) -> Any:
        if next(looks) == 2:
            proxy.harm(Harm.BUSY, "HEAD", "dump.zst$", times=3)  # as often as this store tries
        return real(key)

    store.availability = look  # type: ignore[method-assign]
    archive.bring_back(store, manifest, LogProgress(), deadline=datetime.now(UTC) + timedelta(minutes=1))
    assert proxy.is_spent
    assert real(f"backups/{ID}/data/dump.zst") is Availability.READY


def test_nothing_is_waited_for_where_the_deadline_comes_first(store: S3Store) -> None:
    entry = seal(store, ID, "data/dump.zst", ObjectRole.DUMP, iter([b"x"]), storage_class="GLACIER")
    manifest = Manifest.model_construct(id=ID, objects=[entry])
    with pytest.raises(DeadlineExceeded, match="lies in an archive"):
        archive.bring_back(store, manifest, LogProgress(), deadline=datetime.now(UTC) + timedelta(seconds=10))
