"""Where rows stand while they are compared with each other and with what the server shows, as planning sees it."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from .forms import Form
from .operations import Change, FormerState, Operation, Row


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


class Finding(NamedTuple):
    """What came of looking at a row's target: an empty `fate` plans `operation`, which may say more than the row did."""

    line: int
    fate: str
    reason: str
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


class Known(NamedTuple):
    """What an inventory that is on disk knows of an app: since when, how many devices, and whether these are surely all.

    `began_at` is in UTC, ISO 8601; `caveats` say what its answers could not prove.
    """

    began_at: str
    devices: int
    held: bool
    caveats: tuple[str, ...]


class Stage(Protocol):
    """Where rows are kept while they are compared; `staging.Staging` is one."""

    async def add(self, block: Block) -> None:
        """Stage rows."""
        ...

    async def compare_rows(self) -> None:
        """Reject contradictions, skip duplicates."""
        ...

    async def protect(self, channels: Sequence[str], by: str) -> None:
        """Reject what changes these channels."""
        ...

    async def pairs(self) -> list[Pair]:
        """Return the apps and changes asked for."""
        ...

    async def reject(self, app_id: str, change: Change | None, reason: str) -> None:
        """Reject the rows of an app, or those of one change in it."""
        ...

    async def observe(self, app_id: str, devices: Sequence[tuple[str, str | None]]) -> None:
        """Note listed devices."""
        ...

    async def close_scan(self, app_id: str, *, complete: bool, saw_override: bool) -> None:
        """Note how far a listing went."""
        ...

    async def know(self, inventory: str, base_url: str) -> Mapping[str, Known]:
        """Have an inventory on disk at hand."""
        ...

    async def use_known(self, app_id: str, *, complete: bool) -> None:
        """Compare the rows of an app with it."""
        ...

    async def compare_with_inventory(self) -> None:
        """Skip what is so already, or was changed by others."""
        ...

    async def staged(self, app_id: str, after: int, most: int) -> list[Staged]:
        """Return rows of an app behind a line."""
        ...

    async def settle(self, findings: Sequence[Finding]) -> None:
        """Note what looking at targets brought."""
        ...

    async def moved_together(self, most: int) -> list[Moved]:
        """Return which channels lose all their devices to one other."""
        ...

    async def unknown(self) -> int:
        """Count devices in no inventory."""
        ...

    async def skip_unknown(self) -> None:
        """Skip them."""
        ...

    async def rejected(self, after: int, most: int) -> list[tuple[int, str]]:
        """Return bad rows behind a line."""
        ...
