"""Credentials that no cluster here can use for real: an account key and a signature of Azure's, keys that end with a session token.

Commands run with them, and with wrong ones, as in a pod or by hand; then each is looked for wherever a command leaves something.
The rest of the credentials is planted in a cluster (tests/cluster/test_planted_secrets.py).
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import boto3
import pytest

from resguardo.api.report import Report
from tests.fixtures.azurite import KEY
from tests.fixtures.place import RESGUARDO, SECONDS, Place
from tests.fixtures.s3 import ROOT, S3Server
from tests.fixtures.stores import AzureGround
from tests.fixtures.traces import Processes, finds, plant, plant_key, plant_signature, texts_of_objects

ITSELF = "the command"


@dataclass
class Shelf:
    """A store, and what of it is secret."""

    place: Place
    policy: str
    objects: Callable[[], Iterator[tuple[str, bytes]]]
    #: Puts a credential where the next command finds it.
    give: Callable[[str], None]
    good: str
    wrong: str
    #: Whether a person has it in the shell's environment, where the command itself has it then too.
    is_by_hand: bool = False
    #: By place, what commands have left there.
    texts: dict[str, list[str]] = field(default_factory=dict)

    def run(self, *arguments: str) -> Report:
        """One command, with all that it says and does written down."""
        started: set[int] = set()

        def whose(process: Path) -> str | None:
            if os.getsid(int(process.name)) not in started:
                return None
            # A child is its parent's likeness until it becomes another program.
            return ITSELF if RESGUARDO.encode() in (process / "cmdline").read_bytes() else "its programs"

        with Processes(whose) as processes:
            command = self.place.start(*arguments)
            started.add(command.pid)
            output, errors = command.communicate(timeout=SECONDS)
        if self.is_by_hand:
            del processes.environment[ITSELF]
        report = self.place.report()
        for name, texts in {
            "output": [output.decode(errors="replace")],
            "log": [errors.decode()],
            "report": [report.to_json()],
            "arguments": [text for seen in processes.arguments.values() for text in seen],
            "environment": [text for seen in processes.environment.values() for text in seen],
        }.items():
            self.texts.setdefault(name, []).extend(texts)
        return report


@pytest.fixture(params=["account key", "signature", "session token"])
def shelf(request: pytest.FixtureRequest, place: Place) -> Shelf:
    # A session of its own, by which its children are known.
    place.before = ("setsid",)
    shutil.rmtree(place.folder / "credentials" / "store")
    made: Shelf = request.getfixturevalue(f"by_{request.param.replace(' ', '_')}")
    return made


@pytest.fixture
def by_account_key(place: Place, azure_ground: AzureGround) -> Shelf:
    def give(key: str) -> None:
        place.credentials(store__account_key=key)

    policy = place.policy(store=azure_ground.spec())
    return Shelf(place, policy, lambda: _blobs(azure_ground), give, KEY.key, plant_key())


@pytest.fixture
def by_signature(place: Place, azure_ground: AzureGround) -> Shelf:
    def give(token: str) -> None:
        place.credentials(store__sas_token=token)

    store = azure_ground.spec()
    store["azure"]["credentials"] = {"sasTokenSecretRef": {"name": "signature"}}
    good = azure_ground.azurite.sas(azure_ground.container, "rcwl")
    return Shelf(place, place.policy(store=store), lambda: _blobs(azure_ground), give, good, plant_signature())


@pytest.fixture
def by_session_token(place: Place, minio_server: S3Server, minio_bucket: str) -> Shelf:
    """Given out by MinIO, and by hand: in the environment, and in no file."""
    sts = boto3.client(
        "sts", endpoint_url=minio_server.endpoint, region_name="us-east-1",
        aws_access_key_id=ROOT.access_key_id, aws_secret_access_key=ROOT.secret_access_key,
    )  # fmt: skip
    keys = sts.assume_role(RoleArn="arn:aws:iam::111122223333:role/writer", RoleSessionName="test")["Credentials"]
    place.environment |= {"AWS_ACCESS_KEY_ID": keys["AccessKeyId"], "AWS_SECRET_ACCESS_KEY": keys["SecretAccessKey"]}
    place.store = {"endpoint": minio_server.endpoint, "bucket": minio_bucket}

    def give(token: str) -> None:
        place.environment["AWS_SESSION_TOKEN"] = token

    def objects() -> Iterator[tuple[str, bytes]]:
        for item in minio_server.root.list_objects_v2(Bucket=minio_bucket)["Contents"]:
            yield item["Key"], minio_server.root.get_object(Bucket=minio_bucket, Key=item["Key"])["Body"].read()

    return Shelf(place, place.policy(), objects, give, keys["SessionToken"], plant("/+="), is_by_hand=True)


def _blobs(ground: AzureGround) -> Iterator[tuple[str, bytes]]:
    container = ground.azurite.container(ground.container)
    for name in container.list_blob_names():
        yield name, container.download_blob(name).readall()


def test_it_is_found_nowhere_and_the_search_finds_what_is_there(shelf: Shelf) -> None:
    shelf.give(shelf.good)
    assert shelf.run("backup", "-f", shelf.policy).succeeded
    shelf.give(shelf.wrong)
    assert shelf.run("backup", "-f", shelf.policy).reason == "StoreAccessDenied"

    texts = {place: "\n".join(said) for place, said in shelf.texts.items()} | texts_of_objects(shelf.objects())
    known = {
        "output": "", "log": "backup", "report": "StoreAccessDenied", "arguments": "pg_dump", "environment": "LC_ALL=C",
        "bucket's documents": shelf.place.database, "bucket's data": "peticoes",
    }  # fmt: skip
    assert texts.keys() == known.keys()
    assert [place for place, text in known.items() if text not in texts[place]] == []
    for secret in (shelf.good, shelf.wrong):
        assert [place for place, text in texts.items() if finds(secret, text)] == []
    assert finds(shelf.good, f"a message that has {shelf.good} in it")
