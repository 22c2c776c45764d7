"""How a run goes: a bar on a terminal, a line every few seconds elsewhere."""

import math
import sys
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

import anyio

from ..bulk import Job
from ..bulk.runner import Done, Failed
from ..limits import ScopeKind
from ..ring import Caller
from .speech import Speech, is_terminal

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

_BAR_SECONDS: Final = 0.2
_BAR_WIDTH: Final = 20
_LINE_SECONDS: Final = 5.0
_WORTH_SAYING: Final = 1.0
"""A rest that is shorter than these seconds is not said."""
_LONG: Final = 8.0
"""Seconds without a result after which people wonder."""


class Follower:
    """Counts what is settled, and tells of it while `follow` runs."""

    def __init__(self, job: Job, client: Caller, speech: Speech) -> None:
        self.total = job.plan.requests
        self.settled = 0
        self.failed = 0
        self._least = job.plan.seconds or 0.0
        self._client = client
        self._scopes = tuple((ScopeKind.APP_ADDRESS, app_id) for app_id, _ in job.plan.apps)
        self._speech = speech
        self._started = self._latest = 0.0

    def __call__(self, result: Done | Failed, /) -> None:
        """Count one result."""
        self.settled += 1
        self.failed += isinstance(result, Failed)
        self._latest = anyio.current_time()

    async def follow(self) -> None:
        """Tell how it goes until cancelled."""
        self._started = self._latest = anyio.current_time()
        if self._speech.quiet:
            return
        if is_terminal(sys.stderr):
            await self._draw()
        while True:
            await anyio.sleep(_LINE_SECONDS)
            self._speech.note(self.line())

    def line(self) -> str:
        """Say in one line how it goes."""
        return ", ".join((f"{self.settled:,} of {self.total:,} settled", *self._pace()))

    async def _draw(self) -> None:
        bar, task = _bar(self.total)
        with bar:
            try:
                while True:
                    bar.update(task, completed=self.settled, told=", ".join(self._pace()), refresh=True)
                    await anyio.sleep(_BAR_SECONDS)
            finally:
                bar.update(task, completed=self.settled, told=self._failures(), refresh=True)

    def _pace(self) -> tuple[str, ...]:
        now = anyio.current_time()
        elapsed = now - self._started
        rate = self.settled / elapsed if elapsed > 0 else 0.0
        if (seconds := self._resting()) >= _WORTH_SAYING:
            until = datetime.now(UTC).astimezone() + timedelta(seconds=seconds)
            return self._failures(), f"resting until {until:%H:%M:%S}"
        if now - self._latest >= _LONG:
            return self._failures(), "waiting for answers or devices' limits"
        if not rate:
            return (self._failures(),)
        left = max((self.total - self.settled) / rate, self._least - elapsed)
        return self._failures(), f"{rate:,.0f}/s", f"{timedelta(seconds=math.ceil(left))} left"

    def _failures(self) -> str:
        return f"{self.failed:,} failed"

    def _resting(self) -> float:
        """Return for how many seconds no operation may leave, as far as the limits tell."""
        pacer, now = self._client.pacer, anyio.current_time()
        until = min(pacer.waiting_until(client.requester.key_scope) for client in self._client.clients)
        if self._scopes:
            until = max(until, min(pacer.waiting_until(scope) for scope in self._scopes))
        return until - now if math.isfinite(until) else 0.0


def _bar(total: int) -> "tuple[Progress, TaskID]":
    from rich import progress  # noqa: PLC0415 - slow to import, and of use on terminals only
    from rich.console import Console  # noqa: PLC0415

    bar = progress.Progress(
        progress.BarColumn(_BAR_WIDTH),
        progress.MofNCompleteColumn(),
        progress.TextColumn("{task.fields[told]}", markup=False),
        console=Console(stderr=True),
        auto_refresh=False,
        redirect_stdout=False,
    )
    return bar, bar.add_task("", total=total, told="")
