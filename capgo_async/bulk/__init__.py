"""The engine for bulk changes: read what is intended, plan it, send it, survive, prove it."""

from .columns import Kind
from .contents import JobRow, Rows
from .exporting import Summary, export
from .formats import Format
from .job import Job
from .operations import FormerState, LinkDevice, Operation, Row, Target, UnlinkDevice
from .plan import Change, Plan, Reason
from .planning import Options, Unknown
from .report import Report
from .sources import Source, from_operations, read_operations

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
