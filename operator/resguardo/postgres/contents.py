"""Reads the table of contents at the beginning of a pg_dump custom-format archive, and nothing after it.

`pg_restore --list` would show it too, but as text that cannot be taken apart again: schema, name and owner stand side by
side with spaces between, and any of them may hold spaces or newlines. What a restore decides (which role must own what,
which publication is FOR ALL TABLES, which privileges were granted on by another role) needs the exact names and the SQL
of each entry, so the archive's own structure is read. A test compares the result with `pg_restore --list`.

src/bin/pg_dump/pg_backup_archiver.c (ReadHead, ReadToc) and pg_backup_custom.c (_ReadExtraToc), PostgreSQL 11 to 18.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

from resguardo.api.errors import DeadlineExceeded, FormatTooNew, RestoreFailed
from resguardo.postgres.run import seconds_until
from resguardo.rules.archive import Contents, Entry, Section

#: K_VERS_1_12 (PostgreSQL 9) to K_VERS_1_16 (17 and 18).
_OLDEST, _NEWEST = (1, 12), (1, 16)
_CUSTOM_FORMAT = 1
#: A table of contents that claims more is damaged: a hundred thousand tables need some fifty megabytes.
_MAX_BYTES = 1024 * 1024 * 1024
_NO_ARCHIVE = "the dump is no archive that pg_restore could read"


def read_contents(chunks: Iterator[bytes], deadline: datetime | float) -> Contents:
    """The archive's table of contents. Takes no more chunks than hold it; the caller closes the iterator.

    Raises RestoreFailed where the bytes are no archive or end too early, FormatTooNew, DeadlineExceeded, and whatever the
    iterator raises.
    """
    reader = _Reader(chunks, deadline)
    head = _read_head(reader)
    count = reader.integer()
    raw = [_read_entry(reader, head) for _ in range(count)]
    codec = _codec(raw)
    return Contents(
        database=_decoded(head.database, codec),
        server_version=_decoded(head.server_version, codec),
        tool_version=_decoded(head.tool_version, codec),
        entries=tuple(entry.decoded(codec) for entry in raw),
        size_bytes=reader.read_bytes,
    )


class _Reader:
    """The archive's numbers and strings (ReadInt, ReadStr), from chunks of any size."""

    def __init__(self, chunks: Iterator[bytes], deadline: datetime | float) -> None:
        self._chunks = chunks
        self._deadline = deadline
        self._buffer = b""
        self._position = 0
        self._taken = 0
        self.integer_bytes = 4

    def take(self, count: int) -> bytes:
        if self._position + count > len(self._buffer):
            self._fill(count)
        piece = self._buffer[self._position : self._position + count]
        self._position += count
        return piece

    def _fill(self, count: int) -> None:
        if count > _MAX_BYTES - self._taken:
            raise RestoreFailed(f"{_NO_ARCHIVE}: its table of contents claims more than a gigabyte")
        pieces = [self._buffer[self._position :]]
        missing = count - len(pieces[0])
        while missing > 0:
            if seconds_until(self._deadline) == 0:
                raise DeadlineExceeded("the dump's table of contents was not read within the time allowed")
            piece = next(self._chunks, None)
            if piece is None:
                raise RestoreFailed(f"{_NO_ARCHIVE}: it ends within its table of contents")
            pieces.append(piece)
            missing -= len(piece)
            self._taken += len(piece)
        self._buffer, self._position = b"".join(pieces), 0

    @property
    def read_bytes(self) -> int:
        """How much was read, what was taken ahead aside."""
        return self._taken - (len(self._buffer) - self._position)

    def byte(self) -> int:
        return self.take(1)[0]

    def integer(self) -> int:
        is_negative = self.byte() != 0
        value = int.from_bytes(self.take(self.integer_bytes), "little")
        return -value if is_negative else value

    def string(self) -> bytes | None:
        length = self.integer()
        return None if length < 0 else self.take(length)


@dataclass(frozen=True)
class _Head:
    version: tuple[int, int]
    offset_bytes: int
    database: bytes
    server_version: bytes
    tool_version: bytes


def _read_head(reader: _Reader) -> _Head:
    if reader.take(5) != b"PGDMP":
        raise RestoreFailed(f"{_NO_ARCHIVE}: it does not begin with PGDMP")
    version = (reader.byte(), reader.byte())
    reader.byte()  # the revision changes nothing in the structure
    if version < _OLDEST:
        raise RestoreFailed(f"{_NO_ARCHIVE}: its format is {version[0]}.{version[1]}, older than any that is known")
    if version > _NEWEST:
        raise FormatTooNew(
            f"the dump's archive format {version[0]}.{version[1]} is newer than {_NEWEST[0]}.{_NEWEST[1]}, the newest known; "
            "use a newer Resguardo, or restore by hand with the pg_restore of the version that wrote it"
        )
    reader.integer_bytes = reader.byte()
    offset_bytes = reader.byte()
    if (archive_format := reader.byte()) != _CUSTOM_FORMAT:
        raise RestoreFailed(f"{_NO_ARCHIVE} as a stream: its format is {archive_format}, not custom (pg_dump -Fc)")
    if version >= (1, 15):
        reader.byte()
    else:
        reader.integer()
    for _part_of_creation_time in range(7):
        reader.integer()
    return _Head(version, offset_bytes, reader.string() or b"", reader.string() or b"", reader.string() or b"")


@dataclass(frozen=True)
class _RawEntry:
    dump_id: int
    catalog_oid: bytes
    oid: bytes
    tag: bytes
    description: bytes
    definition: bytes = field(repr=False)
    schema: bytes
    tablespace: bytes
    owner: bytes
    dependencies: tuple[int, ...]
    section: Section

    def decoded(self, codec: str) -> Entry:
        return Entry(
            dump_id=self.dump_id,
            description=_decoded(self.description, codec),
            tag=_decoded(self.tag, codec),
            schema=_decoded(self.schema, codec),
            owner=_decoded(self.owner, codec),
            definition=_decoded(self.definition, codec),
            tablespace=_decoded(self.tablespace, codec),
            dependencies=self.dependencies,
            section=self.section,
            catalog_oid=_number(self.catalog_oid),
            oid=_number(self.oid),
        )


def _read_entry(reader: _Reader, head: _Head) -> _RawEntry:
    dump_id = reader.integer()
    reader.integer()  # whether it has data
    catalog_oid, oid = reader.string(), reader.string()
    tag, description = reader.string(), reader.string()
    section = _section(reader.integer())
    definition = reader.string()
    reader.string()  # how to drop it
    reader.string()  # its COPY statement
    schema, tablespace = reader.string(), reader.string()
    if head.version >= (1, 14):
        reader.string()  # table access method
    if head.version >= (1, 16):
        reader.integer()  # relkind
    owner = reader.string()
    reader.string()  # WITH OIDS, of old
    dependencies = []
    while (dependency := reader.string()) is not None:
        dependencies.append(_number(dependency))
    reader.take(1 + head.offset_bytes)  # where its data are, in a file
    return _RawEntry(
        dump_id,
        catalog_oid or b"0",
        oid or b"0",
        tag or b"",
        description or b"",
        definition or b"",
        schema or b"",
        tablespace or b"",
        owner or b"",
        tuple(dependencies),
        section,
    )


def _section(number: int) -> Section:
    try:
        return Section(number)
    except ValueError:
        raise RestoreFailed(f"{_NO_ARCHIVE}: it has an entry of section {number}, which does not exist") from None


def _number(text: bytes) -> int:
    try:
        return int(text)
    except ValueError:
        raise RestoreFailed(f"{_NO_ARCHIVE}: {text[:20]!r} stands where a number should") from None


#: Where Python's name of a server encoding is not PostgreSQL's own.
_CODECS = {"SQL_ASCII": "utf-8", "MULE_INTERNAL": "utf-8", "UHC": "cp949", "EUC_TW": "utf-8"}


def _codec(entries: list[_RawEntry]) -> str:
    """The codec of the archive's texts: a dump is written in its database's encoding, and says which."""
    for entry in entries:
        match = re.search(rb"client_encoding = '([^']*)'", entry.definition)
        if entry.description == b"ENCODING" and match:
            name = match.group(1).decode("ascii", errors="replace")
            for guess in (_CODECS.get(name, name), name.replace("WIN", "cp")):
                try:
                    return codecs.lookup(guess).name
                except LookupError:
                    continue
    return "utf-8"


def _decoded(text: bytes, codec: str) -> str:
    return text.decode(codec, errors="surrogateescape" if codec == "utf-8" else "replace")
