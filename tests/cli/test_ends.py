"""What to do next stands at every kind of end of a run: the exit code, why, and the commands to type."""

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import pytest
from cli.conftest import Command
from cli.served import APP, KEY, Served, csv_of, nowhere

from capgo_async.bulk.jobfile.journal import Journal
from capgo_async.bulk.running import approval, verification
from capgo_async.errors import DiskFull
from capgo_async.limits import refused_keys

RELINK = ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", "--job", "m.capgo-job", "--yes")
JOB = "capgo-async job {} m.capgo-job"
GO_ON = f"to go on: {JOB.format('run')}"
CHECK = f"to check on the server that the changes are in effect: {JOB.format('verify')}"
ADOPTION = f"to see which devices run the bundle of their channel: {JOB.format('adoption')}"
WAVES = ("--waves", "10%,100%")
ONE = ("--concurrency", "1")

Spoil = Callable[[Served, pytest.MonkeyPatch], object]


def at_change(number: int, happen: Callable[[Served], object]) -> Spoil:
    """Let something happen before a change that is asked of the server."""

    def spoil(server: Served, _: pytest.MonkeyPatch) -> None:
        def hear(change: int) -> None:
            if change == number:
                happen(server)

        server.sandbox.on_change = hear

    return spoil


def make_public(server: Served) -> None:
    """Let every further link fail for good."""
    server.sandbox.world.apps[APP].channels["beta"].public = True


def revoke(server: Served) -> None:
    keys = server.sandbox.world.keys
    key = keys.of(KEY)
    assert key is not None
    keys.remove(key)


def rest_briefly(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refused_keys, "KEY_RESTS_FOR", 0.05)
    at_change(5, revoke)(server, monkeypatch)


def fill_the_disk(_: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    async def refuse(*_arguments: object) -> None:
        message = "no space left for m.capgo-job: free some disk space, then go on"
        raise DiskFull(message)

    monkeypatch.setattr(Journal, "advance", refuse)


def unlink_all(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let somebody else unlink what the first wave has linked, before it is verified."""
    monkeypatch.setattr(verification, "SECOND_LOOK_SECONDS", 0.01)

    def unlink(listing: int) -> None:
        app = server.sandbox.world.apps[APP]
        for device in [target.rpartition("/")[2] for target in server.sent()] if listing > 1 else ():
            app.unlink(device)

    server.sandbox.on_listing = unlink


def nothing(_server: Served, _monkeypatch: pytest.MonkeyPatch) -> None:
    pass


def ask_again_soon(_: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approval, "ASK_AGAIN_SECONDS", 0.01)


class End(NamedTuple):
    """How a run is brought to its end, its exit code, what is said of it, and the commands to type."""

    options: Sequence[str]
    spoil: Spoil
    code: int
    said: str
    steps: Sequence[str]


ENDS = {
    "done": End((), nothing, 0, "", [CHECK]),
    "done and verified": End(WAVES, nothing, 0, "", [ADOPTION]),
    "failed for good": End(
        ("--no-stop",), at_change(5, make_public), 3, "", [f"to list the failed operations: {JOB.format('show')} --rows failed"]
    ),
    "stopped by a rule": End(
        (*ONE, "--stop-consecutive", "3"),
        at_change(5, make_public),
        4,
        "--stop-consecutive sets how many may fail in a row.",
        [f"{GO_ON} {' '.join(ONE)} --stop-consecutive 3"],
    ),
    "stopped by a bound": End(("--max-requests", "7"), nothing, 4, "--max-requests asked for this.", [GO_ON]),
    "interrupted": End(
        ONE, at_change(3, lambda _: os.kill(os.getpid(), signal.SIGINT)), 130, "interrupted: ", [f"{GO_ON} {' '.join(ONE)}"]
    ),
    "key refused": End((), rest_briefly, 5, "Check the API key.", [GO_ON]),
    "disk full": End((), fill_the_disk, 4, "free some disk space, then go on", [GO_ON]),
    "wave contradicted": End(
        WAVES,
        unlink_all,
        4,
        "`job show FILE --rows contradicted` lists them.",
        [GO_ON, f"to send the contradicted operations again: {JOB.format('run')} --contradicted"],
    ),
    "approval refused": End(
        (*WAVES, "--approve", "false"), nothing, 4, "The next `job run FILE` asks again.", [f"{GO_ON} --approve false"]
    ),
    "approval put off, and interrupted": End(
        (*WAVES, "--approve", "./later"),
        ask_again_soon,
        130,
        "not yet approved; asking again in 60 s",
        [f"{GO_ON} --approve ./later"],
    ),
}


@pytest.mark.parametrize("name", ENDS)
def test_every_end_says_what_to_do_next(
    server: Served, capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    end = ENDS[name]
    csv_of(here / "devices.csv")
    (here / "later").write_text("#!/bin/sh\ntest -e asked && kill -INT $PPID\ntouch asked\nexit 75\n")
    (here / "later").chmod(0o755)
    end.spoil(server, monkeypatch)
    result = capgo(*RELINK, *end.options)
    assert result.exit_code == end.code, result.stderr
    lines = result.stderr.splitlines()
    assert end.said in result.stderr
    assert [line for line in lines if line in end.steps] == end.steps
    assert any(line.startswith("to ") for line in lines)


def test_a_server_that_is_away_is_waited_for_with_an_option(capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv")
    assert capgo(*RELINK[:-1], "--plan-only").exit_code == 0
    away = ("--base-url", nowhere(), "--retries", "0")
    result = capgo("job", "run", "m.capgo-job", "--yes", "--rebind", "--no-drift", *away)
    assert result.exit_code == 6
    assert f"{GO_ON} {' '.join(away)}" in result.stderr.splitlines()
    assert "--wait-for-server 30m waits for one that is away." in result.stderr


def test_after_a_verification_the_next_step_is_adoption_and_a_quiet_success_says_nothing(capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv")
    assert capgo(*RELINK, "--quiet").stderr == ""
    assert ADOPTION in capgo("job", "verify", "m.capgo-job").stderr.splitlines()
    assert ADOPTION in capgo("job", "show", "m.capgo-job").stderr.splitlines()
