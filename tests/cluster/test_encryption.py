"""Encrypted backups in a cluster: pods of backups hold no secret key, and the one restore that names an identity gets it."""

from __future__ import annotations

import pyrage
import pytest

from tests.fixtures.cluster import Document, condition, has_condition
from tests.fixtures.portal import Portal

IDENTITY, OFFLINE, STRANGER = (pyrage.x25519.Identity.generate() for _ in range(3))


def _secret(portal: Portal, name: str, identity: pyrage.x25519.Identity) -> Document:
    metadata = {"name": name, "namespace": portal.namespace}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"identity": f"{identity}\n"}}


def _policy(portal: Portal, *recipients: str) -> Document:
    return portal.policy(encryption={"age": {"recipients": list(recipients)}})


def _decryption(secret: str) -> Document:
    return {"ageIdentitySecretRef": {"name": secret}}


def test_a_backup_is_encrypted_and_brought_back_by_who_may(portal: Portal) -> None:
    cluster, namespace = portal.cluster, portal.namespace
    before = portal.rows("SELECT count(*), sum(valor), min(texto) FROM peticoes")

    # Given a policy with two recipients, and a backup of it
    cluster.apply(_policy(portal, str(IDENTITY.to_public()), str(OFFLINE.to_public())))
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

    # Only that pod and the stranger's were given an identity, and none of it is to be read anywhere
    given = {
        job["metadata"]["name"]
        for job in cluster.list("jobs", namespace)
        if "decryption/age-identity" in str(job["spec"]["template"]["spec"]["volumes"])
    }
    assert given == {"dr-restore", "stranger-restore"}
    told = cluster.kubectl("get", "bp,rr,jobs,pods,events", "-n", namespace, "-o", "yaml")
    assert "AGE-SECRET-KEY-" not in told


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
