"""Executes single operations with a key ring: the bridge between the engine and HTTP.

Longer than 300 lines because what each kind of operation does, and each way in which it ends, belong together.
"""

from collections.abc import Awaitable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from typing import NamedTuple

import anyio
import msgspec

from ...api.endpoints import devices as endpoints
from ...api.models import BundleReference
from ...client import CapgoClient, requester_of
from ...errors import (
    ApiError,
    AuthenticationError,
    CapgoError,
    ChannelNotFound,
    ConfigurationError,
    ConnectionLost,
    DangerousCall,
    DeviceNotFound,
    NotApplied,
    NotConnected,
    PermissionDenied,
    Problem,
    SafetyStop,
    SubscriptionRequired,
)
from ...http import wire
from ...http.call import Call
from ...http.effort import Abandoned, Effort, Efforts, Patience, Wait, gathered
from ...http.requester import Requester
from ...http.retry import is_ambiguous
from ...key_ring import KeyRing
from ..operations.kinds import KINDS
from ..operations.operations import (
    DeleteBundle,
    DeleteChannel,
    FormerState,
    LinkDevice,
    Operation,
    PromoteBundle,
    RemoveMember,
    RenewDevice,
    SetBundleMetadata,
    Target,
    UnlinkDevice,
    UpdateChannel,
    change_of,
    inverse,
)
from ..operations.results import AMBIGUOUS, CHANGED_SINCE, HALF_DONE, RIGHT_LOST, Done, Failed, Later, NotSent, Result, Stopped
from .missing import Look, Looks, Place

_DeviceChange = LinkDevice | UnlinkDevice | RenewDevice


class _Refusal(NamedTuple):
    """That a call did not find its channel or had no access, and when."""

    error: ApiError
    at: float


class _Course(NamedTuple):
    """How far an operation has come: its next call, the effort spent on that call, and a remaining doubt.

    `refusal` is set while a look has to tell what it means. `looked` is whether the call is made again after such a look.
    """

    step: int
    effort: Effort
    doubt: Failed | None = None
    refusal: _Refusal | None = None
    looked: bool = False

    @property
    def in_doubt(self) -> bool:
        """Return whether any request of the operation may have been processed."""
        return self.step > 0 or self.effort.in_doubt


class Executor:
    """Turns operations into calls, and their responses into results.

    A refused key, an unreachable server and a used-up budget stop the run. After `drain`, operations that wait for their own
    target return `NotSent`, or `Later` if an earlier attempt may have been processed. Requests in flight are finished.
    `in_doubt` maps the targets of operations that an earlier run left in doubt to the state that the plan saw.
    """

    def __init__(self, ring: KeyRing, in_doubt: Mapping[Target, FormerState] | None = None) -> None:
        self._ring = ring
        self._in_doubt = in_doubt or {}
        self._courses: dict[Target, _Course] = {}
        self._active: set[Effort | Efforts] = set()
        self._locks: dict[str, anyio.Lock] = {}
        self._looks = Looks(ring)
        self._draining = False

    def __call__(self, operation: Operation) -> Awaitable[Result]:
        """Execute `operation` until it is settled or has to wait for its own target."""
        if isinstance(operation, LinkDevice | UnlinkDevice | RenewDevice):
            return self._call_by_call(operation)
        return self._as_a_whole(operation)

    def drain(self) -> None:
        """Stop everything that waits, and begin nothing new."""
        self._draining = True
        for efforts in self._active:
            efforts.abandon()

    @contextmanager
    def _abandonable(self) -> Iterator[Efforts]:
        """Let `drain` end the waits of this block."""
        with gathered() as efforts:
            self._active.add(efforts)
            try:
                yield efforts
            finally:
                self._active.discard(efforts)

    async def _call_by_call(self, operation: _DeviceChange) -> Result:
        course = self._courses.pop(operation.target, None) if self._courses else None
        if (course is None or course.refusal is None) and (due_at := self._looks.due_at(place_of(operation))) is not None:
            # What the look will tell concerns this operation, too.
            return Later(due_at, in_doubt=False) if course is None else self._park(operation, course, due_at)
        if course is None:
            if isinstance(operation, RenewDevice) and (objection := await self._objection_to(operation)) is not None:
                return objection
            course = _Course(0, Effort(Patience.SHARED_LIMITS))
        calls = calls_of(operation)
        while True:
            result = await self._call(calls[course.step], operation, course)
            last = course.step == len(calls) - 1
            if isinstance(result, Done) and last:
                return course.doubt or result
            # The removal may have taken effect even if its result is ambiguous, so the link is set again.
            doubt = result if isinstance(result, Failed) and result.cause == AMBIGUOUS else None
            if last or not (doubt or isinstance(result, Done)):
                return result
            course = _Course(course.step + 1, Effort(Patience.SHARED_LIMITS), doubt)

    async def _objection_to(self, operation: RenewDevice) -> Failed | NotSent | Stopped | None:
        """Return why a link must not be renewed, or `None` if it may be.

        It may be renewed if it is as the plan saw it, or if an earlier run of the job removed it.
        """
        client = self._ring.client_of(operation.app_id)
        in_doubt = operation.target in self._in_doubt
        began_at = anyio.current_time()
        try:
            with self._abandonable():
                channel = (await client.devices.get(operation.app_id, operation.device_id)).channel
        except Abandoned:
            return NotSent()
        except DeviceNotFound as error:
            # The plan saw the device, so the server may be unable to read its data (contract C7).
            unseen = failure_of(error)._replace(
                message=f"the plan saw this device, but the server does not show it now: {error}"
            )
            return unseen._replace(cause=AMBIGUOUS) if in_doubt else unseen
        except CapgoError as error:
            ending = _ending(error, requester_of(client), began_at)
            return failure_of(error) if ending is None else Stopped(ending, in_doubt)
        if channel == operation.channel or (in_doubt and channel is None):
            return None
        now = "has no link" if channel is None else f"is linked to {channel}"
        return Failed(CHANGED_SINCE, f"{operation.device_id} of {operation.app_id} was changed by somebody else: it now {now}")

    async def _call(self, call: Call, operation: _DeviceChange, course: _Course) -> Result:
        """Make a call, or go on after its refusal; make it again if a look found nothing wrong."""
        result = await (self._send(call, operation, course) if course.refusal is None else self._look(operation, course))
        while result is None:
            course = course._replace(refusal=None, looked=True)
            result = await self._send(call, operation, course)
        if course.step and isinstance(result, Failed):
            cause = result.cause if result.cause == AMBIGUOUS else HALF_DONE
            return result._replace(cause=cause, message=f"the link was removed and not set again: {result.message}")
        return result

    async def _send(self, call: Call, operation: _DeviceChange, course: _Course) -> Result | None:
        """Send a call. Return the result, or `None` to send it again."""
        effort = course.effort
        self._active.add(effort)
        requester = requester_of(self._ring.client_of(operation.app_id))
        try:
            answer = await requester.call_or_wait(call, wire.acknowledge, effort)
        except CapgoError as error:
            ending = _ending(error, requester, effort.began_at)
            if ending is not None:
                return Stopped(ending, course.in_doubt)
            if isinstance(error, ChannelNotFound | PermissionDenied):
                return await self._look(operation, course._replace(refusal=_Refusal(error, anyio.current_time())))
            return failure_of(error, effort.request_id)
        finally:
            self._active.discard(effort)
        if isinstance(answer, Wait):
            return self._park(operation, course, answer.until)
        if course.step == len(calls_of(operation)) - 1:
            self._looks.passed(place_of(operation))
        return Done(effort.request_id)

    def _park(self, operation: _DeviceChange, course: _Course, until: float) -> Later | NotSent:
        """Let an operation wait without a worker."""
        if self._draining and not course.in_doubt:
            return NotSent()
        self._courses[operation.target] = course
        return Later(until, course.in_doubt)

    async def _look(self, operation: _DeviceChange, course: _Course) -> Result | None:
        """Look at the place where a call was refused, once it is time.

        Return the result, or `None` to call again.
        """
        assert course.refusal is not None  # noqa: S101 - checked by the caller
        (error, at), place = course.refusal, place_of(operation)
        try:
            with self._abandonable():
                look = await self._looks.look_at(place, at)
        except Abandoned as end:
            look = end.wait.until
        except CapgoError as unseen:
            ending = _ending(unseen, requester_of(self._ring.client_of(operation.app_id)), course.effort.began_at)
            return failure_of(error) if ending is None else Stopped(ending, course.in_doubt)
        if not isinstance(look, Look):
            return self._park(operation, course, look)
        found = look.error
        if found is None and not (look.refused or course.looked):
            return None
        if found is None:
            answers = "says that there is none" if isinstance(error, ChannelNotFound) else "refuses this"
            message = f"the server shows {place}, but {answers} when devices are to be changed: the key has no right to do that"
            return failure_of(error)._replace(cause=RIGHT_LOST, message=f"{message} ({error.code}: {error.message})")
        if isinstance(found, ChannelNotFound):
            return failure_of(error)._replace(
                message=f"{place} was there when the job was planned and is gone: {error.message}"
            )
        return failure_of(found)._replace(message=f"{place} is not shown any more, because the key has lost access: {found}")

    async def _as_a_whole(self, operation: Operation) -> Result:
        """Execute an operation that makes several calls and reads its target between them."""
        if self._draining:
            return NotSent()
        client = self._ring.client_of(operation.app_id)
        began_at = anyio.current_time()
        try:
            with self._abandonable() as efforts:
                return await self._do(client, operation)
        except Abandoned as end:
            return Later(end.wait.until) if efforts.in_doubt else NotSent()
        except CapgoError as error:
            ending = _ending(error, requester_of(client), began_at)
            if ending is not None:
                return Stopped(ending)
            gone = KINDS[change_of(operation).kind].gone
            if gone is not None and isinstance(error, gone) and operation.target in self._in_doubt:
                # An earlier run sent this operation, and it took effect then (contract G1).
                return Done()
            # Without access, nobody can tell whether an earlier run took effect. In this one, a first write may have, even if
            # a later one was refused. A change that the server dropped has a cause of its own.
            blind = isinstance(error, PermissionDenied) and operation.target in self._in_doubt
            doubtful = blind or (efforts.in_doubt and not isinstance(error, NotApplied))
            return failure_of(error)._replace(cause=AMBIGUOUS) if doubtful else failure_of(error)

    async def _do(self, client: CapgoClient, operation: Operation) -> Done | Failed:
        match operation:
            case UpdateChannel(settings=settings):
                # Two changes of `public` in one app at once fail (contract G2).
                lock = self._locks.setdefault(operation.app_id, anyio.Lock())
                rollout = _id_of(operation.ends_rollout)
                async with nullcontext() if settings.public is msgspec.UNSET else lock:
                    await client.channels.update(operation.app_id, operation.channel, settings, ends_rollout=rollout)
            case PromoteBundle():
                return await self._promote(client, operation)
            case DeleteChannel():
                try:
                    await client.channels.delete(operation.app_id, operation.channel)
                except DangerousCall:
                    message = f"{operation.channel} of {operation.app_id} has become public since the plan was made"
                    return Failed(CHANGED_SINCE, message)
            case DeleteBundle():
                await client.bundles.delete(operation.app_id, operation.bundle)
            case SetBundleMetadata():
                await client.bundles.set_metadata(operation.app_id, operation.version_id, operation.metadata)
            case RemoveMember():
                await client.members.remove(operation.org_id, operation.email)
        return Done()

    async def _promote(self, client: CapgoClient, operation: PromoteBundle) -> Done | Failed:
        former = self._in_doubt.get(operation.target)
        if former is not None:
            channel = await client.channels.get(operation.app_id, operation.channel)
            back = inverse(operation, former)
            match back:
                case PromoteBundle(version_id=version):
                    as_planned = channel.version is not None and channel.version.id == version
                case UpdateChannel(settings=settings):
                    as_planned = channel.bundle_name == settings.bundle
                case _:
                    as_planned = False
            done = channel.version is not None and channel.version.id == operation.version_id
            if not (done or as_planned):
                name = f"{operation.channel} of {operation.app_id}"
                message = f"somebody else set {name} to the bundle {channel.bundle_name} after the plan was made"
                return Failed(CHANGED_SINCE, message)
        await client.bundles.promote(
            operation.app_id,
            operation.channel,
            bundle_id=operation.version_id,
            ends_rollout=_id_of(operation.ends_rollout),
        )
        return Done()


def _id_of(rollout: BundleReference | None) -> int | None:
    return None if rollout is None else rollout.id


def place_of(operation: _DeviceChange) -> Place:
    """Return the place that an operation needs: the channel of a link, or else its app."""
    return Place(operation.app_id, None if isinstance(operation, UnlinkDevice) else operation.channel)


def calls_of(operation: _DeviceChange) -> tuple[Call, ...]:
    match operation:
        case LinkDevice(channel=channel):
            return (endpoints.link_device(operation.app_id, operation.device_id, channel),)
        case UnlinkDevice():
            return (endpoints.unlink_device(operation.app_id, operation.device_id),)
        case RenewDevice(channel=channel):
            return (
                endpoints.unlink_device(operation.app_id, operation.device_id),
                endpoints.link_device(operation.app_id, operation.device_id, channel),
            )


def _ending(error: CapgoError, requester: Requester, began_at: float) -> CapgoError | None:
    """Return the error that ends the run, or `None` if `error` concerns only its operation."""
    if requester.replaced(error):
        message = f"the last {requester.generation.unreadable} responses did not come from the API. {error}"
        return SafetyStop(message, problem=Problem.OTHER_SERVER)
    if isinstance(error, SubscriptionRequired):
        return SafetyStop(str(error))
    if isinstance(error, AuthenticationError | NotConnected | SafetyStop):
        return error
    if isinstance(error, ConfigurationError) and not isinstance(error, DangerousCall):
        return error
    # The server is unreachable if no request has been answered since the operation began.
    return error if isinstance(error, ConnectionLost) and requester.generation.answered_at < began_at else None


def failure_of(error: CapgoError, request_id: str | None = None) -> Failed:
    """Return the failure for a final error; it is ambiguous if the request may have been processed."""
    if error.problem is Problem.ENDS_ROLLOUT:
        return Failed(CHANGED_SINCE, f"somebody else started a rollout after the plan was made: {error}")
    cause, status = type(error).__name__, None
    if isinstance(error, ApiError):
        cause, status, request_id = error.code, error.status, request_id or error.request_id
    return Failed(AMBIGUOUS if is_ambiguous(error) else cause, str(error), status, request_id)
