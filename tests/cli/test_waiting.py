"""A command that waits for a limit says so: a single change, a listing, and the planning of many changes."""

from pathlib import Path

import anyio
import pytest
from cli.conftest import Command
from cli.served import APP, csv_of, served

from capgo_async.cli.output.speech import Speech
from capgo_async.cli.output.waiting import Waits
from capgo_async.errors import SafetyStop
from capgo_async.events import RetryPlanned
from capgo_async.sandbox import Settings, Thresholds, thresholds
from capgo_async.sandbox.limiting import Limiters
from capgo_async.sandbox.seeding import device_id

COMMANDS = (
    ("apps", "list"),
    ("channels", "list", APP),
    ("devices", "link", APP, device_id(APP, 0), "beta"),
    ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", "--yes"),
    ("export", "devices", "-o", "out.csv"),
    ("bundles", "prune", "--keep", "1", "--plan-only"),
    ("bundles", "promote", APP, "1.0.0", "beta"),
    ("members", "remove-many", "--everywhere", "nobody@example.com", "--plan-only"),
    ("stats", "bundles", APP),
    ("job", "run", "m.capgo-job", "--yes"),
    ("job", "verify", "m.capgo-job"),
    ("job", "adoption", "m.capgo-job"),
    ("job", "undo", "m.capgo-job", "--yes"),
)


@pytest.mark.parametrize("command", COMMANDS, ids=" ".join)
def test_a_wait_is_told(command: tuple[str, ...], unaimed: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    csv_of(here / "devices.csv")
    csv_of(here / "more.csv", more=("new-1", "new-2"))
    said: list[str] = []

    def note(_speech: Speech, text: str) -> None:
        said.append(text)
        if "waiting" in text:
            raise SafetyStop(text)

    with served(Settings(limits=thresholds("off"))) as server:
        if command[0] == "job":
            aim = ("--app", APP, "--channel", "beta", "--job", "m.capgo-job", "--yes", "--max-requests", "10")
            assert unaimed("devices", "relink", "more.csv", *aim, env=server.environment).exit_code in {0, 4}
        monkeypatch.setattr(Speech, "note", note)
        monkeypatch.setattr("capgo_async.cli.job.progress.LINE_SECONDS", 0.01)
        # The number is that of the first request which is refused.
        server.sandbox.limiters = Limiters(Thresholds(api_key=1))
        before = server.requests()
        assert unaimed(*command, env=server.environment).exit_code != 0
        assert server.requests() == before + 1
    assert "waiting: key's limit, until " in said[-1]


def test_a_long_pause_before_a_retry_is_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    async def fail() -> None:
        waits = Waits(Speech())
        for seconds in (2.0, 90.0, 90.0):
            waits(RetryPlanned(operation="list apps", request_id=None, number=1, seconds=seconds))

    anyio.run(fail)
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("waiting: retry after a failure (list apps), until ")
