"""Jobs that end rollouts: refused without the option, told in the plan, sent as planned, and undone (contract K2, K3, G4)."""

from pathlib import Path
from typing import Any

import pytest
from fleet import client_of, sandbox_of
from virtual_time import in_virtual_time

from capgo_async import CapgoClient, ChannelSettings, errors
from capgo_async.bulk import Cause, Job, Operation, Options, PromoteBundle, Rows, UpdateChannel, from_operations
from capgo_async.sandbox import Sandbox
from capgo_async.sandbox.state.channels import Channel

pytestmark = pytest.mark.slow

APP = "com.example.app01"
ENDING = Options(end_rollouts=True)


SERVERS: dict[str, dict[str, Any]] = {
    "keeps rollouts": {"generation": "2026-07"},
    "drops rollouts": {"generation": "2026-11"},
    "prefers rollouts": {"generation": "2026-11", "bundle_target": True},
}
every_server = pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS)


def rolling_out(server: dict[str, Any] = SERVERS["keeps rollouts"], **settings: Any) -> tuple[Sandbox, Channel]:
    """Return a sandbox whose channel beta is on 1.2.0 and has a rollout of 1.1.0."""
    sandbox = sandbox_of(apps=1, **server)
    app = sandbox.world.apps[APP]
    beta = app.channels["beta"]
    bundle = app.bundle_named("1.1.0")
    assert bundle is not None
    beta.rollout.version = bundle.id
    for name, value in {"enabled": True, "percentage_bps": 2500, **settings}.items():
        setattr(beta.rollout, name, value)
    return sandbox, beta


def name_of(sandbox: Sandbox, number: int | None) -> str | None:
    bundle = sandbox.world.apps[APP].bundle_numbered(number)
    return None if bundle is None else bundle.name


def state(sandbox: Sandbox, beta: Channel) -> tuple[Any, ...]:
    rollout = beta.rollout
    paused = rollout.paused_at is not None
    return name_of(sandbox, beta.version), name_of(sandbox, rollout.version), rollout.enabled, rollout.percentage_bps, paused


def writes(sandbox: Sandbox) -> int:
    return sum(line.method != "GET" for line in sandbox.log)


CHANGES: dict[str, Operation] = {
    "promotion": PromoteBundle(app_id=APP, channel="beta", bundle="1.0.0"),
    "another bundle": UpdateChannel(app_id=APP, channel="beta", settings=ChannelSettings(bundle="1.0.0", allow_dev=False)),
    "no bundle": UpdateChannel(app_id=APP, channel="beta", settings=ChannelSettings(bundle=None)),
    "switched off": UpdateChannel(app_id=APP, channel="beta", settings=ChannelSettings(rollout_enabled=False)),
}
every_change = pytest.mark.parametrize("operation", CHANGES.values(), ids=CHANGES)


async def planned(path: Path, capgo: CapgoClient, operation: Operation, options: Options = ENDING) -> Job:
    return await Job.create(path, from_operations([operation]), client=capgo, options=options)


@every_server
@every_change
@in_virtual_time
async def test_a_change_that_ends_a_rollout_is_refused(operation: Operation, server: dict[str, Any], tmp_path: Path) -> None:
    sandbox, _ = rolling_out(server)
    async with client_of(sandbox) as capgo:
        with pytest.raises(errors.InputError) as caught:
            await planned(tmp_path / "a.capgo-job", capgo, operation, Options())
    ((_, cause, reason),) = caught.value.rejected
    assert (cause, reason) == (
        Cause.ENDS_ROLLOUT,
        f"channel beta of {APP} has a rollout of 1.1.0, which this would end",
    )
    assert writes(sandbox) == 0


@pytest.mark.parametrize("paused", [None, 1_784_538_000_000_000])
@pytest.mark.parametrize(
    ("change", "enabled"), [*((change, True) for change in CHANGES), ("promotion", False), ("no bundle", False)]
)
@every_server
@in_virtual_time
async def test_with_the_option_it_is_told_done_and_undone(
    server: dict[str, Any], change: str, *, enabled: bool, paused: int | None, tmp_path: Path
) -> None:
    sandbox, beta = rolling_out(server, enabled=enabled, paused_at=paused)
    before = state(sandbox, beta)
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, CHANGES[change]) as job:
        assert "ending the rollout of 1.1.0" in job.plan.question("https://capgo.test")
        assert f"{APP}: undoing this brings back 1 rollout, but the server chooses the devices anew" in job.plan.remarks
        report = await job.run(capgo)
        assert (report.done, report.failed) == (1, 0)
        assert (beta.rollout.version, beta.rollout.enabled) == (None, False)
        report = await job.verify(capgo)
        assert (report.verified, report.contradicted) == (1, 0)
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            assert 'rollout_bundle="1.1.0"' in str(undo.plan)
            report = await undo.run(capgo)
            assert (report.done, report.failed) == (1, 0)
            assert state(sandbox, beta) == before
            assert (await undo.verify(capgo)).verified == 1


@every_server
@every_change
@in_virtual_time
async def test_a_rollout_that_was_started_after_the_plan_goes_on(
    operation: Operation, server: dict[str, Any], tmp_path: Path
) -> None:
    sandbox, beta = rolling_out(server, version=None)
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, operation) as job:
        assert "rollout of" not in str(job.plan)
        bundle = sandbox.world.apps[APP].bundle_named("1.1.0")
        assert bundle is not None
        beta.rollout.version = bundle.id
        stable = beta.version
        report = await job.run(capgo)
        (failure,) = report.failures
        assert failure.cause == Cause.CHANGED_SINCE
        assert "somebody else started a rollout" in failure.message
    assert (beta.version, beta.rollout.version) == (stable, bundle.id)


@in_virtual_time
async def test_an_undo_ends_no_rollout_that_began_after_the_job(tmp_path: Path) -> None:
    sandbox, _ = rolling_out(version=None, enabled=False)
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, CHANGES["promotion"]) as job:
        await job.run(capgo)
        await capgo.channels.update(APP, "beta", ChannelSettings(rollout_bundle="1.1.0"))
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            assert (undo.plan.planned, undo.plan.rejected) == (0, 1)
            (reason,) = [row.reason async for rows in undo.rows(Rows.REJECTED) for row in rows]
    assert "has a rollout of 1.1.0, which this would end" in str(reason)


@pytest.mark.parametrize("change", CHANGES)
@in_virtual_time
async def test_an_undo_that_brings_a_rollout_back_leaves_one_that_others_began_since(change: str, tmp_path: Path) -> None:
    sandbox, beta = rolling_out(SERVERS["drops rollouts"])
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, CHANGES[change]) as job:
        await job.run(capgo)
        if beta.version is None:
            await capgo.channels.update(APP, "beta", ChannelSettings(bundle="1.1.0"))
        await capgo.channels.update(APP, "beta", ChannelSettings(rollout_bundle="1.2.0", rollout_enabled=True))
        theirs = state(sandbox, beta)
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            assert (await undo.run(capgo)).left == 1
    assert state(sandbox, beta) == theirs


@pytest.mark.parametrize("server", SERVERS.values(), ids=SERVERS)
@in_virtual_time
async def test_a_rollout_that_was_switched_on_is_switched_off_and_keeps_its_bundle(
    server: dict[str, Any], tmp_path: Path
) -> None:
    sandbox, beta = rolling_out(server, enabled=False)
    before = state(sandbox, beta)
    on = UpdateChannel(app_id=APP, channel="beta", settings=ChannelSettings(rollout_enabled=True))
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, on, Options()) as job:
        assert job.plan.no_way_back == ()
        await job.run(capgo)
        assert beta.rollout.enabled
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            report = await undo.run(capgo)
            assert (report.done, report.left) == (1, 0)
            assert (await undo.verify(capgo)).verified == 1
    assert state(sandbox, beta) == before


@every_server
@in_virtual_time
async def test_starting_a_rollout_can_be_undone_without_the_option(server: dict[str, Any], tmp_path: Path) -> None:
    sandbox, beta = rolling_out(server, version=None, enabled=False)
    before = state(sandbox, beta)
    start = ChannelSettings(rollout_bundle="1.0.0", rollout_enabled=True, rollout_percentage_bps=100)
    operation = UpdateChannel(app_id=APP, channel="beta", settings=start)
    async with client_of(sandbox) as capgo:
        async with await planned(tmp_path / "a.capgo-job", capgo, operation, Options()) as job:
            await job.run(capgo)
            assert state(sandbox, beta)[1:4] == ("1.0.0", True, 100)
            async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
                assert "ending the rollout of 1.0.0, which the job began" in str(undo.plan)
                await undo.run(capgo)
    assert state(sandbox, beta) == before


@every_server
@in_virtual_time
async def test_the_undo_of_an_undo_names_the_rollout_that_it_ends(server: dict[str, Any], tmp_path: Path) -> None:
    sandbox, beta = rolling_out(server)
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, CHANGES["promotion"]) as job:
        assert "which the job began" not in str(job.plan)
        await job.run(capgo)
        after = state(sandbox, beta)
        async with await job.undo(tmp_path / "b.capgo-job", client=capgo) as undo:
            assert "ending the rollout" not in str(undo.plan)
            await undo.run(capgo)
            async with await undo.undo(tmp_path / "c.capgo-job", client=capgo) as again:
                assert "ending the rollout of 1.1.0, which the job began" in again.plan.question("https://capgo.test")
                report = await again.run(capgo)
                assert (report.done, (await again.verify(capgo)).verified) == (1, 1)
    assert state(sandbox, beta) == after


@in_virtual_time
async def test_a_setting_that_the_server_does_not_know_is_rejected(tmp_path: Path) -> None:
    operation = UpdateChannel(app_id=APP, channel="beta", settings=ChannelSettings(update_package="delta"))
    sandbox = sandbox_of(apps=1)
    async with client_of(sandbox) as capgo:
        with pytest.raises(errors.InputError) as caught:
            await planned(tmp_path / "a.capgo-job", capgo, operation)
    assert caught.value.rejected[0][2] == "this server does not know the setting update_package"
