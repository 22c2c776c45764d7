"""Ask a sandbox things at chosen moments, and compare the shape of what it says."""

import json
from collections.abc import Mapping
from typing import Any

from capgo_async.sandbox import Dropped, Incoming, Sandbox, Settings, World, fleet
from capgo_async.sandbox.faults import Chance
from capgo_async.sandbox.seeding import EPOCH, SUPER_ADMIN_KEY

APP = "com.example.app01"


class Answer:
    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def code(self) -> str:
        code = self.json["error"]
        assert isinstance(code, str)
        return code

    @property
    def more(self) -> Any:
        return self.json["moreInfo"]


class Talk:
    """A caller with a clock of its own, beginning at the seeded present."""

    def __init__(self, world: World | None = None, settings: Settings | None = None, *, chance: Chance | None = None):
        self.sandbox = Sandbox(world or fleet(2, 20), settings)
        self.now = EPOCH
        self.chance = chance
        self.address = "127.0.0.1"
        self.key: str | None = SUPER_ADMIN_KEY

    def incoming(
        self,
        method: str,
        path: str,
        query: Mapping[str, str] | None = None,
        *,
        json_body: Any = ...,
        body: bytes = b"",
        headers: Mapping[str, str] | None = None,
    ) -> Incoming:
        own = {} if self.key is None else {"capgkey": self.key}
        return Incoming(
            method=method,
            path=path,
            query=tuple((query or {}).items()),
            headers=own if headers is None else headers,
            body=body if json_body is ... else json.dumps(json_body).encode(),
            address=self.address,
        )

    def hear(self, request: Incoming) -> Answer | Dropped:
        arrival = self.sandbox.arrive(request, self.now, self.chance)
        outcome = self.sandbox.answer(arrival, self.now)
        return outcome if isinstance(outcome, Dropped) else Answer(outcome.status, outcome.headers, outcome.body)

    def ask(self, method: str, path: str, query: Mapping[str, str] | None = None, **more: Any) -> Answer:
        heard = self.hear(self.incoming(method, path, query, **more))
        assert isinstance(heard, Answer)
        return heard

    def get(self, path: str, **query: str) -> Answer:
        return self.ask("GET", path, query)

    def link(self, device_id: Any, channel: Any = "beta", app_id: str = APP) -> Answer:
        return self.ask("POST", "/device", json_body={"app_id": app_id, "device_id": device_id, "channel": channel})


def kind(value: object) -> object:
    """Describe a value by its keys and types; numbers, whole or not, are one type."""
    if isinstance(value, dict):
        return {name: kind(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [kind(value[0])] if value else []
    if isinstance(value, bool) or value is None:
        return str(value if value is None else "bool")
    return "number" if isinstance(value, int | float) else type(value).__name__
