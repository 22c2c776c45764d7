"""Headroom: a share of the limits that is left to others who use the same key or address."""

import itertools
from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest
from fleet import APP, ids_of, limits_in, statuses, write_csv
from hypothesis import given, strategies as st
from virtual_time import in_virtual_time

from capgo_async import CapgoClient
from capgo_async.bulk import Job, read_operations
from capgo_async.client import requester_of
from capgo_async.errors import ConfigurationError
from capgo_async.key_ring import pacer_of
from capgo_async.limits.gate import LearningGate
from capgo_async.limits.known import KnownLimit
from capgo_async.limits.models import (
    TARGET_KINDS,
    Fate,
    FixedWindow,
    Limit,
    ScopeKind,
    SilenceWindow,
    SlidingWindow,
    allowance,
    server_limits,
    with_headroom,
    without_headroom,
)
from capgo_async.limits.pacer import Pacer
from capgo_async.sandbox import Binding, Sandbox, Settings, fleet, thresholds
from capgo_async.sandbox.inprocess import InProcessTransport
from capgo_async.sandbox.seeding import ORG_ID, SUPER_ADMIN_KEY, USER_ID

KEY = (ScopeKind.KEY, "k")
APP_SCOPE = (ScopeKind.APP_ADDRESS, APP)
Model = type[SlidingWindow | FixedWindow | SilenceWindow]
models = pytest.mark.parametrize("model", [SlidingWindow, FixedWindow, SilenceWindow])


def passing(gate: LearningGate, now: float = 0.0) -> int:
    """Return how many requests a gate lets pass at once."""
    count = 0
    while gate.earliest(now) <= now:
        gate.sent(now)
        count += 1
    for _ in range(count):
        gate.answered(now, Fate.PASSED)
    return count


@models
@pytest.mark.parametrize(
    ("requests", "headroom", "ours"),
    [(1999, 0.2, 1599), (1000, 0.2, 800), (1000, 0.3, 700), (1000, 0.0, 1000), (10, 0.99, 1), (3, 0.5, 1), (1, 0.9, 1)],
)
def test_a_gate_lets_what_is_ours_pass_and_the_same_again_later(
    model: Model, requests: int, headroom: float, ours: int
) -> None:
    gate = LearningGate((model(requests=requests, headroom=headroom),))
    assert passing(gate) == ours
    assert limits_in(gate.windows) == (ours,)
    assert passing(gate, 60.9) == 0
    assert passing(gate, 61.0) == ours


@given(st.integers(1, 5000), st.integers(0, 99))
def test_a_share_in_whole_percent_is_taken_exactly(requests: int, percent: int) -> None:
    assert without_headroom(requests, percent / 100) == max(1, requests * (100 - percent) // 100)
    assert allowance(FixedWindow(requests=requests, headroom=percent / 100)) == without_headroom(requests, percent / 100)


def test_limits_of_single_targets_are_shared_with_nobody() -> None:
    for before, after in zip(server_limits(), with_headroom(server_limits(), 0.5), strict=True):
        assert before.scope == after.scope
        if before.scope in TARGET_KINDS:
            assert after == before
        else:
            assert allowance(after.limiter) == before.limiter.requests // 2


@in_virtual_time
async def test_a_pacer_keeps_all_limits_of_keys_and_apps_with_headroom() -> None:
    pacer = Pacer(server_limits(), headroom=0.25, concurrency=2000)
    device = (ScopeKind.DEVICE_OPERATION, "set", APP, "d")
    assert limits_in(pacer.gates.windows_of(KEY)) == (1499,)
    assert limits_in(pacer.gates.windows_of(APP_SCOPE)) == (750,)
    assert limits_in(pacer.gates.windows_of(device)) == (5,)


@pytest.mark.parametrize("kind", [ScopeKind.KEY, ScopeKind.APP_ADDRESS])
@in_virtual_time
async def test_a_limit_that_refusals_teach_is_shared_as_well(kind: ScopeKind) -> None:
    pacer = Pacer(server_limits(), headroom=0.2, concurrency=2000, adaptive=True)
    scope = (kind, "x")
    for _ in range(2):
        for _ in range(100):
            permit = await pacer.acquire((scope,))
            pacer.release(permit, Fate.PASSED)
            pacer.gates.prove(scope)
        permit = await pacer.acquire((scope,))
        pacer.close(scope, 61.0)
        pacer.release(permit, Fate.REFUSED)
        await anyio.sleep(70.0)
    assert limits_in(pacer.gates.windows_of(scope)) == (80,)
    assert pacer.gates.lessons.limits(scope) == {kind: 100}, "what is learned is the limit, not our share of it"


@in_virtual_time
async def test_a_limit_that_was_known_before_is_shared_as_well() -> None:
    pacer = Pacer(server_limits(), headroom=0.2, adaptive=True)
    known = [KnownLimit(scope=kind, requests=500, learned_at=datetime.now(UTC)) for kind in (KEY[0], APP_SCOPE[0])]
    pacer.gates.lessons.recall(known, KEY)
    assert (limits_in(pacer.gates.windows_of(KEY)), limits_in(pacer.gates.windows_of(APP_SCOPE))) == ((400,), (400,))


@in_virtual_time
async def test_the_published_limit_that_is_fallen_back_to_is_shared_as_well() -> None:
    pacer = Pacer(server_limits(), headroom=0.2, adaptive=True)
    pacer.close(KEY, 1.0, reason_known=False)
    assert limits_in(pacer.gates.windows_of(KEY)) == (1599, 80)


def client_with(sandbox: Sandbox | None = None, **options: object) -> CapgoClient:
    transport = InProcessTransport(sandbox or Sandbox(fleet()), request_delay=0.02, reply_delay=0.02)
    return CapgoClient(transport=transport, **{"api_key": SUPER_ADMIN_KEY, **options})  # type: ignore[arg-type]  # its own


@pytest.mark.parametrize("headroom", [-0.1, 1.0, 1.5, float("nan"), float("inf")])
def test_a_share_that_leaves_nothing_or_is_none_is_refused(headroom: float) -> None:
    with pytest.raises(ConfigurationError, match="at least 0 and below 1"):
        client_with(headroom=headroom)


def test_a_share_of_no_limits_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="rate off, which has no limits"):
        client_with(rate="off", headroom=0.2)
    assert pacer_of(client_with(rate="off", headroom=0.0)).gates.limits == ()


@pytest.mark.parametrize(("rate", "ours"), [("standard", 80), ("auto", 1599), ("server", 1599), ("300/min", 240)])
def test_each_rate_can_be_shared(rate: str, ours: int) -> None:
    capgo = client_with(rate=rate, headroom=0.2)
    assert limits_in(pacer_of(capgo).gates.windows_of(requester_of(capgo).key_scope)) == (ours,)
    limits = (Limit(ScopeKind.APP_ADDRESS, FixedWindow(requests=50)),)
    assert limits_in(pacer_of(client_with(limits=limits, headroom=0.2)).gates.windows_of(APP_SCOPE)) == (40,)


async def reading(client: CapgoClient, device_ids: list[str]) -> None:
    """Read as much as a client may."""
    for device_id in itertools.cycle(device_ids):
        await client.devices.get(APP, device_id)


@pytest.mark.slow
@pytest.mark.parametrize(("ours", "theirs", "refused"), [(0.2, 0.8, False), (0.0, 0.8, True)])
@in_virtual_time
async def test_beside_a_client_that_uses_the_rest_nothing_is_refused(
    tmp_path: Path, ours: float, theirs: float, *, refused: bool
) -> None:
    """The other one reads: the limit of an app at an address is one for both."""
    sandbox = Sandbox(fleet(1, 2000, channels=4), Settings(limits=thresholds("server")))
    other_key = "10000000-0000-4000-8000-00000000000f"
    sandbox.world.add_key(other_key, Binding(role="org_super_admin", org_id=ORG_ID), user_id=USER_ID)
    source = read_operations(
        write_csv(tmp_path / "rows.csv", [(each,) for each in ids_of(sandbox)]), app_id=APP, channel="ch04"
    )
    async with client_with(sandbox, headroom=ours) as capgo, client_with(sandbox, headroom=theirs, api_key=other_key) as other:
        async with await Job.create(tmp_path / "job.capgo-job", source, client=capgo) as job:
            async with anyio.create_task_group() as group:
                group.start_soon(reading, other, ids_of(sandbox))
                report = await job.run(capgo)
                group.cancel_scope.cancel()
    assert (report.done, report.pending) == (report.planned, 0)
    assert (statuses(sandbox)[429] > 0) is refused
