"""What an undo restores, what it leaves, and what the plan says of it beforehand (contract C6, C7, G4)."""

import asyncio
import json
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
from fleet import APP, client_of, ids_of, links_of, sandbox_of
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

OTHER = "com.example.app02"
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


async def planned(path: Path, capgo: CapgoClient, operations: Sequence[Operation]) -> Job:
    return await Job.create(path, from_operations(operations), client=capgo)


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


@pytest.mark.parametrize("links", [0, 1])
@in_virtual_time
async def test_devices_that_the_listing_does_not_reach_have_no_link_where_none_is_counted(links: int, tmp_path: Path) -> None:
    sandbox = without_links(sandbox_of(devices=3000))
    app, chosen = sandbox.world.apps[APP], sorted(ids_of(sandbox))[-5:]
    for device in sorted(ids_of(sandbox))[:links]:
        app.link(device, app.channels["alpha"], 0.0)
    before = links_of(sandbox)
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, to_beta(chosen)) as job:
        assert foretold(job) == ({Cause.NEVER_LISTED: 5} if links else {})
        await job.run(capgo)
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            report = await undo.run(capgo)
            assert (report.done, report.left) == ((0, 5) if links else (5, 0))
    assert (links_of(sandbox) == before) is not bool(links)


@in_virtual_time
async def test_where_no_count_is_told_the_links_of_another_app_prove_what_a_listing_shows(tmp_path: Path) -> None:
    sandbox = without_links(sandbox_of(apps=2, devices=60), APP)
    operations = [*to_beta(ids_of(sandbox)[:3]), *to_beta(ids_of(sandbox, OTHER)[:3], OTHER)]
    transport, client = spoilt(sandbox)
    transport.spoil = no_count
    async with client as capgo, await planned(tmp_path / "a.capgo-job", capgo, operations) as job:
        formers = {row.former async for rows in job.operations() for row in rows if row.app_id == APP}
    assert formers == {"no link"}


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
        assert "1 device has no way back, because the listing of the app shows no link at all" in str(job.plan)
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
        assert f"1 {operation.target.kind} has no way back, because " in str(job.plan)
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
