"""The limiter models: what the server's limits are, as data (contract B).

`gates` says, for a model and what was sent so far, when the next request may go.
"""

import enum
import math
from collections.abc import Callable, Iterable
from typing import Final, NamedTuple

import msgspec

Scope = tuple[str, ...]
"""What a limit counts: a kind of `ScopeKind`, then what tells two of that kind apart, such as an app id."""


class ScopeKind(enum.StrEnum):
    """The kinds of scope, from the widest to the narrowest (contract B2)."""

    KEY = "key"
    APP_ADDRESS = "app_address"
    DEVICE_OPERATION = "device_operation"
    DEVICE_CHANNEL = "device_channel"


TARGET_KINDS = frozenset({ScopeKind.DEVICE_OPERATION, ScopeKind.DEVICE_CHANNEL})
"""Scopes that concern one target: waiting for one of them must not hold up the others."""

DEFAULT_SILENCE = 61.0
"""Seconds without a request after which the server forgets a key's counter, margin included (contract B2)."""


BOUNDLESS: Final = 1 << 62
"""More requests than anybody sends."""


class Fate(enum.Enum):
    """How an attempt ended, as far as limits are concerned."""

    PASSED = enum.auto()
    FAILED = enum.auto()
    """The server answered that it failed. This counts like a request that passed, and is a sign of trouble."""
    REFUSED = enum.auto()
    LOST = enum.auto()
    """No response came."""
    ABANDONED = enum.auto()
    """Nobody waited for the response."""
    UNSENT = enum.auto()


class Period(NamedTuple):
    """What a key has sent since its last silence: `used` of `limit`, forgotten at `fresh_at` if nothing more is sent."""

    used: float
    limit: int
    fresh_at: float


def safety_margin(window: float) -> float:
    """Return the seconds added to a window: 1 s, less for windows below 10 s."""
    return min(1.0, window / 10)


class SlidingWindow(msgspec.Struct, frozen=True, kw_only=True):
    """At most `requests` in any `window` seconds; no burst beyond that. `headroom` is the share that is left to others."""

    requests: int
    window: float = 60.0
    margin: float | None = None
    headroom: float = 0.0


class FixedWindow(msgspec.Struct, frozen=True, kw_only=True):
    """At most `requests` in `window` seconds counted from the first one, then from anew (contract B2)."""

    requests: int
    window: float = 60.0
    margin: float | None = None
    headroom: float = 0.0


class SilenceWindow(msgspec.Struct, frozen=True, kw_only=True):
    """At most `requests` until `window` seconds pass without any: the server's limit of an API key (contract B2, fact 1)."""

    requests: int
    window: float = 60.0
    margin: float | None = None
    headroom: float = 0.0


Limiter = SlidingWindow | FixedWindow | SilenceWindow


def without_headroom(requests: int, headroom: float) -> int:
    """Return how many of so many requests are ours where a share of `headroom` is left to others: one at least."""
    # 1000 less 30 % are 700, whatever floating-point numbers make of it.
    return max(1, math.floor(requests * (1.0 - headroom) + 1e-6))


def allowance(limiter: Limiter) -> int:
    """Return how many requests a model lets us send in its window."""
    return without_headroom(limiter.requests, limiter.headroom)


def held_for(limiter: Limiter) -> float:
    """Return how many seconds a request counts from its answer on, margin included."""
    return limiter.window + (safety_margin(limiter.window) if limiter.margin is None else limiter.margin)


class Limit(msgspec.Struct, frozen=True):
    """One limiter model and the scope in which it counts."""

    scope: ScopeKind
    limiter: Limiter


def server_limits(*, speed: float = 1.0) -> tuple[Limit, ...]:
    """Return the models of the server's own limits (contract B2), all windows divided by `speed`."""
    return (
        Limit(ScopeKind.KEY, SilenceWindow(requests=1999, window=60.0 / speed)),
        *device_limits(speed=speed),
    )


def device_limits(*, speed: float = 1.0) -> tuple[Limit, ...]:
    """Return the models of the limits of `/device` (contract B2), all windows divided by `speed`."""
    return (
        Limit(ScopeKind.APP_ADDRESS, FixedWindow(requests=1000, window=60.0 / speed)),
        Limit(ScopeKind.DEVICE_OPERATION, FixedWindow(requests=5, window=1.0 / speed)),
        Limit(ScopeKind.DEVICE_CHANNEL, FixedWindow(requests=1, window=60.0 / speed)),
    )


def with_headroom(limits: Iterable[Limit], headroom: float) -> tuple[Limit, ...]:
    """Return limits of which a share is left to others; those of single targets are shared with nobody."""
    return tuple(
        limit if limit.scope in TARGET_KINDS else Limit(limit.scope, msgspec.structs.replace(limit.limiter, headroom=headroom))
        for limit in limits
    )


def parse_rate(text: str) -> tuple[Limit, ...]:
    """Return the limits that a rate such as `standard`, `120/min` or `5/s` stands for; raise `ValueError` for others."""
    presets: dict[str, Callable[[], tuple[Limit, ...]]] = {
        "off": tuple,
        "auto": server_limits,
        "server": server_limits,
        "standard": lambda: _steady(100, 60.0),
        "enterprise": lambda: _steady(1000, 60.0),
    }
    if preset := presets.get(text):
        return preset()
    number, _, unit = text.partition("/")
    window = {"min": 60.0, "s": 1.0}.get(unit)
    if window is None or not number.isascii() or not number.isdigit() or int(number) < 1:
        message = f"rate {text!r} is none of auto, standard, enterprise, server, off, N/min, N/s"
        raise ValueError(message)
    return _steady(int(number), window)


def _steady(requests: int, window: float) -> tuple[Limit, ...]:
    return (Limit(ScopeKind.KEY, SlidingWindow(requests=requests, window=window)), *device_limits())
