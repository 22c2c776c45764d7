"""What goes wrong around a job: old logs, links, damaged files, servers that are away, time that was promised."""

import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import anyio
import pytest
from fleet import APP, client_of, copy_job, relink_everything, sandbox_of
from scripted import ScriptedTransport
from virtual_time import in_virtual_time

from capgo_async import CapgoClient, errors
from capgo_async.bulk import Job, read_operations
from capgo_async.http.wire import Response
from capgo_async.sandbox import Sandbox


async def made(path: Path, sandbox: Sandbox, channel: str = "beta") -> None:
    source = read_operations(relink_everything(path.with_name("devices.csv"), sandbox, channel))
    async with client_of(sandbox) as capgo:
        await (await Job.create(path, source, client=capgo)).aclose()


@in_virtual_time
async def test_a_log_that_a_killed_job_left_behind_does_not_become_part_of_a_new_one(tmp_path: Path) -> None:
    sandbox, path, dead = sandbox_of(devices=60), tmp_path / "x.capgo-job", tmp_path / "dead.capgo-job"
    await made(path, sandbox)
    async with client_of(sandbox) as capgo, await Job.open(path) as job:
        await job.run(capgo)
        copy_job(path, dead)
    path.unlink()
    dead.with_name(dead.name + "-wal").rename(path.with_name(path.name + "-wal"))
    await made(path, sandbox, "alpha")
    async with await Job.open(path) as job:
        report = await job.report()
        assert (report.done, report.pending) == (0, report.planned)
        assert job.plan.changes[0].what == "link to alpha"


@in_virtual_time
async def test_a_link_to_a_job_is_that_job(tmp_path: Path) -> None:
    sandbox, path = sandbox_of(devices=400), tmp_path / "x.capgo-job"
    await made(path, sandbox)
    link = tmp_path / "link.capgo-job"
    link.symlink_to(path)
    refused: list[errors.JobError] = []

    async with client_of(sandbox) as capgo, await Job.open(path) as first, await Job.open(link) as second:

        async def intrude() -> None:
            await anyio.sleep(0.5)
            with pytest.raises(errors.JobError, match="another process is running") as caught:
                await second.run(capgo)
            refused.append(caught.value)

        async with anyio.create_task_group() as group:
            group.start_soon(intrude)
            await first.run(capgo)
    assert refused
    sent = [line.target for line in sandbox.log if line.method == "POST"]
    assert len(sent) == len(set(sent))


@in_virtual_time
async def test_what_was_in_doubt_stays_so_when_the_next_run_does_not_send_it(tmp_path: Path) -> None:
    sandbox, path = sandbox_of(devices=200, limits="server"), tmp_path / "x.capgo-job"
    await made(path, sandbox)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE operations SET outcome = 1 WHERE id <= 30")
    connection.close()
    async with client_of(sandbox) as capgo, await Job.open(path) as job:
        async with anyio.create_task_group() as group:
            group.start_soon(job.run, capgo)
            await anyio.lowlevel.checkpoint()
            job.drain()
    with sqlite3.connect(path) as connection:
        (count,) = connection.execute("SELECT count(*) FROM operations WHERE id <= 30 AND outcome = 0").fetchone()
    connection.close()
    assert count == 0


@in_virtual_time
async def test_a_server_that_answers_nobody_ends_the_run_and_fails_no_operation(tmp_path: Path) -> None:
    sandbox, path = sandbox_of(devices=60), tmp_path / "x.capgo-job"
    await made(path, sandbox)
    transport = ScriptedTransport(last=errors.TimedOut("no answer"))
    async with CapgoClient(api_key="00000000-0000-4000-8000-00000000aaaa", transport=transport, rate="off") as capgo:
        async with await Job.open(path) as job:
            with pytest.raises(errors.TimedOut):
                await job.run(capgo, rebind=True)
            report = await job.report()
    assert (report.done, report.failed, report.pending) == (0, 0, report.planned)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b'{"error": "subscription_required", "message": "Not paid"}', "Not paid"),
        (b'{"error": "cannot_access_app", "message": "No access"}', "had no access to"),
        (b'{"error": "invalid_request", "message": "No"}', "in a row failed"),
    ],
)
@in_virtual_time
async def test_a_run_stops_itself_and_what_is_open_can_be_run_later(tmp_path: Path, answer: bytes, reason: str) -> None:
    sandbox, path = sandbox_of(devices=2000), tmp_path / "x.capgo-job"
    await made(path, sandbox)
    status = 402 if b"subscription" in answer else 400
    transport = ScriptedTransport(last=Response(status=status, headers={}, body=answer))
    async with CapgoClient(api_key="00000000-0000-4000-8000-00000000aaaa", transport=transport, rate="off") as capgo:
        async with await Job.open(path) as job:
            with pytest.raises(errors.SafetyStop, match=reason):
                await job.run(capgo, rebind=True)
            report = await job.report()
    assert report.pending > 500
    async with client_of(sandbox) as capgo, await Job.open(path) as job:
        report = await job.run(capgo, rebind=True)
    assert report.pending == 0


@in_virtual_time
async def test_a_fault_of_the_run_is_no_failure_of_its_operations(tmp_path: Path) -> None:
    sandbox, path = sandbox_of(devices=60), tmp_path / "x.capgo-job"
    await made(path, sandbox)
    transport = ScriptedTransport(last=errors.ConfigurationError("the session is closed"))
    async with CapgoClient(api_key="00000000-0000-4000-8000-00000000aaaa", transport=transport, rate="off") as capgo:
        async with await Job.open(path) as job:
            with pytest.raises(errors.ConfigurationError, match="closed"):
                await job.run(capgo, rebind=True)
            report = await job.report()
    assert (report.failed, report.pending) == (0, report.planned)


@in_virtual_time
async def test_a_key_that_is_refused_does_not_become_the_key_of_the_job(tmp_path: Path) -> None:
    sandbox, path = sandbox_of(devices=60), tmp_path / "x.capgo-job"
    await made(path, sandbox)
    async with client_of(sandbox, api_key="00000000-0000-4000-8000-0000000bad00") as capgo, await Job.open(path) as job:
        with pytest.raises(errors.AuthenticationError):
            await job.run(capgo, rebind=True)
    async with client_of(sandbox) as capgo, await Job.open(path) as job:
        assert (await job.run(capgo)).pending == 0


@in_virtual_time
async def test_a_server_that_takes_no_connection_is_not_knocked_at_by_the_whole_fleet(tmp_path: Path) -> None:
    sandbox, path = sandbox_of(devices=2000), tmp_path / "x.capgo-job"
    await made(path, sandbox)
    transport = ScriptedTransport(last=errors.NotConnected("nobody there"))
    options = {"rate": "off", "concurrency": 8, "retries": 4}
    async with CapgoClient(api_key="00000000-0000-4000-8000-00000000aaaa", transport=transport, **options) as capgo:  # type: ignore[arg-type]  # options of the client
        async with await Job.open(path) as job:
            with pytest.raises(errors.NotConnected):
                await job.run(capgo, rebind=True)
    assert len(transport.requests) <= 8 * 5


@in_virtual_time
async def test_verify_is_bound_as_run_is(tmp_path: Path) -> None:
    sandbox, path = sandbox_of(devices=60), tmp_path / "x.capgo-job"
    await made(path, sandbox)
    async with CapgoClient(api_key="00000000-0000-4000-8000-00000000aaaa", base_url="https://other.example.com") as capgo:
        async with await Job.open(path) as job:
            with pytest.raises(errors.JobError, match="another base URL"):
                await job.verify(capgo)


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        ("PRAGMA user_version = 0", "format 0"),
        ("UPDATE others SET cause = 'because'", "damaged"),
        ("DELETE FROM job WHERE name = 'survey'", "damaged: .* `survey`"),
        ("UPDATE job SET value = '{' WHERE name = 'source'", "damaged"),
        ("UPDATE apps SET app_id = CAST(X'FFFE' AS TEXT)", "damaged"),
    ],
)
@in_virtual_time
async def test_a_damaged_file_is_said_to_be_damaged(tmp_path: Path, damage: str, reason: str) -> None:
    sandbox, path = sandbox_of(devices=60), tmp_path / "x.capgo-job"
    await made(path, sandbox)
    with sqlite3.connect(path) as connection:
        connection.execute(damage)
    connection.close()
    before = len(sandbox.log)
    with pytest.raises(errors.JobError, match=reason):
        async with client_of(sandbox) as capgo, await Job.open(path) as job:
            await job.run(capgo)
    assert len(sandbox.log) == before


@in_virtual_time
async def test_a_server_that_asks_for_a_day_is_not_waited_for() -> None:
    busy = Response(status=503, headers={"retry-after": "86400"}, body=b"{}")
    async with CapgoClient(api_key="k" * 8, transport=ScriptedTransport(last=busy), rate="off") as capgo:
        with pytest.raises(errors.ServerError):
            await capgo.apps.get(APP)
    assert anyio.current_time() < 120


@in_virtual_time
async def test_a_call_without_a_key_is_not_repeated_into_a_limit() -> None:
    limited = Response(status=429, headers={"retry-after": "60"}, body=b'{"error": "too_many_requests", "message": "no"}')
    transport = ScriptedTransport(last=limited)
    async with CapgoClient(api_key="k" * 8, transport=transport, rate="server") as capgo:
        with pytest.raises(errors.RateLimited):
            await capgo.check()
    assert len(transport.requests) == 1


@in_virtual_time
async def test_requests_that_never_left_are_no_retries(tmp_path: Path) -> None:
    del tmp_path
    transport = ScriptedTransport(last=errors.NotConnected("nobody there"))
    async with CapgoClient(api_key="k" * 8, transport=transport, rate="off") as capgo:
        with pytest.raises(errors.NotConnected):
            await capgo.apps.get(APP)
        assert (capgo.counters.requests, capgo.counters.retries) == (0, 0)


@pytest.mark.slow
def test_an_interrupt_ends_a_command_that_waits_for_its_rows(tmp_path: Path) -> None:
    reading, writing = os.pipe()
    words = ("devices", "relink", "-", "--app", APP, "--channel", "beta", "--yes", "--base-url", "http://127.0.0.1:9")
    process = subprocess.Popen(
        [sys.executable, "-m", "capgo_async", *words],
        stdin=reading,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "CAPGO_API_KEY": "k" * 8, "PYTHONPATH": str(Path(__file__).parent.parent.parent)},
    )
    os.close(reading)
    os.write(writing, b"device_id\n")
    assert process.stderr is not None
    while not list(tmp_path.glob("*.building")):
        assert process.poll() is None
        time.sleep(0.01)  # until it reads its rows
    process.send_signal(signal.SIGINT)
    assert process.wait() == 130, "though nobody has closed its stdin"
    os.close(writing)
    assert b"fault of ours" not in process.stderr.read()
    process.stderr.close()
