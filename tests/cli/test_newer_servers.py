"""Rollouts that a change ends, devices by custom id, and links that a server may keep: what the commands ask for and say."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.conftest import Command
from cli.served import APP, Served, csv_of, served

from capgo_async.sandbox.seeding import device_id
from capgo_async.sandbox.state.channels import Channel

pytestmark = pytest.mark.slow

PROMOTE = ("bundles", "promote", APP, "1.0.0", "beta")
UPDATE = ("channels", "update", APP, "beta", "bundle=1.0.0")
MANY = ("bundles", "promote", "1.0.0", "beta", "--everywhere", "--yes", "--job", "a.capgo-job")
MANY_UPDATES = ("channels", "update", "beta", "bundle=1.0.0", "--everywhere", "--yes", "--job", "a.capgo-job")


@pytest.fixture
def server() -> Iterator[Served]:
    with served() as found:
        yield found


def rollout(server: Served) -> Channel:
    """Start a rollout of 1.1.0 in the channel beta, and return the channel."""
    app = server.sandbox.world.apps[APP]
    beta, bundle = app.channels["beta"], app.bundle_named("1.1.0")
    assert bundle is not None
    beta.rollout.version, beta.rollout.enabled, beta.rollout.percentage_bps = bundle.id, True, 2500
    return beta


@pytest.mark.parametrize("words", [PROMOTE, UPDATE, MANY, MANY_UPDATES], ids=["promote", "update", "many", "many updates"])
def test_a_rollout_ends_only_with_the_option(words: tuple[str, ...], server: Served, capgo: Command) -> None:
    beta = rollout(server)
    before = beta.version
    refused = capgo(*words)
    assert refused.exit_code == 2
    assert "has a rollout of 1.1.0, which this would end" in refused.stderr
    assert "--end-rollouts" in refused.stderr
    assert (beta.version, beta.rollout.enabled) == (before, True)
    done = capgo(*words, "--end-rollouts")
    assert done.exit_code == 0
    assert server.sandbox.world.apps[APP].bundles[beta.version or 0].name == "1.0.0"
    assert beta.rollout.version is None
    if "--yes" in words:
        assert "bundle 1.0.0" in done.stderr or "bundle=" in done.stderr
        assert ", ending the rollout of 1.1.0: 1 channel" in done.stderr


def test_a_device_is_found_by_its_custom_id(capgo: Command) -> None:
    named = capgo("devices", "find", APP, "user-0", "--json")
    assert named.exit_code == 0
    assert json.loads(named.stdout)["device_id"] == device_id(APP, 0)
    nobody = capgo("devices", "find", APP, "user-1")
    assert nobody.exit_code == 2
    assert f"no device of {APP} has the custom id 'user-1'" in nobody.stderr
    assert nobody.stdout == ""


def test_links_may_expire_unless_the_user_knows_that_they_are_kept(capgo: Command) -> None:
    source = csv_of(Path("devices.csv"), 3)
    relink = ("devices", "relink", str(source), "--app", APP, "--channel", "alpha", "--yes")
    told = capgo(*relink, "--job", "a.capgo-job")
    assert "links may expire from 30 days after they are set" in told.stderr
    assert "these links may expire from 20" in told.stdout
    renewal = ("devices", "renew", str(source), "--app", APP, "--yes", "--keeps-links", "--json")
    kept = capgo(*renewal, "--job", "b.capgo-job")
    assert json.loads(kept.stdout)["skipped"] == 3
    assert kept.exit_code == 0
    assert "needs no renewal" in kept.stderr
    other = capgo(
        "devices", "relink", str(source), "--app", APP, "--channel", "beta", "--yes", "--keeps-links", "--job", "c.capgo-job"
    )
    assert "expire" not in other.stderr + other.stdout
