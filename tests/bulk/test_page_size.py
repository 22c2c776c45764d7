"""The largest page that keeps channels: once it is known, plans, drift, proofs, inventories and forecasts keep to it."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from pathlib import Path

import msgspec
import pytest
from fleet import APP, links_of, relink_everything, sandbox_of, write_csv
from forgetful import Forgetful
from virtual_time import in_virtual_time

from capgo_async import CapgoClient, KeyRing
from capgo_async.bulk import InventoryKind, Job, Options, Source, export, read_operations
from capgo_async.limits.known import Known
from capgo_async.sandbox import Sandbox
from capgo_async.sandbox.seeding import SUPER_ADMIN_KEY

KEEPS = 120


def found(page: int = KEEPS, *, days: int = 0) -> Known:
    return Known(page=page, page_loses=page + 10, page_found_at=datetime.now(UTC) - timedelta(days=days))


def client_of(server: Forgetful, known: Known) -> CapgoClient:
    capgo = CapgoClient(api_key=SUPER_ADMIN_KEY, transport=server)
    capgo.recall(known)
    return capgo


def looks_of(job: Job) -> list[int]:
    return [look.requests for leg in job._course for look in leg.looks]


def as_they_are(directory: Path, sandbox: Sandbox) -> Source:
    rows = [(APP, device, channel) for device, channel in links_of(sandbox).items()]
    return read_operations(write_csv(directory / "rows.csv", rows, ("app_id", "device_id", "channel")))


@pytest.mark.parametrize("of_a_ring", [False, True])
@in_virtual_time
async def test_existing_links_are_seen_by_plan_and_inventory(tmp_path: Path, *, of_a_ring: bool) -> None:
    sandbox = sandbox_of(devices=500)
    capgo = client_of(Forgetful(sandbox, KEEPS), found())
    caller = KeyRing(capgo, {APP: SUPER_ADMIN_KEY}) if of_a_ring else capgo
    async with await Job.create(tmp_path / "a.capgo-job", as_they_are(tmp_path, sandbox), client=caller) as job:
        assert (job.plan.planned, job.plan.skipped) == (0, len(links_of(sandbox)))
    await export(tmp_path / "devices.sqlite", InventoryKind.DEVICES, client=caller)
    with closing(sqlite3.connect(tmp_path / "devices.sqlite")) as connection:
        shown = connection.execute("SELECT count(*) FROM devices WHERE channel IS NOT NULL").fetchone()
    assert shown == (len(links_of(sandbox)),)


@in_virtual_time
async def test_existing_links_are_seen_by_drift_and_proof(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=500)
    capgo = client_of(Forgetful(sandbox, KEEPS), found())
    source = relink_everything(tmp_path / "rows.csv", sandbox)
    async with await Job.create(tmp_path / "a.capgo-job", read_operations(source), client=capgo) as job:
        drift = await job.drift(capgo)
        assert (drift.changed, drift.needless) == (0, 0)
        await job.run(capgo)
        report = await job.verify(capgo)
    assert (report.verified, report.contradicted, report.cannot_tell) == (report.done, 0, 0)
    assert report.verified > 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("known", "limit"),
    [
        (Known(), 200),
        (found(500), 200),
        (found(), 120),
        (found(days=6), 120),
        (found(days=8), 200),
        # A small app fills no larger page: that says nothing of larger ones.
        (msgspec.structs.replace(found(51), page_loses=None), 200),
    ],
)
@in_virtual_time
async def test_no_page_is_larger_than_ever_and_what_is_a_week_old_binds_nobody(
    tmp_path: Path, known: Known, limit: int
) -> None:
    sandbox = sandbox_of(devices=500)
    server = Forgetful(sandbox)
    capgo = client_of(server, known)
    await export(tmp_path / "devices.sqlite", InventoryKind.DEVICES, client=capgo)
    source = read_operations(relink_everything(tmp_path / "rows.csv", sandbox))
    async with await Job.create(tmp_path / "a.capgo-job", source, client=capgo) as job:
        await job.drift(capgo)
        await job.run(capgo)
        await job.verify(capgo)
    assert set(server.asked) == {limit}


@pytest.mark.slow
@pytest.mark.parametrize("opened_with", [True, False])
@in_virtual_time
async def test_the_looks_of_waves_are_foreseen_by_the_same_pages(tmp_path: Path, *, opened_with: bool) -> None:
    sandbox = sandbox_of(devices=1000)
    server = Forgetful(sandbox)
    capgo = client_of(server, found(50))
    source = read_operations(relink_everything(tmp_path / "rows.csv", sandbox))
    options = Options(waves=(Fraction(1, 2), Fraction(1)))
    await (await Job.create(tmp_path / "a.capgo-job", source, client=capgo, options=options)).aclose()
    server.asked.clear()
    async with await Job.open(tmp_path / "a.capgo-job", client=capgo if opened_with else None) as job:
        before = looks_of(job)
        await job.run(capgo)
        assert looks_of(job) == [20, 20]
    assert before == ([20, 20] if opened_with else [5, 5])
    assert len(server.asked) == pytest.approx(40, abs=8)
