"""Values that planning and the job file exchange while rows are compared."""

from typing import NamedTuple

from ..operations.operations import Change, FormerState, Operation
from ..operations.reasons import Reason


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
