"""Docstrings: a first line that stands alone, and exceptions that say when they are raised."""

import ast
from collections.abc import Iterator
from pathlib import Path

PACKAGE = Path(__file__).parent.parent / "capgo_async"
LONGEST_FIRST_LINE = 100


def docstrings() -> Iterator[tuple[str, str]]:
    """Yield the place and the text of every docstring, those of attributes included."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
                yield f"{path.relative_to(PACKAGE)}:{node.lineno}", node.value.value


def test_first_lines_are_short() -> None:
    assert {place: text for place, text in docstrings() if len(text.strip().partition("\n")[0]) > LONGEST_FIRST_LINE} == {}


def test_exceptions_say_when_they_are_raised() -> None:
    assert {place: text for place, text in docstrings() if text.startswith("Say ")} == {}
    unlike = [
        node.name
        for node in ast.walk(ast.parse((PACKAGE / "errors.py").read_text()))
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base).endswith(("Error", "Exception")) for base in node.bases)
        and not (ast.get_docstring(node) or "").startswith(("Raised ", "Base "))
    ]
    assert unlike == []
