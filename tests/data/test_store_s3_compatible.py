"""What compatible servers differ in: where requests name the bucket, which authority vouches for them, which checksums they take."""

from __future__ import annotations

import hashlib
import re
import socket
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from resguardo.api.errors import StoreUnreachable
from resguardo.store.ownership import probe_conditional_writes
from resguardo.store.s3 import S3Store
from tests.fixtures.minio import run_minio
from tests.fixtures.place import Place
from tests.fixtures.s3 import ROOT, S3Server
from tests.fixtures.s3_proxy import Harm, Proxy, run_proxy


def store_of(server: S3Server, bucket: str, ca_file: Path | None = None, **changes: Any) -> S3Store:
    spec = server.spec(bucket, prefix="prod")
    document = spec.model_dump(by_alias=True, exclude_none=True) | changes
    return S3Store(type(spec).model_validate(document), ROOT, ca_file, attempts=3, read_seconds=5)


def use_all_of_it(store: S3Store) -> None:
    probe_conditional_writes(store)
    store.put("a/x", b"12345")
    assert store.read_range("a/x", 1, 3) == b"234"
    upload = store.begin_upload("a/y")
    upload.upload_part(1, b"y", start=0, sha256=hashlib.sha256(b"y").digest())
    upload.complete()
    assert [found.key for found in store.list("")] == ["a/x", "a/y"]
    assert list(store.list_folders("")) == ["a"]
    assert store.erase("a/") == {}
    assert list(store.list("")) == []


def hosts_asked(store: S3Store) -> set[str]:
    """Filled while the store is used: the hosts of its requests."""
    hosts: set[str] = set()

    def look(request: Any, **_: Any) -> None:
        hosts.add(re.sub(r"^https?://([^/:]+).*", r"\1", request.url))

    store._client.meta.events.register("before-send.s3", look)
    return hosts


@pytest.fixture(scope="module")
def named_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """One that knows a bucket by its host name, `<bucket>.store.test`, and by the path."""
    with run_minio(tmp_path_factory.mktemp("named"), MINIO_DOMAIN="store.test") as running:
        yield running


class TestAddressing:
    @pytest.fixture(autouse=True)
    def _names(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What a wildcard in DNS does."""
        resolve = socket.getaddrinfo

        def here(host: Any, *args: Any, **options: Any) -> Any:
            return resolve("127.0.0.1" if str(host).endswith("store.test") else host, *args, **options)

        monkeypatch.setattr(socket, "getaddrinfo", here)

    @pytest.mark.parametrize(
        ("changes", "named_by_host"),
        [({}, False), ({"addressing": "Path"}, False), ({"addressing": "Virtual"}, True)],
        ids=["as with any endpoint", "Path", "Virtual"],
    )
    def test_a_bucket_is_named_where_the_policy_says(
        self, named_server: S3Server, changes: dict[str, str], named_by_host: bool
    ) -> None:
        bucket = named_server.make_bucket()
        endpoint = named_server.endpoint.replace("127.0.0.1", "store.test")
        store = store_of(named_server, bucket, endpoint=endpoint, **changes)
        hosts = hosts_asked(store)
        use_all_of_it(store)
        assert hosts == {f"{bucket}.store.test" if named_by_host else "store.test"}

    @pytest.mark.parametrize(
        ("changes", "url"),
        [
            ({}, "https://agepar-backups.s3.sa-east-1.amazonaws.com/"),
            ({"addressing": "Virtual"}, "https://agepar-backups.s3.sa-east-1.amazonaws.com/"),
            ({"addressing": "Path"}, "https://s3.sa-east-1.amazonaws.com/agepar-backups"),
            ({"bucket": "agepar.backups"}, "https://s3.sa-east-1.amazonaws.com/agepar.backups"),
        ],
    )
    def test_of_aws_it_is_the_host_but_for_names_with_dots(
        self, s3_server: S3Server, changes: dict[str, str], url: str
    ) -> None:
        spec = s3_server.spec("agepar-backups")
        document = spec.model_dump(by_alias=True, exclude_none=True, exclude={"endpoint"})
        store = S3Store(type(spec).model_validate(document | {"region": "sa-east-1"} | changes), ROOT, None)

        class Seen(Exception):
            pass

        def stop(request: Any, **_: Any) -> None:
            raise Seen(request.url)

        store._client.meta.events.register("before-send.s3", stop)
        with pytest.raises(Seen, match=f"^{re.escape(url)}"):
            store.head("x")


class TestTls:
    @pytest.fixture
    def folder(self, tmp_path: Path) -> Path:
        """With the certificate of a server at 127.0.0.1, which vouches for itself."""
        certificates = tmp_path / "certs"
        certificates.mkdir()
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=store",
             "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", str(certificates / "private.key"),
             "-out", str(certificates / "public.crt")],
            check=True, capture_output=True,
        )  # fmt: skip
        return certificates

    def test_an_authority_of_ones_own_is_enough_and_without_it_nothing_is_sent(
        self, folder: Path, tmp_path: Path
    ) -> None:
        with run_minio(tmp_path, "--certs-dir", str(folder)) as server:
            root = server.client(verify=str(folder / "public.crt"))
            root.create_bucket(Bucket="agepar-backups")
            ca = {"caRef": {"configMap": {"name": "ca"}}}
            use_all_of_it(store_of(server, "agepar-backups", folder / "public.crt", **ca))
            with pytest.raises(StoreUnreachable, match="name the authority that vouches for it in caRef"):
                store_of(server, "agepar-backups").put("x", b"x")
            assert "Contents" not in root.list_objects_v2(Bucket="agepar-backups")


class TestHabits:
    @pytest.fixture
    def proxy(self, s3_server: S3Server) -> Iterator[Proxy]:
        with run_proxy(s3_server.endpoint) as running:
            yield running

    def test_no_checksum_is_sent_but_the_sha256_of_what_is_written(self, s3_server: S3Server, s3_bucket: str) -> None:
        store, sent = s3_server.store(s3_bucket), set[str]()

        def look(request: Any, **_: Any) -> None:
            if "DeleteObjects" not in str(request.headers):
                sent.update(name.lower() for name in request.headers if "checksum" in name.lower())

        for name in ("PutObject", "UploadPart", "GetObject", "HeadObject", "ListObjectsV2", "CreateMultipartUpload"):
            store._client.meta.events.register(f"before-send.s3.{name}", look)
        use_all_of_it(store)
        assert sent <= {"x-amz-checksum-sha256", "x-amz-checksum-algorithm", "x-amz-checksum-mode"}
        assert "x-amz-checksum-sha256" in sent

    def test_a_server_that_is_asked_too_much_is_asked_again(
        self, s3_server: S3Server, s3_bucket: str, proxy: Proxy
    ) -> None:
        store = s3_server.store(s3_bucket, endpoint=proxy.endpoint)
        for method, within in [("PUT", "/prod/x"), ("GET", "/prod/x"), ("GET", "list-type=2"), ("POST", "uploads")]:
            proxy.harm(Harm.SLOW_DOWN, method, within)
        store.put("x", b"x")
        assert store.get("x", max_bytes=1).body == b"x"
        assert [found.key for found in store.list("")] == ["x"]
        store.begin_upload("y").abort()
        assert proxy.is_spent

    def test_a_listing_goes_on_where_its_line_was_cut(self, s3_server: S3Server, s3_bucket: str, proxy: Proxy) -> None:
        folder = s3_server.folder / s3_bucket / "prod"
        folder.mkdir()
        names = [f"{number:05}" for number in range(2500)]
        for name in names:
            (folder / name).write_bytes(b"x")
        for harm in (Harm.CUT, Harm.BREAK_OFF):
            proxy.harm(harm, "GET", "continuation-token")
        listed = s3_server.store(s3_bucket, endpoint=proxy.endpoint).list("")
        assert [found.key for found in listed] == names
        assert proxy.is_spent
        pages = [line for line in proxy.seen if "list-type=2" in line]
        assert len(pages) == 5, "three pages, and one of them asked for three times; not all from the beginning"

    def test_clocks_that_differ_too_much_are_told_with_both_of_their_times(self, place: Place) -> None:
        if not Path("/usr/bin/faketime").exists():
            pytest.skip("no faketime here: apt-get install faketime")
        ahead, began = replace(place, before=("/usr/bin/faketime", "-f", "+7d")), datetime.now(UTC)
        report = ahead.fail("check", "-f", ahead.policy())
        assert report.reason == "StoreAccessDenied"
        pattern = r"this machine's clock says (\S+), the store's says (\S+), and the store takes no request"
        told = re.search(pattern, report.message)
        assert told, report.message
        pods, stores = (datetime.fromisoformat(text) for text in told.groups())
        assert began - timedelta(seconds=1) <= stores <= datetime.now(UTC)
        assert timedelta(days=6) < pods - stores < timedelta(days=8)
        assert "set the wrong one of the two clocks right" in report.message
