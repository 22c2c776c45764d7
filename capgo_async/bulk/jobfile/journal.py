"""The job file while it runs: what is to be done, what may have left, what came of it.

An operation is marked as sent, durably, before it is handed out; so after a crash nothing that left is forgotten.
"""

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Self

import anyio

from ...errors import CapgoError, JobError
from ..database import Database, Mode
from ..operations import Planned
from ..report import Ended
from ..runner import Settled
from ..scheduling.forecast import share_of
from ..scheduling.line import Share
from . import reaches, records, verdicts
from .reaches import Reach
from .records import Measures
from .schema import Outcome, Verdict, Which


class Ending:
    """How a run ends, as far as the one who runs it knows."""

    def __init__(self) -> None:
        self.how = Ended.STOPPED


class Journal:
    """One job file, open for running or, read only, for looking at.

    Whoever only reads, or writes what has no part in the run, runs a function of a connection in the `database`.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._reaches: dict[str, Reach] = {}
        self._behind = 0
        self._last: int | None = None
        self._in_doubt: set[int] = set()
        self._run = 0
        self._which = Which.OPEN
        self._measure: Callable[[], Measures] | None = None

    @classmethod
    async def open(cls, path: Path, *, read_only: bool = False) -> Self:
        """Open the job file at `path`. Raises `JobError` for a file of another format."""
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
        await self.database.aclose()

    async def begin_run(self, measure: Callable[[], Measures], which: Which | None = None) -> None:
        """Open the record of a new run of `which` operations, none where it only looks.

        `measure` is asked what it has used at each commit.
        """
        self._behind = 0
        self._which = which or Which.OPEN
        self._measure = measure
        self._run = await self.database.run(records.begin_run, measure(), sends=which is not None)

    async def shares(self) -> list[Share]:
        """Return how many operations of which apps this run has yet to take, as far as it is confined, and hand these out."""
        found = await self.database.run(reaches.reaches, self._behind, self._last, self._which)
        self._reaches = {}
        for app_id, _, _, reach in found:
            before = self._reaches.get(app_id, reach)
            self._reaches[app_id] = Reach(reach.app, min(reach.after, before.after), max(reach.last, before.last))
        # What this run hands out now it does not hand out again, whatever becomes of it.
        self._behind = max((self._behind, *(reach.last for reach in self._reaches.values())))
        return [share_of(app_id, kind, operations) for app_id, kind, operations, _ in found]

    async def advance(self, settled: Sequence[Settled], returned: Sequence[int], take: Mapping[str, int]) -> Sequence[Planned]:
        """Record outcomes, take back what never left, and hand out up to so many of each app, marked as sent; one commit."""
        return await self.database.run(self._advance, settled, returned, take, self._measures())

    async def end_run(self, how: Ended, reason: str | None = None) -> None:
        """Close the record of this run."""
        await self.database.run(records.end_run, self._run, how, self._measures(), reason)

    @contextlib.asynccontextmanager
    async def recorded(self, measure: Callable[[], Measures], which: Which | None = None) -> AsyncIterator["Ending"]:
        """Keep the record of a run around a block that says how it ended; an exception is the reason why it stopped."""
        await self.begin_run(measure, which)
        ending = Ending()
        reason: str | None = None
        try:
            yield ending
        except CapgoError as error:
            ending.how, reason = Ended.STOPPED, str(error)
            raise
        finally:
            with anyio.CancelScope(shield=True), contextlib.suppress(JobError):
                await self.end_run(ending.how, reason)

    def confine(self, last: int) -> None:
        """Hand out nothing behind the operation with the number `last`."""
        self._last = last

    async def settle_verdicts(self, judged: Sequence[tuple[int, Verdict]]) -> None:
        """Write verdicts down, and what the run has used so far."""
        await self.database.run(self._settle_verdicts, judged, self._measures())

    async def end_verdicts(self, app_id: str) -> None:
        """Say of what nothing showed that nobody can tell."""
        await self.database.run(self._end_verdicts, app_id, self._measures())

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
