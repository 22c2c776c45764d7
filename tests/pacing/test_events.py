"""What a client tells while it sends: attempts, retries, waits, limits, refused keys, and a server in trouble."""

import contextlib
import logging

import msgspec
import pytest
from fleet import APP, client_of
from scripted import ScriptedTransport, answer, refusal
from virtual_time import in_virtual_time

from capgo_async import CapgoClient, errors
from capgo_async.events import (
    AttemptBegan,
    AttemptEnded,
    ConcurrencyChanged,
    Event,
    KeyRefused,
    LimitLearned,
    LimitMet,
    RetryPlanned,
    ServerVersionChanged,
    WaitBegan,
    WaitEnded,
)
from capgo_async.key_ring import pacer_of
from capgo_async.listeners import Listeners
from capgo_async.sandbox import Sandbox, Settings, fleet
from capgo_async.sandbox.limiting import thresholds

BAD_KEY = answer(401, {"error": "invalid_apikey", "message": "Invalid apikey", "moreInfo": {}})


def scripted(*script: object, told: list[Event], rate: str = "off") -> CapgoClient:
    transport = ScriptedTransport(*script, latency=0.1)  # type: ignore[arg-type]  # answers and exceptions
    return CapgoClient(api_key="key", base_url="http://127.0.0.1:1", rate=rate, transport=transport, on_event=told.append)


def names(told: list[Event]) -> list[str]:
    return [type(event).__name__ for event in told]


@in_virtual_time
async def test_a_call_tells_its_attempts_and_retries_in_order() -> None:
    told: list[Event] = []
    await scripted(answer(502), errors.NotConnected("no"), told=told).devices.unlink(APP, "d")
    assert names(told) == ["AttemptBegan", "AttemptEnded", "RetryPlanned"] * 2 + ["AttemptBegan", "AttemptEnded"]
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


async def test_what_a_hook_raises_breaks_no_call_and_is_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    def hook(event: Event) -> None:
        raise ValueError(event)

    async with CapgoClient(api_key="key", base_url="http://127.0.0.1:1", transport=ScriptedTransport(), on_event=hook) as capgo:
        for _ in range(3):
            await capgo.devices.unlink(APP, "d")
    (record,) = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert record.name.startswith("capgo_async")


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
        assert listeners.tell is listeners.began is None
        assert listeners.ended is first


def test_events_survive_json() -> None:
    event = AttemptEnded(
        operation="x", method="GET", path="/ok", request_id="r-1", number=1, status=None, error="TimedOut", seconds=1.5
    )
    text = msgspec.json.encode(event)
    assert b'"event":"attempt_ended"' in text
    assert msgspec.json.decode(text, type=Event) == event
