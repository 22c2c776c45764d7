"""What planning and the job file tell each other of rows while they are compared, with each other and with the server."""

from collections.abc import Sequence
from typing import NamedTuple

from .forms import Form
from .operations import Change, FormerState, Operation, Row
from .reasons import Reason


class Pair(NamedTuple):
    """One app and one change that rows ask for, and how many they are.

    `expecting`: some of them are only for targets that are as another operation left them.
    """

    app_id: str
    change: Change
    rows: int
    expecting: bool


class Staged(NamedTuple):
    """One row that is still to be planned."""

    line: int
    operation: Operation
    expected: Operation | None


class Assessment(NamedTuple):
    """What came of looking at a row's target: an empty `fate` plans `operation`, which may say more than the row did."""

    line: int
    fate: str
    reason: Reason | None
    operation: Operation
    former: FormerState


class Moved(NamedTuple):
    """All `devices` that are linked to `channel` go to `goal`."""

    app_id: str
    channel: str
    goal: str
    devices: int


class Columns(NamedTuple):
    """Good rows of one form as columns, in which objects for each of a million rows need not be made."""

    form: Form
    lines: Sequence[int]
    names: Sequence[str]
    app_ids: Sequence[str]
    arguments: Sequence[str]


class Block(NamedTuple):
    """Rows that were read together: as columns, and others one by one."""

    columns: tuple[Columns, ...] = ()
    rows: Sequence[Row] = ()

    def __bool__(self) -> bool:
        return any(columns.lines for columns in self.columns) or bool(self.rows)

    def in_order(self) -> list[Row]:
        """Return all rows, in the order of their lines."""
        rows = list(self.rows)
        for form, lines, *texts in self.columns:
            rows += (Row(line, form.make(app, name, text)) for line, name, app, text in zip(lines, *texts, strict=True))
        return sorted(rows, key=lambda row: row.line)


class KnownApp(NamedTuple):
    """What an inventory that is on disk knows of an app: since when, how many devices, and whether these are surely all.

    `began_at` is in UTC, ISO 8601; `caveats` say what its answers could not prove.
    """

    began_at: str
    devices: int
    held: bool
    caveats: tuple[str, ...]
