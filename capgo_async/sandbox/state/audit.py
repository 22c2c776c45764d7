"""The audit log of organizations (contract C3)."""

from collections.abc import Iterator, Mapping
from typing import Final, Literal

import msgspec

from .access import Caller

Operation = Literal["INSERT", "UPDATE", "DELETE"]
Row = Mapping[str, object]

KEPT: Final = 90 * 86_400
"""Age in seconds at which entries are purged."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one row; without an actor, the system made it."""

    number: int
    moment: int
    org_id: str
    table: str
    operation: Operation
    record_id: str
    old: Row | None
    new: Row | None
    actor: Caller | None = None
    actor_email: str | None = None

    def changed_fields(self) -> list[str] | None:
        """Return the columns that an update changed; `None` for anything but an update."""
        if self.old is None or self.new is None:
            return None
        return sorted(name for name in {*self.old, *self.new} if self.old.get(name) != self.new.get(name))


class AuditLog:
    """The changes in each organization, oldest first."""

    def __init__(self) -> None:
        self._lines: dict[str, list[Line]] = {}
        self._written = 0

    def number(self) -> int:
        """Take the number of the next entry."""
        self._written += 1
        return self._written

    def write(self, line: Line) -> None:
        self._lines.setdefault(line.org_id, []).append(line)

    def newest_first(self, org_id: str, oldest: int) -> Iterator[Line]:
        """Iterate over an organization's entries, newest first, back to `oldest`."""
        for line in reversed(self._lines.get(org_id, ())):
            if line.moment < oldest:
                return
            yield line

    def forget(self, org_id: str) -> None:
        """Drop the entries of a deleted organization: nobody can read them any more."""
        self._lines.pop(org_id, None)
