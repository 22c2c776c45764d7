"""The engine for bulk changes: read what is intended, plan it, send it, survive, prove it."""

from typing import TYPE_CHECKING, Any

from .contents import JobRow, Rows
from .job import Job
from .operations import FormerState, LinkDevice, Operation, Row, Target, UnlinkDevice
from .plan import Change, Plan, Reason
from .planning import Options, Unknown
from .report import Report
from .sources import Source, from_operations, read_operations

if TYPE_CHECKING:
    from .columns import Kind
    from .exporting import Summary, export
    from .formats import Format

__all__ = [
    "Change",
    "Format",
    "FormerState",
    "Job",
    "JobRow",
    "Kind",
    "LinkDevice",
    "Operation",
    "Options",
    "Plan",
    "Reason",
    "Report",
    "Row",
    "Rows",
    "Source",
    "Summary",
    "Target",
    "Unknown",
    "UnlinkDevice",
    "export",
    "from_operations",
    "read_operations",
]


def __getattr__(name: str) -> Any:
    """Load what only inventories need when it is asked for: a job starts without it."""
    if name not in {"Format", "Kind", "Summary", "export"}:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from . import exporting  # noqa: PLC0415

    return getattr(exporting, name)
