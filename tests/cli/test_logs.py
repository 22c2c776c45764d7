"""What -v and --log-file tell: waits and retries, each request, and neither twice; whatever the file is."""

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import Command
from cli.served import APP, KEY, Served, csv_of, served
from cli.terminals import terminal

from capgo_async.cli.output.speech import Speech
from capgo_async.sandbox import Settings, Thresholds

RELINK = ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", "--yes", "--job", "move.capgo-job")


def lines_of(path: str = "log.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in Path(path).read_text().splitlines()]


def test_without_an_option_nothing_is_logged(capgo: Command) -> None:
    assert capgo("apps", "list", "--json").stderr == ""


def test_v_tells_what_happens_but_not_each_request(capgo: Command) -> None:
    lines = capgo("apps", "list", "-v").stderr.splitlines()
    assert any("INFO capgo_async.http: server version " in line for line in lines)
    assert not any(" DEBUG " in line for line in lines)


def test_vv_tells_each_request(capgo: Command, server: Served) -> None:
    stderr = capgo("apps", "list", "-vv").stderr
    lines = [line for line in stderr.splitlines() if " DEBUG capgo_async.http: list apps: " in line]
    assert len(lines) == 2 * server.requests()
    assert "GET /app, attempt 1, request " in lines[0]
    assert "HTTP 200 after " in lines[1]


def test_quiet_is_quiet_all_the_same(capgo: Command) -> None:
    assert capgo("apps", "list", "-vv", "-q").stderr == ""


@pytest.mark.parametrize(
    ("options", "told"),
    [((), "waiting: key's limit, until "), (("-v",), " INFO capgo_async.limits: refused: key's limit; nothing that it counts")],
)
def test_a_limit_is_told_once_with_and_without_v(
    options: tuple[str, ...], told: str, unaimed: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []

    def note(_speech: Speech, text: str) -> None:
        if "key's limit" in text:
            said.append(text)
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Speech, "note", note)
    with served(Settings(limits=Thresholds(api_key=1))) as server:
        assert unaimed("apps", "list", *options, env=server.environment).exit_code == 130
    (line,) = said
    assert told in line


def test_the_log_has_every_request_with_its_id_and_what_was_settled(capgo: Command, here: Path, server: Served) -> None:
    csv_of(here / "devices.csv")
    result = capgo(*RELINK, "--log-file", "log.jsonl")
    assert result.exit_code == 0
    assert "capgo_async." not in result.stderr
    lines = lines_of()
    ended = [line for line in lines if line.get("event") == "attempt_ended"]
    assert len(ended) == server.requests()
    assert len({line["request_id"] for line in ended}) == len(ended)
    assert {line["request_id"] for line in lines if line.get("event") == "attempt_began"} == {
        line["request_id"] for line in ended
    }
    settled = [line for line in lines if line.get("event") == "operations_settled"]
    assert sum(line["done"] for line in settled) == sum(server.sent().values())
    assert all({"at", "level", "logger", "message"} <= line.keys() for line in lines)
    assert {line["logger"] for line in lines} >= {"capgo_async.http", "capgo_async.bulk"}


def test_a_log_is_appended_to_and_another_file_is_left_alone(capgo: Command, here: Path, server: Served) -> None:
    capgo("apps", "list", "--log-file", "log.jsonl")
    first = lines_of()
    capgo("apps", "list", "--log-file", "log.jsonl")
    assert lines_of()[: len(first)] == first
    assert len(lines_of()) == 2 * len(first)
    csv_of(here / "devices.csv")
    capgo(*RELINK, "--plan-only")
    asked = server.requests()
    before = {path: path.read_bytes() for path in (here / "devices.csv", here / "move.capgo-job")}
    for path, content in before.items():
        result = capgo("apps", "list", "--log-file", path)
        assert (result.exit_code, path.read_bytes()) == (2, content)
        assert "is no log of this command; choose another name" in result.stderr
    result = capgo("apps", "list", "--log-file", "-")
    assert (result.exit_code, Path("-").exists()) == (2, False)
    assert "name a file for the log" in result.stderr
    assert server.requests() == asked


@pytest.mark.parametrize(
    ("to", "why"),
    [
        (".", "cannot write the log to .: Is a directory"),
        ("missing/log", "cannot write the log to missing/log: No such file or directory"),
        ("pipe", "cannot write the log to pipe: nobody reads this pipe; start its reader first"),
    ],
)
def test_what_cannot_be_opened_is_said_before_anything_is_sent(capgo: Command, server: Served, to: str, why: str) -> None:
    os.mkfifo("pipe")
    result = capgo("apps", "list", "--log-file", to)
    assert result.exit_code == 2
    assert why in result.stderr
    assert not server.requests()


def test_a_full_disk_ends_the_log_and_not_the_command(capgo: Command) -> None:
    result = capgo("apps", "list", "--log-file", "/dev/full")
    assert result.exit_code == 0
    assert APP in result.stdout
    assert result.stderr.count("cannot write the log to /dev/full: No space left on device") == 1


def test_a_reader_of_a_pipe_gets_it_all_and_one_that_leaves_ends_only_the_log(capgo: Command) -> None:
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert capgo("apps", "list", "--log-file", "pipe").exit_code == 0
    assert b'"attempt_ended"' in os.read(reader, 1 << 20)
    os.close(reader)


def test_no_log_says_a_key_in_an_odd_place(capgo: Command, here: Path, server: Served) -> None:
    csv_of(here / "devices.csv", more=(KEY, KEY.upper()))
    result = capgo(*RELINK, "-vv", "--log-file", "log.jsonl")
    capgo("devices", "get", APP, KEY, "-vv", "--log-file", "log.jsonl")
    assert server.sent()[f"{APP}/{KEY}"]
    said = (result.stdout + result.stderr + Path("log.jsonl").read_text()).lower()
    assert KEY not in said
    assert "link device [api key] of" in said


@pytest.mark.slow
def test_the_log_leaves_the_progress_bar_whole(server: Served, here: Path) -> None:
    csv_of(here / "devices.csv")
    with terminal(*RELINK, "-vv", server=server, cwd=here, columns=200) as shown:
        assert shown.end() == 0
    lines = [line.rpartition("\r")[2] for line in shown.lines()]
    logged = [line for line in lines if " capgo_async." in line]
    assert any("HTTP 200 after" in line for line in logged)
    assert not any("━" in line for line in logged)
    assert "19/19 0 failed" in shown.shown
