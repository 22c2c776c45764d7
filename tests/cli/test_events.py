"""The stream of events: of a run under way, and of earlier runs, to files, pipes and full disks."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from cli.conftest import Command
from cli.served import APP, KEY, Served, csv_of
from jsonschema import Draft202012Validator

from capgo_async.bulk.timeline import Bucket, Moment, Timeline
from capgo_async.cli.commands.schema import schema_of
from capgo_async.cli.job.streaming import EventLine, moments_of
from capgo_async.events import ForecastMade, Progress, RestBegan, RestEnded, RunBegan, RunEnded

JOB = "move.capgo-job"
SCHEMA = Draft202012Validator({**schema_of(EventLine), "unevaluatedProperties": False})


def relink(capgo: Command, *more: str, source: str = "all.csv") -> Any:
    return capgo("devices", "relink", source, "--app", APP, "--channel", "beta", "--yes", "--job", JOB, *more)


def events_of(text: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        SCHEMA.validate(line)
        assert line["schema"] == 1
    assert [line["at"] for line in lines] == sorted(line["at"] for line in lines)
    return lines


def named(events: list[dict[str, Any]], name: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == name]


def test_a_run_tells_what_happens(capgo: Command, here: Path, server: Served) -> None:
    csv_of(here / "all.csv")
    result = relink(capgo, "--events", "events.jsonl", "--json")
    assert result.exit_code == 0, result.stderr
    report = json.loads(result.stdout)
    events = events_of(Path("events.jsonl").read_text())
    assert len(named(events, "run_began")) == len(named(events, "run_ended")) == 1
    sent = [event for event in named(events, "attempt_ended") if (event["method"], event["path"]) == ("POST", "/device")]
    assert len(sent) == report["done"] == sum(server.sent().values())
    last = named(events, "progress")[-1]
    assert (last["done"], last["failed"], last["pending"]) == (report["done"], 0, 0)
    assert {use["limit"] for use in last["limits"]} == {"key", "app_address"}
    assert all(0 < use["used"] <= use["allowed"] for use in last["limits"])


def test_a_file_is_appended_to_by_the_next_run(capgo: Command, here: Path) -> None:
    csv_of(here / "all.csv")
    relink(capgo, "--events", "events.jsonl", "--max-requests", "12")
    relink(capgo, "--events", "events.jsonl")
    assert len(named(events_of(Path("events.jsonl").read_text()), "run_began")) == 2


def test_on_stdout_the_stream_is_alone_and_the_report_is_on_stderr(capgo: Command, here: Path) -> None:
    csv_of(here / "all.csv")
    result = relink(capgo, "--events", "-", "--json")
    assert result.exit_code == 0
    assert named(events_of(result.stdout), "run_ended")
    (report,) = (json.loads(line) for line in result.stderr.splitlines() if line.startswith("{"))
    assert report["pending"] == 0


def test_the_events_of_a_job_that_ran_are_printed(capgo: Command, here: Path) -> None:
    csv_of(here / "all.csv")
    report = json.loads(relink(capgo, "--events", "events.jsonl", "--json").stdout)
    events = events_of(capgo("job", "events", JOB).stdout)
    live = events_of(Path("events.jsonl").read_text())
    begins = [{**event, "at": ""} for event in named(events, "run_began")]
    assert {**named(live, "run_began")[0], "at": ""} in begins
    last = named(events, "progress")[-1]
    assert (last["done"], last["failed"], last["pending"]) == (report["done"], 0, 0)
    assert last["seconds_left"] >= 0.0
    not_kept = {"attempt_began", "attempt_ended", "operations_settled", "retry_planned", "wait_began", "wait_ended"}
    assert {event["event"] for event in live} - not_kept <= {event["event"] for event in events}


def test_the_progress_of_a_bucket_is_told_before_its_run_ends() -> None:
    planned = (RunBegan(run=1, operations=0, program="1"), RunEnded(run=1, how="planned"))
    began, ended = RunBegan(run=2, operations=5, program="1"), RunEnded(run=2, how="finished")
    timeline = Timeline(
        buckets=(Bucket(0, "a", requests=3), Bucket(5, "a", done=2), Bucket(5, "b", failed=1), Bucket(10, "a", done=2)),
        moments=(Moment(1.0, 1, planned[0]), Moment(6.0, 1, planned[1]), Moment(7.0, 2, began), Moment(12.0, 2, ended)),
    )
    told = [(moment.at, moment.event) for moment in moments_of(timeline)]
    assert [at for at, _ in told] == [1.0, 5.0, 6.0, 7.0, 10.0, 12.0, 12.0]
    counts = [(event.done, event.failed, event.pending) for _, event in told if isinstance(event, Progress)]
    assert counts == [(0, 0, 0), (2, 1, 2), (4, 1, 0)]
    assert told[-1][1] == ended


def test_a_run_within_the_bucket_of_its_plan_has_its_progress_after_its_begin() -> None:
    events: tuple[RunBegan | RunEnded, ...] = (
        RunBegan(run=1, operations=0, program="1"),
        RunEnded(run=1, how="planned"),
        RunBegan(run=2, operations=3, program="1"),
        RunEnded(run=2, how="finished"),
    )
    moments = tuple(Moment(float(at), event.run, event) for at, event in enumerate(events, 1))
    told = [moment.event for moment in moments_of(Timeline(buckets=(Bucket(0, "a", done=2),), moments=moments))]
    assert [type(event) for event in told] == [RunBegan, RunEnded, RunBegan, Progress, RunEnded]
    assert isinstance(told[3], Progress)
    assert (told[3].done, told[3].pending) == (2, 1)


def test_the_progress_tells_what_was_foreseen_and_what_it_rests_for() -> None:
    timeline = Timeline(
        buckets=tuple(Bucket(start, "a", done=1) for start in range(0, 25, 5)),
        moments=(
            Moment(0.5, 1, ForecastMade(operations=9, seconds=900.0, more=0.0, planning=True)),
            Moment(1.0, 2, RunBegan(run=2, operations=9, program="1")),
            Moment(6.0, 2, ForecastMade(operations=8, seconds=60.0, more=3.0)),
            Moment(11.0, 2, RestBegan(limit="key", seconds=8.0)),
            Moment(19.0, 2, RestEnded(limit="key", seconds=8.0)),
            Moment(19.5, 2, ForecastMade(operations=7, seconds=4.0, more=1.0)),
        ),
    )
    progress = [moment.event for moment in moments_of(timeline) if isinstance(moment.event, Progress)]
    foreseen = [(event.seconds_left, event.more) for event in progress]
    assert foreseen == [(None, None), (56.0, 3.0), (51.0, 3.0), (3.5, 1.0), (0.0, 1.0)]
    assert [event.resting for event in progress] == ["", "", "key", "", ""]


# What cannot be written


@pytest.mark.slow
@pytest.mark.parametrize(
    ("to", "why"),
    [
        (".", "cannot write events to .: Is a directory"),
        ("missing/events.jsonl", "cannot write events to missing/events.jsonl: No such file or directory"),
        ("pipe", "cannot write events to pipe: nobody reads this pipe; start its reader first"),
        (JOB, f"{JOB} is the job file; choose another name"),
    ],
)
def test_what_cannot_be_opened_is_said_before_anything_is_sent(
    capgo: Command, here: Path, server: Served, to: str, why: str
) -> None:
    csv_of(here / "all.csv")
    os.mkfifo("pipe")
    result = relink(capgo, "--events", to)
    assert result.exit_code == 2
    assert why in result.stderr
    assert not server.sent()
    assert capgo("job", "run", JOB, "--yes").exit_code == 0


def test_a_reader_of_a_pipe_gets_it_all(capgo: Command, here: Path) -> None:
    csv_of(here / "all.csv")
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert relink(capgo, "--events", "pipe").exit_code == 0
    events = events_of(os.read(reader, 1 << 20).decode())
    os.close(reader)
    assert named(events, "run_ended")


def test_a_reader_that_leaves_ends_the_stream_and_not_the_run(capgo: Command, here: Path, server: Served) -> None:
    csv_of(here / "all.csv")
    os.mkfifo("pipe")
    reader = os.open("pipe", os.O_RDONLY | os.O_NONBLOCK)
    server.sandbox.on_change = lambda number: os.close(reader) if number == 1 else None
    result = relink(capgo, "--events", "pipe", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["pending"] == 0
    assert result.stderr.count("cannot write events to pipe: Broken pipe. The run goes on without them") == 1


def test_a_full_disk_ends_the_stream_and_not_the_run(capgo: Command, here: Path) -> None:
    csv_of(here / "all.csv")
    result = relink(capgo, "--events", "/dev/full", "--json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["pending"] == 0
    assert result.stderr.count("cannot write events to /dev/full: No space left on device") == 1


def test_no_event_says_the_key(capgo: Command, here: Path, server: Served) -> None:
    csv_of(here / "all.csv", more=(KEY,))
    relink(capgo, "--events", "events.jsonl")
    assert server.sent()[f"{APP}/{KEY}"]
    assert KEY not in Path("events.jsonl").read_text()
