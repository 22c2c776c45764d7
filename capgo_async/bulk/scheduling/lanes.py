"""What a key and its apps have before them in a forecast, by counts: the lanes of `schedule`, without the operations."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Final

from .bursts import FEW, Model, Silence, Sliding
from .resting import Prospect, Rules, Standing, in_wholes

_FULL_WINDOWS: Final = 2
"""One would do, were the fewest seconds of a schedule known exactly."""


class Lane:
    """What one app has left, or all apps of a key that no limit of their own slows down."""

    __slots__ = ("each", "left", "models")

    def __init__(self, left: float, models: Sequence[Model], each: int = 1) -> None:
        self.models = models
        self.each = min((each, *(model.limit for model in models)))
        # An operation that no window takes whole has whole windows for itself: the next one begins where all of one is free.
        self.left = left * math.ceil(each / self.each) * self.each / each

    def free(self, now: float) -> float:
        """Return how many requests may leave, of operations that begin only where all of theirs may."""
        free = min((model.free(now) for model in self.models), default=math.inf)
        return free if self.each == 1 or free == math.inf else math.floor(free / self.each + FEW) * self.each

    def opens_at(self, now: float) -> float:
        """Return when one may, `now` where one may now."""
        return max((model.frees_at() for model in self.models if model.free(now) < self.each - FEW), default=now)


class Key:
    """The lanes of one key, with the models of its limits."""

    __slots__ = ("aside", "decided", "free_before", "lanes", "models", "quota", "resting_until")

    def __init__(
        self, models: Sequence[Model], lanes: list[Lane], resting_until: float = -math.inf, aside: Sequence[Lane] = ()
    ) -> None:
        self.aside = aside
        """The apps that send as one lane, because no limit of theirs slows them down; with what each has left at first."""
        self.models = models
        self.lanes = lanes
        self.quota = math.inf
        self.free_before = False
        self.resting_until = resting_until
        self.decided = -math.inf

    @property
    def left(self) -> float:
        """Return how many requests it has before it."""
        return sum(lane.left for lane in self.lanes)

    @property
    def silence(self) -> Silence | None:
        """Return the limit that asks for silence, if one does."""
        return next((model for model in self.models if isinstance(model, Silence)), None)

    def free(self, now: float) -> float:
        """Return how many requests may leave, whichever app they are of."""
        return min((model.free(now) for model in self.models), default=math.inf)

    def prospect(self, now: float, pace: float) -> Prospect | None:
        """Return what it has before it, `None` where no limit asks for silence."""
        rules = self.rules(pace)
        return None if rules is None else Prospect([lane.left for lane in self.lanes], max(1.0, self.free(now)), rules)

    def rules(self, pace: float) -> Rules | None:
        """Return its limits and those of its apps, where one of them asks for silence."""
        silence = self.silence
        if silence is None:
            return None
        windows = [model for model in self.lanes[0].models if isinstance(model, Sliding)]
        app, window = min(((model.limit, model.held) for model in windows), default=(math.inf, 0.0))
        return in_wholes(Rules(silence.limit, app, silence.rest, window, pace), self.lanes[0].each)

    def group(self, now: float) -> tuple[list[Lane], float] | None:
        """Return the lanes that send now, those with most left of all that may, and to what they are brought down."""
        if now < self.resting_until - FEW or self.free(now) < 1 - FEW:
            return None
        open_ = sorted(
            (lane for lane in self.lanes if lane.left > FEW and lane.free(now) >= 1 - FEW), key=lambda lane: -lane.left
        )
        if not open_:
            return None
        top = open_[0].left
        group = list(itertools.takewhile(lambda lane: lane.left > top - 1, open_))
        return group, open_[len(group)].left if len(group) < len(open_) else 0.0

    def all_models(self) -> Iterator[Model]:
        """Yield the models of its limits and of those of its apps."""
        yield from self.models
        for lane in self.lanes:
            yield from lane.models


def may_rest_early(standing: Standing, rules: Rules) -> bool:
    """Tell whether it is worth thinking about: not where so many windows pass in full and none is waited for any longer.

    Whatever is sent after the silence, its first window may as well leave before it. So it is thought about some times in a
    period, however many windows that has.
    """
    window = sum(min(left, rules.app) for left in standing.left)
    return rules.rest < rules.window or window * _FULL_WINDOWS > standing.room + FEW
