"""How long the rest of a job takes: its requests sent in bursts through models of the limits, by counts and not one by one.

Requests of one latency leave in rounds of as many as may be in flight. A burst is all the rounds until a limit is full; then
everything waits for that limit, because operations are sent in their order. What only repeats itself is passed over.
"""

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from ..limits import Limit, Scope, ScopeKind
from ..pacing import Usage
from .bursts import FEW, Fixed, Model, Sliding, model_of
from .kinds import KINDS, Apart

DEFAULT_LATENCY: Final = 0.1
"""Seconds from a request to its answer, where nobody saw one."""
_ALIKE: Final = 0.02
"""Mixtures are alike when no share differs by more."""
_LONG: Final = 20
"""A stretch is long that would fill a limit so often."""
_GRAIN: Final = 128
"""A burst is remembered in so many parts at most."""


_APPS_AT_ONCE: Final = 8
_CURSORS: Final = 8
"""Places at which a large app is read, half of that beside others."""
_IN_TURN: Final = 9
"""Pages of an app that are read one after the other, before and while it is divided."""


class Share(NamedTuple):
    """Operations of one app, or organization, alike in what they cost: requests for each, and which limits count those.

    `apart`: they are done one after the other.
    """

    app_id: str
    operations: int
    each: int = 1
    limits: tuple[ScopeKind, ...] = (ScopeKind.KEY,)
    apart: bool = False

    @property
    def requests(self) -> int:
        """Return how many requests they take."""
        return self.operations * self.each


class Leg(NamedTuple):
    """A wave, or all of a job without waves: `stretches` of operations, one after the other, each mixed evenly.

    Behind them `looks` are sent to verify, several apps at once, and `rest` is the bake.
    """

    stretches: Sequence[Sequence[Share]]
    looks: Sequence[Share] = ()
    rest: float = 0.0


class Outlook(NamedTuple):
    """What the requests of a job meet.

    `latency` is in seconds, and `keys` name the key of each app; apps without one share theirs. At the start `counting` counts
    against the limits of each scope, in how many seconds it is forgotten and how much, and `used` what another process told.
    """

    limits: Sequence[Limit]
    concurrency: int
    latency: float
    keys: Mapping[str, str] = {}
    counting: Mapping[Scope, Sequence[Sequence[tuple[float, int]]]] = {}
    used: Sequence[Usage] = ()


def seconds_of(legs: Iterable[Leg], outlook: Outlook) -> float:
    """Return how many seconds pass until the last answer, when all goes well."""
    line = _Line(outlook)
    for leg in legs:
        for stretch in leg.stretches:
            line.send(stretch, _lanes(stretch, outlook.concurrency))
        line.settle()
        if leg.looks:
            line.send(leg.looks, _readers(leg.looks, outlook.concurrency))
            line.settle()
        line.rest(leg.rest)
    return line.now


def _readers(looks: Sequence[Share], concurrency: int) -> int:
    """Return how many pages are read at once on average: apps side by side, a large one at several places (`spreading`)."""
    cursors = min(_CURSORS, concurrency, max(concurrency // len(looks), _CURSORS // 2))
    pages = [look.requests for look in looks]
    rounds = max(min(each, _IN_TURN) + math.ceil(max(0, each - _IN_TURN) / cursors) for each in pages)
    return max(1, min(_APPS_AT_ONCE * cursors, concurrency, round(sum(pages) / max(1, rounds))))


def without_first(legs: Iterable[Leg], settled: int, baking: float | None = None) -> list[Leg]:
    """Return what is left of `legs` once so many operations are settled; of a bake under way `baking` seconds."""
    left: list[Leg] = []
    ending: Leg | None = None
    for leg in legs:
        operations = sum(share.operations for stretch in leg.stretches for share in stretch)
        if settled >= operations:
            # Whether it is verified and has baked shows once the next begins.
            ending = leg._replace(stretches=()) if baking is None else Leg((), (), baking)
        else:
            ending = None if settled else ending
            left.append(leg._replace(stretches=_behind(leg.stretches, settled)))
        settled = max(0, settled - operations)
    return [ending, *left] if ending is not None else left


def _behind(stretches: Iterable[Sequence[Share]], settled: int) -> list[list[Share]]:
    left = []
    for stretch in stretches:
        operations = sum(share.operations for share in stretch)
        gone = min(1.0, settled / operations)
        settled = max(0, settled - operations)
        rest = (share._replace(operations=share.operations - round(share.operations * gone)) for share in stretch)
        left.append([share for share in rest if share.operations])
    return [stretch for stretch in left if stretch]


def share_of(app_id: str, kind: str, operations: int) -> Share:
    """Return what operations of one kind cost."""
    of_kind = KINDS[kind]
    return Share(app_id, operations, len(of_kind.requests), of_kind.limits, of_kind.apart is Apart.REMOVALS)


def merged(stretches: Iterable[Sequence[Share]]) -> list[list[Share]]:
    """Return stretches in which neighbours of about the same mixture are one."""
    found: list[list[Share]] = []
    for stretch in stretches:
        if found and _are_alike(found[-1], stretch):
            both = zip(found[-1], sorted(stretch), strict=True)
            found[-1] = [one._replace(operations=one.operations + other.operations) for one, other in both]
        else:
            found.append(sorted(stretch))
    return found


def _are_alike(one: Sequence[Share], other: Sequence[Share]) -> bool:
    if [share._replace(operations=0) for share in one] != [share._replace(operations=0) for share in sorted(other)]:
        return False
    whole, part = (sum(share.operations for share in stretch) for stretch in (one, other))
    both = zip(one, sorted(other), strict=True)
    differing = (abs(first.operations / whole - second.operations / part) for first, second in both)
    return max(differing) < _ALIKE


def _lanes(stretch: Sequence[Share], concurrency: int) -> int:
    """Return how many requests are in flight at most: what must not run beside itself runs once for each app."""
    if all(share.apart for share in stretch):
        return min(concurrency, len({share.app_id for share in stretch}))
    return concurrency


class _Line:
    """Requests that leave in rounds, with the models that they count in."""

    def __init__(self, outlook: Outlook) -> None:
        self._outlook = outlook
        self._latency = outlook.latency
        self._models: dict[tuple[str, str], list[Model]] = {}
        self._began = 0.0
        self._sent = 0
        self._lanes = outlook.concurrency

    @property
    def now(self) -> float:
        """Return when all that was sent is answered."""
        return self._began + math.ceil(self._sent / self._lanes) * self._latency

    def settle(self) -> None:
        """Wait for all answers."""
        self._began, self._sent = self.now, 0

    def rest(self, seconds: float) -> None:
        """Send nothing for so long."""
        self.settle()
        self._began += seconds

    def send(self, stretch: Sequence[Share], lanes: int) -> None:
        """Send the requests of a stretch, at most so many at a time."""
        if lanes != self._lanes:
            self.settle()
            self._lanes = lanes
        left = sum(share.requests for share in stretch)
        held = self._held(stretch, left)
        known: dict[tuple[object, ...], tuple[float, int]] = {}
        while left > 0:
            now = self._began + self._sent // lanes * self._latency
            burst = min((int(model.free(now) / share + FEW) for model, share in held), default=left)
            if burst >= 1:
                burst = min(burst, left)
                parts = self._parts(burst)
                for model, share in held:
                    model.sent(now, ((at, count * share) for at, count in parts))
                self._sent += burst
                left -= burst
            else:
                self._wait(max(model.frees_at() for model, share in held if int(model.free(now) / share + FEW) < 1))
                left -= self._skip(known, [model for model, _ in held], left)

    def _wait(self, until: float) -> None:
        """Wait for a limit; who still waits for an answer then goes on waiting."""
        still_out = self._sent % self._lanes if self.now > until + FEW else 0
        self._began, self._sent = until, still_out

    def _skip(self, known: dict[tuple[object, ...], tuple[float, int]], models: Sequence[Model], left: int) -> int:
        """Pass over what only repeats itself, and return how many requests that are."""
        state = (self._sent, *(model.since(self._began) for model in models))
        began, before = known.setdefault(state, (self._began, left))
        again = left // (before - left) - 1 if left < before else 0
        if again < 1:
            return 0
        later = again * (self._began - began)
        for model in models:
            model.shift(later)
        self._began += later
        known.clear()
        return again * (before - left)

    def _parts(self, burst: int) -> list[tuple[float, int]]:
        """Return when a burst is answered, as moments and counts."""
        first = self._sent // self._lanes
        last = (self._sent + burst - 1) // self._lanes
        step = math.ceil((last - first + 1) / _GRAIN)
        parts = []
        done = self._sent
        for round_ in range(first + step - 1, last + step, step):
            until = min(self._sent + burst, (round_ + 1) * self._lanes)
            at = self._began + (min(round_, last) + 1) * self._latency
            parts.append((at, until - done))
            done = until
        return parts

    def _held(self, stretch: Sequence[Share], total: int) -> list[tuple[Model, float]]:
        """Return the models that can hold a stretch up, each with its share of the requests."""
        keys: dict[tuple[str, str], int] = {}
        apps: dict[tuple[str, str], int] = {}
        for share in stretch:
            key = (ScopeKind.KEY, self._outlook.keys.get(share.app_id, ""))
            keys[key] = keys.get(key, 0) + share.requests
            if ScopeKind.APP_ADDRESS in share.limits:
                app = (ScopeKind.APP_ADDRESS, share.app_id)
                apps[app] = apps.get(app, 0) + share.requests
        of_keys = [(model, count / total) for scope, count in keys.items() for model in self._of(scope)]
        of_apps = [(model, count / total) for scope, count in apps.items() for model in self._of(scope)]
        kept = [(model, share) for model, share in of_keys if self._matters(model, share, (), total)]
        return [*kept, *((model, share) for model, share in of_apps if self._matters(model, share, of_keys, total))]

    def _matters(self, model: Model, share: float, of_keys: Sequence[tuple[Model, float]], total: int) -> bool:
        """Tell whether a model can hold a long stretch up, however fast the models of the keys let it go."""
        if not isinstance(model, Sliding) or total * share < _LONG * model.limit:
            return True
        # A request may count for a window and for what is held behind it.
        seconds = model.held * (2 if isinstance(model, Fixed) else 1) + self._latency
        fastest = self._lanes * (seconds / self._latency + 1) if self._latency else math.inf
        most = min([fastest, *(key.most_within(seconds) / of_key for key, of_key in of_keys)])
        return most * share >= model.limit

    def _of(self, scope: tuple[str, str]) -> list[Model]:
        """Return the models of a scope, with what was used of it before."""
        found = self._models.get(scope)
        if found is None:
            found = [model_of(limit.limiter) for limit in self._outlook.limits if limit.scope == scope[0]]
            self._models[scope] = found
            for model, counting in zip(found, self._outlook.counting.get(scope, ()), strict=False):
                model.take(counting)
            for model, used in itertools.product(found, (used for used in self._outlook.used if used.scope == scope)):
                model.seed(used.used, -used.age)
        return found
