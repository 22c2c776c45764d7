"""The engine for bulk changes: plan them, send them, survive crashes, and verify the result."""

from typing import TYPE_CHECKING, Any

from .adoption import Adoption, AppUptake, DayUptake, Doubt, DoubtCount, Straggler, Uptake
from .forecast.forecast import Foreseen
from .job import Job
from .jobfile.contents import JobRow, Rows
from .jobfile.facts import JobBinding, JobFacts, Options, Pair, Survey, Unknown
from .jobfile.outcomes import OperationRow
from .jobfile.schema import Which
from .jobfile.seen import Seen
from .operations.advice import Remedy
from .operations.operations import (
    Change,
    DeleteBundle,
    DeleteChannel,
    Former,
    FormerState,
    LinkDevice,
    Operation,
    PromoteBundle,
    RemoveMember,
    RenewDevice,
    Row,
    SetBundleMetadata,
    Target,
    TargetKind,
    UnlinkDevice,
    UpdateChannel,
)
from .operations.reasons import Cause, Reason
from .operations.results import Done, Failed
from .picture import AppTotals, Flow, Picture
from .plan import Displaced, Part, Plan, ReasonCount, Thresholds
from .planning.drift import Drift
from .report import Activity, Approval, Decision, Ended, Failures, Question, Report, Run, Wave
from .running.approval import Answer, Approve
from .running.bounds import Bounds
from .running.stopping import StopRules
from .sources.source import Source, from_operations, read_operations
from .timeline import Bucket, Moment, Timeline

if TYPE_CHECKING:
    from .inventory.columns import InventoryKind
    from .inventory.exporting import Summary, export
    from .inventory.formats import Format
    from .inventory.taking import Tally
    from .storage.exported import Exported

__all__ = [
    "Activity",
    "Adoption",
    "Answer",
    "AppTotals",
    "AppUptake",
    "Approval",
    "Approve",
    "Bounds",
    "Bucket",
    "Cause",
    "Change",
    "DayUptake",
    "Decision",
    "DeleteBundle",
    "DeleteChannel",
    "Displaced",
    "Done",
    "Doubt",
    "DoubtCount",
    "Drift",
    "Ended",
    "Exported",
    "Failed",
    "Failures",
    "Flow",
    "Foreseen",
    "Format",
    "Former",
    "FormerState",
    "InventoryKind",
    "Job",
    "JobBinding",
    "JobFacts",
    "JobRow",
    "LinkDevice",
    "Moment",
    "Operation",
    "OperationRow",
    "Options",
    "Pair",
    "Part",
    "Picture",
    "Plan",
    "PromoteBundle",
    "Question",
    "Reason",
    "ReasonCount",
    "Remedy",
    "RemoveMember",
    "RenewDevice",
    "Report",
    "Row",
    "Rows",
    "Run",
    "Seen",
    "SetBundleMetadata",
    "Source",
    "StopRules",
    "Straggler",
    "Summary",
    "Survey",
    "Tally",
    "Target",
    "TargetKind",
    "Thresholds",
    "Timeline",
    "Unknown",
    "UnlinkDevice",
    "UpdateChannel",
    "Uptake",
    "Wave",
    "Which",
    "export",
    "from_operations",
    "read_operations",
]


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    """Import the names of inventories when they are first used, so that a job starts without them."""
    if name not in {"Exported", "Format", "InventoryKind", "Summary", "Tally", "export"}:
        message = f"module {__name__!r} has no attribute {name!r}"
        raise AttributeError(message)
    from .inventory import exporting  # noqa: PLC0415 - few programs export

    return getattr(exporting, name)
