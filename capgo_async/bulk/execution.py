"""Executes one operation with a client or a ring: the bridge between the engine and the wire."""

import anyio

from .. import wire
from ..endpoints import devices as endpoints
from ..endpoints.call import Call
from ..errors import (
    ApiError,
    AuthenticationError,
    CapgoError,
    ConfigurationError,
    ConnectionLost,
    NotConnected,
    SafetyStop,
    SubscriptionRequired,
)
from ..requester import Effort, Parked
from ..retry import Repeat, is_ambiguous
from ..ring import Caller
from .operations import LinkDevice, Operation, Target, UnlinkDevice
from .runner import AMBIGUOUS, Deadline, Done, Failed, Later, NotSent, Result, Stopped, stop


class Executor:
    """Turn operations into calls, and what comes of them into results.

    A refused key, a server that cannot be reached and a budget that is used up stop the run. After `drain`, whatever waits
    gives up with `NotSent`, or with `Later` where an earlier attempt may have been processed; what is in flight is finished.
    """

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._efforts: dict[Target, Effort] = {}
        self._active: set[Effort] = set()
        self._draining = False

    async def __call__(self, operation: Operation) -> Result:
        """Execute `operation` as far as it goes without waiting for its own target."""
        effort = (self._efforts.pop(operation.target, None) if self._efforts else None) or Effort()
        self._active.add(effort)
        requester = self._caller.client_of(operation.app_id).requester
        try:
            await requester.call_or_park(call_of(operation), wire.acknowledge, effort)
        except Parked as parked:
            return self._parked(operation, parked)
        except (AuthenticationError, NotConnected, ConfigurationError, SafetyStop) as error:
            return Stopped(error, effort.in_doubt)
        except SubscriptionRequired as error:
            return Stopped(SafetyStop(str(error)), effort.in_doubt)
        except CapgoError as error:
            if isinstance(error, ConnectionLost) and requester.answered_at < effort.began_at:
                # Nobody was answered since this began: not the operation failed, the server is away.
                return Stopped(error, effort.in_doubt)
            return failure_of(error, effort)
        finally:
            self._active.discard(effort)
        return Done(effort.request_id)

    def drain(self) -> None:
        """Give up everything that waits; nothing new begins."""
        self._draining = True
        for effort in self._active:
            effort.abandon()

    def _parked(self, operation: Operation, parked: Parked) -> Result:
        if self._draining and not parked.effort.in_doubt:
            return NotSent()
        self._efforts[operation.target] = parked.effort
        return Later(parked.until, parked.effort.in_doubt)


async def prepare(caller: Caller, deadline: Deadline) -> None:
    """Find out which key is for which app, unless the deadline comes first: what that asks for are only reads."""
    with anyio.CancelScope(deadline=deadline.at) as scope:
        await caller.prepare()
    if scope.cancelled_caught:
        raise stop(deadline.reason)


def call_of(operation: Operation) -> Call:
    """Return the call that `operation` makes."""
    match operation:
        case LinkDevice():
            return endpoints.link_device(operation.app_id, operation.device_id, operation.channel)
        case UnlinkDevice():
            return endpoints.unlink_device(operation.app_id, operation.device_id)


def may_run_again(operation: Operation) -> bool:
    """Tell whether sending `operation` again is harmless, even if it happened before (contract G1)."""
    return call_of(operation).repeat is not Repeat.NEVER


def failure_of(error: CapgoError, effort: Effort) -> Failed:
    """Return what a final error says of its operation: `ambiguous` when the request may have been processed."""
    status = error.status if isinstance(error, ApiError) else None
    code = error.code if isinstance(error, ApiError) else type(error).__name__
    return Failed(AMBIGUOUS if is_ambiguous(error) else code, str(error), status, effort.request_id)
