"""Gates: the earliest time at which the next request of a scope may leave (contract B)."""

import math
from collections.abc import Iterable

from .known import KnownLimit
from .lesson import Lesson, SilenceLesson, lessons_of
from .models import DEFAULT_SILENCE, Fate, Limiter
from .other_users import patience
from .windows import Window, silence_of, window_of


class Gate:
    """Hold back the requests of one scope while its windows are full or the server closed it."""

    __slots__ = ("_closed_until", "_in_flight", "asked_until", "last", "windows")
    unnamed = False
    """Whether the last refusal did not name its limit."""

    def __init__(self, limiters: Iterable[Limiter] = ()) -> None:
        self.windows: list[Window] = [window_of(limiter) for limiter in limiters]
        self.last = -math.inf
        """Time of the last departure or response."""
        self.asked_until = -math.inf
        """Until when the last refusal asks to wait, if that is longer than any limit takes."""
        self._in_flight = 0
        self._closed_until = -math.inf

    def earliest(self, now: float) -> float:
        """Return when the next request may leave. A past time means now.

        The time is infinity while only a response can tell.
        """
        at = self._closed_until
        for window in self.windows:
            at = max(at, window.earliest(now))
        return at

    def room_at(self, requests: int, now: float) -> float:
        """Return when that many requests may leave in a row without waiting for a window, as `earliest` does."""
        return max((self.earliest(now), *(window.room_at(requests, now) for window in self.windows)))

    def known_at(self, requests: int, now: float) -> float:
        """Return when the last of that many requests may leave, as far as is known by now."""
        times = (self.closed_until(now), self.earliest(now), *(window.queue_at(requests, now) for window in self.windows))
        return max(at for at in times if at < math.inf)

    def sent(self, now: float) -> None:
        self.last = now
        self._in_flight += 1
        for window in self.windows:
            window.sent(now)

    def answered(self, now: float, fate: Fate) -> None:
        self.last = now
        self._in_flight -= 1
        for window in self.windows:
            if fate is Fate.UNSENT or fate is Fate.TURNED_AWAY:
                window.unsent()
            else:
                window.answered(now)

    def close(self, now: float, seconds: float) -> None:
        """Hold all requests back for `seconds`, after a refusal."""
        self._closed_until = max(self._closed_until, now + seconds)
        for window in self.windows:
            window.refused(self._closed_until)

    def question(self, asked_until: float) -> None:
        """Note that the server asks for a rest that is not believed; -infinity if it does not."""
        self.asked_until = asked_until

    def closed_until(self, _now: float) -> float:
        """Return until when a refusal holds requests back. A past time means that none does."""
        return self._closed_until

    def used(self, now: float) -> int:
        return int(max((window.used(now) for window in self.windows), default=0))

    def use(self, now: float) -> tuple[int, int, float]:
        """Return how many requests count against the fullest window, how many it allows, and its seconds."""
        found = [(window.used(now), window.limit, window.limiter.window) for window in self.windows]
        used, limit, seconds = max(found, key=lambda each: each[0] / each[1], default=(0, 1, 0.0))
        return int(used), int(limit), seconds

    def seed(self, used: int, last: float) -> None:
        self.last = max(self.last, last)
        for window in self.windows:
            window.seed(used, last)

    @property
    def busy(self) -> bool:
        """Whether a response is missing."""
        return self._in_flight > 0

    def idle(self, now: float) -> bool:
        """Return whether nothing would be lost by dropping this gate."""
        return not self._in_flight and self._closed_until <= now and all(window.idle(now) for window in self.windows)


class LearningGate(Gate):
    """The gate of a key or an app. It learns smaller limits from refusals.

    The first request of a key goes `alone`, until one was accepted. After a refusal by a limit the key is silent, and then
    probed by one request. A key that was refused itself rests and is probed, too, if it worked before.
    """

    def __init__(self, limiters: Iterable[Limiter] = (), *, alone: bool = False) -> None:
        super().__init__(limiters)
        self._lessons = lessons_of(self.windows)
        self._alone = alone
        self.worked = False
        """Whether the server has accepted the key."""
        self._rest = 0.0
        self.doubted = False
        """Whether the key was refused after it had worked, and no probe has been accepted since."""
        self._probing = False
        self._probes_refused = 0
        self._others_noticed = False
        self._fallback: Window | None = None
        self._of_key = alone
        self._questioned = False

    def earliest(self, now: float) -> float:
        """Return when the next request may leave, as every gate does; infinity while one has to go alone."""
        if self._in_flight:
            if self._alone or self._rest:
                return math.inf
            for lesson in self._lessons.values():
                # Near a suspected limit requests go one by one, so that learning it costs one request.
                if lesson.passed + self._in_flight in lesson.suspected:
                    return math.inf
        return super().earliest(now)

    def sent(self, now: float) -> None:
        self.last = now
        self._in_flight += 1
        self._rest = 0.0
        for window in self.windows:
            if window.sent(now) and window in self._lessons:
                self._lessons[window].begin()

    def answered(self, now: float, fate: Fate) -> None:
        # Contract B2.5 is about the limits of the server: those of its edge, and a configured rate, count refused keys.
        super().answered(now, Fate.FAILED if fate is Fate.TURNED_AWAY else fate)
        if self._questioned and now >= self._closed_until and (fate is Fate.PASSED or fate is Fate.FAILED):
            self._questioned, self.asked_until, self._alone = False, -math.inf, self._alone and self._of_key
        for lesson in self._lessons.values():
            lesson.answered(fate, self._in_flight)
        if self._rest and fate is not Fate.UNSENT:
            self._closed_until = max(self._closed_until, now + self._rest)

    def prove(self) -> None:
        """Let requests go together from now on: the server accepted one that went alone.

        During a silence nothing is proven: the response is to a request that left before.
        """
        if self._alone and not self._rest:
            self._alone = self._probing = self.doubted = False
            self.worked = True
            self._probes_refused = 0

    def closed_until(self, now: float) -> float:
        # A silence begins with the last response.
        return max(self._closed_until, now + self._rest) if self._rest and self._in_flight else self._closed_until

    def close(self, now: float, seconds: float, *, learn: bool = False) -> None:
        """Hold all requests back for `seconds`, after a refusal; `learn` from it."""
        self._closed_until = max(self._closed_until, now + seconds)
        for window in self.windows:
            counted = window.refused(self._closed_until)
            # Only the limit that refused is learned: the fallback, if the refusal named none.
            if learn and window in self._lessons and (window is self._fallback) == self.unnamed:
                self._lessons[window].refused(counted, self._in_flight)

    def silence(self, now: float, seconds: float, *, learn: bool = False) -> None:
        """Hold all requests back for a silence, then let one probe go (contract B2, fact 1).

        The silence lasts as long as the models say, 61 s without a model, and at least `seconds`. It grows while one probe
        after the other is refused, because others keep the key's counter alive.
        """
        if self._probing and not self._rest:
            self._probes_refused += 1
            self._others_noticed = self._others_noticed or self._probes_refused > 1
        self._probing = True
        silence = silence_of(self.windows)
        asked = max(seconds, DEFAULT_SILENCE if silence is None else silence.held)
        self._rest = max(self._rest, asked * patience(self._probes_refused))
        self._alone = True
        self.close(now, self._rest, learn=learn)

    def question(self, asked_until: float) -> None:
        """Let one request go alone after the rest, if the server asks for one that is not believed."""
        super().question(asked_until)
        if asked_until > -math.inf:
            self._questioned = self._alone = True

    def doubt(self, now: float, seconds: float) -> bool:
        """Let the key rest for `seconds` after it was refused, then let one probe go (contract G5).

        The rest begins after the last response. Return `False` instead if the key never worked, or if its probe was refused.
        """
        if not self.worked or (self.doubted and not self._rest):
            return False
        self.doubted = self._alone = True
        self._rest = max(self._rest, seconds)
        self._closed_until = max(self._closed_until, now + self._rest)
        return True

    def restrict(self, now: float, limiter: Limiter) -> None:
        """Add a limiter after the first refusal that named no limit; what is in flight counts in it."""
        if self._fallback is not None:
            return
        self._fallback = window_of(limiter)
        self._fallback.sent(now, self._in_flight)
        self.windows.append(self._fallback)
        passed = max((lesson.passed for lesson in self._lessons.values()), default=0)
        self._lessons[self._fallback] = lesson = Lesson(self._fallback)
        lesson.passed = passed

    @property
    def fallback(self) -> Limiter | None:
        """The limiter that was added after a refusal that named no limit."""
        return None if self._fallback is None else self._fallback.limiter

    def recall(self, known: KnownLimit) -> None:
        for lesson in self._lessons.values():
            lesson.recall(known)

    def learned(self) -> int | None:
        """Return the smallest limit that refusals taught, or `None` if there is none."""
        return min((lesson.learned for lesson in self._lessons.values() if lesson.learned is not None), default=None)

    def suspects(self) -> int | None:
        """Return the smallest number at which one refusal came, unless a limit is learned."""
        found = (lesson.suspects for lesson in self._lessons.values() if lesson.suspects is not None)
        return min(found, default=None) if self.learned() is None else None

    def forgot(self) -> bool:
        return any(lesson.forgotten for lesson in self._lessons.values())

    def uneven(self) -> bool:
        """Return whether refusals came after different numbers of requests.

        Then others use the key, or the server loses counts (contract B2.3).
        """
        if self._others_noticed:
            return False
        return any(
            lesson.exceeded or (isinstance(lesson, SilenceLesson) and lesson.others.noticed and not lesson.others.proven)
            for lesson in self._lessons.values()
        )

    def others_noticed(self) -> bool:
        """Return whether there were refusals that only another user's requests explain."""
        return self._others_noticed or any(
            isinstance(lesson, SilenceLesson) and lesson.others.noticed for lesson in self._lessons.values()
        )
