"""What time it is on the wall: what outlives a process is written down by this clock, and a rehearsal hands in its own."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the present moment, with a zone."""


def wall_clock() -> datetime:
    """Return the time of this machine, in UTC."""
    return datetime.now(UTC)
