"""`resguardo check --role`, the trying that it rests on, and the warning of every check: which rights keys have, and what that means."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from resguardo.api.roles import Role
from resguardo.rules.access import Finding, Right, judge
from resguardo.store.rights import try_rights
from tests.fixtures.history import History
from tests.fixtures.minio import assume
from tests.fixtures.place import Place
from tests.fixtures.s3 import ROOT, AccessKeys, S3Server
from tests.fixtures.s3_roles import LOCK, IamServer, act_as, documented

WRITER, PRUNER, READER = Role.WRITER, Role.PRUNER, Role.READER


class TestCheckRole:
    """`resguardo check --role` and what it rests on."""

    @staticmethod
    def findings(server: IamServer, bucket: str, role: Role, keys: AccessKeys, *, locks: bool = False) -> list[Finding]:
        return judge(role, try_rights(server.store(bucket, keys=keys)), locks=locks)

    @pytest.mark.parametrize("role", Role)
    @pytest.mark.parametrize("kind", ["plain", "versioned", "locked"])
    def test_the_documented_rights_are_neither_too_few_nor_too_many(
        self, iam_server: IamServer, role: Role, kind: str
    ) -> None:
        bucket = iam_server.make_bucket(locks=kind == "locked")
        if kind != "plain":
            iam_server.root.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
        found = self.findings(iam_server, bucket, role, iam_server.make_role(role, bucket))
        assert [finding for finding in found if finding.is_missing] == []
        too_many = [finding.tried.right for finding in found if finding.is_too_much]
        # What AWS' bucket policy takes from the writer, versitygw cannot.
        assert too_many == ([Right.OVERWRITE] if role is WRITER else [])
        tried = {finding.tried.right for finding in found}
        # The others may not ask whether the bucket keeps versions.
        assert (Right.REMOVE_VERSIONS in tried) == (kind != "plain" or role is not PRUNER)
        assert (Right.SEE_LOCKS in tried) == (kind == "locked")
        answer = iam_server.root.list_object_versions(Bucket=bucket)
        assert (answer.get("Versions"), answer.get("DeleteMarkers")) == (None, None), "it leaves nothing"
        assert "Uploads" not in iam_server.root.list_multipart_uploads(Bucket=bucket)

    @pytest.mark.parametrize(
        ("role", "more", "locks", "expected"),
        [
            (WRITER, True, True, ""),
            (WRITER, False, True, "missing"),
            (WRITER, True, False, "too much"),
            (PRUNER, True, True, ""),
            (PRUNER, False, True, "missing"),
            # Whether an object is there, MinIO looks at first: without a right to write it cannot be told.
            (READER, True, True, ""),
            (READER, False, True, ""),
        ],
    )
    def test_the_right_to_lock_is_asked_of_writer_and_pruner_where_the_policy_locks(
        self, iam_server: IamServer, role: Role, more: bool, locks: bool, expected: str
    ) -> None:
        bucket = iam_server.make_bucket(locks=True)
        keys = iam_server.make_role(role, bucket, *(documented(LOCK, bucket) if more else []))
        (found,) = [
            finding
            for finding in self.findings(iam_server, bucket, role, keys, locks=locks)
            if finding.tried.right is Right.LOCK
        ]
        assert (found.is_missing, found.is_too_much) == (expected == "missing", expected == "too much")
        assert iam_server.root.list_object_versions(Bucket=bucket).get("Versions") is None, "it leaves nothing"

    @pytest.mark.parametrize("role", Role)
    def test_on_minio_too(self, minio_server: S3Server, role: Role) -> None:
        """There the policy is that of keys which a role assumed with more rights was given."""
        bucket = minio_server.make_bucket(locks=True)
        statements = documented(role, bucket) + (documented(LOCK, bucket) if role is not READER else [])
        keys = assume(minio_server, *statements)
        found = judge(role, try_rights(minio_server.store(bucket, keys=keys)), locks=True)
        assert [finding for finding in found if finding.is_missing] == []
        too_many = [finding.tried.right for finding in found if finding.is_too_much]
        assert too_many == ([Right.OVERWRITE] if role is WRITER else [])
        answer = minio_server.root.list_object_versions(Bucket=bucket)
        assert (answer.get("Versions"), answer.get("DeleteMarkers")) == (None, None), "it leaves nothing"

    @pytest.mark.parametrize(
        ("role", "action", "missing"),
        [
            (WRITER, "s3:ListBucket", Right.LIST),
            (WRITER, "s3:GetObject", Right.READ_FACTS),
            (WRITER, "s3:PutObject", Right.ADD),
            (WRITER, "s3:AbortMultipartUpload", Right.GIVE_UP),
            (PRUNER, "s3:DeleteObject", Right.REMOVE),
            (PRUNER, "s3:DeleteObjectVersion", Right.REMOVE_VERSIONS),
            (PRUNER, "s3:ListBucketVersions", Right.SEE_VERSIONS),
            (PRUNER, "s3:GetBucketVersioning", Right.SEE_VERSIONS),
            (PRUNER, "s3:GetObjectRetention", Right.SEE_LOCKS),
            (PRUNER, "s3:GetBucketObjectLockConfiguration", Right.SEE_LOCKS),
            (PRUNER, "s3:PutObject", Right.MARK),
            (READER, "s3:GetObject", Right.READ_DATA),
            (READER, "s3:ListBucket", Right.LIST),
        ],
    )
    def test_a_right_that_is_missing_is_found(
        self, iam_server: IamServer, role: Role, action: str, missing: Right
    ) -> None:
        bucket = iam_server.make_bucket(locks=True)
        found = self.findings(iam_server, bucket, role, iam_server.make_role(role, bucket, without=action))
        assert missing in [finding.tried.right for finding in found if finding.is_missing and finding.consequence]

    @pytest.mark.parametrize(
        ("role", "action", "too_much"),
        [
            (WRITER, "s3:DeleteObject", Right.REMOVE),
            (WRITER, "s3:DeleteObjectVersion", Right.REMOVE_VERSIONS),
            (WRITER, "s3:GetObject", Right.READ_DATA),
            (WRITER, "s3:PutObject", Right.MARK),
            (PRUNER, "s3:GetObject", Right.READ_DATA),
            (PRUNER, "s3:PutObject", Right.ADD),
            (READER, "s3:PutObject", Right.OVERWRITE),
            (READER, "s3:DeleteObject", Right.REMOVE),
        ],
    )
    def test_a_right_that_is_too_many_is_found_and_leaves_nothing(
        self, iam_server: IamServer, role: Role, action: str, too_much: Right
    ) -> None:
        bucket = iam_server.make_bucket(locks=True)
        more = {"Effect": "Allow", "Action": action, "Resource": f"arn:aws:s3:::{bucket}/prod/*"}
        found = self.findings(iam_server, bucket, role, iam_server.make_role(role, bucket, more))
        assert too_much in [finding.tried.right for finding in found if finding.is_too_much and finding.consequence]
        assert iam_server.root.list_objects_v2(Bucket=bucket).get("Contents") is None

    def test_the_command_shows_a_table_and_fails_where_something_is_missing(
        self, history_of: Callable[[Role], History]
    ) -> None:
        history = history_of(WRITER)
        before = history.under()
        apart = {
            "writer": {"secretRef": {"name": "w"}},
            "pruner": {"secretRef": {"name": "p"}},
            "reader": {"secretRef": {"name": "r"}},
        }
        history.spec |= {"store": {"s3": {**_s3_of(history), "credentials": apart}}}
        shown = history.command("check", "--role", "writer")
        assert (shown.returncode, shown.stderr) == (0, "")
        assert "0 rights are missing, and 1 are too many" in shown.stdout
        assert "overwrite what is in a backup" in shown.stdout

        shown = history.command("check", "--role", "pruner")
        assert shown.returncode == 31
        assert "nothing is removed" in shown.stdout
        assert "missing: " in shown.stdout
        assert "s3:DeleteObject" in shown.stdout
        assert history.under() == before

    def test_keys_that_are_every_roles_have_no_right_too_many(self, history_of: Callable[[Role], History]) -> None:
        history = replace(history_of(WRITER), keys=ROOT)
        shown = history.command("check", "--role", "writer")
        assert "0 rights are missing, and 0 are too many" in shown.stdout


def _s3_of(history: History) -> dict[str, Any]:
    s3 = history.policy.spec.store.s3
    assert s3 is not None
    return s3.model_dump(mode="json", by_alias=True, exclude_none=True)


class TestTheChecksWarning:
    @pytest.mark.parametrize(("apart", "more", "warned"), [
        (True, True, ["WriterMayRemove"]),
        (True, False, []),
        (False, True, []),
    ])  # fmt: skip
    def test_a_writer_that_may_remove_is_told_of_where_roles_are_set_apart(
        self, iam_place: Place, iam_server: IamServer, apart: bool, more: bool, warned: list[str]
    ) -> None:
        delete = {"Effect": "Allow", "Action": "s3:DeleteObject", "Resource": f"arn:aws:s3:::{iam_place.bucket}/prod/*"}
        act_as(iam_place, iam_server.make_role(WRITER, iam_place.bucket, *([delete] if more else [])))
        if apart:
            iam_place.store = {
                "credentials": {"secretRef": {"name": "all"}, "pruner": {"secretRef": {"name": "pruner"}}}
            }
        report, _, _ = iam_place.run("check", "-f", iam_place.policy())
        assert report.reason == "CheckPassed"
        assert [warning.reason for warning in report.warnings] == warned
