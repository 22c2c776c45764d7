"""`--inventory`: plans from what was exported before, on the command line."""

import json
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cli.conftest import Command
from cli.served import APP, Served, csv_of

from capgo_async.sandbox.seeding import device_id

KNOWN = ("--inventory", "devices.sqlite", "--job", "m.capgo-job")


@pytest.fixture(autouse=True)
def exported(capgo: Command, here: Path) -> None:
    assert capgo("export", "devices", "-o", "devices.sqlite").exit_code == 0
    csv_of(here / "devices.csv")


@pytest.mark.parametrize("verb", [("relink", "--channel", "beta"), ("unlink",), ("renew",)])
def test_devices_are_not_listed_again(server: Served, capgo: Command, verb: tuple[str, ...]) -> None:
    listings = server.sandbox.listings
    name, *more = verb
    result = capgo("devices", name, "devices.csv", "--app", APP, *more, *KNOWN, "--plan-only")
    assert result.exit_code == 0
    assert "compared with the inventory devices.sqlite, taken at " in result.stdout
    assert server.sandbox.listings == listings


@pytest.mark.parametrize(("minutes", "looks"), [(9, False), (11, True)])
def test_an_old_inventory_is_an_old_plan(server: Served, capgo: Command, here: Path, minutes: int, *, looks: bool) -> None:
    began = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat(timespec="seconds")
    with closing(sqlite3.connect(here / "devices.sqlite")) as connection, connection:
        connection.execute("UPDATE export SET began_at = ?", (began,))
    app = server.sandbox.world.apps[APP]
    app.link(device_id(APP, 0), app.channels["alpha"], 0)
    result = capgo("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", *KNOWN, "--yes")
    assert result.exit_code == 0
    assert ("since the plan was made" in result.stderr) is looks


def test_devices_are_chosen_from_an_inventory_on_disk(server: Served, capgo: Command) -> None:
    listings = server.sandbox.listings
    choice = ("--all", "--app", APP, "--where", "platform = 'ios'", "--sample", "50%")
    planned = capgo("devices", "relink", *choice, "--channel", "beta", *KNOWN, "--plan-only", "--json")
    assert planned.exit_code == 0, planned.stderr
    assert server.sandbox.listings == listings, "the inventory is on disk"
    fresh = capgo("devices", "relink", *choice, "--channel", "beta", "--job", "n.capgo-job", "--plan-only", "--json")
    assert json.loads(planned.stdout)["rows"] == json.loads(fresh.stdout)["rows"] > 0
    again = capgo("devices", "relink", *choice, "--channel", "beta", *KNOWN, "--yes")
    assert again.exit_code == 0, again.stderr
    other = capgo("devices", "unlink", "--all", "--app", "com.example.app99", "--inventory", "devices.sqlite", "--yes")
    assert other.exit_code == 2
    assert "devices.sqlite has no devices of com.example.app99: export these apps, too" in other.stderr


def test_what_is_no_inventory_is_wrong_usage(capgo: Command) -> None:
    result = capgo("devices", "unlink", "devices.csv", "--app", APP, "--inventory", "devices.csv", "--yes")
    assert result.exit_code == 2
    assert "devices.csv is not a SQLite export of devices" in result.stderr
    result = capgo("devices", "unlink", "devices.csv", "--app", APP, "--inventory", "nope.sqlite", "--yes")
    assert result.exit_code == 2
    assert "nope.sqlite: no such SQLite export of devices. `export devices -o FILE` makes one." in result.stderr
