"""Connecting to a real PostgreSQL: what each everyday mistake says, and what the role's or database's settings cannot do."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from resguardo.api.connection import SslMode
from resguardo.api.errors import (
    AuthenticationFailed,
    CredentialsMissing,
    DatabaseNotFound,
    DatabaseUnreachable,
    LockTimeout,
    PermissionDenied,
    PoolerInBetween,
    ResguardoError,
    TlsFailed,
)
from resguardo.postgres.connection import Login, Server
from resguardo.postgres.rights import check_server
from resguardo.postgres.run import run, tool
from tests.fixtures.postgres import SUPERUSER_PASSWORD, PostgresServer, start_postgres

AT_ONCE = timedelta(0)


def refusal(login: Login, scratch: Path, database: str = "postgres") -> ResguardoError:
    with pytest.raises(ResguardoError) as caught, Server(login, scratch, patience=AT_ONCE) as server:
        server.connect(database).close()
    return caught.value


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class TestEverydayMistakes:
    def test_a_host_that_nobody_knows(self, postgres_server: PostgresServer, tmp_path: Path) -> None:
        error = refusal(replace(postgres_server.login, host="db-prod.invalid"), tmp_path)
        assert isinstance(error, DatabaseUnreachable)
        assert "db-prod.invalid" in str(error)
        assert "look at host" in str(error)

    def test_a_port_where_nothing_listens(self, postgres_server: PostgresServer, tmp_path: Path) -> None:
        port = unused_port()
        error = refusal(replace(postgres_server.login, host="127.0.0.1", port=port), tmp_path)
        assert isinstance(error, DatabaseUnreachable)
        assert f"127.0.0.1:{port}" in str(error)
        assert "nothing listens there" in str(error)

    def test_a_host_that_never_answers_is_given_up_in_time(self, tmp_path: Path) -> None:
        with socket.socket() as silent:
            silent.bind(("127.0.0.1", 0))
            silent.listen()
            login = Login("127.0.0.1", silent.getsockname()[1], SslMode.DISABLE, "a", "b")
            began = time.monotonic()
            with (
                Server(login, tmp_path, patience=AT_ONCE) as server,
                pytest.raises(DatabaseUnreachable, match="no answer"),
            ):
                server.connect("postgres", connect_timeout=timedelta(seconds=2))
            assert time.monotonic() - began < 30

    def test_a_database_that_is_not_there(self, postgres_server: PostgresServer, tmp_path: Path) -> None:
        error = refusal(postgres_server.login, tmp_path, "agepar prod")
        assert isinstance(error, DatabaseNotFound)
        assert "database agepar prod on" in str(error)

    @pytest.mark.parametrize("host", [None, "127.0.0.1"])
    def test_a_wrong_password(self, postgres_server: PostgresServer, tmp_path: Path, host: str | None) -> None:
        role = postgres_server.make_role()
        error = refusal(postgres_server.login_as(role, "not that", host=host), tmp_path)
        assert isinstance(error, AuthenticationFailed)
        assert f"role {role}" in str(error)
        assert "not that" not in str(error)

    def test_a_role_that_is_not_there(self, postgres_server: PostgresServer, tmp_path: Path) -> None:
        error = refusal(postgres_server.login_as("nobody here"), tmp_path)
        assert isinstance(error, AuthenticationFailed)
        assert "role nobody here" in str(error)

    def test_a_role_that_may_not_log_in(self, postgres_server: PostgresServer, tmp_path: Path) -> None:
        role = postgres_server.make_role(attributes="NOLOGIN")
        assert isinstance(refusal(postgres_server.login_as(role), tmp_path), AuthenticationFailed)

    def test_a_role_that_may_not_connect_to_the_database(self, postgres_server: PostgresServer, tmp_path: Path) -> None:
        role, database = postgres_server.make_role(), postgres_server.fresh_database()
        postgres_server.execute(f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC")
        error = refusal(postgres_server.login_as(role), tmp_path, database)
        assert isinstance(error, PermissionDenied)
        assert "GRANT CONNECT ON DATABASE" in str(error)

    def test_a_role_whose_connections_are_used_up_is_unreachable_for_now(
        self, postgres_server: PostgresServer, tmp_path: Path
    ) -> None:
        role = postgres_server.make_role(attributes="LOGIN CONNECTION LIMIT 0")
        error = refusal(postgres_server.login_as(role), tmp_path)
        assert isinstance(error, DatabaseUnreachable)
        assert "CONNECTION LIMIT" in str(error)


class TestServerMessagesInAnotherLanguage:
    """lc_messages is the server's: only the names that it quotes are sure. A fake, since Debian's server has no catalogue."""

    @pytest.mark.parametrize(
        ("said", "kind"),
        [
            ('autenticação do tipo senha falhou para usuário "portal"', AuthenticationFailed),
            ("Passwort-Authentifizierung für Benutzer »portal« fehlgeschlagen", AuthenticationFailed),
            ("la base de données « agepar » n'existe pas", DatabaseNotFound),
            ('banco de dados "agepar" não existe', DatabaseNotFound),
            ("alguma outra coisa", DatabaseUnreachable),
        ],
    )
    def test_the_quoted_name_decides(self, said: str, kind: type[ResguardoError], tmp_path: Path) -> None:
        with fake_server(said) as port:
            error = refusal(Login("127.0.0.1", port, SslMode.DISABLE, "portal", "x"), tmp_path, "agepar")
        assert type(error) is kind
        assert said.split(maxsplit=1)[0] in str(error)


@contextmanager
def fake_server(message: str) -> Iterator[int]:
    """Something that answers every startup packet with one FATAL error."""
    fields = b"SFATAL\0VFATAL\0CXX000\0M" + message.encode() + b"\0\0"
    packet = b"E" + (len(fields) + 4).to_bytes(4, "big") + fields
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def answer() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                except OSError:
                    return
                with peer:
                    peer.recv(4096)
                    peer.sendall(packet)

        threading.Thread(target=answer, daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


class TestPatience:
    def test_a_server_that_comes_up_late_is_waited_for(self, tmp_path: Path) -> None:
        late = start_postgres(with_tls=False)
        try:
            late._process.send_signal(19)  # stopped: it accepts and does not answer
            timer = threading.Timer(1.5, late._process.send_signal, [18])
            timer.start()
            with Server(late.login, tmp_path) as server, server.connect("postgres") as connection:
                assert connection.execute("SELECT 1").fetchone() == (1,)
        finally:
            late.stop()

    def test_a_refused_connection_is_tried_again_until_patience_ends(self, tmp_path: Path) -> None:
        login = Login("127.0.0.1", unused_port(), SslMode.DISABLE, "a", "b")
        began = time.monotonic()
        with Server(login, tmp_path, patience=timedelta(seconds=1)) as server, pytest.raises(DatabaseUnreachable):
            server.connect("postgres")
        assert 1 <= time.monotonic() - began < 30

    def test_a_wrong_password_is_not_tried_again(self, postgres_server: PostgresServer, tmp_path: Path) -> None:
        began = time.monotonic()
        login = postgres_server.login_as(postgres_server.make_role(), "wrong")
        with Server(login, tmp_path) as server, pytest.raises(AuthenticationFailed):
            server.connect("postgres")
        assert time.monotonic() - began < 30


class TestPasswords:
    @pytest.mark.parametrize(
        "password", [SUPERUSER_PASSWORD, "a:b\\c\\\\:", " spaces ", "'\"%s $(x) #", "ção €", "x" * 900, "\t"]
    )
    def test_a_password_may_hold_any_character_for_us_and_for_the_tools(
        self, postgres_server: PostgresServer, tmp_path: Path, password: str
    ) -> None:
        role = postgres_server.make_role(password=password)
        with Server(postgres_server.login_as(role, password, host="127.0.0.1"), tmp_path) as server:
            server.connect("postgres").close()
            conninfo = server.conninfo("postgres")
            assert password.strip() == "" or password not in conninfo
            done = run(
                [tool("psql"), "-XAtc", "SELECT current_user", conninfo],
                environment=server.tool_environment,
                deadline=time.monotonic() + 20,
            )
            assert (done.exit_status, done.stdout) == (0, f"{role}\n".encode()), done.stderr_tail

    def test_a_newline_at_the_end_is_told_as_what_it_is(self, postgres_server: PostgresServer, tmp_path: Path) -> None:
        error = refusal(postgres_server.login_as("backup", "secret\n"), tmp_path)
        assert isinstance(error, CredentialsMissing)
        assert "holds a newline" in str(error)
        assert "stands at its end" in str(error)
        assert "secret" not in str(error).replace("Secret", "")

    @pytest.mark.parametrize(
        ("password", "word"), [("a\nb", "a newline"), ("a\0b", "a NUL"), ("a\r", "a carriage return")]
    )
    def test_what_a_password_file_cannot_hold(self, password: str, word: str, tmp_path: Path) -> None:
        error = refusal(Login("localhost", 1, SslMode.DISABLE, "backup", password), tmp_path)
        assert isinstance(error, CredentialsMissing)
        assert f"holds {word}" in str(error)

    def test_the_files_are_private_and_gone_at_the_end(self, postgres_server: PostgresServer, tmp_path: Path) -> None:
        with Server(postgres_server.login, tmp_path) as server:
            assert server.folder.stat().st_mode & 0o777 == 0o700
            assert [path.stat().st_mode & 0o777 for path in server.folder.iterdir()] == [0o600]
        assert list(tmp_path.iterdir()) == []

    def test_no_login_shows_its_password(self, postgres_server: PostgresServer) -> None:
        assert SUPERUSER_PASSWORD not in repr(postgres_server.login)


class TestNames:
    @pytest.mark.parametrize(
        "name", ["a b", "q'uo\"te", "ção/€", "100%s", "a=b", "back\\slash", "line\nfeed", "postgres://x"]
    )
    def test_databases_and_roles_may_have_any_name(
        self, postgres_server: PostgresServer, tmp_path: Path, name: str
    ) -> None:
        quoted = '"' + name.replace('"', '""') + '"'
        postgres_server.execute(f"DROP DATABASE IF EXISTS {quoted}", f"CREATE DATABASE {quoted}")
        postgres_server.execute(f"DROP ROLE IF EXISTS {quoted}", f"CREATE ROLE {quoted} LOGIN PASSWORD 'x'")
        with Server(postgres_server.login_as(name, "x"), tmp_path) as server:
            with server.connect(name) as connection:
                assert connection.execute("SELECT current_database(), current_user").fetchone() == (name, name)
            assert conninfo_to_dict(server.conninfo(name))["dbname"] == name


class TestSettingsOfOthers:
    HOSTILE = (
        "statement_timeout = '50ms'", "lock_timeout = '50ms'", "idle_in_transaction_session_timeout = '50ms'",
        "idle_session_timeout = '50ms'", "default_transaction_read_only = on", "search_path = evil",
        "datestyle = 'German, DMY'", "timezone = 'America/Sao_Paulo'", "default_transaction_isolation = serializable",
    )  # fmt: skip

    @pytest.mark.parametrize("where", ["role", "database", "role in database"])
    def test_settings_of_role_or_database_do_not_reach_our_sessions(
        self, postgres_server: PostgresServer, tmp_path: Path, where: str
    ) -> None:
        role, database = postgres_server.make_role(), postgres_server.fresh_database()
        target = {
            "role": f"ROLE {role}", "database": f"DATABASE {database}", "role in database": f"ROLE {role} IN DATABASE {database}",
        }[where]  # fmt: skip
        postgres_server.execute(*(f"ALTER {target} SET {setting}" for setting in self.HOSTILE))
        with Server(postgres_server.login_as(role), tmp_path) as server, server.connect(database) as connection:
            time.sleep(0.3)
            connection.execute("SELECT pg_sleep(0.2)")
            shown = {
                name: connection.execute(f"SHOW {name}".encode()).fetchone()[0]  # type: ignore[index]
                for name in ("statement_timeout", "lock_timeout", "idle_in_transaction_session_timeout",
                             "idle_session_timeout", "search_path", "timezone", "application_name", "client_encoding")
            }  # fmt: skip
            assert shown == {
                "statement_timeout": "0", "lock_timeout": "0", "idle_in_transaction_session_timeout": "0",
                "idle_session_timeout": "0", "search_path": "pg_catalog", "timezone": "UTC", "application_name": "resguardo",
                "client_encoding": "UTF8",
            }  # fmt: skip
            with connection.transaction():
                time.sleep(0.2)
                connection.execute("SELECT 1")
            assert server.conninfo(database).count("idle_session_timeout=0") == 1

    def test_the_tools_sessions_are_spared_too(self, postgres_server: PostgresServer, tmp_path: Path) -> None:
        role, database = postgres_server.make_role(), postgres_server.fresh_database()
        postgres_server.execute(*(f"ALTER ROLE {role} SET {setting}" for setting in self.HOSTILE[:5]))
        with Server(postgres_server.login_as(role), tmp_path) as server:
            server.connect(database).close()
            done = run(
                [
                    tool("psql"),
                    "-XAtc",
                    "SELECT pg_sleep(0.2)",
                    "-c",
                    "SHOW idle_session_timeout",
                    server.conninfo(database),
                ],
                environment=server.tool_environment,
                deadline=time.monotonic() + 20,
            )
        assert (done.exit_status, done.stdout) == (0, b"\n0\n"), done.stderr_tail


def _try(login: Login, scratch: Path) -> Exception | None:
    """What connecting ends with; None where it works: a server takes a new certificate a moment after it was told."""
    try:
        with Server(login, scratch, patience=AT_ONCE) as server:
            server.connect("postgres").close()
    except ResguardoError as error:
        return error
    return None


class TestTls:
    def login(self, postgres_server: PostgresServer, mode: SslMode, host: str = "localhost") -> Login:
        return replace(postgres_server.login, host=host, ssl_mode=mode)

    def test_verify_full_with_the_ca_that_signed(self, postgres_server: PostgresServer, tmp_path: Path) -> None:
        login = replace(self.login(postgres_server, SslMode.VERIFY_FULL), ca_file=postgres_server.ca_file)
        with Server(login, tmp_path) as server, server.connect("postgres") as connection:
            assert connection.execute("SELECT ssl FROM pg_stat_ssl WHERE pid = pg_backend_pid()").fetchone() == (True,)

    def test_verify_full_trusts_the_systems_authorities_only(
        self, postgres_server: PostgresServer, tmp_path: Path
    ) -> None:
        error = refusal(self.login(postgres_server, SslMode.VERIFY_FULL), tmp_path)
        assert isinstance(error, TlsFailed)
        assert "set caRef" in str(error)

    def test_verify_full_wants_the_hosts_own_name(self, postgres_server: PostgresServer, tmp_path: Path) -> None:
        login = replace(self.login(postgres_server, SslMode.VERIFY_FULL, "127.0.0.1"), ca_file=postgres_server.ca_file)
        error = refusal(login, tmp_path)
        assert isinstance(error, TlsFailed)
        assert "another host's" in str(error)
        with Server(replace(login, ssl_mode=SslMode.VERIFY_CA), tmp_path) as server:
            server.connect("postgres").close()

    def test_a_ca_file_that_holds_no_certificate(self, postgres_server: PostgresServer, tmp_path: Path) -> None:
        broken = tmp_path / "ca.crt"
        broken.write_text("not a certificate")
        error = refusal(replace(self.login(postgres_server, SslMode.VERIFY_CA), ca_file=broken), tmp_path)
        assert isinstance(error, TlsFailed)
        assert "caRef" in str(error)

    def test_a_server_without_tls(self, tmp_path: Path) -> None:
        plain = start_postgres(with_tls=False)
        try:
            error = refusal(replace(plain.login, host="127.0.0.1", ssl_mode=SslMode.REQUIRE), tmp_path)
        finally:
            plain.stop()
        assert isinstance(error, TlsFailed)
        assert "set sslMode to disable" in str(error)

    @pytest.mark.parametrize("mode", [0o440, 0o644, 0o600])
    def test_a_client_certificate_whatever_the_mode_of_its_mounted_key(
        self, postgres_server: PostgresServer, tmp_path: Path, mode: int
    ) -> None:
        postgres_server.execute(
            "DO $$ BEGIN CREATE ROLE certified LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$"
        )
        if not postgres_server.query("SELECT 1 FROM pg_database WHERE datname = 'certified'"):
            postgres_server.execute("CREATE DATABASE certified")
        mounted = tmp_path / "tls.key"
        shutil.copy(postgres_server.folder / "client.key", mounted)
        mounted.chmod(mode)
        login = Login(
            "localhost", postgres_server.port, SslMode.VERIFY_FULL, "certified", "", postgres_server.ca_file,
            postgres_server.folder / "client.crt", mounted,
        )  # fmt: skip
        with Server(login, tmp_path) as server:
            server.connect("certified").close()
            done = run(
                [tool("psql"), "-XAtc", "SELECT current_user", server.conninfo("certified")],
                environment=server.tool_environment,
                deadline=time.monotonic() + 20,
            )
            assert done.stdout == b"certified\n", done.stderr_tail
        error = refusal(replace(login, certificate_file=None, private_key_file=None), tmp_path, "certified")
        assert isinstance(error, AuthenticationFailed)
        assert "client certificate" in str(error)
        # and that of another role, which the same authority signed
        other = postgres_server.folder / "server.crt", postgres_server.folder / "server.key"
        error = refusal(replace(login, certificate_file=other[0], private_key_file=other[1]), tmp_path, "certified")
        assert isinstance(error, AuthenticationFailed)

    def test_a_servers_certificate_that_has_expired(self, tmp_path: Path) -> None:
        server = start_postgres()
        try:
            folder = server.folder
            subprocess.run(
                ["openssl", "x509", "-req", "-in", str(folder / "server.csr"), "-CA", str(folder / "ca.crt"),
                 "-CAkey", str(folder / "ca.key"), "-CAcreateserial", "-days", "-1", "-extfile", str(folder / "server.ext"), "-out", str(folder / "data/server.crt")],
                check=True, capture_output=True,
            )  # fmt: skip
            server.execute("SELECT pg_reload_conf()")
            login = replace(server.login, host="localhost", ssl_mode=SslMode.VERIFY_FULL, ca_file=server.ca_file)
            deadline = time.monotonic() + 20
            while not isinstance(error := _try(login, tmp_path), TlsFailed) and time.monotonic() < deadline:
                time.sleep(0.1)
            assert isinstance(error, TlsFailed)
            assert "expired" in str(error)
        finally:
            server.stop()


class TestSessions:
    def test_errors_inside_a_session_become_ours_with_the_place(self, server: Server) -> None:
        with (
            pytest.raises(LockTimeout, match=r"database postgres on .* as role postgres.*55P03"),
            server.connect("postgres") as connection,
            server.translating("postgres"),
        ):
            connection.execute("DO $$ BEGIN RAISE lock_not_available; END $$")

    def test_a_session_that_is_ended_by_the_server_is_unreachable(
        self, server: Server, postgres_server: PostgresServer
    ) -> None:
        connection = server.connect("postgres")
        postgres_server.query(f"SELECT pg_terminate_backend({connection.info.backend_pid}, 5000)")
        with pytest.raises(DatabaseUnreachable), server.translating("postgres"):
            connection.execute("SELECT 1")

    def test_without_autocommit_no_transaction_is_open_at_first(self, server: Server) -> None:
        with server.connect("postgres", autocommit=False) as connection:
            assert connection.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
            assert not connection.autocommit

    def test_a_query_does_not_outlive_a_process_that_was_killed(
        self, server: Server, postgres_server: PostgresServer
    ) -> None:
        child = os.fork()
        if child == 0:
            try:
                server.connect("postgres").execute("SELECT pg_sleep(120) /* orphan */")
            finally:
                os._exit(0)
        running = "SELECT FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep(120)%' AND state = 'active'"
        wait_until(lambda: len(postgres_server.query(running)) == 1, seconds=10)
        os.kill(child, 9)
        os.waitpid(child, 0)
        wait_until(lambda: postgres_server.query(running) == [], seconds=15)


def wait_until(is_so: Callable[[], bool], *, seconds: float) -> None:
    give_up = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < give_up, "it never came to be"
        time.sleep(0.05)


class TestPoolers:
    def test_a_session_that_another_process_announced_is_a_poolers(
        self, server: Server, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The one thing that is faked: the process that the startup announced. Real poolers announce numbers of their own."""
        with server.connect("postgres") as connection:
            check_server(connection)
            monkeypatch.setattr(psycopg.ConnectionInfo, "backend_pid", os.getpid())
            with pytest.raises(PoolerInBetween, match="name the server itself as host"):
                check_server(connection)

    def test_a_pooler_that_refuses_startup_options_is_told_as_one(self, tmp_path: Path) -> None:
        with fake_server("unsupported startup parameter: options") as port:
            error = refusal(Login("127.0.0.1", port, SslMode.DISABLE, "portal", "x"), tmp_path)
        assert isinstance(error, PoolerInBetween)
