"""Listings with several cursors, against the sandbox: the same devices, sooner, and whoever stops leaves nothing behind."""

import asyncio
import random
import uuid
from collections.abc import Iterable, Mapping

import anyio
import pytest
from fleet import APP, client_of, ids_of, sandbox_of
from hypothesis import given, strategies as st
from scripted import ScriptedTransport, answer
from virtual_time import in_virtual_time

from capgo_async import CapgoClient, DeviceFilter
from capgo_async.errors import AuthenticationError, ConfigurationError, PermissionDenied, ServerError
from capgo_async.http.wire import Request, Response
from capgo_async.listing.walks import MASKED_EMPTY
from capgo_async.sandbox import Device, Sandbox, Settings, Traits, fleet, parse_faults
from capgo_async.sandbox.inprocess import InProcessTransport
from capgo_async.sandbox.seeding import SUPER_ADMIN_KEY
from capgo_async.sandbox.virtual_time import run_in_virtual_time


def sandbox_with(ids: Iterable[str], behaviour: Settings | None = None) -> Sandbox:
    """Return a sandbox whose only app has these devices."""
    sandbox = Sandbox(fleet(apps=1, devices=1), behaviour)
    app, traits = sandbox.world.apps[APP], Traits()
    for name in list(app.devices):
        app.forget_device(name)
    app.overrides.clear()
    app.load_devices(Device(device_id=name, updated_at=1_784_500_000_000_000, traits=traits) for name in ids)
    return sandbox


def uuids(count: int) -> list[str]:
    chance = random.Random(3)
    return [str(uuid.UUID(int=chance.getrandbits(128), version=4)) for _ in range(count)]


async def ids_by(capgo: CapgoClient, cursors: int, chosen: DeviceFilter = DeviceFilter(limit=10)) -> list[str]:  # noqa: B008 - immutable
    return [device.device_id async for device in capgo.devices.list(APP, chosen, cursors=cursors)]


names = st.one_of(
    st.uuids().map(str),
    st.uuids().map(lambda each: str(each).upper()),
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=3),
    st.integers(0, 300).map(lambda number: f"7f0000{number:03x}"),
)


@pytest.mark.slow
@given(ids=st.sets(names, max_size=200), limit=st.integers(2, 30), cursors=st.integers(2, 9))
def test_any_devices_are_those_of_the_sequential_listing(ids: set[str], limit: int, cursors: int) -> None:
    async def main() -> None:
        async with client_of(sandbox_with(ids)) as capgo:
            one = await ids_by(capgo, 1, DeviceFilter(limit=limit))
            many = await ids_by(capgo, cursors, DeviceFilter(limit=limit))
        assert sorted(many) == one == sorted(ids)

    run_in_virtual_time(main())


@pytest.mark.slow
@in_virtual_time
async def test_eight_cursors_take_an_eighth_of_the_time_and_hardly_more_requests() -> None:
    sandbox = sandbox_with(uuids(20_000))
    async with client_of(sandbox, rate="off", delay=0.05) as capgo:
        began = anyio.current_time()
        one = await ids_by(capgo, 1, DeviceFilter(limit=50))
        alone, requests = anyio.current_time() - began, capgo.counters.requests
        began = anyio.current_time()
        many = await ids_by(capgo, 8, DeviceFilter(limit=50))
        together = anyio.current_time() - began

    assert sorted(many) == one
    assert alone / together > 7
    assert capgo.counters.requests - requests <= requests + 8 + 1


@in_virtual_time
async def test_filters_and_where_to_begin_hold_for_all_cursors() -> None:
    ids = sorted(uuids(500))
    async with client_of(sandbox_with(ids)) as capgo:
        assert sorted(await ids_by(capgo, 8, DeviceFilter(limit=10, after=ids[99]))) == ids[100:]
        assert await ids_by(capgo, 8, DeviceFilter(limit=10, custom_ids_only=True)) == []
        assert await ids_by(capgo, 8, DeviceFilter(limit=10, changed_since="2026-07-20T08:59:00Z")) == []


@in_virtual_time
async def test_a_list_with_an_order_is_read_by_one_cursor() -> None:
    sandbox = sandbox_of(devices=300)
    async with client_of(sandbox) as capgo:
        chosen = DeviceFilter(limit=20, order="desc")
        assert await ids_by(capgo, 8, chosen) == await ids_by(capgo, 1, chosen)


@in_virtual_time
async def test_a_seed_server_is_read_by_pages() -> None:
    sandbox = sandbox_with(uuids(300), Settings(generation="seed"))
    async with client_of(sandbox) as capgo:
        listing = capgo.devices.list(APP, cursors=8)
        many = [device.device_id async for device in listing]
        alone = capgo.devices.list(APP)
        assert many == [device.device_id async for device in alone]
        assert (listing.complete, listing.caveats) == (True, alone.caveats)


@in_virtual_time
async def test_an_empty_app_is_told_as_by_one_cursor() -> None:
    async with client_of(sandbox_with([])) as capgo:
        listing = capgo.devices.list(APP, cursors=8)
        assert await listing.all() == []
        assert (listing.complete, listing.caveats) == (True, (MASKED_EMPTY,))


@in_virtual_time
async def test_whoever_stops_early_leaves_nothing_under_way() -> None:
    async with client_of(sandbox_with(uuids(2000)), rate="off") as capgo:
        listing = capgo.devices.list(APP, DeviceFilter(limit=10), cursors=8)
        seen = 0
        async for _ in listing.pages():
            seen += 1
            if seen == 20:
                break
        requests = capgo.counters.requests
        assert len(asyncio.all_tasks()) == 1
        await anyio.sleep(10)
        assert capgo.counters.requests == requests <= 20 + 4 * 8
        assert not listing.complete
        assert len(await listing.all()) == 2000
        assert listing.complete


@in_virtual_time
async def test_a_listing_is_complete_once_its_last_page_was_shown() -> None:
    async with client_of(sandbox_with(uuids(200)), rate="off") as capgo:
        listing = capgo.devices.list(APP, DeviceFilter(limit=10), cursors=8)
        shown = [(len(page), listing.complete) async for page in listing.pages()]
    assert sum(count for count, _ in shown) == 200
    assert [complete for _, complete in shown] == [False] * (len(shown) - 1) + [True]


@in_virtual_time
async def test_several_cursors_return_some_rows_and_count_all() -> None:
    async with client_of(sandbox_with(uuids(1000)), rate="off") as capgo:
        listing = capgo.devices.list(APP, DeviceFilter(limit=10), cursors=4)
        assert len({device.device_id for device in await listing.first(25)}) == 25
        assert capgo.counters.requests <= 4 * 4
        assert await listing.count() == 1000


@pytest.mark.parametrize("most", [1, 3, 4, 5, 20, 101])
@pytest.mark.parametrize("cursors", [1, 8])
def test_no_more_requests_than_are_wanted(most: int, cursors: int) -> None:
    async def main() -> None:
        async with client_of(sandbox_with(uuids(1000))) as capgo:
            listing = capgo.devices.list(APP, DeviceFilter(limit=10), cursors=cursors)
            found = [device async for page in listing.pages(most) for device in page]
            assert capgo.counters.requests <= most
            assert len(found) >= 6 * min(most, 100)
            assert listing.complete is (most > 100 and cursors == 1) or len(found) == 1000

    run_in_virtual_time(main())


@pytest.mark.parametrize("cursors", [0, -1])
async def test_no_cursor_reads_nothing(cursors: int) -> None:
    async with CapgoClient(api_key="key", transport=ScriptedTransport()) as capgo:
        with pytest.raises(ConfigurationError, match="cursors"):
            capgo.devices.list(APP, cursors=cursors)


# Servers and faults


class Picky(InProcessTransport):
    """A server that answers cursors of others with an error."""

    error = answer(400, {"error": "invalid_cursor", "message": "Invalid cursor"})
    picked = "1970"
    honest = 0
    refused = 0

    async def send(self, request: Request, headers: Mapping[str, str], *, fresh: bool = False) -> Response:
        if dict(request.query).get("cursor", "").startswith(self.picked):
            self.honest -= 1
            if self.honest < 0:
                self.refused += 1
                return self.error
        return await super().send(request, headers, fresh=fresh)


@pytest.mark.parametrize("honest", [0, 1, 4])
def test_a_server_that_refuses_our_cursors_is_listed_all_the_same(honest: int) -> None:
    async def main() -> None:
        sandbox = sandbox_with(uuids(400))
        transport = Picky(sandbox)
        transport.honest = honest
        async with CapgoClient(api_key=SUPER_ADMIN_KEY, transport=transport) as capgo:
            listing = capgo.devices.list(APP, DeviceFilter(limit=10), cursors=8)
            assert sorted([device.device_id async for device in listing]) == ids_of(sandbox)
            assert (listing.complete, listing.caveats) == (True, ())
            assert 1 <= transport.refused <= 8

    run_in_virtual_time(main())


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [(401, "invalid_apikey", AuthenticationError), (400, "cannot_access_app", PermissionDenied)],
)
def test_what_is_no_whim_of_the_server_is_raised_bare(status: int, code: str, kind: type[Exception]) -> None:
    async def main() -> None:
        transport = Picky(sandbox_with(uuids(400)))
        transport.honest, transport.error = 3, answer(status, {"error": code, "message": code})
        async with CapgoClient(api_key=SUPER_ADMIN_KEY, transport=transport) as capgo:
            with pytest.raises(kind):
                await ids_by(capgo, 8)

    run_in_virtual_time(main())


def test_a_server_in_trouble_is_a_single_error() -> None:
    async def main() -> None:
        transport = Picky(sandbox_with(uuids(400)))
        transport.picked, transport.honest = "", 30
        transport.error = answer(503, {"error": "unavailable", "message": "no"})
        async with CapgoClient(api_key=SUPER_ADMIN_KEY, transport=transport) as capgo:
            with pytest.raises(ServerError):
                await ids_by(capgo, 8)

    run_in_virtual_time(main())


def test_faults_that_pass_are_not_noticed() -> None:
    async def main() -> None:
        sandbox = sandbox_with(uuids(1000), Settings(faults=parse_faults("GET /device:502=5%,drop-after=5%")))
        async with client_of(sandbox) as capgo:
            assert sorted(await ids_by(capgo, 8)) == ids_of(sandbox)

    run_in_virtual_time(main())


@pytest.mark.slow
def test_limits_hold_for_all_cursors_together() -> None:
    async def main() -> None:
        sandbox = sandbox_of(devices=3000, limits="server")
        async with client_of(sandbox, rate="server", delay=0.001) as capgo:
            assert sorted(await ids_by(capgo, 8, DeviceFilter(limit=1))) == ids_of(sandbox)
            assert capgo.counters.rate_limited == 0

    run_in_virtual_time(main())
