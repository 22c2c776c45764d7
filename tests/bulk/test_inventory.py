"""Inventories: complete while devices check in, appear and are relinked; resumed; and what every format holds."""

import csv
import json
import random
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import msgspec
import pyarrow.parquet
import pytest
from fleet import APP, client_of, ids_of, links_of, sandbox_of, statuses
from virtual_time import in_virtual_time

from capgo_async import CapgoClient, DeviceFilter, KeyRing
from capgo_async.api import models
from capgo_async.bulk.inventory.columns import TABLES, InventoryKind
from capgo_async.bulk.inventory.exporting import Summary, export, inventory
from capgo_async.bulk.inventory.formats import Format
from capgo_async.bulk.inventory.shelf import InventoryFile
from capgo_async.bulk.inventory.taking import UNSETTLED, UNSTABLE, Tally, moment_before
from capgo_async.bulk.spreading import PAGE
from capgo_async.errors import ConfigurationError, JobError, ListingError, PermissionDenied
from capgo_async.http.wire import Request, Response
from capgo_async.limits.models import Limit, ScopeKind, SilenceWindow, device_limits
from capgo_async.listing.walks import MASKED_EMPTY
from capgo_async.sandbox import Arrival, Device, Incoming, Sandbox, Settings, Traits, fleet
from capgo_async.sandbox.faults import Chance
from capgo_async.sandbox.inprocess import InProcessTransport
from capgo_async.sandbox.seeding import DEVELOPER_KEY, EPOCH, READER_KEY, SUPER_ADMIN_KEY
from capgo_async.sandbox.virtual_time import run_in_virtual_time

pytestmark = pytest.mark.slow

LOW, HIGH = "00000000-low-{}", "zzzzzzzz-high-{}"


class Living(Sandbox):
    """A sandbox in which something happens before each listing of devices: it is told its number, from 1, and the query."""

    happen: Callable[[int, dict[str, str], float], None] | None = None
    listings = 0

    def arrive(self, request: Incoming, now: float, chance: Chance | None = None) -> Arrival:
        if request.path == "/device" and request.method == "GET":
            self.listings += 1
            if self.happen is not None:
                self.happen(self.listings, dict(request.query), now)
        return super().arrive(request, now, chance)

    def appear(self, device_id: str, now: float, app_id: str = APP) -> None:
        device = Device(device_id=device_id, updated_at=round(now * 1_000_000), traits=Traits(platform="ios"))
        self.world.apps[app_id].put_device(device)


def living(devices: int = 2000, apps: int = 1, **settings: object) -> Living:
    return Living(fleet(apps=apps, devices=devices), Settings(**settings))  # type: ignore[arg-type]  # what a setting is


@asynccontextmanager
async def taken(
    sandbox: Sandbox, path: Path, kind: InventoryKind = InventoryKind.DEVICES, **options: Any
) -> AsyncIterator[tuple[InventoryFile, Summary]]:
    async with client_of(sandbox) as capgo, inventory(path, kind, client=capgo, **options) as found:
        yield found


async def rows_of(file: InventoryFile) -> list[dict[str, object]]:
    return [dict(zip(file.table.names, row, strict=True)) async for rows in file.batches(300) for row in rows]


async def devices_of(file: InventoryFile) -> set[tuple[object, object]]:
    return {(row["app_id"], row["device_id"]) for row in await rows_of(file)}


def devices_in(sandbox: Sandbox) -> set[tuple[object, object]]:
    return {(app_id, device) for app_id in sandbox.world.apps for device in ids_of(sandbox, app_id)}


@in_virtual_time
async def test_all_devices_are_there_though_they_check_in_appear_and_are_relinked_meanwhile(tmp_path: Path) -> None:
    sandbox = living(devices=6000, apps=4)
    chance = random.Random(3)

    def happen(number: int, query: dict[str, str], now: float) -> None:
        app = sandbox.world.apps[query["app_id"]]
        for device_id in chance.sample(list(app.devices), 20):
            app.put_device(msgspec.structs.replace(app.devices[device_id], updated_at=round(now * 1_000_000)))
            app.link(device_id, app.channels["alpha"], now)
        if "cursor" in query and number <= 40:
            for name in (LOW, HIGH):
                sandbox.appear(name.format(number), now, app.app_id)

    sandbox.happen = happen
    async with taken(sandbox, tmp_path / "working") as (file, summary):
        assert await devices_of(file) == devices_in(sandbox)
    assert len(devices_in(sandbox)) > 6040
    assert summary.complete
    assert summary.rows == len(devices_in(sandbox))
    assert {check.app_id for check in summary.checks} == {"", *sandbox.world.apps}


@in_virtual_time
async def test_a_device_that_appears_behind_the_end_with_an_old_date_is_found(tmp_path: Path) -> None:
    sandbox = living()

    def happen(_number: int, query: dict[str, str], now: float) -> None:
        if "updated_at" in query:
            sandbox.appear(HIGH.format("old"), now - 86_400)

    sandbox.happen = happen
    async with taken(sandbox, tmp_path / "working") as (file, summary):
        assert (APP, HIGH.format("old")) in await devices_of(file)
    assert summary.complete


@in_virtual_time
async def test_a_device_that_checks_in_behind_the_scan_is_shown_as_it_is_then(tmp_path: Path) -> None:
    sandbox = living()
    first = ids_of(sandbox)[0]

    def happen(number: int, _query: dict[str, str], now: float) -> None:
        if number == 3:
            app = sandbox.world.apps[APP]
            traits = msgspec.structs.replace(app.devices[first].traits, os_version="99")
            app.put_device(Device(device_id=first, updated_at=round(now * 1_000_000), traits=traits))
            app.link(first, app.channels["alpha"], now)

    sandbox.happen = happen
    async with taken(sandbox, tmp_path / "working") as (file, _):
        (row,) = [row for row in await rows_of(file) if row["device_id"] == first]
    assert (row["os_version"], row["channel"]) == ("99", "alpha")


@in_virtual_time
async def test_a_date_that_has_not_come_yet_hides_no_change(tmp_path: Path) -> None:
    sandbox = living()

    def happen(number: int, _query: dict[str, str], now: float) -> None:
        if number == 1:
            sandbox.appear(LOW.format("ahead"), now + 86_400)
        if number == 2:
            sandbox.appear(LOW.format("a"), now)

    sandbox.happen = happen
    async with taken(sandbox, tmp_path / "working") as (file, _):
        assert (APP, LOW.format("a")) in await devices_of(file)


@in_virtual_time
async def test_devices_that_appear_each_time_are_said_to_be_unsettled(tmp_path: Path) -> None:
    sandbox = living()

    def happen(number: int, _query: dict[str, str], now: float) -> None:
        sandbox.appear(LOW.format(number), now)

    sandbox.happen = happen
    async with taken(sandbox, tmp_path / "working") as (_, summary):
        assert not summary.complete
    (check,) = (check for check in summary.checks if check.app_id)
    assert (check.scanned, check.changes_passed) == (True, False)
    assert UNSETTLED in check.caveats


@in_virtual_time
async def test_failing_answers_and_limits_cost_time_and_nothing_else(tmp_path: Path) -> None:
    faults = "GET /device:500=2%,502=2%,drop-before=2%,drop-after=2%"
    sandbox = sandbox_of(apps=12, devices=12_000, limits="server", variables={"RATE_LIMIT_API_KEY": 61}, faults=faults)
    limits = (Limit(ScopeKind.KEY, SilenceWindow(requests=60, window=60.0)), *device_limits())
    async with client_of(sandbox, limits=limits) as capgo:
        async with inventory(tmp_path / "working", InventoryKind.DEVICES, client=capgo) as (file, summary):
            assert await devices_of(file) == devices_in(sandbox)
    assert summary.complete
    assert anyio.current_time() > 60
    assert statuses(sandbox)[500] > 0
    assert statuses(sandbox)[429] == 0


@in_virtual_time
async def test_a_second_look_that_shows_nothing_proves_nothing(tmp_path: Path) -> None:
    sandbox = living()

    def happen(_number: int, query: dict[str, str], _now: float) -> None:
        sandbox.world.device_store_readable = "updated_at" not in query

    sandbox.happen = happen
    async with taken(sandbox, tmp_path / "working") as (_, summary):
        (check,) = (check for check in summary.checks if check.app_id)
    assert (check.changes_passed, check.end_checked) == (False, True)
    assert MASKED_EMPTY in check.caveats


@in_virtual_time
async def test_what_comes_in_one_answer_needs_no_second_look(tmp_path: Path) -> None:
    sandbox = living(devices=3 * PAGE - 3, apps=3)
    async with taken(sandbox, tmp_path / "working") as (_, summary):
        assert summary.complete
    assert sandbox.listings == 3


@in_virtual_time
async def test_an_empty_app_is_said_to_be_maybe_unreadable(tmp_path: Path) -> None:
    async with taken(living(devices=0), tmp_path / "working") as (_, summary):
        assert summary.rows == 0
        assert any(MASKED_EMPTY in check.caveats for check in summary.checks)


@pytest.mark.parametrize("generation", ["seed", "docs", "2026-11"])
def test_servers_of_any_generation_show_all(tmp_path: Path, generation: str) -> None:
    @in_virtual_time
    async def run() -> None:
        sandbox = living(devices=900, generation=generation)
        async with taken(sandbox, tmp_path / "working", apps=[APP]) as (file, summary):
            assert await devices_of(file) == devices_in(sandbox)
            assert summary.complete

    run()


@in_virtual_time
async def test_a_large_app_is_read_at_several_places_and_costs_few_requests_more(tmp_path: Path) -> None:
    sandbox = living(devices=40_000)
    took = {}
    found = {}
    for concurrency in (1, 16):
        began, before = anyio.current_time(), sandbox.listings
        async with client_of(sandbox, rate="off", concurrency=concurrency) as capgo:
            path = tmp_path / f"{concurrency}"
            async with inventory(path, InventoryKind.DEVICES, client=capgo, apps=[APP]) as (file, summary):
                found[concurrency] = [row async for rows in file.batches(5000) for row in rows]
        assert summary.complete
        took[concurrency] = (anyio.current_time() - began, sandbox.listings - before)
    assert found[1] == found[16]
    assert len(found[1]) == 40_000
    assert took[1][0] / took[16][0] > 6
    assert took[16][1] <= took[1][1] + 2 * 8


def churn(sandbox: Living, until: int) -> Callable[[int, dict[str, str], float], None]:
    """Return what lets devices check in, be relinked, and appear anywhere, with each listing up to one that is in a scan."""
    chance = random.Random(until)

    def happen(number: int, query: dict[str, str], now: float) -> None:
        if number > until:
            return
        app = sandbox.world.apps[query["app_id"]]
        for device_id in chance.sample(list(app.devices), 20):
            app.put_device(msgspec.structs.replace(app.devices[device_id], updated_at=round(now * 1_000_000)))
            app.link(device_id, app.channels["alpha"], now)
        for _ in range(5):
            sandbox.appear(f"{chance.getrandbits(32):08x}-new-{number}", now, app.app_id)

    return happen


@pytest.mark.parametrize("concurrency", [1, 16])
def test_cursors_see_all_that_one_sees_while_devices_change(tmp_path: Path, concurrency: int) -> None:
    @in_virtual_time
    async def run() -> None:
        sandbox = living(devices=8000)
        sandbox.happen = churn(sandbox, until=40)
        async with client_of(sandbox, concurrency=concurrency) as capgo:
            async with inventory(tmp_path / "working", InventoryKind.DEVICES, client=capgo) as (file, summary):
                assert await devices_of(file) == devices_in(sandbox)
        assert len(devices_in(sandbox)) >= 8000 + 5 * 40
        assert summary.complete

    run()


async def interrupted(sandbox: Living, path: Path, after: int) -> None:
    """Take an inventory until so many listings more were asked for."""
    happen, until = sandbox.happen, sandbox.listings + after
    with anyio.CancelScope() as scope:

        def interrupt(number: int, query: dict[str, str], now: float) -> None:
            if happen is not None:
                happen(number, query, now)
            if number == until:
                scope.cancel()

        sandbox.happen = interrupt
        async with taken(sandbox, path):
            pytest.fail("it was interrupted")
    sandbox.happen = happen


@in_virtual_time
async def test_an_interrupted_inventory_goes_on_where_it_stopped(tmp_path: Path) -> None:
    """Twice what was under way is lost: answers, and up to a page of each part that is behind the border of the next."""
    sandbox = living(devices=16_000)
    await interrupted(sandbox, tmp_path / "working", 41)
    before = sandbox.listings
    sandbox.appear(LOW.format("meanwhile"), EPOCH + anyio.current_time())
    async with taken(sandbox, tmp_path / "working") as (file, summary):
        assert await devices_of(file) == devices_in(sandbox)
        assert summary.complete
    assert sandbox.listings - before <= 16_000 / PAGE - 40 + 3 * 8 + 2


@in_virtual_time
async def test_no_interruption_loses_a_device(tmp_path: Path) -> None:
    sandbox = living(devices=10_000)
    sandbox.happen = churn(sandbox, until=50)
    for after in (1, 2, 4, 6, 9, 12):
        await interrupted(sandbox, tmp_path / "working", after)
    async with taken(sandbox, tmp_path / "working") as (file, summary):
        assert await devices_of(file) == devices_in(sandbox)
        assert summary.complete


class FromTheLast(InProcessTransport):
    """A server whose lists of devices go from the last id to the first."""

    async def send(self, request: Request, headers: Mapping[str, str], *, fresh: bool = False) -> Response:
        answered = await super().send(request, headers, fresh=fresh)
        if request.path != "/device":
            return answered
        query = dict(request.query)
        after, since, limit = query.get("cursor", "").rpartition("|")[2], query.get("updated_at", ""), int(query["limit"])
        rows = [
            {"device_id": device_id, "app_id": APP, "platform": "ios", "updated_at": told, "channel": "beta"}
            for device_id, device in sorted(self.sandbox.world.apps[APP].devices.items(), reverse=True)
            if (not after or device_id < after) and (told := stamp(device)) > since
        ]
        more = {"hasMore": True, "nextCursor": f"any|{rows[limit - 1]['device_id']}"} if len(rows) > limit else {}
        return msgspec.structs.replace(answered, body=json.dumps({"data": rows[:limit], "hasMore": False, **more}).encode())


def stamp(device: Device) -> str:
    moment = datetime.fromtimestamp(device.updated_at / 1_000_000, UTC).replace(tzinfo=None)
    return f"{moment.isoformat('T', 'milliseconds')}Z"


@in_virtual_time
async def test_a_server_with_another_order_is_read_by_one_cursor_that_goes_on_where_it_stopped(tmp_path: Path) -> None:
    sandbox = living(devices=6000)
    changes, under_way = churn(sandbox, until=30), 0
    asked: list[dict[str, str]] = []

    class Counting(FromTheLast):
        async def send(self, request: Request, headers: Mapping[str, str], *, fresh: bool = False) -> Response:
            nonlocal under_way
            under_way += 1
            assert under_way == 1
            try:
                return await super().send(request, headers, fresh=fresh)
            finally:
                under_way -= 1

    def listed(number: int, query: dict[str, str], now: float) -> None:
        asked.append(query)
        changes(number, query, now)

    async with CapgoClient(api_key=SUPER_ADMIN_KEY, transport=Counting(sandbox, request_delay=0.02)) as capgo:
        with anyio.CancelScope() as scope:

            def interrupt(number: int, query: dict[str, str], now: float) -> None:
                listed(number, query, now)
                if number == 16:
                    scope.cancel()

            sandbox.happen = interrupt
            async with inventory(tmp_path / "working", InventoryKind.DEVICES, client=capgo, apps=[APP]):
                pytest.fail("it was interrupted")
        sandbox.happen = listed
        async with inventory(tmp_path / "working", InventoryKind.DEVICES, client=capgo, apps=[APP]) as (file, summary):
            assert await devices_of(file) == devices_in(sandbox)
            assert summary.complete
    again = [query for query in asked[16:] if "updated_at" not in query]
    assert all("cursor" in query for query in again)
    assert len(again) <= 6000 / PAGE - 15 + 1 + 3, "the rest, a page that was under way, and looks at the end"


@in_virtual_time
async def test_apps_that_are_done_are_not_read_again(tmp_path: Path) -> None:
    sandbox = living(devices=6000, apps=12)
    tally = Tally()

    def fail(_number: int, query: dict[str, str], _now: float) -> None:
        if query["app_id"].endswith("12") and "cursor" in query:
            sandbox.world.device_store_readable = False

    sandbox.happen = fail
    with pytest.raises(ListingError, match=r"devices of com\.example\.app\d\d: the server announced more"):
        async with taken(sandbox, tmp_path / "working", tally=tally):
            pass
    assert 0 < tally.settled < 12
    sandbox.happen = None
    sandbox.world.device_store_readable = True
    before = len(sandbox.log)
    async with taken(sandbox, tmp_path / "working") as (file, _):
        assert await devices_of(file) == devices_in(sandbox)
    again = {line.target for line in list(sandbox.log)[before:] if line.path == "/device"}
    assert len(again) == 12 - tally.settled


@in_virtual_time
async def test_of_an_app_that_is_gone_when_it_goes_on_nothing_is_kept(tmp_path: Path) -> None:
    sandbox = living(devices=3000, apps=3)

    def fail(number: int, _query: dict[str, str], _now: float) -> None:
        sandbox.world.device_store_readable = number < 10

    sandbox.happen = fail
    with pytest.raises(ListingError):
        async with taken(sandbox, tmp_path / "working"):
            pass
    sandbox.happen = None
    sandbox.world.device_store_readable = True
    sandbox.world.delete_app(sandbox.world.apps[APP])
    async with taken(sandbox, tmp_path / "working") as (file, summary):
        assert await devices_of(file) == devices_in(sandbox)
        assert summary.rows == 2000
    assert {check.app_id for check in summary.checks} == {"", *sandbox.world.apps}


@in_virtual_time
async def test_apps_can_be_named_one_by_one(tmp_path: Path) -> None:
    sandbox = living(devices=3, apps=3)
    async with taken(sandbox, tmp_path / "working", InventoryKind.APPS, apps=[APP, "com.example.app03"]) as (file, summary):
        assert [row["app_id"] for row in await rows_of(file)] == [APP, "com.example.app03"]
    assert (summary.complete, summary.apps) == (True, 2)
    assert [line.path for line in sandbox.log] == [f"/app/{APP}", "/app/com.example.app03"]


@pytest.mark.parametrize(
    ("stamps", "date", "moment"),
    [
        (("2026-07-01T10:00:00.000Z", None, "2026-07-01T09:00:00Z"), "Wed, 01 Jul 2026 12:00:00 GMT", "2026-07-01T09:58:00Z"),
        (("2026-07-01T10:00:00.000Z",), "Wed, 01 Jul 2026 08:00:00 GMT", "2026-07-01T07:58:00Z"),
        (("2026-07-01T10:00:00+02:00",), "", "2026-07-01T07:58:00Z"),
        (("2026-07-01 10:00:00.123456+00",), "nonsense", "2026-07-01T09:58:00Z"),
        ((None, "nonsense"), "Wed, 01 Jul 2026 12:00:00 GMT", None),
        ((), "Wed, 01 Jul 2026 12:00:00 GMT", None),
    ],
)
def test_since_when_changes_may_be_missing(stamps: tuple[str | None, ...], date: str, moment: str | None) -> None:
    devices = [models.Device(device_id="d", updated_at=stamp) for stamp in stamps]
    assert moment_before(devices, date) == moment
    DeviceFilter(changed_since=moment)


@in_virtual_time
async def test_an_unfinished_inventory_of_something_else_is_not_gone_on_with(tmp_path: Path) -> None:
    sandbox = living(devices=10, apps=2)
    async with taken(sandbox, tmp_path / "working", apps=[APP]):
        pass
    for options in ({"apps": ()}, {"apps": ["com.example.app02"]}, {"kind": InventoryKind.APPS, "apps": [APP]}):
        with pytest.raises(JobError, match="different, unfinished export"):
            async with taken(sandbox, tmp_path / "working", **options):
                pass
    (tmp_path / "notes").write_text("no database" * 100)
    with pytest.raises(JobError, match="not a working file of an export"):
        async with taken(sandbox, tmp_path / "notes"):
            pass


@in_virtual_time
async def test_an_inventory_of_an_earlier_format_is_not_gone_on_with(tmp_path: Path) -> None:
    sandbox = living(devices=10)
    async with taken(sandbox, tmp_path / "working"):
        pass
    with closing(sqlite3.connect(tmp_path / "working")) as earlier, earlier:
        earlier.execute("UPDATE binding SET format = 1")
    with pytest.raises(JobError, match="different, unfinished export"):
        async with taken(sandbox, tmp_path / "working"):
            pass


@pytest.mark.parametrize(
    ("kind", "key"), [(InventoryKind.CHANNELS, "id"), (InventoryKind.BUNDLES, "id"), (InventoryKind.APPS, "app_id")]
)
def test_lists_without_a_safe_order_are_read_until_two_agree(tmp_path: Path, kind: InventoryKind, key: str) -> None:
    @in_virtual_time
    async def run() -> None:
        world = fleet(apps=120) if kind is InventoryKind.APPS else fleet(apps=2, channels=130, bundles=70)
        sandbox = Living(world)
        async with taken(sandbox, tmp_path / "working", kind) as (file, summary):
            found = [row[key] for row in await rows_of(file)]
        expected: list[object] = list(world.apps)
        if kind is not InventoryKind.APPS:
            expected = [
                thing.id
                for app in world.apps.values()
                for thing in (app.channels if kind is InventoryKind.CHANNELS else app.bundles).values()
            ]
        assert sorted(found, key=str) == sorted(expected, key=str)
        assert summary.complete
        assert {check.passes for check in summary.checks if check.app_id or kind is InventoryKind.APPS} == {2}

    run()


class Moving(Sandbox):
    """A sandbox that gets a bundle, and loses another, before each listing of bundles from its beginning."""

    times = 100

    def arrive(self, request: Incoming, now: float, chance: Chance | None = None) -> Arrival:
        if request.path == "/bundle" and dict(request.query)["page"] == "0" and self.times:
            self.times -= 1
            app = self.world.apps[APP]
            app.bundles.pop(min(app.bundles))
            self.world.add_bundle(app, f"9.{self.times}.0", now=now)
        return super().arrive(request, now, chance)


@in_virtual_time
async def test_a_list_that_keeps_changing_is_said_to_be_unstable(tmp_path: Path) -> None:
    sandbox = Moving(fleet(bundles=70))
    async with taken(sandbox, tmp_path / "working", InventoryKind.BUNDLES) as (_, summary):
        assert not summary.complete
        assert any(UNSTABLE in check.caveats for check in summary.checks)


@in_virtual_time
async def test_what_is_gone_when_two_readings_agree_is_not_in_the_inventory(tmp_path: Path) -> None:
    sandbox = Moving(fleet(bundles=70))
    sandbox.times = 2
    async with taken(sandbox, tmp_path / "working", InventoryKind.BUNDLES) as (file, summary):
        assert {row["id"] for row in await rows_of(file)} == set(sandbox.world.apps[APP].bundles)
        assert summary.complete


@in_virtual_time
async def test_a_ring_sees_each_app_once_and_each_with_its_key(tmp_path: Path) -> None:
    sandbox = living(devices=600, apps=3)
    async with client_of(sandbox) as capgo:
        ring = KeyRing(capgo, {APP: READER_KEY, "com.example.app02": DEVELOPER_KEY})
        async with inventory(tmp_path / "working", InventoryKind.DEVICES, client=ring) as (file, summary):
            assert await devices_of(file) == devices_in(sandbox)
    assert summary.apps == 3
    keys = {line.key for line in sandbox.log if line.path == "/device"}
    assert len(keys) == 3


@in_virtual_time
async def test_an_app_without_access_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(PermissionDenied, match=r"com\.example\.gone"):
        async with taken(living(), tmp_path / "working", apps=["com.example.gone", APP]):
            pass
    with pytest.raises(ConfigurationError, match="reverse-domain"):
        async with taken(living(), tmp_path / "working", apps=["nonsense"]):
            pass


async def exported(directory: Path, kind: InventoryKind, suffix: str) -> tuple[Sandbox, Path, Summary]:
    sandbox = sandbox_of(apps=2, devices=700)
    path = directory / f"out{suffix}"
    async with client_of(sandbox) as capgo:
        return sandbox, path, await export(path, kind, client=capgo)


def read_back(path: Path, kind: InventoryKind) -> list[dict[str, Any]]:
    """Open an export with the tool of its format, and return its rows with text for what CSV cannot tell from it."""
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            return [{**row} for row in csv.DictReader(file)]
    if path.suffix == ".jsonl":
        return [json.loads(line) for line in path.read_text().splitlines()]
    if path.suffix == ".parquet":
        return list(pyarrow.parquet.read_table(path).to_pylist())
    with closing(sqlite3.connect(path)) as connection:
        connection.row_factory = sqlite3.Row
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        return [dict(row) for row in connection.execute(f"SELECT * FROM {kind}")]


@pytest.mark.parametrize("kind", list(InventoryKind))
@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".sqlite", ".parquet"])
def test_every_format_holds_every_row_and_column(tmp_path: Path, kind: InventoryKind, suffix: str) -> None:
    sandbox, path, summary = run_in_virtual_time(exported(tmp_path, kind, suffix))
    rows = read_back(path, kind)
    assert len(rows) == summary.rows > 0
    assert tuple(rows[0]) == TABLES[kind].names
    assert [name.name for name in tmp_path.iterdir()] == [path.name], "nothing else is left"
    if kind is not InventoryKind.DEVICES:
        return
    assert {(row["app_id"], row["device_id"]) for row in rows} == devices_in(sandbox)
    found = {str(row["device_id"]): row for row in rows if row["app_id"] == APP}
    links = links_of(sandbox)
    for device_id, device in sandbox.world.apps[APP].devices.items():
        row = found[device_id]
        assert (row["channel"] or None) == links.get(device_id)
        assert row["platform"] == device.traits.platform
        assert str(row["version_id"]) == str(device.traits.version)
        told = {".csv": str(device.traits.is_prod).lower(), ".sqlite": int(device.traits.is_prod is True)}
        assert row["is_prod"] == told.get(suffix, device.traits.is_prod)


def test_databases_say_when_which_server_and_which_checks_held(tmp_path: Path) -> None:
    _, path, summary = run_in_virtual_time(exported(tmp_path, InventoryKind.DEVICES, ".db"))
    with closing(sqlite3.connect(path)) as connection:
        (mode,) = connection.execute("PRAGMA journal_mode").fetchone()
        tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
        told = connection.execute(
            "SELECT base_url, rows, scanned, changes_passed, end_checked, began_at <= ended_at FROM export WHERE app_id = ?",
            (APP,),
        ).fetchone()
    assert (mode, tables) == ("delete", {"devices", "export"})
    assert told == (summary.base_url, 350, 1, 1, 1, 1)


def test_parquet_says_so_in_its_metadata(tmp_path: Path) -> None:
    _, path, summary = run_in_virtual_time(exported(tmp_path, InventoryKind.CHANNELS, ".parquet"))
    metadata = pyarrow.parquet.ParquetFile(path).schema_arrow.metadata
    assert msgspec.json.decode(metadata[b"capgo_async"], type=Summary) == summary
    assert summary.format is Format.PARQUET


def test_what_is_nested_is_nested_in_json_lines_and_text_elsewhere(tmp_path: Path) -> None:
    for suffix in (".jsonl", ".csv", ".sqlite", ".parquet"):
        _, path, _ = run_in_virtual_time(exported(tmp_path, InventoryKind.APPS, suffix))
        assert read_back(path, InventoryKind.APPS)[0]["transfer_history"] == ([] if suffix == ".jsonl" else "[]")


@in_virtual_time
async def test_an_export_that_fails_leaves_the_former_output_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "out.csv"
    path.write_text("former")
    sandbox = sandbox_of(faults="GET /device:500=100%")
    transport = InProcessTransport(sandbox, chance=random.Random(1))
    async with CapgoClient(api_key=SUPER_ADMIN_KEY, transport=transport) as capgo:
        with pytest.raises(Exception, match="500"):
            await export(path, InventoryKind.DEVICES, client=capgo)
    assert path.read_text() == "former"
    assert {found.name for found in tmp_path.iterdir()} >= {"out.csv", "out.csv.building"}


def test_a_job_does_not_load_what_only_inventories_need() -> None:
    code = (
        "import sys, capgo_async.bulk as bulk; assert not any('exporting' in name for name in sys.modules);"
        "from capgo_async.bulk import Format, InventoryKind, Summary, export; assert not hasattr(bulk, 'nothing');"
        "assert 'pyarrow' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).parents[2])
