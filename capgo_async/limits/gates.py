"""The gates of all scopes: which requests they hold back, and until when.

`pacer` queues the requests that have to wait for these gates. Times are on its clock.
"""

import itertools
import math
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from ..errors import AuthenticationError
from ..events import KEY_DOUBTED, KeyRefused, LimitMet, LimitUse
from .gate import Gate, LearningGate
from .lessons import Lessons
from .models import (
    TARGET_KINDS,
    UNNAMED,
    Limit,
    Limiter,
    Scope,
    ScopeKind,
    SlidingWindow,
    app_of,
    held_for,
    with_headroom,
)
from .refused_keys import RefusedKeys
from .wake import Wake
from .windows import Window, closed_for, seen_from

_EDGE_LIMITER = SlidingWindow(requests=100)
"""The published limit. `auto` falls back to it after a refusal without a known reason (contract B1)."""
_LONGEST_WAKE: Final = 61.0
"""Longest wait for links of another job if the caller's limits have none for them (contract B2)."""


class ScopeUsage(msgspec.Struct, frozen=True):
    """How many requests count against the limiters of a scope, and how many seconds ago the last one was."""

    scope: Scope
    used: int
    age: float


class Hold(NamedTuple):
    """A limit that lets nothing leave before the time `until`: a code of `events`, and its app.

    `asked_until` is set if the server asks for a longer rest than any limit takes; one request tries at `until` all the same.
    """

    until: float
    limit: str
    app: str = ""
    asked_until: float = -math.inf

    def asked(self, now: float) -> float | None:
        """Return for how many seconds the server asks to wait, if that is longer than any limit takes."""
        return self.asked_until - now if self.asked_until > self.until else None


class Gates:
    """The gates of all scopes, made when they are first needed.

    `adaptive` gates learn smaller limits from unexpected refusals. `headroom` is the share of the limits of keys and apps that
    is left to other users; it applies to learned limits as well.
    """

    def __init__(self, limits: Iterable[Limit] = (), *, adaptive: bool = False, headroom: float = 0.0) -> None:
        self.adaptive = adaptive
        self.limits = with_headroom(limits, headroom) if headroom else tuple(limits)
        self.only_key: Scope | None = None
        """The scope of the key if there is one key; an empty scope if there are several."""
        self._edge = msgspec.structs.replace(_EDGE_LIMITER, headroom=headroom)
        self._models: dict[str, tuple[Limiter, ...]] = {}
        for limit in self.limits:
            self._models[limit.scope] = (*self._models.get(limit.scope, ()), limit.limiter)
        longest = max(map(held_for, self._models.get(ScopeKind.DEVICE_CHANNEL, ())), default=_LONGEST_WAKE)
        self.wake = Wake(longest)
        self._gates: dict[Scope, LearningGate] = {}
        self.keys = RefusedKeys(self._gates)
        self.lessons = Lessons(self._gates, adaptive=adaptive)
        self._targets: OrderedDict[Scope, Gate] = OrderedDict()
        self._doubted: Scope | None = None

    def of(self, scopes: tuple[Scope, ...], now: float) -> list[Gate]:
        """Return the gates that a request has to pass."""
        # Not while they are gathered: a permit has to count in gates that the next request finds.
        if self._targets:
            self._forget_idle_targets(now)
        return [self._gate(scope) for scope in scopes if self.matters(scope)]

    def matters(self, scope: Scope) -> bool:
        """Return whether anything can hold `scope` back: most scopes have no limit and were never closed."""
        kind = scope[0]
        return kind == ScopeKind.KEY or kind in self._models or scope in self._gates or scope in self._targets

    def free_at(self, scope: Scope, now: float, requests: int = 1) -> float:
        """Return when that many requests of `scope` may leave; infinity while only a response can tell."""
        gate: Gate | None = self._gates.get(scope)
        if gate is None:
            if not self.matters(scope):
                return now
            gate = self._gate(scope)
        return gate.earliest(now) if requests == 1 else gate.room_at(requests, now)

    def target_free_at(self, scopes: tuple[Scope, ...], now: float) -> float | None:
        """Return when a request may leave that would wait for its own target now, or `None` if it would not."""
        for scope in scopes if self._targets else ():
            if (
                scope[0] in TARGET_KINDS
                and (gate := self._targets.get(scope))
                # If the time is not known, a response that is on its way will tell it. That is worth waiting for in the queue.
                and now < (until := gate.earliest(now)) < math.inf
            ):
                return until
        return None

    def hold(self, scope: Scope, now: float) -> Hold:
        """Return until when a limit holds `scope` back, as `free_at` does, and which limit it is."""
        gate: Gate | None = self._gates.get(scope) or self._targets.get(scope)
        until, app = self.free_at(scope, now), app_of(scope)
        if gate is None or gate.closed_until(now) <= now:
            return Hold(until, scope[0], app)
        if self.keys.doubts(scope):
            return Hold(until, KEY_DOUBTED)
        return Hold(until, UNNAMED if gate.unnamed else scope[0], app, gate.asked_until)

    def known_hold(self, scope: Scope, now: float, requests: int) -> Hold:
        """Return until when a limit holds that many requests of `scope` back, as far as is known by now."""
        until = self._gate(scope).known_at(requests, now) if self.matters(scope) else -math.inf
        return self.hold(scope, now)._replace(until=until)

    def doubted_target(self, now: float) -> Hold | None:
        """Return the last rest of a target that is longer than any limit takes, or `None`."""
        return None if self._doubted is None else self.hold(self._doubted, now)

    def prove(self, scope: Scope) -> None:
        """Let the requests of a key go together: the server accepted the key."""
        self._learning_gate(scope).prove()

    def close(
        self, scope: Scope, now: float, seconds: float, *, reason_known: bool = True, asked: float | None = None
    ) -> LimitMet:
        """Close the gate of `scope` for `seconds`, or that of a key for its silence; return the event.

        If the server `asked` for more, that is not believed: one request goes alone after `seconds`. A key is silent after its
        last response, and then probed with one request. If the reason is not known, adaptive gates fall back to the published
        limit (contract A8, B1).
        """
        asked_until = -math.inf if asked is None else now + asked
        if scope[0] in TARGET_KINDS:
            target = self._target_gate(scope)
            target.close(now, seconds)
            target.question(asked_until)
            self._doubted = self._doubted if asked is None else scope
            return LimitMet(limit=scope[0], app=app_of(scope), seconds=seconds, asked=asked)
        gate = self._learning_gate(scope)
        gate.unnamed = not reason_known
        if self.adaptive and not reason_known:
            gate.restrict(now, self._edge)
        if scope[0] == ScopeKind.KEY:
            gate.silence(now, seconds, learn=self.adaptive)
        else:
            gate.close(now, seconds, learn=self.adaptive)
        gate.question(asked_until)
        self.lessons.note(scope, gate)
        rests_for = max(seconds, gate.closed_until(now) - now)
        return LimitMet(limit=scope[0] if reason_known else UNNAMED, app=app_of(scope), seconds=rests_for, asked=asked)

    def refuse_key(self, scope: Scope, error: AuthenticationError, now: float) -> KeyRefused:
        """Take the refusal of a key, and return what there is to tell."""
        self._learning_gate(scope)
        return self.keys.refuse(scope, error, now)

    def usage(self, now: float) -> list[ScopeUsage]:
        """Return what counts against the limiters of keys and apps."""
        found = ((scope, gate, gate.used(now)) for scope, gate in self._gates.items())
        return [ScopeUsage(scope, used, max(0.0, now - gate.last)) for scope, gate, used in found if used]

    def in_use(self, now: float, most: int | None = None) -> list[LimitUse]:
        """Return how far the limits of keys and apps are used, the fullest first, at most `most`."""
        found = [(*gate.use(now), scope) for scope, gate in self._gates.items()]
        found = sorted((each for each in found if each[0]), key=lambda each: each[0] / each[1], reverse=True)[:most]
        return [
            LimitUse(limit=scope[0], app=app_of(scope), used=used, allowed=allowed, seconds=seconds)
            for used, allowed, seconds, scope in found
        ]

    def seed(self, usage: Iterable[ScopeUsage], now: float) -> None:
        """Count what an earlier process used."""
        for entry in usage:
            if entry.scope[0] in self._models:
                self._gate(entry.scope).seed(entry.used, now - entry.age)

    def windows_of(self, scope: Scope) -> Sequence[Window]:
        """Return the windows of `scope`, or none if it has no limits.

        They are the gate's own: copy them, do not change them.
        """
        return self._gate(scope).windows if self.matters(scope) else ()

    def windows_ahead(self, scope: Scope, now: float) -> list[Window]:
        """Return copies of the windows of `scope` for a forecast, with times relative to `now`.

        While a refusal closes it, one more window is full.
        """
        ahead = [seen_from(window, now) for window in self.windows_of(scope)]
        gate = self._gates.get(scope)
        closed_until = -math.inf if gate is None else gate.closed_until(now)
        if scope[0] == ScopeKind.APP_ADDRESS:
            closed_until = max(closed_until, self.wake.until)
        return [*ahead, closed_for(closed_until - now)] if closed_until > now else ahead

    def _gate(self, scope: Scope) -> Gate:
        return self._target_gate(scope) if scope[0] in TARGET_KINDS else self._learning_gate(scope)

    def _learning_gate(self, scope: Scope) -> LearningGate:
        gate = self._gates.get(scope)
        if gate is None:
            kind = scope[0]
            gate = self._gates[scope] = LearningGate(self._models.get(kind, ()), alone=kind == ScopeKind.KEY)
            self.lessons.remind(scope, gate)
            if kind == ScopeKind.KEY:
                self.only_key = scope if self.only_key is None else ()
        return gate

    def _target_gate(self, scope: Scope) -> Gate:
        gate = self._targets.get(scope)
        if gate is None:
            gate = self._targets[scope] = Gate(self._models.get(scope[0], ()))
        else:
            self._targets.move_to_end(scope)
        return gate

    def _forget_idle_targets(self, now: float) -> None:
        """Drop some of the least recently used gates, if they are idle: more than one request adds.

        So their number follows the rate of requests, not the number of devices.
        """
        for scope in tuple(itertools.islice(self._targets, 3)):
            if not self._targets[scope].idle(now):
                return
            del self._targets[scope]
