"""What the command says while the server cannot read its devices, and how what is contradicted is sent again."""

import contextlib
import json
import re
import shlex
import sqlite3
from pathlib import Path

import pytest
from cli.conftest import Command
from cli.served import APP, Served, csv_of, served

from capgo_async.bulk.jobfile.schema import Verdict
from capgo_async.sandbox import Settings, parse_faults
from capgo_async.sandbox.seeding import device_id

pytestmark = pytest.mark.slow

RELINK = ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", "--job", "m.capgo-job", "--yes")


def test_nothing_is_renewed_exported_or_listed_by_a_blind_server_without_saying_so(here: Path, unaimed: Command) -> None:
    csv_of(here / "devices.csv")
    with served(Settings(faults=parse_faults("GET /device:masked=#1.."))) as server:
        links = len(server.sandbox.world.apps[APP].overrides)
        for words in (
            ("devices", "renew", "devices.csv", "--app", APP, "--yes"),
            ("devices", "list", APP),
            ("devices", "find", APP, "user-10"),
            ("export", "devices", "-o", "out.csv"),
            ("devices", "find", APP, "user-7"),
            ("devices", "get", APP, device_id(APP, 3)),
            ("devices", "relink", "--all", "--app", APP, "--channel", "beta", "--yes"),
            ("devices", "unlink", "devices.csv", "--app", APP, "--yes"),
            ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", "--yes", "--unknown", "refuse"),
        ):
            result = unaimed(*words, env=server.environment)
            assert result.exit_code == 3, result.output
            assert re.search(rf"counts linked .*\({links}\): it may be unable to read its data", result.stderr)
            assert "nothing is left to send" not in result.stderr
            assert ("--unknown send" in result.stderr) is (words[1] == "unlink")
        assert not server.sent()


def test_a_blind_verification_says_why_and_what_to_type(server: Served, here: Path, capgo: Command) -> None:
    csv_of(here / "devices.csv")
    assert capgo(*RELINK).exit_code == 0
    done = sum(server.sent().values())
    server.sandbox.world.device_store_readable = False
    result = capgo("job", "verify", "m.capgo-job")
    assert result.exit_code == 3
    assert (
        f"{done} done: 0 verified, 0 contradicted, {done} cannot tell (not shown by the server), 0 unchecked" in result.stdout
    )
    assert f"note: cannot tell whether {done} changes in {APP} took effect: " in result.stdout
    assert "to look at the server again: capgo-async job verify m.capgo-job" in result.stderr
    listed = capgo("job", "show", "m.capgo-job", "--rows", "cannot_tell")
    assert (listed.exit_code, listed.stdout.count("link to beta")) == (0, done)
    undone = capgo("job", "undo", "m.capgo-job", "--yes")
    assert undone.exit_code == 3
    assert f"{APP}: the server shows no device, but the job to undo has changed some" in undone.stderr
    server.sandbox.world.device_store_readable = True
    assert capgo("job", "verify", "m.capgo-job").exit_code == 0


def test_what_is_contradicted_is_sent_again_by_one_command(
    server: Served, here: Path, capgo: Command, unaimed: Command
) -> None:
    csv_of(here / "devices.csv")
    assert capgo(*RELINK).exit_code == 0
    none = capgo("job", "run", "m.capgo-job", "--contradicted")
    assert none.exit_code == 2
    assert "this job was never verified; verify it first" in none.stderr
    check = "to look at the server again: capgo-async job verify m.capgo-job"
    assert check in none.stderr
    assert capgo("job", "verify", "m.capgo-job").exit_code == 0
    none = capgo("job", "run", "m.capgo-job", "--contradicted")
    assert none.exit_code == 0
    assert "the last verification contradicted no operation, so there is nothing to send again" in none.stderr
    assert check not in none.stderr
    lost = next(device for device in (device_id(APP, index) for index in range(30)) if f"{APP}/{device}" in server.sent())
    server.sandbox.world.apps[APP].unlink(lost)
    # A verification takes a minute of real time here, because it looks twice.
    with contextlib.closing(sqlite3.connect(here / "m.capgo-job")) as connection, connection:
        connection.execute("UPDATE operations SET verdict = ? WHERE name = ?", (Verdict.CONTRADICTED, lost))
    failed = capgo("job", "run", "m.capgo-job", "--failed")
    assert failed.exit_code == 3
    assert "no operation failed, so there is nothing to send again" in failed.stderr
    (line,) = (line for line in failed.stderr.splitlines() if line.startswith("to send the contradicted operations again: "))
    before = server.sent()
    again = unaimed(*shlex.split(line.partition(": ")[2])[1:], "--json", env=server.environment)
    assert again.exit_code == 0
    assert json.loads(again.stdout)["contradicted"] == 0
    checks = "to check on the server that the changes are in effect: capgo-async job verify m.capgo-job"
    assert again.stderr.splitlines().count(checks) == 1
    assert server.sent() - before == {f"{APP}/{lost}": 1}
    assert server.channel_of(lost) == "beta"


def test_only_one_kind_is_sent_again_at_a_time(here: Path, capgo: Command) -> None:
    csv_of(here / "devices.csv")
    assert capgo(*RELINK).exit_code == 0
    result = capgo("job", "run", "m.capgo-job", "--contradicted", "--failed")
    assert result.exit_code == 2
    assert "cannot be combined" in result.stderr
