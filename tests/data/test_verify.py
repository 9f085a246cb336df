"""`resguardo show` and `verify` on backups of a real database, whole and damaged."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable

import pytest
import yaml

from resguardo.api.manifest import ObjectRole
from resguardo.store.catalogue import read_manifest
from resguardo.store.layout import dump_key, manifest_key, object_key, verified_key
from resguardo.store.seal import seal
from tests.fixtures.place import SECONDS, Place


@pytest.fixture
def backup_id(place: Place) -> str:
    """A backup of the place's database."""
    report, _, _ = place.run("backup", "-f", place.policy())
    assert report.backup is not None
    return report.backup.id


def typed(place: Place, *command: str) -> subprocess.CompletedProcess[str]:
    """A command as a person types it."""
    process = place.start(*command, "-f", place.policy())
    output, errors = process.communicate(timeout=SECONDS)
    return subprocess.CompletedProcess(command, process.returncode, output.decode(), errors.decode())


def said(place: Place, backup_id: str) -> dict[str, object]:
    """What the bucket says that the verification came to."""
    key = f"prod/{verified_key(backup_id)}"
    return dict(json.loads(place.s3.root.get_object(Bucket=place.bucket, Key=key)["Body"].read()))


@pytest.mark.parametrize("which", ["latest", "all", "the id"])
def test_a_whole_backup(place: Place, backup_id: str, which: str) -> None:
    answer = typed(place, "verify", backup_id if which == "the id" else which)
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout.startswith(f"{backup_id}: whole, ")
    assert said(place, backup_id)["ok"] is True


def _flip_a_byte(place: Place, backup_id: str) -> None:
    key = f"prod/{object_key(backup_id, dump_key())}"
    body = bytearray(place.s3.root.get_object(Bucket=place.bucket, Key=key)["Body"].read())
    body[len(body) // 2] ^= 1
    place.s3.root.put_object(Bucket=place.bucket, Key=key, Body=bytes(body))


def _delete_the_dump(place: Place, backup_id: str) -> None:
    place.s3.root.delete_object(Bucket=place.bucket, Key=f"prod/{object_key(backup_id, dump_key())}")


def _write_half_an_archive(place: Place, backup_id: str) -> None:
    """With digests that are right: what is wrong only pg_restore can tell."""
    store = place.s3.store(place.bucket)
    manifest = read_manifest(store, backup_id)
    entry = seal(store, backup_id, dump_key(2), ObjectRole.DUMP, iter([b"PGDMP\x01\x0e\x00 and no more"]))
    objects = [entry, *(one for one in manifest.objects if one.role is not ObjectRole.DUMP)]
    body = manifest.model_copy(update={"objects": objects}).to_json().encode()
    place.s3.root.put_object(Bucket=place.bucket, Key=f"prod/{manifest_key(backup_id)}", Body=body)


@pytest.mark.parametrize(
    ("damage", "reason", "status"),
    [
        pytest.param(_flip_a_byte, "ObjectCorrupt", 37, id="a flipped byte"),
        pytest.param(_delete_the_dump, "ObjectMissing", 36, id="no dump"),
        pytest.param(_write_half_an_archive, "RestoreFailed", 44, id="a dump that ends too soon"),
    ],
)
def test_a_damaged_backup_is_told_and_written_down(
    place: Place, backup_id: str, damage: Callable[[Place, str], None], reason: str, status: int
) -> None:
    damage(place, backup_id)
    answer = typed(place, "verify", "all")
    assert answer.returncode == status
    assert f"{backup_id}: {reason}: " in answer.stderr
    assert said(place, backup_id)["ok"] is False
    assert said(place, backup_id)["message"]


def test_a_backup_that_was_found_damaged_is_compared_with_no_more(place: Place, backup_id: str) -> None:
    _flip_a_byte(place, backup_id)
    typed(place, "verify", "latest")
    policy = place.policy(retention={"daily": "30d"})
    process = place.start("retention", "-f", policy, "--dry-run", "-o", "json")
    output, errors = process.communicate(timeout=SECONDS)
    assert process.returncode == 0, errors.decode()
    (verdict,) = json.loads(output)["backups"]
    assert verdict["keep"] is True
    assert verdict["reasons"] == ["no good backup to measure time from"]


@pytest.mark.parametrize("command", ["verify", "show"])
@pytest.mark.parametrize(
    ("which", "status", "words"),
    [
        pytest.param("20200101T000000Z-000000", 40, "there is no backup 20200101T000000Z-000000", id="an unknown id"),
        pytest.param("newest", 2, "is not a backup's id", id="no id"),
    ],
)
def test_a_backup_that_is_not_there(place: Place, command: str, which: str, status: int, words: str) -> None:
    place.run("backup", "-f", place.policy())
    answer = typed(place, command, which)
    assert answer.returncode == status
    assert words in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "read"), [([], yaml.safe_load), (["-o", "yaml"], yaml.safe_load), (["-o", "json"], json.loads)]
)
def test_show_prints_the_manifest(
    place: Place, backup_id: str, arguments: list[str], read: Callable[[str], dict[str, object]]
) -> None:
    answer = typed(place, "show", backup_id, *arguments)
    assert answer.returncode == 0, answer.stderr
    key = f"prod/{manifest_key(backup_id)}"
    manifest = json.loads(place.s3.root.get_object(Bucket=place.bucket, Key=key)["Body"].read())
    shown = read(answer.stdout)
    assert shown["id"] == backup_id
    assert json.loads(json.dumps(shown, default=str)).keys() >= manifest.keys() - {"oddities"}
