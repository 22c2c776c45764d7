"""Charts of statistics, as files of their own: SVG text with a title and a description.

They have no script and no style sheet, so that every program shows them alike: the colours are those of the page by day, on
white. Lines differ in their dashes, too, and areas lie in the order of their legend, for those who tell few colours apart.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, date, datetime
from html import escape
from typing import Any, Final

import altair as alt
import msgspec
import vl_convert

from ..api.endpoints.statistics import Graph, Totals
from ..api.models import StatPoint, Usage
from .words import shortened

_WIDTH: Final = 880
_HEIGHT: Final = 360
_INK, _FAINT, _LINE = "#1b2530", "#566373", "#dde3ea"
_COLOURS: Final = ["#0072b2", "#e69f00", "#00664b", "#cc79a7", "#56b4e9", "#c2410c", "#8a94a0"]
"""Colours that remain different for colour-blind people."""
_DASHES: Final = [[1, 0], [8, 3], [3, 3], [10, 3, 2, 3], [5, 5], [1, 3], [2, 6]]
_OTHERS: Final = "others"
_LONGEST: Final = 40
"""Characters of a name that are shown."""
_CALLED: Final[Mapping[Graph, str]] = {"mau": "Active users", "storage": "Storage", "bandwidth": "Bandwidth"}
_UNITS: Final = ("B", "kB", "MB", "GB", "TB", "PB")
_STEP: Final = 1000

Rows = Sequence[Mapping[str, object]]
Series = Mapping[str, Sequence[tuple[date, float]]]


class _Text(msgspec.Struct, frozen=True, kw_only=True):
    title: str
    subtitle: str
    description: str


def chart_of_usage(name: str, graph: Graph, totals: Totals, usage: Mapping[str, Sequence[StatPoint]]) -> str:
    """Draw the usage of `name`, one line for each of `usage`, as SVG.

    Of many lines, the smallest are one together. `totals` is what the numbers are. The first daily storage is left out, because
    it is an offset (contract C9).
    """
    first = 1 if (graph, totals) == ("storage", "daily") else 0
    series: Series = {key: [(point.day, getattr(point, graph)) for point in points[first:]] for key, points in usage.items()}
    series = _largest(series)
    size, unit = (1, "") if graph == "mau" else _unit(value for values in series.values() for _, value in values)
    days = sorted({day for values in series.values() for day, _ in values})
    text = _Text(
        title=f"{_CALLED[graph]} of {_clipped(name)}",
        subtitle=f"{'Each day' if totals == 'daily' else 'Running total'}{f' in {unit}' if unit else ''}, {_span(days)}",
        description=" ".join(_told(key, values, size, unit) for key, values in series.items()) or "No days.",
    )
    rows = [
        {"day": _milliseconds(day), "series": _clipped(key), "value": value / size}
        for key, values in series.items()
        for day, value in values
    ]
    if not rows:
        return _svg(_nothing(), text)
    lines = _data(rows).encode(x=_day(len(days)), y=alt.Y("value:Q", title=None, axis=_axis(), scale=alt.Scale(domainMin=0)))
    if len(series) == 1:
        points = {"color": _COLOURS[0]}
        area = lines.mark_area(color=_COLOURS[0], opacity=0.2)
        return _svg(area + lines.mark_line(color=_COLOURS[0], strokeWidth=2.5, point=points), text)
    names = [_clipped(key) for key in series]
    legend = alt.Legend(title=None, labelLimit=0, symbolSize=400, symbolStrokeWidth=2.5)
    colours = alt.Scale(domain=names, range=_COLOURS[: len(names)])
    dashes = alt.Scale(domain=names, range=_DASHES[: len(names)])
    encoded = lines.encode(
        color=alt.Color("series:N", scale=colours, legend=legend),
        strokeDash=alt.StrokeDash("series:N", scale=dashes, legend=legend),
    )
    # A single day is no line.
    return _svg(encoded.mark_line(strokeWidth=2.5, point=len(days) == 1), text)


def chart_of_versions(name: str, of: str, usage: Usage) -> str:
    """Draw the shares of the versions among the devices of `name` as SVG: by day, or of the only day.

    `of` says of what the versions are. The rarest versions are one together.
    """
    days = [date.fromisoformat(label[:10]) for label in usage.labels]
    shares: Series = {
        dataset.label: list(zip(days, [*dataset.data, *[0.0] * (len(days) - len(dataset.data))], strict=False))
        for dataset in usage.datasets
    }
    shares = _largest(shares)
    last = {_clipped(key): values[-1][1] for key, values in shares.items() if values}
    told = ", ".join(f"{key} {share:g} %" for key, share in last.items())
    text = _Text(
        title=f"{of} on the devices of {_clipped(name)}",
        subtitle=f"Share of the devices in percent, {_span(days)}",
        description=f"On {days[-1]}: {told}." if told else "No devices.",
    )
    names = {key: f"{key} {share:g} %" for key, share in last.items()}
    rows = [
        {"day": _milliseconds(day), "version": names[_clipped(key)], "share": value, "turn": turn}
        for turn, (key, values) in enumerate(shares.items())
        for day, value in values
    ]
    if not rows:
        return _svg(_nothing(), text)
    if len(days) == 1:
        return _svg(_bars(rows), text)
    legend = alt.Legend(title=f"on {days[-1]}", labelLimit=0, symbolType="square", symbolSize=160)
    colours = alt.Scale(domain=[*names.values()], range=_COLOURS[: len(names)])
    areas = _data(rows).encode(
        x=_day(len(days)),
        y=alt.Y("share:Q", title=None, axis=_axis(), scale=alt.Scale(domain=[0, 100]), stack="zero"),
        color=alt.Color("version:N", scale=colours, legend=legend),
        order=alt.Order("turn:Q", sort="descending"),
    )
    return _svg(areas.mark_area(stroke="white", strokeWidth=1.5), text)


def _nothing() -> alt.Chart:
    chart: alt.Chart = _data([{"text": "no data for these days"}]).encode(text="text:N").mark_text(color=_FAINT, fontSize=16)
    return chart


def _bars(rows: Rows) -> alt.Chart:
    axis = alt.Axis(labelLimit=0, ticks=False, domain=False, labelPadding=8, labelColor=_INK)
    bars = _data(rows).encode(
        x=alt.X("share:Q", title=None, axis=_axis(), scale=alt.Scale(domain=[0, 100])),
        y=alt.Y("version:N", title=None, sort=None, axis=axis),
    )
    chart: alt.Chart = bars.properties(height=32 * len(rows)).mark_bar(color=_COLOURS[0], height={"band": 0.65})
    return chart


def _largest(series: Series) -> Series:
    """Return the series with the highest values, now or ever, and the sum of the others."""
    highest = {name: max((value for _, value in values), default=0.0) for name, values in series.items()}
    last = {name: values[-1][1] if values else 0.0 for name, values in series.items()}
    names = sorted(series, key=lambda name: (-highest[name] - last[name], name))
    if len(names) <= len(_COLOURS):
        return {name: series[name] for name in names}
    kept, rest = names[: len(_COLOURS) - 1], names[len(_COLOURS) - 1 :]
    sums: dict[date, float] = {}
    for name in rest:
        for day, value in series[name]:
            sums[day] = sums.get(day, 0.0) + value
    return {**{name: series[name] for name in kept}, f"{len(rest)} {_OTHERS}": sorted(sums.items())}


def _told(name: str, values: Sequence[tuple[date, float]], size: float, unit: str) -> str:
    if not values:
        return f"{_clipped(name)}: no days."
    (first, begin), (last, end) = values[0], values[-1]
    day, most = max(values, key=lambda each: each[1])
    shown = [f"{value / size:,.4g}{f' {unit}' if unit else ''}" for value in (begin, end, most)]
    return f"{_clipped(name)}: {shown[0]} on {first}, {shown[1]} on {last}, at most {shown[2]} on {day}."


def _unit(values: Iterable[float]) -> tuple[float, str]:
    """Return the unit in which bytes are shown: its size, and its name."""
    most, power = max(values, default=0.0), 0
    while most >= _STEP ** (power + 1) and power < len(_UNITS) - 1:
        power += 1
    return float(_STEP**power), _UNITS[power]


def _span(days: Sequence[date]) -> str:
    return "no days" if not days else str(days[0]) if len(days) == 1 else f"{days[0]} to {days[-1]} (UTC)"


def _clipped(name: str) -> str:
    return shortened(name, _LONGEST)


def _milliseconds(day: date) -> int:
    return round(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)


def _day(days: int) -> alt.X:
    axis = alt.Axis(title=None, format="%d %b", tickCount=min(10, max(1, days)), labelOverlap=True, grid=False)
    return alt.X("day:T", axis=axis, scale=alt.Scale(type="utc"))


def _axis() -> alt.Axis:
    return alt.Axis(format=",.2~f", tickCount=5, domain=False, ticks=False)


def _data(rows: Rows) -> alt.Chart:
    return alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))


def _svg(chart: alt.Chart | alt.LayerChart | alt.FacetChart, text: _Text) -> str:
    title = alt.TitleParams(text.title, subtitle=text.subtitle, anchor="start", frame="bounds", offset=16)
    spec: dict[str, Any] = chart.properties(width=_WIDTH, title=title, background="white", padding=20).to_dict()
    drawn = vl_convert.vegalite_to_svg({**spec, "config": _CONFIG})
    head, _, rest = drawn.partition(">")
    alternative = f'<title id="title">{escape(text.title)}</title><desc id="desc">{escape(text.description)}</desc>'
    return f'{head} role="img" aria-labelledby="title desc">{alternative}{rest}'


_CONFIG: Final = {
    "font": "sans-serif",
    "aria": False,
    "view": {"stroke": None, "continuousHeight": _HEIGHT, "discreteHeight": _HEIGHT},
    "axis": {
        **dict.fromkeys(("gridColor", "domainColor", "tickColor"), _LINE),
        "labelColor": _FAINT,
        "labelFontSize": 12,
    },
    "legend": {
        **dict.fromkeys(("labelFontSize", "titleFontSize"), 12),
        "labelColor": _INK,
        "titleColor": _FAINT,
        "titleFontWeight": "normal",
    },
    "title": {
        "color": _INK,
        "fontSize": 18,
        "fontWeight": 600,
        "subtitleColor": _FAINT,
        "subtitleFontSize": 13,
        "subtitlePadding": 6,
    },
}
