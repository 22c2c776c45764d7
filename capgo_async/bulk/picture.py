"""Pictures: everything that a page about a job shows, read at one moment."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from .plan import Plan
from .report import Activity, Report
from .timeline import Timeline

OTHERS: Final = "others"
"""Stands for what is too small or too fast to be named."""


class AppTotals(msgspec.Struct, frozen=True, kw_only=True):
    """The planned operations of one app by outcome: `planned = done + failed + pending`."""

    app_id: str
    planned: int
    done: int
    failed: int
    pending: int


class Flow(msgspec.Struct, frozen=True, kw_only=True):
    """The number of operations that lead from one state to another, such as between two channels."""

    before: str
    after: str
    operations: int


class Picture(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a page about a job shows.

    `at` is the time at which the job was read, and `activity` what happened to it then. `source` and `base_url` say where its
    rows come from and which server it is for. `seconds_left` is the forecast for the pending operations, bakes included: that
    of the run under way, or else one at the default rate. `apps` are those with most pending operations first. `rehearsed`
    tells that the last run was a rehearsal, so that nothing of it was sent. All times have a time zone, that of the reader.
    """

    at: datetime
    source: str
    base_url: str
    created_at: datetime
    activity: Activity
    report: Report
    plan: Plan
    seconds_left: float
    apps: tuple[AppTotals, ...]
    flows: tuple[Flow, ...]
    timeline: Timeline = Timeline()
    rehearsed: bool = False


def joined(flows: Sequence[Flow], most: int) -> tuple[Flow, ...]:
    """Return flows with at most `most` names on each side.

    The names with the fewest operations become `OTHERS`.
    """
    before = _largest([(flow.before, flow.operations) for flow in flows], most)
    after = _largest([(flow.after, flow.operations) for flow in flows], most)
    sums: dict[tuple[str, str], int] = {}
    for flow in flows:
        ends = (flow.before if flow.before in before else OTHERS, flow.after if flow.after in after else OTHERS)
        sums[ends] = sums.get(ends, 0) + flow.operations
    joined = [Flow(before=one, after=other, operations=count) for (one, other), count in sums.items()]
    return tuple(sorted(joined, key=lambda flow: (-flow.operations, flow.before, flow.after)))


def _largest(parts: Sequence[tuple[str, int]], most: int) -> set[str]:
    sums: dict[str, int] = {}
    for name, count in parts:
        sums[name] = sums.get(name, 0) + count
    if len(sums) <= most:
        return set(sums)
    return set(sorted(sums, key=lambda name: (-sums[name], name))[: most - 1])
