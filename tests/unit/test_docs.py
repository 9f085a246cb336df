"""The documentation holds what it promises: examples that can be applied, every reason explained, links that lead somewhere."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from resguardo.api.conditions import Reason
from resguardo.api.documents import read_documents
from resguardo.api.errors import InputError, ResguardoError

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
#: Families that nothing is raised as.
ABSTRACT = {ResguardoError, InputError}

_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"\]\(([^)\s]+)\)")

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def _errors(error: type[ResguardoError] = ResguardoError) -> Iterator[type[ResguardoError]]:
    yield error
    for child in error.__subclasses__():
        yield from _errors(child)


SHOWN_ERRORS = sorted((error for error in _errors() if error not in ABSTRACT), key=lambda error: error.__name__)


def _blocks(page: Path, language: str) -> list[str]:
    return [text for kind, text in _BLOCK.findall(page.read_text()) if kind == language]


def _prose(page: Path) -> str:
    return _BLOCK.sub("", page.read_text())


def _anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", _prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@every_page
def test_every_example_in_yaml_can_be_applied(page: Path) -> None:
    for number, text in enumerate(_blocks(page, "yaml"), start=1):
        origin = f"{page.name}, YAML block {number}"
        kinds = [body["kind"] for body in yaml.safe_load_all(text)]
        ours = sum(kind in ("BackupPolicy", "RestoreRequest") for kind in kinds)
        assert len(read_documents(text, origin=origin)) == ours
        assert (ours > 0) == ("apiVersion: resguardo.dev/" in text), origin


def test_there_are_examples_of_both_kinds_and_all_of_them_are_found() -> None:
    written = sum(page.read_text().count("\napiVersion: resguardo.dev/") for page in PAGES)
    read = [
        document
        for page in PAGES
        for text in _blocks(page, "yaml")
        for document in read_documents(text, origin=str(page))
    ]
    assert {document.kind for document in read} == {"BackupPolicy", "RestoreRequest"}
    assert len(read) == written


@pytest.mark.parametrize("reason", [*(error.__name__ for error in SHOWN_ERRORS), *(reason.value for reason in Reason)])
def test_every_reason_that_a_condition_shows_is_explained(reason: str) -> None:
    pages = [(ROOT / "docs" / name).read_text() for name in ("backuppolicy.md", "restorerequest.md")]
    assert any(re.search(rf"^\|[^|]*`{reason}`", page, re.MULTILINE) for page in pages)


def test_the_exit_statuses_are_those_of_the_errors() -> None:
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|", (ROOT / "docs" / "cli.md").read_text(), re.MULTILINE)
    assert {(int(status), name) for status, name in rows} == {
        (error.exit_status, error.__name__) for error in SHOWN_ERRORS
    }


@every_page
def test_every_relative_link_leads_to_a_file_and_a_heading(page: Path) -> None:
    lost = []
    for link in _LINK.findall(_prose(page)):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in _anchors(target)):
            lost.append(link)
    assert not lost


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.parent.name != "decisions"], ids=lambda page: page.name
)
def test_every_make_target_that_is_named_exists(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:^|`|&& )make ([a-z-]+)", page.read_text(), re.MULTILINE))
    assert named <= targets


def test_the_readme_names_its_two_commands() -> None:
    assert {"make demo", "make test"} <= set(re.findall(r"^make \w+", (ROOT / "README.md").read_text(), re.MULTILINE))


def _faults() -> list[tuple[str, ...]]:
    """The rows of the matrix of faults, as their cells."""
    lines = (ROOT / "docs" / "faults.md").read_text().splitlines()
    rows = [tuple(cell.strip() for cell in line.strip("|").split(" | ")) for line in lines if line.startswith("| ")]
    return [row for row in rows if row[0] != "fault"]


@pytest.mark.parametrize("row", _faults(), ids=lambda row: row[0])
def test_every_fault_says_what_one_sees_and_names_tests_that_exist(row: tuple[str, ...]) -> None:
    assert len(row) == 5
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", row[-1])
    assert named
    for file, test in named:
        assert re.search(rf"def {test}\(", (ROOT / file).read_text()), f"{file} has no {test}"


def test_every_test_of_a_fault_on_the_cluster_is_in_the_matrix() -> None:
    told = (ROOT / "docs" / "faults.md").read_text()
    for file in (ROOT / "tests" / "faults").glob("test_*.py"):
        for test in re.findall(r"^def (test_\w+)", file.read_text(), re.MULTILINE):
            assert f"`tests/faults/{file.name}::{test}`" in told
