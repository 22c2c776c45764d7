"""Tables for terminals, with as many columns as fit. The first column is always complete."""

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Final

from ...printable import printable
from .speech import Speech

if TYPE_CHECKING:
    from rich.console import Console

LARGEST: Final = 500
"""Rows of one table. A longer listing becomes several tables, to bound memory."""
_NARROWEST: Final = 12
"""A column is folded down to this width before it is left out."""
_FRAME: Final = 3
"""Width that each column needs besides its text."""


class Tables:
    """Prints rows under `columns`.

    Cells are folded to fit, and then the last columns are left out, with a note.
    """

    def __init__(self, columns: Sequence[str], speech: Speech) -> None:
        self._columns = columns
        self._speech = speech
        self._rows: list[Sequence[str]] = []
        self._shown = 0

    def add(self, rows: Iterable[Sequence[str]]) -> None:
        """Add rows; print a table once there are enough."""
        self._rows += [[printable(cell) for cell in row] for row in rows]
        if len(self._rows) >= LARGEST:
            self._print()

    def end(self) -> None:
        """Print the remaining rows."""
        if self._rows or not self._shown:
            self._print()
        if left_out := self._columns[self._shown :]:
            self._speech.note(f"no room for {', '.join(left_out)}; use a wider terminal or --json")

    def _print(self) -> None:
        from rich.console import Console  # noqa: PLC0415 - slow to import, and needed on terminals only
        from rich.table import Table  # noqa: PLC0415 - needed on terminals only
        from rich.text import Text  # noqa: PLC0415 - needed on terminals only

        console = Console(file=sys.stdout, color_system=None)
        # All tables show the same columns as the first.
        self._shown = self._shown or _fitting(console.width, self._widths())
        first = self._widths()[0]
        table = Table()
        for place, column in enumerate(self._columns[: self._shown]):
            table.add_column(column, overflow="fold", no_wrap=place == 0, min_width=first if place == 0 else None)
        for row in self._rows:
            table.add_row(*(Text(cell) for cell in row[: self._shown]))
        self._rows = []
        self._speech.show(_rendered(console, table, max(console.width, first + _FRAME + 1)))

    def _widths(self) -> list[int]:
        from rich.cells import cell_len  # noqa: PLC0415 - needed on terminals only

        return [max(map(cell_len, cells)) for cells in zip(self._columns, *self._rows, strict=False)]


def _fitting(width: int, widths: Sequence[int]) -> int:
    """Return how many columns fit if all but the first are folded as far as possible."""
    room = width - 1
    for place, wanted in enumerate(widths):
        room -= _FRAME + (wanted if place == 0 else min(wanted, _NARROWEST))
        if room < 0:
            return max(place, 1)
    return len(widths)


def _rendered(console: "Console", table: object, width: int) -> str:
    with console.capture() as captured:
        console.print(table, width=width, crop=False)
    return captured.get().removesuffix("\n")
