"""The conformance table: a row for every method and path of contract C1 to C10, written from the contract alone."""

from typing import Final

from conformance import account, apps, statistics
from conformance.exchanges import Row, as_newer

JULY: Final = "2026-07"
NOVEMBER: Final = "2026-11"


def _with_newest(row: Row) -> Row:
    """Return the row with what it shows of 2026-07 also of 2026-11, where that was not written by itself."""
    own = {generation.name for generation in row.generations}
    same = [(NOVEMBER + found.name.removeprefix(JULY), found) for found in row.generations if found.name.startswith(JULY)]
    return row._replace(generations=[*row.generations, *(as_newer(name, found) for name, found in same if name not in own)])


ROWS: Final[tuple[Row, ...]] = tuple(map(_with_newest, (*account.ROWS, *apps.ROWS, *statistics.ROWS)))
"""What a server of 2026-11 answers differently has an entry of its own; where it has none, it answers as in 2026-07."""
