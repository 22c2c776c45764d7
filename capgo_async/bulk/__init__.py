"""The engine for bulk changes: read what is intended, plan it, send it, survive, prove it."""

from .job import Job
from .operations import FormerState, LinkDevice, Operation, Row, Target, UnlinkDevice
from .planning import Options, Plan, Unknown
from .report import Report
from .sources import Source, from_operations, read_operations

__all__ = [
    "FormerState",
    "Job",
    "LinkDevice",
    "Operation",
    "Options",
    "Plan",
    "Report",
    "Row",
    "Source",
    "Target",
    "Unknown",
    "UnlinkDevice",
    "from_operations",
    "read_operations",
]
