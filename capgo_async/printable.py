"""Text of servers and devices without characters that control a terminal, or crash what draws charts."""

import struct
from typing import Final

_KEPT: Final = frozenset("\n\t")


def printable(text: str) -> str:
    """Return `text` with everything escaped that could control a terminal. JSON stays the same JSON."""
    if text.isprintable():
        return text
    return "".join(each if each.isprintable() or each in _KEPT else _escaped(each) for each in text)


def _escaped(character: str) -> str:
    return "".join(f"\\u{unit:04x}" for (unit,) in struct.iter_unpack(">H", character.encode("utf-16-be", "surrogatepass")))
