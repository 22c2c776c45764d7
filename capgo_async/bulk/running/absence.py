"""The times in which the server of a run is away."""

from functools import partial

import anyio

from ...errors import TransportError
from ...key_ring import KeyRing, absence_of
from ..jobfile.journal import Journal
from .runner import Runner


class Absences:
    """Lets a run wait for its server, as long as its client allows."""

    def __init__(self, ring: KeyRing, journal: Journal) -> None:
        self._ring = ring
        self._journal = journal
        self._since = 0.0
        self._answers_before = -1

    async def outlast(self, error: TransportError, runner: Runner) -> bool:
        """Wait until the server responds again. Return false if `runner` is drained first.

        What is open is then handed out again.

        Raises `error` once the server has been away for too long, and `SafetyStop` at the deadline of the run. If it responds
        to a probe and then to no other request, it has been away all the time.
        """
        if self._ring.counters.answers != self._answers_before:
            self._since = anyio.current_time()
        await runner.unless_drained(partial(absence_of(self._ring).outlast, error, self._since, self._journal.keep))
        if runner.drained:
            return False
        self._answers_before = self._ring.counters.answers
        self._journal.start_over()
        return True
