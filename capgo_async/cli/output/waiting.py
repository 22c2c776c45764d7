"""What is said while requests wait for a limit: which limit, and until when."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import anyio

from ...bulk.clock import minute_in, time_in
from ...events import Event, WaitBegan
from ...listeners import Listeners
from .limit_names import WAITED_FOR
from .speech import Speech

WORTH_SAYING: Final = 1.0
"""Waits shorter than this, in seconds, are not shown."""


def waiting(seconds: float, limit: str) -> str:
    """Return that requests wait for a limit."""
    return f"waiting: {limit}, until {time_in(seconds)}"


def doubted(seconds: float, asked: float | None) -> str:
    """Return that the server asks to wait longer than the `seconds` that any limit takes, or nothing."""
    if asked is None or asked <= seconds:
        return ""
    return f" (the server asks to wait until {minute_in(asked)}; no limit lasts so long, so one request tries)"


class Waits:
    """Tells that requests wait for a limit, once for each wait."""

    def __init__(self, speech: Speech) -> None:
        self._speech = speech
        self._told = 0.0

    def __call__(self, event: Event) -> None:
        """Take the limit for which a request begins to wait."""
        if not isinstance(event, WaitBegan):
            return
        until = anyio.current_time() + event.seconds
        if event.seconds >= WORTH_SAYING and until >= self._told + WORTH_SAYING:
            self._told = until
            self._speech.note(waiting(event.seconds, WAITED_FOR[event.limit] + doubted(event.seconds, event.asked)))


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
            listeners.add(listener)
