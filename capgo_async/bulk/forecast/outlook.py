"""Outlooks for forecasts: what the requests of a job will meet, as far as the client knows."""

import math
from collections.abc import Iterable, Iterator, Sequence

import anyio

from ...client import requester_of
from ...key_ring import KeyRing, pacer_of
from ...limits.gates import ScopeUsage
from ...limits.models import TARGET_KINDS, Limit, Scope, ScopeKind, held_for
from ...limits.timing import usual
from .forecast import Leg
from .line import Outlook


def outlook_of(client: KeyRing, legs: Iterable[Leg], carried: Sequence[ScopeUsage] = ()) -> Outlook:
    """Return the outlook of `client`, together with what an earlier process `carried` over."""
    apps = {share.app_id for leg in legs for share in (*leg.shares, *leg.looks)}
    keys = {app_id: requester_of(client.client_of(app_id)).key_scope for app_id in apps}
    pacer = pacer_of(client)
    now, timings = anyio.current_time(), pacer.timings.known()
    scopes: set[Scope] = {*keys.values(), *((ScopeKind.APP_ADDRESS, app_id) for app_id in apps)}
    return Outlook(
        limits=pacer.gates.limits,
        concurrency=pacer.concurrency,
        latency=usual(timings),
        keys={app_id: scope[1] for app_id, scope in keys.items()},
        windows={scope: pacer.gates.windows_ahead(scope, now) for scope in scopes},
        used=carried,
        held_up_for=max(holding(pacer.gates.limits, carried), default=-math.inf),
        timings=timings,
    )


def holding(limits: Iterable[Limit], carried: Iterable[ScopeUsage]) -> Iterator[float]:
    """Yield the seconds until usage that was carried over no longer counts against its target."""
    limiters = {limit.scope: limit.limiter for limit in limits if limit.scope in TARGET_KINDS}
    for usage in carried:
        limiter = limiters.get(ScopeKind(usage.scope[0]))
        if limiter is not None and usage.used >= limiter.requests:
            yield held_for(limiter) - usage.age
