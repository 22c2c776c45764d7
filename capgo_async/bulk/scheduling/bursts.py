"""The gates for counts: how many requests may leave, and when more may, for bursts that are sent and answered as a whole.

What holds of single requests in `gates` holds here of parts of a burst, each with the time of its answers. Times are seconds
from the start of a forecast; counts are floating-point numbers, for a burst is shared out among apps.
"""

import math
from collections import deque
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from ...limits import FixedWindow, Limiter, SilenceWindow, SlidingWindow, allowance, held_for

FEW: Final = 1e-6
"""Less than this is no request and no time."""

Part = tuple[float, float]
"""A moment, and how many requests."""


class Burst(NamedTuple):
    """Requests that leave together, by the times of their answers, and the share of them that counts."""

    parts: Sequence[Part]
    requests: float
    share: float = 1.0


class Silence:
    """Counts until a silence, as `SilenceWindow` says."""

    def __init__(self, model: SilenceWindow) -> None:
        self.limit = allowance(model)
        self.rest = held_for(model)
        self._count = 0.0
        self._last = -math.inf

    def seed(self, used: float, last: float) -> None:
        """Count what was used before, the last of it at `last`."""
        self._count += used
        self._last = max(self._last, last)

    def take(self, counting: Iterable[Part]) -> None:
        """Count what counts now, each part until its moment."""
        for until, count in counting:
            self.seed(count, until - self.rest)

    def free(self, now: float) -> float:
        """Return how many requests may leave."""
        if now >= self._last + self.rest - FEW:
            self._count = 0.0
        return self.limit - self._count

    def frees_at(self) -> float:
        """Return when more may leave, where none may now."""
        return self._last + self.rest

    def sent(self, _now: float, burst: Burst) -> None:
        """Count a burst by the times of its answers."""
        self._count += burst.requests * burst.share
        self._last = burst.parts[-1][0]

    def since(self, now: float) -> tuple[float, ...]:
        """Return the state, in times from `now` on: where it is the same again, the same follows."""
        return _rounded((self._count, self._last - now))

    def shift(self, seconds: float) -> None:
        """Let everything have happened later."""
        self._last += seconds

    def most_within(self, seconds: float) -> float:
        """Return how many requests count at most against a limit that counts each for so many seconds after its answer."""
        return self.limit * math.ceil(seconds / self.rest)


class Sliding:
    """Counts each request for a window after its answer, as `SlidingWindow` says."""

    def __init__(self, model: SlidingWindow | FixedWindow) -> None:
        self.limit = allowance(model)
        self.held = held_for(model)
        self._releases: deque[tuple[float, float]] = deque()
        self._count = 0.0

    def seed(self, used: float, last: float) -> None:
        """Count what was used before, the last of it at `last`."""
        self._releases = deque(sorted([*self._releases, (last + self.held, used)]))
        self._count += used

    def take(self, counting: Iterable[Part]) -> None:
        """Count what counts now, each part until its moment."""
        for until, count in counting:
            self._add(until, count)

    def free(self, now: float) -> float:
        """Return how many requests may leave."""
        while self._releases and self._releases[0][0] <= now + FEW:
            self._count -= self._releases.popleft()[1]
        if not self._releases:
            self._count = 0.0
        return self.limit - self._count

    def frees_at(self) -> float:
        """Return when more may leave, where none may now."""
        return self._releases[0][0]

    def sent(self, _now: float, burst: Burst) -> None:
        """Count a burst by the times of its answers."""
        for at, count in burst.parts:
            self._add(at + self.held, count * burst.share)

    def since(self, now: float) -> tuple[float, ...]:
        """Return the state, in times from `now` on."""
        return _rounded(each for at, count in self._releases for each in (at - now, count))

    def shift(self, seconds: float) -> None:
        """Let everything have happened later."""
        self._releases = deque((at + seconds, count) for at, count in self._releases)

    def most_within(self, seconds: float) -> float:
        """Return how many requests count at most against a limit that counts each for so many seconds after its answer."""
        return self.limit * math.ceil(seconds / self.held)

    def _add(self, at: float, count: float) -> None:
        if self._releases and self._releases[-1][0] >= at - FEW:
            last, before = self._releases.pop()
            self._releases.append((last, before + count))
        else:
            self._releases.append((at, count))
        self._count += count


class Fixed(Sliding):
    """Forgets a window as a whole where it was opened after a rest, as the gate of `FixedWindow` does."""

    def __init__(self, model: FixedWindow) -> None:
        super().__init__(model)
        self.window = model.window
        self._ends_after = -math.inf
        self._ends_before = math.inf

    def take(self, counting: Iterable[Part]) -> None:
        """Count what counts now; what is forgotten at one moment stands in a window that is open."""
        super().take(counting)
        # What is under way counts for the longest, whenever the window ends.
        answered = [at for at, _ in self._releases if at < self.held - FEW]
        if len(answered) == 1:
            self._ends_before = answered[0]
            self._ends_after = self._ends_before - self.held + self.window

    def sent(self, now: float, burst: Burst) -> None:
        """Count a burst that begins `now`; it opens a window where none is open."""
        if not self._count:
            self._ends_after, self._ends_before = now + self.window, math.inf
        self._ends_before = min(self._ends_before, burst.parts[0][0] + self.held)
        if burst.parts[-1][0] <= self._ends_after:
            self._add(self._ends_before, burst.requests * burst.share)
            return
        for at, count in burst.parts:
            self._add(self._ends_before if at <= self._ends_after else at + self.held, count * burst.share)

    def since(self, now: float) -> tuple[float, ...]:
        """Return the state, in times from `now` on."""
        return *super().since(now), *_rounded((self._ends_after - now, self._ends_before - now) if self._count else ())

    def shift(self, seconds: float) -> None:
        """Let everything have happened later."""
        super().shift(seconds)
        self._ends_after += seconds
        self._ends_before += seconds


Model = Silence | Sliding


def model_of(limiter: Limiter) -> Model:
    """Return what counts as `limiter` does."""
    match limiter:
        case SlidingWindow():
            return Sliding(limiter)
        case FixedWindow():
            return Fixed(limiter)
        case SilenceWindow():
            return Silence(limiter)


def _rounded(state: Iterable[float]) -> tuple[float, ...]:
    return tuple(round(number, 4) for number in state)
