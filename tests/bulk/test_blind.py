"""A server that cannot read its devices, or their links, responds as if there were none: nothing takes that for the truth."""

import contextlib
import copy
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path

import pytest
from fleet import APP, client_of, copy_job, ids_of, links_of, sandbox_of, write_csv
from hypothesis import example, given, settings, strategies as st
from scripted import answer
from virtual_time import in_virtual_time

from capgo_async import CapgoClient, errors
from capgo_async.bulk import (
    Job,
    LinkDevice,
    Options,
    PromoteBundle,
    RenewDevice,
    Report,
    Rows,
    Source,
    UnlinkDevice,
    Which,
    from_operations,
    read_operations,
)
from capgo_async.bulk.inventory.choosing import Choice, ChosenDevices
from capgo_async.bulk.inventory.columns import InventoryKind
from capgo_async.bulk.inventory.exporting import export, inventory
from capgo_async.bulk.jobfile.facts import Unknown
from capgo_async.bulk.operations.reasons import Cause
from capgo_async.cli.output.exit_codes import exit_code
from capgo_async.http.wire import Request, Response
from capgo_async.sandbox import Arrival, Reply, Sandbox, Settings, World, fleet
from capgo_async.sandbox.inprocess import InProcessTransport
from capgo_async.sandbox.seeding import SUPER_ADMIN_KEY
from capgo_async.sandbox.virtual_time import run_in_virtual_time
from capgo_async.testing import CapgoSandbox

pytestmark = pytest.mark.slow

STRANGERS = [f"{number:08x}-ffff-4000-8000-000000000000" for number in range(3)]
"""Devices that no inventory knows."""
DEVICES = 450
"""Three pages."""
EVER = 10**9
DEVICES_HIDDEN, LINKS_HIDDEN = "device_store_readable", "links_readable"
"""What a server can lose sight of."""
MOMENTS = {
    "moment": st.integers(1, 10),
    "length": st.sampled_from([1, 2, 3, 4, 8, EVER]),
    "hidden": st.sampled_from([DEVICES_HIDDEN, LINKS_HIDDEN]),
}


class Blinking(Sandbox):
    """A sandbox that cannot read its devices, or their links, for some of the queries, which are counted from 1."""

    def __init__(self, world: World, blind: range = range(0), hidden: str = DEVICES_HIDDEN) -> None:
        super().__init__(world, Settings())
        self.blind = blind
        self.hidden = hidden
        self._queries = 0

    def handle(self, arrival: Arrival, now: float, headers: Mapping[str, str]) -> Reply:
        if arrival.request.method == "GET" and arrival.request.path == "/device":
            self._queries += 1
            setattr(self.world, self.hidden, self._queries not in self.blind)
        return super().handle(arrival, now, headers)


def linking(devices: list[str], channel: str = "beta") -> Source:
    return from_operations([LinkDevice(app_id=APP, device_id=device, channel=channel) for device in devices])


def unlinking(devices: list[str]) -> Source:
    return from_operations([UnlinkDevice(app_id=APP, device_id=device) for device in devices])


def renewing(devices: list[str]) -> Source:
    return from_operations([RenewDevice(app_id=APP, device_id=device) for device in devices])


async def moved(sandbox: Sandbox, path: Path, devices: list[str], channel: str = "beta") -> None:
    """Link devices by a job at `path`."""
    async with client_of(sandbox) as capgo, await Job.create(path, linking(devices, channel), client=capgo) as job:
        report = await job.run(capgo)
        assert report.done == report.planned > 0


async def targets_of(job: Job) -> list[str]:
    """Return the devices that a job changes."""
    return [row.target async for rows in job.operations() for row in rows]


async def verified(sandbox: Sandbox, path: Path) -> Report:
    async with client_of(sandbox) as capgo, await Job.open(path) as job:
        return await job.verify(capgo)


# At a random moment


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, World, World]:
    """Return a job that was run, and the server before and afterwards."""
    path = tmp_path_factory.mktemp("past") / "a.capgo-job"
    before = fleet(apps=1, devices=DEVICES)
    sandbox = Blinking(copy.deepcopy(before))
    run_in_virtual_time(moved(sandbox, path, ids_of(sandbox)[::9]))
    return path, before, sandbox.world


class Scene:
    """One thing that is done while the server goes blind, and what must hold then."""

    def __init__(self, path: Path, before: World, sandbox: Blinking, directory: Path) -> None:
        self.path, self.before, self.sandbox, self.directory = path, before, sandbox, directory
        self.devices = ids_of(sandbox)[::9]

    async def verify(self) -> None:
        report = await verified(self.sandbox, self.path)
        async with await Job.open(self.path, read_only=True) as job:
            rows = [row async for each in job.operations() for row in each]
        links = links_of(self.sandbox)
        assert all(links.get(row.target) == "beta" for row in rows if row.verdict == "verified")
        assert exit_code(report) == 3 or report.verified == report.done

    async def verify_contradicted(self) -> None:
        self.sandbox.world.apps[APP].unlink(self.devices[0])
        self.sandbox.world.apps[APP].unlink(self.devices[-1])
        await self.verify()

    async def renew(self) -> None:
        linked = links_of(self.sandbox)
        async with client_of(self.sandbox) as capgo:
            async with await Job.create(self.directory / "b.capgo-job", renewing(self.devices), client=capgo) as job:
                whole = job.plan.planned == sum(device in linked for device in self.devices)
                told = any("only those are renewed" in remark for remark in job.plan.remarks)
                assert whole or (told and self.sandbox.hidden == LINKS_HIDDEN)
                try:
                    report = await job.run(capgo)
                except errors.SafetyStop:
                    report = await job.report()
                    assert report.failed > 0
        assert exit_code(report) == 3 or report.done == job.plan.planned
        assert links_of(self.sandbox) == linked

    async def export(self) -> None:
        async with client_of(self.sandbox) as capgo:
            summary = await export(self.directory / "a.jsonl", InventoryKind.DEVICES, client=capgo)
        whole = len((self.directory / "a.jsonl").read_text().splitlines()) == summary.rows == DEVICES
        assert whole or not summary.complete
        assert whole or "complete. All" not in str(summary).replace("possibly incomplete", "")

    async def plan(self) -> None:
        for number, (source, unknown) in enumerate(
            [
                (linking([*self.devices, *STRANGERS], "alpha"), Unknown.SKIP),
                (linking([*self.devices, *STRANGERS], "alpha"), Unknown.SEND),
                (unlinking(self.devices), Unknown.SEND),
            ]
        ):
            path = self.directory / f"{number}.capgo-job"
            async with client_of(self.sandbox) as capgo:
                async with await Job.create(path, source, client=capgo, options=Options(unknown=unknown)) as job:
                    left = {row.target async for rows in job.rows(Rows.SKIPPED) for row in rows}
            links = links_of(self.sandbox)
            wanted = {None} if number == 2 else {"alpha"}
            assert all(device in STRANGERS or links.get(str(device)) in wanted for device in left)

    async def undo(self) -> None:
        async with client_of(self.sandbox) as capgo, await Job.open(self.path) as job:
            async with await job.undo(self.directory / "undo.capgo-job", client=capgo) as undo:
                assert undo.plan.planned + undo.plan.left == job.plan.planned
                assert not undo.plan.left or self.sandbox.hidden == LINKS_HIDDEN
                report = await undo.run(capgo)
                assert report.done == undo.plan.planned
        former = {device: each.channel.name for device, each in self.before.apps[APP].overrides.items()}
        now = links_of(self.sandbox)
        assert exit_code(report) == 3 or now == former
        assert len(now.items() ^ former.items()) <= 2 * report.left


@pytest.mark.parametrize(
    "act",
    [Scene.verify, Scene.verify_contradicted, Scene.renew, Scene.export, Scene.plan, Scene.undo],
    ids=lambda act: act.__name__,
)
@given(**MOMENTS)
@example(moment=1, length=EVER, hidden=DEVICES_HIDDEN)
@example(moment=2, length=EVER, hidden=DEVICES_HIDDEN)
@example(moment=2, length=1, hidden=LINKS_HIDDEN)
@settings(max_examples=8)
def test_no_moment_of_blindness_is_taken_for_the_truth(
    past: tuple[Path, World, World],
    tmp_path_factory: pytest.TempPathFactory,
    act: Callable[[Scene], Awaitable[None]],
    *,
    moment: int,
    length: int,
    hidden: str,
) -> None:
    path, before, after = past
    directory = tmp_path_factory.mktemp("now")
    sandbox = Blinking(copy.deepcopy(after), range(moment, moment + length), hidden)
    scene = Scene(copy_job(path, directory / path.name), before, sandbox, directory)

    @in_virtual_time
    async def run() -> None:
        with contextlib.suppress(errors.ListingError):
            await act(scene)

    run()


@pytest.mark.parametrize(
    ("linked", "step"), [(0, 9), (0, 150), (DEVICES, 9), (DEVICES, 150)], ids=["first links", "first canary", "links", "canary"]
)
@given(**MOMENTS)
@example(moment=2, length=1, hidden=LINKS_HIDDEN)
@example(moment=1, length=EVER, hidden=LINKS_HIDDEN)
@settings(max_examples=4)
def test_an_undo_restores_everything_or_says_what_it_leaves_however_blind_the_plan_was(
    past: tuple[Path, World, World],
    tmp_path_factory: pytest.TempPathFactory,
    *,
    linked: int,
    step: int,
    moment: int,
    length: int,
    hidden: str,
) -> None:
    path = tmp_path_factory.mktemp("plan") / "a.capgo-job"
    sandbox = Blinking(copy.deepcopy(past[1]), range(moment, moment + length), hidden)
    app = sandbox.world.apps[APP]
    for device in ids_of(sandbox)[linked:]:
        app.unlink(device)
    before = links_of(sandbox)

    @in_virtual_time
    async def run() -> None:
        async with client_of(sandbox) as capgo:
            with contextlib.suppress(errors.ListingError):
                async with await Job.create(path, linking(ids_of(sandbox)[2::step]), client=capgo) as job:
                    sandbox.blind = range(0)
                    await job.run(capgo)
                    async with await job.undo(path.with_name("undo.capgo-job"), client=capgo) as undo:
                        report = await undo.run(capgo)
                        now = links_of(sandbox)
                        assert exit_code(report) == 3 or now == before
                        assert len(now.items() ^ before.items()) <= 2 * report.left
                        without_way_back = sum(reason.rows for reason in job.plan.no_way_back)
                        doubted = re.search(r"; (\d+) devices? may have one that was not shown", str(job.plan))
                        assert report.left - without_way_back in {0, int(doubted[1]) if doubted else 0}

    run()


# Verification


@asynccontextmanager
async def done(tmp_path: Path, sandbox: Sandbox, source: Source, options: Options | None = None) -> AsyncIterator[Job]:
    """Provide a job that was run."""
    async with client_of(sandbox) as capgo:
        async with await Job.create(tmp_path / "a.capgo-job", source, client=capgo, options=options) as job:
            await job.run(capgo)
            yield job


@in_virtual_time
async def test_a_verification_by_a_blind_server_says_what_it_cannot_tell(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=60)
    async with done(tmp_path, sandbox, linking(ids_of(sandbox))) as job, client_of(sandbox) as capgo:
        sandbox.world.device_store_readable = False
        report = await job.verify(capgo)
        assert (report.verified, report.cannot_tell, report.missing) == (0, report.done, report.done)
        assert exit_code(report) == 3
        assert any(f"{report.done} changes in {APP}" in warning for warning in report.warnings)
        hidden = [row async for rows in job.rows(Rows.CANNOT_TELL) for row in rows]
        assert len(hidden) == report.done
        sandbox.world.device_store_readable = True
        report = await job.verify(capgo)
    assert (report.verified, report.missing, report.warnings, exit_code(report)) == (report.done, 0, (), 0)


@pytest.mark.parametrize("queries", [0, 1, 2])
@in_virtual_time
async def test_a_verification_that_fails_leaves_the_verdicts_of_an_earlier_one(tmp_path: Path, queries: int) -> None:
    sandbox = CapgoSandbox(world=fleet(apps=1, devices=DEVICES))
    async with done(tmp_path, sandbox, linking(ids_of(sandbox))) as job, client_of(sandbox) as capgo:
        sandbox.world.apps[APP].unlink((await targets_of(job))[0])
        first = await job.verify(capgo)
        sandbox.fail_next("500", "GET /device", after=queries, times=None)
        with pytest.raises(errors.ServerError):
            await job.verify(capgo)
        second = await job.report()
    assert (first.verified, first.contradicted) == (first.done - 1, 1)
    assert (second.verified, second.contradicted, exit_code(second)) == (first.verified, 1, 3)


@in_virtual_time
async def test_a_remark_with_other_numbers_replaces_the_earlier_one(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=2, devices=60)
    links = len(links_of(sandbox))
    async with done(tmp_path, sandbox, linking(ids_of(sandbox))) as job, client_of(sandbox) as capgo:
        sandbox.world.device_store_readable = False
        await job.verify(capgo)
        sandbox.world.apps[APP].link("one-more", sandbox.world.apps[APP].channels["beta"], 0.0)
        await job.verify(capgo)
    async with await Job.open(tmp_path / "a.capgo-job", read_only=True) as job:
        (remark,) = [remark for remark in job.plan.remarks if "counts linked devices" in remark]
    assert f"({len(links_of(sandbox))})" in remark
    assert len(links_of(sandbox)) > links


@in_virtual_time
async def test_devices_that_nobody_has_seen_are_no_sign_of_blindness(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=60)
    async with done(tmp_path, sandbox, linking([*ids_of(sandbox)[:9], *STRANGERS])) as job, client_of(sandbox) as capgo:
        report = await job.verify(capgo)
    assert (report.cannot_tell, report.missing, exit_code(report)) == (len(STRANGERS), 0, 0)


@in_virtual_time
async def test_a_device_that_the_plan_saw_is_missed(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=60)
    chosen = ids_of(sandbox)[:9]
    async with done(tmp_path, sandbox, linking(chosen)) as job, client_of(sandbox) as capgo:
        sandbox.world.apps[APP].forget_device((await targets_of(job))[0])
        report = await job.verify(capgo)
    assert (report.verified, report.missing) == (report.done - 1, 1)
    assert exit_code(report) == 3


@in_virtual_time
async def test_a_second_look_that_shows_nothing_leaves_the_contradiction(tmp_path: Path) -> None:
    sandbox = Blinking(fleet(apps=1, devices=60), range(3, EVER))
    async with done(tmp_path, sandbox, linking(ids_of(sandbox))) as job, client_of(sandbox) as capgo:
        app = sandbox.world.apps[APP]
        for device in (await targets_of(job))[:3]:
            app.link(device, app.channels["alpha"], 0.0)
        report = await job.verify(capgo)
    assert (report.contradicted, report.verified) == (3, report.done - 3)


@pytest.mark.parametrize("kind", [LinkDevice, UnlinkDevice])
@in_virtual_time
async def test_links_that_a_listing_hides_are_neither_there_nor_gone(tmp_path: Path, kind: type) -> None:
    sandbox = sandbox_of(devices=400)
    rows = [(device,) for device in sorted(sandbox.world.apps[APP].overrides)[:20]]
    channel = "alpha" if kind is LinkDevice else None
    source = read_operations(write_csv(tmp_path / "a.csv", rows), app_id=APP, channel=channel, kind=kind)
    async with done(tmp_path, sandbox, source) as job, client_of(sandbox) as capgo:
        sandbox.world.links_readable = False
        report = await job.verify(capgo)
        assert (report.verified, report.contradicted, report.missing) == (0, 0, report.done)
        async with await Job.open(tmp_path / "a.capgo-job", read_only=True) as seen:
            assert any("shows no link of any device" in remark for remark in seen.plan.remarks)


class HidingOnePage(Sandbox):
    """A sandbox that cannot read the links of the page with one device."""

    hidden = ""

    def handle(self, arrival: Arrival, now: float, headers: Mapping[str, str]) -> Reply:
        reply = super().handle(arrival, now, headers)
        if arrival.request.method == "GET" and self.hidden and self.hidden.encode() in reply.body:
            self.world.links_readable = False
            reply = super().handle(arrival, now, headers)
            self.world.links_readable = True
        return reply


@in_virtual_time
async def test_an_unlink_on_a_page_without_links_is_believed_only_if_all_links_were_shown(tmp_path: Path) -> None:
    sandbox = HidingOnePage(fleet(apps=1, devices=DEVICES), Settings())
    linked = sorted(links_of(sandbox))
    source = unlinking(linked[::2])
    async with done(tmp_path, sandbox, source) as job, client_of(sandbox) as capgo:
        app = sandbox.world.apps[APP]
        again = linked[len(linked) // 4 * 2]
        app.link(again, app.channels["alpha"], 0.0)
        sandbox.hidden = again
        report = await job.verify(capgo)
        async with await Job.open(tmp_path / "a.capgo-job", read_only=True) as seen:
            doubted = {row.target async for rows in seen.rows(Rows.CANNOT_TELL) for row in rows}
            assert any("shows fewer links than the server counts" in remark for remark in seen.plan.remarks)
        assert again in doubted
        assert 0 < len(doubted) == report.missing < report.done
        assert report.verified == report.done - len(doubted), "those on other pages are believed"
        app.unlink(again)
        for device in [device for device in linked[1::2] if device in links_of(sandbox)]:
            app.unlink(device)
        app.link(ids_of(sandbox)[0], app.channels["alpha"], 0.0)
        assert (await job.verify(capgo)).verified == report.done, "where all links are shown, a page without any is believed"


@pytest.mark.parametrize("kind", [LinkDevice, UnlinkDevice])
@in_virtual_time
async def test_a_count_of_no_link_proves_that_there_is_none(tmp_path: Path, kind: type) -> None:
    sandbox = sandbox_of(devices=400)
    rows = [(device,) for device in sorted(sandbox.world.apps[APP].overrides)[:20]]
    channel = "alpha" if kind is LinkDevice else None
    source = read_operations(write_csv(tmp_path / "a.csv", rows), app_id=APP, channel=channel, kind=kind)
    async with done(tmp_path, sandbox, source) as job, client_of(sandbox) as capgo:
        sandbox.world.apps[APP].overrides.clear()
        report = await job.verify(capgo)
    gone = (0, report.done) if kind is LinkDevice else (report.done, 0)
    assert (report.verified, report.contradicted, report.missing) == (*gone, 0)


@in_virtual_time
async def test_waves_do_not_go_on_blindly(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=100)
    source, options = linking(ids_of(sandbox)), Options(waves=(Fraction(1, 10), Fraction(1)))
    async with client_of(sandbox) as capgo:
        async with await Job.create(tmp_path / "a.capgo-job", source, client=capgo, options=options) as job:
            first = job.plan.waves[0].operations
            sandbox.world.device_store_readable = False
            with pytest.raises(errors.SafetyStop, match="cannot tell whether") as stop:
                await job.run(capgo)
            assert stop.value.problem is errors.Problem.NOT_LISTED
            assert (await job.report()).done == first
            sandbox.world.device_store_readable = True
            report = await job.run(capgo)
    assert report.verified == report.done == report.planned


# Plans


@in_virtual_time
async def test_devices_that_a_blind_server_hides_are_changed_only_if_that_was_asked_for(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=60)
    sandbox.world.device_store_readable = False
    path, devices = tmp_path / "a.capgo-job", ids_of(sandbox)
    async with client_of(sandbox) as capgo:
        for source in (linking(devices), unlinking(devices)):
            for unknown in (None, Unknown.SKIP, Unknown.REFUSE):
                with pytest.raises(errors.EmptyListing, match="lists no device, but counts linked devices") as refused:
                    await Job.create(path, source, client=capgo, options=Options(unknown=unknown))
                assert refused.value.problem is (errors.Problem.DEVICES_HIDDEN if unknown is None else None)
        async with await Job.create(path, linking(devices), client=capgo, options=Options(unknown=Unknown.SEND)) as job:
            assert [reason.cause for reason in job.plan.no_way_back] == [Cause.DEVICES_HIDDEN]
            assert "because the server could not show its devices when this was planned" in str(job.plan)
            assert (job.plan.planned, job.plan.skipped, job.plan.unknown) == (60, 0, 0)
            assert any("lists no device, but counts linked devices in this app" in remark for remark in job.plan.remarks)


@pytest.mark.parametrize("hidden", ["device_store_readable", "links_readable"])
@in_virtual_time
async def test_nothing_to_renew_is_believed_only_of_an_app_without_links(tmp_path: Path, hidden: str) -> None:
    sandbox = sandbox_of(devices=60)
    async with client_of(sandbox) as capgo:
        setattr(sandbox.world, hidden, False)
        with pytest.raises(errors.EmptyListing, match=rf"{APP}: .*linked"):
            await Job.create(tmp_path / "a.capgo-job", renewing(ids_of(sandbox)), client=capgo)
        sandbox.world.apps[APP].overrides.clear()
        async with await Job.create(tmp_path / "a.capgo-job", renewing(ids_of(sandbox)), client=capgo) as job:
            assert job.plan.skipped == 60
    assert not [line for line in sandbox.log if line.method != "GET"]


@pytest.mark.parametrize("strangers", [0, 2])
@in_virtual_time
async def test_links_of_devices_that_are_not_listed_are_told_in_the_plan_of_a_renewal(tmp_path: Path, strangers: int) -> None:
    sandbox = sandbox_of(devices=60)
    app, linked = sandbox.world.apps[APP], len(links_of(sandbox))
    for device in STRANGERS[:strangers]:
        app.link(device, app.channels["beta"], 0.0)
    async with client_of(sandbox) as capgo:
        async with await Job.create(tmp_path / "a.capgo-job", renewing(ids_of(sandbox)), client=capgo) as job:
            assert job.plan.planned == linked
            told = f"{APP}: the server counts {linked + strangers} links and shows {linked}; only those are renewed"
            assert (told in job.plan.remarks) is bool(strangers)


@pytest.mark.parametrize("hidden", ["device_store_readable", "links_readable"])
@in_virtual_time
async def test_an_inventory_without_links_does_not_say_what_to_renew(tmp_path: Path, hidden: str) -> None:
    sandbox = sandbox_of(devices=60)
    linked = len(links_of(sandbox))
    options = Options(inventory=str(tmp_path / "a.sqlite"))
    async with client_of(sandbox) as capgo:
        setattr(sandbox.world, hidden, False)
        await export(tmp_path / "a.sqlite", InventoryKind.DEVICES, client=capgo)
        setattr(sandbox.world, hidden, True)
        source = renewing(ids_of(sandbox))
        async with await Job.create(tmp_path / "a.capgo-job", source, client=capgo, options=options) as job:
            assert (job.plan.planned, job.plan.skipped) == (linked, 60 - linked)


@in_virtual_time
async def test_a_renewal_that_does_not_see_its_device_can_be_tried_again(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=60)
    async with client_of(sandbox) as capgo:
        async with await Job.create(tmp_path / "a.capgo-job", renewing(ids_of(sandbox)), client=capgo) as job:
            sandbox.world.device_store_readable = False
            report = await job.run(capgo)
            assert (report.done, report.failed, exit_code(report)) == (0, report.planned, 3)
            assert [failure.cause for failure in report.failures] == ["device_not_found"]
            sandbox.world.device_store_readable = True
            report = await job.run(capgo, which=Which.FAILED)
    assert (report.done, report.failed) == (report.planned, 0)


# Inventories


@in_virtual_time
async def test_an_inventory_by_a_blind_server_is_not_complete(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=3, devices=90)
    for app_id in list(sandbox.world.apps)[1:]:
        sandbox.world.apps[app_id].overrides.clear()
        sandbox.world.apps[app_id].devices.clear()
    sandbox.world.device_store_readable = False
    async with client_of(sandbox) as capgo:
        summary = await export(tmp_path / "a.csv", InventoryKind.DEVICES, client=capgo)
    assert [check.app_id for check in summary.contradicted] == [APP]
    assert not summary.complete
    assert str(summary).startswith(
        f"0 devices of 3 apps: cannot tell. {APP}: the server lists no device, but counts linked devices in this app ("
    )


@in_virtual_time
async def test_an_inventory_without_the_links_is_not_complete(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=60)
    sandbox.world.links_readable = False
    async with client_of(sandbox) as capgo:
        async with inventory(tmp_path / "a", InventoryKind.DEVICES, client=capgo) as (_, summary):
            assert (summary.rows, summary.complete, summary.contradicted) == (60, False, ())
            assert any("counts linked devices" in caveat for check in summary.checks for caveat in check.caveats)


@in_virtual_time
async def test_an_export_is_not_replaced_by_one_of_nothing(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=2, devices=60)
    for app in sandbox.world.apps.values():
        app.overrides.clear()
    output = tmp_path / "fleet.sqlite"
    async with client_of(sandbox) as capgo:
        await export(output, InventoryKind.DEVICES, client=capgo)
        earlier = output.read_bytes()
        sandbox.world.device_store_readable = False
        with pytest.raises(errors.EmptyListing, match="is kept"):
            await export(output, InventoryKind.DEVICES, client=capgo)
        assert output.read_bytes() == earlier
        sandbox.world.device_store_readable = True
        summary = await export(output, InventoryKind.DEVICES, client=capgo)
    assert (summary.rows, summary.complete) == (60, True)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet", "a.sqlite"])
@in_virtual_time
async def test_a_file_is_not_replaced_by_an_empty_list_that_is_contradicted(tmp_path: Path, name: str) -> None:
    sandbox, output = sandbox_of(devices=60), tmp_path / name
    output.write_text("whatever it is")
    async with client_of(sandbox) as capgo:
        sandbox.world.device_store_readable = False
        with pytest.raises(errors.EmptyListing, match=rf"{APP}: .* counts linked devices .* is kept"):
            await export(output, InventoryKind.DEVICES, client=capgo)
        assert output.read_text() == "whatever it is"
        sandbox.world.device_store_readable = True
        assert (await export(output, InventoryKind.DEVICES, client=capgo)).rows == 60


class Hiding(InProcessTransport):
    """Shows no device of one app while it `hides` them."""

    hides = False

    async def send(self, request: Request, headers: Mapping[str, str], *, fresh: bool = False) -> Response:
        if self.hides and request.path == "/device" and ("app_id", APP) in request.query:
            return answer(body={"data": [], "hasMore": False})
        return await super().send(request, headers, fresh=fresh)


@pytest.mark.parametrize("name", ["a.csv", "a.jsonl", "a.parquet", "a.sqlite"])
@in_virtual_time
async def test_a_file_is_not_replaced_if_one_of_its_apps_is_hidden(tmp_path: Path, name: str) -> None:
    sandbox, output = sandbox_of(apps=3, devices=60), tmp_path / name
    transport = Hiding(sandbox)
    async with CapgoClient(api_key=SUPER_ADMIN_KEY, transport=transport) as capgo:
        assert (await export(output, InventoryKind.DEVICES, client=capgo)).complete
        earlier = output.read_bytes()
        transport.hides = True
        with pytest.raises(errors.EmptyListing, match=rf"^cannot tell what is in 1 list: {APP}: .* is kept"):
            await export(output, InventoryKind.DEVICES, client=capgo)
        assert output.read_bytes() == earlier
        transport.hides = False
        sandbox.log.clear()
        summary = await export(output, InventoryKind.DEVICES, client=capgo)
    assert (summary.rows, summary.complete) == (60, True)
    listed = {line.target.partition("/")[0] for line in sandbox.log if line.path == "/device"}
    assert listed == {APP}, "what was read of the other apps is kept"


@in_virtual_time
async def test_devices_are_not_chosen_blindly(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=60)
    sandbox.world.device_store_readable = False
    async with client_of(sandbox) as capgo:
        source = ChosenDevices(Choice(apps=(APP,)), "beta", capgo)
        with pytest.raises(errors.EmptyListing, match="cannot tell which devices"):
            await Job.create(tmp_path / "a.capgo-job", source, client=capgo)


@in_virtual_time
async def test_devices_are_not_chosen_from_an_inventory_that_was_taken_blindly(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=2, devices=60)
    quiet = sandbox.world.apps["com.example.app02"]
    quiet.overrides.clear()
    exported = str(tmp_path / "a.sqlite")
    async with client_of(sandbox) as capgo:
        sandbox.world.device_store_readable = False
        await export(exported, InventoryKind.DEVICES, client=capgo)
        sandbox.world.device_store_readable = True
        source = ChosenDevices(Choice(), "beta", capgo, exported=exported)
        with pytest.raises(errors.EmptyListing, match=f"cannot tell which devices to choose. {APP}:"):
            await Job.create(tmp_path / "a.capgo-job", source, client=capgo)
        source = ChosenDevices(Choice(apps=(quiet.app_id,)), "beta", capgo, exported=exported)
        with pytest.raises(errors.InputError, match="none of 0 devices match"):
            await Job.create(tmp_path / "a.capgo-job", source, client=capgo)


# What is contradicted is sent again


@in_virtual_time
async def test_what_is_contradicted_is_sent_again_and_nothing_else(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=90)
    app = sandbox.world.apps[APP]
    async with done(tmp_path, sandbox, linking(ids_of(sandbox))) as job, client_of(sandbox) as capgo:
        assert await job.to_send(Which.CONTRADICTED) == 0
        planned = await targets_of(job)
        app.unlink(planned[0])
        app.link(planned[1], app.channels["alpha"], 0.0)
        report = await job.verify(capgo)
        assert report.contradicted == await job.to_send(Which.CONTRADICTED) == 2
        sandbox.log.clear()
        report = await job.run(capgo, which=Which.CONTRADICTED)
        assert {line.target for line in sandbox.log if line.method != "GET"} == {f"{APP}/{each}" for each in planned[:2]}
        assert (report.done, report.contradicted, report.unchecked) == (report.planned, 0, 2)
        report = await job.verify(capgo)
    assert report.verified == report.planned
    assert set(links_of(sandbox).values()) == {"beta"}


@pytest.mark.parametrize("by_somebody", [True, False])
@in_virtual_time
async def test_a_contradicted_promotion_is_looked_at_before_it_is_sent_again(tmp_path: Path, *, by_somebody: bool) -> None:
    sandbox = sandbox_of()
    channel = sandbox.world.apps[APP].channels["beta"]
    former = channel.version
    names = [bundle.name for bundle in sandbox.world.apps[APP].bundles.values() if bundle.id != former]
    wanted = from_operations([PromoteBundle(app_id=APP, channel="beta", bundle=names[0])])
    other = next(bundle.id for bundle in sandbox.world.apps[APP].bundles.values() if bundle.name == names[1])
    async with done(tmp_path, sandbox, wanted) as job, client_of(sandbox) as capgo:
        promoted = channel.version
        channel.version = other if by_somebody else former
        assert (await job.verify(capgo)).contradicted == 1
        report = await job.run(capgo, which=Which.CONTRADICTED)
    assert (report.done, report.failed) == ((0, 1) if by_somebody else (1, 0))
    assert channel.version == (other if by_somebody else promoted)


@in_virtual_time
async def test_protected_channels_are_found_among_what_is_contradicted(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=60)
    async with done(tmp_path, sandbox, linking(ids_of(sandbox))) as job, client_of(sandbox) as capgo:
        assert await job.touching(["beta"], Which.CONTRADICTED) == []
        sandbox.world.apps[APP].unlink(ids_of(sandbox)[5])
        assert (await job.verify(capgo)).contradicted == 1
        assert await job.touching(["beta"], Which.CONTRADICTED) == [(APP, "beta")]
        assert await job.touching(["beta"], Which.FAILED) == []
