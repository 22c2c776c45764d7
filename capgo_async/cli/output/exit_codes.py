"""Exit codes."""

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from ...bulk import Report


class ExitCode:
    """The exit codes of the command. When several apply, in this order: 5, 6, 4, 130, 3."""

    OK: Final = 0
    FAULT: Final = 1
    """A bug in this program."""
    USAGE: Final = 2
    """Wrong usage or input, or the server refused an argument."""
    INCOMPLETE: Final = 3
    """Operations failed, were rejected, contradicted or not checked; an undo left some; or a call failed."""
    STOPPED: Final = 4
    """Stopped by a stop rule, a limit on the run or a missing approval, or the disk is full."""
    KEY_REFUSED: Final = 5
    UNREACHABLE: Final = 6
    """The server could not be reached, or never responded."""
    INTERRUPTED: Final = 130
    """Interrupted or declined; a job can be resumed."""


def exit_code(report: "Report") -> int:
    """Return the exit code for a report."""
    if report.pending:
        return ExitCode.INTERRUPTED
    if report.failed or report.rejected or report.contradicted or report.missing or report.left:
        return ExitCode.INCOMPLETE
    return ExitCode.OK
