"""The wall clock, for times that outlive a process. A rehearsal passes in a clock of its own."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Final

LONGEST: Final = 100 * 365 * 86_400
"""Most seconds that can be asked for: a hundred years, which every calendar can show."""

Clock = Callable[[], datetime]
"""Returns the present time, with a time zone."""


def wall_clock() -> datetime:
    """Return the machine's time, in UTC."""
    return datetime.now(UTC)


def local_time(at: datetime) -> str:
    """Return a time for people: in the machine's time zone, which it names."""
    local = at.astimezone()
    return f"{local:%Y-%m-%d %H:%M:%S %Z}" if local.second else f"{local:%Y-%m-%d %H:%M %Z}"
