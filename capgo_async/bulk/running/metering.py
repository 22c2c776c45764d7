"""Measures a run's use of the server's limits, and carries it over to the pacer of the next process."""

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Final, Self

import anyio

from ...client import requester_of
from ...events import Event, LimitInForce, OperationsSettled
from ...http.options import CallOptions
from ...http.wire import server_version
from ...key_ring import KeyRing, pacer_of
from ...limits.gates import ScopeUsage
from ...limits.models import BOUNDLESS, TARGET_KINDS, Limit, Scope, ScopeKind, allowance
from ..clock import Clock
from ..forecast.outlook import holding
from ..jobfile.facts import LastUsage
from ..jobfile.records import Measures
from ..operations.kinds import KINDS
from ..operations.operations import LinkDevice, Operation, RenewDevice, UnlinkDevice, change_of
from ..operations.results import Failed, Settled
from ..timeline import KEPT
from .collecting import Collector
from .execution import calls_of

_LONGEST: Final = 80
"""Characters kept of a server's name if it tells no version."""
_LOOKS: Final = 2
"""Factor for operations that read their target: they may read it again after each request."""


class Meter:
    """Listens to what `client` does within its block, for the record of a run and the timeline of the job.

    Keys get their names in the job file from `salt`.
    """

    def __init__(self, client: KeyRing, salt: bytes, clock: Clock) -> None:
        self._client = client
        self._clock = clock
        self._started = anyio.current_time()
        self._collector = Collector(clock().timestamp() - self._started)
        self._heard_before = dict(_heard(client))
        self._keys = _stored_keys(client, salt)

    def __enter__(self) -> Self:
        pacer_of(self._client).listeners.add(self._collector.ended, "ended")
        pacer_of(self._client).listeners.add(self._hear, "other")
        return self

    def __exit__(self, *_exception: object) -> None:
        pacer_of(self._client).listeners.remove(self._collector.ended)
        pacer_of(self._client).listeners.remove(self._hear)

    @property
    def has_moments(self) -> bool:
        """Return whether something happened that is to be recorded soon."""
        return self._collector.has_moments

    def __call__(self, settled: Sequence[Settled] = ()) -> Measures:
        """Return what was used so far, and what happened since the last call, with the outcomes of operations."""
        now, used = self._clock(), pacer_of(self._client).gates.usage(anyio.current_time())
        collector = self._collector
        for app_id, (done, failed) in _by_app(settled).items():
            collector.settled(now.timestamp(), app_id, done=done, failed=failed)
            pacer_of(self._client).listeners.announce(OperationsSettled(app=app_id, done=done, failed=failed))
        # The machine may have slept since the last call.
        collector.epoch = now.timestamp() - anyio.current_time()
        buckets, moments = collector.take()
        usage = tuple(ScopeUsage(self._keys.get(each.scope, each.scope), each.used, each.age) for each in used)
        return Measures(
            at=now.isoformat(),
            elapsed_seconds=anyio.current_time() - self._started,
            requests=collector.requests,
            retries=collector.retries,
            rate_limited=collector.refused.total(),
            timings=pacer_of(self._client).timings.known(),
            last=LastUsage(now.isoformat(), _name_of(self._client), usage),
            limits_met=dict(collector.refused),
            servers=self._servers(),
            buckets=tuple(buckets),
            moments=tuple(moments),
        )

    def _hear(self, event: Event) -> None:
        if type(event) in KEPT:
            self._collector.happened(self._clock().timestamp(), event)

    def _servers(self) -> tuple[str, ...]:
        """Return the server versions that responses named, without repeats.

        A server that tells no version is listed by its name.
        """
        heard = (name for name, answers in _heard(self._client).items() if answers > self._heard_before.get(name, 0))
        versions = ((name, server_version(name)) for name in heard)
        return tuple(dict.fromkeys(".".join(map(str, version)) if version else name[:_LONGEST] for name, version in versions))


def _by_app(settled: Sequence[Settled]) -> Mapping[str, tuple[int, int]]:
    """Return how many operations of each app are done and failed."""
    found: Counter[tuple[str, bool]] = Counter((each.app_id, isinstance(each.result, Failed)) for each in settled)
    return {app_id: (found[app_id, False], found[app_id, True]) for app_id, _ in found}


def limits_in_force(client: KeyRing, apps: Iterable[str]) -> list[LimitInForce]:
    """Return the limits that requests for `apps` keep to now: of each of their keys, and of each app.

    Smaller ones that were learned before count. Limits of single targets do not bound how much a run sends.
    """
    gates = pacer_of(client).gates
    keys = {requester_of(client.client_of(app_id)).key_scope for app_id in apps}
    lessons = {key[1]: gates.lessons.limits(key) for key in sorted(keys)}
    found = (
        LimitInForce(
            limit=limit.scope,
            key=key if limit.scope is ScopeKind.KEY else "",
            requests=min(allowance(limit.limiter), learned.get(limit.scope) or BOUNDLESS),
            seconds=limit.limiter.window,
        )
        for limit in gates.limits
        for key, learned in lessons.items()
        if limit.scope not in TARGET_KINDS
    )
    fallbacks = (gates.lessons.fallback(key) for key in sorted(keys))
    return [*dict.fromkeys(found), *(each for each in fallbacks if each is not None)]


def carried_over(client: KeyRing, salt: bytes, last: LastUsage | None, clock: Clock) -> list[ScopeUsage]:
    """Return what the previous process used of the limits.

    If that process was killed, this is the most that it may have used.
    """
    if last is None or last.client == _name_of(client):
        return []
    age = max(0.0, (clock() - datetime.fromisoformat(last.at)).total_seconds())
    present = {stored: scope for scope, stored in _stored_keys(client, salt).items()}
    usage = {present.get(entry.scope, entry.scope): entry for entry in last.usage}
    if not last.uncounted:
        return [ScopeUsage(scope, entry.used, entry.age + age) for scope, entry in usage.items()]
    uncounted: Counter[Scope] = Counter()
    for operation in last.uncounted:
        requester = requester_of(client.client_of(operation.app_id))
        uncounted.update(_all_attempts(operation, requester.key_scope, requester.options.retries))
    scopes = {**dict.fromkeys(usage), **dict.fromkeys(uncounted)}
    return [ScopeUsage(scope, (usage[scope].used if scope in usage else 0) + uncounted.get(scope, 0), 0.0) for scope in scopes]


def left_in_doubt_for(last: LastUsage | None, limits: Sequence[Limit]) -> float:
    """Return for how many seconds limits of targets may hold back what a killed run left in doubt."""
    used: Counter[Scope] = Counter()
    for operation in () if last is None else last.uncounted:
        used.update(_all_attempts(operation, (ScopeKind.KEY,), CallOptions().retries))
    usage = [ScopeUsage(scope, times, 0.0) for scope, times in used.items() if scope[0] in TARGET_KINDS]
    return max(holding(limits, usage), default=-math.inf)


def _all_attempts(operation: Operation, key: Scope, retries: int) -> dict[Scope, int]:
    """Return what `operation` has used if a killed process made all its attempts just before."""
    return {scope: times * (1 + retries) for scope, times in _worst(operation, key).items()}


def _stored_keys(client: KeyRing, salt: bytes) -> dict[Scope, Scope]:
    """Return the name in the job file for the scope of each key. Scopes differ between processes."""
    return {each.key_scope: (ScopeKind.KEY, each.identity.fingerprint(salt)[:16]) for each in map(requester_of, client.clients)}


def _worst(operation: Operation, key: Scope) -> dict[Scope, int]:
    """Return the most calls of `operation` that each scope may have counted, without retries."""
    if not isinstance(operation, LinkDevice | UnlinkDevice | RenewDevice):
        return {key: _LOOKS * len(KINDS[change_of(operation).kind].requests)}
    counted = Counter(scope for call in calls_of(operation) for scope in (*call.scopes, key))
    # A renewal first reads the device.
    counted[key] += isinstance(operation, RenewDevice)
    return dict(counted)


def _heard(client: KeyRing) -> Mapping[str, int]:
    return requester_of(client.clients[0]).generation.heard


def _name_of(client: KeyRing) -> str:
    """Return the name that distinguishes this client from those of other processes."""
    return requester_of(client.clients[0]).identity.name
