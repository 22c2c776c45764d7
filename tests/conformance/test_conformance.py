"""The client against the conformance table: what leaves, what comes back, and what each error becomes."""

import inspect
import json
import re
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from client.test_sockets import Received, serving
from conformance.exchanges import Exchange, Generation, Refusal, Row, Sent, e1, old, said
from conformance.readme import LEFT_OUT, README, sections, updated
from conformance.rows import ROWS
from scripted import ScriptedTransport
from tables import on_each
from virtual_time import in_virtual_time

import capgo_async
from capgo_async import CapgoClient, errors
from capgo_async.api.resources import __all__ as namespaces
from capgo_async.http.wire import Request, Response

KEY = "9f86d081-884c-4d65-9a2f-eaa0c55ad015"
AUTH_HEADERS = {"authorization", "capgkey", "x-api-key"}


def client_of(transport: ScriptedTransport, **options: Any) -> CapgoClient:
    return CapgoClient(
        **{
            "api_key": KEY,
            "base_url": "https://capgo.test",
            "rate": "off",
            "retries": 0,
            "transport": transport,
            **options,
        }
    )


def as_sent(request: Request) -> Sent:
    body = None if request.body is None else json.loads(request.body)
    return Sent(request.method, request.path, request.query, body)


def name_of(row: Row) -> str:
    return f"{row.method} · {row.http}"


@pytest.mark.parametrize("row", ROWS, ids=name_of)
async def test_every_generation(row: Row) -> None:
    for generation in row.generations:
        await assert_spoken(row, generation)


async def assert_spoken(row: Row, generation: Generation) -> None:
    transport = ScriptedTransport(*(exchange.answer for exchange in generation.exchanges))
    async with client_of(transport, **generation.options) as capgo:
        found = await row.call(capgo)

    sent = [as_sent(request) for request in transport.requests]
    assert sent == [exchange.sent for exchange in generation.exchanges], generation.name
    for exchange, headers in zip(generation.exchanges, transport.headers, strict=True):
        keyed = {generation.options.get("auth_header", "authorization")} if exchange.sent.path != "/ok" else set()
        assert {name.lower() for name in headers} & AUTH_HEADERS == keyed
        assert {name for name, value in headers.items() if KEY in value} == keyed
        assert headers.get("X-Request-Id")
    expected = row.found if generation.found is ... else generation.found
    assert found == expected, generation.name
    assert type(found) is type(expected)


async def assert_ends_in(row: Row, refusal: Refusal) -> None:
    first = row.generations[0]
    at = row.refused % len(first.exchanges)
    before = [exchange.answer for exchange in first.exchanges[:at]]
    look = row.look if issubclass(refusal.kind, errors.ServerError) else ()
    # A key that worked before is probed once with the next request (contract G5).
    worked = any(exchange.sent.path != "/ok" for exchange in first.exchanges[:at])
    probed = worked and refusal.kind is errors.AuthenticationError and refusal.code != "too_many_requests"
    last = refusal.answer if probed else said(b"one too many", 599)
    transport = ScriptedTransport(*before, refusal.answer, *(exchange.answer for exchange in look), last=last)
    async with client_of(transport, **first.options) as capgo:
        with pytest.raises(errors.ApiError) as caught:
            await row.call(capgo)

    error = caught.value
    assert (type(error), error.code, error.status) == (refusal.kind, refusal.code, refusal.answer.status)
    sent = [exchange.sent for exchange in (*first.exchanges[: at + 1], *look)]
    assert [as_sent(request) for request in transport.requests[: len(sent)]] == sent
    assert len(transport.requests) == len(sent) + probed


EVERYWHERE = [
    *(
        Refusal(errors.AuthenticationError, code, e1(401, code))
        for code in ("invalid_apikey", "no_key_provided", "no_jwt_apikey_or_subkey", "invalid_jwt", "invalid_subkey")
    ),
    Refusal(
        errors.AuthenticationError,
        "too_many_requests",
        e1(429, "too_many_requests", "Too many requests", reason="too_many_failed_auth_attempts"),
    ),
    Refusal(
        errors.AuthenticationError,
        "invalid_apikey",
        old({"status": "Internal Server Error", "response": {}, "error": "{}", "message": "Invalid apikey"}, 500),
    ),
    Refusal(errors.RateLimited, "a_new_word", e1(429, "a_new_word")),
    Refusal(errors.ServerError, "unknown_error", e1(500, "unknown_error")),
    Refusal(errors.ServerError, "upstream_unavailable", e1(503, "upstream_unavailable")),
    Refusal(errors.ServerError, "database_unavailable", e1(503, "database_unavailable")),
    Refusal(errors.ServerError, "not_json", old(b"<html>502 Bad Gateway</html>", 502, kind="text/html")),
    Refusal(errors.NotFound, "not_found", said({"error": "not_found", "message": "Not found"}, 404)),
    Refusal(errors.NotFound, "not_json", old(b"404 Not Found", 404, kind="text/plain")),
    Refusal(errors.InvalidRequest, "not_today", said({"status": "KO", "error": "Not today"})),
]


@pytest.mark.parametrize("row", ROWS, ids=name_of)
def test_every_error_of_a_route_and_those_that_every_route_may_answer(row: Row) -> None:
    @on_each([*row.refusals, *EVERYWHERE], name=lambda refusal: f"{refusal.answer.status} {refusal.code}")
    @in_virtual_time
    async def ends(refusal: Refusal) -> None:
        await assert_ends_in(row, refusal)

    ends()


# The same on a socket: what the adapter adds


def written(answer: Response) -> bytes:
    head = f"HTTP/1.1 {answer.status} X\r\nContent-Length: {len(answer.body)}\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in answer.headers.items())
    return head.encode() + b"\r\n" + answer.body


def target(sent: Sent) -> str:
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in sent.query)
    return f"{sent.method} {sent.path}{'?' if query else ''}{query} HTTP/1.1"


def check(exchange: Exchange, received: Received, auth_header: str) -> None:
    sent = exchange.sent
    assert received.line == target(sent)
    assert (json.loads(received.body) if received.body else None) == sent.body
    assert received.header("content-type") == ([] if sent.body is None else ["application/json"])
    found = {name: received.header(name) for name in AUTH_HEADERS}
    assert {name: values for name, values in found.items() if values} == ({} if sent.path == "/ok" else {auth_header: [KEY]})
    assert len(received.header("x-request-id")) == 1
    assert len(received.header("user-agent")) == 1
    assert received.header("cookie") == []


@pytest.mark.parametrize("row", ROWS, ids=name_of)
async def test_on_the_wire(row: Row) -> None:
    generation = row.generations[0]
    answers = [written(exchange.answer) for exchange in generation.exchanges]
    async with serving(lambda _: answers.pop(0)) as server:
        options = {"api_key": KEY, "base_url": server.url, "rate": "off", "retries": 0, **generation.options}
        async with CapgoClient(**options) as capgo:
            await row.call(capgo)

    assert answers == []
    for exchange, received in zip(generation.exchanges, server.received, strict=True):
        check(exchange, received, generation.options.get("auth_header", "authorization"))


# The table itself


def test_every_method_has_a_row() -> None:
    capgo = CapgoClient(api_key=KEY)
    spaces = {name: getattr(capgo, name) for name in vars(capgo) if type(getattr(capgo, name)).__name__ in namespaces}
    methods = {
        f"{space}.{name}"
        for space, resource in spaces.items()
        for name, _ in inspect.getmembers(resource, callable)
        if not name.startswith("_")
    }
    assert methods | {"check"} == {row.method for row in ROWS}


CONTRACT = (Path(capgo_async.__file__).parent / "api" / "contract.md").read_text(encoding="utf-8")
VERB = "(?:GET|POST|PUT|DELETE|PATCH|HEAD)"
ROUTES = re.compile(rf"\b({VERB}(?:(?:/|, | and ){VERB})*) `?(/[\w/:.*-]+)")
NO_ROUTE = {"DELETE /apikey"}
"""What the contract names only to say that it does not exist."""


def form(route: str) -> str:
    """Return a route with one name for all parameters."""
    return re.sub(r":\w+", ":x", route).rstrip("/.")


def test_every_route_of_the_contract_has_a_row_or_a_reason() -> None:
    named = {
        form(f"{verb} {path}") for verbs, path in ROUTES.findall(CONTRACT) for verb in re.findall(VERB, verbs)
    } - NO_ROUTE  # fmt: skip
    assert len(named) > 50, "routes are still recognised"
    called = {form(re.split(r"[? ]*\?| \(", row.http)[0]) for row in ROWS}
    left_out = [form(route) for left in LEFT_OUT for route in left.routes]
    unknown = {route for route in named - called if not any(fnmatchcase(route, pattern) for pattern in left_out)}
    assert unknown == set()
    assert not [route for route in called if any(fnmatchcase(route, pattern) for pattern in left_out)]


def test_rows_have_names_of_their_own() -> None:
    names = [name_of(row) for row in ROWS]
    assert len(set(names)) == len(names)
    for row in ROWS:
        assert len({generation.name for generation in row.generations}) == len(row.generations)


def test_the_readme_says_what_the_table_says() -> None:
    text = README.read_text(encoding="utf-8")
    assert all(table in text for table in sections().values())
    assert updated(text) == text, "run: PYTHONPATH=.:tests python -m conformance.readme"
    assert text.index("## What works") < text.index("## Limits")
