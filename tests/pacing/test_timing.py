"""How long each kind of request takes: the rule by itself, and what a client measures."""

import random

import pytest
from fleet import APP, client_of, sandbox_of
from hypothesis import given, strategies as st
from virtual_time import in_virtual_time

from capgo_async.api.endpoints.api_keys import delete_api_key_by_secret, get_api_key
from capgo_async.api.endpoints.apps import get_app
from capgo_async.api.endpoints.bundles import list_bundles
from capgo_async.api.endpoints.devices import PAGE_OF_DEVICES, DeviceFilter, get_device, link_device, list_devices
from capgo_async.api.endpoints.members import list_members
from capgo_async.http.call import Call
from capgo_async.key_ring import pacer_of
from capgo_async.limits.models import Fate
from capgo_async.limits.timing import ANY, Timing, Timings, mean, usual

POST = "POST /device"


def noted(*seconds: float, kind: str = POST) -> Timings:
    timings = Timings()
    for each in seconds:
        timings.note(kind, each, Fate.PASSED)
    return timings


@given(st.lists(st.floats(0.001, 30.0), min_size=1, max_size=1000))
def test_a_mean_lies_within_what_was_seen(seconds: list[float]) -> None:
    found = noted(*seconds).known()
    assert found[POST] == found[ANY]
    assert min(seconds) - 1e-9 <= found[POST].seconds <= max(seconds) + 1e-9
    assert found[POST].responses == len(seconds)


def test_the_first_responses_count_alike() -> None:
    found = noted(0.1, 0.2, 0.3).known()[POST]
    assert found.seconds == pytest.approx(0.2)
    assert found.deviation == pytest.approx((2 / 3 * 0.01) ** 0.5)


def test_a_server_that_slows_down_is_noticed_soon() -> None:
    found = noted(*[0.02] * 100_000, *[0.15] * 1000).known()[POST]
    assert found.seconds == pytest.approx(0.15, rel=0.03)


def test_the_error_of_a_mean_shrinks_and_covers_the_truth_nearly_always() -> None:
    chance = random.Random(3)
    covered = 0
    for _ in range(200):
        found = noted(*(chance.uniform(0.05, 0.45) for _ in range(100))).known()[POST]
        covered += abs(found.seconds - 0.25) <= found.error()
    assert 180 <= covered < 200
    few, many = (noted(*(chance.uniform(0.05, 0.45) for _ in range(count))).known()[POST].error() for count in (10, 1000))
    assert many < few / 3
    assert noted(*[0.2] * 5).known()[POST].error() == 0.0


def test_attempts_without_success_are_part_of_what_a_success_costs() -> None:
    timings = Timings()
    for _ in range(50):
        timings.note(POST, 0.5, Fate.LOST)
        timings.note(POST, 0.5, Fate.FAILED)
        for fate in (Fate.REFUSED, Fate.UNSENT, Fate.ABANDONED):
            timings.note(POST, 9.0, fate)
        timings.note(POST, 0.1, Fate.PASSED)
    assert timings.known()[POST].seconds == pytest.approx(1.1)


def test_what_was_recalled_gives_way_to_what_is_measured() -> None:
    timings = Timings()
    timings.recall({POST: Timing(0.02, 0.0, 5000), "DELETE /device": Timing(0.3)})
    assert not timings.measured
    for _ in range(200):
        timings.note(POST, 0.15, Fate.PASSED)
    assert timings.measured
    assert timings.known()[POST].seconds == pytest.approx(0.15, rel=0.05)
    assert timings.known()["DELETE /device"] == Timing(0.3)
    timings.recall({POST: Timing(9.0)})
    assert timings.known()[POST].seconds < 0.2, "what this process measured is newer"


@pytest.mark.parametrize(
    ("calls", "seconds"),
    [({}, 0.1), ({POST: 3}, 0.2), ({"GET /app": 5}, 0.1), ({POST: 1, "GET /app": 1}, 0.15), ({POST: 0, "GET /app": 1}, 0.1)],
)
def test_what_was_never_measured_takes_what_is_usual(calls: dict[str, int], seconds: float) -> None:
    assert mean(calls, {POST: Timing(0.2)}, 0.1) == pytest.approx(seconds)


def test_before_the_first_response_something_is_assumed() -> None:
    assert usual({}) > 0
    assert usual(noted(0.7).known()) == 0.7


@pytest.mark.parametrize(
    ("call", "kind"),
    [
        (link_device(APP, "d", "beta"), POST),
        (get_device(APP, "d"), "GET /device"),
        (list_devices(APP, DeviceFilter(), ()), PAGE_OF_DEVICES),
        (list_bundles(APP, 0), "GET /bundle"),
        (list_members("046a36ac-0000-4000-8000-000000000001"), "GET /organization/members"),
        (get_app(APP), ANY),
        (get_api_key(17), ANY),
        (delete_api_key_by_secret("5ec2e7aa-dead-4bee-8bad-c0ffee5ec2e7"), ANY),
        (delete_api_key_by_secret("lettersonlyandverysecret"), ANY),
    ],
)
def test_kinds_name_no_app_and_no_key(call: Call, kind: str) -> None:
    assert call.kind == kind


@in_virtual_time
async def test_a_later_client_begins_with_what_an_earlier_one_measured() -> None:
    first, second = client_of(sandbox_of(), delay=0.2), client_of(sandbox_of(), delay=0.01)
    for number in range(30):
        await first.devices.unlink(APP, f"d{number}")
    known = first.known()
    assert known.timings is not None
    second.recall(known)
    assert pacer_of(second).timings.known()["DELETE /device"].seconds == pytest.approx(0.4)
    assert second.known().timed_at == known.timed_at, "nothing was measured since"
    await second.devices.unlink(APP, "d")
    assert second.known().timed_at != known.timed_at
