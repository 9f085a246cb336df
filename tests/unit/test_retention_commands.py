"""`resguardo retention plan` and `simulate`, which need nothing but files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from resguardo.cli import app
from tests.fixtures.specs import POLICY

INVENTORY: list[dict[str, Any]] = [
    {"id": "b", "startedAt": "2026-11-20T02:00:00Z", "storedAt": "2026-11-20T02:10:00Z", "outcome": "Succeeded"},
    {
        "id": "a",
        "startedAt": "2026-11-19T02:00:00Z",
        "storedAt": "2026-11-19T02:10:00Z",
        "outcome": "succeeded",
        "pinned": True,
    },
    {"id": "c", "startedAt": "2026-11-21T02:00:00Z", "storedAt": None, "outcome": "Running", "dependsOn": "b"},
]


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A BackupPolicy in a file: two days, and at least one."""
    document = json.loads(json.dumps(POLICY))
    document["spec"]["retention"] = {"daily": "2d", "minimum": 1}
    file = tmp_path / "policy.yaml"
    file.write_text(yaml.safe_dump(document))
    return file


def run(*arguments: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, ["retention", *arguments], input=stdin)


def plan(policy: Path, inventory: object, *arguments: str) -> Result:
    text = inventory if isinstance(inventory, str) else json.dumps(inventory)
    return run("plan", "--inventory", "-", "--policy", str(policy), *arguments, stdin=text)


def test_a_plan_as_json_has_one_verdict_for_each_entry(policy: Path) -> None:
    answer = plan(policy, INVENTORY, "--now", "2026-11-23T12:00:00Z", "-o", "json")
    assert answer.exit_code == 0
    assert json.loads(answer.stdout) == [
        {"id": "a", "keep": True, "reasons": ["pinned", "daily 2026-11-18"]},
        {"id": "b", "keep": True, "reasons": ["newest", "daily 2026-11-19", "minimum", "depended on by c"]},
        {"id": "c", "keep": True, "reasons": ["running"]},
    ]


def test_a_plan_as_a_table_says_what_it_comes_to(policy: Path) -> None:
    answer = plan(policy, INVENTORY)
    assert answer.exit_code == 0
    assert answer.stdout.splitlines()[0].split() == ["BACKUP", "STARTED", "SIZE", "KEEP", "WHY"]
    assert answer.stdout.splitlines()[-1] == "3 stay, 0 go (0B)"


@pytest.mark.parametrize(
    ("inventory", "words"),
    [
        pytest.param("{", ["-:", "JSON"], id="no JSON"),
        pytest.param({"backups": []}, ["the document", "array"], id="no list"),
        pytest.param(
            [{"id": "a"}], ["entry 0.startedAt", "entry 0.storedAt", "entry 0.outcome"], id="fields that are missing"
        ),
        pytest.param([INVENTORY[0] | {"outcome": "fine"}], ["entry 0.outcome", "Succeeded"], id="an unknown outcome"),
        pytest.param(
            [INVENTORY[0] | {"startedAt": "2026-11-20T02:00:00"}], ["entry 0.startedAt", "time zone"], id="no zone"
        ),
        pytest.param([INVENTORY[0] | {"startedAt": "0001-01-01T00:00:00Z"}], ["entry 0.startedAt"], id="the year one"),
        pytest.param([INVENTORY[0] | {"bytes": -1}], ["entry 0.bytes"], id="less than no bytes"),
        pytest.param([INVENTORY[0], INVENTORY[0]], ["more than one entry has the id b"], id="twins"),
    ],
)
def test_a_bad_inventory_is_told_with_entry_and_field(policy: Path, inventory: object, words: list[str]) -> None:
    answer = plan(policy, inventory)
    assert answer.exit_code == 10
    for word in words:
        assert word in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        pytest.param(["--from", "yesterday", "--for", "2y"], "--from", id="no day"),
        pytest.param(["--from", "2026-01-01", "--for", "2 years"], "36h, 30d, 8w, 3mo or 1y", id="no span"),
        pytest.param(["--from", "2026-01-01", "--for", "2y", "--size", "big"], "512Mi", id="no size"),
    ],
)
def test_bad_arguments_of_a_simulation(policy: Path, arguments: list[str], words: str) -> None:
    answer = run("simulate", "-f", str(policy), *arguments)
    assert answer.exit_code == 2
    assert words in answer.stderr


def test_a_simulation_as_json_and_as_a_table(policy: Path) -> None:
    arguments = ["simulate", "-f", str(policy), "--from", "2026-01-01", "--for", "1mo", "--size", "1Gi"]
    document = json.loads(run(*arguments, "-o", "json").stdout)
    assert len(document) == 31
    assert document[-1] | {"at": ""} == {"at": "", "backups": 3, "bytes": 3 * 1024**3, "byTier": {"daily": 3}}
    lines = run(*arguments).stdout.splitlines()
    assert lines[0].split() == ["MONTH", "BACKUPS", "DAILY", "SIZE"]
    assert lines[1].split()[:4] == ["2026-01", "3", "3", "3.0GiB"]


@pytest.mark.parametrize("command", ["plan", "simulate"])
def test_a_warning_goes_to_standard_error_and_leaves_the_answer_alone(policy: Path, command: str) -> None:
    document = yaml.safe_load(policy.read_text())
    document["spec"]["retention"] = {"daily": "12h"}
    policy.write_text(yaml.safe_dump(document))
    simulation = ["simulate", "-f", str(policy), "--from", "2026-01-01", "--for", "3d", "-o", "json"]
    answer = plan(policy, INVENTORY, "-o", "json") if command == "plan" else run(*simulation)
    assert answer.exit_code == 0
    assert answer.stderr.startswith("Warning: retention.daily is 12h, shorter than the 24h between two backups")
    assert json.loads(answer.stdout)
