"""What a client knows of the limits while it runs: after refusals that no model explains, and at a server in trouble."""

from datetime import UTC, datetime
from pathlib import Path

import anyio
import pytest
from fleet import APP, client_of, ids_of, limits_in, write_csv
from virtual_time import in_virtual_time

from capgo_async import CapgoClient
from capgo_async.bulk import Job, read_operations
from capgo_async.bulk.forecast.forecast import Leg, seconds_of
from capgo_async.bulk.forecast.outlook import outlook_of
from capgo_async.bulk.schedule.client_gauge import ClientGauge
from capgo_async.bulk.schedule.share import share_of
from capgo_async.client import requester_of
from capgo_async.key_ring import pacer_of, ring_of
from capgo_async.limits.gate import LearningGate
from capgo_async.limits.known import KnownLimit
from capgo_async.limits.models import Fate, FixedWindow, ScopeKind, SilenceWindow, parse_rate
from capgo_async.limits.pacer import Pacer
from capgo_async.limits.windows import Fixed, Silence, Sliding, seen_from
from capgo_async.sandbox import Sandbox, Settings, fleet, parse_faults, thresholds

LEGS = [Leg([share_of(APP, "link_device", 10_000)])]


def client() -> CapgoClient:
    return client_of(Sandbox(fleet(1, 1)))


@pytest.mark.slow
@pytest.mark.parametrize("at", [200, 450])
@in_virtual_time
async def test_after_a_refusal_without_a_reason_what_is_left_is_foreseen_at_the_published_limit(
    tmp_path: Path, at: int
) -> None:
    sandbox = Sandbox(
        fleet(1, 1500, channels=4),
        Settings(limits=thresholds("server"), faults=parse_faults(f"POST /device:429-edge=#{at}")),
    )
    rows = write_csv(tmp_path / "rows.csv", [(device,) for device in ids_of(sandbox)])
    said: list[tuple[float, float]] = []
    settled = 0

    def note(_result: object) -> None:
        nonlocal settled
        settled += 1

    async with client_of(sandbox) as capgo:
        source = read_operations(rows, app_id=APP, channel="ch04")
        async with await Job.create(tmp_path / "job.capgo-job", source, client=capgo) as job:

            async def look() -> None:
                for seconds in (30.0, 100.0, 300.0):
                    await anyio.sleep(seconds)
                    said.append((anyio.current_time(), job.remaining(capgo, settled).seconds))

            async with anyio.create_task_group() as group:
                group.start_soon(look)
                report = await job.run(capgo, on_progress=note)
                ended = anyio.current_time()
    assert (report.done, report.rate_limited) == (1500, 1)
    assert report.elapsed_seconds > 600
    for now, left in said:
        assert now + left == pytest.approx(ended, abs=0.03 * (ended - now))


@in_virtual_time
async def test_what_is_left_after_a_fallback_takes_what_it_takes_at_the_standard_rate() -> None:
    capgo = client()
    pacer_of(capgo).close(requester_of(capgo).key_scope, 5.0, reason_known=False)
    await anyio.sleep(100.0)
    fallen = seconds_of(LEGS, outlook_of(ring_of(capgo), LEGS))
    standard = client_of(Sandbox(fleet(1, 1)), rate="standard")
    assert fallen == pytest.approx(seconds_of(LEGS, outlook_of(ring_of(standard), LEGS)), rel=0.02)
    assert fallen > 6000


@in_virtual_time
async def test_the_limit_of_the_silence_is_not_taken_for_that_of_the_fallback() -> None:
    capgo = client()
    gauge = ClientGauge(ring_of(capgo), {})
    key = gauge.key_of(APP)
    pacer_of(capgo).close(requester_of(capgo).key_scope, 5.0, reason_known=False)
    rules = gauge.rules(key, APP)
    assert rules is not None
    assert (rules.key, rules.app) == (1999, 1000)


@in_virtual_time
async def test_who_shares_the_places_with_others_may_queue_for_one() -> None:
    capgo = client_of(Sandbox(fleet(1, 1)), rate="off")
    gauge = ClientGauge(ring_of(capgo), {})
    pacer_of(capgo).congestion.limit = 2
    assert not gauge.is_full(2), "nothing is in flight: all of it sleeps between attempts"
    for _ in range(2):
        pacer_of(capgo).take(())
    assert [gauge.is_full(own) for own in (0, 1, 2, 3)] == [False, False, True, True]


@in_virtual_time
async def test_who_has_no_limits_gets_no_gates_by_looking_ahead() -> None:
    """Each request would pass through them from then on."""
    capgo = client_of(Sandbox(fleet(1, 1)), rate="off")
    app = (ScopeKind.APP_ADDRESS, APP)
    outlook = outlook_of(ring_of(capgo), LEGS)
    assert list(outlook.windows[app]) == []
    assert app not in pacer_of(capgo).gates._gates


@in_virtual_time
async def test_a_server_in_trouble_is_foreseen_as_one_that_recovers() -> None:
    """Good answers raise what may be in flight by one each time that all of it is answered: soon it is all again."""
    capgo = client_of(Sandbox(fleet(1, 1)), rate="off")
    calm = seconds_of(LEGS, outlook_of(ring_of(capgo), LEGS))
    pacer_of(capgo).congestion.limit = 4
    assert seconds_of(LEGS, outlook_of(ring_of(capgo), LEGS)) == calm


@in_virtual_time
async def test_the_limiters_that_a_gate_keeps_are_its_models_until_refusals_say_otherwise() -> None:
    key, app = (ScopeKind.KEY, "one"), (ScopeKind.APP_ADDRESS, APP)
    pacer = Pacer(parse_rate("auto"), adaptive=True)
    assert limits_in(pacer.gates.windows_of(key)) == (1999,)
    pacer.close(key, 5.0, reason_known=False)
    assert [(type(window), window.limit) for window in pacer.gates.windows_of(key)] == [(Silence, 1999), (Sliding, 100)]
    assert [(type(window), window.limit) for window in pacer.gates.windows_of(app)] == [(Fixed, 1000)]


def test_what_was_learned_is_kept_and_what_others_leave_is_not() -> None:
    """Their bound grows by a quarter of the limit in each period in which nothing is refused: it is gone after four."""
    learned = LearningGate((FixedWindow(requests=1000, headroom=0.5),))
    learned.recall(KnownLimit(scope=ScopeKind.APP_ADDRESS, requests=400, learned_at=datetime.now(UTC)))
    assert [seen_from(window, 0.0).limit for window in learned.windows] == [200]
    shared = LearningGate((SilenceWindow(requests=100),))
    now = 0.0
    for passed in (60, 40, 20):
        now = _period(shared, now, passed)
    assert shared.others_noticed()
    assert limits_in(shared.windows) == (100,)
    assert [seen_from(window, now).room(0.0) for window in shared.windows] == [100]


def _period(gate: LearningGate, now: float, passed: int) -> float:
    """Let so many pass, have the next one refused, and be silent; return when the next period has begun."""
    for _ in range(passed):
        gate.sent(now)
        gate.prove()
        gate.answered(now, Fate.PASSED)
    gate.sent(now)
    gate.silence(now, 60.0, learn=True)
    gate.answered(now, Fate.REFUSED)
    now = gate.earliest(now)
    gate.earliest(now)
    return now
