"""The engine for bulk changes: read what is intended, plan it, send it, survive, prove it."""

from .contents import JobRow, Rows
from .drifting import Drift
from .job import Job
from .operations import FormerState, LinkDevice, Operation, Row, Target, UnlinkDevice
from .plan import Part, Plan, Reason, Wave
from .planning import Options, Unknown
from .radius import Thresholds
from .report import Report
from .sources import Source, from_operations, read_operations

__all__ = [
    "Drift",
    "FormerState",
    "Job",
    "JobRow",
    "LinkDevice",
    "Operation",
    "Options",
    "Part",
    "Plan",
    "Reason",
    "Report",
    "Row",
    "Rows",
    "Source",
    "Target",
    "Thresholds",
    "Unknown",
    "UnlinkDevice",
    "Wave",
    "from_operations",
    "read_operations",
]
