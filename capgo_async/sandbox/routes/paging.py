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

    With `page_bug`, a page that came as text has 450·n+50 rows, because JavaScript makes `"2" + 1` into `"21"`.
    """
    settings = call.settings
    page = call.field("page")
    if not truthy(page):
        page = 0
    first = PAGE * _number(page)
    if math.isnan(first) or first < 0:
        offset = "NaN" if math.isnan(first) else f"{first:g}"
        error = bad_range(f"invalid offset: {offset}")
        raise Refusal(400, code, code.replace("_", " ").capitalize(), {cause: error})
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


def in_order(rows: Iterable[Created], call: Call, *, newest_first: bool = False) -> list[Created]:
    """Sort by creation time; ties by id, or at random for each request with `shuffle_ties` (contract G3)."""
    sign = -1 if newest_first else 1
    if call.settings.shuffle_ties:
        return sorted(rows, key=lambda row: (sign * row.created_at, uuid_like(row.id, call.number)))
    return sorted(rows, key=lambda row: (sign * row.created_at, row.id))
