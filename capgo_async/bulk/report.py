"""Reports: the totals of a job, its runs, waves and approvals, and failures by cause."""

import enum
from collections.abc import Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Final

import msgspec

from .adoption import Adoption
from .clock import local_time
from .operations.advice import Remedy

_IN_SECONDS: Final = 100
_IN_MINUTES: Final = 100
_IN_HOURS: Final = 48


def counted(number: int, noun: str) -> str:
    """Return a number with its noun, such as "1 app" or "1,200 apps"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def storable(file_name: str) -> str:
    """Return a file name as text that JSON and SQLite can store. Bytes that are not text become "?"."""
    return file_name.encode("utf-8", "replace").decode()


def about(seconds: float) -> str:
    """Return a duration rounded for people, such as "about 40 s" or "about 3 h 20 min"."""
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


class Activity(msgspec.Struct, frozen=True, kw_only=True):
    """What happens to a job now.

    `state` is `idle`; `running`; `resting`, while a limit lets nothing leave; `waiting`, for what is no limit; or `killed`, if
    the last run left no record of its end and no process runs the job. `run` is the number of that run. `waits_for` is the code
    of a limit, or `bake`, `approval` or `server`; `app` is the app that the limit counts, if it counts one. It goes on at
    `until`, a time in UTC, or looks again then. `seconds_left` is how long the run takes by its own last forecast, at least
    until its rest ends, and from the end of a wait for `approval` or `server` on. It is `None` without a forecast.
    """

    state: str
    run: int | None = None
    waits_for: str = ""
    app: str = ""
    until: str | None = None
    seconds_left: float | None = None


class Failures(msgspec.Struct, frozen=True):
    """The failed operations of one cause.

    `message` is the message of one of them. `first` are some targets, as `app/name`. `what_to_do` is advice for people.
    """

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
    """Ended by an error or a stop rule; the run has a reason."""
    VERIFIED = "verified"
    COMPARED = "compared"
    """Compared the pending operations with fresh listings. Only reads were sent."""


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One run of a job. Planning, each verification and each check for drift are runs, too.

    `operations` is how many it had to send, 0 if it only read. `ended` is `None` for a run that was killed or is still running.
    `elapsed_seconds` is how long it took: until now if it is still running, and until its last sign of life if it was killed.
    `reason` says why a run stopped. `done` and `failed` count the operations that this run settled, also those that a later run
    sent again. `limits_met` counts rate-limited requests by the kind of limit. `program` is the version of this package.
    `servers` are the versions that the server reported.
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
    operations: int = 0


class Decision(enum.StrEnum):
    """The answer to whether the next wave may begin.

    The values are stored in job files and printed as JSON.
    """

    APPROVED = "approved"
    AGAIN = "again"
    DECLINED = "declined"


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """The last question whether the wave after one may begin, and its answer.

    `times` is how often it was asked, at `asked_at` for the last time. `decision` and `answered_at` are `None` until an answer
    is recorded. Both times are in UTC. `reason` is a text for people.
    """

    asked_at: str
    times: int
    answered_at: str | None = None
    decision: Decision | None = None
    reason: str = ""

    def __str__(self) -> str:
        if self.decision is None or self.answered_at is None:
            return f"approval asked for {local_time(datetime.fromisoformat(self.asked_at))}, no answer recorded"
        why = f" ({self.reason})" if self.reason else ""
        return f"{_DECISIONS[self.decision]}{why} {local_time(datetime.fromisoformat(self.answered_at))}"


_DECISIONS: Final[Mapping[Decision, str]] = {
    Decision.APPROVED: "approved",
    Decision.AGAIN: "approval put off",
    Decision.DECLINED: "not approved",
}


class Wave(msgspec.Struct, frozen=True, kw_only=True):
    """One wave of a job, and its state.

    `share` is the part of each app that this wave and those before it cover. `state` is `pending`, `begun`, `stopped`,
    `verified`, or `cannot_tell` if the server shows nothing of it. `verified_at` is the time of the last two. The next wave may
    begin at `bake_until`. Both times are in UTC. `approval` is `None` if nobody was asked since the wave was verified.
    """

    number: int
    share: str
    operations: int
    settled: int
    failed: int
    state: str
    verified_at: str | None = None
    bake_until: str | None = None
    approval: Approval | None = None

    def __str__(self) -> str:
        text = f"wave {self.number}, up to {self.share}: {counted(self.operations, 'operation')}"
        if self.settled:
            text += f", {self.settled:,} finished, {self.failed:,} failed"
        until = f", pause until {local_time(datetime.fromisoformat(self.bake_until))}" if self.bake_until else ""
        approval = f", {self.approval}" if self.approval else ""
        return f"{text}, {self.state.replace('_', ' ')}{until}{approval}"


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """Asks whether the wave after a verified one may begin.

    `number` identifies the question within its job: it stays the same if the question is asked again, after an answer that puts
    it off or because a killed run recorded no answer. `times` counts these askings, from 1. `verified`, `contradicted`,
    `cannot_tell` and `unchecked` partition the operations of `wave` that are done, and `apps` are those in which some are.
    """

    schema: int = 1
    number: int
    times: int
    job: str
    base_url: str
    wave: Wave
    next_wave: Wave
    done: int
    verified: int
    contradicted: int
    cannot_tell: int
    unchecked: int
    apps: tuple[str, ...]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The totals of a job: `rows = rejected + skipped + planned`, `planned = done + failed + pending`.

    `requests`, `retries` and `rate_limited` count all runs, reads included. `elapsed_seconds` is that of the last of `runs`.
    The verdicts `unchecked`, `verified`, `contradicted` and `cannot_tell` partition `done`. `missing` is the part of
    `cannot_tell` where the server must show the device and does not (contract C7). `consistent` is whether no operation is
    contradicted. `left` is the number of targets that an undo leaves and that may not be as they were before the job.
    `warnings` tell of changes of the server's version (contract G5), and why it shows nothing. The links that the job set may
    expire from `links_may_expire_from` on, a time in UTC; `None` if it set none, or on a server that keeps links. `adoption` is
    what was found when it was last asked for.
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
    missing: int
    requests: int
    retries: int
    rate_limited: int
    elapsed_seconds: float
    consistent: bool
    left: int = 0
    failures: tuple[Failures, ...] = ()
    runs: tuple[Run, ...] = ()
    waves: tuple[Wave, ...] = ()
    warnings: tuple[str, ...] = ()
    links_may_expire_from: str | None = None
    adoption: Adoption | None = None


def server_changes(runs: Sequence[Run]) -> tuple[str, ...]:
    """Return a sentence for each change of the server's version, during or between runs (contract G5)."""
    named = [run for run in runs if run.servers]
    during = [
        f"the server's version changed during run {run.number}: {', '.join(run.servers)}"
        for run in named
        if len(run.servers) > 1
    ]
    between = [
        f"the server's version changed between run {one.number} and run {other.number}:"
        f" from {one.servers[-1]} to {other.servers[0]}"
        for one, other in pairwise(named)
        if not set(one.servers) & set(other.servers)
    ]
    return (*during, *between)
