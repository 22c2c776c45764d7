"""What people call the limits of a server."""

from collections.abc import Mapping
from typing import Final

from ..events import KEY_DOUBTED, OTHER_JOB
from .models import UNNAMED, ScopeKind

NAMES: Final[Mapping[str, str]] = {
    ScopeKind.KEY: "API key",
    ScopeKind.APP_ADDRESS: "app at this address",
    ScopeKind.DEVICE_OPERATION: "device",
    ScopeKind.DEVICE_CHANNEL: "device and channel",
    UNNAMED: "unnamed limit",
}
WAITED_FOR: Final[Mapping[str, str]] = {
    ScopeKind.KEY: "key's limit",
    ScopeKind.APP_ADDRESS: "app's limit",
    ScopeKind.DEVICE_OPERATION: "device's limit",
    ScopeKind.DEVICE_CHANNEL: "device's limit",
    UNNAMED: "an unnamed limit (HTTP 429, perhaps of a proxy)",
    OTHER_JOB: "another job set these links a moment ago",
    KEY_DOUBTED: "pause of an API key that was refused after it had worked",
}
"""Why requests wait."""


def limits_met(counts: Mapping[str, int]) -> str:
    """Return how many requests each limit refused, such as "API key 3, device 1"."""
    return ", ".join(f"{NAMES.get(kind, kind)} {count:,}" for kind, count in counts.items())
