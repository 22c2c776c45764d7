"""The sandbox of a test: what it records, and how it fails."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from capgo_async import CapgoClient
from capgo_async.bulk import Job, LinkDevice, from_operations
from capgo_async.errors import ConnectionLost, ServerError
from capgo_async.sandbox import Binding, Thresholds, World
from capgo_async.sandbox.seeding import ORG_ID, USER_ID, add_people
from capgo_async.testing import CapgoSandbox, Server, VirtualClock

APP = "com.example.app01"


async def test_it_records_what_it_was_sent(capgo: CapgoClient, capgo_sandbox: CapgoSandbox, capgo_clock: VirtualClock) -> None:
    await capgo.devices.link(APP, "d1", channel="beta")
    await capgo_clock.advance(90)
    await capgo.devices.list(APP).all()
    linked, listed = capgo_sandbox.requests
    assert (linked.route, linked.path, linked.query, linked.status) == ("POST /device", "/device", {}, 200)
    assert linked.body == {"app_id": APP, "device_id": "d1", "channel": "beta"}
    assert (listed.route, listed.query["app_id"], listed.body, listed.status) == ("GET /device", APP, None, 200)
    assert (linked.at, listed.at) == (0, 90)
    assert linked.headers["user-agent"].startswith("capgo-async/")
    assert capgo_sandbox.api_key not in str(capgo_sandbox.requests)
    assert capgo_sandbox.links()["d1"] == "beta"


@pytest.mark.capgo(apps=2, devices=10, generation="2026-11", faults="GET /app:503=#1")
@pytest.mark.usefixtures("capgo_clock")
async def test_the_marker_says_what_the_sandbox_is_like(capgo: CapgoClient, capgo_sandbox: CapgoSandbox) -> None:
    assert [app.app_id for app in await capgo.apps.list().all()] == [APP, "com.example.app02"]
    assert [(each.status, each.fault) for each in capgo_sandbox.requests] == [(503, "503"), (200, None)]
    assert len(capgo_sandbox.device_ids()) == len(capgo_sandbox.device_ids("com.example.app02")) == 5
    assert capgo_sandbox.settings.is_newest


@pytest.mark.capgo(devices=1, limits="server")
class TestMarkersOfClass:
    @pytest.mark.capgo(devices=2)
    def test_hold_unless_the_test_says_otherwise(self, capgo_sandbox: CapgoSandbox) -> None:
        assert len(capgo_sandbox.device_ids()) == 2
        assert capgo_sandbox.settings.limits.api_key == 2000

    def test_hold_for_each_test(self, capgo_sandbox: CapgoSandbox) -> None:
        assert len(capgo_sandbox.device_ids()) == 1


@pytest.mark.capgo(limits="server")
async def test_a_second_link_of_a_device_waits_for_nothing_real(capgo: CapgoClient, capgo_clock: VirtualClock) -> None:
    for _ in range(2):
        await capgo.devices.link(APP, "d1", channel="beta")
    assert 60 <= capgo_clock.now < 63


@pytest.mark.capgo(limits=Thresholds(api_key=3))
async def test_limits_of_its_own(capgo_sandbox: CapgoSandbox, capgo_clock: VirtualClock) -> None:
    capgo = capgo_sandbox.client(rate="off", retries=0)
    for _ in range(2):
        await capgo.apps.get(APP)
    await capgo.apps.get(APP)
    assert [each.status for each in capgo_sandbox.requests] == [200, 200, 429, 200]
    assert capgo_clock.now >= 60


async def test_it_fails_when_told_to(capgo_sandbox: CapgoSandbox) -> None:
    capgo = capgo_sandbox.client(retries=0)
    await capgo.apps.get(APP)
    capgo_sandbox.fail_next("503", "GET /app/:app_id", after=1, times=2)
    await capgo.apps.get(APP)
    for _ in range(2):
        with pytest.raises(ServerError):
            await capgo.apps.get(APP)
    await capgo.apps.get(APP)
    capgo_sandbox.fail_next("drop-after", times=None)
    for _ in range(3):
        with pytest.raises(ConnectionLost):
            await capgo.devices.link(APP, "d1", channel="beta")
    assert capgo_sandbox.links()["d1"] == "beta"
    capgo_sandbox.recover()
    await capgo.apps.get(APP)
    assert [each.status for each in capgo_sandbox.requests] == [200, 200, 503, 503, 200, 0, 0, 0, 200]


def test_an_unknown_generation_is_an_error_that_names_the_others() -> None:
    with pytest.raises(ValueError, match=r"'2027-01': choose one of 2026-07, 2026-11, docs, seed"):
        CapgoSandbox(generation="2027-01")


@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ({"route": "POST /devices"}, "no route 'POST /devices'"),
        ({"route": "/app/com.example.app01"}, "no route '/app/com.example.app01'"),
        ({"outcome": "5O3"}, "unknown fault '5O3'"),
        ({"after": -1}, "after=-1"),
        ({"times": 0}, "times=0"),
    ],
)
def test_a_fault_that_would_never_come_is_an_error(capgo_sandbox: CapgoSandbox, fault: dict[str, Any], told: str) -> None:
    with pytest.raises(ValueError, match=told):
        capgo_sandbox.fail_next(**{"outcome": "503", **fault})


async def test_a_crash_ends_the_block_after_the_change(capgo: CapgoClient, capgo_sandbox: CapgoSandbox) -> None:
    survived = False
    with capgo_sandbox.crash("POST /device", after=1):
        await capgo.devices.link(APP, "d1", channel="beta")
        await capgo.devices.link(APP, "d2", channel="beta")
        survived = True
    assert not survived
    assert capgo_sandbox.links()["d2"] == "beta"


async def test_a_crash_that_never_comes_is_an_error(capgo_sandbox: CapgoSandbox) -> None:
    with pytest.raises(AssertionError, match="POST /device was not called 1 times"):
        with capgo_sandbox.crash("POST /device"):
            pass
    with pytest.raises(ZeroDivisionError):
        with capgo_sandbox.crash():
            raise ZeroDivisionError


async def test_a_crash_within_a_group_of_tasks_is_one(capgo: CapgoClient, capgo_sandbox: CapgoSandbox) -> None:
    with capgo_sandbox.crash():
        async with asyncio.TaskGroup() as group:
            group.create_task(capgo.check())


@pytest.mark.capgo(devices=60)
async def test_a_job_goes_on_after_a_crash(capgo: CapgoClient, capgo_sandbox: CapgoSandbox, tmp_path: Path) -> None:
    moves = [LinkDevice(app_id=APP, device_id=each, channel="beta") for each in capgo_sandbox.device_ids()]
    with capgo_sandbox.crash("POST /device", after=10):
        async with await Job.create(tmp_path / "move.capgo-job", from_operations(moves), client=capgo) as job:
            await job.run(capgo)
    assert set(capgo_sandbox.links().values()) > {"beta"}
    async with await Job.open(tmp_path / "move.capgo-job") as job:
        report = await job.run(capgo_sandbox.client())
    assert report.done == report.planned
    assert set(capgo_sandbox.links().values()) == {"beta"}


async def test_a_served_sandbox_is_the_same_over_a_socket(capgo_server: Server, capgo_sandbox: CapgoSandbox) -> None:
    async with capgo_server.client() as capgo:
        await capgo.devices.link(APP, "d1", channel="beta")
    assert capgo_sandbox.links()["d1"] == "beta"
    (request,) = capgo_sandbox.requests
    assert (request.route, request.status) == ("POST /device", 200)
    assert request.at >= 0


async def test_the_environment_leads_to_the_server(
    capgo_server: Server, capgo_sandbox: CapgoSandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in capgo_server.environment.items():
        monkeypatch.setenv(name, value)
    async with CapgoClient() as capgo:
        assert len(await capgo.apps.list().all()) == 1
    assert [each.status for each in capgo_sandbox.requests] == [200]


async def test_a_world_of_its_own() -> None:
    world = World()
    add_people(world)
    world.add_key("0e1f", Binding(role="org_super_admin", org_id=ORG_ID), user_id=USER_ID)
    world.add_app("com.example.own", org_id=ORG_ID, user_id=USER_ID, now=0)
    sandbox = CapgoSandbox(world=world)
    (app,) = await sandbox.client(api_key="0e1f").apps.list().all()
    assert app.app_id == sandbox.app_id == "com.example.own"
