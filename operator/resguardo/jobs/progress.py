"""How far a task is: a bar on a terminal, a JSON line now and then in a pod. Always on standard error."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterable, Iterator, MutableMapping
from typing import Any, Protocol

import structlog

from resguardo.api.text import printable, printable_json

log = structlog.get_logger()

LINE_EVERY_SECONDS = 30.0


class Progress(Protocol):
    """Where a task tells how far it is."""

    def step(self, text: str) -> None:
        """Say what begins now."""

    def count(self, name: str, chunks: Iterable[bytes], total_bytes: int | None = None) -> Iterator[bytes]:
        """The same chunks, counted as they pass; `total_bytes` is a guess or the truth, where there is one."""


class LogProgress:
    """Lines for a machine to read: each step, and each half a minute how many bytes have passed."""

    def step(self, text: str) -> None:
        """One line."""
        log.info(text)

    def count(self, name: str, chunks: Iterable[bytes], total_bytes: int | None = None) -> Iterator[bytes]:
        """A line each half a minute, and one at the end."""
        passed, started_at, told_at = 0, time.monotonic(), time.monotonic()
        for chunk in chunks:
            passed += len(chunk)
            if time.monotonic() - told_at >= LINE_EVERY_SECONDS:
                told_at = time.monotonic()
                log.info("progress", stream=name, bytes=passed, total_bytes=total_bytes)
            yield chunk
        log.info("done", stream=name, bytes=passed, seconds=round(time.monotonic() - started_at, 1))


class TerminalProgress:
    """Steps as lines, streams as bars."""

    def step(self, text: str) -> None:
        """One line."""
        sys.stderr.write(f"• {printable(text)}\n")

    def count(self, name: str, chunks: Iterable[bytes], total_bytes: int | None = None) -> Iterator[bytes]:
        """A bar with bytes, rate and time left."""
        from rich.console import Console
        from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeElapsedColumn, TransferSpeedColumn
        from rich.progress import Progress as Bar

        columns = [
            TextColumn("{task.description}"),
            BarColumn(),
            DownloadColumn(),
            TransferSpeedColumn(),
            TimeElapsedColumn(),
        ]
        with Bar(*columns, console=Console(stderr=True)) as bar:
            task = bar.add_task(name, total=total_bytes)
            for chunk in chunks:
                bar.advance(task, len(chunk))
                yield chunk


def _values_printable(_logger: Any, _name: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """What a renderer for terminals passes on as it is; in lists and the like it takes care of itself."""
    return {name: printable(value) if isinstance(value, str) else value for name, value in event.items()}


def configure_logging(*, terminal: bool) -> Progress:
    """Send the log to standard error, as text for a person or as JSON lines, and give the Progress that goes with it."""
    renderers: list[Any] = (
        [_values_printable, structlog.dev.ConsoleRenderer()]
        if terminal
        else [structlog.processors.JSONRenderer(ensure_ascii=False), lambda _logger, _name, line: printable_json(line)]
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            *([] if terminal else [structlog.processors.format_exc_info]),
            *renderers,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING if terminal else logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    return TerminalProgress() if terminal else LogProgress()
