"""`export` from the command line: files, stdout, exit codes, and what a kill leaves."""

import contextlib
import csv
import io
import json
import os
import re
import signal
import sqlite3
from pathlib import Path
from subprocess import PIPE

import anyio
import pytest
from cli.conftest import Command
from cli.served import APP, KEY, Served, environment, served
from fleet import client_of, sandbox_of
from msgspec.structs import replace
from virtual_time import in_virtual_time

from benchmarks.forked import Forked
from capgo_async.bulk.inventory import exporting
from capgo_async.bulk.inventory.columns import InventoryKind
from capgo_async.bulk.inventory.taking import Tally
from capgo_async.cli.job.progress import Reading
from capgo_async.cli.output.speech import Speech
from capgo_async.errors import UnreadableAnswer
from capgo_async.key_ring import pacer_of, ring_of
from capgo_async.limits.models import ScopeKind
from capgo_async.sandbox import Sandbox, Settings, parse_faults


def ids_in(server: Served) -> set[str]:
    return {device for app in server.sandbox.world.apps.values() for device in app.devices}


def spoil(sandbox: Sandbox, device_id: str) -> None:
    """Let the server send a number where the version of a device's system should be text."""
    devices = sandbox.world.apps[APP].devices
    device = devices[device_id]
    devices[device_id] = replace(device, traits=replace(device.traits, os_version=17.5))


def ids_of(path: Path) -> set[str]:
    return {json.loads(line)["device_id"] for line in path.read_text().splitlines()}


def test_devices_of_all_apps_go_to_a_file_and_what_was_proven_to_stderr(server: Served, capgo: Command) -> None:
    result = capgo("export", "devices", "-o", "out.jsonl")
    assert (result.exit_code, result.stdout) == (0, "")
    assert ids_of(Path("out.jsonl")) == ids_in(server)
    assert (
        "30 devices of 1 app: complete. All pages were read, and the changes and the end were checked again. "
        "Written to out.jsonl." in result.stderr
    )
    assert [path.name for path in Path().iterdir()] == ["out.jsonl"]


def test_with_json_what_was_proven_is_one_document(capgo: Command) -> None:
    result = capgo("export", "devices", "-o", "out.csv", "--app", APP, "--json", "--quiet")
    told = json.loads(result.stdout)
    assert (told["kind"], told["rows"], told["complete"], told["output"]) == ("devices", 30, True, "out.csv")
    assert [(check["app_id"], check["end_checked"]) for check in told["checks"]] == [(APP, True)]
    assert result.stderr == ""


@pytest.mark.parametrize("kind", ["devices", "channels", "bundles", "apps"])
def test_without_a_file_lines_go_to_stdout(capgo: Command, kind: str) -> None:
    result = capgo("export", kind)
    lines = [json.loads(line) for line in result.stdout.splitlines()]
    assert len(lines) == {"devices": 30, "channels": 3, "bundles": 3, "apps": 1}[kind]
    assert ("complete. All pages were read." in result.stderr) is (kind != "devices")
    assert {line["app_id"] for line in lines} == {APP}
    rows = list(csv.DictReader(io.StringIO(capgo("export", kind, "--format", "csv").stdout)))
    assert len(rows) == len(lines)
    assert list(Path().iterdir()) == []


def test_the_format_can_be_named(capgo: Command) -> None:
    assert capgo("export", "channels", "-o", "out", "--format", "sqlite").exit_code == 0
    with contextlib.closing(sqlite3.connect("out")) as connection:
        assert connection.execute("SELECT count(*) FROM channels").fetchone() == (3,)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("-o", "out.xls"), "does not end with .jsonl, .csv, .sqlite, .db or .parquet"),
        (("-o", "missing/out.csv"), "there is no directory"),
        (("-o", ".", "--format", "csv"), "is a directory"),
        (("--format", "parquet"), "cannot be written to stdout"),
        (("--app", "nonsense"), "not in reverse-domain form"),
    ],
)
def test_what_cannot_be_is_said_before_anything_is_sent(
    server: Served, capgo: Command, arguments: tuple[str, ...], said: str
) -> None:
    result = capgo("export", "devices", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    assert server.requests() == 0


def test_without_pyarrow_the_extra_is_named_before_anything_is_sent(
    server: Served, capgo: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    result = capgo("export", "devices", "-o", "out.parquet")
    assert result.exit_code == 2
    assert "pip install 'capgo-async[parquet]'" in result.stderr
    assert server.requests() == 0


def test_a_full_disk_keeps_what_was_read(capgo: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        result = capgo("export", "devices", "-o", "out.csv")
    assert result.exit_code == 4
    assert "no space left for out.csv" in result.stderr
    assert "run the same command again (its progress is in out.csv.building)" in result.stderr
    assert capgo("export", "devices", "-o", "out.csv").exit_code == 0
    assert [path.name for path in Path().iterdir()] == ["out.csv"]


def test_an_output_that_cannot_be_written_is_said(capgo: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_building: Path, _path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(exporting, "give_name", refuse)
    result = capgo("export", "devices", "-o", "out.csv")
    assert result.exit_code == 2
    assert "cannot write out.csv: Permission denied" in result.stderr


@in_virtual_time
async def test_progress_is_a_line_when_something_changed(monkeypatch: pytest.MonkeyPatch) -> None:
    tally, speech = Tally(), Speech()
    said: list[str] = []
    monkeypatch.setattr(speech, "note", said.append)
    async with client_of(sandbox_of()) as client:
        reading = Reading("devices", tally, ring_of(client), speech)
        async with anyio.create_task_group() as group:
            group.start_soon(reading.follow)
            await anyio.sleep(21)
            tally.apps, tally.settled, tally.rows = ("", APP), 1, 1234
            await anyio.sleep(5)
            pacer_of(client).close((ScopeKind.APP_ADDRESS, APP), 100.0)
            await anyio.sleep(5)
            group.cancel_scope.cancel()
    assert said[:2] == [
        "0 devices read",
        "1,234 devices read, 1 of 2 lists complete",
    ]
    assert re.fullmatch(
        rf"1,234 devices read, 1 of 2 lists complete, waiting: limit of {APP}, until [\d-]+ [\d:]+ UTC", said[2]
    )
    assert len(said) == 3


def test_a_refused_key_and_a_server_that_is_away_have_their_codes(server: Served, unaimed: Command) -> None:
    refused = {**server.environment, "CAPGO_API_KEY": "00000000-0000-4000-8000-000000000000"}
    assert unaimed("export", "apps", env=refused).exit_code == 5
    away = {"CAPGO_BASE_URL": "http://127.0.0.1:9", "CAPGO_API_KEY": KEY}
    assert unaimed("export", "apps", "--retries", "0", env=away).exit_code == 6


def test_a_list_that_is_not_proven_has_a_code_of_its_own(unaimed: Command) -> None:
    with served(Settings(faults=parse_faults("GET /device:masked=100%"))) as server:
        result = unaimed("export", "devices", env=server.environment)
        assert result.exit_code == 3
        reason = "com.example.app01: the server lists no device, but counts linked devices in this app"
        assert f"0 devices of 1 app: cannot tell. {reason} (" in result.stderr
        assert result.stderr.count(reason) == 1
        app = server.sandbox.world.apps[APP]
        server.sandbox.on_bundles = lambda: app.bundles.pop(max(app.bundles))
        for number in range(60):
            server.sandbox.world.add_bundle(app, f"8.{number}.0", now=1_784_538_000.0)
        result = unaimed("export", "bundles", "-o", "out.csv", env=server.environment)
    assert result.exit_code == 3
    assert "possibly incomplete. All pages were read, but 1 list cannot be proven complete" in result.stderr
    assert Path("out.csv").exists()


def killed(server: Served, sign: signal.Signals, *, at: int) -> tuple[int | None, str]:
    """Run an export and send it a signal when it asks for the listing of this number."""
    export = ("export", "devices", "-o", "out.sqlite", "--rate", "off", "--concurrency", "2")
    process = Forked(*export, stderr=PIPE, env=environment(server), cwd=Path.cwd())
    server.sandbox.on_listing = lambda number: process.send_signal(sign) if number == at else None
    _, err = process.communicate()
    server.sandbox.on_listing = None
    return process.returncode, err


@pytest.mark.slow
@pytest.mark.parametrize("sign", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_the_same_command_goes_on_after_any_end(unaimed: Command, sign: signal.Signals) -> None:
    with served(apps=4, devices=6000) as server:
        code, err = killed(server, sign, at=20)
        if sign is signal.SIGKILL:
            assert code == -sign
        else:
            assert code == 130
            assert "run the same command again (its progress is in out.sqlite.building)" in err
        assert Path("out.sqlite.building").exists()
        assert not Path("out.sqlite").exists()
        listed = server.sandbox.listings
        result = unaimed("export", "devices", "-o", "out.sqlite", "--rate", "off", env=server.environment)
        assert result.exit_code == 0, result.stderr
        assert "continuing with out.sqlite.building" in result.stderr
        assert server.sandbox.listings - listed < 4 * (1500 / 200) + 4 * 3 - 12
        with contextlib.closing(sqlite3.connect("out.sqlite")) as connection:
            assert {device for (device,) in connection.execute("SELECT device_id FROM devices")} == ids_in(server)
    assert [path.name for path in Path().iterdir()] == ["out.sqlite"]


def test_devices_that_cannot_be_read_are_left_out_where_that_is_asked_for(server: Served, capgo: Command) -> None:
    spoiled = sorted(ids_in(server))[3:5]
    for device in spoiled:
        spoil(server.sandbox, device)
    refused = capgo("export", "devices", "-o", "out.jsonl", "--retries", "0")
    assert (refused.exit_code, Path("out.jsonl").exists()) == (3, False)
    assert f"row 4 (device_id {spoiled[0]}), os_version" in refused.stderr
    assert "`export devices --skip-unreadable` leaves such devices out." in refused.stderr
    result = capgo("export", "devices", "--skip-unreadable", "-o", "out.jsonl")
    assert result.exit_code == 3
    assert ids_of(Path("out.jsonl")) == ids_in(server) - {*spoiled}
    for device in spoiled:
        assert result.stderr.count(f"(device_id {device})") == 1
    named = ", ".join(f"device_id {device}" for device in spoiled)
    assert f"note: {APP}: 2 rows could not be read and were left out: {named}" in result.stderr
    assert "28 devices of 1 app: possibly incomplete" in result.stderr
    printed = capgo("export", "devices", "--skip-unreadable")
    assert (printed.exit_code, len(printed.stdout.splitlines())) == (3, 28)


def test_a_list_of_which_no_row_can_be_read_is_not_called_empty(server: Served, capgo: Command) -> None:
    for device in ids_in(server):
        spoil(server.sandbox, device)
    Path("out.jsonl").write_text("old")
    result = capgo("export", "devices", "--skip-unreadable", "-o", "out.jsonl")
    assert result.exit_code == 3
    assert f"{APP}: 30 rows could not be read and were left out" in result.stderr
    assert "lists no device" not in result.stderr
    assert Path("out.jsonl").read_text() == "old"


@in_virtual_time
async def test_rows_that_were_left_out_are_not_forgotten_by_an_export_that_leaves_none_out(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=450)
    devices = sorted(sandbox.world.apps[APP].devices)
    for place in (10, 300):
        spoil(sandbox, devices[place])

    def note(error: UnreadableAnswer) -> None:
        if devices[300] in error.name:
            raise RuntimeError

    output = tmp_path / "all.jsonl"
    async with client_of(sandbox) as capgo:
        with pytest.raises(RuntimeError):
            await exporting.export(output, InventoryKind.DEVICES, client=capgo, on_unreadable=note)
        with pytest.raises(UnreadableAnswer, match=devices[10]):
            await exporting.export(output, InventoryKind.DEVICES, client=capgo)


@pytest.mark.parametrize("kill", [False, True])
@in_virtual_time
async def test_rows_on_any_page_are_left_out_and_named_once(tmp_path: Path, *, kill: bool) -> None:
    sandbox = sandbox_of(devices=450)
    devices = sorted(sandbox.world.apps[APP].devices)
    spoiled = [devices[place] for place in (0, 199, 200, 430, 449)]
    for device in spoiled:
        spoil(sandbox, device)
    bad: list[str] = []

    def note(error: UnreadableAnswer) -> None:
        bad.append(error.name)
        if kill and len(bad) == 3:
            raise RuntimeError

    output = tmp_path / "all.jsonl"
    for _ in range(1 + kill):
        async with client_of(sandbox) as capgo:
            with contextlib.suppress(RuntimeError):
                summary = await exporting.export(output, InventoryKind.DEVICES, client=capgo, on_unreadable=note)
    assert sorted(set(bad)) == [f"device_id {device}" for device in spoiled]
    assert (summary.rows, summary.complete, len(bad)) == (445, False, 5 + kill)
    assert any("5 rows could not be read and were left out" in caveat for check in summary.checks for caveat in check.caveats)
    assert ids_of(output) == {*devices} - {*spoiled}
