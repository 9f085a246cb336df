"""An archive's table of contents, from archives made here byte by byte: every format version, any names, any chunks."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resguardo.api.errors import DeadlineExceeded, FormatTooNew, RestoreFailed
from resguardo.postgres.contents import read_contents
from resguardo.rules.archive import Contents, Entry, Section

LATER = time.monotonic() + 3600
VERSIONS = [(1, minor) for minor in range(12, 17)]


def integer(value: int) -> bytes:
    return bytes([value < 0]) + abs(value).to_bytes(4, "little")


def string(text: str | None, encoding: str = "utf-8") -> bytes:
    if text is None:
        return integer(-1)
    return integer(len(text.encode(encoding))) + text.encode(encoding)


def head(version: tuple[int, int], archive_format: int = 1) -> bytes:
    compression = b"\0" if version >= (1, 15) else integer(0)
    return b"PGDMP" + bytes([*version, 0, 4, 8, archive_format]) + compression + b"".join(map(integer, [0] * 7))


def entry_bytes(entry: Entry, version: tuple[int, int], encoding: str) -> bytes:
    def text(value: str) -> bytes:
        return string(value or None, encoding)

    return b"".join(
        [
            integer(entry.dump_id), integer(1), text(str(entry.catalog_oid)), text(str(entry.oid)), text(entry.tag),
            text(entry.description), integer(entry.section), text(entry.definition), string("DROP it"), string(None),
            text(entry.schema), text(entry.tablespace),
            text("heap") if version >= (1, 14) else b"",
            integer(114) if version >= (1, 16) else b"",
            text(entry.owner), string("false"),
            *(string(str(dependency)) for dependency in entry.dependencies), string(None),
            b"\1" + bytes(8),
        ]
    )  # fmt: skip


def archive(contents: Contents, version: tuple[int, int], encoding: str = "utf-8") -> bytes:
    return b"".join(
        [
            head(version), string(contents.database, encoding), string(contents.server_version),
            string(contents.tool_version), integer(len(contents.entries)),
            *(entry_bytes(entry, version, encoding) for entry in contents.entries),
        ]
    )  # fmt: skip


def in_chunks(content: bytes, size: int) -> Iterator[bytes]:
    yield from (content[start : start + size] for start in range(0, len(content), size))


texts = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
entries = st.builds(
    Entry, dump_id=st.integers(1, 2**31 - 1), description=texts, tag=texts, schema=texts, owner=texts,
    definition=texts, tablespace=texts, dependencies=st.lists(st.integers(1, 2**31 - 1), max_size=3).map(tuple),
    section=st.sampled_from(Section), catalog_oid=st.integers(0, 2**32 - 1), oid=st.integers(0, 2**32 - 1),
)  # fmt: skip
contents = st.builds(
    Contents, database=texts, server_version=st.just("15.20"), tool_version=st.just("16.1 (Debian)"),
    entries=st.lists(entries, max_size=5).map(tuple),
)  # fmt: skip


@given(contents=contents, version=st.sampled_from(VERSIONS), size=st.integers(1, 300), data=st.binary(max_size=50))
def test_what_was_written_is_read_whatever_follows_and_however_it_is_cut(
    contents: Contents, version: tuple[int, int], size: int, data: bytes
) -> None:
    written = archive(contents, version)
    found = read_contents(in_chunks(written + data, size), LATER)
    assert found == replace(contents, size_bytes=len(written))


@given(contents=contents, version=st.sampled_from(VERSIONS), share=st.floats(0, 0.999))
def test_an_archive_that_ends_within_its_contents_is_refused(
    contents: Contents, version: tuple[int, int], share: float
) -> None:
    content = archive(contents, version)
    with pytest.raises(RestoreFailed, match="no archive"):
        read_contents(iter([content[: int(len(content) * share)]]), LATER)


@pytest.mark.parametrize(
    ("name", "codec"), [("LATIN1", "latin-1"), ("WIN1252", "cp1252"), ("EUC_JP", "euc_jp"), ("UTF8", "utf-8")]
)
def test_names_are_read_in_the_encoding_that_the_archive_says(name: str, codec: str) -> None:
    word = "日本" if codec == "euc_jp" else "ação"
    written = Contents(
        word, "15.20", "15.20",
        (Entry(1, "ENCODING", "ENCODING", definition=f"SET client_encoding = '{name}';\n"), Entry(2, "TABLE", word, owner=word)),
    )  # fmt: skip
    assert read_contents(iter([archive(written, (1, 14), codec)]), LATER).entries == written.entries


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (b"--\n-- PostgreSQL database dump\n--\n", RestoreFailed, "PGDMP"),
        (b"PGDMP" + bytes([1, 17, 0, 4, 8, 1]), FormatTooNew, "1.17"),
        (b"PGDMP" + bytes([1, 10, 0, 4, 8, 1]), RestoreFailed, "older"),
        (head((1, 14), archive_format=3), RestoreFailed, "not custom"),
        (head((1, 14)) + integer(2**31 - 1), RestoreFailed, "gigabyte"),
    ],
    ids=["plain SQL", "a newer format", "an older format", "a tar", "a damaged length"],
)
def test_what_is_no_archive_of_ours_is_told(content: bytes, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        read_contents(iter([content + b"x" * 100]), LATER)


def test_a_section_that_does_not_exist_is_damage() -> None:
    written = archive(Contents("x", "15", "15", (Entry(1, "TABLE", "t"),)), (1, 14))
    broken = written.replace(string("TABLE") + integer(2), string("TABLE") + integer(7))
    with pytest.raises(RestoreFailed, match="section 7"):
        read_contents(iter([broken]), LATER)


def test_the_deadline_holds_for_a_source_that_trickles() -> None:
    with pytest.raises(DeadlineExceeded):
        read_contents(iter([b"P", b"G"]), time.monotonic() - 1)
