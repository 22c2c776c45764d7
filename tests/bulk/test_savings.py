"""What a plan says of requests that it saved, and of one that would do instead of many."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import pytest
from fleet import APP, client_of, ids_of, links_of, sandbox_of, write_csv
from virtual_time import in_virtual_time

from capgo_async.bulk import Job, LinkDevice, Operation, Options, from_operations, read_operations
from capgo_async.bulk.operations.kinds import KINDS
from capgo_async.bulk.operations.operations import DeleteBundle, DeleteChannel, change_of
from capgo_async.sandbox import Sandbox


def fleet_on(links: Mapping[int, str]) -> Sandbox:
    """Return a fleet of which only some devices, by their place, are linked."""
    sandbox = sandbox_of(devices=40)
    app = sandbox.world.apps[APP]
    app.overrides.clear()
    ids = ids_of(sandbox)
    for place, channel in links.items():
        app.link(ids[place], app.channels[channel], 0.0)
    return sandbox


def bundle_of(sandbox: Sandbox, channel: str) -> str:
    app = sandbox.world.apps[APP]
    return next(bundle.name for bundle in app.bundles.values() if bundle.id == app.channels[channel].version)


async def remarks(sandbox: Sandbox, directory: Path, goals: Sequence[str], options: Options | None = None) -> list[str]:
    """Plan to link the first devices to these channels, and return what is said of one request."""
    operations = [
        LinkDevice(app_id=APP, device_id=device, channel=goal) for device, goal in zip(ids_of(sandbox), goals, strict=False)
    ]
    async with client_of(sandbox) as capgo:
        source = from_operations(operations)
        async with await Job.create(directory / "job.capgo-job", source, client=capgo, options=options) as job:
            return [remark for remark in job.plan.remarks if "is one request" in remark]


@in_virtual_time
async def test_where_all_of_a_channel_go_to_another_one_request_would_do(tmp_path: Path) -> None:
    sandbox = fleet_on(dict.fromkeys(range(3), "alpha"))
    bundle = bundle_of(sandbox, "beta")
    said = f"all 3 devices on alpha of {APP} go to beta: promoting bundle {bundle} to alpha instead is one request"
    told = await remarks(sandbox, tmp_path, ["beta"] * 10)
    assert told == [said]


@pytest.mark.parametrize("case", ["one stays", "only one", "public", "no bundle", "protected", "gone", "two goals"])
def test_where_one_request_would_not_do_it_is_not_said(tmp_path: Path, case: str) -> None:
    sandbox = fleet_on(dict.fromkeys(range(1 if case == "only one" else 3), "alpha"))
    channels = sandbox.world.apps[APP].channels
    goals = {"one stays": ["beta"] * 2, "two goals": ["beta", "beta", "gamma"]}.get(case, ["beta"] * 10)
    match case:
        case "public":
            channels["alpha"].public = True
        case "no bundle":
            channels["beta"].version = None
        case "gone":
            del channels["alpha"]
        case "two goals":
            channels["gamma"] = channels["beta"]

    @in_virtual_time
    async def run() -> None:
        options = Options(protected=(f"{APP}/alpha",)) if case == "protected" else None
        assert await remarks(sandbox, tmp_path, goals, options) == []

    run()


@in_virtual_time
async def test_a_scan_that_is_not_complete_proves_nothing_about_all(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=900)
    app = sandbox.world.apps[APP]
    app.overrides.clear()
    ids = ids_of(sandbox)
    for device in (*ids[:2], ids[-1]):
        app.link(device, app.channels["alpha"], 0.0)
    assert await remarks(sandbox, tmp_path, ["beta"] * 2) == []


@in_virtual_time
async def test_a_plan_says_what_it_took_and_what_it_saved(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=300)
    already = sum(channel == "beta" for channel in links_of(sandbox).values())
    rows = [(device,) for device in ids_of(sandbox)]
    source = read_operations(write_csv(tmp_path / "rows.csv", [*rows, rows[0]]), app_id=APP, channel="beta")
    async with client_of(sandbox) as capgo, await Job.create(tmp_path / "job.capgo-job", source, client=capgo) as job:
        assert job.plan.planning_requests == len(sandbox.log)
        assert job.plan.saved == already
        assert f"planning took {len(sandbox.log)} requests; {already} requests need not be sent" in str(job.plan).splitlines()
        await job.run(capgo)
    async with await Job.open(tmp_path / "job.capgo-job", read_only=True) as job:
        assert (job.plan.saved, job.plan.requests) == (already, 0)


@pytest.mark.parametrize("operation", [DeleteChannel(app_id=APP, channel="nope"), DeleteBundle(app_id=APP, bundle="9.9.9")])
def test_what_is_gone_already_is_saved(tmp_path: Path, operation: Operation) -> None:
    @in_virtual_time
    async def run() -> None:
        async with client_of(sandbox_of(devices=3)) as capgo:
            source = from_operations([operation])
            async with await Job.create(tmp_path / "job.capgo-job", source, client=capgo) as job:
                kind = KINDS[change_of(operation).kind]
                assert (job.plan.planned, job.plan.saved) == (0, len(kind.requests))

    run()
