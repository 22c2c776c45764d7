"""Which operation leaves next: the schedule alone with limits and a clock that a test sets, then with real gates."""

import itertools
import math
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import anyio
import pytest
from hypothesis import example, given, settings, strategies as st

from capgo_async.bulk.operations.operations import LinkDevice, Operation, Planned
from capgo_async.bulk.operations.results import Done, Later, Result, Settled
from capgo_async.bulk.running.runner import COMMIT_SECONDS, Runner
from capgo_async.bulk.schedule.client_gauge import ClientGauge
from capgo_async.bulk.schedule.resting import Rules
from capgo_async.bulk.schedule.schedule import Schedule, Waiting
from capgo_async.bulk.schedule.share import Share
from capgo_async.client import CapgoClient, requester_of
from capgo_async.key_ring import KeyRing, pacer_of
from capgo_async.limits.models import Fate, FixedWindow, Limit, Period, ScopeKind, SilenceWindow, SlidingWindow
from capgo_async.limits.windows import silence_of
from capgo_async.sandbox.limiting import DeviceCall, Limiters, Thresholds
from capgo_async.sandbox.virtual_time import run_in_virtual_time

BATCH = 32
BOTH = (ScopeKind.KEY, ScopeKind.APP_ADDRESS)


def share(app_id: str, operations: int, *, windowed: bool = True, apart: bool = False, each: int = 1) -> Share:
    return Share(app_id, operations, each, BOTH if windowed else (ScopeKind.KEY,), apart)


class SetGauge:
    """Limits that a test sets; a key is the part of an app's name before the dot, where it has one."""

    def __init__(self) -> None:
        self.keys: dict[str, float] = {}
        self.apps: dict[str, float] = {}
        self.room: dict[str, int] = {}
        self.periods: dict[str, Period] = {}
        self.limits: dict[str, Rules] = {}
        self.places = math.inf

    def is_full(self, own: int) -> bool:
        return own >= self.places

    def key_of(self, app_id: str) -> str:
        return app_id.rpartition(".")[0]

    def key_free_at(self, key: str, now: float) -> float:
        return self.keys.get(key, now)

    def app_free_at(self, app_id: str, requests: int, now: float) -> float:
        return math.inf if requests > self.room.get(app_id, requests) else self.apps.get(app_id, now)

    def period(self, key: str, _now: float) -> Period | None:
        return self.periods.get(key)

    def rules(self, key: str, app_id: str | None) -> Rules | None:
        rules = self.limits.get(key)
        return rules if rules is None or app_id is not None else rules._replace(app=math.inf)


class Bench:
    """A schedule with a journal beside it that hands out at once, and a clock that a test moves."""

    def __init__(self, *shares: Share, gauge: SetGauge | None = None, batch: int = BATCH) -> None:
        self.gauge = gauge or SetGauge()
        self.schedule = Schedule(shares, self.gauge)
        self.now = 0.0
        self.batch = batch
        self.left: Counter[str] = Counter()
        for each in shares:
            self.left[each.app_id] += each.operations
        self.numbers = itertools.count(1)
        self.asked: list[dict[str, int]] = []

    def fetch(self) -> dict[str, int]:
        """Have the schedule ask the journal once."""
        wanted = self.schedule.wanted(self.batch, self.now)
        assert all(count > 0 for count in wanted.values())
        assert sum(wanted.values()) <= self.batch
        planned = []
        for app_id, count in wanted.items():
            taken = min(count, self.left[app_id])
            self.left[app_id] -= taken
            planned += [planned_of(app_id, next(self.numbers)) for _ in range(taken)]
        self.schedule.put(planned, wanted)
        self.asked.append(wanted)
        return wanted

    def choose(self) -> Planned | None:
        """Return what leaves now, whatever has to be fetched for it."""
        for _ in range(20):
            if (found := self.schedule.choose(self.now)) is not None or not self.fetch():
                return found
        raise AssertionError  # it fetches and fetches, and nothing leaves

    def leaving(self, most: int = 1000) -> list[str]:
        """Return the apps of what leaves now, fetched for as a runner does it."""
        found: list[str] = []
        while len(found) < most and (planned := self.choose()) is not None:
            found.append(planned.operation.app_id)
            if self.schedule.is_low(self.batch):
                self.fetch()
        return found

    def answered(self, *app_ids: str) -> None:
        for app_id in app_ids:
            self.schedule.answered(app_id)


def planned_of(app_id: str, number: int) -> Planned:
    return Planned(number, LinkDevice(app_id=app_id, device_id=f"d{number}", channel="beta"))


def test_the_app_with_most_left_goes_first_and_equal_ones_in_turn() -> None:
    bench = Bench(share("a", 5), share("b", 3), share("c", 3))
    assert "".join(bench.leaving()) == "aabcabcabca"[:11]
    assert bench.schedule.exhausted
    assert bench.schedule.empty


@given(st.lists(st.integers(1, 60), min_size=1, max_size=8))
def test_what_leaves_is_always_of_the_app_with_most_left(counts: list[int]) -> None:
    left = {f"app{number}": count for number, count in enumerate(counts)}
    bench = Bench(*[share(app_id, count) for app_id, count in left.items()])
    for app_id in bench.leaving():
        # What is due to a lane is fetched in whole operations: the last lane gets fewer.
        assert left[app_id] >= max(left.values()) - 2
        left[app_id] -= 1
    assert not any(left.values())


def test_what_takes_several_requests_weighs_as_many() -> None:
    bench = Bench(share("a", 4, each=3), share("b", 9))
    assert bench.leaving() == list("ababbabbbabbb")


def test_apps_without_limits_of_their_own_take_turns_whatever_they_have_left() -> None:
    bench = Bench(share("a", 6, windowed=False), share("b", 2, windowed=False))
    assert "".join(bench.leaving()) == "ababaaaa"


def test_an_app_that_has_a_limit_goes_before_those_that_have_none() -> None:
    bench = Bench(share("a", 3, windowed=False), share("b", 2))
    assert "".join(bench.leaving()) == "bbaaa"


def test_an_app_whose_window_is_full_holds_nobody_up_and_comes_back_when_it_opens() -> None:
    bench = Bench(share("a", 5), share("b", 3))
    assert bench.leaving(1) == ["a"]
    bench.gauge.apps["a"] = 61.0
    assert bench.leaving() == ["b"] * 3
    assert bench.schedule.look_again_at == 61.0
    bench.now = 60.9
    assert bench.leaving() == []
    bench.now = 61.0
    assert bench.leaving() == ["a"] * 4


def test_nothing_is_fetched_of_an_app_whose_window_is_full() -> None:
    bench = Bench(share("a", 500), share("b", 300))
    bench.leaving(1)
    bench.gauge.apps["a"] = 61.0
    bench.leaving(10)
    before = len(bench.asked)
    assert bench.leaving(100) == ["b"] * 100
    assert all(set(wanted) == {"b"} for wanted in bench.asked[before:])


def test_what_is_apart_has_one_in_flight() -> None:
    bench = Bench(share("a", 3, windowed=False, apart=True), share("b", 2, windowed=False, apart=True))
    assert bench.leaving() == ["a", "b"]
    assert bench.schedule.look_again_at == math.inf
    bench.answered("b")
    assert bench.leaving() == ["b"]
    bench.answered("a")
    assert bench.leaving() == ["a"]


def test_who_is_apart_holds_up_no_other_key() -> None:
    """Of the first key more is at hand than may leave: the other one is fetched for all the same."""
    bench = Bench(share("1.a", 500, windowed=False, apart=True), share("2.b", 200, windowed=False, apart=True))
    assert sorted(bench.leaving()) == ["1.a", "2.b"]


def test_the_same_where_each_takes_several_requests_and_few_are_at_hand() -> None:
    shares = [share(app_id, 9, windowed=False, apart=True, each=2) for app_id in ("1.a", "2.b")]
    bench = Bench(*shares, batch=4)
    assert sorted(bench.leaving()) == ["1.a", "2.b"]


def test_what_takes_several_requests_leaves_when_its_app_has_room_for_all_and_for_those_under_way() -> None:
    gauge = SetGauge()
    gauge.room = {"a": 7}
    bench = Bench(share("a", 9, each=3), share("b", 1, each=3), gauge=gauge)
    assert bench.leaving() == ["a", "a", "b"]
    bench.answered("a")
    assert bench.leaving() == ["a"]


def test_what_waited_goes_first() -> None:
    bench = Bench(share("a", 2), share("b", 9))
    (first,) = [bench.choose()]
    assert first is not None
    assert first.operation.app_id == "b"
    bench.schedule.park(first)
    bench.answered("b")
    parked = bench.choose()
    assert parked is not None
    back = Waiting(first, in_doubt=True)
    assert not bench.schedule.some_waited
    bench.schedule.come_back(back)
    assert bench.schedule.some_waited
    assert bench.choose() is first


def test_what_waited_of_a_small_app_goes_before_a_large_one() -> None:
    bench = Bench(share("a", 1), share("b", 9))
    bench.now = 1.0
    bench.gauge.apps["b"] = 5.0
    found = bench.choose()
    assert found is not None
    bench.schedule.park(found)
    bench.answered("a")
    del bench.gauge.apps["b"]
    bench.now = 5.0
    assert bench.leaving(2) == ["b"] * 2
    bench.schedule.come_back(Waiting(found, in_doubt=False))
    assert bench.leaving() == ["a"] + ["b"] * 7


def test_what_waits_for_its_target_counts_as_left() -> None:
    bench = Bench(share("a", 4), share("b", 3))
    for _ in range(2):
        found = bench.choose()
        assert found is not None
        bench.schedule.park(found)
    bench.answered("a", "b")
    assert bench.schedule.waiting() == {"a": 4, "b": 3}
    assert "".join(bench.leaving(3)) == "aab"


def test_a_key_sends_until_it_cannot_and_then_another() -> None:
    bench = Bench(share("1.a", 50), share("2.b", 40))
    assert bench.leaving(30) == ["1.a"] * 30, "also once it has less left"
    bench.gauge.keys["1"] = 61.0
    assert bench.leaving(5) == ["2.b"] * 5
    assert bench.schedule.look_again_at == math.inf, "what was chosen may be followed by more"
    bench.gauge.keys["2"] = 90.0
    assert bench.leaving() == []
    assert bench.schedule.look_again_at == 61.0
    bench.now = 61.0
    assert bench.leaving(5) == ["1.a"] * 5
    bench.now = 90.0
    assert bench.leaving(1) == ["2.b"], "it has more left, and was silent"


def test_who_may_send_again_goes_first_only_if_it_takes_longest() -> None:
    bench = Bench(share("1.a", 80), share("2.b", 60))
    bench.gauge.keys["1"] = 61.0
    assert bench.leaving(5) == ["2.b"] * 5
    bench.now = 61.0
    assert bench.leaving(81) == ["2.b"] + ["1.a"] * 80, "what is at hand leaves while the other is fetched for"
    assert bench.leaving(5) == ["2.b"] * 5


def ruled(gauge: SetGauge, key: str, *, used: int = 0, limit: int = 20, app: float = math.inf, fresh_at: float = 61.0) -> None:
    gauge.periods[key] = Period(used, limit, fresh_at)
    gauge.limits[key] = Rules(limit, app, 61.0, 61.0, 0.1)


def test_of_equal_keys_one_opens_with_what_is_left_over_and_rests_while_the_other_sends() -> None:
    gauge = SetGauge()
    ruled(gauge, "1")
    ruled(gauge, "2")
    bench = Bench(share("1.a", 43, windowed=False), share("2.b", 43, windowed=False), gauge=gauge)
    assert bench.leaving(23) == ["2.b"] * 3 + ["1.a"] * 20
    gauge.keys["1"] = 64.3
    assert bench.leaving() == [], "it is at its quota, and rests"
    assert bench.schedule.look_again_at == 64.3, "of the one whose requests are under way only an answer can tell"
    bench.answered(*["2.b"] * 2)
    assert bench.leaving() == []
    assert bench.schedule.look_again_at == 64.3
    gauge.periods["2"] = Period(3, 20, 62.0)
    bench.answered("2.b")
    assert bench.leaving() == []
    assert bench.schedule.look_again_at == 62.0
    bench.now = 62.0
    gauge.periods["2"] = Period(0, 20, 62.0)
    assert bench.leaving(20) == ["2.b"] * 20


def test_who_has_rested_is_thought_of_while_another_still_sends() -> None:
    gauge = SetGauge()
    ruled(gauge, "1")
    ruled(gauge, "2")
    bench = Bench(share("1.a", 43, windowed=False), share("2.b", 43, windowed=False), gauge=gauge)
    assert bench.leaving(8) == ["2.b"] * 3 + ["1.a"] * 5
    gauge.periods |= {"1": Period(5, 20, 99.0), "2": Period(3, 20, 62.0)}
    bench.answered(*["2.b"] * 3)
    assert bench.leaving(2) == ["1.a"] * 2
    bench.now = 62.0
    gauge.periods["2"] = Period(0, 20, 62.0)
    ruled(gauge, "1", limit=100)
    assert bench.leaving(5)[1:] == ["2.b"] * 4, "the other one's limit proved larger: this one takes longer"


def test_what_is_used_of_a_period_counts() -> None:
    gauge = SetGauge()
    ruled(gauge, "1")
    ruled(gauge, "2", used=18)
    bench = Bench(share("1.a", 20, windowed=False), share("2.b", 20, windowed=False), gauge=gauge)
    assert bench.leaving(1) == ["2.b"], "it has to rest before its end"


def test_a_quota_counts_requests() -> None:
    gauge = SetGauge()
    ruled(gauge, "1")
    ruled(gauge, "2")
    shares = [share(app_id, 15, windowed=False, each=3) for app_id in ("1.a", "2.b")]
    bench = Bench(*shares, gauge=gauge)
    assert bench.leaving(5) == ["2.b"] * 2 + ["1.a"] * 3, "5 requests are left over of 45: two operations"


@pytest.mark.parametrize("app", [math.inf, 2.0])
def test_operations_of_several_requests_need_no_app_limit_that_takes_them(app: float) -> None:
    gauge = SetGauge()
    for key in "12":
        ruled(gauge, key, app=app)
    bench = Bench(*[share(app_id, 5, each=3) for app_id in ("1.a", "2.b")], gauge=gauge)
    assert Counter(bench.leaving()) == {"1.a": 5, "2.b": 5}


def test_nothing_is_fetched_beyond_a_quota() -> None:
    gauge = SetGauge()
    ruled(gauge, "1")
    ruled(gauge, "2")
    bench = Bench(share("1.a", 43, windowed=False), share("2.b", 43, windowed=False), gauge=gauge)
    bench.leaving(3)
    assert sum(wanted.get("2.b", 0) for wanted in bench.asked) == 3


def test_a_key_rests_early_where_that_is_sooner_and_goes_on_where_it_is_not() -> None:
    for total, opens_at, expected in ((20, 61.0, 62.0), (19, 61.0, 61.0)):
        gauge = SetGauge()
        ruled(gauge, "1", used=10, limit=19, app=10, fresh_at=62.0)
        bench = Bench(share("1.a", total), gauge=gauge)
        assert bench.leaving(10) == ["1.a"] * 10
        bench.gauge.apps["1.a"] = opens_at
        bench.now = 1.0
        assert bench.leaving() == []
        # Where answers are under way, when it has been silent cannot be told yet.
        assert bench.schedule.look_again_at == 61.0
        bench.answered(*["1.a"] * 10)
        assert bench.leaving() == []
        assert bench.schedule.look_again_at <= expected
        bench.now = 61.5
        assert bench.leaving() == (["1.a"] * 9 if expected == 61.0 else [])
        gauge.periods["1"] = Period(0, 19, 62.0)
        bench.now = 62.0
        assert len(bench.leaving()) == (10 if expected == 62.0 else 0)


def test_whether_to_rest_is_thought_about_once_all_answers_are_in_and_then_no_more() -> None:
    gauge = SetGauge()
    ruled(gauge, "1", used=10, limit=19, app=10, fresh_at=62.0)
    bench = Bench(share("1.a", 20), gauge=gauge)
    assert bench.leaving(10) == ["1.a"] * 10
    gauge.apps["1.a"] = 61.0
    bench.now = 1.0
    assert bench.leaving() == []
    # The last answer came late: by now the window opens long before the key has been silent.
    gauge.periods["1"] = Period(10, 19, 200.0)
    bench.answered(*["1.a"] * 10)
    assert bench.leaving() == []
    del gauge.limits["1"]
    gauge.periods["1"] = Period(10, 19, 62.0)
    bench.now = 61.0
    assert bench.leaving(9) == ["1.a"] * 9


def test_a_key_that_need_not_be_silent_is_asked_about_once_for_each_opening() -> None:
    class Counting(SetGauge):
        asked = 0

        def rules(self, key: str, app_id: str | None) -> None:  # noqa: ARG002 - as the gauge
            self.asked += 1

    gauge = Counting()
    bench = Bench(share("1.a", 20), gauge=gauge)
    for opens_at in (50.0, 100.0):
        gauge.apps["1.a"] = opens_at
        for _ in range(9):
            bench.now += 1.0
            assert bench.leaving() == []
        bench.now = opens_at
    assert gauge.asked == 2


def test_no_rest_begins_while_another_app_of_the_key_may_send() -> None:
    gauge = SetGauge()
    ruled(gauge, "1", used=10, limit=19, app=10, fresh_at=62.0)
    bench = Bench(share("1.a", 20), share("1.b", 3, windowed=False), gauge=gauge)
    assert bench.leaving(10) == ["1.a"] * 10
    bench.answered(*["1.a"] * 10)
    gauge.apps["1.a"] = 61.0
    bench.now = 1.0
    assert bench.leaving() == ["1.b"] * 3


def test_where_only_an_answer_can_tell_the_next_choice_waits_for_it() -> None:
    bench = Bench(share("1.a", 5), share("1.b", 5))
    assert bench.leaving(1) == ["1.a"]
    bench.gauge.keys["1"] = math.inf
    assert bench.leaving() == []
    assert bench.schedule.look_again_at == math.inf
    bench.answered("1.a")
    bench.gauge.keys["1"] = 0.0
    assert bench.leaving(1) == ["1.b"]
    bench.gauge.apps["1.b"] = math.inf
    assert bench.leaving() == ["1.a"] * 4, "an app of which that holds stands back"
    bench.answered("1.a")
    assert bench.leaving() == []
    bench.answered("1.b")
    del bench.gauge.apps["1.b"]
    assert bench.leaving() == ["1.b"] * 4


def test_an_answer_to_somebody_else_is_waited_for_by_sending() -> None:
    """Nothing of this run is under way, so that no answer would wake it: the pacer holds the request back."""
    bench = Bench(share("1.a", 2), share("1.b", 1))
    bench.gauge.keys["1"] = math.inf
    assert bench.leaving(1) == ["1.a"]
    assert bench.leaving() == [], "now an answer will wake it"
    bench.answered("1.a")
    bench.gauge.keys["1"] = 0.0
    bench.gauge.apps["1.a"] = bench.gauge.apps["1.b"] = math.inf
    assert sorted(bench.leaving()) == ["1.a", "1.b"]


def test_nothing_leaves_that_would_wait_for_an_answer_in_the_pacer() -> None:
    bench = Bench(share("1.a", 5), share("2.b", 5))
    bench.gauge.places = 1
    assert bench.leaving() == ["1.a"]
    assert bench.schedule.look_again_at == math.inf
    bench.answered("1.a")
    assert bench.leaving() == ["1.a"]
    bench.gauge.places = 3
    assert len(bench.leaving()) == 2


def test_what_did_not_leave_is_given_back() -> None:
    bench = Bench(share("a", 40), share("b", 10))
    bench.leaving(1)
    parked = planned_of("b", 999)
    bench.schedule.park(parked)
    bench.schedule.come_back(Waiting(parked, in_doubt=True))
    back = bench.schedule.take_back()
    assert len(back) == sum(sum(wanted.values()) for wanted in bench.asked)
    assert [each.in_doubt for each in back].count(True) == 1
    assert bench.schedule.empty
    assert bench.choose() is not None, "what the journal still has can be fetched"


def test_an_app_of_which_the_journal_has_less_than_it_said_is_through() -> None:
    schedule = Schedule([share("a", 50), share("b", 5)], SetGauge())
    wanted = schedule.wanted(BATCH, 0.0)
    assert wanted["a"] > 2
    schedule.put([planned_of("a", 1), planned_of("a", 2)], wanted)
    assert schedule.waiting() == {"a": 2, "b": 5}
    schedule.put([], schedule.wanted(BATCH, 0.0))
    assert schedule.waiting() == {"a": 2, "b": 0}
    assert schedule.exhausted


def test_operations_of_several_kinds_of_one_app_are_one_lane_that_weighs_as_the_dearest() -> None:
    bench = Bench(share("a", 3), share("a", 2, each=2), share("b", 7))
    assert bench.schedule.waiting() == {"a": 5, "b": 7}
    assert bench.leaving(2) == ["a", "a"]
    assert Counter(bench.leaving()) == {"a": 3, "b": 7}


@pytest.mark.slow
@given(st.integers(33, 200), st.booleans())
def test_of_many_apps_some_are_fetched_and_all_leave(lanes: int, windowed: bool) -> None:  # noqa: FBT001 - drawn
    bench = Bench(*[share(f"app{number}", 2, windowed=windowed) for number in range(lanes)])
    assert sum(bench.fetch().values()) == BATCH
    assert Counter(bench.leaving()) == {f"app{number}": 2 for number in range(lanes)}


def test_who_has_most_due_is_fetched_first() -> None:
    bench = Bench(*[share(f"app{number}", 2) for number in range(40)], share("large", 90))
    assert bench.fetch() == {"large": BATCH}


def test_of_what_is_due_in_fractions_the_largest_is_fetched_first() -> None:
    bench = Bench(*[share(f"app{number}", 2) for number in range(40)], share("large", 30))
    assert bench.fetch()["large"] == 29


def test_what_comes_back_with_its_app_is_at_hand_again() -> None:
    bench = Bench(share("a", 500))
    bench.leaving(1)
    bench.gauge.apps["a"] = 61.0
    assert bench.leaving() == []
    bench.now = 61.0
    assert bench.leaving(1) == ["a"]
    assert bench.fetch() == {}, "enough is at hand"


def test_no_more_is_fetched_than_the_key_has_room_for_and_then_another_key_is_fetched_for() -> None:
    gauge = SetGauge()
    ruled(gauge, "1", used=17)
    ruled(gauge, "2", used=15)
    bench = Bench(share("1.a", 90), share("2.b", 50), gauge=gauge)
    assert bench.fetch() == {"1.a": 3}
    assert bench.fetch() == {"2.b": 5}
    assert bench.fetch() == {}


def test_where_the_room_is_nearly_used_up_it_is_fetched_for_whoever_has_most() -> None:
    gauge = SetGauge()
    ruled(gauge, "1", used=18)
    bench = Bench(*[share(f"1.{name}", count) for name, count in (("a", 10), ("b", 30), ("c", 20))], gauge=gauge)
    assert bench.leaving(2) == ["1.b"] * 2


def test_it_is_low_when_less_than_half_of_a_batch_is_at_hand_of_the_key_that_sends() -> None:
    bench = Bench(share("a", 500))
    bench.fetch()
    bench.leaving(1)
    assert not bench.schedule.is_low(BATCH)
    assert bench.fetch() == {}
    while not bench.schedule.is_low(BATCH):
        assert bench.schedule.choose(0.0) is not None
    assert len(bench.schedule.take_back()) == BATCH // 2


class AppsJournal:
    """A journal in memory with operations of several apps."""

    def __init__(self, shares: Iterable[Share]) -> None:
        self._shares = list(shares)
        self._numbers = itertools.count(1)
        self.left = Counter({each.app_id: each.operations for each in self._shares})
        self.sent: set[int] = set()
        self.settled: set[int] = set()
        self.returned: list[int] = []

    async def shares(self) -> Sequence[Share]:
        return self._shares

    async def advance(self, settled: Sequence[Settled], returned: Sequence[int], take: Mapping[str, int]) -> Sequence[Planned]:
        self.returned += returned
        for number, _, _ in settled:
            assert number not in self.settled
            self.settled.add(number)
        planned = []
        for app_id, most in take.items():
            taken = min(most, self.left[app_id])
            self.left[app_id] -= taken
            planned += [planned_of(app_id, next(self._numbers)) for _ in range(taken)]
        self.sent.update(each.id for each in planned)
        return planned


class Case(NamedTuple):
    """A run: keys and apps by their shares, limits of keys and apps, and answers of so many seconds."""

    shares: tuple[Share, ...]
    key: int | None
    app: int | None
    sliding: int | None
    workers: int
    latencies: tuple[float, ...]
    parked: float = 0.0


class World:
    """The pacer and the server around a run: each request is sent, counted on its way, and answered."""

    def __init__(self, case: Case) -> None:
        self.case = case
        models: list[Limit] = []
        if case.key is not None:
            models.append(Limit(ScopeKind.KEY, SilenceWindow(requests=case.key)))
        if case.sliding is not None:
            models.append(Limit(ScopeKind.KEY, SlidingWindow(requests=case.sliding)))
        if case.app is not None:
            models.append(Limit(ScopeKind.APP_ADDRESS, FixedWindow(requests=case.app)))
        client = CapgoClient(api_key="0", rate="off", limits=models, concurrency=case.workers)
        self.ring = KeyRing(client, {each.app_id: self.key_of(each.app_id) for each in case.shares})
        for each in case.shares:
            requester_of(self.ring.client_of(each.app_id)).key_scope = (ScopeKind.KEY, self.key_of(each.app_id))
        self.pacer = pacer_of(self.ring)
        self.journal = AppsJournal(case.shares)
        self.kinds = {each.app_id: each for each in case.shares}
        self.chance = random.Random(case.workers)
        limits = Thresholds(channel_self_ip=case.app, api_key=None if case.key is None else case.key + 1)
        self._server = Limiters(limits)
        self._sent: dict[str, list[float]] = {}
        self.done: Counter[int] = Counter()
        self.parked: dict[int, tuple[str, float]] = {}
        self.in_flight: Counter[str] = Counter()
        self.further: Counter[str] = Counter()
        """How many operations of each key are at a request that is not their first: what the one before told wakes nobody."""
        self.schedule: Schedule | None = None

    def key_of(self, app_id: str) -> str:
        return app_id.partition(".")[0]

    def scheduled(self, shares: Sequence[Share]) -> Schedule:
        self.schedule = Schedule(shares, ClientGauge(self.ring, {}))
        return self.schedule

    async def execute(self, operation: Operation) -> Result:
        app_id, number = operation.app_id, int(operation.target.name[1:])
        assert number in self.journal.sent, "the intent is durable before the operation leaves"
        self.parked.pop(number, None)
        kind = self.kinds[app_id]
        self.in_flight[app_id] += 1
        assert self.in_flight[app_id] == 1 or not kind.apart
        for number_of_request in range(kind.each):
            self.further[self.key_of(app_id)] += number_of_request
            await self._request(app_id)
            self.further[self.key_of(app_id)] -= number_of_request
        self.in_flight[app_id] -= 1
        if self.chance.random() < self.case.parked and number not in self.done:
            self.done[number] = 0
            until = anyio.current_time() + self.chance.choice([0.5, 3.0, 70.0])
            self.parked[number] = (app_id, until)
            return Later(until)
        self.done[number] += 1
        return Done()

    async def _request(self, app_id: str) -> None:
        scopes = [requester_of(self.ring.client_of(app_id)).key_scope]
        if ScopeKind.APP_ADDRESS in self.kinds[app_id].limits:
            scopes.append((ScopeKind.APP_ADDRESS, app_id))
        permit = await self.pacer.acquire(tuple(scopes))
        latency, there = self.chance.choice(self.case.latencies), self.chance.random()
        await anyio.sleep(latency * there)
        self._count(app_id, windowed=len(scopes) > 1)
        await anyio.sleep(latency * (1 - there))
        self.pacer.timings.note("", latency, Fate.PASSED)
        self.pacer.release(permit, Fate.PASSED)
        self.pacer.gates.prove(scopes[0])

    def _count(self, app_id: str, *, windowed: bool) -> None:
        """Raise `Refusal` where the server would have refused."""
        now = anyio.current_time()
        moment = int(now * 1000)
        key = self.key_of(app_id)
        self._server.count_request(int(key), moment)
        if windowed:
            call = DeviceCall(operation="set", address="::1", app_id=app_id)
            self._server.check_device(call, moment)
            self._server.record_device(call, moment)
        if self.case.sliding is not None:
            earlier = self._sent.setdefault(key, [])
            assert len([at for at in earlier if at > now - 60.0]) < self.case.sliding
            earlier.append(now)

    def could_leave(self) -> list[str]:
        """Return the apps of which something could leave now, if a worker had it, as far as limits and decisions allow."""
        assert self.schedule is not None
        now = anyio.current_time()
        waiting = Counter(app_id for app_id, until in self.parked.values() if until > now)
        found = []
        for app_id, count in self.schedule.waiting().items():
            kind, key = self.kinds[app_id], self.schedule._lanes[app_id].key
            if count <= waiting[app_id] or (kind.apart and self.in_flight[app_id]):
                continue
            if now < key.resting_until:
                silence = silence_of(self.pacer.gates.windows_of((ScopeKind.KEY, key.name)))
                assert silence is not None
                assert key.resting_until <= silence.fresh_at + 1e-6, "a rest is as long as the silence that it is for"
            rests = now < key.resting_until or key.quota < 1 or self.further[key.name]
            free = max(
                self.pacer.gates.free_at((ScopeKind.KEY, key.name), now),
                self.pacer.gates.free_at((ScopeKind.APP_ADDRESS, app_id), now) if ScopeKind.APP_ADDRESS in kind.limits else now,
            )
            if free <= now and not rests:
                found.append(app_id)
        return found

    async def watch(self) -> None:
        """See to it that no worker is idle while something could leave.

        Where a further request of an operation took the slot for which something was to be fetched, it is fetched with the next
        commit.
        """
        since: dict[str, float] = {}
        # Never at the moment of an answer.
        await anyio.sleep(0.00713)
        while True:
            await anyio.sleep(0.13)
            now = anyio.current_time()
            idle = self.in_flight.total() < self.case.workers
            since = {app_id: since.get(app_id, now) for app_id in self.could_leave()} if idle else {}
            assert all(now - at < COMMIT_SECONDS and not self._has_at_hand(app_id) for app_id, at in since.items()), (
                now,
                since,
            )

    def _has_at_hand(self, app_id: str) -> bool:
        assert self.schedule is not None
        return bool(self.schedule._lanes[app_id].at_hand)


async def running(case: Case) -> World:
    world = World(case)
    runner = Runner(world.journal, world.execute, workers=case.workers, schedule=world.scheduled)
    async with anyio.create_task_group() as group:
        group.start_soon(world.watch)
        with anyio.fail_after(50_000.0):
            await runner.run()
        group.cancel_scope.cancel()
    return world


@st.composite
def cases(draw: st.DrawFn) -> Case:
    keys = draw(st.integers(1, 3))
    # A job has targets of one kind: devices and channels here, members of organizations there.
    members = draw(st.sampled_from([False, False, False, True]))
    others = st.sampled_from([(1, BOTH, False), (1, BOTH, False), (2, (ScopeKind.KEY,), False)])
    kinds = st.just((2, (ScopeKind.KEY,), True)) if members else others
    shares = [
        Share(f"{key}.app{number}", draw(st.integers(1, 40)), *draw(kinds))
        for key in range(1, keys + 1)
        for number in range(draw(st.integers(1, 4)))
    ]
    return Case(
        tuple(shares),
        None if members else draw(st.one_of(st.none(), st.integers(3, 30))),
        draw(st.one_of(st.none(), st.integers(2, 15))),
        draw(st.sampled_from([None, None, None, 5, 20])),
        draw(st.sampled_from([1, 2, 5, 15])),
        draw(st.sampled_from([(0.02,), (0.1, 0.3), (1.0, 2.0, 7.0)])),
        draw(st.sampled_from([0.0, 0.0, 0.2])),
    )


DEVICES, CHANNELS = (1, BOTH), (2, (ScopeKind.KEY,))


# A further request takes the slot for which something was to be fetched.
@pytest.mark.slow
@example(
    Case(
        (
            *(Share("1.app0", 10, *CHANNELS), Share("1.app1", 16, *DEVICES), Share("2.app0", 3, *CHANNELS)),
            *(Share("2.app1", 1, *DEVICES), Share("2.app2", 1, *DEVICES), Share("2.app3", 40, *DEVICES)),
            Share("3.app0", 33, *CHANNELS),
        ),
        *(None, None, 5, 2, (0.1, 0.3)),
    )
)
@settings(max_examples=12)
@given(cases())
def test_every_operation_leaves_once_no_limit_is_exceeded_and_no_worker_is_idle_without_need(case: Case) -> None:
    world = run_in_virtual_time(running(case))
    assert sum(world.done.values()) == len(world.done) == sum(each.operations for each in case.shares)
    assert world.journal.settled == set(world.done)
    assert not world.journal.returned


def test_a_server_in_trouble_is_sent_no_more_than_it_takes_and_no_worker_waits_for_a_window_meanwhile() -> None:
    shares = (Share("1.app0", 90, *DEVICES), Share("1.app1", 40, *DEVICES))
    case = Case(shares, key=None, app=30, sliding=None, workers=15, latencies=(0.1,))

    async def main() -> tuple[World, int]:
        world = World(case)
        most = 0
        # As after failures: from here on each good answer, and later several, raise it by one.
        world.pacer.congestion.failed(0.0, 0.0)
        world.pacer.congestion.limit = 1

        async def execute(operation: Operation) -> Result:
            nonlocal most
            most = max(most, world.in_flight.total() + 1 - world.pacer.congestion.limit)
            return await world.execute(operation)

        await Runner(world.journal, execute, workers=case.workers, schedule=world.scheduled).run()
        return world, most

    world, waited = run_in_virtual_time(main())
    assert world.done.total() == 130
    assert waited <= 0


@pytest.mark.parametrize("foreign", [1, 2])
def test_a_run_that_begins_while_somebody_else_s_requests_are_under_way_goes_on_after_them(foreign: int) -> None:
    """The first request of a key goes alone, and two fill the window: until they are answered nobody can say until when."""
    case = Case((Share("1.app0", 3, 1, BOTH), Share("1.app1", 3, 1, BOTH)), None, 2, None, 4, (0.1,))

    async def main() -> float:
        world = World(case)
        scopes = ((ScopeKind.KEY, "1"), (ScopeKind.APP_ADDRESS, "1.app0"))
        if foreign > 1:
            world.pacer.gates.prove(scopes[0])
        permits = [await world.pacer.acquire(scopes) for _ in range(foreign)]
        runner = Runner(world.journal, world.execute, workers=case.workers, schedule=world.scheduled)
        async with anyio.create_task_group() as group:
            group.start_soon(runner.run)
            await anyio.sleep(5.0)
            assert not world.done if foreign == 1 else set(world.done)
            for permit in permits:
                world.pacer.release(permit, Fate.PASSED)
            world.pacer.gates.prove(scopes[0])
        assert len(world.done) == 6
        return anyio.current_time()

    assert run_in_virtual_time(main()) < 5.0 + 2 * 61.0 + 1.0
