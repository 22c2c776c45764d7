"""Apps (contract C5)."""

from typing import Annotated, Final
from urllib.parse import quote

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ...errors import Conflict
from ...http.call import Call
from ...http.wire import Request, encode
from .arguments import Name, Url, body_of, checked, checked_app_id, confirmed, named

_DAY: Final = 86_400


class NewApp(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of a new app in `owner_org`; ids are unique across customers (contract C5)."""

    app_id: str
    name: Name
    owner_org: str
    icon: Url | UnsetType = UNSET
    need_onboarding: bool | UnsetType = UNSET
    existing_app: bool | UnsetType = UNSET
    ios_store_url: Url | UnsetType = UNSET
    android_store_url: Url | UnsetType = UNSET


class AppSettings(msgspec.Struct, frozen=True, kw_only=True, rename={"retention_seconds": "retention"}):
    """Changes to an app; fields that are left out stay as they are (contract C5).

    `retention_seconds` is how long the server keeps a bundle that no channel uses. It is in seconds, although the vendor's
    examples look like days (contract D45).
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
    """List one page of apps; the first page is 0 (contract C5)."""
    query = [("page", str(page)), ("limit", str(limit))]
    if org_id is not None:
        query.append(("org_id", named(org_id, "organization id")))
    return Call("list apps", Request(method="GET", path="/app", query=tuple(query)))


def get_app(app_id: str) -> Call:
    return Call(f"get app {app_id}", Request(method="GET", path=_path(app_id)), app=app_id)


def create_app(new: NewApp) -> Call:
    """Create an app (contract C5). A second attempt is refused because the id is taken (contract G1)."""
    checked_app_id(new.app_id)
    named(new.name, "name")
    named(new.owner_org, "organization id")
    request = Request(method="POST", path="/app", body=encode(checked(new)))
    return Call(f"create app {new.app_id}", request, settled_by=(Conflict,), takes_tokens=True, app=new.app_id)


def update_app(app_id: str, settings: AppSettings, confirm: str | None = None) -> Call:
    """Change an app (contract C5). A retention below one day needs the app id as `confirm` (contract D45)."""
    retention = checked(settings).retention_seconds
    if isinstance(retention, int) and retention < _DAY:
        danger = (
            f"A retention of {retention} seconds deletes, within hours, nearly every bundle of {app_id} that no channel uses."
        )
        confirmed(confirm, app_id, danger)
    request = Request(method="PUT", path=_path(app_id), body=body_of({}, settings))
    return Call(f"update app {app_id}", request, app=app_id)


def delete_app(app_id: str) -> Call:
    """Delete an app; a repeat is refused as if the permission were missing (contract C5, G1)."""
    return Call(f"delete app {checked_app_id(app_id)}", Request(method="DELETE", path=_path(app_id)), app=app_id)


def _path(app_id: str) -> str:
    return f"/app/{quote(checked_app_id(app_id), safe='')}"
