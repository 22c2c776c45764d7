"""Docstrings: a first line that stands alone, and exceptions that say when they are raised."""

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import surface

PACKAGE = Path(__file__).parent.parent / "capgo_async"
LONGEST_FIRST_LINE = 100


Texts = dict[str, str]
"""Texts by their place in the package."""


@functools.cache
def texts() -> tuple[Texts, Texts]:
    """Return every docstring, those of attributes included, and every other text."""
    documentation: Texts = {}
    others: Texts = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        nodes = list(ast.walk(ast.parse(path.read_text())))
        statements = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
        for node in nodes:
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found = documentation if id(node) in statements else others
                found[f"{path.relative_to(PACKAGE)}:{node.lineno}:{node.col_offset}"] = node.value
    return documentation, others


def test_first_lines_are_short() -> None:
    documentation, _ = texts()
    assert {at: text for at, text in documentation.items() if len(text.strip().partition("\n")[0]) > LONGEST_FIRST_LINE} == {}


def test_run_time_texts_refer_to_nothing_that_readers_do_not_have() -> None:
    _, others = texts()
    assert {at: text for at, text in others.items() if re.search(r"\bcontract\b", text)} == {}


def test_exceptions_say_when_they_are_raised() -> None:
    documentation, _ = texts()
    assert {at: text for at, text in documentation.items() if text.startswith("Say ")} == {}
    unlike = [
        node.name
        for node in ast.walk(ast.parse((PACKAGE / "errors.py").read_text()))
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base).endswith(("Error", "Exception")) for base in node.bases)
        and not (ast.get_docstring(node) or "").startswith(("Raised ", "Base "))
    ]
    assert unlike == []


def calls() -> Iterator[tuple[str, str]]:
    """Yield the name and the docstring of every public function and method that awaits something, or lists."""
    for module in ("", "bulk"):
        for name in surface.names_of(module):
            for node in found.nodes if (found := surface.find(module, name)) else ():
                is_protocol = isinstance(node, ast.ClassDef) and "Protocol" in map(ast.unparse, node.bases)
                for each in node.body if isinstance(node, ast.ClassDef) and not is_protocol else [node]:
                    if isinstance(each, surface.Function) and not each.name.startswith("_") and waits(each):
                        yield f"{name}.{each.name}", ast.get_docstring(each) or ""


def waits(function: surface.Function) -> bool:
    decorators = set(map(ast.unparse, function.decorator_list))
    lists = function.returns is not None and ast.unparse(function.returns).startswith("Listing[")
    return not decorators & {"property", "overload"} and (lists or isinstance(function, ast.AsyncFunctionDef))


def test_public_calls_say_what_they_raise_and_what_repeating_them_does() -> None:
    told = dict(calls())

    assert len(told) > 70
    assert [name for name, text in told.items() if not re.search(r"\b[Rr]aises?\b", text)] == []
    assert [name for name, text in told.items() if not re.search(r"\b[Rr]epeat", text)] == []
