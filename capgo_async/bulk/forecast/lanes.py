"""Keys and lanes of a forecast: numbers of requests, and windows of the forecast's own."""

import itertools
import math
from collections.abc import Iterator, Sequence

from ...limits.windows import FEW, Window, silence_of
from ..schedule.keys import Key, rules_of
from ..schedule.resting import Prospect, Rules, in_wholes


class CountedLane:
    """The remaining requests of one app, or of all apps whose own limits do not slow them down."""

    def __init__(self, requests: float, windows: Sequence[Window], each: int = 1) -> None:
        self.windows = windows
        self.each = min((each, *(window.limit for window in windows)))
        # An operation larger than a window takes whole windows to itself: the next one starts when a whole window is free.
        self.requests = requests * math.ceil(each / self.each) * self.each / each

    def room(self, now: float) -> float:
        """Return how many requests may leave. An operation starts only if there is room for all its requests."""
        room = min((window.room(now + FEW) for window in self.windows), default=math.inf)
        return room if self.each == 1 or room == math.inf else math.floor(room / self.each + FEW) * self.each


class CountedKey(Key):
    """The lanes of one key, and the windows of its limits."""

    lanes: Sequence[CountedLane]

    def __init__(
        self,
        windows: Sequence[Window],
        lanes: Sequence[CountedLane],
        resting_until: float = -math.inf,
        aside: Sequence[CountedLane] = (),
    ) -> None:
        super().__init__(lanes, resting_until)
        self.windows = windows
        self.aside = aside
        """Apps that send as one lane, because no limit of their own slows them down.

        Each has the requests that it had at first.
        """

    def room(self, now: float) -> float:
        """Return how many requests may leave, of whichever app."""
        return min((window.room(now + FEW) for window in self.windows), default=math.inf)

    def ahead(self, now: float, pace: float) -> Prospect | None:
        """Return its prospect, or `None` if it has no silence window."""
        rules = self.rules(pace)
        return None if rules is None else self.prospect(self.room(now), rules)

    def rules(self, pace: float) -> Rules | None:
        """Return its limits and those of its apps, or `None` if it need not be silent."""
        silence, lane = silence_of(self.windows), self.lanes[0]
        return None if silence is None else in_wholes(rules_of(silence, lane.windows, pace), lane.each)

    def group(self, now: float) -> tuple[list[CountedLane], float] | None:
        """Return the open lanes with most requests left, and the number that they are brought down to."""
        if now < self.resting_until - FEW or self.room(now) < 1 - FEW:
            return None
        open_ = sorted(
            (lane for lane in self.lanes if lane.requests > FEW and lane.room(now) >= 1 - FEW), key=lambda lane: -lane.requests
        )
        if not open_:
            return None
        top = open_[0].requests
        group = list(itertools.takewhile(lambda lane: lane.requests > top - 1, open_))
        return group, open_[len(group)].requests if len(group) < len(open_) else 0.0

    def all_windows(self) -> Iterator[Window]:
        """Yield the windows of its limits and of those of its apps."""
        yield from self.windows
        for lane in self.lanes:
            yield from lane.windows


def opens_at(windows: Sequence[Window], requests: int, now: float) -> float:
    """Return when that many requests may leave, `now` if they may now."""
    at = max((window.room_at(requests, now + FEW) for window in windows), default=now)
    return at if at > now + FEW else now
