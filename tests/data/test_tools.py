"""Which client programs are taken where several major versions stand side by side, and what a newer one costs an older server."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from resguardo.postgres.run import FOLDER_VARIABLE, tool
from resguardo.store.catalogue import list_backups
from resguardo.store.signatures import ANYBODY
from tests.fixtures.place import Place
from tests.fixtures.postgres import MACHINES_MAJOR, NEWER_MAJOR, programs_in


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [(13, 15), (14, 15), (15, 15), (16, 17), (17, 17), (18, 17), (None, 17)],
    ids=["older than all", "the next newer", "itself", "between", "the newest", "newer than all", "any"],
)
def test_the_program_is_of_the_servers_version_or_the_next_newer(
    newer_programs: Path, wanted: int | None, taken: int
) -> None:
    with programs_in(newer_programs):
        path = tool("pg_dump", major=wanted)
        said = subprocess.run([path, "--version"], check=True, capture_output=True, text=True, timeout=60).stdout
    assert said.startswith(f"pg_dump (PostgreSQL) {taken}.")


def test_an_older_server_beside_newer_programs_is_backed_up_and_restored_by_its_own(
    place: Place, newer_programs: Path
) -> None:
    place.environment[FOLDER_VARIABLE] = str(newer_programs)
    _, _, said = place.run("check", "-f", place.policy())
    assert NEWER not in said
    place.run("backup", "-f", place.policy())
    assert tools_of(place) == {MACHINES_MAJOR}
    place.postgres.drop_database(place.database)
    report, _, _ = place.run("restore", "-f", place.request("own"), "-f", place.policy())
    assert report.reason == "Restored"


NEWER = "pg_dump is newer than the server, and its archive will not load into a server of this version again"


def test_newer_programs_alone_are_warned_of_and_a_restore_to_the_older_server_is_refused_with_a_way_out(
    place: Place, newer_programs: Path, tmp_path: Path
) -> None:
    alone = tmp_path / "programs"
    alone.mkdir()
    (alone / str(NEWER_MAJOR)).symlink_to(newer_programs / str(NEWER_MAJOR))
    place.environment[FOLDER_VARIABLE] = str(alone)
    for command in ("check", "backup"):
        _, _, said = place.run(command, "-f", place.policy())
        assert NEWER in said
    assert tools_of(place) == {NEWER_MAJOR}
    place.postgres.drop_database(place.database)
    before = place.databases()
    report = place.fail("restore", "-f", place.request("newer"), "-f", place.policy())
    assert report.reason == "RestoreBlocked"
    assert "transaction_timeout" in report.message
    assert "--to-sql" in report.message
    assert place.databases() == before


def tools_of(place: Place) -> set[int]:
    """The major versions of the programs that the bucket's only manifest names."""
    store = place.s3.store(place.bucket)
    (entry,) = list_backups(store, ANYBODY)
    assert entry.manifest is not None
    return {int(version.split(".")[0]) for name, version in entry.manifest.tools.items() if name.startswith("pg_")}
