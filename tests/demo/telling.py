"""How the demo tells its story: a line when a step begins, its time when it ends; colours on a terminal only."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.rule import Rule


class Teller:
    """Writes the story to standard output."""

    def __init__(self) -> None:
        self._console = Console(highlight=False, soft_wrap=True)
        self._began = time.monotonic()
        self._steps = 0

    def chapter(self, title: str) -> None:
        """A heading."""
        if self._console.is_terminal:
            self._console.print(Rule(title, align="left", style="cyan"))
        else:
            self._console.print(f"\n== {title}", markup=False)

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        """One step and how long it took; nothing is said at the end of one that fails but its error, elsewhere."""
        self._steps += 1
        began = time.monotonic()
        self._console.print(f"{self._steps:>2}. {text} …", markup=False)
        yield
        took = f"    done in {time.monotonic() - began:.1f} s"
        self._console.print(took, style="green" if self._console.is_terminal else None, markup=False)

    def say(self, text: str) -> None:
        """Plain words, indented as part of a step."""
        for line in text.rstrip().splitlines():
            self._console.print(f"    {line}", markup=False)

    def show(self, command: str, output: str) -> None:
        """A command as a person would type it, and what it printed."""
        self._console.print(f"    $ {command}", style="bold" if self._console.is_terminal else None, markup=False)
        for line in output.rstrip().splitlines():
            self._console.print(f"    {line}", markup=False)

    def fail(self, text: str) -> None:
        """What went wrong, on standard error."""
        sys.stdout.flush()
        Console(stderr=True, highlight=False, soft_wrap=True).print(text, style="red", markup=False)

    @property
    def seconds(self) -> float:
        """Since the story began."""
        return time.monotonic() - self._began
