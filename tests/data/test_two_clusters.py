"""One Git repository, two clusters, one bucket: whose the prefix is, by the commands that the pods of both run."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from resguardo.api.names import CLUSTER_ID_ANNOTATION, TAKE_OVER_ANNOTATION
from tests.fixtures.place import Place

FIRST, SECOND = "first-cluster", "second-cluster"


def policy_in(place: Place, cluster: str, *, take_over_from: str | None = None) -> str:
    """The policy as the operator of a cluster freezes it; what a person annotates is the same in both, as Git has it."""
    body = yaml.safe_load(Path(place.policy(retention={"daily": "1d", "minimum": 1})).read_text())
    body["metadata"]["annotations"] = {CLUSTER_ID_ANNOTATION: cluster}
    if take_over_from is not None:
        body["metadata"]["annotations"][TAKE_OVER_ANNOTATION] = take_over_from
    return place.write(f"{cluster}.yaml", body)


def test_a_fresh_cluster_restores_from_what_it_does_not_own_and_takes_it_over_once_when_told(place: Place) -> None:
    """given a backup of a cluster that is lost, when a new one has the same policy, then it restores; and writes only when told"""
    report, _, _ = place.run("backup", "-f", policy_in(place, FIRST))
    assert report.backup is not None
    made = place.object_keys()

    there = policy_in(place, SECOND)
    place.postgres.drop_database(place.database)
    restored, _, _ = place.run("restore", "-f", place.request("dr"), "-f", there)
    assert restored.reason == "Restored"
    for command in ("check", "backup", "retention"):
        refused = place.fail(command, "-f", there)
        assert refused.reason == "PrefixOwned"
    assert place.object_keys() == made, "it has read, and changed nothing"

    words = refused.message.split(f"{TAKE_OVER_ANNOTATION}: ")[1].split()[0]
    assert words == f"{FIRST}/agepar/portal@1"
    told = policy_in(place, SECOND, take_over_from=words)
    assert place.run("check", "-f", told)[0].reason == "CheckPassed"
    report, _, _ = place.run("backup", "-f", told)
    assert report.inventory is not None
    assert report.inventory.backups == 2, "what the other one made is its own now"


def test_two_clusters_that_are_synced_from_one_repository_never_fight(place: Place) -> None:
    """given the words of a take-over in Git, when both clusters apply them again and again, then the prefix changes hands once"""
    words = f"{FIRST}/agepar/portal@1"
    place.run("check", "-f", policy_in(place, FIRST))
    owners = []
    for _ in range(3):
        for cluster in (FIRST, SECOND):
            place.start("check", "-f", policy_in(place, cluster, take_over_from=words)).communicate(timeout=60)
            owners.append(_owner(place))
    assert owners == [(FIRST, 1), *[(SECOND, 2)] * 5]
    refused = place.fail("backup", "-f", policy_in(place, FIRST, take_over_from=words))
    assert refused.reason == "PrefixOwned"
    assert f"{SECOND}/agepar/portal@2" in refused.message, "it says what a person would have to write"


@pytest.mark.parametrize("take_over", [False, True])
def test_of_two_clusters_that_begin_at_the_same_moment_one_wins(place: Place, take_over: bool) -> None:
    """given nobody's prefix, or one that both are told to take over, when both check at once, then one passes"""
    words = None
    if take_over:
        place.run("check", "-f", policy_in(place, "lost-cluster"))
        words = "lost-cluster/agepar/portal@1"
    ended = {}
    running = {
        cluster: place.start("check", "-f", policy_in(place, cluster, take_over_from=words))
        for cluster in (FIRST, SECOND)
    }
    for cluster, process in running.items():
        process.communicate(timeout=60)
        ended[cluster] = process.returncode
    assert sorted(ended.values()) == [0, 34], "34 is PrefixOwned"
    (winner,) = (cluster for cluster, status in ended.items() if status == 0)
    assert _owner(place) == (winner, 2 if take_over else 1)


def _owner(place: Place) -> tuple[str, int]:
    body = place.s3.root.get_object(Bucket=place.bucket, Key="prod/resguardo.json")["Body"].read()
    owner = yaml.safe_load(body)
    return owner["owner"].split("/")[0], owner["epoch"]
