"""Charts, which the statistics routes returned in the seed era (contract C9)."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from .exchange import Document

_SIDE: Final = 700
_MARGIN: Final = 60
_COLOURS: Final = ("#36a2eb", "#ff6384", "#4bc0c0", "#ff9f40", "#9966ff", "#ffcd56")


def chart(title: str, labels: Sequence[str], lines: Mapping[str, Sequence[float]]) -> Document:
    """Draw one line for each series over the days, 700 by 700 pixels."""
    highest = max((value for line in lines.values() for value in line), default=0) or 1
    drawn = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_SIDE}" height="{_SIDE}" viewBox="0 0 {_SIDE} {_SIDE}">',
        f'<rect width="{_SIDE}" height="{_SIDE}" fill="#fff"/>',
        _words(_SIDE / 2, _MARGIN / 2, title),
        _words(_MARGIN / 2, _MARGIN, f"{highest:g}"),
        *(_words(_across(index, len(labels)), _SIDE - _MARGIN / 2, label) for index, label in enumerate(labels)),
    ]
    for number, (name, line) in enumerate(lines.items()):
        points = " ".join(f"{_across(index, len(line)):.1f},{_up(value / highest):.1f}" for index, value in enumerate(line))
        colour = _COLOURS[number % len(_COLOURS)]
        drawn.append(f'<polyline points="{points}" fill="none" stroke="{colour}"><title>{escape(name)}</title></polyline>')
    return Document(content_type="image/svg+xml", body="\n".join([*drawn, "</svg>", ""]).encode())


def _words(x: float, y: float, words: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="11" text-anchor="middle">{escape(words)}</text>'


def _across(index: int, count: int) -> float:
    return _MARGIN + (_SIDE - 2 * _MARGIN) * index / max(1, count - 1)


def _up(share: float) -> float:
    return _SIDE - _MARGIN - (_SIDE - 2 * _MARGIN) * share
