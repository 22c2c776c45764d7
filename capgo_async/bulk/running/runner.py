"""The concurrency-limited runner. It knows neither HTTP nor files: it is given `execute` and a journal.

A bounded number of workers take operations in the order in which a schedule lets them leave. An operation that has to wait for
its own target is parked, and its worker goes on with the next. What came of them is recorded in batches. Past 300 lines because
the books and the workers wake each other, and every way in which a run ends is settled between them.
"""

import heapq
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol

import anyio
import anyio.lowlevel

from ...errors import CapgoError, Problem, SafetyStop
from ..operations.operations import Operation, Planned
from ..operations.results import Done, Failed, Later, NotSent, Result, Settled, Stopped
from ..schedule.schedule import Schedule, Waiting
from ..schedule.share import Share

COMMIT_SECONDS: Final = 1.0
"""An outcome waits no longer than this to be recorded."""
LARGEST_BATCH: Final = 1024
MOST_PARKED: Final = 10_000
"""No new operation is taken while so many wait for their own targets: they are what memory would grow by.

Those that came back let others be taken beside them, until they have left.
"""


class RunJournal(Protocol):
    """Where the runner gets operations and leaves outcomes."""

    async def shares(self) -> Sequence[Share]:
        """Return how many operations of which apps there are to be done."""
        ...

    async def advance(self, settled: Sequence[Settled], returned: Sequence[int], take: Mapping[str, int]) -> Sequence[Planned]:
        """Record `settled`, take back what never left, and hand out up to so many of each app, durably marked as sent."""
        ...


Progress = Callable[[Done | Failed], None]
"""Hears of each operation that is settled."""


class StopReason(NamedTuple):
    """Why a run stopped itself: a sentence with the numbers, and a code."""

    text: str = ""
    problem: Problem | None = None


class RunDeadline(NamedTuple):
    """When a run has to end, on the clock of `anyio.current_time()`, and why."""

    at: float = math.inf
    reason: StopReason = StopReason()


class Brakes(NamedTuple):
    """What ends a run before its end.

    `watch` is shown each outcome, in the order in which they are recorded; a reason that it returns stops the run, and so does
    the `deadline`. `give_up` is called once nothing new is to be sent, so that what waits in `execute` waits no more.
    """

    watch: Callable[[Settled], StopReason | None] = lambda _: None
    deadline: RunDeadline = RunDeadline()
    give_up: Callable[[], None] = lambda: None


class Runner:
    """Run the operations of a journal through `execute` with `workers` at a time, in the order of a `schedule` of them.

    What stops the run, as a result or as an exception of `execute`, ends it as `drain` does, is raised once the outcomes are
    recorded, and leaves its operation to the next run. One of the `brakes` stops it with `SafetyStop`.
    """

    def __init__(  # noqa: PLR0913 - what it works on and how, keyword only
        self,
        journal: RunJournal,
        execute: Callable[[Operation], Awaitable[Result]],
        *,
        workers: int = 16,
        schedule: Callable[[Sequence[Share]], Schedule] = Schedule,
        progress: Progress | None = None,
        brakes: Brakes = Brakes(),  # noqa: B008 - immutable
    ) -> None:
        self._brakes = brakes
        self._journal = journal
        self._execute = execute
        self._workers = workers
        self._progress = progress
        self._make_schedule = schedule
        self._schedule = schedule(())
        self._parked: list[tuple[float, int, Waiting]] = []
        self._settled: list[Settled] = []
        self._returned: list[int] = []
        self._batch = 2 * workers
        self._idle = 0
        self._draining = False
        self._late = False
        self._books_closed = False
        self._working = 0
        self._committed_at = -math.inf
        self._failure: CapgoError | None = None
        self._hungry = anyio.Event()
        self._changed = anyio.Event()

    async def run(self) -> None:
        """Work until all that the journal has is settled, or until drained; raise what stopped the run. Can be called again."""
        self._schedule = self._make_schedule(await self._journal.shares())
        try:
            async with anyio.create_task_group() as group:
                self._working = self._workers
                for _ in range(self._workers):
                    group.start_soon(self._work)
                await self._keep_books()
        finally:
            # What was in flight at the deadline may have been all that was left.
            if self._late and (self._returned or not self._through):
                self._failure = self._failure or stop(self._brakes.deadline.reason)
            with anyio.CancelScope(shield=True):
                await self._return_unsent()
        # Cancelled while a commit was under way, which is shielded: nothing else here would say so.
        await anyio.lowlevel.checkpoint_if_cancelled()
        if self._failure is not None:
            raise self._failure

    def drain(self) -> None:
        """Take no new operation; what is in flight is finished and recorded."""
        self._draining = True
        self._brakes.give_up()
        self._wake()
        self._hungry.set()

    async def rest(self, seconds: float) -> None:
        """Do nothing for so long, or until drained; raises what ends the run where its deadline comes first."""
        ends_at = anyio.current_time() + seconds
        with anyio.CancelScope(deadline=min(ends_at, self._brakes.deadline.at)):
            while not self._draining:
                await self._changed.wait()
        if not self._draining and self._brakes.deadline.at < ends_at:
            self.drain()
            raise stop(self._brakes.deadline.reason)

    @property
    def drained(self) -> bool:
        """Tell whether the run was asked to stop before its end."""
        return self._draining

    @property
    def parked(self) -> int:
        """Return how many operations wait for their own targets."""
        return len(self._parked)

    @property
    def parked_until(self) -> float:
        """Return when the last of what waits for its own target goes on; before now where nothing does."""
        return max((at for at, _, _ in self._parked), default=-math.inf)

    @property
    def rests_until(self) -> float:
        """Return when a rest ends that began before a limit asked for it; before now without one."""
        return self._schedule.rests_until

    def waiting(self) -> Mapping[str, int]:
        """Return how many operations of each app the run under way has yet to send."""
        return self._schedule.waiting()

    def resting(self) -> Mapping[str, float]:
        """Return for how many seconds keys rest that could send."""
        return self._schedule.resting(anyio.current_time())

    async def _keep_books(self) -> None:
        """Hand outcomes to the journal and operations to the workers until both are through.

        A journal that fails ends the run: nothing may leave that is not written down.
        """
        try:
            while self._working or self._settled:
                await self._until_something_is_due()
                # A batch more than the half of one at which it is fetched: few commits are needed at speed.
                most = self._batch + self._batch // 2
                wanted = {} if self._draining else self._schedule.wanted(most, anyio.current_time())
                due = not self._working or anyio.current_time() >= self._committed_at + COMMIT_SECONDS
                if wanted or (due and self._settled):
                    await self._commit(wanted)
        except CapgoError as error:
            self._failure = error
            self._books_closed = True
            self.drain()

    async def _until_something_is_due(self) -> None:
        """Wait for hungry workers, for the next commit, or for the deadline, which drains the run."""
        ends_at = math.inf if self._draining else self._brakes.deadline.at
        now = anyio.current_time()
        due_at = self._committed_at + COMMIT_SECONDS
        due_at = due_at if self._settled and due_at > now else now + COMMIT_SECONDS
        with anyio.CancelScope(deadline=min(due_at, ends_at)):
            await self._hungry.wait()
        self._hungry = anyio.Event()
        if anyio.current_time() >= ends_at:
            self._late = True
            self.drain()

    async def _commit(self, take: Mapping[str, int]) -> None:
        settled, self._settled = self._settled, []
        self._schedule.put(await self._journal.advance(settled, (), take), take)
        now = anyio.current_time()
        # About what half a second settles: little is in doubt after a crash, and few commits are needed at speed.
        pace = len(settled) / max(now - self._committed_at, 1e-3)
        self._batch = max(2 * self._workers, min(LARGEST_BATCH, int(pace / 2)))
        self._committed_at = now
        self._wake()

    async def _return_unsent(self) -> None:
        """Record what is left, and take back what was handed out and never left."""
        if self._books_closed:
            return
        waiting = (*self._schedule.take_back(), *(waiting for _, _, waiting in self._parked))
        unsent = [*self._returned, *(each.planned.id for each in waiting if not each.in_doubt)]
        settled, self._settled = self._settled, []
        if settled or unsent:
            await self._journal.advance(settled, unsent, {})

    async def _work(self) -> None:
        try:
            while (planned := self._pick() or await self._next()) is not None:
                try:
                    result = await self._execute(planned.operation)
                except CapgoError as error:
                    result = Stopped(error)
                self._note(planned, result)
                if self._idle:
                    # An answer may be what they wait for.
                    self._wake()
        finally:
            self._working -= 1
            if not self._working:
                self._hungry.set()

    def _note(self, planned: Planned, result: Result) -> None:
        self._schedule.answered(planned.operation.app_id)
        match result:
            case Done() | Failed():
                settled = Settled(planned.id, result, planned.operation.app_id)
                self._settled.append(settled)
                if self._progress is not None:
                    self._progress(result)
                if self._failure is None and (reason := self._brakes.watch(settled)) is not None:
                    self._failure = stop(reason)
                    self.drain()
            case Later():
                heapq.heappush(self._parked, (result.at, planned.id, Waiting(planned, result.in_doubt)))
                self._schedule.park(planned)
            case NotSent():
                self._returned.append(planned.id)
            case Stopped():
                self._failure = self._failure or result.error
                if not result.in_doubt:
                    self._returned.append(planned.id)
                self.drain()

    async def _next(self) -> Planned | None:
        """Wait for something to do and return it, `None` when there is nothing more."""
        while not self._draining:
            if (planned := self._pick()) is not None:
                return planned
            if self._through:
                return None
            if not self._schedule.exhausted:
                self._hungry.set()
            self._idle += 1
            with anyio.CancelScope(deadline=self._looks_again_at):
                await self._changed.wait()
            self._idle -= 1
        return None

    def _pick(self) -> Planned | None:
        """Return what can leave now, if anything does."""
        if self._draining:
            return None
        now = anyio.current_time()
        while self._parked and self._parked[0][0] <= now:
            self._schedule.come_back(heapq.heappop(self._parked)[2])
        if self._full:
            return None
        planned = self._schedule.choose(now)
        if self._schedule.is_low(self._batch):
            self._hungry.set()
        return planned

    @property
    def _full(self) -> bool:
        """Tell whether nothing new may be taken before something that waits comes back."""
        return len(self._parked) >= MOST_PARKED and not self._schedule.some_waited

    @property
    def _looks_again_at(self) -> float:
        """Return when who found nothing to do looks again; what the schedule said last holds only where it was asked."""
        comes_back_at = self._parked[0][0] if self._parked else math.inf
        return comes_back_at if self._full else min(comes_back_at, self._schedule.look_again_at)

    @property
    def _through(self) -> bool:
        """Tell whether nothing is left to begin."""
        return not self._parked and self._schedule.exhausted and self._schedule.empty

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


def stop(reason: StopReason) -> SafetyStop:
    """Return the exception that stops a run for this reason."""
    return SafetyStop(f"stopped: {reason.text}", problem=reason.problem)
