"""Apps (contract C5)."""

from typing import Annotated, Final
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ..errors import Conflict
from ..wire import Request, encode
from .call import Call, Name, Url, body_of, checked, checked_app_id, confirmed, named

_DAY: Final = 86_400


class NewApp(msgspec.Struct, frozen=True, kw_only=True):
    """A new app of the organization `owner_org`; app ids are unique among all customers (contract C5)."""

    app_id: str
    name: Name
    owner_org: str
    icon: Url | UnsetType = UNSET
    need_onboarding: bool | UnsetType = UNSET
    existing_app: bool | UnsetType = UNSET
    ios_store_url: Url | UnsetType = UNSET
    android_store_url: Url | UnsetType = UNSET


class AppSettings(msgspec.Struct, frozen=True, kw_only=True, rename={"retention_seconds": "retention"}):
    """What changes in an app; what is not given stays as it is.

    `retention_seconds` is how long a bundle lives that no channel uses: seconds, though the vendor's samples look like days
    (contract C5, D45).
    """

    name: Name | UnsetType = UNSET
    icon: Url | UnsetType = UNSET
    retention_seconds: Annotated[int, Meta(ge=0, le=63_113_903)] | UnsetType = UNSET
    expose_metadata: bool | UnsetType = UNSET
    allow_device_custom_id: bool | UnsetType = UNSET
    need_onboarding: bool | UnsetType = UNSET
    existing_app: bool | UnsetType = UNSET
    block_provider_infra_requests: bool | UnsetType = UNSET
    ios_store_url: Url | UnsetType | None = UNSET
    android_store_url: Url | UnsetType | None = UNSET


def list_apps(page: int, limit: int, org_id: str | None = None) -> Call:
    """Ask for one page of apps; pages count from 0 (contract C5)."""
    query = [("page", str(page)), ("limit", str(limit))]
    if org_id is not None:
        query.append(("org_id", named(org_id, "organization id")))
    return Call("list apps", Request(method="GET", path="/app", query=tuple(query)))


def get_app(app_id: str) -> Call:
    """Ask for one app (contract C5)."""
    return Call(f"get app {app_id}", Request(method="GET", path=_path(app_id)))


def create_app(new: NewApp) -> Call:
    """Create an app; a repeat is refused because the id is taken (contract C5, G1)."""
    checked_app_id(new.app_id)
    named(new.name, "name")
    named(new.owner_org, "organization id")
    request = Request(method="POST", path="/app", body=encode(checked(new)))
    return Call(f"create app {new.app_id}", request, settled_by=(Conflict,))


def update_app(app_id: str, settings: AppSettings, confirm: str | None = None) -> Call:
    """Change an app; a retention below a day needs the app id as `confirm` (contract C5, D45)."""
    retention = checked(settings).retention_seconds
    if isinstance(retention, int) and retention < _DAY:
        danger = (
            f"A retention of {retention} seconds deletes nearly every bundle of {app_id} that no channel uses, within hours."
        )
        confirmed(confirm, app_id, danger)
    request = Request(method="PUT", path=_path(app_id), body=body_of({}, settings))
    return Call(f"update app {app_id}", request)


def delete_app(app_id: str) -> Call:
    """Delete an app with everything in it; a repeat is refused like a missing right (contract C5, G1)."""
    return Call(f"delete app {checked_app_id(app_id)}", Request(method="DELETE", path=_path(app_id)))


def _path(app_id: str) -> str:
    return f"/app/{quote(checked_app_id(app_id), safe='')}"
