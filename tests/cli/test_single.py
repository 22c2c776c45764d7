"""The commands that look at one thing, or change it."""

import json
from collections.abc import Callable

import pytest
from cli.served import APP, Served
from typer.testing import Result

Command = Callable[..., Result]


@pytest.mark.parametrize("bundle", ["", " ", "unknown", "builtin"])
def test_a_channel_does_not_lose_its_bundle_by_a_slip(server: Served, capgo: Command, bundle: str) -> None:
    channel = server.sandbox.world.apps[APP].channels["production"]
    before = channel.version
    result = capgo("channels", "update", APP, "production", f"bundle={bundle}")
    assert result.exit_code == 2
    assert "bundle" in result.stderr
    assert (channel.version, server.requests()) == (before, 0)


def test_a_bundle_that_is_taken_away_is_seen_to_be_gone(capgo: Command) -> None:
    result = capgo("channels", "update", APP, "production", "bundle=null")
    assert result.exit_code == 0
    assert ["version", "null"] in [line.split() for line in result.stdout.splitlines()]
    assert json.loads(capgo("channels", "get", APP, "production", "--json").stdout)["version"] is None
