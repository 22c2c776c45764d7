"""What failed is sent again, and nothing else."""

import sqlite3
from pathlib import Path

import pytest
from fleet import APP, client_of, ids_of, links_of, relink_everything, sandbox_of
from virtual_time import in_virtual_time

from capgo_async import errors
from capgo_async.bulk import Bounds, Job, Report, StopRules, Which, from_operations, read_operations
from capgo_async.bulk.jobfile.schema import Outcome
from capgo_async.bulk.operations.operations import DeleteChannel, LinkDevice
from capgo_async.client import requester_of
from capgo_async.http.options import CallOptions
from capgo_async.sandbox import Sandbox

RULES = StopRules(failures=None, consecutive=None, no_access=None, server_errors=None)
FAULTS = "POST /device:502=#1+#2+#3+#4+#5+#6+#7+#8+#9+#10,429-permanent=#11+#12+#13"
"""With one worker and without retries: ten ambiguous failures and three clear ones."""


async def partly_failed(path: Path, sandbox: Sandbox) -> Report:
    """Make a job and run it until it has 13 failures and 30 operations that were never sent."""
    source = read_operations(relink_everything(path.with_name("devices.csv"), sandbox))
    async with client_of(sandbox) as capgo, await Job.create(path, source, client=capgo) as job:
        planned = (await job.report()).planned
    async with client_of(sandbox, concurrency=1) as capgo, await Job.open(path) as job:
        requester_of(capgo).options = CallOptions(retries=0)
        with pytest.raises(errors.SafetyStop):
            await job.run(capgo, stop_rules=RULES, bounds=Bounds(max_requests=planned - 30))
        return await job.report()


def posts(sandbox: Sandbox) -> list[str]:
    return [line.target for line in sandbox.log if line.method == "POST"]


@in_virtual_time
async def test_what_failed_is_sent_again_ambiguous_or_not_and_nothing_else(tmp_path: Path) -> None:
    sandbox, path = sandbox_of(devices=90, faults=FAULTS), tmp_path / "x.capgo-job"
    first = await partly_failed(path, sandbox)
    assert (first.failed, first.pending) == (13, 30)
    failed = set(posts(sandbox)[:13])
    before = len(posts(sandbox))
    async with client_of(sandbox) as capgo, await Job.open(path) as job:
        assert await job.to_send(Which.FAILED) == 13
        report = await job.run(capgo, which=Which.FAILED)
        assert (report.failed, report.pending, report.done) == (0, 30, first.done + 13)
        assert sorted(posts(sandbox)[before:]) == sorted(failed)
        assert await job.to_send(Which.FAILED) == 0
        assert await job.to_send() == 30
        report = await job.run(capgo)
    assert (report.done, report.pending) == (report.planned, 0)
    assert set(links_of(sandbox).values()) == {"beta"}


@in_virtual_time
async def test_what_fails_again_is_failed_with_its_new_cause(tmp_path: Path) -> None:
    sandbox, path = sandbox_of(devices=90, faults=FAULTS), tmp_path / "x.capgo-job"
    await partly_failed(path, sandbox)
    for app in sandbox.world.apps.values():
        del app.channels["beta"]
    async with client_of(sandbox) as capgo, await Job.open(path) as job:
        report = await job.run(capgo, which=Which.FAILED, stop_rules=RULES)
    assert (report.failed, report.pending) == (13, 30)
    assert [(group.cause, group.count) for group in report.failures] == [("channel_not_found", 13)]


@in_virtual_time
async def test_a_second_go_that_is_cut_short_goes_on_with_what_it_left(tmp_path: Path) -> None:
    sandbox, path = sandbox_of(devices=90, faults=FAULTS), tmp_path / "x.capgo-job"
    first = await partly_failed(path, sandbox)
    async with client_of(sandbox) as capgo, await Job.open(path) as job:
        with pytest.raises(errors.SafetyStop):
            await job.run(capgo, which=Which.FAILED, bounds=Bounds(max_requests=5))
        cut = await job.report()
        assert (cut.done - first.done, cut.failed, cut.pending) == (5, 0, 38)
        assert await job.to_send(Which.FAILED) == 8
        report = await job.run(capgo, which=Which.FAILED)
    assert (report.done - first.done, report.failed, report.pending) == (13, 0, 30)


@in_virtual_time
async def test_what_stands_pending_among_the_failed_is_not_marked_as_sent(tmp_path: Path) -> None:
    sandbox, path = sandbox_of(devices=90, faults=FAULTS), tmp_path / "x.capgo-job"
    await partly_failed(path, sandbox)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE operations SET outcome = 0, run = NULL WHERE id IN (2, 5)")
    connection.close()
    async with client_of(sandbox) as capgo, await Job.open(path) as job:
        await job.run(capgo, which=Which.FAILED)
    with sqlite3.connect(path) as connection:
        outcomes = dict(connection.execute("SELECT outcome, count(*) FROM operations GROUP BY outcome"))
    connection.close()
    assert outcomes.keys() == {Outcome.PENDING, Outcome.DONE}
    assert outcomes[Outcome.PENDING] == 32


@in_virtual_time
async def test_what_may_have_happened_and_is_gone_then_is_done(tmp_path: Path) -> None:
    sandbox, path = sandbox_of(faults="DELETE /channel:drop-after=#1"), tmp_path / "x.capgo-job"
    source = from_operations([DeleteChannel(app_id=APP, channel="beta")])
    async with client_of(sandbox) as capgo, await Job.create(path, source, client=capgo) as job:
        requester_of(capgo).options = CallOptions(retries=0)
        assert (await job.run(capgo)).failures[0].cause == "ambiguous"
    async with client_of(sandbox) as capgo, await Job.open(path) as job:
        report = await job.run(capgo, which=Which.FAILED)
    assert (report.done, report.failed) == (1, 0)


@in_virtual_time
async def test_what_may_have_happened_is_not_forgotten_while_it_waits_to_be_sent_again(tmp_path: Path) -> None:
    sandbox, path = sandbox_of(devices=90, faults="POST /device:502-after=#2+#3"), tmp_path / "x.capgo-job"
    before = links_of(sandbox)
    free = [device for device in ids_of(sandbox) if device not in before]
    source = from_operations([LinkDevice(app_id=APP, device_id=device, channel="alpha") for device in free[:3]])
    async with client_of(sandbox, concurrency=1) as capgo, await Job.create(path, source, client=capgo) as job:
        requester_of(capgo).options = CallOptions(retries=0)
        assert (await job.run(capgo)).failures[0].count == 2
        with pytest.raises(errors.SafetyStop):
            await job.run(capgo, which=Which.FAILED, bounds=Bounds(max_requests=1))
        assert (await job.report()).pending == 1
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            assert undo.plan.planned == 3
            await undo.run(capgo)
    assert links_of(sandbox) == before
