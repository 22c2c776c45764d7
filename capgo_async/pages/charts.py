"""The charts of the page, as SVG text.

Colours are CSS variables of the page, so that charts follow light and dark. The names of colours stand beside a chart as text
of the page, and space for the names of rows is reserved by their number of characters, so nothing depends on the fonts of the
machine that draws. Charts as wide as the page are drawn twice: scaled to a phone, their text would be too small to read.

Longer than 300 lines because it holds every chart.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, Literal

import altair as alt
import msgspec
import vl_convert

from ..bulk.picture import AppTotals, Flow, Picture
from .colours import colour_of, paint
from .history import Allowed, History, Point, Span, app_left, history_of, slowest, state_in_words, together
from .ribbons import Ends, Ribbon, laid_out
from .sections import adopted, limit_called, parts_of, refusals_of
from .words import Drawing, clipped

Values = Sequence[Mapping[str, object]]
Layers = Sequence[alt.Chart]
Drawn = alt.LayerChart | alt.FacetChart
"""What altair says that layers become."""

_WIDTHS: Final[Mapping[str, int]] = {"wide": 880, "narrow": 350}
"""Width of each variant in pixels."""
_PANEL: Final = 200
"""Width of a small chart in pixels."""
_NARROW: Final = 500
_MOST: Final = 12
"""Rows of a chart; what is smaller is one row together."""
_INK, _FAINT, _LINE = paint("ink"), paint("faint"), paint("line")
_LETTERS_OF_ENDS: Final = 8
"""Characters of a name beside a ribbon, on a phone."""
_DAY: Final = 86_400
_MINUTES: Final = 600
_NO_UNIT: Final = "datum.value ? datum.label : '0'"
"""Writes 0 and not 0k."""
_CHARACTER: Final = 7.4
"""Pixels of a character of an average name in a wide font of 12 pixels."""


class Frame(msgspec.Struct, frozen=True):
    """The space of a chart in pixels: its width, and what is kept free around the plot."""

    width: int
    left: int = 66
    right: int = 14
    bottom: int = 26

    @property
    def narrow(self) -> bool:
        """Return whether it is for a phone."""
        return self.width < _NARROW

    @property
    def plot(self) -> int:
        """Return the width of the plot."""
        return self.width - self.left - self.right

    @property
    def letters(self) -> int:
        """Return how many characters of a name are shown."""
        return 16 if self.narrow else 36


def charts_of(picture: Picture) -> dict[str, Drawing]:
    """Return the charts of a picture by name."""
    report, history = picture.report, history_of(picture)
    drawn: dict[str, Drawing] = {}
    if history is not None:
        drawn |= _of_history(picture, history)
    elif picture.apps:
        drawn["apps"] = _bars_of_apps(picture.apps)
    if refusals := refusals_of(report.runs):
        drawn["refusals"] = _both(lambda frame: _bars(refusals, "refused", frame), names=refusals)
    if report.failures:
        causes = {clipped(failure.cause, 60): failure.count for failure in report.failures}
        drawn["failures"] = _both(lambda frame: _bars(causes, "failed", frame), names=causes)
    if report.waves and "waves" not in drawn:
        drawn["waves"] = _both(lambda frame: _waves(picture, frame), _key(state_in_words(wave.state) for wave in report.waves))
    if picture.flows:
        drawn["flows"] = Drawing(variants={variant: _flows(picture.flows, width) for variant, width in _WIDTHS.items()})
    if report.done:
        verdicts = [(name, figure.value) for name, figure in parts_of(picture) if name not in {"failed", "pending"}]
        drawn["verdicts"] = _both(lambda frame: _parts(verdicts, frame), _key(name for name, _ in verdicts))
    if report.adoption is not None:
        parts = [(name, figure.value) for name, figure in adopted(report.adoption)]
        drawn["adoption"] = _both(lambda frame: _parts(parts, frame), _key(name for name, _ in parts))
    return drawn


def _of_history(picture: Picture, history: History) -> dict[str, Drawing]:
    drawn = {"burn": _both(lambda frame: _burn_down(history, frame), _key_of_burn(history))}
    if history.rates:
        limits = [*dict.fromkeys(each.limit for each in history.allowed)]
        key = [("requests a minute", "done")]
        key += [(f"limit: {limit_called(limit)}", "failed line") for limit in limits]
        key += [("rest", "rest")] if history.rests else []
        drawn["rates"] = _both(lambda frame: _rates(history, frame), key)
        drawn["latency"] = _both(
            lambda frame: _latency(history, frame), [("median", "done line"), ("95 % are not slower", "refused line")]
        )
        drawn["flight"] = _both(lambda frame: _in_flight(history, frame), [("mean", "done"), ("most", "refused line")])
    apps = slowest(picture)
    if any(bucket.app and (bucket.done or bucket.failed) for bucket in picture.timeline.buckets):
        drawn["apps"] = Drawing(key=(), panels=tuple(_panels(picture, apps, history)))
    elif apps:
        drawn["apps"] = _bars_of_apps(apps)
    if history.waves:
        drawn["waves"] = _both(lambda frame: _strip(history.waves, history, frame), _key(span.state for span in history.waves))
    if history.runs:
        drawn["runs"] = _both(lambda frame: _strip(history.runs, history, frame), _key(span.state for span in history.runs))
    return drawn


def _burn_down(history: History, frame: Frame) -> Drawn:
    layers = [_shades(history)] if history.rests else []
    layers.append(_points(history.left).mark_area(color=paint("done"), opacity=0.35, line={"color": paint("done")}))
    for points, colour in ((history.forecast, _INK), (history.ahead, paint("done"))):
        layers += [_points(points).mark_line(strokeDash=[6, 4], color=colour, clip=True)] if points else []
    return _over_time(layers, history, frame, 220)


def _key_of_burn(history: History) -> list[tuple[str, str]]:
    key = [("left", "done")] if history.left else []
    key += [("forecast of the plan", "ink line")] if history.forecast else []
    key += [("forecast from now on", "done line")] if history.ahead else []
    return [*key, ("rest", "rest")] if history.rests else key


def _rates(history: History, frame: Frame) -> Drawn:
    layers = [_shades(history)] if history.rests else []
    layers.append(_points(history.rates).mark_area(interpolate="step", color=paint("done"), opacity=0.6))
    if history.allowed:
        rows = [_allowed(each) for each in history.allowed]
        rule = _data(rows).mark_rule(color=paint("failed"), strokeDash=[6, 4], strokeWidth=1.5, clip=True)
        layers.append(rule.encode(x="at:T", x2="until:T", y=_value()))
    return _over_time(layers, history, frame, 180)


def _allowed(each: Allowed) -> dict[str, object]:
    return {"at": _local(each.begin), "until": _local(each.end), "value": each.per_minute}


def _latency(history: History, frame: Frame) -> Drawn:
    layers = [
        _points([Point(each.at, getattr(each, share)) for each in history.responses], form="~g").mark_line(color=paint(colour))
        for share, colour in (("p50", "done"), ("p95", "refused"))
    ]
    return _over_time(layers, history, frame, 140)


def _in_flight(history: History, frame: Frame) -> Drawn:
    mean = _points([Point(each.at, each.mean) for each in history.flights])
    most = _points([Point(each.at, each.most) for each in history.flights])
    layers = [
        mean.mark_area(interpolate="step", color=paint("done"), opacity=0.6),
        most.mark_line(interpolate="step", color=paint("refused")),
    ]
    return _over_time(layers, history, frame, 120)


def _panels(picture: Picture, apps: Sequence[AppTotals], history: History) -> Iterable[tuple[str, str]]:
    """Yield small charts of the slowest apps, and one of all others, each with its title."""
    for app in apps[:_MOST]:
        yield clipped(app.app_id, 60), _panel(picture, app, history)
    if rest := apps[_MOST:]:
        yield f"{len(rest):,} others", _panel(*together(picture, rest, "others"), history)


def _panel(picture: Picture, app: AppTotals, history: History) -> str:
    frame = Frame(_PANEL, left=38, right=4)
    area = _points(app_left(picture, app, history), ticks=2).mark_area(
        interpolate="step-after", color=paint("done"), opacity=0.35, line={"color": paint("done")}
    )
    return _svg(_over_time([area], history, frame, 70), frame)


def _strip(spans: Sequence[Span], history: History, frame: Frame) -> Drawn:
    """Draw spans on the axis of time, one line for each row."""
    shown = spans[-4 * _MOST :]
    rows = [
        {"row": span.row, "at": _local(span.begin), "until": _local(span.end), "colour": paint(colour_of(span.state))}
        for span in shown
    ]
    base = _data(rows).encode(y=_rows("row"), color=alt.Color("colour:N", scale=None))
    bar = base.mark_bar(height={"band": 0.6}, clip=True).encode(x="at:T", x2="until:T")
    # What was short must be seen, too.
    tick = base.mark_tick(thickness=3, height=14, clip=True).encode(x="at:T")
    height = 26 * len({span.row for span in shown})
    return _over_time([bar, tick], history, frame, height)


def _shades(history: History) -> alt.Chart:
    chart = _data([{"at": _local(span.begin), "until": _local(span.end)} for span in history.rests])
    drawn: alt.Chart = chart.mark_rect(color=paint("rest"), clip=True).encode(x="at:T", x2="until:T")
    return drawn


def _points(points: Iterable[Point], *, form: str = "~s", ticks: int = 4) -> alt.Chart:
    chart: alt.Chart = _data([{"at": _local(point.at), "value": round(point.value, 4)} for point in points])
    return chart.encode(x="at:T", y=_value(form, ticks))


def _value(form: str = "~s", ticks: int = 4) -> alt.Y:
    axis = alt.Axis(format=form, tickCount=ticks, domain=False, ticks=False, labelExpr=_NO_UNIT)
    return alt.Y("value:Q", title=None, axis=axis, scale=alt.Scale(domainMin=0), stack=None)


def _over_time(layers: Layers, history: History, frame: Frame, height: int) -> Drawn:
    """Draw layers over the axis of time that all charts of a history share."""
    ticks = 2 if frame.width <= _PANEL else 4 if frame.narrow else 8
    seconds = history.end - history.begin
    form = "%d %b" if seconds > 3 * _DAY else "%H:%M" if seconds > _MINUTES else "%H:%M:%S"
    axis = alt.Axis(tickCount=ticks, labelOverlap=True, labelFlush=True, grid=False, format=form)
    domain = alt.Scale(type="utc", domain=[_local(history.begin), _local(history.end)], nice=False)
    x = alt.X("at:T", title=None, axis=axis, scale=domain)
    return alt.layer(*(layer.encode(x=x) for layer in layers)).properties(height=height)


def _bars_of_apps(apps: Sequence[AppTotals]) -> Drawing:
    names = [app.app_id for app in apps[:_MOST]]
    return _both(lambda frame: _apps(apps, frame), _key(("done", "failed", "pending")), names)


def _apps(apps: Sequence[AppTotals], frame: Frame) -> Drawn:
    """Draw one bar for each app; the smallest apps are one bar together."""
    parts = ("done", "failed", "pending")
    shown = [(clipped(app.app_id, frame.letters), [getattr(app, part) for part in parts]) for app in apps[:_MOST]]
    if rest := apps[_MOST:]:
        shown.append((f"{len(rest):,} others", [sum(getattr(app, part) for app in rest) for part in parts]))
    rows = [
        {"row": name, "count": count, "colour": paint(colour_of(part)), "turn": turn}
        for name, counts in shown
        for turn, (part, count) in enumerate(zip(parts, counts, strict=True))
    ]
    bar = (
        _data(rows)
        .mark_bar(height={"band": 0.7})
        .encode(
            x=alt.X("count:Q", title=None, axis=_counts(frame)),
            y=_rows("row"),
            color=alt.Color("colour:N", scale=None),
            order="turn:Q",
        )
    )
    return alt.layer(bar).properties(height=24 * len(shown))


def _bars(counts: Mapping[str, int], colour: str, frame: Frame) -> Drawn:
    """Draw one bar for each count, with its number at the end."""
    named = [*counts.items()][:_MOST]
    rest = sum(counts.values()) - sum(count for _, count in named)
    shown = [*named, ("others", rest)] if rest else named
    rows = [{"row": clipped(name, frame.letters), "count": count, "text": f"{count:,}"} for name, count in shown]
    scale = alt.Scale(domain=[0, max(count for _, count in shown) * (1.3 if frame.narrow else 1.1)], nice=False)
    base = _data(rows).encode(x=alt.X("count:Q", title=None, axis=None, scale=scale), y=_rows("row"))
    bar = base.mark_bar(color=paint(colour), height={"band": 0.65})
    return alt.layer(bar, base.mark_text(align="left", dx=6).encode(text="text:N")).properties(height=26 * len(rows))


def _parts(counted: Sequence[tuple[str, float]], frame: Frame) -> Drawn:
    """Draw one bar with its parts."""
    rows = [{"count": count, "colour": paint(colour_of(name)), "turn": turn} for turn, (name, count) in enumerate(counted)]
    scale = alt.Scale(domain=[0, sum(count for _, count in counted)], nice=False)
    bar = (
        _data(rows)
        .mark_bar(stroke=paint("page"))
        .encode(
            x=alt.X("count:Q", title=None, axis=_counts(frame), scale=scale),
            color=alt.Color("colour:N", scale=None),
            order="turn:Q",
        )
    )
    return alt.layer(bar).properties(height=34)


def _waves(picture: Picture, frame: Frame) -> Drawn:
    """Draw the waves one after the other, each as wide as it has operations."""
    rows: list[dict[str, object]] = []
    begin, total = 0, sum(wave.operations for wave in picture.report.waves)
    for wave in picture.report.waves:
        end, middle = begin + wave.operations, begin + wave.operations / 2
        name = wave.share if wave.operations * frame.plot > 48 * total else ""
        colour = paint(colour_of(state_in_words(wave.state)))
        rows.append({"begin": begin, "end": end, "middle": middle, "colour": colour, "name": name})
        begin = end
    scale = alt.Scale(domain=[0, max(1, total)], nice=False)
    bar = (
        _data(rows)
        .mark_bar(stroke=paint("page"), strokeWidth=2)
        .encode(
            x=alt.X("begin:Q", title=None, axis=_counts(frame), scale=scale),
            x2="end:Q",
            color=alt.Color("colour:N", scale=None),
        )
    )
    text = _data(rows).mark_text(color=_INK).encode(x=alt.X("middle:Q"), text="name:N")
    return alt.layer(bar, text).properties(height=40)


def _flows(found: Sequence[Flow], width: int) -> str:
    """Draw a ribbon for each flow, from the state before on the left to the state after on the right."""
    layout = laid_out(found)
    letters = _LETTERS_OF_ENDS if width < _NARROW else 3 * _LETTERS_OF_ENDS
    sides = [[_node(end, at, letters) for end in ends] for at, ends in enumerate((layout.before, layout.after))]
    left, right = (round(max(len(str(node["name"])) for node in nodes) * _CHARACTER) + 16 for nodes in sides)
    scale = alt.Scale(domain=[layout.height, 0], nice=False, zero=False)
    top, middle = (alt.Y(f"{field}:Q", axis=None, scale=scale) for field in ("top", "middle"))
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, 1], nice=False))
    ribbons = _data([point for ribbon in layout.ribbons for point in _outline(ribbon)])
    area = ribbons.mark_area(interpolate="monotone", opacity=0.4, color=paint("done"))
    layers = [area.encode(x=x, y=top, y2="bottom:Q", detail="flow:N")]
    aligned: tuple[Literal["right", "left"], ...] = ("right", "left")
    for nodes, align, dx in zip(sides, aligned, (-10, 10), strict=True):
        layers.append(_data(nodes).mark_rule(strokeWidth=8, color=paint("done")).encode(x=x, y=top, y2="bottom:Q"))
        layers.append(_data(nodes).mark_text(align=align, dx=dx).encode(x=x, y=middle, text="name:N"))
    height = max(110, 38 * max(map(len, sides)))
    return _svg(alt.layer(*layers).properties(height=height), Frame(width, left, right, bottom=8))


def _outline(ribbon: Ribbon) -> Iterable[dict[str, object]]:
    for x, (top, bottom) in ((0.0, ribbon.left), (0.1, ribbon.left), (0.9, ribbon.right), (1.0, ribbon.right)):
        yield {"flow": ribbon.number, "x": x, "top": top, "bottom": bottom}


def _node(end: Ends, at: int, letters: int) -> dict[str, object]:
    name = f"{clipped(end.name, letters)} {end.operations:,}"
    return {"x": at, "top": end.top, "bottom": end.bottom, "middle": (end.top + end.bottom) / 2, "name": name}


def _data(rows: Values) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))


def _rows(field: str) -> alt.Y:
    axis = alt.Axis(ticks=False, domain=False, labelPadding=8, labelLimit=0)
    return alt.Y(f"{field}:N", sort=None, title=None, axis=axis)


def _counts(frame: Frame) -> alt.Axis:
    return alt.Axis(format="~s", tickCount=3 if frame.narrow else 6, labelFlush=True, labelExpr=_NO_UNIT)


def _key(states: Iterable[str]) -> list[tuple[str, str]]:
    return [(state, colour_of(state)) for state in dict.fromkeys(states)]


def _local(seconds: float) -> int:
    """Return a time in milliseconds, moved so that UTC shows the local time of the reader."""
    offset = datetime.fromtimestamp(seconds, UTC).astimezone().utcoffset()
    return round((seconds + (offset.total_seconds() if offset else 0.0)) * 1000)


def _both(draw: Callable[[Frame], Drawn], key: Sequence[tuple[str, str]] = (), names: Iterable[str] = ()) -> Drawing:
    """Draw a chart for both widths. `names` are those of its rows, for which it needs space."""
    longest = max(map(len, names), default=0)
    frames = {variant: _frame(width, longest) for variant, width in _WIDTHS.items()}
    return Drawing(key=tuple(key), variants={variant: _svg(draw(frame), frame) for variant, frame in frames.items()})


def _frame(width: int, longest: int) -> Frame:
    frame = Frame(width)
    return Frame(width, left=round(min(longest, frame.letters) * _CHARACTER) + 12) if longest else frame


def _svg(chart: Drawn, frame: Frame) -> str:
    spec: dict[str, Any] = chart.properties(
        width=frame.plot,
        autosize="none",
        background="transparent",
        padding={"left": frame.left, "right": frame.right, "top": 8, "bottom": frame.bottom},
    ).to_dict()
    return vl_convert.vegalite_to_svg({**spec, "config": _CONFIG})


_CONFIG: Final = {
    "font": "sans-serif",
    "aria": False,
    "view": {"stroke": None},
    "axis": {
        **dict.fromkeys(("gridColor", "domainColor", "tickColor"), _LINE),
        "labelColor": _FAINT,
        "labelFontSize": 12,
    },
    "text": {"color": _INK, "fontSize": 12},
    "title": {"color": _FAINT, "fontSize": 12, "fontWeight": "normal"},
}
