"""Encrypted backups of a real database: there and back, by whom they are opened, and what they do when somebody meddled."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyrage
import pytest

from resguardo.api.manifest import Manifest
from resguardo.store.layout import manifest_key, object_key
from tests.fixtures.people import ANA, EVA, RUI, Person, give, sealed_to
from tests.fixtures.place import RESGUARDO, SECONDS, Place

ROWS = [(50000, 32000000)]
COUNT = "SELECT count(*), sum(length(texto)) FROM peticoes"


@pytest.fixture
def backup_id(place: Place) -> str:
    """A backup that Ana and Rui can open."""
    report, _, _ = place.run("backup", "-f", place.policy(encryption=sealed_to(ANA, RUI)))
    assert report.backup is not None
    return report.backup.id


def read(place: Place, key: str) -> bytes:
    return bytes(place.s3.root.get_object(Bucket=place.bucket, Key=f"prod/{key}")["Body"].read())


def write(place: Place, key: str, body: bytes) -> None:
    place.s3.root.put_object(Bucket=place.bucket, Key=f"prod/{key}", Body=body)


def manifest_of(place: Place, backup_id: str) -> Manifest:
    return Manifest.model_validate_json(read(place, manifest_key(backup_id)))


def forge(place: Place, manifest: Manifest, **changes: Any) -> None:
    """A manifest as somebody writes it who may write in the bucket, and knows how."""
    write(place, manifest_key(manifest.id), manifest.model_copy(update=changes).to_json().encode())


def restore(place: Place, name: str = "dr") -> tuple[str, str]:
    """The reason and message with which a restore ends."""
    process = place.start("restore", "-f", place.request(name), "-f", place.policy())
    process.communicate(timeout=SECONDS)
    report = place.report()
    return report.reason, report.message


def typed(place: Place, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """A command as a person types it."""
    return subprocess.run(
        [RESGUARDO, *command],
        env={
            "PATH": os.environ["PATH"],
            "HOME": str(place.folder),
            "RESGUARDO_CREDENTIALS": str(place.folder / "credentials"),
            **environment,
        },
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )


# ---- there and back


def test_a_backup_is_sealed_told_so_and_comes_back_for_each_of_its_recipients(place: Place, backup_id: str) -> None:
    names = {key.removeprefix(f"prod/backups/{backup_id}/") for key in place.backup_keys()}
    assert names == {
        "key.age", "manifest.json", "rows.json", "census.json.zst.age", "census.json.zst.age.blocks", "data/dump.zst.age",
        "data/dump.zst.age.blocks", "data/globals.sql.zst.age", "data/globals.sql.zst.age.blocks",
    }  # fmt: skip
    manifest = manifest_of(place, backup_id)
    assert manifest.encryption is not None
    assert manifest.encryption.age.recipients == [ANA.public_key, RUI.public_key]
    sealed_key = manifest.encryption.age.sealed_key
    assert (sealed_key.key, sealed_key.sha256) == (
        "key.age",
        hashlib.sha256(read(place, object_key(backup_id, "key.age"))).hexdigest(),
    )
    assert manifest.bytes == sum(entry.bytes for entry in manifest.objects) + sealed_key.bytes
    for entry in manifest.objects:
        assert read(place, object_key(backup_id, entry.key)).startswith(b"age-encryption.org/v1\n")

    place.postgres.drop_database(place.database)
    for person in (ANA, RUI):
        give(place, person.file)
        assert restore(place, f"dr-{person.public_key[-8:]}")[0] == "Restored"
        assert place.postgres.query(COUNT, database=place.database) == ROWS
        place.postgres.drop_database(place.database)


def test_nothing_in_the_bucket_but_sizes_and_public_keys_can_be_read(place: Place, backup_id: str) -> None:
    for key in place.object_keys():
        body = bytes(place.s3.root.get_object(Bucket=place.bucket, Key=key)["Body"].read())
        assert b"peticoes" not in body
        assert b"AGE-SECRET-KEY" not in body
        assert b"PGDMP" not in body


def test_the_latest_backup_is_encrypted_and_an_older_one_is_not(place: Place) -> None:
    report, _, _ = place.run("backup", "-f", place.policy())
    place.run("backup", "-f", place.policy(encryption=sealed_to(ANA, RUI)))
    place.postgres.drop_database(place.database)
    assert restore(place)[0] == "CredentialsMissing"
    assert report.backup is not None
    request = place.request("older")
    body = Path(request).read_text().replace("spec:\n", f"spec:\n  recover: {{backup: {report.backup.id}}}\n")
    Path(request).write_text(body)
    report, _, _ = place.run("restore", "-f", request, "-f", place.policy())
    assert report.reason == "Restored"


def test_ssh_keys_are_recipients_too(place: Place, tmp_path: Path) -> None:
    recipients = []
    for kind in ("ed25519", "rsa"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "ana@portal", "-f", tmp_path / kind], check=True
        )
        recipients.append((tmp_path / f"{kind}.pub").read_text().strip())
    report, _, _ = place.run("backup", "-f", place.policy(encryption={"age": {"recipients": recipients}}))
    assert report.backup is not None
    manifest = manifest_of(place, report.backup.id)
    assert manifest.encryption is not None
    assert not any("ana@portal" in recipient for recipient in manifest.encryption.age.recipients)
    for kind in ("ed25519", "rsa"):
        give(place, (tmp_path / kind).read_text())
        assert ": whole, " in typed(place, "verify", "latest", "-f", place.policy()).stdout


def test_a_backup_is_opened_by_hand_with_age_zstd_and_pg_restore(place: Place, backup_id: str) -> None:
    """The commands of docs/tasks/encryption.md, with Debian's age."""
    for name in ("key.age", "data/dump.zst.age", "data/globals.sql.zst.age"):
        (place.folder / Path(name).name).write_bytes(read(place, object_key(backup_id, name)))
    (place.folder / "identity").write_text(ANA.file)
    login = place.postgres.login
    target = place.postgres.fresh_database("by_standard_tools")
    script = f"""set -euo pipefail
      age -d -i identity key.age > backup.key
      age -d -i backup.key dump.zst.age | zstd -d | pg_restore --exit-on-error --no-owner -h {login.host} -p {login.port} -U {login.username} -d {target}
      age -d -i backup.key globals.sql.zst.age | zstd -d | grep ROLE > /dev/null
    """
    subprocess.run(
        ["bash", "-c", script], check=True, timeout=SECONDS, cwd=place.folder,
        env={"PATH": os.environ["PATH"], "PGPASSWORD": login.password},
    )  # fmt: skip
    assert place.postgres.query(COUNT, database=target) == ROWS


def test_a_backup_is_written_as_sql(place: Place, backup_id: str) -> None:
    (place.folder / "identity").write_text(ANA.file)
    place.environment["RESGUARDO_AGE_IDENTITY"] = str(place.folder / "identity")
    report, sql, _ = place.run("restore", "-f", place.request("sql"), "-f", place.policy(), "--to-sql", "-")
    assert report.succeeded
    assert b"COPY public.peticoes" in sql


# ---- by whom


@pytest.mark.parametrize(
    ("identity", "reason", "words"),
    [
        pytest.param(None, "CredentialsMissing", ["spec.decryption.ageIdentitySecretRef", ANA.public_key, RUI.public_key], id="missing"),
        pytest.param(EVA.file, "IdentityRefused", [ANA.public_key, RUI.public_key], id="somebody else's"),
        pytest.param("", "IdentityInvalid", ["holds no identity"], id="empty"),
        pytest.param(ANA.public_key, "IdentityInvalid", ["line 1 is a public key, which opens nothing"], id="the public key"),
        pytest.param(ANA.file[:-20], "IdentityInvalid", ["line 3 is an identity that was cut or mistyped"], id="cut"),
    ],
)  # fmt: skip
def test_without_an_identity_that_opens_it_a_restore_ends_before_it_begins(
    place: Place, backup_id: str, identity: str | None, reason: str, words: list[str]
) -> None:
    place.postgres.drop_database(place.database)
    databases = place.databases()
    give(place, identity)
    told = restore(place)
    assert told[0] == reason
    assert all(word in told[1] for word in words), told[1]
    assert "AGE-SECRET-KEY-1" not in told[1].replace("begins with AGE-SECRET-KEY-1", "")
    assert place.databases() == databases


def test_one_of_several_identities_in_a_file_is_enough(place: Place, backup_id: str) -> None:
    give(place, f"# of us all\n\n{EVA.file}\n{RUI.file}")
    answer = typed(place, "verify", backup_id, "-f", place.policy())
    assert answer.stdout.startswith(f"{backup_id}: whole, ")


# ---- verify


def test_verify_without_an_identity_compares_the_bytes_and_says_that_it_looked_no_further(
    place: Place, backup_id: str
) -> None:
    answer = typed(place, "verify", "latest", "-f", place.policy())
    assert answer.returncode == 0
    assert f"{backup_id}: as it was written, " in answer.stdout
    assert "without an age identity nobody can look inside" in answer.stdout
    assert json.loads(read(place, f"verified/{backup_id}.json"))["ok"] is True


def test_verify_without_an_identity_finds_a_key_that_was_exchanged(place: Place, backup_id: str) -> None:
    write(place, object_key(backup_id, "key.age"), _to_ana(RUI.file))
    answer = typed(place, "verify", "latest", "-f", place.policy())
    assert "is not the key that backup" in answer.stderr
    assert json.loads(read(place, f"verified/{backup_id}.json"))["ok"] is False


def test_verify_with_somebody_elses_identity_says_nothing_about_the_backup(place: Place, backup_id: str) -> None:
    give(place, EVA.file)
    answer = typed(place, "verify", "latest", "-f", place.policy())
    assert (answer.returncode, "IdentityRefused" in answer.stderr) == (55, True)
    assert f"prod/verified/{backup_id}.json" not in place.object_keys()


# ---- damaged, or meddled with


def _flip(place: Place, backup_id: str) -> None:
    key = object_key(backup_id, "data/dump.zst.age")
    body = bytearray(read(place, key))
    body[len(body) // 2] ^= 1
    write(place, key, bytes(body))


def _cut(place: Place, backup_id: str) -> None:
    write(
        place,
        object_key(backup_id, "data/dump.zst.age"),
        read(place, object_key(backup_id, "data/dump.zst.age"))[:-1000],
    )


def _forged(edit: Callable[[bytes], bytes]) -> Callable[[Place, str], None]:
    """Edited by somebody who makes size, digests and the list of blocks fit."""

    def meddle(place: Place, backup_id: str) -> None:
        manifest = manifest_of(place, backup_id)
        objects = []
        for entry in manifest.objects:
            edited = entry
            if entry.key == "data/dump.zst.age":
                body = edit(read(place, object_key(backup_id, entry.key)))
                blocks = f"{hashlib.sha256(body).hexdigest()}\n".encode()
                write(place, object_key(backup_id, entry.key), body)
                write(place, object_key(backup_id, entry.blocks_key), blocks)
                edited = entry.model_copy(
                    update={
                        "bytes": len(body),
                        "sha256": hashlib.sha256(body).hexdigest(),
                        "blocks_sha256": hashlib.sha256(blocks).hexdigest(),
                    }
                )
            objects.append(edited)
        forge(place, manifest, objects=objects)

    return meddle


def _header_without_an_end(body: bytes) -> bytes:
    return b"age-encryption.org/v1\n-> X25519 " + b"A" * len(body)


def _key_edited(place: Place, backup_id: str) -> None:
    write(
        place,
        object_key(backup_id, "key.age"),
        pyrage.encrypt(b"x", [pyrage.x25519.Recipient.from_str(ANA.public_key)]),
    )


def _key_deleted(place: Place, backup_id: str) -> None:
    place.s3.root.delete_object(Bucket=place.bucket, Key=f"prod/{object_key(backup_id, 'key.age')}")


def _another_key(make: Callable[[], bytes]) -> Callable[[Place, str], None]:
    """In the place of key.age, and with a manifest to fit."""

    def meddle(place: Place, backup_id: str) -> None:
        sealed = make()
        write(place, object_key(backup_id, "key.age"), sealed)
        manifest = manifest_of(place, backup_id)
        assert manifest.encryption is not None
        entry = manifest.encryption.age.sealed_key.model_copy(
            update={"bytes": len(sealed), "sha256": hashlib.sha256(sealed).hexdigest()}
        )
        age = manifest.encryption.age.model_copy(update={"sealed_key": entry})
        forge(place, manifest, encryption=manifest.encryption.model_copy(update={"age": age}))

    return meddle


def _to_ana(text: str) -> bytes:
    return bytes(pyrage.encrypt(text.encode(), [pyrage.x25519.Recipient.from_str(ANA.public_key)], armored=True))


def _passphrase() -> bytes:
    """Work enough for a day, if somebody began to compute it."""
    sealed = bytes(pyrage.passphrase.encrypt(b"x", "guessed"))
    first, stanza, rest = sealed.split(b"\n", 2)
    return b"\n".join([first, stanza.rsplit(b" ", 1)[0] + b" 30", rest])


@pytest.mark.parametrize(
    ("meddle", "reason", "words"),
    [
        pytest.param(_flip, "ObjectCorrupt", "block 1 of 1", id="a byte flipped"),
        pytest.param(_cut, "ObjectCorrupt", "bytes", id="cut short"),
        pytest.param(_forged(lambda body: body[:-1000]), "ObjectCorrupt", "cannot be decrypted", id="cut short, with digests that fit"),
        pytest.param(_forged(lambda body: body[:-17] + bytes([body[-17] ^ 1]) + body[-16:]), "ObjectCorrupt", "cannot be decrypted",
                     id="a byte flipped, with digests that fit"),
        pytest.param(_forged(_header_without_an_end), "ObjectCorrupt", "does not begin as an age file", id="a header without an end"),
        pytest.param(_forged(lambda _: bytes(pyrage.encrypt(b"PGDMP", [pyrage.x25519.Identity.generate().to_public()]))), "ObjectCorrupt",
                     "cannot be decrypted", id="sealed to another key"),
        pytest.param(_key_edited, "ObjectCorrupt", "key.age", id="key.age edited"),
        pytest.param(_key_deleted, "ObjectMissing", "key.age", id="key.age deleted"),
        pytest.param(_another_key(lambda: _to_ana(RUI.file)), "ObjectCorrupt", "is the key of another backup", id="another backup's key"),
        pytest.param(_another_key(lambda: _to_ana("password")), "ObjectCorrupt", "is no identity", id="a key that is none"),
        pytest.param(_another_key(_passphrase), "IdentityRefused", ANA.public_key, id="a passphrase that takes a day"),
    ],
)  # fmt: skip
def test_what_was_meddled_with_ends_a_restore_before_anything_is_promoted(
    place: Place, backup_id: str, meddle: Callable[[Place, str], None], reason: str, words: str
) -> None:
    place.postgres.drop_database(place.database)
    databases = place.databases()
    meddle(place, backup_id)
    give(place, ANA.file)
    told = restore(place)
    assert told[0] == reason, told
    assert words in told[1], told[1]
    assert place.databases() == databases


# ---- keys


def test_keys_generate_makes_an_identity_that_only_its_owner_reads_and_never_overwrites(place: Place) -> None:
    path = place.folder / "offline.key"
    made = typed(place, "keys", "generate", str(path))
    assert made.returncode == 0, made.stderr
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    public_key = made.stdout.strip()
    assert (
        subprocess.run(["age-keygen", "-y", path], capture_output=True, text=True, check=True).stdout.strip()
        == public_key
    )
    before = path.read_text()
    again = typed(place, "keys", "generate", str(path))
    assert (again.returncode, "is never overwritten" in again.stderr, path.read_text()) == (2, True, before)


def test_keys_rewrap_gives_old_backups_to_a_new_recipient_and_takes_nothing(place: Place, backup_id: str) -> None:
    before = {key: place.s3.root.head_object(Bucket=place.bucket, Key=key)["ETag"] for key in place.backup_keys()}
    policy = place.policy(encryption=sealed_to(RUI, EVA))

    answer = typed(place, "keys", "rewrap", "all", "-f", policy)
    assert (answer.returncode, "CredentialsMissing" in answer.stderr) == (11, True)
    give(place, EVA.file)
    answer = typed(place, "keys", "rewrap", "all", "-f", policy)
    assert (answer.returncode, "IdentityRefused" in answer.stderr) == (55, True)
    assert set(place.backup_keys()) == set(before)

    give(place, ANA.file)
    answer = typed(place, "keys", "rewrap", backup_id, "-f", policy)
    assert answer.returncode == 0, answer.stderr
    assert f"{backup_id}: the policy's recipients can open it now" in answer.stdout
    assert "Whoever could open these backups still can" in answer.stdout
    added = set(place.backup_keys()) - set(before)
    assert sorted(key.rsplit(".", 1)[1] for key in added) == ["age", "json"]
    assert {key: place.s3.root.head_object(Bucket=place.bucket, Key=key)["ETag"] for key in before} == before

    assert typed(place, "keys", "rewrap", "all", "-f", policy).stdout == f"{backup_id}: nothing to do\n"
    for person in (EVA, RUI, ANA):
        give(place, person.file)
        assert ": whole, " in typed(place, "verify", "latest", "-f", policy).stdout
    give(place, Person().file)
    answer = typed(place, "verify", "latest", "-f", policy)
    assert all(person.public_key in answer.stderr for person in (ANA, RUI, EVA))


def test_an_added_key_of_somebody_elses_making_harms_nobody(place: Place, backup_id: str) -> None:
    folder = f"backups/{backup_id}/keys"
    write(place, f"{folder}/00.age", b"x" * 100_000)
    write(place, f"{folder}/00.json", b'{"formatVersion": 9}')
    write(place, f"{folder}/01.age", _passphrase())
    write(place, f"{folder}/01.json", b"{")
    give(place, ANA.file)
    assert ": whole, " in typed(place, "verify", "latest", "-f", place.policy()).stdout
    give(place, EVA.file)
    assert typed(place, "verify", "latest", "-f", place.policy()).returncode == 55


@pytest.mark.parametrize("meddle", [_key_deleted, _key_edited])
def test_a_backup_whose_first_key_is_lost_comes_back_by_one_that_was_added(
    place: Place, backup_id: str, meddle: Callable[[Place, str], None]
) -> None:
    give(place, ANA.file)
    assert typed(place, "keys", "rewrap", backup_id, "-f", place.policy(encryption=sealed_to(EVA))).returncode == 0
    meddle(place, backup_id)
    give(place, EVA.file)
    name = f"by-eva{meddle.__name__}".replace("_", "-")
    report, _, _ = place.run("restore", "-f", place.request(name, database=name), "-f", place.policy())
    assert report.reason == "Restored"
    # What is lost is lost, all the same: the recipients of old cannot open it, and verify says so.
    give(place, ANA.file)
    report = place.fail("restore", "-f", place.request("by-ana", database="by-ana"), "-f", place.policy())
    assert report.reason in {"ObjectMissing", "ObjectCorrupt"}
    give(place, EVA.file)
    assert "key.age" in typed(place, "verify", backup_id, "-f", place.policy()).stderr


# ---- a policy is tried


def test_check_names_recipients_that_were_mistyped_and_repeats_no_secret(place: Place) -> None:
    mistyped = ANA.public_key[:-1] + ("q" if ANA.public_key[-1] != "q" else "p")
    policy = place.policy(encryption={"age": {"recipients": [mistyped, RUI.public_key]}})
    report = place.fail("check", "-f", policy)
    assert report.reason == "RecipientInvalid"
    assert mistyped in report.message
    report = place.fail("backup", "-f", policy)
    assert report.reason == "RecipientInvalid"
    assert place.backup_keys() == []


def test_a_failed_backup_leaves_no_key(place: Place) -> None:
    policy = place.policy(encryption=sealed_to(ANA, RUI), source={"postgres": {
        "connection": {"host": "127.0.0.1", "port": place.postgres.port, "sslMode": "disable", "credentialsSecretRef": {"name": "mounted"}},
        "pgDump": {"database": "no such database"},
    }})  # fmt: skip
    assert place.fail("backup", "-f", policy).reason == "DatabaseNotFound"
    place.assert_nothing_is_left()
