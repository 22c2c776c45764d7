"""The limiters: the thresholds of contract B2, and what holds for any sequence of requests."""

import contextlib

import pytest
from hypothesis import given, strategies as st

from capgo_async.sandbox.exchange import Refusal
from capgo_async.sandbox.limiting import Counters, DeviceCall, Limiters, Operation, Sliding, thresholds

START = 1_784_538_000_000
SERVER = thresholds("server")

gaps = st.lists(st.integers(min_value=0, max_value=90_000), min_size=1, max_size=120)


def call(
    device_id: str | None = "d", *, operation: Operation = "set", channel: str | None = None, address: str = "1.1.1.1"
) -> DeviceCall:
    return DeviceCall(operation=operation, address=address, app_id="a.b", device_id=device_id, channel=channel)


def knock(limiters: Limiters, what: DeviceCall, now: int) -> Refusal | None:
    """Check and, when it passes, record at once, as a request that nobody overtakes."""
    try:
        limiters.check_device(what, now)
    except Refusal as refusal:
        return refusal
    limiters.record_device(what, now)
    return None


def counted(limiters: Limiters, now: int, key_id: int = 1) -> Refusal | None:
    try:
        limiters.count_request(key_id, now)
    except Refusal as refusal:
        return refusal
    return None


def test_the_key_limiter_refuses_number_2000_and_forgets_after_a_silent_minute_only() -> None:
    limiters = Limiters(SERVER)
    assert all(counted(limiters, START) is None for _ in range(1999))
    refused = counted(limiters, START)
    assert refused is not None
    assert refused.more == {
        "reason": "api_key_rate_limit_exceeded",
        "apikey_id": 1,
        "rateLimitResetAt": START + 60_000,
        "retryAfterSeconds": 60,
    }
    assert refused.headers == {"retry-after": "60", "x-ratelimit-reset": str((START + 60_000) // 1000)}
    assert counted(limiters, START, key_id=2) is None
    now = START
    for _ in range(5):  # knocking every 59.999 s never gets in again
        now += 59_999
        assert counted(limiters, now) is not None
    assert counted(limiters, now + 60_000) is None


def test_the_key_limiter_counts_a_slow_drip_too() -> None:
    limiters = Limiters(thresholds("server", {"RATE_LIMIT_API_KEY": 20}))
    answers = [counted(limiters, START + 4_000 * number) for number in range(20)]
    assert [answer is None for answer in answers] == [True] * 19 + [False]


def test_app_and_address_1000_pass_in_a_fixed_minute_from_the_first() -> None:
    limiters = Limiters(SERVER)
    for number in range(1000):
        assert knock(limiters, call(None), START + number) is None
    refused = knock(limiters, call(None), START + 2_500)
    assert refused is not None
    assert refused.more == {
        "reason": "ip_rate_limit_exceeded",
        "app_id": "a.b",
        "rateLimitResetAt": START + 60_000,
        "retryAfterSeconds": 58,
    }
    assert knock(limiters, call(None, address="2.2.2.2"), START + 2_500) is None
    assert knock(limiters, call(None), START + 59_999) is not None
    assert knock(limiters, call(None), START + 60_000) is None


def test_an_unknown_address_is_not_limited() -> None:
    limiters = Limiters(thresholds("server", {"RATE_LIMIT_CHANNEL_SELF_IP": 1, "RATE_LIMIT_FAILED_AUTH": 1}))
    for _ in range(3):
        assert knock(limiters, call(None, address=""), START) is None
        limiters.count_failure("", START)
        limiters.check_lock_out("", START)


@pytest.mark.parametrize("operation", ["set", "get", "delete"])
def test_the_burst_lets_five_pass_in_a_fixed_second(operation: Operation) -> None:
    limiters = Limiters(SERVER)
    for number in range(5):
        assert knock(limiters, call(operation=operation), START + number * 100) is None
    refused = knock(limiters, call(operation=operation), START + 600)
    assert refused is not None
    assert refused.more == {
        "app_id": "a.b",
        "device_id": "d",
        "rateLimitResetAt": START + 1_000,
        "retryAfterSeconds": 1,
    }
    assert knock(limiters, call("other", operation=operation), START + 600) is None
    assert knock(limiters, call(operation="get" if operation == "set" else "set"), START + 600) is None
    assert knock(limiters, call(operation=operation), START + 1_000) is None


def test_the_same_set_waits_a_minute_from_the_last_executed_one() -> None:
    limiters = Limiters(SERVER)
    assert knock(limiters, call(channel="beta"), START) is None
    assert knock(limiters, call(channel="alpha"), START + 10_000) is None
    refused = knock(limiters, call(channel="beta"), START + 59_001)
    assert refused is not None
    assert refused.more == {
        "app_id": "a.b",
        "device_id": "d",
        "rateLimitResetAt": START + 60_000,
        "retryAfterSeconds": 1,
    }
    assert knock(limiters, call(channel="beta"), START + 60_000) is None
    assert knock(limiters, call(channel="beta"), START + 119_999) is not None


def test_twenty_failures_lock_an_address_out_for_a_quarter_of_an_hour() -> None:
    limiters = Limiters(SERVER)
    now = START
    for _ in range(20):
        now += 14 * 60_000  # closer than 15 minutes: they add up
        limiters.check_lock_out("1.1.1.1", now)
        limiters.count_failure("1.1.1.1", now)
    with pytest.raises(Refusal) as caught:
        limiters.check_lock_out("1.1.1.1", now + 500)
    assert caught.value.more == {
        "reason": "too_many_failed_auth_attempts",
        "rateLimitResetAt": now + 900_000,
        "retryAfterSeconds": 900,
    }
    limiters.check_lock_out("2.2.2.2", now)
    limiters.check_lock_out("1.1.1.1", now + 900_000)


def test_failures_further_apart_do_not_add_up() -> None:
    limiters = Limiters(thresholds("server", {"RATE_LIMIT_FAILED_AUTH": 2}))
    limiters.count_failure("a", START)
    limiters.count_failure("a", START + 900_000)
    limiters.check_lock_out("a", START + 900_000)


def test_speed_divides_windows_and_announces_true_seconds() -> None:
    limiters = Limiters(SERVER, speed=150)
    assert knock(limiters, call(channel="beta"), START) is None
    refused = knock(limiters, call(channel="beta"), START + 1)
    assert refused is not None
    assert refused.more["rateLimitResetAt"] == START + 400
    assert refused.more["retryAfterSeconds"] == 1
    assert refused.headers["x-ratelimit-reset"] == str(START // 1000 + 1)
    assert knock(limiters, call(channel="beta"), START + 400) is None


def test_the_published_limit_slides() -> None:
    limiters = Limiters(thresholds("published"))
    for number in range(100):
        limiters.pass_edge("key", START + number * 10)
    with pytest.raises(Refusal) as caught:
        limiters.pass_edge("key", START + 1_500)
    assert caught.value.more == {"rateLimitResetAt": START + 60_000, "retryAfterSeconds": 59}
    assert caught.value.headers["retry-after"] == "59"
    limiters.pass_edge("other", START + 1_500)
    limiters.pass_edge(None, START + 1_500)
    limiters.pass_edge("key", START + 60_000)
    with pytest.raises(Refusal):
        limiters.pass_edge("key", START + 60_000)


def test_off_counts_nothing_and_keeps_nothing() -> None:
    limiters = Limiters(thresholds("off"))
    for _ in range(3000):
        limiters.pass_edge("key", START)
        limiters.count_failure("a", START)
        limiters.check_lock_out("a", START)
        assert counted(limiters, START) is None
        assert knock(limiters, call(channel="beta"), START) is None
    assert len(limiters) == 0


def test_entries_that_have_expired_take_no_memory() -> None:
    limiters = Limiters(SERVER)
    for number in range(5_000):
        now = START + number * 100
        counted(limiters, now, key_id=number)
        limiters.count_failure(str(number), now)
        knock(limiters, call(str(number), channel="beta", address=str(number)), now)
    # 600 keys, addresses and sets of the last minute, 10 bursts of the last second; failures live for 15 minutes.
    assert len(limiters) <= 600 * 3 + 10 + 5_000
    edge = Limiters(thresholds("published"))
    for number in range(5_000):
        edge.pass_edge(str(number), START + number * 100)
    assert len(edge) <= 600


def test_a_key_that_never_rests_does_not_keep_the_others_in_memory() -> None:
    limiters = Limiters(SERVER)
    for number in range(2_000):
        counted(limiters, START + number * 100, key_id=0)
        counted(limiters, START + number * 100, key_id=number)
    assert len(limiters) <= 601
    edge = Limiters(thresholds("published"))
    for number in range(2_000):
        for key in ("restless", str(number)):
            with contextlib.suppress(Refusal):
                edge.pass_edge(key, START + number * 700)
    assert len(edge) <= 60_000 // 700 + 2


@pytest.mark.parametrize(
    ("preset", "variables", "sentence"),
    [
        ("fast", {}, "unknown limits 'fast'"),
        ("server", {"RATE_LIMIT": 5}, "RATE_LIMIT=5: expected one of"),
        ("server", {"RATE_LIMIT_API_KEY": 0}, "RATE_LIMIT_API_KEY=0"),
    ],
)
def test_wrong_presets_and_variables_are_refused(preset: str, variables: dict[str, int], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        thresholds(preset, variables)


@pytest.mark.slow
@given(gaps)
def test_a_key_passes_again_only_after_a_silent_minute(waits: list[int]) -> None:
    limiters = Limiters(thresholds("server", {"RATE_LIMIT_API_KEY": 4}))
    now, run = START, 0
    for wait in waits:
        now += wait
        run = 1 if wait >= 60_000 or run == 0 else run + 1
        refused = counted(limiters, now)
        assert (refused is None) is (run < 4)
        if refused is not None:
            assert refused.more["rateLimitResetAt"] == now + 60_000


@pytest.mark.slow
@given(gaps, st.integers(min_value=1, max_value=6))
def test_a_fixed_window_never_lets_more_pass_and_reopens_when_it_said(waits: list[int], most: int) -> None:
    counters = Counters(60_000)
    now, opened, passed = START, START - 60_000, 0
    for wait in waits:
        now += wait
        count, end = counters.look("k", now)
        if now >= opened + 60_000:
            assert count == 0
            opened, passed = now, 0
        if count >= most:
            assert end == opened + 60_000
            assert counters.look("k", end) == (0, end)
            continue
        counters.add("k", now)
        passed += 1
        assert passed <= most


@pytest.mark.slow
@given(gaps, st.integers(min_value=1, max_value=6))
def test_no_sliding_window_holds_more_than_it_may(waits: list[int], most: int) -> None:
    sliding = Sliding(60_000)
    now, passed = START, list[int]()
    for wait in waits:
        now += wait
        until = sliding.take("k", now, most)
        recent = [moment for moment in passed if moment > now - 60_000]
        assert (until is None) is (len(recent) < most)
        if until is None:
            passed.append(now)
        else:
            assert until == recent[0] + 60_000


@pytest.mark.slow
@given(st.lists(st.tuples(st.integers(0, 30_000), st.sampled_from(["alpha", "beta"])), max_size=60))
def test_the_same_set_is_refused_exactly_within_a_minute_of_the_last_that_passed(steps: list[tuple[int, str]]) -> None:
    limiters = Limiters(SERVER)
    now, last = START, dict[str, int]()
    for wait, channel in steps:
        now += wait + 1_000  # so that the burst limiter keeps out of it
        refused = knock(limiters, call(channel=channel), now)
        assert (refused is None) is (now >= last.get(channel, 0) + 60_000)
        if refused is None:
            last[channel] = now
        else:
            assert refused.more["rateLimitResetAt"] == last[channel] + 60_000
