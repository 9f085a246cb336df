"""External commands: what they see, how they end, and that nothing of them stays. With real programs, no server."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from resguardo.api.errors import DeadlineExceeded, PostgresError, ToolMissing
from resguardo.postgres.run import PIPE, STDERR_TAIL_BYTES, Process, run, tool

PYTHON = sys.executable


def soon(seconds: float = 20) -> float:
    return time.monotonic() + seconds


def is_alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


class TestEnvironment:
    def test_nothing_of_the_parents_leaks_in(self, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in (
            "PGPASSWORD",
            "PGOPTIONS",
            "PGSERVICE",
            "AWS_SECRET_ACCESS_KEY",
            "LANGUAGE",
            "LC_MESSAGES",
            "LD_PRELOAD_X",
        ):
            monkeypatch.setenv(name, "leaked")
        done = run(["env"], environment={"GIVEN": "this"}, deadline=soon())
        seen = dict(line.split("=", 1) for line in done.stdout.decode().splitlines())
        assert seen.keys() == {"PATH", "HOME", "LANG", "LC_ALL", "GIVEN"}
        assert (seen["GIVEN"], seen["LC_ALL"]) == ("this", "C.UTF-8")

    def test_stdin_is_the_null_device_and_not_the_terminal(self) -> None:
        assert run(["readlink", "/proc/self/fd/0"], environment={}, deadline=soon()).stdout == b"/dev/null\n"


class TestRun:
    def test_exit_status_stdout_and_stderr(self) -> None:
        done = run(["sh", "-c", "echo out; echo err >&2; exit 7"], environment={}, deadline=soon())
        assert (done.exit_status, done.stdout, done.stderr_tail) == (7, b"out\n", "err\n")

    def test_input_and_output_larger_than_any_pipe(self) -> None:
        done = run(["cat"], environment={}, deadline=soon(), input=(b"x" * 100_000 for _ in range(50)))
        assert (done.exit_status, len(done.stdout)) == (0, 5_000_000)

    def test_a_program_that_reads_nothing_is_no_error_but_its_exit_status(self) -> None:
        done = run(
            ["sh", "-c", "exec <&-; exit 3"], environment={}, deadline=soon(), input=(b"x" * 100_000 for _ in range(50))
        )
        assert done.exit_status == 3

    def test_a_program_that_says_too_much_is_ended(self) -> None:
        with pytest.raises(PostgresError, match="more than 1000 bytes"):
            run(["yes"], environment={}, deadline=soon(), stdout_max_bytes=1000)

    @pytest.mark.parametrize(
        "script",
        ["sleep 60", "trap '' TERM; sleep 60 & wait; wait", "cat >/dev/null; sleep 60", "echo x; exec sleep 60"],
    )
    def test_the_deadline_ends_it(self, script: str) -> None:
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded, match="sh was not done"):
            run(["sh", "-c", script], environment={}, deadline=soon(0.3))
        assert time.monotonic() - began < 40

    def test_the_deadline_ends_one_that_does_not_read_its_input(self) -> None:
        began = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            run(["sleep", "60"], environment={}, deadline=soon(0.3), input=(b"x" * 100_000 for _ in range(50)))
        assert time.monotonic() - began < 40

    def test_an_input_that_fails_ends_the_program_and_is_raised_as_it_is(self) -> None:
        def broken() -> Iterator[bytes]:
            yield b"half"
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            run(["sleep", "60"], environment={}, deadline=soon(), input=broken())

    def test_a_program_that_is_not_there(self) -> None:
        with pytest.raises(ToolMissing, match="no-such-program"):
            run(["no-such-program"], environment={}, deadline=soon())
        with pytest.raises(ToolMissing, match="pg_imaginary is not installed"):
            tool("pg_imaginary")

    def test_any_argument_arrives_as_it_is(self) -> None:
        odd = ["a b", "$(id)", "'\"", "%s", "é\n", ""]
        done = run([PYTHON, "-c", "import sys; print(sys.argv[1:])", *odd], environment={}, deadline=soon())
        assert done.stdout.decode().strip() == str(odd)


class TestProcess:
    def test_stderr_is_read_all_the_time_and_its_end_is_kept(self) -> None:
        script = "import sys\nfor n in range(9000): print('line', n, file=sys.stderr)"
        with Process.start([PYTHON, "-c", script], environment={}) as process:
            assert process.stdout.read() == b""
            assert process.wait(soon()) == 0
            assert process.stderr_tail.endswith("line 8999\n")
            assert len(process.stderr_tail) == STDERR_TAIL_BYTES

    def test_one_endless_line_fills_no_memory(self) -> None:
        script = "import sys\nfor n in range(300): sys.stderr.write('x' * 65536)"
        with Process.start([PYTHON, "-c", script], environment={}) as process:
            assert process.wait(soon()) == 0
            assert len(process.stderr_tail) == STDERR_TAIL_BYTES

    def test_an_error_in_the_block_ends_the_program_and_its_children(self) -> None:
        process = Process.start(["sh", "-c", "sleep 61 & echo $!; wait"], environment={})
        child = int(process.stdout.readline())
        assert is_alive(child)
        with pytest.raises(ZeroDivisionError), process:
            raise ZeroDivisionError
        give_up = soon(5)
        while is_alive(child) and time.monotonic() < give_up:
            time.sleep(0.02)
        assert not is_alive(child)
        assert process.exit_status == -15

    def test_one_that_ignores_sigterm_is_killed(self) -> None:
        began = time.monotonic()
        with Process.start(
            ["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 1; done"], environment={}
        ) as process:
            process.stdout.readline()
        assert process.exit_status == -9
        assert 4 < time.monotonic() - began < 40

    def test_it_is_in_a_process_group_of_its_own(self) -> None:
        with Process.start(["sleep", "60"], environment={}) as process:
            assert os.getpgid(process.pid) == process.pid != os.getpgid(0)

    def test_killing_twice_or_after_the_end_does_nothing(self) -> None:
        with Process.start(["true"], environment={}) as process:
            assert process.wait(soon()) == 0
            process.kill()
            process.kill()
        assert process.exit_status == 0

    def test_feed_and_read_as_a_pipe(self) -> None:
        with Process.start(["tr", "a-z", "A-Z"], environment={}, stdin=PIPE) as process:
            process.feed([b"abc", b"def"])
            assert process.stdout.read() == b"ABCDEF"
            assert process.wait(soon()) == 0

    def test_stdout_into_a_file(self, tmp_path: Path) -> None:
        with (
            (tmp_path / "out").open("wb") as file,
            Process.start(["echo", "x"], environment={}, stdout=file) as process,
        ):
            assert process.wait(soon()) == 0
            with pytest.raises(ValueError, match="without a pipe"):
                process.stdout.read()
        assert (tmp_path / "out").read_bytes() == b"x\n"
