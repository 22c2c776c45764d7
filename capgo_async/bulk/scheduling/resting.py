"""When keys send and when they rest, so that all ends soonest: what a schedule asks, and what a forecast assumes.

A key is silent for `rest` seconds after every `key` requests at most (contract B2, fact 1); an app takes `app` of them in a
window. What a key sends between two silences is a period: with one window it lasts as long as its requests take, with each
further one a window longer. Which periods bring a job to its end soonest depends on what is left. Of several keys each can send
while others are silent; who has most periods and rests before it must not wait.
"""

import functools
import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import Final, NamedTuple

from ...windows import FEW

_MOST_WINDOWS: Final = 8
"""Windows in a period that are thought through: so many more requests does a key allow than an app."""
_SOONER: Final = 1e-6
_FULL_WINDOWS: Final = 2
"""One would do, if the fewest seconds were known exactly."""


class Rules(NamedTuple):
    """The limits of a key and of its apps, their times in seconds, and the seconds that each request adds to a burst.

    `app` is infinity where apps have no limit of their own.
    """

    key: float
    app: float
    rest: float
    window: float
    pace: float


def in_wholes(rules: Rules, each: int) -> Rules:
    """Return rules for operations of `each` requests, which begin only where an app takes all of them in its window."""
    return rules._replace(app=rules.app // each * each) if each <= rules.app < math.inf else rules


class BlockedKey(NamedTuple):
    """A key whose apps all wait: the requests `left` of each, `room` in the period, and the seconds to wait.

    `reopens_in` is when the first app may go on, `fresh_in` when the key has been silent if none does.
    """

    left: Sequence[float]
    room: float
    reopens_in: float
    fresh_in: float


def rests_early(key: BlockedKey, rules: Rules) -> bool:
    """Tell whether all ends sooner if the key is silent now, and starts a period instead of going on with this one."""
    # If two more windows fit whole, and none is waited for longer than a silence, the next one may as well leave before it.
    window = sum(min(left, rules.app) for left in key.left)
    if rules.rest >= rules.window and window * _FULL_WINDOWS <= key.room + FEW:
        return False
    resting = key.fresh_in + least_seconds(key.left, rules)
    return resting < min(_going_on(key, rules)) - _SOONER


class Prospect(NamedTuple):
    """What a key that may send has before it: what its apps have `left`, and `room` in its period."""

    left: Sequence[float]
    room: float
    rules: Rules

    @property
    def burst(self) -> float:
        """Return how many requests it can send now."""
        return min(sum(self.left), self.room)

    @property
    def opening(self) -> float:
        """Return how few it can send before it is silent, without having to be silent once more for it."""
        total = sum(self.left)
        return total - self.rules.key * max(0, _times(total, self.rules.key) - 1)

    def seconds(self) -> float:
        """Return how long it takes alone."""
        sent = self.burst
        if sent >= sum(self.left):
            return max(sent * self.rules.pace, least_seconds(self.left, self.rules))
        return sent * self.rules.pace + self.rules.rest + least_seconds(levelled(self.left, sent), self.rules)


def first_of(keys: Sequence[Prospect]) -> tuple[int, float]:
    """Return which of several keys sends first, and how much of its period at most.

    It is the one that takes longest. But another that would end later, if it waited for that, opens with so few requests that
    both are soon on their way, and rests while the first one sends.
    """
    seconds = [key.seconds() for key in keys]
    # Who has used most of its period may send less than it should; that counts where it is sent sooner than a silence lasts.
    openings = [min(key.opening, key.burst) for key in keys]
    longest = max(range(len(keys)), key=seconds.__getitem__)
    wait = keys[longest].burst * keys[longest].rules.pace
    for other in sorted(range(len(keys)), key=openings.__getitem__):
        key, opening = keys[other], openings[other]
        delayed = seconds[longest] + opening * key.rules.pace
        soon = opening < key.burst or opening * key.rules.pace < key.rules.rest
        if other != longest and soon and delayed < seconds[other] + wait - _SOONER:
            return other, opening if opening < key.burst else math.inf
    return longest, math.inf


def levelled(left: Sequence[float], amount: float, most_each: float = math.inf) -> list[float]:
    """Return what is left once `amount` requests are sent, always of who has most left, and `most_each` of one at most."""
    found = list(left)
    open_ = sorted(range(len(found)), key=found.__getitem__, reverse=True)
    while open_ and amount > 0:
        level = _level([found[index] for index in open_], amount)
        # Who has more to give than one may is done with that; the others share what is missing.
        bounded = [index for index in open_ if found[index] - level > most_each]
        for index in bounded or open_:
            found[index] = found[index] - most_each if bounded else min(found[index], level)
        if not bounded:
            break
        amount -= most_each * len(bounded)
        done = set(bounded)
        open_ = [index for index in open_ if index not in done]
    return found


def _level(falling: Sequence[float], amount: float) -> float:
    """Return the level to which the largest are brought down when so much is taken of them."""
    taken = 0.0
    for count, (one, following) in enumerate(pairwise((*falling, 0.0)), 1):
        step = (one - following) * count
        if taken + step >= amount:
            return one - (amount - taken) / count
        taken += step
    return 0.0


def _going_on(key: BlockedKey, rules: Rules) -> Iterator[float]:
    """Yield how long all takes with each number of further windows in this period."""
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
    """Return how long so many requests of each app take a key that was silent, in the best mixture of periods."""
    total, largest = sum(left), max(left, default=0.0)
    if total < 1 - FEW:
        return 0.0
    most = max(1, min(_MOST_WINDOWS, _times(rules.key, rules.app), _times(largest, rules.app)))
    kinds = range(1, most + 1)

    @functools.cache
    def hidden(further: int) -> float:
        # What leaves while windows are waited for adds nothing: so much of each app as they let pass before, and so much of the
        # key that something is left for the window.
        sent = sum(min(each, further * rules.app) for each in left) if further else 0.0
        return min(further * rules.window, min(sent, further * (rules.key - 1)) * rules.pace)

    # One kind of period is worth most, unless little is left: of another, only some fill up what remains.
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
    """Return how long it takes in periods of `main` windows, and so many `others` of `other` windows.

    `hidden` is how many seconds of sending fall into the wait for so many further windows.
    """
    main, other, others = mixture
    of_main, of_other = (min(windows * rules.app, rules.key) for windows in (main, other))
    mains = max(0, _times(largest - others * of_other, of_main), _times(total, rules.key) - others)
    periods = mains + others
    windows = mains * main + others * other
    last, of_last = (main, of_main) if mains else (other, of_other)
    # The last one has no more windows than it needs.
    behind = largest - (mains * of_main + others * of_other - of_last)
    windows -= last - max(1, min(last, _times(behind, rules.app)))
    further = windows - periods
    return (periods - 1) * rules.rest + further * rules.window + max(0.0, total * rules.pace - hidden(further))


def _times(requests: float, most: float) -> int:
    """Return how often `most` may be sent until all `requests` are."""
    return math.ceil((requests - FEW) / most)
