"""An event loop whose clock jumps: hours of waiting pass in milliseconds, for rehearsals and tests.

Thread calls are made by the loop itself and take no time, so the order of events is always the same.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, TypeVar, TypeVarTuple

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class _JumpingSelector(selectors.DefaultSelector):
    """Advances the loop's clock instead of waiting."""

    loop: "VirtualTimeLoop"

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if events or timeout == 0:
            return events
        if timeout is None:
            # A thread that was not started by `run_in_executor` may still report, however busy the machine is.
            if events := super().select(self.loop.patience):
                return events
            message = "deadlock: nothing is scheduled, so the loop would wait forever"
            raise RuntimeError(message)
        self.loop.now += max(0.0, timeout)
        return []


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop that starts at 0 and never waits for its timers."""

    patience = 60.0
    """Real seconds without any event after which a loop that has no timers is called deadlocked."""

    def __init__(self) -> None:
        self.now = 0.0
        selector = _JumpingSelector()
        selector.loop = self
        super().__init__(selector)

    def time(self) -> float:
        return self.now

    def run_in_executor(self, _executor: Executor | None, func: Callable[[*Ts], T], *args: *Ts) -> asyncio.Future[T]:
        """Call the function at once, in the loop's own thread."""
        future: asyncio.Future[T] = self.create_future()
        try:
            future.set_result(func(*args))
        except Exception as error:  # noqa: BLE001 - raised to whoever awaits the future
            future.set_exception(error)
        return future


def run_in_virtual_time(main: Coroutine[Any, Any, T], loop: Callable[[], VirtualTimeLoop] = VirtualTimeLoop) -> T:
    """Run `main` on a virtual loop, starting at time 0."""
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(main)
