"""What calls have used up, how they are told to wait for nothing more, and what they raise then."""

import enum
import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import NamedTuple

import anyio

from ..errors import CapgoError, RateLimited
from .call import Call


class Patience(enum.Enum):
    """What a call waits for; where it would wait for anything else, it gives a `Wait` back."""

    FULL = enum.auto()
    SHARED_LIMITS = enum.auto()
    """The limits of keys and apps, which hold everybody back: not for its own target, nor for a retry."""
    UNTIL_REFUSED = enum.auto()
    """Anything but a limit that has refused it."""
    NONE = enum.auto()


class Effort:
    """What a call has used up so far; a call that was parked goes on with it.

    `began_at` is when its first attempt left; `in_doubt` is set once one may have been processed without saying so.
    """

    __slots__ = ("attempts", "began_at", "in_doubt", "patience", "request_id", "seconds", "unconnected", "waiting")

    def __init__(self, patience: Patience = Patience.FULL) -> None:
        self.patience = patience
        self.attempts = 0
        self.began_at = math.inf
        self.seconds = 0.0
        self.request_id: str | None = None
        self.in_doubt = False
        self.unconnected = False
        self.waiting: anyio.CancelScope | None = None

    def abandon(self) -> None:
        """Wait for nothing more; an attempt that is in flight is finished."""
        self.patience = Patience.NONE
        if self.waiting is not None:
            self.waiting.cancel()


class Efforts:
    """The efforts of all calls that a block makes, whoever makes them for it: see `gathered`."""

    def __init__(self) -> None:
        self._efforts: set[Effort] = set()
        self._abandoned = False
        self.in_doubt = False
        """Whether a write of them may have been processed."""

    def join(self, effort: Effort) -> None:
        """Take in an effort that begins, or goes on."""
        self._efforts.add(effort)
        if self._abandoned:
            effort.abandon()

    def leave(self, effort: Effort, call: Call) -> None:
        """Let go an effort that is at its end."""
        self._efforts.discard(effort)
        self.in_doubt = self.in_doubt or (effort.in_doubt and call.request.method != "GET")

    def abandon(self) -> None:
        """Abandon those under way, and those that begin later."""
        self._abandoned = True
        for effort in self._efforts:
            effort.abandon()


_GATHERED: ContextVar[Efforts | None] = ContextVar("gathered", default=None)


@contextmanager
def gathered() -> Iterator[Efforts]:
    """Gather the efforts of the calls that this block makes, so that they can be abandoned together."""
    efforts = Efforts()
    token = _GATHERED.set(efforts)
    try:
        yield efforts
    finally:
        _GATHERED.reset(token)


class Wait(NamedTuple):
    """What a call gives back in place of waiting: with its effort it can go on at `until`, by `anyio.current_time()`.

    `refused` is the rate limit that it has met, if it has.
    """

    until: float
    refused: RateLimited | None = None


class Abandoned(CapgoError):
    """Raised when a call that others make would wait, and nobody waits for it any more."""

    def __init__(self, wait: Wait) -> None:
        super().__init__("nobody waits for this call any more")
        self.wait = wait


def gathering() -> Efforts | None:
    """Return what gathers the efforts of the block that this runs in, if one does."""
    return _GATHERED.get()
