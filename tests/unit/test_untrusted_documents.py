"""Documents that come from no bucket: a pod's last words, and what people give. They are read or refused, and nothing speaks to a terminal."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic_core import from_json

from resguardo.api.documents import read_document, read_documents
from resguardo.api.errors import DocumentInvalid
from resguardo.api.inventory import read_inventory
from resguardo.api.manifest import Oddity
from resguardo.api.policy import BackupSummary, Inventory, RetentionSummary
from resguardo.api.report import Report, RestoreOutcome, Subject, Task
from resguardo.api.request import CheckStatus, RestoreCheck
from tests.fixtures.specs import POLICY, REQUEST
from tests.unit.hostile import NOW, assert_speaks_to_people_only, damaged, keep
from tests.unit.small_cluster import POLICY_KEY, World

ID = "20261123T050000Z-3f9a1c"
AT = "2026-11-23T05:00:00Z"


# ---- Reports: a pod's last words, which become a status


REPORT = Report(
    task=Task.BACKUP, succeeded=True, reason="Succeeded", message="made", subject=Subject(uid="uid", generation=1, hash="h"),
    started_at=NOW, completed_at=NOW,
    backup=BackupSummary(
        id=ID, started_at=NOW, completed_at=NOW, bytes=1, size="1B", duration_seconds=1, job_name="j",
        oddities=[Oddity(oddness="Shrank", message="x")],
    ),
    inventory=Inventory(backups=1, bytes=1, oldest=NOW, newest=NOW),
    restore=RestoreOutcome(
        database="d", previous_database="p", recovery_point_time=NOW, omitted=["x"],
        checks=[RestoreCheck(name="n", status=CheckStatus.PASSED, message="x")],
    ),
    retention=RetentionSummary(by_tier={"daily": 1}, bytes_by_tier={"daily": 1}, marked=1, removed=1, next_removal_at=NOW),
)  # fmt: skip


def leaves(document: Any) -> Iterator[Any]:
    if isinstance(document, dict):
        document = list(document.values())
    if isinstance(document, list):
        for value in document:
            yield from leaves(value)
    else:
        yield document


def test_every_report_is_read_or_passed_over_and_its_status_fits_the_api_server() -> None:
    for how, body in damaged(json.loads(REPORT.to_json())):
        read = Report.from_json(body.decode())
        if read is None:
            continue
        world = World()
        world.accepted_policy()
        job = world.cluster.tick_cron_job("portal-prod-backup")
        world.cluster.start(job)
        try:
            world.cluster.finish(job, read, last_words=body.decode())
            world.settle(POLICY_KEY)
        except Exception as error:
            raise AssertionError(f"{how}: {type(error).__name__}: {error}"[:1000]) from error
        status = world.status()
        numbers = [value for value in leaves(status) if isinstance(value, int)]
        assert all(-(2**63) <= number < 2**63 for number in numbers), how
        for text in (value for value in leaves(status) if isinstance(value, str)):
            assert_speaks_to_people_only(text)
        for event in world.cluster.list("Event", "default"):
            assert_speaks_to_people_only(event["message"])


@given(text=st.text(max_size=300))
def test_any_last_words_of_a_pod(text: str) -> None:
    assert Report.from_json(text) is None


# ---- what people give


NASTY_YAML = [
    "a: [", "- " * 3000 + "x", "{" * 3000, "&a [*a]", "kind: [a]", "kind: {a: b}", "{[a]: b}", "? {a: b}\n: c", "kind: 2026-13-45",
    "kind: 2026-01-01T99:99:99Z", "kind: !!python/object/apply:os.system [id]", "kind: !!binary x", "\x00", "\ud800", "kind: .nan",
    "kind: 0x" + "f" * 6000, "kind: " + "9" * 6000, "kind: 1:" + "59:" * 3000 + "1", "--- x\n---\n- y\n--- 1\n", "%TAG ! x\n---\na", "<<: 1", "<<: *a",
    "a: &a [x, x]\n" + "\n".join(f"a{i}: &a{i} [*a{i - 1 if i else ''}, *a{i - 1 if i else ''}]" for i in range(30)),
]  # fmt: skip


@pytest.mark.parametrize("text", NASTY_YAML, ids=lambda text: repr(text[:20]))
def test_a_file_that_is_no_document_is_refused_or_holds_none(text: str) -> None:
    keep(lambda: read_documents(text, origin="x.yaml"), text[:50])
    spec = text if "\n" not in text else f"|\n  {text}"
    keep(
        lambda: read_documents(
            f"apiVersion: resguardo.dev/v1alpha1\nkind: BackupPolicy\nspec: {spec}", origin="x.yaml"
        ),
        text[:50],
    )


@pytest.mark.parametrize("good", [POLICY, REQUEST], ids=["policy", "request"])
def test_every_policy_and_request_is_read_or_refused(good: Mapping[str, Any]) -> None:
    for how, text in damaged(good):
        try:
            body = from_json(text)
        except ValueError:
            continue  # the API server gives what it has parsed
        if isinstance(body, dict):
            keep(partial(read_document, body), how)


def test_a_billion_laughs_are_refused() -> None:
    laughs = "".join(f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 10) if i else 'ha'}]\n" for i in range(12))
    for place in (
        "spec: *a11",
        "metadata: {name: *a11}",
        "metadata: {name: x, namespace: y}\nspec: {jobs: {labels: *a11}}",
    ):
        text = f"{laughs}apiVersion: resguardo.dev/v1alpha1\nkind: BackupPolicy\n{place}"
        with pytest.raises(DocumentInvalid):
            read_documents(text, origin="x.yaml")


def test_every_inventory_is_read_or_refused() -> None:
    entry = {
        "id": ID, "startedAt": AT, "storedAt": AT, "outcome": "Succeeded", "trigger": "Scheduled", "bytes": 1,
        "pinned": False, "provenAt": AT, "dependsOn": ["a"], "source": "s", "method": "pgDump",
    }  # fmt: skip
    for how, body in damaged(entry):
        keep(partial(read_inventory, b"[" + body + b"]", origin="x.json"), how)
