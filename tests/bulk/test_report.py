"""What a job came to: its runs told apart, limits met, versions of both sides, what to do, every operation."""

import random
import sqlite3
from collections import Counter
from contextlib import closing
from pathlib import Path

import msgspec
import pytest
from fleet import client_of, copy_job, relink_everything, sandbox_of, statuses
from virtual_time import in_virtual_time

from capgo_async import KeyRing, errors
from capgo_async.bulk import Bounds, Job, OperationRow, Report, Run, Which, read_operations
from capgo_async.bulk.jobfile.overview import tallies_of
from capgo_async.bulk.jobfile.reports import report_of
from capgo_async.bulk.jobfile.schema import TABLES, TALLIED, Outcome, Verdict
from capgo_async.bulk.operations.advice import ADVICE, Remedy, advice_on
from capgo_async.bulk.report import server_changes
from capgo_async.http.dialect import Generation
from capgo_async.sandbox import Binding, Sandbox
from capgo_async.sandbox.seeding import ORG_ID, USER_ID
from capgo_async.version import __version__

OTHER_KEY = "10000000-0000-4000-8000-000000000001"


async def made(path: Path, sandbox: Sandbox) -> Path:
    source = read_operations(relink_everything(path.with_name("devices.csv"), sandbox))
    async with client_of(sandbox) as capgo:
        await (await Job.create(path, source, client=capgo)).aclose()
    return path


def now_of(sandbox: Sandbox, version: str) -> None:
    sandbox.settings = msgspec.structs.replace(sandbox.settings, version=version)


async def every_row(job: Job) -> list[OperationRow]:
    pages = [page async for page in job.operations()]
    assert max(map(len, pages), default=0) <= 1000
    return [row for page in pages for row in page]


def adds_up(report: Report, sandbox: Sandbox) -> bool:
    runs = report.runs
    return (sum(run.done for run in runs), sum(run.requests for run in runs)) == (report.done, len(sandbox.log))


@in_virtual_time
async def test_the_runs_of_a_job_are_told_apart(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=600, faults="POST /device:429-permanent=#2+#3")
    path = await made(tmp_path / "x.capgo-job", sandbox)
    async with client_of(sandbox) as capgo, await Job.open(path) as job:
        with pytest.raises(errors.SafetyStop):
            await job.run(capgo, bounds=Bounds(max_requests=100))
        cut = await job.report()
        assert adds_up(cut, sandbox)
        assert [(run.done, run.failed) for run in cut.runs] == [(0, 0), (98, 2)]
        await job.run(capgo)
        await job.run(capgo, which=Which.FAILED)
        report = await job.verify(capgo)
    assert adds_up(report, sandbox)
    assert [run.ended for run in report.runs] == ["planned", "stopped", "finished", "finished", "verified"]
    assert [run.reason for run in report.runs if run.reason] == ["stopped: the limit of 100 requests is reached"]
    # Runs keep their numbers when their operations are sent again.
    assert [(run.done, run.failed) for run in report.runs] == [(0, 0), (98, 2), (report.planned - 100, 0), (2, 0), (0, 0)]
    assert {run.program for run in report.runs} == {__version__}
    assert {run.servers for run in report.runs} == {("12.201.7",)}
    assert report.elapsed_seconds == report.runs[-1].elapsed_seconds > 0
    assert [run.number for run in report.runs] == [1, 2, 3, 4, 5]
    assert report.warnings == ()


@in_virtual_time
async def test_a_run_that_was_killed_or_drained_says_so(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=600)
    path = await made(tmp_path / "x.capgo-job", sandbox)
    killed = tmp_path / "killed.capgo-job"
    async with client_of(sandbox) as capgo, await Job.open(path) as job:

        def kill(_result: object) -> None:
            if not killed.exists():
                copy_job(path, killed)
                job.drain()

        await job.run(capgo, on_progress=kill)
        assert [run.ended for run in (await job.report()).runs] == ["planned", "interrupted"]
    async with await Job.open(killed) as job:
        assert [run.ended for run in (await job.report()).runs] == ["planned", None]


@in_virtual_time
async def test_a_verification_that_fails_is_no_verification(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=60)
    path = await made(tmp_path / "x.capgo-job", sandbox)
    async with client_of(sandbox) as capgo, await Job.open(path) as job:
        await job.run(capgo)
        del sandbox.world.apps["com.example.app01"]
        with pytest.raises(errors.PermissionDenied):
            await job.verify(capgo)
        last = (await job.report()).runs[-1]
    assert last.ended == "stopped"
    assert last.reason
    assert "com.example.app01" in last.reason


@pytest.mark.slow
@pytest.mark.parametrize(
    ("devices", "variables", "kind"), [(400, {"RATE_LIMIT_API_KEY": 101}, "key"), (2000, {}, "app_address")]
)
@in_virtual_time
async def test_the_limits_that_were_met_are_counted_by_kind_and_run(
    tmp_path: Path, devices: int, variables: dict[str, int], kind: str
) -> None:
    sandbox = sandbox_of(devices=devices)
    path = await made(tmp_path / "x.capgo-job", sandbox)
    limited = sandbox_of(devices=devices, limits="server", variables=variables)
    limited.world.add_key(OTHER_KEY, Binding(role="org_super_admin", org_id=ORG_ID), user_id=USER_ID)
    async with client_of(limited, rate="off") as capgo, await Job.open(path) as job:
        ring = KeyRing(capgo, {"com.example.app01": OTHER_KEY})
        report = await job.run(ring, rebind=True)
        assert report.runs[-1].limits_met == {kind: statuses(limited)[429]}
        assert report.rate_limited == statuses(limited)[429] > 0
        report = await job.verify(ring)
    assert report.runs[-1].limits_met == {}


@in_virtual_time
async def test_a_server_that_becomes_another_is_told(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=600)
    path = await made(tmp_path / "x.capgo-job", sandbox)
    async with client_of(sandbox) as capgo, await Job.open(path) as job:
        with pytest.raises(errors.SafetyStop):
            await job.run(capgo, bounds=Bounds(max_requests=100))
        now_of(sandbox, "capgo_api-prod-12.202.0")
        settled: list[object] = []

        def update(result: object) -> None:
            settled.append(result)
            if len(settled) == 50:
                now_of(sandbox, "capgo_api-prod-12.203.1")

        await job.run(capgo, on_progress=update)
        report = await job.verify(capgo)
    assert [run.servers for run in report.runs] == [("12.201.7",), ("12.201.7",), ("12.202.0", "12.203.1"), ("12.203.1",)]
    assert report.warnings == (
        "the server's version changed during run 3: 12.202.0, 12.203.1",
        "the server's version changed between run 2 and run 3: from 12.201.7 to 12.202.0",
    )


def test_runs_that_heard_nothing_show_no_change() -> None:
    def run(number: int, *servers: str) -> Run:
        counts = dict.fromkeys(("done", "failed", "requests", "retries", "rate_limited"), 0)
        return Run(
            number=number,
            started_at="",
            ended=None,
            reason=None,
            elapsed_seconds=0.0,
            limits_met={},
            program="",
            servers=servers,
            **counts,
        )

    assert server_changes([run(1, "1"), run(2), run(3, "1")]) == ()
    assert server_changes([run(1, "1"), run(2), run(3, "2")]) == (
        "the server's version changed between run 1 and run 3: from 1 to 2",
    )
    assert server_changes([]) == ()


def test_a_server_that_calls_itself_something_else_each_time_fills_no_memory() -> None:
    generation = Generation()
    for number in range(1000):
        generation.hear(f"x-{number}")
        generation.hear("x-0")
    assert len(generation.heard) <= 16
    assert generation.heard["x-0"] > 900


@pytest.mark.slow
@in_virtual_time
async def test_every_failure_says_what_to_do_and_every_operation_what_came_of_it(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=3000, faults="POST /device:429-permanent=#2+#3")
    path = await made(tmp_path / "x.capgo-job", sandbox)
    async with client_of(sandbox) as capgo, await Job.open(path) as job:
        with pytest.raises(errors.SafetyStop):
            await job.run(capgo, bounds=Bounds(max_requests=1500))
        report = await job.report()
        rows = await every_row(job)
    assert (report.failures[0].remedy, report.failures[0].what_to_do) == ADVICE["on_premise_app"]
    found = Counter(row.outcome for row in rows)
    assert found == {"done": report.done, "failed": report.failed, "pending": report.pending}
    assert [row.line for row in rows if row.outcome == "failed"] == sorted(row.line for row in rows if row.cause)
    assert {row.run for row in rows} == {2, None}
    assert {row.verdict for row in rows} == {"unchecked", None}
    assert {row.former for row in rows} == {"linked to alpha", "no link"}
    assert {row.what for row in rows} == {"link to beta"}
    assert len({row.target for row in rows}) == report.planned


def test_failures_are_grouped_by_cause_in_few_statements_however_many_causes_there_are() -> None:
    chance = random.Random(3)
    causes = [f"cause {chance.randrange(200) if number % 3 else 7}" for number in range(1000)]
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in TABLES:
            connection.execute(statement)
        connection.execute("INSERT INTO apps VALUES (1, 'a'), (2, 'b')")
        connection.executemany(
            "INSERT INTO operations (line, app, name, change, former, outcome, cause, status, message)"
            " VALUES (?1, 1 + ?1 % 2, 'd' || ?1, 1, 'none', ?2, ?3, 400, 'message ' || ?1)",
            ((number, Outcome.FAILED if number else Outcome.DONE, cause) for number, cause in enumerate(causes)),
        )
        statements: list[str] = []
        connection.set_trace_callback(statements.append)
        report = report_of(connection, "job")
    counts = Counter(causes[1:])
    assert [failure.count for failure in report.failures] == sorted(counts.values(), reverse=True)
    assert {failure.cause: failure.count for failure in report.failures} == counts
    for failure in report.failures:
        numbers = [number for number, cause in enumerate(causes) if number and cause == failure.cause][:5]
        assert failure.message == f"message {numbers[0]}"
        assert failure.first == tuple(f"{'ab'[number % 2]}/d{number}" for number in numbers)
    assert len(statements) < 15


def test_totals_follow_every_change_of_an_operation_without_a_pass_over_the_file() -> None:
    chance = random.Random(5)
    with closing(sqlite3.connect(":memory:")) as connection:
        for statement in TABLES:
            connection.execute(statement)
        connection.execute("INSERT INTO apps VALUES (1, 'a'), (2, 'b')")
        connection.executemany(
            "INSERT INTO operations (line, app, name, change, former) VALUES (?1, 1 + ?1 % 2, 'd' || ?1, 1, 'none')",
            ((number,) for number in range(60)),
        )
        connection.execute(TALLIED)
        for _ in range(400):
            change = chance.choice([*Outcome]), chance.choice([*Verdict]), chance.randrange(60), chance.randrange(4)
            connection.execute("UPDATE operations SET outcome = ?, verdict = ? WHERE id BETWEEN ?3 AND ?3 + ?4", change)
            counted = Counter(
                (app_id, Outcome.PENDING if outcome == Outcome.SENT else outcome, verdict)
                for app_id, outcome, verdict in connection.execute(
                    "SELECT app_id, outcome, verdict FROM operations JOIN apps ON apps.id = app"
                )
            )
            assert {tally[:3]: tally.operations for tally in tallies_of(connection)} == counted


@pytest.mark.parametrize(
    ("cause", "status", "remedy", "said"),
    [
        ("ambiguous", 502, Remedy.RETRY, "may have taken effect"),
        ("channel_not_found", 404, Remedy.RETRY, "Create the channel"),
        ("changed_since", None, Remedy.NEW_JOB, "Make a new job"),
        ("brand_new", 503, Remedy.RETRY, "The server failed"),
        ("brand_new", 429, Remedy.RETRY_SLOWER, "fewer requests"),
        ("brand_new", 400, Remedy.RETRY, "Fix the problem that the message names"),
        ("brand_new", None, Remedy.RETRY, "Fix the problem that the message names"),
    ],
)
def test_there_is_advice_for_every_cause(cause: str, status: int | None, remedy: Remedy, said: str) -> None:
    advice = advice_on(cause, status)
    assert advice.remedy is remedy
    assert said in advice.text
