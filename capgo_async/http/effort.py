"""What calls have used up, how they are told to wait for nothing more, and what they raise then."""

import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import anyio

from ..errors import CapgoError
from .call import Call


class Effort:
    """What a call has used up so far; a call that was parked goes on with it.

    `began_at` is when its first attempt left; `in_doubt` is set once one may have been processed without saying so. After
    `abandon` nothing more is waited for: the call raises `Parked` where it waits or would wait; an attempt that is in flight is
    finished. With `impatient` only rate limits are not waited out.
    """

    __slots__ = (
        "abandoned",
        "attempts",
        "began_at",
        "impatient",
        "in_doubt",
        "request_id",
        "seconds",
        "unconnected",
        "waiting",
    )

    def __init__(self, *, impatient: bool = False) -> None:
        self.impatient = impatient
        self.attempts = 0
        self.began_at = math.inf
        self.seconds = 0.0
        self.request_id: str | None = None
        self.in_doubt = False
        self.unconnected = False
        self.abandoned = False
        self.waiting: anyio.CancelScope | None = None

    def abandon(self) -> None:
        """Wait for nothing more."""
        self.abandoned = True
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
        effort.abandoned = effort.abandoned or self._abandoned

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


class Parked(CapgoError):
    """Say that a call should go on at `until`, on the clock of `anyio.current_time()`, with `effort`."""

    def __init__(self, until: float, effort: Effort) -> None:
        super().__init__("to be continued later")
        self.until = until
        self.effort = effort


def gathering() -> Efforts | None:
    """Return what gathers the efforts of the block that this runs in, if one does."""
    return _GATHERED.get()
