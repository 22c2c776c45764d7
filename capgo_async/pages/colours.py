"""Which colour stands for what. The colours themselves are in `page.css`, for light and for dark."""

from collections.abc import Mapping
from typing import Final

_COLOURS: Final[Mapping[str, str]] = {
    "verified": "verified",
    "done": "done",
    "done, not checked": "done",
    "cannot tell": "unsure",
    "contradicted": "contradicted",
    "failed": "failed",
    "pending": "pending",
    "begun": "done",
    "under way": "done",
    "stopped": "failed",
    "not shown by the server": "unsure",
    "pause": "rest",
    "finished": "done",
    "interrupted": "refused",
    "killed": "contradicted",
    "verification": "verified",
    "planning": "unsure",
    "check": "unsure",
    "runs it": "verified",
    "runs another bundle": "pending",
    "unknown to the server": "refused",
}


def colour_of(state: str) -> str:
    """Return the name of the colour of a state or a part."""
    if state.startswith("approval"):
        return "failed" if state.endswith("declined") else "asked"
    return _COLOURS.get(state, "unsure")


def paint(colour: str) -> str:
    """Return a colour by its name in `page.css`, as CSS."""
    return f"var(--{colour})"
