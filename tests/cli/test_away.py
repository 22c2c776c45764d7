"""`--wait-for-server`: a run says that it waits for its server, and how to go on once it has waited in vain."""

import shlex
import socket
from pathlib import Path

import pytest
from cli.conftest import Command
from cli.served import APP, csv_of

from capgo_async.bulk.running import absence
from capgo_async.cli.job import progress

PLAN = ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", "--job", "m.capgo-job", "--plan-only")


def nowhere() -> str:
    """Return the URL of a port on which nothing listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


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


@pytest.mark.parametrize("time", ["soon", "0s", "99999999d"])
def test_what_is_no_time_to_wait_is_wrong_usage(capgo: Command, here: Path, time: str) -> None:
    csv_of(here / "devices.csv")
    result = capgo(*PLAN, "--wait-for-server", time)
    assert result.exit_code == 2
    assert "--wait-for-server" in result.stderr
