"""A server that loses the channels of devices on large pages (contract C7)."""

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from capgo_async.http.wire import Request, Response
from capgo_async.sandbox import Sandbox
from capgo_async.sandbox.inprocess import InProcessTransport


class Forgetful(InProcessTransport):
    """A server that loses the channels of devices on pages of more than `keeps` devices.

    `asked` has the page sizes of all requests.
    """

    def __init__(self, sandbox: Sandbox, keeps: int = 350, *, request_delay: float = 0.02, reply_delay: float = 0.02) -> None:
        super().__init__(sandbox, request_delay=request_delay, reply_delay=reply_delay)
        self.keeps = keeps
        self.asked: list[int] = []

    async def send(self, request: Request, headers: Mapping[str, str], *, fresh: bool = False) -> Response:
        response = await super().send(request, headers, fresh=fresh)
        limit = int(dict(request.query).get("limit", "0")) if request.path == "/device" else 0
        self.asked += [limit] if limit else []
        if limit <= self.keeps:
            return response
        body: dict[str, Any] = json.loads(response.body)
        for device in body.get("data", ()):
            device.pop("channel", None)
        return msgspec.structs.replace(response, body=json.dumps(body).encode())
