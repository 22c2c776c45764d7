"""Durations and times as people write them."""

import re
from datetime import UTC, datetime, time, timedelta, tzinfo
from typing import Final

from ...bulk.clock import LONGEST, local_time
from ...errors import ConfigurationError

_DURATION: Final = re.compile(
    r"(?=\d)(?:(?P<days>\d+)d)?(?:(?P<hours>\d+)h)?(?:(?P<minutes>\d+)m)?(?:(?P<seconds>\d+(?:\.\d+)?)s)?", re.ASCII
)
_SECONDS: Final = {"days": 86_400, "hours": 3600, "minutes": 60, "seconds": 1}
_WALL: Final = re.compile(r"(?P<hour>[01]?\d|2[0-3]):(?P<minute>[0-5]\d)", re.ASCII)
_DAYS: Final = 3
"""Days to search: a time of day can be over, or skipped today by a change to summer time."""


def read_duration(text: str, option: str = "--max-duration") -> float:
    """Return the seconds that `90s`, `30m`, `2h`, `1h30m` or `30d` stand for; raises `ConfigurationError`."""
    found = _DURATION.fullmatch(text.strip())
    seconds = sum(float(number) * _SECONDS[unit] for unit, number in found.groupdict("0").items()) if found else 0.0
    if not seconds:
        message = f"invalid {option} {text}: use a duration such as 90s, 30m, 1h30m or 30d"
    elif seconds > LONGEST:
        message = f"{option} {text} is too long: at most {LONGEST // _SECONDS['days']}d"
    else:
        return seconds
    raise ConfigurationError(message)


def read_moment(text: str, now: datetime, zone: tzinfo | None = None) -> datetime:
    """Return the time, in UTC, that `HH:MM` or an ISO 8601 date stands for.

    `HH:MM` is the next such time in `zone`.

    `now` has a time zone. Without `zone`, this machine's is used. Raises `ConfigurationError`, also for times in the past.
    """
    if wall := _WALL.fullmatch(text.strip()):
        return _next(time(int(wall["hour"]), int(wall["minute"])), now, zone)
    try:
        moment = datetime.fromisoformat(text.strip())
    except ValueError:
        message = f"invalid --until {text}: use HH:MM, or a date such as 2026-11-26T05:00Z"
        raise ConfigurationError(message) from None
    if moment.utcoffset() is None:
        message = f"--until {text} has no time zone: write {moment:%Y-%m-%dT%H:%M}Z for UTC, or an offset such as +01:00"
        raise ConfigurationError(message)
    if moment <= now:
        message = f"--until {text} is in the past: it is {local_time(now)} now"
        raise ConfigurationError(message)
    if (moment - now).total_seconds() > LONGEST:
        message = f"--until {text} is too far away: use a time within a hundred years"
        raise ConfigurationError(message)
    return moment.astimezone(UTC)


def _next(wall: time, now: datetime, zone: tzinfo | None) -> datetime:
    """Return when the clocks of `zone` next show `wall`; a change of the clocks can skip or repeat it."""
    today = now.astimezone(zone).date()
    found = (
        moment.astimezone(UTC)
        for day in range(_DAYS)
        for fold in (0, 1)
        if _shows(moment := _at(datetime.combine(today + timedelta(days=day), wall.replace(fold=fold)), zone), wall, zone)
    )
    return min(moment for moment in found if moment > now)


def _at(local: datetime, zone: tzinfo | None) -> datetime:
    return (local if zone is None else local.replace(tzinfo=zone)).astimezone(UTC)


def _shows(moment: datetime, wall: time, zone: tzinfo | None) -> bool:
    return moment.astimezone(zone).time() == wall
