"""What others changed since a plan was made."""

from pathlib import Path

import pytest
from fleet import APP, client_of, ids_of, sandbox_of
from virtual_time import in_virtual_time

from capgo_async.api.endpoints.channels import ChannelSettings
from capgo_async.bulk import Drift, Job, LinkDevice, Operation, UnlinkDevice, from_operations
from capgo_async.bulk.operations.operations import DeleteBundle, DeleteChannel, PromoteBundle, UpdateChannel
from capgo_async.errors import JobError
from capgo_async.sandbox import Sandbox
from capgo_async.sandbox.seeding import DEVELOPER_KEY

STRANGER = "ffffffff-ffff-4fff-8fff-ffffffffffff"


async def make(sandbox: Sandbox, directory: Path, operations: list[Operation]) -> Job:
    async with client_of(sandbox) as capgo:
        return await Job.create(directory / "job.capgo-job", from_operations(operations), client=capgo)


def put(sandbox: Sandbox, device: str, channel: str | None) -> None:
    app = sandbox.world.apps[APP]
    app.unlink(device)
    if channel is not None:
        app.link(device, app.channels[channel], 0.0)


@in_virtual_time
async def test_devices_are_as_assumed_changed_or_need_nothing_any_more(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=900)
    sandbox.world.apps[APP].overrides.clear()
    ids = ids_of(sandbox)
    put(sandbox, ids[-1], "beta")
    for device in (ids[4], ids[5], ids[6]):
        put(sandbox, device, "alpha")
    operations: list[Operation] = [
        *(LinkDevice(app_id=APP, device_id=device, channel="beta") for device in (*ids[:5], STRANGER)),
        *(UnlinkDevice(app_id=APP, device_id=device) for device in ids[5:7]),
    ]
    async with await make(sandbox, tmp_path, operations) as job, client_of(sandbox) as capgo:
        before = len(sandbox.log)
        assert (await job.drift(capgo)) == Drift(pending=8, changed=0, needless=0)
        put(sandbox, ids[1], "beta")  # done by somebody else
        put(sandbox, ids[2], "alpha")  # had no link
        put(sandbox, ids[4], None)  # was on alpha
        put(sandbox, ids[5], None)  # done by somebody else
        put(sandbox, ids[6], "beta")  # was on alpha
        put(sandbox, STRANGER, "alpha")  # nobody shows it
        drift = await job.drift(capgo)
        assert not [line for line in list(sandbox.log)[before:] if line.method != "GET"]
        assert (drift.pending, drift.changed, drift.needless) == (8, 3, 2)
        assert sorted(drift.first) == [
            f"{APP}/{ids[2]}: now linked to alpha",
            f"{APP}/{ids[4]}: now without a link",
            f"{APP}/{ids[6]}: now linked to beta",
        ]
        assert "of 8 pending operations: 3 with a target changed by others, 2 no longer needed" in str(drift)
        report = await job.report()
        assert report.pending == 8, "nothing is dropped"
        assert report.requests == len(sandbox.log)
    async with await Job.open(job.path) as job, client_of(sandbox) as capgo:
        assert not job.begun, "a look confirms nothing"
        report = await job.run(capgo)
    assert (report.done, report.pending) == (8, 0)


@in_virtual_time
async def test_only_what_is_pending_is_compared(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=30)
    sandbox.world.apps[APP].overrides.clear()
    operations: list[Operation] = [LinkDevice(app_id=APP, device_id=ids_of(sandbox)[0], channel="beta")]
    async with await make(sandbox, tmp_path, operations) as job, client_of(sandbox) as capgo:
        await job.run(capgo)
        put(sandbox, ids_of(sandbox)[0], "alpha")
        before = len(sandbox.log)
        assert await job.drift(capgo) == Drift(pending=0, changed=0, needless=0)
        assert len(sandbox.log) == before


@in_virtual_time
async def test_an_app_is_listed_no_further_than_it_has_operations(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=900)
    sandbox.world.apps[APP].overrides.clear()
    ids = ids_of(sandbox)
    operations: list[Operation] = [LinkDevice(app_id=APP, device_id=device, channel="beta") for device in (ids[0], ids[-1])]
    async with await make(sandbox, tmp_path, operations) as job, client_of(sandbox) as capgo:
        before = len(sandbox.log)
        put(sandbox, ids[-1], "alpha")
        drift = await job.drift(capgo)
        assert len(sandbox.log) - before <= 3, "two pages, and a first look at the key"
    assert (drift.changed, drift.needless) == (0, 0)
    assert any("listed in part" in remark for remark in drift.remarks)


@in_virtual_time
async def test_a_listing_without_any_link_proves_no_change(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=30)
    sandbox.world.apps[APP].overrides.clear()
    ids = ids_of(sandbox)
    put(sandbox, ids[0], "alpha")
    operations: list[Operation] = [LinkDevice(app_id=APP, device_id=ids[0], channel="beta")]
    async with await make(sandbox, tmp_path, operations) as job, client_of(sandbox) as capgo:
        put(sandbox, ids[0], None)
        assert (await job.drift(capgo)).changed == 0
        put(sandbox, ids[1], "alpha")
        assert (await job.drift(capgo)).changed == 1


@in_virtual_time
async def test_channels_are_compared_by_what_would_bring_them_back(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=5)
    app = sandbox.world.apps[APP]
    app.channels["alpha"].allow_dev = app.channels["beta"].allow_dev = True
    app.channels["alpha"].allow_emulator = True
    operations: list[Operation] = [
        UpdateChannel(app_id=APP, channel="alpha", settings=ChannelSettings(allow_dev=False, allow_emulator=False)),
        UpdateChannel(app_id=APP, channel="beta", settings=ChannelSettings(allow_dev=False)),
    ]
    async with await make(sandbox, tmp_path, operations) as job, client_of(sandbox) as capgo:
        assert await job.drift(capgo) == Drift(pending=2, changed=0, needless=0)
        app.channels["alpha"].allow_emulator = False
        app.channels["beta"].allow_dev = False
        drift = await job.drift(capgo)
    assert (drift.changed, drift.needless) == (1, 1)
    assert drift.first[0].startswith(f"{APP}/alpha: now ")


@in_virtual_time
async def test_what_became_impossible_is_a_change(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=5)
    app = sandbox.world.apps[APP]
    bundle = next(b.name for b in app.bundles.values() if b.id not in {c.version for c in app.channels.values()})
    operations: list[Operation] = [PromoteBundle(app_id=APP, channel="alpha", bundle=bundle)]
    async with await make(sandbox, tmp_path, operations) as job, client_of(sandbox) as capgo:
        del app.channels["alpha"]
        assert (await job.drift(capgo)).changed == 1


@pytest.mark.parametrize("operation", [DeleteChannel(app_id=APP, channel="alpha"), DeleteBundle(app_id=APP, bundle="")])
def test_what_is_gone_needs_no_deletion(tmp_path: Path, operation: Operation) -> None:
    @in_virtual_time
    async def run() -> None:
        sandbox = sandbox_of(devices=5)
        app = sandbox.world.apps[APP]
        used = {channel.version for channel in app.channels.values()}
        spare = next(bundle for bundle in app.bundles.values() if bundle.id not in used)
        planned = operation if isinstance(operation, DeleteChannel) else DeleteBundle(app_id=APP, bundle=spare.name)
        async with await make(sandbox, tmp_path, [planned]) as job, client_of(sandbox) as capgo:
            assert await job.drift(capgo) == Drift(pending=1, changed=0, needless=0)
            if isinstance(planned, DeleteChannel):
                del app.channels["alpha"]
            else:
                app.bundles.pop(next(key for key, bundle in app.bundles.items() if bundle is spare))
            assert await job.drift(capgo) == Drift(pending=1, changed=0, needless=1)

    run()


@in_virtual_time
async def test_a_bundle_that_came_into_use_is_a_change(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=5)
    app = sandbox.world.apps[APP]
    spare = next(b for b in app.bundles.values() if b.id not in {c.version for c in app.channels.values()})
    operations: list[Operation] = [DeleteBundle(app_id=APP, bundle=spare.name)]
    async with await make(sandbox, tmp_path, operations) as job, client_of(sandbox) as capgo:
        app.channels["alpha"].version = spare.id
        assert (await job.drift(capgo)).first == (
            f"{APP}/{spare.name}: now channel alpha of {APP} uses {spare.name}; give it another bundle first",
        )


@in_virtual_time
async def test_a_verification_begins_no_job(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=5)
    operations: list[Operation] = [DeleteChannel(app_id=APP, channel="alpha")]
    async with await make(sandbox, tmp_path, operations) as job, client_of(sandbox) as capgo:
        await job.verify(capgo)
    async with await Job.open(job.path, read_only=True) as job:
        assert not job.begun


@in_virtual_time
async def test_an_app_that_is_lost_is_said(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=5)
    operations: list[Operation] = [DeleteChannel(app_id=APP, channel="alpha")]
    async with await make(sandbox, tmp_path, operations) as job, client_of(sandbox) as capgo:
        del sandbox.world.apps[APP]
        drift = await job.drift(capgo)
    assert any(remark.startswith(f"{APP} could not be compared") for remark in drift.remarks)


@in_virtual_time
async def test_a_look_is_bound_to_server_and_key_like_a_run(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=5)
    operations: list[Operation] = [DeleteChannel(app_id=APP, channel="alpha")]
    async with await make(sandbox, tmp_path, operations) as job, client_of(sandbox, api_key=DEVELOPER_KEY) as other:
        with pytest.raises(JobError, match="made with another"):
            await job.drift(other)
        assert (await job.drift(other, rebind=True)).pending == 1
        with pytest.raises(JobError, match="made with another"):
            await job.run(other)
