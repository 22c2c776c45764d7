"""The state of limits: which requests count, and when the next may leave (contract B).

A request counts from its departure until some time after its response.

Gates count single requests as they leave and as their responses arrive. Forecasts count bursts, whose responses they foresee.
A burst can be split among apps, so counts need not be whole numbers.

The file is longer than 300 lines because the three kinds of windows have the same methods and are read side by side.
"""

import copy
import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from typing import Final

from .models import BOUNDLESS, FixedWindow, Limiter, Period, SilenceWindow, SlidingWindow, allowance, held_for

FEW: Final = 1e-6
"""Fewer requests than this, or fewer seconds, are none: sums of fractions are not exact."""

Part = tuple[float, float]
"""A time, and a number of requests."""


class Sliding:
    """The state of a `SlidingWindow`: each request counts until `held` seconds after its response."""

    __slots__ = ("_counted", "_releases", "held", "in_flight", "limit", "limiter")

    def __init__(self, limiter: SlidingWindow | FixedWindow) -> None:
        self.limiter = limiter
        self.limit = allowance(limiter)
        self.held = held_for(limiter)
        self.in_flight: float = 0
        self._counted: float = 0
        """What is in flight, and what `_releases` holds."""
        self._releases: list[Part] = []
        """When responded requests stop to count, in order of time."""

    def used(self, now: float) -> float:
        """Return how many requests count."""
        releases = self._releases
        if releases and releases[0][0] <= now:
            gone = 0
            for at, count in releases:
                if at > now:
                    break
                gone += 1
                self._counted -= count
            del releases[:gone]
            if not releases:
                self._counted = self.in_flight
        return self._counted

    def room(self, now: float) -> float:
        """Return how many requests may leave."""
        return self.limit - self.used(now)

    def earliest(self, now: float) -> float:
        """Return when the next request may leave: `now`, or later; infinity while only a response can tell."""
        if self._counted < self.limit or self.used(now) < self.limit:
            return now
        return self._releases[0][0] if self._releases else math.inf

    def room_at(self, requests: float, now: float) -> float:
        """Return when that many requests may leave, or as many as the limit ever allows, as `earliest` does."""
        missing = self.used(now) + min(requests, self.limit) - self.limit
        if missing <= FEW:
            return now
        for at, count in self._releases:
            missing -= count
            if missing <= FEW:
                return at
        return math.inf

    def queue_at(self, requests: int, now: float) -> float:
        """Return when the last of that many requests may leave at the earliest, as `earliest` does for one."""
        whole, rest = divmod(requests - 1, self.limit)
        return self.room_at(rest + 1, now) + whole * self.held

    def sent(self, now: float, requests: float = 1) -> bool:
        """Count requests that leave now. Return whether the server starts to count anew with them."""
        rested = not (self._counted and self.used(now))
        self.in_flight += requests
        self._counted += requests
        return rested

    def answered(self, now: float, requests: float = 1) -> None:
        """Count the responses of requests that left before."""
        self.in_flight -= requests
        self._release(now + self.held, requests)

    def unsent(self) -> None:
        """Take back one request that never left, or that the server did not count."""
        self.in_flight -= 1
        self._counted -= 1

    def burst(self, now: float, requests: float, responses: Sequence[Part]) -> None:
        """Count requests that leave now, and their responses, which are to come at the times of `responses`."""
        self.used(now)
        self._counted += requests
        for at, count in responses:
            self._release(at + self.held, count)

    def refused(self, _until: float) -> float:
        """Take a refusal. The time at which the server starts anew teaches a sliding window nothing.

        Return how many requests were counted for it, 0 if that is not known.
        """
        return 0

    def seed(self, used: float, last: float) -> None:
        """Count what an earlier process used, the last of it at `last`."""
        count = min(used, self.limit)
        self._counted += count
        insort(self._releases, (last + self.held, count))

    def idle(self, now: float) -> bool:
        """Return whether nothing counts."""
        return not self.in_flight and (not self._releases or self._releases[-1][0] <= now)

    def shift(self, seconds: float) -> None:
        """Move everything that happened to a later time."""
        self._releases = [(at + seconds, count) for at, count in self._releases]

    def signature(self, now: float) -> tuple[float, ...]:
        """Return the state in times relative to `now`: what follows on equal states is equal."""
        return _rounded(number for at, count in self._releases for number in (at - now, count))

    def _release(self, at: float, requests: float) -> None:
        releases = self._releases
        if releases and releases[-1][0] >= at - FEW:
            last, before = releases[-1]
            releases[-1] = (max(last, at), before + requests)
        else:
            releases.append((at, requests))


class Fixed(Sliding):
    """The state of a `FixedWindow`: all requests of a window are forgotten together.

    The server opens a window with the first request that finds none. Which request that was is certain only after a rest: then
    the window was opened between the first departure and the first response. All that is answered before that window can have
    ended is forgotten with it. Anything later may have opened the next window.
    """

    __slots__ = ("_ends_after", "_ends_before")

    def __init__(self, limiter: FixedWindow) -> None:
        super().__init__(limiter)
        self._ends_after = -math.inf
        self._ends_before = math.inf

    def queue_at(self, requests: int, now: float) -> float:
        later = max(0, math.ceil(requests - self.room(now)) - 1)
        return self.room_at(requests, now) + later // self.limit * self.limiter.window

    def sent(self, now: float, requests: float = 1) -> bool:
        opens = self.idle(now)
        if opens:
            self._open(now)
        self.in_flight += requests
        self._counted += requests
        return opens

    def answered(self, now: float, requests: float = 1) -> None:
        self.in_flight -= requests
        self._release(self._forgotten_at(now), requests)

    def burst(self, now: float, requests: float, responses: Sequence[Part]) -> None:
        if self.idle(now):
            self._open(now)
        self._counted += requests
        at = self._forgotten_at(responses[0][0])
        if responses[-1][0] <= self._ends_after:
            self._release(at, requests)
            return
        for answered, count in responses:
            self._release(self._forgotten_at(answered), count)

    def refused(self, until: float) -> float:
        """Learn from a refusal that the server's window ends at `until`.

        Return how many requests would have counted until then or longer. If the beginning of the window was not known, these
        are the requests of this window.
        """
        counted = sum(count for _, count in self._releases[bisect_left(self._releases, (until, 0)) :])
        self._ends_after = self._ends_before = until
        self._releases = [(min(at, until), count) for at, count in self._releases]
        return counted

    def seed(self, used: float, last: float) -> None:
        super().seed(used, last)
        self._ends_after = -math.inf

    def shift(self, seconds: float) -> None:
        super().shift(seconds)
        self._ends_after += seconds
        self._ends_before += seconds

    def signature(self, now: float) -> tuple[float, ...]:
        ends = (self._ends_after - now, self._ends_before - now) if self._counted else ()
        return *super().signature(now), *_rounded(ends)

    def _open(self, now: float) -> None:
        self._releases.clear()
        self._counted = 0
        self._ends_after = now + self.limiter.window
        self._ends_before = math.inf

    def _forgotten_at(self, answered: float) -> float:
        """Return when a request counts no longer that was answered at that time."""
        at = answered + self.held
        self._ends_before = min(self._ends_before, at)
        return self._ends_before if answered <= self._ends_after else at


class Silence:
    """The state of a `SilenceWindow`: everything counts until a silence of `held` seconds.

    A silence is a time in which no request is sent or answered. The methods mean what those of `Sliding` mean.
    """

    __slots__ = ("_counted", "_last", "_spent", "bound", "held", "in_flight", "limit", "limiter")

    def __init__(self, limiter: SilenceWindow) -> None:
        self.limiter = limiter
        self.limit = allowance(limiter)
        self.held = held_for(limiter)
        self.bound = BOUNDLESS
        """How many requests other users of the key leave to this one, until the next silence."""
        self.in_flight: float = 0
        self._counted: float = 0
        self._spent = False
        """Whether the server refused a request."""
        self._last = -math.inf

    @property
    def fresh_at(self) -> float:
        """Time at which everything is forgotten, if nothing more is sent and nothing is in flight."""
        return self._last + self.held

    def used(self, now: float) -> float:
        """Return how many requests count; after a refusal at least as many as the model allows."""
        return 0 if self._has_rested(now) else self._counted

    def room(self, now: float) -> float:
        """Return how many requests may leave, whatever other users leave."""
        return self.limit - self.used(now)

    def earliest(self, now: float) -> float:
        if (self._counted < self.limit and self._counted < self.bound) or self._has_rested(now):
            return now
        return math.inf if self.in_flight else self.fresh_at

    def room_at(self, requests: float, now: float) -> float:
        if self.room(now) >= min(requests, self.limit) - FEW:
            return now
        return math.inf if self.in_flight else self.fresh_at

    def queue_at(self, requests: int, now: float) -> float:
        later = max(0, math.ceil(requests - self.room(now)) - 1)
        return self.room_at(requests, now) + later // self.limit * self.held

    def sent(self, now: float, requests: float = 1) -> bool:
        rested = self._has_rested(now)
        if rested:
            self._counted = 0
            self._spent = False
        self._last = max(self._last, now)
        self._counted += requests
        self.in_flight += requests
        return rested

    def answered(self, now: float, requests: float = 1) -> None:
        self.in_flight -= requests
        self._last = max(self._last, now)

    def unsent(self) -> None:
        self.in_flight -= 1
        if not self._spent:
            self._counted -= 1

    def burst(self, now: float, requests: float, responses: Sequence[Part]) -> None:
        if self._has_rested(now):
            self._counted = 0
        self._counted += requests
        self._last = max(self._last, responses[-1][0])

    def refused(self, _until: float) -> float:
        """Let nothing leave until a silence.

        Return how many requests were counted, 0 after an earlier refusal.
        """
        if self._spent:
            return 0
        counted, self._spent = self._counted, True
        self._counted = max(counted, self.limiter.requests)
        return counted

    def period(self, now: float) -> Period:
        """Return what counts since the last silence."""
        return Period(min(self.used(now), self.limit), self.limit, self.fresh_at)

    def seed(self, used: float, last: float) -> None:
        self._counted += used
        self._spent = self._spent or self._counted >= self.limiter.requests
        self._last = max(self._last, last)

    def idle(self, now: float) -> bool:
        return not self.in_flight and not self.used(now)

    def shift(self, seconds: float) -> None:
        self._last += seconds

    def signature(self, now: float) -> tuple[float, ...]:
        return _rounded((self.used(now), self._last - now))

    def _has_rested(self, now: float) -> bool:
        return not self.in_flight and now >= self._last + self.held and self._counted > 0


Window = Sliding | Silence


def window_of(limiter: Limiter) -> Window:
    """Return a window of `limiter` in which nothing counts."""
    match limiter:
        case SlidingWindow():
            return Sliding(limiter)
        case FixedWindow():
            return Fixed(limiter)
        case SilenceWindow():
            return Silence(limiter)


def closed_for(seconds: float) -> Window:
    """Return a window that is full for `seconds`, and never again."""
    window = Sliding(SlidingWindow(requests=BOUNDLESS, window=1.0, margin=0.0))
    window.seed(BOUNDLESS, seconds - window.held)
    return window


def silence_of(windows: Iterable[Window]) -> Silence | None:
    """Return the window of the limit that asks for silences, or `None` if no limit does."""
    return next((window for window in windows if isinstance(window, Silence)), None)


def seen_from(window: Window, now: float) -> Window:
    """Return a copy with times relative to `now`, as if all that is in flight were answered now."""
    seen = copy.copy(window)
    seen.shift(-now)
    if seen.in_flight:
        seen.answered(0.0, seen.in_flight)
    return seen


def _rounded(state: Iterable[float]) -> tuple[float, ...]:
    return tuple(round(number, 4) for number in state)
