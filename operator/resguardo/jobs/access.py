"""What a role's keys may do: a table for people, and the one warning that a check gives of itself."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from rich.console import Console
from rich.table import Table
from rich.text import Text

from resguardo.api.policy import BackupPolicy, PolicyWarning
from resguardo.api.roles import Role
from resguardo.api.text import printable
from resguardo.rules.access import WRITER_MAY_REMOVE, Finding, Right, judge
from resguardo.store.protocol import Store
from resguardo.store.rights import try_rights

log = structlog.get_logger()

WIDTH = 120


def writer_warnings(policy: BackupPolicy, store: Store) -> list[PolicyWarning]:
    """What the writer's keys may do too much, where somebody took the trouble to set the roles apart.

    Overwriting is not among it: outside of AWS hardly a server can forbid it, and `resguardo check --role` tells.
    """
    shares = policy.spec.store.sharers(Role.WRITER)
    if Role.PRUNER in shares:
        return []
    found = judge(Role.WRITER, try_rights(store, [Right.REMOVE]), locks=False, shares=shares)
    warnings = [
        PolicyWarning(
            reason=WRITER_MAY_REMOVE,
            message=f"the writer may {finding.tried.right}: {finding.consequence}. Take that right from it: only the pruner needs it",
        )
        for finding in found
        if finding.is_too_much
    ]
    for warning in warnings:
        log.warning(warning.message, reason=warning.reason)
    return warnings


def print_rights(findings: Sequence[Finding], console: Console) -> None:
    """One line for each right, then what is missing, with the store's own words, and what is too much."""
    console.width = max(console.width, WIDTH)
    table = Table(box=None, pad_edge=False, header_style="bold")
    for heading in ("RIGHT", "HAS IT", "THE ROLE", "SO"):
        table.add_column(heading, no_wrap=heading != "SO", overflow="fold")
    for finding in findings:
        so = finding.consequence or "-"
        style = "red" if finding.is_missing else "yellow" if finding.is_too_much else ""
        table.add_row(finding.tried.right, _has(finding), finding.standing, so, style=style)
    console.print(table)
    refused = [finding.tried.said for finding in findings if finding.is_missing and finding.tried.said]
    for said in dict.fromkeys(refused):
        console.print(Text(printable(f"missing: {said}"), style="red"), soft_wrap=True)


def _has(finding: Finding) -> str:
    return {True: "yes", False: "no", None: "unknown"}[finding.tried.has]
