"""A large blob in the making: blocks that the service keeps for a week, and shows to nobody before they are committed.

https://learn.microsoft.com/rest/api/storageservices/put-block-list
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from azure.core import MatchConditions
from azure.core.exceptions import HttpResponseError, ResourceExistsError, ResourceModifiedError
from azure.storage.blob import BlobBlock, BlobClient, ContainerClient, ContentSettings, StandardBlobTier

from resguardo.api.errors import ObjectCorrupt, ObjectMissing, StoreAccessDenied, StoreError
from resguardo.api.manifest import StoreEncryption
from resguardo.store.again import again
from resguardo.store.azure_errors import (
    FAILURES,
    MISSING_CODES,
    STANDS_CODES,
    UPLOAD_GONE_CODES,
    Request,
    code_of,
    is_damaged,
    translate,
)
from resguardo.store.body import part_body
from resguardo.store.protocol import ObjectInfo

#: A service that puts thousands of blocks together says nothing while it does.
COMMIT_SECONDS = 900


def info_of(key: str, found: Any) -> ObjectInfo:
    """A blob's properties, of a HEAD or a listing, as an object. Raises ValueError where they do not say what each blob has."""
    if found.size is None or found.etag is None or found.last_modified is None:
        raise ValueError("of a blob it says no size, no ETag or no time")
    tier = found.blob_tier
    return ObjectInfo(
        key,
        found.size,
        quoted(found.etag),
        found.last_modified,
        str(getattr(tier, "value", tier)) if tier else None,
        StoreEncryption(algorithm="AES256", key_id=found.encryption_scope) if found.server_encrypted else None,
    )


def quoted(etag: str) -> str:
    """An ETag as HTTP writes it; listings leave the quotes out."""
    bare = etag.strip('"')
    return f'"{bare}"'


@dataclass(frozen=True)
class Options:
    """What each request that writes says beside its body."""

    tier: str | None = None
    scope: str | None = None

    def of_blocks(self) -> dict[str, Any]:
        """For Put Block."""
        return {"encryption_scope": self.scope} if self.scope else {}

    def of_blobs(self) -> dict[str, Any]:
        """For Put Blob and Put Block List."""
        return self.of_blocks() | ({"standard_blob_tier": StandardBlobTier(self.tier)} if self.tier else {})


@dataclass(frozen=True)
class _Part:
    block_id: str
    bytes: int


class AzureUpload:
    """See `protocol.Upload` for the contract. `confirm` raises where the store does not say what was asked of it."""

    def __init__(
        self,
        blob: BlobClient,
        key: str,
        *,
        hasty_client: ContainerClient,
        request: Request,
        options: Options,
        confirm: Callable[[str, Any], None],
    ) -> None:
        self._blob, self._hasty_client = blob, hasty_client
        self._key, self._request, self._options, self._confirm = key, request, options, confirm
        #: So that a block says whose it is: blocks belong to a key, not to an upload.
        self._nonce = secrets.token_hex(8)
        self._parts: dict[int, _Part] = {}
        self._is_complete = False

    def upload_part(self, number: int, body: bytes | bytearray, *, start: int, sha256: bytes) -> None:  # noqa: ARG002
        """Send one block. Azure knows no SHA-256: an MD5 of the body is checked on arrival, and the id carries the digest."""
        block_id = f"{self._nonce}-{number:05}-{sha256[:16].hex()}"
        try:
            again(
                lambda: self._blob.stage_block(
                    block_id, part_body(body), len(body), validate_content=True, **self._options.of_blocks()
                ),
                when=is_damaged,
            )
        except FAILURES as error:
            raise translate(error, self._request) from error
        self._parts[number] = _Part(block_id, len(body))

    def complete(self) -> ObjectInfo:
        """Commit the blocks. An error is looked into: where the blob is made of these very blocks, only the answer was lost."""
        try:
            return self._completed()
        except FAILURES as error:
            raise translate(error, self._request) from error

    def _completed(self) -> ObjectInfo:
        numbers = sorted(self._parts)
        if numbers != list(range(1, len(numbers) + 1)) or not numbers:
            raise AssertionError(f"parts {numbers} are not 1 to {len(numbers)}")
        made_etag = None
        try:
            answer = self._blob.commit_block_list(
                [BlobBlock(self._parts[number].block_id) for number in numbers],
                content_settings=ContentSettings(content_type="application/octet-stream"),
                read_timeout=COMMIT_SECONDS,
                match_condition=MatchConditions.IfMissing,
                **self._options.of_blobs(),
            )
            made_etag = str(answer["etag"])
        except FAILURES as error:
            if isinstance(error, HttpResponseError) and code_of(error) not in UPLOAD_GONE_CODES | STANDS_CODES:
                raise translate(error, self._request) from error
            if not self._is_made():
                raise self._failure(error) from error
        self._is_complete = True
        return self._confirmed(made_etag)

    def abort(self) -> None:
        """Make the store forget the blocks, if it can be had to; it forgets them by itself after a week."""
        if not self._is_complete and self._parts:
            forget_blocks(self._hasty_client, self._request)

    def _failure(self, error: Exception) -> StoreError:
        if code_of(error) in UPLOAD_GONE_CODES:
            return StoreError(
                f"{self._request}: parts of the upload are gone ({code_of(error)}): it was given up, or another one of that key "
                "was completed"
            )
        return translate(error, self._request)

    def _is_made(self) -> bool:
        try:
            committed, _ = self._blob.get_block_list("committed")
        except FAILURES as error:
            if code_of(error) in MISSING_CODES:
                return False
            raise translate(error, self._request) from error
        return [block.id for block in committed] == [self._parts[number].block_id for number in sorted(self._parts)]

    def _confirmed(self, made_etag: str | None) -> ObjectInfo:
        where = f"object {self._request.key!r} in container {self._request.container} at {self._request.endpoint}"
        try:
            found = self._blob.get_blob_properties()
        except FAILURES as error:
            if code_of(error) in MISSING_CODES:
                raise ObjectCorrupt(f"{where} is not there, although the store said that it was made") from error
            raise translate(error, self._request) from error
        size = sum(part.bytes for part in self._parts.values())
        if found.size != size:
            raise ObjectCorrupt(f"{where} has {found.size} bytes, and {size} were sent")
        if made_etag is not None and quoted(made_etag) != quoted(found.etag):
            raise ObjectCorrupt(f"{where} is another object than the one that was made of the parts sent")
        self._confirm(self._key, found.encryption_scope)
        return info_of(self._key, found)


def forget_blocks(client: ContainerClient, request: Request) -> None:
    """Have the service drop the blocks of a key that has no blob: there is no request for it but to write one, and delete it.

    Where a blob stands, and where the identity may not delete, they are left: after a week without another the service drops them.
    """
    try:
        # First whether it may delete at all, or an empty blob would stay for good.
        client.delete_blob(f"{request.key}.{secrets.token_hex(8)}")
    except FAILURES as error:
        failure = translate(error, request)
        if isinstance(failure, StoreAccessDenied):
            return
        if not isinstance(failure, ObjectMissing):
            raise failure from error
    blob = client.get_blob_client(request.key)
    try:
        # Blocks that a list does not name are dropped.
        made = blob.commit_block_list([], match_condition=MatchConditions.IfMissing)
        with suppress(ResourceModifiedError):
            blob.delete_blob(etag=str(made["etag"]), match_condition=MatchConditions.IfNotModified)
    except (ResourceExistsError, ResourceModifiedError):
        return
    except FAILURES as error:
        raise translate(error, request) from error
