"""Writes the list of what works into the README, from the conformance table.

    PYTHONPATH=.:tests python -m conformance.readme

replaces what stands between the two marks; a test keeps the README and the table the same.
"""

import re
from pathlib import Path
from typing import Final

from conformance.exchanges import Row
from conformance.rows import ROWS

README: Final = Path(__file__).parent.parent.parent / "README.md"
BEGIN: Final = "<!-- what works: begin -->"
END: Final = "<!-- what works: end -->"


def section() -> str:
    """Return the table as Markdown, between its marks: a line for each method and path."""
    calls: dict[tuple[str, str], list[Row]] = {}
    for row in ROWS:
        calls.setdefault((row.method, _plain(row.http)), []).append(row)
    head = ["| method | HTTP | generations | errors |", "|---|---|---|---|"]
    return "\n".join([BEGIN, *head, *(_line(method, http, rows) for (method, http), rows in calls.items()), END])


def updated(text: str) -> str:
    """Return the text of the README with today's table; raises `ValueError` where its marks are missing."""
    before, rest = text[: text.index(BEGIN)], text[text.index(END) + len(END) :]
    return f"{before}{section()}{rest}"


def _line(method: str, http: str, rows: list[Row]) -> str:
    generations = [_plain(generation.name) for row in rows for generation in row.generations if not generation.unfulfilled]
    kinds = {refusal.kind.__name__ for row in rows for refusal in row.refusals}
    return f"| `{method}` | `{http}` | {', '.join(dict.fromkeys(generations))} | {', '.join(sorted(kinds))} |"


def _plain(name: str) -> str:
    """Return a name without what tells its variants apart."""
    return re.split(r"\?| \(|, ", name)[0]


if __name__ == "__main__":
    README.write_text(updated(README.read_text(encoding="utf-8")), encoding="utf-8")
