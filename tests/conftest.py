"""Fixtures for all tests."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from unittest.mock import Mock

import aiohttp
import aioresponses.core
import pytest
from hypothesis import settings

os.environ["CAPGO_CACHE"] = ""
"""What commands learn of sandboxes is nothing to keep on the machine that runs the tests."""

settings.register_profile("without a clock", deadline=None)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "without a clock"))


_UNTRACED: Final = (
    "benchmarks/test_optimum",
    "benchmarks/test_pacing",
    "bulk/test_fan_out",
    "bulk/test_forecast",
    "bulk/test_inventory",
    "bulk/test_resting",
    "bulk/test_schedule",
    "bulk/test_sources",
    "bulk/test_states",
    "bulk/test_under_limits",
    "cli/test_progress",
    "cli/test_waves",
    "client/test_any_answer",
    "client/test_paging",
    "client/test_ranges",
    "client/test_splitting",
    "pacing/test_eager",
    "pacing/test_others",
    "sandbox/test_pages",
)
"""Whole jobs, whole fleets and long searches: with coverage they take three to seven times as long."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Measure the coverage of all tests but those."""
    for item in items:
        if item.path.relative_to(Path(__file__).parent).with_suffix("").as_posix() in _UNTRACED:
            item.add_marker("no_cover")


class _MockedResponse(aiohttp.ClientResponse):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, stream_writer=Mock(output_size=0), **kwargs)


@pytest.fixture
def mocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[aioresponses.core.aioresponses]:
    """Answer for aiohttp's client without a socket."""
    if "stream_writer" in aiohttp.ClientResponse.__init__.__annotations__:
        # aioresponses 0.7.9, its newest release, makes responses without what aiohttp 3.14 asks for: its issue 289.
        monkeypatch.setattr(aioresponses.core, "ClientResponse", _MockedResponse)
    with aioresponses.core.aioresponses() as mock:
        yield mock
