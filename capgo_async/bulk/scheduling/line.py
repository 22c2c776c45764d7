"""A line of requests that leave in rounds, with the models of the limits that they count in: what a forecast is made of."""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from ...limits import Limit, Limiter, Scope, ScopeKind
from ...pacing import ScopeUsage
from .bursts import FEW, Burst, Model, Sliding, model_of
from .lanes import Key, Lane, may_rest_early
from .resting import Standing, first_of, levelled, rests_early

_GRAIN: Final = 128
"""A burst is remembered in so many parts at most."""
_UNREPEATED: Final = 24
"""Periods before the end that are not passed over: in them it shows whether resting early is worth it."""

_Known = dict[tuple[object, ...], tuple[float, list[float], tuple[float, float]]]
"""When a state was last met, what was left then, and in which time how much was sent since the time before."""


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


class Outlook(NamedTuple):
    """What the requests of a job meet.

    `latency` is in seconds, and `keys` name the key of each app; apps without one share theirs. At the start `counting` counts
    against the limits of each scope, in how many seconds it is forgotten and how much, and `used` what another process told.
    `kept` are the limiters of a scope as they are kept by now, where that is not what `limits` say. Some operations wait
    `held_up_for` seconds for their own targets, because of what was sent before, and `resting` keys send nothing for so
    many seconds, whatever their limits say.
    """

    limits: Sequence[Limit]
    concurrency: int
    latency: float
    keys: Mapping[str, str] = {}
    counting: Mapping[Scope, Sequence[Sequence[tuple[float, int]]]] = {}
    used: Sequence[ScopeUsage] = ()
    kept: Mapping[Scope, Sequence[Limiter]] = {}
    held_up_for: float = -math.inf
    resting: Mapping[str, float] = {}


class Line:
    """Requests that leave in rounds, with the models that they count in."""

    def __init__(self, outlook: Outlook) -> None:
        self._outlook = outlook
        self._latency = outlook.latency
        self._models: dict[Scope, list[Model]] = {}
        self._began = 0.0
        self._sent = 0
        self._places = outlook.concurrency

    @property
    def now(self) -> float:
        """Return when all that was sent is answered."""
        return self._began + math.ceil(self._sent / self._places) * self._latency

    def settle(self) -> None:
        """Wait for all answers."""
        self._began, self._sent = self.now, 0

    def rest(self, seconds: float) -> None:
        """Send nothing for so long."""
        self.settle()
        self._began += seconds

    def outlast(self, seconds: float) -> None:
        """Wait, at least until so many seconds from the start, for what can only leave then."""
        if seconds > 0:
            self.settle()
            self._began = max(self._began, seconds + self._latency)

    def send(self, shares: Sequence[Share], places: int) -> None:
        """Send the requests of shares, at most so many at a time."""
        if places != self._places:
            self.settle()
            self._places = places
        keys = every = self._keys_of(shares)
        began = self._began + self._sent // places * self._latency
        first: Key | None = None
        known: _Known = {}
        while keys := [key for key in keys if key.left > FEW]:
            now = self._began + self._sent // places * self._latency
            groups = [(key, group) for key in keys if (group := key.group(now)) is not None]
            first = self._first(keys, [key for key, _ in groups], first, now)
            if first is None:
                self._wait(min(self._goes_on(key, now) for key in keys))
                self._skip(known, keys)
            else:
                self._burst(first, *next(group for key, group in groups if key is first), now)
        for lane in (lane for key in every for lane in key.aside):
            self._count(lane, began)

    def _count(self, lane: Lane, began: float) -> None:
        """Count what an app sent since then, evenly, without having met its limit: what follows may meet it."""
        ends = self.now
        for model in lane.models:
            # Of what took longer the last window counts.
            since = max(began, ends - model.held) if isinstance(model, Sliding) else began
            model.free(since)
            share = (ends - since) / (ends - began) if ends > began else 1.0
            model.sent(since, Burst([(since + self._latency, lane.left)], lane.left, share))

    def _first(self, keys: Sequence[Key], free: Sequence[Key], before: Key | None, now: float) -> Key | None:
        """Return who of those that may send does: who did before, unless somebody came."""
        came = any(not key.free_before for key in free)
        for key in keys:
            key.free_before = key in free
        if not free:
            return None
        if before in free and not came:
            return before
        prospects = [prospect for key in free if (prospect := key.prospect(now, self._pace)) is not None]
        if len(free) == 1 or len(prospects) < len(free):
            return max(free, key=lambda key: key.left)
        index, quota = first_of(prospects)
        free[index].quota = quota
        return free[index]

    @property
    def _pace(self) -> float:
        return self._latency / self._places

    def _burst(self, key: Key, group: Sequence[Lane], floor: float, now: float) -> None:
        """Send from lanes, evenly, until they are down at `floor` or a limit is full."""
        count = len(group)
        level = min(lane.left for lane in group)
        # A lane that a model of its own holds back is brought down as far as the others, and no request is a fraction.
        most = min(key.free(now), key.quota, count * min(lane.free(now) for lane in group), max(1.0, (level - floor) * count))
        burst = max(1, min(int(most + FEW), math.ceil(key.left - FEW)))
        parts = self._parts(burst)
        for model in key.models:
            model.sent(now, Burst(parts, burst))
        each = Burst(parts, burst, 1 / count)
        for lane in group:
            for model in lane.models:
                model.sent(now, each)
            lane.left = max(0.0, lane.left - burst / count)
        self._sent += burst
        key.quota -= burst
        if key.quota < 1 - FEW and key.silence is not None:
            key.quota, key.resting_until = math.inf, key.silence.frees_at()

    def _goes_on(self, key: Key, now: float) -> float:
        """Return when a key may send that may not now, unless it is silent instead."""
        if now < key.resting_until - FEW:
            return key.resting_until
        if key.free(now) < 1 - FEW:
            return max(model.frees_at() for model in key.models if model.free(now) < 1 - FEW)
        lanes = [lane for lane in key.lanes if lane.left > FEW]
        opens_at = min(lane.opens_at(now) for lane in lanes)
        silence, rules = key.silence, key.rules(self._pace)
        if silence is not None and rules is not None and rules.app < math.inf and opens_at > max(key.decided, self.now) + FEW:
            key.decided = opens_at
            left = [lane.left for lane in lanes]
            standing = Standing(left, silence.free(now), opens_at - self.now, silence.frees_at() - self.now)
            if may_rest_early(standing, rules) and rests_early(standing, rules):
                key.resting_until = silence.frees_at()
                return key.resting_until
        return opens_at

    def _wait(self, until: float) -> None:
        """Wait for a limit; who still waits for an answer then goes on waiting."""
        still_out = self._sent % self._places if self.now > until + FEW else 0
        self._began, self._sent = until, still_out

    def _skip(self, known: _Known, keys: Sequence[Key]) -> None:
        """Pass over what only repeats itself: the models are as they were, and the same was sent of each lane meanwhile."""
        models = {id(model): model for key in keys for model in key.all_models()}.values()
        for model in models:
            # What counts no longer, in lanes that are through above all, makes no difference.
            model.free(self._began)
        state = (self._sent, len(keys), *(model.since(self._began) for model in models))
        left = [lane.left for key in keys for lane in key.lanes]
        began, before, last = known.get(state, (self._began, left, (0.0, 0.0)))
        sent = [earlier - now for earlier, now in zip(before, left, strict=True)] if len(before) == len(left) else []
        took = round(self._began - began, 3), round(sum(sent), 3)
        # That a key rests early may happen once, because of what is left; what happens twice goes on.
        again = min(_repeats(left, sent)) if any(sent) and took == last else 0
        if again < 1:
            known[state] = self._began, left, took
            return
        later = again * (self._began - began)
        for model in models:
            model.shift(later)
        for lane, gone in zip((lane for key in keys for lane in key.lanes), sent, strict=True):
            lane.left -= again * gone
        for key in keys:
            key.resting_until += later
            key.decided += later
        self._began += later
        known.clear()

    def _parts(self, burst: int) -> list[tuple[float, int]]:
        """Return when a burst is answered, as moments and counts."""
        first = self._sent // self._places
        last = (self._sent + burst - 1) // self._places
        step = math.ceil((last - first + 1) / _GRAIN)
        parts = []
        done = self._sent
        for round_ in range(first + step - 1, last + step, step):
            until = min(self._sent + burst, (round_ + 1) * self._places)
            at = self._began + (min(round_, last) + 1) * self._latency
            parts.append((at, until - done))
            done = until
        return parts

    def _keys_of(self, shares: Sequence[Share]) -> list[Key]:
        """Return the keys of shares, with a lane for each app whose own limits can slow it down, and one for the rest."""
        of_keys: dict[str, dict[str, float]] = {}
        windowed: set[str] = set()
        each: dict[str, int] = {}
        for share in shares:
            each[share.app_id] = max(share.each, each.get(share.app_id, 1))
            apps = of_keys.setdefault(self._outlook.keys.get(share.app_id, ""), {})
            apps[share.app_id] = apps.get(share.app_id, 0.0) + share.requests
            windowed |= {share.app_id} if ScopeKind.APP_ADDRESS in share.limits else set()
        found = []
        for name, apps in of_keys.items():
            models = self._of((ScopeKind.KEY, name))
            lanes = [
                Lane(left, self._of((ScopeKind.APP_ADDRESS, app)) if app in windowed else (), each[app])
                for app, left in apps.items()
            ]
            resting_until = self._outlook.resting.get(name, -math.inf)
            if self._matter(lanes, models):
                found.append(Key(models, lanes, resting_until))
            else:
                found.append(Key(models, [Lane(sum(apps.values()), ())], resting_until, lanes))
        return found

    def _matter(self, lanes: Sequence[Lane], of_key: Sequence[Model]) -> bool:
        """Tell whether limits of apps are met, however fast the key's let them go: at first, when few apps have most left."""
        most = 0.0
        for model in (model for lane in lanes for model in lane.models if isinstance(model, Sliding)):
            fastest = self._places * (model.held / self._latency + 2) if self._latency else math.inf
            most = max(most, min([fastest, *(each.most_within(model.held) for each in of_key)]))
        after = levelled([lane.left for lane in lanes], most)
        return any(lane.left - level > lane.free(self.now) for lane, level in zip(lanes, after, strict=True))

    def _of(self, scope: Scope) -> list[Model]:
        """Return the models of a scope, with what was used of it before."""
        found = self._models.get(scope)
        if found is None:
            limiters = [limit.limiter for limit in self._outlook.limits if limit.scope == scope[0]]
            found = self._models[scope] = [model_of(limiter) for limiter in self._outlook.kept.get(scope, limiters)]
            for model, counting in zip(found, self._outlook.counting.get(scope, ()), strict=False):
                model.take(counting)
            for model, used in itertools.product(found, (used for used in self._outlook.used if used.scope == scope)):
                model.seed(used.used, -used.age)
        return found


def _repeats(left: Sequence[float], sent: Sequence[float]) -> Iterator[int]:
    """Yield how often at most the same may be sent again of each lane, and before one has as much left as another."""
    lanes = sorted(zip(left, sent, strict=True), reverse=True)
    for each, gone in lanes:
        if gone > FEW:
            yield int(each / gone) - _UNREPEATED
    for (more, faster), (less, slower) in itertools.pairwise(lanes):
        if faster > slower + FEW and more > less + 1:
            yield int((more - less) / (faster - slower)) - 2
