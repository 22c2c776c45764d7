"""Drift on the command line: shown before a plan of some time ago is run."""

import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cli.conftest import Command
from cli.served import APP, Served, csv_of
from cli.terminals import terminal

from capgo_async.sandbox.seeding import device_id

RELINK = ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", "--job", "m.capgo-job")
RUN = ("job", "run", "m.capgo-job")


def plan_long_ago(server: Served, capgo: Command, here: Path, minutes: float) -> None:
    """Plan to link one device, let somebody else link it, and let the plan be older."""
    csv_of(here / "devices.csv", devices=1)
    app = server.sandbox.world.apps[APP]
    app.unlink(device_id(APP, 0))
    assert capgo(*RELINK, "--plan-only").exit_code == 0
    app.link(device_id(APP, 0), app.channels["alpha"], 0)
    connection = sqlite3.connect(here / "m.capgo-job")
    made = (datetime.now(UTC) - timedelta(minutes=minutes)).isoformat(timespec="seconds")
    connection.execute("UPDATE job SET value = ? WHERE name IN ('created_at', 'observed_at')", (f'"{made}"',))
    connection.commit()
    connection.close()


def begin(path: Path) -> None:
    """Let the job look as if it was run for a moment."""
    connection = sqlite3.connect(path)
    connection.execute("INSERT INTO runs (started_at, sends, ended) VALUES ('2026-01-01T00:00:00+00:00', 1, 'interrupted')")
    connection.commit()
    connection.close()


SAID = "of 1 pending operation: 1 with a target changed by others"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("minutes", "options", "shown"), [(11, (), True), (11, ("--no-drift",), False), (9, (), False), (11, ("--quiet",), True)]
)
def test_drift_is_shown_before_a_plan_of_some_time_ago_is_run(
    server: Served, capgo: Command, here: Path, *, minutes: int, options: tuple[str, ...], shown: bool
) -> None:
    plan_long_ago(server, capgo, here, minutes)
    result = capgo(*RUN, "--yes", *options)
    assert result.exit_code == 0
    assert (SAID in result.stderr) is shown
    assert (f"{APP}/{device_id(APP, 0)}: now linked to alpha" in result.stderr) is shown
    assert server.channel_of(device_id(APP, 0)) == "beta", "shown, not dropped"


@pytest.mark.slow
def test_drift_comes_before_the_question(server: Served, capgo: Command, here: Path) -> None:
    plan_long_ago(server, capgo, here, 11)
    with terminal(*RUN, server=server, cwd=here, columns=200) as run:
        run.wait_for("[y/N] ")
        assert SAID in run.shown
        run.type(b"n\n")
        assert run.end() == 130
    assert not server.sent()
    # Declined, it was not begun: it is shown and asked again.
    result = capgo(*RELINK, "--yes")
    assert SAID in result.stderr
    assert result.exit_code == 0
    assert SAID not in capgo(*RUN, "--yes").stderr


def test_a_job_that_was_begun_is_gone_on_with(server: Served, capgo: Command, here: Path) -> None:
    plan_long_ago(server, capgo, here, 11)
    begin(here / "m.capgo-job")
    result = capgo(*RUN)
    assert result.exit_code == 0
    assert SAID not in result.stderr
    assert len(server.sent()) == 1
