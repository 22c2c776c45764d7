"""What a job came to: totals that add up, failures by cause, and the exit code."""

from typing import Final

import msgspec


class Failures(msgspec.Struct, frozen=True):
    """Failed operations of one cause: how many, one message, and the first devices as `app/device`."""

    cause: str
    count: int
    message: str
    first: tuple[str, ...]


class Report(msgspec.Struct, frozen=True, kw_only=True):
    """The totals of a job: `rows = rejected + skipped + planned`, `planned = done + failed + pending`.

    `requests`, `retries` and `rate_limited` are over all runs, reads included; `elapsed_seconds` is of the last. The verdicts
    `unchecked`, `verified`, `contradicted` and `cannot_tell` partition `done`. `consistent`: nothing done is contradicted.
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
    requests: int
    retries: int
    rate_limited: int
    elapsed_seconds: float
    consistent: bool
    failures: tuple[Failures, ...] = ()


class ExitCode:
    """The exit codes of the command."""

    OK: Final = 0
    FAULT: Final = 1
    USAGE: Final = 2
    INCOMPLETE: Final = 3
    STOPPED: Final = 4
    KEY_REFUSED: Final = 5
    UNREACHABLE: Final = 6
    INTERRUPTED: Final = 130


def counted(number: int, noun: str) -> str:
    """Return a number and what it counts, such as "1 app" and "1,200 apps"."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def exit_code(report: Report) -> int:
    """Return 0 when all is as intended, 3 when something failed, was rejected or is contradicted, 130 when some is open."""
    if report.pending:
        return ExitCode.INTERRUPTED
    if report.failed or report.rejected or report.contradicted:
        return ExitCode.INCOMPLETE
    return ExitCode.OK
