"""Writes what works, and what is left out, into the README: from the conformance table and from the list below.

    PYTHONPATH=.:tests python -m conformance.readme

replaces what stands between the marks; a test keeps the README and the tables the same.
"""

import re
from pathlib import Path
from typing import Final, NamedTuple

from conformance.exchanges import Row
from conformance.rows import ROWS

README: Final = Path(__file__).parent.parent.parent / "README.md"
GENERATIONS: Final = ("2026-11", "2026-07", "docs", "seed")
_ANY: Final = "* "


class LeftOut(NamedTuple):
    """Routes of the contract that no method calls, as patterns, and why."""

    routes: tuple[str, ...]
    why: str


LEFT_OUT: Final = (
    LeftOut(
        ("* /webhooks", "* /webhooks/*"),
        "A webhook is set up once, in the console. No bulk work needs one.",
    ),
    LeftOut(
        ("POST /notifications/update-check", "* /notifications/*"),
        "Reaches people. Without a target an update check goes to every device, and a repeat is another campaign.",
    ),
    LeftOut(
        ("* /build/*",),
        "Uploads in pieces and streams of logs need another kind of client; the vendor's command has it.",
    ),
    LeftOut(("POST /app/demo", "POST /app/store-metadata"), "Onboarding: made for the console's first steps."),
    LeftOut(
        ("GET /channel/current-bundle",),
        "Not every server has it, in two forms. `channels.get` tells the same everywhere.",
    ),
    LeftOut(
        ("POST /bundle/ai_bump_level", "* /bundle/prepare", "GET /bundle/lookup"),
        "For the vendor's uploads; some exist only in drafts.",
    ),
    LeftOut(("PUT /apikey",), "The same as `PUT /apikey/:id`, with the id in the body."),
    LeftOut(("POST /ok", "HEAD /ok"), "The same as `GET /ok`."),
    LeftOut(
        ("GET /replication", "GET /plugin_regions", "POST /translation/messages", "GET /queue_health", "* /private/*"),
        "The vendor's own: internal, or for the console. They change without notice.",
    ),
    LeftOut(("* /mcp", "* /mcp/*"), "For assistants. Its tools wrap this API, one object at a time."),
)


def sections() -> dict[str, str]:
    """Return each section of the README by the name in its marks."""
    return {"what works": _what_works(), "what is left out": _what_is_left_out()}


def updated(text: str) -> str:
    """Return the text of the README with today's tables; raises `ValueError` where its marks are missing."""
    for name, table in sections().items():
        begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
        before, rest = text[: text.index(begin)], text[text.index(end) + len(end) :]
        text = f"{before}{begin}\n{table}\n{end}{rest}"
    return text


def _what_works() -> str:
    """Return the conformance table as Markdown: a line for each method and path, a column for each generation."""
    calls: dict[tuple[str, str], list[Row]] = {}
    for row in ROWS:
        calls.setdefault((row.method, _plain(row.http)), []).append(row)
    columns = ("method", "HTTP", *GENERATIONS, "also", "errors")
    lines = [_line(method, http, rows) for (method, http), rows in calls.items()]
    return "\n".join([f"| {' | '.join(columns)} |", "|---" * len(columns) + "|", *lines])


def _line(method: str, http: str, rows: list[Row]) -> str:
    found = [_plain(generation.name) for row in rows for generation in row.generations]
    known = ["yes" if name in found else "" for name in GENERATIONS]
    others = [name for name in dict.fromkeys(found) if name not in GENERATIONS]
    kinds = {refusal.kind.__name__ for row in rows for refusal in row.refusals}
    cells = (f"`{method}`", f"`{http}`", *known, ", ".join(others), ", ".join(sorted(kinds)))
    return f"| {' | '.join(cells)} |"


def _what_is_left_out() -> str:
    lines = []
    for routes, why in LEFT_OUT:
        shown = ", ".join(f"`{route.removeprefix(_ANY)}`" for route in routes)
        lines.append(f"| {shown} | {why} |")
    return "\n".join(["| left out | why |", "|---|---|", *lines])


def _plain(name: str) -> str:
    """Return a name without what tells its variants apart."""
    return re.split(r"\?| \(|, ", name)[0]


if __name__ == "__main__":
    README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8")
