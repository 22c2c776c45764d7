"""How long a call may wait for limits and retries: a budget that all requests of one method share."""

import math
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager
from contextvars import ContextVar
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar

import anyio

from ..errors import WouldWait

P = ParamSpec("P")
T = TypeVar("T")
S = TypeVar("S")


class WaitBudget:
    """How many seconds a call may still wait.

    `written` is whether one of its requests may have changed something.
    """

    __slots__ = ("left", "written")

    def __init__(self, seconds: float) -> None:
        self.left = seconds
        self.written = False

    def spend(self, seconds: float) -> None:
        """Take the seconds of a wait."""
        self.left = max(0.0, self.left - seconds)


_SHARED: ContextVar[WaitBudget | None] = ContextVar("wait_budget", default=None)


def budget_of(max_wait: float) -> WaitBudget:
    """Return the budget of the method that makes a request, or one for this request alone."""
    return _SHARED.get() or WaitBudget(max_wait)


def as_one_call(
    method: Callable[Concatenate[S, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, T]]:
    """Let all requests of a method of a resource share one budget; a method that it calls shares it, too."""

    @wraps(method)
    async def bounded(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        requester: Any = getattr(self, "_requester")  # noqa: B009 - private to resources
        with _sharing(requester.options.max_wait):
            return await method(self, *args, **kwargs)

    return bounded


@contextmanager
def _sharing(max_wait: float) -> Iterator[None]:
    if max_wait == math.inf or _SHARED.get() is not None:
        yield
        return
    token = _SHARED.set(WaitBudget(max_wait))
    try:
        yield
    finally:
        _SHARED.reset(token)


@asynccontextmanager
async def in_turn(lock: anyio.Lock) -> AsyncIterator[None]:
    """Hold a lock. Waiting for it counts, because whoever holds it may be waiting for a limit."""
    budget, began_at = _SHARED.get(), anyio.current_time()
    with anyio.move_on_after(math.inf if budget is None else budget.left) as scope:
        await lock.acquire()
    if scope.cancelled_caught:
        raise WouldWait(until=anyio.current_time(), written=budget is not None and budget.written)
    try:
        if budget is not None:
            budget.spend(anyio.current_time() - began_at)
        yield
    finally:
        lock.release()
