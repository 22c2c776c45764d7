"""The order of rows that were created at the same moment: none is promised (contract G3)."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

from ..world import uuid_like
from .call import Call


class _Created(Protocol):
    id: int
    created_at: int


Row = TypeVar("Row", bound=_Created)


def in_order(rows: Iterable[Row], call: Call, *, newest_first: bool = False) -> list[Row]:
    """Sort by creation; ties stand by id, or with `shuffle_ties` anew for each request."""
    sign = -1 if newest_first else 1
    if call.settings.shuffle_ties:
        return sorted(rows, key=lambda row: (sign * row.created_at, uuid_like(row.id, call.number)))
    return sorted(rows, key=lambda row: (sign * row.created_at, row.id))
