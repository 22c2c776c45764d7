"""Plans that are compared with an inventory on disk: what they take from it, what they say of it, and what is refused."""

import sqlite3
from collections import Counter
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fleet import APP, OTHER, client_of, ids_of, links_of, sandbox_of, write_csv
from virtual_time import in_virtual_time

from capgo_async.bulk import (
    InventoryKind,
    Job,
    LinkDevice,
    Options,
    RenewDevice,
    Rows,
    Unknown,
    UnlinkDevice,
    export,
    from_operations,
    read_operations,
)
from capgo_async.bulk.operations.operations import PromoteBundle
from capgo_async.bulk.sources.source import DeviceChange
from capgo_async.errors import CapgoError, ConfigurationError, InputError
from capgo_async.sandbox import Sandbox

pytestmark = pytest.mark.slow

STRANGER = "ffffffff-ffff-4fff-8fff-ffffffffffff"


async def inventory_of(sandbox: Sandbox, directory: Path, *apps: str, name: str = "devices.sqlite") -> Path:
    async with client_of(sandbox) as capgo:
        await export(directory / name, InventoryKind.DEVICES, client=capgo, apps=apps)
    return directory / name


async def plan(
    sandbox: Sandbox,
    directory: Path,
    rows: list[tuple[str, str]],
    *,
    kind: DeviceChange = LinkDevice,
    options: Options | None = None,
) -> Job:
    """Plan with a client that starts a fresh access log."""
    source = read_operations(
        write_csv(directory / "rows.csv", rows, ("app_id", "device_id")),
        channel="beta" if kind is LinkDevice else None,
        kind=kind,
    )
    sandbox.log.clear()
    async with client_of(sandbox) as capgo:
        return await Job.create(directory / "job.capgo-job", source, client=capgo, options=options)


def asked(sandbox: Sandbox) -> Counter[str]:
    return Counter(f"{line.method} {line.path}" for line in sandbox.log)


def change(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute(statement)


async def contents(job: Job) -> object:
    """Return all that a plan decided."""
    async with job:
        operations = [
            (row.line, row.app_id, row.target, row.what, row.former) async for rows in job.operations() for row in rows
        ]
        others = [(fate, row) for fate in (Rows.REJECTED, Rows.SKIPPED) async for rows in job.rows(fate) for row in rows]
        return job.plan.planned, job.plan.skipped, job.plan.unknown, job.facts.survey.listed, operations, others


@pytest.mark.parametrize("kind", [LinkDevice, UnlinkDevice, RenewDevice])
def test_a_plan_is_the_same_whether_it_lists_or_knows(tmp_path: Path, kind: DeviceChange) -> None:
    @in_virtual_time
    async def run() -> None:
        sandbox = sandbox_of(apps=2, devices=600)
        rows = [(app, device) for app in (APP, OTHER) for device in ids_of(sandbox, app)]
        rows += [(APP, STRANGER), rows[0], (APP, STRANGER.upper())]
        listed = await contents(await plan(sandbox, tmp_path, rows, kind=kind))
        assert asked(sandbox)["GET /device"] > 2
        (tmp_path / "job.capgo-job").unlink()
        known = str(await inventory_of(sandbox, tmp_path))
        assert await contents(await plan(sandbox, tmp_path, rows, kind=kind, options=Options(inventory=known))) == listed
        assert asked(sandbox)["GET /device"] == 0

    run()


@in_virtual_time
async def test_the_inventory_is_believed_and_its_age_told(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=300)
    known = await inventory_of(sandbox, tmp_path)
    began = (datetime.now(UTC) - timedelta(hours=3, minutes=10)).isoformat(timespec="seconds")
    change(known, f"UPDATE export SET began_at = '{began}'")
    before = links_of(sandbox)
    sandbox.world.apps[APP].overrides.clear()
    rows = [(APP, device) for device in ids_of(sandbox)]
    async with await plan(sandbox, tmp_path, rows, options=Options(inventory=str(known))) as job:
        assert f"compared with the inventory {known}, taken at {began} (3 hours before this plan)" in str(job.plan).splitlines()
        assert job.facts.observed_at == datetime.fromisoformat(began)
        assert job.plan.skipped == sum(channel == "beta" for channel in before.values())
        found = {row.target: row.former async for operations in job.operations() for row in operations}
    for device, former in found.items():
        assert former == (f"linked to {before[device]}" if device in before else "no link")


@in_virtual_time
async def test_apps_that_are_not_in_it_are_listed(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=2, devices=40)
    known = await inventory_of(sandbox, tmp_path, APP)
    rows = [(app, device) for app in (APP, OTHER) for device in [*ids_of(sandbox, app), STRANGER]]
    async with await plan(sandbox, tmp_path, rows, options=Options(inventory=str(known))) as job:
        assert job.plan.unknown == 2
        assert job.facts.survey.listed == {APP: 20, OTHER: 20}
    assert asked(sandbox) == {"GET /channel": asked(sandbox)["GET /channel"], "GET /device": 1}


@in_virtual_time
async def test_without_use_of_it_nothing_is_said_of_it(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=2, devices=40)
    known = await inventory_of(sandbox, tmp_path, APP)
    rows = [(OTHER, ids_of(sandbox, OTHER)[0])]
    async with await plan(sandbox, tmp_path, rows, options=Options(inventory=str(known))) as job:
        assert "inventory" not in str(job.plan)
        assert job.facts.observed_at == job.facts.created_at


@pytest.mark.parametrize(
    "unsure", ["UPDATE export SET end_checked = 0", "UPDATE export SET changes_passed = 0", "UPDATE export SET rows = 0"]
)
def test_an_inventory_that_may_miss_devices_makes_none_unknown(tmp_path: Path, unsure: str) -> None:
    @in_virtual_time
    async def run() -> None:
        sandbox = sandbox_of(devices=40)
        known = await inventory_of(sandbox, tmp_path)
        change(known, unsure)
        rows = [(APP, STRANGER)]
        options = Options(inventory=str(known), unknown=Unknown.SKIP)
        async with await plan(sandbox, tmp_path, rows, options=options) as job:
            assert (job.plan.planned, job.plan.unknown, job.facts.survey.listed) == (1, 0, {})
            assert f"the inventory of {APP} may be incomplete" in str(job.plan)
        (tmp_path / "job.capgo-job").unlink()
        with pytest.raises(InputError, match="may be incomplete"):
            await plan(sandbox, tmp_path, rows, options=Options(inventory=str(known), unknown=Unknown.REFUSE))

    run()


@in_virtual_time
async def test_caveats_of_the_export_are_those_of_the_plan(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=40)
    known = await inventory_of(sandbox, tmp_path)
    change(known, """UPDATE export SET caveats = '["it could not be seen"]'""")
    async with await plan(sandbox, tmp_path, [(APP, STRANGER)], options=Options(inventory=str(known))) as job:
        assert f"{APP}: it could not be seen" in job.plan.remarks


@pytest.mark.parametrize("counted", [0, 1])
@in_virtual_time
async def test_where_no_link_was_shown_at_all_the_count_of_links_tells_who_is_unlinked(counted: int, tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=40)
    app = sandbox.world.apps[APP]
    app.overrides.clear()
    for number in range(counted):
        app.link(f"stranger-{number}", app.channels["beta"], 0.0)
    known = await inventory_of(sandbox, tmp_path)
    rows = [(APP, device) for device in ids_of(sandbox)]
    async with await plan(sandbox, tmp_path, rows, kind=UnlinkDevice, options=Options(inventory=str(known))) as job:
        assert (job.plan.planned, job.plan.skipped) == ((40, 0) if counted else (0, 40))


@in_virtual_time
async def test_the_way_back_looks_at_what_is_there_now(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=40)
    known = await inventory_of(sandbox, tmp_path)
    links = links_of(sandbox)
    rows = [(APP, device) for device in ids_of(sandbox)]
    async with await plan(sandbox, tmp_path, rows) as job, client_of(sandbox) as capgo:
        await job.run(capgo)
        options = Options(reject_bad_rows=True, inventory=str(known))
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo, options=options) as undo:
            assert (undo.plan.planned, undo.plan.skipped) == (job.plan.planned, 0)
            await undo.run(capgo)
    assert links_of(sandbox) == links


async def of_channels(sandbox: Sandbox, path: Path) -> None:
    async with client_of(sandbox) as capgo:
        await export(path, InventoryKind.CHANNELS, client=capgo)


@pytest.mark.parametrize(
    ("spoiled", "said"),
    [
        ("missing", "no such SQLite export of devices"),
        ("text", "is not a SQLite export of devices"),
        ("database", "is not a SQLite export of devices"),
        ("directory", "is a directory, not a SQLite export"),
        ("channels", "is an export of channels, not of devices"),
        ("unfinished", "is the working file of an unfinished export"),
        ("elsewhere", "is an export from https://other.example, but this plan is for https://api.capgo.app"),
        ("damaged", "is damaged"),
    ],
)
def test_what_is_no_such_inventory_is_refused_and_nothing_is_sent(tmp_path: Path, spoiled: str, said: str) -> None:
    @in_virtual_time
    async def run() -> None:
        sandbox = sandbox_of(devices=4)
        path = tmp_path / "it's 100% an inventory?.sqlite"
        match spoiled:
            case "text":
                path.write_text("device_id\n" * 1000)
            case "database":
                change(path, "CREATE TABLE export (app_id TEXT)")
            case "directory":
                path.mkdir()
            case "channels":
                await of_channels(sandbox, path)
            case "missing":
                pass
            case _:
                await inventory_of(sandbox, tmp_path, name=path.name)
                statements = {
                    "unfinished": "CREATE TABLE binding (format INTEGER)",
                    "elsewhere": "UPDATE export SET base_url = 'https://other.example'",
                    "damaged": "UPDATE export SET caveats = '['",
                }
                change(path, statements[spoiled])
        with pytest.raises(InputError) as refusal:
            await plan(sandbox, tmp_path, [(APP, STRANGER)], options=Options(inventory=str(path)))
        assert said in str(refusal.value)
        assert str(path) in str(refusal.value)
        assert not sandbox.log
        assert not list(tmp_path.glob("job*"))

    run()


@in_virtual_time
async def test_its_name_may_be_any(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=4)
    known = await inventory_of(sandbox, tmp_path, name="it's 100% a?b#c.sqlite")
    async with await plan(sandbox, tmp_path, [(APP, STRANGER)], options=Options(inventory=str(known))) as job:
        assert job.plan.unknown == 1


@in_virtual_time
async def test_it_says_nothing_of_other_targets(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=4)
    options = Options(inventory=str(await inventory_of(sandbox, tmp_path)))
    source = from_operations([PromoteBundle(app_id=APP, channel="beta", bundle="1.0.0")])
    async with client_of(sandbox) as capgo:
        with pytest.raises(ConfigurationError, match="cannot be compared with a list of channels"):
            await Job.create(tmp_path / "job.capgo-job", source, client=capgo, options=options)


@in_virtual_time
async def test_the_same_command_goes_on_and_another_inventory_is_another_plan(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=4)
    rows = [(APP, STRANGER)]
    options = Options(inventory=str(await inventory_of(sandbox, tmp_path)))
    await (await plan(sandbox, tmp_path, rows, options=options)).aclose()
    Path(options.inventory or "").unlink()
    await (await plan(sandbox, tmp_path, rows, options=options)).aclose()
    with pytest.raises(CapgoError, match="other options"):
        await plan(sandbox, tmp_path, rows)
