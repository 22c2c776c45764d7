"""Devices (contract C7)."""

import re
from typing import Final

import msgspec

from ...errors import ConfigurationError
from ...http.call import Call
from ...http.wire import Request, encode
from ...limits.models import Scope, ScopeKind
from ..models.device import stored_id
from ..words import DeviceOrder, Word, check_words
from .arguments import checked_app_id, named

LARGEST_DEVICE_PAGE: Final = 350
"""Most devices per page (contract C7, D20).

With more, servers leave out the channels of all devices, or end a listing silently.
"""

LONGEST_CUSTOM_ID: Final = 36
"""Most characters of a custom id that a listing can be filtered by (contract C7, F)."""
PAGE_OF_DEVICES: Final = "page of GET /device"
"""Kind of these requests: a page takes longer than a single device."""

_CHANGED_SINCE: Final = re.compile(r"\d{4}-\d\d-\d\d(T\d\d:\d\d(:\d\d(\.\d+)?)?Z| \d\d:\d\d:\d\d)", re.ASCII)
"""The formats that the server accepts (contract C7)."""
_ANY_MOMENT: Final = "1970-01-01 00:00:00"
"""The first half of a cursor, which the server reads only if the listing has an order (contract C7)."""


class DeviceFilter(msgspec.Struct, frozen=True, kw_only=True):
    """Which devices a listing shows, and in what order (contract C7).

    - `limit`: devices per page.
    - `custom_id`: only devices with this custom id, which several devices may share. Servers before August 2026 list all
      devices; a listing leaves the others out and says so (contract K4).
    - `changed_since`: an ISO 8601 time in UTC that ends in `Z`.
    - `order`: `asc` or `desc` by the time of the last change. Without it, devices are listed by id.
    - `after`: start after this device id; only without an `order` (contract G3). Servers before 12.56.16 ignore it.
    """

    limit: int = 200
    custom_id: str | None = None
    custom_ids_only: bool = False
    changed_since: str | None = None
    order: Word[DeviceOrder] | None = None
    after: str | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.limit <= LARGEST_DEVICE_PAGE:
            message = (
                f"limit {self.limit} is not between 1 and {LARGEST_DEVICE_PAGE}: on larger pages, servers leave out the "
                "channels of devices without saying so"
            )
            raise ConfigurationError(message)
        if self.custom_id is not None and len(named(self.custom_id, "custom id").strip()) > LONGEST_CUSTOM_ID:
            message = f"custom id {self.custom_id!r} is longer than {LONGEST_CUSTOM_ID} characters"
            raise ConfigurationError(message)
        check_words(self)
        if self.changed_since is not None and not _CHANGED_SINCE.fullmatch(self.changed_since):
            message = f"changed_since {self.changed_since!r} is not a time in UTC such as 2026-07-01T10:20:30Z"
            raise ConfigurationError(message)
        if self.after is not None and (self.order is not None or not self.after):
            message = f"after {self.after!r} must be a device id, and works only without an order"
            raise ConfigurationError(message)


def list_devices(app_id: str, chosen: DeviceFilter, position: tuple[tuple[str, str], ...]) -> Call:
    """List one page of devices; `position` is the cursor or the number of the page (contract C7)."""
    query = [("app_id", checked_app_id(app_id)), ("limit", str(chosen.limit))]
    if chosen.custom_id is not None:
        query.append(("custom_id", chosen.custom_id.strip()))
    if chosen.custom_ids_only:
        query.append(("customIdMode", "true"))
    if chosen.changed_since is not None:
        query.append(("updated_at", chosen.changed_since))
    if chosen.order is not None:
        query.append(("order", chosen.order))
    if chosen.after is not None and not position:
        query += behind(stored_id(chosen.after))
    request = Request(method="GET", path="/device", query=(*query, *position))
    return Call(f"list devices of {app_id}", request, ((ScopeKind.APP_ADDRESS, app_id),), timed_as=PAGE_OF_DEVICES, app=app_id)


def probe_custom_id_filter(app_id: str) -> Call:
    """Ask for a custom id that is too long, which only servers that know the filter refuse (contract K0)."""
    query = (("app_id", checked_app_id(app_id)), ("limit", "1"), ("custom_id", "x" * (LONGEST_CUSTOM_ID + 1)))
    request = Request(method="GET", path="/device", query=query)
    return Call(f"look for the custom id filter in {app_id}", request, ((ScopeKind.APP_ADDRESS, app_id),), app=app_id)


def behind(device_id: str) -> tuple[tuple[str, str], ...]:
    """Return the position right after a device id, existing or not, in a listing by id (contract C7, G3)."""
    return (("cursor", f"{_ANY_MOMENT}|{device_id}"),)


def get_device(app_id: str, device_id: str) -> Call:
    device_id = stored_id(named(device_id, "device id"))
    query = (("app_id", checked_app_id(app_id)), ("device_id", device_id))
    scopes = ((ScopeKind.APP_ADDRESS, app_id), (ScopeKind.DEVICE_OPERATION, app_id, device_id, "get"))
    return Call(f"get device {device_id} of {app_id}", Request(method="GET", path="/device", query=query), scopes, app=app_id)


class _Link(msgspec.Struct, frozen=True, gc=False):
    app_id: str
    device_id: str
    channel: str


def link_device(app_id: str, device_id: str, channel: str) -> Call:
    """Link a device to a channel. Repeating is harmless (contract C7, G1).

    The server refuses a repeat for a while: 60 s, or 5 s since August 2026 (contract B2).
    """
    device_id = stored_id(named(device_id, "device id"))
    body = encode(_Link(checked_app_id(app_id), device_id, named(channel, "channel")))
    scopes: tuple[Scope, ...] = (
        (ScopeKind.APP_ADDRESS, app_id),
        (ScopeKind.DEVICE_OPERATION, app_id, device_id, "set"),
        (ScopeKind.DEVICE_CHANNEL, app_id, device_id, channel),
    )
    return Call(f"link device {device_id} of {app_id}", Request(method="POST", path="/device", body=body), scopes, app=app_id)


def link_device_to_bundle(app_id: str, device_id: str, version_id: str) -> Call:
    """Link a device to a bundle, which only servers until 2024-12-24 accept (contract C7, D18)."""
    device_id = stored_id(named(device_id, "device id"))
    body = encode({"app_id": checked_app_id(app_id), "device_id": device_id, "version_id": named(version_id, "version id")})
    scopes = ((ScopeKind.APP_ADDRESS, app_id), (ScopeKind.DEVICE_OPERATION, app_id, device_id, "set"))
    request = Request(method="POST", path="/device", body=body)
    return Call(f"link device {device_id} of {app_id} to a bundle", request, scopes, app=app_id)


def unlink_device(app_id: str, device_id: str) -> Call:
    """Remove the link of a device (contract C7). Repeating it is harmless (contract G1)."""
    device_id = stored_id(named(device_id, "device id"))
    query = (("app_id", checked_app_id(app_id)), ("device_id", device_id))
    scopes = ((ScopeKind.APP_ADDRESS, app_id), (ScopeKind.DEVICE_OPERATION, app_id, device_id, "delete"))
    request = Request(method="DELETE", path="/device", query=query)
    return Call(f"unlink device {device_id} of {app_id}", request, scopes, app=app_id)
