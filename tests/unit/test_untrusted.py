"""An untrusted bucket: whatever stands in it, readers give what it says or an error of ours, and nothing speaks to a terminal."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import tracemalloc
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pyrage
import pytest
import yaml
import zstandard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from resguardo.api.backup_id import new_backup_id, parse_start
from resguardo.api.census import Census, DatabaseProperties, DatabaseSetting, Extension, Role, TableRows
from resguardo.api.documents import read_documents
from resguardo.api.errors import ManifestInvalid, ResguardoError
from resguardo.api.manifest import Manifest
from resguardo.api.policy import BackupPolicy
from resguardo.api.request import Recover
from resguardo.jobs.catalog import catalogue_document, print_catalogue
from resguardo.jobs.former import find_oddities, read_former
from resguardo.jobs.retention_tables import print_survey, survey_document
from resguardo.jobs.survey import look
from resguardo.jobs.terminal import to_json, to_yaml
from resguardo.rules.selection import choose
from resguardo.store.backup_key import BackupKey, open_key, recipients_of
from resguardo.store.catalogue import CENSUS_MAX_BYTES, list_backups, read_attempt, read_census, read_manifest
from resguardo.store.layout import (
    ACCEPTED_PLAN_KEY,
    OWNER_KEY,
    added_keys_folder,
    attempt_key,
    decision_key,
    manifest_key,
    marker_key,
    object_key,
    pin_key,
    rows_key,
    signature_key,
    verified_key,
)
from resguardo.store.marks import accepted_plan, read_verifications
from resguardo.store.ownership import claim, read_owner
from resguardo.store.rows import read_rows
from resguardo.store.signatures import ANYBODY, SigningKey, Trust
from resguardo.store.trash import read_trash, read_trashed
from tests.fixtures.specs import POLICY
from tests.unit.hostile import MESSAGE_MAX, NOW, Shelf, assert_speaks_to_people_only, damaged, keep

ID = "20261123T050000Z-3f9a1c"
OTHER = "20261122T050000Z-aaaaaa"
AT = "2026-11-23T05:00:00Z"
NONCE = "0123456789abcdef"
IDENTITY = pyrage.x25519.Identity.generate()
SIGNING = SigningKey(Ed25519PrivateKey.generate())
TRUSTED = Trust({SIGNING.public: SIGNING.private.public_key()})


def manifest_of(backup_id: str = ID) -> dict[str, Any]:
    """One in which everything stands that may."""
    sha256 = "0" * 64
    entry = {
        "bytes": 1000, "plainBytes": 5000, "sha256": sha256, "compression": "zstd",
        "blocksSha256": sha256, "blockBytes": 8388608, "storageClass": "STANDARD_IA",
    }  # fmt: skip
    started_at = f"{parse_start(backup_id):%Y-%m-%dT%H:%M:%SZ}"
    return {
        "formatVersion": 1, "id": backup_id, "previousId": OTHER, "owner": "c/agepar/portal", "epoch": 1,
        "policyUid": "u", "policyGeneration": 3, "policyHash": "h",
        "promise": {
            "schedule": "0 2 * * *", "timeZone": "America/Sao_Paulo", "timeout": "6h",
            "retention": {"daily": "30d", "weekly": "3mo", "minimum": 3},
        },
        "source": {"systemIdentifier": "7", "database": "agepar", "serverVersionNum": 150018},
        "method": "pgDump", "trigger": "Scheduled", "jobName": "portal-backup-1", "tiers": ["daily"],
        "dependsOn": [OTHER], "oddities": [{"oddness": "Shrank", "message": "from 2 to 1"}],
        "startedAt": started_at, "completedAt": started_at, "snapshotAt": started_at, "snapshotLsn": "0/1",
        "tools": {"pg_dump": "pg_dump (PostgreSQL) 15.14"},
        "objects": [
            {"role": "Dump", "key": "data/dump.zst", "blocksKey": "data/dump.zst.blocks", **entry},
            {"role": "Census", "key": "census.json.zst", "blocksKey": "census.json.zst.blocks", **entry},
        ],
        "encryption": {"age": {
            "recipient": "age1" + "q" * 58, "recipients": [str(IDENTITY.to_public())],
            "sealedKey": {"key": "key.age", "bytes": 10, "sha256": sha256},
        }},
        "bytes": 2000, "census": {"tables": 2, "tablesCounted": 2, "rows": 10, "databaseBytes": 8000000},
    }  # fmt: skip


CENSUS = Census(
    server_version_num=150018, system_identifier="7", taken_at=datetime(2026, 11, 23, tzinfo=UTC), lsn="0/1",
    database=DatabaseProperties(
        name="agepar", encoding="UTF8", locale_provider="c", collate="C", ctype="C", owner="o", acl=["o=CTc/o"],
        settings=[DatabaseSetting(role="o", name="work_mem", value="1MB")], size_bytes=1,
    ),
    roles=[Role(name="o", member_of=["p"])], extensions=[Extension(name="citext", version="1", schema_name="public")],
    tablespaces=["fast"], schema_fingerprint="f",
    tables=[TableRows(schema_name="public", name="a", rows=5000, root_oid=7)], large_objects=1,
)  # fmt: skip
ATTEMPT = {
    "id": OTHER, "trigger": "Scheduled", "jobName": "portal-backup-1", "startedAt": AT, "endedAt": AT,
    "reason": "DumpFailed", "message": "no",
}  # fmt: skip
MARKER = {"formatVersion": 1, "id": ID, "nonce": NONCE, "markedAt": AT, "graceSeconds": 90000, "reasons": ["too old"]}
OWNER = {"formatVersion": 1, "owner": "c/agepar/portal", "epoch": 3, "claimedAt": AT}
VERIFICATION = {"formatVersion": 1, "at": AT, "ok": True, "message": "x"}
ROWS = {"formatVersion": 1, "tables": [[7, 5000], [8, None]]}
ADDED = {"formatVersion": 1, "at": AT, "recipients": [str(IDENTITY.to_public())]}


def tell(shelf: Shelf, trusted: Trust = ANYBODY) -> str:
    """All that can be seen of a bucket: every table, document and error, as a terminal gets it."""
    out = io.StringIO()
    console = Console(file=out, force_terminal=False, width=200)
    policy = read_documents(
        yaml.safe_dump(POLICY | {"spec": POLICY["spec"] | {"retention": {"daily": "3d"}}}), origin=""
    )[0]
    assert isinstance(policy, BackupPolicy)
    seen = look(shelf, None, trusted, now=NOW)
    for wide in (False, True):
        print_catalogue(seen, console, wide=wide)
    print_survey(seen, console)
    for document in (catalogue_document(seen), survey_document(seen)):
        out.write(to_json(document) + "\n" + to_yaml(document) + "\n")
        json.loads(to_json(document))
    entries = list_backups(shelf, trusted)
    manifests = [entry.manifest for entry in entries if entry.manifest]
    for manifest in manifests:
        document = json.loads(manifest.to_json())
        out.write(to_json(document) + "\n" + to_yaml(document) + "\n")
        recipients_of(shelf, manifest)
    former = read_former(shelf, trusted)
    if manifests:
        made = manifests[-1].model_copy(update={"id": "20261126T050000Z-3f9a1c"})
        find_oddities(shelf, made, CENSUS, former, policy)
    for wanted in (Recover(), Recover(before=datetime(2026, 11, 1, tzinfo=UTC)), Recover(backup=ID)):
        with suppress(ResguardoError):
            choose(
                manifests, wanted, doubtful=former.doubtful,
                unusable={entry.id: entry.problem for entry in entries if entry.problem},
            )  # fmt: skip
    for entry in entries:
        if entry.problem is not None:
            assert len(str(entry.problem)) < MESSAGE_MAX
    return out.getvalue()


def by_place(document: Mapping[str, Any]) -> list[Any]:
    """What damaged() gives, by the place of the damage."""
    found: dict[str, dict[str, bytes]] = defaultdict(dict)
    for name, body in damaged(document):
        place, _, how = name.partition(": ")
        found[place][how] = body
    return [pytest.param(bodies, id=place) for place, bodies in found.items()]


@pytest.mark.parametrize("bodies", by_place(manifest_of()))
def test_a_bucket_of_hostile_manifests(bodies: dict[str, bytes]) -> None:
    """Of somebody who has the key that signs, so that nothing ends before it is read."""
    shelf = Shelf()
    for (backup_id, started_at), body in zip(hostile_ids(len(bodies)), bodies.values(), strict=True):
        changed = body.replace(ID.encode(), backup_id.encode()).replace(AT.encode(), started_at.encode())
        shelf.objects[manifest_key(backup_id)] = changed
    shelf.objects[manifest_key(ID)] = json.dumps(manifest_of()).encode()
    for key, body in list(shelf.objects.items()):
        shelf.objects[signature_key(key.split("/")[1])] = SIGNING.sign(body)
    assert_speaks_to_people_only(tell(shelf, TRUSTED))


SMALL: dict[str, tuple[Mapping[str, Any], str]] = {
    "attempt": (ATTEMPT, attempt_key(OTHER)),
    "marker": (MARKER, marker_key(ID)),
    "decision": ({"formatVersion": 1, "decision": "Purge"}, decision_key(ID, NONCE)),
    "verification": (VERIFICATION, verified_key(ID)),
    "accepted plan": ({"formatVersion": 1, "at": AT, "hash": NONCE}, ACCEPTED_PLAN_KEY),
    "pin": ({"formatVersion": 1, "at": AT}, pin_key(ID)),
    "rows": (ROWS, rows_key(ID)),
    "added recipients": (ADDED, added_keys_folder(ID) + "0123.json"),
    "owner": (OWNER, OWNER_KEY),
}


def hostile_ids(count: int) -> list[tuple[str, str]]:
    """So many backups' ids, and each one's start."""
    starts = [datetime(2026, 10, 1, tzinfo=UTC) + timedelta(minutes=number) for number in range(count)]
    return [(new_backup_id(start, "abcdef"), f"{start:%Y-%m-%dT%H:%M:%SZ}") for start in starts]


@pytest.mark.parametrize("kind", [kind for kind, (_, key) in SMALL.items() if ID in key or OTHER in key])
def test_a_bucket_in_which_all_of_a_kind_are_hostile(kind: str) -> None:
    """Of each backup one; what exists once in a bucket is the next test's."""
    good, key = SMALL[kind]
    bodies = dict(damaged(good))
    shelf = Shelf()
    for (backup_id, started_at), body in zip(hostile_ids(len(bodies)), bodies.values(), strict=True):
        its_own = body
        for before, after in ((ID, backup_id), (OTHER, backup_id), (AT, started_at)):
            its_own = its_own.replace(before.encode(), after.encode())
        if kind != "attempt":
            shelf.objects[manifest_key(backup_id)] = json.dumps(manifest_of(backup_id)).encode()
        if kind == "decision":
            shelf.objects[marker_key(backup_id)] = json.dumps(MARKER).replace(ID, backup_id).encode()
        shelf.objects[key.replace(ID, backup_id).replace(OTHER, backup_id)] = its_own
    assert_speaks_to_people_only(tell(shelf))


@pytest.mark.parametrize("kind", SMALL)
def test_every_small_object_is_read_or_refused(kind: str) -> None:
    good, key = SMALL[kind]
    for how, body in damaged(good):
        shelf = Shelf({key: body})
        if kind == "decision":
            shelf.objects[marker_key(ID)] = json.dumps(MARKER).encode()
        for read in readers(shelf):
            keep(read, how)


MANIFEST = Manifest.model_validate(manifest_of())


def readers(shelf: Shelf) -> Iterator[Callable[[], object]]:
    yield lambda: read_manifest(shelf, ID)
    yield lambda: read_attempt(shelf, OTHER)
    yield lambda: read_trashed(shelf, ID)
    yield lambda: read_trash(shelf)
    yield lambda: read_owner(shelf, "c/agepar/portal")
    yield lambda: claim(Shelf(dict(shelf.objects)), "c/agepar/other", take_over_from="c/agepar/portal@3", now=NOW)
    yield lambda: read_verifications(shelf)
    yield lambda: accepted_plan(shelf)
    yield lambda: read_rows(shelf, ID)
    yield lambda: recipients_of(shelf, MANIFEST)
    yield lambda: open_key(shelf, MANIFEST, [IDENTITY])


KEYS = [object_key(ID, "key.age"), signature_key(ID), manifest_key(ID), *(key for _, key in SMALL.values())]


@given(body=st.binary(max_size=300) | st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_bytes_in_every_place(body: bytes) -> None:
    shelf = Shelf(dict.fromkeys(KEYS, body))
    for read in readers(shelf):
        keep(read, repr(body))
    for trusted in (ANYBODY, TRUSTED):
        assert_speaks_to_people_only(tell(shelf, trusted))


def stored(shelf: Shelf, body: bytes) -> Manifest:
    """A manifest whose census is this, as it is, or compressed by whoever made it."""
    manifest = manifest_of()
    del manifest["encryption"]
    entry = manifest["objects"][1]
    sha256 = hashlib.sha256(body).hexdigest()
    blocks = f"{sha256}\n".encode()
    shelf.objects[object_key(ID, entry["key"])] = body
    shelf.objects[object_key(ID, entry["blocksKey"])] = blocks
    entry |= {"bytes": len(body), "sha256": sha256, "blocksSha256": hashlib.sha256(blocks).hexdigest()}
    return Manifest.model_validate(manifest)


def with_census(shelf: Shelf, text: bytes) -> Manifest:
    manifest = stored(shelf, zstandard.compress(text))
    dump, census = manifest.objects
    return manifest.model_copy(update={"objects": [dump, census.model_copy(update={"plain_bytes": len(text)})]})


def test_every_census_is_read_or_refused() -> None:
    for how, body in damaged(json.loads(CENSUS.to_json())):
        shelf = Shelf()
        manifest = with_census(shelf, body)
        keep(partial(read_census, shelf, manifest), how)


@pytest.mark.parametrize("piece", [b"[],", b"{},", b'{"schemaName":"s","name":"a"},', b"1,"])
def test_a_census_of_six_kilobytes_does_not_fill_the_memory(piece: bytes) -> None:
    """22 million empty lists took 1.6 GiB as objects, and were then told to be no census."""
    text = b'{"tables":[' + piece * ((CENSUS_MAX_BYTES - 20) // len(piece)) + b"{}]}"
    shelf = Shelf()
    manifest = with_census(shelf, text)
    assert manifest.objects[1].bytes < 10_000
    del text
    tracemalloc.start()
    try:
        with pytest.raises(ManifestInvalid, match="4,000,000 values"):
            read_census(shelf, manifest)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 200 * 1024 * 1024


@given(body=st.binary(max_size=300))
def test_any_bytes_for_a_census(body: bytes) -> None:
    shelf = Shelf()
    keep(partial(read_census, shelf, stored(shelf, body)), repr(body))
    keep(partial(read_census, shelf, with_census(shelf, body)), repr(body))


@given(
    blocks=st.binary(max_size=200) | st.text("0123456789abcdef\n", min_size=65, max_size=65).map(str.encode),
    data=st.data(),
)
def test_any_bytes_for_a_list_of_blocks(blocks: bytes, data: st.DataObject) -> None:
    """With a manifest that vouches for it: whoever writes the one writes the other."""
    shelf = Shelf()
    manifest = with_census(shelf, b"{}")
    entry = manifest.objects[1]
    shelf.objects[object_key(ID, entry.blocks_key)] = blocks
    changed = entry.model_copy(
        update={
            "blocks_sha256": hashlib.sha256(blocks).hexdigest(),
            "block_bytes": data.draw(st.sampled_from([1, 2**20, 2**26])),
            "bytes": data.draw(st.sampled_from([0, 1, entry.bytes, 2**40])),
        }
    )
    manifest = manifest.model_copy(update={"objects": [changed]})
    keep(partial(read_census, shelf, manifest), repr(blocks))


# ---- keys


def sealed_to_us(text: bytes) -> tuple[Shelf, Manifest]:
    """The key of a backup, as somebody writes it who knows the recipients: everybody."""
    sealed = pyrage.encrypt(text, [IDENTITY.to_public()], armored=True)
    return with_key(bytes(sealed))


def with_key(sealed: bytes) -> tuple[Shelf, Manifest]:
    manifest = manifest_of()
    manifest["encryption"]["age"]["sealedKey"] |= {"sha256": hashlib.sha256(sealed).hexdigest()}
    return Shelf({object_key(ID, "key.age"): sealed}), Manifest.model_validate(manifest)


GOOD_KEY = BackupKey().seal(ID, [str(IDENTITY.to_public())])
SSH_BEGIN, SSH_END = b"-----BEGIN OPENSSH PRIVATE KEY-----\n", b"\n-----END OPENSSH PRIVATE KEY-----\n"
SCRYPT = (
    b"age-encryption.org/v1\n-> scrypt bBjlhJVYZeE4aqUdmtRHfw 30\nZV/AhotwSGqaPCU43cepl4WYUouAa17a3xpu4G2yi5k\n--- "
)


@pytest.mark.parametrize(
    "sealed",
    [
        pytest.param(SCRYPT + b"x" * 60, id="a passphrase that takes a gigabyte to try"),
        pytest.param(b"age-encryption.org/v1\n" + b"-> X25519 " + b"A" * 60_000, id="a stanza without an end"),
        pytest.param(b"age-encryption.org/v1\n" + b"-> a\n\n" * 10_000 + b"--- ", id="ten thousand stanzas"),
        pytest.param(
            b"-----BEGIN AGE ENCRYPTED FILE-----\n"
            + base64.encodebytes(b"age-encryption.org/v1\n" + b"-> a\n\n" * 7000 + b"--- ")
            + b"-----END AGE ENCRYPTED FILE-----\n",
            id="seven thousand, in armour",
        ),
        pytest.param(b"-----BEGIN AGE ENCRYPTED FILE-----\n" + b"A" * 60_000, id="armour without an end"),
        pytest.param(GOOD_KEY[:-40], id="cut short"),
        pytest.param(GOOD_KEY * 2, id="twice"),
    ],
)
def test_a_hostile_key_is_refused(sealed: bytes) -> None:
    with pytest.raises(ResguardoError):
        open_key(*with_key(sealed), [IDENTITY])


@given(
    text=st.binary(max_size=300)
    | st.binary(max_size=300).map(lambda some: SSH_BEGIN + base64.b64encode(b"openssh-key-v1\0" + some) + SSH_END)
    | st.text(max_size=100).map(lambda some: f"AGE-SECRET-KEY-1{some}".encode("utf-8", "surrogatepass"))
)
def test_whatever_was_sealed_to_us_is_no_key_of_this_backup(text: bytes) -> None:
    keep(lambda: open_key(*sealed_to_us(text), [IDENTITY]), repr(text))


@given(start=st.integers(0, len(GOOD_KEY)), put=st.binary(max_size=40))
def test_a_key_that_was_changed_anywhere(start: int, put: bytes) -> None:
    changed = GOOD_KEY[:start] + put + GOOD_KEY[start + len(put) :]
    keep(lambda: open_key(*with_key(changed), [IDENTITY]), repr(changed))
