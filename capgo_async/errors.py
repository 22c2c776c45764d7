"""The exceptions of this package. Longer than 300 lines because callers see all of them in one place.

    CapgoError
    ├── ConfigurationError        an option, a file or an argument is invalid; nothing was sent
    │   ├── DangerousCall         refused until the caller confirms it; nothing was changed
    │   └── NeedsApiKey           no session token may do this
    ├── TransportError            no response was received
    │   ├── NotConnected          no connection was made (address, name, TLS), so nothing was processed
    │   └── ConnectionLost        the request may have been processed
    │       └── TimedOut
    ├── ApiError                  the server responded with an error
    │   ├── AuthenticationError   the key was refused, or the address is locked out
    │   ├── PermissionDenied      no access, or no such thing: the server does not say which (contract A7)
    │   │   └── NeedsUserSession  no API key may do this
    │   ├── NotFound
    │   │   ├── BundleNotFound
    │   │   ├── ChannelNotFound
    │   │   ├── DeviceNotFound
    │   │   └── MemberNotFound
    │   ├── Conflict
    │   │   └── BundleLinked
    │   ├── InvalidRequest
    │   │   └── PublicChannelOverride
    │   ├── SubscriptionRequired
    │   ├── RateLimited
    │   └── ServerError
    ├── WouldWait                 the call would wait for longer than it may; it was not sent
    ├── UnreadableAnswer          a successful response whose body has an unexpected form
    ├── GraphNotSupported         the server sends numbers where it used to draw a graph
    ├── NotApplied                the server reported success, but its state shows otherwise
    ├── ListingError              a listing cannot be completed
    │   └── EmptyListing          the server lists nothing, although there must be something
    └── JobError                  a job file cannot be created, opened or continued
        ├── InputError            rows of a source were rejected
        ├── SafetyStop            a safety rule stopped the run; the rest can be run later
        └── DiskFull              no space is left for a file

No exception contains the API key. This file is longer than 300 lines so that the whole tree, with its advice, is in one place.
"""

import enum
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

__all__ = [
    "ApiError",
    "AuthenticationError",
    "BundleLinked",
    "BundleNotFound",
    "CapgoError",
    "ChannelNotFound",
    "ConfigurationError",
    "Conflict",
    "ConnectionLost",
    "DangerousCall",
    "DeviceNotFound",
    "DiskFull",
    "EmptyListing",
    "GraphNotSupported",
    "InputError",
    "InvalidRequest",
    "JobError",
    "ListingError",
    "MemberNotFound",
    "NeedsApiKey",
    "NeedsUserSession",
    "NotApplied",
    "NotConnected",
    "NotFound",
    "PermissionDenied",
    "Problem",
    "PublicChannelOverride",
    "RateLimited",
    "SafetyStop",
    "ServerError",
    "SubscriptionRequired",
    "TimedOut",
    "TransportError",
    "UnreadableAnswer",
    "WouldWait",
]


def __dir__() -> list[str]:
    return __all__


_NO_ROUTE: Final = 404
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}", re.ASCII)


class Problem(enum.StrEnum):
    """A problem that the caller may solve by changing an argument."""

    NO_API_KEY = "no_api_key"
    UNENCRYPTED = "unencrypted"
    """The base URL is plain http and not on this machine."""
    FORMAT_UNKNOWN = "format_unknown"
    NO_HEADER = "no_header"
    """The first line of a list seems to be a row."""
    NO_SUCH_COLUMN = "no_such_column"
    """No column of a list names the targets."""
    INVENTORY_MISSING = "inventory_missing"
    INVENTORY_UNRELATED = "inventory_unrelated"
    """An inventory of devices was given for a plan that changes no device."""
    DEVICES_UNKNOWN = "devices_unknown"
    DEVICES_HIDDEN = "devices_hidden"
    """The server lists no device although something contradicts that (contract C7)."""
    WORD_UNLISTED = "word_unlisted"
    """A word is not one of those that this release knows (contract E)."""
    ROW_UNREADABLE = "row_unreadable"
    """The row of a device has another form than expected."""
    SEVERAL_DEVICES = "several_devices"
    """Several devices have the same custom id (contract K4)."""
    MAY_LOSE_BUNDLE = "may_lose_bundle"
    """The server may remove a channel's bundle when its settings change (contract C6)."""
    ENDS_ROLLOUT = "ends_rollout"
    """A change would end the rollout of a channel (contract K2)."""
    RUNNING_ELSEWHERE = "running_elsewhere"
    """Another process is running the job."""
    OTHER_SERVER_OR_KEY = "other_server_or_key"
    """A job was made with another base URL or API key."""
    REQUESTS_SPENT = "requests_spent"
    TIME_SPENT = "time_spent"
    END_TIME_REACHED = "end_time_reached"
    TOO_MANY_FAILED = "too_many_failed"
    FAILED_IN_A_ROW = "failed_in_a_row"
    ACCESS_LOST = "access_lost"
    CHANNEL_GONE = "channel_gone"
    """A channel that the plan saw does not exist any more."""
    SERVER_FAILING = "server_failing"
    OTHER_SERVER = "other_server"
    """Something else responds in place of the API, such as a portal or a filter."""
    CONTRADICTED = "contradicted"
    """A fresh listing does not show what operations did."""
    NOT_LISTED = "not_listed"
    """A fresh listing does not show devices that it must show."""
    NOT_APPROVED = "not_approved"
    APPROVAL_NEEDED = "approval_needed"
    """A job whose waves need approval was run without a way to ask for it."""


class CapgoError(Exception):
    """Base class of every exception that this package raises.

    `problem` is set where the caller can solve it by changing an argument.
    """

    def __init__(self, *args: object, problem: Problem | None = None) -> None:
        super().__init__(*args)
        self.problem = problem

    def __reduce__(self) -> tuple[Any, ...]:
        """Keep all fields in pickles and copies, whatever arguments a class takes."""
        return _restored, (type(self), self.args), self.__dict__


def _restored(kind: type[CapgoError], args: tuple[object, ...]) -> CapgoError:
    """Return an exception with its arguments alone; pickle and copy add its fields."""
    return kind.__new__(kind, *args)


class ConfigurationError(CapgoError):
    """Raised when an option or an argument is invalid; nothing was sent."""


class DangerousCall(ConfigurationError):
    """Raised when a call would destroy more than it seems to and was not confirmed; nothing was changed.

    `confirm` is the value to pass as `confirm=`, or `None` if the call cannot be confirmed that way.
    """

    def __init__(self, danger: str, *, confirm: str | None = None, problem: Problem | None = None) -> None:
        way = "" if confirm is None else f" To do it all the same, pass confirm={confirm!r}."
        super().__init__(danger + way, problem=problem)
        self.danger = danger
        self.confirm = confirm


class NeedsApiKey(ConfigurationError):
    """Raised when a request takes API keys only, but a session token was given; it was not sent."""


class TransportError(CapgoError):
    """Raised when no response was received."""


class NotConnected(TransportError):
    """Raised when no connection could be made; nothing was processed."""


class ConnectionLost(TransportError):
    """Raised when the connection ended before the response; the request may have been processed."""


class TimedOut(ConnectionLost):
    """Raised when no response was received within the timeout; the request may have been processed."""


class ApiError(CapgoError):
    """Raised when the server responded with an error, in any form of error body (contract A6).

    `code` is the server's snake_case code, or one derived from its sentence. `details` is its `moreInfo`. `retry_after` is in
    seconds after the response arrived, or `None` if the server named no time.
    """

    def __init__(  # noqa: PLR0913 - one argument for each field of the response
        self,
        message: str,
        *,
        status: int,
        code: str,
        details: Mapping[str, Any] | None = None,
        request_id: str | None = None,
        server_version: str | None = None,
        retry_after: float | None = None,
        operation: str = "",
        body: bytes = b"",
    ) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        self.code = code
        self.details: Mapping[str, Any] = details or {}
        self.request_id = request_id
        self.server_version = server_version
        self.retry_after = retry_after
        self.operation = operation
        self.body = body
        self.hint = ""
        """Why the call may have failed, as far as the caller knows; replaces the advice."""

    @property
    def finding(self) -> str:
        """Return what the details add to the message: a word, or the first validation error (contract A6, C2)."""
        word, error = self.details.get("data"), self.details.get("error")
        for text in (word, error):
            if isinstance(text, str) and _WORD.fullmatch(text) and text not in {self.code, self.message}:
                return text
        issues = error.get("issues") if isinstance(error, Mapping) else None
        issue = issues[0] if isinstance(issues, list) and issues else None
        if not isinstance(issue, Mapping) or not isinstance(issue.get("message"), str):
            return ""
        path = issue.get("path")
        where = ".".join(map(str, path)) if isinstance(path, list) else ""
        return f"{where}: {issue['message']}" if where else str(issue["message"])

    @property
    def of_route(self) -> bool:
        """Return whether the path itself was not found, so that the error says nothing about the target."""
        return self.status == _NO_ROUTE and self.code in {"not_found", "not_json"}

    @property
    def reason(self) -> str | None:
        """Return the `reason` of a 429, which says which limit was met (contract A8)."""
        reason = self.details.get("reason")
        return reason if isinstance(reason, str) else None

    def as_kind(self, kind: type["ApiError"], message: str | None = None) -> "ApiError":
        """Return a copy of this error as another kind of exception, with another `message` if one is given."""
        copy = kind(
            self.message if message is None else message,
            status=self.status,
            code=self.code,
            details=self.details,
            request_id=self.request_id,
            server_version=self.server_version,
            retry_after=self.retry_after,
            operation=self.operation,
            body=self.body,
        )
        copy.hint = self.hint
        return copy

    @property
    def advice(self) -> str:
        """Return what the user can do next, or an empty string."""
        return self._advice

    _advice = ""

    def __str__(self) -> str:
        where = f"{self.operation}: " if self.operation else ""
        request = f", request {self.request_id}" if self.request_id else ""
        advice = f" {self.hint or self.advice}" if self.hint or self.advice else ""
        finding = f": {self.finding}" if self.finding else ""
        return f"{where}{self.message}{finding} (HTTP {self.status}, {self.code}{request}).{advice}"


class AuthenticationError(ApiError):
    """Raised when the key was refused, or the address is locked out (contract A2, B2)."""

    @property
    def locked_out(self) -> bool:
        """Return whether the address was refused, not the key: for 15 minutes after the last refused key."""
        return self.reason == "too_many_failed_auth_attempts"

    @property
    def advice(self) -> str:
        """Return what the user can do next."""
        if self.code == "invalid_jwt":
            return (
                "If it is a session token, it is invalid or has expired: sign in again for a new one. "
                "If it is an API key, it is no UUID, and must be sent in the header capgkey."
            )
        if self.locked_out:
            return "This address is locked out because keys were refused. Wait 15 minutes, then use a valid key."
        return "Check the API key. The request is not repeated: the server locks out addresses that keep sending refused keys."


class PermissionDenied(ApiError):
    """Raised when the key has no access or there is no such thing, which look alike (contract A7)."""

    _advice = "Check the spelling of the id, and that the key has access."


class NeedsUserSession(PermissionDenied):
    """Raised when no API key may do this, such as creating API keys on modern servers (contract C4)."""

    _advice = "Create the key in the console, or pass the token of a user session (a JWT) in place of the API key."


class NotFound(ApiError):
    """Raised when the thing does not exist."""

    @property
    def advice(self) -> str:
        """Return what the user can do next."""
        if self.of_route:
            return "The server has no such route. It may be too old for it, or the base URL is wrong."
        if "NO_EMAIL" in {self.code, self.finding}:
            return "Nobody has an account with this address. People must sign up before they can be invited."
        if self.code == "user_not_found":
            return (
                "Nobody has an account with this address. An open invitation of somebody without an account cannot be removed "
                "through this API: cancel it in the console, or wait until it expires, 7 days after it was sent."
            )
        return self._advice


class BundleNotFound(NotFound):
    """Raised when the app has no bundle with this name or id, or it was deleted (contract C8)."""

    _advice = "The name of a bundle is its version, exactly as it was uploaded."


class ChannelNotFound(NotFound):
    """Raised when the app has no channel with this name (contract D12).

    When a device is linked or a channel deleted, it may also mean that the key has no access to the app (contract A7).
    """

    @property
    def advice(self) -> str:
        """Return what the user can do next."""
        either = self.code in {"channel_not_found", "cannot_find_channel"}
        return f"Channel names are case-sensitive.{' Check also that the key has access to the app.' if either else ''}"


class DeviceNotFound(NotFound):
    """Raised when the server does not know the device, which may be linked all the same (contract C7)."""

    _advice = "The server knows a device once its app has asked for updates. It can be linked before."


class MemberNotFound(NotFound):
    """Raised when a user is not a member of the organization, and not invited to it (contract C2)."""


class Conflict(ApiError):
    """Raised when the thing exists already, or is in use."""

    @property
    def advice(self) -> str:
        """Return what the user can do next."""
        if self.code == "cannot_create_bundle":
            return "The name of a deleted bundle cannot be used again for 90 days. Choose another version."
        if "ALREADY_INVITED" in {self.code, self.finding}:
            return "An invitation does not change the role of somebody who is a member or invited already."
        return self._advice


class BundleLinked(Conflict):
    """Raised when a bundle cannot be deleted because a channel or a rollout uses it (contract C8)."""

    _advice = "Give the channel another bundle first."


class InvalidRequest(ApiError):
    """Raised when the server refused the arguments."""

    @property
    def advice(self) -> str:
        """Return what the user can do next."""
        if self.code in {"channel_zip_required", "channel_delta_required"}:
            return "The bundle cannot serve the update_package of the channel. Choose another bundle or another update_package."
        return self._advice


class PublicChannelOverride(InvalidRequest):
    """Raised when a device cannot be linked to a channel because the channel is public (contract C7)."""

    _advice = "To put a device on the public channel, remove its link."


class SubscriptionRequired(ApiError):
    """Raised when the organization has not paid or exceeds its plan (HTTP 402)."""

    _advice = "Check the organization's subscription and plan."


class RateLimited(ApiError):
    """Raised when a limit of the server was met (contract A8)."""

    _advice = "Send more slowly, or later."


class ServerError(ApiError):
    """Raised when the server failed; a write may have taken effect all the same (contract A9)."""

    _advice = "Try again later. If this was a write, check first whether it took effect."


class WouldWait(CapgoError):
    """Raised when a call would have to wait for longer than its `max_wait`, and was not sent.

    It may leave in `seconds`, as far as is known now: at `until` on the clock of the event loop, `anyio.current_time()`. Both
    mean now if only the responses to other requests can tell. `limit` is the code of the limit that holds it back, as in
    `capgo_async.events`, or empty if there is none, and `app` is the app of this limit. If a limit refused the call before,
    that error is the cause.

    `operation` names the request that was not sent. A method that makes several requests may have sent others; `written` is
    whether one of them may have changed something.
    """

    def __init__(  # noqa: PLR0913 - what a caller may want to know
        self,
        *,
        until: float = 0.0,
        seconds: float = 0.0,
        limit: str = "",
        app: str = "",
        operation: str = "",
        written: bool = False,
    ) -> None:
        super().__init__()
        self.until = until
        self.seconds = seconds
        self.limit = limit
        self.app = app
        self.operation = operation
        self.written = written

    def __str__(self) -> str:
        where = f"{self.operation}: " if self.operation else ""
        of_app = f" of {self.app}" if self.app else ""
        limit = f"the limit {self.limit}{of_app} lets it leave in {self.seconds:.1f} s"
        why = limit if self.limit else "other requests are ahead"
        earlier = " Earlier requests of this call may have changed something." if self.written else ""
        sent = "refused, and not sent again" if isinstance(self.__cause__, CapgoError) else "not sent"
        return f"{where}{sent}, because {why}, and max_wait ends before.{earlier}"


class UnreadableAnswer(CapgoError):
    """Raised when the body of a successful response does not have the expected form.

    `row` is the number of the row on its page, from 1, and `field` the name of the field that has another form, if one is to
    blame. `name` is what names the row, such as `device_id d2`, where the caller asked for the other rows.
    """

    def __init__(self, message: str, *, row: int | None = None, field: str = "") -> None:
        super().__init__(message)
        self.row = row
        self.field = field
        self.name = ""


class GraphNotSupported(CapgoError):
    """Raised when the server sent numbers instead of a graph, as it does since 2025-02-03 (contract D40)."""


class NotApplied(CapgoError):
    """Raised when the server reported success, but its state shows otherwise (contract C1, C6, D48)."""


class ListingError(CapgoError):
    """Raised when a listing cannot be completed; a part of it is never returned as the whole."""


class EmptyListing(ListingError):
    """Raised when a listing is empty although something shows that it cannot be.

    The server responds so while it cannot read its data, so the listing proves nothing (contract C7).
    """


class JobError(CapgoError):
    """Raised when a job file cannot be created, opened or continued."""


class InputError(JobError):
    """Raised when a source cannot be used.

    `rejected` holds the first bad rows as `(line, cause, reason)`, with the value of a `capgo_async.bulk.Cause` and a sentence.
    `count` is the number of all bad rows, and `good` that of the others.
    """

    def __init__(
        self,
        message: str,
        *,
        rejected: Sequence[tuple[int, str, str]] = (),
        count: int = 0,
        good: int = 0,
        problem: Problem | None = None,
    ) -> None:
        super().__init__(message, problem=problem)
        self.rejected = tuple(rejected)
        self.count = count
        self.good = good


class SafetyStop(JobError):
    """Raised when a safety rule stopped a run; its outcomes are recorded, and the rest can be run later."""


class DiskFull(JobError):
    """Raised when no space is left for a file; a job can be continued once there is some."""
