"""Progress of a run: a bar on a terminal; elsewhere a line when something changed, and one a minute."""

import math
import sys
import time
from collections import deque
from typing import TYPE_CHECKING, Final

import anyio

from ...bulk import Job
from ...bulk.clock import duration, local_time, minute_in
from ...bulk.forecast.forecast import Foreseen
from ...bulk.inventory.taking import Tally
from ...bulk.operations.results import Done, Failed
from ...bulk.report import counted
from ...bulk.running.rests import hold_of, hold_of_run
from ...events import Progress
from ...key_ring import KeyRing, absence_of, pacer_of
from ...limits.gates import Hold
from ...limits.models import ScopeKind
from ...limits.names import WAITED_FOR
from ...printable import printable
from ...rehearsal import Rehearsal
from ..output.speech import Speech, is_terminal
from ..output.waiting import WORTH_SAYING, away_until, doubted, shown_by_progress, waiting

if TYPE_CHECKING:
    from rich.progress import Progress as Bar, TaskID

_BAR_SECONDS: Final = 0.2
_BAR_WIDTH: Final = 20
_NARROW: Final = 60
"""A terminal with fewer columns shows no bar, only numbers."""
LINE_SECONDS: Final = 5.0
_LINES_ALIKE: Final = 12
"""An unchanged line is repeated after this many times `LINE_SECONDS`."""
_FORESEEN_FOR: Final = 1.0
"""Seconds between two forecasts of the end; more if a forecast takes long, as with hundreds of apps."""
_TIMES_ITS_COST: Final = 50
_UNSURE: Final = 0.05
"""A smaller share by which the remaining time may be wrong is not told."""
_PACE_SECONDS: Final = 60.0
_LIMITS_TOLD: Final = 5
"""The fullest limits are part of the progress as an event."""
_LONG: Final = 8.0
"""Seconds without a result after which the line says so."""


class Follower:
    """Counts the results of a run, and shows its progress while `follow` runs."""

    def __init__(self, job: Job, client: KeyRing, speech: Speech, total: int | None = None) -> None:
        self.total = job.plan.requests if total is None else total
        self.settled = 0
        self.failed = 0
        self._job = job
        self._client = client
        self._foreseen: tuple[float, Foreseen] | None = None
        self._foreseen_for = _FORESEEN_FOR
        self._apps = tuple(app_id for app_id, _ in job.plan.apps)
        self._speech = speech
        self._started = self._latest = 0.0
        self._paces = deque[tuple[float, int]]()

    def __call__(self, result: Done | Failed, /) -> None:
        """Count one result."""
        self.settled += 1
        self.failed += isinstance(result, Failed)
        self._latest = anyio.current_time()

    async def follow(self) -> None:
        """Show the progress until cancelled."""
        self._started = self._latest = anyio.current_time()
        if self._speech.quiet or not self.total:
            return
        with shown_by_progress(pacer_of(self._client).listeners):
            await (self._draw() if is_terminal(sys.stderr) else self._write())

    async def _write(self) -> None:
        said: tuple[object, ...] = (0, 0, "")
        times = 0
        while True:
            await anyio.sleep(LINE_SECONDS)
            found = (self.settled, self.failed, self._awaited() or self._rest()[1], *self._relieved(), *self._shared())
            times += 1
            if found != said or times >= _LINES_ALIKE:
                said, times = found, 0
                self._speech.note(self.line())

    def line(self) -> str:
        """Return the progress as one line."""
        return ", ".join((f"{self.settled:,} of {self.total:,} finished", *self._pace()))

    async def _draw(self) -> None:
        bar, task = _bar(self.total)
        with bar:
            try:
                while True:
                    bar.update(task, completed=self.settled, told=printable(", ".join(self._pace())), refresh=True)
                    await anyio.sleep(_BAR_SECONDS)
            finally:
                bar.update(task, completed=self.settled, told=self._failures(), refresh=True)

    def _pace(self) -> tuple[str, ...]:
        now = anyio.current_time()
        elapsed = now - self._started
        rate = self.settled / elapsed if elapsed > 0 else 0.0
        seconds, limit = self._rest()
        troubles = (self._failures(), *self._relieved(), *self._shared())
        if awaited := self._awaited():
            return *troubles, awaited, *((self._left(now),) if self._job.baking_until is not None else ())
        if limit:
            return *troubles, waiting(seconds, limit), self._left(now, seconds), *self._parked()
        if now - self._latest >= _LONG:
            return *troubles, *(self._parked() or ("waiting for responses",))
        if not rate:
            return troubles
        return *troubles, f"{rate:,.0f}/s", self._left(now), *self._parked()

    def _awaited(self) -> str:
        """Return what the run waits for that is no limit, or nothing."""
        if away := _away(self._client):
            return away
        if self._job.asks_after is not None:
            return f"waiting for approval after wave {self._job.asks_after}"
        if self._job.baking_until is not None:
            return f"pause between waves until {local_time(self._job.baking_until)}"
        return ""

    def progress(self, in_flight: int) -> Progress:
        """Return the progress as an event; the rate is that since the oldest call of the last minute."""
        now = anyio.current_time()
        if not self._paces:
            self._paces.append((self._started, 0))
        self._paces.append((now, self.settled))
        while self._paces[0][0] < now - _PACE_SECONDS:
            self._paces.popleft()
        began, settled = self._paces[0]
        hold = hold_of_run(self._client, self._apps, self._job.rests_until)
        foreseen = self._foresee(now, hold.until - now)
        return Progress(
            done=self.settled - self.failed,
            failed=self.failed,
            pending=self.total - self.settled,
            in_flight=in_flight,
            rate=(self.settled - settled) / (now - began) if now > began else 0.0,
            seconds_left=max(0.0, self._seconds_left(now)),
            more=foreseen.more,
            resting=hold.limit if hold.until - now >= WORTH_SAYING else "",
            limits=tuple(pacer_of(self._client).gates.in_use(anyio.current_time(), _LIMITS_TOLD)),
        )

    def _left(self, now: float, rest: float = 0.0) -> str:
        foreseen = self._foresee(now, rest)
        return _left(self._seconds_left(now), foreseen.more)

    def _foresee(self, now: float, rest: float) -> Foreseen:
        """Return the remaining time, forecast again once in a while, and if a `rest` lasts longer."""
        if self._foreseen is None or now >= self._foreseen[0] + self._foreseen_for or self._seconds_left(now) < rest:
            began = time.perf_counter()
            self._foreseen = now, self._job.remaining(self._client, self.settled)
            self._foreseen_for = max(_FORESEEN_FOR, _TIMES_ITS_COST * (time.perf_counter() - began))
        return self._foreseen[1]

    def _seconds_left(self, now: float) -> float:
        return -math.inf if self._foreseen is None else self._foreseen[0] + self._foreseen[1].seconds - now

    def _failures(self) -> str:
        return f"{self.failed:,} failed"

    def _relieved(self) -> tuple[str, ...]:
        congestion = pacer_of(self._client).congestion
        if congestion.limit == congestion.most:
            return ()
        return (f"only {counted(congestion.limit, 'request')} in flight because the server has errors",)

    def _shared(self) -> tuple[str, ...]:
        lessons = pacer_of(self._client).gates.lessons
        if lessons.uneven():
            return ("the server loses counts, or the API key is also used elsewhere",)
        return ("the API key is also used elsewhere",) if lessons.others_noticed() else ()

    def _parked(self) -> tuple[str, ...]:
        parked = self._job.parked
        return (f"{parked:,} waiting for limits of single devices{self._doubted()}",) if parked else ()

    def _doubted(self) -> str:
        now = anyio.current_time()
        hold = pacer_of(self._client).gates.doubted_target(now)
        return "" if hold is None else doubted(hold.until - now, hold.asked(now))

    def _rest(self) -> tuple[float, str]:
        return _told(self._client, hold_of_run(self._client, self._apps, self._job.rests_until))


class Watching:
    """Shows the progress of a rehearsal while `follow` runs."""

    def __init__(self, rehearsal: Rehearsal, speech: Speech) -> None:
        self._rehearsal = rehearsal
        self._speech = speech

    async def follow(self) -> None:
        """Show the progress until cancelled."""
        while True:
            await anyio.sleep(LINE_SECONDS)
            self._speech.note(f"rehearsed {self._rehearsal.settled:,} of {counted(self._rehearsal.total, 'operation')}")


class Reading:
    """Shows the progress of an inventory while `follow` runs."""

    def __init__(self, what: str, tally: Tally, client: KeyRing, speech: Speech) -> None:
        self._what = what
        self._tally = tally
        self._client = client
        self._speech = speech

    async def follow(self) -> None:
        """Show the progress until cancelled."""
        with shown_by_progress(pacer_of(self._client).listeners):
            await self._write()

    async def _write(self) -> None:
        said, times = "", 0
        while True:
            await anyio.sleep(LINE_SECONDS)
            line = self.line()
            times += 1
            if line != said or times >= _LINES_ALIKE:
                said, times = line, 0
                self._speech.note(line)

    def line(self) -> str:
        """Return the progress as one line."""
        apps = self._tally.apps
        told = [f"{self._tally.rows:,} {self._what} read"]
        if apps:
            told.append(f"{self._tally.settled:,} of {counted(len(apps), 'list')} complete")
        hold = hold_of(self._client, filter(None, apps), anyio.current_time())
        seconds, limit = _told(self._client, hold)
        away = _away(self._client)
        return ", ".join([*told, away] if away else [*told, waiting(seconds, limit)] if limit else told)


def _away(client: KeyRing) -> str:
    """Return that the server cannot be reached and when it is probed, or nothing."""
    at = absence_of(client).looks_again_at
    return "" if at is None else away_until(at - anyio.current_time())


def _told(client: KeyRing, hold: Hold) -> tuple[float, str]:
    """Return for how many seconds a limit allows no request, and what it is called.

    The time is 0 and the text empty if that is too short to be told.
    """
    now = anyio.current_time()
    seconds = hold.until - now
    if seconds < WORTH_SAYING:
        return 0.0, ""
    if hold.limit == ScopeKind.KEY and len(client.clients) > 1:
        limit = "limits of all keys"
    elif hold.limit == ScopeKind.APP_ADDRESS:
        limit = f"limit of {hold.app}" if hold.app else "limits of all apps"
    else:
        limit = WAITED_FOR[hold.limit]
    return seconds, limit + doubted(seconds, hold.asked(now))


def _left(seconds: float, more: float) -> str:
    left = max(0.0, seconds)
    unsure = f" (up to {duration(more)} later)" if more >= max(1.0, _UNSURE * left) else ""
    return f"{duration(left)} left, ends {minute_in(left)}{unsure}"


def _bar(total: int) -> "tuple[Bar, TaskID]":
    from rich import progress  # noqa: PLC0415 - slow to import, and needed on terminals only
    from rich.console import Console  # noqa: PLC0415 - needed on terminals only
    from rich.table import Column  # noqa: PLC0415 - needed on terminals only

    console = Console(stderr=True)
    # On a narrow terminal only the last column is cut; the counts are always shown.
    last = Column(ratio=1, overflow="ellipsis", no_wrap=True)
    bar = progress.Progress(
        *((progress.BarColumn(_BAR_WIDTH),) if console.width >= _NARROW else ()),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[told]}", markup=False, table_column=last),
        console=console,
        auto_refresh=False,
        redirect_stdout=False,
        expand=True,
    )
    return bar, bar.add_task("", total=total, told="")
