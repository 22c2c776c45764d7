"""Devices (contract C7)."""

import re
from typing import Final

import msgspec

from ..errors import ConfigurationError
from ..limits import Scope, ScopeKind
from ..models.device import stored_id
from ..wire import Request, encode
from .call import Call, checked_app_id, named

LARGEST_DEVICE_PAGE: Final = 500
"""Devices a page at most: backends cap their rows and then end a listing silently (contract C7, D20)."""


_ORDERS: Final = frozenset({None, "asc", "desc"})
_CHANGED_SINCE: Final = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?Z| \d\d:\d\d:\d\d)", re.ASCII)
"""The forms that the server takes (contract C7)."""
_ANY_MOMENT: Final = "1970-01-01 00:00:00"
"""The half of a cursor that counts only where the list has an order (contract C7)."""


class DeviceFilter(msgspec.Struct, frozen=True, kw_only=True):
    """What a device listing shows: `changed_since` is ISO 8601 in UTC ending in `Z`; `order` is `asc` or `desc` by change.

    `after` is the device id behind which the list begins, for those without an `order` (contract G3); servers before 12.56.16
    begin at the first all the same.
    """

    limit: int = 200
    custom_ids_only: bool = False
    changed_since: str | None = None
    order: str | None = None
    after: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= LARGEST_DEVICE_PAGE:
            message = f"limit {self.limit} is not between 1 and {LARGEST_DEVICE_PAGE}: larger pages end silently"
            raise ConfigurationError(message)
        if self.order not in _ORDERS:
            message = f"order {self.order!r} is neither asc nor desc"
            raise ConfigurationError(message)
        if self.changed_since is not None and not _CHANGED_SINCE.fullmatch(self.changed_since):
            message = f"changed_since {self.changed_since!r} is not ISO 8601 in UTC ending in Z, such as 2026-07-01T10:20:30Z"
            raise ConfigurationError(message)
        if self.after is not None and (self.order is not None or not self.after):
            message = f"after {self.after!r} is not a device id, or the list has an order: only by id it can begin behind one"
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
    if chosen.after is not None and not position:
        query += behind(stored_id(chosen.after))
    request = Request(method="GET", path="/device", query=(*query, *position))
    return Call(f"list devices of {app_id}", request, ((ScopeKind.APP_ADDRESS, app_id),))


def behind(device_id: str) -> tuple[tuple[str, str], ...]:
    """Return the position behind a device id, seen or not, in a list without an order (contract C7, G3)."""
    return (("cursor", f"{_ANY_MOMENT}|{device_id}"),)


def get_device(app_id: str, device_id: str) -> Call:
    """Ask for one device (contract C7)."""
    device_id = stored_id(named(device_id, "device id"))
    query = (("app_id", checked_app_id(app_id)), ("device_id", device_id))
    scopes = ((ScopeKind.APP_ADDRESS, app_id), (ScopeKind.DEVICE_OPERATION, app_id, device_id, "get"))
    return Call(f"get device {device_id} of {app_id}", Request(method="GET", path="/device", query=query), scopes)


class _Link(msgspec.Struct, frozen=True, gc=False):
    app_id: str
    device_id: str
    channel: str


def link_device(app_id: str, device_id: str, channel: str) -> Call:
    """Put a device on a channel; harmless to repeat, but the server refuses that for 60 s (contract C7, G1)."""
    device_id = stored_id(named(device_id, "device id"))
    body = encode(_Link(checked_app_id(app_id), device_id, named(channel, "channel")))
    scopes: tuple[Scope, ...] = (
        (ScopeKind.APP_ADDRESS, app_id),
        (ScopeKind.DEVICE_OPERATION, app_id, device_id, "set"),
        (ScopeKind.DEVICE_CHANNEL, app_id, device_id, channel),
    )
    return Call(f"link device {device_id} of {app_id}", Request(method="POST", path="/device", body=body), scopes)


class _SeedLink(msgspec.Struct, frozen=True, gc=False):
    app_id: str
    device_id: str
    version_id: str


def link_device_to_bundle(app_id: str, device_id: str, version_id: str) -> Call:
    """Put a device on a bundle of its own, as servers until 2024-12-24 took it; newer ones refuse it (contract C7, D18)."""
    device_id = stored_id(named(device_id, "device id"))
    body = encode(_SeedLink(checked_app_id(app_id), device_id, named(version_id, "version id")))
    scopes = ((ScopeKind.APP_ADDRESS, app_id), (ScopeKind.DEVICE_OPERATION, app_id, device_id, "set"))
    return Call(f"link device {device_id} of {app_id} to a bundle", Request(method="POST", path="/device", body=body), scopes)


def unlink_device(app_id: str, device_id: str) -> Call:
    """Remove a device's override; harmless to repeat (contract C7, G1)."""
    device_id = stored_id(named(device_id, "device id"))
    query = (("app_id", checked_app_id(app_id)), ("device_id", device_id))
    scopes = ((ScopeKind.APP_ADDRESS, app_id), (ScopeKind.DEVICE_OPERATION, app_id, device_id, "delete"))
    return Call(f"unlink device {device_id} of {app_id}", Request(method="DELETE", path="/device", query=query), scopes)
