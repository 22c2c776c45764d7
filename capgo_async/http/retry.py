"""One table: what an error means for the call that met it (contract A7-A9, G1, G5)."""

import enum
from collections.abc import Callable
from typing import Final, NamedTuple

from ..errors import ApiError, AuthenticationError, CapgoError, ConnectionLost, NotConnected, RateLimited, UnreadableAnswer
from ..limits.models import ScopeKind


class Disposition(enum.Enum):
    """What to do about an error."""

    RETRY = enum.auto()
    """Try again with backoff, if repeating the call is harmless or nothing can have been processed."""
    CLOSE_SCOPE = enum.auto()
    """A true rate limit: close the gate of its scope for everybody; uses up no attempt."""
    STOP_KEY = enum.auto()
    """The key or the address is refused: never try this key again."""
    FAIL = enum.auto()
    """Permanent: report it."""


class Repeat(enum.Enum):
    """Whether a call may be sent again after an attempt without a clear answer (contract G1)."""

    HARMLESS = enum.auto()
    ONCE = enum.auto()
    """Harmless, but where the server fails twice, the arguments are the likely cause (contract A9, C6)."""
    NEVER = enum.auto()
    AFTER_A_LOOK = enum.auto()
    """One attempt and no other, whatever it met: what else was done meanwhile would make another call of it."""


class Decision(NamedTuple):
    """What one error means: `scope` and `seconds` say which gate closes and for how long."""

    disposition: Disposition
    scope: ScopeKind | None = None
    seconds: float = 0.0
    reason_known: bool = True


class Rule(NamedTuple):
    """One row of the table: the first row that fits decides."""

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
    return isinstance(error, ApiError) and error.status >= 500  # noqa: PLR2004 - the server's own failures


def _unexplained(meaning: str, fits: Callable[[CapgoError], bool]) -> Rule:
    return Rule(meaning, fits, Disposition.CLOSE_SCOPE, ScopeKind.KEY, reason_known=False)


TABLE: Final = (
    Rule("the key or the address is refused", _kind(AuthenticationError), Disposition.STOP_KEY),
    Rule(
        "the key's limit",
        _reason("api_key_rate_limit_exceeded", "api_key_upload_rate_limit_exceeded"),
        Disposition.CLOSE_SCOPE,
        ScopeKind.KEY,
    ),
    Rule("the app's limit at this address", _reason("ip_rate_limit_exceeded"), Disposition.CLOSE_SCOPE, ScopeKind.APP_ADDRESS),
    Rule("a device's limit", _of_device, Disposition.CLOSE_SCOPE, ScopeKind.DEVICE_CHANNEL),
    Rule(
        "permanent refusals that only look like limits",
        _code(
            "on_premise_app",
            "provider_infrastructure_request_blocked",
            "need_plan_upgrade",
            "native_build_concurrency_limit_exceeded",
        ),
        Disposition.FAIL,
    ),
    _unexplained("limits of the edge and of the seed era", _code("not_json", "rate_limited")),
    _unexplained("the seed era's own words", _code("you_are_beeing_rate_limited")),
    _unexplained("an unknown limit that names a time", _dated),
    Rule("an unknown refusal that names none", _kind(RateLimited), Disposition.FAIL),
    Rule("nothing left: no connection", _kind(NotConnected), Disposition.RETRY),
    Rule("no answer", _kind(ConnectionLost), Disposition.RETRY),
    Rule("an answer that nobody can read", _kind(UnreadableAnswer), Disposition.RETRY),
    Rule("the server gave up waiting", _status(408), Disposition.RETRY),
    Rule("the server failed", _server_error, Disposition.RETRY),
)
"""Read from the top: the first rule that fits an error decides; an error that fits none is permanent."""

_SHORTEST_PAUSE: Final = 0.25
"""A reset may pass between the server's answer and its arrival: `Retry-After: 0` is possible (contract A8)."""
_UNTOLD_PAUSE: Final = 60.0


def judge(error: CapgoError) -> Decision:
    """Return what `error` means, after the table."""
    for rule in TABLE:
        if rule.fits(error):
            return Decision(rule.disposition, rule.scope, _pause(error), rule.reason_known)
    return Decision(Disposition.FAIL)


def _pause(error: CapgoError) -> float:
    told = error.retry_after if isinstance(error, ApiError) else None
    return _UNTOLD_PAUSE if told is None else max(_SHORTEST_PAUSE, told)


def is_ambiguous(error: CapgoError) -> bool:
    """Tell whether the request may have been processed although it failed (contract G1, A9)."""
    if isinstance(error, ApiError):
        return error.status >= 500 and not isinstance(error, AuthenticationError)  # noqa: PLR2004 - the server's own failures
    return isinstance(error, ConnectionLost | UnreadableAnswer)


def passes(error: CapgoError) -> bool:
    """Tell whether another attempt may end otherwise: the error is of the moment, not of the call."""
    return judge(error).disposition in {Disposition.RETRY, Disposition.CLOSE_SCOPE}


def may_repeat(error: CapgoError, repeat: Repeat, attempts: int = 1) -> bool:
    """Tell whether a call that met `error` in the last of `attempts` may be sent again."""
    if judge(error).disposition is not Disposition.RETRY or repeat is Repeat.AFTER_A_LOOK:
        return False
    if repeat is Repeat.ONCE and attempts > 1 and isinstance(error, ApiError) and error.code == "unknown_error":
        return False
    return repeat is not Repeat.NEVER or not is_ambiguous(error)


def backoff(attempts: int, chance: float) -> float:
    """Return the seconds to wait after `attempts` tries: 0.5 s doubling up to 30 s; `chance` (0 to 1) takes up to half away."""
    ceiling = min(30.0, 0.5 * 2.0 ** max(0, attempts - 1))
    return ceiling * (1.0 - 0.5 * chance)
