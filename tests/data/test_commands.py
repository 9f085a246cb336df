"""The commands as a person and a pod run them, on a real PostgreSQL and a real S3 server; what is killed leaves nothing."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
from collections.abc import Callable

import pytest
import zstandard

from tests.fixtures.place import RESGUARDO, SECONDS, Place, wait_for
from tests.fixtures.postgres import ROLE_PASSWORD
from tests.fixtures.s3 import ROOT, S3Server


def test_check_backup_catalog_and_restore_by_hand(place: Place) -> None:
    policy = place.policy()
    report, _, _ = place.run("check", "-f", policy)
    assert (report.reason, report.inventory and report.inventory.backups) == ("CheckPassed", 0)

    report, _, _ = place.run("backup", "-f", policy)
    assert report.backup is not None
    assert report.newest_backup == report.backup
    backup_id = report.backup.id
    assert {key.removeprefix(f"prod/backups/{backup_id}/") for key in place.object_keys() if "/backups/" in key} == {
        "manifest.json", "census.json.zst", "census.json.zst.blocks", "data/dump.zst", "data/dump.zst.blocks",
        "data/globals.sql.zst", "data/globals.sql.zst.blocks", "rows.json",
    }  # fmt: skip
    attempt = json.loads(
        place.s3.root.get_object(Bucket=place.bucket, Key=f"prod/attempts/{backup_id}.json")["Body"].read()
    )
    assert attempt["reason"] == "BackupSucceeded"

    listed = subprocess.run(
        [RESGUARDO, "catalog", "-f", policy, "-o", "json"], check=True, capture_output=True, timeout=SECONDS,
        env={"PATH": os.environ["PATH"], "RESGUARDO_CREDENTIALS": str(place.folder / "credentials")},
    ).stdout  # fmt: skip
    (manifest,) = json.loads(listed)["backups"]
    assert (manifest["id"], manifest["census"]["rows"], manifest["trigger"]) == (backup_id, 50000, "Manual")

    place.postgres.drop_database(place.database)
    report, _, _ = place.run("restore", "-f", place.request("dr"), "-f", policy)
    assert report.reason == "Restored"
    assert report.restore is not None
    assert {check.status for check in report.restore.checks} == {"Passed"}
    assert place.postgres.query("SELECT count(*), sum(length(texto)) FROM peticoes", database=place.database) == [
        (50000, 32000000)
    ]

    report, _, _ = place.run("restore", "-f", place.request("dr"), "-f", policy)
    assert report.reason == "AlreadyRestored"


def test_a_backup_restores_without_resguardo(place: Place) -> None:
    report, _, _ = place.run("backup", "-f", place.policy())
    assert report.backup is not None
    key = f"prod/backups/{report.backup.id}/data/dump.zst"
    place.s3.root.download_file(place.bucket, key, str(place.folder / "dump.zst"))
    target = place.postgres.fresh_database("by_standard_tools")
    with (place.folder / "dump.zst").open("rb") as stored, (place.folder / "dump").open("wb") as plain:
        zstandard.ZstdDecompressor().copy_stream(stored, plain)
    login = place.postgres.login
    subprocess.run(
        ["/usr/lib/postgresql/15/bin/pg_restore", "--exit-on-error", "--no-owner", "-h", login.host, "-p", str(login.port),
         "-U", login.username, "-d", target, str(place.folder / "dump")],
        check=True, timeout=SECONDS, env={"PATH": os.environ["PATH"], "PGPASSWORD": login.password},
    )  # fmt: skip
    assert place.postgres.query("SELECT count(*) FROM peticoes", database=target) == [(50000,)]


def test_a_backup_is_written_as_plain_sql_for_psql(place: Place) -> None:
    policy = place.policy()
    place.run("backup", "-f", policy)
    report, sql, _ = place.run("restore", "-f", place.request("sql"), "-f", policy, "--to-sql", "-")
    assert report.succeeded
    assert sql.rstrip().splitlines()[-1].startswith((b"\\unrestrict", b"-- "))
    target = place.postgres.fresh_database("by_psql")
    login = place.postgres.login
    subprocess.run(
        ["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-h", login.host, "-p", str(login.port), "-U", login.username, target],
        input=sql, check=True, capture_output=True, timeout=SECONDS,
        env={"PATH": os.environ["PATH"], "PGPASSWORD": login.password},
    )  # fmt: skip
    assert place.postgres.query("SELECT count(*) FROM peticoes", database=target) == [(50000,)]


def test_privileges_that_the_role_cannot_give_are_in_the_log_before_anything_is_loaded(place: Place) -> None:
    server = place.postgres
    owner, reader, other = (server.make_role(word) for word in ("dona", "leitor", "outro"))
    place.database = server.fresh_database("tarde", owner=owner)
    server.execute(f"GRANT CONNECT ON DATABASE {place.database} TO {reader} WITH GRANT OPTION")
    server.execute(f"GRANT CONNECT ON DATABASE {place.database} TO {other}", login=server.login_as(reader))
    place.run("backup", "-f", place.policy())
    server.drop_database(place.database)
    restorer = server.make_role("restaura", attributes="LOGIN CREATEDB CREATEROLE")
    place.credentials(database__username=restorer)

    report, _, log = place.run("restore", "-f", place.request("late"), "-f", place.policy())

    assert (report.reason, report.restore is not None) == ("Restored", True)
    left_out = (
        "privileges on the database that another role than its owner had granted, in whose name role "
        f"{restorer} cannot grant: {other}=c/{reader}"
    )
    assert (report.restore.omitted if report.restore else []) == [left_out]
    told = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    assert [line["what"] for line in told if line["event"] == "left out or different"] == [left_out]
    events = [line["event"] for line in told]
    assert events.index("left out or different") < events.index("loaded the data")
    granted = server.query(f"SELECT datacl::text FROM pg_database WHERE datname = '{place.database}'")
    assert f"{reader}=c*/{owner}" in granted[0][0]


def test_a_multirange_type_belongs_to_its_ranges_owner_again(place: Place) -> None:
    owner = place.postgres.make_role("owner")
    place.postgres.execute(
        "CREATE TYPE periodo AS RANGE (subtype = date)",
        f"ALTER TYPE periodo OWNER TO {owner}",
        f"ALTER TYPE periodo_multirange OWNER TO {owner}",
        database=place.database,
    )
    owners = "SELECT typname, typowner::regrole::text FROM pg_type WHERE typname IN ('periodo', 'periodo_multirange') ORDER BY 1"
    policy = place.policy()
    place.run("backup", "-f", policy)
    before = place.postgres.query(owners, database=place.database)
    place.postgres.drop_database(place.database)
    report, _, _ = place.run("restore", "-f", place.request("types"), "-f", policy)
    assert report.reason == "Restored"
    assert (
        place.postgres.query(owners, database=place.database)
        == before
        == [
            ("periodo", owner),
            ("periodo_multirange", owner),
        ]
    )


def _kill_pg_dump(_process: subprocess.Popen[bytes], place: Place) -> None:
    place.postgres.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY public.peticoes%'"
    )


def _terminate(process: subprocess.Popen[bytes], _place: Place) -> None:
    process.send_signal(signal.SIGTERM)


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        pytest.param(_kill_pg_dump, "DumpFailed", id="pg_dump's session is ended"),
        pytest.param(_terminate, "Stopped", id="SIGTERM"),
    ],
)
def test_a_backup_that_is_cut_off_leaves_nothing_that_looks_like_one(
    place: Place, harm: Callable[[subprocess.Popen[bytes], Place], None], reason: str
) -> None:
    policy = place.policy()
    place.grow()
    process = place.start("backup", "-f", policy)
    place.wait_for_copying()
    harm(process, place)
    process.communicate(timeout=SECONDS)
    assert (place.report().succeeded, place.report().reason) == (False, reason)
    assert [key for key in place.object_keys() if "/backups/" in key] == []
    assert place.uploads() == []
    (attempt_key,) = [key for key in place.object_keys() if "/attempts/" in key]
    attempt = json.loads(place.s3.root.get_object(Bucket=place.bucket, Key=attempt_key)["Body"].read())
    assert attempt["reason"] == reason
    wait_for(lambda: not place.postgres.query("SELECT 1 FROM pg_stat_activity WHERE application_name = 'resguardo'"))

    report, _, _ = place.run("backup", "-f", policy)
    assert report.succeeded


@pytest.mark.fault
def test_a_restore_that_is_cut_off_leaves_no_database(place: Place) -> None:
    policy = place.policy()
    place.grow()
    place.run("backup", "-f", policy)
    place.postgres.drop_database(place.database)
    before = place.databases()
    process = place.start("restore", "-f", place.request("cut"), "-f", policy)
    place.wait_for_copying()
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=SECONDS)
    assert place.report().reason == "Stopped"
    assert place.databases() == before
    # a request that was not carried out may be run again
    report, _, _ = place.run("restore", "-f", place.request("cut"), "-f", policy)
    assert report.reason == "Restored"


@pytest.mark.fault
def test_a_deadline_that_passes_commits_nothing(place: Place) -> None:
    with place.postgres.connect(place.database) as holder:
        holder.autocommit = False
        holder.execute("LOCK TABLE peticoes IN ACCESS EXCLUSIVE MODE")
        report, _, _ = place.run("backup", "-f", place.policy(timeout="10s"))
        holder.rollback()
    assert report.reason in ("LockTimeout", "DeadlineExceeded")
    assert "peticoes" in report.message or "timeout" in report.message
    assert [key for key in place.object_keys() if "/backups/" in key] == []


@pytest.mark.parametrize(
    ("files", "reason", "words"),
    [
        ({"database__password": "wrong"}, "AuthenticationFailed", ["copia"]),
        ({"database__password": ""}, "CredentialsMissing", ["database/password", "PGPASSWORD"]),
        ({"store__secret_access_key": "wrong"}, "StoreAccessDenied", []),
        (
            {"store__access_key_id": "nobody", "database__password": "wrong"},
            "StoreAccessDenied",
            ["AuthenticationFailed"],
        ),
    ],
)
def test_check_tells_every_problem_at_once(place: Place, files: dict[str, str], reason: str, words: list[str]) -> None:
    place.credentials(**files)
    report, _, _ = place.run("check", "-f", place.policy())
    assert report.reason == reason
    assert all(word in report.message for word in words)


@pytest.mark.parametrize(("max_age", "refused"), [("29d", True), ("30d", False)])
def test_a_maximal_age_under_the_buckets_lock_is_refused(
    place: Place, s3_versioning_server: S3Server, max_age: str, refused: bool
) -> None:
    place.s3 = s3_versioning_server  # as everywhere where there are locks
    place.bucket = place.s3.make_bucket(locks=True)
    place.s3.root.put_object_lock_configuration(
        Bucket=place.bucket,
        ObjectLockConfiguration={
            "ObjectLockEnabled": "Enabled", "Rule": {"DefaultRetention": {"Mode": "GOVERNANCE", "Days": 30}},
        },
    )  # fmt: skip
    policy = place.policy(retention={"daily": "7d", "maxAge": max_age})
    if not refused:
        assert place.run("check", "-f", policy)[0].reason == "CheckPassed"
        return
    report = place.fail("check", "-f", policy)
    assert report.reason == "LockOutlivesMaxAge"
    assert "retention.maxAge is 29d" in report.message
    assert "locks each new object for 30d" in report.message
    assert "resguardo.json" not in "".join(place.object_keys()), "what cannot be kept claims nothing"


def test_a_check_logs_what_the_policy_surely_does_not_mean(place: Place) -> None:
    report, _, errors = place.run("check", "-f", place.policy(retention={"daily": "12h"}))
    assert report.succeeded
    (told,) = [line for line in map(json.loads, errors.splitlines()) if line["level"] == "warning"]
    assert (told["reason"], told["event"].startswith("retention.daily is 12h")) == ("TierTooShort", True)


def test_no_secret_stands_in_what_a_command_leaves_behind(place: Place) -> None:
    policy = place.policy()
    _, output, errors = place.run("backup", "-f", policy)
    stored = io.BytesIO()
    for key in place.object_keys():
        place.s3.root.download_fileobj(place.bucket, key, stored)
    everything = output + errors.encode() + place.report().to_message().encode() + stored.getvalue()
    for secret in (ROLE_PASSWORD, ROOT.secret_access_key):
        assert secret.encode() not in everything


def test_a_file_that_is_no_policy_is_told_with_its_fields(place: Place) -> None:
    policy = place.policy(schedule="every night", colour="blue")
    process = place.start("check", "-f", policy)
    _, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 10
    assert b"spec.schedule" in errors
    assert b"spec.colour" in errors
    assert place.report().reason == "DocumentInvalid"
