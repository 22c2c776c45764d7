"""What happens, as typed events, of which hooks, timelines, progress and logs are made.

An event is handed to those that listen at the moment it happens, by the task in which it happens. So events contain no time of
day: a listener reads its own clock, and `bulk.timeline.Moment` adds the time in UTC to those that a job file keeps. All
durations are in seconds, and those that lie ahead count from now. `limit` is the code of a limit: a value of `ScopeKind`,
`unnamed` if a refusal did not name it, or one of the two below. `app` is
an app id, or empty for what concerns no single app. `key` is a digest that names an API key within this process. `call` is the
number of a call in this process: all attempts, waits and retries of a call have it, and 0 means none. No event contains an API
key or a body. The file is longer than 300 lines because it lists everything that can happen.
"""

import re
from typing import Final

import msgspec

__all__ = [
    "KEY_DOUBTED",
    "OTHER_JOB",
    "ApprovalAnswered",
    "ApprovalAsked",
    "AttemptBegan",
    "AttemptEnded",
    "BakeBegan",
    "BakeEnded",
    "CallBegan",
    "CallEnded",
    "ConcurrencyChanged",
    "Event",
    "ForecastMade",
    "KeyRefused",
    "LimitInForce",
    "LimitLearned",
    "LimitMet",
    "LimitUse",
    "LimitsInUse",
    "OperationsSettled",
    "OtherUsersNoticed",
    "Progress",
    "RestBegan",
    "RestEnded",
    "RetryPlanned",
    "RunBegan",
    "RunEnded",
    "ServerAway",
    "ServerBack",
    "ServerVersionChanged",
    "WaitBegan",
    "WaitEnded",
    "WaveBegan",
    "WaveEnded",
]


def __dir__() -> list[str]:
    return __all__


OTHER_JOB: Final = "other_job"
"""Stands for the pause after refusals of links that another job has just set (contract B2)."""
KEY_DOUBTED: Final = "key_doubted"
"""Stands for the pause of an API key that was refused after it had worked (contract G5)."""


def _tag(name: str) -> str:
    return re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower()


class _Event(msgspec.Struct, frozen=True, gc=False, tag_field="event", tag=_tag):
    pass


class CallBegan(_Event, frozen=True, kw_only=True):
    """A method of the client makes a call of the API, or goes on with one that was `parked`.

    It may wait before its first request leaves. `base_url` is that of the server.
    """

    call: int
    operation: str
    method: str
    path: str
    base_url: str
    app: str = ""


class CallEnded(_Event, frozen=True, kw_only=True):
    """A call has ended, with an `error` or without, after `seconds` in all, waits included.

    `resends` is how many requests it sent after the first. `parked` is set if it has to wait and goes on later: its operation
    of a job frees its place for others.
    """

    call: int
    operation: str
    error: str | None
    seconds: float
    resends: int = 0
    app: str = ""
    parked: bool = False


class AttemptBegan(_Event, frozen=True, kw_only=True):
    """A request leaves.

    `number` counts the attempts of its call, and `in_flight` all requests under way, with this one. `resends` is how many
    requests its call has sent before, with those that a limit refused, which `number` does not count.
    """

    operation: str
    method: str
    path: str
    request_id: str
    number: int
    app: str = ""
    in_flight: int = 0
    call: int = 0
    resends: int = 0


class AttemptEnded(_Event, frozen=True, kw_only=True):
    """An attempt has ended.

    `status` is `None` if there was no response. `seconds` does not include the time spent waiting for limits. `sent` is false
    if nothing left, because there was no connection. `refused` is the limit that refused it, or empty. `in_flight` counts the
    requests still under way. `allowed` is the number that may be in flight from now on, which falls below the client's
    `concurrency` while the server fails. `ended_at` is on the clock of `anyio.current_time()`, which tells no time of day.
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
    app: str = ""
    in_flight: int = 0
    sent: bool = True
    refused: str = ""
    ended_at: float = 0.0
    call: int = 0


class RetryPlanned(_Event, frozen=True, kw_only=True):
    """A call that failed is sent again in `seconds`.

    `number` counts its attempts so far. Why the last one failed is told by its `AttemptEnded` with this `request_id`.
    """

    operation: str
    request_id: str | None
    number: int
    seconds: float
    call: int = 0


class WaitBegan(_Event, frozen=True, kw_only=True):
    """A request waits for a limit, for about `seconds`. Told again if it has to wait longer than that.

    `asked` is set if the server asks to wait longer than any limit takes; one request tries after `seconds` all the same.
    """

    limit: str
    app: str = ""
    seconds: float
    asked: float | None = None
    call: int = 0


class WaitEnded(_Event, frozen=True, kw_only=True):
    """A request has waited for a limit, for `seconds`, and leaves or was given up."""

    limit: str
    app: str = ""
    seconds: float
    call: int = 0


class LimitMet(_Event, frozen=True, kw_only=True):
    """The server refused a request because of a limit.

    Nothing that this limit counts leaves for about `seconds`. `asked` is as in `WaitBegan`.
    """

    limit: str
    app: str = ""
    seconds: float
    asked: float | None = None


class LimitLearned(_Event, frozen=True, kw_only=True):
    """Refusals have taught that a limit allows `requests`; with `None`, a learned one was too small.

    `key` is empty for what is no limit of a key.
    """

    limit: str
    app: str = ""
    key: str = ""
    requests: int | None


class LimitUse(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """How many requests count against a limit now, and how many it allows within `seconds`."""

    limit: str
    app: str = ""
    used: int
    allowed: int
    seconds: float = 0.0


class LimitsInUse(_Event, frozen=True, kw_only=True):
    """How far the limits of keys and apps are used, the fullest first.

    Told about once a second while requests leave, and when none is in flight any more.
    """

    limits: tuple[LimitUse, ...]


class OtherUsersNoticed(_Event, frozen=True, kw_only=True):
    """Refusals show that the API key is also used elsewhere. Told once for each key."""

    key: str


class KeyRefused(_Event, frozen=True, kw_only=True):
    """The server refused an API key. It is probed after `seconds`, or, with `None`, never used again."""

    key: str
    code: str
    seconds: float | None


class ConcurrencyChanged(_Event, frozen=True, kw_only=True):
    """The number of requests that may be in flight has changed: the server fails, or has recovered."""

    before: int
    allowed: int
    most: int


class ServerVersionChanged(_Event, frozen=True, kw_only=True):
    """A response named another server version than the one before it. `before` is empty for the first."""

    before: str
    version: str


class RunBegan(_Event, frozen=True, kw_only=True):
    """A run of a job begins, with `operations` left to send, none if it only reads.

    `program` is the version of this package.
    """

    run: int
    operations: int
    program: str


class LimitInForce(_Event, frozen=True, kw_only=True):
    """A limit that a run keeps to as it begins: `requests` in any `seconds`.

    That of an API key is told for each `key` that the run uses; others hold for each app. Refusals may teach a smaller one
    later, see `LimitLearned`. A refusal that names no limit adds one for its key, `unnamed`, which is told at once.
    """

    limit: str
    key: str = ""
    requests: int
    seconds: float


class RunEnded(_Event, frozen=True, kw_only=True):
    """A run has ended. `how` is a value of `Ended`; `reason` is for people, and set if it was stopped."""

    run: int
    how: str
    reason: str | None = None


class OperationsSettled(_Event, frozen=True, kw_only=True):
    """Operations of an app were recorded as done or failed. Told about once a second for each app."""

    app: str
    done: int
    failed: int


class RestBegan(_Event, frozen=True, kw_only=True):
    """A run sends nothing, because of a limit, and goes on in about `seconds`.

    `asked` is as in `WaitBegan`.
    """

    limit: str
    app: str = ""
    seconds: float
    asked: float | None = None


class RestEnded(_Event, frozen=True, kw_only=True):
    """A rest of a run is over. Nothing was in flight for `seconds`."""

    limit: str
    app: str = ""
    seconds: float


class WaveBegan(_Event, frozen=True, kw_only=True):
    """A wave begins, or goes on after an interruption.

    `share` is the part of each app that this wave and those before it cover.
    """

    wave: int
    share: str
    operations: int


class WaveEnded(_Event, frozen=True, kw_only=True):
    """A wave is over.

    `state` is `verified`, `cannot_tell` if the server shows nothing of it, or `stopped` if the run ends with it.
    `done` and `failed` are operations of this wave, `contradicted` those of all waves so far.
    """

    wave: int
    state: str
    done: int
    failed: int
    contradicted: int


class BakeBegan(_Event, frozen=True, kw_only=True):
    """The pause after a wave begins, or goes on. It takes another `seconds`."""

    wave: int
    seconds: float


class BakeEnded(_Event, frozen=True, kw_only=True):
    """The pause after a wave is over, or was interrupted when `left` seconds of it remained."""

    wave: int
    left: float = 0.0


class ApprovalAsked(_Event, frozen=True, kw_only=True):
    """It is asked whether to go on after a wave. `attempt` counts how often it was asked."""

    wave: int
    attempt: int = 1


class ApprovalAnswered(_Event, frozen=True, kw_only=True):
    """The answer to `ApprovalAsked`: `approved`, `again` (ask again later) or `declined`.

    `reason` is for people, and may be empty.
    """

    wave: int
    answer: str
    reason: str = ""


class ServerAway(_Event, frozen=True, kw_only=True):
    """The server cannot be reached, and the run waits for it.

    It is probed again in `seconds`. The run has waited for `so_far` seconds.
    """

    seconds: float
    so_far: float


class ServerBack(_Event, frozen=True, kw_only=True):
    """The server can be reached again, after `seconds`."""

    seconds: float


class ForecastMade(_Event, frozen=True, kw_only=True):
    """A job with `operations` left ends in about `seconds`, and at most `more` later.

    `planning` is whether the forecast belongs to the plan; otherwise it was made at the start of a run.
    """

    operations: int
    seconds: float
    more: float
    planning: bool = False


class Progress(_Event, frozen=True, kw_only=True):
    """How far a run is, at most once a second.

    `rate` is operations a second over the last minute. The run ends in about `seconds_left`, and at most `more` later; `None`
    if that is unknown. `resting` is the limit for which the run rests, or empty.
    """

    done: int
    failed: int
    pending: int
    in_flight: int
    rate: float
    seconds_left: float | None
    more: float | None
    resting: str = ""
    limits: tuple[LimitUse, ...] = ()


Event = (
    CallBegan
    | CallEnded
    | AttemptBegan
    | AttemptEnded
    | RetryPlanned
    | WaitBegan
    | WaitEnded
    | LimitMet
    | LimitLearned
    | LimitsInUse
    | OtherUsersNoticed
    | KeyRefused
    | ConcurrencyChanged
    | ServerVersionChanged
    | RunBegan
    | LimitInForce
    | RunEnded
    | OperationsSettled
    | RestBegan
    | RestEnded
    | WaveBegan
    | WaveEnded
    | BakeBegan
    | BakeEnded
    | ApprovalAsked
    | ApprovalAnswered
    | ServerAway
    | ServerBack
    | ForecastMade
    | Progress
)
"""Everything that is told.

In JSON, the field `event` is the name in snake case, such as `attempt_ended`.
"""
