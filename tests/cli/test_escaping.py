"""Text of servers and devices, on terminals and elsewhere: what would control a terminal or run in a spreadsheet."""

import csv
import io
import itertools
import json
import logging
import os
import re
import sqlite3
import sys
import termios
import threading
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cli.conftest import Command
from cli.served import APP, Served, csv_of
from hypothesis import example, given, strategies as st

from capgo_async.bulk import Format
from capgo_async.bulk.inventory.formats import CsvLines
from capgo_async.cli.job import asking
from capgo_async.cli.program import program
from capgo_async.printable import printable
from capgo_async.sandbox import Arrival, Device, Incoming, Traits
from capgo_async.sandbox.exchange import Refusal
from capgo_async.sandbox.faults import Chance
from capgo_async.sandbox.seeding import EPOCH

pytestmark = pytest.mark.slow

HOSTILE = "\x1b]0;owned\x07\x1b[31mred\x9b2J\u202e\x7f"
SHOWN = r"\u001b]0;owned\u0007\u001b[31mred\u009b2J\u202e\u007f"
RELINK = ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", "--job", "m.capgo-job")
FORMULAS = ("=1+1", "\uff1d1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("http://x";"a, b")', "a;=1", "a\n=1")


def evil(device_id: str, custom_id: str) -> Device:
    return Device(device_id=device_id, updated_at=1, traits=Traits(platform="ios"), custom_id=custom_id)


@pytest.fixture
def hostile(server: Served, here: Path) -> Served:
    """Serve a device and a channel with names that control terminals; some devices shall be linked to the channel."""
    app = server.sandbox.world.apps[APP]
    app.load_devices([evil("evil", HOSTILE)])
    server.sandbox.world.add_channel(app, HOSTILE, now=EPOCH)
    csv_of(here / "devices.csv", 3)
    return server


class Screen:
    """Runs the command in this process, on a terminal."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
        self._monkeypatch = monkeypatch
        self._environment = environment

    def __call__(self, *arguments: object, typed: bytes = b"") -> str:
        """Return what the terminal got."""
        master, slave = os.openpty()
        termios.tcsetwinsize(slave, (24, 400))
        got: list[bytes] = []
        reader = threading.Thread(target=_read, args=(master, got.append))
        reader.start()
        os.write(master, typed)
        with self._monkeypatch.context() as patched:
            for name, value in {**self._environment, "TERM": os.environ.get("TERM", "xterm")}.items():
                patched.setenv(name, value)
            patched.setenv("COLUMNS", "400")
            patched.setattr(asking, "TERMINAL", Path(os.ttyname(slave)))
            with os.fdopen(os.dup(slave), "w", encoding="utf-8") as out, os.fdopen(os.dup(slave), "w", encoding="utf-8") as err:
                patched.setattr(sys, "stdout", out)
                patched.setattr(sys, "stderr", err)
                with pytest.raises(SystemExit):
                    program([str(argument) for argument in arguments])
        os.close(slave)
        reader.join()
        os.close(master)
        return b"".join(got).decode().replace("\r\n", "\n")


def _read(master: int, keep: Callable[[bytes], Any]) -> None:
    while True:
        try:
            chunk = os.read(master, 4096)
        except OSError:  # what Linux says in place of an end
            return
        if not chunk:
            return
        keep(chunk)


@pytest.fixture
def screen(server: Served, monkeypatch: pytest.MonkeyPatch) -> Screen:
    monkeypatch.setenv("TERM", "xterm")
    return Screen(monkeypatch, server.environment)


def check(text: str) -> None:
    """Check that the hostile name was shown, and did nothing. Some versions of typer escape what they say themselves."""
    assert SHOWN in re.sub(r"\\x(..)", r"\\u00\1", text)
    for sequence in ("\x1b]", "\x1b[31m", "\x07", "\x9b", "\u202e", "\x7f"):
        assert sequence not in text


@pytest.mark.parametrize("term", ["xterm", "dumb"])
@pytest.mark.parametrize(
    "arguments",
    [
        ("devices", "list", APP),
        ("devices", "list", APP, "--json"),
        ("devices", "get", APP, "evil"),
        ("channels", "list", APP),
        ("export", "devices"),
        ("export", "devices", "--format", "csv"),
        ("export", "channels", "--format", "spreadsheet"),
    ],
)
@pytest.mark.usefixtures("hostile")
def test_a_terminal_gets_results_escaped(
    screen: Screen, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], term: str
) -> None:
    monkeypatch.setenv("TERM", term)
    check(screen(*arguments))


@pytest.mark.parametrize(
    "arguments",
    [
        ("channels", "get", APP, f"no{HOSTILE}"),
        ("channels", "get", APP, f"no{HOSTILE}", "--debug"),
        ("channels", "list", APP, HOSTILE),
        ("channels", "list", APP, f"--{HOSTILE}"),
        ("export", "devices", "-o", f"{HOSTILE}.txt"),
        ("job", "show", f"{HOSTILE}.capgo-job"),
    ],
)
@pytest.mark.usefixtures("hostile")
def test_a_terminal_gets_errors_escaped(screen: Screen, arguments: tuple[str, ...]) -> None:
    check(screen(*arguments))


def test_a_job_is_told_escaped_from_the_plan_to_the_report(
    hostile: Served, screen: Screen, capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrive = hostile.sandbox.arrive

    def refuse(request: Incoming, now: float, chance: Chance | None = None) -> Arrival:
        arrival = arrive(request, now, chance)
        if request.path == "/device" and request.method == "POST":
            arrival.refusal = Refusal(400, "invalid_channel", f"no {HOSTILE}")
        return arrival

    monkeypatch.setattr(hostile.sandbox, "arrive", refuse)
    assert "[y/N]" in screen(*RELINK, typed=b"n\n")
    check(screen("job", "run", "m.capgo-job", "--yes"))
    check(screen("job", "show", "m.capgo-job"))
    check(screen("job", "show", "m.capgo-job", "--rows", "failed"))
    check(screen("job", "report", "m.capgo-job"))
    for option in ("--csv", "--spreadsheet"):
        check(screen("job", "report", "m.capgo-job", option, "-"))
        assert HOSTILE in capgo("job", "report", "m.capgo-job", option, "-").stdout
        assert capgo("job", "report", "m.capgo-job", option, "all.csv").exit_code == 0
        assert HOSTILE in (here / "all.csv").read_text()


@pytest.mark.usefixtures("hostile")
def test_the_question_of_a_single_change_is_asked_escaped(screen: Screen) -> None:
    check(screen("channels", "delete", APP, HOSTILE, typed=b"n\n"))


def test_what_libraries_log_is_shown_escaped(server: Served, screen: Screen) -> None:
    server.sandbox.on_listing = lambda _number: logging.getLogger("aiohttp.client").warning("cookies: %s", HOSTILE)
    check(screen("devices", "list", APP))
    assert HOSTILE not in screen("devices", "list", APP, "--quiet")


@pytest.mark.usefixtures("hostile")
def test_pipes_and_files_get_results_unchanged(capgo: Command, here: Path) -> None:
    assert f"\t{HOSTILE}\t" in capgo("devices", "list", APP).stdout
    assert f"  {HOSTILE}\n" in capgo("devices", "get", APP, "evil").stdout
    (evil,) = [row for row in map(json.loads, capgo("export", "devices").stdout.split("\n")[:-1]) if row["device_id"] == "evil"]
    assert evil["custom_id"] == HOSTILE
    for chosen in (Format.CSV, Format.SPREADSHEET):
        assert f",{HOSTILE}," in capgo("export", "devices", "--format", chosen).stdout
        assert capgo("export", "devices", "-o", "out.csv", "--format", chosen).exit_code == 0
        assert f",{HOSTILE}," in (here / "out.csv").read_text()
    assert capgo("export", "devices", "-o", "out.sqlite").exit_code == 0
    with closing(sqlite3.connect(here / "out.sqlite")) as connection:
        assert connection.execute("SELECT custom_id FROM devices WHERE device_id = 'evil'").fetchone() == (HOSTILE,)


@given(text=st.text())
@example(text='\x7f\x9b\u2028\ue000\U000e0041\\"')
def test_escaped_json_is_the_same_json(text: str) -> None:
    shown = printable(msgspec.json.encode(text).decode())
    assert shown.isprintable()
    assert json.loads(shown) == text


def test_a_spreadsheet_runs_no_name_of_a_device(server: Served, capgo: Command) -> None:
    app = server.sandbox.world.apps[APP]
    app.load_devices(
        Device(device_id=f"evil-{number}", updated_at=1, traits=Traits(platform="ios"), custom_id=name)
        for number, name in enumerate(FORMULAS)
    )
    rows = {
        chosen: {
            row["device_id"]: row
            for row in csv.DictReader(io.StringIO(capgo("export", "devices", "--format", chosen).stdout, newline=""))
        }
        for chosen in (Format.CSV, Format.SPREADSHEET)
    }
    for number, name in enumerate(FORMULAS):
        assert rows[Format.CSV][f"evil-{number}"]["custom_id"] == name
        guarded = rows[Format.SPREADSHEET][f"evil-{number}"]["custom_id"]
        assert guarded.replace("'", "") == name
        assert "'" in guarded
    others = [rows[chosen][name] for chosen in rows for name in rows[chosen] if not name.startswith("evil")]
    assert others[:30] == others[30:]


@given(cells=st.lists(st.text(alphabet="=+-@\t\r\n;,\"' aé\uff1d1"), min_size=2, max_size=4))
def test_no_reading_of_the_line_finds_a_formula(cells: list[str]) -> None:
    (line,) = CsvLines(Format.SPREADSHEET, ())([tuple(cells)])
    assert [len(row) for row in csv.reader(io.StringIO(line, newline=""))] == [len(cells)]
    for delimiter in ",;\t":
        found = [*itertools.chain.from_iterable(csv.reader(io.StringIO(line, newline=""), delimiter=delimiter))]
        assert not [cell for cell in found if cell.lstrip()[:1] in {*"=+-@\uff1d"}]
        assert delimiter != "," or not [cell for cell in found if cell.startswith(("\t", "\r", "\n"))]


def test_numbers_stay_numbers_in_a_spreadsheet() -> None:
    assert list(CsvLines(Format.SPREADSHEET, ())([(-5, -0.5, True, None, "-5")])) == ["-5,-0.5,true,,'-5"]
