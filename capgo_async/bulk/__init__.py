"""The engine for bulk changes: read what is intended, plan it, send it, survive, prove it."""

from .bounds import Bounds
from .contents import JobRow, Rows
from .job import Job
from .operations import FormerState, LinkDevice, Operation, Row, Target, UnlinkDevice
from .outcomes import OperationRow
from .plan import Part, Plan, Reason
from .planning import Options, Unknown
from .report import Failures, Report, Run
from .schema import Which
from .sources import Source, from_operations, read_operations
from .stopping import StopRules

__all__ = [
    "Bounds",
    "Failures",
    "FormerState",
    "Job",
    "JobRow",
    "LinkDevice",
    "Operation",
    "OperationRow",
    "Options",
    "Part",
    "Plan",
    "Reason",
    "Report",
    "Row",
    "Rows",
    "Run",
    "Source",
    "StopRules",
    "Target",
    "Unknown",
    "UnlinkDevice",
    "Which",
    "from_operations",
    "read_operations",
]
