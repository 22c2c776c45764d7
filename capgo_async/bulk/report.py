"""What a job came to: totals that add up, and failures by cause."""

import enum
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Final

import msgspec

from .advice import Remedy

_IN_SECONDS: Final = 100
_IN_MINUTES: Final = 100
_IN_HOURS: Final = 48


def counted(number: int, noun: str) -> str:
    """Return a number and what it counts, such as "1 app" and "1,200 apps"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def storable(file_name: str) -> str:
    """Return a file name as text that JSON and SQLite can hold: bytes that are no text become "?"."""
    return file_name.encode("utf-8", "replace").decode()


def about(seconds: float) -> str:
    """Return a time that is not known to the second, for people, such as "about 40 s" and "about 3 h 20 min"."""
    if seconds < _IN_SECONDS:
        return f"about {max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < _IN_MINUTES:
        return f"about {minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < _IN_HOURS:
        return f"about {hours} h{f' {minutes} min' if minutes else ''}"
    days, hours = divmod(round(seconds / 3600), 24)
    return f"about {days} d{f' {hours} h' if hours else ''}"


class Failures(msgspec.Struct, frozen=True):
    """Failed operations of one cause: how many, one message, the first targets as `app/name`, and what to do about them."""

    cause: str
    count: int
    message: str
    first: tuple[str, ...]
    what_to_do: str
    remedy: Remedy


class Ended(enum.StrEnum):
    """How a run of a job ended. The values are stored in job files and printed as JSON."""

    PLANNED = "planned"
    FINISHED = "finished"
    INTERRUPTED = "interrupted"
    STOPPED = "stopped"
    """By an error or a stop rule: the run has a reason."""
    VERIFIED = "verified"
    COMPARED = "compared"
    """With the plan, before a run; nothing was sent."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a job. Planning is a run, and so is each verification or comparison with the plan.

    `ended` is `None` for a run that was killed or is still running, and `reason` says why a run stopped. `done` and `failed`
    count the operations that ended in this run. `limits_met` counts refused requests by the kind of limit. `program` is the
    version of this package, and `servers` are the versions that the server named.
    """

    number: int
    started_at: str
    ended: Ended | None
    reason: str | None
    elapsed_seconds: float
    done: int
    failed: int
    requests: int
    retries: int
    rate_limited: int
    limits_met: Mapping[str, int]
    program: str
    servers: tuple[str, ...]


class Wave(msgspec.Struct, frozen=True, kw_only=True):
    """One wave: with those before it `share` of each app, its own operations, and how far it is.

    `state` is `pending`, `begun`, `stopped`, `verified`, or `cannot_tell` where the server shows nothing of it. The last two
    are so since `verified_at`, and `bake_until` is when the next may begin, both in UTC.
    """

    number: int
    share: str
    operations: int
    settled: int
    failed: int
    state: str
    verified_at: str | None = None
    bake_until: str | None = None

    def __str__(self) -> str:
        told = f"wave {self.number}, to {self.share}: {counted(self.operations, 'operation')}"
        if self.settled:
            told += f", {self.settled:,} settled, {self.failed:,} failed"
        until = f", its bake ends {self.bake_until}" if self.bake_until else ""
        return f"{told}, {self.state.replace('_', ' ')}{until}"


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The totals of a job: `rows = rejected + skipped + planned`, `planned = done + failed + pending`.

    `requests`, `retries` and `rate_limited` are over all runs, reads included; `elapsed_seconds` is of the last. The verdicts
    `unchecked`, `verified`, `contradicted` and `cannot_tell` partition `done`. `consistent`: nothing done is contradicted.
    `warnings` say when the server changed meanwhile (contract G5).
    """

    job: str
    rows: int
    rejected: int
    skipped: int
    planned: int
    done: int
    failed: int
    pending: int
    unchecked: int
    verified: int
    contradicted: int
    cannot_tell: int
    requests: int
    retries: int
    rate_limited: int
    elapsed_seconds: float
    consistent: bool
    failures: tuple[Failures, ...] = ()
    runs: tuple[Run, ...] = ()
    waves: tuple[Wave, ...] = ()
    warnings: tuple[str, ...] = ()


def server_changes(runs: Sequence[Run]) -> tuple[str, ...]:
    """Say where the version of the server changed, during runs or between them (contract G5)."""
    told = [run for run in runs if run.servers]
    during = [
        f"the server changed during run {run.number}: it said to be {', '.join(run.servers)}"
        for run in told
        if len(run.servers) > 1
    ]
    between = [
        f"the server changed between run {one.number} and run {other.number}: from {one.servers[-1]} to {other.servers[0]}"
        for one, other in pairwise(told)
        if not set(one.servers) & set(other.servers)
    ]
    return (*during, *between)
