"""Models of the server's limits, as data (contract B).

`windows` counts requests against a model, and `gate` tells when the next request may leave.
"""

import enum
import math
from collections.abc import Iterable
from typing import Final, NamedTuple

import msgspec

Scope = tuple[str, ...]
"""What a limit counts: a `ScopeKind`, and what identifies one scope of that kind, such as an app id."""


class ScopeKind(enum.StrEnum):
    """Kinds of scope, from the widest to the narrowest (contract B2)."""

    KEY = "key"
    APP_ADDRESS = "app_address"
    DEVICE_OPERATION = "device_operation"
    DEVICE_CHANNEL = "device_channel"


def app_of(scope: Scope) -> str:
    """Return the app of a scope, or an empty text for the scope of a key."""
    return "" if scope[0] == ScopeKind.KEY else scope[1]


UNNAMED: Final = "unnamed"
"""Stands for a limit that a refusal did not name, such as that of a proxy (contract A8)."""

TARGET_KINDS = frozenset({ScopeKind.DEVICE_OPERATION, ScopeKind.DEVICE_CHANNEL})
"""Scopes of one target. An operation that waits for its target must not hold up other operations."""

DEFAULT_SILENCE = 61.0
"""Seconds of silence after which the server resets a key's counter, margin included (contract B2)."""

LONGEST_REST: Final = 900.0
"""Seconds of the longest rest in the contract: that of an address that is locked out (contract B2).

A server that asks for more is not believed: after this time, one request tries.
"""

BOUNDLESS: Final = 1 << 62
"""More requests than anybody sends."""


class Fate(enum.Enum):
    """How an attempt ended, as far as limits are concerned."""

    PASSED = enum.auto()
    FAILED = enum.auto()
    """The server answered with a failure. It counts like a request that passed."""
    REFUSED = enum.auto()
    TURNED_AWAY = enum.auto()
    """The key was refused, which the server does before it counts requests (contract B2.5)."""
    LOST = enum.auto()
    """No response came."""
    ABANDONED = enum.auto()
    """Nobody waited for the response."""
    UNSENT = enum.auto()


class Period(NamedTuple):
    """What a key has sent since its last silence: `used` requests of `limit`.

    If it sends nothing more, everything is forgotten at `fresh_at`.
    """

    used: float
    limit: int
    fresh_at: float


def safety_margin(window: float) -> float:
    """Return the default margin of a window in seconds: 1 s, or a tenth of a window shorter than 10 s."""
    return min(1.0, window / 10)


class _Window(msgspec.Struct, frozen=True, kw_only=True):
    """Times are in seconds. `headroom` is the share that is left to other users."""

    requests: int
    window: float = 60.0
    margin: float | None = None
    headroom: float = 0.0


class SlidingWindow(_Window, frozen=True, kw_only=True):
    """At most `requests` in any `window` seconds, of which a share of `headroom` is left to other users."""


class FixedWindow(_Window, frozen=True, kw_only=True):
    """At most `requests` in `window` seconds from the first one; then a new window (contract B2)."""


class SilenceWindow(_Window, frozen=True, kw_only=True):
    """At most `requests` until `window` seconds pass without one (contract B2, fact 1).

    This is the limit of an API key.
    """


Limiter = SlidingWindow | FixedWindow | SilenceWindow


def without_headroom(requests: int, headroom: float) -> int:
    """Return how many of `requests` are left when a share of `headroom` goes to other users: at least one."""
    # 1000 less 30 % are 700, whatever floating-point numbers make of it.
    return max(1, math.floor(requests * (1.0 - headroom) + 1e-6))


def allowance(limiter: Limiter) -> int:
    """Return how many requests a limiter allows in its window, headroom taken off."""
    return without_headroom(limiter.requests, limiter.headroom)


def held_for(limiter: Limiter) -> float:
    """Return how many seconds a request counts after its response, margin included."""
    return limiter.window + (safety_margin(limiter.window) if limiter.margin is None else limiter.margin)


class Limit(msgspec.Struct, frozen=True):
    """A limiter, and the kind of scope in which it counts."""

    scope: ScopeKind
    limiter: Limiter


def server_limits(*, speed: float = 1.0) -> tuple[Limit, ...]:
    """Return the server's own limits (contract B2), with all windows divided by `speed`."""
    return (
        Limit(ScopeKind.KEY, SilenceWindow(requests=1999, window=60.0 / speed)),
        *device_limits(speed=speed),
    )


def device_limits(*, speed: float = 1.0) -> tuple[Limit, ...]:
    """Return the limits of `/device` (contract B2), with all windows divided by `speed`."""
    return (
        Limit(ScopeKind.APP_ADDRESS, FixedWindow(requests=1000, window=60.0 / speed)),
        Limit(ScopeKind.DEVICE_OPERATION, FixedWindow(requests=5, window=1.0 / speed)),
        Limit(ScopeKind.DEVICE_CHANNEL, FixedWindow(requests=1, window=60.0 / speed)),
    )


def with_headroom(limits: Iterable[Limit], headroom: float) -> tuple[Limit, ...]:
    """Return `limits` with a share left to other users. Limits of single targets are not shared."""
    return tuple(
        limit if limit.scope in TARGET_KINDS else Limit(limit.scope, msgspec.structs.replace(limit.limiter, headroom=headroom))
        for limit in limits
    )


def parse_rate(text: str) -> tuple[Limit, ...]:
    """Return the limits of a rate such as `standard`, `120/min` or `5/s`.

    Raises `ValueError` for any other text.
    """
    if text == "off":
        return ()
    if text in {"auto", "server"}:
        return server_limits()
    number, _, unit = {"standard": "100/min", "enterprise": "1000/min"}.get(text, text).partition("/")
    window = {"min": 60.0, "s": 1.0}.get(unit)
    if window is None or not number.isascii() or not number.isdigit() or int(number) < 1:
        message = f"unknown rate {text!r}: use auto, standard, enterprise, server, off, N/min or N/s"
        raise ValueError(message)
    return (Limit(ScopeKind.KEY, SlidingWindow(requests=int(number), window=window)), *device_limits())
