"""A Report fits into a termination message, whatever its texts hold, and can be read back."""

from __future__ import annotations

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from resguardo.api.policy import BackupSummary, Inventory
from resguardo.api.report import REPORT_MAX_BYTES, Report, RestoreOutcome, Subject, Task, cut_text
from resguardo.api.request import CheckStatus, RestoreCheck

NOW = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)
SUMMARY = BackupSummary(
    id="20261123T050000Z-3f9a1c", started_at=NOW, completed_at=NOW, bytes=2**50, size="1.0PiB", duration_seconds=604800
)
ANY_TEXT = st.text(max_size=3000)
SHORT_TEXT = st.text(max_size=63)


@given(
    message=ANY_TEXT,
    omitted=st.lists(ANY_TEXT, max_size=20),
    checks=st.lists(ANY_TEXT, max_size=10),
    database=SHORT_TEXT,
    succeeded=st.booleans(),
)
def test_a_report_fits_and_keeps_every_fact_that_status_needs(
    message: str, omitted: list[str], checks: list[str], database: str, succeeded: bool
) -> None:
    report = Report(
        task=Task.RESTORE,
        succeeded=succeeded,
        reason="R" * 64,
        message=message,
        subject=Subject(uid="u" * 36, generation=2**40, hash="h" * 64),
        started_at=NOW,
        completed_at=NOW,
        backup=SUMMARY,
        newest_backup=SUMMARY,
        newest_jobs=["j" * 63] * 4,
        inventory=Inventory(backups=10**6, bytes=2**60, oldest=NOW, newest=NOW),
        restore=RestoreOutcome(
            database=database,
            previous_database=database,
            recovery_point_time=NOW,
            omitted=omitted,
            checks=[RestoreCheck(name="n", status=CheckStatus.FAILED, message=text[:1024]) for text in checks],
        ),
    )
    text = report.to_message()
    assert len(text.encode()) <= REPORT_MAX_BYTES
    read = Report.from_json(text)
    assert read is not None
    facts = {
        "task",
        "succeeded",
        "reason",
        "subject",
        "started_at",
        "completed_at",
        "backup",
        "newest_backup",
        "newest_jobs",
        "inventory",
    }
    assert read.model_dump(include=facts) == report.model_dump(include=facts)
    assert read.restore is not None
    assert read.restore.database == database


def test_a_short_report_is_not_cut() -> None:
    report = Report(
        task=Task.CHECK, succeeded=True, reason="CheckPassed", message="ação — ok", subject=Subject(),
        started_at=NOW, completed_at=NOW,
    )  # fmt: skip
    assert Report.from_json(report.to_message()) == report


def test_what_was_left_out_is_told_in_whole_sentences_as_far_as_there_is_room() -> None:
    sentences = [f"publications FOR ALL TABLES, which need superuser: {'de tudo, ' * 20}{n}" for n in range(8)]

    def told(omitted: list[str]) -> list[str]:
        report = Report(
            task=Task.RESTORE, succeeded=True, reason="Restored", message="m", subject=Subject(),
            started_at=NOW, completed_at=NOW, restore=RestoreOutcome(omitted=omitted),
        )  # fmt: skip
        read = Report.from_json(report.to_message())
        assert read is not None
        assert read.restore is not None
        return read.restore.omitted

    assert told(sentences) == sentences
    many = told(sentences * 5)
    assert all(sentence.endswith("…") for sentence in many[:-1])
    assert many[-1].startswith("publications") or many[-1] == f"and {41 - len(many)} more: see the pod's log"


def test_a_newer_reports_unknown_fields_are_passed_over_and_garbage_is_no_report() -> None:
    report = Report(
        task=Task.CHECK,
        succeeded=True,
        reason="CheckPassed",
        message="",
        subject=Subject(),
        started_at=NOW,
        completed_at=NOW,
    )
    assert Report.from_json(report.to_message()[:-1] + ',"novelty":1}') == report
    assert Report.from_json("Killed") is None
    assert Report.from_json("") is None


@given(st.text(max_size=200), st.integers(min_value=3, max_value=100))
def test_cutting_a_text_never_breaks_a_character(text: str, max_bytes: int) -> None:
    cut = cut_text(text, max_bytes)
    assert len(cut.encode()) <= max(max_bytes, 3)
    assert cut == text or cut.endswith("…")
