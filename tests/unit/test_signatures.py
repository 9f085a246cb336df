"""Keys for signatures: which are taken, what is said about others, and what a signature proves."""

from __future__ import annotations

import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest

from resguardo.api.errors import SigningKeyInvalid
from resguardo.api.manifest import CensusSummary, Manifest, SourceIdentity, Trigger
from resguardo.store.signatures import (
    ANYBODY,
    SigningKey,
    Trust,
    find_distrust,
    parse_signing_key,
    require_believed,
    trust,
)
from tests.fixtures.specs import SIGNER

NOW = datetime(2026, 11, 23, 5, tzinfo=UTC)
PLACE = "agepar-backups/prod"


def openssl(*arguments: str, stdin: bytes = b"") -> bytes:
    return subprocess.run(["openssl", *arguments], input=stdin, capture_output=True, check=True).stdout


def a_key(*more: str, algorithm: str = "ed25519") -> bytes:
    return openssl("genpkey", "-algorithm", algorithm, *more)


def public(private: bytes) -> str:
    return openssl("pkey", "-pubout", stdin=private).decode()


PEM, OTHER_PEM = a_key(), a_key()
KEY, OTHER = (parse_signing_key(pem, origin="it") for pem in (PEM, OTHER_PEM))
BELIEVED = trust([public(PEM)])


def manifest(*, place: str = PLACE, signed_by: SigningKey | None = KEY) -> Manifest:
    return Manifest(
        id="20261123T050000Z-3f9a1c", owner="c/agepar/portal-prod", epoch=1, place=place,
        signed_by=signed_by.public if signed_by else None,
        source=SourceIdentity(system_identifier="7", database="agepar", server_version_num=150000),
        trigger=Trigger.SCHEDULED, started_at=NOW, completed_at=NOW, snapshot_at=NOW, snapshot_lsn="0/1", tools={},
        objects=[], bytes=0, census=CensusSummary(tables=0, tables_counted=0, rows=0, database_bytes=0),
    )  # fmt: skip


def test_a_key_of_openssl_is_taken_and_its_public_key_is_the_one_that_openssl_prints() -> None:
    require_believed(KEY, BELIEVED)
    assert KEY.public in public(PEM)
    assert repr(KEY) == "SigningKey()"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        pytest.param(b"", "it is no key", id="empty"),
        pytest.param(b"hunter2", "it is no key", id="a word"),
        pytest.param(SIGNER.encode(), "it is a public key, which signs nothing", id="a public key"),
        pytest.param(PEM[:60], "or was cut", id="cut before its end"),
        pytest.param(PEM.replace(b"MC4C", b"MC4D"), "it is no private key in PEM", id="edited"),
        pytest.param(a_key("-pkeyopt", "ec_paramgen_curve:P-256", algorithm="EC"), "it is a key of another type", id="ECDSA"),
        pytest.param(a_key("-aes-256-cbc", "-pass", "pass:hunter2"), "it is under a passphrase", id="a passphrase"),
        pytest.param(b"-----BEGIN OPENSSH PRIVATE KEY-----\nhunter2\n-----END OPENSSH PRIVATE KEY-----\n",
                     "a key of ssh-keygen's is none", id="SSH"),
        pytest.param(b"x" * 20_000, "it is larger than any key", id="large"),
    ],
)  # fmt: skip
def test_what_is_no_key_is_refused_and_not_repeated(content: bytes, words: str) -> None:
    with pytest.raises(SigningKeyInvalid) as refused:
        parse_signing_key(content, origin="it")
    assert words in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_a_key_that_nobody_believes_is_refused_before_it_signs() -> None:
    with pytest.raises(SigningKeyInvalid, match=r"not among signing\.publicKeys"):
        require_believed(OTHER, BELIEVED)


def test_openssl_verifies_what_was_signed(tmp_path: Path) -> None:
    body = manifest().to_json().encode()
    for name, content in (("manifest.json", body), ("sig", KEY.sign(body)), ("public.pem", public(PEM).encode())):
        (tmp_path / name).write_bytes(content)
    answer = openssl(
        "pkeyutl", "-verify", "-pubin", "-inkey", str(tmp_path / "public.pem"), "-rawin",
        "-in", str(tmp_path / "manifest.json"), "-sigfile", str(tmp_path / "sig"),
    )  # fmt: skip
    assert b"Verified Successfully" in answer


def _signed(made: Manifest, key: SigningKey = KEY) -> tuple[Manifest, bytes, bytes]:
    body = made.to_json().encode()
    return made, body, key.sign(body)


@pytest.mark.parametrize(
    ("trusted", "signed", "words"),
    [
        pytest.param(BELIEVED, _signed(manifest()), None, id="as it should be"),
        pytest.param(trust([public(OTHER_PEM), public(PEM)]), _signed(manifest()), None, id="by one of two"),
        pytest.param(trust([public(PEM)], copied_from=["old/prod"]), _signed(manifest(place="old/prod")), None, id="copied from where it may"),
        pytest.param(BELIEVED, (*_signed(manifest())[:2], None), "it is not signed", id="no signature"),
        pytest.param(BELIEVED, (*_signed(manifest())[:2], b""), "it was changed", id="an empty one"),
        pytest.param(BELIEVED, (*_signed(manifest())[:2], bytes(64)), "it was changed", id="zeros"),
        pytest.param(BELIEVED, (manifest(), manifest().to_json().encode() + b" ", KEY.sign(manifest().to_json().encode())),
                     "it was changed", id="one byte more"),
        pytest.param(BELIEVED, _signed(manifest(signed_by=OTHER), OTHER), f"({OTHER.public})", id="by another"),
        pytest.param(BELIEVED, _signed(manifest(signed_by=None), OTHER), "it does not say which", id="by another, who does not tell"),
        pytest.param(BELIEVED, _signed(manifest(), OTHER), "it was changed", id="by another, who pretends"),
        pytest.param(BELIEVED, _signed(manifest(place="agepar-backups/homolog")), "it was made in agepar-backups/homolog", id="of another prefix"),
        pytest.param(BELIEVED, _signed(manifest(place="")), "a place that it does not tell", id="of nowhere"),
    ],
)  # fmt: skip
def test_what_is_believed(trusted: Trust, signed: tuple[Manifest, bytes, bytes | None], words: str | None) -> None:
    made, body, signature = signed
    found = find_distrust(trusted, made, body, signature, place=PLACE)
    assert found is None if words is None else words in (found or "")


def test_who_names_no_key_asks_for_no_signature() -> None:
    assert not ANYBODY.asks
    assert BELIEVED.asks
