"""What of a failed program's words may leave the pod, and what stays in its log."""

from __future__ import annotations

import pytest

from resguardo.postgres.last_words import last_words

CPF = "123.456.789-09"
COPY_FAILED = f"""pg_restore: error: COPY failed for table "pessoas": ERROR:  duplicate key value violates unique constraint "pessoas_pkey"
DETAIL:  Key (cpf)=({CPF}) already exists.
CONTEXT:  COPY pessoas, line 2
"""
ROW_FAILED = f"""pg_restore: while PROCESSING TOC:
pg_restore: from TOC entry 3300; 0 16400 TABLE DATA pessoas postgres
pg_restore: error: COPY failed for table "pessoas": ERROR:  new row for relation "pessoas" violates check constraint "ok"
DETAIL:  Failing row contains ({CPF}, two
lines and ERROR of a person).
CONTEXT:  COPY pessoas, line 1: "{CPF}"
"""
STATEMENT_FAILED = f"""pg_restore: error: could not execute query: ERROR:  could not create unique index "um"
DETAIL:  Key (cpf)=({CPF}) is duplicated.
Command was: CREATE USER MAPPING FOR x SERVER y OPTIONS (
    password '{CPF}'
);

pg_restore: warning: errors ignored on restore: 1
"""
SQL_FAILED = f"""psql:<stdin>:3: ERROR:  syntax error at or near "PASSWORD"
LINE 1: ALTER ROLE x PASSWORD '{CPF}'
                     ^
HINT:  Try another.
QUERY:  SELECT '{CPF}'
"""


@pytest.mark.parametrize(
    ("said", "told"),
    [
        pytest.param(COPY_FAILED, ['"pessoas"', "duplicate key", '"pessoas_pkey"'], id="a key that is there twice"),
        pytest.param(ROW_FAILED, ["TOC entry 3300", 'check constraint "ok"'], id="a row of several lines"),
        pytest.param(STATEMENT_FAILED, ['unique index "um"', "errors ignored"], id="a statement with a password"),
        pytest.param(SQL_FAILED, ["syntax error", "HINT:  Try another."], id="a line of SQL"),
        pytest.param(
            f'pg_restore: error: ERROR:  invalid input syntax for type integer: "{CPF}"',
            ["invalid input syntax for type integer: …"],
            id="a value that is no number",
        ),
        pytest.param(
            f'pg_restore: error: ERROR:  invalid input value for enum color: "{CPF}"',
            ["invalid input value for enum color: …"],
            id="a value that is no label",
        ),
        pytest.param(
            f'pg_restore: error: ERROR:  value "{CPF}" is out of range for type integer',
            ["value … is out of range for type integer"],
            id="a value that is too large",
        ),
        pytest.param(
            f'pg_restore: error: ERRO:  sintaxe de entrada é inválida para tipo integer: "two\n{CPF}"\npg_restore: end',
            ["inválida para tipo integer: …", "pg_restore: end"],
            id="a value of two lines, in the server's language",
        ),
    ],
)
def test_what_quotes_data_is_cut_and_the_rest_is_told(said: str, told: list[str]) -> None:
    words = last_words(said, 2000)
    assert CPF not in words
    assert [word for word in told if word not in words] == []
    assert "\n" not in words


@pytest.mark.parametrize(
    "said",
    [
        'pg_restore: error: could not execute query: ERROR:  role "portal" does not exist',
        "pg_dump: error: query failed: ERROR:  permission denied for table pessoas",
        'pg_dump: error: connection to server at "db" (10.0.0.1), port 5432 failed: FATAL:  database "x" does not exist',
        "pg_restore: error: could not read from input file: end of file",
        "pg_dump: error: query failed: ERROR:  canceling statement due to statement timeout",
        'pg_dump: detail: Query was: LOCK TABLE "Público"."petições", public.outras IN ACCESS SHARE MODE',
    ],
)
def test_names_that_a_person_needs_are_told_as_they_are(said: str) -> None:
    assert last_words(said, 2000) == said


def test_a_detail_whose_beginning_is_lost_is_cut_as_well() -> None:
    said = f"{CPF}, the end of a long row)\nCONTEXT:  COPY\npg_restore: error: the end"
    assert last_words(said, 2000, is_whole=False) == "pg_restore: error: the end"


def test_what_is_too_long_keeps_its_end_and_shows_no_part_of_what_was_cut() -> None:
    said = f"pg_restore: error: {'x' * 5000} the end\nDETAIL:  {CPF}"
    assert last_words(said, 10).endswith("the end")


def test_silence_is_told_as_such() -> None:
    assert last_words("DETAIL:  secret", 100) == last_words("", 100) == "nothing"
