"""Protected channels: no plan changes them or links devices to them."""

from pathlib import Path

import msgspec
import pytest
from fleet import APP, OTHER, client_of, ids_of, links_of, sandbox_of
from virtual_time import in_virtual_time

from capgo_async.api.endpoints.channels import ChannelSettings
from capgo_async.bulk import Cause, Job, LinkDevice, Operation, Options, UnlinkDevice, Which, from_operations
from capgo_async.bulk.operations.operations import DeleteChannel, PromoteBundle, UpdateChannel
from capgo_async.errors import InputError

D1 = "aaaaaaaa-0000-4000-8000-000000000001"


def link(app_id: str, channel: str) -> Operation:
    return LinkDevice(app_id=app_id, device_id=D1, channel=channel)


REFUSED: list[Operation] = [
    link(APP, "beta"),
    UpdateChannel(app_id=APP, channel="beta", settings=ChannelSettings(allow_dev=True)),
    PromoteBundle(app_id=APP, channel="beta", bundle="1.0.0"),
    DeleteChannel(app_id=APP, channel="beta"),
]


@pytest.mark.parametrize("operation", REFUSED, ids=lambda operation: type(operation).__name__)
@pytest.mark.parametrize("named", ["beta", f"{APP}/beta"])
def test_what_changes_a_protected_channel_is_refused(tmp_path: Path, operation: Operation, named: str) -> None:
    @in_virtual_time
    async def run() -> None:
        sandbox = sandbox_of(devices=10)
        options = Options(protected=("gamma", named), protected_by="config.toml")
        async with client_of(sandbox) as capgo:
            with pytest.raises(InputError) as refusal:
                await Job.create(tmp_path / "job.capgo-job", from_operations([operation]), client=capgo, options=options)
            assert refusal.value.rejected == ((1, Cause.PROTECTED, f"beta of {APP} is protected by config.toml"),)
            assert len(sandbox.log) == 0
            left_out = msgspec.structs.replace(options, reject_bad_rows=True)
            source = from_operations([operation])
            async with await Job.create(tmp_path / "job.capgo-job", source, client=capgo, options=left_out) as job:
                assert (job.plan.rejected, job.plan.planned) == (1, 0)

    run()


@in_virtual_time
async def test_what_failed_is_asked_about_where_it_is_sent_again(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=10)
    async with client_of(sandbox) as capgo:
        source = from_operations([link(APP, "beta")])
        async with await Job.create(tmp_path / "job.capgo-job", source, client=capgo) as job:
            assert await job.touching(["beta"]) == [(APP, "beta")]
            assert await job.touching([f"{APP}/alpha"]) == await job.touching([]) == []
            del sandbox.world.apps[APP].channels["beta"]
            assert (await job.run(capgo)).failed == 1
            assert await job.touching(["beta"]) == []
            assert await job.touching(["beta"], Which.FAILED) == [(APP, "beta")]


@in_virtual_time
async def test_other_channels_and_ways_out_of_a_protected_one_are_not_refused(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=2, devices=100)
    on_beta = [device for device, channel in links_of(sandbox).items() if channel == "beta"][:2]
    operations: list[Operation] = [
        LinkDevice(app_id=APP, device_id=on_beta[0], channel="alpha"),
        UnlinkDevice(app_id=APP, device_id=on_beta[1]),
        LinkDevice(app_id=OTHER, device_id=ids_of(sandbox, OTHER)[0], channel="beta"),
        LinkDevice(app_id=APP, device_id=D1, channel="alpha"),
    ]
    options = Options(protected=(f"{APP}/beta", "Alpha"))
    async with client_of(sandbox) as capgo:
        source = from_operations(operations)
        async with await Job.create(tmp_path / "job.capgo-job", source, client=capgo, options=options) as job:
            assert job.plan.rejected == 0
            assert job.plan.planned >= 3
