"""Who one is to Azure Blob Storage, and whom one speaks to: keys, signatures, tokens and TLS, on azurite.

azurite gives out no tokens, and looks at little of one: what stands in for Microsoft Entra is said where it does.
"""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
import ssl
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from resguardo.api import azure as spec
from resguardo.api.errors import (
    BucketNotFound,
    CredentialsMissing,
    StoreAccessDenied,
    StoreError,
    StoreUnreachable,
)
from resguardo.store.azure import AccountKey, AzureStore, SasToken
from resguardo.store.azure_identity import federated
from resguardo.store.ownership import probe_conditional_writes
from tests.fixtures.azurite import ACCOUNT, Azurite, run_azurite
from tests.fixtures.azurite import KEY as ACCOUNT_KEY
from tests.fixtures.servers import free_port


class TestCredentials:
    def test_a_signature_that_may_all_does_all(self, azurite: Azurite, azure_container: str) -> None:
        store = azurite.store(azure_container, login=SasToken("?" + azurite.sas(azure_container, "rcwdxl")))
        probe_conditional_writes(store)
        assert list(store.list("")) == []

    @pytest.mark.parametrize(
        ("permissions", "action"),
        [("cwdl", "blobs/read on"), ("rcwd", "blobs/read (list)"), ("rl", "blobs/delete|blobs/write")],
    )
    def test_what_a_signature_may_not_is_named(
        self, azurite: Azurite, azure_container: str, permissions: str, action: str
    ) -> None:
        store = azurite.store(azure_container, login=SasToken(azurite.sas(azure_container, permissions)))
        with pytest.raises(StoreAccessDenied, match=action.replace("(", r"\(").replace(")", r"\)")):
            probe_conditional_writes(store)

    def test_a_writer_that_may_not_delete_leaves_one_probe_and_no_empty_blob_of_an_upload(
        self, azurite: Azurite, azure_container: str
    ) -> None:
        store = azurite.store(azure_container, login=SasToken(azurite.sas(azure_container, "rcwl")))
        for _ in range(2):
            probe_conditional_writes(store)
        upload = store.begin_upload("big")
        upload.upload_part(1, b"x", start=0, sha256=hashlib.sha256(b"x").digest())
        upload.abort()
        assert [found.key for found in store.list("")] == ["probe.json", "probe.json.upload"]

    @pytest.mark.parametrize(
        "login",
        [
            AccountKey(base64.b64encode(b"another key").decode()),
            SasToken("sv=2024-11-04&sr=c&sp=rl&se=2999-01-01T00%3A00%3A00Z&sig=c2lnbmF0dXJl"),
        ],
        ids=["key", "signature"],
    )
    def test_a_wrong_one_is_told_with_both_clocks(
        self, azurite: Azurite, azure_container: str, login: AccountKey | SasToken
    ) -> None:
        with pytest.raises(StoreAccessDenied, match="refuses the key, signature or identity") as raised:
            azurite.store(azure_container, login=login).head("x")
        assert f"{datetime.now(UTC):%Y-%m-%dT}" in str(raised.value)

    def test_an_expired_signature_is_refused(self, azurite: Azurite, azure_container: str) -> None:
        store = azurite.store(azure_container, login=SasToken(azurite.sas(azure_container, "rcwdxl", hours=-1)))
        with pytest.raises(StoreAccessDenied, match="has expired"):
            store.head("x")

    @pytest.mark.parametrize(
        ("login", "message"),
        [
            (AccountKey(""), "account's key is empty"),
            (AccountKey("a2V5\n"), "line's end"),
            (SasToken("sv=2024"), "no signature"),
            (SasToken("sig=é"), "no HTTP header can carry"),
        ],
    )
    def test_what_no_request_could_carry_is_refused_at_once(
        self, azurite: Azurite, login: AccountKey | SasToken, message: str
    ) -> None:
        with pytest.raises(CredentialsMissing, match=message):
            azurite.store("container", login=login)

    def test_a_key_that_is_none_is_told(self, azurite: Azurite) -> None:
        with pytest.raises(StoreError, match="key"):
            azurite.store("container", login=AccountKey("no base64!")).head("x")

    def test_no_secret_is_in_any_message_or_repr(self, azurite: Azurite, azure_container: str) -> None:
        token = azurite.sas(azure_container, "rcwdxl")
        signature = token.split("sig=")[1].split("&")[0]
        dead = spec.AzureStore.model_validate(
            azurite.spec(azure_container).model_dump(by_alias=True, exclude_none=True)
            | {"endpoint": f"http://127.0.0.1:{free_port()}/{ACCOUNT}"}
        )
        login = SasToken(token)
        with pytest.raises(StoreUnreachable) as raised:
            AzureStore(dead, login, None, attempts=1).get("x", max_bytes=1)
        assert "no answer to" in str(raised.value)
        assert signature not in f"{raised.value} {login} {AccountKey('secret')}"
        assert "secret" not in repr(AccountKey("secret"))


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with tls.crt and tls.key for 127.0.0.1, which vouches for itself."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", str(folder / "tls.key"), "-out", str(folder / "tls.crt"),
         "-days", "2", "-subj", "/CN=azurite", "-addext", "subjectAltName=IP:127.0.0.1"],
        check=True, capture_output=True,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def secure(certificate: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """An emulator that speaks TLS, and asks for tokens."""
    root = tmp_path_factory.mktemp("azurite-tls")
    with run_azurite(
        root, "--cert", str(certificate / "tls.crt"), "--key", str(certificate / "tls.key"), "--oauth", "basic"
    ) as server:
        yield server


def _secure_store(secure: Azurite, login: Any, ca_file: Path | None) -> AzureStore:
    return AzureStore(secure.spec("backups", prefix="prod"), login, ca_file, attempts=1)


class TestTls:
    def test_a_server_of_an_authority_that_was_named_is_spoken_to_and_no_other(
        self, secure: Azurite, certificate: Path
    ) -> None:
        with pytest.raises(BucketNotFound):
            _secure_store(secure, ACCOUNT_KEY, certificate / "tls.crt").head("x")
        with pytest.raises(
            StoreUnreachable, match=r"no trusted TLS to .*name the authority that vouches for it in caRef"
        ):
            _secure_store(secure, ACCOUNT_KEY, None).head("x")


TENANT = "0b5a1c9e-6b1c-4b37-9d54-52a1c7b1f9aa"


@pytest.fixture
def authority(certificate: Path) -> Iterator[tuple[str, list[str]]]:
    """Played: Microsoft Entra's token endpoint. Its token is one that azurite takes: it looks at issuer, audience and times."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            now = int(time.time())
            claims = {
                "aud": "https://storage.azure.com", "iss": f"https://sts.windows.net/{TENANT}/", "iat": now - 60, "nbf": now - 60, "exp": now + 3600,
            }  # fmt: skip
            token = ".".join(_base64(json.dumps(part).encode()) for part in ({"alg": "RS256", "typ": "JWT"}, claims))
            self._answer(
                {"token_type": "Bearer", "expires_in": 3600, "access_token": f"{token}.{_base64(b'unsigned')}"}
            )

        def do_GET(self) -> None:
            base = f"https://127.0.0.1:{self.server.server_address[1]}/{TENANT}"
            self._answer(
                {
                    "token_endpoint": f"{base}/oauth2/v2.0/token",
                    "authorization_endpoint": f"{base}/authorize",
                    "issuer": f"{base}/v2.0",
                }
            )

        def _answer(self, body: dict[str, Any]) -> None:
            content = json.dumps(body).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate / "tls.crt", certificate / "tls.key")
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield f"https://127.0.0.1:{server.server_address[1]}", asked
    server.shutdown()
    server.server_close()


def _base64(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


class TestWorkloadIdentity:
    def test_a_service_accounts_token_is_exchanged_for_one_that_the_store_takes(
        self, secure: Azurite, authority: tuple[str, list[str]], certificate: Path, tmp_path: Path
    ) -> None:
        endpoint, asked = authority
        (tmp_path / "token").write_text("the service account's token")
        login = federated(
            client_id="client", tenant_id=TENANT, token_file=tmp_path / "token", authority=endpoint,
            connection_verify=str(certificate / "tls.crt"),
        )  # fmt: skip
        store = _secure_store(secure, login, certificate / "tls.crt")
        with pytest.raises(BucketNotFound):
            store.head("x")  # the store took the token, or it would have said so
        assert "client_assertion=the+service+account%27s+token" in asked[-1]
        assert "client_id=client" in asked[-1]

    def test_no_token_is_told_as_what_it_is(self, secure: Azurite, certificate: Path, tmp_path: Path) -> None:
        (tmp_path / "token").write_text("the service account's token")
        login = federated(
            client_id="client", tenant_id=TENANT, token_file=tmp_path / "token",
            authority=f"https://127.0.0.1:{free_port()}", retry_total=0,
        )  # fmt: skip
        with pytest.raises(StoreError) as raised:
            _secure_store(secure, login, certificate / "tls.crt").head("x")
        assert raised.value.reason in ("StoreUnreachable", "StoreAccessDenied")
        assert "the service account's token" not in str(raised.value)
