"""What calls receive, as it came, and what each response says about its call."""

from typing import Any

import anyio
import pytest
from fleet import APP, client_of as client_of_sandbox, sandbox_of
from scripted import ScriptedTransport, answer, refusal
from virtual_time import in_virtual_time

from capgo_async import CapgoClient, RawResponse, Response, errors, raw_responses


def client_of(transport: ScriptedTransport, **options: Any) -> CapgoClient:
    return CapgoClient(
        **{
            "api_key": "key",
            "base_url": "https://capgo.test",
            "rate": "off",
            "transport": transport,
            "chance": lambda: 0.0,
            **options,
        }
    )


@in_virtual_time
async def test_each_tells_its_call_its_id_its_attempts_and_how_long_it_took() -> None:
    transport = ScriptedTransport(
        answer(502, {}),
        refusal("ip_rate_limit_exceeded", retry_after=7, app_id=APP),
        answer(body={"status": "ok"}, x_worker_source="capgo-12.1.0"),
        latency=0.5,
    )
    capgo = client_of(transport)
    with raw_responses() as responses:
        await capgo.devices.link(APP, "d", channel="beta")

    assert [(each.status, each.attempts, each.waited, each.seconds) for each in responses] == [
        (502, 1, 0.0, 0.5),
        (429, 2, 0.5, 0.5),
        (200, 2, 7.5, 0.5),
    ]
    assert [each.request_id for each in responses] == [headers["X-Request-Id"] for headers in transport.headers]
    assert {each.operation for each in responses} == {f"link device d of {APP}"}
    last = responses[-1]
    assert isinstance(last, Response)
    assert (last.json(), last.headers["x-worker-source"], last.body) == ({"status": "ok"}, "capgo-12.1.0", b'{"status": "ok"}')


@in_virtual_time
async def test_calls_at_once_are_told_apart_and_a_listing_has_one_for_each_page() -> None:
    capgo = client_of_sandbox(sandbox_of(devices=500))
    with raw_responses() as responses:
        async with anyio.create_task_group() as group:
            group.start_soon(capgo.devices.list(APP).all)
            group.start_soon(capgo.apps.get, APP)
    operations = [each.operation for each in responses]
    assert sorted(operations.count(name) for name in set(operations)) == [1, 3]
    assert len({each.request_id for each in responses}) == 4
    assert responses[-1].waited == 0.0


@in_virtual_time
async def test_what_a_call_waited_for_before_its_first_attempt_counts() -> None:
    transport = ScriptedTransport(last=answer(404, {"error": "x_y"}))
    capgo = client_of(transport, rate="1/s")
    with raw_responses() as responses:
        for _ in range(2):
            with pytest.raises(errors.NotFound):
                await capgo.apps.get(APP)
    assert [each.waited for each in responses] == [0.0, pytest.approx(1.1)]


def test_none_shows_its_body() -> None:
    shown = repr(
        RawResponse(
            status=200,
            headers={},
            body=b"s3cret",
            operation="get api key 1",
            request_id="x-1",
            attempts=1,
            waited=0.0,
            seconds=0.1,
        )
    )
    assert "s3cret" not in shown
    assert "get api key 1" in shown
