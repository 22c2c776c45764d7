"""Keys: which of several sends first, how much, and when it rests.

Schedules and forecasts share these decisions.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from ...limits.models import Period
from ...limits.windows import FEW, Silence, Sliding, Window
from .resting import BlockedKey, Prospect, Rules, first_of, rests_early


class Lane(Protocol):
    """The requests of one app, or of several."""

    @property
    def requests(self) -> float:
        """How many requests have yet to leave."""


class Key:
    """One key: the lanes of its apps, and the decisions about it."""

    lanes: Sequence[Lane]

    def __init__(self, lanes: Sequence[Lane], resting_until: float = -math.inf) -> None:
        self.lanes = lanes
        self.free = False
        """Whether it could send when the keys were last put in order."""
        self.quota = math.inf
        """How many requests may leave before it rests, whatever its limit."""
        self.resting_until = resting_until
        self.decided = -math.inf
        """The last opening of a window about which `rests_early` decided."""

    @property
    def requests(self) -> float:
        return sum(lane.requests for lane in self.lanes)

    def left(self) -> list[float]:
        """Return how many requests have yet to leave, for each lane that has any."""
        return [lane.requests for lane in self.lanes if lane.requests > FEW]

    def prospect(self, room: float, rules: Rules) -> Prospect:
        return Prospect(self.left(), max(1.0, room), rules)

    def rests_until(self, at: float) -> None:
        """Let it rest until that time, because its quota is used up."""
        self.quota, self.resting_until = math.inf, at

    def rests_early(self, opens_at: float, now: float, period: Period | None, rules: Rules | None) -> bool:
        """Begin a silence if that is better than waiting for `opens_at`, and return whether it began."""
        self.decided = opens_at
        if period is None or rules is None or rules.app == math.inf:
            return False
        blocked = BlockedKey(self.left(), period.limit - period.used, opens_at - now, period.fresh_at - now)
        if not rests_early(blocked, rules):
            return False
        self.resting_until = period.fresh_at
        return True


K = TypeVar("K", bound=Key)


def first_to_send(keys: Sequence[K], prospects: Iterable[Prospect | None]) -> K:
    """Return the one of `keys`, which may all send, that goes first.

    If there are several and each has a prospect, this also sets the key's quota.
    """
    known = [prospect for prospect in prospects if prospect is not None]
    if len(keys) == 1 or len(known) < len(keys):
        return max(keys, key=lambda key: key.requests)
    index, quota = first_of(known)
    keys[index].quota = quota
    return keys[index]


def rules_of(silence: Silence, app: Iterable[Window], pace: float) -> Rules:
    """Return the limits of a key that has to be silent, and of an app."""
    of_app, held = min(((window.limit, window.held) for window in app if isinstance(window, Sliding)), default=(math.inf, 0.0))
    return Rules(silence.limit, of_app, silence.held, held, pace)
