"""Removes blobs from a container, and where it keeps versions their bytes too.

A delete leaves the blob as a former version (https://learn.microsoft.com/azure/storage/blobs/versioning-overview). What soft
delete holds back goes when its own time is over: nobody can end that sooner.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from azure.core.exceptions import HttpResponseError
from azure.storage.blob import ContainerClient

from resguardo.api.errors import StoreError, StoreUnreachable
from resguardo.store.azure_errors import FAILURES, MISSING_CODES, Request, code_of, status_of, translate
from resguardo.store.listings import each_once, within
from resguardo.store.threads import in_threads

#: The most that one answer lists.
KEYS_MAX = 500


def _print_version(found: Any) -> str:
    return f"{found.name} {found.version_id}"


class AzureEraser:
    """`protocol.Store.erase` for one container; `place` is any request there, whose key is the prefix."""

    def __init__(self, client: ContainerClient, place: Request) -> None:
        self._client, self._place, self._prefix = client, place, place.key

    def erase(self, *paths: str, but: str | None = None) -> dict[str, StoreError]:
        """Remove blobs, and folders' blobs, with their versions; what could not be removed, by key."""
        problems: dict[str, StoreError] = {}
        for path in paths:
            full = self._prefix + path
            keys = [full] if not path.endswith("/") else [name for name, _ in self._find(full)]
            spared = None if but is None else self._prefix + but
            versions = self._versions(full)
            # First what is there, so that no former version shows when the latest is gone.
            problems |= self._delete((key, None) for key in keys if key != spared)
            problems |= self._delete(found for found in versions if found[0] != spared)
        return problems

    def _find(self, full: str, **include: Any) -> list[tuple[str, str | None]]:
        asked = replace(self._place, action="blobs/read (list)", key=full)
        try:
            pages = self._client.list_blobs(name_starts_with=full, results_per_page=KEYS_MAX, **include).by_page()
            return [
                (within(full, str(found.name), asked), found.version_id)
                for found in each_once(pages, _print_version, asked)
            ]
        except FAILURES as error:
            raise translate(error, asked) from error

    def _versions(self, full: str) -> list[tuple[str, str | None]]:
        try:
            found = self._find(full, include=["versions"])
        except StoreUnreachable:
            raise
        except StoreError as error:
            if status_of(error.__cause__) < 400:
                raise
            # The identity may not look at them, or the server knows none.
            return []
        return [
            (name, version) for name, version in found if version is not None and (name == full or full.endswith("/"))
        ]

    def _delete(self, blobs: Iterable[tuple[str, str | None]]) -> dict[str, StoreError]:
        done = in_threads(self._delete_one, list(blobs), name="erase")
        return {name.removeprefix(self._prefix): problem for name, problem in done if problem is not None}

    def _delete_one(self, blob: tuple[str, str | None]) -> tuple[str, StoreError | None]:
        name, version = blob
        options: dict[str, Any] = {"delete_snapshots": "include"} if version is None else {"version_id": version}
        try:
            self._client.get_blob_client(name).delete_blob(**options)
        except FAILURES as error:
            if code_of(error) in MISSING_CODES:
                return name, None
            problem = translate(error, replace(self._place, action="blobs/delete", key=name))
            if not isinstance(error, HttpResponseError) or isinstance(problem, StoreUnreachable):
                raise problem from error
            return name, problem
        return name, None
