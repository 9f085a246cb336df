"""What Resguardo asks of an object store. The docstrings are the contract; tests/data/test_store_contract.py holds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from resguardo.api.base import EARLIEST, LATEST
from resguardo.api.durations import Span
from resguardo.api.errors import StoreError
from resguardo.api.manifest import StoreEncryption
from resguardo.rules.access import Right
from resguardo.rules.locks import Lock


def _believed(moment: datetime) -> None:
    if not EARLIEST <= moment <= LATEST:
        raise ValueError(f"it says that it received something in the year {moment.year}")


@dataclass(frozen=True)
class ObjectInfo:
    """An object as a HEAD shows it, or a listing, which may leave class and encryption out. The ETag is opaque: it changes with the object, and means nothing else.

    Raises ValueError for a time at which nothing was ever stored.
    """

    key: str
    bytes: int
    etag: str
    last_modified: datetime
    #: In the store's words; None where it has none, or does not say.
    storage_class: str | None = None
    #: None where the store does not say that it encrypts.
    encryption: StoreEncryption | None = None

    def __post_init__(self) -> None:
        _believed(self.last_modified)


class Availability(StrEnum):
    """Whether an object can be read at once, or has to be brought back from a slow and cheap class first."""

    READY = "ready"
    #: Nobody has asked for it.
    FROZEN = "frozen"
    #: Somebody has, and the store is at it.
    COMING_BACK = "coming back"


@dataclass(frozen=True)
class Stored:
    """A small object, read whole. The time is the store's own; ValueError as of an ObjectInfo."""

    body: bytes
    etag: str
    last_modified: datetime

    def __post_init__(self) -> None:
        _believed(self.last_modified)


class Upload(Protocol):
    """A large object in the making. It is in no listing of objects until it is complete."""

    def upload_part(self, number: int, body: bytes | bytearray, *, start: int, sha256: bytes) -> None:
        """Send a part, numbered from 1, whose first byte is the object's byte `start`.

        `sha256` is the body's digest, which a store that knows it checks on arrival; others check what they know. Parts may
        be sent in any order and by several threads; the same number again replaces the part.
        """

    def complete(self) -> ObjectInfo:
        """Make the object of all parts sent, in the order of their numbers, and give what the store then shows.

        Returns only when the object is there with the size of its parts. Once. Raises WriteConflict where another object
        stands at the key, with a store that can tell in one step.
        """

    def abort(self) -> None:
        """Give up: the store forgets the parts. May be called again, and after `complete`, where it does nothing.

        A part that another thread is still sending may outlive this call: abort again when that thread is done.
        """


class Store(Protocol):
    """The objects under one policy's prefix. Keys are relative to it, `/` between folders, any other legal character.

    Every method may raise StoreUnreachable (after retries that are bounded), StoreAccessDenied and BucketNotFound, and
    may be called by several threads at once. Bodies are verified by the store when they arrive. Where the policy asks the
    store to encrypt, every write does, and raises EncryptionNotHonoured where the store does not confirm it, and
    KmsKeyNotFound; what was written then stands there all the same.
    """

    @property
    def location(self) -> str:
        """Where this is, for messages: endpoint, bucket and prefix."""

    @property
    def place(self) -> str:
        """The same as backups name it, `<bucket>/<prefix>`: without the endpoint, which may change while all stays."""

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
        """Write a small object whole, and give its ETag. Raises StorageClassRefused for a class that the store does not know.

        With `if_absent` only where nothing is; with `if_match` only in place of the object with that ETag: otherwise
        WriteConflict. An answer lost on the way is no conflict: where exactly these bytes stand, the write succeeded,
        whoever made it. They are then judged as those of any write are, by encryption and lock; the encryption aside where
        they stood there before this store was opened.
        """

    def add(self, key: str, body: bytes, *, content_type: str, storage_class: str | None = None) -> ObjectInfo:
        """Write a small object whole where nothing is, as `put` with `if_absent` does, and give what the store then shows.

        To those who may write there and not read it may show less than it said in its answer to the write, which then counts.
        Raises ObjectCorrupt where something else, or nothing, stands there all the same.
        """

    def get(self, key: str, *, max_bytes: int) -> Stored:
        """Read a small object. Raises ObjectMissing, and ObjectCorrupt when it is larger than `max_bytes`."""

    def head(self, key: str) -> ObjectInfo | None:
        """What stands at the key; None when nothing does."""

    def list(self, prefix: str) -> Iterator[ObjectInfo]:
        """Every object whose key begins with the prefix, ordered by the key's UTF-8 bytes, read page by page."""

    def list_folders(self, prefix: str) -> Iterator[str]:
        """The names of the folders right under a prefix that ends with a slash, in order, without slashes."""

    def delete(self, key: str) -> None:
        """Remove an object; one that is not there is no error."""

    def erase(self, *paths: str, but: str | None = None) -> Mapping[str, StoreError]:
        """Remove for good the objects of these keys, and of a path that ends with a slash all that is in the folder.

        In a versioned bucket every version goes, of an object the latest last, so that nothing shows again what was
        deleted; where the keys may not look at versions, what is there is deleted as `delete` does it. The object with the
        key `but` stays. Gives what could not be removed, by key; nothing there is no error, and may be asked for again.
        """

    def locking(self, lock: Lock) -> Store:
        """The same store, of which each object that it writes is locked from its first byte on.

        A write through it raises ObjectLockNotHonoured where the store does not confirm the lock, and StoreAccessDenied where
        the keys may not lock, or may not see whether they did.
        """

    def lock_of(self, key: str) -> Lock | None:
        """The retention that holds an object, over or not; None where it has none, or is not there. A legal hold is none."""

    def extend_lock(self, key: str, lock: Lock) -> None:
        """Lock an object that is there for at least so long; one that is locked for longer, or forever, stays so.

        One that is locked keeps the mode that it has. Raises as `locking` does, and ObjectMissing. May be called again.
        """

    def is_locked(self, key: str) -> bool:
        """Whether the store refuses, for now, to delete the object: a retention that has not ended, or a legal hold.

        Raises StoreAccessDenied where the bucket has locks and the keys may not see them: a locked object would look free.
        """

    def default_lock(self) -> Span | None:
        """For how long the store refuses to delete a new object, whoever writes it; None where it does not, or does not say."""

    def special_rights(self, key: str) -> Mapping[Right, bool | None]:
        """Which rights the keys have that not each kind of store knows, tried at a key where nothing is, changing nothing.

        None where it could not be told. What does not apply, such as versions in a bucket that keeps none, is left out.
        """

    def clock(self) -> datetime:
        """The store's own time, by which it dates what it stores; to the second."""

    def read_range(self, key: str, start: int, length: int) -> bytes | bytearray:
        """Exactly these bytes. Raises ObjectMissing, and ObjectCorrupt where the object ends before them."""

    def begin_upload(self, key: str, *, storage_class: str | None = None) -> Upload:
        """Begin an object whose size is not known yet. Raises StorageClassRefused for a class that the store does not know.

        A store may also take a class and keep the object in another: `head` tells.
        """

    def availability(self, key: str) -> Availability | None:
        """Whether the object can be read at once; None where nothing is."""

    def bring_back(self, key: str, *, keep: timedelta) -> None:
        """Ask the store to make an object readable, and to let it be so for at least `keep`; does not wait for it.

        That takes minutes to days, which `availability` tells. Asked again while the store is at it, nothing more happens.
        """

    def abort_uploads(self, prefix: str, *, begun_before: datetime | None = None) -> int:
        """Give up every upload whose key begins with the prefix, whoever began it; how many there were.

        With `begun_before` only those that the store, by its own clock, began before that time, or where it notes no
        beginning, last heard of before it. An upload of which nothing was sent may be none yet.
        """
