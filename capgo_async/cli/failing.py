"""From exceptions to sentences and exit codes."""

import shlex
from collections.abc import Mapping
from typing import Final

from .. import errors
from ..bulk.report import ExitCode
from .asking import Declined

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

_ADVICE: Final[Mapping[type[BaseException], str]] = {
    errors.NotConnected: "This request was not sent: check --base-url and the network.",
    errors.ConnectionLost: "Try again; a change may have happened all the same.",
    errors.RateLimited: "Wait a minute, or choose a lower --rate.",
    errors.ServerError: "Try again later; the request id tells the server's operators where to look.",
    errors.UnreadableAnswer: "Check that --base-url is a Capgo API.",
    errors.ListingError: "Try again; nothing was taken for the whole.",
}
"""What to do next, where the error does not say so itself."""


def code_of(error: BaseException) -> int:
    """Return the exit code that `error` means; 1 for what nobody foresaw."""
    return next((code for kind, code in _CODES.items() if isinstance(error, kind)), ExitCode.FAULT)


def explain(error: BaseException) -> str:
    """Say what happened, where, why, and what to do next."""
    if not isinstance(error, errors.CapgoError):
        return f"unexpected {type(error).__name__}: {error}. This is a fault of ours; --debug shows where."
    if isinstance(error, errors.DangerousCall) and error.confirm is not None:
        return f"{error.danger} If that is meant, say so with --confirm {shlex.quote(error.confirm)}."
    advice = next((text for kind, text in _ADVICE.items() if isinstance(error, kind)), "")
    text = str(error)
    lines = [f"{text}{'' if text.endswith(('.', '!', '?')) else '.'} {advice}".rstrip() if advice else text]
    if isinstance(error, errors.InputError):
        # Every bad row was told when it was found; where none is good, nothing would be left.
        lines += ["Mend them, or leave them out with --reject-bad-rows."] if error.rejected and error.good else []
    return "\n".join(lines)
