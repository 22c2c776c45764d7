"""Asks for approval between waves.

Question and answer stand in the job file, so a kill neither skips nor repeats an approval.
"""

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import partial
from typing import Final, NamedTuple

import anyio

from ...errors import Problem, SafetyStop
from ...events import ApprovalAnswered, ApprovalAsked
from ...listeners import Listeners
from ..clock import Clock
from ..jobfile import approvals
from ..jobfile.journal import Journal
from ..jobfile.waves import StoredWave
from ..report import Decision, Question
from .runner import Runner

ASK_AGAIN_SECONDS: Final = 60.0
"""Seconds until a question is asked again whose answer was put off."""


class Answer(NamedTuple):
    """The answer to a question. `reason` is a text for people, which the job file keeps."""

    decision: Decision
    reason: str = ""


Approve = Callable[[Question], Awaitable[Answer]]
"""Decides whether the next wave may begin.

It is cancelled if the run is to end first; the next run then asks again.
"""


class Approvals:
    """The approvals of one run. Without `approve`, nobody is asked."""

    def __init__(  # noqa: PLR0913 - what it asks with, where it records, and whom it tells
        self, journal: Journal, runner: Runner, approve: Approve | None, *, listeners: Listeners, job: str, clock: Clock
    ) -> None:
        self._journal = journal
        self._runner = runner
        self._approve = approve
        self._listeners = listeners
        self._job = job
        self._clock = clock
        self.asking: int | None = None
        """The number of the wave after which an answer is awaited."""

    async def granted(self, wave: StoredWave) -> bool:
        """Return whether the wave after a verified one may begin; false if the run is drained first.

        Raises `SafetyStop` if the answer is no, and at the deadline of the run.
        """
        pending = None if self._approve is None else await self._journal.database.run(approvals.pending_after, wave)
        if self._approve is None or pending is None:
            return True
        self.asking = wave.number
        try:
            return await self._settled(pending, wave, self._approve)
        finally:
            self.asking = None

    async def _settled(self, pending: approvals.Pending, wave: StoredWave, approve: Approve) -> bool:
        if pending.put_off_at is not None:
            since = (self._clock() - datetime.fromisoformat(pending.put_off_at)).total_seconds()
            # A clock that was set back must not make the pause longer.
            await self._runner.rest(min(ASK_AGAIN_SECONDS, ASK_AGAIN_SECONDS - since))
        while not self._runner.drained:
            question = await self._journal.note(approvals.ask, pending.number, wave, self._job, self._now())
            self._listeners.announce(ApprovalAsked(wave=wave.number, attempt=question.times))
            await self._journal.keep()
            answer = await self._runner.unless_drained(partial(approve, question))
            if answer is None:
                break
            self._listeners.announce(ApprovalAnswered(wave=wave.number, answer=answer.decision, reason=answer.reason))
            with anyio.CancelScope(shield=True):
                await self._journal.note(approvals.answer, pending.number, answer.decision, answer.reason, self._now())
            if answer.decision is Decision.APPROVED:
                return True
            if answer.decision is Decision.DECLINED:
                why = f" ({answer.reason})" if answer.reason else ""
                message = f"stopped after {wave.name}: the next wave was not approved{why}"
                raise SafetyStop(message, problem=Problem.NOT_APPROVED)
            await self._runner.rest(ASK_AGAIN_SECONDS)
        return False

    def _now(self) -> str:
        return self._clock().isoformat(timespec="milliseconds")
