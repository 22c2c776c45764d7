"""Results of executing an operation."""

from typing import Final, NamedTuple

from ...errors import CapgoError, NotApplied


class Done(NamedTuple):
    """The server accepted the operation."""

    request_id: str | None = None


AMBIGUOUS: Final = "ambiguous"
"""Cause of a failure without a clear response: the operation may have taken effect."""
HALF_DONE: Final = "half_done"
"""Cause of a failure after a link was removed and before it was set again."""
NOT_APPLIED: Final = NotApplied.__name__
"""Cause of a failure of a change that the server accepted and then did not show, or not all of it."""
RIGHT_LOST: Final = "right_lost"
"""Cause of a failure: the server shows the app or channel, and twice refused changes there."""
CHANGED_SINCE: Final = "changed_since"
"""Cause of a failure because somebody else changed the target after the plan; nothing was sent."""


class Failed(NamedTuple):
    """The operation failed permanently. Failures are grouped by `cause`."""

    cause: str
    message: str = ""
    status: int | None = None
    request_id: str | None = None


class Later(NamedTuple):
    """The operation waits for its own target until `at`, on the clock of `anyio.current_time()`.

    `in_doubt` means that an attempt may have been processed. The journal then keeps it marked as sent.
    """

    at: float
    in_doubt: bool = True


class NotSent(NamedTuple):
    """The run was stopped before a request of the operation left."""


class Stopped(NamedTuple):
    """The run cannot continue because of `error`. `in_doubt` is as in `Later`."""

    error: CapgoError
    in_doubt: bool = True


Result = Done | Failed | Later | NotSent | Stopped


class Settled(NamedTuple):
    """The result of one operation, with its number and its app."""

    id: int
    result: Done | Failed
    app_id: str = ""
