"""The pacer: who waits, for how long, and what a refusal closes.

One pacer stands before all requests of a process and a set of keys. It grants in the order of asking, scope by scope, and only
when every gate of a request and a place among those in flight are free at the same moment: nobody holds one while waiting for
the other. Past 300 lines because the queue, the gates that it waits for, and what outlives them are one book.
"""

import math
from collections import OrderedDict, deque
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import anyio
import msgspec

from .budget import Budget
from .congestion import Congestion
from .errors import ApiError, CapgoError
from .gates import Gate, LearningGate
from .known import KnownLimit
from .limits import TARGET_KINDS, Fate, Limit, Limiter, Period, Scope, ScopeKind, SlidingWindow, with_headroom
from .windows import Window

_EDGE_LIMITER = SlidingWindow(requests=100)
"""What `auto` falls back to when the refusal's reason is unknown: the published limit (contract B1)."""


class ScopeUsage(msgspec.Struct, frozen=True):
    """How many requests counted against the limiters of one scope, and how many seconds ago the last one was."""

    scope: Scope
    used: int
    age: float


class TargetBusy(CapgoError):
    """Say that a gate of one target is closed until `until`, on the clock of `anyio.current_time()`."""

    def __init__(self, until: float) -> None:
        super().__init__("the limits of this device ask for a pause")
        self.until = until


class Permit(NamedTuple):
    """The right to send one request, granted `at` that time out of a `budget`, if any; to be given back with its fate."""

    gates: list[Gate]
    at: float
    budget: Budget | None = None


class _Ticket:
    """One call in the queue; `at` is when it should look again, infinity while others are before it."""

    __slots__ = ("at", "error", "permit", "scopes", "woken")

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
    """Keep all requests below all limits.

    `limits` are the models; with `adaptive` an unexpected refusal teaches a smaller one. `concurrency` is the number of
    requests in flight at most, fewer while the server is in trouble: `congestion` says how many. A key's first request goes
    alone, so that a wrong key costs one (contract A2). `headroom` is the share of the limits of keys and apps that is left to
    others, of learned ones, too. While there is a `budget`, nothing leaves beyond it: whoever asks then
    gets its `SafetyStop`.
    """

    def __init__(
        self, limits: Iterable[Limit] = (), *, concurrency: int = 16, adaptive: bool = False, headroom: float = 0.0
    ) -> None:
        self.concurrency = concurrency
        self.congestion = Congestion(concurrency)
        self.adaptive = adaptive
        self.limits = with_headroom(limits, headroom) if headroom else tuple(limits)
        self._edge = msgspec.structs.replace(_EDGE_LIMITER, headroom=headroom)
        self.budget: Budget | None = None
        self._models: dict[str, tuple[Limiter, ...]] = {}
        for limit in self.limits:
            self._models[limit.scope] = (*self._models.get(limit.scope, ()), limit.limiter)
        self._gates: dict[Scope, LearningGate] = {}
        self._recalled: dict[Scope, KnownLimit] = {}
        self._targets: OrderedDict[Scope, Gate] = OrderedDict()
        self._refused_keys: dict[Scope, ApiError] = {}
        self._queue: deque[_Ticket] = deque()
        self._only_key: Scope | None = None
        self._in_flight = 0

    async def acquire(self, scopes: tuple[Scope, ...], *, wait_for_target: bool = True) -> Permit:
        """Wait until a request that counts in `scopes` may leave; raise as `take` does."""
        permit = self.take(scopes, wait_for_target=wait_for_target)
        return permit if permit is not None else await self._wait(_Ticket(scopes))

    def take(self, scopes: tuple[Scope, ...], *, wait_for_target: bool = True) -> Permit | None:
        """Return a permit if a request that counts in `scopes` may leave now, `None` if it has to wait.

        Without `wait_for_target`, raise `TargetBusy` where a gate of the target alone would make it wait. Raise the key's
        refusal when the key was refused before.
        """
        now = anyio.current_time()
        if self.budget is not None:
            self.budget.check()
        if self._refused_keys:
            self._raise_refused(scopes)
        if self._targets and not wait_for_target:
            self._raise_target_busy(scopes, now)
        if self._queue:
            return None
        gates = self._gates_of(scopes)
        return self._grant(gates, now) if self._earliest(gates, now) <= now else None

    def release(self, permit: Permit, fate: Fate) -> float:
        """Give a permit back at the request's end; return the time."""
        now = anyio.current_time()
        self._in_flight -= 1
        if permit.budget is not None and fate is Fate.UNSENT:
            permit.budget.give_back()
        for gate in permit.gates:
            gate.answered(now, fate)
        if fate is not Fate.PASSED or not self.congestion.calm:
            self._feel(permit, fate, now)
        if self._queue:
            self._dispatch(now)
        return now

    def _feel(self, permit: Permit, fate: Fate, now: float) -> None:
        """Take an answer for what it tells of the server's state."""
        if fate is Fate.PASSED:
            self.congestion.passed(permit.at)
        elif fate is Fate.FAILED or fate is Fate.LOST:
            self.congestion.failed(permit.at, now)

    def prove(self, scope: Scope) -> None:
        """Let a key's requests go together: the server accepted it."""
        self._learning_gate(scope).prove()

    def close(self, scope: Scope, seconds: float, *, reason_known: bool = True) -> None:
        """Close the gate of `scope` for `seconds`, or for the silence that a key's limit asks for.

        A key is silent from its last answer on, and then probed by one request. Without a known
        reason an adaptive pacer falls back to the published limit (contract A8, B1).
        """
        now = anyio.current_time()
        if scope[0] in TARGET_KINDS:
            self._target_gate(scope).close(now, seconds)
            return
        gate = self._learning_gate(scope)
        if self.adaptive and not reason_known:
            gate.restrict(now, self._edge)
        if scope[0] == ScopeKind.KEY:
            gate.silence(now, seconds, learn=self.adaptive and reason_known)
        else:
            gate.close(now, seconds, learn=self.adaptive)

    def refuse_key(self, scope: Scope, error: ApiError) -> None:
        """Never let a request of this key leave again; whoever waits gets `error`."""
        self._refused_keys[scope] = error
        for ticket in [ticket for ticket in self._queue if scope in ticket.scopes]:
            self._queue.remove(ticket)
            ticket.error = error
            ticket.wake()

    def usage(self) -> list[ScopeUsage]:
        """Return what counts against the limiters now, targets excepted."""
        now = anyio.current_time()
        found = ((scope, gate, gate.used(now)) for scope, gate in self._gates.items())
        return [ScopeUsage(scope, used, max(0.0, now - gate.last)) for scope, gate, used in found if used]

    def seed(self, usage: Iterable[ScopeUsage]) -> None:
        """Take over what an earlier process counted."""
        now = anyio.current_time()
        for entry in usage:
            if entry.scope[0] in self._models:
                self._gate(entry.scope).seed(entry.used, now - entry.age)

    def recall(self, limits: Iterable[KnownLimit], key: Scope) -> None:
        """Begin with what earlier processes learned; those of the key's kind are of `key` alone.

        Only an adaptive pacer does, and it goes on learning: what proves too small is forgotten.
        """
        if not self.adaptive:
            return
        self._recalled |= {key if limit.scope is ScopeKind.KEY else (limit.scope,): limit for limit in limits}
        for scope, gate in self._gates.items():
            self._remind(scope, gate)

    def lessons(self, key: Scope) -> dict[ScopeKind, int | None]:
        """Return the smallest limit of each kind that refusals taught, `None` where a known one proved too small."""
        found: dict[ScopeKind, int | None] = {}
        for scope, gate in self._gates.items():
            kind, learned = ScopeKind(scope[0]), gate.learned()
            if (learned is None and not gate.forgot()) or (kind is ScopeKind.KEY and scope != key):
                continue
            before = found.get(kind)
            found[kind] = before if learned is None else min(learned, before or learned)
        return found

    def others_noticed(self, key: Scope | None = None) -> bool:
        """Tell whether somebody else was noticed to use `key`, or any key without one, and was given way to."""
        gates = self._gates.items()
        return any(gate.others_noticed() for scope, gate in gates if scope[0] == ScopeKind.KEY and key in {None, scope})

    @property
    def is_full(self) -> bool:
        """Tell whether as many requests are in flight as may be."""
        return self._in_flight >= self.congestion.limit

    def limits_of(self, scope: Scope) -> tuple[int, ...]:
        """Return how many requests each limiter of `scope` allows, learned limits included."""
        return self._gate(scope).limits()

    def windows_of(self, scope: Scope) -> Sequence[Window]:
        """Return the windows of `scope`, none where nothing holds it back. They are the pacer's own: look, and copy."""
        return self._gate(scope).windows if self._matters(scope) else ()

    def waiting_until(self, scope: Scope) -> float:
        """Return when the next request of `scope` may go; infinity while only an answer can tell."""
        return self._gate(scope).earliest(anyio.current_time())

    def free_at(self, scope: Scope, now: float) -> float:
        """Return what `waiting_until` does, for who knows the time."""
        gate = self._gates.get(scope)
        if gate is None:
            return self._gate(scope).earliest(now) if self._matters(scope) else now
        return gate.earliest(now)

    def room_at(self, scope: Scope, requests: int, now: float) -> float:
        """Return when so many requests of `scope` may go one after the other without waiting for a window in between."""
        return self._gate(scope).room_at(requests, now) if self._matters(scope) else now

    def period(self, scope: Scope, now: float) -> Period | None:
        """Return what counts of a key since it was silent, `None` where no limit asks for that."""
        return self._learning_gate(scope).period(now)

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
            (gate.recall if known.certain else gate.suspect)(known.requests)

    def _target_gate(self, scope: Scope) -> Gate:
        gate = self._targets.get(scope)
        if gate is None:
            self._forget_idle_targets()
            gate = self._targets[scope] = Gate(self._models.get(scope[0], ()))
        else:
            self._targets.move_to_end(scope)
        return gate

    def _forget_idle_targets(self) -> None:
        """Drop up to two of the longest unused gates, so that their number follows the rate, not the number of devices."""
        now = anyio.current_time()
        for scope in [scope for scope, _ in zip(self._targets, range(2), strict=False)]:
            if not self._targets[scope].idle(now):
                return
            del self._targets[scope]

    def _gates_of(self, scopes: tuple[Scope, ...]) -> list[Gate]:
        return [self._gate(scope) for scope in scopes if self._matters(scope)]

    def _matters(self, scope: Scope) -> bool:
        """Tell whether anything can hold `scope` back; most scopes have neither a model nor a closing."""
        kind = scope[0]
        return kind == ScopeKind.KEY or kind in self._models or scope in self._gates or scope in self._targets

    def _earliest(self, gates: list[Gate], now: float) -> float:
        at = now if self._in_flight < self.congestion.limit else math.inf
        for gate in gates:
            at = max(at, gate.earliest(now))
        return at

    def _grant(self, gates: list[Gate], now: float) -> Permit:
        self._in_flight += 1
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
                # Without a time, an answer that is on its way will tell: that is worth waiting for in the queue.
                raise TargetBusy(until)

    async def _wait(self, ticket: _Ticket) -> Permit:
        self._queue.append(ticket)
        try:
            while ticket.permit is None and ticket.error is None:
                if self.budget is not None:
                    self.budget.check()
                now = anyio.current_time()
                ticket.at = math.inf
                self._dispatch(now)
                if ticket.permit is None:
                    with anyio.move_on_after(ticket.at - now):
                        await ticket.woken.wait()
        except BaseException:
            self._withdraw(ticket)
            raise
        if ticket.error is not None:
            raise ticket.error.as_kind(type(ticket.error))
        assert ticket.permit is not None  # noqa: S101 - the loop ends with one of the two
        return ticket.permit

    def _withdraw(self, ticket: _Ticket) -> None:
        if ticket.permit is not None:
            self.release(ticket.permit, Fate.UNSENT)
        elif ticket in self._queue:
            self._queue.remove(ticket)
            self._dispatch(anyio.current_time())

    def _dispatch(self, now: float) -> None:
        """Grant what may go now, in the order of asking; who is held back by a scope holds back those behind in that scope."""
        held: set[Scope] = set()
        waiting: deque[_Ticket] = deque()
        while self._queue and self._in_flight < self.congestion.limit and not self._spent:
            ticket = self._queue.popleft()
            at = self._line_up(ticket.scopes, held, now)
            if at <= now:
                ticket.permit = self._grant(self._gates_of(ticket.scopes), now)
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
        """Return when a request may go, infinity behind others of a held scope; note the scopes that hold it in `held`."""
        at, behind = now, False
        for scope in scopes:
            if scope in held:
                behind = True
            elif self._matters(scope) and (free := self._gate(scope).earliest(now)) > now:
                held.add(scope)
                at = max(at, free)
        return math.inf if behind else at
