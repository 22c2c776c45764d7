"""Every kind of operation: planned, sent, proven, taken back, and survived."""

from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path
from typing import Any

import anyio
import pytest
from fleet import client_of, ids_of, planned, sandbox_of
from scripted import answer
from virtual_time import in_virtual_time

from capgo_async import BundleMetadata, CapgoClient, ChannelSettings, errors
from capgo_async.bulk import Cause, Job, Options, Report, Rows, Which, from_operations
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
    operation_of,
)
from capgo_async.bulk.running.execution import calls_of
from capgo_async.http.wire import Request, Response
from capgo_async.limits.models import Limit, ScopeKind, SilenceWindow
from capgo_async.sandbox import Sandbox, Settings, fleet
from capgo_async.sandbox.inprocess import InProcessTransport
from capgo_async.sandbox.seeding import EPOCH, ORG_ID, OUTSIDER_EMAIL, SUPER_ADMIN_KEY
from capgo_async.sandbox.state.apps import Override
from capgo_async.sandbox.state.organizations import Organization

pytestmark = pytest.mark.slow

APPS = ("com.example.app01", "com.example.app02", "com.example.app03")
MEMBERS = ("a@example.com", "b@example.com", "c@example.com")


def linked(sandbox: Sandbox, app_id: str) -> list[str]:
    return sorted(sandbox.world.apps[app_id].overrides)


def links(sandbox: Sandbox) -> list[Operation]:
    return [LinkDevice(app_id=app, device_id=device, channel="alpha") for app in APPS for device in ids_of(sandbox, app)[:5]]


def unlinks(sandbox: Sandbox) -> list[Operation]:
    return [UnlinkDevice(app_id=app, device_id=device) for app in APPS for device in linked(sandbox, app)[:5]]


def renewals(sandbox: Sandbox) -> list[Operation]:
    return [RenewDevice(app_id=app, device_id=device) for app in APPS for device in linked(sandbox, app)[:5]]


def updates(_: Sandbox) -> list[Operation]:
    settings = ChannelSettings(disable_auto_update="minor", allow_emulator=False, auto_pause_min_attempts=3)
    return [UpdateChannel(app_id=app, channel=name, settings=settings) for app in APPS for name in ("alpha", "beta")]


def promotions(_: Sandbox) -> list[Operation]:
    return [PromoteBundle(app_id=app, channel=name, bundle="1.0.0") for app in APPS for name in ("alpha", "beta")]


def deletions_of_channels(_: Sandbox) -> list[Operation]:
    return [DeleteChannel(app_id=app, channel=name) for app in APPS for name in ("alpha", "beta")]


def deletions_of_bundles(_: Sandbox) -> list[Operation]:
    return [DeleteBundle(app_id=app, bundle="1.0.0") for app in APPS]


def descriptions(sandbox: Sandbox) -> list[Operation]:
    for app in APPS:
        for bundle in sandbox.world.apps[app].bundles.values():
            bundle.comment = "as it was"
    metadata = BundleMetadata(comment="checked")
    return [SetBundleMetadata(app_id=app, bundle=name, metadata=metadata) for app in APPS for name in ("1.0.0", "1.1.0")]


def removals(sandbox: Sandbox) -> list[Operation]:
    organization = sandbox.world.organizations.get(ORG_ID)
    assert organization is not None
    for email in MEMBERS:
        organization.join(sandbox.world.add_user(email), "org_member")
    return [RemoveMember(org_id=ORG_ID, email=email) for email in MEMBERS]


MAKERS: dict[str, Callable[[Sandbox], list[Operation]]] = {
    "link_device": links,
    "unlink_device": unlinks,
    "renew_device": renewals,
    "update_channel": updates,
    "promote_bundle": promotions,
    "delete_channel": deletions_of_channels,
    "delete_bundle": deletions_of_bundles,
    "set_bundle_metadata": descriptions,
    "remove_member": removals,
}
ONE_WAY = {"renew_device", "delete_channel", "delete_bundle", "remove_member"}
every_kind = pytest.mark.parametrize("kind", KINDS)


def state(sandbox: Sandbox) -> dict[str, Any]:
    """Return all that operations can change; moments and the identity of rollouts are not part of it."""
    organization = sandbox.world.organizations.get(ORG_ID)
    assert organization is not None
    found: dict[str, Any] = {"members": sorted(organization.members)}
    for app_id, app in sandbox.world.apps.items():
        found[app_id] = (
            {device: override.channel.name for device, override in app.overrides.items()},
            {
                name: (
                    channel.version,
                    channel.public,
                    channel.disable_auto_update,
                    channel.allow_emulator,
                    repr(channel.auto_pause),
                )
                for name, channel in app.channels.items()
            },
            {bundle.name: (bundle.link, bundle.comment) for bundle in app.bundles.values() if not bundle.deleted},
        )
    return found


def writes(sandbox: Sandbox) -> list[str]:
    return [f"{line.method} {line.path}" for line in sandbox.log if line.method != "GET"]


async def sentences(job: Job, fate: Rows) -> list[str | None]:
    return [row.reason async for rows in job.rows(fate) for row in rows]


async def causes(job: Job) -> set[str | None]:
    """Return why rows were skipped."""
    return {row.cause async for rows in job.rows(Rows.SKIPPED) for row in rows}


def test_there_is_a_maker_for_every_kind() -> None:
    assert set(MAKERS) == set(KINDS)


@every_kind
def test_what_stands_in_a_file_makes_the_operation_again(kind: str) -> None:
    for operation in MAKERS[kind](sandbox_of(apps=3)):
        change = change_of(operation)
        assert change.kind == kind
        assert operation.target.kind is KINDS[kind].target
        assert operation_of(change, operation.target.app_id, operation.target.name) == operation


def test_the_table_tells_the_limits_that_the_calls_count_against() -> None:
    device = {"app_id": APPS[0], "device_id": "d"}
    for operation in (LinkDevice(**device, channel="beta"), UnlinkDevice(**device), RenewDevice(**device, channel="beta")):
        kind = KINDS[change_of(operation).kind]
        counted = {scope[0] for call in calls_of(operation) for scope in call.scopes} | {ScopeKind.KEY}
        assert counted == set(kind.limits)


@every_kind
@in_virtual_time
async def test_all_is_planned_done_and_verified_and_then_nothing_is_left(kind: str, tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=3, devices=90)
    operations = MAKERS[kind](sandbox)
    before = state(sandbox)
    async with client_of(sandbox) as capgo:
        async with await planned(tmp_path / "a.capgo-job", capgo, operations) as job:
            already = job.plan.skipped
            assert (job.plan.planned, job.plan.rejected) == (len(operations) - already, 0)
            assert writes(sandbox) == []
            report = await job.run(capgo)
            assert (report.done, report.failed) == (report.planned, 0)
            sent = writes(sandbox)
            wanted = [request for request in KINDS[kind].requests if not request.startswith("GET")]
            assert sorted(sent) == sorted(wanted * report.planned)
            assert (state(sandbox) == before) is (kind == "renew_device")
            report = await job.verify(capgo)
            assert (report.verified, report.contradicted, report.cannot_tell) == (report.done, 0, 0)
        if kind != "renew_device":
            async with await planned(tmp_path / "b.capgo-job", capgo, operations) as again:
                assert (again.plan.planned, again.plan.skipped) == (0, len(operations))
    assert writes(sandbox) == sent


@every_kind
@in_virtual_time
async def test_the_way_back_restores_what_was_or_says_that_there_is_none(kind: str, tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=3, devices=90)
    operations = MAKERS[kind](sandbox)
    before = state(sandbox)
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, operations) as job:
        await job.run(capgo)
        done = len(writes(sandbox))
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            if kind not in ONE_WAY:
                assert undo.plan.planned == job.plan.planned
                report = await undo.run(capgo)
                assert (report.done, report.failed) == (report.planned, 0)
                assert state(sandbox) == before
                report = await undo.verify(capgo)
                assert report.verified == report.done
            else:
                assert (undo.plan.planned, undo.plan.skipped) == (0, job.plan.planned)
                assert await causes(undo) == {Cause.RENEWED if kind == "renew_device" else Cause.IRREVERSIBLE}
                await undo.run(capgo)
                assert len(writes(sandbox)) == done


@every_kind
@in_virtual_time
async def test_lost_answers_and_a_killed_run_leave_every_operation_done_once_in_the_end(kind: str, tmp_path: Path) -> None:
    calm = sandbox_of(apps=3, devices=90)
    operations = MAKERS[kind](calm)
    async with client_of(calm) as capgo, await planned(tmp_path / "calm.capgo-job", capgo, operations) as job:
        await job.run(capgo)
    routes = {request for request in KINDS[kind].requests if not request.startswith("GET")}
    sandbox = sandbox_of(apps=3, devices=90, faults="; ".join(f"{route}:drop-after=40%" for route in sorted(routes)))
    MAKERS[kind](sandbox)
    path = tmp_path / "a.capgo-job"
    async with client_of(sandbox, concurrency=3) as capgo, await planned(path, capgo, operations) as job:
        with anyio.move_on_after(0.15):
            await job.run(capgo)
    report: Report
    async with client_of(sandbox, seed=2) as capgo, await Job.open(path, client=capgo) as job:
        assert not job.plan.rejected
        report = await job.run(capgo)
        ambiguous = sum(group.count for group in report.failures if group.cause == "ambiguous")
        assert report.done + ambiguous == report.planned
        assert report.pending == 0
    assert state(sandbox) == state(calm)


HERE = APPS[0]
FATES: list[tuple[Operation, Rows, str]] = [
    (
        UpdateChannel(app_id=HERE, channel="gone", settings=ChannelSettings(allow_dev=False)),
        Rows.REJECTED,
        "no channel 'gone'",
    ),
    (
        UpdateChannel(app_id=HERE, channel="beta", settings=ChannelSettings(allow_dev=True)),
        Rows.SKIPPED,
        "already has these values",
    ),
    (UpdateChannel(app_id=HERE, channel="beta", settings=ChannelSettings(bundle="9.9.9")), Rows.REJECTED, "no bundle '9.9.9'"),
    (PromoteBundle(app_id=HERE, channel="gone", bundle="1.0.0"), Rows.REJECTED, "no channel 'gone'"),
    (PromoteBundle(app_id=HERE, channel="beta", bundle="9.9.9"), Rows.REJECTED, "no bundle '9.9.9'"),
    (PromoteBundle(app_id=HERE, channel="beta", bundle="1.2.0"), Rows.SKIPPED, "already on 1.2.0"),
    (DeleteChannel(app_id=HERE, channel="production"), Rows.REJECTED, "is public"),
    (DeleteChannel(app_id=HERE, channel="gone"), Rows.SKIPPED, "no such channel"),
    (DeleteBundle(app_id=HERE, bundle="1.2.0"), Rows.REJECTED, "channel beta of com.example.app01 uses 1.2.0"),
    (DeleteBundle(app_id=HERE, bundle="9.9.9"), Rows.SKIPPED, "no such bundle"),
    (SetBundleMetadata(app_id=HERE, bundle="9.9.9", metadata=BundleMetadata(link="x")), Rows.REJECTED, "no bundle '9.9.9'"),
    (RemoveMember(org_id=ORG_ID, email="owner@example.com"), Rows.REJECTED, "last super admin"),
    (RemoveMember(org_id=ORG_ID, email="who@example.com"), Rows.SKIPPED, "not a member"),
    (
        UpdateChannel(app_id="com.no.app", channel="beta", settings=ChannelSettings(public=True)),
        Rows.REJECTED,
        "no access",
    ),
    (RenewDevice(app_id=HERE, device_id="unseen"), Rows.SKIPPED, "no link to renew"),
]


@pytest.mark.parametrize(("operation", "fate", "reason"), FATES)
@in_virtual_time
async def test_what_cannot_or_need_not_be_done_is_told_and_not_sent(
    operation: Operation, fate: Rows, reason: str, tmp_path: Path
) -> None:
    sandbox = sandbox_of(apps=1, devices=30)
    async with client_of(sandbox) as capgo:
        source, options = from_operations([operation]), Options(reject_bad_rows=True)
        async with await Job.create(tmp_path / "a.capgo-job", source, client=capgo, options=options) as job:
            (told,) = await sentences(job, fate)
            await job.run(capgo)
    assert reason in str(told)
    assert writes(sandbox) == []


@in_virtual_time
async def test_waves_of_one_target_for_each_app_are_told_to_be_one(tmp_path: Path) -> None:
    options = Options(waves=(Fraction(1, 10), Fraction(1)))
    operations = [UpdateChannel(app_id=app, channel="beta", settings=ChannelSettings(allow_dev=False)) for app in APPS]
    async with client_of(sandbox_of(apps=3)) as capgo:
        source = from_operations(operations)
        async with await Job.create(tmp_path / "a.capgo-job", source, client=capgo, options=options) as job:
            assert [wave.operations for wave in job.plan.waves] == [3, 0]
            assert any("belongs to the first wave" in remark for remark in job.plan.remarks)


@in_virtual_time
async def test_one_job_has_one_kind_of_targets(tmp_path: Path) -> None:
    sandbox = sandbox_of()
    both: list[Operation] = [DeleteBundle(app_id=APPS[0], bundle="1.0.0"), DeleteChannel(app_id=APPS[0], channel="beta")]
    async with client_of(sandbox) as capgo:
        with pytest.raises(errors.InputError, match="bundles and channels in one list"):
            await planned(tmp_path / "a.capgo-job", capgo, both)
    assert len(sandbox.log) == 0


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in ONE_WAY])
@in_virtual_time
async def test_what_others_have_changed_since_is_left_alone_and_named(kind: str, tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=3, devices=90)
    operations = MAKERS[kind](sandbox)
    app = sandbox.world.apps[APPS[0]]
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, operations) as job:
        await job.run(capgo)
        first = next(operation for operation in operations if operation.target.app_id == APPS[0]).target.name
        app.overrides[first] = Override(app.channels["alpha" if kind == "unlink_device" else "beta"], 1)
        app.channels["alpha"].version = next(bundle.id for bundle in app.bundles.values() if bundle.name == "1.1.0")
        app.channels["alpha"].disable_auto_update = "none"
        next(bundle for bundle in app.bundles.values() if bundle.name == "1.0.0").comment = "somebody else's"
        changed = state(sandbox)
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            assert undo.plan.planned == job.plan.planned - 1
            (left,) = [row async for rows in undo.rows(Rows.SKIPPED) for row in rows]
            assert "changed since" in str(left.reason)
            await undo.run(capgo)
    now = state(sandbox)
    assert left.target is not None
    for place in range(3):
        assert now[APPS[0]][place].get(left.target) == changed[APPS[0]][place].get(left.target)


@in_virtual_time
async def test_what_cannot_be_read_back_is_not_undone(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=1)
    sandbox.world.apps[APPS[0]].channels["production"].public = True
    hidden = UpdateChannel(app_id=APPS[0], channel="beta", settings=ChannelSettings(ios=False))
    lossy = UpdateChannel(app_id=APPS[0], channel="alpha", settings=ChannelSettings(public=True))
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, [hidden, lossy]) as job:
        report = await job.run(capgo)
        assert report.done == 2
        report = await job.verify(capgo)
        assert (report.verified, report.cannot_tell) == (1, 1)
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            assert undo.plan.planned == 0
            assert await causes(undo) == {Cause.SETTING_NOT_SHOWN, Cause.OTHERS_MADE_PRIVATE}


@in_virtual_time
async def test_changes_of_public_in_one_app_go_one_after_the_other(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=2, faults="POST /channel:latency=1s")
    settings = ChannelSettings(public=True)
    operations: list[Operation] = [
        UpdateChannel(app_id=app, channel=name, settings=settings) for app in APPS[:2] for name in ("alpha", "beta")
    ]
    open_now: dict[str, int] = {}
    most = 0
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, operations) as job:
        assert sum("2 channels of com.example" in remark for remark in job.plan.remarks) == 2
        update = capgo.channels.update

        async def counted(app_id: str, name: str, given: ChannelSettings, **more: Any) -> None:
            nonlocal most
            open_now[app_id] = open_now.get(app_id, 0) + 1
            most = max(most, open_now[app_id])
            await update(app_id, name, given, **more)
            open_now[app_id] -= 1

        capgo.channels.update = counted  # type: ignore[assignment]  # looks at what is under way
        report = await job.run(capgo)
    assert (report.done, most) == (4, 1)


@in_virtual_time
async def test_settings_are_not_changed_where_that_may_take_the_bundle_away(tmp_path: Path) -> None:
    sandbox = Sandbox(fleet(apps=1), Settings(generation="seed"))
    settings = ChannelSettings(allow_dev=False)
    operation = UpdateChannel(app_id=APPS[0], channel="beta", settings=settings)
    async with client_of(sandbox) as capgo:
        with pytest.raises(errors.DangerousCall, match="changing a channel's settings can remove its bundle") as caught:
            await planned(tmp_path / "a.capgo-job", capgo, [operation])
        assert caught.value.problem is errors.Problem.MAY_LOSE_BUNDLE
        source = from_operations([operation])
        options = Options(old_servers=True)
        async with await Job.create(tmp_path / "b.capgo-job", source, client=capgo, options=options) as job:
            before = sandbox.world.apps[APPS[0]].channels["beta"].version
            report = await job.run(capgo)
            assert report.done == 1
            with pytest.raises(errors.DangerousCall):
                await job.undo(tmp_path / "undo.capgo-job", client=capgo)
            back = Options(reject_bad_rows=True, old_servers=True)
            async with await job.undo(tmp_path / "undo.capgo-job", client=capgo, options=back) as undo:
                assert (await undo.run(capgo)).done == 1
    assert sandbox.world.apps[APPS[0]].channels["beta"].version == before


@in_virtual_time
async def test_promotions_are_not_planned_for_a_server_that_knows_none(tmp_path: Path) -> None:
    transport = InProcessTransport(Sandbox(fleet(apps=1), Settings(generation="seed")))
    async with CapgoClient(api_key=SUPER_ADMIN_KEY, transport=transport, dialect="seed") as capgo:
        with pytest.raises(errors.ConfigurationError, match="bundle=NAME"):
            await planned(tmp_path / "a.capgo-job", capgo, [PromoteBundle(app_id=HERE, channel="beta", bundle="1.0.0")])


@in_virtual_time
async def test_a_pause_that_another_rollout_ends_is_not_promised_back(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=1)
    async with client_of(sandbox) as capgo:
        await capgo.channels.update(HERE, "beta", ChannelSettings(rollout_bundle="1.0.0"))
        await capgo.channels.update(HERE, "beta", ChannelSettings(rollout_paused=True))
        other = UpdateChannel(app_id=HERE, channel="beta", settings=ChannelSettings(rollout_bundle="1.1.0"))
        async with await planned(tmp_path / "a.capgo-job", capgo, [other]) as job:
            await job.run(capgo)
            async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
                assert undo.plan.planned == 0


@in_virtual_time
async def test_a_promotion_in_doubt_does_not_overwrite_that_of_somebody_else(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=1, faults="PUT /bundle:latency=10s")
    app = sandbox.world.apps[APPS[0]]
    path = tmp_path / "a.capgo-job"
    async with client_of(sandbox) as capgo:
        source = [PromoteBundle(app_id=APPS[0], channel="beta", bundle="1.0.0")]
        async with await planned(path, capgo, source) as job:
            with anyio.move_on_after(1.0):
                await job.run(capgo)
    app.channels["beta"].version = next(bundle.id for bundle in app.bundles.values() if bundle.name == "1.1.0")
    async with client_of(sandbox) as capgo, await Job.open(path, client=capgo) as job:
        report = await job.run(capgo)
    (failure,) = report.failures
    assert (failure.cause, report.done) == ("changed_since", 0)
    assert "1.1.0" in failure.message


@in_virtual_time
async def test_a_renewal_writes_the_link_anew_and_not_before_the_server_takes_it(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=1, devices=10, limits="server")
    app = sandbox.world.apps[APPS[0]]
    (device, *_) = linked(sandbox, APPS[0])
    channel, written_at, _ = app.overrides[device]
    async with client_of(sandbox) as capgo:
        await capgo.devices.link(APPS[0], device, channel=channel.name)
        began = anyio.current_time()
        async with await planned(tmp_path / "a.capgo-job", capgo, [RenewDevice(app_id=APPS[0], device_id=device)]) as job:
            report = await job.run(capgo)
        waited = anyio.current_time() - began
    assert (report.done, report.rate_limited) == (1, 0)
    assert app.overrides[device].channel is channel
    assert app.overrides[device].written_at > written_at
    assert 60 <= waited <= 65


@in_virtual_time
async def test_the_way_back_from_half_a_renewal_gives_the_link_back(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=1, devices=30, faults="POST /device:latency=10s")
    before = state(sandbox)
    (device, *_) = linked(sandbox, APPS[0])
    async with client_of(sandbox) as capgo:
        async with await planned(tmp_path / "a.capgo-job", capgo, [RenewDevice(app_id=APPS[0], device_id=device)]) as job:
            with anyio.move_on_after(1.0):
                await job.run(capgo)
            sandbox.world.apps[APPS[0]].unlink(device)
            async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
                report = await undo.run(capgo)
    assert (report.done, report.failed) == (1, 0)
    assert state(sandbox) == before


@in_virtual_time
async def test_links_that_others_removed_everywhere_do_not_come_back(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=3, devices=90)
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, links(sandbox)) as job:
        await job.run(capgo)
        for app in sandbox.world.apps.values():
            app.overrides.clear()
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            assert undo.plan.planned == 0
            assert Cause.UNLINKED_SINCE in await causes(undo)


@in_virtual_time
async def test_a_channel_that_became_public_is_not_deleted(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=1)
    operation = DeleteChannel(app_id=HERE, channel="beta")
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, [operation]) as job:
        sandbox.world.apps[HERE].channels["beta"].public = True
        report = await job.run(capgo)
        assert [failure.cause for failure in report.failures] == ["changed_since"]
        report = await job.run(capgo, which=Which.FAILED)
        assert report.failed == 1
    assert writes(sandbox) == []


@in_virtual_time
async def test_sending_again_what_others_have_changed_since_leaves_it_alone(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=1, faults="PUT /bundle:latency=10s")
    app, path = sandbox.world.apps[HERE], tmp_path / "a.capgo-job"
    async with client_of(sandbox) as capgo:
        async with await planned(path, capgo, [PromoteBundle(app_id=HERE, channel="beta", bundle="1.0.0")]) as job:
            with anyio.move_on_after(1.0):
                await job.run(capgo)
    theirs = app.channels["beta"].version = next(bundle.id for bundle in app.bundles.values() if bundle.name == "1.1.0")
    for which in (Which.OPEN, Which.FAILED):
        async with client_of(sandbox) as capgo, await Job.open(path, client=capgo) as job:
            assert (await job.run(capgo, which=which)).failures[0].cause == "changed_since"
    assert app.channels["beta"].version == theirs


@in_virtual_time
async def test_a_default_that_others_have_set_since_stays_one(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=1)
    channels = sandbox.world.apps[HERE].channels
    operation = UpdateChannel(app_id=HERE, channel="production", settings=ChannelSettings(public=False))
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, [operation]) as job:
        await job.run(capgo)
        await capgo.channels.update(HERE, "beta", ChannelSettings(public=True))
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            assert await causes(undo) == {Cause.OTHER_PUBLIC_CHANNEL_SINCE}
    assert (channels["production"].public, channels["beta"].public) == (False, True)


@in_virtual_time
async def test_a_renewal_leaves_alone_what_others_have_changed_since(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=1, devices=30)
    app = sandbox.world.apps[HERE]
    moved, removed, gone, same = linked(sandbox, HERE)[:4]
    operations = [RenewDevice(app_id=HERE, device_id=device) for device in (moved, removed, gone, same)]
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, operations) as job:
        app.overrides[moved] = Override(app.channels["production"], 1)
        app.unlink(removed)
        app.forget_device(gone)
        before = state(sandbox)
        report = await job.run(capgo)
    assert (report.done, [(group.cause, group.count) for group in report.failures]) == (
        1,
        [("changed_since", 2), ("device_not_found", 1)],
    )
    assert state(sandbox) == before


@in_virtual_time
async def test_half_a_renewal_is_finished_by_sending_it_again_or_taken_back(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=1, devices=30, faults="POST /device:429-permanent=#1+#2")
    before = state(sandbox)
    operations = [RenewDevice(app_id=HERE, device_id=device) for device in linked(sandbox, HERE)[:2]]
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, operations) as job:
        report = await job.run(capgo)
        assert [(group.cause, group.count) for group in report.failures] == [("half_done", 2)]
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            assert undo.plan.planned == 2
        report = await job.run(capgo, which=Which.FAILED)
        assert report.done == 2
    assert state(sandbox) == before


@in_virtual_time
async def test_a_list_of_all_super_admins_leaves_one(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=1)
    organization = sandbox.world.organizations.get(ORG_ID)
    assert organization is not None
    organization.join(sandbox.world.add_user("second@example.com"), "org_super_admin")
    both = [RemoveMember(org_id=ORG_ID, email=email) for email in ("second@example.com", "owner@example.com")]
    async with client_of(sandbox) as capgo:
        options = Options(reject_bad_rows=True)
        async with await Job.create(tmp_path / "a.capgo-job", from_operations(both), client=capgo, options=options) as job:
            (told,) = await sentences(job, Rows.REJECTED)
    assert "owner@example.com is the last super admin" in str(told)


class WithoutAuditLog(InProcessTransport):
    """A server before 12.77."""

    async def send(self, request: Request, headers: Mapping[str, str], *, fresh: bool = False) -> Response:
        if request.path == "/organization/audit":
            return answer(404, {"error": "not_found", "message": "Not found"})
        return await super().send(request, headers, fresh=fresh)


def two_invited(sandbox: Sandbox) -> Organization:
    """Invite an account and somebody without one; the list of members shows both alike."""
    organization = sandbox.world.organizations.get(ORG_ID)
    assert organization is not None
    organization.invite("nobody@example.com", "org_admin", "0a1b2c3d-0000-4000-8000-00000000beef", EPOCH)
    return organization


@in_virtual_time
async def test_the_invitation_of_somebody_without_an_account_is_in_no_plan(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=1)
    organization = two_invited(sandbox)
    both = [RemoveMember(org_id=ORG_ID, email=email) for email in ("nobody@example.com", OUTSIDER_EMAIL)]
    async with client_of(sandbox) as capgo:
        await capgo.members.invite(ORG_ID, OUTSIDER_EMAIL, "org_member")
        options = Options(reject_bad_rows=True)
        async with await Job.create(tmp_path / "a.capgo-job", from_operations(both), client=capgo, options=options) as job:
            (told,) = await sentences(job, Rows.REJECTED)
            report = await job.run(capgo)
    assert f"nobody@example.com is invited to {ORG_ID} but has no account" in str(told)
    assert (report.planned, report.done, report.failed) == (1, 1, 0)
    assert list(organization.invitations) == ["nobody@example.com"]


@in_virtual_time
async def test_without_an_audit_log_the_plan_says_what_may_fail_and_no_doubt_makes_it_done(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=1, faults="DELETE /organization/members:latency=10s")
    organization = two_invited(sandbox)
    source = from_operations([RemoveMember(org_id=ORG_ID, email="nobody@example.com")])
    async with CapgoClient(api_key=SUPER_ADMIN_KEY, transport=WithoutAuditLog(sandbox), rate="off") as capgo:
        async with await Job.create(tmp_path / "a.capgo-job", source, client=capgo) as job:
            assert any("audit log cannot be read" in remark for remark in job.plan.remarks)
            with anyio.move_on_after(1.0):
                await job.run(capgo)
        async with await Job.open(tmp_path / "a.capgo-job", client=capgo) as job:
            report = await job.run(capgo)
    assert [(group.cause, group.count) for group in report.failures] == [("user_not_found", 1)]
    assert (report.done, list(organization.invitations)) == (0, ["nobody@example.com"])


@pytest.mark.parametrize("kind", ["update_channel", "delete_channel", "remove_member", "renew_device", "promote_bundle"])
@in_virtual_time
async def test_a_drain_ends_what_waits_for_a_limit_between_its_requests(kind: str, tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=3, devices=90)
    path = tmp_path / "x.capgo-job"
    async with client_of(sandbox) as capgo:
        await (await Job.create(path, from_operations(MAKERS[kind](sandbox)), client=capgo)).aclose()
    before = len(sandbox.log)
    # What the planning sent counts, too. Of three requests the last leaves an operation half-way that takes two.
    limits = (Limit(ScopeKind.KEY, SilenceWindow(requests=before + 3)),)
    async with client_of(sandbox, limits=limits) as capgo, await Job.open(path) as job:
        began = anyio.current_time()

        async def drain() -> None:
            await anyio.sleep(30.0)
            job.drain()

        async with anyio.create_task_group() as group:
            group.start_soon(drain)
            report = await job.run(capgo)
        assert anyio.current_time() == pytest.approx(began + 30.0)
    assert len(sandbox.log) == before + 3
    assert report.pending > 0
    assert report.runs[-1].ended == "interrupted"
    async with client_of(sandbox) as capgo, await Job.open(path) as job:
        report = await job.run(capgo)
    assert (report.done, report.failed, report.pending) == (report.planned, 0, 0)
