"""What SIGINT and SIGTERM do."""

import contextlib
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import anyio

from ..bulk.report import ExitCode
from ..fanning import alongside
from .speech import Speech


class Interruption:
    """Listens for signals: each takes the next of the current `steps`; when there are none left, everything stops."""

    def __init__(self, speech: Speech) -> None:
        self._speech = speech
        self._scope: anyio.CancelScope | None = None
        self._steps: list[Callable[[], None]] = []

    @contextlib.contextmanager
    def steps(self, *steps: Callable[[], None]) -> Iterator[None]:
        """Within the block, let the first signal take the first step, the second the second."""
        former, self._steps = self._steps, list(steps)
        try:
            yield
        finally:
            self._steps = former

    async def guard(self, action: Callable[[], Awaitable[int]]) -> int:
        """Return the exit code of `action`, 130 when it was stopped."""
        with anyio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            return await alongside(lambda: self._listen(signals), lambda: self._stoppable(action))

    async def _listen(self, signals: AsyncIterator[signal.Signals]) -> None:
        async for _ in signals:
            if self._steps:
                self._steps.pop(0)()
            elif self._scope is not None:
                self._scope.cancel()

    async def _stoppable(self, action: Callable[[], Awaitable[int]]) -> int:
        with anyio.CancelScope() as self._scope:
            return await action()
        self._speech.say("interrupted")
        return ExitCode.INTERRUPTED
