"""The three formats of timestamps (contract A4)."""

import re
from datetime import UTC, datetime

_SHORT_ZONE = re.compile(r"[+-]\d\d$")


def parse_timestamp(text: str | None) -> datetime | None:
    """Parse a timestamp in any of the API's formats and return it in UTC; `None` if it cannot be parsed."""
    if not text:
        return None
    if _SHORT_ZONE.search(text[10:]):
        text += ":00"
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
