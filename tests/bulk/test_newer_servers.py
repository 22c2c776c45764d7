"""Jobs on servers whose database is away, that empty unpaid apps, or that know more settings (contract K8, K9, K12)."""

from pathlib import Path

import pytest
from fleet import APP, client_of, ids_of, links_of, sandbox_of
from virtual_time import in_virtual_time

from capgo_async import CapgoClient, ChannelSettings, errors
from capgo_async.bulk import (
    Job,
    LinkDevice,
    Operation,
    Options,
    PromoteBundle,
    RenewDevice,
    Rows,
    UpdateChannel,
    from_operations,
)
from capgo_async.errors import Problem
from capgo_async.sandbox.seeding import DEVELOPER_KEY, ORG_ID

pytestmark = pytest.mark.slow

NEWEST = "2026-11"


def links(count: int, channel: str = "beta") -> list[Operation]:
    return [LinkDevice(app_id=APP, device_id=f"device-{number}", channel=channel) for number in range(count)]


async def planned(path: Path, capgo: CapgoClient, *operations: Operation, options: Options | None = None) -> Job:
    return await Job.create(path, from_operations(operations), client=capgo, options=options)


@pytest.mark.parametrize("outcome", ["503", "503-after", "503-keys-after", "lost-keys", "lost-rights"])
@in_virtual_time
async def test_a_database_that_is_away_at_times_loses_no_link(outcome: str, tmp_path: Path) -> None:
    sandbox = sandbox_of(generation=NEWEST, faults=f"/device:{outcome}=15%")
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, *links(200)) as job:
        report = await job.run(capgo)
    assert (report.done, report.failed) == (200, 0)
    assert report.retries > 0
    assert {name: channel for name, channel in links_of(sandbox).items() if name.startswith("device-")} == {
        f"device-{number}": "beta" for number in range(200)
    }


@pytest.mark.parametrize("outcome", ["503", "lost-keys"])
@in_virtual_time
async def test_one_that_stays_away_stops_the_run_as_a_failing_server(outcome: str, tmp_path: Path) -> None:
    sandbox = sandbox_of(generation=NEWEST, faults=f"POST /device:{outcome}=100%")
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, *links(200)) as job:
        with pytest.raises(errors.SafetyStop) as caught:
            await job.run(capgo)
        report = await job.report()
    assert caught.value.problem is Problem.SERVER_FAILING
    assert 50 <= report.failed < 100
    assert {failure.cause for failure in report.failures} == {"ambiguous"}


@pytest.mark.parametrize("outcome", ["503-after", "503-keys-after"])
@in_virtual_time
async def test_a_promotion_whose_response_was_a_503_is_done_once(outcome: str, tmp_path: Path) -> None:
    sandbox = sandbox_of(generation=NEWEST, faults=f"PUT /bundle:{outcome}=#1")
    promotion = PromoteBundle(app_id=APP, channel="beta", bundle="1.0.0")
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, promotion) as job:
        assert (await job.run(capgo)).done == 1
        assert (await job.verify(capgo)).verified == 1


@pytest.mark.parametrize("paid", [True, False])
@in_virtual_time
async def test_channels_that_lost_their_bundles_may_belong_to_an_unpaid_organization(tmp_path: Path, *, paid: bool) -> None:
    sandbox = sandbox_of(generation=NEWEST)
    promotion = PromoteBundle(app_id=APP, channel="beta", bundle="1.0.0")
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, promotion) as job:
        await job.run(capgo)
        sandbox.world.apps[APP].fall_behind(0.0)
        if not paid:
            sandbox.world.unsubscribed.add(ORG_ID)
        assert (await job.verify(capgo)).contradicted == 1
        async with await Job.open(job.path, read_only=True) as seen:
            assert any("the organization is unpaid" in remark for remark in seen.plan.remarks) is not paid


@in_virtual_time
async def test_settings_that_newer_servers_show_can_be_undone(tmp_path: Path) -> None:
    sandbox = sandbox_of(generation=NEWEST)
    beta = sandbox.world.apps[APP].channels["beta"]
    settings = ChannelSettings(ios=False, update_package="zip")
    operation = UpdateChannel(app_id=APP, channel="beta", settings=settings)
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, operation) as job:
        await job.run(capgo)
        assert (beta.ios, beta.update_package) == (False, "zip")
        assert (await job.verify(capgo)).verified == 1
        async with await planned(tmp_path / "again.capgo-job", capgo, operation) as again:
            assert (again.plan.planned, again.plan.skipped) == (0, 1)
        async with await job.undo(tmp_path / "undo.capgo-job", client=capgo) as undo:
            await undo.run(capgo)
    assert (beta.ios, beta.update_package) == (True, "all")


@in_virtual_time
async def test_a_bundle_that_cannot_serve_the_package_of_its_channel_fails_for_good(tmp_path: Path) -> None:
    sandbox = sandbox_of(generation=NEWEST)
    sandbox.world.apps[APP].channels["beta"].update_package = "delta"
    promotion = PromoteBundle(app_id=APP, channel="beta", bundle="1.0.0")
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, promotion) as job:
        (failure,) = (await job.run(capgo)).failures
    assert failure.cause == "channel_delta_required"
    assert "update_package of the channel" in failure.what_to_do
    assert sum(line.method == "PUT" for line in sandbox.log) == 1


@pytest.mark.parametrize(("generation", "told"), [("2026-07", False), (NEWEST, True)])
@in_virtual_time
async def test_a_plan_that_makes_a_channel_public_names_the_right_that_newer_servers_ask_for(
    generation: str, *, told: bool, tmp_path: Path
) -> None:
    sandbox = sandbox_of(generation=generation)
    operation = UpdateChannel(app_id=APP, channel="beta", settings=ChannelSettings(public=True))
    async with client_of(sandbox) as capgo, await planned(tmp_path / "a.capgo-job", capgo, operation) as job:
        assert any("app.update_settings" in remark for remark in job.plan.remarks) is told


@in_virtual_time
async def test_a_developer_makes_a_private_channel_instead_of_none() -> None:
    sandbox = sandbox_of(generation=NEWEST)
    async with client_of(sandbox, api_key=DEVELOPER_KEY) as capgo:
        with pytest.raises(errors.PermissionDenied, match="was created and is private"):
            await capgo.channels.create(APP, "new", ChannelSettings(public=True, bundle="1.0.0"))
    made = sandbox.world.apps[APP].channels["new"]
    assert (made.public, made.version is None) == (False, False)


@in_virtual_time
async def test_links_that_are_kept_are_not_renewed(tmp_path: Path) -> None:
    sandbox = sandbox_of(generation=NEWEST)
    renewals = [RenewDevice(app_id=APP, device_id=device) for device in ids_of(sandbox)[:5]]
    async with client_of(sandbox) as capgo:
        kept = Options(links_are_kept=True)
        async with await planned(tmp_path / "a.capgo-job", capgo, *renewals, options=kept) as job:
            assert (job.plan.planned, job.plan.skipped) == (0, 5)
            told = {row.cause async for rows in job.rows(Rows.SKIPPED) for row in rows}
            assert told == {"links_are_kept"}
            assert "expire" not in str(job.plan)
    assert not [line for line in sandbox.log if line.path == "/device"], "no device needs to be read for this"
