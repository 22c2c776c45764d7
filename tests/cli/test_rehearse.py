"""`job rehearse`: offline, without a key, and the job itself as it was."""

import hashlib
import json
import os
import re
import signal
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.conftest import Command
from cli.served import APP, Served, csv_of, served

from capgo_async.bulk.operations.results import Done, Failed
from capgo_async.rehearsal import Rehearsal

JOB = "m.capgo-job"
RELINK = ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", "--job", JOB, "--plan-only")


@pytest.fixture
def server() -> Iterator[Served]:
    with served(devices=200) as found:
        yield found


@pytest.fixture(autouse=True)
def temporary(here: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    directory = here / "temporary"
    directory.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(directory))
    yield directory
    assert list(directory.iterdir()) == []


@pytest.fixture
def planned(capgo: Command, server: Served, here: Path) -> Iterator[int]:
    """Plan a job; return the requests that it needed. Nothing more may reach the server, and nothing change the job."""
    csv_of(here / "devices.csv", devices=200)
    assert capgo(*RELINK).exit_code == 0
    requests, before = server.requests(), digest(here)
    yield requests
    assert server.requests() == requests
    assert digest(here) == before


def digest(here: Path) -> str:
    return hashlib.sha256((here / JOB).read_bytes()).hexdigest()


@pytest.mark.usefixtures("planned")
def test_a_rehearsal_tells_what_will_come(unaimed: Command) -> None:
    result = unaimed("job", "rehearse", JOB, "--latency", "80ms")
    assert result.exit_code == 0
    assert re.search(r"\(limits server, latency 80 ms, 15 in flight\)\n", result.stdout)
    assert "the run would take about 1 s (forecast: about 1 s)\n" in result.stdout
    planned = re.search(r"(\d+) planned: \1 done, 0 failed, 0 pending\n\1 requests, 0 of them retries", result.stdout)
    assert planned
    assert int(planned[1]) > 100


@pytest.mark.usefixtures("planned")
def test_a_rehearsal_is_one_document_of_json(unaimed: Command) -> None:
    result = unaimed("job", "rehearse", JOB, "--latency", "2s", "--rate", "60/min", "--limits", "60/min", "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["exit_code"], found["error"], found["limits"]) == (0, 0, None, "60/min")
    assert (found["job"], found["done"], found["failed"], found["pending"]) == (JOB, found["planned"], 0, 0)
    assert (found["requests"], found["latency_seconds"]) == (found["planned"], 2.0)
    assert found["makespan_seconds"] > 60.0
    assert found["forecast_seconds"] == pytest.approx(found["makespan_seconds"], rel=0.02)
    assert found["took_seconds"] > 0


@pytest.mark.usefixtures("planned")
def test_a_rate_that_the_limits_do_not_bear_is_refused_there(unaimed: Command) -> None:
    found = json.loads(unaimed("job", "rehearse", JOB, "--rate", "off", "--limits", "100/min", "--json").stdout)
    assert found["limits_met"] == {"unnamed": found["rate_limited"]}
    assert found["rate_limited"] > 0
    told = unaimed("job", "rehearse", JOB, "--rate", "off", "--limits", "100/min").stdout
    assert f"{found['rate_limited']:,} refused by a rate limit: unnamed limit {found['rate_limited']:,}\n" in told


@pytest.mark.slow
@pytest.mark.usefixtures("planned")
def test_faults_are_survived_or_end_it_with_the_code_of_the_run(unaimed: Command) -> None:
    result = unaimed("job", "rehearse", JOB, "--faults", "POST /device:drop-after=5%", "--json")
    found = json.loads(result.stdout)
    assert result.exit_code == 0
    assert found["retries"] > 0
    other = unaimed("job", "rehearse", JOB, "--faults", "POST /device:drop-after=5%", "--seed", "2", "--json")
    assert json.loads(other.stdout)["makespan_seconds"] != found["makespan_seconds"]
    failing = unaimed("job", "rehearse", JOB, "--faults", "POST /device:500=100%")
    assert failing.exit_code == 4
    assert "the run would end with this message: stopped: " in failing.stderr
    assert "failed: " in failing.stdout
    some = unaimed("job", "rehearse", JOB, "--faults", "POST /device:429-permanent=#3", "--json")
    assert (some.exit_code, json.loads(some.stdout)["failed"]) == (3, 1)
    bounded = unaimed("job", "rehearse", JOB, "--max-requests", "10", "--json")
    assert (bounded.exit_code, json.loads(bounded.stdout)["requests"]) == (4, 10)


def test_waves_are_told_with_their_times(capgo: Command, unaimed: Command, here: Path) -> None:
    csv_of(here / "devices.csv", devices=200)
    assert capgo(*RELINK, "--waves", "1%,100%", "--bake", "3h").exit_code == 0
    result = unaimed("job", "rehearse", JOB, "--latency", "80ms")
    assert result.exit_code == 0
    assert re.search(
        r"wave 1, up to 1%: 2 operations, 0 failed, verified after 0:00:00, pause over after 3:00:00\n"
        r"wave 2, up to 100%: \d+ operations, 0 failed, verified after 3:00:\d\d$",
        result.stdout.rstrip(),
    )


@pytest.mark.usefixtures("planned")
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--limits", "many"), "invalid --limits many: use server, published, off or N/min"),
        (("--latency", "80"), "expected a time such as 20ms or 1.5s"),
        (("--faults", "sometimes"), "fault rule 'sometimes'"),
        (("--rate", "fast"), "unknown rate 'fast': use auto"),
        (("--concurrency", "0"), "invalid concurrency 0"),
    ],
)
def test_what_cannot_be_rehearsed_is_said(unaimed: Command, options: tuple[str, str], message: str) -> None:
    result = unaimed("job", "rehearse", JOB, *options)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.usefixtures("planned")
def test_every_rate_of_a_run_can_be_rehearsed_and_is_named(unaimed: Command) -> None:
    told = re.sub(r"\s", "", unaimed("job", "rehearse", "--help").stdout)
    assert "auto,standard,enterprise,server,off,N/minorN/s." in told
    assert unaimed("job", "rehearse", JOB, "--rate", "server").exit_code == 0


def test_what_is_no_job_is_said(unaimed: Command, here: Path) -> None:
    (here / "other").write_text("no job")
    assert "none.capgo-job: no such job file" in unaimed("job", "rehearse", "none.capgo-job").stderr
    result = unaimed("job", "rehearse", "other")
    assert (result.exit_code, "is not a job file" in result.stderr) == (2, True)


@pytest.mark.usefixtures("planned")
def test_a_signal_ends_it_with_130(unaimed: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    heard = threading.Event()
    stop, count = Rehearsal.stop, Rehearsal._count

    def interrupted(rehearsal: Rehearsal, result: Done | Failed) -> None:
        count(rehearsal, result)
        if rehearsal.settled == 1:
            os.kill(os.getpid(), signal.SIGINT)
            heard.wait()  # in another thread

    def stopped(rehearsal: Rehearsal) -> None:
        stop(rehearsal)
        heard.set()

    monkeypatch.setattr(Rehearsal, "_count", interrupted)
    monkeypatch.setattr(Rehearsal, "stop", stopped)
    result = unaimed("job", "rehearse", JOB)
    assert result.exit_code == 130
    assert result.stdout == ""
    assert "interrupted" in result.stderr
