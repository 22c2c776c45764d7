"""How long a call may wait: what is foreseen is told at once and costs nothing, and nothing waits for longer."""

import copy
import pickle
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import anyio
import pytest
from fleet import APP, links_of, relink_everything, sandbox_of
from hypothesis import given, settings, strategies as st
from scripted import ScriptedTransport, answer, refusal
from virtual_time import in_virtual_time

from capgo_async import CapgoClient, ChannelSettings, Limit, ScopeKind, SlidingWindow, errors, raw_responses
from capgo_async.bulk import InventoryKind, Job, export, read_operations
from capgo_async.errors import WouldWait
from capgo_async.http.retry import backoff
from capgo_async.key_ring import pacer_of
from capgo_async.sandbox import Sandbox
from capgo_async.sandbox.inprocess import InProcessTransport
from capgo_async.sandbox.seeding import SUPER_ADMIN_KEY
from capgo_async.sandbox.virtual_time import run_in_virtual_time

KEY_LIMIT = "api_key_rate_limit_exceeded"
BAD_KEY = answer(401, {"error": "invalid_apikey", "message": "Invalid apikey", "moreInfo": {}})


def client(transport: Any, rate: str = "off", **options: Any) -> CapgoClient:
    return CapgoClient(
        **{"api_key": SUPER_ADMIN_KEY, "base_url": "https://capgo.test", "transport": transport, "rate": rate, **options}
    )


def windows(requests: int, seconds: float = 10.0) -> list[Limit]:
    return [Limit(ScopeKind.KEY, SlidingWindow(requests=requests, window=seconds, margin=0.0))]


async def ends_of(capgo: CapgoClient, count: int) -> list[tuple[float, WouldWait | None]]:
    """Unlink that many devices at once; return when each call ended, and how, in the order in which they were made."""
    ends: list[tuple[float, WouldWait | None]] = [(-1.0, None)] * count

    async def one(number: int) -> None:
        error = None
        try:
            await capgo.devices.unlink(APP, f"device-{number}")
        except WouldWait as late:
            error = late
        ends[number] = anyio.current_time(), error

    async with anyio.create_task_group() as group:
        for number in range(count):
            group.start_soon(one, number)
    return ends


# What can be foreseen


@in_virtual_time
async def test_the_same_link_again_is_refused_at_once_and_costs_nothing() -> None:
    transport = ScriptedTransport()
    capgo = client(transport, "server", max_wait=5.0)
    await capgo.devices.link(APP, "a", channel="beta")
    used = pacer_of(capgo).gates.usage(anyio.current_time())
    for _ in range(10):
        with pytest.raises(WouldWait) as caught:
            await capgo.devices.link(APP, "a", channel="beta")
    late = caught.value
    assert (late.until, late.seconds, late.limit, late.app, late.written) == (61.0, 61.0, "device_channel", APP, False)
    why = f"because the limit device_channel of {APP} lets it leave in 61.0 s"
    assert str(late) == f"link device a of {APP}: not sent, {why}, and max_wait ends before."
    assert late.__cause__ is None
    assert anyio.current_time() == 0.0
    assert len(transport.requests) == capgo.counters.requests == 1
    assert pacer_of(capgo).gates.usage(anyio.current_time()) == used

    await capgo.devices.link(APP, "b", channel="beta")
    await anyio.sleep(late.until - anyio.current_time())
    await capgo.devices.link(APP, "a", channel="beta")
    assert transport.times == [0.0, 0.0, 61.0]


@in_virtual_time
async def test_what_comes_in_time_is_waited_for() -> None:
    transport = ScriptedTransport()
    capgo = client(transport, "server", max_wait=61.0)
    await capgo.devices.link(APP, "a", channel="beta")
    await capgo.devices.link(APP, "a", channel="beta")
    assert transport.times == [0.0, 61.0]


@in_virtual_time
async def test_those_ahead_are_counted() -> None:
    transport = ScriptedTransport()
    capgo = client(transport, limits=windows(3), max_wait=15.0)
    await capgo.devices.unlink(APP, "first")
    ends = await ends_of(capgo, 12)
    assert transport.times == [0.0] * 3 + [10.0] * 3
    assert [at for at, error in ends if error is None] == [0.0] * 2 + [10.0] * 3
    assert [(at, error.until) for at, error in ends if error is not None] == [(0.0, 20.0)] * 7


@in_virtual_time
async def test_those_who_wait_for_limits_of_their_own_are_not_ahead() -> None:
    transport = ScriptedTransport()
    patient = client(transport, "server", limits=[*windows(8), Limit(ScopeKind.DEVICE_CHANNEL, SlidingWindow(requests=1))])
    async with anyio.create_task_group() as group:
        for number in range(4):
            await patient.devices.link(APP, f"d{number}", channel="beta")
            group.start_soon(lambda device=f"d{number}": patient.devices.link(APP, device, channel="beta"))  # type: ignore[misc]  # mypy cannot infer it
        await anyio.sleep(1.0)
        for number in range(4):
            await patient.with_options(max_wait=0).devices.link(APP, f"e{number}", channel="beta")
        assert anyio.current_time() == 1.0
        with pytest.raises(WouldWait) as caught:
            await patient.with_options(max_wait=0).devices.link(APP, "f", channel="beta")
        assert (caught.value.limit, caught.value.seconds) == ("key", 9.0)


@in_virtual_time
async def test_a_refused_request_tells_what_comes_of_it_and_its_error_is_the_cause() -> None:
    transport = ScriptedTransport(answer(), refusal(KEY_LIMIT))
    capgo = client(transport, max_wait=5.0)
    await capgo.devices.unlink(APP, "d")
    with pytest.raises(WouldWait) as caught:
        await capgo.devices.unlink(APP, "d")
    assert isinstance(caught.value.__cause__, errors.RateLimited)
    assert "refused, and not sent again, because" in str(caught.value)
    assert (caught.value.limit, caught.value.seconds) == ("key", 61.0)
    with pytest.raises(WouldWait) as again:
        await capgo.devices.unlink(APP, "d")
    assert again.value.__cause__ is None
    assert (len(transport.requests), anyio.current_time()) == (2, 0.0)


@in_virtual_time
async def test_a_key_that_rests_is_waited_for_in_the_same_way() -> None:
    transport = ScriptedTransport(answer(), BAD_KEY)
    capgo = client(transport, max_wait=5.0)
    await capgo.devices.unlink(APP, "d")
    with pytest.raises(WouldWait) as caught:
        await capgo.devices.unlink(APP, "d")
    assert isinstance(caught.value.__cause__, errors.AuthenticationError)
    assert (caught.value.limit, caught.value.seconds) == ("key_doubted", 10.0)
    await capgo.with_options(max_wait=10.0).devices.unlink(APP, "d")
    assert transport.times == [0.0, 0.0, 10.0]


@in_virtual_time
async def test_those_in_the_queue_are_told_as_soon_as_a_refusal_shows_it() -> None:
    transport = ScriptedTransport(answer(), refusal(KEY_LIMIT), latency=1.0)
    capgo = client(transport, concurrency=1, max_wait=30.0)
    await capgo.devices.unlink(APP, "d")
    ends = await ends_of(capgo, 4)
    assert [at for at, _ in ends] == [2.0] * 4
    assert {error.limit for _, error in ends if error} == {"key"}


# What cannot


@in_virtual_time
async def test_what_only_a_response_can_tell_is_waited_for_until_the_time_is_up() -> None:
    transport = ScriptedTransport(latency=10.0)
    capgo = client(transport, max_wait=4.0)
    ends = await ends_of(capgo, 3)
    assert [at for at, _ in ends] == [10.0, 4.0, 4.0], "the first request of a key goes alone"
    assert [error and (error.until, error.seconds, error.limit) for _, error in ends] == [None, (4.0, 0.0, ""), (4.0, 0.0, "")]
    assert "because other requests are ahead" in str(ends[1][1])
    assert len(transport.requests) == 1
    assert [error for _, error in await ends_of(capgo, 3)] == [None] * 3


@in_virtual_time
async def test_a_failure_that_would_be_retried_too_late_ends_the_call_with_its_error_at_once() -> None:
    transport = ScriptedTransport(last=answer(503, {}, retry_after="20"))
    with pytest.raises(errors.ServerError):
        await client(transport, max_wait=19.0).devices.unlink(APP, "d")
    assert (transport.times, anyio.current_time()) == ([0.0], 0.0)
    with pytest.raises(errors.ServerError):
        await client(transport, max_wait=45.0).devices.unlink(APP, "d")
    assert transport.times == [0.0, 0.0, 20.0, 40.0]


@in_virtual_time
async def test_pauses_before_retries_and_waits_for_limits_use_up_the_same_time() -> None:
    pauses = [backoff(attempts, 0.0) for attempts in (1, 2)]
    transport = ScriptedTransport(answer(), answer(502), answer(502), answer(502))
    capgo = client(transport, limits=windows(2, 3.0), chance=lambda: 0.0, max_wait=4.0)
    await capgo.devices.unlink(APP, "d")
    with pytest.raises(errors.ServerError) as caught:
        await capgo.devices.unlink(APP, "d")
    assert pauses == [0.5, 1.0]
    assert transport.times == [0.0, 0.0, 3.0, 4.0], "0.5 s of pause and 2.5 s for the limit, then 1 s of pause"
    assert caught.value.__cause__ is None or isinstance(caught.value.__cause__, WouldWait)


@in_virtual_time
async def test_a_failure_before_a_late_permit_is_what_the_call_ends_with() -> None:
    transport = ScriptedTransport(answer(), answer(502))
    capgo = client(transport, limits=windows(2, 60.0), max_wait=5.0)
    await capgo.devices.unlink(APP, "d")
    with pytest.raises(errors.ServerError) as caught:
        await capgo.devices.unlink(APP, "d")
    assert isinstance(caught.value.__cause__, WouldWait), "the attempt may have taken effect, so this comes first"


@pytest.mark.parametrize(("max_wait", "ends_at"), [(4.0, 0.0), (7.0, 7.0), (None, 45.0)])
def test_a_server_that_is_away_is_waited_for_no_longer(max_wait: float | None, ends_at: float) -> None:
    async def main() -> None:
        transport = ScriptedTransport(last=errors.NotConnected("nobody there"))
        capgo = client(transport, retries=0, wait_for_server=45.0, max_wait=max_wait)
        with pytest.raises(errors.NotConnected):
            await capgo.devices.unlink(APP, "d")
        assert anyio.current_time() == ends_at

    run_in_virtual_time(main())


# Calls of several requests, and listings


def slow_key(sandbox: Sandbox) -> CapgoClient:
    """Return a client whose key may send one request in two seconds."""
    transport = InProcessTransport(sandbox)
    return client(transport, limits=windows(1, 2.0))


@in_virtual_time
async def test_the_requests_of_a_method_share_what_it_may_wait_for() -> None:
    sandbox = sandbox_of()
    capgo = slow_key(sandbox)
    with raw_responses() as responses:
        await capgo.with_options(max_wait=4.0).channels.create(APP, "canary")
    assert [response.waited for response in responses] == [0.0, 2.0, 2.0]
    await anyio.sleep(2.0)
    with pytest.raises(WouldWait) as caught:
        await capgo.with_options(max_wait=3.0).channels.create(APP, "nightly")
    assert (caught.value.written, caught.value.seconds) == (True, 2.0)
    assert "Earlier requests of this call may have changed something" in str(caught.value)
    assert "nightly" in sandbox.world.apps[APP].channels
    await anyio.sleep(2.0)
    with pytest.raises(WouldWait) as caught:
        await capgo.with_options(max_wait=1.0).channels.update(APP, "nightly", ChannelSettings(ios=False))
    assert not caught.value.written, "only a read was sent"
    await anyio.sleep(2.0)
    await capgo.with_options(max_wait=1.0).channels.get(APP, "nightly"), "the next call may wait anew"


@in_virtual_time
async def test_a_listing_may_wait_for_each_page() -> None:
    sandbox = sandbox_of(devices=900)
    capgo = slow_key(sandbox)
    assert len(await capgo.with_options(max_wait=2.0).devices.list(APP).all()) == 900
    assert anyio.current_time() >= 8.0
    await anyio.sleep(2.0)
    pages = capgo.with_options(max_wait=1.0).devices.list(APP).pages()
    assert len(await anext(pages)) == 200
    with pytest.raises(WouldWait):
        await anext(pages)


@in_virtual_time
async def test_the_wait_for_another_call_counts_too() -> None:
    """Deleting a bundle asks the server for its version, once for all calls; who comes second waits for the first."""
    transport = ScriptedTransport(last=answer(body={"status": "ok"}), latency=10.0)
    capgo = client(transport)
    ends: list[tuple[float, type]] = []

    async def delete(client: CapgoClient) -> None:
        try:
            await client.bundles.delete(APP, "1.0.0")
        except errors.CapgoError as error:
            ends.append((anyio.current_time(), type(error)))

    async with anyio.create_task_group() as group:
        hurried = capgo.with_options(max_wait=4.0)
        group.start_soon(delete, hurried)
        group.start_soon(delete, hurried)
    assert ends[0] == (4.0, WouldWait)


@in_virtual_time
async def test_jobs_and_inventories_wait_as_long_as_it_takes(tmp_path: Path) -> None:
    sandbox = sandbox_of(devices=20)
    capgo = client(InProcessTransport(sandbox), limits=windows(3), max_wait=0)
    source = read_operations(relink_everything(tmp_path / "devices.csv", sandbox))
    async with await Job.create(tmp_path / "job.capgo-job", source, client=capgo) as job:
        report = await job.run(capgo)
        verified = await job.verify(capgo)
    assert (report.done, report.pending, verified.verified) == (report.planned, 0, report.planned)
    assert set(links_of(sandbox).values()) == {"beta"}
    assert (await export(tmp_path / "fleet.csv", InventoryKind.DEVICES, client=capgo)).complete


# What holds always


@settings(max_examples=60)
@given(
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.4, 3.0]),  # gap before the call
            st.sampled_from(["a", "b", "c"]),
            st.sampled_from([None, 0.0, 0.5, 2.0, 11.0, 30.0]),
        ),
        min_size=1,
        max_size=14,
    ),
    st.sampled_from([0.0, 0.3, 2.5]),
)
def test_no_call_waits_for_longer_and_those_that_are_given_up_cost_nothing(
    calls: Sequence[tuple[float, str, float | None]], latency: float
) -> None:
    limits = [*windows(3), Limit(ScopeKind.DEVICE_CHANNEL, SlidingWindow(requests=1, window=5.0, margin=0.0))]
    transport = ScriptedTransport(latency=latency)
    outcomes: list[str] = []

    async def one(capgo: CapgoClient, device: str, max_wait: float | None) -> None:
        asked_at, late = anyio.current_time(), None
        try:
            await capgo.with_options(max_wait=max_wait).devices.link(APP, device, channel="beta")
        except WouldWait as error:
            late = error
        if late is not None:
            assert max_wait is not None
            assert anyio.current_time() <= asked_at + max_wait + 1e-6
            assert late.until > asked_at + max_wait - 1e-6 or not late.limit
            outcomes.append("given up")
            return
        waited = anyio.current_time() - latency - asked_at
        assert max_wait is None or waited <= max_wait + 1e-6
        outcomes.append("sent")

    async def main() -> None:
        capgo = client(transport, limits=limits)
        async with anyio.create_task_group() as group:
            for gap, device, max_wait in calls:
                await anyio.sleep(gap)
                group.start_soon(one, capgo, device, max_wait)
        assert pacer_of(capgo).in_flight == 0
        await anyio.sleep(60.0)
        began_at = anyio.current_time()
        took = [at - began_at for at, _ in await ends_of(capgo, 3)]
        assert took == pytest.approx([latency] * 3), "all of the limit is there again"

    run_in_virtual_time(main())
    assert len(transport.requests) == outcomes.count("sent") + 3
    times = transport.times
    assert all(later - earlier >= 10.0 - 1e-6 for earlier, later in zip(times, times[3:], strict=False))


@pytest.mark.parametrize("copied", [copy.copy, lambda error: pickle.loads(pickle.dumps(error))])
def test_it_can_be_copied(copied: Callable[[WouldWait], WouldWait]) -> None:
    late = WouldWait(until=7.0, seconds=2.0, limit="key", app="a", operation="link d", written=True)
    assert (str(copied(late)), vars(copied(late))) == (str(late), vars(late))
