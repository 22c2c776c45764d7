"""The audit log of organizations (contract C3)."""

from collections.abc import Iterator, Mapping
from typing import Final, Literal

import msgspec

from .access import Caller, Key

Operation = Literal["INSERT", "UPDATE", "DELETE"]
Row = Mapping[str, object]

KEPT: Final = 90 * 86_400
"""After so many seconds a line is purged."""


class Line(msgspec.Struct, frozen=True, kw_only=True):
    """One change of one row; without an actor the system did it."""

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
        """Name the columns that an update changed; `None` for what is no update."""
        if self.old is None or self.new is None:
            return None
        return sorted(name for name in {*self.old, *self.new} if self.old.get(name) != self.new.get(name))

    def key(self) -> Key | None:
        """Return the key that acted, if one did."""
        return self.actor if isinstance(self.actor, Key) else None


class AuditLog:
    """What was changed in which organization, oldest first."""

    def __init__(self) -> None:
        """Start empty."""
        self._lines: dict[str, list[Line]] = {}
        self._written = 0

    def number(self) -> int:
        """Take the next line's number."""
        self._written += 1
        return self._written

    def write(self, line: Line) -> None:
        """Append a line."""
        self._lines.setdefault(line.org_id, []).append(line)

    def newest_first(self, org_id: str, oldest: int) -> Iterator[Line]:
        """Walk back through an organization's lines, up to the moment before which they are purged."""
        for line in reversed(self._lines.get(org_id, ())):
            if line.moment < oldest:
                return
            yield line

    def forget(self, org_id: str) -> None:
        """Drop the lines of an organization that is gone: nobody may read them any more."""
        self._lines.pop(org_id, None)
