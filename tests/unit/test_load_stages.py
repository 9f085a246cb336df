"""Which entries of an archive are loaded as it streams in, and which afterwards by several processes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from resguardo.rules.archive import Entry, Section
from resguardo.rules.load_stages import load_stages

NONE, PRE, DATA, POST = Section.NONE, Section.PRE_DATA, Section.DATA, Section.POST_DATA

#: In the order in which pg_dump writes them.
ARCHIVE = [
    Entry(1, "ENCODING", "ENCODING", section=PRE),
    Entry(2, "TABLE", "submission", section=PRE),
    Entry(3, "COMMENT", "TABLE submission", section=NONE),
    Entry(4, "ACL", "TABLE submission", section=NONE),
    Entry(5, "TABLE DATA", "submission", section=DATA),
    Entry(6, "SEQUENCE SET", "submission_id_seq", section=DATA),
    Entry(7, "CONSTRAINT", "submission_pkey", section=POST),
    Entry(8, "COMMENT", "CONSTRAINT submission_pkey ON submission", section=NONE),
    Entry(9, "MATERIALIZED VIEW DATA", "per_year", section=POST),
    Entry(10, "EVENT TRIGGER", "watcher", section=POST),
    Entry(11, "DEFAULT ACL", "DEFAULT PRIVILEGES FOR TABLES", section=POST),
]


def test_what_needs_the_data_and_the_privileges_come_afterwards() -> None:
    stages = load_stages(ARCHIVE, left_out=())
    assert stages.from_stream == (1, 2, 3, 5, 6)
    assert stages.afterwards == (4, 7, 8, 9, 10, 11)


def test_what_is_left_out_is_in_neither_and_still_ends_the_data() -> None:
    stages = load_stages(ARCHIVE, left_out={3, 7, 10})
    assert stages.from_stream == (1, 2, 5, 6)
    assert stages.afterwards == (4, 8, 9, 11)


@given(st.lists(st.builds(Entry, st.integers(1, 999), st.sampled_from(["TABLE", "ACL", "COMMENT"]), st.just("x"),
                          section=st.sampled_from(Section)), unique_by=lambda entry: entry.dump_id),
       st.sets(st.integers(1, 999)))  # fmt: skip
def test_each_entry_is_loaded_once_in_the_archives_order(entries: list[Entry], left_out: set[int]) -> None:
    stages = load_stages(entries, left_out=left_out)
    order = [entry.dump_id for entry in entries if entry.dump_id not in left_out]
    for stage in (stages.from_stream, stages.afterwards):
        assert list(stage) == [dump_id for dump_id in order if dump_id in set(stage)]
    assert sorted([*stages.from_stream, *stages.afterwards]) == sorted(order)
