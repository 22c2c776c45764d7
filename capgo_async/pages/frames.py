"""How charts become SVG text: their space, their axes, their colours.

Colours are CSS variables of the page, so that charts follow light and dark. The names of colours stand beside a chart as text
of the page, and space for the names of rows is reserved by their number of characters, so nothing depends on the fonts of the
machine that draws. Charts as wide as the page are drawn twice: scaled to a phone, their text would be too small to read.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import altair as alt
import msgspec
import vl_convert

from .colours import paint
from .words import Drawing, clipped, shortened

Values = Sequence[Mapping[str, object]]
Drawn = alt.LayerChart | alt.FacetChart
"""What altair says that layers become."""
Key = Sequence[tuple[str, str]]
"""Names with the colours that stand for them."""

WIDTHS: Final[Mapping[str, int]] = {"wide": 880, "narrow": 350}
"""Width of each variant in pixels."""
_NARROW: Final = 500
_NARROW_LETTERS: Final = frozenset("Iijlft.,:;'|!()[]/ -")
_WIDE_LETTERS: Final = frozenset("mwMW@%…")
_SCRIPTS: Final = 0x1100
"""From this character on, many are as wide as high."""
_BESIDE: Final = 12
_FEWEST: Final = 3
_LABEL: Final = 18
"""Half of the label of an axis."""
BARE: Final = 4
"""What is kept free below a chart without an axis."""
NO_UNIT: Final = "datum.value ? datum.label : '0'"
"""Writes 0 and not 0k."""
_FAINT, _LINE = paint("faint"), paint("line")


class Frame(msgspec.Struct, frozen=True):
    """The space of a chart in pixels: its width, and what is kept free around the plot."""

    width: int
    left: int = 66
    right: int = 32
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
    def room(self) -> int:
        """Return how many pixels a name beside the plot may take."""
        return 140 if self.narrow else 300


def data(rows: Values) -> alt.Chart:
    """Return a chart of rows."""
    return alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))


def counts_axis(frame: Frame) -> alt.Axis:
    """Return the axis of counts."""
    return alt.Axis(format="~s", tickCount=3 if frame.narrow else 6, labelFlush=True, labelExpr=NO_UNIT)


def both(draw: Callable[[Frame], Drawn], key: Key = (), frame: Callable[[int], Frame] = Frame) -> Drawing:
    """Draw a chart for both widths. `frame` returns the space for a width."""
    frames = {variant: frame(width) for variant, width in WIDTHS.items()}
    return Drawing(key=tuple(key), variants={variant: svg(draw(frame), frame) for variant, frame in frames.items()})


def width_of(text: str) -> float:
    """Return the most pixels that a text takes in a wide font of 12 pixels."""
    return sum(map(_pixels, text))


def _pixels(letter: str) -> float:
    if letter in _NARROW_LETTERS:
        return 5.5
    return 12.0 if letter in _WIDE_LETTERS or ord(letter) >= _SCRIPTS else 9.0 if letter.isupper() else 8.0


def fitted(name: str, room: float) -> str:
    """Return a name that takes at most so many pixels. Of a long one, both ends remain: many begin alike."""
    name = clipped(name)
    most = len(name)
    while most > _FEWEST and width_of(shortened(name, most)) > room:
        most -= 1
    return shortened(name, most)


def beside(names: Sequence[str], bottom: int = 26) -> Callable[[int], Frame]:
    """Return the space of a chart with the names of its lines on the left."""

    def frame(width: int) -> Frame:
        room = Frame(width).room
        return Frame(width, left=round(max(width_of(fitted(name, room)) for name in names)) + _BESIDE, bottom=bottom)

    return frame


def alone(width: int) -> Frame:
    """Return the space of a chart with nothing on the left."""
    return Frame(width, left=2, right=_LABEL)


def svg(chart: Drawn, frame: Frame) -> str:
    """Return a chart as SVG text."""
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
    "text": {"color": paint("ink"), "fontSize": 12},
    "title": {"color": _FAINT, "fontSize": 12, "fontWeight": "normal"},
}
