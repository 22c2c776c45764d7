"""What is said while requests wait: for which limit or retry, and until when."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import anyio

from ...bulk.clock import duration, minute_in, time_in
from ...events import Event, RetryPlanned, ServerAway, ServerBack, WaitBegan
from ...limits.names import WAITED_FOR
from ...listeners import Listeners
from .speech import Speech

WORTH_SAYING: Final = 1.0
"""Waits shorter than this, in seconds, are not shown."""
_LONG_PAUSE: Final = 5.0
"""Shorter pauses before a retry, in seconds, are not shown."""


def waiting(seconds: float, limit: str) -> str:
    """Return that requests wait for a limit."""
    return f"waiting: {limit}, until {time_in(seconds)}"


def away_until(seconds: float) -> str:
    """Return that the server cannot be reached, and when it is probed again."""
    return f"waiting for the server, which cannot be reached; next try at {time_in(seconds)}"


def doubted(seconds: float, asked: float | None) -> str:
    """Return that the server asks to wait longer than the `seconds` that any limit takes, or nothing."""
    if asked is None or asked <= seconds:
        return ""
    return f" (the server asks to wait until {minute_in(asked)}, longer than any known limit: one request tries earlier)"


class Waits:
    """Tells that requests wait for a limit, for the server or long for a retry, once for each wait."""

    def __init__(self, speech: Speech) -> None:
        self._speech = speech
        self._told = 0.0

    def __call__(self, event: Event) -> None:
        """Take an event of a client."""
        if isinstance(event, WaitBegan) and event.seconds >= WORTH_SAYING:
            self._tell(event.seconds, WAITED_FOR[event.limit] + doubted(event.seconds, event.asked))
        elif isinstance(event, RetryPlanned) and event.seconds >= _LONG_PAUSE:
            self._tell(event.seconds, f"retry after a failure ({event.operation})")
        elif isinstance(event, ServerAway):
            self._speech.note(away_until(event.seconds))
        elif isinstance(event, ServerBack):
            self._speech.note(f"the server responds again, after {duration(event.seconds)}")

    def _tell(self, seconds: float, what: str) -> None:
        until = anyio.current_time() + seconds
        if until >= self._told + WORTH_SAYING:
            self._told = until
            self._speech.note(waiting(seconds, what))


@contextmanager
def shown_by_progress(listeners: Listeners) -> Iterator[None]:
    """Leave waits in this block to the progress, which shows them."""
    silenced = [listener for listener in listeners.all if isinstance(listener, Waits)]
    for listener in silenced:
        listeners.remove(listener)
    try:
        yield
    finally:
        for listener in silenced:
            listeners.add(listener, "other")
