"""Lists that name devices by their custom ids: whose device is meant, what it costs to know, and what is never guessed."""

from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from bulk.test_planning import others
from fleet import APP, OTHER, client_of, links_of, write_csv
from hypothesis import given, settings, strategies as st
from virtual_time import in_virtual_time

from capgo_async.bulk import (
    Cause,
    InventoryKind,
    Job,
    LinkDevice,
    Options,
    RenewDevice,
    Rows,
    UnlinkDevice,
    export,
    read_operations,
)
from capgo_async.bulk.sources.source import DeviceChange
from capgo_async.errors import EmptyListing, InputError
from capgo_async.sandbox import Sandbox, Settings, fleet, thresholds

pytestmark = pytest.mark.slow


def sandbox_of(devices: int, *, filters: bool, apps: int = 1) -> Sandbox:
    return Sandbox(fleet(apps=apps, devices=devices), Settings(limits=thresholds("off"), custom_id_filter=filters))


def bearer_of(sandbox: Sandbox, custom_id: str, app_id: str = APP) -> str:
    (device_id,) = bearers_of(sandbox, custom_id, app_id)
    return device_id


def bearers_of(sandbox: Sandbox, custom_id: str, app_id: str = APP) -> list[str]:
    devices = sandbox.world.apps[app_id].devices.values()
    return [device.device_id for device in devices if device.custom_id == custom_id]


def name(sandbox: Sandbox, device_id: str, custom_id: str) -> None:
    app = sandbox.world.apps[APP]
    app.put_device(msgspec.structs.replace(app.devices[device_id], custom_id=custom_id))


async def plan(
    sandbox: Sandbox,
    directory: Path,
    custom_ids: list[str],
    *,
    kind: DeviceChange = LinkDevice,
    options: Options | None = None,
) -> Job:
    rows = [(custom_id,) for custom_id in custom_ids]
    channel = "beta" if kind is LinkDevice else None
    source = read_operations(write_csv(directory / "users.csv", rows, ("custom_id",)), app_id=APP, channel=channel, kind=kind)
    sandbox.log.clear()
    async with client_of(sandbox) as capgo:
        return await Job.create(directory / "job.capgo-job", source, client=capgo, options=options)


def looks(sandbox: Sandbox) -> int:
    return sum(line.path == "/device" and line.method == "GET" for line in sandbox.log)


async def targets(job: Job) -> dict[int, tuple[str, str | None]]:
    return {row.line: (row.target, row.custom_id) async for rows in job.operations() for row in rows}


@pytest.mark.parametrize(
    ("filters", "devices", "custom_ids", "most"),
    [
        pytest.param(True, 6000, ["user-5990"], 1, id="one"),
        # A page of devices tells how many there are, and one request whether the server filters.
        pytest.param(True, 6000, ["user-0", "user-10", "user-2000", "user-5990"], 1 + 1 + 4, id="few of many"),
        pytest.param(True, 600, [f"user-{10 * number}" for number in range(50)], 4, id="many of few"),
        pytest.param(True, 150, ["user-0", "user-10"], 1, id="of a single page"),
        pytest.param(False, 2000, ["user-0", "user-10"], 10 + 2 + 1, id="no filter"),
        pytest.param(False, 1000, ["user-10"], 5 + 1, id="one, no filter"),
    ],
)
def test_custom_ids_become_device_ids_in_few_requests(
    tmp_path: Path, devices: int, custom_ids: list[str], most: int, *, filters: bool
) -> None:
    @in_virtual_time
    async def run() -> None:
        sandbox = sandbox_of(devices, filters=filters)
        sandbox.world.apps[APP].overrides.clear()
        async with await plan(sandbox, tmp_path, custom_ids) as job, client_of(sandbox) as capgo:
            assert looks(sandbox) <= most
            expected = {line: (bearer_of(sandbox, custom_id), custom_id) for line, custom_id in enumerate(custom_ids, 2)}
            assert await targets(job) == expected
            (told,) = (remark for remark in job.plan.remarks if "custom id" in remark)
            assert told.startswith(f"{len(custom_ids)} of {len(custom_ids)} custom id")
            assert f"{custom_ids[0]!r} is device {bearer_of(sandbox, custom_ids[0])}" in told
            report = await job.run(capgo)
        assert report.done == len(custom_ids)
        assert set(links_of(sandbox)) == {device for device, _ in expected.values()}

    run()


@pytest.mark.parametrize("filters", [True, False])
def test_what_is_ambiguous_or_unknown_is_rejected_with_its_reason(tmp_path: Path, *, filters: bool) -> None:
    @in_virtual_time
    async def run() -> None:
        sandbox = sandbox_of(3000, filters=filters)
        twin, *more = (device for device, each in sandbox.world.apps[APP].devices.items() if not each.custom_id)
        name(sandbox, twin, "user-30")
        for device in more[:4]:
            name(sandbox, device, "shared")
        rows = ["user-30", "nobody", "user-40", "USER-40", "shared"]
        with pytest.raises(InputError) as refused:
            await plan(sandbox, tmp_path, rows)
        assert [(line, cause) for line, cause, _ in refused.value.rejected] == [
            (2, Cause.AMBIGUOUS_CUSTOM_ID), (3, Cause.UNKNOWN_CUSTOM_ID), (5, Cause.UNKNOWN_CUSTOM_ID),
            (6, Cause.AMBIGUOUS_CUSTOM_ID),
        ]  # fmt: skip
        reasons = [reason for _, _, reason in refused.value.rejected]
        both = ", ".join(sorted(bearers_of(sandbox, "user-30")))
        assert reasons[0] == f"several devices of {APP} have this custom_id ('user-30': 2 devices, {both})"
        assert reasons[1] == f"no listed device of {APP} has this custom_id ('nobody')"
        assert reasons[3].startswith(f"several devices of {APP} have this custom_id ('shared': 4 devices, {min(more[:4])}")
        assert reasons[3].endswith(", ...)")
        async with await plan(sandbox, tmp_path, rows, options=Options(reject_bad_rows=True)) as job:
            assert (job.plan.rows, job.plan.rejected) == (5, 4)
            assert {row.line: row.target async for page in job.rows(Rows.REJECTED) for row in page} == {
                line: custom_id for line, custom_id in enumerate(rows, 2) if custom_id != "user-40"
            }
            assert {device for device, _ in (await targets(job)).values()} <= {bearer_of(sandbox, "user-40")}
        assert not [line for line in sandbox.log if line.method != "GET"]

    run()


@settings(deadline=None, max_examples=25)
@given(
    custom_ids=st.lists(st.sampled_from(["", "a", "A", "b", "c", "a b", "ä"]), min_size=1, max_size=450),
    wanted=st.lists(st.sampled_from(["a", "A", "b", "c", "d", " a b", "ä"]), min_size=1, max_size=8),
    way=st.sampled_from(["filter", "no filter", "inventory"]),
)
def test_a_custom_id_means_its_only_device_or_nothing(custom_ids: list[str], wanted: list[str], way: str) -> None:
    async def run(directory: Path) -> None:
        sandbox = sandbox_of(len(custom_ids), filters=way == "filter")
        sandbox.world.apps[APP].overrides.clear()
        for device, custom_id in zip(list(sandbox.world.apps[APP].devices), custom_ids, strict=True):
            name(sandbox, device, custom_id)
        options = Options(reject_bad_rows=True)
        if way == "inventory":
            async with client_of(sandbox) as capgo:
                await export(directory / "d.sqlite", InventoryKind.DEVICES, client=capgo, apps=[APP])
            options = Options(reject_bad_rows=True, inventory=str(directory / "d.sqlite"))
        async with await plan(sandbox, directory, wanted, options=options) as job:
            if way == "inventory":
                assert looks(sandbox) == 0
            found = {line: target for line, (target, _) in (await targets(job)).items()}
            fates = await others(job)
        first: set[str] = set()
        for line, custom_id in enumerate(map(str.strip, wanted), 2):
            bearers = bearers_of(sandbox, custom_id)
            if len(bearers) != 1:
                assert fates[line][0] == "rejected"
            elif custom_id in first:
                assert fates[line][0] == "skipped"
            else:
                first.add(custom_id)
                assert found[line] == bearers[0]
        assert len(found) + len(fates) == len(wanted)

    with TemporaryDirectory() as directory:
        in_virtual_time(run)(Path(directory))


@in_virtual_time
async def test_rows_for_one_custom_id_are_compared_like_rows_for_one_device(tmp_path: Path) -> None:
    sandbox = sandbox_of(100, filters=True)
    path = tmp_path / "users.csv"
    path.write_text(
        f"custom_id,app_id,channel\nuser-10,{APP},beta\nuser-20,{APP},beta\nuser-10,{APP},alpha\nuser-20,{APP},beta\n"
    )
    async with client_of(sandbox) as capgo:
        options = Options(reject_bad_rows=True)
        async with await Job.create(tmp_path / "a.capgo-job", read_operations(path), client=capgo, options=options) as job:
            found = await others(job)
    assert found[2] == found[4] == ("rejected", "contradicts another row for the same device (lines 2 and 4)")
    assert found[5] == ("skipped", "identical to an earlier row (line 3)")


@pytest.mark.parametrize("filters", [True, False])
@pytest.mark.parametrize("kind", [UnlinkDevice, RenewDevice])
def test_links_are_known_from_the_look_that_found_the_devices(tmp_path: Path, kind: DeviceChange, *, filters: bool) -> None:
    @in_virtual_time
    async def run() -> None:
        sandbox = sandbox_of(4000, filters=filters)
        linked, free = (
            next(
                device.custom_id
                for device in sandbox.world.apps[APP].devices.values()
                if device.custom_id and (device.device_id in links_of(sandbox)) is wanted
            )
            for wanted in (True, False)
        )
        async with await plan(sandbox, tmp_path, [linked, free], kind=kind) as job:
            former = {row.target: row.former async for rows in job.operations() for row in rows}
            device = bearer_of(sandbox, linked)
            assert former.pop(device) == f"linked to {links_of(sandbox)[device]}"
            # A response that shows one device, and no link, does not prove that the device has none.
            doubted = filters and kind is UnlinkDevice
            assert former == ({bearer_of(sandbox, free): "unknown"} if doubted else {})
            assert job.plan.skipped == (not doubted)
            assert [reason.cause for reason in job.plan.no_way_back if kind is UnlinkDevice] == [
                Cause.LINKS_NOT_SHOWN
            ] * doubted
        assert looks(sandbox) <= (1 + 1 + 2 if filters else 25)

    run()


@in_virtual_time
async def test_an_app_without_access_rejects_its_rows_only(tmp_path: Path) -> None:
    sandbox = sandbox_of(200, filters=True, apps=2)
    rows = [("user-0", APP), ("user-0", "com.nowhere.app"), ("user-10", OTHER)]
    source = read_operations(write_csv(tmp_path / "a.csv", rows, ("custom_id", "app_id")), channel="beta")
    async with client_of(sandbox) as capgo:
        with pytest.raises(InputError) as refused:
            await Job.create(tmp_path / "a.capgo-job", source, client=capgo)
    assert [(line, cause) for line, cause, _ in refused.value.rejected] == [(3, Cause.NO_ACCESS)]


@pytest.mark.parametrize("custom_ids", [["user-10"], ["user-0", "user-10"]])
@in_virtual_time
async def test_a_store_that_shows_nothing_does_not_say_that_nobody_is_there(tmp_path: Path, custom_ids: list[str]) -> None:
    sandbox = sandbox_of(500, filters=True)
    sandbox.world.device_store_readable = False
    with pytest.raises(EmptyListing, match="may be unable to read its data"):
        await plan(sandbox, tmp_path, custom_ids, options=Options(reject_bad_rows=True))
    assert not (tmp_path / "job.capgo-job").exists()


@pytest.mark.parametrize("filters", [True, False])
@pytest.mark.parametrize(("devices", "custom_ids"), [(60, ["user-10"]), (3000, ["user-10", "user-20"])])
def test_links_that_are_hidden_are_not_left_to_expire(
    tmp_path: Path, devices: int, custom_ids: list[str], *, filters: bool
) -> None:
    @in_virtual_time
    async def run() -> None:
        sandbox = sandbox_of(devices, filters=filters)
        app = sandbox.world.apps[APP]
        for custom_id in custom_ids:
            app.link(bearer_of(sandbox, custom_id), app.channels["alpha"], 0.0)
        sandbox.world.links_readable = False
        with pytest.raises(EmptyListing, match=r"shows no link of any device, but counts linked ones"):
            await plan(sandbox, tmp_path, custom_ids, kind=RenewDevice)
        sandbox.world.links_readable = True
        async with await plan(sandbox, tmp_path, custom_ids, kind=RenewDevice) as job:
            assert job.plan.planned == len(custom_ids)

    run()


@in_virtual_time
async def test_a_job_of_custom_ids_is_found_again(tmp_path: Path) -> None:
    sandbox = sandbox_of(100, filters=True)
    async with await plan(sandbox, tmp_path, ["user-0", "user-10"]) as job:
        planned = await targets(job)
    async with await plan(sandbox, tmp_path, ["user-0", "user-10"]) as job:
        assert await targets(job) == planned
        assert looks(sandbox) == 0
