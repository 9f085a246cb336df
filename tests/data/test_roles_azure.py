"""Writer, pruner and reader in Azure, by the letters of a signature that docs/tasks/azure.md tells, on azurite, which enforces them.

Role assignments of identities are not tried: azurite knows no identities.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from resguardo.api.roles import Role
from resguardo.rules.access import Right, judge
from resguardo.store.azure import AzureStore
from resguardo.store.azure_client import SasToken
from resguardo.store.rights import try_rights
from tests.fixtures.azurite import Azurite
from tests.fixtures.place import Place
from tests.fixtures.stores import AzureGround

WRITER, PRUNER, READER = Role.WRITER, Role.PRUNER, Role.READER
PAGE = Path(__file__).parents[2] / "docs" / "tasks" / "azure.md"


def documented_letters(role: Role) -> str:
    (letters,) = re.findall(rf"^\| {role} \| `([a-z]+)`", PAGE.read_text(), re.MULTILINE)
    return letters


@pytest.fixture
def store_of(azurite: Azurite, azure_container: str) -> Callable[[str], AzureStore]:
    """The container, as who has a signature with these letters sees it."""
    return lambda letters: azurite.store(azure_container, login=SasToken(azurite.sas(azure_container, letters)))


def test_a_backup_is_made_restored_and_retained_by_signatures_that_can_do_nothing_else(
    place: Place, azure_ground: AzureGround
) -> None:
    """given the documented letters, when each task runs with its own role's signature, then it does its whole work"""
    shutil.rmtree(place.folder / "credentials" / "store")
    store = azure_ground.spec()
    store["azure"]["credentials"] = {"sasTokenSecretRef": {"name": "signature"}}
    policy = place.policy(store=store, retention={"daily": "7d"})

    def act_as(role: Role) -> None:
        place.credentials(store__sas_token=azure_ground.azurite.sas(azure_ground.container, documented_letters(role)))

    act_as(WRITER)
    place.run("check", "-f", policy)
    report, _, log = place.run("backup", "-f", policy)
    assert report.backup is not None
    assert "may not do" not in log

    act_as(PRUNER)
    retained, _, _ = place.run("retention", "-f", policy)
    assert (retained.reason, retained.succeeded) == ("RetentionEnforced", True)

    act_as(READER)
    restored, _, _ = place.run("restore", "-f", place.request("again", database="again_by_sas"), "-f", policy)
    assert restored.reason == "Restored"
    assert place.fail("backup", "-f", policy).reason == "StoreAccessDenied"


def test_whether_the_container_is_held_no_signature_may_ask_and_so_its_delete_says(
    store_of: Callable[[str], AzureStore],
) -> None:
    store = store_of(documented_letters(PRUNER))
    store.put("backups/x/manifest.json", b"x")
    assert not store.is_locked("backups/x/manifest.json")
    assert store.erase("backups/x/") == {}


class TestCheckRole:
    @pytest.mark.parametrize(
        ("role", "letters", "wrong"),
        [
            # Signatures know no names of blobs, so that who reads manifests reads data, and who writes overwrites.
            (WRITER, documented_letters(WRITER), {Right.READ_DATA, Right.OVERWRITE, Right.MARK}),
            (PRUNER, documented_letters(PRUNER), {Right.READ_DATA, Right.ADD}),
            (READER, documented_letters(READER), set()),
            (WRITER, "rcwdl", {Right.READ_DATA, Right.OVERWRITE, Right.MARK, Right.REMOVE}),
            (WRITER, "rl", {Right.ADD, Right.RECORD, Right.READ_DATA}),
            (PRUNER, "rcwl", {Right.REMOVE, Right.READ_DATA, Right.ADD}),
            (READER, "l", {Right.READ_FACTS, Right.READ_DATA}),
            (READER, "rcwl", {Right.ADD, Right.OVERWRITE, Right.FORBID, Right.RECORD, Right.MARK}),
        ],
    )  # fmt: skip
    def test_by_a_signatures_letters(
        self, store_of: Callable[[str], AzureStore], role: Role, letters: str, wrong: set[Right]
    ) -> None:
        found = judge(role, try_rights(store_of(letters)), locks=False)
        assert {finding.tried.right for finding in found if finding.is_missing or finding.is_too_much} == wrong
        assert list(store_of("rl").list("")) == [], "it leaves nothing"

    @pytest.mark.parametrize(
        ("letters", "expected"),
        [
            ("rcwdxl", {Right.SEE_VERSIONS: True, Right.REMOVE_VERSIONS: True}),
            ("rl", {Right.SEE_VERSIONS: True, Right.REMOVE_VERSIONS: False}),
            ("r", {Right.SEE_VERSIONS: False}),
        ],
    )
    def test_of_former_versions(
        self,
        store_of: Callable[[str], AzureStore],
        monkeypatch: pytest.MonkeyPatch,
        letters: str,
        expected: dict[Right, bool],
    ) -> None:
        """Played: azurite keeps no versions, so that a listing is told to name one; and it takes `d` for `x`. The refusals are real."""
        store_of("rcwl").put("backups/x/manifest.json", b"x")
        store = store_of(letters)
        assert store.special_rights("none") == ({} if "l" in letters else expected)
        list_blobs = store._client.list_blobs

        def with_versions(**options: Any) -> Iterator[Any]:
            assert options["include"] == ["versions"]
            for found in list_blobs(**options):
                found.version_id = "2026-11-26T00:00:00.0000000Z"
                yield found

        monkeypatch.setattr(store._client, "list_blobs", with_versions)
        assert store.special_rights("none") == expected
