"""Writer, pruner and reader with the policies that docs/access ships, on a server that enforces them: each does its work and no more.

The policies are those files, with the bucket's name in the place of the documented one. What only AWS enforces is not tried here: the
conditions of docs/access/bucket-policy.json, which versitygw refuses to take, and the rights to use a KMS key.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from botocore.exceptions import ClientError

from resguardo.api.backup_id import new_backup_id
from resguardo.api.roles import Role
from resguardo.store import s3_client
from resguardo.store.discard import forbid_manifest
from tests.data.test_signing import Signer, believing
from tests.fixtures.history import History, manifest_of
from tests.fixtures.people import ANA, EVA, give, sealed_to
from tests.fixtures.place import SECONDS, Place
from tests.fixtures.s3 import ROOT, S3Server
from tests.fixtures.s3_roles import BUCKET, DOCUMENTED, LOCK, IamServer, act_as, documented
from tests.fixtures.specs import AGE

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

WRITER, PRUNER, READER = Role.WRITER, Role.PRUNER, Role.READER


def test_a_backup_is_made_verified_and_restored_by_roles_that_can_do_nothing_else(
    iam_place: Place, iam_server: IamServer
) -> None:
    """given the documented policies, when each task runs with its own role's keys, then it does its whole work; of another's, none"""
    keys = {role: iam_server.make_role(role, iam_place.bucket) for role in Role}
    iam_place.grow_noise()
    policy = iam_place.policy()

    act_as(iam_place, keys[WRITER])
    report, _, _ = iam_place.run("check", "-f", policy)
    assert report.reason == "CheckPassed"
    report, _, log = iam_place.run("backup", "-f", policy)
    assert report.backup is not None
    assert "may not do" not in log, "nothing was asked for that the writer may not do"
    assert iam_place.uploads() == []
    (dump,) = [key for key in iam_place.object_keys() if key.endswith("/data/dump.zst")]
    head = iam_place.s3.root.head_object(Bucket=iam_place.bucket, Key=dump)
    assert head["ContentLength"] > 8 * 1024 * 1024, "it was an upload of several parts"
    assert (
        iam_place.fail("restore", "-f", iam_place.request("by-the-writer"), "-f", policy).reason == "StoreAccessDenied"
    )

    act_as(iam_place, keys[READER])
    assert iam_place.fail("backup", "-f", policy).reason == "StoreAccessDenied"
    assert iam_place.fail("check", "-f", policy).reason == "StoreAccessDenied"
    output, _ = iam_place.start("catalog", "-f", policy, "-o", "json").communicate(timeout=60)
    assert [backup["id"] for backup in json.loads(output)["backups"]] == [report.backup.id]
    output, _ = iam_place.start("verify", "latest", "-f", policy).communicate(timeout=60)
    assert output.decode().startswith(f"{report.backup.id}: whole, ")
    assert output.decode().endswith("The bucket does not say so: these keys may not write there\n")
    iam_place.postgres.drop_database(iam_place.database)
    restored, _, _ = iam_place.run("restore", "-f", iam_place.request("by-the-reader"), "-f", policy)
    assert restored.reason == "Restored"

    act_as(iam_place, keys[PRUNER])
    assert iam_place.fail("backup", "-f", policy).reason == "StoreAccessDenied"
    assert (
        iam_place.fail("restore", "-f", iam_place.request("by-the-pruner", database="other"), "-f", policy).reason
        == "StoreAccessDenied"
    )


def test_the_writer_needs_no_more_for_backups_that_are_encrypted_and_signed(
    iam_place: Place, iam_server: IamServer
) -> None:
    """given a former backup, when the next is made, sealed and signed, then nothing that it looks at is refused to the writer"""
    act_as(iam_place, iam_server.make_role(WRITER, iam_place.bucket))
    signer = Signer()
    iam_place.credentials(signing__key=signer.private)
    spec = believing(signer) | {"encryption": {"age": {"recipients": [AGE]}}}
    for _ in range(2):
        report, _, log = iam_place.run("backup", "-f", iam_place.policy(**spec))
        assert report.succeeded
        assert "may not do" not in log
        assert report.inventory is not None
    assert report.inventory.backups == 2
    act_as(iam_place, iam_server.make_role(READER, iam_place.bucket))
    output, _ = iam_place.start("verify", "all", "-f", iam_place.policy(**spec)).communicate(timeout=60)
    assert output.decode().count("as it was written") == 2


@pytest.mark.parametrize("kind", ["plain", "versioned", "locked"])
def test_retention_removes_with_the_pruners_keys_alone(iam_server: IamServer, tmp_path: Path, kind: str) -> None:
    """given ten backups, of which seven days are kept, when the pruner runs twice, then two are gone, with all their versions"""
    bucket = iam_server.make_bucket(locks=kind == "locked")
    if kind != "plain":  # AWS does so by itself where there are locks
        iam_server.root.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    history = History(iam_server, bucket, tmp_path)
    history.claim()
    if kind != "plain":  # versitygw removes no version that it did not make itself
        history._write = lambda key, body, at: history.put(key, body, at=at)  # type: ignore[method-assign]
    ids = history.add_days(10)
    kept = ids[2:]
    if kind == "locked":
        hold = {"Bucket": bucket, "Key": f"prod/backups/{ids[0]}/manifest.json"}
        iam_server.root.put_object_legal_hold(**hold, LegalHold={"Status": "ON"})  # type: ignore[arg-type]
        kept = [ids[0], *ids[2:]]
    attempt = history.add_attempt(datetime.now(UTC) - timedelta(days=300), ended=True)
    history = replace(history, keys=iam_server.make_role(PRUNER, bucket))
    for _ in range(2):
        report = history.enforce()
        assert (report.reason, report.succeeded) == ("RetentionEnforced", True), report.message
        history.age_markers()
    assert history.backups == kept
    assert not any(attempt in key for key in history.under())
    gone = set(ids) - set(kept)
    versions = iam_server.root.list_object_versions(Bucket=bucket, Prefix="prod/backups/")
    assert not [one for one in versions.get("Versions", []) if one["Key"].split("/")[2] in gone]


def test_with_object_lock_writer_and_pruner_need_one_policy_more(iam_place: Place, iam_server: IamServer) -> None:
    """given `lock.json` beside the two, when backups are made and retention runs, then all is locked, and no keys more are needed"""
    bucket = iam_server.make_bucket(locks=True)
    iam_server.root.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    iam_place = replace(
        iam_place, bucket=bucket, store={"objectLock": {"mode": "Governance", "byTier": {"daily": "7d"}}}
    )
    policy = iam_place.policy(retention={"daily": "7d"}, encryption=sealed_to(ANA))

    act_as(iam_place, iam_server.make_role(WRITER, bucket))
    failed = iam_place.fail("check", "-f", policy)
    assert failed.reason == "StoreAccessDenied"
    assert "may not do s3:GetObjectRetention on 'prod/probe-lock.json'" in failed.message

    act_as(iam_place, iam_server.make_role(WRITER, bucket, *documented(LOCK, bucket)))
    report, _, _ = iam_place.run("check", "-f", policy)
    assert report.reason == "CheckPassed"
    report, _, log = iam_place.run("backup", "-f", policy)
    assert ", locked until " in report.message
    assert "may not do" not in log, "nothing was asked for that the writer may not do"

    # Who makes backups gives them to somebody else, too, who then opens what is locked as the backup is.
    give(iam_place, ANA.file)
    policy = iam_place.policy(retention={"daily": "7d"}, encryption=sealed_to(ANA, EVA))
    rewrap = iam_place.start("keys", "rewrap", "all", "-f", policy)
    _, errors = rewrap.communicate(timeout=SECONDS)
    assert rewrap.returncode == 0, errors.decode()

    # A backup whose own locks were cut short: the pruner's turn.
    assert report.backup is not None
    manifest = f"prod/backups/{report.backup.id}/manifest.json"
    brief = report.backup.started_at + timedelta(days=2)
    iam_server.root.put_object_retention(
        Bucket=bucket, Key=manifest, BypassGovernanceRetention=True,
        Retention={"Mode": "GOVERNANCE", "RetainUntilDate": brief},
    )  # fmt: skip
    act_as(iam_place, iam_server.make_role(PRUNER, bucket))
    assert iam_place.fail("retention", "-f", policy).reason == "StoreAccessDenied"
    act_as(iam_place, iam_server.make_role(PRUNER, bucket, *documented(LOCK, bucket)))
    enforced, _, _ = iam_place.run("retention", "-f", policy)
    assert "1 were locked for longer" in enforced.message
    until = iam_server.root.get_object_retention(Bucket=bucket, Key=manifest)["Retention"].get("RetainUntilDate")
    assert until == report.backup.started_at + timedelta(days=7)


def test_the_pruner_clears_away_what_a_killed_backup_has_left(iam_server: IamServer, iam_bucket: str) -> None:
    keys = iam_server.make_role(PRUNER, iam_bucket)
    iam_server.root.put_object(
        Bucket=iam_bucket, Key="prod/backups/20261123T050000Z-3f9a1c/data/dump.zst", Body=b"half"
    )
    store = iam_server.store(iam_bucket, keys=keys)
    assert forbid_manifest(store, "20261123T050000Z-3f9a1c")
    assert store.erase("backups/20261123T050000Z-3f9a1c/") == {}
    assert list(store.list("")) == []


def test_what_a_thief_of_the_writers_key_plants_takes_no_genuine_backups_place(
    iam_server: IamServer, iam_bucket: str, tmp_path: Path
) -> None:
    """given 20 backups, and a planted one that says it is older beside each, when retention runs, then only planted ones go"""
    history = History(iam_server, iam_bucket, tmp_path, spec={"retention": {"daily": "30d", "minimum": 3}})
    history.claim()
    last = datetime.now(UTC).replace(hour=5, minute=0, second=0, microsecond=0) - timedelta(days=1)
    genuine = history.add_days(20, until=last)
    thief = iam_server.client(iam_server.make_role(WRITER, iam_bucket))
    newer = [last + timedelta(minutes=10 * number) for number in (1, 2, 3)]
    for start in newer + [last - timedelta(days=number, minutes=30) for number in range(20)]:
        planted = new_backup_id(start, "bad0ad")
        thief.put_object(
            Bucket=iam_bucket, Key=f"prod/backups/{planted}/manifest.json", IfNoneMatch="*",
            Body=manifest_of(start, backup_id=planted).to_json().encode(),
        )  # fmt: skip
    assert not _is_allowed(_put("prod/accepted-plan.json"), thief, iam_bucket)
    history = replace(history, keys=iam_server.make_role(PRUNER, iam_bucket))
    for _ in range(2):
        assert history.enforce().reason == "RetentionEnforced"
        history.age_markers()
    assert set(genuine) < set(history.backups)
    assert len(history.backups) == len(genuine) + len(newer)


@pytest.mark.parametrize("role", [WRITER, READER])
def test_retention_with_another_roles_keys_changes_nothing(history_of: Callable[[Role], History], role: Role) -> None:
    history = history_of(role)
    before = history.under()
    assert history.enforce().reason == "StoreAccessDenied"
    assert history.under() == before


FOLDER = "prod/backups/20261123T050000Z-3f9a1c"
THERE = [
    f"{FOLDER}/data/dump.zst", f"{FOLDER}/data/dump.zst.blocks", f"{FOLDER}/data/globals.sql.zst", f"{FOLDER}/census.json.zst",
    f"{FOLDER}/rows.json", f"{FOLDER}/manifest.json", f"{FOLDER}/key.age", "prod/resguardo.json",
    "prod/attempts/20261123T050000Z-3f9a1c.json", "prod/verified/20261123T050000Z-3f9a1c.json",
    "prod/trash/20261123T050000Z-3f9a1c.json", "prod/pins/20261123T050000Z-3f9a1c.json", "homolog/backups/x/manifest.json",
]  # fmt: skip


def _get(key: str) -> Callable[[S3Client, str], object]:
    return lambda client, bucket: client.get_object(Bucket=bucket, Key=key)


def _put(key: str) -> Callable[[S3Client, str], object]:
    return lambda client, bucket: client.put_object(Bucket=bucket, Key=key, Body=b"theirs")


def _delete(key: str) -> Callable[[S3Client, str], object]:
    return lambda client, bucket: client.delete_object(Bucket=bucket, Key=key)


NOBODY: set[Role] = set()
#: What, the request, and who may: tried for real, each on objects of its own.
MATRIX: list[tuple[str, Callable[[S3Client, str], object], set[Role]]] = [
    ("list the prefix", lambda client, bucket: client.list_objects_v2(Bucket=bucket, Prefix="prod/"), {WRITER, PRUNER, READER}),
    ("list uploads", lambda client, bucket: client.list_multipart_uploads(Bucket=bucket), {WRITER, PRUNER}),
    ("list versions", lambda client, bucket: client.list_object_versions(Bucket=bucket), {PRUNER}),
    ("read whose the prefix is", _get("prod/resguardo.json"), {WRITER, PRUNER, READER}),
    ("read a manifest", _get(f"{FOLDER}/manifest.json"), {WRITER, PRUNER, READER}),
    ("read an attempt", _get("prod/attempts/20261123T050000Z-3f9a1c.json"), {WRITER, PRUNER, READER}),
    ("read a verification", _get("prod/verified/20261123T050000Z-3f9a1c.json"), {WRITER, PRUNER, READER}),
    ("read numbers of rows", _get(f"{FOLDER}/rows.json"), {WRITER, READER}),
    ("read a list of blocks", _get(f"{FOLDER}/data/dump.zst.blocks"), {WRITER, READER}),
    ("read a sealed key", _get(f"{FOLDER}/key.age"), {WRITER, READER}),
    ("read a marker", _get("prod/trash/20261123T050000Z-3f9a1c.json"), {PRUNER, READER}),
    ("read a dump", _get(f"{FOLDER}/data/dump.zst"), {READER}),
    ("read roles of the server", _get(f"{FOLDER}/data/globals.sql.zst"), {READER}),
    ("read a census", _get(f"{FOLDER}/census.json.zst"), {READER}),
    ("read another prefix", _get("homolog/backups/x/manifest.json"), NOBODY),
    ("add a dump", _put("prod/backups/20261124T050000Z-3f9a1c/data/dump.zst"), {WRITER}),
    ("write a manifest", _put("prod/backups/20261124T050000Z-3f9a1c/manifest.json"), {WRITER, PRUNER}),
    # AWS alone can forbid it, by docs/access/bucket-policy.json.
    ("overwrite a dump", _put(f"{FOLDER}/data/dump.zst"), {WRITER}),
    ("claim the prefix", _put("prod/resguardo.json"), {WRITER}),
    ("write an attempt", _put("prod/attempts/20261124T050000Z-3f9a1c.json"), {WRITER}),
    ("mark a backup for removal", _put("prod/trash/20261124T050000Z-3f9a1c.json"), {PRUNER}),
    ("pin a backup", _put("prod/pins/20261124T050000Z-3f9a1c.json"), {PRUNER}),
    ("accept a backup", _put("prod/accepted/20261124T050000Z-3f9a1c.json"), {WRITER, PRUNER}),
    ("accept a plan", _put("prod/accepted-plan.json"), {PRUNER}),
    ("write down a verification", _put("prod/verified/20261124T050000Z-3f9a1c.json"), NOBODY),
    ("write to another prefix", _put("homolog/backups/x/data"), NOBODY),
    ("remove a dump", _delete(f"{FOLDER}/data/dump.zst"), {PRUNER}),
    ("remove a manifest", _delete(f"{FOLDER}/manifest.json"), {PRUNER}),
    ("remove a pin", _delete("prod/pins/20261123T050000Z-3f9a1c.json"), {PRUNER}),
    ("remove the word whose the prefix is", _delete("prod/resguardo.json"), NOBODY),
    ("remove from another prefix", _delete("homolog/backups/x/manifest.json"), NOBODY),
    ("unlock an object", lambda client, bucket: client.put_object_legal_hold(
        Bucket=bucket, Key=f"{FOLDER}/manifest.json", LegalHold={"Status": "OFF"}), NOBODY),
    ("shorten a retention", lambda client, bucket: client.put_object_retention(
        Bucket=bucket, Key=f"{FOLDER}/manifest.json", BypassGovernanceRetention=True,
        Retention={"Mode": "GOVERNANCE", "RetainUntilDate": datetime(2030, 1, 1, tzinfo=UTC)}), NOBODY),
    ("change the bucket's policy", lambda client, bucket: client.delete_bucket_policy(Bucket=bucket), NOBODY),
    ("turn versions off", lambda client, bucket: client.put_bucket_versioning(
        Bucket=bucket, VersioningConfiguration={"Status": "Suspended"}), NOBODY),
    ("remove the bucket", lambda client, bucket: client.delete_bucket(Bucket=bucket), NOBODY),
]  # fmt: skip


@pytest.fixture(scope="module")
def matrix_people(iam_server: IamServer) -> tuple[str, dict[Role, S3Client]]:
    """A bucket with locks and all that MATRIX is about, and a client for each role."""
    bucket = iam_server.make_bucket(locks=True)
    lay(iam_server, bucket)
    return bucket, {role: iam_server.client(iam_server.make_role(role, bucket)) for role in Role}


def lay(server: IamServer, bucket: str) -> None:
    for key in THERE:
        server.root.put_object(Bucket=bucket, Key=key, Body=b"ours")


@pytest.mark.parametrize(("what", "request_", "who"), MATRIX, ids=[row[0] for row in MATRIX])
def test_who_may(
    iam_server: IamServer,
    matrix_people: tuple[str, dict[Role, S3Client]],
    what: str,
    request_: Callable[[S3Client, str], object],
    who: set[Role],
) -> None:
    bucket, clients = matrix_people
    allowed = set()
    for role in Role:
        if _is_allowed(request_, clients[role], bucket):
            allowed.add(role)
            if not what.startswith(("list", "read")):
                lay(iam_server, bucket)
    assert allowed == who


def _is_allowed(request_: Callable[[S3Client, str], object], client: S3Client, bucket: str) -> bool:
    """Whether it was done; any other failure than a refusal is one of the test's."""
    try:
        request_(client, bucket)
    except ClientError as error:
        if error.response["Error"]["Code"] in ("AccessDenied", "403"):
            return False
        raise
    return True


class TestTheDocumentedPolicies:
    def test_aws_would_take_them(self) -> None:
        """AWS counts no white space: 2,048 characters for all of a user's own policies, 6,144 for a managed one."""
        lengths = {
            name: len(json.dumps(json.loads((DOCUMENTED / f"{name}.json").read_text()), separators=(",", ":")))
            for name in (*Role, LOCK)
        }
        assert max(lengths[role] for role in Role) + lengths[LOCK] <= 2048

    def test_no_role_may_bypass_a_lock_or_change_the_bucket(self) -> None:
        actions = {
            action
            for name in (*Role, LOCK)
            for statement in documented(name, "x")
            for action in ([statement["Action"]] if isinstance(statement["Action"], str) else statement["Action"])
        }
        assert not [
            action for action in actions if "*" in action or "Bypass" in action or action.startswith("s3:PutBucket")
        ]

    @pytest.mark.parametrize("server", ["iam_server", "minio_server"])
    def test_no_server_here_knows_the_condition_that_forbids_overwriting(
        self, request: pytest.FixtureRequest, server: str
    ) -> None:
        """If this fails, one does now: try the bucket policy for real, and say so in docs/tasks/access.md."""
        running: S3Server = request.getfixturevalue(server)
        bucket = running.make_bucket()
        document = json.loads((DOCUMENTED / "bucket-policy.json").read_text().replace(BUCKET, bucket))
        (demanded,) = [one for one in document["Statement"] if "s3:if-none-match" in json.dumps(one)]
        with pytest.raises(ClientError, match="invalid condition key"):
            running.root.put_bucket_policy(Bucket=bucket, Policy=json.dumps({**document, "Statement": [demanded]}))


class TestWhatIsUnderABackupsFolder:
    """What the bucket's policy on AWS demands of whoever writes there, looked at from this side of the line."""

    def test_every_object_is_written_under_the_condition_that_nothing_is_there(
        self, iam_place: Place, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        act_as(iam_place, ROOT)
        iam_place.grow_noise()
        seen: dict[str, bool] = {}

        def note(params: Any, model: Any, **_: Any) -> None:
            if model.name in ("PutObject", "CompleteMultipartUpload"):
                seen[params["url_path"].partition("/prod/")[2]] = params["headers"].get("If-None-Match") == "*"

        make = s3_client.boto3.Session.client

        def noting(self: boto3.Session, *args: Any, **options: Any) -> Any:
            client = make(self, *args, **options)  # type: ignore[call-overload]
            client.meta.events.register("before-call.s3", note)
            return client

        monkeypatch.setattr(s3_client.boto3.Session, "client", noting)
        encryption = {"age": {"recipients": [AGE]}}
        outcome = iam_place.back_up_here(encryption=encryption)
        assert outcome.report.succeeded, outcome.report.message
        written = {key: condition for key, condition in seen.items() if key.startswith("backups/")}
        assert len(written) == 9
        assert not [key for key, condition in written.items() if not condition]
