"""The retry policy as one table: what each error means for its call (contract A7-A9, G1, G5)."""

import enum
from collections.abc import Callable
from typing import Final, NamedTuple

from ..errors import ApiError, AuthenticationError, CapgoError, ConnectionLost, NotConnected, RateLimited, UnreadableAnswer
from ..limits.models import LONGEST_REST, ScopeKind


class Disposition(enum.Enum):
    """What to do after an error."""

    RETRY = enum.auto()
    """Retry with backoff, if repeating the call is harmless or nothing was processed."""
    CLOSE_SCOPE = enum.auto()
    """A rate limit: close the gate of its scope for all requests; this does not count as an attempt."""
    STOP_KEY = enum.auto()
    """The key or the address was refused: stop, or let a key rest that worked before (contract G5)."""
    FAIL = enum.auto()
    """Permanent: raise the error."""


class Repeat(enum.Enum):
    """Whether a call may be repeated after an attempt whose result is unknown (contract G1)."""

    HARMLESS = enum.auto()
    ONCE = enum.auto()
    """Harmless, but if the server fails twice, the arguments are the likely cause (contract A9, C6)."""
    NEVER = enum.auto()
    AFTER_A_LOOK = enum.auto()
    """Never repeated by the requester: the caller checks the state of the target first."""


class Decision(NamedTuple):
    """What an error means; `scope` and `seconds` say which gate to close, and for how long.

    `asked` is for how many seconds the server asks, if that is longer than any limit of the contract and so not believed.
    """

    disposition: Disposition
    scope: ScopeKind | None = None
    seconds: float = 0.0
    reason_known: bool = True
    asked: float | None = None


class Rule(NamedTuple):
    """One row of the table; the first row that fits decides."""

    meaning: str
    fits: Callable[[CapgoError], bool]
    disposition: Disposition
    scope: ScopeKind | None = None
    reason_known: bool = True


def _kind(*classes: type[CapgoError]) -> Callable[[CapgoError], bool]:
    return lambda error: isinstance(error, classes)


def _reason(*reasons: str) -> Callable[[CapgoError], bool]:
    return lambda error: isinstance(error, RateLimited) and error.reason in reasons


def _code(*codes: str) -> Callable[[CapgoError], bool]:
    return lambda error: isinstance(error, RateLimited) and error.code in codes


def _of_device(error: CapgoError) -> bool:
    return isinstance(error, RateLimited) and error.code == "too_many_requests" and "device_id" in error.details


def _dated(error: CapgoError) -> bool:
    return isinstance(error, RateLimited) and error.retry_after is not None


def _status(*statuses: int) -> Callable[[CapgoError], bool]:
    return lambda error: isinstance(error, ApiError) and error.status in statuses


def _server_error(error: CapgoError) -> bool:
    return isinstance(error, ApiError) and error.status >= 500  # noqa: PLR2004 - server errors


def _unexplained(meaning: str, fits: Callable[[CapgoError], bool]) -> Rule:
    return Rule(meaning, fits, Disposition.CLOSE_SCOPE, ScopeKind.KEY, reason_known=False)


TABLE: Final = (
    Rule("the key or the address was refused", _kind(AuthenticationError), Disposition.STOP_KEY),
    Rule(
        "the key's limit",
        _reason("api_key_rate_limit_exceeded", "api_key_upload_rate_limit_exceeded"),
        Disposition.CLOSE_SCOPE,
        ScopeKind.KEY,
    ),
    Rule("the app's limit at this address", _reason("ip_rate_limit_exceeded"), Disposition.CLOSE_SCOPE, ScopeKind.APP_ADDRESS),
    Rule("a device's limit", _of_device, Disposition.CLOSE_SCOPE, ScopeKind.DEVICE_CHANNEL),
    Rule(
        "permanent refusals that look like limits",
        _code(
            "on_premise_app",
            "provider_infrastructure_request_blocked",
            "need_plan_upgrade",
            "native_build_concurrency_limit_exceeded",
        ),
        Disposition.FAIL,
    ),
    _unexplained("a limit of the CDN or of a seed server", _code("not_json", "rate_limited")),
    _unexplained("a limit in the words of a seed server", _code("you_are_beeing_rate_limited")),
    _unexplained("an unknown limit with a time", _dated),
    Rule("an unknown limit without a time", _kind(RateLimited), Disposition.FAIL),
    Rule("no connection: nothing was sent", _kind(NotConnected), Disposition.RETRY),
    Rule("no response", _kind(ConnectionLost), Disposition.RETRY),
    Rule("an unreadable response", _kind(UnreadableAnswer), Disposition.RETRY),
    Rule("the server timed out", _status(408), Disposition.RETRY),
    Rule("the server failed", _server_error, Disposition.RETRY),
)
"""The first rule that fits an error decides. An error that fits none is permanent."""

DATABASE_AWAY: Final = frozenset({"upstream_unavailable", "database_unavailable"})
"""Codes of a server that cannot reach its database.

A 503 with one of them says nothing about access (contract A9, G5).
"""
_SHORTEST_PAUSE: Final = 0.25
"""Shortest pause after a rate limit, because `Retry-After: 0` is possible (contract A8)."""
_UNTOLD_PAUSE: Final = 60.0


def judge(error: CapgoError) -> Decision:
    """Return what `error` means, according to the table."""
    for rule in TABLE:
        if rule.fits(error):
            told = error.retry_after if isinstance(error, ApiError) else None
            asked = told if told is not None and told > LONGEST_REST else None
            return Decision(rule.disposition, rule.scope, _pause(told), rule.reason_known, asked)
    return Decision(Disposition.FAIL)


def _pause(told: float | None) -> float:
    return _UNTOLD_PAUSE if told is None else min(max(_SHORTEST_PAUSE, told), LONGEST_REST)


def is_ambiguous(error: CapgoError) -> bool:
    """Return whether the request may have been processed despite the error (contract G1, A9)."""
    if isinstance(error, ApiError):
        return error.status >= 500 and not isinstance(error, AuthenticationError)  # noqa: PLR2004 - server errors
    return isinstance(error, ConnectionLost | UnreadableAnswer)


def passes(error: CapgoError) -> bool:
    """Return whether the error is temporary, so that the same call may succeed later."""
    return judge(error).disposition in {Disposition.RETRY, Disposition.CLOSE_SCOPE}


def may_repeat(error: CapgoError, repeat: Repeat, attempts: int = 1) -> bool:
    """Return whether a call may be repeated whose last attempt, of `attempts`, ended with `error`."""
    if judge(error).disposition is not Disposition.RETRY or repeat is Repeat.AFTER_A_LOOK:
        return False
    if repeat is Repeat.ONCE and attempts > 1 and isinstance(error, ApiError) and error.code == "unknown_error":
        return False
    return repeat is not Repeat.NEVER or not is_ambiguous(error)


def asked_for(error: BaseException | None, attempts: int) -> float:
    """Return the pause after `attempts` that the server needs, in seconds.

    Without a `Retry-After`, a server whose database is away gets 2, 4, 8 s and so on (contract A9).
    """
    if not isinstance(error, ApiError):
        return 0.0
    if error.retry_after is None and error.code in DATABASE_AWAY:
        return 2.0 ** max(1, attempts)
    return error.retry_after or 0.0


def backoff(attempts: int, chance: float) -> float:
    """Return the pause after `attempts`, in seconds.

    It begins with 0.5 s and doubles up to 30 s. `chance`, from 0 to 1, shortens it by up to half.
    """
    ceiling = min(30.0, 0.5 * 2.0 ** max(0, attempts - 1))
    return ceiling * (1.0 - 0.5 * chance)
