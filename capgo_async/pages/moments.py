"""What the moments of a timeline tell: limits in force, rests, waves. Times are in seconds since 1970."""

import math
from collections.abc import Mapping
from typing import Final, NamedTuple

import msgspec

from .. import events
from ..bulk.timeline import Moment, Timeline
from ..limits import models
from ..limits.models import ScopeKind
from .words import state_in_words

_MINUTE: Final = 60
_AT_ONCE: Final = 1.0
"""The limits of all keys are told within so many seconds."""
_FINEST: Final = 300
"""Rests closer to one another than this part of the axis are drawn as one."""


class Span(NamedTuple):
    """Something that went on from `begin` to `end`.

    `state` says how it ended, and `row` in which line it is drawn.
    """

    row: str
    begin: float
    end: float
    state: str


class Allowed(NamedTuple):
    """How many requests a minute the limits of `keys` API keys allow together, from `begin` to `end`."""

    keys: int
    begin: float
    end: float
    per_minute: float


def allowed_by(timeline: Timeline, end: float) -> tuple[Allowed, ...]:
    """Return the limits of all API keys together: those of each run, and what refusals taught or added.

    Those of a single device or app say nothing about all requests.
    """
    found: list[Allowed] = []
    given: dict[str, float] = {}
    learned: dict[str, int | None] = {}
    run = 0
    for moment in timeline.moments:
        match moment.event:
            case events.LimitInForce(limit=ScopeKind.KEY | models.UNNAMED, key=key, requests=requests, seconds=seconds):
                if moment.run != run:
                    # Names of keys are those of one process.
                    given, learned, run = {}, {}, moment.run
                given[key] = min(requests * _MINUTE / seconds, given.get(key, math.inf))
            case events.LimitLearned(limit=ScopeKind.KEY | models.UNNAMED, key=key, requests=requests):
                learned[key] = requests
            case _:
                continue
        per_minute = sum(min(limit, learned.get(key) or limit) for key, limit in given.items())
        if found and moment.at - found[-1].begin < _AT_ONCE:
            found[-1] = found[-1]._replace(keys=len(given), per_minute=per_minute)
        elif given:
            found[-1:] = [each._replace(end=moment.at) for each in found[-1:]]
            found.append(Allowed(len(given), moment.at, end, per_minute))
    return tuple(each for each in found if each.begin < each.end)


def with_ends(timeline: Timeline, killed: Mapping[int, float]) -> Timeline:
    """Return a timeline in which runs that were killed have an end, too.

    `killed` is the time of the last sign of life by the number of the run.
    """
    last = {moment.run: moment.at for moment in timeline.moments}
    ends = (Moment(max(at, last.get(run, at)), run, events.RunEnded(run=run, how="killed")) for run, at in killed.items())
    moments = sorted((*timeline.moments, *ends), key=lambda moment: (moment.at, moment.run))
    return msgspec.structs.replace(timeline, moments=tuple(moments))


def rests_in(timeline: Timeline, seconds: float, last: float) -> tuple[Span, ...]:
    """Return the rests of runs on an axis of so many seconds; one without an end went on until `last`."""
    spans: list[Span] = []
    begun: tuple[float, str] | None = None
    for moment in timeline.moments:
        match moment.event:
            case events.RestBegan(limit=limit):
                begun = (moment.at, limit)
            case events.RestEnded() | events.RunEnded() if begun is not None:
                spans = _added(spans, Span("rests", begun[0], moment.at, begun[1]), seconds / _FINEST)
                begun = None
            case _:
                pass
    return tuple(spans if begun is None else [*spans, Span("rests", begun[0], max(begun[0], last), begun[1])])


def _added(spans: list[Span], span: Span, gap: float) -> list[Span]:
    """Add a span, or let the one before it go on, if it is close."""
    if spans and span.begin - spans[-1].end < gap:
        return [*spans[:-1], spans[-1]._replace(end=span.end)]
    return [*spans, span]


def waves_in(timeline: Timeline, last: float, state: str) -> tuple[Span, ...]:
    """Return waves, pauses and approvals; those without an end went on until `last`, and end with `state`."""
    strip = _Strip()
    for moment in timeline.moments:
        strip.take(moment)
    strip.close_all(last, state)
    return tuple(strip.spans)


class _Strip:
    """Turns the events of waves, pauses and approvals into spans."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self._shares: dict[int, str] = {}
        self._open: dict[tuple[int, str], float] = {}

    def take(self, moment: Moment) -> None:
        match moment.event:
            case events.WaveBegan(wave=wave, share=share):
                self._shares[wave] = f"to {share}"
                self._open[wave, "wave"] = moment.at
            case events.WaveEnded(wave=wave, state=state):
                self._close(wave, "wave", moment.at, state_in_words(state))
            case events.BakeBegan(wave=wave):
                self._open[wave, "pause"] = moment.at
            case events.BakeEnded(wave=wave):
                self._close(wave, "pause", moment.at, "pause")
            case events.ApprovalAsked(wave=wave):
                self._open.setdefault((wave, "approval"), moment.at)
            case events.ApprovalAnswered(wave=wave, answer=answer) if answer != "again":
                self._close(wave, "approval", moment.at, f"approval: {answer}")
            case events.RunEnded():
                self.close_all(moment.at, "interrupted")
            case _:
                pass

    def close_all(self, at: float, state: str) -> None:
        for wave, what in list(self._open):
            self._close(wave, what, at, state)

    def _close(self, wave: int, what: str, at: float, state: str) -> None:
        begin = self._open.pop((wave, what), None)
        if begin is not None:
            self.spans.append(Span(self._shares.get(wave, f"wave {wave}"), begin, max(at, begin), state))
