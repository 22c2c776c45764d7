"""Waves on the command line: said before, seen while they run, and gone on with after a kill."""

import json
import os
import re
import signal
import sqlite3
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cli.conftest import Command
from cli.served import APP, Served, csv_of, served
from cli.terminals import terminal

from capgo_async.bulk.running import verification
from capgo_async.cli.job import progress
from capgo_async.sandbox.state.apps import App

RELINK = ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", "--job", "m.capgo-job")


@pytest.fixture
def server() -> Iterator[Served]:
    with served(devices=200) as found:
        yield found


def end_bakes(path: Path) -> None:
    connection = sqlite3.connect(path)
    past = (datetime.now(UTC) - timedelta(seconds=1)).isoformat()
    connection.execute("UPDATE waves SET bake_until = ? WHERE bake_until IS NOT NULL", (past,))
    connection.commit()
    connection.close()


def test_a_plan_and_a_job_tell_the_waves(capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv", devices=200)
    result = capgo(*RELINK, "--plan-only", "--waves", "1%, 50%,100%", "--bake", "10m")
    planned = json.loads(capgo("job", "show", "m.capgo-job", "--json").stdout)
    assert [wave["share"] for wave in planned["waves"]] == ["1%", "50%", "100%"]
    assert sum(wave["operations"] for wave in planned["waves"]) == planned["planned"]
    assert planned["bake_seconds"] == 600.0
    assert "wave 1, up to 1%: 2 operations, pending" in result.stdout
    assert "1,200 s of pauses" in result.stdout
    assert "wave 1, up to 1%: 2 operations, pending" in capgo("job", "show", "m.capgo-job").stdout


@pytest.mark.slow
def test_waves_without_bakes_run_through(capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv", devices=200)
    result = capgo(*RELINK, "--waves", "10%,100%", "--yes", "--json")
    assert result.exit_code == 0
    report = json.loads(result.stdout)
    assert (report["verified"], report["pending"]) == (report["planned"], 0)
    shown = capgo("job", "show", "m.capgo-job").stdout
    assert re.search(r"wave 1, up to 10%: (\d+) operations, \1 finished, 0 failed, verified\n", shown)


def test_a_contradicted_wave_ends_the_command_with_4(capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    csv_of(here / "devices.csv", devices=200)
    monkeypatch.setattr(verification, "SECOND_LOOK_SECONDS", 0.1)
    link = App.link
    # The first is said to be done, and is not.
    monkeypatch.setattr(App, "link", lambda *_: monkeypatch.setattr(App, "link", link))
    result = capgo(*RELINK, "--waves", "0.5%,100%", "--yes", "--json")
    assert result.exit_code == 4
    assert "after wave 1 (0.5%): a fresh listing contradicts 1 operation that succeeded" in result.stderr
    assert json.loads(result.stdout)["contradicted"] == 1
    assert "capgo-async job run m.capgo-job" in result.stderr
    assert "stopped" in capgo("job", "show", "m.capgo-job").stdout


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--waves", "10%,5%,100%"), "waves must rise from above 0% to 100%"),
        (("--waves", "10,100%"), "--waves: '10' is not a share"),
        (("--waves", "10%,100%", "--bake", "10"), "invalid --bake 10"),
        (("--bake", "10m"), "--bake needs --waves"),
    ],
)
def test_what_are_no_waves_is_wrong_usage(
    server: Served, capgo: Command, here: Path, options: tuple[str, ...], said: str
) -> None:
    csv_of(here / "devices.csv")
    result = capgo(*RELINK, "--yes", *options)
    assert result.exit_code == 2
    assert said in result.stderr
    assert server.requests() == 0


@pytest.mark.slow
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_run_that_ends_in_a_bake_goes_on_with_it(server: Served, capgo: Command, here: Path, how: signal.Signals) -> None:
    csv_of(here / "devices.csv", devices=200)
    arguments = (*RELINK, "--waves", "10%,100%", "--bake", "1h", "--yes", "--rate", "off")
    with terminal(*arguments, server=server, cwd=here, columns=120) as run:
        run.wait_for("pause between waves")
        os.kill(run.process.pid, how)
        code = run.end()
    assert code == (130 if how is signal.SIGINT else -how)
    first = json.loads(capgo("job", "show", "m.capgo-job", "--json").stdout)
    assert (first["waves"][0]["state"], first["done"]) == ("verified", first["waves"][0]["operations"])
    until = datetime.fromisoformat(first["waves"][0]["bake_until"])
    assert timedelta(minutes=30) < until - datetime.now(UTC) <= timedelta(hours=1)
    # Within the bake nothing is sent; after its end the rest is.
    with terminal("job", "run", "m.capgo-job", "--rate", "off", server=server, cwd=here, columns=120) as run:
        run.wait_for("pause between waves")
        assert len(server.sent()) == first["done"]
    end_bakes(here / "m.capgo-job")
    result = capgo("job", "run", "m.capgo-job", "--json", "--rate", "off")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["verified"] == first["planned"]
    assert set(server.sent().values()) == {1}
    assert [wave["state"] for wave in json.loads(result.stdout)["waves"]] == ["verified", "verified"]
    assert "wave 1, up to 10%: 14 operations, 14 finished, 0 failed, verified" in capgo("job", "report", "m.capgo-job").stdout


@pytest.mark.slow
def test_a_follower_says_that_a_run_bakes(capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.05)
    csv_of(here / "devices.csv", devices=200)
    result = capgo(*RELINK, "--waves", "10%,100%", "--bake", "0.5s", "--yes")
    assert result.exit_code == 0
    assert re.search(
        r"\d+ of \d+ finished, 0 failed, pause between waves until [\d-]+ [\d:]+ UTC, [\d:]+ left, ends [\d-]+ [\d:]+ UTC\n",
        result.stderr,
    )
