"""Virtual time for tests, on whatever event loop of asyncio they run.

A test framework makes the loop, sometimes long before the test, so the loop cannot be chosen. Its clock is taken over instead.
"""

import asyncio
import functools
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

from ..sandbox.virtual_time import JumpingSelector

_LULL: Final = 0.01
"""Real seconds in which a socket of the test's own process gets what was sent to it."""


class LoopTime:
    """The time of the event loops that it holds; see `Jumping`."""

    patience = 60.0

    def __init__(self) -> None:
        self.began = self.time = time.monotonic()
        self.held: dict[object, Any] = {}
        """The loops, with the selectors of which they are deprived."""
        self._thread = threading.get_ident()
        self._working = 0

    def jump(self, seconds: float) -> None:
        """Move the time."""
        self.time += seconds

    def lull(self, *, watches_files: bool) -> float:
        """Return for how long something may still happen in real time."""
        if self._working:
            return self.patience
        return _LULL if watches_files else 0.0

    def hold(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take over the time of a loop of this thread, if it is one of asyncio and nobody else has done so."""
        if threading.get_ident() != self._thread or not isinstance(loop, asyncio.BaseEventLoop) or loop in self.held:
            return
        # The name has been the same since asyncio exists, and there is no public one.
        selector = getattr(loop, "_selector", None)
        if selector is None or isinstance(selector, JumpingSelector):
            return
        self.held[loop] = selector
        _set(loop, "_selector", JumpingSelector(selector, self))
        _set(loop, "time", lambda: self.time)
        _set(loop, "run_in_executor", functools.partial(self._work, loop.run_in_executor))
        _set(loop, "shutdown_default_executor", functools.partial(self._wait, loop.shutdown_default_executor))

    def release(self) -> None:
        """Give the loops their own time back; none of them goes backwards."""
        ahead = max(0.0, self.time - time.monotonic())
        for loop, selector in self.held.items():
            if not isinstance(loop, asyncio.BaseEventLoop) or loop.is_closed():
                continue
            _set(loop, "_selector", selector)
            _set(loop, "time", lambda: time.monotonic() + ahead)
            for name in ("run_in_executor", "shutdown_default_executor"):
                delattr(loop, name)
        self.held.clear()

    def _work(self, start: Callable[..., asyncio.Future[Any]], *call: Any) -> asyncio.Future[Any]:
        future = start(*call)
        self._working += 1
        future.add_done_callback(self._worked)
        return future

    def _worked(self, _future: asyncio.Future[Any]) -> None:
        self._working -= 1

    async def _wait(self, shut_down: Callable[..., Any], *timeout: Any) -> None:
        self._working += 1
        try:
            await shut_down(*timeout)
        finally:
            self._working -= 1


class VirtualClock:
    """The clock of a test. While everything waits, it jumps to the moment at which the first timer is due.

    It stands still while code runs, and while threads work that asyncio has started. Other threads and other processes live in
    real time, so a wait for one of them may be cut short by a timer.
    """

    def __init__(self, loop_time: LoopTime) -> None:
        self._time = loop_time

    @property
    def began(self) -> float:
        """Return the time of the event loop at which the clock began."""
        return self._time.began

    @property
    def now(self) -> float:
        """Return the seconds that have passed in the test."""
        return self._time.time - self._time.began

    async def advance(self, seconds: float) -> None:
        """Let time pass, with all that happens meanwhile."""
        await asyncio.sleep(seconds)

    def check(self) -> None:
        """Raise `RuntimeError` if the code that runs now does not run in virtual time."""
        try:
            loop: object = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop not in self._time.held:
            kind = "no loop of asyncio" if loop is None else f"{type(loop).__module__}.{type(loop).__qualname__}"
            message = f"virtual time needs an event loop of asyncio itself, but this test runs on {kind}"
            raise RuntimeError(message)


def _set(holder: object, name: str, value: object) -> None:
    setattr(holder, name, value)


@contextmanager
def virtual_time() -> Iterator[VirtualClock]:
    """Let all event loops of this thread run in virtual time until the block ends. Yield their clock.

    A loop that runs already is taken over, too.
    """
    loop_time = LoopTime()
    with suppress(RuntimeError):
        loop_time.hold(asyncio.get_running_loop())
    run_forever = asyncio.BaseEventLoop.run_forever

    @functools.wraps(run_forever)
    def run_virtually(loop: asyncio.BaseEventLoop) -> None:
        loop_time.hold(loop)
        run_forever(loop)

    # Whoever makes a loop of asyncio runs it by this.
    _set(asyncio.BaseEventLoop, "run_forever", run_virtually)
    try:
        yield VirtualClock(loop_time)
    finally:
        _set(asyncio.BaseEventLoop, "run_forever", run_forever)
        loop_time.release()
