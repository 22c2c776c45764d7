"""One job over several organizations, each with a key of its own."""

from pathlib import Path

import anyio
import pytest
from fleet import client_of, ids_of, links_of, write_csv
from virtual_time import in_virtual_time

from capgo_async import CapgoClient, errors
from capgo_async.bulk import Job, read_operations
from capgo_async.bulk.clock import wall_clock
from capgo_async.bulk.jobfile.facts import read_facts
from capgo_async.bulk.jobfile.journal import Journal
from capgo_async.bulk.jobfile.records import last_usage
from capgo_async.bulk.running.metering import carried_over
from capgo_async.client import requester_of
from capgo_async.events import LimitInForce
from capgo_async.key_ring import KeyRing, pacer_of
from capgo_async.limits.models import ScopeKind
from capgo_async.sandbox import Binding, Sandbox, Settings, World, fleet, thresholds
from capgo_async.sandbox.seeding import SUPER_ADMIN_KEY

ORGS = ("046a36ac-0000-4000-8000-00000000000a", "046a36ac-0000-4000-8000-00000000000b")
KEYS = ("10000000-0000-4000-8000-000000000001", "10000000-0000-4000-8000-000000000002")


def two_organizations(devices: int = 20, *, limits: str = "off", variables: dict[str, int] | None = None) -> Sandbox:
    """Move the first two apps of a fleet to organizations whose keys see nothing else."""
    world: World = fleet(apps=3, devices=3 * devices)
    for app, org_id, key in zip(world.apps.values(), ORGS, KEYS, strict=False):
        app.owner_org = org_id
        world.add_key(key, Binding(role="org_super_admin", org_id=org_id), user_id=f"user of {org_id}")
    return Sandbox(world, Settings(limits=thresholds(limits, variables)))


def source_of(path: Path, sandbox: Sandbox) -> Path:
    rows = [(app_id, device, "beta") for app_id in sandbox.world.apps for device in ids_of(sandbox, app_id)]
    return write_csv(path, rows, ("app_id", "device_id", "channel"))


def ring_of(capgo: CapgoClient) -> KeyRing:
    return KeyRing(capgo, dict(zip(ORGS, KEYS, strict=True)))


@in_virtual_time
async def test_each_app_is_spoken_for_with_the_key_of_its_organization(tmp_path: Path) -> None:
    sandbox = two_organizations()
    source = read_operations(source_of(tmp_path / "devices.csv", sandbox))
    async with client_of(sandbox) as capgo:
        ring = ring_of(capgo)
        async with await Job.create(tmp_path / "x.capgo-job", source, client=ring) as job:
            report = await job.run(ring)
            told = [moment.event for moment in (await job.timeline()).moments]
            report = await job.verify(ring)
    assert (report.done, report.failed, report.pending, report.contradicted) == (report.planned, 0, 0, 0)
    assert len({event.key for event in told if isinstance(event, LimitInForce) and event.limit == ScopeKind.KEY}) == 3
    assert report.requests == len(sandbox.log)
    assert all(set(links_of(sandbox, app_id).values()) == {"beta"} for app_id in sandbox.world.apps)
    by_app = {line.target.partition("/")[0]: line.key for line in sandbox.log if line.path == "/device"}
    assert len(by_app) == len(set(by_app.values())) == 3
    assert {line.status for line in sandbox.log} == {200}


@in_virtual_time
async def test_without_the_ring_the_other_organizations_are_out_of_reach(tmp_path: Path) -> None:
    sandbox = two_organizations()
    source = read_operations(source_of(tmp_path / "devices.csv", sandbox))
    async with client_of(sandbox) as capgo:
        with pytest.raises(errors.InputError, match="40 bad rows"):
            await Job.create(tmp_path / "x.capgo-job", source, client=capgo)


@in_virtual_time
async def test_an_app_s_own_key_goes_before_that_of_its_organization() -> None:
    sandbox = two_organizations()
    first, second, third = sandbox.world.apps
    async with client_of(sandbox) as capgo:
        ring = KeyRing(capgo, {ORGS[0]: KEYS[0], ORGS[1]: KEYS[1], first: KEYS[1]})
        await ring.prepare()
        assert ring.client_of(first) is ring.client_of(second)
        assert ring.client_of(third) is capgo
        asked = len(sandbox.log)
        await ring.prepare()
        assert len(sandbox.log) == asked > 0


@in_virtual_time
async def test_two_keys_share_the_limit_of_an_app_and_not_that_of_the_key() -> None:
    """The app's limit counts the address, whatever the key: one pacer knows what both sent."""
    sandbox = two_organizations(600, limits="server", variables={"RATE_LIMIT_API_KEY": 500})
    app_id = next(iter(sandbox.world.apps))
    other = "10000000-0000-4000-8000-000000000003"
    sandbox.world.add_key(other, Binding(role="org_super_admin", org_id=ORGS[0]), user_id="u")
    rows = [(device,) for device in ids_of(sandbox, app_id)]
    async with client_of(sandbox, rate="server", api_key=KEYS[0]) as capgo:
        ring = KeyRing(capgo, {app_id: other})
        for each in (capgo, ring.client_of(app_id)):
            for device in (row[0] for row in rows[:200]):
                await each.devices.unlink(app_id, device)
        used = pacer_of(capgo).gates.usage(anyio.current_time())
        seen = {entry.scope[0]: 0 for entry in used}
        for entry in used:
            seen[entry.scope[0]] = max(seen[entry.scope[0]], entry.used)
    assert seen["key"] == 200
    assert seen["app_address"] == 400
    assert {line.status for line in sandbox.log} == {200}


@in_virtual_time
async def test_a_resumed_job_knows_what_each_key_has_used(tmp_path: Path) -> None:
    sandbox = two_organizations(400, limits="server", variables={"RATE_LIMIT_API_KEY": 300})
    source = read_operations(source_of(tmp_path / "devices.csv", sandbox))
    path = tmp_path / "x.capgo-job"
    async with client_of(sandbox, rate="server", concurrency=4) as capgo:
        (await Job.create(path, source, client=ring_of(capgo))).drain()
    async with client_of(sandbox, rate="server") as capgo:
        ring = ring_of(capgo)
        journal = await Journal.open(path, read_only=True)
        facts, last = await journal.database.run(read_facts), await journal.database.run(last_usage)
        await journal.aclose()
        pacer_of(ring).gates.seed(carried_over(ring, facts.binding.key_salt, last, wall_clock), anyio.current_time())
    used = pacer_of(ring).gates.usage(anyio.current_time())
    counted = {entry.scope: entry.used for entry in used if entry.scope[0] == "key"}
    assert set(counted) == {requester_of(each).key_scope for each in ring.clients}
    assert min(counted.values()) > 0


@in_virtual_time
async def test_a_job_of_a_ring_is_bound_to_all_its_keys(tmp_path: Path) -> None:
    sandbox = two_organizations()
    source = read_operations(source_of(tmp_path / "devices.csv", sandbox))
    path = tmp_path / "x.capgo-job"
    async with client_of(sandbox) as capgo:
        await (await Job.create(path, source, client=ring_of(capgo))).aclose()
        async with await Job.open(path) as job:
            with pytest.raises(errors.JobError, match="another API key"):
                await job.run(capgo)


def test_a_ring_shows_no_key_and_refuses_other_names() -> None:
    sandbox = two_organizations(1)
    capgo = client_of(sandbox)
    assert not any(key in repr(ring_of(capgo)) + str(vars(ring_of(capgo))) for key in (*KEYS, SUPER_ADMIN_KEY))
    with pytest.raises(errors.ConfigurationError, match="neither an app id"):
        KeyRing(capgo, {"beta": KEYS[0]})
