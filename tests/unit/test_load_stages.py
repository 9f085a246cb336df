"""Which entries of an archive are loaded as it streams in, which by several processes, and which last."""

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
    Entry(12, "INDEX", "session_at_idx", section=POST),
    Entry(13, "INDEX", "session_2026_at_idx", section=POST),
    Entry(14, "INDEX ATTACH", "session_2026_at_idx", section=POST, dependencies=(12, 13)),
    Entry(15, "FK CONSTRAINT", "one that needs the whole partitioned index", section=POST, dependencies=(12, 14)),
    Entry(16, "FK CONSTRAINT", "another", section=POST, dependencies=(7,)),
]


def test_indexes_and_keys_are_made_side_by_side_and_what_could_deadlock_comes_last() -> None:
    stages = load_stages(ARCHIVE, left_out=())
    assert stages.from_stream == (1, 2, 3, 5, 6)
    assert stages.side_by_side == (7, 12, 13, 16)
    assert stages.last == (4, 8, 9, 10, 11, 14, 15)


def test_what_is_left_out_is_in_neither_and_still_ends_the_data() -> None:
    stages = load_stages(ARCHIVE, left_out={3, 7, 10})
    assert stages.from_stream == (1, 2, 5, 6)
    assert stages.side_by_side == (12, 13, 16)
    assert stages.last == (4, 8, 9, 11, 14, 15)


@given(
    st.lists(st.tuples(st.sampled_from(["TABLE", "ACL", "COMMENT", "INDEX"]), st.sampled_from(Section)), max_size=12),
    st.sets(st.integers(0, 11)),
)
def test_each_entry_is_loaded_once_in_the_archives_order(kinds: list[tuple[str, Section]], left_out: set[int]) -> None:
    entries = [Entry(number, kind, "x", section=section) for number, (kind, section) in enumerate(kinds)]
    stages = load_stages(entries, left_out=left_out)
    order = [entry.dump_id for entry in entries if entry.dump_id not in left_out]
    shares = (stages.from_stream, stages.side_by_side, stages.last)
    for stage in shares:
        assert list(stage) == [dump_id for dump_id in order if dump_id in set(stage)]
    assert sorted(dump_id for stage in shares for dump_id in stage) == sorted(order)
