"""A store that lies: what it answers is believed only where it can be so, and nothing outside of the prefix is ever touched.

The servers are a few lines of Python that answer whatever the test wants, as S3 or as Azure would put it: no real one can be made to.
What a folder can do is in test_store_hostile_folder.py.
"""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from urllib.parse import parse_qs, urlsplit

import pytest

from resguardo.api import azure, s3
from resguardo.api.errors import ObjectCorrupt, ResguardoError, StoreError, StoreUnreachable
from resguardo.store.azure import AzureStore
from resguardo.store.catalogue import read_catalogue
from resguardo.store.protocol import Store
from resguardo.store.s3 import S3Store
from resguardo.store.signatures import ANYBODY
from resguardo.store.trash import read_trash
from tests.fixtures.azurite import KEY
from tests.fixtures.s3 import ROOT

MIB = 1024 * 1024
DATE = "2026-11-26T12:00:00.000Z"
HTTP_DATE = "Thu, 26 Nov 2026 12:00:00 GMT"
Answer = tuple[int, dict[str, str], bytes | Iterator[bytes]]
Answers = Callable[[str, str, dict[str, str]], Answer]


@dataclass
class Liar:
    """Answers as it is told to; what it was asked is kept."""

    port: int = 0
    answer: Answers = lambda _method, _path, _query: (500, {}, b"")
    asked: list[tuple[str, str]] = field(default_factory=list)

    def store(self) -> Store:
        """The store under test, over the prefix `prod`."""
        place = {"bucket": "bucket", "prefix": "prod", "endpoint": f"http://127.0.0.1:{self.port}", "region": "us-east-1",
                 "credentials": {"secretRef": {"name": "x"}}}  # fmt: skip
        return S3Store(s3.S3Store.model_validate(place), ROOT, None, attempts=1)

    def listing(
        self, *keys: str, folders: tuple[str, ...] = (), token: str = "", size: str = "1", date: str = DATE
    ) -> Answer:
        """A page of a listing of objects."""
        contents = "".join(
            f"<Contents><Key>{key}</Key><Size>{size}</Size><ETag>e</ETag><LastModified>{date}</LastModified></Contents>"
            for key in keys
        )
        common = "".join(f"<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>" for folder in folders)
        more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>" if token else ""
        return 200, {}, f"<ListBucketResult>{more}{contents}{common}</ListBucketResult>".encode()

    def versions(self, *keys: str) -> Answer:
        """A page of a listing of versions."""
        found = "".join(
            f"<Version><Key>{key}</Key><VersionId>1</VersionId><IsLatest>true</IsLatest></Version>" for key in keys
        )
        return 200, {}, f"<ListVersionsResult>{found}</ListVersionsResult>".encode()

    def uploads(self, *keys: str, token: str = "") -> Answer:
        """A page of a listing of uploads that were not completed."""
        more = f"<IsTruncated>true</IsTruncated><NextKeyMarker>{token}</NextKeyMarker>" if token else ""
        found = "".join(
            f"<Upload><Key>{key}</Key><UploadId>1</UploadId><Initiated>{DATE}</Initiated></Upload>" for key in keys
        )
        return 200, {}, f"<ListMultipartUploadsResult>{more}{found}</ListMultipartUploadsResult>".encode()

    def what_is(self, query: dict[str, str]) -> str:
        """What a GET asks for: listing, versions, uploads, whether versions are kept, or an object."""
        asked = {"versioning": "versioning", "versions": "versions", "uploads": "uploads", "list-type": "listing"}
        return next((what for name, what in asked.items() if name in query), "object")


@dataclass
class AzureLiar(Liar):
    """The same as Azure Blob Storage puts it."""

    dates = ("Mon, 01 Jan 0001 00:00:00 GMT", "Fri, 31 Dec 9999 23:59:59 GMT")

    def store(self) -> Store:
        place = {"account": "agepar", "container": "bucket", "prefix": "prod", "endpoint": f"http://127.0.0.1:{self.port}/agepar",
                 "credentials": {"accountKeySecretRef": {"name": "x"}}}  # fmt: skip
        return AzureStore(azure.AzureStore.model_validate(place), KEY, None, attempts=1)

    def listing(
        self, *keys: str, folders: tuple[str, ...] = (), token: str = "", size: str = "1", date: str = HTTP_DATE
    ) -> Answer:
        return self._page("".join(self._blob(key, size, date) for key in keys), folders, token)

    def versions(self, *keys: str) -> Answer:
        return self._page("".join(self._blob(key, version="1") for key in keys))

    def uploads(self, *keys: str, token: str = "") -> Answer:
        return self.listing(*keys, size="0", token=token)

    def what_is(self, query: dict[str, str]) -> str:
        if query.get("comp") != "list":
            return "object"
        return {"versions": "versions", "uncommittedblobs": "uploads"}.get(query.get("include", ""), "listing")

    def _blob(self, name: str, size: str = "1", date: str = HTTP_DATE, version: str = "") -> str:
        return (
            f"<Blob><Name>{name}</Name>{f'<VersionId>{version}</VersionId>' if version else ''}<Properties><Last-Modified>{date}"
            f"</Last-Modified><Etag>e</Etag><Content-Length>{size}</Content-Length><BlobType>BlockBlob</BlobType></Properties></Blob>"
        )

    def _page(self, blobs: str, folders: tuple[str, ...] = (), token: str = "") -> Answer:
        common = "".join(f"<BlobPrefix><Name>{folder}</Name></BlobPrefix>" for folder in folders)
        text = (
            f"<EnumerationResults><Blobs>{blobs}{common}</Blobs><NextMarker>{token}</NextMarker></EnumerationResults>"
        )
        return 200, {"Content-Type": "application/xml"}, text.encode()


@pytest.fixture(params=[Liar, AzureLiar], ids=["s3", "azure"])
def liar(request: pytest.FixtureRequest) -> Iterator[Liar]:
    """A server of each kind in turn."""
    told: Liar = request.param()

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            parts = urlsplit(self.path)
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            told.asked.append((self.command, self.path))
            query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
            status, headers, body = told.answer(self.command, parts.path, query)
            self.send_response(status)
            pieces = [body] if isinstance(body, bytes) else body
            for name, text in (
                {
                    "Content-Length": str(len(body)) if isinstance(body, bytes) else "",
                    "ETag": '"e"',
                    "Last-Modified": HTTP_DATE,
                }
                | headers
            ).items():
                if text:
                    self.send_header(name, text)
            self.send_header("Connection", "close")
            self.end_headers()
            with suppress(ConnectionError):
                for piece in pieces:
                    self.wfile.write(piece)

        protocol_version = "HTTP/1.1"  # which has an answer for who expects one before he sends
        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _reply  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield told
    server.shutdown()
    server.server_close()
    thread.join()


OUTSIDE = ["other/backups/x", "prod", "production/x", "prod/../other/x", "/prod/backups/x", ""]


@pytest.mark.parametrize("key", OUTSIDE)
def test_what_lies_outside_of_the_prefix_is_no_answer_to_a_listing(liar: Liar, key: str) -> None:
    """A proxy that drops the parameter does the same as an attacker."""
    liar.answer = lambda *_: liar.listing(key, folders=(f"{key}/",))
    for call in (lambda: list(liar.store().list("backups/")), lambda: list(liar.store().list_folders("backups/"))):
        with pytest.raises(StoreError, match="was not asked for"):
            call()


@pytest.mark.parametrize("key", OUTSIDE)
@pytest.mark.parametrize("is_versioned", [False, True])
def test_nothing_outside_of_the_prefix_is_erased_or_aborted(liar: Liar, key: str, is_versioned: bool) -> None:
    keys = ("prod/backups/x/data", key)
    answers: dict[str, Callable[[], Answer]] = {
        "versioning": lambda: (200, {}, b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>" if is_versioned else b"<VersioningConfiguration/>"),
        "versions": lambda: liar.versions(*keys),
        "uploads": lambda: liar.uploads(*keys),
        # Where versions are looked at, their listing alone is the one that lies.
        "listing": lambda: liar.listing(keys[0]) if is_versioned else liar.listing(*keys),
        "object": lambda: (404, {"x-ms-error-code": "BlobNotFound"}, b""),
    }  # fmt: skip
    liar.answer = lambda method, _path, query: answers[liar.what_is(query)]() if method == "GET" else (202, {}, b"")
    with pytest.raises(StoreError, match="was not asked for"):
        liar.store().erase("backups/x/")
    with pytest.raises(StoreError, match="was not asked for"):
        liar.store().abort_uploads("backups/")
    touched = [path for method, path in liar.asked if method not in ("GET", "HEAD")]
    assert all("prod/backups/x/data" in path for path in touched), touched
    assert "POST" not in {method for method, _ in liar.asked}


def test_pages_that_never_end(liar: Liar) -> None:
    numbers = count()
    liar.answer = lambda *_: liar.listing("prod/backups/x", token=f"t{next(numbers)}")
    with pytest.raises(StoreError, match="begins again"):
        list(liar.store().list("backups/"))
    liar.answer = lambda *_: liar.listing(folders=("prod/backups/x/",), token=f"t{next(numbers)}")
    with pytest.raises(StoreError, match="begins again"):
        list(liar.store().list_folders("backups/"))
    liar.answer = lambda _method, _path, query: (
        liar.uploads("prod/backups/x", token="always the same")
        if liar.what_is(query) == "uploads"
        else liar.listing("prod/backups/x", token="always the same")
    )
    for call in (
        lambda: list(liar.store().list("backups/")),
        lambda: liar.store().erase("backups/"),
        lambda: liar.store().abort_uploads("backups/"),
    ):
        with pytest.raises(StoreError):
            call()
    assert len(liar.asked) < 20


LAUGHS = '<!DOCTYPE r [<!ENTITY a0 "ha">' + "".join(
    f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12)
) + "]>"  # fmt: skip
OURS = '<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]>'


def after(before: str, answer: Answer) -> Answer:
    """An answer with something before it."""
    return answer[0], answer[1], before.encode() + whole(answer)


def whole(answer: Answer) -> bytes:
    """The body of an answer that has an end."""
    assert isinstance(answer[2], bytes)
    return answer[2]


BAD: dict[str, Callable[[Liar], Answer]] = {
    "a page to log in": lambda _: (200, {}, b"<html>Log in</html>"),
    "another kind's listing": lambda _: (200, {}, b"<SomethingElse><Contents/></SomethingElse>"),
    "XML without an end": lambda liar: (200, {}, whole(liar.listing("prod/backups/x"))[:60]),
    "noise": lambda _: (200, {}, b"\x00\xff"),
    "nothing": lambda _: (200, {}, b""),
    "nothing, of no ETag": lambda _: (200, {"ETag": ""}, b""),
    "a billion laughs": lambda liar: after(LAUGHS, liar.listing("prod/backups/&a11;")),
    "a file of ours": lambda liar: after(OURS, liar.listing("prod/backups/&x;")),
    "an object without a size": lambda liar: liar.listing("prod/backups/x", size=""),
    "a size that is none": lambda liar: liar.listing("prod/backups/x", size="many"),
    "a date that is none": lambda liar: liar.listing("prod/backups/x", date="yesterday"),
    "a time before all": lambda liar: liar.listing("prod/backups/x", date=liar.dates[0]),
    "a time after all": lambda liar: liar.listing("prod/backups/x", date=liar.dates[1]),
    "a header of a time before all": lambda _: (
        200,
        {"Last-Modified": AzureLiar.dates[0], "Date": AzureLiar.dates[0]},
        b"{}",
    ),
    "a header of a time after all": lambda _: (
        200,
        {"Last-Modified": AzureLiar.dates[1], "Date": AzureLiar.dates[1]},
        b"{}",
    ),
    "a way elsewhere": lambda _: (302, {"Location": "http://127.0.0.1:1/"}, b""),
    "no headers": lambda _: (200, {"Content-Length": "", "Last-Modified": "", "ETag": ""}, b"{}"),
    "a time in a header that is none": lambda _: (200, {"Last-Modified": "yesterday"}, b"{}"),
    "a negative length": lambda _: (200, {"Content-Length": "-1"}, b"{}"),
    "a length that is none": lambda _: (200, {"Content-Length": "x"}, b"{}"),
    "a length beyond all bounds": lambda _: (200, {"Content-Length": "99999999999"}, b"{}"),
    "a range that is none": lambda _: (206, {"Content-Range": "bytes x"}, b"{}"),
    "a range of something else": lambda _: (206, {"Content-Range": "bytes 5-1/-1"}, b"{}"),
    "packed noise": lambda _: (200, {"Content-Encoding": "gzip"}, b"{}"),
    "JSON": lambda _: (200, {"Content-Type": "application/json"}, b"{}"),
    "another form of listing": lambda _: (200, {"Content-Type": "application/vnd.apache.arrow.stream"}, b"{}"),
    "an error that speaks to the terminal": lambda _: (500, {}, b"<Error><Code>\x1b[31m</Code></Error>"),
    "an error in a thousand folds": lambda _: (400, {}, b"<Error>" * 100_000),
}
#: What the libraries are at for a second is tried where it is read differently.
SLOW = {"a way elsewhere", "a billion laughs", "a file of ours", "an error in a thousand folds"}


@pytest.mark.parametrize("what", BAD)
def test_an_answer_that_is_none_of_the_kinds_is_an_error_of_the_store(liar: Liar, what: str) -> None:
    liar.answer = lambda *_: BAD[what](liar)
    store = liar.store()
    calls: list[Callable[[], object]] = [
        lambda: store.get("resguardo.json", max_bytes=4096),
        lambda: store.head("x"),
        lambda: list(store.list("backups/")),
        lambda: list(store.list_folders("backups/")),
        lambda: store.read_range("x", 0, 10),
        lambda: store.put("x", b"{}"),
        lambda: store.add("x", b"{}", content_type="application/json"),
        lambda: _upload(store),
        lambda: store.delete("x"),
        lambda: store.erase("backups/x/"),
        lambda: store.abort_uploads("backups/"),
        lambda: store.is_locked("x"),
        store.default_lock,
        lambda: store.special_rights("x"),
        lambda: store.availability("x"),
        lambda: store.bring_back("x", keep=timedelta(days=1)),
        store.clock,
        lambda: read_catalogue(store, ANYBODY),
        lambda: read_trash(store),
    ]
    for call in calls[:3] if what in SLOW else calls:
        try:
            call()
        except ResguardoError:
            continue  # an answer that says nothing ("there is nothing") is none either


def _upload(store: Store) -> None:
    upload = store.begin_upload("x")
    upload.upload_part(1, b"x", start=0, sha256=hashlib.sha256(b"x").digest())
    upload.complete()


def test_a_body_that_is_longer_than_it_said_is_not_read(liar: Liar) -> None:
    liar.answer = lambda *_: (206, {"Content-Length": "4", "Content-Range": "bytes 0-3/4"}, b"{}" + b"x" * 1000)
    assert len(liar.store().get("x", max_bytes=4096).body) == 4
    liar.answer = lambda *_: (206, {"Content-Range": "bytes 0-4096/5000"}, b"x" * 5000)
    with pytest.raises(ObjectCorrupt, match="never has more than 4096"):
        liar.store().get("x", max_bytes=4096)


class TestLength:
    """What is read whole into memory has a bound, whatever is claimed; what is read as it comes is bounded by who reads it."""

    @pytest.mark.parametrize("status", [200, 404])
    def test_an_answer_without_an_end_is_an_error(self, liar: Liar, status: int) -> None:
        sent: list[int] = []

        def endless() -> Iterator[bytes]:
            yield whole(liar.listing("prod/backups/x")).partition(b"</")[0]
            while True:
                sent.append(MIB)
                yield b" " * MIB

        liar.answer = lambda *_: (status, {"Content-Type": "application/xml"}, endless())
        store = liar.store()
        calls: list[Callable[[], object]] = [
            lambda: list(store.list("backups/")),
            lambda: list(store.list_folders("backups/")),
            lambda: store.put("x", b"{}"),
            lambda: store.delete("x"),
            lambda: store.erase("backups/x/"),
            lambda: _upload(store),
            store.clock,
        ]
        if status == 404:
            calls.append(lambda: store.get("x", max_bytes=4096))
            calls.append(lambda: store.read_range("x", 0, 10))
        for call in calls:
            sent.clear()
            liar.asked.clear()
            with pytest.raises(StoreError, match=r"more than the (4\.0MiB|256KiB) that it can have"):
                call()
            # What is on its way when it is closed is sent too.
            assert len(sent) < 12 * len(liar.asked)

    def test_an_answer_that_breaks_off_is_still_unreachable_and_asked_for_again(self, liar: Liar) -> None:
        """The bound stands where the libraries tell a broken answer from a whole one."""
        liar.answer = lambda *_: (200, {"Content-Length": "", "Transfer-Encoding": "chunked"}, b"ff\r\nhalf")
        with pytest.raises(StoreUnreachable):
            list(liar.store().list("backups/"))

    @pytest.mark.parametrize("liar", [AzureLiar], indirect=True)
    def test_a_listing_that_unpacks_to_more_is_an_error(self, liar: Liar) -> None:
        packed = gzip.compress(b"<EnumerationResults>" + b" " * 100 * MIB)
        liar.answer = lambda *_: (200, {"Content-Encoding": "gzip", "Content-Type": "application/xml"}, packed)
        with pytest.raises(StoreError, match=r"more than the 4\.0MiB"):
            list(liar.store().list("backups/"))

    @pytest.mark.parametrize("liar", [AzureLiar], indirect=True)
    def test_a_blob_that_says_it_is_packed_is_read_as_it_was_stored(self, liar: Liar) -> None:
        packed = gzip.compress(b" " * MIB)
        said = {"Content-Encoding": "gzip", "Content-Range": f"bytes 0-{len(packed) - 1}/{len(packed)}"}
        liar.answer = lambda *_: (206, said, packed)
        assert liar.store().get("x", max_bytes=4096).body == packed
        assert liar.store().read_range("x", 0, len(packed)) == packed

    def test_more_of_a_range_than_was_asked_for_is_refused(self, liar: Liar) -> None:
        """A server that passes over the range, and says so, or not."""
        for said in ("", "bytes 0-9/20971520"):
            liar.answer = lambda *_, said=said: (200, {"Content-Range": said}, b"x" * 20 * MIB)
            with pytest.raises(StoreError):
                liar.store().read_range("x", 0, 10)


OTHERWISE: dict[str, dict[str, str]] = {
    "no length": {"Content-Length": ""},
    "no ETag": {"ETag": ""},
    "no time": {"Last-Modified": ""},
    "another ETag": {"ETag": '"another"'},
    "another length": {"Content-Length": "5"},
    "a negative length": {"Content-Length": "-1"},
    "a checksum that is none": {"x-amz-checksum-sha256": "é"},
    "another checksum": {"x-amz-checksum-sha256": "AAAA"},
}


@pytest.mark.parametrize("what", OTHERWISE)
def test_an_upload_that_was_completed_is_believed_only_as_far_as_the_object_shows_it(liar: Liar, what: str) -> None:
    """It is asked what stands there, and that has to be what was sent."""
    said: dict[str, str] = {}
    begun = b"<InitiateMultipartUploadResult><UploadId>1</UploadId></InitiateMultipartUploadResult>"
    done = b'<CompleteMultipartUploadResult><ETag>"e"</ETag></CompleteMultipartUploadResult>'

    def answer(method: str, _path: str, query: dict[str, str]) -> Answer:
        if method == "HEAD":
            return 200, {"Content-Length": "1"} | said, b""
        return 201 if method == "PUT" else 200, {}, begun if "uploads" in query else done if method == "POST" else b""

    liar.answer = answer
    _upload(liar.store())
    said.update(OTHERWISE[what])
    if not (isinstance(liar, AzureLiar) and "checksum" in what):
        with pytest.raises(StoreError):
            _upload(liar.store())
    if what in ("no length", "no ETag", "no time", "another ETag"):
        with pytest.raises(StoreError):
            liar.store().add("x", b"x", content_type="text/plain")
