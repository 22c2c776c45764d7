"""An event loop whose clock jumps: what waits for hours is rehearsed and tested in milliseconds.

It stands still while a thread call is outstanding, because what a thread does takes no virtual time.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _JumpingSelector(selectors.DefaultSelector):
    """Advance the loop's clock instead of waiting for it."""

    loop: "VirtualTimeLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if self.loop.outstanding and timeout != 0:
            return super().select(None)
        events = super().select(0)
        if events or timeout == 0:
            return events
        if timeout is None:
            # Threads that the loop itself ends, such as its default executor's, report within this real second.
            if events := super().select(1.0):
                return events
            message = "deadlock: nothing is scheduled, so nothing will ever happen"
            raise RuntimeError(message)
        self.loop.now += max(0.0, timeout)
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop that begins at 0 and never waits for its own timers."""

    def __init__(self) -> None:
        """Begin at 0."""
        self.now = 0.0
        self.outstanding = 0
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        """Return the virtual time, in seconds."""
        return self.now

    def run_in_executor(self, executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Run a function in a thread, and let no virtual time pass until it returned."""
        future = super().run_in_executor(executor, func, *args)
        self.outstanding += 1
        future.add_done_callback(self._returned)
        return future

    def _returned(self, _future: asyncio.Future[Any]) -> None:
        self.outstanding -= 1


class SingleThreadLoop(VirtualTimeLoop):
    """A virtual loop that calls what is for a thread itself: nothing happens in another order the next time."""

    def run_in_executor(self, _executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Call a function, and return a future that is done."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - raised by who awaits the future
            future.set_exception(error)
        return future


def run_in_virtual_time(main: Coroutine[Any, Any, T], loop: Callable[[], VirtualTimeLoop] = VirtualTimeLoop) -> T:
    """Run `main` on a virtual loop, from time 0."""
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main)
