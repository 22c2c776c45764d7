"""How every call is made: pace it, send it, decode the response, and retry according to the table.

The first attempt is made without tenacity, which takes over at the first failure that may be retried. A rate limit is not a
failure: it closes a gate, and counts neither as an attempt nor as time for retries. Neither does the refusal of a key that
worked before: it rests, and is probed by the next request. This file is longer than 300 lines because
everything between a call and its last attempt belongs together.
"""

import copy
import itertools
import math
from collections import Counter
from collections.abc import Callable
from typing import Final, NamedTuple, TypeVar

import anyio
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt

from ..errors import (
    ApiError,
    AuthenticationError,
    CapgoError,
    ConfigurationError,
    NeedsApiKey,
    NotConnected,
    RateLimited,
    ServerError,
    TransportError,
    UnreadableAnswer,
    WouldWait,
)
from ..events import AttemptBegan, AttemptEnded, CallBegan, CallEnded, RetryPlanned, ServerVersionChanged
from ..limits.models import UNNAMED, Fate, Scope, ScopeKind
from ..limits.pacer import Pacer, Permit, TargetBusy
from . import wire
from .absence import FIRST_PAUSE, Absence
from .call import Call
from .dialect import Generation
from .effort import Abandoned, Effort, Patience, Wait, gathering
from .options import CallOptions
from .received import CAPTURED, RawResponse
from .retry import Disposition, Repeat, asked_for, backoff, is_ambiguous, judge, may_repeat, passes
from .waiting import budget_of
from .wire import Response, Transport

T = TypeVar("T")

_FRESH: Final = frozenset({Repeat.NEVER, Repeat.AFTER_A_LOOK})
"""Calls that use a new connection: a reused one may be dead, which would leave their result unknown."""

MOST_UNREADABLE: Final = 30
"""After this many responses in a row that are none of the API, something else responds in its place."""


class Counters:
    """The requests so far.

    `requests` counts all attempts, `retries` those after the first attempt of a call, and `answers` those with a response.
    `rate_limited` counts refusals by a rate limit, and `limits_met` counts them by scope. `seconds` is the sum of the response
    times, without attempts that got no response.
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
    """What identifies a requester to the server and to limits.

    Request ids begin with `name`. `headers` contain the key, and `scope` is the key's scope. `fingerprint` takes a salt and
    returns a digest that identifies the key without revealing it. `chance` returns the random numbers that spread retries.
    `is_token` is whether the key is the token of a user session. `base_url` is that of the server, for events.
    """

    name: str
    headers: dict[str, str]
    scope: Scope
    fingerprint: Callable[[bytes], str]
    chance: Callable[[], float]
    is_token: bool = False
    base_url: str = ""

    def __repr__(self) -> str:
        return f"Identity(name={self.name!r}, scope={self.scope!r})"


class Requester:
    """Makes calls with one key, paces them and retries them, as `options` say."""

    def __init__(  # noqa: PLR0913 - keyword-only options
        self,
        transport: Transport,
        pacer: Pacer,
        identity: Identity,
        *,
        options: CallOptions = CallOptions(),  # noqa: B008 - immutable
        generation: Generation | None = None,
        absence: Absence | None = None,
    ) -> None:
        self.transport = transport
        self.pacer = pacer
        self.options = options
        self.counters = Counters()
        self.generation = generation or Generation()
        self.absence = absence or Absence(0.0, pacer.listeners)
        self.identity = identity
        self.key_scope = identity.scope
        self._serial = itertools.count(1)
        self._listeners = pacer.listeners

    def with_options(self, options: CallOptions, transport: Transport) -> "Requester":
        """Return a requester that makes calls in another way; all else is shared, also the counters."""
        other = copy.copy(self)
        other.options, other.transport = options, transport
        return other

    async def call(self, call: Call, decode: Callable[[Response, str], T], effort: Effort | None = None) -> T:
        """Make `call`, wait and retry as the options allow, and return the decoded response.

        Raises `Abandoned` if it would have to wait and `effort` does not, and `WouldWait` if it would have to wait too long.
        """
        answer = await self.call_or_wait(call, decode, effort or Effort())
        if isinstance(answer, Wait):
            raise Abandoned(answer)
        return answer

    async def call_or_wait(self, call: Call, decode: Callable[[Response, str], T], effort: Effort) -> T | Wait:
        """Do what `call` does, but return a `Wait` if the call would have to wait and `effort` does not."""
        if self.options.max_wait < math.inf and effort.budget is None:
            effort.budget = budget_of(self.options.max_wait)
        self._listeners.look()
        make = self._make if self._listeners.calls is None else self._make_and_tell
        if (efforts := gathering()) is None:
            return await make(call, decode, effort)
        efforts.join(effort)
        try:
            return await make(call, decode, effort)
        finally:
            efforts.leave(effort, call)

    async def settle(self, call: Call, effort: Effort | None = None) -> None:
        """Make a write.

        The errors in `call.settled_by` mean success after an attempt with an unknown result (contract G1).
        """
        effort = effort or Effort()
        try:
            await self.call(call, wire.acknowledge, effort)
        except call.settled_by as error:
            if not effort.in_doubt or error.of_route:
                raise

    def passes(self, error: CapgoError) -> bool:
        """Return whether the call that ended with `error` may succeed later."""
        return passes(error) or self._rests(error)

    def replaced(self, error: CapgoError) -> bool:
        """Return whether something else responds in place of the API, such as a portal."""
        return isinstance(error, UnreadableAnswer) and self.generation.unreadable >= MOST_UNREADABLE

    def _rests(self, error: CapgoError) -> bool:
        """Return whether `error` refused a key that worked before and is probed after a rest (contract G5)."""
        return isinstance(error, AuthenticationError) and self.pacer.gates.keys.doubts(self.key_scope)

    async def _make_and_tell(self, call: Call, decode: Callable[[Response, str], T], effort: Effort) -> T | Wait:
        """Do what `_make` does, and tell when it begins and how it ends."""
        began_at, sent, tell = anyio.current_time(), effort.sent, self._listeners.calls
        error, parked = None, False
        if tell is not None:
            tell(self._call_began(call, effort))
        try:
            answer = await self._make(call, decode, effort)
            parked = isinstance(answer, Wait)
        except BaseException as failure:
            error = type(failure).__name__
            raise
        else:
            return answer
        finally:
            if tell is not None:
                tell(
                    CallEnded(
                        call=effort.call,
                        operation=call.name,
                        error=error,
                        seconds=anyio.current_time() - began_at,
                        resends=max(0, effort.sent - max(1, sent)),
                        app=call.app,
                        parked=parked,
                    )
                )

    async def _make(self, call: Call, decode: Callable[[Response, str], T], effort: Effort) -> T | Wait:
        """Make `call`, and begin again whenever the server was away, if that is to be waited for.

        Who gathers calls waits for all of them.
        """
        if not self.absence.longest or effort.patience is not Patience.FULL or gathering() is not None:
            return await self._try(call, decode, effort)
        since, failure = math.inf, None
        while True:
            try:
                return await self._try(call, decode, effort)
            except TransportError as error:
                if not may_repeat(error, call.repeat, effort.attempts):
                    raise
                failure, since = error, min(since, anyio.current_time())
                await self._outlast(error, since, effort)
            except WouldWait as late:
                if failure is None:
                    raise
                raise failure from late
            effort.attempts, effort.seconds = 0, 0.0

    async def _outlast(self, error: TransportError, since: float, effort: Effort) -> None:
        """Wait for a server that is away; raise `error` once that takes longer than the call may wait."""
        if effort.may_wait < FIRST_PAUSE:
            raise error
        began_at = anyio.current_time()
        with anyio.move_on_after(effort.may_wait) as scope:
            await self.absence.outlast(error, since)
        effort.note_wait(anyio.current_time() - began_at)
        if scope.cancelled_caught:
            raise error

    async def _try(self, call: Call, decode: Callable[[Response, str], T], effort: Effort) -> T | Wait:
        if self.identity.is_token and call.keyed and not call.takes_tokens:
            message = f"{call.name}: this takes an API key, not the token of a user session; it was not sent"
            raise NeedsApiKey(message)
        try:
            return await self._attempt(call, decode, effort)
        except CapgoError as error:
            if self.replaced(error) or not may_repeat(error, call.repeat, effort.attempts):
                raise
            failure = error
        return await self._retry(call, decode, effort, failure)

    async def _retry(self, call: Call, decode: Callable[[Response, str], T], effort: Effort, failure: CapgoError) -> T | Wait:
        """Let tenacity continue a call whose first attempt ended with `failure`.

        tenacity takes as much CPU time as a request, and most calls need one attempt only.
        """
        wait: Wait | None = None

        async def attempt() -> T | Wait:
            nonlocal failure
            if retrying.statistics["attempt_number"] == 1:
                raise failure
            try:
                return await self._attempt(call, decode, effort) if wait is None else wait
            except WouldWait:
                raise
            except CapgoError as error:
                failure = error
                raise

        async def sleep(seconds: float) -> None:
            nonlocal wait
            if (tell := self._listeners.tell) is not None:
                tell(_retry(call, effort, seconds))
            wait = await self._sleep(seconds, effort)

        def pause(state: RetryCallState) -> float:
            return asked_for(state.outcome.exception() if state.outcome else None, effort.attempts)

        attempts_used_up = stop_after_attempt(1 + self.options.retries - (effort.attempts - 1))
        retrying = AsyncRetrying(
            retry=retry_if_exception(
                lambda error: (
                    isinstance(error, CapgoError)
                    and not self.replaced(error)
                    and may_repeat(error, call.repeat, effort.attempts)
                )
            ),
            # tenacity's own stops read a clock that does not follow virtual time.
            stop=lambda state: (
                attempts_used_up(state)
                or effort.seconds + pause(state) >= self.options.retry_seconds
                or state.upcoming_sleep > effort.may_wait
            ),
            wait=lambda state: max(pause(state), backoff(effort.attempts, self.identity.chance())),
            sleep=sleep,
            reraise=True,
        )
        try:
            return await retrying(attempt)
        except WouldWait as late:
            # The call was sent before, and may have taken effect.
            raise failure from late

    async def _sleep(self, seconds: float, effort: Effort) -> Wait | None:
        effort.seconds += seconds
        # A server that refuses connections would refuse those of other calls, too, so the worker is not freed for them.
        if effort.patience is Patience.NONE or (effort.patience is Patience.SHARED_LIMITS and not effort.unconnected):
            return Wait(anyio.current_time() + seconds)
        effort.note_wait(seconds)
        with anyio.CancelScope() as effort.waiting:
            await anyio.sleep(seconds)
        abandoned, effort.waiting = effort.waiting.cancel_called, None
        return Wait(anyio.current_time()) if abandoned else None

    async def _attempt(self, call: Call, decode: Callable[[Response, str], T], effort: Effort) -> T | Wait:
        """Make one attempt. A refusal by a rate limit, or of a key that rests, does not count: send again."""
        scopes = (*call.scopes, self.key_scope) if call.keyed else call.scopes
        refused: CapgoError | None = None
        while True:
            try:
                permit = self.pacer.take(scopes, wait_for_target=effort.patience is not Patience.SHARED_LIMITS)
            except TargetBusy as busy:
                return Wait(busy.until)
            if permit is None and (permit := await self._permit(call, scopes, effort, refused)) is None:
                return Wait(anyio.current_time())
            try:
                return await self._send(call, decode, permit, effort)
            except RateLimited as error:
                # Without a gate to wait for, the call would be sent again at once.
                if not scopes or call.repeat is Repeat.AFTER_A_LOOK or judge(error).disposition is not Disposition.CLOSE_SCOPE:
                    raise
                effort.attempts -= 1
                refused = error
                if effort.patience is Patience.NONE or effort.patience is Patience.UNTIL_REFUSED:
                    return Wait(anyio.current_time(), error)
            except AuthenticationError as error:
                # Refused keys are turned away before anything is processed (contract A2).
                if call.repeat is Repeat.AFTER_A_LOOK or not self._rests(error):
                    raise
                effort.attempts -= 1
                refused = error
                if effort.patience is Patience.NONE:
                    return Wait(anyio.current_time())

    def _close_scope(self, call: Call, error: CapgoError) -> str:
        """Close the gate of the limit that was met, before the next request leaves, and return its code.

        The code is empty if no limit was met.
        """
        verdict = judge(error)
        if verdict.disposition is not Disposition.CLOSE_SCOPE or not (call.keyed or call.scopes):
            return ""
        scope = self._scope_of(call, verdict.scope)
        limit = scope[0] if verdict.reason_known else UNNAMED
        self.counters.rate_limited += 1
        self.counters.limits_met[limit] += 1
        self.pacer.close(scope, verdict.seconds, reason_known=verdict.reason_known, asked=verdict.asked)
        return limit

    async def _permit(self, call: Call, scopes: tuple[Scope, ...], effort: Effort, refused: CapgoError | None) -> Permit | None:
        """Wait for a permit; return `None` if the effort is abandoned. `refused` is why it has to wait."""
        if effort.patience is Patience.NONE:
            return None
        began_at = anyio.current_time()
        try:
            with anyio.CancelScope() as effort.waiting:
                return await self.pacer.acquire(scopes, effort.call, began_at + effort.may_wait)
        except WouldWait as late:
            late.operation, late.written = call.name, effort.budget is not None and effort.budget.written
            raise late from refused
        finally:
            effort.waiting = None
            effort.note_wait(anyio.current_time() - began_at)
        return None

    def _scope_of(self, call: Call, kind: ScopeKind | None) -> Scope:
        """Return the call's scope of this kind, or its narrowest if the refusal only names the device."""
        if kind is ScopeKind.KEY:
            return self.key_scope
        return next((scope for scope in call.scopes if scope[0] == kind), (*call.scopes, self.key_scope)[len(call.scopes) - 1])

    async def _send(self, call: Call, decode: Callable[[Response, str], T], permit: Permit, effort: Effort) -> T:  # noqa: C901, PLR0912, PLR0915 - see below
        """Send once, report the end to the pacer, and decode the response.

        This function is longer than 40 lines because every attempt runs through it, and each further call would cost time.
        """
        # The server returns ids of this form (contract A5).
        effort.request_id = request_id = f"{self.identity.name}-{next(self._serial):06d}"
        own = self.identity.headers if call.keyed else {}
        headers = {**self.options.headers, **own, "X-Request-Id": request_id}
        effort.began_at = min(effort.began_at, permit.at)
        effort.attempts += 1
        effort.sent += 1
        self.counters.requests += 1
        self.counters.retries += effort.attempts > 1
        fate, status, failure, refused = Fate.ABANDONED, None, None, ""
        if (tell := self._listeners.began) is not None:
            tell(self._began(call, request_id, effort))
            self.pacer.tell_use(permit.at)
        try:
            response = await self.transport.send(call.request, headers, fresh=call.repeat in _FRESH)
            status = response.status
            if (captured := CAPTURED.get()) is not None:
                captured.append(_raw(response, call, effort, anyio.current_time() - permit.at))
            if (source := response.headers.get("x-worker-source")) != self.generation.worker_source:
                self._tell_version(source)
            self.generation.hear(source)
            fate = Fate.PASSED
            result = decode(response, call.name)
        except CapgoError as error:
            failure = error
            effort.unconnected = isinstance(error, NotConnected)
            fate = _fate_of(error, fate)
            self._judge_server(error)
            self._judge_key(call, error)
            refused = self._close_scope(call, error)
            raise
        else:
            if call.keyed:
                self.pacer.gates.prove(self.key_scope)
            self.generation.unreadable = 0
            return result
        finally:
            now = self.pacer.release(permit, fate)
            seconds = now - permit.at
            if status is not None:
                self.generation.answered_at = now
                self.counters.answers += 1
                self.counters.seconds += seconds
            if fate is Fate.UNSENT:
                self.counters.requests -= 1
                self.counters.retries -= effort.attempts > 1
            if failure is None or is_ambiguous(failure):
                effort.in_doubt = True
                if effort.budget is not None and call.request.method != "GET":
                    effort.budget.written = True
            if fate is not Fate.REFUSED:
                effort.seconds += seconds
            self.pacer.timings.note(call.kind, seconds, fate)
            if (tell := self._listeners.ended) is not None:
                tell(self._ended(call, effort, fate, (status, failure, now, seconds, refused)))

    def _judge_server(self, error: CapgoError) -> None:
        """Count a response that is none of the API; any other response ends the row."""
        if isinstance(error, UnreadableAnswer) and error.row is None:
            self.generation.unreadable += 1
        elif isinstance(error, ApiError | UnreadableAnswer):
            self.generation.unreadable = 0

    def _judge_key(self, call: Call, error: CapgoError) -> None:
        """Stop using a key that was refused, or let it rest; trust one that the server has accepted."""
        if not call.keyed:
            return
        if isinstance(error, AuthenticationError):
            self.pacer.refuse_key(self.key_scope, error)
        elif isinstance(error, ApiError) and not isinstance(error, ServerError | RateLimited):
            self.pacer.gates.prove(self.key_scope)

    def _tell_version(self, source: str | None) -> None:
        """Tell of a response that names another version than the one before it."""
        if source and (tell := self._listeners.tell) is not None:
            tell(ServerVersionChanged(before=self.generation.worker_source or "", version=source))

    def _call_began(self, call: Call, effort: Effort) -> CallBegan:
        return CallBegan(
            call=effort.call,
            operation=call.name,
            method=call.request.method,
            path=call.request.shown_path or call.request.path,
            base_url=self.identity.base_url,
            app=call.app,
        )

    def _began(self, call: Call, request_id: str, effort: Effort) -> AttemptBegan:
        return AttemptBegan(
            operation=call.name,
            method=call.request.method,
            path=call.request.shown_path or call.request.path,
            request_id=request_id,
            number=effort.attempts,
            app=call.app,
            in_flight=self.pacer.in_flight,
            call=effort.call,
            resends=effort.sent - 1,
        )

    def _ended(
        self, call: Call, effort: Effort, fate: Fate, end: tuple[int | None, CapgoError | None, float, float, str]
    ) -> AttemptEnded:
        status, failure, now, seconds, refused = end
        if self._listeners.began is not None:
            self.pacer.tell_use(now)
        return AttemptEnded(
            operation=call.name,
            method=call.request.method,
            path=call.request.shown_path or call.request.path,
            request_id=effort.request_id or "",
            number=effort.attempts,
            status=status,
            error=type(failure).__name__ if failure else None,
            seconds=seconds,
            allowed=self.pacer.congestion.limit,
            app=call.app,
            in_flight=self.pacer.in_flight,
            sent=fate is not Fate.UNSENT,
            refused=refused,
            ended_at=now,
            call=effort.call,
        )


def _raw(response: Response, call: Call, effort: Effort, seconds: float) -> RawResponse:
    return RawResponse(
        status=response.status,
        headers=response.headers,
        body=response.body,
        operation=call.name,
        request_id=effort.request_id or "",
        attempts=effort.attempts,
        waited=effort.waited,
        seconds=seconds,
    )


def _retry(call: Call, effort: Effort, seconds: float) -> RetryPlanned:
    return RetryPlanned(
        operation=call.name,
        request_id=effort.request_id,
        number=effort.attempts,
        seconds=float(seconds),  # tenacity's own kind of number has no place in JSON
        call=effort.call,
    )


def _fate_of(error: CapgoError, fate: Fate) -> Fate:
    if isinstance(error, NotConnected | ConfigurationError):
        return Fate.UNSENT
    if isinstance(error, RateLimited):
        return Fate.REFUSED
    if isinstance(error, AuthenticationError):
        return Fate.TURNED_AWAY
    if isinstance(error, ServerError | UnreadableAnswer):
        return Fate.FAILED
    return Fate.LOST if isinstance(error, TransportError) else fate
