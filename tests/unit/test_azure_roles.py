"""The definitions of roles that docs/access ships for Azure are those that the page tells, and no wider."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from resguardo.api.roles import Role

DOCS = Path(__file__).parents[2] / "docs"
PAGE = (DOCS / "tasks" / "azure.md").read_text()
CONTAINERS = "Microsoft.Storage/storageAccounts/blobServices/containers"

every_role = pytest.mark.parametrize("role", list(Role))


def definition(role: Role) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((DOCS / "access" / f"azure-{role}.json").read_text())
    return body


@every_role
def test_a_definition_grants_what_the_page_tells(role: Role) -> None:
    (row,) = re.findall(rf"^\| {role} \| .*$", PAGE, re.MULTILINE)
    *_, file, actions, _ = row.split(" |")
    assert f"(../access/azure-{role}.json)" in file
    told = {action.replace("…", CONTAINERS) for action in re.findall("`([^`]+)`", actions)}
    body = definition(role)
    assert {*body["Actions"], *body["DataActions"]} == told


@every_role
def test_a_definition_names_each_action_and_only_the_pruner_may_delete(role: Role) -> None:
    body = definition(role)
    granted = [*body["Actions"], *body["DataActions"]]
    assert not [action for action in granted if "*" in action]
    assert any("delete" in action.lower() for action in granted) == (role is Role.PRUNER)
    assert any(action.endswith("/write") for action in granted) == (role is not Role.READER)


@every_role
def test_what_is_done_to_blobs_is_a_data_action_and_what_is_asked_of_the_container_is_not(role: Role) -> None:
    """https://learn.microsoft.com/azure/role-based-access-control/permissions/storage: else Azure refuses the definition."""
    body = definition(role)
    assert all(action.startswith(f"{CONTAINERS}/blobs/") for action in body["DataActions"])
    assert not [action for action in body["Actions"] if "/blobs/" in action]


@every_role
def test_a_definition_is_what_the_command_takes_and_assigns_nothing_by_itself(role: Role) -> None:
    """`az role definition create` asks for a name and for assignable scopes: a subscription, or a group of its resources."""
    body = definition(role)
    assert body.keys() == {
        "Name", "IsCustom", "Description", "Actions", "NotActions", "DataActions", "NotDataActions", "AssignableScopes",
    }  # fmt: skip
    assert body["Name"] == f"Resguardo {role}"
    assert (body["NotActions"], body["NotDataActions"]) == ([], [])
    (scope,) = body["AssignableScopes"]
    assert re.fullmatch("/subscriptions/[0-9-]{36}/resourceGroups/backups", scope)
