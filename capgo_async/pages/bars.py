"""Charts of counts: bars, the parts of a whole, and ribbons from where to where."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, Literal

import altair as alt

from ..bulk.picture import AppTotals, Flow
from ..bulk.report import Wave
from .colours import colour_of, paint
from .frames import BARE, WIDTHS, Drawn, Frame, Key, Values, alone, beside, both, counts_axis, data, fitted, svg, width_of
from .ribbons import Ends, Ribbon, laid_out
from .words import MOST_APPS, Drawing, state_in_words

_MOST: Final = 12
"""Bars of a chart; what is smaller is one bar together."""
_OUTCOMES: Final = ("done", "failed", "pending")
_ROOM_OF_ENDS: Final[Mapping[str, int]] = {"wide": 200, "narrow": 66}
"""Pixels that a name beside a ribbon may take."""
_BELOW_ENDS: Final = 10


def key_of(states: Iterable[str]) -> Key:
    """Return the states with their colours, each once."""
    return [(state, colour_of(state)) for state in dict.fromkeys(states)]


def bars_of_apps(apps: Sequence[AppTotals]) -> Drawing:
    """Draw one bar for each app; the smallest apps are one bar together."""
    shown = [(app.app_id, [getattr(app, part) for part in _OUTCOMES]) for app in apps[:MOST_APPS]]
    if rest := apps[MOST_APPS:]:
        shown.append((f"{len(rest):,} others", [sum(getattr(app, part) for app in rest) for part in _OUTCOMES]))
    names = [name for name, _ in shown]

    def draw(frame: Frame) -> Drawn:
        rows = [
            {"line": line, "count": count, "colour": paint(colour_of(part)), "turn": turn}
            for line, (_, counts) in enumerate(shown)
            for turn, (part, count) in enumerate(zip(_OUTCOMES, counts, strict=True))
        ]
        bar = data(rows).encode(x=alt.X("count:Q", title=None, axis=counts_axis(frame)), y=_line(), order="turn:Q")
        drawn = bar.encode(color=alt.Color("colour:N", scale=None)).mark_bar(height={"band": 0.7})
        return alt.layer(drawn, _named(names, frame)).properties(height=24 * len(shown))

    return both(draw, key_of(_OUTCOMES), beside(names))


def bars(counts: Sequence[tuple[str, int]], colour: str) -> Drawing:
    """Draw one bar for each named count, with its number at the end."""
    shown = [*counts[:_MOST]]
    if rest := sum(count for _, count in counts[_MOST:]):
        shown.append((f"{len(counts) - _MOST:,} others", rest))
    names = [name for name, _ in shown]

    def draw(frame: Frame) -> Drawn:
        rows = [{"line": line, "count": count, "text": f"{count:,}"} for line, (_, count) in enumerate(shown)]
        scale = alt.Scale(domain=[0, max(count for _, count in shown) * (1.3 if frame.narrow else 1.1)], nice=False)
        base = data(rows).encode(x=alt.X("count:Q", title=None, axis=None, scale=scale), y=_line())
        bar = base.mark_bar(color=paint(colour), height={"band": 0.65})
        text = base.encode(text="text:N").mark_text(align="left", dx=6)
        return alt.layer(bar, text, _named(names, frame)).properties(height=26 * len(rows))

    return both(draw, frame=beside(names, BARE))


def _line() -> alt.Y:
    return alt.Y("line:O", axis=None)


def _named(names: Sequence[str], frame: Frame) -> alt.Chart:
    """Return the names of the lines, left of the plot.

    Names that differ have lines of their own, also if they look alike once they are cut.
    """
    rows = [{"line": line, "name": fitted(name, frame.room)} for line, name in enumerate(names)]
    text: alt.Chart = data(rows).encode(x=alt.value(0), y=_line(), text="name:N").mark_text(align="right", dx=-8)
    return text


def parts(counted: Sequence[tuple[str, float]]) -> Drawing:
    """Draw one bar with its parts."""
    return both(lambda frame: _parts(counted, frame), key_of(name for name, _ in counted), alone)


def _parts(counted: Sequence[tuple[str, float]], frame: Frame) -> Drawn:
    rows = [{"count": count, "colour": paint(colour_of(name)), "turn": turn} for turn, (name, count) in enumerate(counted)]
    scale = alt.Scale(domain=[0, sum(count for _, count in counted)], nice=False)
    bar = data(rows).encode(x=alt.X("count:Q", title=None, axis=counts_axis(frame), scale=scale), order="turn:Q")
    drawn = bar.encode(color=alt.Color("colour:N", scale=None)).mark_bar(stroke=paint("page"))
    return alt.layer(drawn).properties(height=34)


def strip_of_waves(waves: Sequence[Wave]) -> Drawing:
    """Draw the waves one after the other, each as wide as it has operations."""
    key = key_of(state_in_words(wave.state) for wave in waves)
    return both(lambda frame: _strip_of_waves(waves, frame), key, alone)


def _strip_of_waves(waves: Sequence[Wave], frame: Frame) -> Drawn:
    rows: list[dict[str, object]] = []
    begin, total = 0, sum(wave.operations for wave in waves)
    for wave in waves:
        end, middle = begin + wave.operations, begin + wave.operations / 2
        name = wave.share if wave.operations * frame.plot > 48 * total else ""
        colour = paint(colour_of(state_in_words(wave.state)))
        rows.append({"begin": begin, "end": end, "middle": middle, "colour": colour, "name": name})
        begin = end
    scale = alt.Scale(domain=[0, max(1, total)], nice=False)
    bar = data(rows).encode(x=alt.X("begin:Q", title=None, axis=counts_axis(frame), scale=scale), x2="end:Q")
    drawn = bar.encode(color=alt.Color("colour:N", scale=None)).mark_bar(stroke=paint("page"), strokeWidth=2)
    text = data(rows).encode(x=alt.X("middle:Q"), text="name:N").mark_text()
    return alt.layer(drawn, text).properties(height=40)


def ribbons(found: Sequence[Flow]) -> Drawing:
    """Draw a ribbon for each flow, from the state before on the left to the state after on the right."""
    return Drawing(variants={variant: _ribbons(found, width, _ROOM_OF_ENDS[variant]) for variant, width in WIDTHS.items()})


def _ribbons(found: Sequence[Flow], width: int, room: int) -> str:
    layout = laid_out(found)
    sides = [[_node(end, at, room) for end in ends] for at, ends in enumerate((layout.before, layout.after))]
    left, right = (round(max(width_of(str(node["name"])) for node in nodes)) + 14 for nodes in sides)
    scale = alt.Scale(domain=[layout.height, 0], nice=False, zero=False)
    top, middle = (alt.Y(f"{field}:Q", axis=None, scale=scale) for field in ("top", "middle"))
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[0, 1], nice=False))
    outlines: Values = [point for ribbon in layout.ribbons for point in _outline(ribbon)]
    area = data(outlines).mark_area(interpolate="monotone", opacity=0.4, color=paint("done"))
    layers = [area.encode(x=x, y=top, y2="bottom:Q", detail="flow:N")]
    aligned: tuple[Literal["right", "left"], ...] = ("right", "left")
    for nodes, align, dx in zip(sides, aligned, (-10, 10), strict=True):
        layers.append(data(nodes).mark_rule(strokeWidth=8, color=paint("done")).encode(x=x, y=top, y2="bottom:Q"))
        layers.append(data(nodes).mark_text(align=align, dx=dx).encode(x=x, y=middle, text="name:N"))
    height = max(110, 38 * max(map(len, sides)))
    return svg(alt.layer(*layers).properties(height=height), Frame(width, left, right, bottom=_BELOW_ENDS))


def _outline(ribbon: Ribbon) -> Iterable[dict[str, object]]:
    for x, (top, bottom) in ((0.0, ribbon.left), (0.1, ribbon.left), (0.9, ribbon.right), (1.0, ribbon.right)):
        yield {"flow": ribbon.number, "x": x, "top": top, "bottom": bottom}


def _node(end: Ends, at: int, room: int) -> dict[str, object]:
    name = f"{fitted(end.name, room)} {end.operations:,}"
    return {"x": at, "top": end.top, "bottom": end.bottom, "middle": (end.top + end.bottom) / 2, "name": name}
