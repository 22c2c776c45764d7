"""When keys rest: the formulas against every schedule of small numbers, and tables with the server's limits."""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import example, given, strategies as st
from schedules import Instance, least_of

from capgo_async.bulk.schedule.resting import BlockedKey, Prospect, Rules, first_of, least_seconds, levelled, rests_early

SERVER = Rules(key=1999, app=1000, rest=61.0, window=61.0, pace=0.02 / 16)
KEY_ALONE = SERVER._replace(app=math.inf, window=0.0)

lefts = st.lists(st.integers(0, 40), max_size=6)


def one_by_one(left: Sequence[int], amount: int, most_each: float) -> list[int]:
    """Return what is left where each request is of who has most left, of those that may."""
    found = list(left)
    for _ in range(amount):
        able = [index for index, before in enumerate(left) if found[index] and before - found[index] < most_each]
        if not able:
            break
        found[max(able, key=found.__getitem__)] -= 1
    return found


@example([5, 3], 4, 2)
@example([9, 9, 1], 6, 3)
@given(lefts, st.integers(0, 250), st.one_of(st.just(math.inf), st.integers(1, 20)))
def test_the_largest_are_brought_down_together(left: list[int], amount: int, most_each: float) -> None:
    found = levelled(left, amount, most_each)
    gone = [before - after for before, after in zip(left, found, strict=True)]
    assert sum(gone) == pytest.approx(min(amount, sum(min(each, most_each) for each in left)))
    assert all(-1e-9 <= each <= min(before, most_each) + 1e-9 for each, before in zip(gone, left, strict=True))
    freely = [after for after, each in zip(found, gone, strict=True) if 1e-9 < each < most_each - 1e-9]
    able = [after for after, each in zip(found, gone, strict=True) if each < most_each - 1e-9]
    assert max(able, default=0) <= min(freely, default=math.inf) + 1e-9, "nobody gave while another had more and could"
    assert all(abs(one - other) < 1 for one, other in zip(found, one_by_one(left, amount, most_each), strict=True))


def every_schedule(rules: Rules) -> Callable[[Sequence[int], int], float]:
    """Return what finds the least time until the last answer by trying all: windows are open, and `room` is left.

    The windows of all apps open together, with the first request of a burst.
    """

    @functools.cache
    def after(left: tuple[int, ...], room: int) -> float:
        least = math.inf
        for sent in _bursts(left, room, int(rules.app)):
            still = tuple(sorted(before - each for before, each in zip(left, sent, strict=True)))
            ends = sum(sent) * rules.pace
            if not any(still):
                least = min(least, ends)
            elif any(sent):
                least = min(least, ends + rules.rest + after(still, int(rules.key)))
                if sum(sent) < room:
                    least = min(least, max(rules.window, ends) + after(still, room - sum(sent)))
        return least

    return lambda left, room: after(tuple(sorted(left)), room)


def _bursts(left: Sequence[int], room: int, app: int) -> Iterator[tuple[int, ...]]:
    if not left:
        yield ()
        return
    for first in range(min(left[0], app, room) + 1):
        for others in _bursts(left[1:], room - first, app):
            yield (first, *others)


def one_app(rules: Rules) -> Callable[[int, int], float]:
    """Return the same for one app, of any size: nothing is gained by sending less than may leave."""

    @functools.cache
    def after(left: int, room: int) -> float:
        sent = int(min(left, room, rules.app))
        still, ends = left - sent, sent * rules.pace
        if not still:
            return ends
        resting = ends + rules.rest + after(still, int(rules.key))
        return min(resting, max(rules.window, ends) + after(still, room - sent)) if room > sent else resting

    return after


small = st.one_of(
    st.lists(st.integers(1, 25), min_size=1, max_size=1),
    st.lists(st.integers(1, 9), min_size=2, max_size=2),
    st.lists(st.integers(1, 6), min_size=3, max_size=3),
)
limits = st.integers(1, 4).flatmap(lambda app: st.tuples(st.integers(app, min(9, 8 * app)), st.just(app)))


@pytest.mark.slow
@given(small, limits)
def test_where_sending_takes_no_time_the_least_is_exact(left: list[int], key_and_app: tuple[int, int]) -> None:
    key, app = key_and_app
    rules = Rules(key, app, 61.0, 61.0, 0.0)
    assert least_seconds(left, rules) == every_schedule(rules)(left, key)


@pytest.mark.slow
@given(st.lists(st.integers(1, 5), min_size=1, max_size=2), st.integers(1, 3), st.integers(1, 4))
def test_it_is_that_of_every_schedule_request_by_request(left: list[int], app: int, more: int) -> None:
    key, step = app + more, 3
    instance = Instance(tuple((0, each) for each in left), 10, 1, step, key=key, app=app)
    steps = least_seconds(left, Rules(key, app, 1.0, 1.0, 0.0))
    assert steps * step + instance.latency == least_of(instance)


@pytest.mark.slow
@given(small, limits, st.sampled_from([0.5, 5.0, 61.0]))
def test_shorter_windows_are_used_and_the_least_is_less_than_a_rest_too_low(
    left: list[int], key_and_app: tuple[int, int], window: float
) -> None:
    key, app = key_and_app
    rules = Rules(key, app, 61.0, window, 0.0)
    least, true = least_seconds(left, rules), every_schedule(rules)(left, key)
    # It reckons with the busiest app and with all of them, not with the two or three busiest: one app is exact.
    assert true - 61.0 <= least <= true
    if len(left) == 1:
        assert least == true


# The server's proportions, and answers of 0.02 s to 2 s.
proportions = st.builds(
    lambda sizes, seconds: Rules(sizes[0], sizes[1], 61.0, 61.0, seconds / sizes[1]),
    st.sampled_from([(9, 5), (7, 4), (10, 5)]),
    st.sampled_from([1.25, 6.25, 12.5, 125.0]),
)


@pytest.mark.slow
@pytest.mark.parametrize("sizes", [(9, 5), (7, 4), (10, 5), (1999, 1000)], ids=str)
def test_the_least_of_one_app_is_exact_in_nearly_all_cases_and_never_too_low(sizes: tuple[int, int]) -> None:
    step = max(1, sizes[1] // 5)
    above: list[float] = []
    for seconds, left in itertools.product([1.25, 6.25, 12.5, 125.0], range(step, 160 * step, step)):
        rules = Rules(sizes[0], sizes[1], 61.0, 61.0, seconds / sizes[1])
        above.append(least_seconds([left], rules) / one_app(rules)(left, sizes[0]) - 1)
    assert min(above) > -1e-9
    assert max(above) < 0.02
    assert sum(1 for each in above if each < 1e-9) >= 0.85 * len(above)


@pytest.mark.slow
@given(proportions, small)
def test_the_least_of_several_apps_is_never_too_low_and_a_period_of_sending_too_high_at_most(
    rules: Rules, left: list[int]
) -> None:
    true = every_schedule(rules)(left, int(rules.key))
    assert true - 1e-6 <= least_seconds(left, rules) <= true + rules.key * rules.pace + 1e-6


@pytest.mark.parametrize("latency", [0.02, 0.1, 0.2, 2.0])
@pytest.mark.parametrize("total", [*range(1100, 5000, 150), 2000, 3000, 4000, 10_000, 15_999, 20_000])
def test_one_app_rests_early_exactly_where_that_is_sooner(total: int, latency: float) -> None:
    rules = SERVER._replace(pace=latency / 16)
    sent = 1000 * rules.pace
    reopens_in, left = max(0.0, 61.0 - sent), total - 1000
    exact = one_app(rules)
    sooner = rules.rest + exact(left, 1999) < reopens_in + exact(left, 999) - 1e-6
    assert rests_early(BlockedKey([left], 999, reopens_in, rules.rest), rules) is sooner


@pytest.mark.parametrize("seconds", [1.0, 20.0, 100.0])
@pytest.mark.parametrize("total", [*range(450, 6000, 230), 1601, 2001, 2401])
def test_the_same_of_an_app_with_less_than_a_third_of_the_key(total: int, seconds: float) -> None:
    rules = Rules(1250, 400, 61.0, 61.0, seconds / 400)
    reopens_in, left = max(0.0, 61.0 - seconds), total - 400
    exact = one_app(rules)
    sooner = rules.rest + exact(left, 1250) < reopens_in + exact(left, 850) - 1e-6
    assert rests_early(BlockedKey([left], 850, reopens_in, rules.rest), rules) is sooner


@pytest.mark.parametrize(
    ("total", "latency", "early"),
    [
        # The last one does not fit in: 1000 in the next window take another rest for one request.
        (2000, 0.02, True),
        (1999, 0.02, False),
        (3000, 0.02, True),
        (3500, 0.02, False),
        (4000, 0.02, True),
        (10_000, 0.02, True),
        (20_000, 0.02, True),
        # A rest begins when all is sent, a window when it began: after many periods the difference is more than the last one.
        (10_000, 0.2, False),
        (20_000, 0.1, False),
        (4000, 2.0, False),
    ],
)
def test_a_key_with_one_app_of_which_a_thousand_are_sent(total: int, latency: float, *, early: bool) -> None:
    rules = SERVER._replace(pace=latency / 16)
    reopens_in = max(0.0, 61.0 - 1000 * rules.pace)
    assert rests_early(BlockedKey([total - 1000], 999, reopens_in, 61.0), rules) is early


@pytest.mark.slow
@given(
    proportions,
    small,
    st.floats(0.0, 1.0),
    st.tuples(st.floats(0.0, 60.0), st.floats(0.0, 61.0)).map(sorted),
)
def test_what_is_decided_costs_at_most_a_tenth(rules: Rules, left: list[int], part: float, times: list[float]) -> None:
    reopens_in, fresh_in = times
    room = max(1, round(part * rules.key))
    best = every_schedule(rules)
    resting, going_on = fresh_in + best(left, int(rules.key)), reopens_in + best(left, room)
    early = rests_early(BlockedKey(left, room, reopens_in, fresh_in), rules)
    decided = resting if early else going_on
    assert decided <= 1.1 * min(resting, going_on) + 1e-6
    if len(left) == 1:
        assert decided == pytest.approx(min(resting, going_on), abs=1e-5)


def test_a_third_of_a_request_of_three_apps_is_a_request() -> None:
    """Shared out evenly, 8 of 9 leave a third to each of three, and the sum of these is a little less than 1."""
    rules = Rules(9, 5, 61.0, 61.0, 0.25)
    assert rests_early(BlockedKey([2, 2, 5], 8, 37.0, 57.0), rules)


def test_full_periods_are_full_whatever_fractions_add_up_to() -> None:
    thirds = [1999 / 3 + 1e-12] * 3
    assert sum(thirds) > 1999
    assert least_seconds(thirds, SERVER._replace(pace=0.0)) == 0.0
    assert Prospect(thirds, 1999, KEY_ALONE).opening == pytest.approx(1999)


def key_of(*left: float, room: float = 1999, rules: Rules = KEY_ALONE, latency: float = 0.2) -> Prospect:
    return Prospect(left, room, rules._replace(pace=latency / 16))


ALL = math.inf


@pytest.mark.parametrize(
    ("keys", "first", "quota"),
    [
        # Equal ones: one opens with what would be left over, 4100 = 2 * 1999 + 102, and rests while the other sends.
        ([key_of(4100), key_of(4100)], 1, 102),
        ([key_of(4100), key_of(4100), key_of(4100)], 1, 102),
        ([key_of(*[1000] * 10, rules=SERVER), key_of(*[1000] * 10, rules=SERVER)], 1, 5),
        # Nothing is left over: the remainder is a period.
        ([key_of(3998), key_of(3998)], 0, ALL),
        # Who takes longer goes first, on whichever side it stands.
        ([key_of(*[1000] * 10, rules=SERVER), key_of(*[500] * 10, rules=SERVER)], 0, ALL),
        ([key_of(*[500] * 10, rules=SERVER), key_of(*[1000] * 10, rules=SERVER)], 1, ALL),
        ([key_of(20_000), key_of(2100)], 0, ALL),
        # One has a single burst: it ends in time whenever it goes.
        ([key_of(1900), key_of(10_000)], 1, ALL),
        ([key_of(10_000), key_of(1900)], 0, ALL),
        # A little less, so that it would end later if it waited for a whole period.
        ([key_of(4100), key_of(4000)], 1, 2),
        ([key_of(4000), key_of(4100)], 0, 2),
        # A single app takes more rests than the total says: 4,500 of one take longer than of ten.
        ([key_of(*[450] * 10, rules=SERVER), key_of(4500, rules=SERVER)], 1, ALL),
        ([key_of(10_000, rules=SERVER), key_of(*[1000] * 10, rules=SERVER)], 0, ALL),
        ([key_of(*[199] * 10, rules=SERVER), key_of(1900, rules=SERVER)], 1, ALL),
        # A rest takes longer than a window that is waited for.
        ([key_of(2100), key_of(1999, rules=SERVER)], 0, ALL),
        # Of several who would end later, who has least left over opens.
        ([key_of(4100), key_of(4050), key_of(4020)], 2, 22),
        ([key_of(4020), key_of(4050), key_of(4100)], 0, 22),
        # All that it may is little enough, too.
        ([key_of(3100), key_of(3000, room=1001)], 1, ALL),
        ([key_of(2900), key_of(2500, room=400)], 1, ALL),
        # But where answers take so long that even that little takes longer than a silence, the longest goes first.
        ([key_of(3600, latency=2.0), key_of(2500, room=495, latency=2.0)], 0, ALL),
        ([key_of(3600, latency=2.0), key_of(2500, room=480, latency=2.0)], 1, ALL),
        # What is used of a period counts: the one with less room sends less now, and has a rest more before it.
        ([key_of(1999), key_of(1999, room=10)], 1, ALL),
    ],
)
def test_who_sends_first(keys: list[Prospect], first: int, quota: float) -> None:
    assert first_of(keys) == (first, quota)


@given(st.tuples(*[st.tuples(st.integers(1, 9000), st.integers(1, 1999))] * 2))
def test_of_two_keys_it_ends_sooner_in_the_other_order_only_if_the_longest_would_open_with_little(
    drawn: tuple[tuple[int, int], tuple[int, int]],
) -> None:
    keys = [key_of(left, room=room) for left, room in drawn]

    def ends(first: int, quota: float) -> float:
        """Return when both are through where one sends so many and rests, or all that it can, and then the other does."""
        key, other = keys[first], keys[1 - first]
        return max(key.seconds(), min(quota, key.burst) * key.rules.pace + other.seconds())

    first, quota = first_of(keys)
    longest = max(range(2), key=lambda one: keys[one].seconds())
    orders = [ends(one, ALL) for one in range(2)]
    if keys[1 - longest].opening < keys[1 - longest].burst:
        orders.append(ends(1 - longest, keys[1 - longest].opening))
    assert ends(first, quota) <= min(orders) + 1e-5


@given(st.integers(1, 9000), st.integers(0, 200), st.integers(1, 1999))
def test_an_opening_is_less_than_could_be_sent_and_takes_no_further_period(left: int, fewer: int, room: int) -> None:
    keys = [key_of(left), key_of(max(1, left - fewer), room=room)]
    first, quota = first_of(keys)
    chosen = keys[first]
    if quota < ALL:
        total = sum(chosen.left)
        assert 1 <= quota < chosen.burst
        assert math.ceil((total - quota) / 1999) == math.ceil(total / 1999) - 1
