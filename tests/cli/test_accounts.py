"""`job report`: the runs of a job, and every operation for spreadsheets."""

import csv
import io
import json
import re
import sqlite3
from datetime import UTC, datetime
from pathlib import Path
from subprocess import PIPE

import pytest
from cli.conftest import Command
from cli.served import APP, Served, csv_of, environment, served
from cli.terminals import terminal

from benchmarks.forked import Forked
from capgo_async.bulk import Activity
from capgo_async.bulk.clock import local_time
from capgo_async.cli.job.reporting import doing_of
from capgo_async.sandbox import Settings, parse_faults

pytestmark = pytest.mark.slow

RELINK = ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", "--job", "m.capgo-job", "--yes")
AT = datetime(2026, 11, 30, 17, 40, 5, tzinfo=UTC)
COLUMNS = "line,app_id,target,what,outcome,cause,status,message,request_id,run,verdict,former,custom_id"


@pytest.fixture
def ran(here: Path, unaimed: Command) -> dict[str, str]:
    """Run a job twice, with two failures, and return where its server was."""
    csv_of(here / "devices.csv", devices=60, more=('"x, ""y"" z"',))
    with served(Settings(faults=parse_faults("POST /device:429-permanent=#2+#3")), devices=60) as server:
        assert unaimed(*RELINK, "--max-requests", "20", env=server.environment).exit_code == 4
        assert unaimed("job", "run", "m.capgo-job", env=server.environment).exit_code == 3
        return server.environment


def test_a_report_tells_each_run(ran: dict[str, str], unaimed: Command) -> None:
    del ran
    result = unaimed("job", "report", "m.capgo-job")
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0].startswith("m.capgo-job: from devices.csv, made ")
    assert "run 2: stopped: the limit of 20 requests is reached" in lines
    assert any(line.startswith("  what to do: ") for line in lines)
    header = next(place for place, line in enumerate(lines) if line.startswith("run\t"))
    names = lines[header].split("\t")
    runs = [dict(zip(names, line.split("\t"), strict=True)) for line in lines[header + 1 :]]
    assert [(run["run"], run["ended"]) for run in runs] == [("1", "planned"), ("2", "stopped"), ("3", "finished")]
    assert (runs[1]["done"], runs[1]["failed"], runs[1]["requests"]) == ("18", "2", "20")
    assert {run["server"] for run in runs} == {"12.201.7"}


def test_a_report_is_a_table_on_a_terminal(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv")
    assert capgo(*RELINK).exit_code == 0
    with terminal("job", "report", "m.capgo-job", server=server, cwd=here, columns=140) as found:
        assert found.end() == 0
    assert any(re.fullmatch(r"│ 2 +│ finished +│ 19 +│ 0 +│ 19 +│.*│", line) for line in found.lines()), found.shown


def test_a_report_is_one_document_of_json(ran: dict[str, str], unaimed: Command) -> None:
    del ran
    result = unaimed("job", "report", "m.capgo-job", "--json")
    report = json.loads(result.stdout)
    assert result.exit_code == 0
    assert [run["ended"] for run in report["runs"]] == ["planned", "stopped", "finished"]
    assert sum(run["done"] for run in report["runs"]) == report["done"]
    assert report["failures"][0]["what_to_do"]


@pytest.mark.parametrize("to", ["-", "all.csv"])
def test_every_operation_is_a_line_of_csv(ran: dict[str, str], here: Path, unaimed: Command, to: str) -> None:
    del ran
    result = unaimed("job", "report", "m.capgo-job", "--csv", to)
    assert result.exit_code == 0
    text = result.stdout if to == "-" else (here / to).read_text()
    report = json.loads(unaimed("job", "report", "m.capgo-job", "--json").stdout)
    assert text.splitlines()[0] == COLUMNS
    rows = [*csv.DictReader(io.StringIO(text))]
    assert len(rows) == report["planned"]
    assert sum(row["outcome"] == "failed" for row in rows) == report["failed"] == 2
    assert {row["run"] for row in rows} == {"2", "3"}
    assert 'x, "y" z' in {row["target"] for row in rows}
    assert [row["request_id"] for row in rows if not row["request_id"]] == []
    if to != "-":
        assert result.stdout == ""
        assert f"{report['planned']} operations to all.csv" in result.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--csv", "-", "--json"), "cannot be combined"),
        (("--csv", "nowhere/all.csv"), "cannot write nowhere/all.csv: No such file or directory"),
        (("--csv", "./m.capgo-job"), "is the job file"),
        (("--spreadsheet", "m.capgo-job"), "is the job file"),
        (("--spreadsheet", "all.csv", "--csv", "all.csv"), "--csv and --spreadsheet cannot be combined"),
    ],
)
def test_what_cannot_be_written_is_wrong_usage(
    ran: dict[str, str], here: Path, unaimed: Command, options: tuple[str, ...], said: str
) -> None:
    del ran
    result = unaimed("job", "report", "m.capgo-job", *options)
    assert (result.exit_code, result.stdout) == (2, "")
    assert said in result.stderr
    connection = sqlite3.connect(here / "m.capgo-job")
    assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()


def test_a_reader_that_goes_away_ends_it(ran: dict[str, str], here: Path) -> None:
    del ran
    report = ("job", "report", "m.capgo-job", "--csv", "-")
    with Forked(*report, stdout=PIPE, stderr=PIPE, env=environment(), cwd=here) as process:
        process.stdout.close()
        assert process.stderr.read() == ""
    assert process.returncode == 0


def test_a_report_can_be_read_while_the_job_runs(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv")
    read: list[str] = []

    def look(change: int) -> None:
        if change == 10:
            for options in (("--json",), ("--csv", "-")):
                process = Forked("job", "report", "m.capgo-job", *options, stdout=PIPE, env=environment(), cwd=here)
                read.append(process.communicate()[0])

    server.sandbox.on_change = look
    assert capgo(*RELINK).exit_code == 0
    report, rows = json.loads(read[0]), read[1].splitlines()
    assert report["runs"][-1]["ended"] is None
    assert report["pending"] > 0
    assert len(rows) == report["planned"] + 1


@pytest.mark.parametrize(
    ("activity", "said"),
    [
        (Activity(state="idle"), []),
        (Activity(state="running", run=3), ["running now"]),
        (Activity(state="killed", run=3), ["run 3 was killed; nothing runs the job now"]),
        (
            Activity(state="resting", run=3, waits_for="key", until=AT.isoformat()),
            [f"running now: resting until {local_time(AT)} (key's limit)"],
        ),
        (
            Activity(state="resting", run=3, waits_for="app_address", app="com.example.a", until=AT.isoformat()),
            [f"running now: resting until {local_time(AT)} (limit of com.example.a)"],
        ),
        (
            Activity(state="waiting", run=3, waits_for="bake", until=AT.isoformat()),
            [f"running now: pause between waves until {local_time(AT)}"],
        ),
        (Activity(state="waiting", run=3, waits_for="approval"), ["running now: waiting for approval of the next wave"]),
        (
            Activity(state="waiting", run=3, waits_for="server", until=AT.isoformat()),
            [f"running now: waiting for the server, which cannot be reached; next try at {local_time(AT)}"],
        ),
    ],
)
def test_what_a_job_does_now_is_told(activity: Activity, said: list[str]) -> None:
    assert doing_of(activity) == said
