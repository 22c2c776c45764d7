"""What a row of the conformance table is made of: requests as sent, answers, and what the client makes of them."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from capgo_async import CapgoClient, errors
from capgo_async.http.wire import Response

JULY = "capgo_api-prod-12.201.7"
"""The server that was recorded; what it answers carries this."""
NOVEMBER = "capgo_api-prod-12.262.1"
"""A later server. Which version the one of 2026-11 has is not known (contract 0.1)."""

Query = tuple[tuple[str, str], ...]
Call = Callable[[CapgoClient], Awaitable[object]]


class Sent(NamedTuple):
    """One request as it must leave; `body` is its JSON."""

    method: str
    path: str
    query: Query = ()
    body: object = None


class Exchange(NamedTuple):
    """A request and what is answered."""

    sent: Sent
    answer: Response


class Generation(NamedTuple):
    """How one generation of servers is spoken to: all requests of the call in order, each with its answer.

    `found` is what the call returns where that differs from the row's; `options` are the client's.
    """

    name: str
    exchanges: Sequence[Exchange]
    found: object = ...
    options: Mapping[str, Any] = {}


class Refusal(NamedTuple):
    """One error of an endpoint and the exception that it must become."""

    kind: type[errors.ApiError]
    code: str
    answer: Response


class Row(NamedTuple):
    """One method of the client on one path of the contract.

    `found` is what the call returns, in every generation. The refusals answer the request `refused` of the first generation;
    `look` follows an answer that leaves open whether the call was processed.
    """

    section: str
    method: str
    http: str
    call: Call
    found: object
    generations: Sequence[Generation]
    refusals: Sequence[Refusal]
    refused: int = -1
    look: Sequence[Exchange] = ()


def said(body: object = None, status: int = 200, *, source: str | None = JULY, kind: str = "application/json") -> Response:
    """Return an answer: JSON, or text or a picture where `body` is bytes; `source` is absent on old servers."""
    raw = body if isinstance(body, bytes) else json.dumps({"status": "ok"} if body is None else body).encode()
    headers = {"content-type": kind, **({"x-worker-source": source} if source else {})}
    return Response(status=status, headers=headers, body=raw)


def old(body: object = None, status: int = 200, *, kind: str = "application/json") -> Response:
    """Return an answer of a server that does not tell its version."""
    return said(body, status, source=None, kind=kind)


def newer(body: object = None, status: int = 200) -> Response:
    """Return an answer of a server of 2026-11."""
    return said(body, status, source=NOVEMBER)


def e1(status: int, code: str, message: str = "No", **more: object) -> Response:
    """Return an error as servers since 12.11.76 write it (contract A6)."""
    return said({"error": code, "message": message, "moreInfo": more}, status)


def refusals(*groups: tuple[type[errors.ApiError], int, str]) -> tuple[Refusal, ...]:
    """Return the refusals of several codes of one class and status each."""
    return tuple(Refusal(kind, code, e1(status, code)) for kind, status, codes in groups for code in codes.split())


def one(name: str, sent: Sent, answer: Response, **more: Any) -> Generation:
    """Return a generation in which the call takes one request."""
    return Generation(name, (Exchange(sent, answer),), **more)


def several(name: str, *exchanges: tuple[Sent, Response], **more: Any) -> Generation:
    """Return a generation in which the call takes several requests."""
    return Generation(name, [Exchange(*exchange) for exchange in exchanges], **more)


def as_newer(name: str, generation: Generation) -> Generation:
    """Return a generation under another name, with the same answers from a server of 2026-11."""
    exchanges = [Exchange(sent, _from_november(answer)) for sent, answer in generation.exchanges]
    return generation._replace(name=name, exchanges=exchanges)


def _from_november(answer: Response) -> Response:
    headers = {name: NOVEMBER if value == JULY else value for name, value in answer.headers.items()}
    return Response(status=answer.status, headers=headers, body=answer.body)
