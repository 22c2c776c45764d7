"""`--all`, `--where`, `--sample`: changes of devices that an inventory shows."""

import json
from pathlib import Path

import pytest
from cli.conftest import Command
from cli.served import APP, Served, csv_of, served

from capgo_async.bulk.inventory.choosing import is_in_sample
from capgo_async.bulk.running.stopping import read_share

OTHER = "com.example.app02"
IOS = ("--where", "platform = 'ios'")


def on_ios(server: Served, app_id: str = APP) -> set[str]:
    devices = server.sandbox.world.apps[app_id].devices
    return {device_id for device_id, device in devices.items() if device.traits.platform == "ios"}


def test_devices_that_a_clause_means_are_relinked(server: Served, capgo: Command) -> None:
    result = capgo("devices", "relink", "--all", "--app", APP, *IOS, "--channel", "beta", "--yes", "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    assert report["rows"] == len(on_ios(server)) == report["planned"] + report["skipped"] > report["planned"] > 0
    assert {server.channel_of(device) for device in on_ios(server)} == {"beta"}
    assert {target.split("/")[1] for target in server.sent()} <= on_ios(server)
    assert "30 devices of 1 app: complete." in result.stderr


def test_a_sample_of_several_apps_is_unlinked(unaimed: Command) -> None:
    with served(apps=3, devices=600) as server:
        arguments = ("--all", "--app", APP, "--app", OTHER, "--sample", "10%", "--yes", "--job", "m.capgo-job")
        result = unaimed("devices", "unlink", *arguments, env=server.environment)
        assert result.exit_code == 0, result.stderr
        for app_id in (APP, OTHER):
            for device in server.sandbox.world.apps[app_id].devices:
                assert not (server.channel_of(device, app_id) and is_in_sample(device, read_share("10%")))
        assert not {target for target in server.sent() if "app03" in target}
        assert server.sent()
        told = unaimed("job", "show", "m.capgo-job", "--json")
    assert json.loads(told.stdout)["source"] == f"the devices of {APP}, {OTHER} (a sample of 10%)"


def test_the_same_command_goes_on_with_its_job_and_another_does_not(server: Served, capgo: Command) -> None:
    command = ("devices", "relink", "--all", *IOS, "--channel", "beta", "--job", "m.capgo-job")
    assert capgo(*command, "--plan-only").exit_code == 0
    assert server.sent() == {}
    requests = server.requests()
    assert capgo(*command, "--plan-only").exit_code == 0
    assert server.requests() == requests, "the job holds the devices: no inventory is taken again"
    assert "other options" in capgo(*command, "--sample", "50%", "--yes").stderr
    assert capgo(*command, "--yes").exit_code == 0
    assert {server.channel_of(device) for device in on_ios(server)} == {"beta"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("relink", "--where", "TRUE", "--channel", "beta"), "need --all"),
        (("relink", "--sample", "1%", "--channel", "beta"), "need --all"),
        (("unlink", "--where", "TRUE"), "need --all"),
        (("unlink", APP, "some-device", "--where", "TRUE"), "need --all"),
        (("unlink", APP, "some-device", "--all"), "leave com.example.app01 out"),
        (("relink", "devices.csv", "--all", "--channel", "beta"), "leave devices.csv out"),
        (("relink", "--channel", "beta"), "or --all"),
        (("unlink",), "or --all"),
        (("relink", "--all"), "needs --channel"),
        (("relink", "--all", "--channel", "beta", "--where", "platform ="), "syntax error"),
        (("relink", "--all", "--channel", "beta", "--where", "plat = 'ios'"), "no such column: plat. The columns are app_id,"),
        (("relink", "--all", "--channel", "beta", "--sample", "110%"), "not a share between 0% and 100%"),
        (("relink", "--all", "--channel", "beta", "--app", "nonsense"), "not in reverse-domain form"),
        (("relink", "devices.csv", "--app", APP, "--app", OTHER, "--channel", "beta"), "--app is given more than once"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_sent(
    server: Served, capgo: Command, arguments: tuple[str, ...], said: str
) -> None:
    csv_of(Path("devices.csv"))
    result = capgo("devices", *arguments, "--yes")
    assert result.exit_code == 2, result.stderr
    assert said in result.stderr
    assert server.requests() == 0


def test_a_choice_of_nothing_is_said(capgo: Command) -> None:
    result = capgo("devices", "relink", "--all", "--where", "platform = 'amiga'", "--channel", "beta", "--yes")
    assert result.exit_code == 2
    assert "none of 30 devices match. Nothing would change." in result.stderr
    assert list(Path().iterdir()) == []
