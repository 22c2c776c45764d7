"""The conformance table: a row for every method and path of contract C1 to C10, written from the contract alone."""

from typing import Final

from conformance import account, apps, statistics
from conformance.exchanges import Row

ROWS: Final[tuple[Row, ...]] = (*account.ROWS, *apps.ROWS, *statistics.ROWS)
