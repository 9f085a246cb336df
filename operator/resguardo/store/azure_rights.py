"""Tries what Azure has rights of its own for: to look at former versions and to remove them. Changes nothing."""

from __future__ import annotations

from collections.abc import Callable

from azure.storage.blob import ContainerClient

from resguardo.api.errors import BucketNotFound, StoreAccessDenied, StoreUnreachable
from resguardo.rules.access import Right
from resguardo.store.azure_errors import FAILURES, Request, translate

#: Of no blob: a version's name is the time at which it was made.
_NO_VERSION = "2000-01-01T00:00:00.0000000Z"


def special_rights(client: ContainerClient, place: Request, prefix: str) -> dict[Right, bool | None]:
    """By right, whether the identity has it; nothing where nothing under the prefix has versions. Nothing is at `place`."""
    has_versions: list[bool] = []

    def look() -> None:
        for found in client.list_blobs(name_starts_with=prefix, include=["versions"], results_per_page=1):
            has_versions.append(found.version_id is not None)
            break

    if not _may(look, place):
        return {Right.SEE_VERSIONS: False}
    if not any(has_versions):
        return {}
    remove = client.get_blob_client(place.key).delete_blob
    return {Right.SEE_VERSIONS: True, Right.REMOVE_VERSIONS: _may(lambda: remove(version_id=_NO_VERSION), place)}


def _may(request: Callable[[], None], place: Request) -> bool:
    """Whether it is not refused to the identity; what the store has not, or knows nothing of, is not. Raises StoreUnreachable and BucketNotFound."""
    try:
        request()
    except FAILURES as error:
        problem = translate(error, place)
        if isinstance(problem, StoreAccessDenied):
            return False
        if isinstance(problem, StoreUnreachable | BucketNotFound):
            raise problem from error
    return True
