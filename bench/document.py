"""docs/benchmarks.md: a section for each bench, replaced whole when that bench writes."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from pathlib import Path

DOCUMENT = Path(__file__).parents[1] / "docs" / "benchmarks.md"
_TITLES = {
    "data": "Backups and restores (`make bench`)",
    "encryption": "What encryption costs (`make bench-encryption`)",
    "operator": "The operator (`make bench-operator`)",
    "retention": "Retention in a large bucket (`make bench-retention`)",
    #: Written by people: kept as it is.
    "by-hand": "Measured by hand",
}


def write_section(name: str, report: str) -> None:
    """Put a report into its section; the others stay as they are."""
    sections = {**dict.fromkeys(_TITLES, "Not run yet."), **_sections(DOCUMENT)}
    sections[name] = f"On {datetime.now(UTC):%Y-%m-%d}, written by the bench itself with `--write`.\n\n{report.strip()}"
    parts = [f"## {title}\n\n{sections[key]}\n" for key, title in _TITLES.items()]
    DOCUMENT.write_text("# Benchmarks\n\n" + "\n".join(parts), encoding="utf-8")


def _sections(path: Path) -> dict[str, str]:
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    found = {}
    for key, title in _TITLES.items():
        if match := re.search(rf"^## {re.escape(title)}\n(.*?)(?=^## |\Z)", text, re.MULTILINE | re.DOTALL):
            found[key] = match.group(1).strip()
    return found
