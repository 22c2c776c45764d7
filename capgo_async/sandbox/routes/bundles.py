"""GET /bundle (contract C8)."""

from ..exchange import Refusal, bad_range
from ..state.world import App, Bundle
from ..timestamps import row_format
from .call import Call, cannot_access_app, columns
from .paging import BadPageError, in_order, page_of


def list_bundles(call: Call) -> object:
    """Return a page of the bundles that are not deleted, newest first; 400 if there are none."""
    app_id = call.app_id()
    app = call.world.app_permitting(call.key, "app.read_bundles", app_id)
    if app is None:
        raise cannot_access_app(app_id, code="cannot_get_bundle")
    bundles = in_order((bundle for bundle in app.bundles.values() if not bundle.deleted), call, newest_first=True)
    try:
        page = page_of(bundles, call.field("page"), call.settings)
    except BadPageError as error:
        raise _cannot_get(bad_range(str(error))) from error
    if not page:
        raise _cannot_get(None)
    if call.settings.dialect == "seed":
        return [_seed_row(app, bundle) for bundle in page]
    rows = [bundle_row(app, bundle) for bundle in page]
    return {"data": [_renamed(row) for row in rows]} if call.settings.dialect == "docs" else rows


def bundle_row(app: App, bundle: Bundle) -> dict[str, object]:
    """Return a bundle as a database row with 23 keys."""
    return {
        **columns(
            bundle,
            "id name deleted external_url checksum session_key storage_provider min_update_version user_id r2_path link "
            "comment key_id",
        ),
        "created_at": row_format(bundle.created_at),
        "app_id": app.app_id,
        "updated_at": row_format(bundle.updated_at),
        "native_packages": None,
        "owner_org": app.owner_org,
        "manifest": None,
        "manifest_count": 0,
        "cli_version": None,
        "deleted_at": None if bundle.deleted_at is None else row_format(bundle.deleted_at),
        "created_by_apikey_rbac_id": None,
    }


def _renamed(row: dict[str, object]) -> dict[str, object]:
    # Contract D22: the documentation uses the seed era's name.
    return {"minUpdateVersion" if name == "min_update_version" else name: value for name, value in row.items()}


def _seed_row(app: App, bundle: Bundle) -> dict[str, object]:
    return {
        **columns(bundle, "id name checksum deleted user_id session_key storage_provider external_url r2_path"),
        "app_id": app.app_id,
        "created_at": row_format(bundle.created_at),
        "updated_at": row_format(bundle.updated_at),
        "owner_org": app.owner_org,
        "bucket_id": None,
        "native_packages": None,
        "minUpdateVersion": bundle.min_update_version,
    }


def _cannot_get(answer: dict[str, object] | None) -> Refusal:
    return Refusal(400, "cannot_get_bundle", "Cannot get bundle", {"supabaseError": answer})
