"""Runs a copy of a job against a sandbox in virtual time. The job itself is only read."""

import asyncio
import contextlib
import errno
import math
import random
import tempfile
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

import anyio
import anyio.lowlevel
import msgspec

from ..api.detection import is_newest
from ..bulk.clock import Clock, wall_clock
from ..bulk.job import Job
from ..bulk.jobfile.course import latency_of
from ..bulk.jobfile.facts import JobBinding, JobFacts, LastUsage, bind, read_usage, write_usage
from ..bulk.operations.results import Done, Failed
from ..bulk.picture import Picture
from ..bulk.report import Decision, Question, Report, Wave, storable
from ..bulk.running.approval import Answer
from ..bulk.running.bounds import Bounds
from ..bulk.running.stopping import StopRules
from ..bulk.storage.database import Database
from ..bulk.storage.places import for_temporary_files
from ..client import CapgoClient, requester_of
from ..errors import CapgoError, DiskFull, JobError, SafetyStop
from ..key_ring import ring_of
from ..limits.gates import ScopeUsage
from ..limits.lockout import MOST_IN_FLIGHT
from ..limits.models import ScopeKind
from ..limits.timing import ANY, Timing
from ..sandbox import Rule, Sandbox, Settings, Thresholds, World, thresholds
from ..sandbox.exchange import Generation
from ..sandbox.inprocess import InProcessTransport
from ..sandbox.seeding import EPOCH, SUPER_ADMIN_KEY
from ..sandbox.virtual_time import run_in_virtual_time
from .scenery import world_of

_NEWEST: Final = "rehearsed with a server as of November 2026, because the channels that the plan saw were of one"
_BASE_URL: Final = "http://127.0.0.1"
"""Address of the sandbox. No connection is made to it."""


class Conditions(msgspec.Struct, frozen=True, kw_only=True):
    """Properties of the rehearsed server, and options of the run.

    `latency` is the round trip in seconds; `None` takes the latency that the plan measured. `seed` determines faults and retry
    delays, so that the same rehearsal has the same result.
    """

    limits: Thresholds = thresholds("server")
    latency: float | None = None
    faults: tuple[Rule, ...] = ()
    rate: str = "auto"
    headroom: float = 0.0
    concurrency: int = MOST_IN_FLIGHT
    rules: StopRules = StopRules()
    bounds: Bounds = Bounds()
    seed: int = 1


class RehearsedWave(msgspec.Struct, frozen=True, kw_only=True):
    """One wave of a rehearsal.

    Times are in seconds from the start. A time is `None` if it was not reached, or lies before the start.
    """

    number: int
    share: str
    operations: int
    settled: int
    failed: int
    state: str
    verified_after: float | None
    baked_after: float | None


class Rehearsed(msgspec.Struct, frozen=True, kw_only=True):
    """The result of a rehearsal.

    `makespan` is the duration in virtual seconds, `forecast` the estimate made before it, and `took` the real duration in
    seconds. `report` is the report that the job would have; the last of its runs is the rehearsed one. `picture` shows the job
    as it would be then. `error` is the error that stopped this run, if any.
    """

    makespan: float
    forecast: float | None
    took: float
    latency: float
    waves: tuple[RehearsedWave, ...]
    remarks: tuple[str, ...]
    report: Report
    picture: Picture
    error: CapgoError | None = None


class Rehearsal:
    """A rehearsal of the job at `path`.

    `run` performs it in the calling thread, in an event loop of its own. `stop` ends it.
    """

    def __init__(self, path: Path, conditions: Conditions, clock: Clock = wall_clock) -> None:
        self._path = path
        self._conditions = conditions
        self._clock = clock
        self.settled = 0
        """Operations settled so far."""
        self.total = 0
        self._stopped = False
        self._loop: asyncio.AbstractEventLoop | None = None
        self._scope: anyio.CancelScope | None = None

    def run(self) -> Rehearsed | None:
        """Rehearse and return the result, or `None` if the rehearsal was stopped.

        An error that stops the rehearsed run is part of the result. Raises `JobError` if `path` is not a job or its copy fails,
        and `DiskFull` if there is no space for the copy.
        """
        try:
            with tempfile.TemporaryDirectory(prefix="capgo-rehearsal-", dir=for_temporary_files()) as directory:
                return run_in_virtual_time(self._run(Path(directory) / self._path.name))
        except (DiskFull, OSError) as error:
            if isinstance(error, OSError) and error.errno != errno.ENOSPC:
                raise
            where = f"no space left in {tempfile.gettempdir()} to rehearse a copy of {self._path}"
            message = f"{where}: free some disk space, or set TMPDIR to another directory, then rehearse again"
            raise DiskFull(message) from error

    def stop(self) -> None:
        """End the rehearsal at once, or as soon as it begins. Can be called from any thread, also afterwards."""
        self._stopped = True
        if self._loop is not None and self._scope is not None:
            # The loop may have just ended and been closed.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._scope.cancel)

    async def _run(self, copy: Path) -> Rehearsed | None:
        with anyio.CancelScope() as scope:
            self._scope, self._loop = scope, asyncio.get_running_loop()
            if self._stopped:
                scope.cancel()
            await anyio.lowlevel.checkpoint()
            async with await Job.open(self._path, read_only=True) as job:
                await job.copy_to(copy)
            rehearsed = await self._perform(copy)
            # A run may finish although it was cancelled.
            return None if self._stopped else rehearsed
        return None

    async def _perform(self, copy: Path) -> Rehearsed:
        began, begun_at = time.perf_counter(), self._clock()
        async with await Job.open(copy, read_only=True) as seen:
            facts = seen.facts
            # A job in waves lists its apps to verify each wave.
            world = await world_of(seen.seen, facts.survey, EPOCH, filled=bool(facts.options.waves))
        asked = self._conditions.latency
        latency = asked if asked is not None else latency_of(facts)

        def clock() -> datetime:
            return begun_at + timedelta(seconds=anyio.current_time())

        newest = is_newest(facts.features)
        async with self._client(world, latency, "2026-11" if newest else "2026-07") as client:
            remarks = await _bind(copy, facts, client, latency)
            remarks += (_NEWEST,) if newest else ()
            async with await Job.open_copy(copy, client=client, clock=clock) as job:
                self.total = await job.to_send()
                error: CapgoError | None = None
                try:
                    await job.run(
                        client,
                        on_progress=self._count,
                        stop_rules=self._conditions.rules,
                        bounds=self._conditions.bounds,
                        approve=_approved if facts.needs_approval else None,
                    )
                except CapgoError as stopped:
                    # A fault of the copy is no result: a run of the job itself would not have it.
                    if isinstance(stopped, JobError) and not isinstance(stopped, SafetyStop):
                        raise
                    error = stopped
                picture = await job.picture()
        report = msgspec.structs.replace(picture.report, job=storable(str(self._path)))
        return Rehearsed(
            makespan=report.elapsed_seconds,
            forecast=job.plan.seconds,
            took=time.perf_counter() - began,
            latency=latency,
            waves=tuple(_timed(wave, begun_at) for wave in report.waves),
            remarks=remarks,
            report=report,
            picture=msgspec.structs.replace(picture, report=report, base_url=facts.binding.base_url, rehearsed=True),
            error=error,
        )

    def _count(self, _result: Done | Failed) -> None:
        self.settled += 1

    def _client(self, world: World, latency: float, generation: Generation) -> CapgoClient:
        chance = random.Random(self._conditions.seed)  # noqa: S311 - reproducible
        # The log is never read.
        settings = Settings(generation=generation, limits=self._conditions.limits, faults=self._conditions.faults, log_size=1)
        transport = InProcessTransport(
            Sandbox(world, settings), request_delay=latency / 2, reply_delay=latency / 2, chance=chance
        )
        return CapgoClient(
            api_key=SUPER_ADMIN_KEY,
            base_url=_BASE_URL,
            rate=self._conditions.rate,
            headroom=self._conditions.headroom,
            concurrency=self._conditions.concurrency,
            transport=transport,
            chance=chance.random,
        )


async def _approved(_question: Question) -> Answer:
    """Approve every wave: a rehearsal asks nobody."""
    return Answer(Decision.APPROVED)


async def _bind(copy: Path, facts: JobFacts, client: CapgoClient, latency: float) -> tuple[str, ...]:
    """Bind the copy to the rehearsal's key, carry over the recorded usage, and return remarks."""
    salt, keys = facts.binding.key_salt, facts.binding.keys
    database = Database(copy)
    try:
        await database.run(bind, JobBinding.of(ring_of(client), salt))
        last = await database.run(read_usage)
        if last is not None:
            usage = _of_one_key(last, requester_of(client).identity.fingerprint(salt))
            await database.run(write_usage, usage, {ANY: Timing(latency)})
    finally:
        await database.aclose()
    several = f"the job was made with {keys} keys but rehearsed with one: the real run may be faster"
    return (several,) if keys > 1 else ()


def _of_one_key(last: LastUsage, fingerprint: str) -> LastUsage:
    """Merge the usage of all keys into one: the most that any key used, and the most recent time."""
    of_keys = [used for used in last.usage if used.scope[0] == ScopeKind.KEY]
    usage = [used for used in last.usage if used not in of_keys]
    if of_keys:
        scope = (ScopeKind.KEY, fingerprint[:16])
        usage.insert(0, ScopeUsage(scope, max(used.used for used in of_keys), min(used.age for used in of_keys)))
    return LastUsage(last.at, last.client, tuple(usage))


def _timed(wave: Wave, begun_at: datetime) -> RehearsedWave:
    def after(moment: str | None) -> float | None:
        seconds = math.nan if moment is None else (datetime.fromisoformat(moment) - begun_at).total_seconds()
        return seconds if seconds >= 0 else None

    return RehearsedWave(
        number=wave.number,
        share=wave.share,
        operations=wave.operations,
        settled=wave.settled,
        failed=wave.failed,
        state=wave.state,
        verified_after=after(wave.verified_at),
        baked_after=after(wave.bake_until),
    )
