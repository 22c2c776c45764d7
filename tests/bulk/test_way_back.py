"""What an undo restores, what it leaves, and what the plan says of it beforehand (contract C6, C7, G4)."""

import asyncio
import json
import random
from collections.abc import Callable, Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fleet import APP, OTHER, client_of, ids_of, links_of, planned, sandbox_of
from virtual_time import in_virtual_time

from capgo_async import BundleMetadata, CapgoClient, ChannelSettings
from capgo_async.bulk import Bounds, Cause, Job, Options, Rows, Unknown, from_operations
from capgo_async.bulk.operations.kinds import KINDS
from capgo_async.bulk.operations.operations import (
    DeleteBundle,
    DeleteChannel,
    LinkDevice,
    Operation,
    PromoteBundle,
    RemoveMember,
    RenewDevice,
    SetBundleMetadata,
    UnlinkDevice,
    UpdateChannel,
    change_of,
)
from capgo_async.bulk.operations.reasons import LEFT_BY_UNDO, NO_WAY_BACK, SENTENCES
from capgo_async.errors import EmptyListing, SafetyStop
from capgo_async.http.wire import Request, Response
from capgo_async.sandbox import Sandbox
from capgo_async.sandbox.faults import Faults
from capgo_async.sandbox.inprocess import InProcessTransport
from capgo_async.sandbox.seeding import ORG_ID, SUPER_ADMIN_KEY

pytestmark = pytest.mark.slow

Spoil = Callable[[Request, Any], Any]
"""Changes the decoded body of a response."""


class Unreliable(InProcessTransport):
    """A server whose responses are changed on the way while `spoil` is set."""

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__(sandbox, request_delay=0.02, reply_delay=0.02, chance=random.Random(1))
        self.spoil: Spoil | None = None

    async def send(self, request: Request, headers: Mapping[str, str], *, fresh: bool = False) -> Response:
        response = await super().send(request, headers, fresh=fresh)
        if self.spoil is None or request.method != "GET":
            return response
        body = self.spoil(request, json.loads(response.body))
        return msgspec.structs.replace(response, body=json.dumps(body).encode())


def no_count(_: Request, body: Any) -> Any:
    """Do not tell how many links an app has."""
    if isinstance(body, dict):
        body.pop("channel_device_count", None)
    return body


def no_links(_: Request, body: Any) -> Any:
    """Fail to look up the links of devices, and say nothing."""
    for device in body.get("data", (body,)) if isinstance(body, dict) else ():
        if "device_id" in device:
            device.pop("channel", None)
    return body


def neither(request: Request, body: Any) -> Any:
    return no_count(request, no_links(request, body))


def no_devices(request: Request, body: Any) -> Any:
    """Fail to read the devices, and list none."""
    return {"data": [], "hasMore": False} if request.path == "/device" else no_count(request, body)


def without_links(sandbox: Sandbox, *apps: str) -> Sandbox:
    for app_id in apps or sandbox.world.apps:
        sandbox.world.apps[app_id].overrides.clear()
    return sandbox


def to_beta(devices: Sequence[str], app_id: str = APP) -> list[Operation]:
    return [LinkDevice(app_id=app_id, device_id=device, channel="beta") for device in devices]


async def causes(job: Job) -> list[str | None]:
    return [row.cause async for rows in job.rows(Rows.SKIPPED) for row in rows]


def foretold(job: Job) -> dict[Cause | None, int]:
    """Return what the plan says of operations that have no way back."""
    return {reason.cause: reason.rows for reason in job.plan.no_way_back}


def spoilt(sandbox: Sandbox) -> tuple[Unreliable, CapgoClient]:
    transport = Unreliable(sandbox)
    return transport, CapgoClient(api_key=SUPER_ADMIN_KEY, transport=transport)


@pytest.mark.parametrize("kind", [LinkDevice, UnlinkDevice])
@in_virtual_time
async def test_the_first_links_of_an_app_are_undone(kind: type, tmp_path: Path) -> None:
    sandbox = without_links(sandbox_of(devices=450))
    chosen = ids_of(sandbox)[7:12]
    async with client_of(sandbox) as capgo:
        if kind is UnlinkDevice:
            # The last links of an app are removed: no listing shows a link afterwards.
            await capgo.devices.link(APP, chosen[0], channel="alpha")
            operations: list[Operation] = [UnlinkDevice(app_id=APP, device_id=chosen[0])]
        else:
            operations = to_beta(chosen)
        before = links_of(sandbox)
        async with await planned(tmp_path / "a.capgo-job", capgo, operations) as job:
            assert (job.plan.planned, foretold(job)) == (len(operations), {})
            await job.run(capgo)
            async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
                assert (undo.plan.planned, undo.plan.left) == (len(operations), 0)
                report = await undo.run(capgo)
                assert (report.done, report.left) == (len(operations), 0)
                assert links_of(sandbox) == before
                report = await undo.verify(capgo)
                assert (report.verified, report.cannot_tell) == (len(operations), 0)
            # All is as it was, so another undo of the same job has nothing to do, and leaves nothing.
            async with await job.undo(tmp_path / "again.capgo-job", client=capgo) as again:
                assert (again.plan.planned, again.plan.skipped, again.plan.left) == (0, len(operations), 0)


@pytest.mark.parametrize("linked", [(), (0,), (0, -2, -4), range(0, 3000, 50), range(2995, 3000)])
@in_virtual_time
async def test_a_few_devices_of_a_large_app_get_their_former_state_back(linked: Sequence[int], tmp_path: Path) -> None:
    sandbox = without_links(sandbox_of(devices=3000))
    app, devices = sandbox.world.apps[APP], ids_of(sandbox)
    for number in linked:
        app.link(devices[number], app.channels["alpha"], 0.0)
    before = links_of(sandbox)
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, to_beta(devices[-5:])) as job:
        assert foretold(job) == {}
        await job.run(capgo)
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            report = await undo.run(capgo)
            assert (report.done, report.left) == (5, 0)
    assert links_of(sandbox) == before


@in_virtual_time
async def test_devices_that_neither_list_nor_look_up_shows_have_no_way_back(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=3000)
    stranger = "ffffffff-ffff-4fff-8fff-ffffffffffff"
    chosen = [*ids_of(sandbox)[-3:], stranger]
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, to_beta(chosen)) as job:
        assert foretold(job) == {Cause.NEVER_LISTED: 1}


@in_virtual_time
async def test_where_ids_do_not_tell_the_length_of_a_list_no_more_is_read_than_there_are_rows(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=3000)
    app = sandbox.world.apps[APP]
    renamed = [
        msgspec.structs.replace(device, device_id=f"device-{number:04}") for number, device in enumerate(app.devices.values())
    ]
    app.devices.clear()
    app.load_devices(renamed)
    chosen = ids_of(sandbox)[-3:]
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, to_beta(chosen)) as job:
        assert foretold(job) == {Cause.NEVER_LISTED: 3}
    assert len([line for line in sandbox.log if line.path == "/device"]) == 3


def no_links_of(page: int) -> Spoil:
    """Return what hides the links of one page of devices, the first being 0."""
    asked = count()

    def spoil(request: Request, body: Any) -> Any:
        listed = request.path == "/device" and "data" in body
        return no_links(request, body) if listed and next(asked) == page else body

    return spoil


@pytest.mark.parametrize("hidden", [False, True], ids=["shown", "hidden"])
@pytest.mark.parametrize("kind", [LinkDevice, UnlinkDevice])
@pytest.mark.parametrize("page", [0, 1, 2])
@in_virtual_time
async def test_links_that_one_page_hides_are_not_taken_for_none(page: int, kind: type, tmp_path: Path, *, hidden: bool) -> None:
    sandbox = sandbox_of(devices=450)
    beyond = [device for device in ids_of(sandbox)[200 * page : 200 * page + 200] if links_of(sandbox).get(device) != "beta"]
    linked = [device for device in beyond if device in links_of(sandbox)]
    free = [device for device in beyond if device not in links_of(sandbox)]
    chosen = [*linked[:1], *free[:4]] if hidden else free[:5]
    before = links_of(sandbox)
    operations: list[Operation] = to_beta(chosen)
    if kind is UnlinkDevice:
        operations = [UnlinkDevice(app_id=APP, device_id=device) for device in chosen]
    transport, client = spoilt(sandbox)
    transport.spoil = no_links_of(page)
    path = tmp_path / "a.capgo-job"
    async with client as capgo, await planned(path, capgo, operations) as job:
        transport.spoil = None
        assert job.plan.planned == 5, "nothing is left out as already unlinked"
        assert foretold(job) == ({} if kind is LinkDevice else {Cause.LINKS_NOT_SHOWN: 5})
        shown = sum(device not in ids_of(sandbox)[200 * page : 200 * page + 200] for device in before)
        assert f"the server counts {len(before)} links and shows {shown}; 5 devices may have one" in str(job.plan)
        await job.run(capgo)
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            report = await undo.run(capgo)
            proven = kind is LinkDevice and not hidden
            assert (report.done, report.left) == ((5, 0) if proven else (0, 5))
    assert (links_of(sandbox) == before) is (proven or (kind is UnlinkDevice and not hidden))


@in_virtual_time
async def test_devices_whose_channel_was_shown_do_not_count_among_the_new_links(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=450)
    before, devices = links_of(sandbox), ids_of(sandbox)
    shown = [device for device, channel in before.items() if device in devices[:200] and channel == "alpha"][:3]
    free = [device for device in devices[200:400] if device not in before][:4]
    transport, client = spoilt(sandbox)
    transport.spoil = no_links_of(1)
    async with client as capgo, await planned(tmp_path / "a.capgo-job", capgo, to_beta([*shown, *free])) as job:
        transport.spoil = None
        await job.run(capgo)
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            report = await undo.run(capgo)
            assert (report.done, report.left) == (len(shown) + 4, 0)
    assert len(shown) == 3
    assert links_of(sandbox) == before


@in_virtual_time
async def test_an_app_with_few_links_is_known_where_all_that_are_counted_are_shown(tmp_path: Path) -> None:
    sandbox = without_links(sandbox_of(devices=450))
    app, devices = sandbox.world.apps[APP], ids_of(sandbox)
    app.link(devices[0], app.channels["alpha"], 0.0)
    operations = [*to_beta(devices[-5:]), *(UnlinkDevice(app_id=APP, device_id=device) for device in devices[300:305])]
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, operations) as job:
        assert (job.plan.planned, job.plan.skipped, foretold(job)) == (5, 5, {})
        assert {row.former async for rows in job.operations() for row in rows} == {"no link"}
        assert not [remark for remark in job.plan.remarks if "counts" in remark]


@pytest.mark.parametrize("page", [0, 2])
@in_virtual_time
async def test_a_page_that_hides_its_links_from_the_undo_does_not_show_that_others_unlinked(page: int, tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=450)
    devices = ids_of(sandbox)
    chosen = [device for device in devices[200 * page : 200 * page + 200] if device not in links_of(sandbox)][:5]
    transport, client = spoilt(sandbox)
    async with client as capgo, await planned(tmp_path / "a.capgo-job", capgo, to_beta(chosen)) as job:
        await job.run(capgo)
        transport.spoil = no_links_of(page)
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            assert (undo.plan.planned, undo.plan.left, await causes(undo)) == (0, 5, [Cause.LINKS_NOT_SHOWN] * 5)


@in_virtual_time
async def test_where_no_count_is_told_the_links_of_another_app_prove_what_a_listing_shows(tmp_path: Path) -> None:
    sandbox = without_links(sandbox_of(apps=2, devices=60), APP)
    operations = [*to_beta(ids_of(sandbox)[:3]), *to_beta(ids_of(sandbox, OTHER)[:3], OTHER)]
    transport, client = spoilt(sandbox)
    transport.spoil = no_count
    async with client as capgo, await planned(tmp_path / "a.capgo-job", capgo, operations) as job:
        formers = {row.former async for rows in job.operations() for row in rows if row.app_id == APP}
    assert formers == {"no link"}


@in_virtual_time
async def test_a_look_up_of_one_device_proves_nothing_about_pages_where_no_count_is_told(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=3000)
    devices, before = ids_of(sandbox), links_of(sandbox)
    listed, looked_up = ([device for device in part if device in before][:5] for part in (devices[:200], devices[-200:]))
    transport, client = spoilt(sandbox)
    transport.spoil = lambda request, body: no_count(request, no_links(request, body) if "data" in body else body)
    operations = [UnlinkDevice(app_id=APP, device_id=device) for device in (*listed, *looked_up)]
    async with client as capgo, await planned(tmp_path / "a.capgo-job", capgo, operations) as job:
        assert (job.plan.planned, job.plan.skipped, foretold(job)) == (10, 0, {Cause.LINKS_NOT_SHOWN: 5})


@pytest.mark.parametrize("blind", [None, no_links], ids=["links shown", "links never shown"])
@in_virtual_time
async def test_where_no_count_is_told_links_that_are_shown_after_the_run_prove_it(blind: Spoil | None, tmp_path: Path) -> None:
    sandbox = without_links(sandbox_of(devices=60))
    before = links_of(sandbox)
    transport, client = spoilt(sandbox)
    transport.spoil = neither if blind else no_count
    async with client as capgo, await planned(tmp_path / "a.capgo-job", capgo, to_beta(ids_of(sandbox)[:3])) as job:
        assert {row.former async for rows in job.operations() for row in rows} == {"no link shown"}
        assert foretold(job) == {}
        await job.run(capgo)
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            report = await undo.run(capgo)
            if blind:
                assert (report.planned, report.left, await causes(undo)) == (0, 3, [Cause.LINKS_NOT_SHOWN] * 3)
            else:
                assert (report.done, report.left, links_of(sandbox)) == (3, 0, before)


@in_virtual_time
async def test_what_pages_of_another_size_show_proves_nothing_about_those_of_the_plan(tmp_path: Path) -> None:
    sandbox = without_links(sandbox_of(devices=60))
    transport, client = spoilt(sandbox)
    transport.spoil = no_count
    path = tmp_path / "a.capgo-job"
    async with client as capgo, await planned(path, capgo, to_beta(ids_of(sandbox)[:3])) as job:
        await job.run(capgo)
        job.facts = msgspec.structs.replace(job.facts, page=job.facts.page + 1)
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            assert (undo.plan.planned, await causes(undo)) == (0, [Cause.LINKS_NOT_SHOWN] * 3)


@in_virtual_time
async def test_links_that_the_server_counts_and_does_not_show_are_not_taken_for_none(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=60)
    linked, unlinked = sorted(links_of(sandbox)), sorted({*ids_of(sandbox)} - {*links_of(sandbox)})
    operations: list[Operation] = [*to_beta(linked[:1]), *to_beta(unlinked[:2]), UnlinkDevice(app_id=APP, device_id=linked[-1])]
    transport, client = spoilt(sandbox)
    transport.spoil = no_links
    async with client as capgo, await planned(tmp_path / "a.capgo-job", capgo, operations) as job:
        assert foretold(job) == {Cause.LINKS_NOT_SHOWN: 1}
        assert "1 device has no way back, because a response that shows no link of any device does not prove" in str(job.plan)
        assert f"the server counts {len(linked)} links and shows none" in str(job.plan)
        await job.run(capgo)
        transport.spoil = None
        run = links_of(sandbox)
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            assert (undo.plan.planned, undo.plan.left) == (0, 4)
            await undo.run(capgo)
    assert links_of(sandbox) == run


@in_virtual_time
async def test_an_undo_is_found_again_after_it_has_changed_the_count_of_links(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=60)
    unlinked = sorted({*ids_of(sandbox)} - {*links_of(sandbox)})
    transport, client = spoilt(sandbox)
    transport.spoil = no_links
    async with client as capgo, await planned(tmp_path / "a.capgo-job", capgo, to_beta(unlinked[:5])) as job:
        await job.run(capgo)
        transport.spoil = None
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            assert undo.plan.planned == 5
            with pytest.raises(SafetyStop):
                await undo.run(capgo, bounds=Bounds(max_requests=2))
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            await undo.run(capgo)
            assert (await undo.report()).done == 5


@pytest.mark.parametrize("hidden", [0, 1, 3])
@in_virtual_time
async def test_where_the_server_counts_links_and_shows_none_the_run_tells_whether_a_link_was_hidden(
    hidden: int, tmp_path: Path
) -> None:
    sandbox = without_links(sandbox_of(devices=60))
    app, chosen = sandbox.world.apps[APP], ids_of(sandbox)[:5]
    for device in ("stranger-1", "stranger-2", *chosen[:hidden]):
        app.link(device, app.channels["alpha"], 0.0)
    before = links_of(sandbox)
    transport, client = spoilt(sandbox)
    transport.spoil = no_links
    async with client as capgo, await planned(tmp_path / "a.capgo-job", capgo, to_beta(chosen)) as job:
        assert foretold(job) == {}
        assert f"the server counts {2 + hidden} links and shows none" in str(job.plan)
        await job.run(capgo)
        transport.spoil = None
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            report = await undo.run(capgo)
            assert (report.done, report.left) == ((0, 5) if hidden else (5, 0))
    assert (links_of(sandbox) == before) is not bool(hidden)


@in_virtual_time
async def test_devices_that_the_server_does_not_list_have_no_way_back(tmp_path: Path) -> None:
    sandbox = without_links(sandbox_of(devices=60))
    strangers = [f"stranger-{number}" for number in range(1, 4)]
    async with client_of(sandbox) as capgo:
        async with await planned(tmp_path / "a.capgo-job", capgo, to_beta([*strangers, *ids_of(sandbox)[:2]])) as job:
            assert foretold(job) == {Cause.NEVER_LISTED: 3}
            assert "3 devices were unknown to the server: they are changed anyway, and have no way back" in str(job.plan)
            await job.run(capgo)
            async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
                assert (undo.plan.planned, undo.plan.left) == (2, 3)
                assert (await undo.run(capgo)).left == 3
        source, options = from_operations(to_beta(strangers)), Options(unknown=Unknown.SKIP)
        async with await Job.create(tmp_path / "b.capgo-job", source, client=capgo, options=options) as job:
            # Devices that are left out on request are not left by an undo.
            assert (job.plan.skipped, job.plan.left, job.plan.no_way_back) == (3, 0, ())
    assert sorted(links_of(sandbox)) == strangers


@in_virtual_time
async def test_a_store_that_listed_nothing_for_the_plan_is_not_taken_for_success(tmp_path: Path) -> None:
    sandbox = without_links(sandbox_of(devices=60))
    transport, client = spoilt(sandbox)
    transport.spoil = no_devices
    async with client as capgo, await planned(tmp_path / "a.capgo-job", capgo, to_beta(ids_of(sandbox)[:5])) as job:
        assert foretold(job) == {Cause.NEVER_LISTED: 5}
        await job.run(capgo)
        transport.spoil = None
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            assert (undo.plan.planned, undo.plan.left, await causes(undo)) == (0, 5, [Cause.NEVER_LISTED] * 5)


@in_virtual_time
async def test_a_store_that_lists_nothing_for_the_undo_is_waited_for(tmp_path: Path) -> None:
    sandbox = without_links(sandbox_of(devices=60))
    transport, client = spoilt(sandbox)
    async with client as capgo, await planned(tmp_path / "a.capgo-job", capgo, to_beta(ids_of(sandbox)[:5])) as job:
        await job.run(capgo)
        transport.spoil = no_devices
        with pytest.raises(EmptyListing, match="the server shows no device, but the job to undo has changed some"):
            await job.undo(tmp_path / "undo.capgo-job", client=capgo)
        transport.spoil = None
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            assert (await undo.run(capgo)).done == 5
    assert not links_of(sandbox)


def settings(**values: Any) -> UpdateChannel:
    return UpdateChannel(app_id=APP, channel="beta", settings=ChannelSettings(**values))


@in_virtual_time
async def test_a_change_of_which_the_server_took_the_first_write_alone_is_not_lost_to_the_undo(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=5, generation="2026-11")
    app = sandbox.world.apps[APP]
    beta, bundles = app.channels["beta"], {bundle.name: bundle for bundle in app.bundles.values()}
    beta.update_package, bundles["1.0.0"].external_url = "zip", None
    former = beta.version
    change = settings(bundle="1.1.0", rollout_bundle="1.0.0", rollout_enabled=True)
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, [change]) as job:
        (failure,) = (await job.run(capgo)).failures
        assert (failure.cause, beta.version) == ("ambiguous", bundles["1.1.0"].id)
        assert former != beta.version
        assert "channel_zip_required" in failure.message
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            assert (await causes(undo), undo.plan.left) == ([Cause.CHANGED_SINCE], 1)


def no_package(request: Request, body: Any) -> Any:
    """Do not show the update package of a channel."""
    for channel in (body if isinstance(body, list) else [body]) if request.path == "/channel" else ():
        channel.pop("updatePackage", None)
    return body


@pytest.mark.parametrize("stored", [True, False], ids=["all of it", "a part"])
@in_virtual_time
async def test_a_change_that_the_server_took_and_did_not_show_is_undone_or_told(tmp_path: Path, *, stored: bool) -> None:
    sandbox = sandbox_of(devices=5, generation="2026-11")
    beta = sandbox.world.apps[APP].channels["beta"]
    before = (beta.version, beta.update_package)
    change = settings(bundle="1.1.0", update_package="zip")
    transport, client = spoilt(sandbox)
    async with client as capgo, await planned(tmp_path / "a.capgo-job", capgo, [change]) as job:
        transport.spoil = no_package
        (failure,) = (await job.run(capgo)).failures
        assert failure.cause == "NotApplied"
        assert beta.version != before[0]
        transport.spoil = None
        if not stored:
            beta.update_package = before[1]
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            assert (undo.plan.planned, undo.plan.left) == ((1, 0) if stored else (0, 1))
            assert await causes(undo) == ([] if stored else [Cause.CHANGED_SINCE])
            await undo.run(capgo)
    assert ((beta.version, beta.update_package) == before) is stored


WITHOUT_WAY_BACK: dict[str, tuple[Callable[[Sandbox], Operation], Cause]] = {
    "renewal": (lambda sandbox: RenewDevice(app_id=APP, device_id=min(links_of(sandbox))), Cause.RENEWED),
    "unlisted link": (lambda _: LinkDevice(app_id=APP, device_id="x", channel="beta"), Cause.NEVER_LISTED),
    "unlisted unlink": (lambda _: UnlinkDevice(app_id=APP, device_id="x"), Cause.NEVER_LISTED),
    "hidden setting": (lambda _: settings(electron=False), Cause.SETTING_NOT_SHOWN),
    "public channel": (lambda _: settings(public=True), Cause.OTHERS_MADE_PRIVATE),
    "promotion from a deleted bundle": (
        lambda sandbox: after(sandbox, "deleted", PromoteBundle(app_id=APP, channel="beta", bundle="1.0.0")),
        Cause.BUNDLE_DELETED,
    ),
    "update from a deleted bundle": (
        lambda sandbox: after(sandbox, "deleted", settings(bundle="1.0.0")),
        Cause.BUNDLE_DELETED,
    ),
    "another rollout while one is paused": (
        lambda sandbox: after(sandbox, "paused", settings(rollout_bundle="1.0.0")),
        Cause.PAUSE_ENDED,
    ),
    "channel": (lambda _: DeleteChannel(app_id=APP, channel="alpha"), Cause.IRREVERSIBLE),
    "bundle": (lambda _: DeleteBundle(app_id=APP, bundle="1.0.0"), Cause.IRREVERSIBLE),
    "first comment": (
        lambda _: SetBundleMetadata(app_id=APP, bundle="1.0.0", metadata=BundleMetadata(comment="checked")),
        Cause.TEXT_NOT_REMOVABLE,
    ),
    "member": (
        lambda sandbox: after(sandbox, "member", RemoveMember(org_id=ORG_ID, email="a@example.com")),
        Cause.IRREVERSIBLE,
    ),
}


def after(sandbox: Sandbox, what: str, operation: Operation) -> Operation:
    """Prepare a sandbox for an operation."""
    app = sandbox.world.apps[APP]
    beta, bundles = app.channels["beta"], {bundle.name: bundle for bundle in app.bundles.values()}
    match what:
        case "deleted":
            next(bundle for bundle in bundles.values() if bundle.id == beta.version).deleted = True
        case "paused":
            beta.rollout.version, beta.rollout.enabled, beta.rollout.paused_at = bundles["1.1.0"].id, True, 1
        case "member":
            organization = sandbox.world.organizations.get(ORG_ID)
            assert organization is not None
            organization.join(sandbox.world.add_user("a@example.com"), "org_member")
    return operation


@pytest.mark.parametrize("case", WITHOUT_WAY_BACK)
@in_virtual_time
async def test_what_has_no_way_back_is_said_in_the_plan_and_left_by_the_undo(case: str, tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=60)
    make, cause = WITHOUT_WAY_BACK[case]
    operation = make(sandbox)
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, [operation]) as job:
        assert foretold(job) == {cause: 1}
        unknown = "1 device was unknown to the server: it is changed anyway, and has no way back"
        told = unknown if cause is Cause.NEVER_LISTED else f"1 {operation.target.kind} has no way back, because "
        assert told in str(job.plan)
        assert (await job.run(capgo)).done == 1
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            assert (undo.plan.planned, undo.plan.left, await causes(undo)) == (0, 1, [cause])
            (reason,) = undo.plan.reasons
            assert reason.reason.startswith("cannot be undone: ")
            assert (await undo.run(capgo)).left == 1
    async with await Job.open(tmp_path / "a.capgo-job", read_only=True) as job:
        assert foretold(job) == {cause: 1}


def test_every_reason_has_a_case_or_a_test_of_its_own() -> None:
    assert {cause for _, cause in WITHOUT_WAY_BACK.values()} | {Cause.LINKS_NOT_SHOWN, Cause.DEVICES_HIDDEN} == set(NO_WAY_BACK)
    kinds = {change_of(make(sandbox_of(devices=60))).kind for make, _ in WITHOUT_WAY_BACK.values()}
    assert kinds == set(KINDS)
    assert all(SENTENCES[cause] for cause in LEFT_BY_UNDO)


@in_virtual_time
async def test_reasons_beyond_the_most_common_are_summed_up(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=8)
    operations: list[Operation] = []
    for number, (app_id, app) in enumerate(sandbox.world.apps.items()):
        old = next(bundle for bundle in app.bundles.values() if bundle.id == app.channels["beta"].version)
        old.name, old.deleted = f"2.0.{number}", True
        operations.append(PromoteBundle(app_id=app_id, channel="beta", bundle="1.0.0"))
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, operations) as job:
        told = [line for line in str(job.plan).splitlines() if "no way back" in line]
    assert len(told) == 6
    assert told[-1] == "3 channels have no way back, because of other reasons"


@in_virtual_time
async def test_a_renewal_that_did_nothing_is_not_left_by_its_undo(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=60, faults="DELETE /device:drop-before=100%")
    before = links_of(sandbox)
    operation = RenewDevice(app_id=APP, device_id=min(before))
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, [operation]) as job:
        report = await job.run(capgo)
        assert report.done == 0
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            assert (undo.plan.planned, undo.plan.left) == (0, 0)
    assert links_of(sandbox) == before


@pytest.mark.parametrize("ends", ["failed", "interrupted"])
@in_virtual_time
async def test_a_renewal_that_ended_between_its_two_writes_gets_its_link_back(ends: str, tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=60, faults="POST /device:502=#1..")
    before = links_of(sandbox)
    device = max(before)
    operation = RenewDevice(app_id=APP, device_id=device)
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, [operation]) as job:
        if ends == "interrupted":
            asyncio.get_running_loop().call_later(1.0, job.drain)
        report = await job.run(capgo)
        assert (report.failed, report.pending) == ((1, 0) if ends == "failed" else (0, 1))
        assert device not in links_of(sandbox)
        sandbox.faults = Faults(())
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            assert (undo.plan.planned, undo.plan.left) == (1, 0)
            report = await undo.run(capgo)
            assert (report.done, report.left) == (1, 0)
    assert links_of(sandbox) == before
