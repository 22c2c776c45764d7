"""Lessons: what refusals teach about a limit that is smaller than its model (contract B2)."""

from collections.abc import Iterable
from typing import Final

from .known import KnownLimit
from .models import BOUNDLESS, Fate, allowance, without_headroom
from .other_users import Others
from .windows import Fixed, Silence, Window

_PERIODS_KEPT: Final = 10
"""A learned limit is forgotten after this many times its number of requests."""


class Lesson:
    """The limit of one window, and what early refusals teach about it.

    One early refusal may come from somebody else's requests. Two periods that end at the same number teach the limit. That,
    too, may be chance, so the lesson is forgotten after a while: if it was right, learning it again costs one request.
    """

    def __init__(self, window: Window) -> None:
        self._window = window
        self._limit = window.limiter.requests
        self.passed = 0
        """How many requests of this period passed."""
        self._kept = 0
        self._refused = False
        self._confirmed = False
        self._taught = False
        self.suspected = range(0)
        """The numbers that are taken for the limit once one more period ends there."""
        self.suspects: int | None = None
        """The number at which one refusal came since `recall`, unless it proved too small or was learned."""
        self.forgotten = False
        """Whether a limit that was learned or suspected proved too small."""
        self.exceeded = False
        """Whether that was a learned one: the server let more pass than it had refused twice."""

    @property
    def learned(self) -> int | None:
        """The limit that refusals taught, `None` if there is none."""
        return self._limit if self._limit < self._window.limiter.requests else None

    def recall(self, known: KnownLimit) -> None:
        """Start with the limit that an earlier process learned, or suspected if it is not `certain`."""
        self.forgotten = False
        self.suspected = range(known.requests, known.requests + 2)
        self.suspects = None
        if known.certain:
            self._keep_to(min(self._limit, known.requests))

    def begin(self) -> None:
        """Start a period: as far as this process can tell, the server counts from zero."""
        self.passed = 0
        self._refused = False

    def answered(self, fate: Fate, in_flight: int) -> None:
        """Count the end of a request, while `in_flight` others are out."""
        if fate is Fate.PASSED or fate is Fate.FAILED:
            # A window that slides on lets further requests pass, which a silence would not.
            self.passed = min(self.passed + 1, max(self._limit, self.suspected.stop + 1))
            self._kept += 1
            if self.suspected and self.passed > self.suspected.stop:
                self.suspected = range(0)
                self.suspects = None
                self.forgotten = True
                self.exceeded = self.exceeded or self._taught
        if not in_flight:
            self._conclude()

    def refused(self, counted: float, in_flight: int) -> bool:
        """Take a refusal, while `in_flight` requests are out. Return whether a limit explains it.

        At most `counted` requests were counted by then; 0 if that is not known.
        """
        self.passed = min(self.passed, int(counted) or BOUNDLESS)
        # Every limit lets something pass: if the first request is refused, somebody else uses the same counter.
        if not self._refused and 0 < self.passed < self._limit:
            self._refused = True
            self._confirmed = self.passed in self.suspected
            if not self._confirmed:
                self.suspected = range(self.passed, self.passed + in_flight + 2)
        explained = self._confirmed
        if not in_flight:
            self._conclude()
        return explained

    def _conclude(self) -> None:
        """Take what passed for the limit, now that every response of the period is in."""
        if self._refused:
            self.suspects = self.passed
        if self._confirmed:
            self._keep_to(min(self._limit, self.passed))
            self.forgotten = False
            self.suspected = range(self._limit, self._limit + 2)
            self.suspects = None
            self._confirmed = False
            self._taught = True
            self._kept = 0
        elif self._kept >= _PERIODS_KEPT * self._limit:
            self._keep_to(self._window.limiter.requests)

    def _keep_to(self, limit: int) -> None:
        self._limit = limit
        self._window.limit = without_headroom(limit, self._window.limiter.headroom)


class SilenceLesson(Lesson):
    """The lesson of a silence window. It also notices other users of the same key, and gives way to them."""

    _window: Silence

    def __init__(self, window: Silence) -> None:
        super().__init__(window)
        self.others = Others(allowance(window.limiter))
        self._rested = False

    def begin(self) -> None:
        """Start a period after a silence, with as many requests as other users leave."""
        self._window.bound = self.others.begin(self.passed)
        self._rested = True
        super().begin()

    def refused(self, counted: float, in_flight: int) -> bool:
        """Take a refusal as every lesson does. If no limit explains it, another user may."""
        explained = super().refused(counted, in_flight)
        if counted and self._rested and not explained:
            self.others.refused(self.passed, int(counted))
        return explained


def lessons_of(windows: Iterable[Window]) -> dict[Window, Lesson]:
    """Return a lesson for each window that has one: a rate that the user set is not learned."""
    lessons: dict[Window, Lesson] = {}
    for window in windows:
        match window:
            case Fixed():
                lessons[window] = Lesson(window)
            case Silence():
                lessons[window] = SilenceLesson(window)
    return lessons
