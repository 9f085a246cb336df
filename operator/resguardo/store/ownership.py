"""Who owns a prefix, and whether the store can keep two owners apart.

The owner is one small object, created with If-None-Match and taken over with If-Match: of two who try at the same moment,
one succeeds. The epoch counts take-overs, so that a former owner notices even when the prefix came back to it.
"""

from __future__ import annotations

import hashlib
import secrets
from contextlib import suppress
from datetime import datetime
from typing import Annotated

from pydantic import Field, ValidationError
from pydantic_core import from_json

from resguardo.api.base import WHOLE_MAX, Exchanged, Instant, print_time
from resguardo.api.errors import (
    ConditionalWriteNotHonoured,
    FormatTooNew,
    ManifestInvalid,
    ObjectCorrupt,
    ObjectMissing,
    PrefixOwned,
    StoreAccessDenied,
    WriteConflict,
)
from resguardo.api.names import TAKE_OVER_ANNOTATION
from resguardo.rules.part_sizes import part_bytes
from resguardo.store.layout import FIXED_PROBE_KEY, OWNER_KEY, probe_key
from resguardo.store.protocol import Store

OWNER_FORMAT_VERSION = 1
OWNER_MAX_BYTES = 4096
ATTEMPTS = 5


class Owner(Exchanged):
    """Whose a prefix is. `owner` is `<cluster id>/<namespace>/<name>`, with no cluster id when claimed by hand."""

    format_version: int = OWNER_FORMAT_VERSION
    owner: Annotated[str, Field(max_length=512, pattern=r"^.*/[^/]+/[^/]+$")]
    epoch: Annotated[int, Field(ge=1, le=WHOLE_MAX)]
    claimed_at: Instant


def claim(store: Store, owner: str, *, take_over_from: str | None, now: datetime) -> Owner:
    """Make the prefix the owner's, or confirm that it is.

    Nobody's: it becomes ours, in epoch 1. Ours: as it stands. Somebody else's: PrefixOwned, unless `take_over_from` is
    exactly its `<owner>@<epoch>`; then it becomes ours in the next epoch, and the same words never work again.
    """
    for _ in range(ATTEMPTS):
        try:
            found, etag = _read(store)
        except ObjectMissing:
            new, conditions_etag = Owner(owner=owner, epoch=1, claimed_at=now), None
        else:
            if _is_same(found.owner, owner):
                if not _is_by_hand(found.owner) or _is_by_hand(owner):
                    return found
                # Claimed by hand before: from now on this cluster's, so that a second cluster cannot act as it too.
                new = found.model_copy(update={"owner": owner})
            elif take_over_from == f"{found.owner}@{found.epoch}":
                new = Owner(owner=owner, epoch=found.epoch + 1, claimed_at=now)
            else:
                raise PrefixOwned(_owned_message(store, found, owner))
            conditions_etag = etag
        try:
            _write(store, new, conditions_etag)
        except WriteConflict:
            continue  # somebody was faster: look again whose it is
        return new
    raise PrefixOwned(
        f"{store.location} changes its owner all the time: {OWNER_KEY} was rewritten under {ATTEMPTS} tries"
    )


def read_owner(store: Store, owner: str) -> Owner:
    """The prefix as the owner's, without claiming it. Raises PrefixOwned where it is nobody's, or somebody else's."""
    try:
        found, _ = _read(store)
    except ObjectMissing:
        raise PrefixOwned(
            f"{store.location} is nobody's: it has no {OWNER_KEY}. `resguardo check` claims it for the policy"
        ) from None
    if not _is_same(found.owner, owner):
        raise PrefixOwned(_owned_message(store, found, owner))
    return found


def verify_owner(store: Store, owner: Owner) -> None:
    """Raise PrefixOwned when the prefix is no longer the owner's in that epoch."""
    try:
        found, _ = _read(store)
    except ObjectMissing:
        raise PrefixOwned(
            f"{store.location} lost its {OWNER_KEY} while {owner.owner} was at work: who deleted it? The next check claims "
            "the prefix again"
        ) from None
    if found.epoch != owner.epoch or not _is_same(found.owner, owner.owner):
        raise PrefixOwned(_owned_message(store, found, owner.owner))


def probe_conditional_writes(store: Store) -> None:
    """Try all that a policy needs of its store, and above all that a conditional write is refused.

    Raises ConditionalWriteNotHonoured; ObjectCorrupt when what was written is not what is read; StoreAccessDenied with
    every missing action. Leaves nothing: the right to delete is tried first, on a key where nothing is. Without that
    right, which a writer need not have, all probes share one fixed object, which stays.
    """
    key = probe_key(secrets.token_hex(8))
    try:
        store.delete(key)
    except StoreAccessDenied:
        _probe_fixed(store)
    else:
        _probe_fresh(store, key)


def _probe_fresh(store: Store, key: str) -> None:
    first, second = _random_body(), _random_body()
    try:
        # Refused here, nothing else can be tried.
        etag = store.put(key, first, if_absent=True)
        denied = _denials(store, key)
        _must_be_refused(store, key, second, etag=None)
        _must_be_refused(store, key, second, etag=_wrong(etag))
        if not denied and (there := store.get(key, max_bytes=OWNER_MAX_BYTES).body) != first:
            raise ObjectCorrupt(f"{store.location}: {len(first)} bytes were written to {key}, and {there!r} was read")
    finally:
        store.delete(key)
    _raise_denied(denied)


def _probe_fixed(store: Store) -> None:
    for _ in range(ATTEMPTS):
        with suppress(WriteConflict):  # as it should be from the second probe on
            store.put(FIXED_PROBE_KEY, _random_body(), if_absent=True)
        _raise_denied(_denials(store, FIXED_PROBE_KEY))
        _must_be_refused(store, FIXED_PROBE_KEY, _random_body(), etag=None)
        there = store.get(FIXED_PROBE_KEY, max_bytes=OWNER_MAX_BYTES)
        _must_be_refused(store, FIXED_PROBE_KEY, _random_body(), etag=_wrong(there.etag))
        body = _random_body()
        try:
            store.put(FIXED_PROBE_KEY, body, if_match=there.etag)
        except WriteConflict:
            continue  # another probe at the same moment; this one proves nothing yet
        if store.get(FIXED_PROBE_KEY, max_bytes=OWNER_MAX_BYTES).body == body:
            return
    raise ConditionalWriteNotHonoured(
        f"{store.location}: writing {FIXED_PROBE_KEY} in place of what was just read there failed {ATTEMPTS} times"
    )


def _denials(store: Store, key: str) -> list[StoreAccessDenied]:
    """What the keys may not do with an object that is there, beside writing it."""

    def read() -> None:
        store.get(key, max_bytes=OWNER_MAX_BYTES)

    def look() -> None:
        if key not in (found.key for found in store.list(key)):
            raise ObjectCorrupt(f"{store.location}: {key} was written, and a listing does not show it")

    def abort() -> None:
        store.begin_upload(f"{key}.upload").abort()

    def upload() -> None:
        _upload_two_parts(store, f"{key}.upload")

    denied = []
    for attempt in (read, look, abort, upload):
        try:
            attempt()
        except StoreAccessDenied as error:
            denied.append(error)
    return denied


def _upload_two_parts(store: Store, key: str) -> None:
    """What becomes of a dump, tried: a part of its size, so that a proxy's limit is met here, the last one, and their completion.

    Where nobody may delete, what the first probe made stays, and the completion of those after it is refused: by then the store has
    said of their parts what it says of any.
    """
    upload = store.begin_upload(key)
    try:
        start = 0
        for number, body in enumerate((secrets.token_bytes(part_bytes(1)), _random_body()), start=1):
            upload.upload_part(number, body, start=start, sha256=hashlib.sha256(body).digest())
            start += len(body)
        with suppress(WriteConflict):
            upload.complete()
    finally:
        with suppress(StoreAccessDenied):
            upload.abort()
        # With its versions: it is not small.
        store.erase(key)


def _raise_denied(denied: list[StoreAccessDenied]) -> None:
    if denied:
        raise StoreAccessDenied("; ".join(str(error) for error in denied))


def _must_be_refused(store: Store, key: str, body: bytes, *, etag: str | None) -> None:
    condition = "If-None-Match: *" if etag is None else "If-Match with another ETag"
    try:
        store.put(key, body, if_absent=etag is None, if_match=etag)
    except WriteConflict:
        return
    raise ConditionalWriteNotHonoured(
        f"{store.location} overwrote an object although it was told not to ({condition}): two writers could not be told "
        "apart. Use a store that honours conditional writes; a newer version of this one may"
    )


def _wrong(etag: str) -> str:
    """An ETag of the same form that is not this one."""
    bare = etag.strip('"')
    return f'"{bare[:-1]}{"0" if bare[-1:] != "0" else "1"}"'


def _random_body() -> bytes:
    return b'{"probe":"%s"}' % secrets.token_hex(16).encode()


def _read(store: Store) -> tuple[Owner, str]:
    stored = store.get(OWNER_KEY, max_bytes=OWNER_MAX_BYTES)
    what = f"{OWNER_KEY} of {store.location}"
    try:
        document = from_json(stored.body)
        version = document.get("formatVersion") if isinstance(document, dict) else None
        if isinstance(version, int) and version > OWNER_FORMAT_VERSION:
            raise FormatTooNew(f"{what} has format {version}: use a newer Resguardo")
        return Owner.model_validate(document), stored.etag
    except (ValueError, ValidationError):
        raise ManifestInvalid(
            f"{what} cannot be read, so that nobody knows whose the prefix is: look at it, and delete it if it is junk"
        ) from None


def _write(store: Store, owner: Owner, etag: str | None) -> None:
    store.put(OWNER_KEY, owner.to_json().encode(), if_absent=etag is None, if_match=etag)


def _is_by_hand(owner: str) -> bool:
    return owner.rsplit("/", 2)[0] == ""


def _is_same(one: str, other: str) -> bool:
    """Whether two names are of one policy; by hand nobody says which cluster it is, so that any fits."""
    if _is_by_hand(one) or _is_by_hand(other):
        return one.rsplit("/", 2)[1:] == other.rsplit("/", 2)[1:]
    return one == other


def _owned_message(store: Store, found: Owner, owner: str) -> str:
    return (
        f"{store.location} belongs to {found.owner} (epoch {found.epoch}, since {print_time(found.claimed_at)}), not to "
        f"{owner}. Use another prefix; or, if that one is given up, take it over by annotating this policy with "
        f"{TAKE_OVER_ANNOTATION}: {found.owner}@{found.epoch}"
    )
