"""A prefix belongs to one policy; two who think so find out, and nobody is asked to trust a store that cannot tell."""

from __future__ import annotations

import json
import threading
from datetime import UTC, datetime
from typing import Any

import pytest

from resguardo.api.errors import (
    ConditionalWriteNotHonoured,
    FormatTooNew,
    ManifestInvalid,
    ObjectCorrupt,
    PrefixOwned,
    StoreAccessDenied,
    StoreError,
)
from resguardo.store.ownership import Owner, claim, probe_conditional_writes, verify_owner
from resguardo.store.protocol import Store, Stored
from resguardo.store.s3 import S3Store
from tests.fixtures.s3 import S3Server
from tests.fixtures.s3_proxy import Harm, run_proxy
from tests.fixtures.stores import Ground

NOW = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)
OURS, THEIRS = "cluster-1/agepar/portal-prod", "cluster-2/agepar/portal-prod"
BY_HAND = "/agepar/portal-prod"


def owned_by(store: S3Store, owner: str, take_over_from: str | None = None) -> Owner:
    return claim(store, owner, take_over_from=take_over_from, now=NOW)


def test_nobodys_prefix_becomes_ours_and_stays_ours(store: Store) -> None:
    first = owned_by(store, OURS)
    assert (first.owner, first.epoch, first.claimed_at) == (OURS, 1, NOW)
    assert claim(store, OURS, take_over_from=None, now=datetime(2030, 1, 1, tzinfo=UTC)) == first
    verify_owner(store, first)


def test_somebody_elses_prefix_is_refused_with_the_exact_words_that_would_take_it_over(store: Store) -> None:
    owned_by(store, OURS)
    with pytest.raises(PrefixOwned) as raised:
        owned_by(store, THEIRS)
    message = str(raised.value)
    assert f"belongs to {OURS} (epoch 1, since 2026-11-23T05:00:00Z)" in message
    words = message.split("resguardo.dev/take-over-from: ")[1]
    taken = owned_by(store, THEIRS, take_over_from=words)
    assert (taken.owner, taken.epoch) == (THEIRS, 2)


def test_a_take_over_works_once(store: Store) -> None:
    first = owned_by(store, OURS)
    words = f"{OURS}@1"
    second = owned_by(store, THEIRS, take_over_from=words)
    assert owned_by(store, THEIRS, take_over_from=words) == second
    third = owned_by(store, OURS, take_over_from=f"{THEIRS}@2")
    assert third.epoch == 3
    with pytest.raises(PrefixOwned, match=f"{OURS}@3"):
        owned_by(store, THEIRS, take_over_from=words)
    with pytest.raises(PrefixOwned):
        verify_owner(store, second)
    with pytest.raises(PrefixOwned):
        verify_owner(store, first)  # ours again, but in another epoch
    verify_owner(store, third)


@pytest.mark.parametrize("words", ["", OURS, f"{OURS}@2", f"{OURS}@0", f"{OURS}@1 ", "*", f"{THEIRS}@1"])
def test_words_that_are_not_exact_take_nothing_over(store: Store, words: str) -> None:
    owned_by(store, OURS)
    with pytest.raises(PrefixOwned):
        owned_by(store, THEIRS, take_over_from=words)


def test_words_of_take_over_do_no_harm_where_nobody_owns_the_prefix(store: Store) -> None:
    assert owned_by(store, OURS, take_over_from=f"{THEIRS}@7").epoch == 1


@pytest.mark.parametrize("take_over", [False, True])
def test_of_many_who_claim_at_once_one_wins_and_all_see_the_same(store: Store, take_over: bool) -> None:
    words = f"{OURS}@{owned_by(store, OURS).epoch}" if take_over else None
    won: list[Owner] = []
    lost: list[PrefixOwned] = []

    def attempt(number: int) -> None:
        try:
            won.append(owned_by(store, f"cluster-{number + 10}/a/b", words))
        except PrefixOwned as error:
            lost.append(error)

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(won), len(lost)) == (1, 5)
    verify_owner(store, won[0])


class TestByHand:
    """A document without a cluster's id acts as the policy of its namespace and name, whoever's cluster it is."""

    def test_it_acts_as_the_owner(self, store: Store) -> None:
        first = owned_by(store, OURS)
        assert owned_by(store, BY_HAND) == first
        verify_owner(store, first)

    @pytest.mark.parametrize("other", ["/agepar/portal-homolog", "/homolog/portal-prod"])
    def test_another_name_or_namespace_is_somebody_else(self, store: Store, other: str) -> None:
        owned_by(store, OURS)
        with pytest.raises(PrefixOwned):
            owned_by(store, other)

    def test_what_was_claimed_by_hand_becomes_the_first_clusters_and_not_a_seconds_too(self, store: Store) -> None:
        by_hand = owned_by(store, BY_HAND)
        assert owned_by(store, OURS) == by_hand.model_copy(update={"owner": OURS})
        verify_owner(store, by_hand)
        with pytest.raises(PrefixOwned):
            owned_by(store, THEIRS)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"", ManifestInvalid),
        (b"junk", ManifestInvalid),
        (b"[]", ManifestInvalid),
        (b'{"formatVersion":1}', ManifestInvalid),
        (b'{"formatVersion":1,"owner":"no slashes","epoch":1,"claimedAt":"2026-11-23T05:00:00Z"}', ManifestInvalid),
        (b'{"formatVersion":1,"owner":"c/n/p","epoch":0,"claimedAt":"2026-11-23T05:00:00Z"}', ManifestInvalid),
        (b'{"formatVersion":2,"owner":"c/n/p"}', FormatTooNew),
        (b" " * 5000, ObjectCorrupt),
        (b"\xff\xfe", ManifestInvalid),
        (b"[" * 4000, ManifestInvalid),
    ],
)
def test_an_owner_that_cannot_be_read_is_never_overwritten(store: Store, body: bytes, error: type[Exception]) -> None:
    store.put("resguardo.json", body)
    with pytest.raises(error):
        owned_by(store, OURS)
    assert store.get("resguardo.json", max_bytes=10_000).body == body


def test_an_owner_that_was_deleted_is_noticed(store: Store) -> None:
    owner = owned_by(store, OURS)
    store.delete("resguardo.json")
    with pytest.raises(PrefixOwned, match=r"lost its resguardo\.json"):
        verify_owner(store, owner)


# ---- the probe


def test_a_probe_passes_and_leaves_nothing(store: Store, ground: Ground) -> None:
    probe_conditional_writes(store)
    assert list(store.list("")) == []
    assert ground.uploads() == 0


@pytest.mark.fault
def test_a_proxy_that_takes_no_part_of_a_dump_is_found_out(s3_server: S3Server, s3_bucket: str) -> None:
    """given nginx with its limit of 1 MiB before the store, when a policy is checked, then that is what it is told"""
    with run_proxy(s3_server.endpoint) as proxy:
        proxy.harm(Harm.TOO_LARGE, "PUT", "partNumber=1")
        store = s3_server.store(s3_bucket, endpoint=proxy.endpoint)
        with pytest.raises(StoreError, match=r"too large .413, .*client_max_body_size 0"):
            probe_conditional_writes(store)
        assert proxy.is_spent
    assert list(s3_server.store(s3_bucket).list("")) == []
    assert "Uploads" not in s3_server.root.list_multipart_uploads(Bucket=s3_bucket)


class _Careless(S3Store):
    """A store that does not know one of the two conditions."""

    ignored = ""

    def put(self, key: str, body: bytes, **options: Any) -> str:
        options.pop(self.ignored, None)
        return super().put(key, body, **options)


@pytest.mark.parametrize(
    ("ignored", "told"), [("if_absent", "If-None-Match"), ("if_match", "If-Match with another ETag")]
)
def test_a_store_that_overwrites_although_told_not_to_is_refused_and_cleaned_up(
    s3_store: S3Store, monkeypatch: pytest.MonkeyPatch, ignored: str, told: str
) -> None:
    monkeypatch.setattr(_Careless, "ignored", ignored)
    s3_store.__class__ = _Careless
    with pytest.raises(ConditionalWriteNotHonoured, match=told):
        probe_conditional_writes(s3_store)
    assert list(s3_store.list("")) == []


class _Forgetful(S3Store):
    """A store that gives something else than was written."""

    def get(self, key: str, *, max_bytes: int) -> Stored:
        stored = super().get(key, max_bytes=max_bytes)
        return Stored(stored.body[::-1], stored.etag, stored.last_modified)


def test_a_store_that_gives_something_else_than_was_written_is_refused(s3_store: S3Store) -> None:
    s3_store.__class__ = _Forgetful
    with pytest.raises(ObjectCorrupt, match="bytes were written"):
        probe_conditional_writes(s3_store)


ALL_ACTIONS = [
    "s3:PutObject",
    "s3:GetObject",
    "s3:DeleteObject",
    "s3:AbortMultipartUpload",
    "s3:ListBucket",
    "s3:ListBucketMultipartUploads",
]


def allow(server: S3Server, bucket: str, access_key_id: str, actions: list[str]) -> None:
    on_bucket = {"s3:ListBucket", "s3:ListBucketMultipartUploads"}
    statements = [
        {
            "Effect": "Allow",
            "Principal": {"AWS": [access_key_id]},
            "Action": action,
            "Resource": f"arn:aws:s3:::{bucket}" + ("" if action in on_bucket else "/prod/*"),
        }
        for action in actions
    ]
    server.root.put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": statements}))


@pytest.mark.parametrize(
    "missing",
    [
        ["s3:PutObject"],
        ["s3:GetObject"],
        ["s3:ListBucket"],
        ["s3:AbortMultipartUpload"],
        ["s3:GetObject", "s3:ListBucket", "s3:AbortMultipartUpload"],
        ["s3:GetObject", "s3:DeleteObject"],
    ],
)
def test_every_missing_right_is_named_at_once(s3_server: S3Server, s3_bucket: str, missing: list[str]) -> None:
    keys = s3_server.make_user()
    allow(s3_server, s3_bucket, keys.access_key_id, [action for action in ALL_ACTIONS if action not in missing])
    with pytest.raises(StoreAccessDenied) as raised:
        probe_conditional_writes(s3_server.store(s3_bucket, keys=keys))
    for action in missing:
        assert action in str(raised.value) or action == "s3:DeleteObject"
    for action in set(ALL_ACTIONS) - set(missing):
        assert f"may not do {action}" not in str(raised.value)


def test_a_writer_that_may_not_delete_probes_one_object_again_and_again(s3_server: S3Server, s3_bucket: str) -> None:
    keys = s3_server.make_user()
    allow(s3_server, s3_bucket, keys.access_key_id, [action for action in ALL_ACTIONS if action != "s3:DeleteObject"])
    store = s3_server.store(s3_bucket, keys=keys)
    for _ in range(3):
        probe_conditional_writes(store)
    assert [found.key for found in store.list("")] == ["probe.json", "probe.json.upload"]
    assert "Uploads" not in s3_server.root.list_multipart_uploads(Bucket=s3_bucket)


def test_probes_of_writers_that_may_not_delete_do_not_mistake_each_other(s3_server: S3Server, s3_bucket: str) -> None:
    keys = s3_server.make_user()
    allow(s3_server, s3_bucket, keys.access_key_id, [action for action in ALL_ACTIONS if action != "s3:DeleteObject"])
    store = s3_server.store(s3_bucket, keys=keys)
    problems: list[Exception] = []

    def attempt() -> None:
        try:
            probe_conditional_writes(store)
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=attempt) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []


def test_a_careless_store_is_found_out_where_nobody_may_delete_too(
    s3_server: S3Server, s3_bucket: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = s3_server.make_user()
    allow(s3_server, s3_bucket, keys.access_key_id, [action for action in ALL_ACTIONS if action != "s3:DeleteObject"])
    for ignored in ("if_absent", "if_match"):
        store = s3_server.store(s3_bucket, keys=keys)
        monkeypatch.setattr(_Careless, "ignored", ignored)
        store.__class__ = _Careless
        with pytest.raises(ConditionalWriteNotHonoured):
            probe_conditional_writes(store)
