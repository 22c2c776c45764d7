"""A disk that is really full under the job file: the whole command, in a process of its own, on a small tmpfs."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import PIPE
from typing import NamedTuple

import pytest
from cli.conftest import Command
from cli.served import APP, Served, csv_of, environment, served

from benchmarks.forked import Forked

pytestmark = pytest.mark.slow

DEVICES = 1500
RUN = ("job", "run", "m.capgo-job", "--yes", "--json", "--rate", "off")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a disk of 8 MB."""
    if sys.platform != "linux" or os.geteuid() != 0:
        pytest.skip("mounting a tmpfs takes root on Linux")
    directory = tmp_path / "disk"
    directory.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(directory)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no tmpfs can be mounted here: {mounted.stderr.strip()}")
    try:
        yield directory
    finally:
        subprocess.run(["umount", "--lazy", str(directory)], check=True)


@pytest.fixture
def server() -> Iterator[Served]:
    with served(devices=DEVICES) as found:
        yield found


def fill(disk: Path, left: int) -> Path:
    """Leave so many pages on a disk, and return what takes up the others."""
    ballast = disk / "ballast"
    found = os.statvfs(disk)
    ballast.write_bytes(bytes((found.f_bavail - left) * found.f_frsize))
    assert os.statvfs(disk).f_bavail == left
    return ballast


class Squeezed(NamedTuple):
    """How a command ended, and what it wrote."""

    stdout: str
    stderr: str
    returncode: int | None


def squeezed(server: Served, cwd: Path, *arguments: str | Path, **more: str) -> Squeezed:
    """Run a command that finds the disk full: in a process of its own, for SQLite may end that."""
    process = Forked(*arguments, stdout=PIPE, stderr=PIPE, env={**environment(server), **more}, cwd=cwd)
    return Squeezed(*process.communicate(), process.returncode)


def relink(tmp_path: Path) -> tuple[str, ...]:
    source = csv_of(tmp_path / "devices.csv", DEVICES)
    return ("devices", "relink", str(source), "--app", APP, "--channel", "beta", "--job", "m.capgo-job", "--rate", "off")


# Nothing left, not even for what SQLite shares between processes; room for the log to begin; room for a part of the run.
@pytest.mark.parametrize("left", [0, 4, 12, 40])
def test_a_full_disk_stops_the_run_with_4_and_it_goes_on_once_there_is_room(
    left: int, disk: Path, server: Served, capgo: Command, tmp_path: Path
) -> None:
    os.chdir(disk)
    assert capgo(*relink(tmp_path), "--plan-only").exit_code == 0
    planned = sorted(disk.iterdir())
    ballast = fill(disk, left)
    stopped = squeezed(server, disk, *RUN)
    assert stopped.returncode == 4, stopped.stderr
    assert "no space left for m.capgo-job: free some disk space, then go on" in stopped.stderr
    assert "fault of ours" not in stopped.stderr
    sent = server.sent()
    assert all(times == 1 for times in sent.values())
    assert bool(sent) is (left > 12), "an operation that is not marked as sent does not leave"

    ballast.unlink()
    before = json.loads(capgo("job", "report", "m.capgo-job", "--json").stdout)
    assert before["done"] + before["pending"] == before["planned"] == before["rows"] - before["skipped"]
    assert before["pending"] > 0
    assert before["done"] <= len(sent), "what is done was sent"
    resumed = capgo(*RUN)
    assert resumed.exit_code == 0, resumed.stderr
    report = json.loads(resumed.stdout)
    assert (report["done"], report["failed"], report["pending"]) == (report["planned"], 0, 0)
    assert report["planned"] == before["planned"]
    again = server.sent()
    assert len(again) == report["planned"]
    assert sum(again.values()) - len(again) <= len(sent) - before["done"], "only what was in doubt is sent again"
    assert {server.channel_of(device) for device in server.sandbox.world.apps[APP].devices} == {"beta"}
    assert sorted(disk.iterdir()) == planned, "no log is left"


def test_no_room_for_a_plan_leaves_nothing_and_sends_nothing(
    disk: Path, server: Served, capgo: Command, tmp_path: Path
) -> None:
    os.chdir(disk)
    ballast = fill(disk, 20)
    stopped = squeezed(server, disk, *relink(tmp_path), "--yes")
    assert stopped.returncode == 4, stopped.stderr
    assert "no space left for m.capgo-job: nothing was sent. Free some disk space, then plan again" in stopped.stderr
    assert (list(disk.iterdir()), server.sent()) == ([ballast], {})
    ballast.unlink()
    assert capgo(*relink(tmp_path), "--yes").exit_code == 0
    assert {server.channel_of(device) for device in server.sandbox.world.apps[APP].devices} == {"beta"}


# No room for the copy; room for it, and not for what its run writes.
@pytest.mark.parametrize("spare", [None, 6])
def test_a_rehearsal_without_room_for_its_copy_says_so(
    spare: int | None, disk: Path, server: Served, capgo: Command, tmp_path: Path
) -> None:
    assert capgo(*relink(tmp_path), "--plan-only").exit_code == 0
    pages = -(-(tmp_path / "m.capgo-job").stat().st_size // os.statvfs(disk).f_frsize)
    ballast = fill(disk, 1 if spare is None else pages + spare)
    found = squeezed(server, tmp_path, "job", "rehearse", "m.capgo-job", TMPDIR=str(disk))
    assert (found.returncode, found.stdout) == (4, "")
    assert f"no space left in {disk} to rehearse a copy of m.capgo-job: free some disk space, or set TMPDIR" in found.stderr
    assert "it would end" not in found.stderr
    assert list(disk.iterdir()) == [ballast]
    ballast.unlink()
    assert squeezed(server, tmp_path, "job", "rehearse", "m.capgo-job", TMPDIR=str(disk)).returncode == 0
