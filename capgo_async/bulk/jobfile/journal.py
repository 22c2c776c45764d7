"""The journal of a running job: it hands out operations and records their outcomes.

An operation is durably marked as sent before it is handed out. So a crash never loses track of a request that was sent.
"""

import contextlib
import sqlite3
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path
from typing import Concatenate, Final, ParamSpec, Self, TypeVar

import anyio

from ...errors import CapgoError, JobError
from ...events import RunBegan, RunEnded
from ...listeners import Listeners
from ...version import __version__
from ..operations.operations import Planned
from ..operations.results import Settled
from ..report import Ended
from ..schedule.share import Share, share_of
from ..storage.database import Database, Mode
from . import reaches, records
from .reaches import Reach
from .records import Measures
from .schema import Outcome, Which

Measure = Callable[[Sequence[Settled]], Measures]
P = ParamSpec("P")
T = TypeVar("T")

LIFE_SECONDS: Final = 15.0
"""Seconds between two signs of life of a run.

A killed one lived at most this much longer than its record says.
"""


class Ending:
    """How a run ends, set by the code that runs it."""

    def __init__(self) -> None:
        self.how = Ended.STOPPED


class Journal:
    """A job file that is open for a run, or read-only.

    Code that only reads, or writes what is not part of a run, calls functions of a connection through `database`.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self._reaches: dict[str, Reach] = {}
        self._after = 0
        self._last: int | None = None
        self._in_doubt: set[int] = set()
        self._run = 0
        self._which = Which.OPEN
        self._measure: Measure | None = None

    @classmethod
    async def open(cls, path: Path, *, read_only: bool = False, synchronous: str = "FULL") -> Self:
        """Open the job file at `path`. Raises `JobError` for a file of another format.

        With `synchronous` as "OFF", writes do not wait for the disk, so a crash may lose them.
        """
        database = Database(path, Mode.READ_ONLY if read_only else Mode.READ_WRITE)
        try:
            await database.configure(f"PRAGMA synchronous = {synchronous}")
            await database.run(records.check_format, path)
        except BaseException:
            await database.aclose()
            raise
        return cls(database)

    async def aclose(self) -> None:
        await self.database.aclose()

    async def begin_run(self, measure: Measure, which: Which | None = None, operations: int = 0) -> None:
        """Begin the record of a new run of `which` operations, and how many; `None` for a run that only reads.

        `measure` is called at each commit, with the outcomes that it records, and returns what the run has used so far.
        """
        self._after = 0
        self._which = which or Which.OPEN
        self._measure = measure
        self._run = await self.database.run(records.begin_run, measure(()), None if which is None else operations)

    async def shares(self) -> list[Share]:
        """Return the operations that this run has yet to hand out, counted by app and kind.

        `advance` then hands out just these. `confine` limits them.
        """
        found = await self.database.run(reaches.reaches, self._after, self._last, self._which)
        self._reaches = {}
        for app_id, _, _, reach in found:
            before = self._reaches.get(app_id, reach)
            self._reaches[app_id] = Reach(reach.app, min(reach.after, before.after), max(reach.last, before.last))
        # The run never hands out an operation twice, whatever its outcome.
        self._after = max((self._after, *(reach.last for reach in self._reaches.values())))
        return [share_of(app_id, kind, operations) for app_id, kind, operations, _ in found]

    async def advance(self, settled: Sequence[Settled], returned: Sequence[int], take: Mapping[str, int]) -> Sequence[Planned]:
        """Record outcomes, take back operations that were not sent, and hand out new ones, in one commit.

        `take` is the greatest number of operations to hand out for each app. They are marked as sent.
        """
        return await self._noted(self._measures(settled), self._advance, settled, returned, take)

    async def end_run(self, how: Ended, reason: str | None = None) -> None:
        await self.database.run(records.end_run, self._run, how, self._measures(), reason)

    @contextlib.asynccontextmanager
    async def recorded(
        self, measure: Measure, listeners: Listeners, which: Which | None = None, operations: int = 0
    ) -> AsyncIterator["Ending"]:
        """Record a run around a block, which sets how it ended, and tell `listeners`.

        An exception is recorded as the reason.
        """
        await self.begin_run(measure, which, operations)
        listeners.announce(RunBegan(run=self._run, operations=operations, program=__version__))
        ending = Ending()
        try:
            yield ending
        except BaseException as error:
            told = isinstance(error, CapgoError)
            how, reason = (Ended.STOPPED, str(error)) if told else (ending.how, None)
            with anyio.CancelScope(shield=True), contextlib.suppress(JobError):
                await self.end_run(how, reason)
            listeners.announce(RunEnded(run=self._run, how=how, reason=reason))
            raise
        with anyio.CancelScope(shield=True):
            await self.end_run(ending.how)
        listeners.announce(RunEnded(run=self._run, how=ending.how))

    async def keep(self) -> None:
        """Record what the run has used and told so far, before a wait."""
        await self._noted(self._measures(), lambda _: None)

    async def show_life(self) -> None:
        """Record now and then what the run has used so far, until cancelled, also while it only waits."""
        while True:
            await anyio.sleep(LIFE_SECONDS)
            # The run itself raises that nothing can be recorded.
            with contextlib.suppress(JobError):
                await self.keep()

    def start_over(self) -> None:
        """Hand out everything that is open again, also what this run handed out before and left in doubt."""
        self._after = 0

    def confine(self, last: int) -> None:
        """Hand out only operations up to the id `last`."""
        self._last = last

    async def note(self, function: Callable[Concatenate[sqlite3.Connection, P], T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """Call `function(connection, ...)`, and record what the run has used so far, in one transaction."""
        return await self._noted(self._measures(), function, *args, **kwargs)

    async def _noted(
        self,
        measures: Measures,
        function: Callable[Concatenate[sqlite3.Connection, P], T],
        /,
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        def noted(connection: sqlite3.Connection) -> T:
            result = function(connection, *args, **kwargs)
            records.write_measures(connection, self._run, measures)
            return result

        return await self.database.run(noted)

    def _measures(self, settled: Sequence[Settled] = ()) -> Measures:
        assert self._measure is not None  # noqa: S101 - a run was begun
        return self._measure(settled)

    def _advance(
        self, connection: sqlite3.Connection, settled: Sequence[Settled], returned: Sequence[int], take: Mapping[str, int]
    ) -> list[Planned]:
        records.record(connection, settled, self._run)
        # An operation that an earlier run left in doubt stays in doubt, although this run did not send it.
        back = ((Outcome.PENDING, number) for number in returned if number not in self._in_doubt)
        connection.executemany("UPDATE operations SET outcome = ? WHERE id = ?", back)
        self._in_doubt.difference_update(entry.id for entry in settled)
        return self._hand_out(connection, take) if take else []

    def _hand_out(self, connection: sqlite3.Connection, take: Mapping[str, int]) -> list[Planned]:
        wanted = [(self._reaches[app_id], most) for app_id, most in take.items()]
        planned, sent_before = reaches.take(connection, wanted, self._which)
        self._in_doubt.update(sent_before)
        for app_id, last in {each.operation.app_id: each.id for each in planned}.items():
            self._reaches[app_id] = self._reaches[app_id]._replace(after=last)
        return planned
