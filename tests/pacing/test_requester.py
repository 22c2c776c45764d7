"""The one way a request is made: pacing, retries, and what a refusal closes, in virtual time."""

from collections.abc import Sequence
from itertools import pairwise

import anyio
import pytest
from fleet import limits_in
from scripted import Attempts, ScriptedTransport, answer, refusal
from virtual_time import in_virtual_time

from capgo_async import CapgoClient, Limit, ScopeKind, SilenceWindow, SlidingWindow, errors
from capgo_async.api.endpoints.devices import link_device
from capgo_async.bulk.clock import wall_clock
from capgo_async.bulk.running.metering import Meter
from capgo_async.client import requester_of
from capgo_async.http.call import Call
from capgo_async.http.effort import Abandoned, Effort, Patience, Wait
from capgo_async.http.retry import Repeat
from capgo_async.http.wire import Request, acknowledge
from capgo_async.key_ring import pacer_of, ring_of
from capgo_async.limits.timing import ANY, Timing

APP = "com.example.app"
KEY_LIMIT = "api_key_rate_limit_exceeded"
BAD_KEY = answer(401, {"error": "invalid_apikey", "message": "Invalid apikey", "moreInfo": {}})
HTML = errors.ConnectionLost("gone")


def client(transport: ScriptedTransport, rate: str = "off", **options: object) -> CapgoClient:
    return CapgoClient(api_key="secret-key", transport=transport, rate=rate, **options)  # type: ignore[arg-type]  # options


async def unlink_many(capgo: CapgoClient, count: int) -> list[BaseException | None]:
    ends: list[BaseException | None] = [None] * count

    async def one(number: int) -> None:
        try:
            await capgo.devices.unlink(APP, f"device-{number}")
        except errors.CapgoError as error:
            ends[number] = error

    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(one, number)
    return ends


@in_virtual_time
async def test_the_first_keyed_request_goes_alone_and_the_others_follow_together() -> None:
    transport = ScriptedTransport(latency=1.0)
    await unlink_many(client(transport, concurrency=8), 20)
    assert transport.times[0] == 0.0
    assert transport.times[1:9] == [1.0] * 8
    assert transport.most_in_flight == 8


@in_virtual_time
async def test_a_wrong_key_costs_one_request_whatever_runs_at_once_and_is_never_tried_again() -> None:
    transport = ScriptedTransport(last=BAD_KEY, latency=0.1)
    capgo = client(transport)
    ends = await unlink_many(capgo, 20)
    assert [type(end) for end in ends] == [errors.AuthenticationError] * 20
    with pytest.raises(errors.AuthenticationError):
        await capgo.apps.get(APP)
    assert len(transport.requests) == 1


@in_virtual_time
async def test_an_address_that_is_locked_out_stops_the_key_too() -> None:
    transport = ScriptedTransport(last=refusal("too_many_failed_auth_attempts", retry_after=900))
    ends = await unlink_many(client(transport), 5)
    assert all(isinstance(end, errors.AuthenticationError) and end.locked_out for end in ends)
    assert len(transport.requests) == 1


@in_virtual_time
async def test_no_access_to_an_app_does_not_stop_the_key() -> None:
    no_access = answer(401, {"error": "cannot_access_app", "message": "no", "moreInfo": {}})
    transport = ScriptedTransport(no_access)
    capgo = client(transport)
    with pytest.raises(errors.PermissionDenied):
        await capgo.apps.get(APP)
    await capgo.devices.unlink(APP, "d")


@in_virtual_time
async def test_the_first_attempt_runs_bare_and_retries_follow_with_backoff() -> None:
    transport = ScriptedTransport(answer(502), answer(500), HTML)
    attempts = Attempts()
    await client(transport, on_event=attempts).devices.unlink(APP, "d")
    pauses = [later - earlier for earlier, later in zip(transport.times, transport.times[1:], strict=False)]
    assert [0.25 <= pauses[0] <= 0.5, 0.5 <= pauses[1] <= 1.0, 1.0 <= pauses[2] <= 2.0] == [True] * 3
    assert [(attempt.number, attempt.status, attempt.error) for attempt in attempts] == [
        (1, 502, "ServerError"),
        (2, 500, "ServerError"),
        (3, None, "ConnectionLost"),
        (4, 200, None),
    ]
    assert len({headers["X-Request-Id"] for headers in transport.headers}) == 4


@in_virtual_time
async def test_a_server_that_names_the_time_of_its_return_is_given_it() -> None:
    transport = ScriptedTransport(answer(503, {}, retry_after="20"))
    await client(transport).devices.unlink(APP, "d")
    assert transport.times == [0.0, 20.0]


@pytest.mark.parametrize("retries", [0, 1, 4])
def test_attempts_are_bounded(retries: int) -> None:
    transport = ScriptedTransport(last=answer(503))

    @in_virtual_time
    async def run() -> None:
        capgo = client(transport, retries=retries)
        with pytest.raises(errors.ServerError):
            await capgo.devices.unlink(APP, "d")
        assert capgo.counters.requests == 1 + retries
        assert capgo.counters.retries == retries

    run()
    assert len(transport.requests) == 1 + retries


@in_virtual_time
async def test_the_time_for_retries_is_bounded_too_and_runs_on_the_loops_clock() -> None:
    transport = ScriptedTransport(last=answer(503), latency=50.0)
    with pytest.raises(errors.ServerError):
        await client(transport, retries=100, timeout=60.0).devices.unlink(APP, "d")
    assert len(transport.requests) == 3, "120 s of attempts and pauses are used up by the third"


@in_virtual_time
async def test_calls_do_not_share_their_retries() -> None:
    transport = ScriptedTransport(last=lambda request: answer(503 if "device-3" in str(request.query) else 200))
    ends = await unlink_many(client(transport, retries=2), 8)
    assert [type(end) for end in ends if end] == [errors.ServerError]
    assert len(transport.requests) == 7 + 3


@in_virtual_time
async def test_a_call_that_must_not_be_repeated_is_not_after_an_ambiguous_failure() -> None:
    call = Call("make a key", Request(method="POST", path="/apikey", body=b"{}"), repeat=Repeat.NEVER)
    for failure in (answer(500), answer(502), errors.ConnectionLost("gone"), errors.TimedOut("late")):
        transport = ScriptedTransport(failure)
        with pytest.raises(errors.CapgoError):
            await requester_of(client(transport)).call(call, acknowledge)
        assert transport.fresh == [True], "a kept-alive connection that is dead would leave it in doubt for nothing"
    transport = ScriptedTransport(errors.NotConnected("refused"))
    await requester_of(client(transport)).call(call, acknowledge)
    assert len(transport.requests) == 2, "without a connection nothing can have happened"


@pytest.mark.parametrize("status", [400, 403, 404, 409])
def test_permanent_errors_are_not_retried(status: int) -> None:
    transport = ScriptedTransport(answer(status, {"error": "no_such_thing", "message": "No", "moreInfo": {}}))

    @in_virtual_time
    async def run() -> None:
        with pytest.raises(errors.ApiError):
            await client(transport).devices.unlink(APP, "d")

    run()
    assert len(transport.requests) == 1


@in_virtual_time
async def test_at_the_keys_limit_everybody_is_silent_until_61_s_after_the_last_answer_then_one_probes() -> None:
    transport = ScriptedTransport(*[answer()] * 3, *[refusal(KEY_LIMIT)] * 5, latency=1.0)
    ends = await unlink_many(client(transport, concurrency=6), 30)
    assert ends == [None] * 30
    refused_answers = 3.0  # the last of the refused left at 2.0 and was answered at 3.0
    later = [time for time in transport.times if time > 2.0]
    assert later[0] >= refused_answers + 61.0
    assert later[1] >= later[0] + 1.0, "a single probe, and its answer awaited"
    assert later[1:7] == [later[1]] * 6


@in_virtual_time
async def test_a_rate_limit_uses_up_neither_attempts_nor_time_for_retries() -> None:
    transport = ScriptedTransport(*[refusal(KEY_LIMIT)] * 20)
    capgo = client(transport, retries=0)
    await capgo.devices.unlink(APP, "d")
    assert capgo.counters.rate_limited == 20
    assert capgo.counters.retries == 0
    assert anyio.current_time() >= 20 * 61.0


@in_virtual_time
async def test_the_apps_limit_holds_only_that_app_back() -> None:
    def by_app(request: Request) -> object:
        busy = ("app_id", "com.busy.app") in request.query and anyio.current_time() < 30.0
        return refusal("ip_rate_limit_exceeded", retry_after=30, app_id="com.busy.app") if busy else answer()

    transport = ScriptedTransport(last=by_app)  # type: ignore[arg-type]  # an answer it is
    capgo = client(transport)
    done: list[tuple[str, float]] = []

    async def one(app_id: str, number: int) -> None:
        await capgo.devices.unlink(app_id, f"d{number}")
        done.append((app_id, anyio.current_time()))

    async with anyio.create_task_group() as group:
        for number in range(3):
            group.start_soon(one, "com.busy.app", number)
            group.start_soon(one, "com.free.app", number)
    assert [time for app, time in done if app == "com.free.app"] == [0.0] * 3
    assert all(30.0 <= time < 31.0 for app, time in done if app == "com.busy.app")


@pytest.mark.parametrize("reason", ["ip_rate_limit_exceeded", KEY_LIMIT, "a_new_limit"])
@in_virtual_time
async def test_a_rest_that_no_limit_takes_is_ended_by_one_request(reason: str) -> None:
    """20 years are asked for; 900 s are the longest rest in the contract."""
    endless = refusal(reason, retry_after=20 * 365 * 86_400, app_id=APP)
    transport = ScriptedTransport(answer(), *[endless] * 8, endless, latency=0.1)
    capgo = client(transport, concurrency=8)
    ends = await unlink_many(capgo, 20)
    assert ends == [None] * 20
    rests = [later - former for former, later in pairwise(transport.times) if later - former > 60.0]
    assert rests == [pytest.approx(900.0, abs=1.0)] * 2
    probes = [at for at in transport.times if at > 800.0]
    assert probes[1] > probes[0] + 800.0, "a probe goes alone, and the next one after another rest"
    assert probes[2] >= probes[1] + 0.1, "the others wait for its response"
    assert probes[3] == probes[2]


@in_virtual_time
async def test_a_device_that_is_limited_holds_only_itself_back() -> None:
    limited = refusal(None, retry_after=47, app_id=APP, device_id="a")
    transport = ScriptedTransport(limited)
    capgo = client(transport)
    await capgo.devices.link(APP, "a", channel="beta")
    assert transport.times == [0.0, 47.0]


@in_virtual_time
async def test_the_same_link_again_waits_for_the_servers_memory_without_asking_it() -> None:
    transport = ScriptedTransport()
    capgo = client(transport, "server")
    await capgo.devices.link(APP, "a", channel="beta")
    await capgo.devices.link(APP, "a", channel="alpha")
    await capgo.devices.link(APP, "a", channel="beta")
    assert transport.times == [0.0, 0.0, pytest.approx(61.0)]


@in_virtual_time
async def test_the_limit_of_a_device_holds_whatever_channel_it_is_linked_to_and_after_a_rest() -> None:
    transport = ScriptedTransport()
    capgo = client(transport, "server")
    for number in range(18):
        if number % 6 == 0:
            await anyio.sleep(70.0)
        await capgo.devices.link(APP, "a", channel=f"channel-{number}")
    for began in (0, 6, 12):
        assert transport.times[began : began + 5] == [transport.times[began]] * 5
        assert transport.times[began + 5] > transport.times[began] + 1.0, "the sixth within a second is refused"


@in_virtual_time
async def test_a_call_that_parks_frees_its_caller_and_goes_on_with_its_effort() -> None:
    transport = ScriptedTransport(errors.ConnectionLost("gone"), refusal(None, retry_after=60, device_id="a"), answer())
    capgo = client(transport, retries=1)
    call, effort = link_device(APP, "a", "beta"), Effort(Patience.SHARED_LIMITS)
    first = await requester_of(capgo).call_or_wait(call, acknowledge, effort)
    assert isinstance(first, Wait)
    assert (effort.attempts, anyio.current_time()) == (1, 0.0)
    await anyio.sleep_until(first.until) if hasattr(anyio, "sleep_until") else await anyio.sleep(first.until)
    second = await requester_of(capgo).call_or_wait(call, acknowledge, effort)
    assert isinstance(second, Wait)
    assert second.until == pytest.approx(anyio.current_time() + 60.0)
    await anyio.sleep(60.0)
    await requester_of(capgo).call(call, acknowledge, effort)
    assert effort.attempts == 2


@in_virtual_time
async def test_a_refusal_without_a_known_reason_drops_auto_to_the_published_limit() -> None:
    edge = answer(429, "error code: 1015", retry_after="5")
    transport = ScriptedTransport(edge)
    capgo = client(transport, "auto", concurrency=300)
    await unlink_many(capgo, 250)
    assert 100 in limits_in(pacer_of(capgo).gates.windows_of(requester_of(capgo).key_scope))
    times = [time for time in transport.times if time > 0]
    assert max(sum(1 for other in times if time <= other < time + 60.0) for time in times) == 100


@pytest.mark.parametrize("code", ["on_premise_app", "need_plan_upgrade", "some_new_refusal"])
def test_refusals_that_are_no_limits_are_reported(code: str) -> None:
    transport = ScriptedTransport(answer(429, {"error": code, "message": "No", "moreInfo": {}}))

    @in_virtual_time
    async def run() -> None:
        with pytest.raises(errors.RateLimited):
            await client(transport).devices.unlink(APP, "d")

    run()
    assert len(transport.requests) == 1


@in_virtual_time
async def test_a_call_that_is_cancelled_while_waiting_leaves_its_place_to_others() -> None:
    transport = ScriptedTransport(latency=10.0)
    capgo = client(transport, concurrency=1)
    async with anyio.create_task_group() as group:
        group.start_soon(capgo.devices.unlink, APP, "first")
        await anyio.sleep(1.0)
        with anyio.move_on_after(1.0):
            await capgo.devices.unlink(APP, "second")
        group.start_soon(capgo.devices.unlink, APP, "third")
    assert [dict(request.query)["device_id"] for request in transport.requests] == ["first", "third"]
    assert transport.times == [0.0, 10.0]


@in_virtual_time
async def test_waiting_is_in_the_order_of_asking() -> None:
    transport = ScriptedTransport()
    await unlink_many(client(transport, limits=[Limit(ScopeKind.KEY, SlidingWindow(requests=1, window=10.0))]), 12)
    assert [dict(request.query)["device_id"] for request in transport.requests] == [f"device-{n}" for n in range(12)]


@in_virtual_time
async def test_the_health_check_takes_no_key_and_no_quota() -> None:
    transport = ScriptedTransport(last=answer(200, {"status": "ok"}, x_worker_source="capgo_api-prod-12.201.7"))
    capgo = client(transport, limits=[Limit(ScopeKind.KEY, SilenceWindow(requests=1))])
    for _ in range(3):
        await capgo.check()
    assert capgo.server_version == (12, 201, 7)
    assert all("authorization" not in headers for headers in transport.headers)
    assert transport.times == [0.0] * 3


def sliding_excess(times: Sequence[float], requests: int, window: float) -> int:
    return sum(1 for i in range(requests, len(times)) if times[i] - times[i - requests] < window)


@in_virtual_time
async def test_no_burst_goes_beyond_a_rate() -> None:
    transport = ScriptedTransport(latency=0.3)
    await unlink_many(client(transport, "100/min", concurrency=64), 350)
    assert sliding_excess(transport.times, 100, 60.0) == 0
    assert transport.times[-1] < 4 * 62.0


@in_virtual_time
async def test_a_call_that_was_abandoned_while_it_was_connecting_does_not_wait_to_connect_again() -> None:
    transport = ScriptedTransport(last=errors.NotConnected("nobody there"), latency=10.0)
    capgo, effort = client(transport), Effort(Patience.SHARED_LIMITS)
    ends: list[errors.CapgoError] = []

    async def call() -> None:
        try:
            await requester_of(capgo).call(link_device(APP, "a", "beta"), acknowledge, effort)
        except errors.CapgoError as error:
            ends.append(error)

    async with anyio.create_task_group() as group:
        group.start_soon(call)
        await anyio.sleep(5.0)
        effort.abandon()
    assert [type(end) for end in ends] == [Abandoned]
    assert (len(transport.requests), effort.in_doubt) == (1, False)


@in_virtual_time
async def test_a_rate_that_the_user_set_is_not_changed_by_a_refusal_without_a_known_reason() -> None:
    capgo = client(ScriptedTransport(answer(429, "error code: 1015", retry_after="5")), "server")
    await unlink_many(capgo, 250)
    assert limits_in(pacer_of(capgo).gates.windows_of(requester_of(capgo).key_scope)) == (1999,)


@in_virtual_time
async def test_how_long_answers_take_is_told_by_those_that_came() -> None:
    transport = ScriptedTransport(errors.NotConnected("nobody there"), errors.ConnectionLost("gone"), latency=10.0)
    capgo = client(transport)
    with Meter(ring_of(capgo), b"salt", wall_clock) as meter:
        assert not meter().timings
        await capgo.devices.unlink(APP, "a")
    assert (capgo.counters.requests, capgo.counters.answers, capgo.counters.seconds) == (2, 1, 10.0)
    timings = meter().timings
    assert timings["DELETE /device"] == timings[ANY] == Timing(20.0), "the attempt without a response took a place, too"
