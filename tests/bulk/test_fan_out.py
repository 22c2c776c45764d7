"""Looks at many apps at once: the same plans and proofs as one after the other, sooner, and no more requests."""

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import anyio
import msgspec
import pytest
from fleet import APP, client_of, ids_of, links_of, relink_everything, sandbox_of, write_csv
from msgspec.structs import replace
from virtual_time import in_virtual_time

from capgo_async import CapgoClient
from capgo_async.bulk import Cause, Job, LinkDevice, Operation, Options, Plan, Report, Rows, from_operations, read_operations
from capgo_async.bulk.operations.operations import PromoteBundle
from capgo_async.bulk.planning.everywhere import Pruning, in_every_app, old_bundles
from capgo_async.errors import ListingError
from capgo_async.http.wire import Request, Response
from capgo_async.key_ring import ring_of
from capgo_async.sandbox import Sandbox
from capgo_async.sandbox.inprocess import InProcessTransport
from capgo_async.sandbox.seeding import SUPER_ADMIN_KEY
from capgo_async.sandbox.virtual_time import run_in_virtual_time


class Course(NamedTuple):
    """What came of planning, running and verifying everything, and what it took."""

    plan: Plan
    planned: list[tuple[str, str]]
    report: Report
    seconds: float
    requests: int


async def course(directory: Path, sandbox: Sandbox, *, concurrency: int) -> Course:
    """Relink every tenth device: for so many, all pages are read."""
    directory.mkdir()
    rows = [(app_id, device) for app_id in sandbox.world.apps for device in ids_of(sandbox, app_id)[::10]]
    source = read_operations(write_csv(directory / "rows.csv", rows, ("app_id", "device_id")), channel="beta")
    async with client_of(sandbox, rate="off", concurrency=concurrency) as capgo:
        began = anyio.current_time()
        async with await Job.create(directory / "a.capgo-job", source, client=capgo) as job:
            seconds, requests = anyio.current_time() - began, capgo.counters.requests
            planned = [(row.target, row.former) async for rows in job.operations() for row in rows]
            await job.run(capgo)
            began = anyio.current_time()
            report = await job.verify(capgo)
            return Course(job.plan, planned, report, seconds + anyio.current_time() - began, requests)


@pytest.mark.slow
@in_virtual_time
async def test_many_apps_are_planned_and_verified_alike_whatever_the_concurrency(tmp_path: Path) -> None:
    one = await course(tmp_path / "one", sandbox_of(apps=12, devices=3000), concurrency=1)
    many = await course(tmp_path / "many", sandbox_of(apps=12, devices=3000), concurrency=16)

    assert many.planned == one.planned
    # How long it takes is not alike.
    assert str(replace(many.plan, seconds=None)) == str(replace(one.plan, seconds=None))
    assert (many.report.done, many.report.verified, many.report.contradicted) == (one.report.done, one.report.done, 0)
    assert many.requests == one.requests
    assert many.seconds < one.seconds / 4


@pytest.mark.slow
@in_virtual_time
async def test_a_large_app_is_listed_in_several_places(tmp_path: Path) -> None:
    one = await course(tmp_path / "one", sandbox_of(devices=8000), concurrency=1)
    many = await course(tmp_path / "many", sandbox_of(devices=8000), concurrency=16)

    assert many.planned == one.planned
    assert many.report.verified == one.report.done == many.report.done
    assert many.requests <= one.requests + 8
    assert many.seconds < one.seconds / 2.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "looks"), [(slice(20), 1), (slice(200, None, 390), 21), (slice(None, None, 160), 48)], ids=["near", "few", "many"]
)
@in_virtual_time
async def test_a_plan_costs_no_more_requests_than_rows_or_pages(rows: slice, looks: int, tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=8000)
    chosen = ids_of(sandbox)[rows]
    former = {device: f"linked to {channel}" for device, channel in links_of(sandbox).items()}
    source = from_operations([LinkDevice(app_id=APP, device_id=device, channel="beta") for device in chosen])
    async with client_of(sandbox) as capgo, await Job.create(tmp_path / "a.capgo-job", source, client=capgo) as job:
        seen = {row.target: row.former async for rows in job.operations() for row in rows}
        told = [remark for remark in job.plan.remarks if "listed in part" in remark]
    # Cursors that read one list read some of its pages twice.
    assert 0 <= looks - len([line for line in sandbox.log if line.path == "/device"]) <= (looks > 21) * 8
    assert job.plan.rows == len(chosen)
    assert job.plan.no_way_back == ()
    assert all(seen[device].startswith("no link") == (device not in former) for device in seen)
    assert all(seen[device] == former[device] for device in seen if device in former)
    extent = {1: "1 page of 200 devices", 21: "1 page of 200 devices, and 20 devices by id"}.get(looks)
    assert told == ([f"{APP} was listed in part ({extent}), so it was not checked which ids are unknown"] if extent else [])


@in_virtual_time
async def test_an_app_without_access_rejects_its_own_rows_only(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=6, devices=600)
    path = relink_everything(tmp_path / "rows.csv", sandbox)
    with path.open("a") as file:
        file.writelines(f"com.nobody.app{number},00000000-0000-4000-8000-00000000000{number},beta\n" for number in range(3))
    options = Options(reject_bad_rows=True)
    async with client_of(sandbox) as capgo:
        async with await Job.create(tmp_path / "a.capgo-job", read_operations(path), client=capgo, options=options) as job:
            assert (job.plan.rows, job.plan.rejected) == (603, 3)
            causes = [row.cause async for rows in job.rows(Rows.REJECTED) for row in rows]
            assert causes == [Cause.NO_ACCESS] * 3


class Stuck(InProcessTransport):
    """A server that shows the first page of an app for ever."""

    app_id = ""

    async def send(self, request: Request, headers: Mapping[str, str], *, fresh: bool = False) -> Response:
        if ("app_id", self.app_id) in request.query:
            query = tuple(parameter for parameter in request.query if parameter[0] != "cursor")
            request = msgspec.structs.replace(request, query=query)
        return await super().send(request, headers, fresh=fresh)


@pytest.mark.parametrize("stuck", ["com.example.app02", "com.example.app05"])
def test_an_app_that_cannot_be_listed_ends_the_plan_with_a_single_error(tmp_path: Path, stuck: str) -> None:
    async def main() -> None:
        sandbox = sandbox_of(apps=6, devices=3000)
        source = read_operations(relink_everything(tmp_path / "rows.csv", sandbox))
        transport = Stuck(sandbox)
        transport.app_id = stuck
        async with CapgoClient(api_key=SUPER_ADMIN_KEY, transport=transport) as capgo:
            with pytest.raises(ListingError, match="does not advance"):
                await Job.create(tmp_path / "a.capgo-job", source, client=capgo)

    run_in_virtual_time(main())


@in_virtual_time
async def test_operations_in_every_app_come_in_the_order_of_apps() -> None:
    sandbox = sandbox_of(apps=20, devices=20)
    bundle = next(iter(sandbox.world.apps["com.example.app01"].bundles.values())).name

    def promotion(app_id: str) -> PromoteBundle:
        return PromoteBundle(app_id=app_id, channel="beta", bundle=bundle)

    found: list[list[Operation]] = []
    seconds: list[float] = []
    for concurrency in (1, 16):
        async with client_of(sandbox, concurrency=concurrency) as capgo:
            began = anyio.current_time()
            promotions = [operation async for operation in in_every_app(ring_of(capgo), promotion)]
            deletions = [operation async for operation in old_bundles(ring_of(capgo), Pruning(keep=1))]
            found.append([*promotions, *deletions])
            seconds.append(anyio.current_time() - began)

    assert found[0] == found[1]
    assert len({operation.target.app_id for operation in found[0]}) == 20
    assert seconds[1] < seconds[0] / 3
