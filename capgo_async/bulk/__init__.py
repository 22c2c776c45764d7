"""The engine for bulk changes: read what is intended, plan it, send it, survive, prove it."""

from typing import TYPE_CHECKING, Any

from .job import Job
from .jobfile.contents import JobRow, Rows
from .jobfile.facts import JobBinding, JobFacts, Options, Survey, Unknown
from .jobfile.outcomes import OperationRow
from .jobfile.schema import Which
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
from .plan import Part, Plan, ReasonCount, Thresholds
from .planning.drifting import Drift
from .planning.sources import Source, from_operations, read_operations
from .reasons import Cause, Reason
from .report import Ended, Failures, Report, Run, Wave
from .running.bounds import Bounds
from .running.stopping import StopRules

if TYPE_CHECKING:
    from .inventory.columns import InventoryKind
    from .inventory.exporting import Summary, export
    from .inventory.formats import Format

__all__ = [
    "Bounds",
    "Cause",
    "DeleteBundle",
    "DeleteChannel",
    "Drift",
    "Ended",
    "Failures",
    "Format",
    "FormerState",
    "InventoryKind",
    "Job",
    "JobBinding",
    "JobFacts",
    "JobRow",
    "LinkDevice",
    "Operation",
    "OperationRow",
    "Options",
    "Part",
    "Plan",
    "PromoteBundle",
    "Reason",
    "ReasonCount",
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
    "Survey",
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
    if name not in {"Format", "InventoryKind", "Summary", "export"}:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from .inventory import exporting  # noqa: PLC0415 - few programs export

    return getattr(exporting, name)
