"""For how long a server asks a client to wait, in any form that servers use (contract A8)."""

import math
import re
from collections.abc import Mapping
from datetime import MAXYEAR, UTC, datetime
from email.utils import parsedate_to_datetime, parsedate_tz
from typing import Any, Final

from ..limits.models import LONGEST_REST

_NUMBER: Final = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)", re.ASCII)
_FIRST_EPOCH: Final = 1e9
"""Numbers from here on are seconds since 1970, because no rest takes 31 years."""
_FIRST_MILLISECONDS: Final = 1e11
"""Numbers from here on are milliseconds since 1970."""
_ENDLESS: Final = 1e12
"""Seconds that stand for a time beyond any calendar."""


def retry_after(headers: Mapping[str, str], details: Mapping[str, Any]) -> float | None:
    """Return the seconds to wait that the server asks for, or `None`. They are finite and not negative.

    They are taken from `Retry-After`, `retryAfterSeconds`, or the time at which a limit ends. What is longer than any limit of
    the contract is believed only if nothing else is told. Times count from the `Date` of the response, because the clocks of
    client and server differ.
    """
    answered_at = _date(headers.get("date", ""))
    places = (
        headers.get("retry-after"),
        details.get("retryAfterSeconds"),
        headers.get("x-ratelimit-reset"),
        details.get("rateLimitResetAt"),
    )
    found = [seconds for told in places if (seconds := _seconds(told, answered_at)) is not None]
    return next((seconds for seconds in found if seconds <= LONGEST_REST), found[0] if found else None)


def _seconds(told: object, answered_at: float | None) -> float | None:
    """Return how long a number or a date asks to wait; `None` for a time, if `answered_at` is not known."""
    number = _number(told)
    if number is not None and number < _FIRST_EPOCH:
        return max(0.0, number)
    if number is not None:
        at: float | None = number / 1000 if number >= _FIRST_MILLISECONDS else number
    else:
        at = _date(told) if isinstance(told, str) else None
    return None if at is None or answered_at is None or answered_at == math.inf else min(max(0.0, at - answered_at), _ENDLESS)


def _number(told: object) -> float | None:
    if isinstance(told, str):
        return float(told) if _NUMBER.fullmatch(told.strip()) else None
    if isinstance(told, bool) or not isinstance(told, int | float):
        return None
    try:
        return float(told)
    except OverflowError:
        return math.inf


def _date(text: str) -> float | None:
    """Return a date in seconds since the epoch; infinity for a year that no calendar shows."""
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        parts = parsedate_tz(text)
        if parts is not None and parts[0] > MAXYEAR:
            return math.inf
        try:
            moment = datetime.fromisoformat(text.strip())
        except ValueError:
            return None
    # A date without a zone is in UTC (RFC 9110).
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
