"""The commands that change: one device, and many by a source, a plan and a job."""

import json
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli.served import APP, Served, csv_of
from typer.testing import Result

from capgo_async.cli.job import asking
from capgo_async.sandbox.seeding import device_id

Command = Callable[..., Result]


def planned(server: Served, devices: int = 30) -> set[str]:
    """Return the devices that are not on beta yet."""
    return {device for index in range(devices) if server.channel_of(device := device_id(APP, index)) != "beta"}


def relink(*more: object) -> tuple[object, ...]:
    return ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", *more)


def test_one_device_is_linked_and_unlinked(server: Served, capgo: Command) -> None:
    device = device_id(APP, 1)
    assert capgo("devices", "link", APP, device.upper(), "beta").stdout == f"linked {device} of {APP} to beta\n"
    assert server.channel_of(device) == "beta"
    assert capgo("devices", "unlink", APP, device).stdout == f"unlinked {device} of {APP}\n"
    assert server.channel_of(device) is None
    linked = json.loads(capgo("devices", "link", APP, device, "alpha", "--json").stdout)
    assert linked == {"app_id": APP, "device_id": device, "channel": "alpha"}


@pytest.mark.parametrize(
    ("channel", "code", "said"), [("gamma", 3, "case-sensitive"), ("production", 2, "devices unlink"), ("", 2, "empty")]
)
def test_a_refused_link_says_why(capgo: Command, channel: str, code: int, said: str) -> None:
    result = capgo("devices", "link", APP, "some-device", channel)
    assert result.exit_code == code
    assert said in result.stderr


def test_unlinking_one_device_takes_no_options_of_a_plan(server: Served, capgo: Command) -> None:
    result = capgo("devices", "unlink", APP, "some-device", "--plan-only")
    assert result.exit_code == 2
    assert server.requests() == 0


def test_a_source_is_relinked_and_reported(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv", more=("unknown-1", device_id(APP, 0)))
    open_ = planned(server)
    result = capgo(*relink("--job", "move.capgo-job", "--yes", "--json"))
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    totals = {name: report[name] for name in ("job", "rows", "rejected", "skipped", "planned", "done", "failed", "pending")}
    assert totals == {
        "job": "move.capgo-job",
        "rows": 32,
        "rejected": 0,
        "skipped": 31 - len(open_),
        "planned": len(open_) + 1,
        "done": len(open_) + 1,
        "failed": 0,
        "pending": 0,
    }
    assert "job file: move.capgo-job\n" in result.stderr
    assert result.stderr.index("job file") < result.stderr.index("planned")
    assert planned(server) == set()
    assert set(server.sent()) == {f"{APP}/{device}" for device in (*open_, "unknown-1")}


def test_a_source_is_unlinked_from_stdin(server: Served, capgo: Command, here: Path) -> None:
    source = csv_of(here / "devices.csv").read_text()
    result = capgo("devices", "unlink", "-", "--app", APP, "--yes", input=source)
    assert result.exit_code == 0
    assert not server.sandbox.world.apps[APP].overrides
    assert "0 failed, 0 pending" in result.stdout
    assert next(here.glob("unlink-*Z.capgo-job")).name in result.stderr


def test_the_job_file_is_named_after_the_time(capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv")
    result = capgo(*relink("--yes", "--quiet"))
    assert result.stderr == ""
    (job,) = here.glob("relink-????????T??????Z.capgo-job")
    assert job.is_file()


def test_plan_only_stops_after_the_plan_and_job_run_goes_on(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv")
    open_ = planned(server)
    result = capgo(*relink("--job", "a job.capgo-job", "--plan-only", "--json"))
    assert result.exit_code == 0
    plan = json.loads(result.stdout)
    assert (plan["job"], plan["rows"], plan["planned"], plan["requests"]) == ("a job.capgo-job", 30, len(open_), len(open_))
    assert "capgo-async job run 'a job.capgo-job'" in result.stderr
    assert not server.sent()
    shown = json.loads(capgo("job", "show", "a job.capgo-job", "--json").stdout)
    assert (shown["pending"], shown["source"], shown["base_url"]) == (len(open_), "devices.csv", server.base_url)
    assert "key_salt" not in shown
    unasked = capgo("job", "run", "a job.capgo-job")
    assert unasked.exit_code == 2
    assert not server.sent()
    assert capgo("job", "run", "a job.capgo-job", "--yes").exit_code == 0
    assert planned(server) == set()
    # Nothing is open any more, and it was confirmed: no question.
    again = capgo("job", "run", "a job.capgo-job", "--json")
    assert (again.exit_code, json.loads(again.stdout)["done"]) == (0, len(open_))
    text = capgo("job", "show", "a job.capgo-job").stdout
    assert f"{len(open_)} done" in text
    assert "from devices.csv" in text


def test_the_plan_is_text_for_people(capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv")
    result = capgo(*relink("--plan-only"))
    assert "30 rows" in result.stdout
    assert "to go on" in result.stderr


def test_an_existing_job_of_the_same_source_is_resumed(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv")
    assert capgo(*relink("--job", "m.capgo-job", "--plan-only")).exit_code == 0
    assert capgo(*relink("--job", "m.capgo-job", "--yes")).exit_code == 0
    sent = server.sent()
    assert capgo(*relink("--job", "m.capgo-job", "--yes")).exit_code == 0
    assert server.sent() == sent
    csv_of(here / "devices.csv", devices=3)
    other = capgo(*relink("--job", "m.capgo-job", "--yes"))
    assert other.exit_code == 2
    assert "m.capgo-job holds a job with another source" in other.stderr


def test_another_key_needs_rebind(server: Served, capgo: Command, unaimed: Command, here: Path) -> None:
    csv_of(here / "devices.csv")
    capgo(*relink("--job", "m.capgo-job", "--plan-only"))
    other = {"CAPGO_API_KEY": "00000000-0000-4000-8000-00000000aaaa", "CAPGO_BASE_URL": server.base_url}
    refused = unaimed("job", "run", "m.capgo-job", "--yes", env=other)
    assert (refused.exit_code, refused.stdout) == (2, "")
    assert "another API key" in refused.stderr
    undo = ("job", "undo", "m.capgo-job", "--yes")
    assert "pass --rebind to `job run` or `job undo`" in unaimed(*undo, env=other).stderr
    assert unaimed(*undo, "--rebind", env=other).exit_code == 0
    assert unaimed("job", "run", "m.capgo-job", "--yes", "--rebind", env=other).exit_code == 0


def test_a_job_file_is_announced_only_if_it_stays(capgo: Command, here: Path) -> None:
    (here / "devices.csv").write_text("device_id\n\u201cd1\u201d\n")
    refused = capgo(*relink("--job", "m.capgo-job", "--yes"))
    assert (refused.exit_code, "job file" in refused.stderr, (here / "m.capgo-job").exists()) == (2, False, False)
    assert "device_id begins or ends with a quotation mark: U+201C (left double quotation mark)" in refused.stderr


def test_an_export_without_links_is_asked_for_the_channel(capgo: Command, here: Path) -> None:
    assert capgo("export", "devices", "-o", "devices.csv").exit_code == 0
    lines = (here / "devices.csv").read_text().splitlines()
    at = lines[0].split(",").index("channel")
    bare = [lines[0], *(",".join([*cells[:at], "", *cells[at + 1 :]]) for cells in (line.split(",") for line in lines[1:3]))]
    (here / "bare.csv").write_text("\n".join(bare) + "\n")
    refused = capgo("devices", "relink", "bare.csv", "--plan-only")
    assert refused.exit_code == 2
    assert "this is an export of devices" in refused.stderr
    assert "pass --channel to say where the devices should go" in refused.stderr


def test_no_terminal_and_no_yes_sends_nothing(
    server: Served, capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "TERMINAL", here / "no-terminal")
    csv_of(here / "devices.csv")
    result = capgo(*relink())
    assert result.exit_code == 2
    assert "--yes" in result.stderr
    assert server.requests() == 0
    assert list(here.iterdir()) == [here / "devices.csv"]


@pytest.mark.slow
@pytest.mark.parametrize("answer", [b"yes\n", b"y\n", b"no\n", b"\n", b"\x04"])
def test_the_question_is_asked_on_the_terminal(
    server: Served, capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    code = 0 if answer.startswith(b"y") else 130
    master, slave = os.openpty()
    monkeypatch.setattr(asking, "TERMINAL", Path(os.ttyname(slave)))
    os.write(master, answer)
    source = csv_of(here / "devices.csv").read_text()
    open_ = planned(server)
    result = capgo("devices", "relink", "-", "--app", APP, "--channel", "beta", input=source)
    asked = b""
    while b"[y/N]" not in asked:
        asked += os.read(master, 4096)
    os.close(master)
    os.close(slave)
    assert f"Link {len(open_)} devices of {APP} to beta at {server.base_url}? [y/N]" in asked.decode()
    assert result.exit_code == code
    assert planned(server) == (set() if code == 0 else open_)
    if code:
        assert "declined" in result.stderr
        assert "capgo-async job run relink-" in result.stderr


def test_a_terminal_that_goes_away_declines(
    server: Served, capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    master, slave = os.openpty()
    monkeypatch.setattr(asking, "TERMINAL", Path(os.ttyname(slave)))
    csv_of(here / "devices.csv")
    asked = threading.Event()

    def hang_up() -> None:
        os.read(master, 4096)
        os.close(master)
        asked.set()

    threading.Thread(target=hang_up).start()
    result = capgo(*relink())
    asked.wait()
    os.close(slave)
    assert result.exit_code == 130
    assert not server.sent()


BAD_SOURCES: dict[str, tuple[bytes, str]] = {
    "empty": (b"", "it is empty"),
    "no rows": (b"device_id\n", "no rows"),
    "missing column": (b"name,app_id\nx,y\n", "device_id"),
    "bad app id": (b"device_id,app_id\na,com.example.app01\nb,nonsense\n", "line 3: app_id 'nonsense'"),
    "a line of 10 MB": (b"device_id\n" + b"x" * 10_000_000 + b"\n", "line 2: longer than 64 KiB"),
    "Latin-1": (b"device_id\nabc\nd\xe9f\n", "line 3: not UTF-8"),
    "contradiction": (b"device_id,channel\na,beta\na,alpha\n", "lines 2-3 (2 rows): contradicts"),
    "unknown channel": (b"device_id,channel\na,gamma\n", "line 2: com.example.app01 has no channel 'gamma'"),
    "public channel": (b"device_id,channel\na,production\n", "devices unlink"),
    "two bad rows": (b"device_id,channel\n,beta\nb,\n", "line 3: no channel in this row; add the column or pass --channel"),
}


@pytest.mark.parametrize("name", BAD_SOURCES)
def test_bad_input_is_refused_with_file_line_and_reason(server: Served, capgo: Command, here: Path, name: str) -> None:
    content, said = BAD_SOURCES[name]
    (here / "bad.csv").write_bytes(content)
    given = () if b"app_id" in content else ("--app", APP)
    channel = () if b"channel" in content else ("--channel", "beta")
    result = capgo("devices", "relink", "bad.csv", *given, *channel, "--job", "m.capgo-job", "--yes", "--json")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "bad.csv" in result.stderr
    assert said in result.stderr
    assert "Traceback" not in result.stderr
    assert not server.sent()
    assert list(here.iterdir()) == [here / "bad.csv"]


def test_a_directory_is_refused(capgo: Command, here: Path) -> None:
    (here / "devices.csv").mkdir()
    result = capgo(*relink("--yes"))
    assert result.exit_code == 2
    assert "directory" in result.stderr


def test_a_missing_file_is_refused(capgo: Command) -> None:
    result = capgo(*relink("--yes"))
    assert result.exit_code == 2
    assert "no such file" in result.stderr


def test_a_file_without_permission_is_refused(capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    csv_of(here / "devices.csv")
    opened = Path.open

    def refuse(path: Path, *arguments: Any, **more: Any) -> Any:
        if path.name == "devices.csv":
            raise PermissionError(13, "Permission denied")
        return opened(path, *arguments, **more)

    monkeypatch.setattr(Path, "open", refuse)
    result = capgo(*relink("--yes"))
    assert result.exit_code == 2
    assert "no permission" in result.stderr


def test_bad_rows_can_be_left_out(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv", more=("b\x01d",))
    result = capgo(*relink("--reject-bad-rows", "--yes", "--json"))
    assert result.exit_code == 3
    assert json.loads(result.stdout)["rejected"] == 1
    assert planned(server) == set()
    assert capgo(*relink("--reject-bad-rows", "--plan-only")).exit_code == 3


@pytest.mark.parametrize(("choice", "said"), [("skip", ""), ("refuse", "--unknown"), ("paint", "'paint'")])
def test_unknown_devices_are_skipped_or_refused(server: Served, capgo: Command, here: Path, choice: str, said: str) -> None:
    csv_of(here / "devices.csv", more=("unknown-1",))
    result = capgo(*relink("--unknown", choice, "--yes"))
    assert result.exit_code == (0 if choice == "skip" else 2)
    assert said in result.stderr
    assert f"{APP}/unknown-1" not in server.sent()


def test_a_channel_has_no_meaning_for_unlinking(capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv")
    assert capgo("devices", "unlink", "devices.csv", "--app", APP, "--channel", "beta", "--yes").exit_code == 2


@pytest.mark.parametrize("what", ["missing.capgo-job", "devices.csv"])
def test_what_is_no_job_file_is_wrong_usage(capgo: Command, here: Path, what: str) -> None:
    csv_of(here / "devices.csv")
    for verb in ("show", "run"):
        result = capgo("job", verb, what)
        assert result.exit_code == 2
        assert "job file" in result.stderr
