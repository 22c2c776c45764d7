"""The state of calls that wait and retry, and how they are told to stop waiting."""

import enum
import itertools
import math
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, NamedTuple

import anyio

from ..errors import CapgoError, RateLimited
from .call import Call
from .waiting import WaitBudget

_CALLS: Final = itertools.count(1)


class Patience(enum.Enum):
    """What a call waits for. Where it would wait for anything else, it ends with a `Wait`."""

    FULL = enum.auto()
    SHARED_LIMITS = enum.auto()
    """Limits of keys and apps, which hold back other calls, too; not its own target, and not a retry."""
    UNTIL_REFUSED = enum.auto()
    """Everything but a limit that has refused the call."""
    NONE = enum.auto()


class Effort:
    """What a call has used up so far; a call that ended with a `Wait` continues with it.

    `call` is its number in events. `began_at` is when the first attempt was sent, `sent` how many were sent with those that a
    limit refused. `in_doubt` is set if an attempt may have been processed. `waited` is for how many seconds it waited for
    limits and retries; `budget` is the bound of that, if there is one.
    """

    __slots__ = (
        "attempts",
        "began_at",
        "budget",
        "call",
        "in_doubt",
        "patience",
        "request_id",
        "seconds",
        "sent",
        "unconnected",
        "waited",
        "waiting",
    )

    def __init__(self, patience: Patience = Patience.FULL) -> None:
        self.patience = patience
        self.call = next(_CALLS)
        self.attempts = 0
        self.sent = 0
        self.began_at = math.inf
        self.seconds = 0.0
        self.request_id: str | None = None
        self.in_doubt = False
        self.unconnected = False
        self.waiting: anyio.CancelScope | None = None
        self.waited = 0.0
        self.budget: WaitBudget | None = None

    @property
    def may_wait(self) -> float:
        """Return for how many seconds the call may still wait."""
        return math.inf if self.budget is None else self.budget.left

    def note_wait(self, seconds: float) -> None:
        """Take the seconds of a wait."""
        self.waited += seconds
        if self.budget is not None:
            self.budget.spend(seconds)

    def abandon(self) -> None:
        """Stop waiting; an attempt in flight is finished."""
        self.patience = Patience.NONE
        if self.waiting is not None:
            self.waiting.cancel()


class Efforts:
    """The efforts of all calls that a block makes, directly or through others; see `gathered`."""

    def __init__(self) -> None:
        self._efforts: set[Effort] = set()
        self._abandoned = False
        self.in_doubt = False
        """Whether a write among them may have been processed."""

    def join(self, effort: Effort) -> None:
        """Add an effort that begins or continues."""
        self._efforts.add(effort)
        if self._abandoned:
            effort.abandon()

    def leave(self, effort: Effort, call: Call) -> None:
        """Remove an effort that has ended."""
        self._efforts.discard(effort)
        self.in_doubt = self.in_doubt or (effort.in_doubt and call.request.method != "GET")

    def abandon(self) -> None:
        """Abandon all current efforts, and those that join later."""
        self._abandoned = True
        for effort in self._efforts:
            effort.abandon()


_GATHERED: ContextVar[Efforts | None] = ContextVar("gathered", default=None)


@contextmanager
def gathered() -> Iterator[Efforts]:
    """Gather the efforts of all calls in this block, so that they can be abandoned together."""
    efforts = Efforts()
    token = _GATHERED.set(efforts)
    try:
        yield efforts
    finally:
        _GATHERED.reset(token)


class Wait(NamedTuple):
    """What a call returns instead of waiting.

    It can continue with its effort at `until`, by `anyio.current_time()`. `refused` is the rate limit that it met, if any.
    """

    until: float
    refused: RateLimited | None = None


class Abandoned(CapgoError):
    """Raised when a call would have to wait and its effort does not."""

    def __init__(self, wait: Wait) -> None:
        super().__init__("the call would have to wait")
        self.wait = wait


def gathering() -> Efforts | None:
    """Return the gathered efforts of the current block, or `None`."""
    return _GATHERED.get()
