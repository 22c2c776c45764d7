"""Fixtures for all tests."""

import os
import signal
import sys
import time
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import aiohttp
import aioresponses.core
import pytest
from hypothesis import settings

os.environ["CAPGO_CACHE"] = ""
"""Commands in tests must not store what they learn about sandboxes on this machine."""

os.environ["TZ"] = "UTC"
time.tzset()
"""Times are shown in the zone of the machine."""

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
"""Keep byte code, of processes that are started and of the tests: compiling it anew takes a third of their time."""

signal.signal(signal.SIGHUP, signal.SIG_DFL)
"""Under `nohup` it is ignored, and the command would leave it so."""

settings.register_profile("quick", deadline=None, max_examples=40)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "quick"))
"""Each run draws other examples, so few are enough, run after run."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as quick what is not marked as slow."""
    for item in items:
        if item.get_closest_marker("slow") is None:
            item.add_marker(pytest.mark.quick)


class _MockedResponse(aiohttp.ClientResponse):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, stream_writer=Mock(output_size=0), **kwargs)


@pytest.fixture
def mocked(monkeypatch: pytest.MonkeyPatch) -> Iterator[aioresponses.core.aioresponses]:
    """Mock aiohttp's client without a socket."""
    if "stream_writer" in aiohttp.ClientResponse.__init__.__annotations__:
        # aioresponses 0.7.9, the newest release, lacks an argument of aiohttp 3.14's responses (its issue 289).
        monkeypatch.setattr(aioresponses.core, "ClientResponse", _MockedResponse)
    with aioresponses.core.aioresponses() as mock:
        yield mock
