"""The commands that look at one thing, or change it."""

import json
import os
import pty
from datetime import UTC, datetime, timedelta
from pathlib import Path
from subprocess import PIPE, run
from typing import Any

import pytest
from cli.conftest import Command
from cli.served import APP, Served, command, environment, served

from capgo_async import Unlisted
from capgo_async.api.endpoints.channels import ChannelSettings
from capgo_async.api.endpoints.organizations import OrganizationSettings
from capgo_async.api.models import ApiKey
from capgo_async.api.resources import ApiKeys
from capgo_async.cli.job import asking
from capgo_async.cli.options.settings import read_settings
from capgo_async.sandbox import Binding, Settings
from capgo_async.sandbox.exchange import Generation
from capgo_async.sandbox.seeding import ORG_ID, OUTSIDER_EMAIL, USER_EMAIL, USER_ID


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


@pytest.mark.parametrize(
    ("generation", "spoken", "said"),
    [("2026-07", "modern", "seed"), ("2026-11", "modern", "seed"), ("seed", "seed", "modern")],
)
def test_no_organization_is_created_by_an_update_in_the_wrong_dialect(
    unaimed: Command, generation: Generation, spoken: str, said: str
) -> None:
    with served(Settings(generation=generation)) as server:
        before = len(list(server.sandbox.world.organizations))
        update = ("orgs", "update", ORG_ID, "name=Renamed")
        refused = unaimed(*update, "--dialect", said, env=server.environment)
        assert refused.exit_code == 2
        assert f"dialect='{spoken}'" in refused.stderr
        assert unaimed(*update, "--dialect", spoken, env=server.environment).exit_code == 0
        assert unaimed(*update, env=server.environment).exit_code == 0
        assert len(list(server.sandbox.world.organizations)) == before


# Settings


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("disable_auto_update=minor", ChannelSettings(disable_auto_update="minor")),
        ("disableAutoUpdate=minor", ChannelSettings(disable_auto_update="minor")),
        ("disable-auto-update=minor", ChannelSettings(disable_auto_update="minor")),
        ("disable_auto_update=unlisted:weekly", ChannelSettings(disable_auto_update=Unlisted("weekly"))),
        ("bundle=unlisted:weekly", ChannelSettings(bundle="unlisted:weekly")),
        ("rolloutPercentageBps=5", ChannelSettings(rollout_percentage_bps=5)),
        ("version=1.2.0", ChannelSettings(bundle="1.2.0")),
        *((f"public={word}", ChannelSettings(public=True)) for word in ("yes", "Yes", "true", "1")),
        *((f"public={word}", ChannelSettings(public=False)) for word in ("no", "false", "0")),
        ("rollout_bundle=4", ChannelSettings(rollout_bundle=4)),
        ("rollout_bundle=4.0.0", ChannelSettings(rollout_bundle="4.0.0")),
        ("rollout_bundle=null", ChannelSettings(rollout_bundle=None)),
        ("bundle=4", ChannelSettings(bundle="4")),
        ("rollout_pause_reason=no", ChannelSettings(rollout_pause_reason="no")),
    ],
)
def test_a_setting_is_read_as_it_is_shown(text: str, expected: ChannelSettings) -> None:
    found = read_settings([text], ChannelSettings)
    assert found == expected
    assert [type(value) for value in as_list(found)] == [type(value) for value in as_list(expected)]


def as_list(settings: ChannelSettings) -> list[Any]:
    return [getattr(settings, field) for field in settings.__struct_fields__]


def test_what_an_organization_shows_can_be_given() -> None:
    assert read_settings(["name=no", "enforcing_2fa=yes"], OrganizationSettings).enforcing_2fa is True


def test_what_an_app_shows_can_be_given(capgo: Command) -> None:
    assert capgo("apps", "update", APP, "retention=86400", "allow_device_custom_id=no").exit_code == 0
    shown = [line.split() for line in capgo("apps", "get", APP).stdout.splitlines()]
    assert ["retention", "86400"] in shown
    assert ["allow_device_custom_id", "no"] in shown


@pytest.mark.parametrize("call", ["create", "update"])
def test_metadata_is_called_what_the_user_says(server: Served, capgo: Command, call: str) -> None:
    name = "gamma" if call == "create" else "beta"
    assert capgo("channels", call, APP, name, "disable_auto_update=metadata", "--metadata-as", "patch").exit_code == 0
    assert server.sandbox.world.apps[APP].channels[name].disable_auto_update == "patch"


def test_a_misspelt_word_is_told_with_the_nearest_one_and_an_unlisted_one_is_sent(server: Served, capgo: Command) -> None:
    told = capgo("channels", "update", APP, "beta", "disable_auto_update=majr")
    assert told.exit_code == 2
    assert "Did you mean 'major'? If a newer server takes it, pass Unlisted('majr')." in told.stderr
    assert "type `unlisted:WORD`" in told.stderr
    assert server.requests() == 0

    role = capgo("members", "invite", ORG_ID, "a@example.com", "unlisted:weekly")
    assert (role.exit_code, "invalid_body" in role.stderr, server.requests()) == (2, True, 1)


# Advice


@pytest.mark.parametrize(
    ("arguments", "advice"),
    [
        (("apps", "update", APP, "retention_seconds=5"), f"If you mean it, add --confirm {APP}."),
        (("bundles", "delete-all", APP), f"If you mean it, add --confirm {APP}."),
        (("members", "remove", ORG_ID, USER_EMAIL, "--yes"), f"If you mean it, add --confirm {ORG_ID}."),
    ],
)
def test_a_dangerous_call_names_the_option(capgo: Command, arguments: tuple[str, ...], advice: str) -> None:
    result = capgo(*arguments)
    assert result.exit_code == 2
    assert advice in result.stderr
    assert "confirm=" not in result.stderr


def test_without_a_terminal_the_advice_is_an_option_of_the_command(
    server: Served, capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "TERMINAL", here / "no-terminal")
    for arguments in (("channels", "delete", APP, "beta"), ("members", "remove", ORG_ID, OUTSIDER_EMAIL)):
        result = capgo(*arguments)
        assert result.exit_code == 2
        assert "--yes" in result.stderr
        assert "--plan-only" not in result.stderr
    assert {line.method for line in server.sandbox.log} == {"GET"}


def test_a_member_is_removed_after_a_question(server: Served, capgo: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    capgo("members", "invite", ORG_ID, OUTSIDER_EMAIL, "org_member")
    master, slave = pty.openpty()
    monkeypatch.setattr(asking, "TERMINAL", Path(os.ttyname(slave)))
    for answer, code in ((b"n\n", 130), (b"y\n", 0)):
        os.write(master, answer)
        assert capgo("members", "remove", ORG_ID, OUTSIDER_EMAIL).exit_code == code
    os.close(master)
    os.close(slave)
    assert OUTSIDER_EMAIL not in capgo("members", "list", ORG_ID).stdout
    assert [line.method for line in server.sandbox.log if line.path == "/organization/members"].count("DELETE") == 1


@pytest.mark.parametrize(
    ("email", "said"),
    [("nobody@example.com", "NO_EMAIL"), (USER_EMAIL, "ALREADY_INVITED"), (USER_EMAIL, "does not change the role")],
)
def test_a_refused_invitation_says_why(capgo: Command, email: str, said: str) -> None:
    assert said in capgo("members", "invite", ORG_ID, email, "org_member").stderr


def test_a_name_that_is_refused_is_said_to_be(capgo: Command) -> None:
    assert "sanitized_name_empty" in capgo("orgs", "update", ORG_ID, "name=").stderr


@pytest.mark.parametrize("option", [("--table", "foo"), ("--operation", "foo")])
def test_an_audit_log_is_not_asked_for_what_it_never_has(server: Served, capgo: Command, option: tuple[str, str]) -> None:
    assert capgo("orgs", "audit", ORG_ID, *option).exit_code == 2
    assert server.requests() == 0
    assert capgo("orgs", "audit", ORG_ID, "--table", "channels", "--operation", "UPDATE").exit_code == 0


def test_an_unusual_app_id_is_warned_of_in_a_note(capgo: Command) -> None:
    result = capgo("devices", "link", "app_123", "d", "beta", "--dialect", "seed")
    notes = [line for line in result.stderr.splitlines() if line.startswith("note: app id 'app_123'")]
    assert len(notes) == 1


# Usage


@pytest.mark.parametrize("kind", ["bundles", "natives"])
def test_usage_ends_before_the_day_that_is_named(capgo: Command, kind: str) -> None:
    today = datetime.now(UTC).date()
    days = [json.loads(line)["day"] for line in capgo("stats", kind, APP, "--json").stdout.splitlines()]
    assert max(days, default=str(today)) <= str(today)
    first, end = today - timedelta(days=9), today - timedelta(days=2)
    span = ("--from", first, "--to", end)
    days = [json.loads(line)["day"] for line in capgo("stats", kind, APP, *span, "--json").stdout.splitlines()]
    assert {first <= datetime.fromisoformat(day).date() < end for day in days} == {True}


def test_the_newest_native_version_is_told(capgo: Command) -> None:
    result = capgo("stats", "natives", APP, "--json")
    rows = [json.loads(line) for line in result.stdout.splitlines()]
    latest = {row["version"] for row in rows if row["latest"]}
    assert len(latest) == 1
    assert f") have {latest.pop()}\n" in result.stderr
    assert all("latest" not in json.loads(line) for line in capgo("stats", "bundles", APP, "--json").stdout.splitlines())


# A secret that is shown once

SECRET = "0ther000-0000-4000-8000-000000000000"


def second_key(server: Served) -> int:
    binding = Binding(role="org_member", org_id=ORG_ID)
    return server.sandbox.world.add_key(SECRET, binding, user_id=USER_ID).key_id


@pytest.mark.slow
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_secret_that_nobody_reads_is_no_success(server: Served, here: Path, more: tuple[str, ...]) -> None:
    read, write = os.pipe()
    os.close(read)
    arguments = ("api-keys", "regenerate", str(second_key(server)), "--yes", *more)
    ended = run(command(*arguments), stdout=write, stderr=PIPE, env=environment(server), cwd=here, check=False)
    os.close(write)
    assert ended.returncode == 4
    assert b"run `api-keys regenerate 16`" in ended.stderr


@pytest.mark.slow
def test_nor_is_one_made_that_nobody_can_read(server: Served, here: Path) -> None:
    line = ["sh", "-c", 'exec "$@" >&-', "sh", *command("api-keys", "regenerate", str(second_key(server)), "--yes")]
    ended = run(line, capture_output=True, env=environment(server), cwd=here, check=False)
    assert ended.returncode == 2
    assert b"stdout is closed" in ended.stderr
    assert server.requests() == 0


@pytest.mark.parametrize("arguments", [("list",), ("get", "16"), ("update", "16", "name=new")])
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_secret_that_a_server_tells_again_is_not_shown(
    unaimed: Command, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], more: tuple[str, ...]
) -> None:
    async def told(*_arguments: object) -> ApiKey:
        return ApiKey(id=16, name="ci", key=SECRET)

    # The seed era lists keys with their secrets, and knows neither of the other calls.
    monkeypatch.setattr(ApiKeys, "get", told)
    monkeypatch.setattr(ApiKeys, "update", told)
    with served(Settings(generation="seed")) as server:
        key_id = second_key(server)
        result = unaimed("api-keys", *arguments, *more, env=server.environment)
    assert result.exit_code == 0, result.stderr
    assert str(key_id) in result.stdout
    assert SECRET not in result.stdout + result.stderr
