"""A transport that calls a sandbox directly, without sockets and on the caller's clock."""

from collections.abc import Mapping

import anyio

from ..errors import ConnectionLost
from ..http.wire import Request, Response
from .exchange import Dropped, Incoming
from .faults import Chance
from .sandbox import Arrival, Sandbox
from .seeding import EPOCH


class InProcessTransport:
    """Sends requests into a sandbox; implements `wire.Transport`.

    The sandbox's clock is the event loop's plus `epoch_offset` seconds, so virtual time moves both. Random faults need
    `chance`. As on a real server, a request that has arrived takes effect even if the caller is cancelled while it waits for
    the response. Delays are in seconds.
    """

    def __init__(  # noqa: PLR0913 -- six knobs, each with a default
        self,
        sandbox: Sandbox,
        *,
        request_delay: float = 0.0,
        reply_delay: float = 0.0,
        chance: Chance | None = None,
        address: str = "127.0.0.1",
        epoch_offset: float = EPOCH,
    ) -> None:
        if chance is None and any(rule.gambles() for rule in sandbox.settings.faults):
            message = "these faults are random: pass a random.Random"
            raise ValueError(message)
        self.sandbox = sandbox
        self._request_delay = request_delay
        self._reply_delay = reply_delay
        self._chance = chance
        self._address = address
        self._epoch_offset = epoch_offset

    async def send(self, request: Request, headers: Mapping[str, str], *, fresh: bool = False) -> Response:  # noqa: ARG002 -- there are no connections here to be fresh
        """Send a request; raises `ConnectionLost` when a fault drops the connection."""
        await anyio.sleep(self._request_delay)
        incoming = Incoming(
            method=request.method,
            path=request.path,
            query=request.query,
            headers={name.lower(): value for name, value in headers.items()},
            body=request.body or b"",
            address=self._address,
        )
        arrival = self.sandbox.arrive(incoming, self._now(), self._chance)
        outcome = await self._outcome(arrival)
        await anyio.sleep(self._reply_delay)
        if isinstance(outcome, Dropped):
            message = f"the sandbox dropped the connection of {request.method} {request.path}"
            raise ConnectionLost(message)
        return outcome

    async def aclose(self) -> None:
        """Do nothing: there are no connections."""

    async def _outcome(self, arrival: Arrival) -> Response | Dropped:
        try:
            await anyio.sleep(arrival.fault.latency)
        finally:  # also when cancelled: the request has reached the server by now
            outcome = self.sandbox.answer(arrival, self._now())
        if isinstance(outcome, Dropped):
            return outcome
        return Response(status=outcome.status, headers=outcome.headers, body=outcome.body)

    def _now(self) -> float:
        return anyio.current_time() + self._epoch_offset
