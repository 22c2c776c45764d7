"""Runs that are interrupted or stopped, what they say, and how they are gone on with."""

import importlib.util
import json
import os
import re
import signal
import sqlite3
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from subprocess import PIPE
from typing import Any

import anyio
import pytest
from cli.served import APP, KEY, Served, csv_of, environment, served
from typer.testing import Result

from benchmarks.forked import Forked
from capgo_async import CapgoClient
from capgo_async.bulk import Job, Which, read_operations
from capgo_async.bulk.jobfile.journal import Journal, Measure
from capgo_async.bulk.operations.results import Done, Failed
from capgo_async.cli.job import progress
from capgo_async.cli.job.progress import Follower
from capgo_async.cli.output.speech import Speech
from capgo_async.client import requester_of
from capgo_async.errors import DiskFull
from capgo_async.key_ring import pacer_of, ring_of
from capgo_async.limits import refused_keys

Command = Callable[..., Result]

RELINK = ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", "--job", "m.capgo-job", "--yes", "--json")
RESUME = "capgo-async job run m.capgo-job"


@pytest.fixture
def server() -> Iterator[Served]:
    with served(devices=400) as found:
        yield found


def signal_at(number: int, *signals: signal.Signals) -> Callable[[int], None]:
    """Return what sends `signals` to this process before the change of this number is answered."""

    def interrupt(change: int) -> None:
        if change == number:
            for name in signals:
                os.kill(os.getpid(), name)

    return interrupt


@pytest.mark.slow
@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_first_signal_drains_and_job_run_finishes(server: Served, capgo: Command, here: Path, name: signal.Signals) -> None:
    csv_of(here / "devices.csv", devices=400)
    server.sandbox.on_change = signal_at(20, name)
    first = capgo(*RELINK)
    report = json.loads(first.stdout)
    assert first.exit_code == 130
    assert report["pending"] > 0
    assert report["done"] == len(server.sent()) >= 20
    assert report["planned"] == report["done"] + report["failed"] + report["pending"]
    assert "interrupted: finishing the requests in flight" in first.stderr
    assert RESUME in first.stderr
    # It was confirmed when it was run: no question, also without a terminal.
    second = capgo("job", "run", "m.capgo-job", "--json")
    assert second.exit_code == 0
    assert json.loads(second.stdout)["done"] == report["planned"]
    assert set(server.sent().values()) == {1}


def test_a_terminal_that_closes_sends_its_signal_twice_and_still_drains(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv", devices=400)
    server.sandbox.on_change = signal_at(20, signal.SIGHUP, signal.SIGHUP)
    result = capgo(*RELINK)
    report = json.loads(result.stdout)
    assert (result.exit_code, report["done"]) == (130, len(server.sent()))


def test_nohup_lets_a_run_go_on(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv", devices=30)
    server.sandbox.on_change = signal_at(5, signal.SIGHUP)
    former = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        assert capgo(*RELINK).exit_code == 0
    finally:
        signal.signal(signal.SIGHUP, former)


def test_signals_are_heard_without_uvloop(server: Served, capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "uvloop" else found(name))
    csv_of(here / "devices.csv", devices=400)
    server.sandbox.on_change = signal_at(20, signal.SIGINT)
    result = capgo(*RELINK)
    assert result.exit_code == 130
    assert "interrupted: " in result.stderr


def test_a_signal_before_the_first_change_is_not_lost(
    server: Served, capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    csv_of(here / "devices.csv", devices=400)
    begin = Journal.begin_run

    async def interrupted(journal: Journal, measure: Measure, which: Which, operations: int) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        await begin(journal, measure, which, operations)

    monkeypatch.setattr(Journal, "begin_run", interrupted)
    result = capgo(*RELINK)
    assert result.exit_code == 130
    assert json.loads(result.stdout)["done"] == len(server.sent())


@pytest.mark.slow
def test_the_second_signal_stops_at_once(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv", devices=400)
    over = threading.Event()

    def interrupt(change: int) -> None:
        if change == 20:
            os.kill(os.getpid(), signal.SIGINT)
            os.kill(os.getpid(), signal.SIGTERM)
            over.wait()  # the server answers nothing more: only stopping at once ends this

    server.sandbox.on_change = interrupt
    try:
        first = capgo(*RELINK)
    finally:
        over.set()
    report = json.loads(first.stdout)
    assert first.exit_code == 130
    assert report["pending"] > 0
    assert RESUME in first.stderr
    server.sandbox.on_change = None
    assert capgo("job", "run", "m.capgo-job", "--rate", "off").exit_code == 0


def test_a_signal_while_reading_ends_with_130(server: Served, capgo: Command) -> None:
    keys = server.sandbox.world.keys
    readable = keys.of

    def interrupt(secret: str) -> Any:
        os.kill(os.getpid(), signal.SIGINT)
        keys.of = readable  # type: ignore[method-assign]  # only once
        return readable(secret)

    keys.of = interrupt  # type: ignore[method-assign]  # a double
    result = capgo("devices", "list", APP)
    assert result.exit_code == 130
    assert "interrupted" in result.stderr


def test_a_key_that_is_refused_during_a_run_ends_it_with_5(
    server: Served, capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(refused_keys, "KEY_RESTS_FOR", 0.1)
    csv_of(here / "devices.csv", devices=400)

    def revoke(change: int) -> None:
        if change == 20:
            world = server.sandbox.world
            key = world.keys.of(KEY)
            assert key is not None
            world.keys.remove(key)

    server.sandbox.on_change = revoke
    result = capgo(*RELINK)
    assert result.exit_code == 5
    assert json.loads(result.stdout)["pending"] > 0
    assert RESUME in result.stderr
    assert "Check the API key" in result.stderr


def test_a_wrong_key_makes_no_job_file(server: Served, unaimed: Command, here: Path) -> None:
    csv_of(here / "devices.csv")
    wrong = "11111111-2222-4333-8444-555555555555"
    result = unaimed(*RELINK, "--api-key", wrong, "--base-url", server.base_url)
    assert (result.exit_code, result.stdout) == (5, "")
    assert server.requests() == 1
    assert not (here / "m.capgo-job").exists()


def test_a_server_that_is_gone_ends_a_run_with_6(unaimed: Command, here: Path) -> None:
    csv_of(here / "devices.csv")
    with served() as server:
        aimed = server.environment
        assert unaimed(*RELINK, "--plan-only", env=aimed).exit_code == 0
    result = unaimed("job", "run", "m.capgo-job", "--yes", "--json", "--retries", "0", env=aimed)
    assert result.exit_code == 6
    assert json.loads(result.stdout)["done"] == 0
    assert RESUME in result.stderr


def test_a_full_disk_ends_a_run_with_4(capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    csv_of(here / "devices.csv")

    async def refuse(*_arguments: object) -> None:
        message = "no space left for m.capgo-job: free some disk space, then go on"
        raise DiskFull(message)

    monkeypatch.setattr(Journal, "advance", refuse)
    result = capgo(*RELINK)
    assert result.exit_code == 4
    assert "no space left" in result.stderr
    assert RESUME in result.stderr


def test_a_fault_of_ours_is_said_in_a_line(capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    csv_of(here / "devices.csv")

    async def fail(*_arguments: object, **_options: object) -> None:
        message = f"something with {KEY}"
        raise RuntimeError(message)

    monkeypatch.setattr(Job, "create", fail)
    result = capgo(*RELINK)
    assert (result.exit_code, result.stdout) == (1, "")
    assert "unexpected RuntimeError: something with [API key]" in result.stderr
    assert "Traceback" not in result.stderr
    assert "Traceback" in capgo(*RELINK, "--debug").stderr


def test_failures_are_reported_by_cause(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv", devices=40)
    world = server.sandbox.world

    def make_it_public(change: int) -> None:
        if change == 5:
            world.apps[APP].channels["beta"].public = True

    server.sandbox.on_change = make_it_public
    result = capgo(*(argument for argument in RELINK if argument != "--json"))
    assert result.exit_code == 3
    assert "public_channel_override" in result.stdout
    assert f"first: {APP}/" in result.stdout


@pytest.mark.slow
def test_job_show_works_while_another_process_runs_the_job(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv", devices=400)
    shown: list[tuple[int | None, str, str]] = []

    def look(change: int) -> None:
        if change == 20:
            shown.append(_completed("job", "show", "m.capgo-job", "--json", cwd=here))
            shown.append(_completed("job", "run", "m.capgo-job", "--yes", cwd=here, server=server))

    server.sandbox.on_change = look
    assert capgo(*RELINK).exit_code == 0
    (code, out, _), (refused, _, err) = shown
    assert code == 0
    assert json.loads(out)["pending"] > 0
    assert refused == 2
    assert "another process is running" in err
    assert "m.capgo-job. Follow it with `job show FILE`." in err


def _completed(*arguments: str, cwd: Path, server: Served | None = None) -> tuple[int | None, str, str]:
    process = Forked(*arguments, stdout=PIPE, stderr=PIPE, env=environment(server), cwd=cwd)
    out, err = process.communicate()
    return process.returncode, out, err


@pytest.mark.slow
@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_the_command_itself_can_be_interrupted_twice_and_resumed(server: Served, here: Path, name: signal.Signals) -> None:
    csv_of(here / "devices.csv", devices=400)
    reached, over = threading.Event(), threading.Event()

    def hold(change: int) -> None:
        if change == 50:
            reached.set()
            over.wait()  # the server answers nothing more: only stopping at once ends this

    server.sandbox.on_change = hold
    with Forked(*RELINK, stdout=PIPE, stderr=PIPE, env=environment(server), cwd=here) as process:
        try:
            reached.wait()
            process.send_signal(name)
            while not (line := process.stderr.readline()).startswith("interrupted: "):
                assert line
            process.send_signal(name)
            out, err = process.communicate()
        finally:
            over.set()
    assert process.returncode == 130
    assert json.loads(out)["pending"] > 0
    assert RESUME in err
    assert KEY not in out + err
    code, out, _ = _completed("job", "run", "m.capgo-job", "--json", "--rate", "off", cwd=here, server=server)
    assert code == 0
    assert json.loads(out)["pending"] == 0


@pytest.mark.slow
def test_a_job_that_was_killed_is_not_asked_about_again(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv", devices=400)
    process = Forked(*RELINK, "--quiet", env=environment(server), cwd=here)
    server.sandbox.on_change = lambda change: process.kill() if change == 20 else None
    process.wait()
    server.sandbox.on_change = None
    assert process.returncode == -signal.SIGKILL
    assert re.search(r"^at least \d+ requests in all runs", capgo("job", "show", "m.capgo-job").stdout, re.MULTILINE)
    # What may have left just before would wait a minute for the limits of its devices: this server has none.
    result = capgo("job", "run", "m.capgo-job", "--json", "--rate", "off")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["pending"] == 0


@pytest.mark.slow
def test_job_show_tells_the_rest_of_another_process_and_its_kill(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv", devices=400)
    assert capgo(*RELINK, "--plan-only").exit_code == 0
    words = ("job", "run", "m.capgo-job", "--yes", "--rate", "15/min")
    with Forked(*words, env=environment(server), cwd=here) as process:
        states: list[dict[str, Any]] = []
        while not states or states[-1]["state"] != "resting":
            states.append(json.loads(capgo("job", "show", "m.capgo-job", "--json").stdout)["activity"])
        shown = capgo("job", "show", "m.capgo-job").stdout
        process.kill()
    assert {state["state"] for state in states} <= {"idle", "running", "resting"}
    assert re.search(r"^running now: resting until .+ \(key's limit\)$", shown, re.MULTILINE)
    assert 0 < (datetime.fromisoformat(states[-1]["until"]) - datetime.now(UTC)).total_seconds() < 62
    killed = capgo("job", "show", "m.capgo-job")
    assert "run 2 was killed; nothing runs the job now" in killed.stdout
    assert RESUME in killed.stderr


def test_no_file_holds_the_key(capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv")
    assert capgo(*RELINK).exit_code == 0
    assert not [path for path in here.iterdir() if KEY.encode() in path.read_bytes()]
    connection = sqlite3.connect(here / "m.capgo-job")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


@pytest.mark.slow
def test_a_bar_is_drawn_on_a_terminal(capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "is_terminal", lambda _stream: True)
    monkeypatch.setenv("COLUMNS", "200")
    csv_of(here / "devices.csv", devices=400)
    result = capgo(*RELINK)
    done = json.loads(result.stdout)["done"]
    assert f"{done}/{done}" in result.stderr
    assert "0 failed" in result.stderr


async def test_a_follower_says_how_it_goes_and_when_all_rest(
    server: Served, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    source = csv_of(here / "devices.csv", devices=400)
    operations = read_operations(str(source), app_id=APP, channel="beta")
    async with (
        CapgoClient(api_key=KEY, base_url=server.base_url) as client,
        await Job.create(here / "m.capgo-job", operations, client=client) as job,
    ):
        follower = Follower(job, ring_of(client), Speech())
        follower(Done())
        follower(Failed("channel_not_found"))
        async with anyio.create_task_group() as group:
            group.start_soon(follower.follow)
            pacer_of(client).close(requester_of(client).key_scope, 90.0)
            for _ in range(5):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
    said = capsys.readouterr().err
    assert f"2 of {follower.total} finished, 1 failed" in said
    assert "waiting: key's limit, until" in said
