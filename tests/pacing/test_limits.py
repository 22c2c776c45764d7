"""The limiter models against servers that count as the contract says, under arbitrary latencies."""

import heapq
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest
from fleet import limits_in
from hypothesis import given, strategies as st

from capgo_async.limits.gate import LearningGate
from capgo_async.limits.models import (
    DEFAULT_SILENCE,
    Fate,
    FixedWindow,
    Limiter,
    ScopeKind,
    SilenceWindow,
    SlidingWindow,
    device_limits,
    parse_rate,
    safety_margin,
    server_limits,
)


class Planned(NamedTuple):
    """One request of a schedule: asked for `gap` seconds after the one before; its way there and back."""

    gap: float
    there: float
    back: float


def schedule(gate: LearningGate, requests: Sequence[Planned]) -> list[tuple[float, float, float]]:
    """Send as early as `gate` allows; return departures, arrivals and answers."""
    now = 0.0
    answers: list[float] = []
    sent = []
    for request in requests:
        now += request.gap
        while True:
            while answers and answers[0] <= now:
                gate.answered(heapq.heappop(answers), Fate.PASSED)
            at = gate.earliest(now)
            if at <= now:
                break
            # Whatever comes first: the time that the gate named, or an answer that may change its mind.
            assert answers or at < math.inf, "the gate waits for an answer that will never come"
            now = min(at, answers[0] if answers else at)
        gate.sent(now)
        arrival = now + request.there
        heapq.heappush(answers, arrival + request.back)
        sent.append((now, arrival, arrival + request.back))
    return sent


def refused_by_sliding(arrivals: Sequence[float], requests: int, window: float) -> int:
    times = sorted(arrivals)
    return sum(1 for i in range(requests, len(times)) if times[i] - times[i - requests] < window)


def refused_by_fixed(arrivals: Sequence[float], requests: int, window: float) -> int:
    opened, count, refused = -math.inf, 0, 0
    for at in sorted(arrivals):
        if at >= opened + window:
            opened, count = at, 0
        count += 1
        refused += count > requests
    return refused


def refused_by_silence(arrivals: Sequence[float], requests: int, window: float) -> int:
    last, count, refused = -math.inf, 0, 0
    for at in sorted(arrivals):
        if at >= last + window:
            count = 0
        count += 1
        refused += count > requests
        last = at
    return refused


seconds = st.one_of(st.floats(0, 3), st.floats(0, 25))  # an answer may take longer than the window lasts
plans = st.lists(
    st.builds(Planned, gap=st.one_of(st.just(0.0), st.floats(0, 30)), there=seconds, back=seconds), min_size=1, max_size=60
)

MODELS: list[tuple[Callable[..., Limiter], Callable[[Sequence[float], int, float], int]]] = [
    (SlidingWindow, refused_by_sliding),
    (FixedWindow, refused_by_fixed),
    (SilenceWindow, refused_by_silence),
]


@pytest.mark.slow
@pytest.mark.parametrize(("model", "refused"), MODELS, ids=lambda value: value.__name__)
@given(requests=st.integers(1, 6), plan=plans)
def test_no_schedule_exceeds_the_limit_by_one_request(
    model: Callable[..., Limiter], refused: Callable[[Sequence[float], int, float], int], requests: int, plan: list[Planned]
) -> None:
    sent = schedule(LearningGate((model(requests=requests, window=10.0, margin=0.01),)), plan)
    assert refused([arrival for _, arrival, _ in sent], requests, 10.0) == 0


@pytest.mark.parametrize(("model", "refused"), MODELS, ids=lambda value: value.__name__)
def test_the_limit_is_used_up_before_anybody_waits(
    model: Callable[..., Limiter], refused: Callable[[Sequence[float], int, float], int]
) -> None:
    sent = schedule(LearningGate((model(requests=5, window=10.0, margin=1.0),)), [Planned(0, 0, 0)] * 12)
    assert [departure for departure, _, _ in sent] == [0.0] * 5 + [11.0] * 5 + [22.0] * 2
    assert refused([arrival for _, arrival, _ in sent], 4, 10.0) > 0, "the reference would notice one too many"


def test_the_key_is_refused_at_any_speed_without_a_silence_and_the_model_knows() -> None:
    # Contract B2, fact 1: with the threshold at 20 one request each 4 s is refused at the 20th.
    drip = [Planned(4.0, 0, 0)] * 40
    assert refused_by_silence([4.0 * i for i in range(40)], 19, 60.0) > 0
    sent = schedule(LearningGate((SilenceWindow(requests=19),)), drip)
    assert refused_by_silence([arrival for _, arrival, _ in sent], 19, 60.0) == 0
    assert sent[19][0] - sent[18][0] == pytest.approx(61.0)


def test_a_silence_in_between_resets_the_count() -> None:
    plan = [*[Planned(0, 0, 0)] * 15, Planned(61.5, 0, 0), *[Planned(0, 0, 0)] * 18]
    sent = schedule(LearningGate((SilenceWindow(requests=19),)), plan)
    assert sent[-1][0] == pytest.approx(61.5)


def test_what_was_never_sent_does_not_count() -> None:
    gate = LearningGate((FixedWindow(requests=1), SlidingWindow(requests=1), SilenceWindow(requests=1)))
    for _ in range(5):
        assert gate.earliest(0.0) <= 0.0
        gate.sent(0.0)
        gate.answered(0.0, Fate.UNSENT)
    assert gate.used(0.0) == 0


def fill(gate: LearningGate, now: float, passed: int, refused: int = 0) -> None:
    for _ in range(passed + refused):
        gate.sent(now)
    for _ in range(passed):
        gate.answered(now, Fate.PASSED)
    for _ in range(refused):
        gate.answered(now, Fate.REFUSED)


@pytest.mark.parametrize("model", [FixedWindow(requests=100), SilenceWindow(requests=100)])
def test_an_early_refusal_first_means_earlier_traffic(model: Limiter) -> None:
    gate = LearningGate((model,))
    fill(gate, 0.0, passed=30, refused=1)
    gate.silence(0.0, 60.0, learn=True)
    assert limits_in(gate.windows) == (100,)
    assert gate.earliest(0.0) >= 60.0


def refuse(gate: LearningGate, now: float) -> None:
    gate.sent(now)
    gate.answered(now, Fate.REFUSED)
    gate.silence(now, 60.0, learn=True)


adaptive = pytest.mark.parametrize("model", [FixedWindow(requests=100), SilenceWindow(requests=100)])


@adaptive
def test_two_periods_that_are_refused_at_the_same_number_teach_the_smaller_limit(model: Limiter) -> None:
    gate = LearningGate((model,))
    fill(gate, 0.0, passed=31)
    refuse(gate, 0.0)
    assert limits_in(gate.windows) == (100,)
    later = 100.0
    assert gate.earliest(later) <= later
    fill(gate, later, passed=30)
    gate.prove()
    assert gate.earliest(later) <= later
    fill(gate, later, passed=1)
    gate.sent(later)
    gate.sent(later)
    gate.answered(later, Fate.REFUSED)
    gate.silence(later, 60.0, learn=True)
    assert limits_in(gate.windows) == (100,), "an answer is still out: it may have passed"
    gate.answered(later, Fate.PASSED)
    assert limits_in(gate.windows) == (32,)


@adaptive
def test_refusals_at_different_numbers_are_somebody_elses_traffic(model: Limiter) -> None:
    gate = LearningGate((model,))
    for number, passed in enumerate((30, 3, 60, 1, 45)):
        later = 100.0 * number
        gate.earliest(later)
        fill(gate, later, passed=passed)
        gate.prove()
        refuse(gate, later)
    assert limits_in(gate.windows) == (100,)


@adaptive
def test_a_probe_that_is_refused_teaches_nothing_however_often(model: Limiter) -> None:
    gate = LearningGate((model,))
    for number in range(10):
        later = 700.0 * number
        assert gate.earliest(later) <= later
        refuse(gate, later)
    assert limits_in(gate.windows) == (100,)


@adaptive
def test_a_lesson_is_forgotten_after_it_was_kept_for_long_and_learned_again_by_one_request(model: Limiter) -> None:
    gate = LearningGate((model,))
    now, refused = 0.0, 0
    limits: list[int] = []
    for _ in range(16):
        now += 100.0
        passed = 0
        while gate.earliest(now) <= now:
            if passed == 30:
                refuse(gate, now)
                refused += 1
                break
            fill(gate, now, passed=1)
            gate.prove()
            passed += 1
        limits += limits_in(gate.windows)
    assert (limits[0], set(limits[1:])) == (100, {30})
    assert refused == 3


def test_of_an_app_that_never_rested_only_the_last_window_teaches() -> None:
    gate = LearningGate((FixedWindow(requests=100),))
    for second in range(600):
        gate.sent(float(second))
        gate.answered(second + 0.9, Fate.PASSED)
    gate.close(600.0, 20.0, learn=True)
    assert gate.earliest(700.0) <= 700.0
    fill(gate, 700.0, passed=41)
    gate.close(700.0, 60.0, learn=True)
    assert gate.learned() == 41


def test_without_adaptation_nothing_is_learned() -> None:
    gate = LearningGate((SilenceWindow(requests=100), SlidingWindow(requests=50)))
    for now in (0.0, 200.0):
        gate.earliest(now)
        fill(gate, now, passed=3, refused=1)
        gate.silence(now, 60.0)
    assert limits_in(gate.windows) == (100, 50)


def test_near_a_suspected_limit_requests_go_one_by_one() -> None:
    gate = LearningGate((SilenceWindow(requests=100),))
    fill(gate, 0.0, passed=30, refused=1)
    gate.silence(0.0, 60.0, learn=True)
    later = 100.0
    assert gate.earliest(later) <= later
    fill(gate, later, passed=29)
    gate.prove()
    gate.sent(later)
    assert gate.earliest(later) == math.inf
    gate.answered(later, Fate.PASSED)
    gate.prove()
    assert gate.earliest(later) <= later


def test_after_a_refusal_of_the_key_one_probe_goes_once_all_have_been_silent() -> None:
    gate = LearningGate()
    for _ in range(3):
        gate.sent(0.0)
    gate.answered(1.0, Fate.REFUSED)
    gate.silence(1.0, 60.0)
    assert gate.earliest(100.0) == math.inf, "two are still out, and each answer prolongs the lock-out"
    gate.answered(5.0, Fate.REFUSED)
    gate.answered(7.0, Fate.PASSED)
    gate.prove()
    assert gate.earliest(8.0) == 7.0 + DEFAULT_SILENCE
    gate.sent(68.0)
    assert gate.earliest(68.0) == math.inf, "one probe, alone"
    gate.answered(69.0, Fate.PASSED)
    gate.prove()
    assert gate.earliest(69.0) <= 69.0


def test_the_pause_is_never_shorter_than_the_server_asks() -> None:
    gate = LearningGate((SilenceWindow(requests=5, window=1.0),))
    fill(gate, 0.0, passed=0, refused=1)
    gate.silence(0.0, 3.0)
    assert gate.earliest(0.0) == 3.0


@pytest.mark.slow
@given(used=st.integers(0, 20), age=st.floats(0, 100), plan=plans)
@pytest.mark.parametrize(("model", "refused"), MODELS, ids=lambda value: value.__name__)
def test_what_an_earlier_process_used_counts(
    model: Callable[..., Limiter],
    refused: Callable[[Sequence[float], int, float], int],
    used: int,
    age: float,
    plan: list[Planned],
) -> None:
    gate = LearningGate((model(requests=6, window=10.0, margin=0.01),))
    gate.seed(min(used, 6), -age)
    sent = schedule(gate, plan)
    earlier = [-age] * min(used, 6)
    assert refused([*earlier, *(arrival for _, arrival, _ in sent)], 6, 10.0) == 0


def test_gates_are_idle_when_their_windows_are_over() -> None:
    for model in (SlidingWindow(requests=2), FixedWindow(requests=2), SilenceWindow(requests=2)):
        gate = LearningGate((model,))
        assert gate.idle(0.0)
        gate.sent(0.0)
        assert not gate.idle(0.0)
        gate.answered(0.0, Fate.PASSED)
        assert not gate.idle(10.0)
        assert gate.idle(61.0)


@pytest.mark.parametrize(
    ("text", "model"),
    [
        ("standard", SlidingWindow(requests=100, window=60.0)),
        ("enterprise", SlidingWindow(requests=1000, window=60.0)),
        ("120/min", SlidingWindow(requests=120, window=60.0)),
        ("5/s", SlidingWindow(requests=5, window=1.0)),
        ("auto", SilenceWindow(requests=1999, window=60.0)),
        ("server", SilenceWindow(requests=1999, window=60.0)),
    ],
)
def test_rates(text: str, model: Limiter) -> None:
    limits = parse_rate(text)
    assert [limit.limiter for limit in limits if limit.scope is ScopeKind.KEY] == [model]
    assert limits[1:] == device_limits()


def test_the_rate_off_has_no_limits() -> None:
    assert parse_rate("off") == ()


@pytest.mark.parametrize("text", ["", "fast", "0/min", "-1/s", "1/h", "1.5/s", "/s", "٣/s", "10"])
def test_a_rate_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="N/min"):
        parse_rate(text)


def test_windows_can_be_divided() -> None:
    windows = {limit.scope: limit.limiter.window for limit in server_limits(speed=60.0)}
    assert windows == {
        ScopeKind.KEY: 1.0,
        ScopeKind.APP_ADDRESS: 1.0,
        ScopeKind.DEVICE_OPERATION: pytest.approx(1 / 60),
        ScopeKind.DEVICE_CHANNEL: 1.0,
    }
    assert safety_margin(60.0) == 1.0
    assert safety_margin(1.0) == pytest.approx(0.1)


@pytest.mark.parametrize("model", [SlidingWindow, FixedWindow, SilenceWindow])
def test_requests_that_leave_in_a_row_need_room_for_all_of_them(
    model: type[SlidingWindow | FixedWindow | SilenceWindow],
) -> None:
    limiter = model(requests=3)
    gate = LearningGate((limiter,))
    assert gate.room_at(9, 0.0) == 0.0, "as many as the limit ever allows"
    for _ in range(2):
        gate.sent(0.0)
    assert [gate.room_at(requests, 1.0) for requests in (1, 2, 9)] == [1.0, math.inf, math.inf]
    for _ in range(2):
        gate.answered(2.0, Fate.PASSED)
    again = gate.room_at(2, 2.0)
    assert gate.room_at(1, 2.0) == 2.0
    assert again >= limiter.window
    assert gate.room_at(3, again) == again
    for _ in range(3):
        assert gate.earliest(again) <= again
        gate.sent(again)


@given(
    st.sampled_from([SlidingWindow(requests=3), FixedWindow(requests=3), SilenceWindow(requests=3)]),
    st.lists(st.sampled_from([0.0, 1.0, 20.0, 59.0, 61.0]), max_size=6),
    st.integers(1, 14),
)
def test_the_last_of_a_queue_is_never_foreseen_too_late(model: Limiter, gaps: Sequence[float], queue: int) -> None:
    gate, now = LearningGate([model]), 0.0

    def send_at(earliest: float) -> float:
        at = max(earliest, gate.earliest(earliest))
        gate.sent(at)
        gate.answered(at, Fate.PASSED)
        return at

    for gap in gaps:
        now = send_at(now + gap)
    foreseen, left_at = gate.known_at(queue, now), now
    for _ in range(queue):
        left_at = send_at(left_at)
    assert foreseen <= left_at + 1e-6
    assert foreseen >= left_at - 61.0 or isinstance(model, FixedWindow), "the margins of fixed windows add up"
