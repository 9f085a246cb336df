"""The store misbehaves while a backup is made by the command: it is ridden out, or told, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from resguardo.store import s3
from resguardo.store.catalogue import list_backups
from resguardo.store.discard import DISCARDED, discard_backup
from resguardo.store.signatures import ANYBODY
from tests.fixtures.place import Place, wait_for
from tests.fixtures.s3_proxy import ANY, Harm, Proxy, run_proxy

pytestmark = pytest.mark.fault

DUMP = "data/dump.zst$"
ALWAYS = 1_000_000


@pytest.fixture
def proxy(place: Place) -> Iterator[Proxy]:
    """Between the commands and the store; the tests look at the store itself."""
    with run_proxy(place.s3.endpoint) as running:
        place.store["endpoint"] = running.endpoint
        yield running


def assert_restores(place: Place) -> None:
    """The newest backup comes back, equal to its census."""
    place.postgres.drop_database(place.database)
    report, _, _ = place.run("restore", "-f", place.request("proof"), "-f", place.policy())
    assert report.reason == "Restored"


#: Every kind of write there is in a backup.
WRITES = {
    "put": ("PUT", "data/globals.sql.zst$"),
    "put of the attempt": ("PUT", "attempts/"),
    "create-if-absent, of the manifest": ("PUT", "manifest.json"),
    "create-if-absent, of the owner": ("PUT", "resguardo.json"),
    "begin of an upload": ("POST", "?uploads"),
    "part": ("PUT", "partNumber=2"),
    "complete": ("POST", "uploadId="),
}


def test_writes_whose_answers_are_lost_are_a_backup_that_restores(place: Place, proxy: Proxy) -> None:
    """All in one backup: each is lost once, and would be told by itself."""
    place.grow_noise()
    for method, within in WRITES.values():
        proxy.harm(Harm.LOSE_ANSWER, method, within)
    report, _, _ = place.run("backup", "-f", place.policy())
    assert proxy.is_spent, proxy.faults
    assert report.inventory is not None
    assert report.inventory.backups == 1
    assert place.uploads() == []
    assert_restores(place)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> int:
    """The attempts of a store that is out of patience within seconds, where a pod's would be only after minutes."""
    monkeypatch.setattr(s3, "PATIENT_ATTEMPTS", 3)
    return 3


def test_a_manifest_of_which_nobody_ever_hears_but_that_stands_is_a_backup(
    place: Place, proxy: Proxy, impatient: int
) -> None:
    proxy.harm(Harm.LOSE_ANSWER, "PUT", "manifest.json", times=impatient)
    report = place.back_up_here().report
    assert report.succeeded, report.message
    assert proxy.is_spent
    assert report.newest_backup == report.backup


@pytest.mark.parametrize("answer", ["abort", "delete"])
def test_answers_that_are_lost_while_a_failed_backup_is_removed_change_nothing(
    place: Place, proxy: Proxy, answer: str
) -> None:
    place.grow_noise()
    if answer == "abort":
        proxy.harm(Harm.UPLOAD_GONE, "POST", "uploadId=", times=1)
        proxy.harm(Harm.LOSE_ANSWER, "DELETE", "uploadId=", times=1)
    else:
        place.postgres.execute("CREATE TABLE small (i int)", database=place.database)
        proxy.harm(Harm.LOSE_ANSWER, "POST", "?delete", times=1)
        proxy.harm(Harm.UPLOAD_GONE, "PUT", "data/globals.sql.zst$", times=1)
    report = place.fail("backup", "-f", place.policy())
    assert report.reason == "StoreError"
    assert proxy.is_spent
    place.assert_nothing_is_left()
    proxy.heal()
    place.run("backup", "-f", place.policy())


def test_a_store_that_is_away_in_the_middle_of_an_upload_and_back_is_ridden_out(place: Place, proxy: Proxy) -> None:
    place.grow_noise()
    for number, harm in enumerate([Harm.CUT, Harm.BUSY, Harm.SLOW_DOWN], start=1):
        proxy.harm(harm, "PUT", f"partNumber={number}", times=3)
    proxy.harm(Harm.CUT, ANY, "data/globals", times=3)
    place.run("backup", "-f", place.policy())
    assert proxy.is_spent
    assert place.uploads() == []
    assert_restores(place)


def test_a_slow_store_is_waited_for(place: Place, proxy: Proxy) -> None:
    place.grow_noise()
    proxy.harm(Harm.SLOW, ANY, "/backups/", times=ALWAYS)
    place.run("backup", "-f", place.policy())
    proxy.heal()
    assert_restores(place)


def test_a_store_that_does_not_come_back_is_told_and_what_is_left_goes_with_a_later_run(
    place: Place, proxy: Proxy
) -> None:
    place.grow_noise()
    process = place.start("backup", "-f", place.policy(timeout="20s"))
    wait_for(lambda: proxy.has_seen("PUT", "partNumber=1"))
    proxy.harm(Harm.CUT, ANY, "", times=ALWAYS)
    _, errors = process.communicate()
    assert place.failed(process, errors).reason in ("StoreUnreachable", "DeadlineExceeded")
    proxy.heal()
    assert place.backup_keys() == []
    wait_for(lambda: not place.sessions())

    abandoned = place.uploads()
    assert len(abandoned) == 1
    place.run("backup", "-f", place.policy(timeout="20s"))
    assert place.uploads() == abandoned, "it could be another run's, which is at work"
    make_older(place, days=2)
    place.run("backup", "-f", place.policy(timeout="20s"))
    assert place.uploads() == []


def make_older(place: Place, *, days: int) -> None:
    """Set the time at which the store began the uploads there are: its own clock's, a file's."""
    for folder in (place.s3.folder / place.bucket / ".sgwtmp" / "multipart").glob("*/*"):
        then = time.time() - days * 86400
        os.utime(folder, (then, then))


def test_uploads_beyond_the_own_prefix_are_nobodys_to_abort(place: Place) -> None:
    for key in ("other/backups/x/data/dump.zst", "prod/elsewhere", "production/backups/x/data/dump.zst"):
        place.s3.root.create_multipart_upload(Bucket=place.bucket, Key=key)
    make_older(place, days=30)
    before = place.uploads()
    place.run("backup", "-f", place.policy())
    assert place.uploads() == before


def test_an_upload_that_somebody_aborts_is_told(place: Place, proxy: Proxy) -> None:
    place.grow_noise()
    proxy.harm(Harm.UPLOAD_GONE, "PUT", "partNumber=2")
    report = place.fail("backup", "-f", place.policy())
    assert report.reason == "StoreError"
    assert "NoSuchUpload" in report.message
    place.assert_nothing_is_left()
    place.run("backup", "-f", place.policy())


def test_a_stop_while_the_store_says_nothing_ends_within_the_kubelets_patience(place: Place) -> None:
    """The client waits for an answer for a minute, and takes an error that comes meanwhile for one of the request's."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        place.store["endpoint"] = f"http://127.0.0.1:{silent.getsockname()[1]}"
        process = place.start("check", "-f", place.policy())
        connection, _ = silent.accept()
        with connection:
            connection.recv(1)
            process.send_signal(signal.SIGTERM)
            _, errors = process.communicate(timeout=90)
    assert place.failed(process, errors).reason == "Stopped"


def test_a_stop_while_the_store_is_down_ends_within_the_kubelets_patience(place: Place, proxy: Proxy) -> None:
    place.grow_noise()
    process = place.start("backup", "-f", place.policy())
    wait_for(lambda: proxy.has_seen("PUT", "partNumber=1"))
    proxy.harm(Harm.CUT, ANY, "", times=ALWAYS)
    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=90)
    assert place.failed(process, errors).reason == "Stopped"
    assert place.backup_keys() == []


class TestAManifestThatArrivesLate:
    ID = "20261123T050000Z-3f9a1c"
    MANIFEST = f"backups/{ID}/manifest.json"

    def test_it_finds_its_place_taken_once_its_backup_was_discarded(self, place: Place) -> None:
        store = place.s3.store(place.bucket)
        store.put(f"backups/{self.ID}/data/dump.zst", b"data")
        assert discard_backup(store, self.ID, manifest_was_sent=True)
        with pytest.raises(place.s3.root.exceptions.ClientError, match="PreconditionFailed"):
            place.s3.root.put_object(Bucket=place.bucket, Key=f"prod/{self.MANIFEST}", Body=b"{}", IfNoneMatch="*")
        assert place.backup_keys() == [f"prod/{self.MANIFEST}"]
        assert store.get(self.MANIFEST, max_bytes=100).body == DISCARDED
        assert list_backups(store, ANYBODY) == []
        assert discard_backup(store, self.ID, manifest_was_sent=True), "again is no harm"

    def test_one_that_arrived_before_keeps_its_data(self, place: Place) -> None:
        store = place.s3.store(place.bucket)
        store.put(f"backups/{self.ID}/data/dump.zst", b"data")
        store.put(self.MANIFEST, b"{}", if_absent=True)
        assert not discard_backup(store, self.ID, manifest_was_sent=True)
        assert len(place.backup_keys()) == 2

    @pytest.mark.usefixtures("impatient")
    def test_where_the_store_does_not_say_which_nothing_is_removed(self, place: Place, proxy: Proxy) -> None:
        proxy.harm(Harm.CUT, "PUT", "manifest.json", times=ALWAYS)
        report = place.back_up_here().report
        assert not report.succeeded
        assert report.reason == "StoreUnreachable"
        assert any(key.endswith(DUMP[:-1]) for key in place.backup_keys())
        assert list_backups(place.s3.store(place.bucket), ANYBODY) == []
        proxy.heal()
        report, _, _ = place.run("backup", "-f", place.policy())
        assert report.inventory is not None
        assert report.inventory.backups == 1


def test_a_clock_that_is_an_hour_off_is_told_with_both_times(place: Place) -> None:
    if not Path("/usr/bin/faketime").exists():
        pytest.skip("no faketime here: apt-get install faketime")
    place.before = ("/usr/bin/faketime", "-f", "-1h")
    report = place.fail("check", "-f", place.policy())
    assert report.reason == "StoreAccessDenied"
    assert "this machine's clock says" in report.message
    assert "the store's says" in report.message
    place.before = ()
    place.run("check", "-f", place.policy())
