"""Gates: for what was sent so far and a time, the earliest time at which one more request may go (contract B).

A gate never needs the server's clock. The server counts a request somewhere between its departure and its answer, so a request
is held against the limit from its departure on, and its window begins to run out at its answer. Past 300 lines because there
is a gate for each of three limiters, and what one forgets or learns the others must not.
"""

import enum
import math
from bisect import bisect_left, bisect_right
from collections import Counter
from typing import Final, NamedTuple

import msgspec

from .limits import (
    DEFAULT_SILENCE,
    FixedWindow,
    Limiter,
    SilenceWindow,
    SlidingWindow,
    allowance,
    held_for,
    without_headroom,
)
from .others import BOUNDLESS, Others, patience


class Period(NamedTuple):
    """What counts of a key since it was silent: `used` of `limit`, forgotten at `fresh_at` where nothing more is sent."""

    used: int
    limit: int
    fresh_at: float


_PERIODS_KEPT: Final = 10
"""How many times a learned limit passes in full before it is forgotten."""


class Fate(enum.Enum):
    """How an attempt ended, as far as limits are concerned."""

    PASSED = enum.auto()
    FAILED = enum.auto()
    """The server answered that it failed: counted like what passed, but a sign of trouble."""
    REFUSED = enum.auto()
    LOST = enum.auto()
    """No answer came."""
    ABANDONED = enum.auto()
    """Nobody waited for the answer."""
    UNSENT = enum.auto()


class _SlidingState:
    """Hold a slot for each request from its departure until a window after its answer."""

    def __init__(self, model: SlidingWindow | FixedWindow) -> None:
        self.limit = allowance(model)
        self._held = held_for(model)
        self._releases: list[float] = []
        self._in_flight = 0

    def earliest(self, now: float) -> float:
        if self._in_flight + len(self._releases) < self.limit or self.used(now) < self.limit:
            return now
        return self._releases[0] if self._releases else math.inf

    def room_at(self, requests: int, now: float) -> float:
        """Return when so many may go together, or as many as ever may."""
        missing = self.used(now) + min(requests, self.limit) - self.limit
        if missing <= 0:
            return now
        return self._releases[missing - 1] if missing <= len(self._releases) else math.inf

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
        del self._releases[: bisect_right(self._releases, now)]
        return self._in_flight + len(self._releases)

    def counting(self, now: float) -> list[tuple[float, int]]:
        self.used(now)
        in_flight = [(self._held, self._in_flight)] if self._in_flight else []
        return [*((at - now, count) for at, count in sorted(Counter(self._releases).items())), *in_flight]

    def seed(self, used: int, last: float) -> None:
        self._releases = sorted([*self._releases, *[last + self._held] * min(used, self.limit)])

    def idle(self, now: float) -> bool:
        return not self._in_flight and (not self._releases or self._releases[-1] <= now)


class _Lesson:
    """A limit, and what refusals before their time teach of it.

    One of them may come from what somebody else sends: only two periods that end at the same number teach it. That may still
    be chance, so the lesson is forgotten after a while: if it was right, learning it again costs one request.
    """

    def __init__(self, model: FixedWindow | SilenceWindow) -> None:
        self._most = model.requests
        self._headroom = model.headroom
        self.limit = self._most
        self.passed = 0
        self._kept = 0
        self._refused = False
        self._confirmed = False
        self._suspected = range(0)
        self.forgotten = False
        """Whether a limit that was learned or suspected proved too small."""

    @property
    def allowed(self) -> int:
        """Return how much of the limit is ours."""
        return without_headroom(self.limit, self._headroom) if self._headroom else self.limit

    @property
    def learned(self) -> int | None:
        """Return the limit that refusals taught, `None` while there is none."""
        return self.limit if self.limit < self._most else None

    def suspect(self, requests: int) -> None:
        """Take a number for the limit once one more period ends there."""
        self.forgotten = False
        self._suspected = range(requests, requests + 2)

    def recall(self, requests: int) -> None:
        """Begin with what an earlier process learned."""
        self.suspect(requests)
        self.limit = min(self.limit, requests)

    def begin(self) -> None:
        """Begin a period: the server counts from nothing, as far as this process can tell."""
        self.passed = 0
        self._refused = False

    def wary(self, in_flight: int) -> bool:
        """Tell whether to go one by one, near the number that was refused before, so that learning it costs one request."""
        return in_flight > 0 and self.passed + in_flight in self._suspected

    def answered(self, fate: Fate, in_flight: int) -> None:
        """Count an answer, `in_flight` others being out."""
        if fate is Fate.PASSED or fate is Fate.FAILED:
            self.passed += 1
            self._kept += 1
            if self._suspected and self.passed > self._suspected.stop:
                self._suspected = range(0)
                self.forgotten = True
        if not in_flight:
            self._conclude()

    def refused(self, in_flight: int, *, counted: int = BOUNDLESS) -> bool:
        """Note a refusal, `in_flight` being out, and tell whether a limit explains it.

        At most `counted` were still counted of what passed.
        """
        self.passed = min(self.passed, counted)
        # A limit lets something pass: what is refused at once shares its counter with somebody who did not pause.
        if not self._refused and 0 < self.passed < self.limit:
            self._refused = True
            self._confirmed = self.passed in self._suspected
            if not self._confirmed:
                self._suspected = range(self.passed, self.passed + in_flight + 2)
        explained = self._confirmed
        if not in_flight:
            self._conclude()
        return explained

    def _conclude(self) -> None:
        """Take what passed as the limit, once every answer of the period is in."""
        if self._confirmed:
            self.limit = min(self.limit, self.passed)
            self.suspect(self.limit)
            self._confirmed = False
            self._kept = 0
        elif self._kept >= _PERIODS_KEPT * self.limit:
            self.limit = self._most


class _FixedState(_SlidingState):
    """Mirror a window that the server opens with the first request that finds none open, and then forgets as a whole.

    Which request that was is certain only after a rest: then the window opened between the first departure and the first
    answer, and what was answered before it can have ended is forgotten with it. Anything later may have opened the next one.
    """

    def __init__(self, model: FixedWindow) -> None:
        super().__init__(model)
        self.lesson = _Lesson(model)
        self.limit = self.lesson.allowed
        self._window = model.window
        self._ends_after = -math.inf
        self._ends_before = math.inf

    def earliest(self, now: float) -> float:
        return math.inf if self.lesson.wary(self._in_flight) else super().earliest(now)

    def sent(self, now: float) -> None:
        if self.idle(now):
            self.lesson.begin()
            self._ends_after = now + self._window
            self._ends_before = math.inf
        self._in_flight += 1

    def answered(self, now: float, fate: Fate) -> None:
        self._in_flight -= 1
        if fate is not Fate.UNSENT:
            self._ends_before = min(self._ends_before, now + self._held)
            self._releases.append(self._ends_before if now <= self._ends_after else now + self._held)
        self.lesson.answered(fate, self._in_flight)
        self.limit = self.lesson.allowed

    def refused(self, until: float, *, learn: bool) -> None:
        """Take the server's word for when its window ends."""
        # Of a window that nobody knows the beginning of, that is what would be held beyond its end.
        counted = len(self._releases) - bisect_left(self._releases, until)
        self._ends_after = self._ends_before = until
        self._releases = [min(release, until) for release in self._releases]
        if learn:
            self.lesson.refused(self._in_flight, counted=counted or BOUNDLESS)
            self.limit = self.lesson.allowed

    def recall(self, requests: int) -> None:
        """Begin with what an earlier process learned."""
        self.lesson.recall(requests)
        self.limit = self.lesson.allowed

    def seed(self, used: int, last: float) -> None:
        super().seed(used, last)
        self._ends_after = -math.inf


class _SilenceState:
    """Mirror a counter that is forgotten only after a silence."""

    def __init__(self, model: SilenceWindow) -> None:
        self.lesson = _Lesson(model)
        self.others = Others(allowance(model))
        self._modelled = model.requests
        self._bound = BOUNDLESS
        self._rested = False
        self.rest = held_for(model)
        self._count = 0
        self._spent = False
        self._in_flight = 0
        self._last = -math.inf

    @property
    def limit(self) -> int:
        return self.lesson.allowed

    def earliest(self, now: float) -> float:
        rested = self._last + self.rest
        if self._count and not self._in_flight and now >= rested:
            self._begin()
        if (
            not self._spent
            and self._count < self.lesson.allowed
            and self._count < self._bound
            and not self.lesson.wary(self._in_flight)
        ):
            return now
        return math.inf if self._in_flight else rested

    def sent(self, now: float) -> None:
        self._last = max(self._last, now)
        self._count += 1
        self._in_flight += 1

    def answered(self, now: float, fate: Fate) -> None:
        self._in_flight -= 1
        if fate is Fate.UNSENT:
            self._count -= 1
        else:
            self._last = max(self._last, now)
        self.lesson.answered(fate, self._in_flight)

    def _begin(self) -> None:
        """Begin to count anew after a silence, within what others leave."""
        self._bound = self.others.begin(self.lesson.passed)
        self._count = 0
        self._spent = False
        self._rested = True
        self.lesson.begin()

    def refused(self, _until: float, *, learn: bool) -> None:
        first, self._spent = not self._spent, True
        if learn:
            explained = self.lesson.refused(self._in_flight)
            if first and self._rested and not explained:
                self.others.refused(self.lesson.passed, self._count)

    def recall(self, requests: int) -> None:
        """Begin with what an earlier process learned."""
        self.lesson.recall(requests)

    def used(self, now: float) -> int:
        self.earliest(now)
        return max(self._count, self._modelled) if self._spent else self._count

    def counting(self, now: float) -> list[tuple[float, int]]:
        used = self.used(now)
        left = self.rest if self._in_flight else self._last + self.rest - now
        return [(left, used)] if used else []

    def period(self, now: float) -> Period:
        used = self.used(now)
        return Period(used, used if self._spent else self.limit, self._last + self.rest)

    def seed(self, used: int, last: float) -> None:
        self._count += used
        self._spent = self._spent or self._count >= self._modelled
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
        self._limiters = list(limiters)
        self._states = [_state_of(limiter) for limiter in limiters]
        self._in_flight = 0
        self._alone = alone
        self._closed_until = -math.inf
        self._rest = 0.0
        self._probing = False
        self._probes_refused = 0
        self._others_noticed = False
        self.last = -math.inf

    def earliest(self, now: float) -> float:
        """Return when the next request may go: `now` or before, a later time, or infinity while only an answer can tell."""
        if self._in_flight and (self._alone or self._rest):
            return math.inf
        at = self._closed_until
        for state in self._states:
            at = max(at, state.earliest(now))
        return at

    def room_at(self, requests: int, now: float) -> float:
        """Return when so many requests may go one after the other without waiting for a window, as `earliest` does."""
        at = self.earliest(now)
        windows = (state.room_at(requests, now) for state in self._states if not isinstance(state, _SilenceState))
        return max((at, *windows))

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
        if self._alone and not self._rest:
            self._alone = self._probing = False
            self._probes_refused = 0

    def close(self, now: float, seconds: float, *, learn: bool = False) -> None:
        """Hold everybody back for `seconds`."""
        self._closed_until = max(self._closed_until, now + seconds)
        for state in self._states:
            state.refused(self._closed_until, learn=learn)

    def silence(self, now: float, seconds: float, *, learn: bool = False) -> None:
        """Hold everybody back until a silence since the last answer, then let one probe go (contract B2, fact 1).

        The silence is what the models say, 61 s without a model, and never shorter than `seconds`; longer where probe after
        probe is refused, because others keep the key's counter alive.
        """
        if self._probing and not self._rest:
            self._probes_refused += 1
            self._others_noticed = self._others_noticed or self._probes_refused > 1
        self._probing = True
        modelled = [state.rest for state in self._states if isinstance(state, _SilenceState)]
        asked = max(seconds, *(modelled or [DEFAULT_SILENCE]))
        self._rest = max(self._rest, asked * patience(self._probes_refused))
        self._alone = True
        self.close(now, self._rest, learn=learn)

    def recall(self, requests: int) -> None:
        """Begin with a limit that an earlier process learned."""
        for state in self._taught():
            state.recall(requests)

    def suspect(self, requests: int) -> None:
        """Begin with a limit that one refusal told an earlier process."""
        for state in self._taught():
            state.lesson.suspect(requests)

    def learned(self) -> int | None:
        """Return the smallest limit that refusals taught, `None` while there is none."""
        return min((state.lesson.learned for state in self._taught() if state.lesson.learned is not None), default=None)

    def forgot(self) -> bool:
        """Tell whether a limit that was learned or suspected proved too small."""
        return any(state.lesson.forgotten for state in self._taught())

    def _taught(self) -> list[_FixedState | _SilenceState]:
        return [state for state in self._states if isinstance(state, _FixedState | _SilenceState)]

    def others_noticed(self) -> bool:
        """Tell whether refusals were noticed that only somebody else's requests explain."""
        return self._others_noticed or any(isinstance(state, _SilenceState) and state.others.noticed for state in self._states)

    def restrict(self, now: float, limiter: Limiter) -> None:
        """Add a limiter that was learned from a refusal; what is in flight counts in it."""
        if limiter not in self._limiters:
            self._limiters.append(limiter)
            state = _state_of(limiter)
            for _ in range(self._in_flight):
                state.sent(now)
            self._states.append(state)

    def limits(self) -> tuple[int, ...]:
        """Return the requests that each limiter allows now, learned ones included."""
        return tuple(state.limit for state in self._states)

    def kept(self) -> tuple[Limiter, ...]:
        """Return the limiters as they are kept now: with what refusals taught, and without headroom.

        What is left to others is no part of them: it lasts a few periods.
        """
        both = zip(self._limiters, self._states, strict=True)
        return tuple(msgspec.structs.replace(limiter, requests=state.limit, headroom=0.0) for limiter, state in both)

    def used(self, now: float) -> int:
        """Return how many requests count against the limiters now."""
        return max((state.used(now) for state in self._states), default=0)

    def period(self, now: float) -> Period | None:
        """Return what counts until a silence, `None` where no limiter asks for one."""
        return next((state.period(now) for state in self._states if isinstance(state, _SilenceState)), None)

    def counting(self, now: float) -> tuple[list[tuple[float, int]], ...]:
        """Return what counts against each limiter: in how many seconds it is forgotten, when nothing is sent, and how much."""
        return tuple(state.counting(now) for state in self._states)

    def seed(self, used: int, last: float) -> None:
        """Take over what an earlier process counted, the last request at `last`."""
        self.last = max(self.last, last)
        for state in self._states:
            state.seed(used, last)

    def idle(self, now: float) -> bool:
        """Tell whether nothing would be lost by forgetting this gate."""
        return not self._in_flight and self._closed_until <= now and all(state.idle(now) for state in self._states)
