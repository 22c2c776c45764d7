"""Order and page arithmetic of the page-based listings, the server's bug included (contract C6, G3)."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Final, Protocol, TypeVar

from ..exchange import Refusal, bad_range
from ..parameters import truthy
from ..state.world import uuid_like
from .call import Call


class _Created(Protocol):
    id: int
    created_at: int


Row = TypeVar("Row")
Created = TypeVar("Created", bound=_Created)

PAGE: Final = 50
_NUMBER: Final = re.compile(r"\s*[+-]?\d{1,15}(?:\.\d*)?\s*", re.ASCII)


def page_of(call: Call, rows: Sequence[Row], code: str, cause: str = "supabaseError") -> Sequence[Row]:
    """Return the requested page of the rows, or refuse it with the route's code.

    With the page bug, a page that came as text has 450·n+50 rows, because JavaScript makes `"2" + 1` into `"21"`. The newest
    servers turn the page into a whole number first, 0 where it is none.
    """
    settings = call.settings
    page = call.field("page")
    if not truthy(page):
        page = 0
    if settings.is_newest and not settings.has_page_bug:
        number = _number(page)
        page = int(number) if number >= 0 else 0
    first = PAGE * _number(page)
    if math.isnan(first) or first < 0:
        offset = "NaN" if math.isnan(first) else f"{first:g}"
        error = bad_range(f"invalid offset: {offset}")
        raise Refusal(400, code, code.replace("_", " ").capitalize(), {cause: error})
    size = PAGE * _number(f"{page}1") - first if isinstance(page, str) and settings.has_page_bug else PAGE
    if size < 1:
        return rows[:0]
    start = int(first)
    return rows[start : start + min(int(size), settings.row_cap)]


def is_number(value: object) -> bool:
    """Return whether a page is a number, as a JSON number or as text."""
    return not math.isnan(_number(value))


def _number(value: object) -> float:
    if isinstance(value, int | float):
        return float(value)
    return float(value) if isinstance(value, str) and _NUMBER.fullmatch(value) else math.nan


def in_order(rows: Iterable[Created], call: Call, *, newest_first: bool = False) -> list[Created]:
    """Sort by creation time; ties by id, or at random for each request with `shuffle_ties` (contract G3)."""
    sign = -1 if newest_first else 1
    if call.settings.shuffle_ties:
        return sorted(rows, key=lambda row: (sign * row.created_at, uuid_like(row.id, call.number)))
    return sorted(rows, key=lambda row: (sign * row.created_at, row.id))
