"""Encrypted and signed backups in a cluster: which pods hold which secret key, and what ends without the right one."""

from __future__ import annotations

import pyrage
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.fixtures.cluster import Document, condition, has_condition
from tests.fixtures.portal import Portal

IDENTITY, OFFLINE, STRANGER = (pyrage.x25519.Identity.generate() for _ in range(3))
SIGNING_KEY, OTHER_KEY = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()


def _secret(portal: Portal, name: str, identity: pyrage.x25519.Identity) -> Document:
    metadata = {"name": name, "namespace": portal.namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"identity": f"{identity}\n"}}


def _policy(portal: Portal, *recipients: str, **spec: object) -> Document:
    return portal.policy(encryption={"age": {"recipients": list(recipients)}}, **spec)


def _pem(private: Ed25519PrivateKey) -> str:
    return private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()


def _public_pem(private: Ed25519PrivateKey) -> str:
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _decryption(secret: str) -> Document:
    return {"ageIdentitySecretRef": {"name": secret}}


def test_a_backup_is_encrypted_and_signed_and_brought_back_by_who_may(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    before = portal.rows("SELECT count(*), sum(valor), min(texto) FROM peticoes")

    # Given a policy with two recipients and a key for signatures, first one that it does not name, and a backup of it
    signing = {"keySecretRef": {"name": "signing"}, "publicKeys": [_public_pem(SIGNING_KEY)]}
    cluster.apply(portal.secret("signing", **{"signing-key": _pem(OTHER_KEY)}))
    cluster.apply(_policy(portal, str(IDENTITY.to_public()), str(OFFLINE.to_public()), signing=signing))
    refused = cluster.wait_for("bp", "portal", namespace, has_condition("Accepted", "False"), until="condition shows")
    assert condition(refused, "Accepted")["reason"] == "SigningKeyInvalid"
    cluster.apply(portal.secret("signing", **{"signing-key": _pem(SIGNING_KEY)}))
    policy = cluster.wait_for("bp", "portal", namespace, has_condition("Ready", "True"), until="condition shows")
    assert not policy["status"].get("warnings")
    portal.run_backup("by-hand")
    cluster.wait_for("bp", "portal", namespace, has_condition("BackedUp", "True"), until="backup done")
    assert any(key.endswith("/key.age") for key in portal.object_keys())
    assert any(key.endswith("/data/dump.zst.age") for key in portal.object_keys())

    # When somebody asks without an identity, or with another's, nothing begins
    portal.drop_database()
    cluster.apply(_secret(portal, "stranger", STRANGER), _secret(portal, "age-identity", IDENTITY))
    cluster.apply(portal.request("without"))
    refused = cluster.wait_for("rr", "without", namespace, has_condition("Succeeded", "False"), until="restore done")
    assert condition(refused, "Succeeded")["reason"] == "CredentialsMissing"
    cluster.apply(portal.request("stranger", decryption=_decryption("stranger")))
    refused = cluster.wait_for("rr", "stranger", namespace, has_condition("Succeeded", "False"), until="restore done")
    assert condition(refused, "Succeeded")["reason"] == "IdentityRefused"
    assert str(OFFLINE.to_public()) in condition(refused, "Succeeded")["message"]

    # And with the right one, the database is what it was
    cluster.apply(portal.request("dr", decryption=_decryption("age-identity")))
    done = cluster.wait_for("rr", "dr", namespace, has_condition("Succeeded", "True"), until="restore done")
    assert condition(done, "Succeeded")["reason"] == "Restored"
    assert portal.rows("SELECT count(*), sum(valor), min(texto) FROM peticoes") == before

    # And a backup whose signature is gone is none
    (signature,) = [key for key in portal.object_keys() if key.endswith("/manifest.json.sig")]
    portal.s3.delete_object(Bucket=portal.bucket, Key=signature)
    backup_id = signature.split("/")[-2]
    cluster.apply(portal.request("unsigned", recover={"backup": backup_id}, decryption=_decryption("age-identity")))
    refused = cluster.wait_for("rr", "unsigned", namespace, has_condition("Succeeded", "False"), until="restore done")
    assert condition(refused, "Succeeded")["reason"] == "SignatureRefused"

    # Only pods of restores that name it were given an identity, no others than those of backups and checks the key for
    # signatures, and none of them is to be read anywhere
    jobs = cluster.list("jobs", namespace)
    assert _given("decryption/age-identity", jobs) == {"dr-restore", "stranger-restore", "unsigned-restore"}
    signing_pods = _given("signing/key", jobs)
    assert {name.partition("-check-")[0] for name in signing_pods} == {"by-hand", "portal"}
    told = cluster.kubectl("get", "bp,rr,jobs,pods,events", "-n", namespace, "-o", "yaml")
    assert "AGE-SECRET-KEY-" not in told
    assert _pem(SIGNING_KEY).splitlines()[1] not in told


def _given(path: str, jobs: list[Document]) -> set[str]:
    return {job["metadata"]["name"] for job in jobs if path in str(job["spec"]["template"]["spec"]["volumes"])}


def test_one_recipient_is_warned_about_and_a_mistyped_one_is_not_accepted(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    cluster.apply(_policy(portal, str(IDENTITY.to_public())))
    policy = cluster.wait_for("bp", "portal", namespace, has_condition("Ready", "True"), until="condition shows")
    assert [warning["reason"] for warning in policy["status"]["warnings"]] == ["OneRecipient"]

    good = str(IDENTITY.to_public())
    mistyped = good[:-1] + ("q" if good[-1] != "q" else "p")
    cluster.apply(_policy(portal, mistyped))
    policy = cluster.wait_for("bp", "portal", namespace, has_condition("Accepted", "False"), until="condition shows")
    assert condition(policy, "Accepted")["reason"] == "RecipientInvalid"


@pytest.mark.parametrize(
    "secret", [str(STRANGER), str(STRANGER).lower(), "-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNz"]
)
def test_a_secret_key_in_a_policy_is_refused_and_not_repeated(portal: Portal, secret: str) -> None:
    with pytest.raises(AssertionError) as refused:
        portal.cluster.apply(_policy(portal, str(IDENTITY.to_public()), secret))
    assert "is a secret key, which belongs in no policy" in str(refused.value)
    assert secret[-20:] not in str(refused.value)
