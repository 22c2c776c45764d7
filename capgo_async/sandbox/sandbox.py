"""The simulated server: a world behind limiters, faults and an access log (contract H)."""

import re
from collections import deque
from collections.abc import Mapping
from typing import Final

import msgspec
from msgspec.structs import replace

from . import authentication, faults, parameters
from .exchange import (
    Dropped,
    Incoming,
    Refusal,
    Reply,
    database_unavailable,
    date_header,
    error_reply,
    json_reply,
    success_reply,
    unknown_error,
    upstream_unavailable,
)
from .expiry import Expiry
from .faults import Chance, Fault, Faults
from .headers import FIXED, PREFLIGHT, database_source
from .inspection import AccessLine, inspect, shown_path
from .limiting import DeviceCall, Limiters
from .routes.call import Call
from .routes.devices import lowered
from .routes.table import Route, match
from .settings import Settings
from .state.access import Caller, Key, RightsUnreadable
from .state.world import World, uuid_like
from .timestamps import millis

_REQUEST_ID: Final = re.compile(r"[A-Za-z0-9_=-]{1,255}", re.ASCII)


class Arrival(msgspec.Struct, kw_only=True):
    """A request that has reached the server and is not answered yet."""

    request: Incoming
    number: int
    time: float
    route: Route
    path: Mapping[str, str]
    request_id: str
    fault: Fault = Fault()
    caller: Caller | None = None
    parameters: object = None
    device_call: DeviceCall | None = None  # set once the /device limiters have let it pass
    refusal: Refusal | None = None


class Sandbox:
    """One server. It works in two steps, so that concurrent requests behave as on the real one.

    `arrive` decides the fault and checks the limiters. `answer` handles the request, records it and writes the log. Between the
    two, the caller waits for `arrival.fault.latency` seconds. `faults` can be replaced at any time.
    """

    def __init__(self, world: World, settings: Settings | None = None) -> None:
        self.world = world
        self.settings = settings or Settings()
        self.log: deque[AccessLine] = deque(maxlen=self.settings.log_size)
        self.arrived = 0
        self.answered = 0
        self.limiters = Limiters(
            self.settings.limits, speed=self.settings.speed, same_set_seconds=self.settings.same_set_seconds
        )
        self.faults = Faults(self.settings.faults)
        self._expiry = Expiry(self.settings)

    def arrive(self, request: Incoming, now: float, chance: Chance | None = None) -> Arrival:
        """Accept a request: decide its fault, check key and limiters; random faults need `chance`."""
        self.arrived += 1
        self._expiry.pass_time(self.world, now)
        route, path = match(request.method, request.path, seed=self.settings.generation == "seed")
        arrival = Arrival(
            request=request,
            number=self.arrived,
            time=now,
            route=route,
            path=path,
            request_id=self._request_id(request),
        )
        if request.path.startswith("/_sandbox/"):
            return arrival
        arrival.fault = self.faults.decide(request.method, route.path, chance)
        unreadable: Refusal | None = None
        try:
            arrival.parameters = route.read(request)
        except Refusal as refusal:
            unreadable = refusal
        if arrival.fault.outcome not in faults.IN_FRONT and route.kind == "keyed":
            try:
                self._admit(arrival, unreadable, now)
            except Refusal as refusal:
                arrival.refusal = refusal
        return arrival

    def answer(self, arrival: Arrival, now: float) -> Reply | Dropped:
        inspected = inspect(arrival.request, self.world, self.log, self.answered)
        if inspected is not None:
            return json_reply(200, inspected, date_header(now))
        dated = date_header(now)
        headers = {**dated, **self._own_headers(arrival)}
        reply: Reply | Dropped = Dropped(processed=False)
        if arrival.fault.outcome not in faults.IN_FRONT:
            reply = self.handle(arrival, now, headers)
            if arrival.device_call is not None:
                self.limiters.record_device(arrival.device_call, millis(now))
        reply = faults.spoilt(arrival.fault.outcome, self.settings.generation, headers, dated) or reply
        if isinstance(reply, Reply) and arrival.request.method == "HEAD":
            reply = replace(reply, body=b"")
        self._write(arrival, reply, now)
        return reply

    def _admit(self, arrival: Arrival, unreadable: Refusal | None, now: float) -> None:
        """Run the checks in the server's order (contract B2.5); the first that fails raises."""
        moment = millis(now)
        request = arrival.request
        order = authentication.header_order(arrival.route.auth, arrival.route.path, seed=self.settings.generation == "seed")
        shown = authentication.credential(request, order)
        self.limiters.pass_edge(shown.secret, moment)
        self.limiters.check_lock_out(request.address, moment)
        lost = arrival.fault.outcome == "lost-keys" and shown.is_key
        if lost and self.settings.admits_lost_keys:
            raise database_unavailable()
        try:
            if lost:
                raise authentication.invalid_key()
            arrival.caller = authentication.authenticate(self.world, request, shown, order, now)
        except Refusal:
            self.limiters.count_failure(request.address, moment)
            raise
        if isinstance(arrival.caller, Key):
            self.limiters.count_request(arrival.caller.key_id, moment)
            arrival.caller = authentication.narrowed(self.world, arrival.caller, request, now)
        if unreadable is not None:
            raise unreadable
        call = _device_call(arrival)
        if call is not None:
            self.limiters.check_device(call, moment)
            arrival.device_call = call

    def handle(self, arrival: Arrival, now: float, headers: Mapping[str, str]) -> Reply:
        """Process a request; no fault has changed the response yet."""
        if arrival.route.kind == "preflight":
            return Reply(status=204, headers={**headers, **PREFLIGHT}, body=b"")
        try:
            return success_reply(self._payload(arrival, now), {**headers, **self._source(arrival, None)})
        except Refusal as refusal:
            return error_reply(refusal, self.settings.generation, {**headers, **self._source(arrival, refusal.code)})

    def _payload(self, arrival: Arrival, now: float) -> object:
        if arrival.refusal is not None:
            raise arrival.refusal
        outcome = arrival.fault.outcome
        if outcome == "500":
            raise unknown_error()
        if outcome == "503":
            raise upstream_unavailable()
        if arrival.route.kind == "missing":
            raise Refusal(404, "not_found", "Not found")
        seed = self.settings.generation == "seed"
        answer = arrival.route.seed_answer if seed and arrival.route.seed_answer else arrival.route.answer
        caller = arrival.caller
        if answer is None or caller is None:
            return {"status": "ok"}
        if outcome == "lost-rights":
            caller = replace(caller, rights="unreadable" if self.settings.admits_lost_rights else "denied")
        app = self.world.apps.get(_app_id(arrival) or "") if outcome == "unpaid" else None
        if app is not None:
            app.fall_behind(now)
        call = Call(
            world=self.world,
            settings=self.settings,
            now=now,
            number=arrival.number,
            path=arrival.path,
            parameters=arrival.parameters,
            caller=caller,
            request_id=arrival.request_id,
            masked=outcome == "masked" or not self.world.device_store_readable,
        )
        try:
            return answer(call)
        except RightsUnreadable as error:
            raise upstream_unavailable({"permission": error.permission, "scope": error.scope}) from error
        except Refusal as refusal:
            refusal.seed_body = arrival.route.seed_body(refusal) if arrival.route.seed_body else None
            raise

    def _request_id(self, request: Incoming) -> str:
        sent = request.headers.get("x-request-id", "")
        return sent if _REQUEST_ID.fullmatch(sent) else uuid_like("request", self.arrived)

    def _own_headers(self, arrival: Arrival) -> dict[str, str]:
        if self.settings.generation == "seed":
            return {}
        return {"x-worker-source": self.settings.worker_source, "x-request-id": arrival.request_id, **FIXED}

    def _source(self, arrival: Arrival, code: str | None) -> Mapping[str, str]:
        if self.settings.generation == "seed" or arrival.caller is None or code in {"too_many_requests", "invalid_subkey"}:
            return {}
        route = arrival.route
        return database_source(route.method, route.path, code, arrival.parameters)

    def _write(self, arrival: Arrival, reply: Reply | Dropped, now: float) -> None:
        self.answered += 1
        self.log.append(
            AccessLine(
                time=arrival.time,
                answered=now,
                key=arrival.caller.key_id if isinstance(arrival.caller, Key) else None,
                method=arrival.request.method,
                path=shown_path(arrival.request.path),
                target=_target(arrival),
                status=reply.status if isinstance(reply, Reply) else 0,
                fault=arrival.fault.outcome,
                request_id=arrival.request_id,
            )
        )


def _device_call(arrival: Arrival) -> DeviceCall | None:
    """Return what the `/device` limiters count by; without an app id there is nothing."""
    operation = arrival.route.operation
    app_id, device_id, channel = (parameters.field(arrival.parameters, name) for name in ("app_id", "device_id", "channel"))
    if operation is None or not isinstance(app_id, str) or not app_id:
        return None
    if parameters.truthy(device_id):
        device_id = str(device_id) if operation == "get" else lowered(device_id)
    return DeviceCall(
        operation=operation,
        address=arrival.request.address,
        app_id=app_id,
        device_id=device_id if isinstance(device_id, str) and device_id else None,
        channel=channel if operation == "set" and isinstance(channel, str) and channel else None,
    )


def _app_id(arrival: Arrival) -> str | None:
    app_id = arrival.path.get("app_id") or parameters.field(arrival.parameters, "app_id")
    return app_id if isinstance(app_id, str) else None


def _target(arrival: Arrival) -> str:
    app_id = _app_id(arrival)
    if app_id is None:
        return ""
    name = "device_id" if arrival.route.path == "/device" else "channel"
    within = parameters.field(arrival.parameters, name)
    return f"{app_id}/{within}" if isinstance(within, str) and within else app_id
