"""Runs a job: asks for confirmation, shows progress, handles signals and prints the report."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final, NamedTuple, Self

import msgspec

from ...bulk import Job, Report, Which
from ...bulk.report import Ended, counted
from ...concurrency import alongside
from ...errors import ConfigurationError, DiskFull, JobError, SafetyStop
from ...key_ring import KeyRing, pacer_of
from ..framework import Invocation
from ..options.options import Connection, Running
from ..options.profiles import path_of_profiles
from ..options.stopping import Limits, Stopping
from ..output.advice import to_go_on, to_verify, why_unfinished
from ..output.exit_codes import ExitCode
from ..output.speech import Speech
from .accounts import STDOUT
from .approving import ApprovalCommand
from .asking import Question
from .progress import Follower
from .reporting import print_report, steps_after, tell_steps
from .streaming import EventStream


class Manner(NamedTuple):
    """How a job runs."""

    running: Running = Running()
    limits: Limits = Limits()
    which: Which = Which.OPEN
    approve: ApprovalCommand | None = None
    again: Sequence[str] = ()
    """The options that the next run of the job needs."""

    @classmethod
    def of(cls, running: Running, stopping: Stopping, speech: Speech, which: Which = Which.OPEN) -> Self:
        """Return how a job runs by these options; raises `ConfigurationError`."""
        command = running.asks()
        approve = None if command is None else ApprovalCommand(command, speech)
        again = (*stopping.again(), *(() if command is None else ("--approve", command)))
        return cls(running, stopping.limits(speech), which, approve, again)


_FRESH: Final = timedelta(minutes=10)
"""A younger plan is not compared with the server again."""


_OTHERS: Final = (
    "the API key is also used elsewhere: it was refused although this run had sent nothing for a minute. The run slowed down"
    " to leave room. Use a separate API key for each user to avoid this"
)
_UNEVEN: Final = (
    "the server refused the API key after a different number of requests each time: it loses counts, or the key is also used"
    " elsewhere. The run slowed down to leave room"
)


_RECOVERED: Final = (
    "the API key was refused in the middle of the run, and accepted again after a rest: the server was probably without its"
    " database"
)


_NOTHING_AGAIN: Final = {
    Which.FAILED: "no operation failed",
    Which.CONTRADICTED: "the last verification contradicted no operation",
}


class Terms(NamedTuple):
    """What a job runs with. Without a `question`, no confirmation is asked for."""

    client: KeyRing
    connection: Connection
    manner: Manner
    question: Question | None
    invocation: Invocation

    def to_go_on(self, job: Job) -> str:
        """Return the command that sends the pending operations."""
        return to_go_on(job.path, [*self.connection.server(), *self.manner.again])


def open_question(running: Running, otherwise: str) -> Question | None:
    """Return where to ask, or `None` with `--yes` or `--confirm`.

    Raises `ConfigurationError`, which says what to do `otherwise`, if there is no terminal.
    """
    return None if running.yes or running.confirm is not None else Question(otherwise)


async def confirm_and_run(job: Job, terms: Terms) -> int:
    """Ask if needed, run `job`, print its report, and return the exit code."""
    speech = terms.invocation.speech
    if terms.manner.running.events == STDOUT:
        speech.step_aside()
    which = terms.manner.which
    if which in _NOTHING_AGAIN and not await job.to_send(which):
        if which is Which.CONTRADICTED and _never_verified(await job.report()):
            speech.say(to_verify(job.path, terms.connection.server()))
            message = "this job was never verified; verify it first"
            raise ConfigurationError(message)
        speech.say(f"{_NOTHING_AGAIN[which]}, so there is nothing to send again")
        return _tell(job, await job.report(), terms)
    await _refuse_protected(job, terms)
    await _show_drift(job, terms)
    if not await _confirmed(job, terms):
        speech.say(f"declined; nothing was sent\n{terms.to_go_on(job)}")
        return ExitCode.INTERRUPTED
    if job.begun and not await job.to_send(terms.manner.which):
        speech.note("nothing is left to send")
    try:
        report = await followed(job, terms.client, terms.invocation, terms.manner)
    except Exception as error:
        if not isinstance(error, JobError) or isinstance(error, DiskFull | SafetyStop):
            _tell(job, await job.report(), terms)
        raise
    return _tell(job, report, terms)


def _tell(job: Job, report: Report, terms: Terms) -> int:
    gates = pacer_of(terms.client).gates
    uneven = gates.lessons.uneven()
    noticed = (
        (_UNEVEN, uneven),
        (_OTHERS, gates.lessons.others_noticed() and not uneven),
        (_RECOVERED, gates.keys.recovered),
    )
    report = msgspec.structs.replace(report, warnings=(*report.warnings, *(text for text, true in noticed if true)))
    code = print_report(report, terms.invocation.speech)
    if terms.manner.which is not Which.OPEN and (unfinished := why_unfinished(report)):
        terms.invocation.speech.say(unfinished)
    tell_steps(steps_after(job, report, terms.connection.server(), terms.manner.again), code, terms.invocation.speech)
    return code


def _never_verified(report: Report) -> bool:
    """Return whether no operation ever got a verdict. Those that are sent again lose theirs."""
    return report.unchecked == report.done and all(run.ended is not Ended.VERIFIED for run in report.runs)


async def followed(job: Job, client: KeyRing, invocation: Invocation, manner: Manner = Manner()) -> Report:  # noqa: B008 - immutable
    """Run `job` and show its progress. The first signal stops it softly, the second at once."""
    follower = Follower(job, client, invocation.speech, await job.to_send(manner.which))

    def drain() -> None:
        invocation.speech.say("interrupted: finishing the requests in flight (press Ctrl-C again to stop at once)")
        job.drain()

    async def run() -> Report:
        return await job.run(
            client,
            rebind=manner.running.rebind,
            on_progress=follower,
            stop_rules=manner.limits.rules,
            bounds=manner.limits.bounds,
            which=manner.which,
            approve=manner.approve,
        )

    async def streamed(to: str) -> Report:
        stream = EventStream(to, job.path, follower.progress, invocation.speech)
        try:
            with pacer_of(client).listeners.heard_by(stream, "began", "ended", "other"):
                return await alongside(stream.follow, run)
        finally:
            stream.close()

    to = manner.running.events
    with invocation.interruption.steps(drain, job.abort):
        return await alongside(follower.follow, run if to is None else lambda: streamed(to))


async def _refuse_protected(job: Job, terms: Terms) -> None:
    """Raise `ConfigurationError` if the job changes a channel that is protected now."""
    found = await job.touching(terms.connection.protected(), terms.manner.which)
    if found:
        named = ", ".join(f"{channel} of {app_id}" for app_id, channel in found)
        message = f"{job.path} changes protected channels: {named} (see {path_of_profiles()}); nothing was sent"
        raise ConfigurationError(message)


async def _show_drift(job: Job, terms: Terms) -> None:
    """Print what changed on the server since the plan, unless it is fresh or the job has begun."""
    age = datetime.now(UTC) - job.facts.observed_at
    if job.begun or not job.plan.requests or terms.manner.running.no_drift or age < _FRESH:
        return
    terms.invocation.speech.say(str(await job.drift(terms.client, rebind=terms.manner.running.rebind)))


async def _confirmed(job: Job, terms: Terms) -> bool:
    """Ask, unless there is nothing to send, or the job was confirmed for an earlier run."""
    plan, given = job.plan, terms.manner.running.confirm
    if job.begun or not plan.requests:
        return True
    if given is not None and given != plan.planned:
        raise _unconfirmed(job, terms, f"--confirm {given} does not match")
    if plan.needs_confirmation is not None and given is None and terms.question is None:
        raise _unconfirmed(job, terms, f"it is too large for --yes ({plan.needs_confirmation})")
    if terms.question is None:
        return True
    question = plan.question(terms.client.base_url)
    if plan.needs_confirmation is None:
        return await terms.question.confirmed(question)
    return await terms.question.confirmed_by(plan.planned, question)


def _unconfirmed(job: Job, terms: Terms, why: str) -> ConfigurationError:
    number = job.plan.planned
    terms.invocation.speech.say(f"{terms.to_go_on(job)} --confirm {number}")
    return ConfigurationError(
        f"this plan has {counted(number, 'operation')}: {why}. Nothing was sent; pass --confirm {number} to send it"
    )
