"""What moved devices run: the numbers are those of the sandbox's world, whose devices check in over virtual days."""

import random
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fleet import APP, client_of, ids_of, relink_everything, sandbox_of
from msgspec.structs import replace
from virtual_time import in_virtual_time

from capgo_async.bulk import (
    Doubt,
    InventoryKind,
    Job,
    LinkDevice,
    Operation,
    Straggler,
    UnlinkDevice,
    export,
    from_operations,
    read_operations,
)
from capgo_async.bulk.storage.lock import locked
from capgo_async.errors import InputError, JobError
from capgo_async.sandbox import Sandbox
from capgo_async.sandbox.seeding import EPOCH
from capgo_async.sandbox.state.apps import App

DAY = 86_400
STABLE, ROLLOUT = "2.0.0", "2.1.0"


def released(sandbox: Sandbox) -> None:
    """Give each app a new bundle on beta, and a newer one to 30 % of its devices."""
    for app in sandbox.world.apps.values():
        beta = app.channels["beta"]
        beta.version = sandbox.world.add_bundle(app, STABLE, now=EPOCH).id
        beta.rollout.version = sandbox.world.add_bundle(app, ROLLOUT, now=EPOCH).id
        beta.rollout.enabled, beta.rollout.percentage_bps = True, 3000


def days_go_by(sandbox: Sandbox, days: int) -> None:
    """Let some devices check in each day; most of these take the bundle that their channel serves."""
    chance = random.Random(7)
    for day in range(1, days + 1):
        for app in sandbox.world.apps.values():
            for device in ids_of(sandbox, app.app_id):
                if chance.random() < 0.3:
                    runs = app.served_to(device) if chance.random() < 0.7 else None
                    app.check_in(device, EPOCH + day * DAY + chance.random() * 3600, runs=runs)


def runs_its_bundle(app: App, device: str) -> bool:
    """Return whether the world holds that a device runs a bundle of beta."""
    return app.devices[device].traits.version_name in {STABLE, ROLLOUT}


def day_of(app: App, device: str) -> str:
    return datetime.fromtimestamp(app.devices[device].updated_at / 1e6, UTC).date().isoformat()


@in_virtual_time
async def test_the_numbers_are_those_of_the_world(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=2, devices=500)
    released(sandbox)
    source = read_operations(relink_everything(tmp_path / "all.csv", sandbox))
    behind: list[Straggler] = []

    async def keep(batch: Sequence[Straggler]) -> None:
        behind.extend(batch)

    async with client_of(sandbox) as capgo, await Job.create(tmp_path / "a.capgo-job", source, client=capgo) as job:
        await job.run(capgo)
        moved = {(row.app_id, row.target) async for rows in job.operations() for row in rows}
        before = await job.adoption(capgo)
        days_go_by(sandbox, 6)
        found = await job.adoption(capgo, on_stragglers=keep)
        kept = (await job.report()).adoption
    world = sandbox.world.apps
    took = {(app_id, device) for app_id, device in moved if runs_its_bundle(world[app_id], device)}
    assert (before.taken, before.behind, before.devices) == (0, len(moved), len(moved))
    assert (found.devices, found.taken, found.behind) == (len(moved), len(took), len(moved) - len(took))
    assert 0 < found.taken < found.devices
    assert {world[app].devices[device].traits.version_name for app, device in took} == {STABLE, ROLLOUT}
    by_app = {app.app_id: (app.devices, app.taken) for app in found.apps}
    assert by_app == {
        app: (sum(each == app for each, _ in moved), sum(each == app for each, _ in took)) for app in sorted(world)
    }
    of_days, took_by_day = (Counter(day_of(world[app], device) for app, device in some) for some in (moved, took))
    assert [(day.day, day.devices, day.taken) for day in found.days] == [
        (day, of_days[day], took_by_day[day]) for day in sorted(of_days, reverse=True)
    ]
    assert {(each.app_id, each.device_id) for each in behind} == moved - took
    assert len(behind) == found.behind
    first = behind[0]
    assert (first.channel, first.linked_to) == ("beta", "beta")
    assert first.version_name == world[first.app_id].devices[first.device_id].traits.version_name
    assert kept == found


@in_virtual_time
async def test_an_inventory_on_disk_gives_the_same_numbers_unless_it_is_too_old(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=60)
    released(sandbox)
    source = read_operations(relink_everything(tmp_path / "all.csv", sandbox))
    old, other, fresh = (tmp_path / name for name in ("old.sqlite", "other.sqlite", "fresh.sqlite"))
    async with client_of(sandbox) as capgo:
        await export(old, InventoryKind.DEVICES, client=capgo, apps=[APP])
        async with await Job.create(tmp_path / "a.capgo-job", source, client=capgo) as job:
            await job.run(capgo)
            days_go_by(sandbox, 2)
            await export(fresh, InventoryKind.DEVICES, client=capgo, apps=[APP])
            sandbox.world.add_app("com.example.other", org_id=sandbox.world.apps[APP].owner_org, user_id="", now=EPOCH)
            await export(other, InventoryKind.DEVICES, client=capgo, apps=["com.example.other"])
            listed = await job.adoption(capgo)
            looks = len(sandbox.log)
            read = await job.adoption(capgo, inventory=fresh)
            assert len(sandbox.log) == looks + 1, "only the channel was asked for"
            assert (read.apps, read.days, read.taken) == (listed.apps, listed.days, listed.taken)
            with pytest.raises(InputError, match="export these apps, too"):
                await job.adoption(capgo, inventory=other)
    async with client_of(sandbox) as capgo, await Job.open(tmp_path / "a.capgo-job") as job:
        job.facts = replace(job.facts, created_at=job.facts.created_at + timedelta(hours=1))
        with pytest.raises(InputError, match="exported before the job was planned"):
            await job.adoption(capgo, inventory=old)


@in_virtual_time
async def test_a_server_that_shows_no_device_cannot_tell(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=2, devices=40)
    source = read_operations(relink_everything(tmp_path / "all.csv", sandbox))
    async with client_of(sandbox) as capgo, await Job.create(tmp_path / "a.capgo-job", source, client=capgo) as job:
        done = (await job.run(capgo)).done
        sandbox.world.device_store_readable = False
        found = await job.adoption(capgo)
    assert (found.devices, found.cannot_tell, found.days) == (done, done, [])
    assert {each.doubt for each in found.doubts} == {Doubt.HIDDEN}
    assert any("it may be unable to read its data" in remark for remark in found.remarks)


@in_virtual_time
async def test_what_cannot_be_told_is_counted_by_reason(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=60)
    app = sandbox.world.apps[APP]
    gone, empty = (sandbox.world.add_channel(app, name, now=EPOCH) for name in ("gone", "empty"))
    empty.version = app.channels["beta"].version
    free = [device for device in ids_of(sandbox) if device not in app.overrides]
    unlinked = next(iter(app.overrides))
    operations: list[Operation] = [
        *(LinkDevice(app_id=APP, device_id=device, channel="beta") for device in (*free[:3], "never-seen")),
        LinkDevice(app_id=APP, device_id=free[3], channel="gone"),
        *(LinkDevice(app_id=APP, device_id=device, channel="empty") for device in free[4:6]),
        UnlinkDevice(app_id=APP, device_id=unlinked),
    ]
    async with client_of(sandbox) as capgo:
        async with await Job.create(tmp_path / "a.capgo-job", from_operations(operations), client=capgo) as job:
            assert (await job.run(capgo)).done == len(operations)
            app.drop_channel(gone)
            empty.version = None
            app.forget_device(free[0])
            app.check_in(free[1], EPOCH + DAY, runs=app.served_to(free[1]))
            app.check_in(free[2], EPOCH + DAY, runs=next(iter(app.bundles.values())))
            found = await job.adoption(capgo)
    assert {each.doubt: each.devices for each in found.doubts} == {
        Doubt.MISSING: 1,
        Doubt.NO_CHANNEL: 1,
        Doubt.NO_BUNDLE: 2,
        Doubt.UNLINKED: 1,
    }
    assert (found.taken, found.behind, found.unlisted, found.cannot_tell) == (1, 1, 1, 5)
    assert sum(day.devices for day in found.days) == 5


@in_virtual_time
async def test_a_few_devices_of_a_large_app_are_read_one_by_one(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=4000)
    released(sandbox)
    app = sandbox.world.apps[APP]
    chosen = [device for device in ids_of(sandbox) if device not in app.overrides][-4:]
    operations = [LinkDevice(app_id=APP, device_id=device, channel="beta") for device in (*chosen, "never-seen")]
    async with client_of(sandbox) as capgo:
        async with await Job.create(tmp_path / "a.capgo-job", from_operations(operations), client=capgo) as job:
            await job.run(capgo)
            app.check_in(chosen[0], EPOCH + DAY, runs=app.served_to(chosen[0]))
            before = len(sandbox.log)
            found = await job.adoption(capgo)
            assert len(sandbox.log) - before == 1 + 5, "the channel, and each device"
            assert (found.taken, found.behind, found.unlisted, found.cannot_tell) == (1, 3, 1, 0)
            sandbox.world.device_store_readable = False
            found = await job.adoption(capgo)
            assert {each.doubt: each.devices for each in found.doubts} == {Doubt.HIDDEN: 5}


@in_virtual_time
async def test_devices_that_the_server_never_knew_are_unknown_and_not_hidden(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=4000)
    operations = [LinkDevice(app_id=APP, device_id=device, channel="beta") for device in ("never-seen", "nor-this")]
    async with client_of(sandbox) as capgo:
        async with await Job.create(tmp_path / "a.capgo-job", from_operations(operations), client=capgo) as job:
            await job.run(capgo)
            before = len(sandbox.log)
            found = await job.adoption(capgo)
    assert (found.unlisted, found.cannot_tell) == (2, 0)
    assert len(sandbox.log) - before == 1 + 2 + 1, "one page shows that the server can read its devices"


@in_virtual_time
async def test_a_job_that_has_moved_nothing_has_no_adoption(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=6)
    source = read_operations(relink_everything(tmp_path / "all.csv", sandbox))
    async with client_of(sandbox) as capgo, await Job.create(tmp_path / "a.capgo-job", source, client=capgo) as job:
        with pytest.raises(JobError, match="has moved no device yet"):
            await job.adoption(capgo)


@in_virtual_time
async def test_the_question_is_answered_while_another_process_runs_the_job(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=30)
    source = read_operations(relink_everything(tmp_path / "all.csv", sandbox))
    async with client_of(sandbox) as capgo, await Job.create(tmp_path / "a.capgo-job", source, client=capgo) as job:
        done = (await job.run(capgo)).done
        with locked(job.path):
            async with await Job.open(job.path) as same:
                assert (await same.adoption(capgo)).devices == done
