"""The one way a request is made: pace, send, decode; and try again as the table says.

The first attempt runs bare. tenacity takes over at the first retryable failure. A rate limit is no failure: it closes a gate
and uses up neither an attempt nor the time for retries. Past 300 lines because all that may happen between a call and its last
attempt is decided here, in one class.
"""

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Final, NamedTuple, TypeVar

import anyio
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from ..errors import (
    ApiError,
    AuthenticationError,
    CapgoError,
    ConfigurationError,
    NotConnected,
    RateLimited,
    ServerError,
    TransportError,
)
from ..limits.models import Fate, Scope, ScopeKind
from ..limits.pacer import Pacer, Permit, TargetBusy
from . import wire
from .call import Call
from .dialect import Generation
from .effort import Abandoned, Effort, Patience, Wait, gathering
from .retry import Disposition, Repeat, backoff, is_ambiguous, judge, may_repeat
from .wire import Response, Transport

T = TypeVar("T")

_FRESH: Final = frozenset({Repeat.NEVER, Repeat.AFTER_A_LOOK})
"""What must not be in doubt needlessly: a reused connection may be dead."""

_CAPTURED: ContextVar[list[Response] | None] = ContextVar("captured", default=None)


@contextmanager
def raw_responses() -> Iterator[list[Response]]:
    """Collect every answer that calls in this block receive, with whatever no model has a field for.

    Holds for the tasks that the block starts, too; refused and retried attempts are in the list as they came.
    """
    captured: list[Response] = []
    token = _CAPTURED.set(captured)
    try:
        yield captured
    finally:
        _CAPTURED.reset(token)


class Attempt(NamedTuple):
    """What one attempt did: for logs and measurements.

    `status` is `None` when no answer came; `seconds` is without pacing; `allowed` is how many requests may be in flight after
    it, fewer than the client's `concurrency` while the server is in trouble.
    """

    operation: str
    method: str
    path: str
    request_id: str
    number: int
    status: int | None
    error: str | None
    seconds: float
    allowed: int = 0


class RetryPolicy(NamedTuple):
    """How often and how long a call is tried again: `retries` attempts beyond the first, `seconds` without pacing."""

    retries: int = 4
    seconds: float = 120.0


class Counters:
    """What left so far: every attempt, those beyond a call's first, and the refusals by a rate limit, also by its kind.

    `seconds` is how long those were under way, all together, that got one of the `answers`: what nobody answered tells how long
    was waited, not how long answers take.
    """

    __slots__ = ("answers", "limits_met", "rate_limited", "requests", "retries", "seconds")

    def __init__(self) -> None:
        self.requests = 0
        self.retries = 0
        self.rate_limited = 0
        self.answers = 0
        self.seconds = 0.0
        self.limits_met: Counter[str] = Counter()


class Identity(NamedTuple):
    """Who a requester is: its `name` begins the ids of its requests, its `headers` carry the key, and `scope` counts it.

    `fingerprint` makes, with a salt, a digest by which one key can be told from another, and from which nobody gets the key.
    """

    name: str
    headers: dict[str, str]
    scope: Scope
    fingerprint: Callable[[bytes], str]
    chance: Callable[[], float]

    def __repr__(self) -> str:
        return f"Identity(name={self.name!r}, scope={self.scope!r})"


class Requester:
    """Make calls with one key, paced and retried."""

    def __init__(  # noqa: PLR0913 - three parts and three options
        self,
        transport: Transport,
        pacer: Pacer,
        identity: Identity,
        *,
        policy: RetryPolicy = RetryPolicy(),  # noqa: B008 - immutable
        on_attempt: Callable[[Attempt], None] | None = None,
        generation: Generation | None = None,
    ) -> None:
        self.pacer = pacer
        self.policy = policy
        self.counters = Counters()
        self.generation = generation or Generation()
        self.identity = identity
        self.key_scope = identity.scope
        self.answered_at = -math.inf
        """When the server answered last, anything at all, on the clock of `anyio.current_time()`."""
        self._transport = transport
        self._serial = itertools.count(1)
        self._on_attempt = on_attempt

    async def call(self, call: Call, decode: Callable[[Response, str], T], effort: Effort | None = None) -> T:
        """Make `call` and return what `decode` makes of the answer; wait and try again as long as the policy allows.

        Raises `Abandoned` where `effort` does not wait any more.
        """
        answer = await self.call_or_wait(call, decode, effort or Effort())
        if isinstance(answer, Wait):
            raise Abandoned(answer)
        return answer

    async def call_or_wait(self, call: Call, decode: Callable[[Response, str], T], effort: Effort) -> T | Wait:
        """Make `call` as `call` does; return a `Wait` where `effort` does not wait."""
        if (efforts := gathering()) is None:
            return await self._make(call, decode, effort)
        efforts.join(effort)
        try:
            return await self._make(call, decode, effort)
        finally:
            efforts.leave(effort, call)

    async def settle(self, call: Call, effort: Effort | None = None) -> None:
        """Make a write; what its repeat is answered with counts as success after an ambiguous attempt (contract G1)."""
        effort = effort or Effort()
        try:
            await self.call(call, wire.acknowledge, effort)
        except call.settled_by as error:
            if not effort.in_doubt or error.of_route:
                raise

    async def _make(self, call: Call, decode: Callable[[Response, str], T], effort: Effort) -> T | Wait:
        try:
            return await self._attempt(call, decode, effort)
        except CapgoError as error:
            if not may_repeat(error, call.repeat, effort.attempts):
                raise
            failure = error
        return await self._retry(call, decode, effort, failure)

    async def _retry(self, call: Call, decode: Callable[[Response, str], T], effort: Effort, failure: CapgoError) -> T | Wait:
        """Hand a call to tenacity, which costs as much as a request, once its first attempt has met `failure`."""
        wait: Wait | None = None

        async def attempt() -> T | Wait:
            if retrying.statistics["attempt_number"] == 1:
                raise failure
            return await self._attempt(call, decode, effort) if wait is None else wait

        async def sleep(seconds: float) -> None:
            nonlocal wait
            wait = await self._sleep(seconds, effort)

        attempts_used_up = stop_after_attempt(1 + self.policy.retries - (effort.attempts - 1))
        retrying = AsyncRetrying(
            retry=retry_if_exception(
                lambda error: isinstance(error, CapgoError) and may_repeat(error, call.repeat, effort.attempts)
            ),
            # tenacity's own measure of time reads a clock that virtual time does not move.
            stop=lambda state: attempts_used_up(state) or effort.seconds + _asked_for(state) >= self.policy.seconds,
            wait=lambda state: max(_asked_for(state), backoff(effort.attempts, self.identity.chance())),
            sleep=sleep,
            reraise=True,
        )
        return await retrying(attempt)

    async def _sleep(self, seconds: float, effort: Effort) -> Wait | None:
        effort.seconds += seconds
        # A server that takes no connection takes none for others either: they are not sent to knock meanwhile.
        if effort.patience is Patience.NONE or (effort.patience is Patience.SHARED_LIMITS and not effort.unconnected):
            return Wait(anyio.current_time() + seconds)
        with anyio.CancelScope() as effort.waiting:
            await anyio.sleep(seconds)
        abandoned, effort.waiting = effort.waiting.cancel_called, None
        return Wait(anyio.current_time()) if abandoned else None

    async def _attempt(self, call: Call, decode: Callable[[Response, str], T], effort: Effort) -> T | Wait:
        """Make one attempt; a rate limit is waited out and does not count as one."""
        scopes = (*call.scopes, self.key_scope) if call.keyed else call.scopes
        while True:
            try:
                permit = self.pacer.take(scopes, wait_for_target=effort.patience is not Patience.SHARED_LIMITS)
            except TargetBusy as busy:
                return Wait(busy.until)
            if permit is None and (permit := await self._permit(scopes, effort)) is None:
                return Wait(anyio.current_time())
            try:
                return await self._send(call, decode, permit, effort)
            except RateLimited as error:
                # A call that no gate holds back would knock again at once: it is refused like any other.
                if not scopes or call.repeat is Repeat.AFTER_A_LOOK or judge(error).disposition is not Disposition.CLOSE_SCOPE:
                    raise
                effort.attempts -= 1
                if effort.patience is Patience.NONE or effort.patience is Patience.UNTIL_REFUSED:
                    return Wait(anyio.current_time(), error)

    def _close_scope(self, call: Call, error: CapgoError) -> None:
        """Close the gate that a rate limit names, before the refused request gives its place to the next."""
        verdict = judge(error)
        if verdict.disposition is Disposition.CLOSE_SCOPE and (call.keyed or call.scopes):
            scope = self._scope_of(call, verdict.scope)
            self.counters.rate_limited += 1
            self.counters.limits_met[scope[0]] += 1
            self.pacer.close(scope, verdict.seconds, reason_known=verdict.reason_known)

    async def _permit(self, scopes: tuple[Scope, ...], effort: Effort) -> Permit | None:
        """Wait for a permit; return `None` once the effort is abandoned."""
        if effort.patience is Patience.NONE:
            return None
        try:
            with anyio.CancelScope() as effort.waiting:
                return await self.pacer.acquire(scopes)
        finally:
            effort.waiting = None
        return None

    def _scope_of(self, call: Call, kind: ScopeKind | None) -> Scope:
        """Return the call's scope of this kind; its narrowest where the refusal tells no more than the device."""
        if kind is ScopeKind.KEY:
            return self.key_scope
        return next((scope for scope in call.scopes if scope[0] == kind), (*call.scopes, self.key_scope)[len(call.scopes) - 1])

    async def _send(self, call: Call, decode: Callable[[Response, str], T], permit: Permit, effort: Effort) -> T:
        """Send once, tell the pacer how it ended, and decode the answer.

        Past 40 lines because each end of an attempt leaves the same books in order, and a call more costs every request.
        """
        # In the form that the server echoes (contract A5).
        effort.request_id = request_id = f"{self.identity.name}-{next(self._serial):06d}"
        headers = {**self.identity.headers, "X-Request-Id": request_id} if call.keyed else {"X-Request-Id": request_id}
        effort.began_at = min(effort.began_at, permit.at)
        effort.attempts += 1
        self.counters.requests += 1
        self.counters.retries += effort.attempts > 1
        fate, status, failure = Fate.ABANDONED, None, None
        try:
            response = await self._transport.send(call.request, headers, fresh=call.repeat in _FRESH)
            status = response.status
            captured = _CAPTURED.get()
            if captured is not None:
                captured.append(response)
            self.generation.hear(response.headers.get("x-worker-source"))
            fate = Fate.PASSED
            result = decode(response, call.name)
        except CapgoError as error:
            failure = error
            effort.unconnected = isinstance(error, NotConnected)
            fate = _fate_of(error, fate)
            self._judge_key(call, error)
            self._close_scope(call, error)
            raise
        else:
            if call.keyed:
                self.pacer.prove(self.key_scope)
            return result
        finally:
            now = self.pacer.release(permit, fate)
            seconds = now - permit.at
            if status is not None:
                self.answered_at = now
                self.counters.answers += 1
                self.counters.seconds += seconds
            if fate is Fate.UNSENT:
                self.counters.requests -= 1
                self.counters.retries -= effort.attempts > 1
            if failure is None or is_ambiguous(failure):
                effort.in_doubt = True
            if fate is not Fate.REFUSED:
                effort.seconds += seconds
            if self._on_attempt is not None:
                self._report(call, request_id, effort, (status, failure, seconds))

    def _judge_key(self, call: Call, error: CapgoError) -> None:
        """Stop the key when it was refused; trust it when the answer shows that the server took it."""
        if not call.keyed:
            return
        if isinstance(error, AuthenticationError):
            self.pacer.refuse_key(self.key_scope, error)
        elif isinstance(error, ApiError) and not isinstance(error, ServerError | RateLimited):
            self.pacer.prove(self.key_scope)

    def _report(self, call: Call, request_id: str, effort: Effort, end: tuple[int | None, CapgoError | None, float]) -> None:
        status, failure, seconds = end
        assert self._on_attempt is not None  # noqa: S101 - checked by the caller
        self._on_attempt(
            Attempt(
                operation=call.name,
                method=call.request.method,
                path=call.request.shown_path or call.request.path,
                request_id=request_id,
                number=effort.attempts,
                status=status,
                error=type(failure).__name__ if failure else None,
                seconds=seconds,
                allowed=self.pacer.congestion.limit,
            )
        )


def _fate_of(error: CapgoError, fate: Fate) -> Fate:
    if isinstance(error, NotConnected | ConfigurationError):
        return Fate.UNSENT
    if isinstance(error, RateLimited):
        return Fate.REFUSED
    if isinstance(error, ServerError):
        return Fate.FAILED
    return Fate.LOST if isinstance(error, TransportError) else fate


def _asked_for(state: RetryCallState) -> float:
    """Return how many seconds the server asks to wait for, after the attempt that failed last."""
    error = state.outcome.exception() if state.outcome else None
    return (error.retry_after or 0.0) if isinstance(error, ApiError) else 0.0
