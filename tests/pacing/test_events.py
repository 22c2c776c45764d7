"""What a client tells while it sends: attempts, retries, waits, limits, refused keys, and a server in trouble."""

import asyncio
import contextlib
import logging
from contextvars import ContextVar
from typing import Final

import anyio
import msgspec
import pytest
from fleet import APP, client_of
from scripted import ScriptedTransport, answer, refusal
from virtual_time import in_virtual_time

from capgo_async import CapgoClient, KeyRing, errors
from capgo_async.api.endpoints.devices import link_device
from capgo_async.bulk.running.metering import limits_in_force
from capgo_async.client import requester_of
from capgo_async.events import (
    AttemptBegan,
    AttemptEnded,
    CallBegan,
    CallEnded,
    ConcurrencyChanged,
    Event,
    KeyRefused,
    LimitInForce,
    LimitLearned,
    LimitMet,
    LimitsInUse,
    LimitUse,
    RetryPlanned,
    ServerVersionChanged,
    WaitBegan,
    WaitEnded,
)
from capgo_async.http.effort import Effort, Patience, Wait
from capgo_async.http.wire import acknowledge
from capgo_async.key_ring import pacer_of, ring_of
from capgo_async.listeners import Listeners
from capgo_async.sandbox import Sandbox, Settings, fleet
from capgo_async.sandbox.limiting import thresholds

BAD_KEY = answer(401, {"error": "invalid_apikey", "message": "Invalid apikey", "moreInfo": {}})

WHO: Final[ContextVar[str]] = ContextVar("who", default="nobody")


def scripted(*script: object, told: list[Event], rate: str = "off") -> CapgoClient:
    transport = ScriptedTransport(*script, latency=0.1)  # type: ignore[arg-type]  # answers and exceptions
    return CapgoClient(api_key="key", base_url="http://127.0.0.1:1", rate=rate, transport=transport, on_event=told.append)


def names(told: list[Event]) -> list[str]:
    return [type(event).__name__ for event in told]


@in_virtual_time
async def test_a_call_tells_its_attempts_and_retries_in_order() -> None:
    told: list[Event] = []
    await scripted(answer(502), errors.NotConnected("no"), told=told).devices.unlink(APP, "d")
    sent = ["AttemptBegan", "AttemptEnded"]
    assert names(told) == ["CallBegan", *sent, "RetryPlanned", *sent, "RetryPlanned", *sent, "CallEnded"]
    ended = [event for event in told if isinstance(event, AttemptEnded)]
    began = [event for event in told if isinstance(event, AttemptBegan)]
    assert [(event.number, event.status, event.sent, event.app) for event in ended] == [
        (1, 502, True, APP),
        (2, None, False, APP),
        (3, 200, True, APP),
    ]
    assert [event.request_id for event in began] == [event.request_id for event in ended]
    assert [event.in_flight for event in began] == [1, 1, 1]
    assert [event.in_flight for event in ended] == [0, 0, 0]
    assert all(event.seconds > 0 for event in told if isinstance(event, RetryPlanned))
    assert [event.resends for event in began] == [0, 1, 2]
    assert msgspec.json.decode(msgspec.json.encode(told), type=list[Event]) == told
    last = told[-1]
    assert isinstance(last, CallEnded)
    assert (last.error, last.resends, last.parked) == (None, 2, False)
    assert last.seconds >= sum(event.seconds for event in (*ended, *told) if isinstance(event, AttemptEnded | RetryPlanned)) / 2


def calls_of(told: list[Event]) -> list[list[str]]:
    """Return the names of the events of each call, in the order of their begins."""
    found: dict[int, list[str]] = {}
    for event in told:
        if (call := getattr(event, "call", None)) is not None:
            found.setdefault(call, []).append(type(event).__name__)
    return list(found.values())


@in_virtual_time
async def test_events_name_the_call_to_which_they_belong() -> None:
    told: list[Event] = []
    capgo = scripted(answer(), refusal(retry_after=60), told=told)
    await capgo.devices.unlink(APP, "d")
    async with anyio.create_task_group() as group:
        for device in "abc":
            group.start_soon(capgo.devices.unlink, APP, device)
    first, *others = calls_of(told)
    assert first == ["CallBegan", "AttemptBegan", "AttemptEnded", "CallEnded"]
    waits = ["WaitBegan", "WaitEnded"]
    sent = ["AttemptBegan", "AttemptEnded"]
    assert sorted(others) == sorted(
        [["CallBegan", *sent, *waits, *sent, "CallEnded"], *[["CallBegan", *sent, "CallEnded"]] * 2]
    )


@in_virtual_time
async def test_a_call_that_is_cancelled_or_fails_ends_all_the_same() -> None:
    told: list[Event] = []
    capgo = scripted(answer(500), told=told)
    with anyio.move_on_after(0.05):
        await capgo.devices.unlink(APP, "d")
    with pytest.raises(errors.NotFound):
        await scripted(answer(404), told=told).apps.get(APP)
    with pytest.raises(errors.NeedsApiKey):
        await with_token(told).devices.unlink(APP, "d")
    assert [event.error for event in told if isinstance(event, CallEnded)] == ["CancelledError", "NotFound", "NeedsApiKey"]
    assert names(told)[-2:] == ["CallBegan", "CallEnded"]
    assert len({event.call for event in told if isinstance(event, CallEnded)}) == 3


def with_token(told: list[Event]) -> CapgoClient:
    """Return a client with the token of a user session."""
    return CapgoClient(
        api_key="eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln",
        base_url="http://127.0.0.1:1",
        transport=ScriptedTransport(),
        on_event=told.append,
    )


@in_virtual_time
async def test_a_call_that_waits_aside_goes_on_with_its_number() -> None:
    told: list[Event] = []
    capgo = scripted(answer(), refusal("channel_set", retry_after=60), told=told, rate="server")
    requester = requester_of(capgo)
    await capgo.devices.unlink(APP, "d")
    call, effort = link_device(APP, "e", "beta"), Effort(Patience.SHARED_LIMITS)
    answered = await requester.call_or_wait(call, acknowledge, effort)
    assert isinstance(answered, Wait)
    await anyio.sleep_until(answered.until)
    await requester.call(call, acknowledge, effort)
    began = [event for event in told if isinstance(event, CallBegan)][1:]
    ended = [event for event in told if isinstance(event, CallEnded)][1:]
    assert [event.call for event in began] == [event.call for event in ended] == [effort.call] * 2
    assert ([event.parked for event in ended], [event.resends for event in ended]) == ([True, False], [0, 1])


@in_virtual_time
async def test_how_far_limits_are_used_is_told_once_a_second_and_at_the_end() -> None:
    told: list[Event] = []
    capgo = scripted(told=told, rate="server")
    async with anyio.create_task_group() as group:
        for number in range(150):
            group.start_soon(capgo.devices.unlink, APP, f"d{number}")
    uses = [event.limits for event in told if isinstance(event, LimitsInUse)]
    assert LimitUse(limit="app_address", app=APP, used=1, allowed=1000, seconds=60.0) in uses[0]
    last = {(use.limit, use.app): (use.used, use.allowed) for use in uses[-1]}
    assert last == {("app_address", APP): (150, 1000), ("key", ""): (150, 1999)}
    assert len(uses) <= anyio.current_time() + 3


@in_virtual_time
async def test_clients_with_other_keys_and_rings_tell_the_same_hook() -> None:
    told: list[Event] = []
    capgo = scripted(told=told)
    ring = KeyRing(capgo, {APP: "another-key"})
    for client in (capgo.with_key("second-key"), ring.client_of(APP), ring.client_of("com.example.other")):
        await client.devices.unlink(APP, "d")
    assert names(told).count("CallEnded") == 3


@in_virtual_time
async def test_a_hook_is_called_within_the_task_and_the_context_of_the_call() -> None:
    heard: dict[str, set[object]] = {}

    def hook(_: Event) -> None:
        heard.setdefault(WHO.get(), set()).add(asyncio.current_task())

    transport = ScriptedTransport(answer(), refusal(retry_after=0), answer(502))
    capgo = CapgoClient(api_key="key", base_url="http://127.0.0.1:1", transport=transport, on_event=hook)

    async def call(who: str) -> None:
        WHO.set(who)
        await capgo.devices.unlink(APP, who)

    await call("first")
    async with anyio.create_task_group() as group:
        for who in ("second", "third"):
            group.start_soon(call, who)
    assert {who: len(tasks) for who, tasks in heard.items()} == {"first": 1, "second": 1, "third": 1}


@in_virtual_time
async def test_a_refusal_is_told_with_its_limit_and_so_is_the_wait_for_it() -> None:
    told: list[Event] = []
    await scripted(refusal(retry_after=60), told=told).devices.unlink(APP, "d")
    (met,) = [event for event in told if isinstance(event, LimitMet)]
    (refused, passed) = [event for event in told if isinstance(event, AttemptEnded)]
    (begun,) = [event for event in told if isinstance(event, WaitBegan)]
    (over,) = [event for event in told if isinstance(event, WaitEnded)]
    assert refused.refused == met.limit == begun.limit == over.limit
    assert (passed.refused, passed.number, passed.status) == ("", 1, 200)
    assert met.seconds >= 60
    assert over.seconds == pytest.approx(begun.seconds)


@in_virtual_time
async def test_a_server_in_trouble_a_refused_key_and_another_version_are_told() -> None:
    told: list[Event] = []
    failing = [answer(500)] * 35
    client = scripted(
        answer(x_worker_source="capgo-12.1.0"), *failing, answer(x_worker_source="capgo-12.2.0"), BAD_KEY, told=told
    )
    for _ in range(10):
        with contextlib.suppress(errors.ServerError):
            await client.devices.unlink(APP, "d")
    changes = [event for event in told if isinstance(event, ConcurrencyChanged)]
    assert changes
    assert changes[0].before == changes[0].most > changes[0].allowed
    versions = [(event.before, event.version) for event in told if isinstance(event, ServerVersionChanged)]
    assert versions == [("", "capgo-12.1.0"), ("capgo-12.1.0", "capgo-12.2.0")]
    (key,) = [event for event in told if isinstance(event, KeyRefused)]
    assert key.seconds == 10.0
    assert "key" not in key.key


@in_virtual_time
async def test_a_limit_that_refusals_teach_is_told_once() -> None:
    told: list[Event] = []
    settings = Settings(limits=thresholds("server", {"RATE_LIMIT_API_KEY": 20}))
    capgo = client_of(Sandbox(fleet(1, 1), settings))
    pacer_of(capgo).listeners.add(told.append)
    for _ in range(100):
        await capgo.apps.get(APP)
    assert [(event.limit, event.requests) for event in told if isinstance(event, LimitLearned)] == [("key", 19)]


@in_virtual_time
async def test_a_limit_that_is_added_because_a_refusal_names_none_is_told_once_and_to_every_later_run() -> None:
    told: list[Event] = []
    edge = answer(429, "error code: 1015", retry_after="5")
    capgo = scripted(answer(), edge, answer(), edge, told=told, rate="auto")
    for _ in range(3):
        await capgo.devices.unlink(APP, "d")
    limits: list[Event] = [event for event in told if isinstance(event, LimitMet | LimitInForce)]
    assert names(limits) == ["LimitMet", "LimitInForce", "LimitMet"]
    added = limits[1]
    assert isinstance(added, LimitInForce)
    assert (added.limit, added.requests, added.seconds) == ("unnamed", 100, 60.0)
    assert [limit for limit in limits_in_force(ring_of(capgo), [APP]) if limit.key == added.key][1:] == [added]


@pytest.mark.parametrize("failure", [ValueError, asyncio.CancelledError])
async def test_what_a_hook_raises_breaks_no_call_and_is_logged_once(
    failure: type[BaseException], caplog: pytest.LogCaptureFixture
) -> None:
    def hook(event: Event) -> None:
        raise failure(event)

    async with CapgoClient(api_key="key", base_url="http://127.0.0.1:1", transport=ScriptedTransport(), on_event=hook) as capgo:
        for _ in range(3):
            await capgo.devices.unlink(APP, "d")
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.name.startswith("capgo_async")


def test_a_hook_that_nobody_would_await_is_refused() -> None:
    async def hook(_: Event) -> None:
        pass

    class Hook:
        async def __call__(self, _: Event) -> None:
            pass

    for each in (hook, Hook()):
        with pytest.raises(errors.ConfigurationError, match="on_event must be a plain function"):
            CapgoClient(api_key="key", on_event=each)
    with pytest.raises(errors.ConfigurationError, match="on_event must be a function, not 'x'"):
        CapgoClient(api_key="key", on_event="x")  # type: ignore[arg-type]


async def test_no_event_is_made_of_calls_and_attempts_while_nobody_listens(caplog: pytest.LogCaptureFixture) -> None:
    async with CapgoClient(api_key="key", base_url="http://127.0.0.1:1", transport=ScriptedTransport()) as capgo:
        listeners = pacer_of(capgo).listeners
        for level, listens in ((logging.INFO, False), (logging.DEBUG, True), (logging.WARNING, False)):
            with caplog.at_level(level, "capgo_async"):
                await capgo.devices.unlink(APP, "d")
                assert [listeners.began is not None, listeners.ended is not None] == [listens, listens]
            assert listeners.calls is None


def test_listeners_are_told_in_order_and_nothing_is_told_when_nobody_listens() -> None:
    listeners, heard = Listeners(), []
    assert listeners.tell is None
    event = RetryPlanned(operation="x", request_id=None, number=1, seconds=1.0)

    def first(_: Event) -> None:
        heard.append(1)

    def second(_: Event) -> None:
        heard.append(2)

    with listeners.heard_by(first), listeners.heard_by(second):
        assert listeners.tell is not None
        listeners.tell(event)
        listeners.remove(first)
        listeners.tell(event)
    assert heard == [1, 2, 2]
    assert listeners.tell is None
    with listeners.heard_by(first, "ended"):
        assert listeners.tell is listeners.began is listeners.calls is None
        assert listeners.ended is first


def test_who_listens_at_times_is_asked_again() -> None:
    listeners, wants = Listeners(), [False]
    listeners.add(print, "ended", when=lambda: wants[0])
    for wanted in (False, True, False):
        wants[0] = wanted
        listeners.look()
        assert (listeners.ended is not None) is wanted


def test_events_survive_json() -> None:
    event = AttemptEnded(
        operation="x", method="GET", path="/ok", request_id="r-1", number=1, status=None, error="TimedOut", seconds=1.5
    )
    text = msgspec.json.encode(event)
    assert b'"event":"attempt_ended"' in text
    assert msgspec.json.decode(text, type=Event) == event
