"""Gates: for what was sent so far and a time, the earliest time at which one more request may go (contract B).

A gate never needs the server's clock. The server counts a request somewhere between its departure and its answer, so a request
is held against the limit from its departure on, and its window begins to run out at its answer.
"""

import enum
import math
from collections import deque

from .limits import DEFAULT_SILENCE, FixedWindow, Limiter, SilenceWindow, SlidingWindow, safety_margin


class Fate(enum.Enum):
    """How an attempt ended, as far as limits are concerned."""

    PASSED = enum.auto()
    REFUSED = enum.auto()
    LOST = enum.auto()
    UNSENT = enum.auto()


class _SlidingState:
    """Hold a slot for each request from its departure until a window after its answer."""

    def __init__(self, model: SlidingWindow) -> None:
        self.limit = model.requests
        self._held = model.window + (safety_margin(model.window) if model.margin is None else model.margin)
        self._releases: deque[float] = deque()
        self._in_flight = 0

    def earliest(self, now: float) -> float:
        releases = self._releases
        while releases and releases[0] <= now:
            releases.popleft()
        if self._in_flight + len(releases) < self.limit:
            return now
        return releases[0] if releases else math.inf

    def sent(self, _now: float) -> None:
        self._in_flight += 1

    def answered(self, now: float, fate: Fate) -> None:
        self._in_flight -= 1
        if fate is not Fate.UNSENT:
            self._releases.append(now + self._held)

    def refused(self, _until: float, *, learn: bool) -> None:
        """Keep the model: a rate that the user set is not learned."""
        del learn

    def used(self, now: float) -> int:
        self.earliest(now)
        return self._in_flight + len(self._releases)

    def seed(self, used: int, last: float) -> None:
        self._releases.extendleft([last + self._held] * min(used, self.limit))

    def idle(self, now: float) -> bool:
        return not self._in_flight and self.earliest(now) <= now and not self._releases


class _CountingState:
    """Count a period's requests, and learn the limit when one is refused before the model expects it.

    Only a period that began after a rest which this process observed teaches anything: an early refusal before that first
    means that somebody else used the limit up.
    """

    def __init__(self, limit: int, window: float, margin: float | None) -> None:
        self.limit = limit
        self._window = window
        self._held = window + (safety_margin(window) if margin is None else margin)
        self._count = 0
        self._passed = 0
        self._in_flight = 0
        self._observed = False
        self._learning = False
        self._suspected: range = range(0)

    def _begin(self, *, carried: int = 0) -> None:
        self._count = self._in_flight + carried
        self._passed = carried
        self._observed = True

    def _open(self) -> bool:
        # Near the number that was refused before, go one by one, so that learning the limit costs one request.
        suspicious = self._passed + self._in_flight in self._suspected and self._in_flight > 0
        return self._count < self.limit and not suspicious

    def _count_answer(self, fate: Fate) -> None:
        self._in_flight -= 1
        if fate is Fate.UNSENT:
            self._count -= 1
        elif fate is Fate.PASSED:
            self._passed += 1
        self._learn_when_quiet()

    def _note_refusal(self, *, learn: bool) -> None:
        if learn and self._observed:
            self._learning = True
        elif learn and not self._suspected:
            self._suspected = range(self._passed, self._passed + self._in_flight + 2)
        self._count = max(self._count, self.limit)
        self._learn_when_quiet()

    def _learn_when_quiet(self) -> None:
        """Take what passed as the limit, once every answer of the period is in."""
        if self._learning and not self._in_flight:
            self.limit = max(1, min(self.limit, self._passed))
            self._learning = False
            self._suspected = range(0)


class _FixedState(_CountingState):
    """Mirror a window that the server opened somewhere between the first departure and the first answer."""

    def __init__(self, model: FixedWindow) -> None:
        super().__init__(model.requests, model.window, model.margin)
        self._opened_after = -math.inf
        self._ends_before = math.inf
        self._late = 0

    def earliest(self, now: float) -> float:
        if now >= self._ends_before:
            self._roll()
        return now if self._open() else self._ends_before

    def _roll(self) -> None:
        # What was answered after the server may have opened its next window counts in that one, too.
        self._begin(carried=self._late)
        self._opened_after = self._opened_after + self._window if self._count else -math.inf
        self._ends_before = math.inf
        self._late = 0

    def sent(self, now: float) -> None:
        if not self._count:
            self._opened_after = now
        self._count += 1
        self._in_flight += 1

    def answered(self, now: float, fate: Fate) -> None:
        if fate is not Fate.UNSENT:
            if now > self._opened_after + self._window:
                self._late += 1
            self._ends_before = min(self._ends_before, now + self._held)
        self._count_answer(fate)

    def refused(self, until: float, *, learn: bool) -> None:
        self._note_refusal(learn=learn)
        self._ends_before = until

    def used(self, now: float) -> int:
        self.earliest(now)
        return self._count

    def seed(self, used: int, last: float) -> None:
        self._opened_after = last if not self._count else min(last, self._opened_after)
        self._count += min(used, self.limit)
        self._ends_before = max(last + self._held, -math.inf if math.isinf(self._ends_before) else self._ends_before)

    def idle(self, now: float) -> bool:
        return not self._in_flight and (not self._count or now >= self._ends_before)


class _SilenceState(_CountingState):
    """Mirror a counter that is forgotten only after a silence."""

    def __init__(self, model: SilenceWindow) -> None:
        super().__init__(model.requests, model.window, model.margin)
        self.rest = self._held
        self._last = -math.inf

    def earliest(self, now: float) -> float:
        rested = self._last + self._held
        if self._count and not self._in_flight and now >= rested:
            self._begin()
        if self._open():
            return now
        return math.inf if self._in_flight else rested

    def sent(self, now: float) -> None:
        self._last = max(self._last, now)
        self._count += 1
        self._in_flight += 1

    def answered(self, now: float, fate: Fate) -> None:
        if fate is not Fate.UNSENT:
            self._last = max(self._last, now)
        self._count_answer(fate)

    def refused(self, _until: float, *, learn: bool) -> None:
        self._note_refusal(learn=learn)

    def used(self, now: float) -> int:
        self.earliest(now)
        return self._count

    def seed(self, used: int, last: float) -> None:
        self._count += used
        self._last = max(self._last, last)

    def idle(self, now: float) -> bool:
        return not self._in_flight and self.earliest(now) <= now and not self._count


_State = _SlidingState | _FixedState | _SilenceState


def _state_of(limiter: Limiter) -> _State:
    match limiter:
        case SlidingWindow():
            return _SlidingState(limiter)
        case FixedWindow():
            return _FixedState(limiter)
        case SilenceWindow():
            return _SilenceState(limiter)


class Gate:
    """Hold requests of one scope back: by its limiters, by a closing, and by going alone until proven."""

    def __init__(self, limiters: tuple[Limiter, ...] = (), *, alone: bool = False) -> None:
        self._states = [_state_of(limiter) for limiter in limiters]
        self._in_flight = 0
        self._alone = alone
        self._closed_until = -math.inf
        self._rest = 0.0
        self._learned: list[Limiter] = []
        self.last = -math.inf

    def earliest(self, now: float) -> float:
        """Return when the next request may go: `now` or before, a later time, or infinity while only an answer can tell."""
        if self._in_flight and (self._alone or self._rest):
            return math.inf
        at = self._closed_until
        for state in self._states:
            at = max(at, state.earliest(now))
        return at

    def sent(self, now: float) -> None:
        """Count one request that leaves now."""
        self.last = now
        self._in_flight += 1
        self._rest = 0.0
        for state in self._states:
            state.sent(now)

    def answered(self, now: float, fate: Fate) -> None:
        """Count its end."""
        self.last = now
        self._in_flight -= 1
        for state in self._states:
            state.answered(now, fate)
        if self._rest and fate is not Fate.UNSENT:
            self._closed_until = max(self._closed_until, now + self._rest)

    def prove(self) -> None:
        """Let requests go together from now on: the server accepted one that went alone.

        While a silence is awaited, an answer to what left before proves nothing.
        """
        if not self._rest:
            self._alone = False

    def close(self, now: float, seconds: float, *, learn: bool = False) -> None:
        """Hold everybody back for `seconds`."""
        self._closed_until = max(self._closed_until, now + seconds)
        for state in self._states:
            state.refused(self._closed_until, learn=learn)

    def silence(self, now: float, seconds: float, *, learn: bool = False) -> None:
        """Hold everybody back until a silence since the last answer, then let one probe go (contract B2, fact 1).

        The silence is what the models say, 61 s without a model, and never shorter than `seconds`.
        """
        modelled = [state.rest for state in self._states if isinstance(state, _SilenceState)]
        self._rest = max(seconds, self._rest, *(modelled or [DEFAULT_SILENCE]))
        self._alone = True
        self.close(now, self._rest, learn=learn)

    def restrict(self, now: float, limiter: Limiter) -> None:
        """Add a limiter that was learned from a refusal; what is in flight counts in it."""
        if limiter not in self._learned:
            self._learned.append(limiter)
            state = _state_of(limiter)
            for _ in range(self._in_flight):
                state.sent(now)
            self._states.append(state)

    def limits(self) -> tuple[int, ...]:
        """Return the requests that each limiter allows now, learned ones included."""
        return tuple(state.limit for state in self._states)

    def used(self, now: float) -> int:
        """Return how many requests count against the limiters now."""
        return max((state.used(now) for state in self._states), default=0)

    def seed(self, used: int, last: float) -> None:
        """Take over what an earlier process counted, the last request at `last`."""
        self.last = max(self.last, last)
        for state in self._states:
            state.seed(used, last)

    def idle(self, now: float) -> bool:
        """Tell whether nothing would be lost by forgetting this gate."""
        return not self._in_flight and self._closed_until <= now and all(state.idle(now) for state in self._states)
