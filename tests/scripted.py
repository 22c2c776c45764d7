"""A transport with scripted responses: the double for everything above HTTP."""

import json
from collections.abc import Callable, Mapping
from typing import Any

import anyio

from capgo_async.events import AttemptEnded, Event
from capgo_async.http.wire import Request, Response

Answer = Response | Exception


def answer(status: int = 200, body: object = None, **headers: str) -> Response:
    """Return a response with a JSON body; header names are written with underscores."""
    raw = json.dumps({"status": "ok"} if body is None else body).encode()
    return Response(status=status, headers={name.replace("_", "-"): value for name, value in headers.items()}, body=raw)


def refusal(reason: str | None = None, *, retry_after: int | None = 60, **more: Any) -> Response:
    """Return a 429 as the server sends it (contract B3)."""
    details = {**({"reason": reason} if reason else {}), **more}
    headers = {} if retry_after is None else {"retry_after": str(retry_after)}
    return answer(429, {"error": "too_many_requests", "message": "Too many requests", "moreInfo": details}, **headers)


class Attempts(list[AttemptEnded]):
    """A listener that collects the attempts that ended."""

    def __call__(self, event: Event) -> None:
        if isinstance(event, AttemptEnded):
            self.append(event)


class ScriptedTransport:
    """Returns the responses of a script in order, then always `last`, and records every request."""

    def __init__(self, *script: Answer, last: Answer | Callable[[Request], Answer] | None = None, latency: float = 0.0) -> None:
        self.script = list(script)
        self.last = last or answer()
        self.latency = latency
        self.requests: list[Request] = []
        self.headers: list[Mapping[str, str]] = []
        self.fresh: list[bool] = []
        self.times: list[float] = []
        self.in_flight = 0
        self.most_in_flight = 0

    async def send(self, request: Request, headers: Mapping[str, str], *, fresh: bool = False) -> Response:
        self.fresh.append(fresh)
        self.requests.append(request)
        self.headers.append(dict(headers))
        self.times.append(anyio.current_time())
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            await anyio.sleep(self.latency)
            found = self.script.pop(0) if self.script else self.last
            found = found(request) if callable(found) else found
            if isinstance(found, Exception):
                raise found
            return found
        finally:
            self.in_flight -= 1

    async def aclose(self) -> None:
        pass
