"""Requests that are repeated beyond what a client of a cloud repeats by itself: of which a body was damaged, or broke off."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from tenacity import Retrying, retry_if_exception, stop_after_attempt, wait_random_exponential

T = TypeVar("T")

ATTEMPTS = 5


def again(request: Callable[[], T], *, when: Callable[[BaseException], bool]) -> T:
    """What the request gives; asked again after a pause as long as `when` says so of its error, which the last attempt raises."""
    attempts = Retrying(
        retry=retry_if_exception(when),
        stop=stop_after_attempt(ATTEMPTS),
        wait=wait_random_exponential(multiplier=0.25, max=10),
        reraise=True,
    )
    return attempts(request)
