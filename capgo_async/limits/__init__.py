"""What may leave when: models of the server's limits, and the pacer that keeps them (contract B)."""

from .models import (
    FixedWindow,
    Limit,
    Limiter,
    Scope,
    ScopeKind,
    SilenceWindow,
    SlidingWindow,
    device_limits,
    parse_rate,
    server_limits,
)

__all__ = [
    "FixedWindow",
    "Limit",
    "Limiter",
    "Scope",
    "ScopeKind",
    "SilenceWindow",
    "SlidingWindow",
    "device_limits",
    "parse_rate",
    "server_limits",
]
