"""Plans: which rows need a request, which do not and why, and what a plan may cost."""

import itertools
import json
import random
from collections import Counter
from pathlib import Path
from uuid import UUID

import pytest
from fleet import APP, client_of, ids_of, links_of, sandbox_of, statuses, write_csv
from virtual_time import in_virtual_time

from capgo_async import CapgoClient
from capgo_async.bulk import (
    Cause,
    Job,
    LinkDevice,
    Operation,
    Options,
    Reason,
    Report,
    Rows,
    Unknown,
    UnlinkDevice,
    from_operations,
    read_operations,
)
from capgo_async.bulk.operations.forms import DELETING_CHANNELS
from capgo_async.bulk.operations.operations import Former, FormerState, inverse
from capgo_async.bulk.planning.looking import pages_in_all
from capgo_async.bulk.planning.plan_maker import KEPT_REASONS
from capgo_async.bulk.sources.source import read_rows
from capgo_async.errors import EmptyListing, InputError, JobError
from capgo_async.models import Device
from capgo_async.sandbox import Sandbox

STRANGER = "ffffffff-ffff-4fff-8fff-ffffffffffff"


async def plan(
    sandbox: Sandbox, directory: Path, rows: list[tuple[str, ...]], *, options: Options | None = None, kind: type = LinkDevice
) -> Job:
    channel = "beta" if kind is LinkDevice else None
    source = read_operations(write_csv(directory / "rows.csv", rows), app_id=APP, channel=channel, kind=kind)
    async with client_of(sandbox) as capgo:
        return await Job.create(directory / "job.capgo-job", source, client=capgo, options=options)


async def others(job: Job) -> dict[int, tuple[str, str]]:
    return {
        row.line: (str(fate), str(row.reason))
        for fate in (Rows.REJECTED, Rows.SKIPPED)
        async for rows in job.rows(fate)
        for row in rows
    }


@in_virtual_time
async def test_rows_end_as_planned_skipped_or_rejected_and_add_up(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=300)
    ids = ids_of(sandbox)
    linked = [device for device in ids if links_of(sandbox).get(device) == "beta"]
    async with await plan(sandbox, tmp_path, [(device,) for device in [*ids, ids[0].upper(), STRANGER]]) as job:
        assert (job.plan.rows, job.plan.rejected, job.plan.unknown) == (302, 0, 1)
        assert job.plan.skipped == len(linked) + (ids[0] not in linked) + (ids[0] in linked)
        assert job.plan.planned == 302 - job.plan.skipped
        assert job.plan.requests == job.plan.planned
        reasons = Counter(reason for _, reason in (await others(job)).values())
        assert reasons["already linked to beta"] == len(linked)
        assert reasons["identical to an earlier row (line 2)"] == 1
    assert not [line for line in sandbox.log if line.method != "GET"]


@in_virtual_time
async def test_former_states_are_channel_none_or_unknown(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=300)
    links = links_of(sandbox)
    rows = [device for device in ids_of(sandbox) if links.get(device) != "beta"]
    async with await plan(sandbox, tmp_path, [(device,) for device in [*rows, STRANGER]]) as job:
        found = {row.target: row.former async for operations in job.operations() for row in operations}
    assert found[STRANGER] == "unknown"
    for device in rows:
        assert found[device] == (f"linked to {links[device]}" if device in links else "no link")


@in_virtual_time
async def test_where_links_are_counted_and_none_is_in_sight_nothing_is_taken_for_unlinked(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=120)
    app = sandbox.world.apps[APP]
    app.overrides.clear()
    app.link("somebody", app.channels["beta"], 0.0)
    async with await plan(sandbox, tmp_path, [(device,) for device in ids_of(sandbox)], kind=UnlinkDevice) as job:
        assert (job.plan.planned, job.plan.skipped) == (120, 0)
        assert {row.former async for rows in job.operations() for row in rows} == {"unknown"}


@in_virtual_time
async def test_devices_without_a_link_need_no_unlinking(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=300)
    links = links_of(sandbox)
    async with await plan(sandbox, tmp_path, [(device,) for device in ids_of(sandbox)], kind=UnlinkDevice) as job:
        assert job.plan.planned == len(links)
        async with client_of(sandbox) as capgo:
            report = await job.run(capgo)
    assert report.done == len(links)
    assert links_of(sandbox) == {}


@in_virtual_time
async def test_a_few_devices_of_a_large_app_are_not_looked_for_on_all_its_pages(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=2000)
    last = ids_of(sandbox)[-3:]
    async with await plan(sandbox, tmp_path, [(device,) for device in last]) as job:
        assert job.plan.planned + job.plan.skipped == 3
        assert job.plan.unknown == 0, "what was not looked at is not unknown"
    assert len([line for line in sandbox.log if line.path == "/device"]) == 1 + 3


@pytest.mark.parametrize(
    ("begins", "gap", "pages"),
    [
        (0, 1 << 118, 5.15),
        (3 << 100, 1 << 100, 1_328_888),
        (0x0192_4A00 << 96, 1 << 64, None),
        (0, 1, None),
    ],
    ids=["random", "many", "times", "numbers"],
)
def test_how_long_a_list_is_is_judged_by_ids_that_are_spread_evenly_alone(begins: int, gap: int, pages: int | None) -> None:
    first = [Device(device_id=str(UUID(int=begins + number * gap))) for number in range(200)]
    judged = pages_in_all(first)
    assert (judged is None) if pages is None else (judged == pytest.approx(pages, rel=0.01))


@pytest.mark.parametrize(("policy", "planned", "skipped"), [(Unknown.SEND, 2, 0), (Unknown.SKIP, 0, 2)])
def test_unknown_devices_are_sent_or_skipped(tmp_path: Path, policy: Unknown, planned: int, skipped: int) -> None:
    @in_virtual_time
    async def run() -> None:
        rows: list[tuple[str, ...]] = [(STRANGER,), (STRANGER.replace("f", "e"),)]
        async with await plan(sandbox_of(), tmp_path, rows, options=Options(unknown=policy)) as job:
            assert (job.plan.planned, job.plan.skipped) == (planned, skipped)

    run()


@in_virtual_time
async def test_unknown_devices_can_refuse_the_input(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="1 device is unknown to the server"):
        await plan(sandbox_of(), tmp_path, [(STRANGER,)], options=Options(unknown=Unknown.REFUSE))
    assert [path.name for path in tmp_path.iterdir() if "capgo-job" in path.name and not path.name.endswith(".lock")] == []


@in_virtual_time
async def test_nobody_is_known_to_be_unknown_where_no_device_is_shown_at_all(tmp_path: Path) -> None:
    empty = sandbox_of(devices=0)
    with pytest.raises(InputError, match="the server lists no device of"):
        await plan(empty, tmp_path, [(STRANGER,)], options=Options(unknown=Unknown.REFUSE))
    async with await plan(empty, tmp_path, [(STRANGER,)], options=Options(unknown=Unknown.SKIP)) as job:
        assert (job.plan.planned, job.plan.unknown) == (1, 0)


@in_virtual_time
async def test_a_store_that_cannot_be_read_makes_no_device_unknown(tmp_path: Path) -> None:
    sandbox = sandbox_of(faults="GET /device:masked=100%")
    with pytest.raises(EmptyListing, match="counts linked devices"):
        await plan(sandbox, tmp_path, [(STRANGER,)], options=Options(unknown=Unknown.SKIP))
    sandbox.world.apps[APP].overrides.clear()
    async with await plan(sandbox, tmp_path, [(STRANGER,)], options=Options(unknown=Unknown.SKIP)) as job:
        assert (job.plan.planned, job.plan.unknown) == (1, 0)
        assert any("first page was empty" in remark for remark in job.plan.remarks)


@pytest.mark.parametrize("apps", [1, 3])
def test_a_list_is_planned_like_the_same_operations_one_by_one(tmp_path: Path, apps: int) -> None:
    @in_virtual_time
    async def run() -> None:
        sandbox = sandbox_of(apps=apps, devices=300)
        devices = [(device, app_id) for app_id in sandbox.world.apps for device in ids_of(sandbox, app_id)]
        random.Random(1).shuffle(devices)
        rows = [(*device, "beta" if apps == 1 or device[0] < "8" else "alpha") for device in devices]
        rows += [rows[0], rows[17], (rows[5][0], rows[5][1], "gamma" if rows[5][2] == "alpha" else "alpha")]
        path = tmp_path / "rows.jsonl"
        path.write_text("\n".join(json.dumps(dict(zip(("device_id", "app_id", "channel"), row, strict=True))) for row in rows))
        operations = [LinkDevice(app_id=app_id, device_id=device, channel=channel) for device, app_id, channel in rows]
        found = []
        for number, given in enumerate([read_operations(path), from_operations(operations)]):
            async with client_of(sandbox) as capgo:
                to, options = tmp_path / f"{number}.capgo-job", Options(reject_bad_rows=True)
                async with await Job.create(to, given, client=capgo, options=options) as job:
                    planned = [row async for each in job.operations() for row in each]
                    found.append((planned, await others(job)))
        assert found[0] == found[1]
        turns = [row.app_id for row in found[0][0]]
        assert len([app_id for app_id, _ in itertools.groupby(turns)]) == apps, "what is of one app stands together"

    run()


CONTRADICTION = [("a1", APP, "beta"), ("a2", APP, "beta"), ("A1", APP, "alpha"), ("a2", APP, "beta")]


async def create(sandbox: Sandbox, directory: Path, rows: list[tuple[str, ...]], options: Options | None = None) -> Job:
    source = read_operations(write_csv(directory / "rows.csv", rows, ("device_id", "app_id", "channel")))
    async with client_of(sandbox) as capgo:
        return await Job.create(directory / "job.capgo-job", source, client=capgo, options=options)


@pytest.mark.parametrize(
    ("rows", "lines", "cause", "named"),
    [
        (CONTRADICTION, [2, 4], Cause.CONTRADICTION, "lines 2 and 4"),
        ([("a1", APP, "nope"), ("a2", APP, "beta")], [2], Cause.NO_CHANNEL, "no channel 'nope'"),
        ([("a1", APP, "production"), ("a2", APP, "beta")], [2], Cause.LINK_TO_PUBLIC_CHANNEL, "'production'"),
        ([("a1", "com.nowhere.app", "beta"), ("a2", APP, "beta")], [2], Cause.NO_ACCESS, "com.nowhere.app"),
        ([("a1", "nodots", "beta"), ("a2", APP, "beta")], [2], Cause.MALFORMED_APP_ID, "nodots"),
    ],
)
def test_bad_rows_refuse_the_whole_input_unless_they_may_be_left_out(
    tmp_path: Path, rows: list[tuple[str, ...]], lines: list[int], cause: Cause, named: str
) -> None:
    sandbox = sandbox_of()

    @in_virtual_time
    async def refused() -> None:
        with pytest.raises(InputError) as refusal:
            await create(sandbox, tmp_path, rows)
        assert refusal.value.count == len(lines)
        assert [line for line, _, _ in refusal.value.rejected] == lines
        assert all(cause is told and named in why for _, told, why in refusal.value.rejected)
        assert not (tmp_path / "job.capgo-job").exists()

    @in_virtual_time
    async def left_out() -> None:
        async with await create(sandbox, tmp_path, rows, Options(reject_bad_rows=True)) as job:
            assert job.plan.rejected == len(lines)
            assert job.plan.rows == len(rows)
            assert {line for line, (fate, _) in (await others(job)).items() if fate == "rejected"} == set(lines)

    refused()
    left_out()
    assert not [line for line in sandbox.log if line.method != "GET"]


@pytest.mark.parametrize(
    ("kind", "rows", "causes"),
    [
        pytest.param(
            LinkDevice,
            [
                ("", APP, "beta"),
                ("a1", "com.nowhere.app", "beta"),
                ("a2", APP, "nope"),
                ("a3", APP, "beta"),
                ("a3", APP, "alpha"),
            ],
            {2: Cause.MISSING_VALUE, 3: Cause.NO_ACCESS, 4: Cause.NO_CHANNEL, 5: Cause.CONTRADICTION, 6: Cause.CONTRADICTION},
            id="links",
        ),
        pytest.param(
            UnlinkDevice,
            [("a1", "nonsense", ""), ("a2", "com.nowhere.app", ""), ("a3", APP, "")],
            {2: Cause.MALFORMED_APP_ID, 3: Cause.NO_ACCESS},
            id="removals",
        ),
    ],
)
def test_all_bad_rows_are_found_in_one_reading(
    tmp_path: Path, kind: type, rows: list[tuple[str, ...]], causes: dict[int, Cause]
) -> None:
    @in_virtual_time
    async def run() -> None:
        sandbox = sandbox_of(devices=3000)
        source = read_operations(write_csv(tmp_path / "rows.csv", rows, ("device_id", "app_id", "channel")), kind=kind)
        async with client_of(sandbox) as capgo:
            with pytest.raises(InputError) as refusal:
                await Job.create(tmp_path / "job.capgo-job", source, client=capgo)
        assert {line: cause for line, cause, _ in refusal.value.rejected} == causes
        assert len(sandbox.log) < 10, "no app is listed for this"

    run()


@in_virtual_time
async def test_bad_rows_of_other_targets_are_found_in_one_reading(tmp_path: Path) -> None:
    rows = [("", APP), ("nope", APP), ("production", APP), ("beta", "com.nowhere.app"), ("alpha", APP)]
    source = read_rows(write_csv(tmp_path / "rows.csv", rows, ("channel", "app_id")), DELETING_CHANNELS)
    async with client_of(sandbox_of()) as capgo:
        with pytest.raises(InputError) as refusal:
            await Job.create(tmp_path / "job.capgo-job", source, client=capgo)
    found = {line: cause for line, cause, _ in refusal.value.rejected}
    assert found == {2: Cause.MISSING_VALUE, 4: Cause.DELETION_OF_PUBLIC_CHANNEL, 5: Cause.NO_ACCESS}


async def test_bad_rows_are_told_although_the_server_is_away(tmp_path: Path) -> None:
    source = read_operations(write_csv(tmp_path / "rows.csv", [("a\x07",), ("a1",)]), app_id=APP, channel="beta")
    async with CapgoClient(api_key="key", base_url="http://127.0.0.1:9", retries=0) as capgo:
        with pytest.raises(InputError, match="1 bad row, nothing was sent"):
            await Job.create(tmp_path / "job.capgo-job", source, client=capgo)


@pytest.mark.parametrize(
    ("odd", "uuids", "said"),
    [
        (["n/a"], 20, "1 device id of 21 is not a UUID, unlike all others: 'n/a' (line 2)"),
        (
            [f"#REF{number}" for number in range(7)],
            70,
            "7 device ids of 77 are not a UUID, unlike all others: "
            + ", ".join(f"'#ref{number}' (line {number + 2})" for number in range(5))
            + " and 2 more",
        ),
        (["none"], 2, "1 device id of 3 is not a UUID, unlike all others: 'none' (line 2)"),
        ([f"tv-{number}" for number in range(20)], 39, None),
        ([], 70, None),
        (["n/a"], 0, None),
    ],
)
def test_ids_that_are_no_ids_are_told_by_name(tmp_path: Path, odd: list[str], uuids: int, said: str | None) -> None:
    @in_virtual_time
    async def run() -> None:
        sandbox = sandbox_of(devices=100)
        async with await plan(sandbox, tmp_path, [(device,) for device in [*odd, *ids_of(sandbox)[:uuids]]]) as job:
            assert [remark for remark in job.plan.remarks if "UUID" in remark] == ([] if said is None else [said])

    run()


@in_virtual_time
async def test_a_listing_that_lies_refuses_the_plan_instead_of_skipping_rows(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=600, faults="GET /device:masked=#2+#3")
    with pytest.raises(Exception, match="empty page"):
        await plan(sandbox, tmp_path, [(device,) for device in ids_of(sandbox)])
    assert not (tmp_path / "job.capgo-job").exists()


@in_virtual_time
async def test_operations_can_come_from_memory_and_may_link_and_unlink(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=30)
    links = links_of(sandbox)
    linked = min(links)
    free = next(device for device in ids_of(sandbox) if device not in links)
    operations: list[Operation] = [
        UnlinkDevice(app_id=APP, device_id=linked),
        LinkDevice(app_id=APP, device_id=free, channel="alpha"),
    ]
    async with client_of(sandbox) as capgo:
        async with await Job.create(tmp_path / "job.capgo-job", from_operations(operations), client=capgo) as job:
            report = await job.run(capgo)
            checked: Report = await job.verify(capgo)
    assert report.done == 2
    assert (checked.verified, checked.contradicted, checked.consistent) == (2, 0, True)
    assert links_of(sandbox)[free] == "alpha"
    assert linked not in links_of(sandbox)


@in_virtual_time
async def test_a_fresh_listing_verifies_contradicts_or_cannot_tell(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=40)
    sandbox.world.apps[APP].overrides.clear()
    ids = ids_of(sandbox)
    async with await plan(sandbox, tmp_path, [(device,) for device in [*ids, STRANGER]]) as job, client_of(sandbox) as capgo:
        await job.run(capgo)
        sandbox.world.apps[APP].unlink(ids[3])
        report = await job.verify(capgo)
        assert (report.verified, report.contradicted, report.cannot_tell, report.unchecked) == (39, 1, 1, 0)
        assert not report.consistent
    assert statuses(sandbox).keys() == {200}


@in_virtual_time
async def test_a_plan_says_what_it_costs_and_how_long_links_live(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=3000)
    async with await plan(sandbox, tmp_path, [(device,) for device in ids_of(sandbox)]) as job:
        text = str(job.plan)
        assert f"{job.plan.requests:,} requests" in text
        assert job.plan.seconds == pytest.approx(124.0, abs=2.0)
        assert "about 2 min" in text
        assert "30 days" in text


def test_the_inverse_of_an_operation_is_known_where_the_former_state_is() -> None:
    operation = LinkDevice(app_id=APP, device_id="d", channel="beta")
    assert inverse(operation, FormerState(Former.CHANNEL, "alpha")) == LinkDevice(app_id=APP, device_id="d", channel="alpha")
    assert inverse(operation, FormerState(Former.NONE)) == UnlinkDevice(app_id=APP, device_id="d")
    assert inverse(operation, FormerState()) is None


@in_virtual_time
async def test_a_source_that_is_no_file_leaves_no_job(tmp_path: Path) -> None:
    async with client_of(sandbox_of()) as capgo:
        with pytest.raises(InputError):
            await Job.create(tmp_path / "job.capgo-job", read_operations(tmp_path / "nowhere.csv"), client=capgo)
        with pytest.raises(JobError, match="cannot write"):
            await Job.create(tmp_path / "no" / "job.capgo-job", from_operations([]), client=capgo)
    assert not list(tmp_path.glob("*.capgo-job*[!k]"))


@in_virtual_time
async def test_every_bad_row_is_heard_of_and_few_are_kept(tmp_path: Path) -> None:
    heard: list[tuple[int, Reason]] = []
    rows = [(f"a{number}", APP, "nope" if number % 2 else "beta") for number in range(5000)]
    source = read_operations(write_csv(tmp_path / "rows.csv", rows, ("device_id", "app_id", "channel")))
    async with client_of(sandbox_of()) as capgo:
        with pytest.raises(InputError) as refusal:
            await Job.create(tmp_path / "job.capgo-job", source, client=capgo, on_rejected=heard.extend)
    assert [line for line, _ in heard] == [number + 2 for number in range(5000) if number % 2]
    assert refusal.value.count == len(heard)
    assert len(refusal.value.rejected) == KEPT_REASONS
