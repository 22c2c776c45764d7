"""Runs a job: asks first, follows it, lets signals drain or stop it, reports."""

from typing import NamedTuple

from ..bulk import Job, Report, Which
from ..bulk.report import ExitCode
from ..errors import DiskFull, JobError, SafetyStop
from ..ring import Caller
from .alongside import alongside
from .asking import Question
from .commands import Invocation
from .options import Connection, Running
from .progress import Follower
from .reporting import print_report, resume_line
from .speech import printable
from .stopping import Limits


class Manner(NamedTuple):
    """How a job is run."""

    rebind: bool = False
    limits: Limits = Limits()
    which: Which = Which.OPEN


class Terms(NamedTuple):
    """What a job is run with; without a `question` nothing is asked."""

    client: Caller
    connection: Connection
    manner: Manner
    question: Question | None
    invocation: Invocation


def open_question(running: Running) -> Question | None:
    """Return where to ask, `None` with `--yes`; raises `ConfigurationError` where there is no terminal."""
    return None if running.yes else Question()


async def confirm_and_run(job: Job, terms: Terms) -> int:
    """Ask if needed, run `job`, print its report, and return the exit code."""
    speech = terms.invocation.speech
    if terms.manner.which is Which.FAILED and not await job.to_send(Which.FAILED):
        speech.say("nothing failed: there is nothing to send again")
        report = await job.report()
        _tell(job, report, terms)
        return ExitCode.INTERRUPTED if report.pending else ExitCode.OK
    if not await _confirmed(job, terms):
        speech.say(f"declined: no change was sent\n{resume_line(job.path, terms.connection)}")
        return ExitCode.INTERRUPTED
    try:
        report = await followed(job, terms.client, terms.invocation, terms.manner)
    except Exception as error:
        if not isinstance(error, JobError) or isinstance(error, DiskFull | SafetyStop):
            _tell(job, await job.report(), terms)
        raise
    return _tell(job, report, terms)


def _tell(job: Job, report: Report, terms: Terms) -> int:
    code = print_report(report, terms.invocation.speech)
    if report.pending:
        terms.invocation.speech.say(resume_line(job.path, terms.connection))
    return code


async def followed(job: Job, client: Caller, invocation: Invocation, manner: Manner = Manner()) -> Report:  # noqa: B008
    """Run `job` and tell how it goes; the first signal drains it, the second stops it at once."""
    follower = Follower(job, client, invocation.speech, await job.to_send(manner.which))

    def drain() -> None:
        invocation.speech.say("stopping: what is in flight is finished and recorded; once more stops at once")
        job.drain()

    with invocation.interruption.steps(drain, job.abort):
        return await alongside(
            follower.follow,
            lambda: job.run(
                client,
                rebind=manner.rebind,
                progress=follower,
                rules=manner.limits.rules,
                bounds=manner.limits.bounds,
                which=manner.which,
            ),
        )


async def _confirmed(job: Job, terms: Terms) -> bool:
    """Ask, unless nothing is left to send, or the job was run before, which was confirmed then."""
    plan = job.plan
    if terms.question is None or job.begun or not plan.requests:
        return True
    return await terms.question.confirmed(printable(plan.question(terms.client.base_url)))
