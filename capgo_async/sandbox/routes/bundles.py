"""GET /bundle (contract C8)."""

from typing import Final

from ..exchange import Refusal
from ..state.apps import App, Bundle
from ..timestamps import row_format
from .call import Call, columns
from .paging import in_order, page_of

_OLD_NAME: Final = "minUpdateVersion"
"""What the seed era, and the vendor's documentation still, call `min_update_version` (contract D22)."""


def list_bundles(call: Call) -> object:
    """Return a page of the bundles that are not deleted, newest first; 400 if there are none."""
    app = call.app("app.read_bundles", call.app_id(), code="cannot_get_bundle")
    bundles = in_order((bundle for bundle in app.bundles.values() if not bundle.deleted), call, newest_first=True)
    page = page_of(call, bundles, "cannot_get_bundle")
    if not page:
        raise Refusal(400, "cannot_get_bundle", "Cannot get bundle", {"supabaseError": None})
    if call.settings.dialect == "seed":
        return [{**_seed_columns(app, bundle), "bucket_id": None, _OLD_NAME: bundle.min_update_version} for bundle in page]
    rows = [bundle_row(app, bundle) for bundle in page]
    if call.settings.dialect == "docs":
        for row in rows:
            row[_OLD_NAME] = row.pop("min_update_version")
    return call.enveloped(rows)


def bundle_row(app: App, bundle: Bundle) -> dict[str, object]:
    """Return a bundle as a database row with 23 keys."""
    return {
        **_seed_columns(app, bundle),
        **columns(bundle, "min_update_version link comment key_id"),
        "manifest": None,
        "manifest_count": 0,
        "cli_version": None,
        "deleted_at": None if bundle.deleted_at is None else row_format(bundle.deleted_at),
        "created_by_apikey_rbac_id": None,
    }


def _seed_columns(app: App, bundle: Bundle) -> dict[str, object]:
    return {
        **columns(bundle, "id name checksum deleted user_id session_key storage_provider external_url r2_path"),
        "app_id": app.app_id,
        "created_at": row_format(bundle.created_at),
        "updated_at": row_format(bundle.updated_at),
        "owner_org": app.owner_org,
        "native_packages": None,
    }
