"""How long the rest of a job takes: its requests sent in bursts through models of the limits, by counts and not one by one.

Requests of one latency leave in rounds of as many as may be in flight. A burst goes to the apps that have most left, evenly,
until a limit is full or the next app has as many left, as `schedule` does one by one. What only repeats itself is passed over.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from ..kinds import KINDS, Apart
from ..spreading import APPS_AT_ONCE, cursors_among
from .line import Line, Outlook, Share
from .resting import levelled

DEFAULT_LATENCY: Final = 0.1
"""Seconds from a request to its answer, where nobody saw one."""
_IN_TURN: Final = 9
"""Pages of an app that are read one after the other, before and while it is divided."""


class Leg(NamedTuple):
    """A wave, or all of a job without waves: what each app has in it.

    Behind it `looks` are sent to verify, several apps at once, and `rest` is the bake.
    """

    shares: Sequence[Share]
    looks: Sequence[Share] = ()
    rest: float = 0.0


def seconds_of(legs: Iterable[Leg], outlook: Outlook) -> float:
    """Return how many seconds pass until the last answer, when all goes well."""
    line = Line(outlook)
    for leg in legs:
        line.send(leg.shares, _places(leg.shares, outlook.concurrency))
        line.settle()
        if leg.shares:
            line.outlast(outlook.held_up_for)
        if leg.looks:
            line.send(leg.looks, _readers(leg.looks, outlook.concurrency))
            line.settle()
        line.rest(leg.rest)
    return line.now


def _readers(looks: Sequence[Share], concurrency: int) -> int:
    """Return how many pages are read at once on average: apps side by side, a large one at several places (`spreading`)."""
    cursors = cursors_among(concurrency, len(looks))
    pages = [look.requests for look in looks]
    rounds = max(min(each, _IN_TURN) + math.ceil(max(0, each - _IN_TURN) / cursors) for each in pages)
    return max(1, min(APPS_AT_ONCE * cursors, concurrency, round(sum(pages) / max(1, rounds))))


def without_first(
    legs: Iterable[Leg], settled: int, baking: float | None = None, waiting: Mapping[str, int] | None = None
) -> list[Leg]:
    """Return what is left of `legs` once so many operations are settled; of a bake under way `baking` seconds.

    `waiting` is how many operations of each app have yet to leave of the leg that is under way; without it those of most are
    gone.
    """
    # What waits is of the leg that is under way, never of one that is verified or bakes: then nothing waits.
    begun = waiting is not None and any(waiting.values())
    left: list[Leg] = []
    ending: Leg | None = None
    for leg in legs:
        operations = sum(share.operations for share in leg.shares)
        if settled >= operations:
            # Whether it is verified and has baked shows once the next begins.
            ending = leg._replace(shares=()) if baking is None else Leg((), (), baking)
        else:
            ending = None if settled or begun else ending
            left.append(leg._replace(shares=_behind(leg.shares, settled, waiting) if settled else leg.shares))
        settled = max(0, settled - operations)
    return [ending, *left] if ending is not None else left


def _behind(shares: Sequence[Share], settled: int, waiting: Mapping[str, int] | None) -> list[Share]:
    if waiting is None:
        counts = [round(left) for left in levelled([share.operations for share in shares], settled)]
    else:
        of_app: dict[str, int] = {}
        for share in shares:
            of_app[share.app_id] = of_app.get(share.app_id, 0) + share.operations
        counts = [round(share.operations * waiting.get(share.app_id, 0) / of_app[share.app_id]) for share in shares]
    both = zip(shares, counts, strict=True)
    return [share._replace(operations=count) for share, count in both if count]


def share_of(app_id: str, kind: str, operations: int) -> Share:
    """Return what operations of one kind cost."""
    of_kind = KINDS[kind]
    return Share(app_id, operations, len(of_kind.requests), of_kind.limits, of_kind.apart is Apart.REMOVALS)


def _places(shares: Sequence[Share], concurrency: int) -> int:
    """Return how many requests are in flight at most: what must not run beside itself runs once for each app."""
    if all(share.apart for share in shares):
        return max(1, min(concurrency, len({share.app_id for share in shares})))
    return concurrency
