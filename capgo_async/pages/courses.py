"""Charts of the course of a job, over the axis of time that they share."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Final, Literal

import altair as alt

from ..bulk.picture import AppTotals, Picture
from ..bulk.report import counted
from .colours import colour_of, paint
from .frames import NO_UNIT, Drawn, Frame, Key, data, svg
from .history import History, Point, app_left, together
from .moments import Allowed, Span
from .words import MOST_APPS, shortened

Layers = Sequence[alt.Chart]

_PANEL: Final = 200
"""Width of a small chart in pixels."""
_MOST_SPANS: Final = 48
_DAY: Final = 86_400
_MINUTES: Final = 600
_ABOVE: Final = 1.08
"""How much higher than its highest value a chart is, so that a line at the top is drawn whole."""


def burn_down(history: History, frame: Frame) -> Drawn:
    """Draw how the pending operations fell, and how they were and are expected to."""
    layers = [_shades(history)] if history.rests else []
    planned, ahead = _forecasts(history)
    most = max(point.value for points in (history.left, planned, ahead) for point in points)
    if history.left:
        layers.append(_area(_points(history.left, most)))
    for points, colour in ((planned, paint("ink")), (ahead, paint("done"))):
        layers += [_points(points, most).mark_line(strokeDash=[6, 4], color=colour, clip=True)] if points else []
    return _over_time(layers, history, frame, 220)


def _forecasts(history: History) -> tuple[Sequence[Point], Sequence[Point]]:
    """Return the forecast of the plan and that from now on, which are the same before anything is sent."""
    return history.forecast if history.left or not history.ahead else (), history.ahead


def key_of_burn_down(history: History) -> Key:
    """Return what the colours of that chart stand for."""
    planned, ahead = _forecasts(history)
    key = [("left", "done")] if history.left else []
    key += [("forecast of the plan", "ink line")] if planned else []
    key += [("forecast from now on", "done line")] if ahead else []
    return [*key, ("rest", "rest")] if history.rests else key


def rates(history: History, frame: Frame) -> Drawn:
    """Draw the requests a minute, and the limit of the API keys."""
    layers = [_shades(history)] if history.rests else []
    most = max([point.value for point in history.rates] + [each.per_minute for each in history.allowed])
    layers.append(_points(history.rates, most).mark_area(color=paint("done"), opacity=0.6, clip=True))
    if history.allowed:
        rule = data([_allowed(each) for each in history.allowed]).encode(x="at:T", x2="until:T", y="value:Q")
        layers.append(rule.mark_rule(color=paint("failed"), strokeDash=[6, 4], strokeWidth=1.5, clip=True))
    return _over_time(layers, history, frame, 180)


def key_of_rates(history: History) -> Key:
    """Return what the colours of that chart stand for."""
    key = [("requests a minute", "done")]
    most = max((each.keys for each in history.allowed), default=0)
    if most:
        key.append(("limit of the API key" if most == 1 else f"limits of {most:,} API keys together", "failed line"))
    return [*key, ("rest", "rest")] if history.rests else key


def _allowed(each: Allowed) -> dict[str, object]:
    return {"at": _local(each.begin), "until": _local(each.end), "value": each.per_minute}


def latency(history: History, frame: Frame) -> Drawn:
    """Draw the response times."""
    most = max((each.p95 for each in history.responses), default=1.0)
    layers = [
        _points([Point(each.at, getattr(each, share)) for each in history.responses], most, form="~g").mark_line(
            interpolate="step-after", color=paint(colour), clip=True
        )
        for share, colour in (("p50", "done"), ("p95", "refused"))
    ]
    return _over_time(layers, history, frame, 140)


def in_flight(history: History, frame: Frame) -> Drawn:
    """Draw the requests in flight."""
    highest = max(each.most for each in history.flights)
    mean = _points([Point(each.at, each.mean) for each in history.flights], highest)
    most = _points([Point(each.at, each.most) for each in history.flights], highest)
    layers = [
        mean.mark_area(interpolate="step-after", color=paint("done"), opacity=0.6, clip=True),
        most.mark_line(interpolate="step-after", color=paint("refused"), clip=True),
    ]
    return _over_time(layers, history, frame, 120)


def panels(picture: Picture, apps: Sequence[AppTotals], history: History) -> Iterable[tuple[str, str]]:
    """Yield small charts of the slowest apps, and one of all others, each with its title."""
    for app in apps[:MOST_APPS]:
        yield shortened(app.app_id, 60), _panel(picture, app, history)
    if rest := apps[MOST_APPS:]:
        yield counted(len(rest), "other"), _panel(*together(picture, rest, "others"), history)


def _panel(picture: Picture, app: AppTotals, history: History) -> str:
    frame = Frame(_PANEL, left=38, right=30)
    area = _area(_points(app_left(picture, app, history), app.planned, ticks=2), "step-after")
    return svg(_over_time([area], history, frame, 70), frame)


def _area(points: alt.Chart, interpolate: Literal["linear", "step-after"] = "linear") -> alt.Chart:
    line = {"color": paint("done")}
    area: alt.Chart = points.mark_area(interpolate=interpolate, color=paint("done"), opacity=0.35, line=line, clip=True)
    return area


def strip(spans: Sequence[Span], history: History, frame: Frame) -> Drawn:
    """Draw spans on the axis of time, one line for each row."""
    shown = spans[-_MOST_SPANS:]
    rows = [
        {"row": span.row, "at": _local(span.begin), "until": _local(span.end), "colour": paint(colour_of(span.state))}
        for span in shown
    ]
    axis = alt.Axis(ticks=False, domain=False, labelPadding=8, labelLimit=0)
    row = alt.Y("row:N", sort=None, title=None, axis=axis)
    base = data(rows).encode(y=row, color=alt.Color("colour:N", scale=None))
    bar = base.mark_bar(height={"band": 0.6}, clip=True).encode(x="at:T", x2="until:T")
    # What was short must be seen, too.
    tick = base.mark_tick(thickness=3, height=14, clip=True).encode(x="at:T")
    height = 26 * len({span.row for span in shown})
    return _over_time([bar, tick], history, frame, height)


def _shades(history: History) -> alt.Chart:
    chart = data([{"at": _local(span.begin), "until": _local(span.end)} for span in history.rests])
    drawn: alt.Chart = chart.mark_rect(color=paint("rest"), clip=True).encode(x="at:T", x2="until:T")
    return drawn


def _points(points: Iterable[Point], most: float, *, form: str = "~s", ticks: int = 4) -> alt.Chart:
    """Return points in time, whose axis of values has room for `most`."""
    chart: alt.Chart = data([{"at": _local(point.at), "value": round(point.value, 4)} for point in points])
    axis = alt.Axis(format=form, tickCount=ticks, domain=False, ticks=False, labelExpr=NO_UNIT)
    scale = alt.Scale(domain=[0, _ABOVE * max(most, 1e-3)], nice=False)
    return chart.encode(x="at:T", y=alt.Y("value:Q", title=None, axis=axis, scale=scale, stack=None))


def _over_time(layers: Layers, history: History, frame: Frame, height: int) -> Drawn:
    """Draw layers over the axis of time that all charts of a history share."""
    ticks = 2 if frame.width <= _PANEL else 4 if frame.narrow else 8
    seconds = history.end - history.begin
    form = "%d %b" if seconds > 3 * _DAY else "%H:%M" if seconds > _MINUTES else "%H:%M:%S"
    axis = alt.Axis(tickCount=ticks, labelOverlap=True, labelSeparation=8, labelFlush=False, grid=False, format=form)
    domain = alt.Scale(type="utc", domain=[_local(history.begin), _local(history.end)], nice=False)
    x = alt.X("at:T", title=None, axis=axis, scale=domain)
    return alt.layer(*(layer.encode(x=x) for layer in layers)).properties(height=height)


def _local(seconds: float) -> int:
    """Return a time in milliseconds, moved so that UTC shows the local time of the reader."""
    offset = datetime.fromtimestamp(seconds, UTC).astimezone().utcoffset()
    return round((seconds + (offset.total_seconds() if offset else 0.0)) * 1000)
