"""Requests, replies and refusals as values, and how a refusal becomes an error body (contract A5, A6).

The sandbox has its own types on purpose: it shares none with the client that it tests.
"""

import functools
from collections.abc import Mapping
from email.utils import formatdate
from typing import Final, Literal

import msgspec

Generation = Literal["2026-07", "2026-11", "docs", "seed"]
"""A server to imitate; `docs` is one that does what the vendor's documentation says (contract H1, J1)."""

_encode: Final = msgspec.json.Encoder().encode
_AUTH_CODES: Final = frozenset(
    {"no_key_provided", "no_jwt_apikey_or_subkey", "invalid_apikey", "invalid_jwt", "invalid_subkey"}
)


class Incoming(msgspec.Struct, frozen=True, kw_only=True):
    """A request as it arrives; `path` is percent-encoded, `query` is decoded, header names are lower-case."""

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    headers: Mapping[str, str] = {}
    body: bytes = b""
    address: str = "127.0.0.1"


class Reply(msgspec.Struct, frozen=True, kw_only=True):
    """A response; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Document(msgspec.Struct, frozen=True, kw_only=True):
    """A successful response that is not JSON."""

    content_type: str
    body: bytes


class Dropped(msgspec.Struct, frozen=True, kw_only=True):
    """A connection that ends without a response; `processed` tells whether the request took effect."""

    processed: bool


class Refusal(Exception):
    """Raised for any response other than 200, in the modern server's terms; `error_reply` translates it."""

    def __init__(self, status: int, code: str, message: str, more: Mapping[str, object] | None = None) -> None:
        """Store the fields of the modern error body; `more` is its `moreInfo`."""
        super().__init__(code)
        self.status = status
        self.code = code
        self.message = message
        self.more: dict[str, object] = dict(more or {})
        self.headers: dict[str, str] = {}
        self.seed_body: dict[str, object] | None = None  # the body, where a seed-era route had a form of its own


def upstream_unavailable(more: Mapping[str, object] | None = None) -> Refusal:
    """Return the response of newer servers while the database is away (contract A9)."""
    return Refusal(503, "upstream_unavailable", "A required service is temporarily unavailable", more)


def database_unavailable() -> Refusal:
    """Return the response of newer servers to a key that they cannot look up (contract A9)."""
    refusal = Refusal(503, "database_unavailable", "The database is temporarily unavailable")
    refusal.headers = {"retry-after": "2"}
    return refusal


def unknown_error() -> Refusal:
    """Return the response to an exception that the server does not catch."""
    return Refusal(500, "unknown_error", "Unknown error")


def no_single_row() -> dict[str, object]:
    """Return the REST layer's error for a query that expected exactly one row and found none."""
    message = "JSON object requested, multiple (or no) rows returned"
    return database_error("PGRST116", message, "The result contains 0 rows")


def bad_range(message: str) -> dict[str, object]:
    """Return the REST layer's error for an invalid offset or limit."""
    return database_error("PGRST100", message)


def database_error(code: str, message: str, details: str | None = None) -> dict[str, object]:
    return {"code": code, "message": message, "details": details, "hint": None}


def date_header(now: float) -> dict[str, str]:
    return {"date": _date(int(now))}


@functools.lru_cache(maxsize=16)
def _date(second: int) -> str:
    return formatdate(second, usegmt=True)


def json_reply(status: int, payload: object, headers: Mapping[str, str]) -> Reply:
    return Reply(status=status, headers={"content-type": "application/json", **headers}, body=_encode(payload))


def success_reply(payload: object, headers: Mapping[str, str]) -> Reply:
    if isinstance(payload, Document):
        return Reply(status=200, headers={"content-type": payload.content_type, **headers}, body=payload.body)
    return json_reply(200, payload, headers)


def error_reply(refusal: Refusal, generation: Generation, headers: Mapping[str, str]) -> Reply:
    """Encode a refusal in the form of a server generation (contract A6)."""
    if generation == "seed" and refusal.status != 503:  # noqa: PLR2004 -- an HTTP status, which came long afterwards
        return _seed_error(refusal, headers)
    body: dict[str, object] = {"error": refusal.code, "message": refusal.message}
    if refusal.status != 404 or refusal.code != "not_found":  # noqa: PLR2004 -- an HTTP status
        body["moreInfo"] = refusal.more
    return json_reply(refusal.status, body, {**headers, **refusal.headers})


def _seed_error(refusal: Refusal, headers: Mapping[str, str]) -> Reply:
    if refusal.code == "not_found":
        return Reply(status=404, headers={"content-type": "text/plain;charset=UTF-8", **headers}, body=b"404 Not Found")
    if refusal.code == "too_many_requests":
        return json_reply(429, {"error": "you are beeing rate limited"}, headers)
    if refusal.code in _AUTH_CODES or refusal.code == "unknown_error":
        body = {"status": "Internal Server Error", "response": {}, "error": "{}", "message": refusal.message}
        return json_reply(500, body, headers)
    if refusal.seed_body is not None:
        return json_reply(400, refusal.seed_body, headers)
    told: dict[str, object] = {"status": refusal.message}
    if refusal.code != "cannot_find_version":  # contract C6: the message alone
        for name in ("supabaseError", "dbError"):
            if name in refusal.more:
                told["error"] = refusal.more[name]
    return json_reply(400, told, headers)
