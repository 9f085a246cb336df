"""Many names in one sentence, bounded."""

from __future__ import annotations

from collections.abc import Iterable

SHOWN = 10


def enumerated(names: Iterable[object], *, shown: int = SHOWN) -> str:
    """The first names and how many more there are.

    >>> enumerated(["a", "b", "c"], shown=2)
    'a, b and 1 more'
    """
    texts = [" ".join(str(name).split()) for name in names]
    text = ", ".join(texts[:shown])
    return f"{text} and {len(texts) - shown} more" if len(texts) > shown else text
