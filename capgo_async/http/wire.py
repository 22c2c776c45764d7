"""What crosses the wire, as values: requests, responses, and the protocol that carries them.

Nothing outside this module knows JSON (contract A3, A6).
"""

import contextlib
import math
import re
from collections.abc import Callable, Mapping
from datetime import UTC
from email.utils import parsedate_to_datetime
from types import GenericAlias
from typing import Any, Final, Generic, Protocol, TypeVar

import msgspec

from ..errors import ApiError, UnreadableAnswer
from . import error_codes

T = TypeVar("T")
U = TypeVar("U")


class Request(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One HTTP request before it is paced and authenticated.

    `path` starts with a slash and is percent-encoded; `query` holds plain text, the transport encodes it in full
    (`+` and `|` included, contract C7); `body` is encoded JSON or `None`. `shown_path` stands for a path that nobody may see.
    """

    method: str
    path: str
    query: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    shown_path: str | None = None

    def __repr__(self) -> str:
        """Leave the body out, and the path where nobody may see it: both may hold a key."""
        size = 0 if self.body is None else len(self.body)
        return f"Request({self.method} {self.shown_path or self.path}, query={self.query!r}, {size} bytes)"


class Response(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One HTTP answer; header names are lower-case."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the body as plain values; raises `UnreadableAnswer` for what is no JSON."""
        try:
            return msgspec.json.decode(self.body)
        except _UNREADABLE as error:
            message = f"the answer is no JSON: {error}"
            raise UnreadableAnswer(message) from error

    def __repr__(self) -> str:
        """Leave the body out: it may hold a new key."""
        return f"Response(status={self.status}, {len(self.body)} bytes)"


class Transport(Protocol):
    """Carries one request to the server, once: no resend, no redirect, no retry."""

    async def send(self, request: Request, headers: Mapping[str, str], *, fresh: bool = False) -> Response:
        """Send `request` with the extra `headers`; with `fresh` on a connection that nobody used before.

        Raises `NotConnected` when no byte can have left, `ConnectionLost` or `TimedOut` when the request may have been
        processed.
        """
        ...

    async def aclose(self) -> None:
        """Release what the transport itself opened."""
        ...


class Envelope(msgspec.Struct, Generic[T], frozen=True):
    """A value inside `{"data": ...}`, as some generations put one around it (contract D4)."""

    data: T


class Acknowledgement(msgspec.Struct, frozen=True, gc=False):
    """What a write answers, in every generation: `{"status": "ok"}`, `{"success": true}` and their kin (contract D31, D35)."""

    status: str | None = None
    success: bool | None = None

    @property
    def accepted(self) -> bool:
        """Tell whether the server says that the write happened."""
        if self.status is None:
            return self.success is True
        return self.status.lower() in _ACCEPTED


_ACCEPTED: Final = frozenset({"ok", "success"})
_TOKEN: Final = re.compile(r"[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)+|[a-z][a-z0-9]*", re.ASCII)
_UNREADABLE: Final = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What decoding raises; the last for a body that is nested without end."""
_LONGEST_REFUSAL: Final = 16_384
"""Bytes of a success that may mean a failure (contract D31); to search pages for that costs more than to read them."""
_VERSION: Final = re.compile(r"-(\d{1,9})\.(\d{1,9})\.(\d{1,9})$", re.ASCII)


def encode(value: object) -> bytes:
    """Return `value` as JSON."""
    return msgspec.json.encode(value)


def decoder_of(type_: Any) -> "msgspec.json.Decoder[Any]":
    """Return a decoder for `type_` that coerces numbers sent as strings (contract A4); build it once per type."""
    return msgspec.json.Decoder(type_, strict=False)


def read(response: Response, decoder: "msgspec.json.Decoder[T]", operation: str) -> T:
    """Decode a successful answer, or raise what the answer means."""
    if response.status != 200:  # noqa: PLR2004 - every success of the API is 200 (contract A7)
        raise error_of(response, operation)
    body = response.body
    if len(body) <= _LONGEST_REFUSAL and (b'"KO"' in body or b'"ko"' in body) and _says_failure(body):
        raise error_of(response, operation)
    try:
        return decoder.decode(body)
    except _UNREADABLE as error:
        message = f"{operation}: the answer is not what the API promises: {error}"
        raise UnreadableAnswer(message) from error


def reads_one(type_: type[T]) -> Callable[[Response, str], T]:
    """Return what decodes a single object of `type_`, bare or in an envelope (contract D5)."""
    wrapped: Callable[[Response, str], T] = reads(_enveloped(type_), lambda envelope: envelope.data)
    return reads_first(reads(type_, lambda value: value), wrapped)


def reads_many(type_: type[T]) -> Callable[[Response, str], tuple[T, ...]]:
    """Return what decodes a list of `type_`, bare or in an envelope (contract D4)."""
    rows = GenericAlias(list, (type_,))
    decoder: msgspec.json.Decoder[list[T] | Envelope[list[T]]] = decoder_of(rows | _enveloped(rows))

    def decode(response: Response, operation: str) -> tuple[T, ...]:
        found = read(response, decoder, operation)
        return tuple(found.data if isinstance(found, Envelope) else found)

    return decode


def reads_first(*readers: Callable[[Response, str], T]) -> Callable[[Response, str], T]:
    """Return what decodes an answer of any of several generations: the first reader that can."""

    def decode(response: Response, operation: str) -> T:
        try:
            return readers[0](response, operation)
        except UnreadableAnswer as error:
            for reader in readers[1:]:
                with contextlib.suppress(UnreadableAnswer):
                    return reader(response, operation)
            raise error from error.__cause__

    return decode


def reads(type_: type[U], unwrap: Callable[[U], T]) -> Callable[[Response, str], T]:
    """Return what decodes an answer of the shape `type_` and takes the value out of it."""
    decoder: msgspec.json.Decoder[U] = decoder_of(type_)
    return lambda response, operation: unwrap(read(response, decoder, operation))


def _enveloped(type_: Any) -> Any:
    # Made at run time: a type checker cannot see that the argument is a type.
    return Envelope[type_]


def acknowledge(response: Response, operation: str) -> None:
    """Check that a write was accepted, or raise what the answer means; a 200 with `status: "KO"` is an error (contract A6)."""
    if response.body == _USUAL and response.status == 200:  # noqa: PLR2004 - as in `read`
        return
    if not read(response, _ACKNOWLEDGEMENT, operation).accepted:
        raise error_of(response, operation)


_ACKNOWLEDGEMENT: Final = decoder_of(Acknowledgement)
_USUAL: Final = b'{"status":"ok"}'
"""What nearly all writes are answered with: to know it is enough."""


def _says_failure(body: bytes) -> bool:
    details = _object_of(body)
    return str(details.get("status", "")).upper() == "KO"


def _object_of(body: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(body)
    except _UNREADABLE:
        return {}
    return value if isinstance(value, dict) else {}


def error_of(response: Response, operation: str) -> ApiError:
    """Turn an error body of any generation into its exception (contract A6).

    Codes are the server's where it sent a token, else made from its sentence; text and HTML become `not_json`.
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
    # The sentence may stand in any of the three; `error` then is a word of the database, `{}` or an object.
    sentences = [text for text in (message, status, error) if isinstance(text, str) and text.upper() not in {"", "KO", "{}"}]
    sentence = sentences[0] if sentences else f"HTTP {response.status}"
    if _TOKEN.fullmatch(sentence):
        return sentence, sentence
    return re.sub(r"[^a-z0-9]+", "_", sentence.lower()).strip("_") or "unknown", sentence


def _without_object(response: Response) -> tuple[str, str]:
    if 300 <= response.status < 400:  # noqa: PLR2004 - redirects
        return "redirected", "the server redirects, and redirects are not followed: check the base URL"
    return "not_json", _first_line(response.body) or "the answer has no body"


def _first_line(body: bytes) -> str:
    """Return the beginning of a text body, for an error message."""
    text = body[:400].decode("utf-8", "replace").strip()
    return text.splitlines()[0][:120] if text else ""


def retry_after(headers: Mapping[str, str], details: Mapping[str, Any]) -> float | None:
    """Return the seconds that the server asks to wait, or `None`.

    In this order: `Retry-After`, `retryAfterSeconds`, and the epoch forms relative to the answer's own `Date`, because the
    clocks of client and server differ (contract A8).
    """
    header = headers.get("retry-after", "")
    answered_at = _epoch(headers.get("date", ""))
    if (told := _number(header)) is not None:
        return told
    at = _epoch(header)
    if at is None or answered_at is None:
        if (told := _number(details.get("retryAfterSeconds"))) is not None:
            return told
        at = _reset(headers, details)
    return None if at is None or answered_at is None else max(0.0, at - answered_at)


def _reset(headers: Mapping[str, str], details: Mapping[str, Any]) -> float | None:
    """Return the epoch second at which a limit ends, as the server's clock has it."""
    if (seconds := _number(headers.get("x-ratelimit-reset", ""))) is not None:
        return seconds
    milliseconds = _number(details.get("rateLimitResetAt"))
    return None if milliseconds is None else milliseconds / 1000


def _number(value: object) -> float | None:
    """Return a time as the server tells it, a number or its digits; `None` for what no clock can show."""
    if isinstance(value, str):
        number = float(value) if value.isascii() and value.isdigit() else math.inf
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value) if 0 <= value <= _LATEST else math.inf
    else:
        return None
    return number if number <= _LATEST else None


_LATEST: Final = 1e15
"""Above every time that a server can mean, in milliseconds too; JSON holds numbers that no float does."""


def _epoch(date: str) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
        # A date without a zone is UTC (RFC 9110), never the zone of this machine.
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def server_version(worker_source: str | None) -> tuple[int, int, int] | None:
    """Return the version from an `X-Worker-Source` header, `None` when it tells none (contract A5)."""
    found = _VERSION.search(worker_source or "")
    return (int(found[1]), int(found[2]), int(found[3])) if found else None
