"""The pytest plugin: fixtures over a sandbox. See "Test your own code" in the project's README.

Every test run of a project loads it, so it imports pytest alone. Its fixtures await nothing, so they serve all plugins for
asynchronous tests.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from ..client import CapgoClient
    from . import CapgoSandbox, Server, VirtualClock


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line(
        "markers",
        "capgo(*, apps=1, devices=100, limits='off', faults='', seed=0, **settings): the sandbox of this test, as in"
        " capgo_async.testing.CapgoSandbox; those of class and module hold unless the test says otherwise",
    )


def pytest_itemcollected(item: pytest.Item) -> None:
    """Let virtual time begin before other fixtures run."""
    names: list[str] = getattr(item, "fixturenames", [])
    if "capgo_clock" in names:
        names.remove("capgo_clock")
        names.insert(0, "capgo_clock")


@pytest.fixture
def capgo_clock() -> "Iterator[VirtualClock]":
    """Run the test, and its fixtures for a test, in virtual time: nothing waits for real."""
    from .clock import virtual_time  # noqa: PLC0415 - see the module's docstring

    with virtual_time() as clock:
        yield clock


@pytest.fixture
def capgo_sandbox(request: pytest.FixtureRequest) -> "CapgoSandbox":
    """Return a server in the process of the test, as the markers `capgo` want it."""
    from .sandbox import CapgoSandbox  # noqa: PLC0415 - see the module's docstring

    clock = request.getfixturevalue("capgo_clock") if "capgo_clock" in request.fixturenames else None
    options: dict[str, object] = {"clock": clock}
    for marker in reversed(list(request.node.iter_markers("capgo"))):
        if marker.args:
            pytest.fail(f"the marker capgo takes its arguments by name, not {marker.args!r}", pytrace=False)
        options |= marker.kwargs
    try:
        return CapgoSandbox(**options)  # type: ignore[arg-type]  # what a test writes into its marker
    except (TypeError, ValueError) as error:
        pytest.fail(f"the marker capgo of this test: {error}", pytrace=False)


@pytest.fixture
def capgo(capgo_sandbox: "CapgoSandbox") -> "CapgoClient":
    """Return a client of the sandbox, without sockets."""
    return capgo_sandbox.client()


@pytest.fixture
def capgo_server(capgo_sandbox: "CapgoSandbox") -> "Iterator[Server]":
    """Serve the sandbox on a socket, for code that makes its own client and for other programs."""
    with capgo_sandbox.served() as server:
        yield server
