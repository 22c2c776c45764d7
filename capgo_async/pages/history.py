"""The course of a job over time, as its charts need it. Times are in seconds since 1970."""

import math
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Final, NamedTuple, TypeVar

import msgspec

from .. import events
from ..bulk.picture import AppTotals, Picture
from ..bulk.report import Activity, Ended, Run
from ..bulk.timeline import Bucket, Timeline, merged
from .moments import Allowed, Span, allowed_by, rests_in, waves_in, with_ends

READING: Final = frozenset({Ended.PLANNED, Ended.VERIFIED, Ended.COMPARED})
_NAMES: Final = {
    Ended.PLANNED: "planning",
    Ended.FINISHED: "finished",
    Ended.INTERRUPTED: "interrupted",
    Ended.STOPPED: "stopped",
    Ended.VERIFIED: "verification",
    Ended.COMPARED: "check",
}
_MOST_POINTS: Final = 120
_POINTS_OF_AN_APP: Final = 40
_MINUTE: Final = 60


class Point(NamedTuple):
    """A number at a time."""

    at: float
    value: float


class Responses(NamedTuple):
    """How long requests took from `at` on, in seconds: the median, and what 95 % did not exceed."""

    at: float
    p50: float
    p95: float


class Flight(NamedTuple):
    """How many requests were in flight from `at` on: on average, and at most."""

    at: float
    mean: float
    most: int


Held = TypeVar("Held", Responses, Flight)


class History(msgspec.Struct, frozen=True, kw_only=True):
    """The course of a job, from `begin` to `end`: the runs that send, and the forecast of what is pending.

    `width` is the number of seconds between two points. `left` are the operations that are neither done nor failed. `forecast`
    is how they were expected to fall when the job was planned, `ahead` how they are expected to fall from now on. `rates` is
    how many requests were sent in the minute before each point.
    """

    begin: float
    end: float
    width: int
    left: tuple[Point, ...] = ()
    forecast: tuple[Point, ...] = ()
    ahead: tuple[Point, ...] = ()
    rates: tuple[Point, ...] = ()
    allowed: tuple[Allowed, ...] = ()
    rests: tuple[Span, ...] = ()
    responses: tuple[Responses, ...] = ()
    flights: tuple[Flight, ...] = ()
    waves: tuple[Span, ...] = ()
    runs: tuple[Span, ...] = ()


def history_of(picture: Picture) -> History | None:
    """Return the course of a job; `None` if there is nothing to draw, neither sent nor planned."""
    report = picture.report
    runs = [run for run in report.runs if run.ended not in READING]
    at = picture.at.timestamp()
    ahead_until = at + picture.seconds_left
    if not runs and not report.pending:
        return None
    begin = _begin_of(runs[0]) if runs else at
    lived = {run.number: _begin_of(run) + run.elapsed_seconds for run in report.runs}
    last = max((lived[run.number] for run in runs), default=at)
    killed = {run.number for run in report.runs if how_ended(run, picture.activity) == "killed"}
    timeline = with_ends(picture.timeline, {run: lived[run] for run in killed})
    goes_on = bool(report.pending) and (not runs or is_under_way(picture.activity))
    forecast = _forecast(picture, begin)
    end = max(last, ahead_until if goes_on else last, begin + 1)
    end = max(end, *(point.at for point in forecast if point.at <= begin + 2 * (end - begin)), end)
    width = _width(timeline, end - begin)
    buckets = [each for each in merged(timeline.buckets, width) if begin - width < each.start <= last]
    everything = merged((msgspec.structs.replace(each, app="") for each in buckets), width)
    left = _left(picture, everything, width, begin, last)
    return History(
        begin=begin,
        end=end,
        width=width,
        left=left,
        forecast=forecast,
        ahead=_ahead(picture, max(last, left[-1].at) if left else at, ahead_until) if goes_on else (),
        rates=_rates(everything, width, last),
        allowed=allowed_by(timeline, end),
        rests=rests_in(timeline, end - begin, last),
        responses=_held(
            [Responses(each.start, each.p50, each.p95) for each in everything if each.p50 is not None and each.p95 is not None],
            width,
        ),
        flights=_held(
            [Flight(each.start, each.seconds / width, each.most_in_flight) for each in _gapless(everything, width, last)],
            width,
        ),
        waves=waves_in(timeline, last, "under way" if is_under_way(picture.activity) else "interrupted"),
        runs=tuple(_span(run, picture.activity) for run in report.runs if begin <= _begin_of(run) <= end),
    )


def is_under_way(activity: Activity) -> bool:
    """Return whether a process runs the job, in a run that it has recorded."""
    return activity.run is not None and activity.state != "killed"


def how_ended(run: Run, activity: Activity) -> str:
    """Return how a run ended, in words; of one without an end, `activity` tells whether it was killed."""
    if run.ended is not None:
        return _NAMES[run.ended]
    return "under way" if is_under_way(activity) and activity.run == run.number else "killed"


def app_left(picture: Picture, app: AppTotals, history: History) -> tuple[Point, ...]:
    """Return how the operations of one app fell."""
    width = _coarser(history.width, history.end - history.begin, _POINTS_OF_AN_APP)
    settled = (each for each in picture.timeline.buckets if each.app == app.app_id and (each.done or each.failed))
    left, points = app.planned, [Point(history.begin, app.planned)]
    for bucket in merged(settled, width):
        left = max(app.pending, left - bucket.done - bucket.failed)
        points.append(Point(min(bucket.start + width, history.end), left))
    return (*points, *(Point(last.at, left) for last in history.left[-1:] if last.at > points[-1].at))


def slowest(picture: Picture) -> list[AppTotals]:
    """Return the apps with most pending operations first, then those that were settled last."""
    settled = {
        each.app: each.start for each in merged(picture.timeline.buckets, picture.timeline.width) if each.done or each.failed
    }
    return sorted(picture.apps, key=lambda app: (-app.pending, -settled.get(app.app_id, 0), -app.planned, app.app_id))


def together(picture: Picture, apps: Sequence[AppTotals], name: str) -> tuple[Picture, AppTotals]:
    """Return several apps as one with this name, and a picture that holds it."""
    ids = {app.app_id for app in apps}
    buckets = (msgspec.structs.replace(each, app=name) for each in picture.timeline.buckets if each.app in ids)
    sums = (sum(getattr(app, field) for app in apps) for field in ("planned", "done", "failed", "pending"))
    planned, done, failed, pending = sums
    timeline = msgspec.structs.replace(picture.timeline, buckets=tuple(buckets))
    totals = AppTotals(app_id=name, planned=planned, done=done, failed=failed, pending=pending)
    return msgspec.structs.replace(picture, timeline=timeline), totals


def _begin_of(run: Run) -> float:
    return datetime.fromisoformat(run.started_at).timestamp()


def _span(run: Run, activity: Activity) -> Span:
    begin = _begin_of(run)
    return Span(f"run {run.number}", begin, begin + run.elapsed_seconds, how_ended(run, activity))


def _width(timeline: Timeline, seconds: float) -> int:
    return _coarser(timeline.width, seconds, _MOST_POINTS)


def _coarser(width: int, seconds: float, most: int) -> int:
    return width << max(0, math.ceil(math.log2(max(1.0, seconds / width / most))))


def _gapless(buckets: Sequence[Bucket], width: int, last: float) -> Iterable[Bucket]:
    """Yield the buckets, and an empty one before and after each gap, such as the one until `last`."""
    end = [Bucket(int(last) - width, "")] if buckets and last - buckets[-1].start > 2 * width else []
    for index, bucket in enumerate(sequence := [*buckets, *end]):
        before = sequence[index - 1].start if index else bucket.start - width
        if bucket.start - before > width:
            yield Bucket(before + width, "")
            if bucket.start - before > 2 * width:
                yield Bucket(bucket.start - width, "")
        yield bucket


def _rates(buckets: Sequence[Bucket], width: int, last: float) -> tuple[Point, ...]:
    """Return the requests of the minute before each point, as limits count them."""
    if not buckets:
        return ()
    begin = buckets[0].start
    end = begin + width * math.ceil((max(last, buckets[-1].start + width) - begin) / width)
    return tuple(
        Point(
            min(at, max(begin, last)),
            sum(
                each.requests * max(0, min(at, each.start + width) - max(at - _MINUTE, each.start)) / width for each in buckets
            ),
        )
        for at in range(begin, end + 1, width)
    )


def _held(items: list[Held], width: int) -> tuple[Held, ...]:
    """Return what holds from its time on, with an end: the last one once more, `width` later."""
    return tuple(items + [item._replace(at=item.at + width) for item in items[-1:]])


def _left(picture: Picture, buckets: Sequence[Bucket], width: int, begin: float, last: float) -> tuple[Point, ...]:
    """Return how the pending operations fell. A run that sends settled ones again raises them."""
    reopened = [
        (moment.at, moment.event.operations)
        for moment in picture.timeline.moments
        if isinstance(moment.event, events.RunBegan) and moment.event.operations
    ]
    report = picture.report
    if not buckets:
        return (Point(begin, report.planned), Point(last, report.pending)) if last > begin else ()
    left = report.planned
    points = [Point(begin, left)]
    for bucket in buckets:
        start = max(points[-1].at, bucket.start)
        if start > points[-1].at:
            points.append(Point(start, left))
        while reopened and reopened[0][0] < bucket.start + width:
            left = reopened.pop(0)[1]
            points.append(Point(start, left))
        left = max(0, left - bucket.done - bucket.failed)
        points.append(Point(max(start, min(bucket.start + width, last)), left))
    ends = (Point(last, report.pending),) if last > points[-1].at else ()
    return (*points[:-1], Point(points[-1].at, report.pending), *ends)


def _forecast(picture: Picture, begin: float) -> tuple[Point, ...]:
    made = [
        moment.event
        for moment in picture.timeline.moments
        if isinstance(moment.event, events.ForecastMade) and moment.event.planning
    ]
    if not made or not made[0].operations:
        return ()
    counts = [wave.operations for wave in picture.plan.waves if wave.operations] or [made[0].operations]
    return _falling(begin, begin + made[0].seconds, counts, picture.plan.bake_seconds)


def _ahead(picture: Picture, begin: float, end: float) -> tuple[Point, ...]:
    """Return how the pending operations fall from now on; first, the rest or pause under way ends."""
    pending, activity = picture.report.pending, picture.activity
    counts = [left for wave in picture.report.waves if (left := wave.operations - wave.settled)] or [pending]
    until = datetime.fromisoformat(activity.until).timestamp() if activity.until else begin
    if not begin < until <= end:
        return _falling(begin, end, counts, picture.plan.bake_seconds)
    return Point(begin, pending), *_falling(until, end, counts, picture.plan.bake_seconds)


def _falling(begin: float, end: float, counts: Sequence[int], pause: float) -> tuple[Point, ...]:
    """Return how operations fall from `begin` to `end`, at the same pace throughout.

    `counts` are the operations of each wave. After each wave but the last, there is a pause.
    """
    left, at = sum(counts), begin
    each = max(0.0, end - begin - pause * (len(counts) - 1)) / left
    points = [Point(at, left)]
    for count in counts:
        left, at = left - count, at + count * each
        points.append(Point(at, left))
        if left and pause:
            at += pause
            points.append(Point(at, left))
    return *points[:-1], Point(end, 0)
