"""The wall clock, for times that outlive a process. A rehearsal passes in a clock of its own."""

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Final

LONGEST: Final = 100 * 365 * 86_400
"""Most seconds that can be asked for: a hundred years, which every calendar can show."""

_NEVER: Final = "a time beyond any calendar"
Clock = Callable[[], datetime]
"""Returns the present time, with a time zone."""


def wall_clock() -> datetime:
    """Return the machine's time, in UTC."""
    return datetime.now(UTC)


def local_time(at: datetime) -> str:
    """Return a time for people: in the machine's time zone, which it names."""
    local = at.astimezone()
    return f"{local:%Y-%m-%d %H:%M:%S %Z}" if local.second else f"{local:%Y-%m-%d %H:%M %Z}"


def moment_in(seconds: float) -> datetime | None:
    """Return the time in that many seconds, or `None` if no calendar shows it."""
    try:
        return (wall_clock() + timedelta(seconds=seconds)).astimezone()
    except (OverflowError, ValueError):
        return None


def time_in(seconds: float) -> str:
    """Return the local time in that many seconds, for people."""
    moment = moment_in(seconds)
    return _NEVER if moment is None else local_time(moment)


def minute_in(seconds: float) -> str:
    """Return the local time in that many seconds, for people, without seconds of its own."""
    moment = moment_in(seconds)
    return _NEVER if moment is None else local_time(moment.replace(second=0))


def duration(seconds: float) -> str:
    """Return a number of seconds for people, such as `0:01:30`, or that no clock shows it."""
    try:
        return str(timedelta(seconds=math.ceil(seconds)))
    except (OverflowError, ValueError):
        return _NEVER
