"""Timeouts of attempts, with one timer for all attempts in flight."""

import asyncio
import itertools
from collections.abc import Mapping
from types import TracebackType

from ..errors import TimedOut
from .wire import Request, Response, Transport


class Timed:
    """A transport that gives a request up after `seconds`. `base_url` is named in the error."""

    def __init__(self, transport: Transport, seconds: float, base_url: str) -> None:
        self._transport = transport
        self._deadlines = Deadlines(seconds)
        self._base_url = base_url

    async def send(self, request: Request, headers: Mapping[str, str], *, fresh: bool = False) -> Response:
        """Send `request` as the transport does; raises `TimedOut` if that takes too long."""
        try:
            with Deadline(self._deadlines):
                return await self._transport.send(request, headers, fresh=fresh)
        except TimeoutError as error:
            message = f"no response from {self._base_url} within {self._deadlines.seconds} s"
            raise TimedOut(message) from error

    async def aclose(self) -> None:
        """Stop the timer and close the transport."""
        self._deadlines.stop()
        await self._transport.aclose()


class Deadlines:
    """The deadlines of all attempts in flight.

    One timer is enough, because all attempts have the same timeout and so expire in the order in which they began. aiohttp's
    own timeout uses a timer for each request, which takes a tenth of the CPU time of a request.
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.running: dict[Deadline, None] = {}
        self._timer: asyncio.TimerHandle | None = None

    def add(self, deadline: "Deadline") -> None:
        """Start to watch `deadline`."""
        self.running[deadline] = None
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_at(deadline.at, self._expire)

    def remove(self, deadline: "Deadline") -> None:
        """Watch `deadline` no more.

        Without attempts in flight no timer is left, because a virtual clock would jump to it.
        """
        self.running.pop(deadline, None)
        if not self.running:
            self.stop()

    def stop(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _expire(self) -> None:
        loop = asyncio.get_running_loop()
        now = loop.time()
        self._timer = None
        for deadline in list(itertools.takewhile(lambda oldest: oldest.at <= now, self.running)):
            del self.running[deadline]
            deadline.expire()
        if self.running:
            self._timer = loop.call_at(next(iter(self.running)).at, self._expire)


class Deadline:
    """A context manager that cancels its block and raises `TimeoutError` when the time is up."""

    __slots__ = ("_cancelling", "_deadlines", "_expired", "_task", "at")

    def __init__(self, deadlines: Deadlines) -> None:
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - the transport is awaited
        self.at = asyncio.get_running_loop().time() + deadlines.seconds
        self._deadlines = deadlines
        self._task = task
        self._cancelling = task.cancelling()
        self._expired = False

    def expire(self) -> None:
        """Cancel the block: its time is up."""
        self._expired = True
        self._task.cancel()

    def __enter__(self) -> None:
        self._deadlines.add(self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None) -> None:
        self._deadlines.remove(self)
        # A cancellation from elsewhere is passed on.
        if self._expired and self._task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error
