"""What a failed program of PostgreSQL's said, as far as it may leave the pod.

Its last words go into the Report, and from there into status and Events, which more people read than the database. DETAIL,
CONTEXT and the statement may quote a row, or the password in a statement; they stay in the pod's log.

https://www.postgresql.org/docs/current/error-style-guide.html
"""

from __future__ import annotations

import re

#: The program's own lines and the server's hints: where telling begins again.
_TOLD = re.compile(r"(pg_dump|pg_dumpall|pg_restore|psql|pg_basebackup):|HINT: ")
#: What may quote rows or statements, with all lines that follow. libpq writes these words in the client's language, which is
#: English here. (pg_dump's "Query was" is its own question to the catalogue, and tells which table was locked.)
_CUT = re.compile(r"(DETAIL|CONTEXT|STATEMENT|QUERY|LINE \d+): |Command was: ")
#: A value at the end of a primary message, in any language: `invalid input syntax for type integer: "…"`.
_VALUE = re.compile(r': ".*$')
_VALUE_FIRST = re.compile(r'\b(value|valor) ".*"')
NOTHING = "nothing"


def last_words(stderr: str, max_characters: int, *, is_whole: bool = True) -> str:
    """The end of what was said, on one line, without what may quote data.

    `is_whole` is False where the beginning is missing: what stands before the first line that is known is cut then.

    >>> print(last_words('''pg_restore: error: COPY failed for table "a": ERROR:  duplicate key value violates "a_pkey"
    ... DETAIL:  Key (cpf)=(123.456.789-09) already exists.
    ... CONTEXT:  COPY a, line 7''', 500))
    pg_restore: error: COPY failed for table "a": ERROR:  duplicate key value violates "a_pkey"
    """
    told, is_cut = [], not is_whole
    for line in stderr.splitlines():
        if _CUT.match(line):
            is_cut = True
        elif _TOLD.match(line):
            is_cut = False
        if not is_cut:
            told.append(_without_values(line.strip()))
            # A value of several lines.
            is_cut = _VALUE.search(line) is not None and not line.endswith('"')
    return " ".join(part for part in told if part)[-max_characters:].strip() or NOTHING


def _without_values(line: str) -> str:
    return _VALUE.sub(": …", _VALUE_FIRST.sub(r"\1 …", line))
