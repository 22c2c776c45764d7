"""What may leave when: models of the server's limits, and the pacer that keeps them (contract B)."""

from .models import (
    DEFAULT_SILENCE,
    FixedWindow,
    Limit,
    Limiter,
    Scope,
    ScopeKind,
    SilenceWindow,
    SlidingWindow,
    allowance,
    device_limits,
    held_for,
    parse_rate,
    safety_margin,
    server_limits,
    with_headroom,
)

__all__ = [
    "DEFAULT_SILENCE",
    "FixedWindow",
    "Limit",
    "Limiter",
    "Scope",
    "ScopeKind",
    "SilenceWindow",
    "SlidingWindow",
    "allowance",
    "device_limits",
    "held_for",
    "parse_rate",
    "safety_margin",
    "server_limits",
    "with_headroom",
]


def __dir__() -> list[str]:
    return __all__
