"""Turns exceptions into messages and exit codes."""

import shlex
from collections.abc import Mapping
from typing import Final

from ... import errors
from ...errors import CapgoError, Problem
from .advice import advice_on
from .exit_codes import ExitCode


class Declined(CapgoError):
    """Raised when the answer to a question was no."""


_CODES: Final[Mapping[type[BaseException], int]] = {
    errors.AuthenticationError: ExitCode.KEY_REFUSED,
    errors.TransportError: ExitCode.UNREACHABLE,
    errors.DiskFull: ExitCode.STOPPED,
    errors.SafetyStop: ExitCode.STOPPED,
    errors.ConfigurationError: ExitCode.USAGE,
    errors.JobError: ExitCode.USAGE,
    errors.InvalidRequest: ExitCode.USAGE,
    Declined: ExitCode.INTERRUPTED,
    errors.CapgoError: ExitCode.INCOMPLETE,
}
"""The first class that fits decides."""


_ASKED_FOR: Final = frozenset({Problem.REQUESTS_SPENT, Problem.TIME_SPENT, Problem.END_TIME_REACHED})


def code_of(error: BaseException) -> int:
    """Return the exit code for an exception; 1 for one that is not ours."""
    return next((code for kind, code in _CODES.items() if isinstance(error, kind)), ExitCode.FAULT)


def announce(error: BaseException) -> str:
    """Return the explanation of an error, called an error unless the user asked for this end of the run."""
    asked_for = isinstance(error, CapgoError) and error.problem in _ASKED_FOR
    return explain(error) if asked_for else f"error: {explain(error)}"


def explain(error: BaseException) -> str:
    """Return what happened, where, why, and what to do next."""
    if not isinstance(error, errors.CapgoError):
        return f"unexpected {type(error).__name__}: {error}. This is a bug in capgo-async; --debug shows where."
    if isinstance(error, errors.DangerousCall) and error.confirm is not None:
        return f"{error.danger} If you mean it, add --confirm {shlex.quote(error.confirm)}."
    text, advice = str(error), advice_on(error)
    if advice and not text.endswith((".", "!", "?")):
        text += "."
    lines = [f"{text} {advice}".rstrip()]
    # Every bad row was listed when it was found; where no row is good, nothing would be left.
    if isinstance(error, errors.InputError) and error.rejected:
        lines.append(
            "Fix the rows listed above, or leave them out with --reject-bad-rows."
            if error.good
            else "No row is usable; fix what is listed above."
        )
    return "\n".join(lines)
