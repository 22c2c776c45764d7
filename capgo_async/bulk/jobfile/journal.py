"""The job file while it runs: what is to be done, what may have left, what came of it.

An operation is marked as sent, durably, before it is handed out; so after a crash nothing that left is forgotten. Past 300
lines because whoever runs, verifies or undoes a job sees the file through this one class, a line or two for each thing.
"""

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Self

import anyio

from ...errors import CapgoError, JobError
from ..database import Database, Mode
from ..operations import FormerState, Planned, Target
from ..plan import Plan
from ..reasons import Reason
from ..report import Report
from ..runner import Settled
from ..scheduling.forecast import Leg, share_of
from ..scheduling.line import Share
from . import assumptions, contents, course, facts, history, outcomes, reaches, records, seen, shares, verdicts
from .assumptions import Assumed
from .contents import JobRow, Rows
from .facts import JobBinding, JobFacts, LastUsage
from .outcomes import OperationRow
from .reaches import Reach
from .records import Measures, Touched
from .schema import Outcome, Verdict, Which
from .seen import Seen
from .shares import Findings, Span


class Ending:
    """How a run ends, as far as the one who runs it knows."""

    def __init__(self) -> None:
        self.how = "stopped"


class Journal:
    """One job file, open for running or, read only, for looking at."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._reaches: dict[str, Reach] = {}
        self._behind = 0
        self._last: int | None = None
        self._in_doubt: set[int] = set()
        self._run = 0
        self._which = Which.OPEN
        self._measure: Callable[[], Measures] | None = None

    @classmethod
    async def open(cls, path: Path, *, read_only: bool = False) -> Self:
        """Open the job file at `path`; migrate an older format, refuse a newer one."""
        if read_only:
            return await cls._opened(Database(path, Mode.READ_ONLY))
        return await cls._opened(Database(path), "PRAGMA synchronous = FULL")

    @classmethod
    async def open_copy(cls, path: Path) -> Self:
        """Open a copy of a job file that nobody needs after a crash."""
        return await cls._opened(Database(path), "PRAGMA synchronous = OFF")

    @classmethod
    async def _opened(cls, database: Database, *pragmas: str) -> Self:
        try:
            await database.configure(*pragmas)
            await database.run(records.check_format, database.path)
        except BaseException:
            await database.aclose()
            raise
        return cls(database)

    async def aclose(self) -> None:
        """Close the file."""
        await self._database.aclose()

    async def copy_to(self, path: Path) -> None:
        """Copy the file as it is at this moment, whoever writes to it."""
        await self._database.run(seen.copy, path)

    async def facts(self) -> JobFacts:
        """Return what the job says of itself."""
        return await self._database.run(facts.read_facts)

    async def bind(self, binding: JobBinding) -> None:
        """Bind the job to another server, or to other keys."""
        await self._database.run(facts.bind, binding)

    async def add_remarks(self, remarks: Sequence[str]) -> None:
        """Add remarks that the job does not have yet."""
        await self._database.run(facts.add_remarks, remarks)

    async def count_open(self, which: Which) -> int:
        """Return how many operations a run would send."""
        return await self._database.run(reaches.count_open, which)

    async def reopen_failed(self) -> None:
        """Make what failed open again; what may have happened is in doubt then."""
        await self._database.run(reaches.reopen_failed)

    async def begin_run(self, measure: Callable[[], Measures], which: Which | None = None) -> None:
        """Open the record of a new run of `which` operations, none where it only looks.

        `measure` is asked what it has used at each commit.
        """
        self._behind = 0
        self._which = which or Which.OPEN
        self._measure = measure
        self._run = await self._database.run(records.begin_run, measure(), sends=which is not None)

    async def begun(self) -> bool:
        """Tell whether a run was begun after the planning."""
        return await self._database.run(history.begun)

    async def last_usage(self) -> LastUsage | None:
        """Return what the process before this one counted; `None` when there was none."""
        return await self._database.run(records.last_usage)

    async def write_usage(self, usage: LastUsage, latency: float) -> None:
        """Write down what a client counted."""
        await self._database.run(facts.write_usage, usage, latency)

    async def in_doubt(self) -> dict[Target, FormerState]:
        """Return the targets of operations that an earlier run left in doubt, with what the plan saw."""
        found = await self._database.run(records.in_doubt)
        return {operation.target: former for operation, former in found}

    async def shares(self) -> list[Share]:
        """Return how many operations of which apps this run has yet to take, as far as it is confined, and hand these out."""
        found = await self._database.run(reaches.reaches, self._behind, self._last, self._which)
        self._reaches = {}
        for app_id, _, _, reach in found:
            before = self._reaches.get(app_id, reach)
            self._reaches[app_id] = Reach(reach.app, min(reach.after, before.after), max(reach.last, before.last))
        # What this run hands out now it does not hand out again, whatever becomes of it.
        self._behind = max((self._behind, *(reach.last for reach in self._reaches.values())))
        return [share_of(app_id, kind, operations) for app_id, kind, operations, _ in found]

    async def advance(self, settled: Sequence[Settled], returned: Sequence[int], take: Mapping[str, int]) -> Sequence[Planned]:
        """Record outcomes, take back what never left, and hand out up to so many of each app, marked as sent; one commit."""
        return await self._database.run(self._advance, settled, returned, take, self._measures())

    async def end_run(self, how: str, reason: str | None = None) -> None:
        """Close the record of this run."""
        await self._database.run(records.end_run, self._run, how, self._measures(), reason)

    @contextlib.asynccontextmanager
    async def recorded(self, measure: Callable[[], Measures], which: Which | None = None) -> AsyncIterator["Ending"]:
        """Keep the record of a run around a block that says how it ended; an exception is the reason why it stopped."""
        await self.begin_run(measure, which)
        ending = Ending()
        reason: str | None = None
        try:
            yield ending
        except CapgoError as error:
            ending.how, reason = "stopped", str(error)
            raise
        finally:
            with anyio.CancelScope(shield=True), contextlib.suppress(JobError):
                await self.end_run(ending.how, reason)

    async def report(self, name: str) -> Report:
        """Count everything."""
        return await self._database.run(records.report_of, name)

    async def course(self, told: JobFacts, now: datetime, page: int, which: Which = Which.OPEN) -> list[Leg]:
        """Return what a run has before it, in its order, with proofs of `page` devices a page."""
        return await self._database.run(course.course_of, told, now, which, page)

    async def plan(self, told: JobFacts, left: Sequence[Leg]) -> Plan:
        """Return what the job will do, when so much is left of it."""
        return await self._database.run(contents.plan_of, told, left)

    def confine(self, last: int) -> None:
        """Hand out nothing behind the operation with the number `last`."""
        self._last = last

    async def spans(self) -> list[Span]:
        """Return the waves of the job, if it has any."""
        return await self._database.run(shares.spans_of)

    async def apps_of(self, span: Span) -> list[str]:
        """Return the apps in which operations of a wave are done."""
        return await self._database.run(shares.apps_of, span)

    async def findings(self, span: Span) -> Findings:
        """Count what came of a wave."""
        return await self._database.run(shares.findings_of, span)

    async def tell(self, span: Span) -> None:
        """Write down that a run stopped for what came of a wave."""
        await self._database.run(shares.tell, span)

    async def close_wave(self, span: Span, verified_at: str, bake_until: str | None) -> None:
        """Write down that a wave is verified, and the end of its bake."""
        await self._database.run(shares.close, span, verified_at, bake_until)

    async def open_by_app(self) -> list[tuple[str, str, int]]:
        """Return how many operations of each app and kind are not settled."""
        return await self._database.run(records.open_by_app)

    async def find_by_name(self) -> None:
        """Make ready to find operations by the names of their targets."""
        await self._database.run(assumptions.find_by_name)

    async def assumed_of(self, app_id: str, after: int, most: int) -> list[Assumed]:
        """Return up to `most` pending operations of an app behind the one with the number `after`."""
        return await self._database.run(assumptions.assumed_of, app_id, after, most)

    async def assumed_among(self, app_id: str, names: Sequence[str]) -> list[Assumed]:
        """Return the pending operations on these targets of an app."""
        return await self._database.run(assumptions.assumed_among, app_id, names)

    async def still_protected(self, channels: Sequence[str], which: Which) -> list[tuple[str, str]]:
        """Return the apps and names of those of `channels` that operations yet to be sent change or link devices to."""
        return await self._database.run(assumptions.still_protected, channels, which)

    async def note_look(self, measures: Measures) -> None:
        """Write down what a look at the targets took."""
        await self._database.run(assumptions.note_look, measures)

    async def rows(self, wanted: Rows, after: int, most: int) -> list[tuple[int, JobRow]]:
        """Return up to `most` of the wanted rows behind the place `after`, each with its place."""
        return await self._database.run(contents.rows_of, wanted, after, most)

    async def operations(self, after: int, most: int) -> list[tuple[int, OperationRow]]:
        """Return up to `most` operations behind a number, each with its number and with what came of it."""
        return await self._database.run(outcomes.operations_of, after, most)

    async def seen(self, after: int, most: int) -> list[Seen]:
        """Return up to `most` operations behind a number, with what the plan saw and whether they are done."""
        return await self._database.run(seen.seen_of, after, most)

    async def done_by_app(self) -> list[tuple[str, str, int]]:
        """Return how many operations of each app and kind are done."""
        return await self._database.run(verdicts.done_by_app, contradicted=False)

    async def contradicted_by_app(self) -> list[tuple[str, str, int]]:
        """Return how many done operations of each app and kind are contradicted."""
        return await self._database.run(verdicts.done_by_app, contradicted=True)

    async def begin_verdicts(self, app_id: str) -> None:
        """Forget the verdicts on an app."""
        await self._database.run(verdicts.begin, app_id)

    async def judge(self, app_id: str, shown: Sequence[tuple[str, str | None]]) -> None:
        """Compare done operations of an app with devices that a listing shows, each with its channel."""
        await self._database.run(verdicts.judge, app_id, shown)

    async def close_listing(self, app_id: str, *, saw_override: bool) -> None:
        """Say what devices without a link meant in the listing of an app."""
        await self._database.run(verdicts.close, app_id, saw_override=saw_override)

    async def with_verdict(self, app_id: str, verdict: Verdict, after: int, most: int) -> list[Planned]:
        """Return up to `most` done operations of an app behind the number `after` that have this verdict."""
        return await self._database.run(verdicts.with_verdict, app_id, verdict, after, most)

    async def settle_verdicts(self, judged: Sequence[tuple[int, Verdict]]) -> None:
        """Write verdicts down, and what the run has used so far."""
        await self._database.run(self._settle_verdicts, judged, self._measures())

    async def end_verdicts(self, app_id: str) -> None:
        """Say of what nothing showed that nobody can tell."""
        await self._database.run(self._end_verdicts, app_id, self._measures())

    async def touched(self, after: int, most: int) -> list[Touched]:
        """Return operations behind a number that may have changed something."""
        return await self._database.run(records.touched, after, most)

    async def formers(self, after: int, most: int) -> list[tuple[int, str, FormerState]]:
        """Return operations after `after` as number, device and what was known of it when the job was planned."""
        return await self._database.run(records.formers, after, most)

    async def others(self) -> list[tuple[int, str, Reason]]:
        """Return the rows that need no request: line, fate and reason."""
        return await self._database.run(records.others)

    def _measures(self) -> Measures:
        assert self._measure is not None  # noqa: S101 - a run was begun
        return self._measure()

    def _settle_verdicts(
        self, connection: sqlite3.Connection, judged: Sequence[tuple[int, Verdict]], measures: Measures
    ) -> None:
        verdicts.settle(connection, judged)
        records.write_measures(connection, self._run, measures)

    def _end_verdicts(self, connection: sqlite3.Connection, app_id: str, measures: Measures) -> None:
        verdicts.end(connection, app_id)
        records.write_measures(connection, self._run, measures)

    def _advance(
        self,
        connection: sqlite3.Connection,
        settled: Sequence[Settled],
        returned: Sequence[int],
        take: Mapping[str, int],
        measures: Measures,
    ) -> list[Planned]:
        records.record(connection, settled, self._run)
        # What an earlier run left in doubt stays so, though this one did not send it.
        back = ((Outcome.PENDING, number) for number in returned if number not in self._in_doubt)
        connection.executemany("UPDATE operations SET outcome = ? WHERE id = ?", back)
        self._in_doubt.difference_update(entry.id for entry in settled)
        planned = self._hand_out(connection, take) if take else []
        records.write_measures(connection, self._run, measures)
        return planned

    def _hand_out(self, connection: sqlite3.Connection, take: Mapping[str, int]) -> list[Planned]:
        wanted = [(self._reaches[app_id], most) for app_id, most in take.items()]
        planned, sent_before = reaches.take(connection, wanted, self._which)
        self._in_doubt.update(sent_before)
        for app_id, last in {each.operation.app_id: each.id for each in planned}.items():
            self._reaches[app_id] = self._reaches[app_id]._replace(after=last)
        return planned
