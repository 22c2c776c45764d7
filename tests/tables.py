"""Tests of many cheap rows."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

Test = Callable[..., None]


def on_each(*columns: Iterable[Any], name: Callable[..., str] = lambda *row: repr(row)) -> Callable[[Test], Test]:
    """Make one test that calls a function with each row of a table: each combination of the columns' values.

    It fails at the first row that fails, and `name` says which that is. Each test costs pytest 5 ms beside its own time. So
    this is for tables of dozens of rows that need no fixtures; others are shorter and clearer with `pytest.mark.parametrize`.
    """
    rows = list(itertools.product(*columns))

    def decorate(function: Test) -> Test:
        def test() -> None:
            for row in rows:
                try:
                    function(*row)
                except BaseException as error:
                    error.add_note(f"in the row: {name(*row)}")
                    raise

        # As functools.wraps does, except for the signature: pytest would take its parameters for fixtures.
        test.__name__, test.__qualname__, test.__doc__ = function.__name__, function.__qualname__, function.__doc__
        test.__module__ = function.__module__
        return test

    return decorate
