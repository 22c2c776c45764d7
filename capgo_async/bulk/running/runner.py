"""Runs operations with bounded concurrency. Knows neither HTTP nor files.

Workers take operations in the order that a schedule chooses. An operation that has to wait for a limit of its own target is
parked, and its worker continues with the next one. Outcomes are recorded in batches. Longer than 300 lines because the workers
and the recording of outcomes wake each other, and every way in which a run ends is settled between them.
"""

import heapq
import math
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple, Protocol, TypeVar

import anyio
import anyio.lowlevel

from ...concurrency import fan_out
from ...errors import CapgoError, Problem, SafetyStop
from ..operations.operations import Operation, Planned
from ..operations.results import Done, Failed, Later, NotSent, Result, Settled, Stopped
from ..schedule.schedule import Schedule, Waiting
from ..schedule.share import Share

T = TypeVar("T")

COMMIT_SECONDS: Final = 1.0
"""Longest time until an outcome is recorded."""
LARGEST_BATCH: Final = 1024
MOST_PARKED: Final = 10_000
"""Limit of parked operations. At the limit no new operation is taken, which bounds memory.

New operations are still taken while some that were parked are ready to be sent again.
"""


class RunJournal(Protocol):
    """Where the runner gets operations and leaves outcomes."""

    async def shares(self) -> Sequence[Share]:
        """Return the number of open operations of each app."""
        ...

    async def advance(self, settled: Sequence[Settled], returned: Sequence[int], take: Mapping[str, int]) -> Sequence[Planned]:
        """Record outcomes and hand out operations, in one transaction.

        `settled` are the new outcomes. `returned` are the numbers of operations that were handed out and never left. `take` is
        how many operations of each app are wanted at most; those handed out are durably marked as sent.
        """
        ...


Progress = Callable[[Done | Failed], None]
"""Called with each result that settles an operation."""


class StopReason(NamedTuple):
    """Why a run stopped itself: a text with the figures, and a code."""

    text: str = ""
    problem: Problem | None = None


class RunDeadline(NamedTuple):
    """When a run has to end, on the clock of `anyio.current_time()`, and why."""

    at: float = math.inf
    reason: StopReason = StopReason()


class Brakes(NamedTuple):
    """What can end a run early.

    `watch` is called with each outcome, in the order of recording. A reason that it returns stops the run, and so does
    `deadline`. `give_up` is called when nothing new is to be sent, so that `execute` stops waiting.
    """

    watch: Callable[[Settled], StopReason | None] = lambda _: None
    deadline: RunDeadline = RunDeadline()
    give_up: Callable[[], None] = lambda: None


class Runner:
    """Runs the operations of a journal through `execute`, up to `workers` at a time.

    `schedule` chooses the order. `look` is called about once a second and returns whether there is something to record. A
    `Stopped` result or an exception from `execute` drains the run. It is raised after the outcomes have been recorded, and its
    operation is left to the next run. One of the `brakes` stops the run with `SafetyStop`.
    """

    def __init__(  # noqa: PLR0913 - keyword-only options
        self,
        journal: RunJournal,
        execute: Callable[[Operation], Awaitable[Result]],
        *,
        schedule: Callable[[Sequence[Share]], Schedule],
        workers: int = 16,
        progress: Progress | None = None,
        look: Callable[[], bool] = lambda: False,
        brakes: Brakes = Brakes(),  # noqa: B008 - immutable
    ) -> None:
        self._brakes = brakes
        self._journal = journal
        self._execute = execute
        self._workers = workers
        self._progress = progress
        self._look = look
        self._make_schedule = schedule
        self.schedule = schedule(())
        """The schedule of the current run."""
        self._parked: list[tuple[float, int, Waiting]] = []
        self._settled: list[Settled] = []
        self._returned: list[int] = []
        self._batch = 2 * workers
        self._idle = 0
        self.drained = False
        """Whether the run was asked to stop before its end."""
        self._late = False
        self._books_closed = False
        self._working = 0
        self._committed_at = -math.inf
        self._failure: CapgoError | None = None
        self._hungry = anyio.Event()
        self._changed = anyio.Event()

    async def run(self) -> None:
        """Run until all operations are settled or the run is drained. Can be called again.

        Raises whatever stopped the run.
        """
        self.schedule = self._make_schedule(await self._journal.shares())
        try:
            async with anyio.create_task_group() as group:
                self._working = self._workers
                for _ in range(self._workers):
                    group.start_soon(self._work)
                await self._keep_books()
        finally:
            # The operations in flight at the deadline may have been the last ones. Then the run is complete.
            if self._late and (self._returned or not self._through):
                self._failure = self._failure or stop(self._brakes.deadline.reason)
            with anyio.CancelScope(shield=True):
                await self._return_unsent()
        # Commits are shielded, so a cancellation during one has not been raised yet.
        await anyio.lowlevel.checkpoint_if_cancelled()
        if self._failure is not None:
            raise self._failure

    def drain(self) -> None:
        """Take no new operation. Operations in flight are finished and recorded."""
        self.drained = True
        self._brakes.give_up()
        self._wake()
        self._hungry.set()

    async def rest(self, seconds: float) -> None:
        """Sleep for `seconds`, or until drained. Raises `SafetyStop` if the deadline comes first."""
        ends_at = anyio.current_time() + seconds
        with anyio.CancelScope(deadline=min(ends_at, self._brakes.deadline.at)):
            while not self.drained:
                await self._changed.wait()
        if not self.drained and self._brakes.deadline.at < ends_at:
            self.drain()
            raise stop(self._brakes.deadline.reason)

    async def unless_drained(self, work: Callable[[], Awaitable[T]]) -> T | None:
        """Await `work` and return its result, or cancel it and return `None` when drained.

        Raises `SafetyStop` at the deadline.
        """
        found: list[T] = []
        with anyio.CancelScope() as scope:

            async def do() -> None:
                found.append(await work())
                scope.cancel()

            async def wait_for_end() -> None:
                await self.rest(math.inf)
                scope.cancel()

            await fan_out((do, wait_for_end), lambda part: part(), 2)
        return found[0] if found else None

    @property
    def parked(self) -> int:
        """Return the number of operations that wait for their own targets."""
        return len(self._parked)

    @property
    def parked_until(self) -> float:
        """Return the time at which the last parked operation continues, or a past time if none is parked."""
        return max((at for at, _, _ in self._parked), default=-math.inf)

    async def _keep_books(self) -> None:
        """Record outcomes and fetch operations until the workers have ended and all is recorded.

        If the journal fails, the run ends: nothing may be sent that is not recorded.
        """
        try:
            while self._working or self._settled:
                await self._until_something_is_due()
                # A refill starts at half a batch and adds a whole one, so that few commits are needed at high rates.
                most = self._batch + self._batch // 2
                wanted = {} if self.drained else self.schedule.wanted(most, anyio.current_time())
                due = not self._working or anyio.current_time() >= self._committed_at + COMMIT_SECONDS
                news = self._look()
                if wanted or (due and self._settled):
                    await self._commit(wanted)
                elif due and news:
                    await self._journal.advance((), (), {})
        except CapgoError as error:
            self._failure = error
            self._books_closed = True
            self.drain()

    async def _until_something_is_due(self) -> None:
        """Wait until a worker needs operations, a commit is due, or the deadline drains the run."""
        ends_at = math.inf if self.drained else self._brakes.deadline.at
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
        self.schedule.put(await self._journal.advance(settled, (), take), take)
        now = anyio.current_time()
        # Half a second's worth of operations: few are in doubt after a crash, and few commits are needed at high rates.
        pace = len(settled) / max(now - self._committed_at, 1e-3)
        self._batch = max(2 * self._workers, min(LARGEST_BATCH, int(pace / 2)))
        self._committed_at = now
        self._wake()

    async def _return_unsent(self) -> None:
        """Record the remaining outcomes and return the operations that were handed out and never left."""
        if self._books_closed:
            return
        waiting = (*self.schedule.take_back(), *(waiting for _, _, waiting in self._parked))
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
                    # Idle workers may be waiting for this response.
                    self._wake()
        finally:
            self._working -= 1
            if not self._working:
                self._hungry.set()

    def _note(self, planned: Planned, result: Result) -> None:
        self.schedule.answered(planned.operation.app_id)
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
                self.schedule.park(planned)
            case NotSent():
                self._returned.append(planned.id)
            case Stopped():
                self._failure = self._failure or result.error
                if not result.in_doubt:
                    self._returned.append(planned.id)
                self.drain()

    async def _next(self) -> Planned | None:
        """Wait for the next operation and return it, or `None` if there are no more."""
        while not self.drained:
            if (planned := self._pick()) is not None:
                return planned
            if self._through:
                return None
            if not self.schedule.exhausted:
                self._hungry.set()
            self._idle += 1
            with anyio.CancelScope(deadline=self._looks_again_at):
                await self._changed.wait()
            self._idle -= 1
        return None

    def _pick(self) -> Planned | None:
        """Return an operation that may leave now, if there is one."""
        if self.drained:
            return None
        now = anyio.current_time()
        while self._parked and self._parked[0][0] <= now:
            self.schedule.come_back(heapq.heappop(self._parked)[2])
        if self._full:
            return None
        planned = self.schedule.choose(now)
        if self.schedule.is_low(self._batch):
            self._hungry.set()
        return planned

    @property
    def _full(self) -> bool:
        """Return whether no new operation may be taken until a parked one comes back."""
        return len(self._parked) >= MOST_PARKED and not self.schedule.some_waited

    @property
    def _looks_again_at(self) -> float:
        """Return when an idle worker looks for work again.

        While `_full`, the schedule is not asked, so its own time is out of date.
        """
        comes_back_at = self._parked[0][0] if self._parked else math.inf
        return comes_back_at if self._full else min(comes_back_at, self.schedule.look_again_at)

    @property
    def _through(self) -> bool:
        """Return whether no operation is left to begin."""
        return not self._parked and self.schedule.exhausted and self.schedule.empty

    def _wake(self) -> None:
        self._changed.set()
        self._changed = anyio.Event()


def stop(reason: StopReason) -> SafetyStop:
    return SafetyStop(f"stopped: {reason.text}", problem=reason.problem)
