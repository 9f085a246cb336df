"""TLS that is not to be had, and backups that somebody changed in the bucket: refused with a reason, and nothing is made."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Callable

import pytest
import zstandard

from tests.fixtures.place import Place
from tests.fixtures.postgres import ROLE_PASSWORD, start_postgres

pytestmark = pytest.mark.fault

Damage = Callable[[Place, str], None]


def test_tls_that_is_asked_for_of_a_server_without(place: Place) -> None:
    server = start_postgres(with_tls=False)
    try:
        place.postgres = server
        place.connection = {"sslMode": "require"}
        for command in ("check", "backup"):
            report = place.fail(command, "-f", place.policy())
            assert report.reason == "TlsFailed"
            assert "speaks no TLS" in report.message
        assert place.backup_keys() == []
    finally:
        server.stop()


def test_a_server_whose_authority_is_another(place: Place) -> None:
    other, key = place.folder / "other.crt", place.folder / "other.key"
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=another CA",
         "-keyout", str(key), "-out", str(other)],
        check=True, capture_output=True,
    )  # fmt: skip
    place.connection = {"sslMode": "verify-ca", "caRef": {"configMap": {"name": "ca"}}}
    place.credentials(database__ca_crt=other.read_text())
    (place.folder / "credentials/database/ca-crt").rename(place.folder / "credentials/database/ca.crt")
    report = place.fail("backup", "-f", place.policy())
    assert report.reason == "TlsFailed"
    assert "caRef" in report.message
    assert place.backup_keys() == []


def test_a_client_certificate_that_has_expired(place: Place) -> None:
    folder, credentials = place.postgres.folder, place.folder / "credentials/database"
    subprocess.run(
        ["openssl", "x509", "-req", "-in", str(folder / "client.csr"), "-CA", str(folder / "ca.crt"),
         "-CAkey", str(folder / "ca.key"), "-CAcreateserial", "-days", "-1", "-out", str(credentials / "tls.crt")],
        check=True, capture_output=True,
    )  # fmt: skip
    (credentials / "tls.key").write_bytes((folder / "client.key").read_bytes())
    place.credentials(database__username="certified", database__password=ROLE_PASSWORD)
    place.connection = {"sslMode": "require", "clientCertificateSecretRef": {"name": "client"}}
    report = place.fail("backup", "-f", place.policy())
    assert report.reason in {"TlsFailed", "AuthenticationFailed"}
    assert "certificate" in report.message
    assert place.backup_keys() == []


def change(name: str, how: Callable[[bytes], bytes]) -> Damage:
    def damage(place: Place, folder: str) -> None:
        key = f"{folder}/{name}"
        body = place.s3.root.get_object(Bucket=place.bucket, Key=key)["Body"].read()
        place.s3.root.put_object(Bucket=place.bucket, Key=key, Body=how(body))

    return damage


def remove(name: str) -> Damage:
    def damage(place: Place, folder: str) -> None:
        place.s3.root.delete_object(Bucket=place.bucket, Key=f"{folder}/{name}")

    return damage


def take_from_another_prefix(*names: str) -> Damage:
    """What stands under these names becomes that of a whole backup of the same database in another prefix."""

    def damage(place: Place, folder: str) -> None:
        place.prefix = "elsewhere"
        report, _, _ = place.run("backup", "-f", place.policy())
        place.prefix = "prod"
        assert report.backup is not None
        for name in names:
            there = {"Bucket": place.bucket, "Key": f"elsewhere/backups/{report.backup.id}/{name}"}
            place.s3.root.copy_object(CopySource=there, Bucket=place.bucket, Key=f"{folder}/{name}")

    return damage


def put_a_bomb(place: Place, folder: str) -> None:
    """The dump goes on for half a gigabyte after its end, and the manifest vouches for all of it but the size."""

    def get(name: str) -> bytes:
        return bytes(place.s3.root.get_object(Bucket=place.bucket, Key=f"{folder}/{name}")["Body"].read())

    manifest = json.loads(get("manifest.json"))
    dump = next(entry for entry in manifest["objects"] if entry["role"] == "Dump")
    body = get(dump["key"]) + zstandard.ZstdCompressor(level=1).compress(bytes(512 * 1024 * 1024))
    size = dump["blockBytes"]
    blocks = "".join(
        hashlib.sha256(body[at : at + size]).hexdigest() + "\n" for at in range(0, len(body), size)
    ).encode()
    dump |= {"bytes": len(body), "sha256": hashlib.sha256(body).hexdigest()}
    dump |= {"blocksSha256": hashlib.sha256(blocks).hexdigest()}
    for name, changed in (
        (dump["key"], body), (dump["blocksKey"], blocks), ("manifest.json", json.dumps(manifest).encode())
    ):  # fmt: skip
        place.s3.root.put_object(Bucket=place.bucket, Key=f"{folder}/{name}", Body=changed)


def flip(body: bytes) -> bytes:
    return body[: len(body) // 2] + bytes([body[len(body) // 2] ^ 1]) + body[len(body) // 2 + 1 :]


def swap_blocks(body: bytes) -> bytes:
    size = 8 * 1024 * 1024
    assert len(body) > 2 * size
    return body[size : 2 * size] + body[:size] + body[2 * size :]


def edit(**fields: object) -> Callable[[bytes], bytes]:
    return lambda body: json.dumps({**json.loads(body), **fields}).encode()


@pytest.mark.parametrize(
    ("damage", "reasons"),
    [
        pytest.param(change("data/dump.zst", lambda body: body[:-100]), {"ObjectCorrupt"}, id="truncated"),
        pytest.param(change("data/dump.zst", flip), {"ObjectCorrupt"}, id="a bit flipped"),
        pytest.param(change("data/dump.zst", swap_blocks), {"ObjectCorrupt"}, id="blocks swapped"),
        pytest.param(change("data/dump.zst.blocks", flip), {"ObjectCorrupt"}, id="list of blocks edited"),
        pytest.param(put_a_bomb, {"ObjectCorrupt"}, id="half a gigabyte more"),
        pytest.param(remove("data/dump.zst.blocks"), {"ObjectMissing"}, id="no list of blocks"),
        pytest.param(remove("data/dump.zst"), {"ObjectMissing"}, id="no dump"),
        pytest.param(remove("census.json.zst"), {"ObjectMissing"}, id="no census"),
        pytest.param(change("census.json.zst", flip), {"ObjectCorrupt"}, id="census edited"),
        pytest.param(
            change("manifest.json", edit(id="20261123T050000Z-3f9a1c")), {"BackupNotFound"}, id="manifest of another"
        ),
        pytest.param(take_from_another_prefix("manifest.json"), {"BackupNotFound"}, id="manifest from another prefix"),
        pytest.param(
            take_from_another_prefix("data/dump.zst", "data/dump.zst.blocks"),
            {"ObjectCorrupt"},
            id="dump from another prefix",
        ),
        pytest.param(change("manifest.json", edit(formatVersion=99)), {"BackupNotFound"}, id="newer format"),
        pytest.param(change("manifest.json", lambda _: b"{}"), {"BackupNotFound"}, id="manifest emptied"),
        pytest.param(remove("manifest.json"), {"BackupNotFound"}, id="no manifest"),
    ],
)
def test_a_backup_that_was_changed_is_refused_and_no_database_is_made(
    place: Place, damage: Damage, reasons: set[str]
) -> None:
    place.grow_noise()
    report, _, _ = place.run("backup", "-f", place.policy())
    assert report.backup is not None
    damage(place, f"prod/backups/{report.backup.id}")
    before, memberships = place.databases(), place.memberships()
    report = place.fail("restore", "-f", place.request("damaged", onExisting="Replace"), "-f", place.policy())
    assert report.reason in reasons, report.message
    assert (place.databases(), place.memberships()) == (before, memberships)
    report, _, _ = place.run("backup", "-f", place.policy())
    report, _, _ = place.run("restore", "-f", place.request("whole", onExisting="Replace"), "-f", place.policy())
    assert report.reason == "Restored"
