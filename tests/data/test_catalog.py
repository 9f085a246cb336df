"""`resguardo catalog`, as typed, on a real bucket: each backup, what it is kept for, and what is to go."""

from __future__ import annotations

import io
import json
import re
import subprocess
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import yaml
from rich.console import Console

from resguardo.api.backup_id import new_backup_id
from resguardo.api.manifest import Oddity, Promise, SourceIdentity, Trigger
from resguardo.jobs.catalog import catalogue_document, print_catalogue
from resguardo.jobs.survey import Terms, look, terms_of
from resguardo.jobs.terminal import to_json, to_yaml
from resguardo.store.marks import Mark, Verification, record_verification, set_mark
from resguardo.store.signatures import ANYBODY
from tests.fixtures.history import DAY, History

NOW = datetime.now(UTC).replace(microsecond=0)
PROMISE = Promise(
    schedule="0 2 * * *", time_zone="America/Sao_Paulo", timeout="1h", retention={"daily": "2d", "minimum": 1}
)


def catalog(history: History, output: str = "table", terms: Terms | None = None) -> str:
    """What the command prints, without the time that it takes to start one."""
    seen = look(history.store, terms or terms_of(history.policy), ANYBODY, now=datetime.now(UTC))
    if output in ("json", "yaml"):
        return {"json": to_json, "yaml": to_yaml}[output](catalogue_document(seen))
    console = Console(file=io.StringIO())
    print_catalogue(seen, console, wide=output == "wide")
    return str(console.file.getvalue())  # type: ignore[attr-defined]


def document(history: History) -> dict[str, Any]:
    return dict(json.loads(catalog(history, "json")))


def columns(table: str, row: str) -> dict[str, str]:
    """A row of the table, by its headings."""
    heading, *lines = table.splitlines()
    line = next(line for line in lines if line.startswith(row))
    return dict(zip(re.split(r"  +", heading.strip()), re.split(r"  +", line.strip()), strict=True))


def test_a_table_says_what_each_backup_is_kept_for_and_what_is_to_go(history: History) -> None:
    ids = history.add_days(10)
    history.enforce()
    set_mark(history.store, Mark.PINNED, ids[2], at=NOW)
    table = catalog(history)
    assert table.splitlines()[0].split() == ["BACKUP", "AGE", "METHOD", "SIZE", "TIERS", "KEPT", "FOR", "STATE"]
    assert all(len(line) <= 120 for line in table.splitlines())
    for number, tiers, kept_for, state in [
        (0, "-", "-", r"marked, goes after 20\d\d-\d\d-\d\dT\d\d:\d\dZ"),
        (2, "daily", "pinned", "good"),
        (9, "daily", "newest, minimum", "good"),
    ]:
        row = columns(table, ids[number])
        assert (row["METHOD"], row["SIZE"], row["TIERS"], row["KEPT FOR"]) == ("pgDump", "1000B", tiers, kept_for)
        assert re.fullmatch(state, row["STATE"])
    assert columns(table, ids[9])["AGE"].endswith("m")
    assert [line.split() for line in table.splitlines()[11:16]] == [
        [],
        ["TIER", "BACKUPS", "SIZE"],
        ["daily", "8", "7.8KiB"],
        ["none", "2", "2.0KiB"],
        ["total", "10", "9.8KiB"],
    ]
    assert table.splitlines()[-1] == "retention: daily 7d, minimum 2"


def test_everything_as_json_and_the_same_as_yaml(history: History) -> None:
    history.spec["retention"] = {"daily": "3d", "minimum": 1}
    ids = history.add_days(3)
    gone = history.add(NOW - 5 * DAY)
    history.enforce()
    odd = history.add(NOW - timedelta(minutes=9), oddities=[Oddity(oddness="Grew", message="twice")])
    damaged = history.add(NOW - timedelta(minutes=8))
    record_verification(history.store, damaged, Verification(at=NOW, ok=False, message="a flipped byte"))
    history.add(NOW - timedelta(minutes=7), trigger=Trigger.MANUAL)
    failed = history.add_attempt(NOW - timedelta(minutes=6), ended=True)
    seen = document(history)
    by_id = {backup["id"]: backup for backup in seen["backups"]}
    assert list(by_id)[:4] == [gone, *ids]
    first = by_id[gone]
    assert (first["keep"], first["tiers"], first["reasons"]) == (True, [], ["paused: LastAttemptFailed"])
    assert first["markedAt"].endswith("Z")
    assert "goesAt" not in first, "nobody knows when the pause ends"
    assert by_id[ids[0]]["tiers"] == ["daily"]
    assert by_id[odd]["odd"] is True
    assert by_id[odd]["oddities"] == [{"oddness": "Grew", "message": "twice"}]
    assert by_id[damaged]["damaged"] is True
    assert {key for key in first if key not in by_id[ids[0]]} == {"markedAt"}
    assert by_id[ids[0]]["source"] == {"systemIdentifier": "7", "database": "agepar", "serverVersionNum": 150000}
    assert by_id[ids[0]]["census"]["rows"] == 1
    assert seen["attempts"] == [
        {"id": failed, "startedAt": failed_at(failed), "outcome": "Failed", "trigger": "Scheduled"}
    ]
    assert seen["totals"] == {"backups": 7, "bytes": 7000, "byTier": {"daily": {"backups": 3, "bytes": 3000}}}
    assert seen["retention"] == {"daily": "3d", "minimum": 1}
    assert seen["paused"]["reason"] == "LastAttemptFailed"
    assert yaml.safe_load(catalog(history, "yaml")) == seen

    table = catalog(history)
    kept_for = {name: columns(table, name)["KEPT FOR"] for name in by_id}
    assert [kept_for[name] for name in (gone, ids[0], odd)] == ["the pause", "-", "odd"]
    states = {name: columns(table, name)["STATE"] for name in by_id}
    assert [states[name] for name in (gone, ids[0], odd, damaged)] == [
        "marked, held by the pause",
        "good",
        "odd",
        "damaged",
    ]
    assert f"failed attempts: 1, the last {failed}" in table


@pytest.mark.parametrize("output", ["table", "wide", "json", "yaml"])
def test_as_it_is_typed(history: History, output: str) -> None:
    (name,) = history.add_days(1)
    answer = history.command("catalog", "-o", output)
    assert answer.returncode == 0, answer.stderr
    assert name in answer.stdout
    assert answer.stderr == ""


def failed_at(backup_id: str) -> str:
    return datetime.strptime(backup_id[:16], "%Y%m%dT%H%M%SZ").strftime("%Y-%m-%dT%H:%M:%SZ")  # noqa: DTZ007


def test_the_catalogue_and_the_dry_run_give_the_same_reasons(history: History) -> None:
    history.spec["retention"] = {"daily": "7d", "weekly": "1mo", "minimum": 2}
    history.add_days(40)
    history.add(NOW - timedelta(minutes=20), trigger=Trigger.MANUAL)
    history.add_attempt(NOW - 3 * DAY, ended=True)
    plan = json.loads(history.command("retention", "--dry-run", "-o", "json").stdout)["backups"]
    reasons = {backup["id"]: (backup["keep"], backup["reasons"]) for backup in plan}
    assert {backup["id"]: (backup["keep"], backup["reasons"]) for backup in document(history)["backups"]} == {
        name: said for name, said in reasons.items() if said[1] != ["failed"]
    }


def test_what_cannot_be_read_hides_nothing_and_is_told(history: History) -> None:
    (good,) = history.add_days(1)
    broken = new_backup_id(NOW - 2 * DAY, "aaaaaa")
    history.put(f"backups/{broken}/manifest.json", b'{"formatVersion": 99}')
    history.put("backups/not one of ours/manifest.json", b"{}")
    table = catalog(history)
    assert columns(table, broken) == {
        "BACKUP": broken, "AGE": "2d", "METHOD": "-", "SIZE": "-", "TIERS": "-", "KEPT FOR": "unknown format",
        "STATE": "FormatTooNew",
    }  # fmt: skip
    assert columns(table, good)["STATE"] == "good"
    assert f"{broken}: the manifest of {broken} has format 99" in table
    seen = document(history)
    assert [backup["id"] for backup in seen["backups"]] == [good]
    assert [problem["id"] for problem in seen["problems"]] == [broken]


@pytest.mark.parametrize("output", ["table", "wide", "json", "yaml"])
def test_nothing_from_the_bucket_speaks_to_the_terminal(history: History, output: str) -> None:
    name = "é\x1b[2J\x9b\u202e[red]\nx"
    history.add(NOW - DAY, source=SourceIdentity(system_identifier="7\x1b", database=name, server_version_num=150000))
    history.add(
        NOW - timedelta(hours=1),
        method="pg\x1b]0;x\x07",
        source=SourceIdentity(system_identifier="8", database=name, server_version_num=1),
    )
    listed = catalog(history, output)
    assert listed.replace("\n", "").isprintable()
    if output != "table":
        assert "[red]" in listed


def test_a_wide_table_has_what_the_manifest_says_too(history: History) -> None:
    (name,) = history.add_days(1)
    row = columns(catalog(history, "wide"), name)
    told = (row["DATABASE"], row["VERSION"], row["TABLES"], row["ROWS"], row["TOOK"], row["TRIGGER"])
    assert told == ("agepar", "15", "1", "1", "5m", "Scheduled")


def test_an_empty_prefix(history: History) -> None:
    assert catalog(history).splitlines() == ["no backups", "retention: daily 7d, minimum 2"]
    assert document(history)["totals"] == {"backups": 0, "bytes": 0, "byTier": {}}


class TestTheBucketAlone:
    """The policy, the cluster and the database are gone: a laptop has the bucket, and a key to it."""

    def request(self, history: History, command: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        argv, environment = history.command_line(command, *arguments)
        file = history.folder / "request.yaml"
        file.write_text(
            yaml.safe_dump(
                {
                    "apiVersion": "resguardo.dev/v1alpha1",
                    "kind": "RestoreRequest",
                    "metadata": {"name": "disaster"},
                    "spec": {
                        "from": {
                            "store": history.policy.spec.store.model_dump(mode="json", by_alias=True, exclude_none=True)
                        },
                        "target": {
                            "postgres": {
                                "connection": {"host": "db", "credentialsSecretRef": {"name": "db"}},
                                "database": "agepar",
                            }
                        },
                    },
                }
            )
        )
        return subprocess.run(
            [*argv[:-1], str(file)], env=environment, capture_output=True, text=True, timeout=60, check=False
        )

    def test_the_newest_backup_says_what_its_policy_kept(self, history: History) -> None:
        last = NOW - timedelta(hours=1)
        ids = [history.add(last - number * DAY, promise=PROMISE) for number in (3, 2, 1, 0)]
        history.store.delete("resguardo.json")
        seen = json.loads(self.request(history, "catalog", "-o", "json").stdout)
        assert [(backup["id"], backup["keep"], backup["tiers"]) for backup in seen["backups"]] == [
            (ids[0], False, []),
            *((name, True, ["daily"]) for name in ids[1:]),
        ]
        table = self.request(history, "catalog").stdout
        assert "retention: daily 2d, minimum 1 (as the newest backup in the bucket says)" in table

    def test_retention_goes_on_with_a_policy_of_the_same_name_that_somebody_wrote_again(self, history: History) -> None:
        ids = history.add_days(10)
        history.put(
            "resguardo.json",
            b'{"formatVersion":1,"owner":"a-cluster/agepar/portal","epoch":3,"claimedAt":"2026-01-01T00:00:00Z"}',
        )
        assert history.command("retention").returncode == 0
        assert history.marked == ids[:2]

    def test_show_prints_what_such_a_policy_is_to_say(self, history: History) -> None:
        name = history.add(NOW - DAY, promise=PROMISE)
        shown = yaml.safe_load(self.request(history, "show", name).stdout)
        assert shown["promise"] == {
            "schedule": "0 2 * * *", "timeZone": "America/Sao_Paulo", "timeout": "1h", "retention": {"daily": "2d", "minimum": 1},
        }  # fmt: skip
