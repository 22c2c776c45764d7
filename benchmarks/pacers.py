"""The contenders of `pacing`: common ways to stay within limits.

They have fifteen workers, in virtual time.
"""

import random
from collections import deque
from collections.abc import Callable
from typing import Final, NamedTuple, Protocol

import anyio

from benchmarks.pacing_scenarios import CHANNEL, CONCURRENCY, Scenario, transport_to
from capgo_async.errors import CapgoError
from capgo_async.http.wire import Request, Response, encode
from capgo_async.sandbox.inprocess import InProcessTransport

_FIRST: Final = 0.5
_LONGEST: Final = 60.0
"""The first and the longest wait of a backoff, in seconds."""
IN_VAIN: Final = 3600.0
"""A contender never ends if it gets nothing done for this many seconds while it keeps sending."""
_TOO_MANY: Final = 20
"""A contender never ends either if it sends this many requests per operation.

The same holds if it takes this many times as long as the documented rate and the optimum.
"""


class Pacer(Protocol):
    """When a worker may send, and how long it waits after a refusal or a failure."""

    async def turn(self) -> None:
        """Wait for the turn of the next request."""
        ...

    def pause(self, attempt: int, reply: Response | None) -> float:
        """Return the seconds to wait after a failed attempt, counted from 0. `reply` may be missing."""
        ...


class Backoff:
    """Exponential backoff with full jitter."""

    def __init__(self) -> None:
        self._chance = random.Random(1)

    async def turn(self) -> None:
        """Send at once."""

    def pause(self, attempt: int, _reply: Response | None) -> float:
        """Return the wait."""
        return self._chance.uniform(0.0, min(_LONGEST, _FIRST * 2.0 ** min(attempt, 10)))


class Polite(Backoff):
    """The same backoff, but `Retry-After` is followed exactly if the server sends it."""

    def pause(self, attempt: int, reply: Response | None) -> float:
        """Return the wait."""
        told = None if reply is None else reply.headers.get("retry-after")
        return super().pause(attempt, reply) if told is None else float(told)


class Constant:
    """Sends requests at even intervals, and repeats refused ones at the same rate."""

    def __init__(self, per_minute: int) -> None:
        self._interval = 60.0 / per_minute
        self._next = 0.0

    async def turn(self) -> None:
        """Wait for the next free interval."""
        at = max(anyio.current_time(), self._next)
        self._next = at + self._interval
        await anyio.sleep(at - anyio.current_time())

    def pause(self, _attempt: int, _reply: Response | None) -> float:
        """Return 0: only the turn is waited for."""
        return 0.0


class TokenBucket(Constant):
    """A token bucket with the documented rate, holding at most a minute's worth of tokens."""

    def __init__(self, per_minute: int) -> None:
        super().__init__(per_minute)
        self._saved = 60.0 - self._interval
        self._next = -self._saved

    async def turn(self) -> None:
        """Take a token.

        `_next` is the time at which it came into the bucket, but not before a full bucket began to fill.
        """
        at = max(anyio.current_time() - self._saved, self._next)
        self._next = at + self._interval
        await anyio.sleep(max(0.0, at - anyio.current_time()))


class Contender(NamedTuple):
    """One way to pace. Requests take up to `uneven` times their latency longer, at random."""

    meaning: str
    pacer: Callable[[Scenario], Pacer]
    uneven: float = 0.0


CONTENDERS: Final = {
    "backoff": Contender("exponential backoff with full jitter, 0.5 to 60 s", lambda _: Backoff()),
    "retry-after": Contender("the same, but Retry-After if the server sends it", lambda _: Polite()),
    "uneven": Contender(
        "retry-after, with requests that randomly take up to half as long again", lambda _: Polite(), uneven=0.5
    ),
    "constant": Contender("a constant rate at the documented limit", lambda scenario: Constant(scenario.documented)),
    "bucket": Contender("a token bucket of the documented limit", lambda scenario: TokenBucket(scenario.documented)),
}


class Ended(NamedTuple):
    """The result of a contender. `makespan` is `None` if it never ends."""

    makespan: float | None
    done: int
    requests: int
    refused: int


class _Race:
    """One contender's run."""

    def __init__(self, scenario: Scenario, transport: InProcessTransport, pacer: Pacer, longest: float) -> None:
        self._transport = transport
        self._pacer = pacer
        self._longest = longest
        self._open = deque(scenario.devices())
        self._most = _TOO_MANY * len(self._open)
        self._last_done = 0.0
        self.done = 0
        self.requests = 0
        self.refused = 0

    async def work(self) -> None:
        """Do one operation after the other, each until it is done or the run is hopeless."""
        while self._open and not self.hopeless:
            await self._do(*self._open.popleft())

    @property
    def hopeless(self) -> bool:
        """Return whether the run never ends."""
        now = anyio.current_time()
        return now > self._longest or now - self._last_done > IN_VAIN or self.requests > self._most

    async def _do(self, app_id: str, device: str, key: str) -> None:
        body = encode({"app_id": app_id, "device_id": device, "channel": CHANNEL})
        request = Request(method="POST", path="/device", body=body)
        attempt = 0
        while not self.hopeless:
            await self._pacer.turn()
            reply = await self._send(request, key)
            if reply is not None and reply.status == 200:
                self.done += 1
                self._last_done = anyio.current_time()
                return
            await anyio.sleep(self._pacer.pause(attempt, reply))
            attempt += 1

    async def _send(self, request: Request, key: str) -> Response | None:
        self.requests += 1
        try:
            reply = await self._transport.send(request, {"authorization": key, "content-type": "application/json"})
        except CapgoError:
            return None
        self.refused += reply.status == 429
        return reply

    @property
    def ended(self) -> Ended:
        """Return the result."""
        makespan = None if self.hopeless and self._open else self._last_done
        return Ended(makespan, self.done, self.requests, self.refused)


async def compete(contender: Contender, scenario: Scenario, latency: float, optimum: float) -> Ended:
    """Run a contender on a scenario from time 0, until all is done or the run is hopeless."""
    faults = f"{scenario.faults};*:latency=0ms..{latency * contender.uneven * 1e3:g}ms"
    transport = transport_to(scenario._replace(faults=faults).sandbox(), latency)
    documented = sum(scenario.operations) * 60.0 / scenario.documented
    race = _Race(scenario, transport, contender.pacer(scenario), _TOO_MANY * max(optimum, documented))
    async with anyio.create_task_group() as group:
        for _ in range(CONCURRENCY):
            group.start_soon(race.work)
    return race.ended
