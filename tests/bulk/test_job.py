"""Job files: resumed, bound, locked, migrated, damaged, cut off, and full."""

import shutil
import sqlite3
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import anyio
import msgspec
import pytest
from fleet import APP, client_of, copy_job, ids_of, links_of, looked_up, relink_everything, sandbox_of, write_csv
from virtual_time import in_virtual_time

from capgo_async import CapgoClient
from capgo_async.bulk import Job, Options, Report, Thresholds, read_operations
from capgo_async.bulk.jobfile.journal import Journal
from capgo_async.bulk.jobfile.schema import FORMAT
from capgo_async.cli.output.exit_codes import ExitCode, exit_code
from capgo_async.errors import AuthenticationError, DiskFull, JobError, NotConnected
from capgo_async.sandbox import Sandbox
from capgo_async.sandbox.seeding import DEVELOPER_KEY
from capgo_async.sandbox.virtual_time import run_in_virtual_time


async def make(sandbox: Sandbox, directory: Path, **options: object) -> Job:
    source = read_operations(relink_everything(directory / "devices.csv", sandbox))
    async with client_of(sandbox, **options) as capgo:  # type: ignore[arg-type]  # options of the client
        return await Job.create(directory / "job.capgo-job", source, client=capgo)


@in_virtual_time
async def test_a_drained_run_can_be_resumed_and_repeats_nothing(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=900)
    async with await make(sandbox, tmp_path) as job, client_of(sandbox) as capgo:
        async with anyio.create_task_group() as group:

            async def interrupt() -> None:
                await anyio.sleep(0.5)
                job.drain()

            group.start_soon(interrupt)
            first = await job.run(capgo)
        assert 0 < first.done < first.planned
        assert first.pending == first.planned - first.done
        assert exit_code(first) == ExitCode.INTERRUPTED
        last = await job.run(capgo)
    assert (last.done, last.pending, exit_code(last)) == (last.planned, 0, ExitCode.OK)
    posts = [line.target for line in sandbox.log if line.method == "POST"]
    assert len(posts) == len(set(posts)) == last.planned
    assert last.requests == len(sandbox.log)


@in_virtual_time
async def test_a_drain_does_not_wait_for_a_limit(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=2400, apps=12, limits="server", variables={"RATE_LIMIT_API_KEY": 201})
    async with await make(sandbox, tmp_path) as job, client_of(sandbox) as capgo:
        async with anyio.create_task_group() as group:

            async def interrupt() -> None:
                await anyio.sleep(100.0)
                began = anyio.current_time()
                job.drain()
                group.cancel_scope.deadline = began + 1.0

            group.start_soon(interrupt)
            await job.run(capgo)
            group.cancel_scope.deadline = float("inf")
        report = await job.report()
    assert report.pending > 0
    assert report.done + report.pending == report.planned


@pytest.mark.slow
@in_virtual_time
async def test_an_aborted_run_leaves_what_was_in_flight_to_the_next(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=900)
    async with await make(sandbox, tmp_path) as job, client_of(sandbox, delay=5.0) as capgo:
        async with anyio.create_task_group() as group:

            async def interrupt() -> None:
                await anyio.sleep(34.0)
                job.abort()

            group.start_soon(interrupt)
            report = await job.run(capgo)
        assert anyio.current_time() < 40.0
        assert report.pending > 0
        last = await job.run(capgo)
    assert (last.done, last.pending) == (last.planned, 0)
    assert set(links_of(sandbox).values()) == {"beta"}


@in_virtual_time
async def test_the_same_source_and_options_resume_and_others_are_refused(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=60)
    source = relink_everything(tmp_path / "devices.csv", sandbox)
    path = tmp_path / "job.capgo-job"
    async with client_of(sandbox) as capgo:
        async with await Job.create(path, read_operations(source), client=capgo) as job:
            await job.run(capgo)
        before = len(sandbox.log)
        async with await Job.create(path, read_operations(source), client=capgo) as job:
            assert (await job.report()).pending == 0
        assert len(sandbox.log) == before, "an existing job needs no new plan"
        with pytest.raises(JobError, match="another source or other options"):
            await Job.create(path, read_operations(source), client=capgo, options=Options(reject_bad_rows=True))
        other = write_csv(tmp_path / "other.csv", [("d1",)])
        with pytest.raises(JobError, match="another source or other options"):
            await Job.create(path, read_operations(other, app_id=APP, channel="beta"), client=capgo)
        with pytest.raises(JobError, match="another source or other options"):
            await Job.create(path, read_operations(source, channel="beta"), client=capgo)


@in_virtual_time
async def test_a_file_keeps_how_its_job_was_planned(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=60)
    source = read_operations(relink_everything(tmp_path / "devices.csv", sandbox))
    waves, thresholds = (Fraction(1, 3), Fraction(1)), Thresholds(share=Fraction(2, 7))
    options = Options(waves=waves, bake_seconds=0.5, thresholds=thresholds, protected=("production",), protected_by="a profile")
    async with client_of(sandbox) as capgo:
        async with await Job.create(tmp_path / "job.capgo-job", source, client=capgo, options=options) as job:
            facts = job.facts
        assert facts.options == Options(waves=waves, bake_seconds=0.5, thresholds=thresholds, protected_by="")
        assert (facts.binding.base_url, facts.binding.keys) == (capgo.base_url, 1)
        assert facts.survey.listed == {APP: 60}
        assert [(pair.app_id, pair.change.argument, pair.rows) for pair in facts.survey.planned] == [
            (APP, "beta", job.plan.planned)
        ]
        # Who is asked to say the number, and which channels are protected, may have changed since.
        other = msgspec.structs.replace(options, thresholds=Thresholds(), protected=())
        async with await Job.create(tmp_path / "job.capgo-job", source, client=capgo, options=other) as job:
            assert job.facts == facts


@in_virtual_time
async def test_a_job_is_bound_to_its_server_and_key_unless_rebound(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=60)
    async with await make(sandbox, tmp_path) as job, client_of(sandbox, api_key=DEVELOPER_KEY) as other:
        before = len(sandbox.log)
        with pytest.raises(JobError, match="made with another API key"):
            await job.run(other)
        assert len(sandbox.log) == before
        report = await job.run(other, rebind=True)
        assert report.pending == 0
    assert DEVELOPER_KEY.encode() not in (tmp_path / "job.capgo-job").read_bytes()


@pytest.mark.slow
def test_one_process_runs_a_job_while_others_look_at_it(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=600)
    path = tmp_path / "job.capgo-job"
    look = (
        "import asyncio, sys\n"
        "from capgo_async.bulk import Job\n"
        "async def main():\n"
        "    async with await Job.open(sys.argv[1], read_only=True) as job:\n"
        "        report = await job.report()\n"
        "        assert report.done + report.pending == report.planned > 0\n"
        "asyncio.run(main())\n"
    )
    run = look.replace("read_only=True", "read_only=False").replace(
        "        report = await job.report()\n",
        "        from capgo_async import CapgoClient\n"
        "        from capgo_async.errors import JobError\n"
        "        async with CapgoClient(api_key='k', base_url='http://127.0.0.1:9') as capgo:\n"
        "            try: await job.run(capgo)\n"
        "            except JobError as error: sys.exit(str(error))\n"
        "        report = await job.report()\n",
    )

    async def main() -> None:
        async with await make(sandbox, tmp_path) as job, client_of(sandbox) as capgo, anyio.create_task_group() as group:
            group.start_soon(job.run, capgo)
            await anyio.sleep(0.3)
            # Not on a thread: while it lasts, nothing of this process moves.
            looked = subprocess.run([sys.executable, "-c", look, path], check=False, capture_output=True, text=True)
            assert looked.returncode == 0, looked.stderr
            second = subprocess.run([sys.executable, "-c", run, path], check=False, capture_output=True, text=True)
            assert "another process is running" in second.stderr

    run_in_virtual_time(main())


@in_virtual_time
async def test_a_refused_key_stops_the_run_after_one_request(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=60)
    async with await make(sandbox, tmp_path) as job, client_of(sandbox, api_key="wrong") as wrong:
        before = len(sandbox.log)
        with pytest.raises(AuthenticationError):
            await job.run(wrong, rebind=True)
        assert len(sandbox.log) == before + 1
        assert await sent(job) == 0
        report = await job.report()
    assert (report.done, report.failed, report.pending) == (0, 0, report.planned)


@in_virtual_time
async def test_without_a_server_nothing_is_failed(tmp_path: Path) -> None:
    class Nowhere:
        async def send(self, *_: object, **__: object) -> None:
            message = "refused"
            raise NotConnected(message)

        async def aclose(self) -> None:
            pass

    sandbox = sandbox_of(devices=60)
    async with (
        await make(sandbox, tmp_path) as job,
        CapgoClient(api_key="k", transport=Nowhere(), retries=1) as capgo,  # type: ignore[arg-type]  # a double
    ):
        with pytest.raises(NotConnected):
            await job.run(capgo, rebind=True)
        report = await job.report()
        assert await sent(job) == 0, "nothing left, so nothing is in doubt"
    assert (report.done, report.failed, report.pending) == (0, 0, report.planned)
    assert report.retries == 0  # what never left is no retry


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "not a job file"), (b"device_id\nd1\n" * 100, "not a job file"), (None, "no such job file")],
)
def test_files_that_are_no_jobs_are_refused(tmp_path: Path, content: bytes | None, reason: str) -> None:
    path = tmp_path / "job.capgo-job"
    if content is not None:
        path.write_bytes(content)

    async def main() -> None:
        with pytest.raises(JobError, match=reason):
            await Job.open(path)

    run_in_virtual_time(main())


@in_virtual_time
async def test_another_database_and_a_job_of_another_format_are_refused(tmp_path: Path) -> None:
    foreign = tmp_path / "foreign.capgo-job"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE t (a)")
    connection.close()
    with pytest.raises(JobError, match="not a job file"):
        await Job.open(foreign)
    async with await make(sandbox_of(devices=9), tmp_path) as job:
        path = job.path
    for other in (FORMAT - 1, FORMAT + 1):
        with sqlite3.connect(path) as connection:
            connection.execute(f"PRAGMA user_version = {other}")
        connection.close()
        with pytest.raises(JobError, match=rf"format {other}; .* reads format {FORMAT}$"):
            await Job.open(path)


@pytest.mark.slow
def test_with_its_log_cut_anywhere_a_job_reopens_at_its_last_commit(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=900)
    killed = tmp_path / "killed.capgo-job"

    async def until_killed() -> None:
        async with await make(sandbox, tmp_path) as job, client_of(sandbox) as capgo, anyio.create_task_group() as group:
            group.start_soon(job.run, capgo)
            await anyio.sleep(1.2)
            copy_job(job.path, killed)
            group.cancel_scope.cancel()

    run_in_virtual_time(until_killed())
    log = killed.with_name(killed.name + "-wal").read_bytes()
    assert len(log) > 40_000

    async def reopened(cut: int) -> Report:
        path = tmp_path / f"cut-{cut}.capgo-job"
        shutil.copy(killed, path)
        path.with_name(path.name + "-wal").write_bytes(log[:cut])
        async with await Job.open(path) as job:
            return await job.report()

    done = 0
    for cut in [*range(0, len(log), 2503), len(log)]:
        report = run_in_virtual_time(reopened(cut))
        assert report.done + report.failed + report.pending == report.planned
        assert report.done >= done, "a longer log never knows less"
        done = report.done
    assert done > 0

    async def resumed(cut: int) -> Report:
        async with await Job.open(tmp_path / f"cut-{cut}.capgo-job") as job, client_of(sandbox) as capgo:
            return await job.run(capgo)

    for cut in (0, 2503 * 8):
        report = run_in_virtual_time(resumed(cut))
        assert (report.done, report.pending) == (report.planned, 0)
    assert set(links_of(sandbox).values()) == {"beta"}
    assert set(links_of(sandbox)) == set(ids_of(sandbox))


@pytest.mark.slow
@in_virtual_time
async def test_a_full_disk_stops_the_run_and_it_goes_on_once_there_is_room(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=3000)
    async with await make(sandbox, tmp_path) as job, client_of(sandbox) as capgo:
        limit = "PRAGMA max_page_count = {}"
        (pages,) = await _pragma(job, "PRAGMA page_count")
        await _pragma(job, limit.format(pages))
        with pytest.raises(DiskFull, match="no space left"):
            await job.run(capgo)
        report = await job.report()
        assert report.done + report.pending == report.planned
        assert report.pending > 0
        await _pragma(job, limit.format(pages * 100))
        report = await job.run(capgo)
    assert (report.done, report.pending) == (report.planned, 0)


async def sent(job: Job) -> int:
    """Return how many operations are marked as sent."""
    query = "SELECT count(*) FROM operations WHERE outcome = 1"
    found = await looked_up(job.path, lambda connection: connection.execute(query).fetchone())
    return int(found[0])


async def _pragma(job: Job, statement: str) -> tuple[int, ...]:
    # The most pages are a setting of the connection that runs the job.
    journal: Journal = job._journal
    return await journal.database.run(lambda connection: tuple(connection.execute(statement).fetchone()))


@in_virtual_time
async def test_several_runs_are_added_up(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=60)
    async with await make(sandbox, tmp_path) as job, client_of(sandbox) as capgo:
        planned = await job.report()
        assert planned.requests == len(sandbox.log) > 0, "what the plan read counts, too"
        await job.run(capgo)
        report = await job.verify(capgo)
    assert report.requests == len(sandbox.log)
    assert report.verified == report.done
