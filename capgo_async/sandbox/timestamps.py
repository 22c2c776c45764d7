"""Moments as whole microseconds since the epoch, and the formats in which the API writes them (contract A4, C7)."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_START: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FILTER: Final = re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\d(?:\.\d{1,9})?Z| \d\d:\d\d:\d\d)", re.ASCII)
_STORED: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)?", re.ASCII)


def micros(now: float) -> int:
    """Turn epoch seconds into microseconds."""
    return round(now * 1_000_000)


def millis(now: float) -> int:
    """Turn epoch seconds into whole milliseconds, the grain of the server's limiters.

    A hundredth of a millisecond is added before cutting, or a float that stands for `…412` would be read as `…411`.
    """
    return int(now * 1000 + 0.01)


def row_format(moment: int) -> str:
    """Write a moment as rows read through the REST layer carry it: `…T10:20:30.12345+00:00`, trailing zeros dropped."""
    seconds, fraction = divmod(moment, 1_000_000)
    digits = f".{fraction:06d}".rstrip("0") if fraction else ""
    return f"{_seconds(seconds)}{digits}+00:00"


def device_format(moment: int) -> str:
    """Write a moment as device rows carry it: `…T10:20:30.123Z`, cut to milliseconds."""
    seconds, fraction = divmod(moment, 1_000_000)
    return f"{_seconds(seconds)}.{fraction // 1000:03d}Z"


def cursor_format(moment: int) -> str:
    """Write a moment as Postgres-backed cursors carry it: `…T10:20:30.123456+00:00`, always with microseconds."""
    seconds, fraction = divmod(moment, 1_000_000)
    return f"{_seconds(seconds)}.{fraction:06d}+00:00"


def seed_format(moment: int) -> str:
    """Write a moment as seed-era device rows carry it: `…T10:20:30+00:00`."""
    return f"{_seconds(moment // 1_000_000)}+00:00"


def text_format(moment: int) -> str:
    """Write a moment as Postgres prints it, `… 10:20:30.123456+00`, which a new API key carries (contract A4)."""
    return row_format(moment).replace("T", " ").removesuffix(":00")


def read_iso(text: str) -> int | None:
    """Read any ISO date or moment; `None` for what is none."""
    return _read(text)


def read_filter(text: str) -> int | None:
    """Read the `updated_at` filter, `…Z` or `YYYY-MM-DD HH:MM:SS`; an offset is refused (contract C7)."""
    return _read(text) if _FILTER.fullmatch(text) else None


def read_stored(text: str) -> int | None:
    """Read the first half of a cursor; `None` for what is no timestamp, an unescaped `+` included."""
    return _read(text) if _STORED.fullmatch(text) else None


def _seconds(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def _read(text: str) -> int | None:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _START) // timedelta(microseconds=1)
