"""How far a plan may reach before its exact number has to be said."""

from fractions import Fraction
from pathlib import Path

import pytest
from fleet import APP, client_of, ids_of, sandbox_of
from virtual_time import in_virtual_time

from capgo_async.bulk import Job, LinkDevice, Operation, Options, Part, Thresholds, from_operations
from capgo_async.bulk.operations.operations import DeleteBundle
from capgo_async.bulk.plan import reach

A, B, C = "com.a", "com.b", "com.c"


def part(app_id: str, targets: int, kind: str = "link_device") -> Part:
    return Part(kind=kind, what="", object="", app_id=app_id, targets=targets)


@pytest.mark.parametrize(
    ("parts", "devices", "reason"),
    [
        ([], {}, None),
        ([part(A, 100_000)], {}, None),
        ([part(A, 60_000), part(B, 40_001)], {}, "100,001 operations, more than 100,000"),
        ([part(A, 50, "delete_bundle")], {}, None),
        (
            [part(A, 50, "delete_bundle"), part(A, 1, "delete_channel")],
            {},
            "51 operations that cannot be undone, more than 50",
        ),
        ([part(A, 51, "set_bundle_metadata")], {}, None),
        # Half is not more than half; few operations are not many, whatever their share; nobody knows a share of the unknown.
        ([part(A, 10_000)], {A: 20_000}, None),
        ([part(A, 10_000)], {A: 19_999}, "10,000 of the 19,999 devices of com.a, more than 50%"),
        ([part(A, 9_999)], {A: 9_999}, None),
        ([part(A, 50_000)], {}, None),
        (
            [part(A, 6_000), part(A, 6_000, "unlink_device")],
            {A: 20_000},
            "12,000 of the 20,000 devices of com.a, more than 50%",
        ),
        (
            [part(A, 11_000), part(B, 12_000), part(C, 10_000)],
            {A: 11_000, B: 12_000, C: 90_000},
            "12,000 of the 12,000 devices of com.b (and of 1 more app), more than 50%",
        ),
    ],
)
def test_reach(parts: list[Part], devices: dict[str, int], reason: str | None) -> None:
    assert reach(parts, devices, Thresholds(share_from=10_000)) == reason


@in_virtual_time
async def test_a_plan_keeps_what_its_apps_showed_and_its_thresholds(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=2, devices=200)
    sandbox.world.apps[APP].overrides.clear()
    ids = ids_of(sandbox)
    source = from_operations([LinkDevice(app_id=APP, device_id=device, channel="beta") for device in ids[:60]])
    path = tmp_path / "job.capgo-job"
    options = Options(thresholds=Thresholds(share=Fraction(1, 4), share_from=60))
    async with client_of(sandbox) as capgo, await Job.create(path, source, client=capgo, options=options) as job:
        reason = f"60 of the {len(ids)} devices of {APP}, more than 25%"
        assert job.plan.needs_confirmation == reason
        assert reason in str(job.plan)
    async with await Job.open(path, read_only=True) as job:
        assert job.plan.needs_confirmation == reason


@in_virtual_time
async def test_a_share_of_what_was_listed_in_part_is_not_told(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=900)
    sandbox.world.apps[APP].overrides.clear()
    source = from_operations([LinkDevice(app_id=APP, device_id=ids_of(sandbox)[0], channel="beta")])
    options = Options(thresholds=Thresholds(share=Fraction(0), share_from=1))
    async with client_of(sandbox) as capgo:
        async with await Job.create(tmp_path / "job.capgo-job", source, client=capgo, options=options) as job:
            assert job.plan.planned == 1
            assert job.plan.needs_confirmation is None


@in_virtual_time
async def test_deletions_count_by_themselves(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=10)
    app = sandbox.world.apps[APP]
    names = [bundle.name for bundle in app.bundles.values()]
    operations: list[Operation] = [DeleteBundle(app_id=APP, bundle=name) for name in names]
    options = Options(reject_bad_rows=True, thresholds=Thresholds(destroying=0))
    async with client_of(sandbox) as capgo:
        source = from_operations(operations)
        async with await Job.create(tmp_path / "job.capgo-job", source, client=capgo, options=options) as job:
            assert job.plan.planned > 0
            assert "that cannot be undone, more than 0" in (job.plan.needs_confirmation or "")
