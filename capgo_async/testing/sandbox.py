"""A sandbox in the process of a test: it records what it was sent, and fails when it is told to."""

import random
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, Final, NamedTuple

import msgspec

from ..client import CapgoClient
from ..sandbox import (
    Arrival,
    Chance,
    Dropped,
    Incoming,
    Refusal,
    Reply,
    Sandbox,
    Settings,
    Thresholds,
    World,
    fleet,
    parse_faults,
    thresholds,
)
from ..sandbox.faults import Faults, Outcome, Rule
from ..sandbox.inprocess import InProcessTransport
from ..sandbox.parameters import body_only, query_only
from ..sandbox.routes.table import match
from ..sandbox.seeding import SUPER_ADMIN_KEY
from ..sandbox.server import serve_from_thread
from .clock import VirtualClock

_SECRETS: Final = frozenset({"authorization", "capgkey"})
_METHODS: Final = ("GET", "POST", "PUT", "DELETE")
_NOWHERE: Final = "https://sandbox.test"
"""Address of a client without sockets; nobody has this name (RFC 6761)."""


class Crash(BaseException):
    """Raised in place of a response within `CapgoSandbox.crash`; no `except Exception` catches it."""


class Received(msgspec.Struct, kw_only=True):
    """A request that a sandbox has received, and what came of it.

    `route` is the method and the path of the route, such as `GET /app/:app_id`; `path` is as sent. `body` is decoded JSON.
    `headers` have lower-case names and lack the API key. `at` is in seconds since the sandbox was made. `status` is that of the
    response: `None` until it is sent, 0 if the connection was dropped. `fault` is the outcome of an injected fault.
    """

    route: str
    path: str
    query: dict[str, str]
    body: Any
    headers: dict[str, str]
    at: float
    status: int | None = None
    fault: str | None = None


class Server(NamedTuple):
    """Where a sandbox is served, and a key of it."""

    base_url: str
    api_key: str

    @property
    def environment(self) -> dict[str, str]:
        """Return the variables that lead a program to this server."""
        return {"CAPGO_BASE_URL": self.base_url, "CAPGO_API_KEY": self.api_key}

    def client(self, **options: Any) -> CapgoClient:
        """Return a client of this server; `options` are those of `CapgoClient`. Close it after use."""
        return CapgoClient(**{"base_url": self.base_url, "api_key": self.api_key, **options})


class CapgoSandbox(Sandbox):
    """A server in the process of a test.

    It has `apps` apps that share `devices` devices, named as `fleet` says: `com.example.app01` with the channels `production`,
    `beta` and `alpha`. A `world` of your own replaces them; pass a key of it to `client`. `limits` is `off`, `server`,
    `published` or `Thresholds`. `faults` has the form of `parse_faults`: `POST /device:502=#3` fails the third. The same `seed`
    gives the same faults where they are random. Further `settings` are those of `Settings`, such as `generation`.

    With `clock`, requests outside its virtual time raise `RuntimeError`.
    """

    def __init__(  # noqa: PLR0913 - what a test may choose, each with a default
        self,
        *,
        apps: int = 1,
        devices: int = 100,
        limits: str | Thresholds = "off",
        faults: str = "",
        world: World | None = None,
        seed: int = 0,
        clock: VirtualClock | None = None,
        **settings: Any,
    ) -> None:
        began = time.time()
        chosen = thresholds(limits) if isinstance(limits, str) else limits
        super().__init__(
            world or fleet(apps=apps, devices=devices, now=began),
            Settings(limits=chosen, faults=parse_faults(faults), **settings),
        )
        self.requests: list[Received] = []
        """What was received so far, in order of arrival."""
        self.api_key = SUPER_ADMIN_KEY
        """A key that may do everything."""
        self._began = began
        self._offset = began - (time.monotonic() if clock is None else clock.began)
        self._clock = clock
        self._seed = seed
        self._unanswered: dict[int, Received] = {}
        self._crashes = Faults(())

    @property
    def app_id(self) -> str:
        """Return the id of the first app."""
        return next(iter(self.world.apps))

    def device_ids(self, app_id: str | None = None) -> list[str]:
        """Return the ids of the devices of an app, by default of the first."""
        return sorted(self.world.apps[app_id or self.app_id].devices)

    def links(self, app_id: str | None = None) -> dict[str, str]:
        """Return the channel of each linked device of an app, by default of the first."""
        overrides: Mapping[str, Any] = self.world.apps[app_id or self.app_id].overrides
        return {device_id: override.channel.name for device_id, override in overrides.items()}

    def client(self, *, delay: float = 0.0, **options: Any) -> CapgoClient:
        """Return a client without sockets, which needs not be closed; `options` are those of `CapgoClient`.

        A client of a sandbox without limits keeps none either. Requests and responses take `delay` seconds each.
        """
        chance = random.Random(self._seed)  # noqa: S311 - faults and the spread of retries, no secrets
        transport = InProcessTransport(self, request_delay=delay, reply_delay=delay, chance=chance, epoch_offset=self._offset)
        given = {
            "api_key": self.api_key,
            "base_url": _NOWHERE,
            "rate": "off" if self.settings.limits == Thresholds() else "auto",
            "transport": transport,
            "chance": chance.random,
        }
        return CapgoClient(**{**given, **options})

    @contextmanager
    def served(self) -> Iterator[Server]:
        """Serve the sandbox on a free port of this machine, from a thread and in real time.

        Raises `RuntimeError` if the sandbox has a virtual clock.
        """
        if self._clock is not None:
            message = (
                "a server is reached in real time: leave out its clock (capgo_clock), or use its client without sockets (capgo)"
            )
            raise RuntimeError(message)
        with serve_from_thread(self, seed=self._seed) as serving:
            yield Server(serving.base_url, self.api_key)

    def fail_next(self, outcome: Outcome, route: str = "*", *, after: int = 0, times: int | None = 1) -> None:
        """Let the next `times` calls of a route fail, or all with `None`, once `after` more have passed.

        Outcomes are those of `Outcome`, such as `503`, `drop-after` or `429-edge`; routes are written as `POST /device`. Raises
        `ValueError` if one of them is unknown.
        """
        self.faults.add(_rule(route, outcome, after, times))

    @contextmanager
    def crash(self, route: str = "*", *, after: int = 0) -> Iterator[None]:
        """Let the program crash in a call of a route, after `after` more of them, and end the block there.

        The server makes the change, and the caller gets `Crash` in place of the response. Unlike after a kill, `finally` blocks
        run. Only clients without sockets crash. Raises `AssertionError` if the block ends without a crash.
        """
        self._crashes.add(_rule(route, "drop-after", after, 1))
        try:
            yield
        except BaseException as error:
            if not _is_crash(error):
                raise
        else:
            message = f"no crash: {route} was not called {after + 1} times"
            raise AssertionError(message)

    def recover(self) -> None:
        """Let nothing fail from now on."""
        self.faults = Faults(())
        self._crashes = Faults(())

    def arrive(self, request: Incoming, now: float, chance: Chance | None = None) -> Arrival:
        """Accept a request, and record it."""
        if self._clock is not None:
            self._clock.check()
        arrival = super().arrive(request, now, chance)
        if request.path.startswith("/_sandbox/"):
            return arrival
        received = Received(
            route=f"{request.method} {arrival.route.path}",
            path=request.path,
            query=query_only(request),
            body=None,
            headers={name: value for name, value in request.headers.items() if name not in _SECRETS},
            at=round(now - self._began, 3),
            fault=arrival.fault.outcome,
        )
        with suppress(Refusal):
            received.body = body_only(request)
        self.requests.append(received)
        self._unanswered[arrival.number] = received
        return arrival

    def answer(self, arrival: Arrival, now: float) -> Reply | Dropped:
        """Process a request, and record the status of the response."""
        reply = super().answer(arrival, now)
        received = self._unanswered.pop(arrival.number, None)
        if received is None:
            return reply
        received.status = reply.status if isinstance(reply, Reply) else 0
        if self._crashes.decide(arrival.request.method, arrival.route.path, None).outcome is not None:
            message = f"the sandbox lets the program crash in {received.route}"
            raise Crash(message)
        return reply


def _rule(route: str, outcome: str, after: int, times: int | None) -> Rule:
    """Return the rule that lets some calls of a route fail, counted from now."""
    if after < 0 or (times is not None and times < 1):
        message = f"after={after}, times={times}: expected 0 or more, and 1 or more"
        raise ValueError(message)
    calls = "+".join(f"#{after + n}" for n in range(1, 1 + times)) if times else f"#{after + 1}.."
    (rule,) = parse_faults(f"{route}:{outcome}={calls}")
    methods, path = (rule.method,) if rule.method else _METHODS, rule.path
    if path is not None and not any(_is_route(method, path) for method in methods):
        message = f"the server has no route {route!r}; routes are written as POST /device or GET /app/:app_id"
        raise ValueError(message)
    return rule


def _is_crash(error: BaseException) -> bool:
    return isinstance(error, Crash) or (isinstance(error, BaseExceptionGroup) and any(map(_is_crash, error.exceptions)))


def _is_route(method: str, path: str) -> bool:
    route, _ = match(method, path, seed=False)
    return route.kind != "missing" and route.path == path
