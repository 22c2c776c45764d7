"""Changes of channels and bundles in many apps, proofs and ways back, from the command line."""

import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cli.conftest import Command
from cli.served import APP, KEY, Served, csv_of, served

from capgo_async.sandbox import Binding
from capgo_async.sandbox.seeding import ORG_ID

pytestmark = pytest.mark.slow

APPS = ("com.example.app01", "com.example.app02", "com.example.app03")


@pytest.fixture
def server() -> Iterator[Served]:
    with served(apps=3, devices=60) as found:
        yield found


def channels(server: Served) -> dict[tuple[str, str], Any]:
    return {
        (app_id, name): (app.bundles[channel.version].name if channel.version else None, channel.allow_dev)
        for app_id, app in server.sandbox.world.apps.items()
        for name, channel in app.channels.items()
    }


def bundles(server: Served) -> dict[tuple[str, str], Any]:
    return {
        (app_id, bundle.name): bundle.comment
        for app_id, app in server.sandbox.world.apps.items()
        for bundle in app.bundles.values()
        if not bundle.deleted
    }


UPDATED = {(app, "beta"): ("1.2.0", False) for app in APPS}
PROMOTED = {(app, "beta"): ("1.0.0", True) for app in APPS}


@pytest.mark.parametrize(
    ("words", "rows", "wanted"),
    [
        (("channels", "update", "beta", "allow_dev=false", "--everywhere"), "", UPDATED),
        (("channels", "update", "allow_dev=false", "--from", "rows.csv"), "app_id,channel\n{},beta", UPDATED),
        (("channels", "update", "allow_dev=false", "--from", "rows.jsonl"), '{{"app_id":"{}","channel":"beta"}}', UPDATED),
        (("bundles", "promote", "1.0.0", "beta", "--everywhere"), "", PROMOTED),
        (("bundles", "promote", "1.0.0", "--from", "rows.csv"), "app_id,channel\n{},beta", PROMOTED),
        (("bundles", "promote", "--from", "rows.csv"), "app_id,channel,bundle\n{},beta,1.0.0", PROMOTED),
        (("channels", "delete", "beta", "--everywhere"), "", dict.fromkeys(PROMOTED)),
        (("channels", "delete", "--from", "rows.csv"), "app_id,channel\n{},beta", dict.fromkeys(PROMOTED)),
    ],
)
def test_channels_of_many_apps_are_changed(
    words: tuple[str, ...], rows: str, wanted: dict[Any, Any], server: Served, capgo: Command
) -> None:
    before = channels(server)
    header, _, line = rows.rpartition("\n")
    for name in ("rows.csv", "rows.jsonl"):
        Path(name).write_text("\n".join([*([header] if header else []), *(line.format(app) for app in APPS)]))
    result = capgo(*words, "--job", "a.capgo-job", "--yes", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["done"] == 3
    now = channels(server)
    assert {key: now.get(key) for key in wanted} == wanted
    verified = capgo("job", "verify", "a.capgo-job", "--json")
    assert (verified.exit_code, json.loads(verified.stdout)["verified"]) == (0, 3)
    undone = capgo("job", "undo", "a.capgo-job", "--yes", "--json")
    if words[1] == "delete":
        assert (undone.exit_code, json.loads(undone.stdout)["left"]) == (3, 3)
        assert re.search(r"what is left as it is: capgo-async job show undo-\S+\.capgo-job --rows skipped\n", undone.stderr)
    else:
        assert undone.exit_code == 0
        assert channels(server) == before


@pytest.mark.parametrize(
    ("words", "gone"),
    [
        (("bundles", "delete", "1.0.0", "--everywhere"), {(app, "1.0.0") for app in APPS}),
        (("bundles", "delete", "1.0.0", "--everywhere", "--app", APP), {(APP, "1.0.0")}),
        (("bundles", "delete", "--from", "rows.csv"), {(app, "1.0.0") for app in APPS}),
        (("bundles", "prune", "--keep", "1"), {(app, "1.0.0") for app in APPS}),
        (("bundles", "prune", "--keep", "1", "--app", APP), {(APP, "1.0.0")}),
        (("bundles", "prune", "--older-than", "1d"), {(app, "1.0.0") for app in APPS}),
        (("bundles", "prune", "--keep", "3"), set()),
        (("bundles", "prune", "--older-than", "36500d"), set()),
    ],
)
def test_bundles_of_many_apps_are_deleted_but_none_that_is_used(
    words: tuple[str, ...], gone: set[Any], server: Served, capgo: Command, here: Path
) -> None:
    (here / "rows.csv").write_text("app_id,bundle\n" + "".join(f"{app},1.0.0\n" for app in APPS))
    before = set(bundles(server))
    result = capgo(*words, "--yes", "--json")
    assert result.exit_code == 0
    assert before - set(bundles(server)) == gone
    used = {key: channel[0] for key, channel in channels(server).items()}
    assert {(app, name) for (app, _), name in used.items()} <= set(bundles(server))


def test_bundles_of_many_apps_are_described(server: Served, capgo: Command) -> None:
    result = capgo("bundles", "set-metadata", "1.0.0", "comment=old", "--everywhere", "--yes", "--json")
    assert json.loads(result.stdout)["done"] == 3
    assert {bundles(server)[app, "1.0.0"] for app in APPS} == {"old"}


@pytest.mark.parametrize("words", [("a@example.com", "--everywhere"), ("--from", "rows.csv")])
def test_a_member_is_removed_from_many_organizations(words: tuple[str, ...], server: Served, capgo: Command) -> None:
    world = server.sandbox.world
    first = world.organizations.get(ORG_ID)
    assert first is not None
    somebody, owner = world.add_user("a@example.com"), first.members["owner@example.com"].user
    second = world.add_organization("Second", owner=owner, now=0.0)
    third = world.add_organization("Third", owner=owner, now=0.0)
    key = world.keys.of(KEY)
    assert key is not None
    bindings = tuple(Binding(role="org_super_admin", org_id=each.id) for each in (first, second, third))
    world.keys.replace(key, msgspec.structs.replace(key, bindings=bindings))
    for each in (first, second):
        each.join(somebody, "org_member")
    Path("rows.csv").write_text(f"org_id,email\n{first.id},A@example.com\n{second.id},a@example.com\n")
    result = capgo("members", "remove-many", *words, "--yes", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["done"] == 2
    assert [sorted(each.members) for each in (first, second, third)] == [["owner@example.com"]] * 3


def test_links_are_renewed(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv")
    app = server.sandbox.world.apps[APP]
    before = dict(app.overrides)
    report = json.loads(capgo("devices", "renew", "devices.csv", "--app", APP, "--yes", "--json").stdout)
    assert report["done"] == len(set(before) & set(app.devices)) > 0
    assert {device: override.channel for device, override in app.overrides.items()} == {
        device: override.channel for device, override in before.items()
    }
    assert all(app.overrides[device].written_at > before[device].written_at for device in before)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("channels", "update", "allow_dev=false"), "pass APP NAME; for many"),
        (("channels", "update", APP, "beta", "allow_dev=false", "--job", "a.capgo-job"), "takes no options of a job"),
        (("channels", "update", "beta", "x=1", "--everywhere"), "there is no setting x. Settings: "),
        (("channels", "update", APP, "beta", "gamma"), "'gamma' is not a setting of the form NAME=VALUE"),
        (("channels", "update", APP, "beta", "alow_dev=false"), "there is no setting alow_dev. Did you mean allow_dev?\n"),
        (
            ("channels", "update", APP, "beta", "rollout_version=1.2.0"),
            "no setting rollout_version. Did you mean rollout_bundle?\n",
        ),
        (("channels", "update", APP, "beta", "allow_dev=maybe"), "allow_dev must be true or false, not 'maybe'"),
        (("channels", "update", APP, "beta"), "pass at least one NAME=VALUE. Settings: "),
        (("channels", "update", "--everywhere", APP, "beta", "allow_dev=false"), f"takes no APP; limit it with --app {APP}"),
        (("channels", "delete", APP, "beta", "gamma"), "unexpected argument"),
        (("channels", "delete", "--from", "a.csv", "--everywhere"), "cannot be combined"),
        (("bundles", "promote", APP, "1.0.0"), "pass APP BUNDLE CHANNEL"),
        (("bundles", "prune"), "to define which bundles are old"),
        (("bundles", "prune", "--older-than", "soon"), "invalid --older-than soon"),
    ],
)
def test_what_is_not_clear_is_refused_before_anything_is_sent(
    words: tuple[str, ...], message: str, server: Served, capgo: Command
) -> None:
    result = capgo(*words, "--yes")
    assert result.exit_code == 2
    assert message in result.stderr
    assert server.requests() == 0


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("channels", "delete", "nosuch"), "no app that the key can access has a channel nosuch"),
        (("bundles", "promote", "9.9.9", "beta"), "a channel beta and a bundle 9.9.9"),
        (("members", "remove-many", "who@example.com"), "has a member who@example.com"),
    ],
)
def test_what_is_nowhere_is_said(words: tuple[str, ...], message: str, server: Served, capgo: Command, here: Path) -> None:
    result = capgo(*words, "--everywhere", "--yes")
    assert (result.exit_code, list(here.iterdir())) == (2, [])
    assert message in result.stderr
    assert {line.method for line in server.sandbox.log} == {"GET"}


def test_a_verification_that_ends_badly_does_not_stand_for_a_yes(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv")
    capgo("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", "--job", "a.capgo-job", "--plan-only")
    with sqlite3.connect("a.capgo-job") as connection:
        connection.execute("INSERT INTO runs (started_at) VALUES ('2026-11-25T00:00:00+00:00')")
    connection.close()
    result = capgo("job", "run", "a.capgo-job")
    assert result.exit_code == 2
    assert "no terminal" in result.stderr
    assert not server.sent()


def test_a_verified_contradiction_ends_with_3(server: Served, capgo: Command, here: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr("capgo_async.bulk.running.verification.SECOND_LOOK_SECONDS", 0.0)
    csv_of(here / "devices.csv")
    capgo("devices", "relink", "devices.csv", "--app", APP, "--channel", "alpha", "--job", "a.capgo-job", "--yes")
    app = server.sandbox.world.apps[APP]
    app.overrides.pop(next(device for device in app.overrides if app.overrides[device].channel.name == "alpha"))
    result = capgo("job", "verify", "a.capgo-job", "--json")
    assert (result.exit_code, json.loads(result.stdout)["contradicted"]) == (3, 1)
    assert "checking again in 0 s" in result.stderr
