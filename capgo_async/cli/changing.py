"""Many changes: a source, a plan, a job."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import anyio

from ..bulk import Job, Options, Source, Unknown
from ..bulk.report import ExitCode
from ..errors import ConfigurationError
from .commands import Invocation
from .options import Connection, Planning
from .reporting import print_plan, resume_line
from .running import Terms, confirm_and_run, open_question


async def change_many(source: Source, verb: str, planning: Planning, connection: Connection, invocation: Invocation) -> int:
    """Plan the changes of `source`, and unless only the plan is wanted run them; return the exit code."""
    options = Options(reject_bad_rows=planning.reject_bad_rows, unknown=_unknown(planning.unknown))
    path = planning.job or Path(f"{verb}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}.capgo-job")

    def tell(rejected: Sequence[tuple[int, str]]) -> None:
        invocation.speech.say("\n".join(f"line {line}: {reason}" for line, reason in rejected))

    question = None if planning.plan_only else open_question(planning)
    try:
        async with connection.client() as client:
            invocation.speech.note(f"job file: {path}")
            caller = connection.caller(client)
            async with await Job.create(path, source, client=caller, options=options, on_rejected=tell) as job:
                if planning.plan_only:
                    return _stop_after_plan(job, connection, invocation)
                return await _go_on(job, Terms(caller, connection, planning, question, invocation))
    finally:
        if question is not None:
            question.close()


async def _go_on(job: Job, terms: Terms) -> int:
    terms.invocation.speech.note(str(job.plan))
    try:
        return await confirm_and_run(job, terms)
    except anyio.get_cancelled_exc_class():
        terms.invocation.speech.say(resume_line(job.path, terms.connection))
        raise


def _stop_after_plan(job: Job, connection: Connection, invocation: Invocation) -> int:
    print_plan(job, invocation.speech)
    invocation.speech.note(resume_line(job.path, connection))
    return ExitCode.INCOMPLETE if job.plan.rejected else ExitCode.OK


def _unknown(text: str) -> Unknown:
    try:
        return Unknown(text)
    except ValueError:
        message = f"--unknown {text!r} is none of {', '.join(Unknown)}"
        raise ConfigurationError(message) from None
