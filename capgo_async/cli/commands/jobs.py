"""`capgo-async job`."""

from pathlib import Path
from typing import Annotated

import anyio.to_thread
import typer

from ...bulk import Job, Options, Rows, Which
from ...bulk.report import counted
from ...concurrency import alongside
from ...errors import ConfigurationError
from ...key_ring import KeyRing
from ...rehearsal import Rehearsal
from ..framework import Invocation, command
from ..job.accounts import print_account, write_operations
from ..job.changing import carry_out
from ..job.progress import Watching
from ..job.rehearsing import Rehearsing, print_rehearsal
from ..job.rejections import Rejections
from ..job.reporting import print_job, print_report, print_rows, tell_plan
from ..job.running import Manner, Terms, confirm_and_run, open_question
from ..options.options import Connection, JobFile, OldServers, Output, Running, Undertaking
from ..options.profiles import path_of_profiles
from ..options.stopping import Stopping
from ..output.advice import next_steps
from ..output.exit_codes import ExitCode

commands = typer.Typer(name="job", no_args_is_help=True)


WhichRows = Annotated[
    Rows | None, typer.Option("--rows", help="List these rows instead, with their reasons.", show_default=False)
]
ToCsv = Annotated[
    str | None,
    typer.Option(
        "--csv", metavar="FILE", help="Write every operation as a line of CSV instead, - for stdout.", show_default=False
    ),
]
OnlyFailed = Annotated[
    bool, typer.Option("--failed", help="Send what failed again, and only that; also what may have happened all the same.")
]


@command(commands, "show", short="Show what a job will do and has done.")
async def show_job(path: JobFile, output: Output, invocation: Invocation, rows: WhichRows = None) -> int:
    """Show what a job will do and has done; another process may be running it."""
    del output
    async with await Job.open(path, read_only=True) as job:
        if rows is not None:
            return await print_rows(job, rows, invocation.speech)
        report = await job.report()
        print_job(job, report, invocation.speech)
        for line in next_steps(report, path):
            invocation.speech.note(line)
    return ExitCode.OK


@command(commands, "report", short="Tell what a job came to, run by run.")
async def report_job(path: JobFile, output: Output, invocation: Invocation, to: ToCsv = None) -> int:
    """Tell what a job came to, run by run; another process may be running it."""
    if to is not None and output.json:
        message = "--csv and --json are two ways to write it: choose one"
        raise ConfigurationError(message)
    async with await Job.open(path, read_only=True) as job:
        if to is not None:
            return await write_operations(job, to, invocation.speech)
        return await print_account(job, invocation.speech)


@command(commands, "rehearse", short="Run a copy of a job against a sandbox, to see what comes of it.")
async def rehearse_job(
    path: JobFile, rehearsing: Rehearsing, stopping: Stopping, output: Output, invocation: Invocation
) -> int:
    """Run a copy of a job against a sandbox in virtual time: what comes of it, and how long it takes.

    Nothing is sent, no key is needed, and the job is only read, also while another process runs it.
    """
    del output
    rehearsal = Rehearsal(path, rehearsing.conditions(stopping.limits(invocation.speech)))
    with invocation.interruption.steps(rehearsal.stop):
        rehearsed = await alongside(
            Watching(rehearsal, invocation.speech).follow, lambda: anyio.to_thread.run_sync(rehearsal.run)
        )
    if rehearsed is None:
        invocation.speech.say("interrupted")
        return ExitCode.INTERRUPTED
    return print_rehearsal(rehearsed, rehearsing, invocation.speech)


@command(commands, "verify", short="Compare what a job did with what the server shows.")
async def verify_job(path: JobFile, connection: Connection, invocation: Invocation) -> int:
    """Compare what a job did with what the server shows; what contradicts is looked at again after a minute."""
    async with connection.ring() as caller, await Job.open(path) as job:

        def tell(seconds: float) -> None:
            invocation.speech.note(f"something is not as it was left: looking again in {seconds:.0f} s")

        report = await job.verify(caller, on_contradiction=tell)
    code = print_report(report, invocation.speech)
    if report.pending:
        pending = f"{counted(report.pending, 'operation')} {'is' if report.pending == 1 else 'are'} still pending"
        invocation.speech.say(f"the job is not finished: {pending}")
    for line in next_steps(report, path, connection.server()):
        invocation.speech.say(line)
    return code


@command(commands, "undo", short="Plan and go the way back from what a job did.")
async def undo_job(
    path: JobFile,
    undertaking: Undertaking,
    stopping: Stopping,
    connection: Connection,
    invocation: Invocation,
    *,
    old_servers: OldServers = False,
) -> int:
    """Plan the way back from what a job did, ask, and go it; it is a job of its own.

    What the first one did not know before is left as it is, and so is what others have changed since.
    """
    options = Options(
        reject_bad_rows=True,
        old_servers=old_servers,
        thresholds=connection.thresholds(),
        protected=connection.protected(),
        protected_by=str(path_of_profiles()),
    )

    async def plan(to: Path, caller: KeyRing, rejections: Rejections) -> Job:
        async with await Job.open(path, read_only=True) as job:
            return await job.undo(to, client=caller, options=options, on_rejected=rejections)

    return await carry_out(plan, "undo", undertaking, stopping, connection, invocation)


@command(commands, "run", short="Send what is open of a job.")
async def run_job(
    path: JobFile,
    running: Running,
    stopping: Stopping,
    connection: Connection,
    invocation: Invocation,
    *,
    failed: OnlyFailed = False,
) -> int:
    """Send what is open of a job, and ask before unless it was run before."""
    manner = Manner(running, stopping.limits(invocation.speech), Which.FAILED if failed else Which.OPEN)
    async with connection.ring() as caller, await _opened(path, caller, manner) as job:
        fresh = _is_fresh(job, manner)
        question = open_question(running) if fresh and not running.yes else None
        try:
            if fresh:
                tell_plan(job, invocation.speech)
            return await confirm_and_run(job, Terms(caller, connection, manner, question, invocation))
        finally:
            if question is not None:
                question.close()


async def _opened(path: Path, caller: KeyRing, manner: Manner) -> Job:
    """Open a job, with how long it takes unless it was run before: whose key speaks where is known then."""
    job = await Job.open(path)
    if not _is_fresh(job, manner):
        return job
    await job.aclose()
    await caller.prepare()
    return await Job.open(path, client=caller)


def _is_fresh(job: Job, manner: Manner) -> bool:
    """Tell whether nobody has confirmed yet what is to be sent."""
    return manner.which is Which.OPEN and not job.begun and bool(job.plan.requests)
