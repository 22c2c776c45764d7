"""What to do next, with the options and commands to type. The library only says what happened."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from ... import errors
from ...bulk import Report
from ...bulk.operations.advice import Remedy
from ...bulk.report import counted
from ...errors import Problem
from .exit_codes import ExitCode

_BY_PROBLEM: Final[Mapping[Problem, str]] = {
    Problem.NO_API_KEY: "--api-key passes one, --profile uses a stored one.",
    Problem.UNENCRYPTED: "Use https, or pass --allow-plain-http.",
    Problem.FORMAT_UNKNOWN: "Name it with --format.",
    Problem.NO_HEADER: "--header NAMES says what its columns are: --header device_id for a plain list of device ids.",
    Problem.NO_SUCH_COLUMN: "--column NAME=HEADER says which column to read, such as --column device_id='Device ID'.",
    Problem.INVENTORY_MISSING: "`export devices -o FILE` makes one.",
    Problem.INVENTORY_UNRELATED: "Leave --inventory out.",
    Problem.DEVICES_UNKNOWN: "--unknown send changes such devices anyway; --unknown skip leaves them out.",
    Problem.DEVICES_HIDDEN: "Try again later. --unknown send changes the devices without seeing them; no undo restores them.",
    Problem.WORD_UNLISTED: "To send a word that is not listed here, type `unlisted:WORD`.",
    Problem.ROW_UNREADABLE: "`export devices --skip-unreadable` leaves such devices out.",
    Problem.SEVERAL_DEVICES: "--all-matches takes all of them.",
    Problem.MAY_LOSE_BUNDLE: "To do it anyway, pass --old-servers.",
    Problem.ENDS_ROLLOUT: "To end it, pass --end-rollouts; `channels update APP NAME rollout_paused=true` only pauses it.",
    Problem.RUNNING_ELSEWHERE: "Follow it with `job show FILE`.",
    Problem.OTHER_SERVER_OR_KEY: "Use that one again, or pass --rebind to `job run` or `job undo` to go on with this one.",
    Problem.REQUESTS_SPENT: "--max-requests asked for this.",
    Problem.TIME_SPENT: "--max-duration asked for this.",
    Problem.END_TIME_REACHED: "--until asked for this.",
    Problem.TOO_MANY_FAILED: "--stop-failures sets how many may fail.",
    Problem.FAILED_IN_A_ROW: "--stop-consecutive sets how many may fail in a row.",
    Problem.ACCESS_LOST: "--stop-no-access sets how many may be refused in a row.",
    Problem.CHANNEL_GONE: "Create it again, or restore its name; --stop-no-access sets how many may fail in a row.",
    Problem.OTHER_SERVER: (
        "Check --base-url, and open it in a browser: something else responds there, such as a sign-in page or a filter."
    ),
    Problem.SERVER_FAILING: "Wait until the server has recovered; --stop-server-errors sets how many may fail.",
    Problem.CONTRADICTED: "`job show FILE --rows contradicted` lists them.",
    Problem.NOT_APPROVED: "The next `job run FILE` asks again.",
    Problem.APPROVAL_NEEDED: "Pass --approve CMD again; --approve true approves everything.",
    Problem.NOT_LISTED: "`job show FILE --rows cannot_tell` lists them; the next `job run FILE` looks again.",
}

_BY_ERROR: Final[Mapping[type[BaseException], str]] = {
    errors.NeedsApiKey: "--api-key passes one, --profile uses a stored one.",
    errors.NotConnected: "Check --base-url, and that the server runs. --wait-for-server 30m waits for one that is away.",
    errors.ConnectionLost: "Try again; a change may have taken effect anyway.",
    errors.RateLimited: "Wait a minute, or choose a lower --rate.",
    errors.ServerError: "Try again later; the request id tells the server's operators where to look.",
    errors.PublicChannelOverride: "`devices unlink` does that.",
    errors.UnreadableAnswer: "Check that --base-url is a Capgo API.",
    errors.EmptyListing: "Try again later; nothing was done with the empty list.",
    errors.ListingError: "Try again; nothing was done with the incomplete list.",
}
"""The first class that fits decides."""


def advice_on(error: errors.CapgoError) -> str:
    """Return what to do about an error, or nothing if the error says so itself."""
    if error.problem is not None:
        return _BY_PROBLEM.get(error.problem, "")
    if isinstance(error, errors.AuthenticationError) and error.code == "invalid_jwt":
        return "--auth-header capgkey does that."
    return next((text for kind, text in _BY_ERROR.items() if isinstance(error, kind)), "")


def why_unfinished(report: Report) -> str:
    """Return why a job with pending operations ends a command with `ExitCode.INTERRUPTED`, or nothing."""
    if not report.pending:
        return ""
    pending = f"{counted(report.pending, 'operation')} {'is' if report.pending == 1 else 'are'} still pending"
    return f"the job is not finished: {pending} (exit code {ExitCode.INTERRUPTED}: it can be resumed)"


def next_steps(
    report: Report, path: Path, server: Sequence[str] = (), running: Sequence[str] = (), *, links: bool = False
) -> Iterator[str]:
    """Yield the commands that continue a job, or that show what became of it.

    `server` are the options that reach the same server, and `running` those that a further run needs. `links` is whether the
    job links devices.
    """
    if report.pending:
        yield to_go_on(path, [*server, *running])
    remedies = {failure.remedy for failure in report.failures}
    if remedies - {Remedy.NEW_JOB}:
        slower = "; a lower --rate sends fewer requests" if Remedy.RETRY_SLOWER in remedies else ""
        yield f"to send the failed operations again: {_job_command('run', path, ['--failed', *server, *running])}{slower}"
    elif remedies:
        yield f"to list the failed operations: {_job_command('show', path, ['--rows', 'failed'])}"
    if Remedy.RETRY_OR_UNDO in remedies:
        yield f"to restore what it changed: {_job_command('undo', path, server)}"
    if report.contradicted:
        yield f"to send the contradicted operations again: {_job_command('run', path, ['--contradicted', *server, *running])}"
    if report.missing:
        yield to_verify(path, server)
    elif report.unchecked and not report.pending:
        yield f"to check on the server that the changes are in effect: {_job_command('verify', path, server)}"
    elif links and report.verified and not (report.pending or report.contradicted):
        yield f"to see which devices run the bundle of their channel: {_job_command('adoption', path, server)}"


def to_go_on(path: Path, server: Sequence[str]) -> str:
    """Return the command that sends the pending operations of a job."""
    return f"to go on: {_job_command('run', path, server)}"


def to_verify(path: Path, server: Sequence[str]) -> str:
    """Return the command that compares a job with the server."""
    return f"to look at the server again: {_job_command('verify', path, server)}"


def to_see_skipped(path: Path) -> str:
    """Return the command that lists the targets that an undo leaves as they are."""
    return f"to see what is left as it is: {_job_command('show', path, ['--rows', 'skipped'])}"


def to_see_bad_rows(path: Path) -> str:
    """Return the command that lists all bad rows of a job, and before it how to make a missing file."""
    listing = _job_command("show", path, ["--rows", "rejected"])
    if path.exists():
        return f"to see all bad rows: {listing}"
    options = shlex.join(["--plan-only", "--reject-bad-rows", "--job", str(path)])
    return f"to see all bad rows: repeat the command with {options}, then {listing}"


def _job_command(verb: str, path: Path, words: Sequence[str]) -> str:
    """Return a command, quoted for a shell."""
    return shlex.join(["capgo-async", "job", verb, str(path), *words])
