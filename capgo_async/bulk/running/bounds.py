"""Bounds of one run: its requests and its end."""

import contextlib
from collections.abc import Iterator
from datetime import datetime
from typing import Final

import msgspec

from ...errors import ConfigurationError, Problem
from ...limits.budget import Budget
from ...limits.pacer import Pacer
from ..clock import LONGEST, local_time
from .runner import RunDeadline, StopReason

_MINUTE: Final = 60
_HOUR: Final = 3600


class Bounds(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds of one run; `None` means no bound.

    When a bound is reached, requests in flight are finished, and the rest of the job can be run later. `max_requests` counts
    every attempt that leaves, including reads and retries. `max_seconds` counts from the start of the run. `until` is a time
    with a time zone. The longest time is a hundred years. Raises `ConfigurationError` for invalid bounds.
    """

    max_requests: int | None = None
    max_seconds: float | None = None
    until: datetime | None = None

    def __post_init__(self) -> None:
        if self.max_requests is not None and self.max_requests < 1:
            message = f"a run of at most {self.max_requests} requests could send nothing"
        elif self.max_seconds is not None and not 0 < self.max_seconds <= LONGEST:
            message = f"a run cannot last {self.max_seconds:g} seconds"
        elif self.until is not None and self.until.utcoffset() is None:
            message = f"the end time {self.until.isoformat()} has no time zone"
        else:
            return
        raise ConfigurationError(message)


def deadline_of(bounds: Bounds, now: float, clock: datetime) -> RunDeadline:
    """Return when a run that starts at `now` has to end, and why. `clock` is `now` by the wall clock."""
    ends = [RunDeadline()]
    if bounds.max_seconds is not None:
        reason = f"the time limit of {in_words(bounds.max_seconds)} is reached"
        ends.append(RunDeadline(now + bounds.max_seconds, StopReason(reason, Problem.TIME_SPENT)))
    if bounds.until is not None:
        left = (bounds.until - clock).total_seconds()
        if left > LONGEST:
            message = f"the end time {bounds.until.isoformat()} is more than a hundred years away"
            raise ConfigurationError(message)
        reason = f"the end time {local_time(bounds.until)} is reached"
        ends.append(RunDeadline(now + left, StopReason(reason, Problem.END_TIME_REACHED)))
    return min(ends)


@contextlib.contextmanager
def budgeted(pacer: Pacer, requests: int | None) -> Iterator[None]:
    """Let at most `requests` requests leave through `pacer` within the block."""
    if requests is None:
        yield
        return
    if pacer.budget is not None:
        message = "this client is in use by another run with a request limit: give each run its own client"
        raise ConfigurationError(message)
    pacer.budget = Budget(requests)
    try:
        yield
    finally:
        pacer.budget = None


def in_words(seconds: float) -> str:
    """Return a duration as text, such as `1h30m`."""
    hours, rest = divmod(seconds, _HOUR)
    minutes, rest = divmod(rest, _MINUTE)
    parts = ((int(hours), "h"), (int(minutes), "m"))
    text = "".join(f"{number}{unit}" for number, unit in parts if number)
    return f"{text}{rest:g}s" if rest or not text else text
