"""One function per endpoint: arguments to a `Call`, with its scopes and whether it may be repeated (contract C, G1)."""

import re
from typing import Final
from urllib.parse import quote

import msgspec

from .errors import ConfigurationError
from .limits import Scope, ScopeKind
from .retry import Repeat
from .wire import Request, encode

APP_ID: Final = re.compile(r"[a-z0-9]+(\.[a-z0-9_-]+)+", re.IGNORECASE | re.ASCII)
"""The form of an app id that the server enforces (contract A4); use with `fullmatch`."""

LARGEST_DEVICE_PAGE: Final = 500
"""Devices a page at most: backends cap their rows and then end a listing silently (contract C7, D20)."""


_ORDERS: Final = frozenset({None, "asc", "desc"})
_CHANGED_SINCE: Final = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?Z| \d\d:\d\d:\d\d)", re.ASCII)
"""The forms that the server takes (contract C7)."""


class Call(msgspec.Struct, frozen=True, gc=False):
    """A request that knows its name, what limits count it, and whether repeating it is harmless."""

    name: str
    request: Request
    scopes: tuple[Scope, ...] = ()
    repeat: Repeat = Repeat.HARMLESS
    keyed: bool = True


def ok() -> Call:
    """Ask the server for its health: no key, no quota (contract C10)."""
    return Call("check the server", Request(method="GET", path="/ok"), keyed=False)


def list_apps(page: int, limit: int, org_id: str | None = None) -> Call:
    """Ask for one page of apps; pages count from 0 (contract C5)."""
    query = [("page", str(page)), ("limit", str(limit))]
    if org_id is not None:
        query.append(("org_id", named(org_id, "organization id")))
    return Call("list apps", Request(method="GET", path="/app", query=tuple(query)))


def get_app(app_id: str) -> Call:
    """Ask for one app (contract C5)."""
    return Call(f"get app {checked_app_id(app_id)}", Request(method="GET", path=f"/app/{quote(app_id, safe='')}"))


def list_channels(app_id: str, page: int) -> Call:
    """Ask for one page of channels; pages count from 0 (contract C6)."""
    query = (("app_id", checked_app_id(app_id)), ("page", str(page)))
    return Call(f"list channels of {app_id}", Request(method="GET", path="/channel", query=query))


def get_channel(app_id: str, name: str) -> Call:
    """Ask for one channel by its exact name (contract C6)."""
    query = (("app_id", checked_app_id(app_id)), ("channel", named(name, "channel")))
    return Call(f"get channel {name} of {app_id}", Request(method="GET", path="/channel", query=query))


def list_bundles(app_id: str, page: int) -> Call:
    """Ask for one page of bundles; pages count from 0 (contract C8)."""
    query = (("app_id", checked_app_id(app_id)), ("page", str(page)))
    return Call(f"list bundles of {app_id}", Request(method="GET", path="/bundle", query=query))


class DeviceFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What a device listing shows: `changed_since` is ISO 8601 in UTC ending in `Z`; `order` is `asc` or `desc` by change."""

    limit: int = 200
    custom_ids_only: bool = False
    changed_since: str | None = None
    order: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= LARGEST_DEVICE_PAGE:
            message = f"limit {self.limit} is not between 1 and {LARGEST_DEVICE_PAGE}: larger pages end silently (contract C7)"
            raise ConfigurationError(message)
        if self.order not in _ORDERS:
            message = f"order {self.order!r} is neither asc nor desc"
            raise ConfigurationError(message)
        if self.changed_since is not None and not _CHANGED_SINCE.fullmatch(self.changed_since):
            message = f"changed_since {self.changed_since!r} is not ISO 8601 in UTC ending in Z, such as 2026-07-01T10:20:30Z"
            raise ConfigurationError(message)


def list_devices(app_id: str, chosen: DeviceFilter, position: tuple[tuple[str, str], ...]) -> Call:
    """Ask for one page of devices; `position` is the cursor or the page that comes next (contract C7)."""
    query = [("app_id", checked_app_id(app_id)), ("limit", str(chosen.limit))]
    if chosen.custom_ids_only:
        query.append(("customIdMode", "true"))
    if chosen.changed_since is not None:
        query.append(("updated_at", chosen.changed_since))
    if chosen.order is not None:
        query.append(("order", chosen.order))
    request = Request(method="GET", path="/device", query=(*query, *position))
    return Call(f"list devices of {app_id}", request, ((ScopeKind.APP_ADDRESS, app_id),))


def get_device(app_id: str, device_id: str) -> Call:
    """Ask for one device (contract C7)."""
    device_id = named(device_id, "device id").lower()
    query = (("app_id", checked_app_id(app_id)), ("device_id", device_id))
    scopes = ((ScopeKind.APP_ADDRESS, app_id), (ScopeKind.DEVICE_OPERATION, app_id, device_id, "get"))
    return Call(f"get device {device_id} of {app_id}", Request(method="GET", path="/device", query=query), scopes)


class _Link(msgspec.Struct, frozen=True, gc=False):
    app_id: str
    device_id: str
    channel: str


def link_device(app_id: str, device_id: str, channel: str) -> Call:
    """Put a device on a channel; harmless to repeat, but the server refuses that for 60 s (contract C7, G1)."""
    device_id = named(device_id, "device id").lower()
    body = encode(_Link(checked_app_id(app_id), device_id, named(channel, "channel")))
    scopes: tuple[Scope, ...] = (
        (ScopeKind.APP_ADDRESS, app_id),
        (ScopeKind.DEVICE_OPERATION, app_id, device_id, "set"),
        (ScopeKind.DEVICE_CHANNEL, app_id, device_id, channel),
    )
    return Call(f"link device {device_id} of {app_id}", Request(method="POST", path="/device", body=body), scopes)


def unlink_device(app_id: str, device_id: str) -> Call:
    """Remove a device's override; harmless to repeat (contract C7, G1)."""
    device_id = named(device_id, "device id").lower()
    query = (("app_id", checked_app_id(app_id)), ("device_id", device_id))
    scopes = ((ScopeKind.APP_ADDRESS, app_id), (ScopeKind.DEVICE_OPERATION, app_id, device_id, "delete"))
    return Call(f"unlink device {device_id} of {app_id}", Request(method="DELETE", path="/device", query=query), scopes)


def checked_app_id(app_id: str) -> str:
    """Return `app_id` if the server would take its form, else raise `ConfigurationError` before any I/O (contract A4)."""
    if not APP_ID.fullmatch(app_id):
        message = f"app id {app_id!r} is not in reverse-domain form, such as com.example.app"
        raise ConfigurationError(message)
    return app_id


def named(value: str, what: str) -> str:
    """Return a non-blank `value`: an empty parameter means something else to the server (contract C6, C7)."""
    if not value.strip():
        message = f"the {what} cannot be empty"
        raise ConfigurationError(message)
    try:
        value.encode()
    except UnicodeEncodeError as error:
        message = f"{what} {value!r} is not text that can be sent: {error.reason}"
        raise ConfigurationError(message) from None
    return value
