"""When keys send and when they rest, so that a job ends as soon as possible.

Schedules and forecasts follow these rules. After at most `key` requests a key is silent for `rest` seconds (contract B2, fact
1). An app takes `app` requests in a window. What a key sends between two silences is a period. A period with one window lasts
as long as its requests take; each further window adds its own length. Which periods end a job soonest depends on what is left.
Of several keys, one can send while others are silent, and the key with most periods must not wait.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from ...limits.windows import FEW

_MOST_WINDOWS: Final = 8
"""Greatest number of app windows per period that is considered.

A key allows at most that many times the requests of an app.
"""
_FULL_WINDOWS: Final = 2
"""One would be enough if `least_seconds` were exact."""


class Rules(NamedTuple):
    """The limits of a key and of its apps, with times in seconds.

    `app` is infinity if apps have no limit of their own. Each request adds `pace` seconds to a burst.
    """

    key: float
    app: float
    rest: float
    window: float
    pace: float


def in_wholes(rules: Rules, each: int) -> Rules:
    """Return rules for operations of `each` requests.

    They start only if a window has room for all their requests.
    """
    return rules._replace(app=rules.app // each * each) if each <= rules.app < math.inf else rules


class BlockedKey(NamedTuple):
    """A key whose apps all wait: the requests `left` of each, and the `room` in the period.

    The first app may go on in `reopens_in` seconds. If none does, the key has been silent in `fresh_in` seconds.
    """

    left: Sequence[float]
    room: float
    reopens_in: float
    fresh_in: float


def rests_early(key: BlockedKey, rules: Rules) -> bool:
    """Return whether the job ends sooner if the key is silent now than if it goes on with this period."""
    # If two more whole windows fit, the next one may as well leave before the silence, unless it waits longer than that.
    window = sum(min(left, rules.app) for left in key.left)
    if rules.rest >= rules.window and window * _FULL_WINDOWS <= key.room + FEW:
        return False
    resting = key.fresh_in + least_seconds(key.left, rules)
    return resting < min(_going_on(key, rules)) - FEW


class Prospect(NamedTuple):
    """A key that may send: the requests `left` of each app, and the `room` in its period."""

    left: Sequence[float]
    room: float
    rules: Rules

    @property
    def burst(self) -> float:
        """How many requests it can send now."""
        return min(sum(self.left), self.room)

    @property
    def opening(self) -> float:
        """The fewest requests that it can send before a silence without needing one silence more."""
        total = sum(self.left)
        return total - self.rules.key * max(0, _times(total, self.rules.key) - 1)

    def seconds(self) -> float:
        """Return how many seconds it takes on its own."""
        sent = self.burst
        if sent >= sum(self.left):
            return max(sent * self.rules.pace, least_seconds(self.left, self.rules))
        return sent * self.rules.pace + self.rules.rest + least_seconds(levelled(self.left, sent), self.rules)


def first_of(keys: Sequence[Prospect]) -> tuple[int, float]:
    """Return the index of the key that sends first, and how many requests it sends at most.

    That is the key that takes longest. The exception is a key that would end even later if it waited: it goes first, with just
    the few requests that save it a silence, and rests while the longest key sends.
    """
    seconds = [key.seconds() for key in keys]
    # A key late in its period may send less than its opening. That still counts if it is sent sooner than a silence lasts.
    openings = [min(key.opening, key.burst) for key in keys]
    longest = max(range(len(keys)), key=seconds.__getitem__)
    wait = keys[longest].burst * keys[longest].rules.pace
    for other in sorted(range(len(keys)), key=openings.__getitem__):
        key, opening = keys[other], openings[other]
        delayed = seconds[longest] + opening * key.rules.pace
        soon = opening < key.burst or opening * key.rules.pace < key.rules.rest
        if other != longest and soon and delayed < seconds[other] + wait - FEW:
            return other, opening if opening < key.burst else math.inf
    return longest, math.inf


def levelled(left: Sequence[float], amount: float, most_each: float = math.inf) -> list[float]:
    """Return what is left after `amount` requests, always taken where most is left.

    At most `most_each` are taken of one.
    """
    floors = [max(0, each - most_each) for each in left]
    # The level sinks from the largest number on. It takes a number along from there down to its floor.
    steps = sorted([*((each, 1) for each in left), *((floor, -1) for floor in floors)], reverse=True)
    level, sinking = max(left, default=0), 0
    for at, change in steps:
        taken = (level - at) * sinking
        if sinking and taken >= amount:
            level -= amount / sinking
            break
        amount -= taken
        level = at
        sinking += change
    return [min(each, max(floor, level)) for each, floor in zip(left, floors, strict=True)]


def _going_on(key: BlockedKey, rules: Rules) -> Iterator[float]:
    """Yield the seconds until the end, for each number of further windows in this period."""
    left, room, at = list(key.left), key.room, key.reopens_in
    for _ in range(_MOST_WINDOWS):
        sent = min(room, sum(min(each, rules.app) for each in left))
        left, room = levelled(left, sent, rules.app), room - sent
        ends = at + sent * rules.pace
        if sum(left) < 1 - FEW:
            yield ends
            return
        yield ends + rules.rest + least_seconds(left, rules)
        if room < 1 - FEW:
            return
        at = max(at + rules.window, ends)


def least_seconds(left: Sequence[float], rules: Rules) -> float:
    """Return how many seconds a key takes after a silence, in the best mixture of periods."""
    total, largest = sum(left), max(left, default=0.0)
    if total < 1 - FEW:
        return 0.0
    most = max(1, min(_MOST_WINDOWS, _times(rules.key, rules.app), _times(largest, rules.app)))
    kinds = range(1, most + 1)

    @functools.cache
    def hidden(further: int) -> float:
        # Requests that leave during the wait for a window add no time: as many of each app as the windows before allow, and as
        # many of the key as leave something for the last window.
        sent = sum(min(each, further * rules.app) for each in left) if further else 0.0
        return min(further * rules.window, min(sent, further * (rules.key - 1)) * rules.pace)

    # One kind of period is the most efficient. Near the end, a few of another kind fill up what remains.
    best = min(kinds, key=lambda windows: (rules.rest + (windows - 1) * rules.window) / min(windows * rules.app, rules.key))
    return min(
        _seconds(total, largest, (main, other, others), rules, hidden)
        for main in {1, best, most}
        for other in kinds
        for others in range(most + 2 if other != main else 1)
    )


def _seconds(
    total: float, largest: float, mixture: tuple[int, int, int], rules: Rules, hidden: Callable[[int], float]
) -> float:
    """Return the seconds for periods of `main` windows, and `others` periods of `other` windows.

    `hidden` returns how many seconds of sending overlap the wait for that many further windows.
    """
    main, other, others = mixture
    of_main, of_other = (min(windows * rules.app, rules.key) for windows in (main, other))
    mains = max(0, _times(largest - others * of_other, of_main), _times(total, rules.key) - others)
    periods = mains + others
    windows = mains * main + others * other
    last, of_last = (main, of_main) if mains else (other, of_other)
    # The last period has no more windows than it needs.
    behind = largest - (mains * of_main + others * of_other - of_last)
    windows -= last - max(1, min(last, _times(behind, rules.app)))
    further = windows - periods
    return (periods - 1) * rules.rest + further * rules.window + max(0.0, total * rules.pace - hidden(further))


def _times(requests: float, most: float) -> int:
    """Return how many times `most` requests have to be sent until all are."""
    return math.ceil((requests - FEW) / most)
