"""Lenient parsing of values, as JavaScript and the database do it (contract C6, C9)."""

import re
from datetime import UTC, datetime
from typing import Final

from .timestamps import micros_of

_ISO: Final = re.compile(r"\d{4}(?:-\d\d(?:-\d\d)?)?", re.ASCII)
_SHORT_YEAR: Final = 49
_FORMS: Final = ("%b %d %Y", "%B %d %Y", "%d %b %Y", "%d %B %Y", "%Y/%m/%d", "%m/%d/%Y")
_TRUE: Final = frozenset({"true", "tru", "tr", "t", "yes", "ye", "y", "on", "1"})
_FALSE: Final = frozenset({"false", "fals", "fal", "fa", "f", "no", "n", "off", "of", "0"})


def date(text: str) -> int | None:
    """Parse a date as JavaScript's `Date` does, into microseconds; UTC if it names no zone.

    As in V8, a lone number up to 12 is a month of 2001, and one from 32 a year.
    """
    text = " ".join(text.replace(",", " ").split())
    if text.isdecimal() and len(text) <= 2:  # noqa: PLR2004 -- digits
        return _lone(int(text))
    if _ISO.fullmatch(text):
        text += "-01-01"[len(text) - 4 :]
    try:
        return micros_of(datetime.fromisoformat(text))
    except ValueError:
        return _worded(text)


def boolean(value: object) -> bool | None:
    """Parse a boolean as the database does, also from text; `None` if it is not one."""
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    return True if text in _TRUE else False if text in _FALSE else None


def whole(value: object) -> int | None:
    """Parse a whole number, also from text; `None` if it is not one."""
    if isinstance(value, bool):
        return None
    if isinstance(value, float):
        return int(value) if value.is_integer() else None
    if isinstance(value, str):
        return int(value) if re.fullmatch(r"\s*[+-]?\d{1,15}\s*", value, re.ASCII) else None
    return value if isinstance(value, int) else None


def _lone(number: int) -> int | None:
    if 1 <= number <= 12:  # noqa: PLR2004 -- months
        return micros_of(datetime(2001, number, 1, tzinfo=UTC))
    if number == 0:
        return micros_of(datetime(2000, 1, 1, tzinfo=UTC))
    if number < 32:  # noqa: PLR2004 -- days of a month, of no month
        return None
    return micros_of(datetime(number + (2000 if number <= _SHORT_YEAR else 1900), 1, 1, tzinfo=UTC))


def _worded(text: str) -> int | None:
    day, _, clock = text.rpartition(" ") if ":" in text else (text, "", "00:00")
    clock += ":00" if clock.count(":") == 1 else ""
    for form in _FORMS:
        try:
            return micros_of(datetime.strptime(f"{day} {clock}", f"{form} %H:%M:%S").replace(tzinfo=UTC))
        except ValueError:
            continue
    return None
