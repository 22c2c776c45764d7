"""Forecasts: how long the rest of a job takes, computed in bursts of requests.

All requests of a leg are assumed to have the same latency, so they leave in rounds of as many as may be in flight. A burst is
shared evenly among the apps with most requests left, until a limit is full or the next app has as many left. `schedule` does
the same one request at a time. Whatever repeats itself is skipped.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec

from ..schedule.resting import levelled
from ..schedule.share import Share, calls_of
from ..spreading import APPS_AT_ONCE, cursors_among
from .line import Line, Outlook

MOST_TIMES: Final = 10
"""Requests that were never measured take at most this many times as long as others: writes are slow."""
_SURE: Final = 0.01
"""A smaller error of the latency is not worth a second forecast."""
_IN_TURN: Final = 9
"""Pages of an app that are read one after the other, before and during its split."""


class Leg(NamedTuple):
    """One wave, or a whole job without waves: the share of each app.

    Then `looks` are read to verify it, several apps at once, and the wave bakes for `rest` seconds.
    """

    shares: Sequence[Share]
    looks: Sequence[Share] = ()
    rest: float = 0.0


class Foreseen(NamedTuple):
    """A forecast: `seconds` until the end, or up to `more` seconds longer, as far as latencies are known."""

    seconds: float
    more: float = 0.0


def foreseen(legs: Sequence[Leg], outlook: Outlook) -> Foreseen:
    """Return the time until the last response, and how sure that is."""
    seconds = seconds_of(legs, outlook)
    calls = calls_of(share for leg in legs for share in (*leg.shares, *leg.looks))
    found = [outlook.timings.get(kind) for kind in calls]
    if all(timing is not None and timing.error() <= _SURE * timing.seconds for timing in found):
        return Foreseen(seconds)
    slower = {
        kind: msgspec.structs.replace(timing, seconds=timing.seconds + timing.error())
        for kind, timing in outlook.timings.items()
    }
    at_most = seconds_of(legs, outlook._replace(timings=slower, latency=MOST_TIMES * outlook.latency))
    return Foreseen(seconds, max(0.0, at_most - seconds))


def seconds_of(legs: Iterable[Leg], outlook: Outlook) -> float:
    """Return the seconds until the last response, if all goes well."""
    line = Line(outlook)
    for leg in legs:
        if leg.shares:
            line.send(leg.shares, _places(leg.shares, outlook.concurrency))
        line.outlast(outlook.held_up_for)
        if leg.looks:
            line.send(leg.looks, _readers(leg.looks, outlook.concurrency))
        line.rest(leg.rest)
    return line.now


def _readers(looks: Sequence[Share], concurrency: int) -> int:
    """Return how many pages are read at once on average, over several apps and several cursors."""
    cursors = cursors_among(concurrency, len(looks))
    pages = [look.requests for look in looks]
    rounds = max(min(each, _IN_TURN) + math.ceil(max(0, each - _IN_TURN) / cursors) for each in pages)
    return max(1, min(APPS_AT_ONCE * cursors, concurrency, round(sum(pages) / max(1, rounds))))


def without_first(
    legs: Iterable[Leg], settled: int, baking: float | None = None, waiting: Mapping[str, int] | None = None
) -> list[Leg]:
    """Return what is left of `legs` after `settled` operations.

    Of a bake that is under way, `baking` seconds are left. `waiting` is the number of operations of each app that have yet to
    leave in the current leg. Without it, the apps with most operations are assumed to have sent theirs first.
    """
    # Only the leg under way has waiting operations: while a leg is verified or bakes, nothing waits.
    begun = waiting is not None and any(waiting.values())
    left: list[Leg] = []
    ending: Leg | None = None
    for leg in legs:
        operations = sum(share.operations for share in leg.shares)
        if settled >= operations:
            # Only the start of the next leg shows that this one is verified and has baked.
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


def _places(shares: Sequence[Share], concurrency: int) -> int:
    """Return how many requests are in flight at most.

    Operations that must not overlap run one at a time for each app.
    """
    if all(share.apart for share in shares):
        return max(1, min(concurrency, len({share.app_id for share in shares})))
    return concurrency
