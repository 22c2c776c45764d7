"""The pacer: when each request may leave, and what a refusal holds back.

One pacer paces all requests of a process and a set of keys. Requests waiting on a scope are granted in FIFO order. A request is
granted when all its gates are open and a place in flight is free at the same moment, so it never holds one of them while it
waits for another. The file is longer than 300 lines because all that changes the queue stands together.
"""

import itertools
import math
from collections import Counter, deque
from collections.abc import Iterable
from typing import Final, NamedTuple

import anyio

from ..errors import ApiError, AuthenticationError, CapgoError, WouldWait
from ..events import ConcurrencyChanged, Event, LimitsInUse, WaitBegan, WaitEnded
from ..listeners import Listeners
from .budget import Budget
from .congestion import Congestion
from .gate import Gate
from .gates import Gates, Hold
from .models import Fate, Limit, Scope, ScopeKind
from .timing import Timings

_SAME: Final = 0.01
"""Seconds by which two times may differ and still be told as the same."""
_USE_TOLD_EVERY: Final = 1.0
_USE_TOLD_AT_REST: Final = 0.1
"""Seconds until the use of limits is told again while no request is in flight: perhaps none follows."""
_USES_TOLD: Final = 20
"""How many limits are told, the fullest: a key may have hundreds of apps."""


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
    """A request in the queue, of a `call` of events, that is given up at `deadline`.

    `at` is when it checks again, infinity while others are ahead of it.
    """

    def __init__(self, scopes: tuple[Scope, ...], call: int, deadline: float) -> None:
        self.scopes = scopes
        self.call = call
        self.deadline = deadline
        self.at = math.inf
        self.woken = anyio.Event()
        self.permit: Permit | None = None
        self.error: ApiError | None = None

    def wake(self) -> None:
        self.woken.set()
        self.woken = anyio.Event()


class Pacer:
    """Keep all requests within all limits, whose state is in `gates`.

    An `adaptive` pacer learns smaller limits from unexpected refusals. At most `concurrency` requests are in flight, and fewer
    while the server is in trouble (`congestion`) or remembers refused keys. The first request of a key goes alone, so that a
    wrong key costs one request (contract A2). `headroom` is the share of the limits of keys and apps that is left to other
    users. Once a `budget` is spent, requests get its `SafetyStop`.
    """

    def __init__(
        self, limits: Iterable[Limit] = (), *, concurrency: int = 16, adaptive: bool = False, headroom: float = 0.0
    ) -> None:
        self.concurrency = concurrency
        self.congestion = Congestion(concurrency)
        self.gates = Gates(limits, adaptive=adaptive, headroom=headroom)
        self.timings = Timings()
        self.listeners = Listeners()
        """Those that hear what happens to the requests of these keys."""
        self.budget: Budget | None = None
        self.idle_since = -math.inf
        """When the last request ended that left none in flight, on the clock of `anyio.current_time()`."""
        self._granted = 0
        self._use_told_at = -math.inf
        self._queue: deque[_Ticket] = deque()
        self._in_flight = 0

    async def acquire(self, scopes: tuple[Scope, ...], call: int = 0, deadline: float = math.inf) -> Permit:
        """Wait until a request of a `call` that counts in `scopes` may leave. Raises what `take` raises.

        Raises `WouldWait` as soon as it shows that this will not be until `deadline`. Such a request counts nowhere.
        """
        return self.take(scopes) or await self._wait(_Ticket(scopes, call, deadline))

    def take(self, scopes: tuple[Scope, ...], *, wait_for_target: bool = True) -> Permit | None:
        """Return a permit if a request that counts in `scopes` may leave now, or `None` if it has to wait.

        Without `wait_for_target`, raises `TargetBusy` if the request would wait for its own target. Raises the refusal of the
        key if the key was refused before, and `SafetyStop` if the budget is spent.
        """
        now = anyio.current_time()
        if self.budget is not None:
            self.budget.check()
        if (error := self.gates.keys.refusal(scopes)) is not None:
            raise error
        if not wait_for_target and (until := self.gates.target_free_at(scopes, now)) is not None:
            raise TargetBusy(until)
        if self._queue or self.is_full:
            return None
        gates = self.gates.of(scopes, now)
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
        if self.gates.lessons.untold:
            self._tell_all(self.gates.lessons.to_tell())
        if self._queue:
            self._dispatch(now)
        return now

    def _tell_all(self, events: Iterable[Event]) -> None:
        for event in events:
            self.listeners.announce(event)

    def _judge_server(self, left_at: float, failed_at: float | None = None) -> None:
        before = self.congestion.limit
        if failed_at is None:
            self.congestion.passed(left_at)
        else:
            self.congestion.failed(left_at, failed_at)
        if self.congestion.limit != before and (tell := self.listeners.tell) is not None:
            tell(ConcurrencyChanged(before=before, allowed=self.congestion.limit, most=self.congestion.most))

    def close(self, scope: Scope, seconds: float, *, reason_known: bool = True, asked: float | None = None) -> None:
        """Close the gate of `scope` after a refusal; see `Gates.close`."""
        now = anyio.current_time()
        met = self.gates.close(scope, now, seconds, reason_known=reason_known, asked=asked)
        if scope[0] == ScopeKind.DEVICE_CHANNEL:
            self.gates.wake.refused(now, seconds, self._granted)
        self._tell_all((met, *self.gates.lessons.to_tell()))
        self._wake_hurried()

    def refuse_key(self, scope: Scope, error: AuthenticationError) -> None:
        """Take the refusal of a key. If it is not used again, waiting requests get the error."""
        refused = self.gates.refuse_key(scope, error, anyio.current_time())
        for ticket in tuple(self._queue):
            ticket.error = self.gates.keys.refusal(ticket.scopes)
            if ticket.error is not None:
                self._queue.remove(ticket)
                ticket.wake()
        self.listeners.announce(refused)
        self._wake_hurried()

    def _wake_hurried(self) -> None:
        """Let those with a deadline look whether they can still keep it."""
        for ticket in self._queue:
            if ticket.deadline < math.inf:
                ticket.wake()

    @property
    def most_in_flight(self) -> int:
        """How many requests may be in flight now."""
        lockout = self.gates.keys.lockout
        if not lockout.refusals:
            return self.congestion.limit
        return min(self.congestion.limit, lockout.allowed(anyio.current_time()))

    @property
    def in_flight(self) -> int:
        """How many requests are in flight."""
        return self._in_flight

    @property
    def is_full(self) -> bool:
        """Whether as many requests are in flight as may be."""
        return self._in_flight >= self.most_in_flight

    def queue_ends_at(self, now: float) -> float:
        """Return when the requests that wait may leave, as far as that is known; a past time if none waits."""
        scopes = {scope for ticket in self._queue for scope in ticket.scopes if self.gates.matters(scope)}
        known = (self.gates.free_at(scope, now) for scope in scopes)
        return max((at for at in known if at < math.inf), default=-math.inf)

    def _grant(self, gates: list[Gate], now: float) -> Permit:
        self._in_flight += 1
        self._granted += 1
        if self.budget is not None:
            self.budget.spend()
        for gate in gates:
            gate.sent(now)
        return Permit(gates, now, self.budget)

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
                    self._check_deadline(ticket, now)
                    if now < ticket.at < math.inf and self.listeners.tell is not None:
                        hold = self._tell_wait(ticket, hold, now)
                    with anyio.move_on_after(min(ticket.at, ticket.deadline) - now):
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
                seconds = anyio.current_time() - began_at
                tell(WaitEnded(limit=hold.limit, app=hold.app, seconds=seconds, call=ticket.call))
        if ticket.error is not None:
            raise ticket.error
        assert ticket.permit is not None  # noqa: S101 - the loop ends with one of the two
        return ticket.permit

    def _check_deadline(self, ticket: _Ticket, now: float) -> None:
        """Raise `WouldWait` if a request cannot leave until its deadline, as far as is known."""
        if ticket.deadline == math.inf:
            return
        hold = self._foreseen(ticket, now)
        if now < ticket.deadline and hold.until <= ticket.deadline:
            return
        if hold.until <= now:
            raise WouldWait(until=now)
        raise WouldWait(until=hold.until, seconds=hold.until - now, limit=hold.limit, app=hold.app)

    def _foreseen(self, ticket: _Ticket, now: float) -> Hold:
        """Return the limit that holds a request back the longest.

        Those ahead of it are taken to leave first, except for those that wait for limits that do not concern it.
        """
        ahead: Counter[Scope] = Counter()
        for other in itertools.takewhile(lambda each: each is not ticket, self._queue):
            if all(scope in ticket.scopes or self.gates.free_at(scope, now) <= now for scope in other.scopes):
                ahead.update(other.scopes)
        known = (self.gates.known_hold(scope, now, 1 + ahead[scope]) for scope in ticket.scopes)
        return max(known, default=Hold(-math.inf, ""))

    def _tell_wait(self, ticket: _Ticket, told: Hold | None, now: float) -> Hold | None:
        """Tell for which limit a request waits, unless that was `told`. Return what is told now."""
        hold = max(self.gates.hold(scope, now) for scope in ticket.scopes if self.gates.matters(scope))
        if (told is not None and hold.until <= told.until + _SAME) or (tell := self.listeners.tell) is None:
            return told
        tell(WaitBegan(limit=hold.limit, app=hold.app, seconds=hold.until - now, asked=hold.asked(now), call=ticket.call))
        return hold

    def tell_use(self, now: float) -> None:
        """Tell how far limits are used, unless that was told a moment ago."""
        pause = _USE_TOLD_EVERY if self._in_flight else _USE_TOLD_AT_REST
        if now >= self._use_told_at + pause and (tell := self.listeners.tell) is not None:
            self._use_told_at = now
            if limits := self.gates.in_use(now, _USES_TOLD):
                tell(LimitsInUse(limits=tuple(limits)))

    def _dispatch(self, now: float) -> None:
        """Grant what may leave now, in FIFO order within each scope."""
        held: set[Scope] = set()
        waiting: deque[_Ticket] = deque()
        while self._queue and not self.is_full and not self._spent:
            ticket = self._queue.popleft()
            at = self._line_up(ticket.scopes, held, now)
            if at <= now:
                ticket.permit = self._grant(self.gates.of(ticket.scopes, now), now)
                ticket.wake()
                continue
            waiting.append(ticket)
            if at < ticket.at:
                ticket.at = at
                ticket.wake()
            if self.gates.only_key in held:
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
            elif (free := self.gates.free_at(scope, now)) > now:
                held.add(scope)
                at = max(at, free)
        return math.inf if behind else at
