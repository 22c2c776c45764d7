"""A call may be cancelled at any moment: afterwards the client is as if the call had never been made."""

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, NamedTuple

import anyio
import pytest
from fleet import APP, sandbox_of
from hypothesis import given, settings, strategies as st
from scripted import Answer, ScriptedTransport, answer, refusal

from benchmarks.cancellations import interrupted
from capgo_async import CapgoClient, ChannelSettings, Limit, ScopeKind, SlidingWindow, errors
from capgo_async.key_ring import pacer_of
from capgo_async.sandbox.inprocess import InProcessTransport
from capgo_async.sandbox.seeding import SUPER_ADMIN_KEY
from capgo_async.sandbox.virtual_time import run_in_virtual_time

RESTS_FOR = 1_000.0
"""Longer than any limit remembers anything."""


class Scene(NamedTuple):
    """What the call meets that is cancelled: others before it and beside it, responses, limits and options."""

    before: int = 0
    beside: int = 0
    script: tuple[Answer, ...] = ()
    options: dict[str, Any] = {}  # noqa: RUF012 - never changed


def limits(requests: int, kind: ScopeKind = ScopeKind.KEY) -> list[Limit]:
    return [Limit(kind, SlidingWindow(requests=requests, window=10.0))]


SCENES = {
    "the first request": Scene(beside=3),
    "a place in flight": Scene(before=1, beside=3, options={"concurrency": 1}),
    "the limit of the key": Scene(before=2, beside=3, options={"limits": limits(2)}),
    "the limit of its device": Scene(before=1, beside=2, options={"limits": limits(1, ScopeKind.DEVICE_CHANNEL)}),
    "a retry": Scene(script=(answer(502), errors.NotConnected("no"), errors.ConnectionLost("gone")), beside=1),
    "a refusal": Scene(before=1, script=(answer(), refusal("api_key_rate_limit_exceeded"))),
    "a refusal of its app": Scene(script=(refusal("ip_rate_limit_exceeded", app_id=APP),), beside=2),
    "a timeout": Scene(beside=1, options={"timeout": 0.3, "retries": 1}),
    "a bound": Scene(before=2, beside=1, options={"limits": limits(2), "max_wait": 20.0}),
}


async def departures(capgo: CapgoClient, transport: ScriptedTransport) -> list[float]:
    """Return when each of some calls leaves that are made at once after a rest."""
    await anyio.sleep(RESTS_FOR)
    transport.latency = 0.01
    await capgo.check()
    await capgo.devices.unlink(APP, "e")
    await anyio.sleep(RESTS_FOR)
    began_at, before = anyio.current_time(), len(transport.times)
    patient = capgo.with_options(max_wait=None)
    async with anyio.create_task_group() as group:
        for number in range(12):
            group.start_soon(partial(patient.devices.link, APP, "e", channel="beta" if number % 2 else f"c{number}"))
    return [round(at - began_at, 6) for at in transport.times[before:]]


def client_of(transport: ScriptedTransport, options: dict[str, Any]) -> CapgoClient:
    return CapgoClient(api_key="key", **{"rate": "off", "transport": transport, "chance": lambda: 0.5, **options})


async def play(scene: Scene, cancel: Callable[[Coroutine[Any, Any, None]], Coroutine[Any, Any, object]]) -> bool:
    """Cancel one of several calls; return whether it was cancelled before it ended."""
    transport = ScriptedTransport(*scene.script, latency=0.5)
    capgo = client_of(transport, scene.options)
    ended: list[int] = []

    async def other(number: int) -> None:
        try:
            await capgo.with_options(max_wait=None, timeout=9.0).devices.link(APP, "d", channel="beta")
        finally:
            ended.append(number)

    for number in range(scene.before):
        await other(number)
    async with anyio.create_task_group() as group:
        for number in range(scene.beside):
            group.start_soon(other, number)
        await asyncio.sleep(0)
        task = asyncio.ensure_future(cancel(link(capgo)))
        group.start_soon(other, -1)
        await asyncio.wait([task])
    try:
        task.result()
        hit = False
    except (asyncio.CancelledError, TimeoutError):
        hit = True
    except errors.CapgoError:
        hit = False
    assert len(ended) == scene.before + scene.beside + 1, "nobody else was held up"
    assert (pacer_of(capgo).in_flight, transport.in_flight) == (0, 0)
    fresh = ScriptedTransport()
    assert await departures(capgo, transport) == await departures(client_of(fresh, scene.options), fresh)
    await anyio.sleep(RESTS_FOR)
    assert pacer_of(capgo).gates.usage(anyio.current_time()) == []
    return hit


async def link(capgo: CapgoClient) -> None:
    await capgo.devices.link(APP, "d", channel="beta")


@pytest.mark.parametrize("late", [False, True], ids=["while it waits", "when its wait is over"])
@pytest.mark.parametrize("scene", SCENES.values(), ids=SCENES)
def test_a_call_can_be_cancelled_at_every_await(scene: Scene, *, late: bool) -> None:
    async def cancelled(call: Coroutine[Any, Any, None], at: int) -> None:
        await interrupted(call, at, late=late)

    for at in itertools.count(1):
        if not run_in_virtual_time(play(scene, lambda call, at=at: cancelled(call, at))):  # type: ignore[misc]  # mypy cannot infer it
            break
    assert at > 2, "it was cancelled at some awaits"


@settings(max_examples=40)
@given(st.sampled_from(list(SCENES)), st.floats(0.0, 80.0) | st.sampled_from([0.0, 0.5, 10.5, 11.0, 61.5]))
def test_a_timeout_may_end_a_call_at_any_time(name: str, seconds: float) -> None:
    async def within(call: Coroutine[Any, Any, None]) -> None:
        async with asyncio.timeout(seconds):
            await call

    run_in_virtual_time(play(SCENES[name], within))


@pytest.mark.parametrize("late", [False, True])
def test_a_method_of_several_requests_can_be_cancelled_at_every_await(*, late: bool) -> None:
    async def main(at: int) -> bool:
        sandbox = sandbox_of()
        transport = InProcessTransport(sandbox, request_delay=0.1, reply_delay=0.1)
        capgo = CapgoClient(api_key=SUPER_ADMIN_KEY, transport=transport, limits=limits(3), max_wait=30.0)

        async def change() -> None:
            await interrupted(capgo.channels.create(APP, "canary", ChannelSettings(public=True)), at, late=late)

        task = asyncio.ensure_future(change())
        await asyncio.wait([task])
        assert pacer_of(capgo).in_flight == 0
        await anyio.sleep(RESTS_FOR)
        assert pacer_of(capgo).gates.usage(anyio.current_time()) == []
        await capgo.apps.get(APP)
        await anyio.sleep(RESTS_FOR)
        began_at = anyio.current_time()
        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(capgo.apps.get, APP)
        assert anyio.current_time() == pytest.approx(began_at + 0.2)
        return task.cancelled()

    for at in itertools.count(1):
        if not run_in_virtual_time(main(at)):
            break
    assert at > 10
