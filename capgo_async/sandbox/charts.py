"""Charts, which the statistics routes returned in the seed era (contract C9)."""

from collections.abc import Mapping, Sequence
from html import escape
from typing import Final

from .exchange import Document

_SIDE: Final = 700


def chart(lines: Mapping[str, Sequence[float]]) -> Document:
    """Draw a titled line for each series, 700 by 700 pixels."""
    highest = max((value for line in lines.values() for value in line), default=0) or 1
    drawn = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{_SIDE}" height="{_SIDE}">']
    for name, line in lines.items():
        step = _SIDE / max(1, len(line) - 1)
        points = " ".join(f"{index * step:.1f},{_SIDE * (1 - value / highest):.1f}" for index, value in enumerate(line))
        drawn.append(f'<polyline points="{points}" fill="none" stroke="black"><title>{escape(name)}</title></polyline>')
    return Document(content_type="image/svg+xml", body="\n".join([*drawn, "</svg>", ""]).encode())
