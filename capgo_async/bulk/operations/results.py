"""How an operation ends, or why it waits."""

from typing import Final, NamedTuple

from ...errors import CapgoError


class Done(NamedTuple):
    """The server accepted the operation."""

    request_id: str | None = None


AMBIGUOUS: Final = "ambiguous"
"""The cause of a failure that no attempt had a clear answer to: it may have happened all the same."""


HALF_DONE: Final = "half_done"
"""The cause of a failure that took something away and did not give it back."""


CHANGED_SINCE: Final = "changed_since"
"""The cause of a failure where others have changed the target since the plan: nothing was sent."""


class Failed(NamedTuple):
    """The operation failed for good. `cause` groups failures."""

    cause: str
    message: str = ""
    status: int | None = None
    request_id: str | None = None


class Later(NamedTuple):
    """The operation waits for its own target until `at`, on the clock of `anyio.current_time()`.

    `in_doubt` says that an attempt may have been processed: then the journal must go on saying so.
    """

    at: float
    in_doubt: bool = True


class NotSent(NamedTuple):
    """The run was stopped while the operation waited: nothing left."""


class Stopped(NamedTuple):
    """The run cannot go on, because of `error`; `in_doubt` as of `Later`."""

    error: CapgoError
    in_doubt: bool = True


Result = Done | Failed | Later | NotSent | Stopped


class Settled(NamedTuple):
    """One operation's number, what came of it, and its app."""

    id: int
    result: Done | Failed
    app_id: str = ""
