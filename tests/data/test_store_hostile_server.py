"""A store that lies: what it answers is believed only where it can be so, and nothing outside of the prefix is ever touched.

The server is a few lines of Python that answer whatever the test wants: no real one can be made to.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from urllib.parse import parse_qs, urlsplit

import pytest

from resguardo.api import s3 as spec
from resguardo.api.errors import ObjectCorrupt, ResguardoError, StoreError
from resguardo.store.catalogue import read_catalogue
from resguardo.store.s3 import S3Store
from resguardo.store.signatures import ANYBODY
from resguardo.store.trash import read_trash
from tests.fixtures.s3 import ROOT

DATE = "2026-11-26T12:00:00.000Z"
Answer = tuple[int, dict[str, str], bytes]
Answers = Callable[[str, str, dict[str, str]], Answer]


@dataclass
class Liar:
    """Answers as it is told to; what it was asked is kept."""

    port: int = 0
    answer: Answers = lambda _method, _path, _query: (500, {}, b"")
    asked: list[tuple[str, str]] = field(default_factory=list)

    def store(self) -> S3Store:
        place = {"bucket": "bucket", "prefix": "prod", "endpoint": f"http://127.0.0.1:{self.port}", "region": "us-east-1",
                 "credentials": {"secretRef": {"name": "x"}}}  # fmt: skip
        return S3Store(spec.S3Store.model_validate(place), ROOT, None, attempts=1)


@pytest.fixture
def liar() -> Iterator[Liar]:
    told = Liar()

    class Handler(BaseHTTPRequestHandler):
        def _reply(self) -> None:
            parts = urlsplit(self.path)
            self.rfile.read(int(self.headers.get("Content-Length") or 0))
            told.asked.append((self.command, self.path))
            query = {name: values[0] for name, values in parse_qs(parts.query, keep_blank_values=True).items()}
            status, headers, body = told.answer(self.command, parts.path, query)
            self.send_response(status)
            for name, text in (
                {"Content-Length": str(len(body)), "ETag": '"e"', "Last-Modified": "Thu, 26 Nov 2026 12:00:00 GMT"}
                | headers
            ).items():
                if text:
                    self.send_header(name, text)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _reply  # noqa: N815

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    told.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield told
    server.shutdown()
    server.server_close()
    thread.join()


def listing(*keys: str, folders: tuple[str, ...] = (), token: str = "") -> Answer:
    contents = "".join(
        f"<Contents><Key>{key}</Key><Size>1</Size><ETag>e</ETag><LastModified>{DATE}</LastModified></Contents>"
        for key in keys
    )
    common = "".join(f"<CommonPrefixes><Prefix>{folder}</Prefix></CommonPrefixes>" for folder in folders)
    more = f"<IsTruncated>true</IsTruncated><NextContinuationToken>{token}</NextContinuationToken>" if token else ""
    return 200, {}, f"<ListBucketResult>{more}{contents}{common}</ListBucketResult>".encode()


def versions(*keys: str) -> Answer:
    found = "".join(
        f"<Version><Key>{key}</Key><VersionId>1</VersionId><IsLatest>true</IsLatest></Version>" for key in keys
    )
    return 200, {}, f"<ListVersionsResult>{found}</ListVersionsResult>".encode()


def uploads(*keys: str) -> Answer:
    found = "".join(
        f"<Upload><Key>{key}</Key><UploadId>1</UploadId><Initiated>{DATE}</Initiated></Upload>" for key in keys
    )
    return 200, {}, f"<ListMultipartUploadsResult>{found}</ListMultipartUploadsResult>".encode()


OUTSIDE = ["other/backups/x", "prod", "production/x", "prod/../other/x", "/prod/backups/x", ""]


@pytest.mark.parametrize("key", OUTSIDE)
def test_what_lies_outside_of_the_prefix_is_no_answer_to_a_listing(liar: Liar, key: str) -> None:
    """A proxy that drops the parameter does the same as an attacker."""
    liar.answer = lambda *_: listing(key, folders=(f"{key}/",))
    for call in (lambda: list(liar.store().list("backups/")), lambda: list(liar.store().list_folders("backups/"))):
        with pytest.raises(StoreError, match="was not asked for"):
            call()


@pytest.mark.parametrize("key", OUTSIDE)
@pytest.mark.parametrize("is_versioned", [False, True])
def test_nothing_outside_of_the_prefix_is_erased_or_aborted(liar: Liar, key: str, is_versioned: bool) -> None:
    def answer(method: str, _path: str, query: dict[str, str]) -> Answer:
        if "versioning" in query:
            return 200, {}, b"<VersioningConfiguration><Status>Enabled</Status></VersioningConfiguration>" if is_versioned else b"<VersioningConfiguration/>"  # fmt: skip
        if "uploads" in query:
            return uploads("prod/backups/x/data", key)
        if method == "GET":
            return versions("prod/backups/x/data", key) if "versions" in query else listing("prod/backups/x/data", key)
        return 204, {}, b""

    liar.answer = answer
    with pytest.raises(StoreError, match="was not asked for"):
        liar.store().erase("backups/x/")
    with pytest.raises(StoreError, match="was not asked for"):
        liar.store().abort_uploads("backups/")
    assert [method for method, _ in liar.asked if method in ("DELETE", "POST")] == []


def test_pages_that_never_end(liar: Liar) -> None:
    numbers = count()
    liar.answer = lambda *_: listing("prod/backups/x", token=f"t{next(numbers)}")
    with pytest.raises(StoreError, match="begins again"):
        list(liar.store().list("backups/"))
    liar.answer = lambda *_: listing(folders=("prod/backups/x/",), token=f"t{next(numbers)}")
    with pytest.raises(StoreError, match="begins again"):
        list(liar.store().list_folders("backups/"))
    liar.answer = lambda *_: listing("prod/backups/x", token="always the same")
    with pytest.raises(StoreError):
        list(liar.store().list("backups/"))
    assert len(liar.asked) < 10


LAUGHS = '<!DOCTYPE r [<!ENTITY a0 "ha">' + "".join(
    f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 12)
) + "]><ListBucketResult><Contents><Key>&a11;</Key></Contents></ListBucketResult>"  # fmt: skip


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param((200, {}, b"<html>Log in</html>"), id="a page to log in"),
        pytest.param((200, {}, b"<ListBucketResult><Contents>"), id="XML without an end"),
        pytest.param((200, {}, b"\x00\xff"), id="noise"),
        pytest.param((200, {}, LAUGHS.encode()), id="a billion laughs"),
        pytest.param((200, {}, b'<!DOCTYPE r [<!ENTITY x SYSTEM "file:///etc/passwd">]><ListBucketResult><Contents><Key>prod/backups/&x;</Key></Contents></ListBucketResult>'), id="a file of ours"),
        pytest.param((200, {}, b"<ListBucketResult><Contents><Key>prod/backups/x</Key></Contents></ListBucketResult>"), id="an object without size"),
        pytest.param((200, {}, b"<ListBucketResult><Contents><Size>many</Size></Contents></ListBucketResult>"), id="a size that is none"),
        pytest.param((200, {}, b"<ListBucketResult><Contents><Key>prod/backups/x</Key><LastModified>yesterday</LastModified></Contents></ListBucketResult>"), id="a date that is none"),
        pytest.param((302, {"Location": "http://127.0.0.1:1/"}, b""), id="a way elsewhere"),
        pytest.param((200, {"Content-Length": "", "Last-Modified": ""}, b"{}"), id="no headers"),
        pytest.param((200, {"Last-Modified": "yesterday"}, b"{}"), id="a header that is none"),
        pytest.param((200, {"Content-Length": "-1"}, b"{}"), id="a negative length"),
        pytest.param((200, {"Content-Length": "x"}, b"{}"), id="a length that is none"),
        pytest.param((200, {"Content-Length": "99999999999"}, b"{}"), id="a length beyond all bounds"),
        pytest.param((200, {"ETag": ""}, b""), id="nothing"),
        pytest.param((500, {}, b"<Error><Code>\x1b[31m</Code></Error>"), id="an error that speaks to the terminal"),
    ],
)  # fmt: skip
def test_an_answer_that_is_none_of_s3s_is_an_error_of_the_store(liar: Liar, answer: Answer) -> None:
    liar.answer = lambda *_: answer
    store = liar.store()
    calls: list[Callable[[], object]] = [
        lambda: store.get("resguardo.json", max_bytes=4096),
        lambda: store.head("x"),
        lambda: list(store.list("backups/")),
        lambda: list(store.list_folders("backups/")),
        lambda: store.read_range("x", 0, 10),
        lambda: store.put("x", b"{}"),
        lambda: store.begin_upload("x"),
        lambda: store.erase("backups/x/"),
        lambda: store.abort_uploads("backups/"),
        lambda: store.is_locked("x"),
        store.default_lock,
        lambda: store.availability("x"),
        store.clock,
        lambda: read_catalogue(store, ANYBODY),
        lambda: read_trash(store),
    ]
    # What takes the library a second each time is tried where it is read differently.
    for call in calls if len(answer[2]) < 300 and answer[0] != 302 else calls[:3]:
        try:
            call()
        except ResguardoError:
            continue  # an answer that says nothing ("there is nothing") is none either


def test_a_body_that_is_longer_than_it_said_is_not_read(liar: Liar) -> None:
    liar.answer = lambda *_: (200, {"Content-Length": "4"}, b"{}" + b"x" * 1000)
    assert len(liar.store().get("x", max_bytes=4096).body) == 4
    liar.answer = lambda *_: (200, {}, b"x" * 5000)
    with pytest.raises(ObjectCorrupt, match="never has more than 4096"):
        liar.store().get("x", max_bytes=4096)
