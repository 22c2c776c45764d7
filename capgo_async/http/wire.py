"""Requests and responses as values, the transport protocol, and the JSON of both (contract A3, A6)."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from types import GenericAlias
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

from ..errors import ApiError, UnreadableAnswer
from . import error_codes
from .retry_after import retry_after
from .unreadable import UNDECODABLE, unreadable

T = TypeVar("T")
U = TypeVar("U")


class Request(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One HTTP request, without the headers for the key.

    `path` starts with a slash and is percent-encoded. `query` is plain text; the transport encodes all of it, `+` and `|`
    included (contract C7). `body` is encoded JSON or `None`. `shown_path` replaces a secret path in messages and records.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    shown_path: str | None = None

    def __repr__(self) -> str:
        """Leave out the body and a secret path: both may contain a key."""
        size = 0 if self.body is None else len(self.body)
        return f"Request({self.method} {self.shown_path or self.path}, query={self.query!r}, {size} bytes)"


class Response(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One HTTP response; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as plain values; raises `UnreadableAnswer` if it is not JSON."""
        try:
            return msgspec.json.decode(self.body)
        except UNDECODABLE as error:
            message = f"the response is not JSON: {error}"
            raise UnreadableAnswer(message) from error

    def __repr__(self) -> str:
        """Leave out the body, which may contain a new key."""
        return f"Response(status={self.status}, {len(self.body)} bytes)"


class Transport(Protocol):
    """Sends a request once, without resending it, retrying it or following a redirect."""

    async def send(self, request: Request, headers: Mapping[str, str], *, fresh: bool = False) -> Response:
        """Send `request` with the extra `headers`, on a new connection if `fresh` is set.

        Raises `NotConnected` if nothing was sent, and `ConnectionLost`, `TimedOut` or, for a response that is too large,
        `UnreadableAnswer` if the request may have been processed.
        """
        ...

    async def aclose(self) -> None:
        """Close what the transport itself opened."""
        ...


class Envelope(msgspec.Struct, Generic[T], frozen=True):
    """A value inside `{"data": ...}`, as some generations put one around it (contract D4)."""

    data: T


class Acknowledgement(msgspec.Struct, frozen=True, gc=False):
    """The response to a write: `{"status": "ok"}`, `{"success": true}` and similar (contract D31, D35)."""

    status: str | None = None
    success: bool | None = None

    @property
    def accepted(self) -> bool:
        """Return whether the server reports success."""
        if self.status is None:
            return self.success is True
        return self.status.lower() in _ACCEPTED


MAX_RESPONSE_BYTES: Final = 64 << 20
"""Default size limit of a response: more than a page of 1000 rows, the largest (contract F), takes."""
_SUCCESSES: Final = (200, 201)
"""Every success of the API is 200, except that one route says 201 for something new (contract A7)."""
_NO_CONTENT: Final = 204
_ACCEPTED: Final = frozenset({"ok", "success"})
_TOKEN: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)+|[a-z][a-z0-9]*", re.ASCII)
_LONGEST_REFUSAL: Final = 16_384
"""Largest body of a 200 that is searched for a failure (contract D31); pages would take too long."""
_OF_REFUSALS: Final = frozenset({"error", "message", "moreInfo", "response", "status", "supabaseError"})
"""The keys of error bodies (contract A6)."""
_VERSION: Final = re.compile(r"-(\d{1,9})\.(\d{1,9})\.(\d{1,9})$", re.ASCII)


def plain(value: object) -> str:
    """Return the text of a subclass of `str`, such as `Unlisted`, which msgspec does not encode by itself."""
    if isinstance(value, str):
        return str(value)
    message = f"cannot encode {type(value).__name__}"
    raise TypeError(message)


_ENCODE: Final = msgspec.json.Encoder(enc_hook=plain).encode


def encode(value: object) -> bytes:
    """Return `value` as JSON."""
    return _ENCODE(value)


def decoder_of(type_: Any) -> "msgspec.json.Decoder[Any]":
    """Return a decoder for `type_` that accepts numbers sent as strings (contract A4); build one per type."""
    return msgspec.json.Decoder(type_, strict=False)


def read(response: Response, decoder: "msgspec.json.Decoder[T]", operation: str) -> T:
    """Decode a successful response, or raise the error that it means."""
    if response.status not in _SUCCESSES:
        if 200 <= response.status < 300:  # noqa: PLR2004 - neither a failure nor a known success
            message = f"{operation}: HTTP {response.status} does not tell whether this was done"
            raise UnreadableAnswer(message)
        raise error_of(response, operation)
    body = response.body
    if (
        len(body) <= _LONGEST_REFUSAL
        and (b'"KO"' in body or b'"ko"' in body or b'"error"' in body)
        and _says_failure(_object_of(body))
    ):
        raise error_of(response, operation)
    try:
        return decoder.decode(body)
    except UNDECODABLE as error:
        raise unreadable(body, operation, str(error), partial(_value_of, body)) from error


def reads_one(type_: type[T]) -> Callable[[Response, str], T]:
    """Return a reader of one `type_`, bare or in an envelope (contract D5)."""
    wrapped: Callable[[Response, str], T] = reads(_enveloped(type_), lambda envelope: envelope.data)
    return reads_first(reads(type_, lambda value: value), wrapped)


def reads_many(type_: type[T]) -> Callable[[Response, str], tuple[T, ...]]:
    """Return a reader of a list of `type_`, bare or in an envelope (contract D4)."""
    rows = GenericAlias(list, (type_,))
    decoder: msgspec.json.Decoder[list[T] | Envelope[list[T]]] = decoder_of(rows | _enveloped(rows))

    def decode(response: Response, operation: str) -> tuple[T, ...]:
        found = read(response, decoder, operation)
        return tuple(found.data if isinstance(found, Envelope) else found)

    return decode


def reads_first(*readers: Callable[[Response, str], T]) -> Callable[[Response, str], T]:
    """Return a reader that tries `readers` in turn, because generations of the server differ."""

    def decode(response: Response, operation: str) -> T:
        failures: list[UnreadableAnswer] = []
        for reader in readers:
            try:
                return reader(response, operation)
            except UnreadableAnswer as error:
                failures.append(error)
        # The form that fits best is the one in which a single row or field is to blame.
        raise max(failures, key=lambda error: (error.row is not None, bool(error.field)))

    return decode


def reads(type_: type[U], unwrap: Callable[[U], T]) -> Callable[[Response, str], T]:
    """Return a reader that decodes a `type_` and returns what `unwrap` takes from it."""
    decoder: msgspec.json.Decoder[U] = decoder_of(type_)
    return lambda response, operation: unwrap(read(response, decoder, operation))


def _enveloped(type_: Any) -> Any:
    # A type checker cannot see that the argument is a type.
    return Envelope[type_]


def acknowledge(response: Response, operation: str) -> None:
    """Raise an error unless the write was accepted; a 200 with `status: "KO"` is an error (contract A6).

    A 204 without a body is a success, because that is all that it can mean (RFC 9110, 15.3.5).
    """
    if (response.body == _USUAL and response.status == 200) or (response.status == _NO_CONTENT and not response.body):  # noqa: PLR2004 - the usual case
        return
    if not read(response, _ACKNOWLEDGEMENT, operation).accepted:
        raise error_of(response, operation)


_ACKNOWLEDGEMENT: Final = decoder_of(Acknowledgement)
_USUAL: Final = b'{"status":"ok"}'
"""The response to nearly every write; comparing it is faster than decoding it."""


def _says_failure(details: Mapping[str, Any]) -> bool:
    """Return whether a 200 holds nothing but an error (contract A6, D31)."""
    if str(details.get("status", "")).upper() == "KO":
        return True
    error = details.get("error")
    return isinstance(error, str) and error != "" and details.keys() <= _OF_REFUSALS


def _object_of(body: bytes) -> dict[str, Any]:
    value = _value_of(body)
    return value if isinstance(value, dict) else {}


def _value_of(body: bytes) -> object:
    """Return JSON as plain values, or `None` if it is none."""
    try:
        return msgspec.json.decode(body)
    except UNDECODABLE:
        return None


def error_of(response: Response, operation: str) -> ApiError:
    """Return the exception for an error response, in any form of error body (contract A6).

    The code is the server's if it sent one, else derived from its sentence. Text and HTML become `not_json`.
    """
    body = _object_of(response.body)
    code, message = _code_and_message(body, response)
    more = body.get("moreInfo")
    details = more if isinstance(more, dict) else {key: body[key] for key in body if key not in {"message", "status"}}
    kind = error_codes.class_of(response.status, code, message, details)
    return kind(
        message,
        status=response.status,
        code=code,
        details=details,
        request_id=response.headers.get("x-request-id"),
        server_version=response.headers.get("x-worker-source"),
        retry_after=retry_after(response.headers, details),
        operation=operation,
        body=response.body,
    )


def _code_and_message(body: Mapping[str, Any], response: Response) -> tuple[str, str]:
    if not body:
        return _without_object(response)
    error, status, message = (body.get(key) for key in ("error", "status", "message"))
    if isinstance(error, str) and _TOKEN.fullmatch(error):
        return error, message if isinstance(message, str) else error
    # Any of the three may hold the sentence; `error` may then be a word of the database, `{}` or an object.
    sentences = [text for text in (message, status, error) if isinstance(text, str) and text.upper() not in {"", "KO", "{}"}]
    sentence = sentences[0] if sentences else f"HTTP {response.status}"
    if _TOKEN.fullmatch(sentence):
        return sentence, sentence
    return re.sub(r"[^a-z0-9]+", "_", sentence.lower()).strip("_") or "unknown", sentence


def _without_object(response: Response) -> tuple[str, str]:
    if 300 <= response.status < 400:  # noqa: PLR2004 - redirects
        return "redirected", "the server redirects this request, and redirects are not followed: check the base URL"
    return "not_json", _first_line(response.body) or "the response has no body"


def _first_line(body: bytes) -> str:
    """Return the start of a text body, for an error message."""
    text = body[:400].decode("utf-8", "replace").strip()
    return text.splitlines()[0][:120] if text else ""


def server_version(worker_source: str | None) -> tuple[int, int, int] | None:
    """Return the version from an `X-Worker-Source` header, or `None` if it contains none (contract A5)."""
    found = _VERSION.search(worker_source or "")
    return (int(found[1]), int(found[2]), int(found[3])) if found else None
