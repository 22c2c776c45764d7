"""Fixtures for all tests."""

import os
from collections.abc import Iterator
from typing import Any
from unittest.mock import Mock

import aiohttp
import aioresponses.core
import pytest
from hypothesis import settings

os.environ["CAPGO_CACHE"] = ""
"""What commands learn of sandboxes is nothing to keep on the machine that runs the tests."""

os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
"""Commands that are started as processes keep their byte code: compiling it anew takes a third of their time."""

settings.register_profile("without a clock", deadline=None)
settings.register_profile("thorough", deadline=None, max_examples=2000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "without a clock"))


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
