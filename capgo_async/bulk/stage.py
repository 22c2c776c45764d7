"""Values that planning and the job file exchange while rows are compared."""

from collections.abc import Sequence
from typing import NamedTuple

from .forms import Form
from .operations import Change, FormerState, Operation, Row
from .reasons import Reason


class Pair(NamedTuple):
    """One app and one change that rows ask for, and the number of these rows.

    `expecting` is whether they are meant only for targets that are still as another operation left them.
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
    """The result of looking at a row's target.

    An empty `fate` plans `operation`, which may have more fields filled in than the row's.
    """

    line: int
    fate: str
    reason: Reason | None
    operation: Operation
    former: FormerState


class Moved(NamedTuple):
    """A channel whose linked devices, `devices` in number, all move to the channel `goal`."""

    app_id: str
    channel: str
    goal: str
    devices: int


class Columns(NamedTuple):
    """Good rows of one form, as columns: a million rows then need no object each."""

    form: Form
    lines: Sequence[int]
    names: Sequence[str]
    app_ids: Sequence[str]
    arguments: Sequence[str]


class Block(NamedTuple):
    """Rows that were read together, some as columns and some one by one."""

    columns: tuple[Columns, ...] = ()
    rows: Sequence[Row] = ()

    def __bool__(self) -> bool:
        return any(columns.lines for columns in self.columns) or bool(self.rows)

    def in_order(self) -> list[Row]:
        """Return all rows, ordered by line."""
        rows = list(self.rows)
        for form, lines, *texts in self.columns:
            rows += (Row(line, form.make(app, name, text)) for line, name, app, text in zip(lines, *texts, strict=True))
        return sorted(rows, key=lambda row: row.line)


class KnownApp(NamedTuple):
    """What an inventory on disk holds for one app.

    `began_at` is when it was taken, in UTC, ISO 8601. `held` is whether it is surely complete. `caveats` are sentences on what
    its responses could not prove.
    """

    began_at: str
    devices: int
    held: bool
    caveats: tuple[str, ...]
