"""Where the ribbons of flows begin and end.

Names stand one below the other on both sides, with gaps between them.
"""

from collections.abc import Sequence
from typing import Final, NamedTuple

from ..bulk.picture import Flow

_GAPS: Final = 0.25
"""Height of all gaps of a side together, as a share of that of all flows."""
_THINNEST: Final = 0.004
"""Height of the thinnest ribbon, likewise, so that a single operation is seen."""


class Ends(NamedTuple):
    """A name on one side, with its extent from the top down."""

    name: str
    operations: int
    top: float
    bottom: float


class Ribbon(NamedTuple):
    """One flow, with its extent on both sides."""

    number: int
    left: tuple[float, float]
    right: tuple[float, float]


class Layout(NamedTuple):
    """The ribbons and both sides, in one measure from 0 to `height`."""

    ribbons: tuple[Ribbon, ...]
    before: tuple[Ends, ...]
    after: tuple[Ends, ...]
    height: float


def laid_out(flows: Sequence[Flow]) -> Layout:
    """Return where to draw flows: on each side, the names with the most operations are at the top."""
    total = sum(flow.operations for flow in flows)
    heights = [max(flow.operations, _THINNEST * total) for flow in flows]
    lefts = _side([flow.before for flow in flows], heights, [flow.after for flow in flows])
    rights = _side([flow.after for flow in flows], heights, [flow.before for flow in flows])
    height = max(bottom for _, bottom in (*lefts, *rights))
    ribbons = tuple(Ribbon(number, left, right) for number, (left, right) in enumerate(zip(lefts, rights, strict=True)))
    before = _ends([flow.before for flow in flows], flows, lefts)
    return Layout(ribbons, before, _ends([flow.after for flow in flows], flows, rights), height)


def _side(names: Sequence[str], heights: Sequence[float], others: Sequence[str]) -> list[tuple[float, float]]:
    """Return the extent of each flow on one side.

    Flows of one name follow one another in the order of the other side.
    """
    here, there = _order(names, heights), _order(others, heights)
    gap = _GAPS * sum(heights) / max(1, len(here) - 1)
    extents: dict[int, tuple[float, float]] = {}
    top = 0.0
    for name in here:
        inside = [index for index, each in enumerate(names) if each == name]
        for index in sorted(inside, key=lambda index: there.index(others[index])):
            extents[index] = (top, top + heights[index])
            top += heights[index]
        top += gap
    return [extents[index] for index in range(len(names))]


def _order(names: Sequence[str], heights: Sequence[float]) -> list[str]:
    sums: dict[str, float] = {}
    for name, height in zip(names, heights, strict=True):
        sums[name] = sums.get(name, 0.0) + height
    return sorted(sums, key=lambda name: (-sums[name], name))


def _ends(names: Sequence[str], flows: Sequence[Flow], extents: Sequence[tuple[float, float]]) -> tuple[Ends, ...]:
    found: dict[str, Ends] = {}
    for name, flow, (top, bottom) in zip(names, flows, extents, strict=True):
        former = found.get(name, Ends(name, 0, top, bottom))
        found[name] = Ends(name, former.operations + flow.operations, min(former.top, top), max(former.bottom, bottom))
    return tuple(found.values())
