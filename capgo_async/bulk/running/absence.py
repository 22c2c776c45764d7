"""Waits for a server that is away: probes it with backoff until it responds again."""

from typing import Final

import anyio

from ...api.detection import ok
from ...client import requester_of
from ...errors import CapgoError, SafetyStop, TransportError
from ...events import ServerAway, ServerBack
from ...http import wire
from ...http.effort import Effort, Patience, Wait
from ...key_ring import KeyRing, pacer_of
from ..jobfile.journal import Journal
from .runner import Runner

FIRST_PAUSE: Final = 5.0
"""Seconds until the first probe; each later pause is twice as long, up to a minute."""
_LONGEST_PAUSE: Final = 60.0


class Absence:
    """Waits while the server of a run is away, for up to `longest` seconds each time; 0 for not at all."""

    def __init__(self, ring: KeyRing, journal: Journal, longest: float) -> None:
        self._ring = ring
        self._journal = journal
        self._listeners = pacer_of(ring).listeners
        self._longest = longest
        self._since = 0.0
        self._answers_before = -1
        self.looks_again_at: float | None = None
        """Time of the next probe, by `anyio.current_time()`, while the server is away."""

    async def outlast(self, error: TransportError, runner: Runner) -> bool:
        """Wait until the server responds again. Return false if `runner` is drained first.

        What is open is then handed out again.

        Raises `error` once the server has been away for too long, and `SafetyStop` at the deadline of the run. If it responds
        to a probe and then to no other request, it has been away all the time.
        """
        if self._ring.counters.answers != self._answers_before:
            self._since = anyio.current_time()
        pause = FIRST_PAUSE
        try:
            while (left := self._since + self._longest - anyio.current_time()) > 0:
                pause = min(pause, left)
                self.looks_again_at = anyio.current_time() + pause
                self._listeners.announce(ServerAway(seconds=pause, so_far=self._longest - left))
                await self._journal.keep()
                await runner.rest(pause)
                there = await runner.unless_drained(self._responds)
                if there is None:
                    return False
                if there:
                    self._answers_before = self._ring.counters.answers
                    self._listeners.announce(ServerBack(seconds=anyio.current_time() - self._since))
                    self._journal.start_over()
                    return True
                pause = min(2 * pause, _LONGEST_PAUSE)
        finally:
            self.looks_again_at = None
        raise error

    async def _responds(self) -> bool:
        """Send one request that counts against no limit, and return whether the server responded as it should.

        Raises `SafetyStop` if the run may send no more requests.
        """
        requester = requester_of(self._ring.clients[0])
        try:
            return not isinstance(await requester.call_or_wait(ok(), wire.acknowledge, Effort(Patience.NONE)), Wait)
        except SafetyStop:
            raise
        except CapgoError:
            return False
