"""All /device routes (contract C7)."""

import re
from collections.abc import Iterable
from itertools import islice
from typing import Final

from .. import timestamps
from ..exchange import Refusal, no_single_row, unknown_error
from ..parameters import field, required, truthy
from ..state.apps import BUILTIN_ID, App, Device, Order
from .call import Call, columns
from .paging import page_of

_DEFAULT_LIMIT: Final = 50
_LONGEST_CUSTOM_ID: Final = 36
_LOOKED_UP: Final = 400
"""Most devices on a page whose overrides the server looks up (contract C7)."""
_POSITIVE: Final = re.compile(r"0*[1-9]\d{0,14}", re.ASCII)


def lowered(device_id: object) -> str:
    """Lower-case a device id; anything but a string crashes the server (contract A4)."""
    if not isinstance(device_id, str):
        raise unknown_error()
    return device_id.lower()


def read_devices(call: Call) -> object:
    """Return one device by id, or a page of the inventory."""
    app = call.app("app.read_devices", call.app_id())
    device_id = call.field("device_id")
    if truthy(device_id):
        return _one(call, app, lowered(device_id))
    if call.settings.generation == "seed":
        return _seed_page(call, app)
    return _cursor_page(call, app)


def link_device(call: Call) -> object:
    """Set a device's channel override; without a channel, only permissions are checked."""
    sent_app, sent_device = call.field("app_id"), call.field("device_id")
    if not truthy(sent_app) or not truthy(sent_device):
        more = {"body": call.parameters}
        raise Refusal(400, "missing_device_id_or_app_id", "Missing device_id or app_id", more)
    app_id, device_id = call.checked(sent_app), lowered(sent_device)
    bundle = call.field("version_id")
    if truthy(bundle) and call.settings.generation != "seed":
        raise Refusal(400, "invalid_version_id", "Cannot set version to device, use channel instead")
    name = call.field("channel")
    if not truthy(name):
        _pin(call.app("app.manage_devices", app_id), device_id, bundle)
        return {"status": "ok"}
    # The channel is looked up in the key's own view before permissions are: hence 404 where other routes say "no access".
    app = call.world.app_permitting(call.key, "app.read_channels", app_id)
    channel = app.channels.get(name) if app is not None and isinstance(name, str) else None
    if app is None or channel is None:
        raise Refusal(404, "channel_not_found", "Cannot find channel", {"dbError": no_single_row()})
    if call.world.app_permitting(call.key, "channel.manage_forced_devices", app_id) is None:
        message = "You can't manage forced devices for this channel"
        raise Refusal(400, "cannot_access_channel", message, {"app_id": app_id, "channel": name})
    if channel.public:
        raise Refusal(400, "public_channel_override", "Cannot set channel override for public channel")
    app.link(device_id, channel, call.now)
    _pin(app, device_id, bundle)
    return {"status": "ok"}


def unlink_device(call: Call) -> object:
    """Remove a device's override; ok if there was none, too."""
    app_id, device_id = (required(call.parameters, name) for name in ("app_id", "device_id"))
    call.app("app.manage_devices", call.checked(app_id)).unlink(lowered(device_id))
    return {"status": "ok"}


def _pin(app: App, device_id: str, bundle: object) -> None:
    # Only the seed era reaches this with a bundle. Contract C7 says no more than that it was accepted.
    if truthy(bundle):
        app.pinned[device_id] = str(bundle)


def device_row(app: App, device: Device, *, linked: bool = True) -> dict[str, object]:
    """Return a device as listings show it; `channel` is absent without an override, or unless `linked`."""
    traits = device.traits
    row: dict[str, object] = {
        "updated_at": timestamps.device_format(device.updated_at),
        "device_id": device.device_id,
        "custom_id": device.custom_id,
        "is_prod": traits.is_prod,
        "is_emulator": traits.is_emulator,
        "install_source": None,
        "version_name": traits.version_name,
        "version": traits.version,
        "app_id": app.app_id,
        "platform": traits.platform,
        "plugin_version": traits.plugin_version,
        "os_version": traits.os_version,
        "version_build": traits.version_build,
        "key_id": traits.key_id,
        "country_code": None,
    }
    override = app.overrides.get(device.device_id)
    if linked and override is not None:
        row["channel"] = override.channel.name
    return row


def _one(call: Call, app: App, device_id: str) -> object:
    device = None if call.masked else app.devices.get(device_id)
    if device is None:
        raise Refusal(404, "device_not_found", "Cannot find device", {"device_id": device_id})
    if call.settings.generation == "seed":
        row = _seed_row(app, device)
        for name in ("custom_id", "version_build", "is_prod", "is_emulator"):
            del row[name]  # contract C7: these were in listings only
        return row
    return {**device_row(app, device, linked=call.world.links_readable), "country_code": device.traits.country_code}


def _cursor_page(call: Call, app: App) -> object:
    limit = _limit(call.parameters)
    since = _since(call.parameters)
    order = _order(call.parameters)
    custom_id = _custom_id(call)
    walk = () if call.masked else _walk(call, app, order)
    custom_only = truthy(call.field("customIdMode"))
    wanted = (
        device
        for device in walk
        if (since is None or device.updated_at > since)
        and not (custom_only and not device.custom_id)
        and (custom_id is None or device.custom_id == custom_id)
    )
    # The server asks for one row more than it returns. A backend that caps rows drops it, and the listing ends silently.
    found = list(islice(wanted, min(limit + 1, call.settings.row_cap)))
    shown = found[:limit]
    linked = call.world.links_readable and len(shown) <= _LOOKED_UP
    page: dict[str, object] = {"data": [device_row(app, device, linked=linked) for device in shown]}
    more = len(found) > limit
    if more:
        last = found[limit - 1]
        page["nextCursor"] = f"{timestamps.cursor_format(last.updated_at)}|{last.device_id}"
    page["hasMore"] = more
    return page


def _walk(call: Call, app: App, order: Order | None) -> Iterable[Device]:
    cursor = call.field("cursor")
    moment, _, device_id = cursor.partition("|") if isinstance(cursor, str) else ("", "", "")
    begun = bool(moment and device_id)  # contract C7: a malformed cursor is ignored, the listing starts over
    if order is None:
        return app.devices_after(device_id if begun else "")
    if not begun:
        return app.devices_by_moment(order, None)
    stored = timestamps.read_stored(moment)
    return () if stored is None else app.devices_by_moment(order, (stored, device_id))


def _limit(parameters: object) -> int:
    limit = field(parameters, "limit")
    if limit is None:
        return _DEFAULT_LIMIT
    text = limit if isinstance(limit, str) else str(limit)
    if isinstance(limit, bool) or _POSITIVE.fullmatch(text) is None:
        raise Refusal(400, "invalid_limit", "limit must be a positive integer", {"limit": limit})
    return int(text)


def _since(parameters: object) -> int | None:
    sent = field(parameters, "updated_at")
    if not truthy(sent):
        return None
    since = timestamps.read_filter(sent) if isinstance(sent, str) else None
    if since is None:
        raise Refusal(400, "invalid_updated_at", "updated_at must be a valid ISO date", {"updated_at": sent})
    return since


def _order(parameters: object) -> Order | None:
    order = field(parameters, "order")
    if not truthy(order):
        return None
    if order == "asc":
        return "asc"
    if order == "desc":
        return "desc"
    raise Refusal(400, "invalid_order", "order must be asc or desc", {"order": order})


def _custom_id(call: Call) -> str | None:
    """Return the custom id to filter by; servers until 12.201.7 ignore it (contract C7)."""
    if not call.settings.filters_custom_ids or not call.sends("custom_id"):
        return None
    sent = call.field("custom_id")
    custom_id = sent.strip() if isinstance(sent, str) else ""
    if not custom_id or len(custom_id) > _LONGEST_CUSTOM_ID:
        raise Refusal(400, "invalid_custom_id", "custom_id must be a string of 1 to 36 characters")
    return custom_id


def _seed_page(call: Call, app: App) -> object:
    devices = () if call.masked else tuple(app.devices_after(""))
    return [_seed_row(app, device) for device in page_of(call, devices, "cannot_get_devices", cause="dbError")]


def _seed_row(app: App, device: Device) -> dict[str, object]:
    traits = device.traits
    return {
        **columns(device, "device_id custom_id"),
        **columns(traits, "is_prod is_emulator platform plugin_version os_version version_build"),
        "updated_at": timestamps.seed_format(device.updated_at),
        "version": {"id": traits.version or BUILTIN_ID, "name": traits.version_name or "builtin"},
        "app_id": app.app_id,
    }
