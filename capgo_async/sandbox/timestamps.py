"""Times as whole microseconds since the epoch, and the API's formats for them (contract A4, C7)."""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

_START: Final = datetime(1970, 1, 1, tzinfo=UTC)
_FILTER: Final = re.compile(r"\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\d(?:\.\d{1,9})?Z| \d\d:\d\d:\d\d)", re.ASCII)
_STORED: Final = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)?", re.ASCII)


def micros(now: float) -> int:
    """Convert epoch seconds to microseconds."""
    return round(now * 1_000_000)


def millis(now: float) -> int:
    """Convert epoch seconds to whole milliseconds, the resolution of the server's limiters.

    A hundredth of a millisecond is added before truncating. Otherwise a float that stands for `…412` could become `…411`.
    """
    return int(now * 1000 + 0.01)


def row_format(moment: int) -> str:
    """Format a time as rows from the REST layer do: `…T10:20:30.12345+00:00`, without trailing zeros."""
    seconds, fraction = divmod(moment, 1_000_000)
    digits = f".{fraction:06d}".rstrip("0") if fraction else ""
    return f"{_seconds(seconds)}{digits}+00:00"


def device_format(moment: int) -> str:
    """Format a time as device rows do: `…T10:20:30.123Z`, truncated to milliseconds."""
    seconds, fraction = divmod(moment, 1_000_000)
    return f"{_seconds(seconds)}.{fraction // 1000:03d}Z"


def cursor_format(moment: int) -> str:
    """Format a time as Postgres-backed cursors do: `…T10:20:30.123456+00:00`, always with microseconds."""
    seconds, fraction = divmod(moment, 1_000_000)
    return f"{_seconds(seconds)}.{fraction:06d}+00:00"


def seed_format(moment: int) -> str:
    """Format a time as seed-era device rows do: `…T10:20:30+00:00`."""
    return f"{_seconds(moment // 1_000_000)}+00:00"


def text_format(moment: int) -> str:
    """Format a time as Postgres prints it, `… 10:20:30.123456+00`, used for new API keys (contract A4)."""
    return row_format(moment).replace("T", " ").removesuffix(":00")


def read_filter(text: str) -> int | None:
    """Parse the `updated_at` filter, `…Z` or `YYYY-MM-DD HH:MM:SS`; offsets are refused (contract C7)."""
    return read_iso(text) if _FILTER.fullmatch(text) else None


def read_stored(text: str) -> int | None:
    """Parse the first half of a cursor; `None` if it is no timestamp, also with an unescaped `+`."""
    return read_iso(text) if _STORED.fullmatch(text) else None


def _seconds(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat()[:19]


def read_iso(text: str) -> int | None:
    """Parse any ISO date or time; `None` if it is not one."""
    try:
        return micros_of(datetime.fromisoformat(text))
    except ValueError:
        return None


def micros_of(moment: datetime) -> int:
    """Convert a time to microseconds; it is in UTC if it names no zone."""
    aware = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return (aware - _START) // timedelta(microseconds=1)
