"""A server in trouble sees fewer requests: the rule by itself, and against a sandbox in virtual time."""

import random
from collections.abc import Iterable

import anyio
import pytest
from fleet import APP, client_of, sandbox_of
from hypothesis import given, strategies as st
from scripted import Attempts, ScriptedTransport, answer
from virtual_time import in_virtual_time

from capgo_async import CapgoClient, errors
from capgo_async.key_ring import pacer_of
from capgo_async.limits.congestion import Congestion
from capgo_async.limits.lockout import MOST_IN_FLIGHT
from capgo_async.sandbox import Sandbox
from capgo_async.sandbox.inprocess import InProcessTransport
from capgo_async.sandbox.seeding import EPOCH, SUPER_ADMIN_KEY


def fed(most: int, answers: str) -> Congestion:
    """Feed answers of one round trip after another: `.` passed, `x` failed; a space ends the round trip."""
    congestion = Congestion(most)
    for trip, ends in enumerate(answers.split()):
        for end in ends:
            if end == "x":
                congestion.failed(trip, trip + 1)
            else:
                congestion.passed(trip)
    return congestion


@pytest.mark.parametrize(
    ("most", "answers", "limit"),
    [
        (16, "................", 16),
        (16, "x...............", 16),
        (16, "xxx............. ................", 16),
        (16, "xxxx", 8),
        (16, "x..x..x..x", 8),
        (16, "xxxxxxxxxxxxxxxx", 8),
        (16, "xxxx xxxx", 4),
        (16, "xxxx xxxx xxxx xxxx xxxx xxxx", 1),
        (2, "xxxx xxxx xxxx", 1),
        (1, "xxxx", 1),
        (100, "x" * 16, 100),
        (100, "x" * 17, 50),
        (16, "xxxx ........", 9),
        (16, "xxxx .......x", 8),
        (16, "xxxx ........ .........", 10),
        (4, "xxxx .. ...", 4),
        (4, "xxxx .. ... ............", 4),
    ],
)
def test_the_rule(most: int, answers: str, limit: int) -> None:
    assert fed(most, answers).limit == limit


def test_answers_to_what_left_before_a_halving_do_not_count() -> None:
    congestion = fed(16, "xxxx")
    for _ in range(12):
        congestion.failed(0.0, 1.5)
    for _ in range(100):
        congestion.passed(0.5)
    assert congestion.limit == 8


def test_it_is_calm_only_where_good_answers_change_nothing() -> None:
    congestion = Congestion(2)
    assert congestion.calm
    congestion.failed(0.0, 1.0)
    assert not congestion.calm
    for _ in range(19):
        congestion.passed(1.0)
    assert congestion.calm
    for _ in range(4):
        congestion.failed(2.0, 3.0)
    congestion.passed(3.0)
    assert (congestion.limit, congestion.calm) == (2, True)


@given(most=st.integers(1, 70), answers=st.lists(st.tuples(st.booleans(), st.floats(0, 100))))
def test_the_limit_stays_between_one_and_the_most(most: int, answers: Iterable[tuple[bool, float]]) -> None:
    congestion = Congestion(most)
    for good, left_at in answers:
        before = congestion.limit
        if good:
            congestion.passed(left_at)
            assert before <= congestion.limit <= before + 1
        else:
            congestion.failed(left_at, left_at + 1.0)
            assert congestion.limit in {before, max(1, before // 2)}
        assert 1 <= congestion.limit <= most


@pytest.mark.parametrize("most", [4, 16, 64])
def test_one_fault_in_a_hundred_costs_next_to_nothing(most: int) -> None:
    chance = random.Random(7)
    congestion, lost = Congestion(most), 0.0
    for number in range(100_000):
        if chance.random() < 0.01:
            congestion.failed(number, number)
        else:
            congestion.passed(number)
        lost += 1 - congestion.limit / most
    assert lost / 100_000 < 0.005


@pytest.mark.parametrize("most", [4, 16, 64])
def test_one_fault_in_five_is_noticed_within_a_few_round_trips(most: int) -> None:
    for seed in range(50):
        chance = random.Random(seed)
        congestion, answers = Congestion(most), 0
        while congestion.limit == most:
            answers += 1
            congestion.failed(0, 0) if chance.random() < 0.2 else congestion.passed(0)
        assert answers <= 8 * max(20, most)


@pytest.mark.slow
@in_virtual_time
async def test_single_failures_change_nothing_however_many_there_are() -> None:
    sandbox = sandbox_of(devices=20, faults="DELETE /device:500=" + "+".join(f"#{30 * number}" for number in range(1, 60)))
    attempts = Attempts()
    transport = InProcessTransport(sandbox, request_delay=0.05, reply_delay=0.05)
    capgo = CapgoClient(api_key=SUPER_ADMIN_KEY, transport=transport, rate="off", retries=0, on_event=attempts)
    await unlink_for(capgo, 10.0)
    assert sum(attempt.status == 500 for attempt in attempts) > 20
    assert {attempt.allowed for attempt in attempts} == {MOST_IN_FLIGHT}


def in_flight(sandbox: Sandbox, start: float, end: float) -> int:
    """Return the most requests that a sandbox had at once in a span of virtual time."""
    lines = [line for line in sandbox.log if line.time - EPOCH < end and line.answered - EPOCH >= start]
    return max(sum(1 for other in lines if other.time <= line.time < other.answered) for line in lines)


async def unlink_for(capgo: CapgoClient, seconds: float, workers: int = 16) -> None:
    """Keep unlinking a device of their own with many workers for so long, whatever comes of it."""
    ends_at = anyio.current_time() + seconds

    async def work(number: int) -> None:
        while anyio.current_time() < ends_at:
            try:
                await capgo.devices.unlink(APP, f"device-{number}")
            except errors.CapgoError:
                continue

    async with anyio.create_task_group() as group:
        for number in range(workers):
            group.start_soon(work, number)


@pytest.mark.slow
@pytest.mark.parametrize("fault", ["500=100%", "502=100%", "500=50%", "drop-after=60%", "drop-before=100%"])
@in_virtual_time
async def test_a_server_in_trouble_sees_fewer_requests_in_flight_and_all_of_them_once_it_recovered(fault: str) -> None:
    healthy = sandbox_of(devices=20, faults="*:latency=1s")
    troubled = sandbox_of(devices=20, faults=f"*:latency=1s;DELETE /device:{fault}")
    recovered = sandbox_of(devices=20, faults="*:latency=1s")
    transport = InProcessTransport(healthy, chance=random.Random(3))
    attempts = Attempts()
    capgo = CapgoClient(api_key=SUPER_ADMIN_KEY, transport=transport, rate="off", retries=0, on_event=attempts)
    await unlink_for(capgo, 5.0)
    transport.sandbox = troubled
    await unlink_for(capgo, 40.0)
    assert in_flight(troubled, 0.0, 10.0) == MOST_IN_FLIGHT
    assert in_flight(troubled, 30.0, 45.0) <= 6
    assert attempts[-1].allowed == pacer_of(capgo).congestion.limit <= 6
    assert {attempt.allowed for attempt in attempts} >= {15, 7, 3}
    transport.sandbox = recovered
    await unlink_for(capgo, 60.0)
    assert in_flight(recovered, 90.0, 105.0) == MOST_IN_FLIGHT
    assert attempts[-1].allowed == MOST_IN_FLIGHT


@in_virtual_time
async def test_a_server_that_answers_nobody_in_time_is_relieved_at_once() -> None:
    transport = ScriptedTransport(answer(), last=errors.TimedOut("late"), latency=30.0)
    capgo = CapgoClient(api_key="secret-key", transport=transport, rate="off", retries=0, timeout=60.0)
    await unlink_for(capgo, 200.0)
    # One goes alone and proves the key; 15 are lost together, then each round trip halves.
    together = [transport.times.count(time) for time in sorted(set(transport.times))]
    assert together[:4] == [1, 15, 7, 3]
    assert together[-1] == 1


@pytest.mark.parametrize(
    "last",
    [
        answer(400, {"error": "cannot_access_app", "message": "no", "moreInfo": {}}),
        answer(404, {"error": "device_not_found", "message": "no", "moreInfo": {}}),
    ],
)
@in_virtual_time
async def test_what_the_server_refuses_for_good_is_no_trouble(last: object) -> None:
    transport = ScriptedTransport(answer(), last=last, latency=1.0)  # type: ignore[arg-type]  # answers all
    capgo = CapgoClient(api_key="secret-key", transport=transport, rate="off")
    await unlink_for(capgo, 20.0)
    assert pacer_of(capgo).congestion.limit == MOST_IN_FLIGHT


@in_virtual_time
async def test_refusals_by_a_limit_and_calls_that_nobody_waits_for_are_no_trouble() -> None:
    sandbox = sandbox_of(devices=20, faults="*:latency=1s", limits="server", variables={"RATE_LIMIT_API_KEY": 40})
    async with client_of(sandbox) as capgo:
        await unlink_for(capgo, 70.0)
        assert capgo.counters.rate_limited >= 4
        for _ in range(5):
            with anyio.move_on_after(0.5):
                await unlink_for(capgo, 10.0)
        assert pacer_of(capgo).congestion.limit == MOST_IN_FLIGHT
