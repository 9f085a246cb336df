"""/metrics: what status tells, as numbers; the operator's own; and that docs/metrics.md has them all."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from resguardo.api.policy import RetentionSummary
from resguardo.api.report import Task
from resguardo.controller.metrics import Metrics
from resguardo.controller.outcome import Key
from resguardo.controller.samples import POLICY_METRICS, policy_samples
from tests.unit.small_cluster import NIGHT, POLICY_KEY, REQUEST_KEY, World

DOCS = Path(__file__).parents[2] / "docs" / "metrics.md"
Labels = dict[str, str]


def scraped(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What a scrape gives, read back: by name and labels."""
    text = generate_latest(metrics.registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def of_policy(world: World) -> dict[str, float]:
    """The samples of the world's policy, conditions aside: by name, with the label's value in brackets."""
    body = world.cluster.get("BackupPolicy", "default", "portal-prod")
    assert body is not None
    return {
        sample.metric.name.removeprefix("resguardo_") + "".join(f"[{label}]" for label in sample.labels): sample.value
        for sample in policy_samples(body)
        if sample.metric.name != "resguardo_policy_condition"
    }


def conditions_of(world: World) -> set[tuple[str, ...]]:
    body = world.cluster.get("BackupPolicy", "default", "portal-prod")
    assert body is not None
    return {sample.labels for sample in policy_samples(body) if sample.metric.name == "resguardo_policy_condition"}


class TestWhatAPolicyTells:
    def test_before_its_first_backup_only_what_is_to_come(self, world: World) -> None:
        world.accepted_policy()
        assert of_policy(world) == {
            "policy_suspended": 0,
            "backup_next_timestamp_seconds": NIGHT.timestamp(),
            "backup_late_timestamp_seconds": (NIGHT + timedelta(hours=7)).timestamp(),
            "inventory_backups": 0,
            "inventory_bytes": 0,
        }

    def test_after_a_backup_and_a_run_of_retention_all_there_is(self, world: World) -> None:
        world.accepted_policy(spec__retention={"daily": "30d"})
        world.cluster.now = NIGHT
        world.back_up()
        made_at = world.cluster.now
        job = world.cluster.tick_cron_job("portal-prod-retention")
        world.cluster.start(job)
        world.pass_time(minutes=1)
        goes_at = NIGHT + timedelta(days=1)
        found = RetentionSummary(by_tier={"daily": 2}, bytes_by_tier={"daily": 9}, marked=1, next_removal_at=goes_at)
        report = world.report(Task.RETENTION).model_copy(update={"reason": "RetentionEnforced", "retention": found})
        world.cluster.finish(job, report)
        world.settle(POLICY_KEY)
        told = of_policy(world)
        backup, inventory = world.status()["lastBackup"], world.status()["inventory"]
        assert told == {
            "policy_suspended": 0,
            "backup_last_success_timestamp_seconds": made_at.timestamp(),
            "backup_last_size_bytes": backup["bytes"],
            "backup_last_duration_seconds": backup["durationSeconds"],
            "backup_last_attempt_timestamp_seconds": made_at.timestamp(),
            "backup_last_attempt_succeeded": 1,
            "backup_next_timestamp_seconds": (NIGHT + timedelta(days=1)).timestamp(),
            "backup_late_timestamp_seconds": (NIGHT + timedelta(days=1, hours=7)).timestamp(),
            "inventory_backups": inventory["backups"],
            "inventory_bytes": inventory["bytes"],
            "tier_backups[daily]": 2,
            "tier_bytes[daily]": 9,
            "retention_last_success_timestamp_seconds": world.cluster.now.timestamp(),
            "retention_marked_backups": 1,
            "retention_next_removal_timestamp_seconds": goes_at.timestamp(),
        }

    def test_a_failure_is_an_attempt_and_no_success(self, world: World) -> None:
        world.accepted_policy()
        world.back_up()
        success = of_policy(world)["backup_last_success_timestamp_seconds"]
        world.pass_time(days=1)
        world.back_up(reason="DumpFailed")
        told = of_policy(world)
        assert told["backup_last_success_timestamp_seconds"] == success
        assert told["backup_last_attempt_timestamp_seconds"] == world.cluster.now.timestamp()
        assert told["backup_last_attempt_succeeded"] == 0
        assert ("BackedUp", "False", "DumpFailed") in conditions_of(world)

    def test_nobody_knows_what_came_of_a_run_without_a_report(self, world: World) -> None:
        world.accepted_policy()
        job = world.cluster.tick_cron_job("portal-prod-backup")
        world.cluster.start(job)
        world.cluster.finish(job, None)
        world.settle(POLICY_KEY)
        assert "backup_last_attempt_timestamp_seconds" in of_policy(world)
        assert "backup_last_attempt_succeeded" not in of_policy(world)

    def test_a_suspended_one_is_never_late(self, world: World) -> None:
        world.accepted_policy()
        world.back_up()
        world.cluster.edit("BackupPolicy", "portal-prod", spec__suspend=True)
        world.settle(POLICY_KEY)
        told = of_policy(world)
        assert told["policy_suspended"] == 1
        assert "backup_late_timestamp_seconds" not in told
        assert "backup_next_timestamp_seconds" not in told

    def test_each_condition_has_one_series_of_what_it_is_now(self, world: World) -> None:
        world.accepted_policy()
        assert conditions_of(world) == {
            ("Ready", "True", "PromiseKept"),
            ("Accepted", "True", "CheckPassed"),
            ("BackedUp", "Unknown", "NeverRun"),
            ("Retained", "Unknown", "NotEnforced"),
            ("SizeNormal", "Unknown", "NeverRun"),
            ("Verified", "Unknown", "NotEnforced"),
            ("Replicated", "Unknown", "NotEnforced"),
        }

    def test_a_status_that_somebody_spoilt_tells_nothing_and_breaks_nothing(self, world: World) -> None:
        world.accepted_policy()
        world.cluster.edit("BackupPolicy", "portal-prod", status={"conditions": "none", "lastBackup": 7})
        assert of_policy(world) == {"policy_suspended": 0}


class TestAScrape:
    def test_a_policy_is_there_until_it_is_deleted(self) -> None:
        metrics, key = Metrics(), Key("BackupPolicy", "agepar", "portal")
        metrics.known.see(key, {"spec": {"suspend": True}})
        of_it = (("namespace", "agepar"), ("policy", "portal"))
        assert scraped(metrics)["resguardo_policy_suspended", of_it] == 1
        metrics.known.see(key, {"spec": {}})
        assert scraped(metrics)["resguardo_policy_suspended", of_it] == 0
        metrics.known.see(key, None)
        assert not [name for name, labels in scraped(metrics) if dict(labels).get("policy")]

    def test_what_was_deleted_while_no_watch_told_is_gone_with_the_next_look_at_it(self, world: World) -> None:
        world.accepted_policy()
        metrics = Metrics()
        world.controller.known = metrics.known
        metrics.known.see(POLICY_KEY, world.cluster.get("BackupPolicy", "default", "portal-prod"))
        world.cluster.delete("BackupPolicy", "portal-prod")
        world.controller.reconcile(POLICY_KEY)
        assert not [name for name, labels in scraped(metrics) if dict(labels).get("policy")]

    def test_a_label_may_hold_any_character(self) -> None:
        metrics, reason = Metrics(), 'say "no"\\, {é}\n# HELP x=1'
        condition = {
            "type": "BackedUp",
            "status": "False",
            "reason": reason,
            "message": "not told",
            "lastTransitionTime": "2026-11-23T05:00:00Z",
        }
        metrics.known.see(Key("BackupPolicy", "a", "b"), {"status": {"conditions": [condition]}})
        found = [dict(labels) for name, labels in scraped(metrics) if name == "resguardo_policy_condition"]
        assert [labels["reason"] for labels in found] == [reason]
        assert b"not told" not in generate_latest(metrics.registry)

    @pytest.mark.parametrize(
        ("status", "phase"),
        [
            pytest.param({}, "Waiting", id="nothing said yet"),
            pytest.param({"claim": {"jobName": "j", "claimedAt": "2026-11-23T05:00:00Z"}}, "Running", id="claimed"),
            pytest.param("True", "Succeeded", id="restored"),
            pytest.param("False", "Failed", id="failed, or never to be"),
        ],
    )
    def test_restore_requests_are_counted_by_phase(self, status: Any, phase: str) -> None:
        if isinstance(status, str):
            ended = {"type": "Succeeded", "status": status, "reason": "x", "message": ""}
            status = {"conditions": [{**ended, "lastTransitionTime": "2026-11-23T05:00:00Z"}]}
        metrics = Metrics()
        for name in ("one", "two"):
            metrics.known.see(REQUEST_KEY._replace(namespace="agepar", name=name), {"status": status})
        counts = {
            dict(labels)["phase"]: value
            for (name, labels), value in scraped(metrics).items()
            if name == "resguardo_restore_requests"
        }
        assert counts == {"Waiting": 0, "Running": 0, "Succeeded": 0, "Failed": 0} | {phase: 2}

    def test_looks_are_measured_and_errors_counted(self) -> None:
        metrics = Metrics()
        with metrics.reconcile("BackupPolicy"):
            pass
        with pytest.raises(RuntimeError), metrics.reconcile("BackupPolicy"):
            raise RuntimeError
        found = scraped(metrics)
        assert found["resguardo_reconcile_errors_total", (("kind", "BackupPolicy"),)] == 1
        assert found["resguardo_reconcile_errors_total", (("kind", "RestoreRequest"),)] == 0
        assert found["resguardo_reconcile_duration_seconds_count", (("kind", "BackupPolicy"),)] == 2

    def test_it_is_had_by_http_and_a_port_that_is_taken_is_told(self) -> None:
        metrics = Metrics()
        with metrics.served(0) as port:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
                assert "resguardo_build_info{" in answer.read().decode()
            with pytest.raises(OSError, match="in use"), Metrics().served(port):
                pass
        with Metrics().served(port) as again:
            assert again == port


class TestNames:
    def _documented(self) -> dict[str, tuple[str, ...]]:
        """Name and labels, by the tables of docs/metrics.md."""
        rows = re.findall(r"^\| `(\w+)` \| ([^|]*) \|", DOCS.read_text(), re.MULTILINE)
        return {name: tuple(re.findall(r"`(\w+)`", labels)) for name, labels in rows}

    def test_the_documentation_has_every_one_with_its_labels(self) -> None:
        own = {metric.name: metric.labels for metric in POLICY_METRICS}
        others = {
            name: tuple(family.samples[0].labels if family.samples else ())
            for family in Metrics().registry.collect()
            if (name := _exposed(family.name, family.type)).startswith("resguardo_") and name not in own
        }
        others["resguardo_restore_requests"] = ("namespace", "phase")
        documented = self._documented()
        assert {name: set(labels) for name, labels in documented.items() if name in own} == {
            name: {"namespace", "policy", *labels} for name, labels in own.items()
        }
        assert {name: set(labels) - {"le"} for name, labels in documented.items() if name not in own} == {
            name: set(labels) - {"le"} for name, labels in others.items()
        }

    @pytest.mark.parametrize("metric", POLICY_METRICS, ids=lambda metric: metric.name)
    def test_its_help_is_a_sentence(self, metric: Any) -> None:
        assert metric.help[0].isupper() or metric.help[0].isdigit()
        assert metric.help.endswith(".")


def _exposed(name: str, kind: str) -> str:
    suffixes: Iterable[tuple[str, str]] = (("info", "_info"), ("counter", "_total"))
    return name + dict(suffixes).get(kind, "")
