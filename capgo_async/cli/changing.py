"""Many changes: a source, a plan, a job."""

import contextlib
import itertools
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import anyio

from ..bulk import Job, Options, Source
from ..bulk.naming import LOCK
from ..bulk.report import ExitCode
from .commands import Invocation
from .options import Connection, Planning
from .profiles import path_of_profiles
from .rejections import Rejections
from .reporting import print_plan, resume_line
from .running import Terms, confirm_and_run, open_question

_SUFFIX: Final = ".capgo-job"


async def change_many(source: Source, verb: str, planning: Planning, connection: Connection, invocation: Invocation) -> int:
    """Plan the changes of `source`, and unless only the plan is wanted run them; return the exit code."""
    question = None if planning.plan_only else open_question(planning)
    try:
        async with connection.client() as client:
            terms = Terms(connection.caller(client), connection, planning, question, invocation)
            async with await _planned(source, verb, terms, planning) as job:
                if planning.plan_only:
                    return _stop_after_plan(job, connection, invocation)
                return await _go_on(job, terms)
    finally:
        if question is not None:
            question.close()


def _options(planning: Planning, connection: Connection) -> Options:
    return Options(
        reject_bad_rows=planning.reject_bad_rows,
        unknown=planning.unknown,
        waves=planning.shares(),
        bake_seconds=planning.bake_seconds(),
        thresholds=connection.thresholds(),
        protected=connection.protected(),
        protected_by=str(path_of_profiles()),
    )


async def _planned(source: Source, verb: str, terms: Terms, planning: Planning) -> Job:
    invocation = terms.invocation
    options = _options(planning, terms.connection)
    rejections = Rejections(invocation.speech.say)
    with contextlib.nullcontext(planning.job) if planning.job else unused(f"{verb}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}") as path:
        invocation.speech.note(f"job file: {path}")
        try:
            return await Job.create(path, source, client=terms.client, options=options, on_rejected=rejections)
        finally:
            rejections.tell()


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


@contextlib.contextmanager
def unused(stem: str) -> Iterator[Path]:
    """Yield a name for a job file that nobody else has or takes meanwhile; without a job at the end nothing is left of it."""
    for number in itertools.count(1):
        path = Path(f"{stem}{f'-{number}' if number > 1 else ''}{_SUFFIX}")
        # The lock of a job outlives its run, so whoever makes that file first has the name.
        lock = path.with_name(path.name + LOCK)
        try:
            if not path.exists():
                lock.touch(exist_ok=False)
                break
        except FileExistsError:
            continue
        except OSError:
            break  # making the job says why
    try:
        yield path
    finally:
        if not path.exists():
            lock.unlink(missing_ok=True)
