"""Everyday bad input: each has a clear end, in the condition, in words that say what is wrong and where."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from tests.fixtures.cluster import condition, has_condition
from tests.fixtures.portal import Portal


@dataclass(frozen=True)
class Mistake:
    """What is wrong with a policy, and the condition that tells."""

    name: str
    policy: Callable[[Portal], dict[str, Any]]
    reason: str
    words: list[str]
    prepare: Callable[[Portal], None] = lambda _portal: None


def _without_right(portal: Portal) -> None:
    role = portal.role.replace('"', '""')
    portal.execute(f'REVOKE pg_read_all_data FROM "{role}"', f'GRANT SELECT ON peticoes, resumo TO "{role}"')


MISTAKES = [
    Mistake("a wrong host", lambda p: p.policy(connection={"host": "nowhere.invalid"}), "DatabaseUnreachable", ["nowhere.invalid"]),
    Mistake("a wrong port", lambda p: p.policy(connection={"port": 5999}), "DatabaseUnreachable", ["5999"]),
    Mistake(
        "a wrong database",
        lambda p: p.policy(source={"postgres": {"connection": p.connection("db-backup"), "pgDump": {"database": "no such"}}}),
        "DatabaseNotFound", ["no such"],
    ),
    Mistake(
        "a wrong password", Portal.policy, "AuthenticationFailed", ["cópia"],
        lambda p: p.cluster.apply(p.secret("db-backup", username=p.role, password="wrong")),
    ),
    Mistake("a certificate that nobody vouches for", lambda p: p.policy(connection={"sslMode": "verify-full"}), "TlsFailed", ["verify-full"]),
    Mistake("no right on one table", Portal.policy, "PermissionDenied", ['decisão "', "nº 7"], _without_right),
    Mistake("a bucket that is missing", lambda p: p.policy(store={"bucket": "no-such-bucket"}), "BucketNotFound", ["no-such-bucket"]),
    Mistake(
        "a store that does not encrypt", lambda p: p.policy(store={"sse": {"type": "aws:kms", "kmsKeyId": "portal"}}), "EncryptionNotHonoured",
        ["says nothing of encryption, and aws:kms was asked for"],
    ),
    Mistake(
        "wrong keys", Portal.policy, "StoreAccessDenied", [],
        lambda p: p.cluster.apply(p.secret("backups", AWS_ACCESS_KEY_ID="nobody", AWS_SECRET_ACCESS_KEY="wrong")),
    ),
    Mistake("a time zone that is none", lambda p: p.policy(timeZone="America/Curitiba"), "DocumentInvalid", ["America/Curitiba"]),
]  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES, ids=lambda mistake: mistake.name)
def test_a_policy_with_a_mistake_says_so_and_its_cronjob_stays_suspended(portal: Portal, mistake: Mistake) -> None:
    mistake.prepare(portal)
    portal.cluster.apply(mistake.policy(portal))
    policy = portal.cluster.wait_for(
        "bp", "portal", portal.namespace, has_condition("Accepted", "False", mistake.reason), until="condition shows"
    )
    accepted = condition(policy, "Accepted")
    assert all(word in accepted["message"] for word in mistake.words)
    assert (condition(policy, "Ready")["status"], condition(policy, "Ready")["reason"]) == ("False", mistake.reason)
    cronjob = portal.cluster.get("cronjob", "portal-backup", portal.namespace)
    assert cronjob is None or cronjob["spec"]["suspend"]


def test_a_missing_secret_is_named_and_the_policy_heals_when_it_is_made(portal: Portal) -> None:
    portal.cluster.kubectl("delete", "secret", "db-backup", "-n", portal.namespace)
    portal.cluster.apply(portal.policy())
    policy = portal.cluster.wait_for(
        "bp", "portal", portal.namespace, has_condition("Accepted", "False"), until="condition shows"
    )
    assert "db-backup" in condition(policy, "Accepted")["message"]
    portal.cluster.apply(portal.backup_secret())
    portal.cluster.wait_for("bp", "portal", portal.namespace, has_condition("Ready", "True"), until="restore done")


@pytest.fixture
def backed_up(portal: Portal) -> Portal:
    portal.cluster.apply(portal.policy())
    portal.cluster.wait_for("bp", "portal", portal.namespace, has_condition("Ready", "True"), until="condition shows")
    portal.run_backup("by-hand")
    portal.cluster.wait_for("bp", "portal", portal.namespace, has_condition("BackedUp", "True"), until="backup done")
    return portal


def test_a_second_policy_on_the_same_prefix_restores_from_it_and_takes_it_over_when_told(backed_up: Portal) -> None:
    cluster, namespace = backed_up.cluster, backed_up.namespace
    before = backed_up.rows("SELECT count(*), sum(valor), min(texto) FROM peticoes")
    backed_up.policy_name = "other"
    cluster.apply(backed_up.policy())
    refused = cluster.wait_for("bp", "other", namespace, has_condition("Accepted", "False"), until="condition shows")
    accepted = condition(refused, "Accepted")
    assert accepted["reason"] == "PrefixOwned"

    # What it does not own it reads
    backed_up.drop_database()
    cluster.apply(backed_up.request("dr"))
    done = cluster.wait_for("rr", "dr", namespace, has_condition("Succeeded", "True"), until="restore done")
    assert condition(done, "Succeeded")["reason"] == "Restored"
    assert backed_up.rows("SELECT count(*), sum(valor), min(texto) FROM peticoes") == before

    # And writes once it is told, by the words of the message
    words = next(word for word in accepted["message"].split() if word.rstrip(".;,'\"").endswith("/portal@1"))
    told = f"resguardo.dev/take-over-from={words.strip(chr(39) + chr(34) + '.;,')}"
    cluster.kubectl("annotate", "bp", "other", "-n", namespace, told)
    taken = cluster.wait_for("bp", "other", namespace, has_condition("Accepted", "True"), until="condition shows")
    assert taken["status"]["inventory"]["backups"] == 1


def _truncate(portal: Portal, key: str) -> None:
    body = portal.s3.get_object(Bucket=portal.bucket, Key=key)["Body"].read()
    portal.s3.put_object(Bucket=portal.bucket, Key=key, Body=body[:-7])


def _flip(portal: Portal, key: str) -> None:
    body = bytearray(portal.s3.get_object(Bucket=portal.bucket, Key=key)["Body"].read())
    body[len(body) // 2] ^= 1
    portal.s3.put_object(Bucket=portal.bucket, Key=key, Body=bytes(body))


def _delete(portal: Portal, key: str) -> None:
    portal.s3.delete_object(Bucket=portal.bucket, Key=key)


@pytest.mark.parametrize(
    ("harm", "name", "reason"),
    [
        pytest.param(_truncate, "data/dump.zst", "ObjectCorrupt", id="a dump truncated"),
        pytest.param(_flip, "data/dump.zst", "ObjectCorrupt", id="one byte of a dump flipped"),
        pytest.param(_delete, "data/dump.zst", "ObjectMissing", id="a dump deleted"),
        pytest.param(_delete, "manifest.json", "BackupNotFound", id="a manifest deleted"),
    ],
)
def test_a_damaged_backup_is_refused_and_the_target_is_not_touched(
    backed_up: Portal, harm: Callable[[Portal, str], None], name: str, reason: str
) -> None:
    portal = backed_up
    key = next(key for key in portal.object_keys() if key.endswith("/" + name))
    harm(portal, key)
    portal.drop_database()
    databases = portal.databases()
    portal.cluster.apply(portal.request("dr"))
    refused = portal.cluster.wait_for(
        "rr", "dr", portal.namespace, has_condition("Succeeded", "False"), until="restore done"
    )
    assert condition(refused, "Succeeded")["reason"] == reason
    assert portal.databases() == databases


def test_a_backup_that_reaches_its_timeout_says_so_and_leaves_nothing(portal: Portal) -> None:
    # A table that somebody holds lets pg_dump's lock wait longer than the policy allows.
    portal.cluster.apply(portal.policy(timeout="15s"))
    portal.cluster.wait_for("bp", "portal", portal.namespace, has_condition("Ready", "True"), until="condition shows")
    with portal.connect(portal.database) as holder:
        holder.autocommit = False
        holder.execute("LOCK TABLE peticoes IN ACCESS EXCLUSIVE MODE")
        portal.run_backup("by-hand")
        policy = portal.cluster.wait_for(
            "bp", "portal", portal.namespace, has_condition("BackedUp", "False"), until="backup done"
        )
        assert condition(policy, "BackedUp")["reason"] in ("DeadlineExceeded", "LockTimeout")
        holder.rollback()
    assert not [key for key in portal.object_keys() if "/data/" in key or key.endswith("manifest.json")]
    assert portal.uploads() == []
    # and the next run works again
    portal.run_backup("again")
    portal.cluster.wait_for("bp", "portal", portal.namespace, has_condition("BackedUp", "True"), until="backup done")
