"""`Job`: a plan and the outcome of every operation, in one file that outlives processes.

Longer than 300 lines because it documents everything a job can do. The work itself is done in other modules.
"""

import math
import secrets
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import ExitStack, aclosing, suppress
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Final, Self

import anyio
import msgspec

from ..api.words import member
from ..client import CapgoClient
from ..concurrency import alongside
from ..errors import AuthenticationError, ConfigurationError, DiskFull, JobError, Problem
from ..events import ForecastMade
from ..key_ring import KeyRing, pacer_of, ring_of
from ..limits.lockout import MOST_IN_FLIGHT
from ..limits.models import Limit, server_limits
from .adoption import Adoption, Straggler
from .clock import Clock, wall_clock
from .forecast.forecast import Foreseen, Leg, foreseen, seconds_of, without_first
from .forecast.line import Outlook
from .forecast.outlook import outlook_of
from .jobfile import approvals, records, reports, timelines
from .jobfile.contents import JobRow, Rows, plan_of, rows_of
from .jobfile.course import course_of, latency_of
from .jobfile.facts import (
    JobBinding,
    JobFacts,
    LastUsage,
    Options,
    add_remarks,
    bind,
    read_facts,
    require_approval,
    write_adoption,
)
from .jobfile.journal import Journal
from .jobfile.outcomes import OperationRow, operations_of
from .jobfile.overview import apps_of, flows_of, tallies_of
from .jobfile.reaches import count_open, reopen, still_protected
from .jobfile.records import last_usage, was_begun
from .jobfile.schema import Which
from .jobfile.seen import Seen, seen_of
from .jobfile.staging import Staging
from .picture import Picture
from .plan import Plan
from .planning.drift import Drift, find_drift
from .planning.plan_maker import OnRejected, draw_up, facts_of
from .planning.undo import Undoing, apps_in_doubt
from .report import Activity, Ended, Report, storable
from .running.approval import Approve
from .running.bounds import Bounds, budgeted, deadline_of
from .running.metering import Meter, carried_over, left_in_doubt_for
from .running.rests import Rests, hold_of_run
from .running.run import Manner, Run
from .running.runner import Progress
from .running.stopping import StopRules
from .running.verification import verify
from .sources.source import Source, blocks_of
from .spreading import PAGE, page_of
from .storage.lock import give_name, is_locked, locked
from .storage.places import new, regular, remove
from .timeline import Moment, Timeline

_BUILDING: Final = ".building"
_CALLED: Final = "job file"


class Job:
    """A job in its file. Make a new one with `create`, or resume one with `open`.

    Every method raises `JobError` if the file is damaged, or was moved or removed. `client` is a `CapgoClient` or a `KeyRing`;
    what its calls raise, the methods that take it raise, too.
    """

    def __init__(  # noqa: PLR0913 - the values that `open` read
        self,
        path: Path,
        journal: Journal,
        facts: JobFacts,
        plan: Plan,
        course: Sequence[Leg],
        *,
        last: LastUsage | None,
        begun: bool,
        clock: Clock,
    ) -> None:
        self.path = path
        self.plan = plan
        self.begun = begun
        """Whether the job had been run before it was opened. Its changes were confirmed then."""
        self._journal = journal
        self._database = journal.database
        self.facts = facts
        """The facts of the job: source, options, time, server, survey."""
        self._course = course
        self._last = last
        self._clock = clock
        self._run: Run | None = None

    @classmethod
    async def create(
        cls,
        path: str | Path,
        source: Source,
        *,
        client: CapgoClient | KeyRing,
        options: Options | None = None,
        on_rejected: OnRejected = lambda _: None,
    ) -> Self:
        """Read `source`, compare it with the server, and write the plan to a new file at `path`.

        Only reads are sent. If `path` already holds a job with the same source and options, that job is opened instead.
        `on_rejected` is called with batches of bad rows, each as a line and a reason. Raises `InputError` for bad rows,
        `JobError` if `path` holds another job, and `DiskFull`. Repeating it opens the job.
        """
        path, options, ring = Path(path), options or Options(), ring_of(client)
        place = regular(path, _CALLED)
        if place.exists():
            return await cls._same(path, source, ring, options)
        building = new(path, _CALLED).with_name(place.name + _BUILDING)
        salt = secrets.token_bytes(16)
        with Meter(ring, salt, wall_clock) as meter, locked(path):
            if place.exists():
                message = f"another process has just created {path}: run that job, or choose another file"
                raise JobError(message)
            try:
                remove(building)
                staging = await Staging.create(building)
                async with aclosing(staging.database):
                    draft = await draw_up(staging, source, ring, options, on_rejected)
                    binding, created_at = JobBinding.of(ring, salt), wall_clock().replace(microsecond=0)
                    facts = facts_of(draft, source, options, binding, created_at)
                    await staging.finish(msgspec.structs.replace(facts, page=page_of(ring)), meter())
                give_name(building, place)
            except DiskFull as error:
                message = f"no space left for {path}: nothing was sent. Free some disk space, then plan again"
                raise DiskFull(message) from error
            finally:
                remove(building)
        job = await cls.open(path, client=ring)
        await job._keep_forecast(ring)  # noqa: SLF001 - of this class
        return job

    @classmethod
    async def open(cls, path: str | Path, *, read_only: bool = False, client: CapgoClient | KeyRing | None = None) -> Self:
        """Open a job file.

        With `client`, the plan includes an estimate of the time. With `read_only`, another process may be running the job.
        Raises `JobError` if there is no job of this format. Can be repeated.
        """
        path = Path(path)
        ring = None if client is None else ring_of(client)
        return await cls._opened(path, await Journal.open(path, read_only=read_only), ring, wall_clock)

    @classmethod
    async def open_copy(cls, path: str | Path, *, client: CapgoClient, clock: Clock) -> Self:
        """Open a disposable copy of a job, to run it by another `clock`.

        Its writes do not wait for the disk, so a crash may lose them. Raises as `open` does, and can be repeated.
        """
        return await cls._opened(Path(path), await Journal.open(Path(path), synchronous="OFF"), ring_of(client), clock)

    @classmethod
    async def _opened(cls, path: Path, journal: Journal, ring: KeyRing | None, clock: Clock) -> Self:
        database = journal.database
        try:
            facts = await database.run(read_facts)
            course = await database.run(course_of, facts, clock(), Which.OPEN, PAGE if ring is None else page_of(ring))
            plan = await database.run(plan_of, facts, course)
            last = await database.run(last_usage)
            if ring is not None:
                carried = carried_over(ring, facts.binding.key_salt, last, clock)
                pacer_of(ring).timings.recall(facts.timings)
                found = foreseen(course, outlook_of(ring, course, carried))
                plan = msgspec.structs.replace(plan, seconds=found.seconds, at_most=found.seconds + found.more)
            begun = await database.run(was_begun)
        except BaseException:
            await journal.aclose()
            raise
        return cls(path, journal, facts, plan, course, last=last, begun=begun, clock=clock)

    @classmethod
    async def _same(cls, path: Path, source: Source, ring: KeyRing, options: Options) -> Self:
        async for _ in blocks_of(source):
            pass
        await ring.prepare()
        job = await cls.open(path, client=ring)
        facts = job.facts
        same = msgspec.structs.replace(options.kept(), thresholds=facts.options.thresholds) == facts.options
        if not same or (source.digest, source.asked) != (facts.source_digest, facts.asked):
            await job.aclose()
            message = f"{path} holds a job with another source or other options: choose another file, or run that job as it is"
            raise JobError(message)
        return job

    async def run(  # noqa: PLR0913 - keyword-only options
        self,
        client: CapgoClient | KeyRing,
        *,
        rebind: bool = False,
        on_progress: Progress | None = None,
        stop_rules: StopRules = StopRules(),  # noqa: B008 - immutable
        bounds: Bounds = Bounds(),  # noqa: B008 - immutable
        which: Which = Which.OPEN,
        approve: Approve | None = None,
    ) -> Report:
        """Send the open operations and return the report. Can be called again until nothing is pending.

        With `Which.FAILED` or `Which.CONTRADICTED`, operations that failed or that the last verification contradicted are
        reopened, and only those are sent. One that may have taken effect is treated like one that a killed run left in doubt
        (contract G1).

        With `approve`, a wave of open operations begins only once `approve` has said so, after the wave before it was verified
        and its bake is over. An answer of `Decision.AGAIN` is asked for again a minute later. Later runs of the job need
        `approve`, too.

        Raises whatever stopped the run: `AuthenticationError`, `NotConnected` or `ConnectionLost` if the server cannot be
        reached for longer than its client waits, `SafetyStop` if one of the `stop_rules` or `bounds` applies, the organization
        is unpaid or a wave is not approved, `JobError`. Raises `JobError` as well if another process is running the job, if
        `client` has another base URL or key than the job and `rebind` is false, or if `approve` is missing. Raises
        `ConfigurationError` if the job has no waves and `approve` is given. Repeating it sends what is still open, and no
        operation twice that is done.
        """
        which = member(Which, which, "which")
        ring, again = ring_of(client), self._run is not None
        manner = Manner(
            job=self._name,
            which=which,
            bake_seconds=self.facts.options.bake_seconds,
            stop_rules=stop_rules,
            deadline=deadline_of(bounds, anyio.current_time(), self._clock()),
            on_progress=on_progress,
            approve=approve if which is Which.OPEN else None,
            clock=self._clock,
        )
        run = self._run = Run(self._journal, ring, self._course, manner)
        pacer = pacer_of(ring)
        with ExitStack() as stack, locked(self.path), budgeted(pacer, bounds.max_requests):
            if which is Which.OPEN:
                await self._check_approval(approve)
            former = await self._bind(ring, rebind=rebind)
            meter = stack.enter_context(self._meter(ring))
            await run.prepare()
            await self._seed(ring)
            if which is not Which.OPEN:
                await self._database.run(reopen, which)
            page = page_of(ring)
            if which is not Which.OPEN or again or page < PAGE:
                run.course = self._course = await self._database.run(course_of, self.facts, self._clock(), which, page)
            try:
                async with self._journal.recorded(meter, pacer.listeners, which, run.operations) as ending:
                    ending.how = await run.perform(meter)
            except AuthenticationError:
                # The server refuses the new key, so the job stays with the former one.
                if former is not None:
                    await self._rebind(former)
                raise
        return await self.report()

    def drain(self) -> None:
        """Stop the run gracefully: send nothing new, and finish and record what is in flight."""
        if self._run is not None:
            self._run.drain()

    def abort(self) -> None:
        """Stop the run at once. Operations in flight stay marked as sent, and the next run repeats them."""
        if self._run is not None:
            self._run.abort()

    async def touching(self, channels: Sequence[str], which: Which = Which.OPEN) -> list[tuple[str, str]]:
        """Return the given channels that a run would change, as pairs of app and name.

        `channels` are written as in `Options.protected`. Only reads the file. Raises `JobError`; can be repeated.
        """
        return await self._database.run(still_protected, channels, which) if channels else []

    async def drift(self, client: CapgoClient | KeyRing, *, rebind: bool = False) -> Drift:
        """Compare the pending operations with what the plan saw, and return what differs.

        Only reads are sent. A run still sends the operations whose targets have changed. Raises `JobError` if another process
        runs the job, or for another server or key unless `rebind`. Can be repeated.
        """
        ring = ring_of(client)
        with locked(self.path):
            if not rebind:
                await self._bind(ring, rebind=False)
            with self._meter(ring) as meter:
                await ring.prepare()
                await self._seed(ring)
                found = await find_drift(self._database, ring)
                await self._database.run(records.note_run, Ended.COMPARED, meter())
        return found

    async def verify(
        self, client: CapgoClient | KeyRing, *, on_contradiction: Callable[[float], None] = lambda _: None
    ) -> Report:
        """Compare all done operations with fresh listings and return the report with verdicts.

        Verdicts are explained in contract G4. `on_contradiction` is called with the number of seconds until contradicted
        operations are checked again. Raises `JobError` if another process runs the job, or for another server or key. Only
        reads are sent. Repeating it compares again, and replaces the verdicts.
        """

        async def pause(seconds: float) -> None:
            on_contradiction(seconds)
            await anyio.sleep(seconds)

        ring = ring_of(client)
        with locked(self.path):
            await self._bind(ring, rebind=False)
            await self._seed(ring)
            with self._meter(ring) as meter:
                async with self._journal.recorded(meter, pacer_of(ring).listeners) as ending:
                    verifying = partial(verify, self._journal, ring, pause)
                    telling = partial(alongside, partial(self._keep_told, meter, ring), verifying)
                    remarks = await alongside(self._journal.show_life, telling)
                    await self._database.run(add_remarks, remarks)
                    ending.how = Ended.VERIFIED
        return await self.report()

    async def adoption(
        self,
        client: CapgoClient | KeyRing,
        *,
        inventory: str | Path | None = None,
        on_stragglers: Callable[[Sequence[Straggler]], Awaitable[object]] | None = None,
    ) -> Adoption:
        """Return how many of the moved devices run the bundle of their channel, for the report, too.

        Lists the apps now, or reads the devices one by one where these are few, or uses an `inventory` of devices on disk. The
        bundles are those that the channels have now. `on_stragglers` is called with batches of the devices that run another
        bundle or are unknown to the server. Works while another process runs the job; its requests do not count as the job's.
        Raises `JobError` if the job has moved no device, and `InputError` for an inventory of other apps, of another server, or
        from before the job was planned. Repeating it looks again.
        """
        from .adopting import find_adoption  # noqa: PLC0415 - a job starts without inventories

        ring = ring_of(client)
        await self._bind(ring, rebind=False)
        await self._seed(ring)
        found = await find_adoption(
            self.path,
            self._database,
            ring,
            facts=self.facts,
            inventory=None if inventory is None else Path(inventory),
            on_stragglers=on_stragglers,
        )
        await self._database.run(write_adoption, found)
        return found

    async def undo(
        self,
        path: str | Path,
        *,
        client: CapgoClient | KeyRing,
        rebind: bool = False,
        options: Options = Options(reject_bad_rows=True),  # noqa: B008 - immutable
        on_rejected: OnRejected = lambda _: None,
    ) -> Self:
        """Plan a job at `path` that reverts the changes of this one. Only reads are sent.

        An operation is skipped, with a reason, if the former state of its target is unknown, or if somebody else has changed
        the target since. Raises `JobError` if `client` has another server or key than the job and `rebind` is false, and as
        `create` does. Repeating it opens the job at `path`.
        """
        ring = ring_of(client)
        if not rebind and JobBinding.of(ring, self._salt) != self.facts.binding:
            raise self._bound_elsewhere(ring)
        await self._seed(ring)
        await ring.prepare()
        in_doubt = await apps_in_doubt(self._database, ring, self.facts)
        source = Undoing(self._database, self._name, self.facts.created_at.isoformat(), in_doubt=in_doubt)
        return await self.create(path, source, client=ring, options=options, on_rejected=on_rejected)

    @property
    def parked(self) -> int:
        """Return the number of operations of this run that wait for limits of their own devices."""
        return self._run.parked if self._run else 0

    @property
    def rests_until(self) -> float:
        """Return the time at which the current early rest ends, or a past time if there is none.

        The time is that of `anyio.current_time()`. A rest is early if it begins before a limit requires it.
        """
        return self._run.rests_until if self._run else -math.inf

    async def to_send(self, which: Which = Which.OPEN) -> int:
        """Return the number of operations that a run would send.

        Only reads the file. Raises `JobError`; can be repeated.
        """
        return await self._database.run(count_open, member(Which, which, "which"))

    @property
    def baking_until(self) -> datetime | None:
        """Return the end of the current bake, if there is one."""
        return self._run.baking_until if self._run else None

    @property
    def asks_after(self) -> int | None:
        """Return the number of the wave after which the run waits for approval, if it does."""
        return self._run.asks_after if self._run else None

    def lasts(self, limits: Sequence[Limit]) -> float:
        """Return the estimated seconds for the operations that were open when the job was opened.

        The estimate assumes 15 requests in flight, and that nothing of `limits` has been used but by what a killed run left in
        doubt.
        """
        held = -math.inf if is_locked(self.path) else left_in_doubt_for(self._last, limits)
        outlook = Outlook(limits, MOST_IN_FLIGHT, latency_of(self.facts), held_up_for=held, timings=self.facts.timings)
        return seconds_of(self._course, outlook)

    def seconds_left(self, activity: Activity) -> float:
        """Return the estimated seconds for the pending operations.

        That is the forecast of the run under way, or else what `lasts` returns for the server's limits.
        """
        return self.lasts(server_limits()) if activity.seconds_left is None else activity.seconds_left

    def remaining(self, client: CapgoClient | KeyRing, settled: int) -> Foreseen:
        """Return the remaining time of the run, and its upper bound, after `settled` operations."""
        if self._run is not None:
            return self._run.remaining(settled)
        left = without_first(self._course, settled)
        return foreseen(left, outlook_of(ring_of(client), left))

    async def report(self) -> Report:
        """Return the totals of the job, its runs and its waves.

        Only reads the file. Raises `JobError`; can be repeated.
        """
        return await self._database.run(reports.report_of, self._name, self._now_if_active)

    async def activity(self) -> Activity:
        """Return whether a process runs the job now, and what it waits for.

        Only reads the file. Raises `JobError`; can be repeated.
        """
        return await self._database.run(records.activity_of, self._now_if_active)

    async def timeline(self) -> Timeline:
        """Return the timeline of all runs: counts for each stretch of time and app, and the events.

        Only reads the file. Raises `JobError`; can be repeated.
        """
        return await self._database.run(records.timeline_of)

    async def picture(self, before: Picture | None = None) -> Picture:
        """Return everything that a page about the job shows.

        The forecast is that of the run under way, or else for what was pending when the job was opened. What never changes is
        taken from `before`. Works while another process runs the job. Only reads the file. Raises `JobError`; can be repeated.
        """
        at, now = self._clock(), self._now_if_active

        def read(connection: sqlite3.Connection) -> Picture:
            report = reports.report_of(connection, self._name, now)
            activity = records.activity_of(connection, now)
            return Picture(
                at=at,
                source=self.facts.source,
                base_url=self.facts.binding.base_url,
                created_at=self.facts.created_at,
                activity=activity,
                report=report,
                plan=self.plan,
                seconds_left=self.seconds_left(activity) if report.pending else 0.0,
                apps=apps_of(tallies_of(connection)),
                flows=flows_of(connection) if before is None else before.flows,
                timeline=records.timeline_of(connection),
            )

        return await self._database.run(read)

    async def rows(self, which: Rows) -> AsyncIterator[tuple[JobRow, ...]]:
        """Yield the rows that `which` selects, in chunks.

        Only reads the file. Raises `JobError`; can be repeated.
        """
        last, which = 0, member(Rows, which, "which")
        while chunk := await self._database.run(rows_of, which, last, 1000):
            last = chunk[-1][0]
            yield tuple(row for _, row in chunk)

    async def operations(self) -> AsyncIterator[tuple[OperationRow, ...]]:
        """Yield all planned operations with their outcomes, in chunks.

        Only reads the file. Raises `JobError`; can be repeated.
        """
        last = 0
        while chunk := await self._database.run(operations_of, last, 1000):
            last = chunk[-1][0]
            yield tuple(row for _, row in chunk)

    async def seen(self) -> AsyncIterator[Sequence[Seen]]:
        """Yield all planned operations in chunks, with the state that the plan saw and whether they are done.

        Only reads the file. Raises `JobError`; can be repeated.
        """
        last = 0
        while chunk := await self._database.run(seen_of, last, 10_000):
            last = chunk[-1].id
            yield chunk

    async def copy_to(self, path: Path) -> None:
        """Copy the job to a new file, also while another process runs it.

        Raises `JobError` if that cannot be written. Repeating it replaces the copy.
        """
        await self._database.run(records.copy, path)

    async def aclose(self) -> None:
        """Close the file. Raises nothing; can be repeated."""
        await self._journal.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_exception: object) -> None:
        await self.aclose()

    @property
    def _name(self) -> str:
        return storable(str(self.path))

    @property
    def _now_if_active(self) -> datetime | None:
        """Return the time if a process runs the job."""
        return self._clock() if is_locked(self.path) else None

    @property
    def _salt(self) -> bytes:
        return self.facts.binding.key_salt

    def _meter(self, ring: KeyRing) -> Meter:
        return Meter(ring, self._salt, self._clock)

    async def _keep_told(self, meter: Meter, ring: KeyRing) -> None:
        """Tell when reads rest, and record what was told once a second, until cancelled."""
        apps = [app_id for app_id, _ in self.plan.apps]
        rests = Rests(ring, lambda: hold_of_run(ring, apps, self.rests_until))
        with pacer_of(ring).listeners.heard_by(rests, "other"):
            try:
                while True:
                    await anyio.sleep(1.0)
                    if rests.look() or meter.has_moments:
                        # The verification itself raises that nothing can be recorded.
                        with suppress(JobError):
                            await self._journal.keep()
            finally:
                rests.end()

    async def _seed(self, ring: KeyRing) -> None:
        pacer_of(ring).timings.recall(self.facts.timings)
        usage = carried_over(ring, self._salt, await self._database.run(last_usage), self._clock)
        pacer_of(ring).gates.seed(usage, anyio.current_time())

    async def _keep_forecast(self, ring: KeyRing) -> None:
        """Tell and keep the forecast of a new plan."""
        seconds = self.plan.seconds or 0.0
        more = (self.plan.at_most or seconds) - seconds
        event = ForecastMade(operations=self.plan.planned, seconds=seconds, more=more, planning=True)
        pacer_of(ring).listeners.announce(event)
        await self._database.run(timelines.add, 1, (), (Moment(self._clock().timestamp(), 1, event),))

    async def _check_approval(self, approve: Approve | None) -> None:
        """Record that waves need approval from now on, or raise if nobody can be asked for it."""
        if approve is None:
            if await self._database.run(approvals.is_needed):
                message = f"an earlier run of {self.path} asked for approval between waves, and this one has nobody to ask"
                raise JobError(message, problem=Problem.APPROVAL_NEEDED)
        elif not self.facts.options.waves:
            message = f"{self.path} has no waves, so there is nothing to approve between them"
            raise ConfigurationError(message)
        else:
            await self._database.run(require_approval)

    async def _bind(self, ring: KeyRing, *, rebind: bool) -> JobBinding | None:
        """Bind the job to the ring's server and keys, and return the former binding if it differs."""
        former, binding = self.facts.binding, JobBinding.of(ring, self._salt)
        if binding == former:
            return None
        if not rebind:
            raise self._bound_elsewhere(ring)
        await self._rebind(binding)
        return former

    async def _rebind(self, binding: JobBinding) -> None:
        await self._database.run(bind, binding)
        self.facts = msgspec.structs.replace(self.facts, binding=binding)

    def _bound_elsewhere(self, ring: KeyRing) -> JobError:
        what = [] if ring.base_url == self.facts.binding.base_url else ["base URL"]
        if ring.fingerprint(self._salt) != self.facts.binding.key_fingerprint:
            what.append("API key")
        message = f"{self.path} was made with another {' and '.join(what)}"
        return JobError(message, problem=Problem.OTHER_SERVER_OR_KEY)
