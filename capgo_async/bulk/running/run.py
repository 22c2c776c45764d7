"""One run of a job: what sends, verifies, waits and asks, put together."""

import math
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import partial
from typing import NamedTuple

import anyio

from ...concurrency import alongside
from ...errors import TransportError
from ...key_ring import KeyRing, pacer_of
from ..clock import Clock
from ..forecast.forecast import Foreseen, Leg, foreseen, without_first
from ..forecast.outlook import outlook_of
from ..jobfile.journal import Journal
from ..jobfile.schema import Which
from ..jobfile.seen import in_doubt
from ..report import Ended
from ..schedule.client_gauge import ClientGauge
from ..schedule.schedule import Schedule
from ..schedule.share import calls_of
from .absence import Absences
from .approval import Approvals, Approve
from .execution import Executor
from .forecasting import Forecasts
from .metering import Meter, limits_in_force
from .rests import Rests, hold_of_run
from .runner import Brakes, Progress, RunDeadline, Runner, stop
from .stopping import StopRules, Watch
from .waves import Pace, Waves


class Manner(NamedTuple):
    """How a run sends `which` operations of the job named `job`."""

    job: str
    which: Which
    bake_seconds: float
    stop_rules: StopRules
    deadline: RunDeadline
    on_progress: Progress | None
    approve: Approve | None
    clock: Clock


class Run:
    """One run. `course` is what it has ahead of it."""

    def __init__(self, journal: Journal, ring: KeyRing, course: Sequence[Leg], manner: Manner) -> None:
        self.course = course
        self._journal = journal
        self._ring = ring
        self._manner = manner
        self._watch = Watch(manner.stop_rules)
        self._preparing = anyio.CancelScope(deadline=manner.deadline.at)
        self._scope = anyio.CancelScope()
        self._asked_to_drain = False
        self._runner: Runner | None = None
        self._waves: Waves | None = None
        self._approvals: Approvals | None = None

    @property
    def operations(self) -> int:
        """Return how many operations the course has."""
        return sum(share.operations for leg in self.course for share in leg.shares)

    async def prepare(self) -> None:
        """Find the key for each app, unless drained first. Raises `SafetyStop` at the deadline."""
        with self._preparing:
            await self._ring.prepare()
        if self._preparing.cancelled_caught and not self._asked_to_drain:
            raise stop(self._manner.deadline.reason)

    async def perform(self, meter: Meter) -> Ended:
        """Run to the end, or until stopped, and return how it ended. Raises whatever else ended it."""
        listeners, absences = pacer_of(self._ring).listeners, Absences(self._ring, self._journal)
        apps = [*dict.fromkeys(share.app_id for leg in self.course for share in leg.shares)]
        rests = Rests(self._ring, lambda: hold_of_run(self._ring, apps, self.rests_until))
        forecasts = Forecasts(listeners, lambda: (self.operations - self._watch.settled, self.remaining(self._watch.settled)))

        def look() -> bool:
            forecasts.look()
            return rests.look() or meter.has_moments

        runner, waves = await self._begin(look)
        for limit in limits_in_force(self._ring, apps):
            listeners.announce(limit)
        forecasts.look()

        async def send() -> Runner:
            sending, course = runner, waves
            while (error := await _ended_by(course)) is not None:
                # The error has drained the runner, and a drained one waits for nothing.
                sending, course = await self._begin(look)
                if not await absences.outlast(error, sending):
                    break
            return sending

        with listeners.heard_by(rests, "other"), self._scope:
            runner = await alongside(self._journal.show_life, send)
        rests.end()
        return Ended.INTERRUPTED if runner.drained or self._scope.cancel_called else Ended.FINISHED

    async def _begin(self, look: Callable[[], bool]) -> tuple[Runner, Waves]:
        pacer, manner = pacer_of(self._ring), self._manner
        executor = Executor(self._ring, await self._journal.database.run(in_doubt))
        calls = calls_of(share for leg in self.course for share in leg.shares)
        self._runner = runner = Runner(
            self._journal,
            executor,
            workers=pacer.concurrency,
            schedule=partial(Schedule, gauge=ClientGauge(self._ring, calls)),
            progress=manner.on_progress,
            look=look,
            brakes=Brakes(self._watch.note, manner.deadline, executor.drain),
        )
        self._approvals = Approvals(
            self._journal, runner, manner.approve, listeners=pacer.listeners, job=manner.job, clock=manner.clock
        )
        pace = Pace(manner.bake_seconds, manner.stop_rules.failures, manner.clock)
        self._waves = Waves(self._journal, runner, self._ring, pace, self._approvals)
        if self._asked_to_drain:
            runner.drain()
        return runner, self._waves

    def drain(self) -> None:
        """Send nothing new, and finish and record what is in flight."""
        self._asked_to_drain = True
        self._preparing.cancel()
        if self._runner is not None:
            self._runner.drain()

    def abort(self) -> None:
        """Stop at once. Operations in flight stay marked as sent."""
        self.drain()
        self._scope.cancel()

    @property
    def parked(self) -> int:
        """Return the number of operations that wait for limits of their own devices."""
        return self._runner.parked if self._runner else 0

    @property
    def rests_until(self) -> float:
        """Return the time at which the current early rest ends, or a past time if there is none."""
        return self._runner.schedule.rests_until if self._runner else -math.inf

    @property
    def baking_until(self) -> datetime | None:
        """Return the end of the current bake, if there is one."""
        return self._waves.baking_until if self._waves else None

    @property
    def asks_after(self) -> int | None:
        """Return the number of the wave after which the run waits for approval, if it does."""
        return self._approvals.asking if self._approvals else None

    def remaining(self, settled: int) -> Foreseen:
        """Return the remaining time, and its upper bound, after `settled` operations."""
        until = self.baking_until
        baking = None if until is None else max(0.0, (until - self._manner.clock()).total_seconds())
        left = without_first(self.course, settled, baking, self._runner.schedule.waiting() if self._runner else None)
        outlook = outlook_of(self._ring, left)
        if self._runner is not None:
            now = anyio.current_time()
            held_until = max(self._runner.parked_until, pacer_of(self._ring).queue_ends_at(now))
            outlook = outlook._replace(resting=self._runner.schedule.resting(now), held_up_for=held_until - now)
        return foreseen(left, outlook)


async def _ended_by(waves: Waves) -> TransportError | None:
    """Run the waves, and return the error if the server could not be reached."""
    try:
        await waves.run()
    except TransportError as error:
        return error
    return None
