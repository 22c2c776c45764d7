"""The commands of `capgo-async job`."""

from pathlib import Path
from typing import Annotated

import anyio.to_thread
import typer

from ...bulk import Job, Options, Rows, Which
from ...bulk.inventory.formats import Format
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
from ..options.options import Connection, EndRollouts, JobFile, OldServers, Output, Running, Undertaking, reaching
from ..options.profiles import path_of_profiles
from ..options.stopping import Stopping
from ..output.advice import next_steps, to_see_skipped, why_unfinished
from ..output.exit_codes import ExitCode

commands = typer.Typer(name="job", no_args_is_help=True)


WhichRows = Annotated[
    Rows | None, typer.Option("--rows", help="List only these rows, with the reason of each.", show_default=False)
]
ToCsv = Annotated[
    str | None,
    typer.Option(
        "--csv", metavar="FILE", help="Write every operation to this CSV file (- for stdout) instead.", show_default=False
    ),
]
ToSpreadsheet = Annotated[
    str | None,
    typer.Option(
        "--spreadsheet",
        metavar="FILE",
        help="Like --csv, but safe to open in a spreadsheet: no cell is a formula.",
        show_default=False,
    ),
]
OnlyFailed = Annotated[bool, typer.Option("--failed", help="Send only the failed operations again.")]
OnlyContradicted = Annotated[
    bool,
    typer.Option("--contradicted", help="Send only those operations again that the last verification contradicted."),
]


class Undoing(Undertaking, frozen=True, kw_only=True):
    """How the job of an undo is made and how it runs."""

    job: Annotated[
        Path | None, typer.Option("--job", metavar="FILE", help="The job file of the undo.  [default: a name with the time]")
    ] = None


@command(commands, "show", short="Show what a job does and how far it is.")
async def show_job(path: JobFile, output: Output, invocation: Invocation, rows: WhichRows = None) -> int:
    """Show what a job does and how far it is. Works while another process runs the job."""
    del output
    async with await Job.open(path, read_only=True) as job:
        if rows is not None:
            return await print_rows(job, rows, invocation.speech)
        report = await job.report()
        print_job(job, report, invocation.speech)
        for line in next_steps(report, path, reaching(job.facts.binding.base_url)):
            invocation.speech.note(line)
    return ExitCode.OK


@command(commands, "report", short="Show the results of a job, run by run.")
async def report_job(
    path: JobFile, output: Output, invocation: Invocation, csv: ToCsv = None, spreadsheet: ToSpreadsheet = None
) -> int:
    """Show the results of a job, run by run. Works while another process runs the job."""
    given = {"--csv": csv, "--spreadsheet": spreadsheet, "--json": output.json or None}
    if len(names := [name for name, value in given.items() if value is not None]) > 1:
        message = f"{' and '.join(names)} cannot be combined"
        raise ConfigurationError(message)
    async with await Job.open(path, read_only=True) as job:
        if csv is not None:
            return await write_operations(job, csv, Format.CSV, invocation.speech)
        if spreadsheet is not None:
            return await write_operations(job, spreadsheet, Format.SPREADSHEET, invocation.speech)
        return await print_account(job, invocation.speech)


@command(commands, "rehearse", short="Simulate a job to see its outcome and duration.")
async def rehearse_job(
    path: JobFile, rehearsing: Rehearsing, stopping: Stopping, output: Output, invocation: Invocation
) -> int:
    """Simulate a job to see its outcome and duration.

    Runs a copy of the job against a simulated server on a virtual clock. Nothing is sent, and no API key is needed. Works while
    another process runs the job.
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


@command(commands, "verify", short="Check on the server that a job's changes are in effect.")
async def verify_job(path: JobFile, connection: Connection, invocation: Invocation) -> int:
    """Check on the server that the changes of a job are in effect.

    What differs is checked again after a minute.
    """
    async with connection.ring() as caller, await Job.open(path) as job:

        def tell(seconds: float) -> None:
            invocation.speech.note(f"the server does not show all changes yet; checking again in {seconds:.0f} s")

        report = await job.verify(caller, on_contradiction=tell)
    code = print_report(report, invocation.speech)
    if unfinished := why_unfinished(report):
        invocation.speech.say(unfinished)
    for line in next_steps(report, path, connection.server()):
        invocation.speech.say(line)
    return code


@command(commands, "undo", short="Undo the changes of a job.")
async def undo_job(
    path: JobFile,
    undertaking: Undoing,
    stopping: Stopping,
    connection: Connection,
    invocation: Invocation,
    *,
    old_servers: OldServers = False,
    end_rollouts: EndRollouts = False,
) -> int:
    """Undo the changes of a job, as a job of its own: plan, ask for confirmation, send.

    Changes that have no way back are not undone, and neither is what others changed since. The plan says why, and the exit code
    is 3.
    """
    options = Options(
        reject_bad_rows=True,
        old_servers=old_servers,
        end_rollouts=end_rollouts,
        links_are_kept=connection.keeps_links(),
        thresholds=connection.thresholds(),
        protected=connection.protected(),
        protected_by=str(path_of_profiles()),
    )

    async def plan(to: Path, caller: KeyRing, rejections: Rejections) -> Job:
        async with await Job.open(path, read_only=True) as job:
            undoing = await job.undo(to, client=caller, rebind=undertaking.rebind, options=options, on_rejected=rejections)
        if undoing.plan.left:
            invocation.speech.note(to_see_skipped(to))
        return undoing

    return await carry_out(plan, "undo", undertaking, stopping, connection, invocation)


@command(commands, "run", short="Run a job, or resume it.")
async def run_job(
    path: JobFile,
    running: Running,
    stopping: Stopping,
    connection: Connection,
    invocation: Invocation,
    *,
    failed: OnlyFailed = False,
    contradicted: OnlyContradicted = False,
) -> int:
    """Run a job, or resume it. Asks for confirmation the first time."""
    if failed and contradicted:
        message = "--failed and --contradicted cannot be combined: run the one, then the other"
        raise ConfigurationError(message)
    which = Which.FAILED if failed else Which.CONTRADICTED if contradicted else Which.OPEN
    manner = Manner(running, stopping.limits(invocation.speech), which)
    async with connection.ring() as caller, await _opened(path, caller, manner) as job:
        fresh = _is_fresh(job, manner)
        question = open_question(running, "pass --yes; `job show` shows the plan") if fresh and not running.yes else None
        try:
            if fresh:
                tell_plan(job, invocation.speech)
            return await confirm_and_run(job, Terms(caller, connection, manner, question, invocation))
        finally:
            if question is not None:
                question.close()


async def _opened(path: Path, caller: KeyRing, manner: Manner) -> Job:
    """Open a job, and prepare the client before the first run.

    The forecast depends on which key serves which app.
    """
    job = await Job.open(path)
    if not _is_fresh(job, manner):
        return job
    await job.aclose()
    await caller.prepare()
    return await Job.open(path, client=caller)


def _is_fresh(job: Job, manner: Manner) -> bool:
    """Return whether the plan still has to be confirmed."""
    return manner.which is Which.OPEN and not job.begun and bool(job.plan.requests)
