"""The commands of `capgo-async job`.

Longer than 300 lines because most of them are signatures and help.
"""

import webbrowser
from functools import partial
from pathlib import Path
from typing import Annotated

import anyio
import anyio.to_thread
import msgspec
import typer

from ...bulk import Adoption, Job, Options, Report, Rows, Which
from ...bulk.inventory.formats import Format
from ...bulk.jobfile.contents import JobRow
from ...concurrency import alongside
from ...errors import ConfigurationError
from ...key_ring import KeyRing
from ...rehearsal import Rehearsal
from ..framework import Invocation, command
from ..job.accounts import STDOUT, print_account, write_operations
from ..job.adopting import print_adoption, to_file
from ..job.changing import carry_out
from ..job.drawing import WAITING, ToHtml, charts_of, check_page, write_page
from ..job.progress import Watching
from ..job.rehearsing import RehearsalReport, Rehearsing, code_of_rehearsal, print_rehearsal
from ..job.rejections import Rejections
from ..job.reporting import (
    AT_REST,
    OF_A_JOB,
    JobStatus,
    print_job,
    print_report,
    print_rows,
    steps_after,
    tell_plan,
    tell_steps,
)
from ..job.running import Manner, Terms, confirm_and_run, open_question
from ..job.streaming import EventLine, print_events
from ..options.options import (
    Approve,
    Connection,
    EndRollouts,
    JobFile,
    OldServers,
    Output,
    Running,
    Undertaking,
    reaching,
)
from ..options.profiles import path_of_profiles
from ..options.stopping import Stopping
from ..output.advice import to_see_skipped, why_unfinished
from ..output.charts import check_charts
from ..output.exit_codes import ExitCode
from ..output.speech import Speech

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


OfInventory = Annotated[
    Path | None,
    typer.Option(
        "--inventory",
        metavar="FILE",
        help="Use this database, written by `export devices` after the job was planned, instead of listing devices.",
        show_default=False,
    ),
]
Stragglers = Annotated[
    str | None,
    typer.Option(
        "--stragglers",
        metavar="FILE",
        help="Write the devices that do not run it to this CSV file (- for stdout).",
        show_default=False,
    ),
]


class Resuming(Running, frozen=True, kw_only=True):
    """How a job runs that was planned before."""

    approve: Approve = None

    def asks(self) -> str | None:
        """Return the command that approves waves, if there is one."""
        return self.approve


class Undoing(Undertaking, frozen=True, kw_only=True):
    """How the job of an undo is made and how it runs."""

    job: Annotated[
        Path | None, typer.Option("--job", metavar="FILE", help="The job file of the undo.  [default: a name with the time]")
    ] = None


@command(commands, "show", JobStatus, JobRow, short="Show what a job does and how far it is.")
async def show_job(path: JobFile, output: Output, invocation: Invocation, rows: WhichRows = None) -> int:
    """Show what a job does and how far it is. Works while another process runs the job."""
    del output
    async with await Job.open(path, read_only=True) as job:
        if rows is not None:
            return await print_rows(job, rows, invocation.speech)
        report, activity = await job.report(), await job.activity()
        print_job(job, report, activity, invocation.speech)
        if activity.state in AT_REST:
            for line in steps_after(job, report, reaching(job.facts.binding.base_url)):
                invocation.speech.note(line)
    return ExitCode.OK


@command(commands, "report", Report, short="Show the results of a job, run by run.")
async def report_job(
    path: JobFile,
    output: Output,
    invocation: Invocation,
    csv: ToCsv = None,
    spreadsheet: ToSpreadsheet = None,
    html: ToHtml = None,
) -> int:
    """Show the results of a job, run by run. Works before, while and after another process runs the job."""
    given = {"--csv": csv, "--spreadsheet": spreadsheet, "--html": html, "--json": output.json or None}
    if len(names := [name for name, value in given.items() if value is not None]) > 1:
        message = f"{' and '.join(names)} cannot be combined"
        raise ConfigurationError(message)
    if html is not None:
        check_page(html, path)
    async with await Job.open(path, read_only=True) as job:
        if html is not None:
            await write_page(await job.picture(), html, invocation.speech)
            return ExitCode.OK
        if csv is not None:
            return await write_operations(job, csv, Format.CSV, invocation.speech)
        if spreadsheet is not None:
            return await write_operations(job, spreadsheet, Format.SPREADSHEET, invocation.speech)
        return await print_account(job, invocation.speech)


@command(commands, "events", EventLine, short="Print what happened in a job, as JSON Lines.")
async def print_job_events(path: JobFile, output: Output, invocation: Invocation) -> int:
    """Print what happened in the runs of a job, as JSON Lines, like --events of a run.

    A job does not keep single requests, waits, retries and settlements, nor how far limits were used. It keeps the progress of
    every few seconds, less often for a long job: its finish time is the one that the run foresaw last, and its requests in
    flight are the most of that time. Works while another process runs the job.
    """
    del output
    async with await Job.open(path, read_only=True) as job:
        await print_events(job, invocation.speech)
    return ExitCode.STOPPED if invocation.speech.lost else ExitCode.OK


@command(commands, "rehearse", RehearsalReport, short="Simulate a job to see its outcome and duration.")
async def rehearse_job(
    path: JobFile,
    rehearsing: Rehearsing,
    stopping: Stopping,
    output: Output,
    invocation: Invocation,
    html: ToHtml = None,
) -> int:
    """Simulate a job to see its outcome and duration.

    Runs a copy of the job against a simulated server on a virtual clock. Nothing is sent, and no API key is needed. Works while
    another process runs the job.
    """
    if html is not None:
        check_page(html, path)
    if html == STDOUT and output.json:
        message = "--json and --html - cannot be combined: both write to stdout"
        raise ConfigurationError(message)
    rehearsal = Rehearsal(path, rehearsing.conditions(stopping.limits(invocation.speech)))
    with invocation.interruption.steps(rehearsal.stop):
        rehearsed = await alongside(
            Watching(rehearsal, invocation.speech).follow, lambda: anyio.to_thread.run_sync(rehearsal.run)
        )
    if rehearsed is None:
        invocation.speech.say("interrupted")
        return ExitCode.INTERRUPTED
    if html is not None:
        await write_page(rehearsed.picture, html, invocation.speech)
        if html == STDOUT:
            return code_of_rehearsal(rehearsed)
    return print_rehearsal(rehearsed, rehearsing, invocation.speech)


class Watch(msgspec.Struct, frozen=True, kw_only=True):
    """Where a page is served."""

    url: str


@command(commands, "watch", Watch, short="Serve a page that shows a job while it runs.")
async def watch_job(
    path: JobFile,
    output: Output,
    invocation: Invocation,
    port: Annotated[int, typer.Option("--port", metavar="PORT", help="Port to listen on.", min=0, max=65535)] = 0,
    *,
    open_it: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
) -> int:
    """Serve a page on this machine that shows a job while another process runs it.

    The address is secret, and the job is only read. Numbers are at most a few seconds old, charts a minute. Ends when the job
    is over, or the run that is under way has ended.
    """
    # Imported here because aiohttp's server takes a while, and no other command needs it.
    from ..job.watching import Board, follow, linger, served  # noqa: PLC0415

    del output
    check_charts()
    async with await Job.open(path, read_only=True):
        pass
    board = Board()

    async def show() -> None:
        await follow(path, board, charts_of)
        invocation.speech.note("the run has ended; this command ends when the last page has been loaded, or in 10 minutes")
        await linger(board)

    async with served(board, port) as url:
        board.put(WAITING, last=False)
        invocation.speech.done(url, Watch(url=url))
        invocation.speech.note("this command ends after the run; Ctrl-C ends it now")
        await (alongside(partial(_open_browser, url, invocation.speech), show) if open_it else show())
    return ExitCode.OK


async def _open_browser(url: str, speech: Speech) -> None:
    try:
        opened = await anyio.to_thread.run_sync(webbrowser.open, url, abandon_on_cancel=True)
    except webbrowser.Error:
        opened = False
    if not opened:
        speech.say("no browser was found: open the address above in one")


@command(commands, "verify", Report, short="Check on the server that a job's changes are in effect.")
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
    tell_steps(steps_after(job, report, connection.server()), code, invocation.speech)
    return code


@command(commands, "adoption", Adoption, short="Show how many of the moved devices run the bundle of their channel.")
async def show_adoption(
    path: JobFile,
    connection: Connection,
    invocation: Invocation,
    inventory: OfInventory = None,
    stragglers: Stragglers = None,
) -> int:
    """Show how many of the devices that a job moved run the bundle of their channel by now.

    Counts them by app and by day of last contact. Where a channel has a rollout, either bundle counts. The page of
    `job report --html` shows the last result. Works while another process runs the job.
    """
    with to_file(stragglers, path, inventory, invocation.speech) as delivery:
        async with connection.ring() as caller, await Job.open(path) as job:
            found = await job.adoption(caller, inventory=inventory, on_stragglers=delivery.write)
        delivery.deliver(found)
    return print_adoption(found, invocation.speech, beside=stragglers == STDOUT)


@command(commands, "undo", *OF_A_JOB, short="Undo the changes of a job.")
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


@command(commands, "run", Report, short="Run a job, or resume it.")
async def run_job(
    path: JobFile,
    running: Resuming,
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
    manner = Manner.of(running, stopping, invocation.speech, which)
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
