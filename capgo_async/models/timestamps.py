"""The three formats of a timestamp (contract A4)."""

import re
from datetime import UTC, datetime

_SHORT_ZONE = re.compile(r"[+-]\d\d$")


def parse_timestamp(text: str | None) -> datetime | None:
    """Return a timestamp of any of the API's formats as an aware UTC time; `None` for what cannot be read."""
    if not text:
        return None
    if _SHORT_ZONE.search(text[10:]):
        text += ":00"
    try:
        moment = datetime.fromisoformat(text)
        return moment.astimezone(UTC) if moment.tzinfo else moment.replace(tzinfo=UTC)
    except (ValueError, OverflowError):
        return None
