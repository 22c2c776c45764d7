"""Devices that an inventory leaves out, because their rows cannot be read."""

from typing import Final

import msgspec

from ...api.resources.devices import OnUnreadable
from ...errors import ListingError, UnreadableAnswer
from ..report import counted
from .shelf import AppChecks, ScanProgress

MOST_LEFT_OUT: Final = 1000
"""Rows of an app that may be unreadable. If more are, the server sends something else."""
_NAMED: Final = 5


class LeftOut:
    """The rows of an app that cannot be read, each once: a row is known by its name."""

    def __init__(self, on_unreadable: OnUnreadable, begun: ScanProgress | None) -> None:
        self.names = dict.fromkeys(begun.left_out if begun else ())
        self._on_unreadable = on_unreadable

    def __call__(self, error: UnreadableAnswer) -> None:
        """Take the error of a row. Raises `ListingError` if there are too many."""
        name = error.name or str(error)
        if name in self.names:
            return
        if len(self.names) >= MOST_LEFT_OUT:
            message = f"more than {MOST_LEFT_OUT:,} rows cannot be read, the last because: {error}"
            raise ListingError(message)
        self.names[name] = None
        self._on_unreadable(error)

    def noted_in(self, checks: AppChecks) -> AppChecks:
        """Return the checks, which have failed if a row was left out."""
        if not self.names:
            return checks
        named = [*self.names][:_NAMED]
        more = f" and {len(self.names) - _NAMED:,} more" if len(self.names) > _NAMED else ""
        caveat = f"{counted(len(self.names), 'row')} could not be read and {'was' if len(self.names) == 1 else 'were'} left out"
        caveats = (*checks.caveats, f"{caveat}: {', '.join(named)}{more}")
        return msgspec.structs.replace(checks, changes_passed=False, end_checked=False, caveats=caveats)
