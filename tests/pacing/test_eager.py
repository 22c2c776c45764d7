"""`--rate eager`: past the model until the first refusal, never past what that taught, and silent after it."""

import random
from collections import Counter
from itertools import pairwise

import anyio
import pytest
from fleet import APP, client_of, ids_of, sandbox_of
from virtual_time import in_virtual_time

from capgo_async import CapgoClient
from capgo_async.gates import Fate, Gate, _FixedState
from capgo_async.limits import FixedWindow, ScopeKind, SilenceWindow, device_limits, parse_rate
from capgo_async.sandbox import AccessLine, Sandbox
from capgo_async.sandbox.limiting import Limiters

WORKERS = 16


async def read(capgo: CapgoClient, requests: int, app_id: str | None = None) -> None:
    """Send so many reads, each answered well in the end, by all workers together; of the devices of an app if one is named."""
    left = iter(range(requests))

    async def work() -> None:
        for _ in left:
            if app_id is None:
                await capgo.apps.get(APP)
            else:
                await capgo.devices.list(app_id).all()

    async with anyio.create_task_group() as group:
        for _ in range(WORKERS):
            group.start_soon(work)


def bursts(sandbox: Sandbox, pause: float = 55.0) -> list[Counter[int]]:
    """Return the statuses of what came between pauses."""
    log = list(sandbox.log)
    found = [Counter({log[0].status: 1})]
    for earlier, later in pairwise(log):
        if later.time - earlier.answered >= pause:
            found.append(Counter())
        found[-1][later.status] += 1
    return found


def refused(sandbox: Sandbox) -> list[AccessLine]:
    return [line for line in sandbox.log if line.status == 429]


def test_eager_is_the_servers_own_limits_of_key_and_app_taken_for_the_least() -> None:
    by_scope = {limit.scope: limit.limiter for limit in parse_rate("eager")}
    assert by_scope[ScopeKind.KEY] == SilenceWindow(requests=1999, eager=True)
    assert by_scope[ScopeKind.APP_ADDRESS] == FixedWindow(requests=1000, eager=True)
    assert [limit for limit in parse_rate("eager") if limit.scope.startswith("device")] == list(device_limits()[1:])


@pytest.mark.parametrize(("rate", "burst"), [("eager", 5702), ("auto", 1999)])
@in_virtual_time
async def test_a_key_that_may_do_more_than_the_model_does_it_with_eager_only(rate: str, burst: int) -> None:
    sandbox = sandbox_of(limits="server", variables={"RATE_LIMIT_API_KEY": 5703})
    await read(client_of(sandbox, rate=rate), 14_000)
    passed = [found[200] for found in bursts(sandbox)]
    assert set(passed[:2]) == {burst}
    assert len(refused(sandbox)) == 0 if rate == "auto" else 1 <= len(refused(sandbox)) <= WORKERS
    assert all(not found[429] for found in bursts(sandbox)[1:])


@in_virtual_time
async def test_after_the_first_refusal_the_key_is_silent_as_ever() -> None:
    sandbox = sandbox_of(limits="server", variables={"RATE_LIMIT_API_KEY": 2501})
    capgo = client_of(sandbox, rate="eager")
    await read(capgo, 3000)
    assert capgo.pacer.limits_of(capgo.requester.key_scope) == (2500,)
    knocks = refused(sandbox)
    last = max(line.answered for line in knocks)
    after = [line.time for line in sandbox.log if line.time > last]
    assert after[0] >= last + 61.0
    assert after[1] > after[0] + 0.03, "one probe, alone"


@in_virtual_time
async def test_a_server_that_loses_counts_passes_more_and_is_probed_again_only_after_ten_bursts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    count, chance = Limiters.count_request, random.Random(5)

    def lossy(limiters: Limiters, key_id: int, now: int) -> None:
        if chance.random() < 0.35:
            count(limiters, key_id, now)

    monkeypatch.setattr(Limiters, "count_request", lossy)
    sandbox = sandbox_of(limits="server")
    capgo = client_of(sandbox, rate="eager")
    await read(capgo, 40_000)
    found = bursts(sandbox)
    assert found[0][200] > 5000
    learned = capgo.pacer.limits_of(capgo.requester.key_scope)[0]
    assert all(1999 <= each[200] <= found[0][200] + 1 for each in found[:-1])
    assert learned >= 1999
    limits_learned = sum(1 for each in found if each[429])
    assert len(refused(sandbox)) <= limits_learned * (WORKERS + 1)
    assert len(found) < 40_000 / 1999 / 2


@in_virtual_time
async def test_an_app_that_may_do_more_than_the_model_does_it_too() -> None:
    sandbox = sandbox_of(
        devices=1, limits="server", variables={"RATE_LIMIT_CHANNEL_SELF_IP": 1700, "RATE_LIMIT_API_KEY": 100_000}
    )
    capgo = client_of(sandbox, rate="eager")
    await read(capgo, 6000, APP)
    # What is in flight together passes together there: it is checked first and counted later (contract B2, fact 3).
    learned = capgo.pacer.limits_of((ScopeKind.APP_ADDRESS, APP))[0]
    assert 1700 <= learned < 1700 + WORKERS
    assert all(1700 <= found[200] < 1700 + WORKERS for found in bursts(sandbox)[:3])
    # How many are in flight at the end of a window is chance: a burst of as many as passed before may be one too many.
    assert 1 <= len(refused(sandbox)) <= WORKERS + 2


@in_virtual_time
async def test_what_passed_in_earlier_windows_does_not_count_as_one() -> None:
    # Slowly for minutes, never at rest, then at full speed: the bound is what passed in the last window.
    sandbox = sandbox_of(
        devices=1, limits="server", variables={"RATE_LIMIT_CHANNEL_SELF_IP": 1700, "RATE_LIMIT_API_KEY": 100_000}
    )
    capgo = client_of(sandbox, rate="eager")
    for _ in range(600):
        await read(capgo, 5, APP)
        await anyio.sleep(0.5)
    await read(capgo, 4000, APP)
    assert capgo.pacer.limits_of((ScopeKind.APP_ADDRESS, APP))[0] <= 2400
    assert len(refused(sandbox)) <= WORKERS + 2


def test_an_eager_gate_remembers_no_more_than_a_window() -> None:
    gate = Gate((FixedWindow(requests=10, eager=True),))
    for second in range(1000):
        gate.sent(float(second))
        gate.sent(second + 0.1)
        gate.answered(second + 0.5, Fate.PASSED)
        gate.answered(second + 0.9, Fate.PASSED)
    assert all(len(state._releases) <= 2 * 63 for state in gate._states if isinstance(state, _FixedState))


@in_virtual_time
async def test_a_refusal_below_the_model_teaches_only_when_it_comes_twice_as_with_auto() -> None:
    sandbox = sandbox_of(limits="server", variables={"RATE_LIMIT_API_KEY": 301})
    capgo = client_of(sandbox, rate="eager")
    await read(capgo, 1000)
    assert capgo.pacer.limits_of(capgo.requester.key_scope) == (300,)
    assert len(refused(sandbox)) <= WORKERS + 1


@in_virtual_time
async def test_the_limits_of_one_device_are_kept() -> None:
    sandbox = sandbox_of(devices=1, limits="server")
    capgo = client_of(sandbox, rate="eager")
    for _ in range(3):
        await capgo.devices.link(APP, ids_of(sandbox)[0], channel="beta")
    assert refused(sandbox) == []


@in_virtual_time
async def test_a_process_that_follows_an_eager_one_rests_first() -> None:
    sandbox = sandbox_of(limits="server", variables={"RATE_LIMIT_API_KEY": 3001})
    first = client_of(sandbox, rate="eager")
    await read(first, 2500)
    usage = first.pacer.usage()
    second = client_of(sandbox, rate="eager")
    key = second.requester.key_scope
    second.pacer.seed(type(used)(key if used.scope[0] == ScopeKind.KEY else used.scope, used.used, used.age) for used in usage)
    began = anyio.current_time()
    await read(second, 1)
    assert anyio.current_time() - began >= 60.9
