"""Somebody else uses the same key: noticed, given way to, and never knocked against."""

import random
from collections.abc import Sequence
from itertools import pairwise

import anyio
import pytest
from fleet import APP, client_of, limits_in, lose_counts, sandbox_of
from hypothesis import given, strategies as st
from virtual_time import in_virtual_time

from capgo_async import CapgoClient
from capgo_async.api.endpoints.bundles import list_bundles
from capgo_async.client import requester_of
from capgo_async.key_ring import pacer_of
from capgo_async.limits.gate import LearningGate
from capgo_async.limits.models import BOUNDLESS, DEFAULT_SILENCE, Fate, SilenceWindow, SlidingWindow
from capgo_async.limits.other_users import Others, patience
from capgo_async.sandbox import AccessLine, Sandbox
from capgo_async.sandbox.inprocess import InProcessTransport
from capgo_async.sandbox.seeding import EPOCH, SUPER_ADMIN_KEY
from capgo_async.sandbox.virtual_time import run_in_virtual_time


@pytest.mark.parametrize(
    ("periods", "noticed", "bound"),
    [
        ([], False, None),
        ([(30, 31)], False, None),
        ([(30, 31), (30, 31)], False, None),
        ([(30, 40), (36, 50)], False, None),
        ([(30, 31), (80, 81)], True, 40),
        ([(80, 81), (30, 31)], True, 15),
        ([(30, 31), None, (80, 81)], False, None),
        ([(0, 1)], False, None),
        ([(0, 1), (0, 1)], True, 50),
        ([(60, 61), (0, 1)], True, 30),
        ([(60, 61), (0, 1), (0, 1), (0, 1)], True, 30),
        ([(60, 61), (0, 1), None], True, 55),
        ([(60, 61), (0, 1), None, None, None], True, None),
        ([(60, 61), (0, 1), None, (40, 41)], True, 20),
        ([(1, 2), (0, 1)], True, 1),
    ],
)
def test_the_rule(periods: Sequence[tuple[int, int] | None], noticed: bool, bound: int | None) -> None:  # noqa: FBT001 - expected
    others, last = Others(100), BOUNDLESS
    for period in periods:
        passed = 100 if period is None else period[0]
        if period is not None:
            others.refused(*period)
        last = others.begin(passed)
    assert (others.noticed, last) == (noticed, BOUNDLESS if bound is None else bound)


@given(st.lists(st.one_of(st.none(), st.tuples(st.integers(0, 200), st.integers(1, 20)))))
def test_a_period_may_always_have_a_request(periods: list[tuple[int, int] | None]) -> None:
    others = Others(100)
    for period in periods:
        if period is not None:
            others.refused(period[0], period[0] + period[1])
        assert 1 <= others.begin(100 if period is None else period[0]) <= BOUNDLESS


def test_patience_grows_and_never_ends_before_a_silence() -> None:
    factors = [patience(probes) for probes in range(40)]
    assert factors[:5] == [1.0, 1.0, 1.5, 2.0, 2.5]
    assert factors == sorted(factors)
    assert factors[-1] == 10.0


@pytest.mark.parametrize("model", [SilenceWindow(requests=100), SlidingWindow(requests=100), None])
def test_each_refused_probe_is_followed_by_a_longer_silence_until_one_passes(
    model: SilenceWindow | SlidingWindow | None,
) -> None:
    gate, now = LearningGate((model,) if model else ()), 0.0
    waits: list[float] = []
    for _ in range(5):
        gate.sent(now)
        gate.silence(now, 60.0)
        gate.answered(now, Fate.REFUSED)
        waits.append(gate.earliest(now) - now)
        now = gate.earliest(now)
    assert waits == [DEFAULT_SILENCE * factor for factor in (1, 1, 1.5, 2, 2.5)]
    assert gate.others_noticed()
    gate.sent(now)
    gate.prove()
    gate.answered(now, Fate.PASSED)
    gate.sent(now)
    gate.silence(now, 60.0)
    gate.answered(now, Fate.REFUSED)
    assert gate.earliest(now) - now == DEFAULT_SILENCE


async def read(capgo: CapgoClient, requests: int, workers: int = 16) -> None:
    left = iter(range(requests))

    async def work() -> None:
        for _ in left:
            await capgo.apps.get(APP)

    async with anyio.create_task_group() as group:
        for _ in range(workers):
            group.start_soon(work)


def refused(sandbox: Sandbox) -> list[AccessLine]:
    return [line for line in sandbox.log if line.status == 429]


def of(capgo: CapgoClient, sandbox: Sandbox) -> list[AccessLine]:
    return [line for line in sandbox.log if line.request_id.startswith(requester_of(capgo).identity.name)]


def nobody_knocks(capgo: CapgoClient, sandbox: Sandbox) -> None:
    """Check that after each refusal, and all that was in flight with it, the client was silent for a minute."""
    lines = of(capgo, sandbox)
    for line, after in pairwise(lines):
        if line.status == 429 and after.time > line.answered + 0.05:
            assert after.time - line.answered >= 60.9


@pytest.mark.slow
@in_virtual_time
async def test_two_clients_that_probe_in_turn_both_get_in() -> None:
    # A third has just used the key up; each of the two keeps the counter alive by its probes, half a minute apart.
    sandbox = sandbox_of(limits="server")
    await read(client_of(sandbox), 1999)
    one, two = client_of(sandbox), client_of(sandbox)
    with anyio.fail_after(1200.0):
        async with anyio.create_task_group() as group:
            group.start_soon(read, one, 200)
            await anyio.sleep(30.0)
            group.start_soon(read, two, 200)
    for capgo in (one, two):
        nobody_knocks(capgo, sandbox)
    assert pacer_of(one).gates.lessons.others_noticed() or pacer_of(two).gates.lessons.others_noticed()


async def share(sandbox: Sandbox) -> tuple[CapgoClient, int]:
    """Read much while another client reads now and then, with the same key; return ours, and how often the other passed."""
    chance = random.Random(1)
    ours, other = client_of(sandbox), client_of(sandbox)

    async def now_and_then() -> None:
        while True:
            await read(other, chance.randrange(200, 1500), workers=chance.randrange(2, 16))
            await anyio.sleep(chance.uniform(1.0, 40.0))

    async with anyio.create_task_group() as group:
        group.start_soon(now_and_then)
        await read(ours, 5000)
        group.cancel_scope.cancel()
    return ours, sum(1 for line in of(other, sandbox) if line.status == 200)


@pytest.mark.slow
def test_another_user_is_noticed_and_given_way_to(monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = sandbox_of(limits="server")
    ours, given = run_in_virtual_time(share(sandbox))
    nobody_knocks(ours, sandbox)
    assert pacer_of(ours).gates.lessons.others_noticed()
    assert ours.known().others_noticed_at is not None
    assert ours.with_key("another-key").known().others_noticed_at is None, "of a key of its own nobody knows others"
    assert limits_in(pacer_of(ours).gates.windows_of(requester_of(ours).key_scope)) == (1999,), "they teach no smaller limit"
    monkeypatch.setattr(Others, "begin", lambda _others, _passed: BOUNDLESS)
    _, taken = run_in_virtual_time(share(sandbox_of(limits="server")))
    assert given > 2 * taken


@pytest.mark.slow
@in_virtual_time
async def test_nobody_else_is_seen_where_there_is_nobody() -> None:
    for variables in ({}, {"RATE_LIMIT_API_KEY": 301}):
        sandbox = sandbox_of(limits="server", variables=variables, faults="*:drop-after=1%,500=1%")
        capgo = client_of(sandbox)
        await read(capgo, 2500 if not variables else 1000)
        assert not pacer_of(capgo).gates.lessons.others_noticed()


@pytest.mark.slow
@pytest.mark.parametrize("loses", [True, False])
@in_virtual_time
async def test_a_server_that_loses_counts_refuses_at_other_numbers_each_time(*, loses: bool) -> None:
    sandbox = sandbox_of(limits="server", variables={"RATE_LIMIT_API_KEY": 101})
    if loses:
        lose_counts(sandbox)
    capgo = client_of(sandbox)
    await read(capgo, 1500)
    assert pacer_of(capgo).gates.lessons.uneven() is loses
    assert loses or [each.requests for each in capgo.known().limits] == [100]


@pytest.mark.slow
@in_virtual_time
async def test_a_key_that_somebody_never_leaves_alone_is_asked_for_less_and_less_often() -> None:
    sandbox = sandbox_of(limits="server", variables={"RATE_LIMIT_API_KEY": 50})
    ours = client_of(sandbox)

    async def knock() -> None:
        transport = InProcessTransport(sandbox)
        while True:
            await transport.send(list_bundles(APP, 0).request, {"authorization": SUPER_ADMIN_KEY})
            await anyio.sleep(20.0)

    with anyio.move_on_after(3600.0):
        async with anyio.create_task_group() as group:
            group.start_soon(knock)
            await anyio.sleep(1000.0)
            group.start_soon(read, ours, 10)
    times = [line.time - EPOCH for line in of(ours, sandbox)]
    gaps = [later - earlier for earlier, later in pairwise(times)]
    assert len(times) <= 15, "once a minute would be 42"
    assert gaps == sorted(gaps)
    assert gaps[0] >= 61.0
    assert pacer_of(ours).gates.lessons.others_noticed()
