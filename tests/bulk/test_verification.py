"""What fresh looks say of what was done, and what they cost."""

from pathlib import Path

import anyio
import pytest
from fleet import APP, client_of, ids_of, sandbox_of, statuses, write_csv
from virtual_time import in_virtual_time

from capgo_async import errors
from capgo_async.bulk import Job, LinkDevice, Source, from_operations, read_operations
from capgo_async.limits.models import Limit, ScopeKind, SilenceWindow, device_limits
from capgo_async.sandbox import Sandbox

pytestmark = pytest.mark.slow


def looks(sandbox: Sandbox) -> int:
    return sum(line.method == "GET" and line.path == "/device" for line in sandbox.log)


def all_to_beta(directory: Path, sandbox: Sandbox) -> Source:
    rows = [(device,) for device in ids_of(sandbox)]
    return read_operations(write_csv(directory / "a.csv", rows), app_id=APP, channel="beta")


@in_virtual_time
async def test_a_contradiction_is_looked_at_again_after_a_minute(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=400)
    app = sandbox.world.apps[APP]
    free = [device for device in ids_of(sandbox) if device not in app.overrides]
    source = all_to_beta(tmp_path, sandbox)
    async with client_of(sandbox) as capgo, await Job.create(tmp_path / "a.capgo-job", source, client=capgo) as job:
        await job.run(capgo)
        slow, gone = free[:2]
        for device in (slow, gone):
            app.unlink(device)

        async def catch_up() -> None:
            await anyio.sleep(30)
            app.link(slow, app.channels["beta"], 0.0)

        before, began = looks(sandbox), anyio.current_time()
        async with anyio.create_task_group() as group:
            group.start_soon(catch_up)
            report = await job.verify(capgo)
        assert (report.verified, report.contradicted) == (report.done - 1, 1)
        assert looks(sandbox) - before == 2 + 2, "two pages, and then the two devices"
        assert anyio.current_time() - began >= 60


@in_virtual_time
async def test_many_contradictions_are_looked_at_by_page(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=400)
    app = sandbox.world.apps[APP]
    free = [device for device in ids_of(sandbox) if device not in app.overrides]
    source = all_to_beta(tmp_path, sandbox)
    async with client_of(sandbox) as capgo, await Job.create(tmp_path / "a.capgo-job", source, client=capgo) as job:
        await job.run(capgo)
        for device in free[:100]:
            app.overrides[device] = app.overrides[device]._replace(channel=app.channels["alpha"])
        before = looks(sandbox)
        report = await job.verify(capgo)
        assert report.contradicted == 100
        assert looks(sandbox) - before == 2 + 2


@in_virtual_time
async def test_what_an_earlier_proof_saw_proves_nothing_now(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=20)
    async with client_of(sandbox) as capgo:
        source = all_to_beta(tmp_path, sandbox)
        async with await Job.create(tmp_path / "job.capgo-job", source, client=capgo) as job:
            await job.run(capgo)
            first = await job.verify(capgo)
            for device in ids_of(sandbox)[:18]:
                sandbox.world.apps[APP].forget_device(device)
            second = await job.verify(capgo)
    assert (first.verified, first.cannot_tell) == (first.done, 0)
    assert second.cannot_tell > 0
    assert (second.verified + second.cannot_tell, second.unchecked) == (first.done, 0)
    assert second.verified <= 2


@in_virtual_time
async def test_a_few_devices_of_a_large_app_are_not_looked_for_on_all_its_pages(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=20_000)
    chosen = ids_of(sandbox)[-3:]
    operations = [LinkDevice(app_id=APP, device_id=device, channel="alpha") for device in chosen]
    async with client_of(sandbox) as capgo:
        async with await Job.create(tmp_path / "a.capgo-job", from_operations(operations), client=capgo) as job:
            done = (await job.run(capgo)).done
            before = looks(sandbox)
            report = await job.verify(capgo)
    assert report.verified == done > 0
    assert looks(sandbox) - before <= 2 * done


@in_virtual_time
async def test_a_way_back_is_for_the_server_and_the_key_of_the_job(tmp_path: Path) -> None:
    sandbox = sandbox_of()
    operation = LinkDevice(app_id=APP, device_id=ids_of(sandbox)[0], channel="alpha")
    async with client_of(sandbox) as capgo:
        async with await Job.create(tmp_path / "a.capgo-job", from_operations([operation]), client=capgo) as job:
            await job.run(capgo)
            async with client_of(sandbox, api_key="00000000-0000-4000-8000-00000000ffff") as other:
                with pytest.raises(errors.JobError, match="another API key"):
                    await job.undo(tmp_path / "undo.capgo-job", client=other)
    assert not (tmp_path / "undo.capgo-job").exists()


@in_virtual_time
async def test_a_proof_and_a_way_back_in_other_processes_know_what_the_run_has_used(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=400, limits="server", variables={"RATE_LIMIT_API_KEY": 300})
    path = tmp_path / "a.capgo-job"
    limits = (Limit(ScopeKind.KEY, SilenceWindow(requests=299, window=60.0)), *device_limits())
    async with client_of(sandbox, limits=limits) as capgo:
        async with await Job.create(path, all_to_beta(tmp_path, sandbox), client=capgo) as job:
            await job.run(capgo)
    async with client_of(sandbox, limits=limits) as capgo, await Job.open(path) as job:
        await job.verify(capgo)
    async with client_of(sandbox, limits=limits) as capgo, await Job.open(path, read_only=True) as job:
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            await undo.run(capgo)
    assert statuses(sandbox).keys() == {200}
