"""An event loop whose clock jumps: hours of waiting pass in milliseconds, for rehearsals and tests.

Thread calls are made by the loop itself and take no time, so the order of events is always the same.
"""

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor
from typing import Any, Protocol, TypeVar, TypeVarTuple, cast

T = TypeVar("T")
Ts = TypeVarTuple("Ts")


class Jumping(Protocol):
    """A clock that jumps.

    `patience` is how many real seconds a loop without timers waits for an event before it is called deadlocked.
    """

    patience: float

    def jump(self, seconds: float) -> None: ...

    def lull(self, *, watches_files: bool) -> float:
        """Return how many real seconds to wait for an event before a jump."""
        ...


class JumpingSelector:
    """A selector that lets a clock jump instead of waiting, and otherwise does what the wrapped one does."""

    def __init__(self, selector: selectors.BaseSelector, clock: Jumping) -> None:
        self.wrapped = selector
        self._clock = clock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = self.wrapped.select(0)
        if events or timeout == 0:
            return events
        # Without timers, a thread may still report, however busy the machine is.
        patience = self._clock.patience if timeout is None else self._clock.lull(watches_files=self._watches_files())
        if patience and (events := self.wrapped.select(patience)):
            return events
        if timeout is None:
            message = "deadlock: nothing is scheduled, so the loop would wait forever"
            raise RuntimeError(message)
        self._clock.jump(max(0.0, timeout))
        return []

    def _watches_files(self) -> bool:
        """Return whether the loop watches more than the pipe that wakes it; that of Windows does not tell."""
        files = getattr(self.wrapped, "get_map", None)
        return files is None or len(files()) > 1

    def __getattr__(self, name: str) -> Any:
        return getattr(self.wrapped, name)


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """A loop that starts at 0 and never waits for its timers."""

    patience = 60.0

    def __init__(self) -> None:
        self.now = 0.0
        super().__init__(cast("selectors.BaseSelector", JumpingSelector(selectors.DefaultSelector(), self)))

    def time(self) -> float:
        return self.now

    def jump(self, seconds: float) -> None:
        self.now += seconds

    def lull(self, *, watches_files: bool) -> float:  # noqa: ARG002 -- none of them waits for anything outside the loop
        return 0.0

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
