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


def set_bundle(sandbox: Sandbox, app_id: str, channel: str, name: str) -> None:
    app = sandbox.world.apps[app_id]
    app.channels[channel].version = next(bundle.id for bundle in app.bundles.values() if bundle.name == name)


async def remarks(sandbox: Sandbox, directory: Path, goals: Sequence[str], options: Options | None = None) -> list[str]:
    """Plan to link the first devices of every app to these channels, and return what is said of one request."""
    operations = [
        LinkDevice(app_id=app_id, device_id=device, channel=goal)
        for app_id in sandbox.world.apps
        for device, goal in zip(ids_of(sandbox, app_id), goals, strict=False)
    ]
    async with client_of(sandbox) as capgo:
        source = from_operations(operations)
        async with await Job.create(directory / "job.capgo-job", source, client=capgo, options=options) as job:
            return [remark for remark in job.plan.remarks if "is one request" in remark]


@in_virtual_time
async def test_where_all_of_a_channel_go_to_another_one_request_would_do(tmp_path: Path) -> None:
    sandbox = fleet_on(dict.fromkeys(range(3), "alpha"))
    set_bundle(sandbox, APP, "alpha", "1.0.0")
    bundle = bundle_of(sandbox, "beta")
    said = f"all 3 devices on alpha of {APP} go to beta: promoting bundle {bundle} to alpha is one request"
    told = await remarks(sandbox, tmp_path, ["beta"] * 10)
    assert told == [said]


@pytest.mark.parametrize("bundles", [("1.2.0", "1.2.0"), ("1.2.0", "1.1.0")], ids=["one bundle", "two bundles"])
@in_virtual_time
async def test_apps_in_which_the_same_request_would_do_share_a_line(bundles: tuple[str, str], tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=3, devices=90)
    for place, (app_id, app) in enumerate(sandbox.world.apps.items()):
        app.overrides.clear()
        for device in ids_of(sandbox, app_id)[: place + 2]:
            app.link(device, app.channels["alpha"], 0.0)
    # In the third app, both channels have the same bundle.
    for app_id, bundle in zip(sandbox.world.apps, bundles, strict=False):
        set_bundle(sandbox, app_id, "alpha", "1.0.0")
        set_bundle(sandbox, app_id, "beta", bundle)
    (told,) = await remarks(sandbox, tmp_path, ["beta"] * 10)
    what = "bundle 1.2.0" if len({*bundles}) == 1 else "the bundle of beta"
    assert told == (
        f"all 5 devices on alpha of com.example.app02, {APP} go to beta: promoting {what} to alpha is one request for each app"
    )


NOT_THE_SAME = ("one stays", "only one", "public", "no bundle", "protected", "gone", "two goals", "same bundle", "rollout")


@pytest.mark.parametrize("case", NOT_THE_SAME)
def test_where_one_request_would_not_do_it_is_not_said(tmp_path: Path, case: str) -> None:
    sandbox = fleet_on(dict.fromkeys(range(1 if case == "only one" else 3), "alpha"))
    channels = sandbox.world.apps[APP].channels
    set_bundle(sandbox, APP, "alpha", "1.2.0" if case == "same bundle" else "1.0.0")
    goals = {"one stays": ["beta"] * 2, "two goals": ["beta", "beta", "gamma"]}.get(case, ["beta"] * 10)
    match case:
        case "public":
            channels["alpha"].public = True
        case "no bundle":
            channels["beta"].version = None
        case "gone":
            del channels["alpha"]
        case "rollout":
            channels["alpha"].rollout.version = channels["alpha"].version
        case "two goals":
            channels["gamma"] = channels["beta"]

    @in_virtual_time
    async def run() -> None:
        options = Options(protected=(f"{APP}/alpha",)) if case == "protected" else None
        assert await remarks(sandbox, tmp_path, goals, options) == []

    run()


@in_virtual_time
async def test_an_undo_is_not_told_to_promote_instead(tmp_path: Path) -> None:
    sandbox = fleet_on(dict.fromkeys(range(3), "alpha"))
    set_bundle(sandbox, APP, "alpha", "1.0.0")
    operations = [LinkDevice(app_id=APP, device_id=device, channel="beta") for device in ids_of(sandbox)[:3]]
    async with client_of(sandbox) as capgo:
        async with await Job.create(tmp_path / "job.capgo-job", from_operations(operations), client=capgo) as job:
            await job.run(capgo)
            async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
                assert (undo.plan.planned, undo.plan.remarks) == (3, ())


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
        assert f"planning took {len(sandbox.log)} requests and saves {already}" in str(job.plan).splitlines()
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
