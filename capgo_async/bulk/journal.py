"""The job file while it runs: what is to be done, what may have left, what came of it.

An operation is marked as sent, durably, before it is handed out; so after a crash nothing that left is forgotten.
"""

import sqlite3
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Self

from ..limits import Limit
from . import assumptions, contents, records, schema, shares
from .assumptions import Assumed
from .contents import JobRow, Rows
from .database import Database, Mode
from .operations import FormerState, Target
from .plan import Plan
from .records import LastUsage, Measures
from .report import Report
from .runner import Planned, Settled
from .schema import Outcome
from .shares import Findings, Span


class Journal:
    """One job file, open for running or, read only, for looking at."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._cursor = 0
        self._last: int | None = None
        self._in_doubt: set[int] = set()
        self._run = 0
        self._measure: Callable[[], Measures] | None = None

    @classmethod
    async def open(cls, path: Path, *, read_only: bool = False) -> Self:
        """Open the job file at `path`; migrate an older format, refuse a newer one."""
        database = Database(path, Mode.READ_ONLY if read_only else Mode.READ_WRITE)
        try:
            if not read_only:
                await database.configure("PRAGMA synchronous = FULL")
            await database.run(records.check_format, path, migrations=schema.MIGRATIONS, newest=schema.FORMAT)
        except BaseException:
            await database.aclose()
            raise
        return cls(database)

    async def aclose(self) -> None:
        """Close the file."""
        await self._database.aclose()

    async def facts(self) -> dict[str, Any]:
        """Return what was written down when the job was made."""
        return await self._database.run(records.read_facts)

    async def rewrite(self, **facts: object) -> None:
        """Replace some of the job's facts."""
        await self._database.run(records.write_facts, facts)

    async def begin_run(self, measure: Callable[[], Measures]) -> None:
        """Open the record of a new run; `measure` is asked what the run has used at each commit."""
        self._cursor = 0
        self._measure = measure
        self._run = await self._database.run(records.begin_run, measure())

    async def begun(self) -> bool:
        """Tell whether a run was begun after the planning."""
        return await self._database.run(records.begun)

    async def last_usage(self) -> LastUsage | None:
        """Return what the process before this one counted; `None` when there was none."""
        return await self._database.run(records.last_usage)

    async def in_doubt(self) -> dict[Target, FormerState]:
        """Return the targets of operations that an earlier run left in doubt, with what the plan saw."""
        found = await self._database.run(records.in_doubt)
        return {operation.target: former for operation, former in found}

    async def advance(self, settled: Sequence[Settled], returned: Sequence[int], take: int) -> Sequence[Planned]:
        """Record outcomes, take back what never left, and hand out up to `take` operations, marked as sent; one commit."""
        planned = await self._database.run(self._advance, settled, returned, take, self._measures())
        if planned:
            self._cursor = planned[-1].id
        return planned

    async def end_run(self, how: str) -> None:
        """Close the record of this run."""
        await self._database.run(records.end_run, self._run, how, self._measures())

    async def report(self, name: str) -> Report:
        """Count everything."""
        return await self._database.run(records.report_of, name)

    async def plan(self, facts: dict[str, Any], limits: Sequence[Limit] | None) -> Plan:
        """Return what the job will do; without `limits` it does not say how long that takes."""
        return await self._database.run(contents.plan_of, facts, limits)

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

    async def still_protected(self, channels: Sequence[str]) -> list[tuple[str, str]]:
        """Return the apps and names of those of `channels` that pending operations change or link devices to."""
        return await self._database.run(assumptions.still_protected, channels)

    async def note_look(self, measures: Measures) -> None:
        """Write down what a look at the targets took."""
        await self._database.run(assumptions.note_look, measures)

    async def rows(self, wanted: Rows, after: int, most: int) -> list[tuple[int, JobRow]]:
        """Return up to `most` of the wanted rows behind the place `after`, each with its place."""
        return await self._database.run(contents.rows_of, wanted, after, most)

    async def apps_done(self) -> list[str]:
        """Return the apps that have done operations without a final verdict."""
        return await self._database.run(records.apps_done)

    async def begin_verdicts(self, app_id: str) -> None:
        """Forget the verdicts on an app."""
        await self._database.run(records.begin_verdicts, app_id)

    async def judge(self, app_id: str, shown: Sequence[tuple[str, str | None]]) -> None:
        """Compare done operations of an app with devices that a listing shows, each with its channel."""
        await self._database.run(records.judge_devices, app_id, shown)

    async def end_verdicts(self, app_id: str) -> None:
        """Say of what no listing showed that nobody can tell."""
        await self._database.run(records.end_verdicts, app_id, self._run, self._measures())

    async def formers(self, after: int, most: int) -> list[tuple[int, str, FormerState]]:
        """Return operations after `after` as number, device and what was known of it when the job was planned."""
        return await self._database.run(records.formers, after, most)

    async def others(self) -> list[tuple[int, str, str]]:
        """Return the rows that need no request: line, fate and reason."""
        return await self._database.run(records.others)

    def _measures(self) -> Measures:
        assert self._measure is not None  # noqa: S101 - a run was begun
        return self._measure()

    def _advance(
        self,
        connection: sqlite3.Connection,
        settled: Sequence[Settled],
        returned: Sequence[int],
        take: int,
        measures: Measures,
    ) -> list[Planned]:
        records.record(connection, settled, self._run)
        # What an earlier run left in doubt stays so, though this one did not send it.
        back = ((Outcome.PENDING, number) for number in returned if number not in self._in_doubt)
        connection.executemany("UPDATE operations SET outcome = ? WHERE id = ?", back)
        self._in_doubt.difference_update(entry.id for entry in settled)
        planned = records.take(connection, self._cursor, self._last, take) if take else []
        if planned:
            self._in_doubt.update(records.sent_before(connection, self._cursor, planned[-1].id))
            records.mark_sent(connection, self._cursor, planned[-1].id)
        records.write_measures(connection, self._run, measures)
        return planned
