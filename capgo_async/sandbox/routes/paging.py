"""Page arithmetic of the page-based listings, the server's error included (contract C6)."""

import math
import re
from collections.abc import Sequence
from typing import Final, TypeVar

from ..parameters import truthy
from ..settings import Settings

Row = TypeVar("Row")

PAGE: Final = 50
_NUMBER: Final = re.compile(r"\s*[+-]?\d{1,15}(?:\.\d*)?\s*", re.ASCII)


class BadPageError(ValueError):
    """Say what the REST layer says to an impossible page."""


def page_of(rows: Sequence[Row], page: object, settings: Settings) -> Sequence[Row]:
    """Cut a page out of all rows.

    With `page_bug` a page that came as text is 450·n+50 rows long, because JavaScript makes `"2" + 1` into `"21"`.
    """
    if not truthy(page):
        page = 0
    first = PAGE * _number(page)
    if math.isnan(first):
        message = "invalid offset: NaN"
        raise BadPageError(message)
    if first < 0:
        message = f"invalid offset: {first:g}"
        raise BadPageError(message)
    buggy = settings.dialect != "docs" if settings.page_bug is None else settings.page_bug
    size = PAGE * _number(f"{page}1") - first if isinstance(page, str) and buggy else PAGE
    if size < 1:
        return rows[:0]
    start = int(first)
    return rows[start : start + min(int(size), settings.row_cap)]


def _number(value: object) -> float:
    if isinstance(value, int | float):
        return float(value)
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else math.nan
