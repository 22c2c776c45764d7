"""The engine for bulk changes: read what is intended, plan it, send it, survive, prove it."""

from typing import TYPE_CHECKING, Any

from .bounds import Bounds
from .contents import JobRow, Rows
from .drifting import Drift
from .job import Job
from .operations import (
    DeleteBundle,
    DeleteChannel,
    FormerState,
    LinkDevice,
    Operation,
    PromoteBundle,
    RemoveMember,
    RenewDevice,
    Row,
    SetBundleMetadata,
    Target,
    UnlinkDevice,
    UpdateChannel,
)
from .outcomes import OperationRow
from .plan import Part, Plan, Reason
from .planning import Options, Unknown
from .radius import Thresholds
from .report import Failures, Report, Run, Wave
from .schema import Which
from .sources import Source, from_operations, read_operations
from .stopping import StopRules

if TYPE_CHECKING:
    from .columns import Kind
    from .exporting import Summary, export
    from .formats import Format

__all__ = [
    "Bounds",
    "DeleteBundle",
    "DeleteChannel",
    "Drift",
    "Failures",
    "Format",
    "FormerState",
    "Job",
    "JobRow",
    "Kind",
    "LinkDevice",
    "Operation",
    "OperationRow",
    "Options",
    "Part",
    "Plan",
    "PromoteBundle",
    "Reason",
    "RemoveMember",
    "RenewDevice",
    "Report",
    "Row",
    "Rows",
    "Run",
    "SetBundleMetadata",
    "Source",
    "StopRules",
    "Summary",
    "Target",
    "Thresholds",
    "Unknown",
    "UnlinkDevice",
    "UpdateChannel",
    "Wave",
    "Which",
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
