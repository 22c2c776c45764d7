"""The pacer: when each request may leave, and what a refusal holds back.

One pacer paces all requests of a process and a set of keys. Requests waiting on a scope are granted in FIFO order. A request is
granted when all its gates are open and a place in flight is free at the same moment, so it never holds one of them while it
waits for another. The file is longer than 300 lines because the queue and the gates that it waits for belong together.
"""

import itertools
import math
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import anyio
import msgspec

from ..errors import ApiError, AuthenticationError, CapgoError
from ..events import (
    KEY_DOUBTED,
    ConcurrencyChanged,
    KeyRefused,
    LimitLearned,
    LimitMet,
    LimitUse,
    OtherUsersNoticed,
    WaitBegan,
    WaitEnded,
)
from ..listeners import Listeners
from .budget import Budget
from .congestion import Congestion
from .gate import Gate, LearningGate
from .known import KnownLimit
from .lockout import MOST_REFUSALS, Lockout
from .models import (
    TARGET_KINDS,
    UNNAMED,
    Fate,
    Limit,
    Limiter,
    Scope,
    ScopeKind,
    SlidingWindow,
    app_of,
    held_for,
    with_headroom,
)
from .timing import Timings
from .wake import Wake
from .windows import Window, closed_for, seen_from

_SAME: Final = 0.01
"""Seconds by which two times may differ and still be told as the same."""
_EDGE_LIMITER = SlidingWindow(requests=100)
"""The published limit. `auto` falls back to it after a refusal without a known reason (contract B1)."""
_LONGEST_WAKE: Final = 61.0
"""Longest wait for links of another job if the caller's limits have none for them (contract B2)."""
KEY_RESTS_FOR: Final = 10.0
"""Seconds from the last response to a refused key until its probe. Contract G5 asks for 5 at least."""
_PROBED: Final = (
    f"The key worked until now, and was refused again after a pause of {KEY_RESTS_FOR:g} s: it has probably expired or been"
    " deleted. Check the API key."
)
_NOT_PROBED: Final = (
    f"The key worked until now. It is not tried again, because {MOST_REFUSALS} requests were refused within a short time, and"
    " the server locks out this address after 20. Wait 15 minutes, then check the API key."
)


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


class TargetBusy(CapgoError):
    """Raised when a request would have to wait for its own target.

    It may leave at `until`, on the clock of `anyio.current_time()`.
    """

    def __init__(self, until: float) -> None:
        super().__init__("this device has reached a limit of its own; its next request has to wait")
        self.until = until


class Permit(NamedTuple):
    """The right to send one request, granted at `at`. Release it with the fate of the request."""

    gates: list[Gate]
    at: float
    budget: Budget | None = None


class _Ticket:
    """A request in the queue. `at` is when it checks again, infinity while others are ahead of it."""

    def __init__(self, scopes: tuple[Scope, ...]) -> None:
        self.scopes = scopes
        self.at = math.inf
        self.woken = anyio.Event()
        self.permit: Permit | None = None
        self.error: ApiError | None = None

    def wake(self) -> None:
        self.woken.set()
        self.woken = anyio.Event()


class Pacer:
    """Keep all requests within all limits.

    An `adaptive` pacer learns smaller limits from unexpected refusals. At most `concurrency` requests are in flight, and fewer
    while the server is in trouble (`congestion`) or remembers refused keys (`lockout`). The first request of a key goes alone,
    so that a wrong key costs one request (contract A2). `headroom` is the share of the limits of keys and apps that is left to
    other users; it applies to learned limits as well. Once a `budget` is spent, requests get its `SafetyStop`.
    """

    def __init__(
        self, limits: Iterable[Limit] = (), *, concurrency: int = 16, adaptive: bool = False, headroom: float = 0.0
    ) -> None:
        self.concurrency = concurrency
        self.congestion = Congestion(concurrency)
        self.lockout = Lockout()
        self.timings = Timings()
        self.listeners = Listeners()
        """Those that hear what happens to the requests of these keys."""
        self.adaptive = adaptive
        self.limits = with_headroom(limits, headroom) if headroom else tuple(limits)
        self._edge = msgspec.structs.replace(_EDGE_LIMITER, headroom=headroom)
        self.budget: Budget | None = None
        self.idle_since = -math.inf
        """When the last request ended that left none in flight, on the clock of `anyio.current_time()`."""
        self._models: dict[str, tuple[Limiter, ...]] = {}
        for limit in self.limits:
            self._models[limit.scope] = (*self._models.get(limit.scope, ()), limit.limiter)
        longest = max(map(held_for, self._models.get(ScopeKind.DEVICE_CHANNEL, ())), default=_LONGEST_WAKE)
        self.wake = Wake(longest)
        self._granted = 0
        self._gates: dict[Scope, LearningGate] = {}
        self._recalled: dict[Scope, KnownLimit] = {}
        self._targets: OrderedDict[Scope, Gate] = OrderedDict()
        self._doubted: Scope | None = None
        self._refused_keys: dict[Scope, ApiError] = {}
        self._queue: deque[_Ticket] = deque()
        self._refused: dict[Scope, LearningGate] = {}
        """The gates whose lessons from refusals are still to be told."""
        self._told: dict[Scope, tuple[int | None, bool]] = {}
        self._only_key: Scope | None = None
        self._in_flight = 0

    async def acquire(self, scopes: tuple[Scope, ...]) -> Permit:
        """Wait until a request that counts in `scopes` may leave. Raises what `take` raises."""
        return self.take(scopes) or await self._wait(_Ticket(scopes))

    def take(self, scopes: tuple[Scope, ...], *, wait_for_target: bool = True) -> Permit | None:
        """Return a permit if a request that counts in `scopes` may leave now, or `None` if it has to wait.

        Without `wait_for_target`, raises `TargetBusy` if the request would wait for its own target. Raises the refusal of the
        key if the key was refused before, and `SafetyStop` if the budget is spent.
        """
        now = anyio.current_time()
        if self.budget is not None:
            self.budget.check()
        if self._refused_keys:
            self._raise_refused(scopes)
        if self._targets and not wait_for_target:
            self._raise_target_busy(scopes, now)
        if self._queue or self.is_full:
            return None
        gates = self._gates_of(scopes, now)
        for gate in gates:
            if gate.earliest(now) > now:
                return None
        return self._grant(gates, now)

    def release(self, permit: Permit, fate: Fate) -> float:
        """Give a permit back when its request has ended. Return the time."""
        now = anyio.current_time()
        self._in_flight -= 1
        if not self._in_flight:
            self.idle_since = now
        if permit.budget is not None and fate is Fate.UNSENT:
            permit.budget.give_back()
        for gate in permit.gates:
            gate.answered(now, fate)
        if fate is Fate.PASSED:
            if not self.congestion.calm:
                self._judge_server(permit.at)
        elif fate is Fate.FAILED or fate is Fate.LOST:
            self._judge_server(permit.at, failed_at=now)
        if self._refused:
            self._tell_lessons()
        if self._queue:
            self._dispatch(now)
        return now

    def _tell_lessons(self) -> None:
        """Tell what the latest refusals have taught, until no response of that time is missing."""
        for scope, gate in tuple(self._refused.items()):
            learned, others = gate.learned(), gate.others_noticed()
            before = self._told.get(scope, (None, False))
            self._told[scope] = learned, others
            if not gate.busy:
                del self._refused[scope]
            if (tell := self.listeners.tell) is None:
                continue
            if learned != before[0]:
                limit = UNNAMED if gate.unnamed else scope[0]
                key = scope[1] if scope[0] == ScopeKind.KEY else ""
                tell(LimitLearned(limit=limit, app=app_of(scope), key=key, requests=learned))
            if others and not before[1]:
                tell(OtherUsersNoticed(key=scope[1]))

    def _judge_server(self, left_at: float, failed_at: float | None = None) -> None:
        before = self.congestion.limit
        if failed_at is None:
            self.congestion.passed(left_at)
        else:
            self.congestion.failed(left_at, failed_at)
        if self.congestion.limit != before and (tell := self.listeners.tell) is not None:
            tell(ConcurrencyChanged(before=before, allowed=self.congestion.limit, most=self.congestion.most))

    def prove(self, scope: Scope) -> None:
        """Let the requests of a key go together: the server accepted the key."""
        self._learning_gate(scope).prove()

    def close(self, scope: Scope, seconds: float, *, reason_known: bool = True, asked: float | None = None) -> None:
        """Close the gate of `scope` for `seconds`, or that of a key for its silence.

        If the server `asked` for more, that is not believed: one request goes alone after `seconds`.

        A key is silent after its last response, and then probed with one request. If the reason is not known, an adaptive pacer
        falls back to the published limit (contract A8, B1).
        """
        now = anyio.current_time()
        asked_until = -math.inf if asked is None else now + asked
        if scope[0] in TARGET_KINDS:
            target = self._target_gate(scope)
            target.close(now, seconds)
            target.question(asked_until)
            self._doubted = self._doubted if asked is None else scope
            if scope[0] == ScopeKind.DEVICE_CHANNEL:
                self.wake.refused(now, seconds, self._granted)
            if (tell := self.listeners.tell) is not None:
                tell(LimitMet(limit=scope[0], app=app_of(scope), seconds=seconds, asked=asked))
            return
        gate = self._learning_gate(scope)
        gate.unnamed = not reason_known
        if self.adaptive and not reason_known:
            gate.restrict(now, self._edge)
        if scope[0] == ScopeKind.KEY:
            gate.silence(now, seconds, learn=self.adaptive)
        else:
            gate.close(now, seconds, learn=self.adaptive)
        gate.question(asked_until)
        if (tell := self.listeners.tell) is not None:
            rests_for = max(seconds, gate.closed_until(now) - now)
            limit = scope[0] if reason_known else UNNAMED
            tell(LimitMet(limit=limit, app=app_of(scope), seconds=rests_for, asked=asked))
        self._refused[scope] = gate
        self._tell_lessons()

    def refuse_key(self, scope: Scope, error: AuthenticationError) -> None:
        """Take the refusal of a key (contract G5).

        A key that worked before rests, and is probed once. Any other key is never used again: waiting requests get `error`. So
        does a resting key once the address is close to being locked out.
        """
        now = anyio.current_time()
        gate = self._learning_gate(scope)
        if error.locked_out:
            self._stop_key(scope, error)
        else:
            self._doubt_key(scope, gate, error, now)
        if (tell := self.listeners.tell) is not None:
            seconds = KEY_RESTS_FOR if self.doubts(scope) else None
            tell(KeyRefused(key=scope[1], code=error.code or "", seconds=seconds))

    def _doubt_key(self, scope: Scope, gate: LearningGate, error: AuthenticationError, now: float) -> None:
        """Let a key rest that worked before, or stop using it."""
        self.lockout.refused(now)
        if not gate.doubt(now, KEY_RESTS_FOR):
            error.hint = _PROBED if gate.worked else ""
            self._stop_key(scope, error)
        if self.lockout.near:
            error.hint = error.hint or _NOT_PROBED
            for each in [each for each, gate in self._gates.items() if gate.doubted]:
                self._stop_key(each, error)

    def doubts(self, scope: Scope) -> bool:
        """Return whether a key was refused after it had worked, and waits for the result of its probe."""
        gate = self._gates.get(scope)
        return gate is not None and gate.doubted and scope not in self._refused_keys

    @property
    def recovered(self) -> bool:
        """Whether keys were refused, and all of them were accepted again."""
        return bool(self.lockout.refusals) and not self._refused_keys and not any(gate.doubted for gate in self._gates.values())

    def _stop_key(self, scope: Scope, error: ApiError) -> None:
        self._refused_keys[scope] = error
        for ticket in [ticket for ticket in self._queue if scope in ticket.scopes]:
            self._queue.remove(ticket)
            ticket.error = error
            ticket.wake()

    def usage(self) -> list[ScopeUsage]:
        """Return what counts against the limiters of keys and apps now."""
        now = anyio.current_time()
        found = ((scope, gate, gate.used(now)) for scope, gate in self._gates.items())
        return [ScopeUsage(scope, used, max(0.0, now - gate.last)) for scope, gate, used in found if used]

    def in_use(self, most: int) -> list[LimitUse]:
        """Return how far the limits of keys and apps are used now, of those that are fullest."""
        now = anyio.current_time()
        found = [(*gate.use(now), scope) for scope, gate in self._gates.items()]
        found = sorted((each for each in found if each[0]), key=lambda each: each[0] / each[1], reverse=True)[:most]
        return [
            LimitUse(limit=scope[0], app=scope[1] if scope[0] is ScopeKind.APP_ADDRESS else "", used=used, allowed=allowed)
            for used, allowed, scope in found
        ]

    def seed(self, usage: Iterable[ScopeUsage]) -> None:
        """Count what an earlier process used."""
        now = anyio.current_time()
        for entry in usage:
            if entry.scope[0] in self._models:
                self._gate(entry.scope).seed(entry.used, now - entry.age)

    def recall(self, limits: Iterable[KnownLimit], key: Scope) -> None:
        """Start with limits that earlier processes learned. Limits of the kind `KEY` apply to `key` alone.

        A pacer that is not adaptive ignores them. An adaptive one goes on learning: what proves too small is forgotten.
        """
        if not self.adaptive:
            return
        self._recalled |= {key if limit.scope is ScopeKind.KEY else (limit.scope,): limit for limit in limits}
        for scope, gate in self._gates.items():
            self._remind(scope, gate)

    def lessons(self, key: Scope) -> dict[ScopeKind, int | None]:
        """Return the smallest learned limit of each kind, or `None` if a known one proved too small."""
        found: dict[ScopeKind, int | None] = {}
        for scope, gate in self._gates.items():
            kind, learned = ScopeKind(scope[0]), gate.learned()
            if (learned is None and not gate.forgot()) or (kind is ScopeKind.KEY and scope != key):
                continue
            before = found.get(kind)
            found[kind] = before if learned is None else min(learned, before or learned)
        return found

    def suspicions(self, key: Scope) -> dict[ScopeKind, int]:
        """Return the smallest number at which one refusal came, for each kind without a learned limit."""
        found: dict[ScopeKind, int] = {}
        for scope, gate in self._gates.items():
            kind, suspected = ScopeKind(scope[0]), gate.suspects()
            if suspected is not None and (kind is not ScopeKind.KEY or scope == key):
                found[kind] = min(suspected, found.get(kind, suspected))
        return found

    def others_noticed(self, key: Scope | None = None) -> bool:
        """Return whether another user of `key` was noticed; without `key`, of any key."""
        gates = self._gates.items()
        return any(gate.others_noticed() for scope, gate in gates if scope[0] == ScopeKind.KEY and key in {None, scope})

    def uneven(self) -> bool:
        """Return whether refusals came after different numbers of requests.

        Then others use a key, or the server loses counts (contract B2.3).
        """
        return any(gate.uneven() for gate in self._gates.values())

    @property
    def most_in_flight(self) -> int:
        """How many requests may be in flight now."""
        if not self.lockout.refusals:
            return self.congestion.limit
        return min(self.congestion.limit, self.lockout.allowed(anyio.current_time()))

    @property
    def in_flight(self) -> int:
        """How many requests are in flight."""
        return self._in_flight

    @property
    def is_full(self) -> bool:
        """Whether as many requests are in flight as may be."""
        return self._in_flight >= self.most_in_flight

    def windows_of(self, scope: Scope) -> Sequence[Window]:
        """Return the windows of `scope`, or none if it has no limits.

        They are the pacer's own: copy them, do not change them.
        """
        return self._gate(scope).windows if self._matters(scope) else ()

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

    def queue_ends_at(self, now: float) -> float:
        """Return when the requests that wait may leave, as far as that is known; a past time if none waits."""
        scopes = {scope for ticket in self._queue for scope in ticket.scopes if self._matters(scope)}
        known = (max(self._gate(scope).closed_until(now), self.free_at(scope, now)) for scope in scopes)
        return max((at for at in known if at < math.inf), default=-math.inf)

    def hold(self, scope: Scope, now: float) -> Hold:
        """Return until when a limit holds `scope` back, as `free_at` does, and which limit it is."""
        gate: Gate | None = self._gates.get(scope) or self._targets.get(scope)
        until, app = self.free_at(scope, now), app_of(scope)
        if gate is None or gate.closed_until(now) <= now:
            return Hold(until, scope[0], app)
        if self.doubts(scope):
            return Hold(until, KEY_DOUBTED)
        return Hold(until, UNNAMED if gate.unnamed else scope[0], app, gate.asked_until)

    def doubted_target(self, now: float) -> Hold | None:
        """Return the last rest of a target that is longer than any limit takes, or `None`."""
        return None if self._doubted is None else self.hold(self._doubted, now)

    def free_at(self, scope: Scope, now: float, requests: int = 1) -> float:
        """Return when that many requests of `scope` may leave; infinity while only a response can tell."""
        gate: Gate | None = self._gates.get(scope)
        if gate is None:
            if not self._matters(scope):
                return now
            gate = self._gate(scope)
        return gate.earliest(now) if requests == 1 else gate.room_at(requests, now)

    def _gate(self, scope: Scope) -> Gate:
        return self._target_gate(scope) if scope[0] in TARGET_KINDS else self._learning_gate(scope)

    def _learning_gate(self, scope: Scope) -> LearningGate:
        gate = self._gates.get(scope)
        if gate is None:
            kind = scope[0]
            gate = self._gates[scope] = LearningGate(self._models.get(kind, ()), alone=kind == ScopeKind.KEY)
            self._remind(scope, gate)
            if kind == ScopeKind.KEY:
                self._only_key = scope if self._only_key is None else ()
        return gate

    def _remind(self, scope: Scope, gate: LearningGate) -> None:
        known = self._recalled.get(scope) or self._recalled.get(scope[:1])
        if known is not None:
            gate.recall(known)
            self._told[scope] = gate.learned(), gate.others_noticed()

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

    def _gates_of(self, scopes: tuple[Scope, ...], now: float) -> list[Gate]:
        # Not while they are gathered: a permit has to count in gates that the next request finds.
        if self._targets:
            self._forget_idle_targets(now)
        return [self._gate(scope) for scope in scopes if self._matters(scope)]

    def _matters(self, scope: Scope) -> bool:
        """Return whether anything can hold `scope` back: most scopes have no limit and were never closed."""
        kind = scope[0]
        return kind == ScopeKind.KEY or kind in self._models or scope in self._gates or scope in self._targets

    def _grant(self, gates: list[Gate], now: float) -> Permit:
        self._in_flight += 1
        self._granted += 1
        if self.budget is not None:
            self.budget.spend()
        for gate in gates:
            gate.sent(now)
        return Permit(gates, now, self.budget)

    def _raise_refused(self, scopes: tuple[Scope, ...]) -> None:
        for scope in scopes:
            if error := self._refused_keys.get(scope):
                raise error.as_kind(type(error))

    def _raise_target_busy(self, scopes: tuple[Scope, ...], now: float) -> None:
        for scope in scopes:
            if (
                scope[0] in TARGET_KINDS
                and (gate := self._targets.get(scope))
                and now < (until := gate.earliest(now)) < math.inf
            ):
                # If the time is not known, a response that is on its way will tell it. That is worth waiting for in the queue.
                raise TargetBusy(until)

    async def _wait(self, ticket: _Ticket) -> Permit:
        self._queue.append(ticket)
        began_at = anyio.current_time()
        hold: Hold | None = None
        try:
            while ticket.permit is None and ticket.error is None:
                if self.budget is not None:
                    self.budget.check()
                now = anyio.current_time()
                ticket.at = math.inf
                self._dispatch(now)
                if ticket.permit is None:
                    if now < ticket.at < math.inf and self.listeners.tell is not None:
                        hold = self._tell_wait(ticket.scopes, hold, now)
                    with anyio.move_on_after(ticket.at - now):
                        await ticket.woken.wait()
        except BaseException:
            if ticket.permit is not None:
                self.release(ticket.permit, Fate.UNSENT)
            elif ticket in self._queue:
                self._queue.remove(ticket)
                self._dispatch(anyio.current_time())
            raise
        finally:
            if hold is not None and (tell := self.listeners.tell) is not None:
                tell(WaitEnded(limit=hold.limit, app=hold.app, seconds=anyio.current_time() - began_at))
        if ticket.error is not None:
            raise ticket.error.as_kind(type(ticket.error))
        assert ticket.permit is not None  # noqa: S101 - the loop ends with one of the two
        return ticket.permit

    def _tell_wait(self, scopes: tuple[Scope, ...], told: Hold | None, now: float) -> Hold | None:
        """Tell for which limit a request waits, unless that was `told`. Return what is told now."""
        hold = max(self.hold(scope, now) for scope in scopes if self._matters(scope))
        if (told is not None and hold.until <= told.until + _SAME) or (tell := self.listeners.tell) is None:
            return told
        tell(WaitBegan(limit=hold.limit, app=hold.app, seconds=hold.until - now, asked=hold.asked(now)))
        return hold

    def _dispatch(self, now: float) -> None:
        """Grant what may leave now, in FIFO order within each scope."""
        held: set[Scope] = set()
        waiting: deque[_Ticket] = deque()
        while self._queue and not self.is_full and not self._spent:
            ticket = self._queue.popleft()
            at = self._line_up(ticket.scopes, held, now)
            if at <= now:
                ticket.permit = self._grant(self._gates_of(ticket.scopes, now), now)
                ticket.wake()
                continue
            waiting.append(ticket)
            if at < ticket.at:
                ticket.at = at
                ticket.wake()
            if self._only_key in held:
                break
        self._queue.extendleft(reversed(waiting))
        if self._spent:
            for ticket in self._queue:
                ticket.wake()

    @property
    def _spent(self) -> bool:
        return self.budget is not None and self.budget.spent

    def _line_up(self, scopes: tuple[Scope, ...], held: set[Scope], now: float) -> float:
        """Return when a request may leave; infinity if others of a held scope are ahead of it.

        Adds the scopes that hold it back to `held`.
        """
        at, behind = now, False
        for scope in scopes:
            if scope in held:
                behind = True
            elif self._matters(scope) and (free := self._gate(scope).earliest(now)) > now:
                held.add(scope)
                at = max(at, free)
        return math.inf if behind else at
