"""The rows of a backup's larger tables, beside its sealed census: what the next backup's are compared with.

Tables are known by their oid, which tells nobody a name, so that a pod that cannot open the census of former backups can
still see that a table was emptied. A hint and no more: what cannot be read is as if it were not there.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated

import structlog
from pydantic import Field, ValidationError

from resguardo.api.base import Exchanged, Whole
from resguardo.api.errors import ObjectCorrupt, ObjectMissing
from resguardo.store.layout import rows_key
from resguardo.store.protocol import Store

log = structlog.get_logger()

ROWS_FORMAT_VERSION = 1
#: The largest are enough.
TABLES_MAX = 10_000
ROWS_MAX_BYTES = 1024 * 1024


class _Rows(Exchanged):
    format_version: int = ROWS_FORMAT_VERSION
    #: Oid and rows; None where they were not counted.
    tables: Annotated[list[tuple[Whole, Whole | None]], Field(max_length=TABLES_MAX)]


def write_rows(store: Store, backup_id: str, rows: Mapping[int, int | None], *, rows_min: int) -> None:
    """Write down which tables have at least so many rows, and which were not counted; of very many the largest."""
    large = [(oid, count) for oid, count in rows.items() if count is None or count >= rows_min]
    large.sort(key=lambda table: (table[1] is not None, -(table[1] or 0), table[0]))
    document = _Rows(tables=large[:TABLES_MAX])
    # Not to_json: what was not counted is said, and not left out.
    store.put(rows_key(backup_id), document.model_dump_json(by_alias=True).encode(), if_absent=True)


def read_rows(store: Store, backup_id: str) -> dict[int, int | None]:
    """What write_rows wrote for a backup; empty where that cannot be read, or was written by a newer version."""
    try:
        document = _Rows.model_validate_json(store.get(rows_key(backup_id), max_bytes=ROWS_MAX_BYTES).body)
    except (ObjectMissing, ObjectCorrupt, ValidationError) as problem:
        log.info("the rows of a former backup are not compared", backup=backup_id, problem=type(problem).__name__)
        return {}
    return dict(document.tables) if document.format_version <= ROWS_FORMAT_VERSION else {}
