"""Gates against the limiters of the sandbox: slow answers, lost requests, somebody else's traffic."""

import functools
import heapq
import itertools
import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import pytest
from hypothesis import example, given, strategies as st

from capgo_async.limits.gate import LearningGate
from capgo_async.limits.models import Fate, FixedWindow, Limiter, SilenceWindow
from capgo_async.sandbox.exchange import Refusal
from capgo_async.sandbox.limiting import DeviceCall, Limiters, Thresholds

SPEED = 6.0
WINDOW = 60.0 / SPEED
OURS = DeviceCall(operation="set", address="::1", app_id="com.example.app")


class Journey(NamedTuple):
    """One request, in milliseconds: wanted `gap` after the one before; its way there, its handling, and its way back."""

    gap: int = 0
    there: int = 0
    handling: int = 0
    back: int = 0
    fate: Fate = Fate.PASSED


class AppServer:
    """Check before the handling, record after it (contract B2, fact 3)."""

    def __init__(self, requests: int) -> None:
        self._limiters = Limiters(Thresholds(channel_self_ip=requests), speed=SPEED)

    def check(self, now: int) -> None:
        self._limiters.check_device(OURS, now)

    def record(self, now: int) -> None:
        self._limiters.record_device(OURS, now)


class KeyServer:
    """Count, then check; refused requests count, too (contract B2, fact 1)."""

    def __init__(self, requests: int) -> None:
        self._limiters = Limiters(Thresholds(api_key=requests + 1), speed=SPEED)

    def check(self, now: int) -> None:
        self._limiters.count_request(1, now)

    def record(self, now: int) -> None:
        pass


class Run:
    """Send journeys as early as a gate allows; what happens in between is in `_agenda`, by time."""

    def __init__(self, gate: LearningGate, server: AppServer | KeyServer) -> None:
        self.refused = 0
        self.sent = 0
        self._gate = gate
        self._server = server
        self._agenda: list[tuple[int, int, Callable[[int], None]]] = []
        self._order = itertools.count()

    def at(self, time: int, what: Callable[[int], None]) -> None:
        heapq.heappush(self._agenda, (time, next(self._order), what))

    def somebody_else(self, now: int) -> None:
        try:
            self._server.check(now)
        except Refusal:
            return
        self._server.record(now)

    def go(self, journeys: Sequence[Journey]) -> None:
        now = 0
        for journey in journeys:
            now = self._wait(now + journey.gap)
            self._gate.sent(now / 1000)
            self.sent += 1
            left = journey.fate is not Fate.UNSENT
            self.at(now + journey.there, functools.partial(self._arrives if left else self._answered, journey))

    def _wait(self, now: int) -> int:
        while True:
            while self._agenda and self._agenda[0][0] <= now:
                _, _, what = heapq.heappop(self._agenda)
                what(now)
            at = self._gate.earliest(now / 1000)
            if at <= now / 1000:
                return now
            assert self._agenda or at < math.inf, "the gate waits for an answer that will never come"
            next_event = self._agenda[0][0] if self._agenda else math.inf
            now = max(now + 1, math.ceil(min(at * 1000, next_event)))

    def _arrives(self, journey: Journey, now: int) -> None:
        try:
            self._server.check(now)
        except Refusal as refusal:
            self.refused += 1
            self.at(now + journey.back, functools.partial(self._refused, float(refusal.headers["retry-after"])))
        else:
            self.at(now + journey.handling, functools.partial(self._handled, journey))

    def _handled(self, journey: Journey, now: int) -> None:
        self._server.record(now)
        self.at(now + journey.back, functools.partial(self._answered, journey))

    def _answered(self, journey: Journey, now: int) -> None:
        self._gate.answered(now / 1000, journey.fate)
        if journey.fate is Fate.PASSED:
            self._gate.prove()

    def _refused(self, seconds: float, now: int) -> None:
        if isinstance(self._server, KeyServer):
            self._gate.silence(now / 1000, seconds, learn=True)
        else:
            self._gate.close(now / 1000, seconds, learn=True)
        self._gate.answered(now / 1000, Fate.REFUSED)


# Around the borders of a window, and beyond them.
ways = st.one_of(st.integers(0, 300), st.integers(0, 12_000), st.sampled_from([9_900, 10_000, 10_100, 25_000]))
journeys = st.lists(
    st.builds(
        Journey,
        gap=st.one_of(st.just(0), ways),
        there=ways,
        handling=ways,
        back=ways,
        fate=st.sampled_from([Fate.PASSED, Fate.PASSED, Fate.PASSED, Fate.LOST, Fate.UNSENT]),
    ),
    min_size=1,
    max_size=40,
)
SERVERS: list[tuple[type[FixedWindow | SilenceWindow], type[AppServer | KeyServer]]] = [
    (FixedWindow, AppServer),
    (SilenceWindow, KeyServer),
]
servers = pytest.mark.parametrize(("model", "server"), SERVERS, ids=lambda value: value.__name__)


def gate_of(model: Callable[..., Limiter], requests: int) -> LearningGate:
    return LearningGate((model(requests=requests, window=WINDOW, margin=0.01),))


# A late answer whose request counted in the window before must not name the end of the next one.
@pytest.mark.slow
@example(
    requests=2,
    plan=[Journey(back=100), Journey(gap=9_000, there=100, back=3_000), Journey(gap=11_000), Journey(), Journey()],
)
@servers
@given(requests=st.integers(1, 5), plan=journeys)
def test_no_schedule_waits_for_ever_or_is_refused(
    model: Callable[..., Limiter], server: type[AppServer | KeyServer], requests: int, plan: list[Journey]
) -> None:
    run = Run(gate_of(model, requests), server(requests))
    run.go(plan)
    assert (run.sent, run.refused) == (len(plan), 0)


@pytest.mark.slow
@servers
@given(
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 5)), plan=journeys, others=st.lists(st.integers(0, 90_000), max_size=30)
)
def test_somebody_elses_traffic_and_smaller_limits_never_stop_a_gate(
    model: Callable[..., Limiter],
    server: type[AppServer | KeyServer],
    sizes: tuple[int, int],
    plan: list[Journey],
    others: list[int],
) -> None:
    modelled, allowed = sizes
    run = Run(gate_of(model, modelled), server(allowed))
    for time in others:
        run.at(time, run.somebody_else)
    run.go(plan)
    assert run.sent == len(plan)


def test_an_answer_slower_than_the_window_holds_nobody_back_for_ever() -> None:
    run = Run(gate_of(FixedWindow, 2), AppServer(2))
    run.go([Journey(back=25_000)] * 2 + [Journey()] * 3)
    assert (run.sent, run.refused) == (5, 0)
