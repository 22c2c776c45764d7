"""`--wait-for-server`: a command says that it waits for its server, and how to go on once it has waited in vain."""

import contextlib
import shlex
import sqlite3
from pathlib import Path

import pytest
from cli.conftest import Command
from cli.served import APP, Served, csv_of, nowhere

from capgo_async.cli.job import progress
from capgo_async.http import absence

PLAN = ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", "--job", "m.capgo-job", "--plan-only")


def test_a_run_tells_that_it_waits_for_its_server(capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.02)
    monkeypatch.setattr(absence, "FIRST_PAUSE", 0.1)
    csv_of(here / "devices.csv")
    capgo(*PLAN)
    away = ("--base-url", nowhere(), "--rebind", "--retries", "0", "--no-drift")
    result = capgo("job", "run", "m.capgo-job", "--yes", *away, "--wait-for-server", "0.3s")
    assert result.exit_code == 6
    assert "waiting for the server, which cannot be reached; next try at " in result.stderr
    again = next(line for line in result.stderr.splitlines() if line.startswith("to go on: "))
    assert shlex.split(again)[-2:] == ["--wait-for-server", "0.3s"]


@pytest.mark.parametrize(
    "words",
    [
        (*PLAN[:-2], "n.capgo-job", "--plan-only"),
        ("job", "verify", "m.capgo-job"),
        ("job", "adoption", "m.capgo-job"),
        ("job", "undo", "m.capgo-job", "--yes"),
        ("export", "devices", "-o", "devices.csv"),
        ("devices", "list", APP),
        ("devices", "link", APP, "some-device", "beta"),
    ],
)
def test_every_command_tells_that_it_waits_for_its_server(
    server: Served, capgo: Command, unaimed: Command, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    csv_of(Path("devices.csv"))
    capgo(*PLAN)
    capgo("job", "run", "m.capgo-job", "--yes")
    away = nowhere()
    with contextlib.closing(sqlite3.connect("m.capgo-job")) as connection, connection:
        connection.execute("UPDATE job SET value = replace(value, ?, ?)", (server.base_url, away))
    monkeypatch.setattr(absence, "FIRST_PAUSE", 0.05)
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.01)
    options = ("--retries", "0", "--wait-for-server", "0.05s")
    result = unaimed(*words, *options, env={**server.environment, "CAPGO_BASE_URL": away})
    assert result.exit_code == 6, result.stderr
    assert "waiting for the server, which cannot be reached; next try at " in result.stderr
    assert "cannot connect" in result.stderr.splitlines()[-1]


@pytest.mark.parametrize("time", ["soon", "0s", "99999999d"])
def test_what_is_no_time_to_wait_is_wrong_usage(capgo: Command, here: Path, time: str) -> None:
    csv_of(here / "devices.csv")
    result = capgo(*PLAN, "--wait-for-server", time)
    assert result.exit_code == 2
    assert "--wait-for-server" in result.stderr
