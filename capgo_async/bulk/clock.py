"""The wall clock, for times that outlive a process. A rehearsal passes in a clock of its own."""

from collections.abc import Callable
from datetime import UTC, datetime

Clock = Callable[[], datetime]
"""Returns the present time, with a time zone."""


def wall_clock() -> datetime:
    """Return the machine's time, in UTC."""
    return datetime.now(UTC)
