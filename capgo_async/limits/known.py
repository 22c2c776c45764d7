"""What clients learned about a server and a key: values that outlive the client."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Annotated, Final

import msgspec
from msgspec import Meta

from .models import ScopeKind
from .timing import Timing

Moment = Annotated[datetime, Meta(tz=True)]

LASTING: Final = timedelta(days=7)
"""How long knowledge is kept: servers are reconfigured."""
_LEARNED_AT: Final = {
    "version_told_at": ("server_version",),
    "latency_seen_at": ("latency",),
    "page_found_at": ("page", "page_loses"),
    "timed_at": ("timings",),
}
"""The values of `Known` that were learned together, by the field that has the time."""
_ENOUGH: Final = 20
"""Responses that a new latency needs before it replaces a known one."""
_MOST_SAMPLES: Final = 1024


class KnownLimit(msgspec.Struct, frozen=True, kw_only=True):
    """A limit: the number of requests that passed before a refusal.

    It is `certain` once two periods ended at that number.
    """

    scope: ScopeKind
    requests: Annotated[int, Meta(ge=1)]
    learned_at: Moment
    certain: bool = True


class Latency(msgspec.Struct, frozen=True, kw_only=True):
    """Latency in seconds, from request to response.

    Half of the responses took no longer than `median`, and 19 of 20 no longer than `high`.
    """

    median: float
    high: float
    answers: int


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is known about one server and one key; `None` stands for unknown.

    `timings` is how long each kind of request takes. `page` is the largest page of devices that kept `channel`, and
    `page_loses` the smallest page that lost it (contract C7). `others_noticed_at` is the last time that another user of the
    key was noticed. A value without the time at which it was learned is dropped.
    """

    server_version: str | None = None
    version_told_at: Moment | None = None
    latency: Latency | None = None
    latency_seen_at: Moment | None = None
    timings: dict[str, Timing] | None = None
    timed_at: Moment | None = None
    page: Annotated[int, Meta(ge=1)] | None = None
    page_loses: Annotated[int, Meta(ge=1)] | None = None
    page_found_at: Moment | None = None
    limits: tuple[KnownLimit, ...] = ()
    others_noticed_at: Moment | None = None
    updated_at: Moment | None = None


class Latencies:
    """Estimate latency from evenly spread samples, in bounded memory."""

    def __init__(self) -> None:
        self._samples: list[float] = []
        self._answers = 0
        self._every = 1

    def note(self, seconds: float) -> None:
        self._answers += 1
        if self._answers % self._every:
            return
        self._samples.append(seconds)
        if len(self._samples) >= _MOST_SAMPLES:
            del self._samples[::2]
            self._every *= 2

    def estimate(self) -> Latency | None:
        if not self._samples:
            return None
        ranked = sorted(self._samples)
        return Latency(median=ranked[len(ranked) // 2], high=ranked[len(ranked) * 19 // 20], answers=self._answers)


def with_newer(known: Known, other: Known) -> Known:
    """Return `known` with the version, latency and page of `other` if those are newer."""
    for moment, values in _LEARNED_AT.items():
        before, now = getattr(known, moment), getattr(other, moment)
        if now is not None and (before is None or now > before):
            known = msgspec.structs.replace(known, **{name: getattr(other, name) for name in (moment, *values)})
    return known


def lasting(known: Known, now: datetime) -> Known:
    """Return `known` without what is too old."""

    def lasts(moment: datetime | None) -> bool:
        return moment is not None and now - moment < LASTING

    for moment, values in _LEARNED_AT.items():
        if not lasts(getattr(known, moment)):
            known = msgspec.structs.replace(known, **dict.fromkeys((moment, *values)))
    return msgspec.structs.replace(
        known,
        limits=tuple(limit for limit in known.limits if lasts(limit.learned_at)),
        others_noticed_at=known.others_noticed_at if lasts(known.others_noticed_at) else None,
    )


def with_version(known: Known, version: tuple[int, int, int] | None, now: datetime) -> Known:
    """Return `known` with the version that the server reports now, if it reports one."""
    if version is None:
        return known
    return msgspec.structs.replace(known, server_version=".".join(map(str, version)), version_told_at=now)


def with_lessons(known: Known, lessons: Mapping[ScopeKind, int | None], now: datetime) -> Known:
    """Return `known` with the limits that a pacer learned; `None` stands for one that proved too small."""
    limits = {limit.scope: limit for limit in known.limits}
    for scope, requests in lessons.items():
        before = limits.pop(scope, None)
        if requests is None:
            continue
        same = before is not None and before.certain and before.requests == requests
        learned_at = before.learned_at if before is not None and same else now
        limits[scope] = KnownLimit(scope=scope, requests=requests, learned_at=learned_at)
    return msgspec.structs.replace(known, limits=tuple(limits.values()))


def with_refusal(known: Known, scope: ScopeKind, passed: int, now: datetime) -> Known:
    """Return `known` with the limit that one refusal after `passed` requests suggests.

    It is certain if an earlier refusal suggested the same. A refusal of the first request suggests nothing. A limit that is
    already certain stays.
    """
    limits = {limit.scope: limit for limit in known.limits}
    before = limits.get(scope)
    if not passed or (before is not None and before.certain):
        return known
    certain = before is not None and before.requests == passed
    limits[scope] = KnownLimit(scope=scope, requests=passed, learned_at=now, certain=certain)
    return msgspec.structs.replace(known, limits=tuple(limits.values()))


def with_latency(known: Known, latency: Latency | None, now: datetime) -> Known:
    """Return `known` with a new latency, if it rests on enough responses or none was known."""
    if latency is None or (known.latency is not None and latency.answers < _ENOUGH):
        return known
    return msgspec.structs.replace(known, latency=latency, latency_seen_at=now)
