"""Lists as people have them, on the command line: which option reads them, and what the message says."""

import json
from pathlib import Path

import pytest
from cli.conftest import Command
from cli.served import APP, Served, csv_of

from capgo_async.sandbox.seeding import device_id

TO = ("--app", APP, "--channel", "beta", "--job", "m.capgo-job", "--plan-only")


def relink(capgo: Command, *more: str, source: str = "list.csv", to: tuple[str, ...] = TO) -> tuple[int, str]:
    result = capgo("devices", "relink", source, *more, *to)
    return result.exit_code, result.stdout + result.stderr


def ids(number: int) -> list[str]:
    return [device_id(APP, index) for index in range(number)]


@pytest.mark.parametrize(
    ("head", "options", "said"),
    [
        ("Device ID", ("--column", "device_id=Device ID"), "--column NAME=HEADER says which column to read"),
        ("", ("--header", "device_id"), "--header device_id for a plain list of device ids"),
        ("device_id,channel", ("--ignore-column", "channel"), "pass --ignore-column channel"),
    ],
)
def test_the_message_says_which_option_reads_the_list(
    capgo: Command, here: Path, head: str, options: tuple[str, ...], said: str
) -> None:
    tail = ",alpha" if "," in head else ""
    (here / "list.csv").write_text("\n".join([*filter(None, [head]), *(f"{each}{tail}" for each in ids(5))]))
    code, text = relink(capgo)
    assert code == 2
    assert said in text
    code, text = relink(capgo, *options)
    assert code == 0, text
    assert "5 rows" in text


def test_what_export_wrote_is_a_list_of_its_devices(server: Served, capgo: Command) -> None:
    app = server.sandbox.world.apps[APP]
    app.link(ids(1)[0], app.channels["alpha"], 0)
    assert capgo("export", "devices", "--app", APP, "-o", "list.csv").exit_code == 0
    assert capgo("export", "devices", "--app", APP, "-o", "list.jsonl").exit_code == 0
    for source in ("list.csv", "list.jsonl"):
        code, text = relink(capgo, source=source, to=("--channel", "beta", "--job", f"{source}.capgo-job", "--plan-only"))
        assert code == 0, text
        assert "30 rows" in text
        assert f"{source}: this is an export of devices" in text


def test_joined_lists_are_told(capgo: Command, here: Path) -> None:
    one, other = ids(2)
    (here / "list.csv").write_text(f"device_id\n{one}\ndevice_id\n{other}\n\u200b{one}\n,\n", encoding="utf-8")
    code, text = relink(capgo)
    assert code == 2
    assert "line 3: this is a header, not a row" in text
    assert "line 5: device_id contains the invisible character U+200B (zero width space)" in text
    assert "line 6: 2 cells" in text


def test_ids_of_another_form_are_named_in_the_plan(capgo: Command, here: Path) -> None:
    csv_of(here / "list.csv", 30, more=("n/a",))
    code, text = relink(capgo)
    assert code == 0
    assert "1 device id of 31 is not a UUID, unlike all others: 'n/a' (line 32)" in text


@pytest.mark.slow
@pytest.mark.parametrize("options", [(), ("--inventory", "devices.sqlite")])
def test_users_are_found_and_named(server: Served, capgo: Command, here: Path, options: tuple[str, ...]) -> None:
    assert capgo("export", "devices", "-o", "devices.sqlite").exit_code == 0
    (here / "list.csv").write_text("custom_id,device_id\nuser-10,x\nuser-20,y\n")
    code, text = relink(capgo, "--by", "custom_id", *options)
    assert code == 0, text
    found = {custom_id: device_id(APP, int(custom_id.removeprefix("user-"))) for custom_id in ("user-10", "user-20")}
    for custom_id, device in found.items():
        assert f"{custom_id!r} is device {device}" in text
    rows = capgo("job", "show", "m.capgo-job", "--rows", "pending")
    for line in rows.stdout.splitlines()[1:]:
        device, custom_id, *_ = line.split("\t")
        assert found[custom_id] == device
    assert rows.stdout.startswith("target\tcustom_id\tline")
    assert capgo("job", "run", "m.capgo-job", "--yes").exit_code == 0
    assert {server.channel_of(device) for device in found.values()} == {"beta"}
    (here / "list.csv").write_text("custom_id\nuser-10\nsomebody\n")
    code, text = relink(capgo, *options, to=(*TO[:-3], "--job", "n.capgo-job", "--plan-only"))
    assert code == 2
    assert f"line 3: no listed device of {APP} has this custom_id ('somebody')" in text
    (here / "list.csv").write_text("custom_id\nuser-10\na\nb\nc\nd\n")
    code, text = relink(capgo, *options, to=(*TO[:-3], "--job", "n.capgo-job", "--plan-only"))
    assert f"lines 3 ('a'), 4 ('b'), 5 ('c'), 6 (4 rows): no listed device of {APP} has this custom_id" in text


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--column", "device_id"), "write NAME=HEADER"),
        (("--column", "device_id=a", "--column", "device_id=b"), "once for each NAME"),
        (("--column", "serial=b"), "'serial' is none of the columns that are read"),
        (("--ignore-column", "note"), "'note' is none of the columns that are read"),
        (("--by", "email"), "email"),
    ],
)
def test_options_that_cannot_be_are_refused(server: Served, capgo: Command, options: tuple[str, ...], said: str) -> None:
    csv_of(Path("list.csv"))
    code, text = relink(capgo, *options)
    assert code == 2
    assert said in text
    assert server.requests() == 0


@pytest.mark.parametrize("option", [("--by", "custom_id"), ("--header", "device_id"), ("--ignore-column", "channel")])
def test_devices_of_an_inventory_have_no_columns(capgo: Command, option: tuple[str, ...]) -> None:
    result = capgo("devices", "unlink", "--all", *option, "--yes")
    assert result.exit_code == 2
    assert "--all takes no SOURCE, so there are no columns" in result.stderr


def test_lists_of_other_targets_have_columns_too(server: Served, capgo: Command, here: Path) -> None:
    (here / "list.csv").write_text(f"sep=;\nKanal;App\nbeta;{APP}\n")
    result = capgo(
        "channels",
        "delete",
        "--from",
        "list.csv",
        "--column",
        "channel=Kanal",
        "--column",
        "app_id=App",
        "--plan-only",
        "--json",
    )
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["planned"] == 1
    assert not server.sent()
