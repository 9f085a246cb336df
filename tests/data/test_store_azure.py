"""Azure Blob Storage as a store, on azurite: what only it can do. The contract itself is in test_store_contract.py.

azurite has no versions, immutability, encryption scopes or rehydration. What stands in for them here is said where it does;
that Azure itself answers so is what its documentation says.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from azure.core.exceptions import HttpResponseError
from azure.storage.blob import BlobClient

from resguardo.api.errors import (
    BucketNotFound,
    EncryptionNotHonoured,
    StorageClassRefused,
    StoreError,
    StoreUnreachable,
    WriteConflict,
)
from resguardo.api.manifest import ObjectRole, StoreEncryption
from resguardo.store import again
from resguardo.store.azure import AzureStore
from resguardo.store.azure_upload import quoted
from resguardo.store.classes import probe_classes
from resguardo.store.download import open_object
from resguardo.store.ownership import claim, probe_conditional_writes
from resguardo.store.protocol import Availability, Upload
from resguardo.store.seal import seal
from resguardo.store.threads import in_threads
from tests.data.test_store_ownership import NOW, OURS
from tests.fixtures.azurite import ACCOUNT, Azurite
from tests.fixtures.s3_proxy import Harm, Proxy, run_proxy
from tests.fixtures.streams import ID, KEY, MIB, noise


class TestErrors:
    def test_no_container_is_told(self, azurite: Azurite) -> None:
        store = azurite.store("nothing-there")
        for attempt in (
            lambda: store.put("x", b"1"),
            lambda: list(store.list("")),
            lambda: store.get("x", max_bytes=1),
        ):
            with pytest.raises(BucketNotFound, match="no container nothing-there"):
                attempt()

    def test_an_access_tier_that_azure_has_not_is_refused_before_anything_is_sent(
        self, azure_store: AzureStore
    ) -> None:
        for attempt in (
            lambda: azure_store.put("x", b"1", storage_class="GLACIER"),
            lambda: azure_store.begin_upload("x", storage_class="GLACIER"),
        ):
            with pytest.raises(StorageClassRefused, match="Hot, Cool, Cold or Archive"):
                attempt()

    def test_a_leased_blob_is_locked_and_says_how_to_free_it(
        self, azure_store: AzureStore, azurite: Azurite, azure_container: str
    ) -> None:
        azure_store.put("f/1", b"x")
        azure_store.put("f/2", b"x")
        lease = azurite.container(azure_container).get_blob_client("prod/f/1").acquire_lease()
        assert [azure_store.is_locked(key) for key in ("f/1", "f/2", "none")] == [True, False, False]
        problems = azure_store.erase("f/")
        assert list(problems) == ["f/1"]
        assert "lease break" in str(problems["f/1"])
        lease.release()
        assert azure_store.erase("f/") == {}


@pytest.fixture
def proxy(azurite: Azurite) -> Iterator[Proxy]:
    with run_proxy(azurite.endpoint) as running:
        yield running
        assert running.is_spent, "a fault that never happened proves nothing"


@pytest.fixture
def store(azurite: Azurite, azure_container: str, proxy: Proxy) -> AzureStore:
    return azurite.store(azure_container, endpoint=f"{proxy.endpoint}/{ACCOUNT}")


def _upload(store: AzureStore) -> Upload:
    upload = store.begin_upload("big")
    for number, start, body in [(1, 0, noise(MIB)), (2, MIB, b"end")]:
        upload.upload_part(number, body, start=start, sha256=hashlib.sha256(body).digest())
    return upload


@pytest.mark.fault
class TestLine:
    """Lost answers, broken bodies and bytes that change on the way: the outcome is told as it is, never guessed."""

    def test_a_conditional_write_whose_answer_is_lost_succeeded(self, store: AzureStore, proxy: Proxy) -> None:
        proxy.harm(Harm.LOSE_ANSWER, "PUT", "/prod/x")
        etag = store.put("x", b"mine", if_absent=True)
        assert store.get("x", max_bytes=10).etag == etag
        assert len([line for line in proxy.seen if line.startswith("PUT")]) == 2

    def test_a_conditional_write_whose_answer_is_lost_to_another_is_a_conflict(
        self, store: AzureStore, proxy: Proxy
    ) -> None:
        store.put("x", b"theirs")
        proxy.harm(Harm.LOSE_ANSWER, "PUT", "/prod/x")
        with pytest.raises(WriteConflict):
            store.put("x", b"mine", if_absent=True)
        assert store.get("x", max_bytes=10).body == b"theirs"

    def test_claims_and_take_overs_whose_answers_are_lost_are_ours(self, store: AzureStore, proxy: Proxy) -> None:
        proxy.harm(Harm.LOSE_ANSWER, "PUT", "/prod/resguardo.json")
        assert claim(store, OURS, take_over_from=None, now=NOW).epoch == 1
        proxy.harm(Harm.LOSE_ANSWER, "PUT", "/prod/resguardo.json")
        assert claim(store, "c2/a/b", take_over_from=f"{OURS}@1", now=NOW).epoch == 2

    @pytest.mark.parametrize("times", [1, 3], ids=["told the second time", "nobody ever hears of it"])
    def test_a_completion_whose_answer_is_lost_succeeded(self, store: AzureStore, proxy: Proxy, times: int) -> None:
        upload = _upload(store)
        proxy.harm(Harm.LOSE_ANSWER, "PUT", "comp=blocklist", times=times)
        made = upload.complete()
        assert made == store.head("big")
        assert made.bytes == MIB + 3

    def test_a_completion_that_never_happened_is_an_error(self, store: AzureStore, proxy: Proxy) -> None:
        upload = _upload(store)
        proxy.harm(Harm.BUSY, "PUT", "comp=blocklist", times=3)
        with pytest.raises(StoreUnreachable):
            upload.complete()
        upload.abort()
        assert store.head("big") is None

    def test_an_upload_that_somebody_gave_up_is_an_error_even_where_another_object_stands(
        self, store: AzureStore
    ) -> None:
        upload = _upload(store)
        assert store.abort_uploads("big") == 1
        with pytest.raises(StoreError, match="was given up"):
            upload.complete()
        store.put("big", noise(MIB + 3, seed=7))
        with pytest.raises(WriteConflict):
            upload.complete()
        assert store.get("big", max_bytes=2 * MIB).body == noise(MIB + 3, seed=7)

    def test_damage_on_the_way_is_sent_or_read_again_and_never_stored(self, store: AzureStore, proxy: Proxy) -> None:
        proxy.harm(Harm.DAMAGE_REQUEST, "PUT", "comp=block&")
        proxy.harm(Harm.DAMAGE_REQUEST, "PUT", f"{KEY}.blocks")
        proxy.harm(Harm.LOSE_ANSWER, "PUT", "comp=block&")
        proxy.harm(Harm.BUSY, "PUT", "comp=block&", times=2)
        data = noise(20 * MIB)
        entry = seal(store, ID, KEY, ObjectRole.DUMP, [data])
        proxy.harm(Harm.BREAK_OFF, "GET", f"{KEY}.blocks")
        proxy.harm(Harm.BREAK_OFF, "GET", f"{KEY}$", times=2)
        proxy.harm(Harm.DAMAGE_ANSWER, "GET", f"{KEY}$")
        assert b"".join(open_object(store, ID, entry)) == data

    def test_a_listing_goes_on_where_its_line_was_cut(
        self, store: AzureStore, proxy: Proxy, azure_store: AzureStore
    ) -> None:
        names = [f"{number:05}" for number in range(250)]
        in_threads(lambda name: azure_store.put(name, b"x"), names, name="fill")
        for harm in (Harm.CUT, Harm.BREAK_OFF):
            proxy.harm(harm, "GET", "marker=")
        assert [found.key for found in store.list("")] == names
        pages = [line for line in proxy.seen if "comp=list" in line]
        assert len(pages) == 5, "three pages, and one of them asked for three times; not all from the beginning"

    def test_a_store_that_stays_busy_ends_the_upload_and_its_blocks_are_dropped(
        self, store: AzureStore, proxy: Proxy, azurite: Azurite, azure_container: str
    ) -> None:
        upload = _upload(store)
        proxy.harm(Harm.BUSY, "PUT", "comp=block&", times=3)
        with pytest.raises(StoreUnreachable, match="again and again"):
            upload.upload_part(3, b"more", start=MIB + 3, sha256=hashlib.sha256(b"more").digest())
        upload.abort()
        assert list(azurite.container(azure_container).list_blobs(include=["uncommittedblobs"])) == []

    def test_a_body_that_always_breaks_off_is_unreachable(
        self, store: AzureStore, proxy: Proxy, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(again, "ATTEMPTS", 2)
        store.put("x", b"0123456789")
        proxy.harm(Harm.BREAK_OFF, "GET", "/prod/x", times=1000)
        with pytest.raises(StoreUnreachable):
            store.read_range("x", 0, 10)
        proxy.heal()


class TestTiers:
    @pytest.mark.parametrize("size", [10, 9 * MIB], ids=["in one request", "in blocks"])
    @pytest.mark.parametrize("tier", ["Hot", "Cool", "Cold", "Archive"])
    def test_a_dump_is_in_the_tier_that_was_asked_for(self, azure_store: AzureStore, tier: str, size: int) -> None:
        entry = seal(azure_store, ID, KEY, ObjectRole.DUMP, [noise(size)], storage_class=tier)
        assert entry.storage_class == tier

    def test_every_tier_is_tried_and_nothing_is_left(self, azure_store: AzureStore) -> None:
        probe_classes(azure_store, ["Hot", "Cool", "Cold", "Archive"])
        assert list(azure_store.list("")) == []

    def test_what_lies_in_the_archive_is_asked_for_and_comes_back(
        self, azure_store: AzureStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Played: the time that it takes. azurite has a blob online at once, which Azure has after hours."""
        azure_store.put("x", b"1", storage_class="Archive")
        azure_store.put("y", b"1")
        assert azure_store.availability("none") is None
        assert azure_store.availability("y") is Availability.READY
        assert azure_store.availability("x") is Availability.FROZEN
        look = azure_store._properties
        monkeypatch.setattr(
            azure_store,
            "_properties",
            lambda key: SimpleNamespace(**vars(look(key)) | {"archive_status": "rehydrate-pending-to-hot"}),
        )
        assert azure_store.availability("x") is Availability.COMING_BACK
        monkeypatch.undo()
        azure_store.bring_back("x", keep=timedelta(days=1))
        assert azure_store.availability("x") is Availability.READY

    def test_asked_for_again_while_it_comes_back_nothing_more_happens(
        self, azure_store: AzureStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Played: the answer of Azure, https://learn.microsoft.com/rest/api/storageservices/set-blob-tier."""

        class Blob:
            def set_standard_blob_tier(self, *_: Any, **__: Any) -> None:
                raise _answer(409, "BlobBeingRehydrated")

        monkeypatch.setattr(azure_store, "_blob", lambda _: Blob())
        azure_store.bring_back("x", keep=timedelta(days=1))


def _answer(status: int, code: str) -> HttpResponseError:
    """What the SDK raises for an answer of Azure's."""
    response = SimpleNamespace(status_code=status, reason="words", headers={"x-ms-error-code": code})
    return HttpResponseError(message="words", response=response)  # type: ignore[arg-type]


def show_scope(monkeypatch: pytest.MonkeyPatch, scope: str | None) -> None:
    """Let every look at a blob tell of that scope, of which azurite knows nothing."""
    look = BlobClient.get_blob_properties

    def get_blob_properties(self: Any, **options: Any) -> Any:
        found = look(self, **options)
        found.encryption_scope, found.server_encrypted = scope, scope is not None
        return found

    monkeypatch.setattr(BlobClient, "get_blob_properties", get_blob_properties)


class TestEncryptionScope:
    def test_a_store_that_says_nothing_of_the_scope_is_refused(self, azurite: Azurite, azure_container: str) -> None:
        """azurite takes the header, and encrypts nothing: the very case that this is for."""
        store = azurite.store(azure_container, encryptionScope="backups")
        with pytest.raises(EncryptionNotHonoured, match="with scope backups: it says nothing of a scope"):
            store.put("x", b"1")
        with pytest.raises(EncryptionNotHonoured):
            probe_conditional_writes(store)
        upload = store.begin_upload("big")
        upload.upload_part(1, b"x", start=0, sha256=hashlib.sha256(b"x").digest())
        with pytest.raises(EncryptionNotHonoured):
            upload.complete()

    @pytest.mark.parametrize(("shown", "is_believed"), [("backups", True), ("another", False), (None, False)])
    def test_a_store_is_believed_that_says_so_in_its_answer_and_of_the_blob_as_it_stands(
        self,
        azurite: Azurite,
        azure_container: str,
        monkeypatch: pytest.MonkeyPatch,
        shown: str | None,
        is_believed: bool,
    ) -> None:
        """Played: the answers of Azure, which repeat the scope."""
        store = azurite.store(azure_container, encryptionScope="backups")
        show_scope(monkeypatch, shown)
        asked: list[Any] = []
        made = type(store._blob("x")).upload_blob

        def upload_blob(self: Any, *arguments: Any, **options: Any) -> dict[str, Any]:
            asked.append(options["encryption_scope"])
            answer: dict[str, Any] = made(self, *arguments, **options)
            return answer | {"encryption_scope": "backups"}

        monkeypatch.setattr(type(store._blob("x")), "upload_blob", upload_blob)
        if is_believed:
            store.put("x", b"1")
            assert store.add("y", b"1", content_type="text/plain").encryption == StoreEncryption(
                algorithm="AES256", key_id="backups"
            )
        else:
            with pytest.raises(EncryptionNotHonoured, match=shown or "nothing of a scope"):
                store.put("x", b"1")
        assert set(asked) == {"backups"}

    @pytest.mark.fault
    @pytest.mark.parametrize("condition", ["if_absent", "if_match"])
    def test_a_write_whose_answer_is_lost_is_looked_at_as_any_other(
        self, azurite: Azurite, azure_container: str, proxy: Proxy, monkeypatch: pytest.MonkeyPatch, condition: str
    ) -> None:
        store = azurite.store(azure_container, endpoint=f"{proxy.endpoint}/{ACCOUNT}", encryptionScope="backups")
        options: dict[str, Any] = {"if_absent": True}
        if condition == "if_match":
            options = {"if_match": azurite.store(azure_container).put("x", b"theirs")}
        proxy.harm(Harm.LOSE_ANSWER, "PUT", "/prod/x")
        with pytest.raises(EncryptionNotHonoured, match="nothing of a scope"):
            store.put("x", b"ours", **options)
        assert azurite.store(azure_container).get("x", max_bytes=10).body == b"ours", "else it was another problem"
        show_scope(monkeypatch, "backups")
        assert store.put("x", b"ours", if_absent=True) == quoted(store._properties("x").etag)

    def test_what_was_written_before_the_scope_was_asked_for_may_stay_as_it_is(
        self, azurite: Azurite, azure_container: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Played: the hour that has passed since."""
        etag = azurite.store(azure_container).put("decided", b"purge", if_absent=True)
        now = azurite.store(azure_container).clock() + timedelta(hours=1)
        monkeypatch.setattr(AzureStore, "clock", lambda _: now)
        store = azurite.store(azure_container, encryptionScope="backups")
        assert store.put("decided", b"purge", if_absent=True) == etag


class TestLocks:
    """Played: azurite knows no immutability. What Azure says of a blob: …/rest/api/storageservices/get-blob-properties."""

    @pytest.mark.parametrize(
        ("said", "is_locked"),
        [
            ({}, False),
            ({"has_legal_hold": True}, True),
            ({"immutability_policy": SimpleNamespace(expiry_time=datetime.now(UTC) + timedelta(hours=1))}, True),
            ({"immutability_policy": SimpleNamespace(expiry_time=datetime.now(UTC) - timedelta(hours=1))}, False),
        ],
        ids=["nothing", "a hold", "a policy", "a policy that has ended"],
    )
    def test_what_is_held_or_retained_is_locked(
        self, azure_store: AzureStore, monkeypatch: pytest.MonkeyPatch, said: dict[str, Any], is_locked: bool
    ) -> None:
        azure_store.put("x", b"1")
        look = azure_store._properties
        monkeypatch.setattr(azure_store, "_properties", lambda key: SimpleNamespace(**vars(look(key)) | said))
        assert azure_store.is_locked("x") is is_locked
        assert azure_store.default_lock() is None


class TestVersions:
    def test_every_version_goes_the_blob_itself_first(
        self, azure_store: AzureStore, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Played: azurite keeps no versions. Here the listing has some, and the deletes are written down."""
        deleted: list[tuple[str, str | None]] = []
        found = [("prod/f/1", "v1"), ("prod/f/1", "v2"), ("prod/f/2", "v3"), ("prod/f/keep", "v4")]
        monkeypatch.setattr(azure_store._eraser, "_versions", lambda _: found)
        delete = azure_store._eraser._delete_one

        def delete_one(blob: tuple[str, str | None]) -> Any:
            deleted.append(blob)
            return delete(blob) if blob[1] is None else (blob[0], None)

        monkeypatch.setattr(azure_store._eraser, "_delete_one", delete_one)
        for key in ("f/1", "f/keep"):
            azure_store.put(key, b"x")
        assert azure_store.erase("f/", but="f/keep") == {}
        assert (deleted[0], sorted(map(str, deleted[1:]))) == (("prod/f/1", None), sorted(map(str, found[:3])))
