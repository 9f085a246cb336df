"""The commands as a person and a pod run them, on a real PostgreSQL and a real S3 server; what is killed leaves nothing."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
import zstandard

from resguardo.api.report import Report
from tests.fixtures.postgres import ROLE_PASSWORD, PostgresServer
from tests.fixtures.s3 import ROOT, S3Server

RESGUARDO = str(Path(sys.executable).with_name("resguardo"))
SECONDS = 90


@dataclass
class Place:
    """One database, one bucket, and a folder with credentials laid out as in a pod."""

    postgres: PostgresServer
    s3: S3Server
    folder: Path
    bucket: str
    database: str
    role: str

    def write(self, name: str, document: dict[str, Any]) -> str:
        path = self.folder / name
        path.write_text(yaml.safe_dump(document))
        return str(path)

    def policy(self, **changes: Any) -> str:
        spec = {
            "schedule": "@daily",
            "timeout": "5m",
            "source": {"postgres": {"connection": self._connection(), "pgDump": {"database": self.database}}},
            "store": {"s3": self._store()},
            **changes,
        }
        return self.write("policy.yaml", _resource("BackupPolicy", "portal", spec))

    def request(self, name: str, **target: Any) -> str:
        spec = {
            "from": {"policyRef": {"name": "portal"}},
            "target": {"postgres": {"connection": self._connection(), "database": self.database, **target}},
            "notAfter": "2999-01-01T00:00:00Z",
        }
        return self.write(f"{name}.yaml", _resource("RestoreRequest", name, spec))

    def _connection(self) -> dict[str, Any]:
        return {
            "host": "127.0.0.1",
            "port": self.postgres.port,
            "sslMode": "disable",
            "credentialsSecretRef": {"name": "mounted"},
        }

    def _store(self) -> dict[str, Any]:
        endpoint = self.s3.spec(self.bucket).endpoint
        return {
            "bucket": self.bucket,
            "prefix": "prod",
            "endpoint": endpoint,
            "credentials": {"secretRef": {"name": "mounted"}},
        }

    def credentials(self, **files: str) -> None:
        for name, text in files.items():
            path = self.folder / "credentials" / name.replace("__", "/").replace("_", "-")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

    def start(self, *args: str) -> subprocess.Popen[bytes]:
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder),
            "RESGUARDO_CREDENTIALS": str(self.folder / "credentials"),
            "RESGUARDO_REPORT_FILE": str(self.folder / "report"),
        }
        (self.folder / "report").unlink(missing_ok=True)
        return subprocess.Popen([RESGUARDO, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)

    def run(self, *args: str) -> tuple[Report, bytes, str]:
        """The Report, standard output and standard error of a command; its exit status agrees with the Report."""
        process = self.start(*args)
        output, errors = process.communicate(timeout=SECONDS)
        report = self.report()
        assert (process.returncode == 0) == report.succeeded, errors.decode()
        return report, output, errors.decode()

    def report(self) -> Report:
        report = Report.from_json((self.folder / "report").read_text())
        assert report is not None
        return report

    def object_keys(self) -> list[str]:
        return sorted(item["Key"] for item in self.s3.root.list_objects_v2(Bucket=self.bucket).get("Contents", []))

    def uploads(self) -> list[Any]:
        return list(self.s3.root.list_multipart_uploads(Bucket=self.bucket).get("Uploads", []))

    def databases(self) -> set[str]:
        return {name for (name,) in self.postgres.query("SELECT datname FROM pg_database")}


def _resource(kind: str, name: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "resguardo.dev/v1alpha1",
        "kind": kind,
        "metadata": {"name": name, "namespace": "agepar"},
        "spec": spec,
    }


@pytest.fixture
def place(postgres_server: PostgresServer, s3_server: S3Server, s3_bucket: str, tmp_path: Path) -> Place:
    database = postgres_server.fresh_database(
        "portal d'água %",
        "CREATE TABLE peticoes AS SELECT n AS id, repeat(md5(n::text), 20) AS texto FROM generate_series(1, 50000) n",
        'CREATE TABLE "a ""b""; c\\d" (n int)',
        "SELECT lo_from_bytea(0, 'documento')",
    )
    role = postgres_server.make_role("copia", attributes="LOGIN SUPERUSER")
    made = Place(postgres_server, s3_server, tmp_path, s3_bucket, database, role)
    made.credentials(
        database__username=role,
        database__password=ROLE_PASSWORD,
        store__access_key_id=ROOT.access_key_id,
        store__secret_access_key=ROOT.secret_access_key,
    )
    return made


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
        "data/globals.sql.zst", "data/globals.sql.zst.blocks",
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
    _grow(place)
    process = place.start("backup", "-f", policy)
    _wait_for_copying(place)
    harm(process, place)
    process.communicate(timeout=SECONDS)
    assert (place.report().succeeded, place.report().reason) == (False, reason)
    assert [key for key in place.object_keys() if "/backups/" in key] == []
    assert place.uploads() == []
    (attempt_key,) = [key for key in place.object_keys() if "/attempts/" in key]
    attempt = json.loads(place.s3.root.get_object(Bucket=place.bucket, Key=attempt_key)["Body"].read())
    assert attempt["reason"] == reason
    _wait_for(lambda: not place.postgres.query("SELECT 1 FROM pg_stat_activity WHERE application_name = 'resguardo'"))

    report, _, _ = place.run("backup", "-f", policy)
    assert report.succeeded


def test_a_restore_that_is_cut_off_leaves_no_database(place: Place) -> None:
    policy = place.policy()
    _grow(place)
    place.run("backup", "-f", policy)
    place.postgres.drop_database(place.database)
    before = place.databases()
    process = place.start("restore", "-f", place.request("cut"), "-f", policy)
    _wait_for_copying(place)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=SECONDS)
    assert place.report().reason == "Stopped"
    assert place.databases() == before
    # a request that was not carried out may be run again
    report, _, _ = place.run("restore", "-f", place.request("cut"), "-f", policy)
    assert report.reason == "Restored"


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


def _wait_for(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _grow(place: Place) -> None:
    """Rows enough to keep a backup or a restore at work for seconds, so that it can be hit in the middle."""
    rows = "INSERT INTO peticoes SELECT n, repeat(md5(n::text), 60) FROM generate_series(1, 200000) n"
    place.postgres.execute(rows, database=place.database)


def _wait_for_copying(place: Place) -> None:
    copying = "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'COPY public.peticoes%'"
    _wait_for(lambda: place.postgres.query(copying))
