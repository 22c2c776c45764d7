"""The exceptions of this package.

    CapgoError
    ├── ConfigurationError        an option, a file or an argument is wrong; nothing was sent
    │   └── DangerousCall         refused before any change until the caller says it explicitly
    ├── TransportError            no answer
    │   ├── NotConnected          nothing can have left: no server, no name, no TLS
    │   └── ConnectionLost        the request may have been processed
    │       └── TimedOut
    ├── ApiError                  the server answered with an error
    │   ├── AuthenticationError   the key was refused, or the address is locked out
    │   ├── PermissionDenied      no access, or it does not exist: the server does not tell (contract A7)
    │   │   └── NeedsUserSession  no API key may do this
    │   ├── NotFound
    │   │   ├── BundleNotFound
    │   │   ├── ChannelNotFound
    │   │   └── DeviceNotFound
    │   ├── Conflict
    │   │   └── BundleLinked
    │   ├── InvalidRequest
    │   │   └── PublicChannelOverride
    │   ├── SubscriptionRequired
    │   ├── RateLimited
    │   └── ServerError
    ├── UnreadableAnswer          a success whose body is not what the contract says
    ├── GraphNotSupported         the server answers with numbers where it used to draw
    ├── NotApplied                the server said yes, and a look afterwards says no
    ├── ListingError              a listing that cannot be completed
    └── JobError                  a job file that cannot be made, opened or continued
        ├── InputError            the rows of a source were refused
        ├── SafetyStop            a rule stopped the run; what is open can be run later
        └── DiskFull              no room for the job file

No exception carries the API key. Past 300 lines because the tree is read in one place, with what each error advises.
"""

import enum
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

_NO_ROUTE: Final = 404
_WORD: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,79}", re.ASCII)


class Problem(enum.StrEnum):
    """What stands in the way, where the caller may want to change an argument and go on."""

    NO_API_KEY = "no_api_key"
    UNENCRYPTED = "unencrypted"
    """The base URL is plain http and leads beyond this machine."""
    FORMAT_UNKNOWN = "format_unknown"
    INVENTORY_UNRELATED = "inventory_unrelated"
    """An inventory of devices was given for a plan that changes none."""
    DEVICES_UNKNOWN = "devices_unknown"
    MAY_LOSE_BUNDLE = "may_lose_bundle"
    """The server may take a channel's bundle away when settings change (contract C6)."""
    OTHER_SERVER_OR_KEY = "other_server_or_key"
    """A job was made with another base URL or API key."""
    REQUESTS_SPENT = "requests_spent"
    TIME_SPENT = "time_spent"
    END_TIME_REACHED = "end_time_reached"
    TOO_MANY_FAILED = "too_many_failed"
    FAILED_IN_A_ROW = "failed_in_a_row"
    ACCESS_LOST = "access_lost"
    SERVER_FAILING = "server_failing"
    CONTRADICTED = "contradicted"
    """A fresh listing does not show what operations have done."""


class CapgoError(Exception):
    """Base class of every exception that this package raises.

    `problem` is what stands in the way, where an argument of the caller's decides on it.
    """

    def __init__(self, *args: object, problem: Problem | None = None) -> None:
        super().__init__(*args)
        self.problem = problem


class ConfigurationError(CapgoError):
    """Say that an option or an argument is wrong; nothing was sent."""


class DangerousCall(ConfigurationError):
    """Refuse a call that destroys more than it seems to, until the caller says so explicitly; nothing was changed.

    `confirm` is what the caller repeats to say so, `None` where that is not the way to go on.
    """

    def __init__(self, danger: str, *, confirm: str | None = None, problem: Problem | None = None) -> None:
        way = "" if confirm is None else f" If that is meant, say so with confirm={confirm!r}."
        super().__init__(danger + way, problem=problem)
        self.danger = danger
        self.confirm = confirm


class TransportError(CapgoError):
    """Say that no answer arrived."""


class NotConnected(TransportError):
    """Say that no connection could be made, so that nothing can have been processed."""


class ConnectionLost(TransportError):
    """Say that the connection ended before the answer: the request may have been processed."""


class TimedOut(ConnectionLost):
    """Say that no answer came within the timeout: the request may have been processed."""


class ApiError(CapgoError):
    """Say what the server answered, whatever the generation of its error body (contract A6).

    `code` is the server's snake_case code, or one derived from its sentence; `details` is its `moreInfo`; `retry_after` is in
    seconds from the arrival of the answer, `None` when the server named no time.
    """

    def __init__(  # noqa: PLR0913 - one field each of what the answer said; all but the first are named
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
        """What the caller knows beyond the answer of why it may have failed; said in place of the advice."""

    @property
    def finding(self) -> str:
        """Return what the details add to the message: a word, or the first fault that a validation found (contract A6, C2)."""
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
        """Tell whether no handler of the API made this error: nothing answers at this path, which proves nothing else."""
        return self.status == _NO_ROUTE and self.code in {"not_found", "not_json"}

    @property
    def reason(self) -> str | None:
        """Return the `reason` of a 429, which tells the limits apart (contract A8)."""
        reason = self.details.get("reason")
        return reason if isinstance(reason, str) else None

    def as_kind(self, kind: type["ApiError"]) -> "ApiError":
        """Return the same answer as another exception: a copy to raise elsewhere, or a code that meant something else."""
        return kind(
            self.message,
            status=self.status,
            code=self.code,
            details=self.details,
            request_id=self.request_id,
            server_version=self.server_version,
            retry_after=self.retry_after,
            operation=self.operation,
            body=self.body,
        )

    @property
    def advice(self) -> str:
        """Say what the user can do next, or nothing."""
        return self._advice

    _advice = ""

    def __str__(self) -> str:
        where = f"{self.operation}: " if self.operation else ""
        request = f", request {self.request_id}" if self.request_id else ""
        advice = f" {self.hint or self.advice}" if self.hint or self.advice else ""
        finding = f": {self.finding}" if self.finding else ""
        return f"{where}{self.message}{finding} (HTTP {self.status}, {self.code}{request}).{advice}"


class AuthenticationError(ApiError):
    """Say that the key was refused, or that this address is locked out because of refused keys (contract A2, B2)."""

    @property
    def locked_out(self) -> bool:
        """Tell whether the address, not the key, is refused: 15 minutes from the last failed login."""
        return self.reason == "too_many_failed_auth_attempts"

    @property
    def advice(self) -> str:
        """Say what the user can do next."""
        if self.locked_out:
            return "This address is locked out because of refused keys: wait 15 minutes and use a valid key."
        return "Check the API key; it is not tried again, because refused keys lock the address out."


class PermissionDenied(ApiError):
    """Say that the key has no access, or that the thing does not exist: the server does not tell (contract A7)."""

    _advice = "Check that the id is spelt as the server knows it and that the key may do this."


class NeedsUserSession(PermissionDenied):
    """Say that only a signed-in user may do this: on modern servers no API key makes API keys (contract C4)."""

    _advice = "Make the key in the console, or pass the token of a user session as the key of a client of its own."


class NotFound(ApiError):
    """Say that the thing does not exist."""

    @property
    def advice(self) -> str:
        """Say what the user can do next."""
        if self.of_route:
            return "The server has no such route: its generation may lack it, or the base URL leads elsewhere."
        if "NO_EMAIL" in {self.code, self.finding}:
            return "Nobody has an account with this address: who is invited signs up first."
        return self._advice


class BundleNotFound(NotFound):
    """Say that the app has no bundle of this name or id, or not any more (contract C8)."""

    _advice = "A bundle's name is its version, exactly as it was registered."


class ChannelNotFound(NotFound):
    """Say that the app has no channel of this name (contract D12)."""

    _advice = "Channel names are case-sensitive."


class DeviceNotFound(NotFound):
    """Say that the inventory does not know the device; it may still have an override (contract C7)."""

    _advice = "The inventory knows a device once it has called the updater; it can be linked all the same."


class Conflict(ApiError):
    """Say that the thing exists already, or that something else holds it."""

    @property
    def advice(self) -> str:
        """Say what the user can do next."""
        if self.code == "cannot_create_bundle":
            return "The name of a deleted bundle cannot be used again for 90 days: choose another version."
        if "ALREADY_INVITED" in {self.code, self.finding}:
            return "A member, or who is invited, keeps the role: an invitation does not change it."
        return self._advice


class BundleLinked(Conflict):
    """Say that a channel or a rollout uses the bundle, so that it cannot be deleted (contract C8)."""

    _advice = "Give the channel another bundle first."


class InvalidRequest(ApiError):
    """Say that the server refused the arguments."""


class PublicChannelOverride(InvalidRequest):
    """Say that a public channel cannot be linked to a device (contract C7)."""

    _advice = "To put a device on the public channel, remove its link."


class SubscriptionRequired(ApiError):
    """Say that the organization is unpaid or over its plan (HTTP 402)."""

    _advice = "Check the organization's subscription and plan."


class RateLimited(ApiError):
    """Say that a limit of the server was met (contract A8)."""

    _advice = "Send more slowly, or later."


class ServerError(ApiError):
    """Say that the server failed; a write may have happened all the same (contract A9)."""

    _advice = "Try again later; if this was a write, look first whether it happened."


class UnreadableAnswer(CapgoError):
    """Say that a successful answer does not have the shape that the contract names."""


class GraphNotSupported(CapgoError):
    """Say that the server sent numbers where a picture was asked for: it draws none since 2025-02-03 (contract D40)."""


class NotApplied(CapgoError):
    """Say that the server reported success, but that its state shows otherwise (contract C1, C6, D48)."""


class ListingError(CapgoError):
    """Say that a listing cannot be completed, so that nobody takes a part for the whole."""


class JobError(CapgoError):
    """Say that a job file cannot be made, opened or continued."""


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
    """Say which rule stopped a run; everything that came of it is recorded, and the rest can be run later."""


class DiskFull(JobError):
    """Say that there is no room for the job file; the job can go on once there is."""
