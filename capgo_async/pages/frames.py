"""How charts become SVG text: their space, their axes, their colours.

Colours are CSS variables of the page, so that charts follow light and dark. The names of colours stand beside a chart as text
of the page, and space for the names of rows is reserved by their number of characters, so nothing depends on the fonts of the
machine that draws. Charts as wide as the page are drawn twice: scaled to a phone, their text would be too small to read.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

import altair as alt
import msgspec
import vl_convert

from .colours import paint
from .words import Drawing

Values = Sequence[Mapping[str, object]]
Drawn = alt.LayerChart | alt.FacetChart
"""What altair says that layers become."""
Key = Sequence[tuple[str, str]]
"""Names with the colours that stand for them."""

WIDTHS: Final[Mapping[str, int]] = {"wide": 880, "narrow": 350}
"""Width of each variant in pixels."""
_NARROW: Final = 500
CHARACTER: Final = 7.4
"""Pixels of a character of an average name in a wide font of 12 pixels."""
NO_UNIT: Final = "datum.value ? datum.label : '0'"
"""Writes 0 and not 0k."""
_FAINT, _LINE = paint("faint"), paint("line")


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


def data(rows: Values) -> alt.Chart:
    """Return a chart of rows."""
    return alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))


def counts_axis(frame: Frame) -> alt.Axis:
    """Return the axis of counts."""
    return alt.Axis(format="~s", tickCount=3 if frame.narrow else 6, labelFlush=True, labelExpr=NO_UNIT)


def both(draw: Callable[[Frame], Drawn], key: Key = (), names: Iterable[str] = ()) -> Drawing:
    """Draw a chart for both widths. `names` are those of its lines, for which it needs space."""
    longest = max(map(len, names), default=0)
    frames = {variant: _frame(width, longest) for variant, width in WIDTHS.items()}
    return Drawing(key=tuple(key), variants={variant: svg(draw(frame), frame) for variant, frame in frames.items()})


def _frame(width: int, longest: int) -> Frame:
    frame = Frame(width)
    return Frame(width, left=round(min(longest, frame.letters) * CHARACTER) + 12) if longest else frame


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
