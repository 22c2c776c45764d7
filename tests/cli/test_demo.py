"""The commands that bring their own server."""

import json
import os
import re
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE

import pytest
from cli.served import command, environment
from typer.testing import Result

from benchmarks.forked import Forked
from capgo_async import CapgoClient, Dialect
from capgo_async.cli.commands import demo
from capgo_async.cli.commands.demo import SandboxFailed, embedded

pytestmark = pytest.mark.slow

Command = Callable[..., Result]

SMALL = ("--apps", "2", "--devices", "60", "--unknown", "3")
DEMO = ("demo", "--devices", "4000")


def answers(base_url: str) -> bool:
    host, port = base_url.removeprefix("http://").split(":")
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0


def test_the_demo_shows_the_main_job_end_to_end() -> None:
    small = command("demo", "--json", "--devices", "2000")
    ended = subprocess.run(small, capture_output=True, text=True, env=environment(), check=False)
    assert ended.returncode == 0, ended.stderr
    report = json.loads(ended.stdout)
    assert report["rows"] == 2012 == report["rejected"] + report["skipped"] + report["planned"]
    assert report["planned"] == report["done"] == report["verified"] + report["cannot_tell"]
    assert (report["rejected"], report["failed"], report["pending"]) == (0, 0, 0)
    assert report["skipped"] == pytest.approx(2000 / 3, rel=0.02)
    assert report["requests"] > report["planned"]
    assert report["retries"] > 0
    assert report["rate_limited"] >= 0
    assert report["cannot_tell"] == 12
    assert report["consistent"] is True
    assert report["elapsed_seconds"] > 0
    (address,) = re.findall(r"sandbox: (\S+),", ended.stderr)
    assert not answers(address)


def test_the_demo_tells_people(unaimed: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    result = unaimed("demo", *SMALL)
    assert result.exit_code == 0
    assert "63 rows" in result.stdout
    assert "3 cannot tell (not shown by the server)" in result.stdout
    assert "plan:" in result.stderr
    (page,) = re.findall(r"wrote the page to (.+)\n", result.stderr)
    assert " devices are done" in Path(page).read_text()
    Path(page).unlink()


def test_an_interrupted_demo_leaves_nothing_behind(tmp_path: Path) -> None:
    with Forked(*DEMO, stderr=PIPE, env=environment() | {"TMPDIR": str(tmp_path)}, cwd=tmp_path) as demo:
        address = followed_to_the_plan(demo)
        demo.send_signal(signal.SIGTERM)
        _, err = demo.communicate()
    assert demo.returncode == 130, err
    assert "Traceback" not in err
    assert not answers(address)
    assert list(tmp_path.iterdir()) == []


def test_the_sandbox_of_a_killed_demo_ends(tmp_path: Path) -> None:
    with Forked(*DEMO, stderr=PIPE, env=environment() | {"TMPDIR": str(tmp_path)}, cwd=tmp_path) as demo:
        address = followed_to_the_plan(demo)
        demo.kill()
        demo.communicate()  # ends when nobody has its stderr any more: neither of the two
    assert not answers(address)


def followed_to_the_plan(demo: Forked) -> str:
    """Read what a demo says until its plan, and return where its sandbox is."""
    address = ""
    while not (line := demo.stderr.readline()).startswith("plan:"):
        assert line
        address = next(iter(re.findall(r"sandbox: (\S+),", line)), address)
    assert answers(address)
    return address


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_the_sandbox_says_where_it_is_and_runs_until_interrupted(
    name: signal.Signals, unaimed: Command, tmp_path: Path
) -> None:
    log = tmp_path / "access.log"
    arguments = ("sandbox", "--json", "--apps", "2", "--devices", "20", "--log", log)
    with Forked(*arguments, stdout=PIPE, stderr=PIPE, env=environment(), cwd=tmp_path) as process:
        said = json.loads(process.stdout.readline())
        assert set(said) == {"base_url", "api_key"}
        apps = unaimed("apps", "list", "--json", "--base-url", said["base_url"], "--api-key", said["api_key"])
        process.send_signal(name)
        out, err = process.communicate()
    assert (process.returncode, out, err) == (0, "", "")
    assert len(apps.stdout.splitlines()) == 2
    assert [json.loads(line)["path"] for line in log.read_text().splitlines()] == ["/app"]


def closed_pipe() -> int:
    reading, writing = os.pipe()
    os.close(writing)
    return reading


def test_the_sandbox_ends_with_its_lifeline(unaimed: Command) -> None:
    result = unaimed("sandbox", "--devices", "2", "--lifeline", closed_pipe())
    assert result.exit_code == 0
    assert "listening on http://127.0.0.1:" in result.stdout
    assert "export CAPGO_BASE_URL" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--limits", "tight"), "tight"),
        (("--faults", "nonsense"), "nonsense"),
        (("--generation", "klingon"), "klingon"),
        (("--flag", "klingon=on"), "klingon"),
        (("--flag", "bundle_target"), "bundle_target"),
        (("--flag", "same_set_window=soon"), "same_set_window"),
        (("--speed", "0"), "speed"),
        (("--port", "99999"), "--port"),
    ],
)
def test_options_that_make_no_sandbox_are_wrong_usage(unaimed: Command, arguments: tuple[str, ...], said: str) -> None:
    result = unaimed("sandbox", *arguments)
    assert result.exit_code == 2
    assert said in result.stderr


def test_a_port_that_is_taken_is_wrong_usage(unaimed: Command) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = unaimed("sandbox", "--devices", "2", "--port", taken.getsockname()[1])
    assert result.exit_code == 2
    assert "choose another --port" in result.stderr


async def test_a_sandbox_that_does_not_start_is_said() -> None:
    with pytest.raises(SandboxFailed, match="did not start"):
        async with embedded({"limits": "tight"}):
            pass


async def test_a_sandbox_that_does_not_stop_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(demo, "PATIENCE", 0.0)
    async with (
        embedded({"devices": 5, "generation": "seed"}) as address,
        CapgoClient(api_key=address.api_key, base_url=address.base_url, dialect=Dialect.SEED) as client,
    ):
        assert len(await client.channels.list("com.example.app01").all()) == 3
    assert not answers(address.base_url)
