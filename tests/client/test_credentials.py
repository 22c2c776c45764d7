"""Keys go bare and session tokens as `Bearer`; what takes no token is refused before it is sent (contract A2)."""

import base64
import json
from typing import Any

import pytest
from conformance.exchanges import Row
from conformance.rows import ROWS
from conformance.test_conformance import client_of, name_of
from hypothesis import given, strategies as st
from scripted import ScriptedTransport, answer

from capgo_async import CapgoClient
from capgo_async.errors import AuthenticationError, EmptyListing, NeedsApiKey
from capgo_async.http.credentials import is_session_token
from capgo_async.sandbox import Sandbox, fleet
from capgo_async.sandbox.inprocess import InProcessTransport
from capgo_async.sandbox.seeding import ORG_ID, USER_JWT


def part(value: Any) -> str:
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


TOKEN = ".".join((part({"alg": "ES256", "kid": "k1", "typ": "JWT"}), part({"sub": "u", "exp": 1}), part(b"\xff\xfe\x00")))
TOKENS = "GET /apikey|POST /apikey|PUT /apikey|DELETE /apikey|POST /app|GET /organization/audit|DELETE /organization/members"
"""Routes that take tokens, besides statistics and the two writes of organizations; path parameters are cut off."""


@given(
    st.dictionaries(st.text(), st.integers()),
    st.sampled_from(["HS256", "RS256", "none"]),
    st.binary(min_size=1),
    st.binary(min_size=1),
)
def test_whatever_has_the_form_of_a_jwt_is_a_token(more: dict[str, int], algorithm: str, body: bytes, signature: bytes) -> None:
    assert is_session_token(".".join((part({**more, "alg": algorithm}), part(body), part(signature))))


@given(st.one_of(st.uuids().map(str), st.from_regex(r"[A-Za-z0-9._:-]{8,256}", fullmatch=True)))
def test_no_key_is_a_token(key: str) -> None:
    assert not is_session_token(key)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "..",
        "a.b.c",
        "eyJ.eyJ.eyJ",
        TOKEN + ".x",
        TOKEN.rpartition(".")[0],
        TOKEN.rpartition(".")[0] + ".",
        f"Bearer {TOKEN}",
        f"{part({'typ': 'JWT'})}.b.c",
        f"{part(['alg'])}.b.c",
        f"{part(b'{')}.b.c",
    ],
)
def test_what_only_looks_similar_is_none(secret: str) -> None:
    assert not is_session_token(secret)


def takes_tokens(row: Row) -> bool:
    """Tell whether the first generation makes all requests of a row on routes that take tokens."""
    sent = [exchange.sent for exchange in row.generations[0].exchanges]
    return all(
        f"{one.method} /{one.path.split('/')[1]}" in TOKENS.replace("POST /app|", "").split("|")
        or f"{one.method} {one.path}" in TOKENS.split("|")
        or one.path.startswith("/statistics/")
        or f"{one.method} {one.path}" in {"POST /organization", "PUT /organization", "GET /ok"}
        for one in sent
    )


@pytest.mark.parametrize("row", ROWS, ids=name_of)
async def test_a_token_goes_as_bearer_or_not_at_all(row: Row) -> None:
    generation = row.generations[0]
    transport = ScriptedTransport(*(exchange.answer for exchange in generation.exchanges))
    options = {**generation.options, "api_key": TOKEN, "auth_header": "capgkey"}
    async with client_of(transport, **options) as capgo:
        if takes_tokens(row):
            await row.call(capgo)
        else:
            with pytest.raises(NeedsApiKey, match="this takes an API key, not the token of a user session; it was not sent"):
                await row.call(capgo)
    for request, headers in zip(transport.requests, transport.headers, strict=True):
        found = {name.lower(): value for name, value in headers.items()}
        assert "capgkey" not in found
        assert found.get("authorization") == (None if request.path == "/ok" else f"Bearer {TOKEN}")
    if not takes_tokens(row):
        assert {request.path for request in transport.requests} <= {"/ok"}, "nothing was sent before the refusal"


def test_the_table_has_rows_of_both_kinds() -> None:
    assert {name_of(row).partition("?")[0] for row in ROWS if takes_tokens(row)} == {
        *(f"api_keys.{name} · {http}" for name, http in (
            ("list", "GET /apikey"), ("get", "GET /apikey/:id"), ("create", "POST /apikey"), ("update", "PUT /apikey/:id"),
            ("regenerate", "PUT /apikey/:id"), ("delete", "DELETE /apikey/:id"), ("delete_by_secret", "DELETE /apikey/:key"),
        )),
        *(f"statistics.{name} · GET /statistics/{path}" for name, path in (
            ("app", "app/:app_id"), ("organization", "org/:org_id"), ("breakdown", "org/:org_id"), ("user", "user"),
            ("bundle_usage", "app/:app_id/bundle_usage"), ("native_usage", "app/:app_id/native_usage"),
        )),
        "apps.create · POST /app",
        "organizations.audit_log · GET /organization/audit",
        "organizations.update · PUT /organization",
        "check · GET /ok",
    }  # fmt: skip


async def test_with_a_token_the_sandbox_shows_keys_and_numbers() -> None:
    sandbox = Sandbox(fleet(1, 20))
    async with CapgoClient(api_key=USER_JWT, transport=InProcessTransport(sandbox), rate="off") as capgo:
        assert len(await capgo.api_keys.list().all()) > 3
        assert await capgo.organizations.audit_log(ORG_ID).all() == []
        with pytest.raises(NeedsApiKey, match="list apps: this takes an API key"):
            await capgo.apps.list().all()
    assert {line.path for line in sandbox.log} == {"/apikey", "/organization/audit"}


async def test_an_expired_token_is_told_as_such() -> None:
    refused = answer(401, {"error": "invalid_jwt", "message": "Invalid JWT", "moreInfo": {}})
    transport = ScriptedTransport(last=refused)
    async with client_of(transport, api_key=TOKEN) as capgo:
        with pytest.raises(AuthenticationError, match="session token, it is invalid or has expired: sign in again") as caught:
            await capgo.api_keys.list().all()
    assert TOKEN not in str(caught.value)
    assert len(transport.requests) == 1


async def test_no_api_key_is_believed_for_a_session_token_alone() -> None:
    async with CapgoClient(api_key="some-key", transport=ScriptedTransport(last=answer(body=[]))) as capgo:
        with pytest.raises(EmptyListing, match="lists no API key, not even the one that asks"):
            await capgo.api_keys.list().all()
    async with CapgoClient(api_key=TOKEN, transport=ScriptedTransport(last=answer(body=[]))) as capgo:
        assert await capgo.api_keys.list().all() == []
