"""What is said while requests wait for a limit: which limit, and until when."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import anyio

from ...bulk.clock import minute_in, time_in
from ...limits.pacer import Hold, Pacer
from .limit_names import WAITED_FOR
from .speech import Speech

WORTH_SAYING: Final = 1.0
"""Waits shorter than this, in seconds, are not shown."""


def waiting(seconds: float, limit: str) -> str:
    """Return that requests wait for a limit."""
    return f"waiting: {limit}, until {time_in(seconds)}"


def doubted(hold: Hold, now: float) -> str:
    """Return that the server asks for a longer rest than any limit takes, or nothing."""
    if hold.asked_until <= hold.until:
        return ""
    asked = minute_in(hold.asked_until - now)
    return f" (the server asks to wait until {asked}, longer than any known limit: one request tries earlier)"


class Waits:
    """Tells that requests wait for a limit, once for each wait."""

    def __init__(self, speech: Speech) -> None:
        self._speech = speech
        self._told = 0.0

    def __call__(self, hold: Hold) -> None:
        """Take the limit for which a request begins to wait."""
        now = anyio.current_time()
        seconds = hold.until - now
        if seconds >= WORTH_SAYING and hold.until >= self._told + WORTH_SAYING:
            self._told = hold.until
            self._speech.note(waiting(seconds, WAITED_FOR[hold.kind] + doubted(hold, now)))


@contextmanager
def shown_by_progress(pacer: Pacer) -> Iterator[None]:
    """Leave waits in this block to the progress, which shows them."""
    former, pacer.on_wait = pacer.on_wait, None
    try:
        yield
    finally:
        pacer.on_wait = former
