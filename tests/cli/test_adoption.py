"""`job adoption`: what it says, writes and returns."""

import csv
import json
from pathlib import Path

import msgspec
import pytest
from cli.conftest import Command
from cli.served import APP, Served, csv_of

from capgo_async.sandbox.seeding import EPOCH, device_id

pytestmark = pytest.mark.slow

EVIL = "<script>alert(1)</script>\x1b[31m\u202e"
JOB = "move.capgo-job"
RELINK = ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", "--job", JOB, "--yes")


@pytest.fixture
def moved(server: Served, here: Path, capgo: Command) -> int:
    """Move the fleet, let the first ten devices take the bundle, and return how many were moved."""
    csv_of(here / "devices.csv")
    assert capgo(*RELINK).exit_code == 0
    app = server.sandbox.world.apps[APP]
    bundle = server.sandbox.world.add_bundle(app, "3.0.0", now=EPOCH)
    app.channels["beta"].version = bundle.id
    for device in list(server.sent())[:10]:
        app.check_in(device.rpartition("/")[2], EPOCH + 86_400, runs=bundle)
    return len(server.sent())


def test_it_tells_the_numbers_and_writes_the_stragglers(server: Served, here: Path, capgo: Command, moved: int) -> None:
    told = capgo("job", "adoption", JOB, "--stragglers", "left.csv")
    assert told.exit_code == 0, told.output
    assert f"10 of {moved} moved devices run the bundle of their channel ({10 / moved:.1%}), as of " in told.stdout
    assert f"{moved} devices: 10 run it, {moved - 10} run another one, 0 unknown to the server, 0 cannot be told" in told.stdout
    assert f"{APP}: 10 of {moved}" in told.stdout
    assert "last contact 2026-07-21: 10 of 10" in told.stdout
    assert f"wrote {moved - 10} devices to left.csv" in told.stderr
    with (here / "left.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == moved - 10
    assert {row["channel"] for row in rows} == {"beta"}
    again = capgo("devices", "relink", "left.csv", "--plan-only", "--job", "again.capgo-job")
    assert "rejected" not in again.stderr, "the stragglers can be the source of a job"
    capgo("export", "devices", "--app", APP, "-o", "now.sqlite")
    read = capgo("job", "adoption", JOB, "--inventory", "now.sqlite", "--json")
    assert (json.loads(read.stdout)["taken"], json.loads(read.stdout)["behind"]) == (10, moved - 10)
    report = json.loads(capgo("job", "report", JOB, "--json").stdout)
    assert report["adoption"]["taken"] == 10
    assert len(server.sent()) == moved


def test_a_blind_server_cannot_tell(server: Served, here: Path, capgo: Command, moved: int) -> None:
    (here / "left.csv").write_text("old")
    server.sandbox.world.device_store_readable = False
    told = capgo("job", "adoption", JOB, "--stragglers", "left.csv")
    assert told.exit_code == 3
    assert f"0 unknown to the server, {moved} cannot be told" in told.stdout
    assert f"cannot tell: {moved} of {APP}: the server lists no device of the app" in told.stdout
    assert f"the server lists no device of {APP}, although the job moved some: left.csv is kept" in told.stderr
    assert (here / "left.csv").read_text() == "old"
    assert capgo("job", "adoption", JOB, "--stragglers", "new.csv").exit_code == 3
    assert len((here / "new.csv").read_text().splitlines()) == 1, "nobody is called a straggler"
    assert not list(here.glob("*.building"))


def test_labels_of_devices_are_text(server: Served, capgo: Command, moved: int) -> None:
    app = server.sandbox.world.apps[APP]
    for device in list(app.devices.values()):
        evil = msgspec.structs.replace(device.traits, version_name=EVIL, version=None)
        app.put_device(msgspec.structs.replace(device, custom_id=EVIL, traits=evil))
    shown = capgo("job", "adoption", JOB, "--stragglers", "-")
    rows = list(csv.DictReader(shown.stdout.splitlines()))
    assert {row["version_name"] for row in rows} == {EVIL}
    assert len(rows) == moved
    assert "0 of" in shown.stderr
    assert "\x1b" not in shown.stderr
    page = capgo("job", "report", JOB, "--html", "-")
    assert page.exit_code == 0
    assert "<h2>Adoption</h2>" in page.stdout
    assert "<script" not in page.stdout
    assert "\x1b" not in page.stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--stragglers", JOB), "is the job file; choose another name"),
        (("--stragglers", "no/such.csv"), "cannot write no/such.csv: there is no directory"),
        (("--stragglers", "-", "--json"), "--json and --stragglers - cannot be combined"),
        (("--stragglers", "now.sqlite", "--inventory", "now.sqlite"), "now.sqlite is the inventory"),
        (("--inventory", "devices.csv"), "is not a SQLite export of devices"),
        (("--inventory", "none.sqlite"), "none.sqlite: no such SQLite export of devices"),
    ],
)
def test_what_cannot_be_is_refused(capgo: Command, here: Path, moved: int, options: tuple[str, ...], said: str) -> None:
    (here / "left.csv").write_text("old")
    told = capgo("job", "adoption", JOB, *options)
    assert (told.exit_code, moved > 0) == (2, True)
    assert said in told.stderr
    assert device_id(APP, 0) not in told.stdout
    assert not list(here.glob("*.building"))
