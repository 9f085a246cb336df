"""Signed backups of a real database: there and back, and what becomes of those that are not believed."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from resguardo.api.manifest import Manifest
from resguardo.store.layout import backup_folder, manifest_key, signature_key
from tests.data.test_encryption import COUNT, ROWS, manifest_of, read, typed, write
from tests.fixtures.place import SECONDS, Place


class Signer:
    """Somebody with a key for signatures, made by openssl."""

    def __init__(self) -> None:
        self.private = _openssl("genpkey", "-algorithm", "ed25519")
        self.public = _openssl("pkey", "-pubout", stdin=self.private)


def _openssl(*arguments: str, stdin: str = "") -> str:
    return subprocess.run(["openssl", *arguments], input=stdin, text=True, capture_output=True, check=True).stdout


OURS, NEW, THIEF = Signer(), Signer(), Signer()


def believing(*signers: Signer, **more: Any) -> dict[str, Any]:
    return {"signing": {"keySecretRef": {"name": "mounted"}, "publicKeys": [one.public for one in signers], **more}}


def back_up(place: Place, signer: Signer | None, **changes: Any) -> str:
    """A backup's id; signed by one who believes himself, where the policy says nothing else."""
    if signer is not None:
        place.credentials(signing__key=signer.private)
        changes = believing(signer) | changes
    report, _, errors = place.run("backup", "-f", place.policy(**changes))
    assert report.backup is not None, errors
    return report.backup.id


def states(place: Place) -> dict[str, str]:
    """The STATE of each backup in the catalogue, as the policy in the folder has it."""
    answer = typed(place, "catalog", "-o", "json", "-f", str(place.folder / "policy.yaml"))
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    return {one["id"]: "good" for one in found["backups"]} | {one["id"]: one["problem"] for one in found["problems"]}


def policy(place: Place, *signers: Signer, **more: Any) -> None:
    """Leave a policy in the folder that believes these."""
    place.policy(**believing(*signers, **more))


def ask(place: Place, name: str, **spec: Any) -> tuple[str, str]:
    """How a restore ends that follows the policy in the folder and has these fields too."""
    request = Path(place.request(name))
    document = yaml.safe_load(request.read_text())
    document["spec"].update(spec)
    request.write_text(yaml.safe_dump(document))
    place.start("restore", "-f", str(request), "-f", str(place.folder / "policy.yaml")).communicate(timeout=SECONDS)
    report = place.report()
    return report.reason, report.message


# ---- there and back


def test_a_signed_backup_counts_and_comes_back(place: Place) -> None:
    backup_id = back_up(place, OURS)
    assert manifest_of(place, backup_id).place == f"{place.bucket}/prod"
    assert manifest_of(place, backup_id).signed_by in OURS.public.replace("\n", "")
    assert states(place) == {backup_id: "good"}
    place.postgres.drop_database(place.database)
    assert ask(place, "dr")[0] == "Restored"
    assert place.postgres.query(COUNT, database=place.database) == ROWS
    place.postgres.drop_database(place.database)
    from_store = {"from": {"store": {"s3": place._store()}}, "signing": {"publicKeys": [NEW.public, OURS.public]}}
    assert ask(place, "from-store", **from_store)[0] == "Restored"


def test_it_is_verified_by_hand_with_openssl(place: Place) -> None:
    """The commands of docs/tasks/signing.md."""
    backup_id = back_up(place, OURS)
    for key in (manifest_key(backup_id), signature_key(backup_id)):
        (place.folder / Path(key).name).write_bytes(read(place, key))
    (place.folder / "public.pem").write_text(OURS.public)
    command = "openssl pkeyutl -verify -pubin -inkey public.pem -rawin -in manifest.json -sigfile manifest.json.sig"
    verified = subprocess.run(command.split(), cwd=place.folder, capture_output=True, text=True, check=True)
    assert verified.stdout == "Signature Verified Successfully\n"


def test_a_backup_names_the_one_before_it_of_whichever_key(place: Place) -> None:
    first = back_up(place, OURS)
    second = back_up(place, NEW, **believing(NEW, OURS))
    assert manifest_of(place, first).previous_id is None
    assert manifest_of(place, second).previous_id == first
    assert states(place) == {first: "good", second: "good"}
    policy(place, NEW)
    assert states(place)[first].endswith("signing.allowUnsigned lets it count, and others like it")


def test_what_was_not_signed_before_counts_while_it_is_allowed(place: Place) -> None:
    old = back_up(place, None)
    new = back_up(place, OURS, **believing(OURS, allowUnsigned=True))
    assert states(place) == {old: "good", new: "good"}
    policy(place, OURS)
    assert "it is not signed" in states(place)[old]


def test_a_key_made_by_resguardo_is_one_for_openssl_and_is_never_overwritten(place: Place) -> None:
    made = typed(place, "keys", "generate-signing", str(place.folder / "signing.pem"))
    assert made.returncode == 0
    private = (place.folder / "signing.pem").read_text()
    assert _openssl("pkey", "-pubout", stdin=private) == made.stdout
    assert (place.folder / "signing.pem").stat().st_mode & 0o777 == 0o600
    again = typed(place, "keys", "generate-signing", str(place.folder / "signing.pem"))
    assert (again.returncode, "never overwritten" in again.stderr) == (2, True)
    assert (place.folder / "signing.pem").read_text() == private


# ---- keys that do not fit


@pytest.mark.parametrize(
    ("key", "reason", "words"),
    [
        pytest.param(None, "CredentialsMissing", "spec.signing.keySecretRef", id="none"),
        pytest.param(THIEF.private, "SigningKeyInvalid", "not among signing.publicKeys", id="another"),
        pytest.param(OURS.public, "SigningKeyInvalid", "is a public key, which signs nothing", id="the public key"),
    ],
)
def test_a_policy_whose_key_signs_nothing_that_counts_is_not_accepted_and_makes_no_backup(
    place: Place, key: str | None, reason: str, words: str
) -> None:
    if key is not None:
        place.credentials(signing__key=key)
    for command in ("check", "backup"):
        report = place.fail(command, "-f", place.policy(**believing(OURS)))
        assert (report.reason, words in report.message) == (reason, True), report.message
    assert place.backup_keys() == []


# ---- by somebody who may write in the bucket


def _unsigned(place: Place, backup_id: str) -> None:
    place.s3.root.delete_object(Bucket=place.bucket, Key=f"prod/{signature_key(backup_id)}")


def _by_the_thief(place: Place, backup_id: str) -> None:
    body = read(place, manifest_key(backup_id))
    (place.folder / "thief.pem").write_text(THIEF.private)
    (place.folder / "body").write_bytes(body)
    signed = subprocess.run(
        ["openssl", "pkeyutl", "-sign", "-inkey", place.folder / "thief.pem", "-rawin", "-in", place.folder / "body"],
        capture_output=True, check=True,
    ).stdout  # fmt: skip
    write(place, signature_key(backup_id), signed)


def _dump_exchanged(place: Place, backup_id: str) -> None:
    """With digests that fit."""
    manifest = manifest_of(place, backup_id)
    objects = []
    for entry in manifest.objects:
        body = read(place, f"{backup_folder(backup_id)}{entry.key}") + b"\0"
        blocks = f"{hashlib.sha256(body).hexdigest()}\n".encode()
        write(place, f"{backup_folder(backup_id)}{entry.key}", body)
        write(place, f"{backup_folder(backup_id)}{entry.blocks_key}", blocks)
        digests = {"sha256": hashlib.sha256(body).hexdigest(), "blocks_sha256": hashlib.sha256(blocks).hexdigest()}
        objects.append(entry.model_copy(update={"bytes": len(body), **digests}))
    write(place, manifest_key(backup_id), manifest.model_copy(update={"objects": objects}).to_json().encode())


def _large(place: Place, backup_id: str) -> None:
    write(place, signature_key(backup_id), read(place, signature_key(backup_id)) * 1000)


@pytest.mark.parametrize(
    ("meddle", "words"),
    [
        pytest.param(_unsigned, "it is not signed", id="the signature gone"),
        pytest.param(_large, "it is not signed", id="a signature of 64 kB"),
        pytest.param(_by_the_thief, "it does not fit its signature: it was changed", id="signed by another"),
        pytest.param(
            _dump_exchanged, "it does not fit its signature: it was changed", id="a dump with digests that fit"
        ),
    ],
)
def test_what_was_meddled_with_is_refused_before_anything_is_made(
    place: Place, meddle: Callable[[Place, str], None], words: str
) -> None:
    backup_id = back_up(place, OURS)
    meddle(place, backup_id)
    assert words in states(place)[backup_id]
    databases = place.databases()
    reason, message = ask(place, "that", recover={"backup": backup_id})
    assert (reason, words in message) == ("SignatureRefused", True), message
    assert place.databases() == databases


def test_what_is_refused_is_passed_over_not_counted_and_not_removed(place: Place) -> None:
    older, newest = back_up(place, OURS), back_up(place, OURS)
    _unsigned(place, newest)
    place.postgres.drop_database(place.database)
    assert ask(place, "latest")[0] == "Restored"
    assert place.report().backup.id == older  # type: ignore[union-attr]
    verified = typed(place, "verify", "all", "-f", str(place.folder / "policy.yaml"))
    assert f"{newest}: SignatureRefused: " in verified.stderr
    assert f"{older}: whole" in verified.stdout
    report, _, _ = place.run("retention", "-f", place.policy(retention={"daily": "1d"}, **believing(OURS)))
    assert report.inventory is not None
    assert report.inventory.backups == 1
    assert f"1 of them cannot be read or are not believed, the newest {newest}" in report.message
    assert f"prod/{manifest_key(newest)}" in place.object_keys()


def test_the_way_out_is_explicit(place: Place) -> None:
    backup_id = back_up(place, OURS)
    _unsigned(place, backup_id)
    place.postgres.drop_database(place.database)
    reason, message = ask(place, "dr")
    assert (reason, "it is not signed" in message) == ("BackupNotFound", True), message
    assert ask(place, "dr-all-the-same", signing={"allowUnsigned": True})[0] == "Restored"


def test_the_way_out_is_the_same_from_a_bucket_whose_policy_is_gone(place: Place) -> None:
    _unsigned(place, back_up(place, OURS))
    place.postgres.drop_database(place.database)
    bucket = {"from": {"store": {"s3": place._store()}}}
    assert ask(place, "dr", **bucket, signing={"publicKeys": [OURS.public]})[0] == "BackupNotFound"
    signing = {"publicKeys": [OURS.public], "allowUnsigned": True}
    assert ask(place, "dr-all-the-same", **bucket, signing=signing)[0] == "Restored"


def _copied(place: Place, backup_id: str, prefix: str) -> None:
    for key in place.backup_keys():
        if backup_id in key:
            source = {"Bucket": place.bucket, "Key": key}
            place.s3.root.copy_object(Bucket=place.bucket, Key=f"{prefix}/{key.partition('/')[2]}", CopySource=source)


def test_a_backup_of_another_prefix_is_refused_there_unless_its_place_is_named(place: Place) -> None:
    backup_id = back_up(place, OURS)
    _copied(place, backup_id, "homolog")
    place.prefix = "homolog"
    policy(place, OURS)
    assert f"it was made in {place.bucket}/prod, and copied here" in states(place)[backup_id]
    assert ask(place, "refused")[0] == "BackupNotFound"
    policy(place, OURS, copiedFrom=[f"{place.bucket}/prod"])
    assert states(place) == {backup_id: "good"}
    place.postgres.drop_database(place.database)
    assert ask(place, "allowed")[0] == "Restored"


def test_a_backup_of_the_same_name_elsewhere_does_not_fit_in(place: Place) -> None:
    """Of a bucket of the same name on another server: only the chain tells. Signed as such a one would be."""
    first = back_up(place, OURS)
    manifest = manifest_of(place, first)
    later = manifest.started_at.replace(year=manifest.started_at.year + 1)
    stranger = manifest.model_copy(
        update={"id": f"{later:%Y%m%dT%H%M%SZ}-0a0b0c", "started_at": later, "completed_at": later, "previous_id": None}
    )
    _copied_as(place, first, stranger)
    assert f"{first} was here when it started: it was made elsewhere" in states(place)[stranger.id]
    assert states(place)[first] == "good"


def _copied_as(place: Place, backup_id: str, manifest: Manifest) -> None:
    for key in place.backup_keys():
        source = {"Bucket": place.bucket, "Key": key}
        place.s3.root.copy_object(Bucket=place.bucket, Key=key.replace(backup_id, manifest.id), CopySource=source)
    (place.folder / "ours.pem").write_text(OURS.private)
    (place.folder / "body").write_text(manifest.to_json())
    command = ["openssl", "pkeyutl", "-sign", "-inkey", "ours.pem", "-rawin", "-in", "body"]
    signed = subprocess.run(
        command, cwd=place.folder, capture_output=True, check=True, env={"PATH": os.environ["PATH"]}
    ).stdout
    write(place, manifest_key(manifest.id), manifest.to_json().encode())
    write(place, signature_key(manifest.id), signed)
