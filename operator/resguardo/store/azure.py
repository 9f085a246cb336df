"""The Store over Azure Blob Storage, or a compatible server."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import AzureError, HttpResponseError
from azure.storage.blob import BlobClient, BlobPrefix, ContentSettings, RehydratePriority, StorageStreamDownloader

from resguardo.api import azure as spec
from resguardo.api.durations import Span
from resguardo.api.errors import (
    EncryptionNotHonoured,
    ObjectCorrupt,
    ObjectMissing,
    StorageClassRefused,
    StoreAccessDenied,
    StoreError,
    WriteConflict,
)
from resguardo.rules.access import Right
from resguardo.store.again import again
from resguardo.store.azure_client import (
    ABORT_ATTEMPTS,
    ATTEMPTS,
    PATIENT_ATTEMPTS,
    READ_SECONDS,
    AccountKey,
    Login,
    SasToken,
    endpoint_of,
    make_client,
)
from resguardo.store.azure_erase import AzureEraser
from resguardo.store.azure_errors import (
    COMING_BACK_CODE,
    EMPTY_CODE,
    FAILURES,
    BodyBrokeOff,
    Request,
    code_of,
    date_of,
    is_broken_off,
    is_damaged,
    translate,
)
from resguardo.store.azure_rights import special_rights
from resguardo.store.azure_upload import AzureUpload, Options, forget_blocks, info_of, quoted
from resguardo.store.body import part_body
from resguardo.store.conflict import confirmed, may_be_ours, settle
from resguardo.store.listings import each_once, within
from resguardo.store.protocol import Availability, ObjectInfo, Stored
from resguardo.store.without_locks import WithoutLocks

__all__ = ["ATTEMPTS", "PATIENT_ATTEMPTS", "AccountKey", "AzureStore", "SasToken"]

TIERS = frozenset({"Hot", "Cool", "Cold", "Archive"})
#: What lies there is not read, but asked for.
ARCHIVE = "Archive"
#: Where it is brought back to: the one tier without a least stay that is paid for.
ONLINE = "Hot"
#: The most that one answer lists, of the 5,000 that it could: so that it stays short.
PAGE_OBJECTS = 500


class AzureStore(WithoutLocks):
    """A container and a prefix in it; see `protocol.Store` for the contract."""

    def __init__(
        self,
        store: spec.AzureStore,
        login: Login,
        ca_file: Path | None,
        *,
        attempts: int = ATTEMPTS,
        read_seconds: float = READ_SECONDS,
        page_objects: int = PAGE_OBJECTS,
    ) -> None:
        self._account, self._container = store.account, store.container
        self._prefix = f"{store.prefix}/" if store.prefix else ""
        self._endpoint = endpoint_of(store)
        self._scope = store.encryption_scope
        self._page_objects = page_objects
        self._client = make_client(store, login, ca_file, read_seconds=read_seconds, attempts=attempts)
        self._hasty_client = make_client(
            store, login, ca_file, read_seconds=read_seconds, attempts=min(attempts, ABORT_ATTEMPTS)
        )
        self._eraser = AzureEraser(self._client, Request("", self._container, self._prefix, self._endpoint))
        self._is_held: bool | None = None
        self._opened_at = time.monotonic()

    @property
    def location(self) -> str:
        """Endpoint, container and prefix."""
        where = f"prefix {self._prefix.rstrip('/')!r}" if self._prefix else "its root"
        return f"container {self._container} at {self._endpoint}, {where}"

    @property
    def place(self) -> str:
        """Account, container and prefix."""
        return f"{self._account}/{self._container}/{self._prefix}".rstrip("/")

    def put(
        self,
        key: str,
        body: bytes,
        *,
        if_absent: bool = False,
        if_match: str | None = None,
        content_type: str = "application/json",
        storage_class: str | None = None,
    ) -> str:
        """Write a small object whole, under a condition or none."""
        options = self._options(key, storage_class).of_blobs()
        if if_match is not None:
            options |= {"etag": if_match, "match_condition": MatchConditions.IfNotModified}

        def write() -> Mapping[str, Any]:
            answer: Mapping[str, Any] = self._blob(key).upload_blob(
                part_body(body),
                length=len(body),
                overwrite=not if_absent,
                validate_content=True,
                content_settings=ContentSettings(content_type=content_type),
                **options,
            )
            return answer

        try:
            with self._translated("blobs/write", key):
                answer = again(write, when=is_damaged)
        except (WriteConflict, ObjectMissing):
            # With If-Match a missing object is told as such. And the conflict may be with this very write, whose answer
            # was lost and which the SDK sent again: what stands there says, of its encryption too.
            stored = settle(self, key, body, name=self._name(key))
            if self._scope is not None and may_be_ours(self, stored, since=self._age):
                self._look_how_it_is_encrypted(key, stored.etag)
            return stored.etag
        with self._translated("blobs/write", key):
            etag = quoted(answer["etag"])
        if self._scope is not None:
            self._confirm(key, answer.get("encryption_scope"))
            self._look_how_it_is_encrypted(key, etag)
        return etag

    def add(self, key: str, body: bytes, *, content_type: str, storage_class: str | None = None) -> ObjectInfo:
        """Write a small object where nothing is."""
        etag = self.put(key, body, if_absent=True, content_type=content_type, storage_class=storage_class)
        return confirmed(self.head(key), etag, name=self._name(key))

    @property
    def _age(self) -> timedelta:
        return timedelta(seconds=time.monotonic() - self._opened_at)

    def _name(self, key: str) -> str:
        return f"object {self._prefix + key!r} in container {self._container} at {self._endpoint}"

    def _look_how_it_is_encrypted(self, key: str, etag: str) -> None:
        there = self._properties(key)
        # Else somebody else's delete or write, a moment ago, about which nothing was asked.
        if there is not None and quoted(there.etag) == etag:
            self._confirm(key, there.encryption_scope)

    def get(self, key: str, *, max_bytes: int) -> Stored:
        """Read a small object whole."""

        def read() -> Stored:
            with self._translated("blobs/read", key):
                try:
                    answer = self._download(key, 0, max_bytes + 1)
                except HttpResponseError as error:
                    if code_of(error) != EMPTY_CODE:
                        raise
                    found = self._blob(key).get_blob_properties()
                    return Stored(b"", quoted(found.etag), found.last_modified)
                found = answer.properties
                if found.size > max_bytes:
                    raise ObjectCorrupt(
                        f"object {self._prefix + key!r} in container {self._container} has {found.size} bytes, and such an object "
                        f"never has more than {max_bytes}"
                    )
                return Stored(_whole(answer.readall(), found.size), quoted(found.etag), found.last_modified)

        return again(read, when=_is_reread)

    def head(self, key: str) -> ObjectInfo | None:
        """What stands at a key."""
        found = self._properties(key)
        with self._translated("blobs/read", key):
            return None if found is None else info_of(key, found)

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Objects in the order of their keys, page by page."""
        with self._translated("blobs/read (list)", prefix) as asked:
            pages = self._client.list_blobs(name_starts_with=asked.key, results_per_page=self._page_objects).by_page()
            for found in each_once(pages, _name, asked):
                yield info_of(within(asked.key, _name(found), asked).removeprefix(self._prefix), found)

    def list_folders(self, prefix: str) -> Iterator[str]:
        """Names of the folders right under a prefix, in order."""
        with self._translated("blobs/read (list)", prefix) as asked:
            pages = self._client.walk_blobs(
                name_starts_with=asked.key, delimiter="/", results_per_page=self._page_objects
            ).by_page()
            for found in each_once(pages, _name, asked):
                name = within(asked.key, _name(found), asked)
                if isinstance(found, BlobPrefix):
                    yield name.removeprefix(asked.key).rstrip("/")

    def delete(self, key: str) -> None:
        """Remove an object, if it is there."""
        try:
            with self._translated("blobs/delete", key):
                self._blob(key).delete_blob(delete_snapshots="include")
        except ObjectMissing:
            pass

    def erase(self, *paths: str, but: str | None = None) -> Mapping[str, StoreError]:
        """Remove objects and folders, with all versions."""
        return self._eraser.erase(*paths, but=but)

    def is_locked(self, key: str) -> bool:
        """A policy or hold of the blob's own, a hold of the container's, or a lease.

        How long a retention of the whole container lasts is told to nobody who only uses it, and whether the container is held to no
        signature: a delete that is refused says so.
        """
        if self._is_held is None:
            try:
                with self._translated("containers/read", ""):
                    self._is_held = bool(self._client.get_container_properties().has_legal_hold)
            except StoreAccessDenied:
                # A signature for a container never may ask; what it holds refuses its delete, as with a retention.
                self._is_held = False
        found = self._properties(key)
        if found is None:
            return False
        until = found.immutability_policy.expiry_time if found.immutability_policy else None
        return (
            self._is_held
            or bool(found.has_legal_hold)
            or found.lease.state == "leased"
            or (until is not None and until > self.clock())
        )

    def default_lock(self) -> Span | None:
        """None: only those who manage the account are told."""
        return None

    def special_rights(self, key: str) -> Mapping[Right, bool | None]:
        """About versions, where what is there has some. Who may read a blob sees what locks it."""
        return special_rights(self._client, self._request("blobs/read (versions)", key), self._prefix)

    def clock(self) -> datetime:
        """The Date of an answer: every server that has a clock sends one (RFC 9110, 6.6.1)."""
        dates: list[datetime | None] = []

        def look(answer: Any) -> None:
            dates.append(date_of(answer.http_response.headers))

        with self._translated("blobs/read (list)", ""):
            pages = self._client.list_blobs(
                name_starts_with=self._prefix, results_per_page=1, raw_response_hook=look
            ).by_page()
            for page in pages:
                list(page)
                break
        if not dates or dates[-1] is None:
            raise StoreError(
                f"{self._endpoint} does not say what time it is: its answers have no Date that can be read"
            )
        return dates[-1]

    def read_range(self, key: str, start: int, length: int) -> bytes | bytearray:
        """Exactly these bytes of an object."""
        if length == 0:
            return b""

        def read() -> bytes:
            with self._translated("blobs/read", key):
                answer = self._download(key, start, length)
                if answer.size < length:
                    raise ObjectCorrupt(
                        f"object {self._prefix + key!r} in container {self._container} gives {answer.size} bytes from byte {start} "
                        f"on, and {length} were asked for"
                    )
                return _whole(answer.readall(), length)

        return again(read, when=_is_reread)

    def _download(self, key: str, start: int, length: int) -> StorageStreamDownloader[bytes]:
        # As it was stored: nothing of Resguardo's says that it is packed, and what somebody else packed may be a thousand times as long.
        return self._blob(key).download_blob(start, length, decompress=False)

    def begin_upload(self, key: str, *, storage_class: str | None = None) -> AzureUpload:
        """Begin blocks; the service is told with the first."""
        return self._upload(key, self._options(key, storage_class))

    def availability(self, key: str) -> Availability | None:
        """Whether an object can be read at once."""
        found = self._properties(key)
        if found is None:
            return None
        if found.blob_tier != ARCHIVE:
            return Availability.READY
        return Availability.COMING_BACK if found.archive_status else Availability.FROZEN

    def bring_back(self, key: str, *, keep: timedelta) -> None:  # noqa: ARG002 - it stays for good
        """Ask for an object in the archive, which then lies online until somebody moves it again."""
        with self._translated("blobs/write (set tier)", key):
            try:
                self._blob(key).set_standard_blob_tier(ONLINE, rehydrate_priority=RehydratePriority.STANDARD)
            except AzureError as error:
                if code_of(error) != COMING_BACK_CODE:
                    raise

    def abort_uploads(self, prefix: str, *, begun_before: datetime | None = None) -> int:
        """Have the blocks dropped of every key that has blocks and no blob."""
        with self._translated("blobs/read (list)", prefix) as asked:
            pages = self._client.list_blobs(
                name_starts_with=asked.key, include=["uncommittedblobs"], results_per_page=self._page_objects
            ).by_page()
            # Nothing in a listing says which blobs are only blocks yet, but that these have no bytes; a HEAD knows no such blob.
            empty = [
                (within(asked.key, _name(found), asked), found.creation_time or found.last_modified)
                for found in each_once(pages, _name, asked)
                if not found.size
            ]
        dropped = 0
        for name, begun in empty:
            key = name.removeprefix(self._prefix)
            if begun_before is not None and (begun is None or begun >= begun_before):
                continue
            if self._properties(key) is None:
                forget_blocks(self._hasty_client, self._request("blobs/write", key))
                dropped += 1
        return dropped

    def _upload(self, key: str, options: Options) -> AzureUpload:
        return AzureUpload(
            self._blob(key),
            key,
            hasty_client=self._hasty_client,
            request=self._request("blobs/write", key),
            options=options,
            confirm=self._confirm,
        )

    def _options(self, key: str, storage_class: str | None) -> Options:
        if storage_class is not None and storage_class not in TIERS:
            raise StorageClassRefused(
                f"{storage_class} of object {self._prefix + key!r} in container {self._container} is no access tier of Azure's: name "
                "Hot, Cool, Cold or Archive in storageClasses"
            )
        return Options(storage_class, self._scope)

    def _confirm(self, key: str, scope: str | None) -> None:
        if self._scope is not None and scope != self._scope:
            raise EncryptionNotHonoured(
                f"{self._endpoint} did not encrypt object {self._prefix + key!r} in container {self._container} with scope "
                f"{self._scope}: it says {scope or 'nothing of a scope'}. Use a store that knows the scope"
            )

    def _blob(self, key: str) -> BlobClient:
        # https://learn.microsoft.com/rest/api/storageservices/naming-and-referencing-containers--blobs--and-metadata
        full = self._prefix + key
        if "\\" in full or any(part.endswith(".") for part in full.split("/")):
            raise StoreError(
                f"{full!r} cannot be a blob's name: Azure takes a backslash for a slash, and dots from the end of a folder's name"
            )
        return self._client.get_blob_client(self._prefix + key)

    def _properties(self, key: str) -> Any:
        try:
            with self._translated("blobs/read", key):
                return self._blob(key).get_blob_properties()
        except ObjectMissing:
            return None

    def _request(self, action: str, key: str) -> Request:
        return Request(action, self._container, self._prefix + key, self._endpoint)

    @contextmanager
    def _translated(self, action: str, key: str) -> Iterator[Request]:
        request = self._request(action, key)
        try:
            yield request
        except FAILURES as error:
            raise translate(error, request) from error


def _name(found: Any) -> str:
    return str(found.name)


def _whole(body: bytes, size: int) -> bytes:
    if len(body) != size:
        raise BodyBrokeOff(f"{len(body)} of {size} bytes came")
    return body


def _is_reread(error: BaseException) -> bool:
    return is_broken_off(error.__cause__)
