"""Where the parameters of a request are read from, and JavaScript's rules for them (contract A3, A4)."""

import re
from collections.abc import Callable
from typing import Final

import msgspec

from .exchange import Incoming, Refusal

Reader = Callable[[Incoming], object]

_decode: Final = msgspec.json.Decoder().decode
_APP_ID: Final = re.compile(r"[a-z0-9]+(?:\.[a-z0-9_-]+)+", re.ASCII | re.IGNORECASE)


def body_or_query(request: Incoming) -> object:
    """Return the body as JSON, or else the query; the two are never merged."""
    try:
        sent: object = _decode(request.body)
    except msgspec.DecodeError:
        query = query_only(request)
        if not query and request.method not in {"GET", "HEAD"}:
            raise _bad_body({}) from None
        return query
    if not isinstance(sent, str | list | dict) or len(sent) == 0:
        raise _bad_body({})
    return sent


def body_only(request: Incoming) -> object:
    """Return the body as JSON; `{}`, lists and bare values are left to the endpoint's own checks."""
    try:
        sent: object = _decode(request.body)
    except msgspec.DecodeError:
        sent = None
    if sent is None:
        raise _bad_body({"e": {}})
    return sent


def unread(request: Incoming) -> Incoming:
    """Return the request unread, for endpoints that refuse some callers before they read anything."""
    return request


def query_only(request: Incoming) -> dict[str, str]:
    """Return the query; the first of repeated parameters counts."""
    query: dict[str, str] = {}
    for name, value in request.query:
        query.setdefault(name, value)
    return query


def field(parameters: object, name: str) -> object:
    """Return a parameter; anything but an object has none."""
    return parameters.get(name) if isinstance(parameters, dict) else None


def truthy(value: object) -> bool:
    """Return whether a JSON value is truthy in JavaScript; empty lists and objects are."""
    return isinstance(value, list | dict) or bool(value)


def required(parameters: object, name: str) -> object:
    """Return a required parameter, or refuse with the endpoint's own "missing" error."""
    value = field(parameters, name)
    if not truthy(value):
        raise Refusal(400, f"missing_{name}", f"Missing {name}", {"body": parameters})
    return value


def app_id(value: object) -> str:
    """Check that an app id is a reverse domain name (contract A4)."""
    if not isinstance(value, str) or _APP_ID.fullmatch(value) is None:
        raise Refusal(400, "invalid_app_id", "App ID must be a reverse domain string", {"app_id": value})
    return value


def _bad_body(more: dict[str, object]) -> Refusal:
    return Refusal(400, "invalid_json_parse_body", "Invalid JSON body", more)
