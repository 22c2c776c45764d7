"""All /bundle routes (contract C8)."""

import re
from collections.abc import Callable
from typing import Final

from .. import javascript
from ..exchange import Refusal, database_error, no_single_row
from ..parameters import truthy
from ..settings import LINKED_BUNDLES_ARE_SAFE, METADATA_SAYS_OK, since
from ..state.apps import App, Bundle
from ..timestamps import micros, row_format
from .call import Call, cannot_access_app, columns
from .paging import in_order, is_number, page_of
from .rollouts import settle

_OLD_NAME: Final = "minUpdateVersion"
"""What the seed era, and the vendor's documentation still, call `min_update_version` (contract D22)."""
_NUMBER: Final = r"(?:0|[1-9]\d*)"
_PRE: Final = rf"(?:{_NUMBER}|\d*[A-Za-z-][0-9A-Za-z-]*)"
_SEMVER: Final = re.compile(
    rf"{_NUMBER}\.{_NUMBER}\.{_NUMBER}(?:-{_PRE}(?:\.{_PRE})*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?", re.ASCII
)
_BAD_FORM: Final = "Version must be valid semver format (e.g., 1.0.0, 1.0.0-alpha.1)"


def list_bundles(call: Call) -> object:
    """Return a page of the bundles that are not deleted, newest first.

    If there are none, servers until 12.201.7 say 400. The newest ones find a bundle by name and id (contract C8).
    """
    app = call.app("app.read_bundles", call.app_id(), code="cannot_get_bundle")
    newest = call.settings.is_newest
    found = [bundle for bundle in app.bundles.values() if not bundle.deleted]
    wanted = _wanted(call) if newest else None
    bundles = in_order(found if wanted is None else filter(wanted, found), call, newest_first=True)
    page = page_of(call, bundles, "cannot_get_bundle") if wanted is None else bundles
    if not page and not newest:
        raise Refusal(400, "cannot_get_bundle", "Cannot get bundle", {"supabaseError": None})
    if call.settings.generation == "seed":
        return [{**_seed_columns(app, bundle), "bucket_id": None, _OLD_NAME: bundle.min_update_version} for bundle in page]
    rows = [bundle_row(app, bundle) for bundle in page]
    if call.settings.generation == "docs":
        for row in rows:
            row[_OLD_NAME] = row.pop("min_update_version")
    return call.enveloped(rows)


def _wanted(call: Call) -> Callable[[Bundle], bool] | None:
    """Return the test of the filters `version` and `id`; `None` if neither was sent."""
    name, number, page = (call.field(name) for name in ("version", "id", "page"))
    whole = javascript.whole(number)
    if (name is not None and not (isinstance(name, str) and name)) or (number is not None and whole is None):
        raise _invalid_query()
    if truthy(page) and not is_number(page):
        raise _invalid_query()
    if name is None and number is None:
        return None
    return lambda bundle: name in {None, bundle.name} and whole in {None, bundle.id}


def _invalid_query() -> Refusal:
    return Refusal(400, "invalid_query", "Invalid query")


def bundle_row(app: App, bundle: Bundle) -> dict[str, object]:
    """Return a bundle as a database row with 23 keys."""
    return {
        **_seed_columns(app, bundle),
        **columns(bundle, "min_update_version link comment key_id"),
        "manifest": None,
        "manifest_count": bundle.manifest_count,
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


def create_bundle(call: Call) -> object:
    """Register a zip hosted elsewhere; a name can never be used again, even after its bundle was deleted."""
    app_id, version, url, checksum = _required(call)
    if _SEMVER.fullmatch(version) is None:
        raise Refusal(400, "invalid_version_format", _BAD_FORM, {"version": version})
    app = call.app("app.upload_bundle", app_id, code="cannot_create_bundle")
    if not url.startswith("https://"):
        raise Refusal(400, "invalid_protocol", "External URL must use HTTPS protocol", {"external_url": url})
    _check_encryption(call, app)
    if app.bundle_named(version) is not None:
        raise Refusal(400, "version_already_exists", "Version already exists", {"version": version})
    try:
        bundle = call.world.add_bundle(app, version, now=call.now, external_url=url)
    except ValueError as error:
        message = 'duplicate key value violates unique constraint "app_versions_name_app_id_key"'
        more = {"supabaseError": database_error("23505", message)}
        raise Refusal(400, "cannot_create_bundle", "Cannot create bundle", more) from error
    bundle.checksum = checksum
    bundle.session_key, bundle.key_id = _text(call, "session_key"), _text(call, "key_id")
    bundle.user_id, bundle.created_with = call.key.user_id, call.key.key_id
    row = bundle_row(app, bundle)
    call.record(app, "app_versions", bundle.id, None, row)
    return {"status": "ok"} if call.settings.generation == "docs" else {"status": "success", "bundle": row}


def assign_bundle(call: Call) -> object:
    """Point a channel at a bundle, both given by number."""
    sent_app, version_id, channel_id = _all_of(call, "app_id", "version_id", "channel_id")
    app_id, target = call.checked(sent_app), _target(call)
    app = call.world.apps.get(app_id)
    channel = None if app is None else app.channel_numbered(javascript.whole(channel_id))
    made_with = None if channel is None else channel.created_with
    if app is None or not call.may("channel.promote_bundle", app, made_with=made_with):
        raise cannot_access_app(app_id, {"channel_id": channel_id})
    bundle = app.bundle_numbered(javascript.whole(version_id))
    if bundle is None:
        raise Refusal(400, "cannot_find_version", "Cannot find version")
    if channel is None:
        raise Refusal(400, "cannot_find_channel", "Cannot find channel")
    if target == "auto":
        target = "rollout" if channel.rollout.enabled or channel.rollout.version is not None else "stable"
    draft = channel.draft()
    if target == "rollout":
        if channel.version is None:
            raise Refusal(400, "cannot_set_rollout_without_stable", "The channel has no stable bundle")
        draft.rollout.version = bundle.id
    else:
        draft.version = bundle.id
    if draft != channel:
        settle(call, app, channel, draft)
        before = call.stored(app, channel)
        channel.take(draft)
        channel.updated_at = max(micros(call.now), channel.updated_at + 1)
        call.record(app, "channels", channel.id, before, call.stored(app, channel))
    message = f"Bundle {bundle.name} set to {'rollout of ' if target == 'rollout' else ''}channel {channel.name}"
    told = {"status": "success", "message": message}
    return told | {"assignmentTarget": target} if call.settings.bundle_target else told


def _target(call: Call) -> str:
    """Return which bundle of the channel is meant; servers without `target` ignore it (contract C8)."""
    if not call.settings.bundle_target:
        return "stable"
    target = call.field("target")
    if target is None:
        return "auto"
    if not isinstance(target, str) or target not in {"auto", "stable", "rollout"}:
        raise Refusal(400, "invalid_target", "target must be auto, stable or rollout", {"target": target})
    return target


def describe_bundle(call: Call) -> object:
    sent_app, version_id = _all_of(call, "app_id", "version_id")
    app_id = call.checked(sent_app)
    app = call.world.app_permitting(call.key, "app.upload_bundle", app_id)
    if app is None:
        message = "You can't update bundle metadata for this app"
        raise Refusal(400, "cannot_update_bundle_metadata", message, {"app_id": app_id})
    bundle = app.bundle_numbered(javascript.whole(version_id))
    if bundle is None:
        raise Refusal(400, "cannot_find_version", "Cannot find version", {"supabaseError": no_single_row()})
    told = [name for name in ("link", "comment") if call.sends(name)]
    if not told:
        raise Refusal(400, "no_fields_to_update", "No fields to update")
    before = bundle_row(app, bundle)
    for name in told:
        setattr(bundle, name, _text(call, name))
    bundle.updated_at = max(micros(call.now), bundle.updated_at + 1)
    call.record(app, "app_versions", bundle.id, before, bundle_row(app, bundle))
    says_ok = since(call.settings, METADATA_SAYS_OK) and call.settings.generation != "docs"
    return {"status": "ok" if says_ok else "success"}


def delete_bundle(call: Call) -> object:
    """Delete one bundle by name, or every bundle of the app if no name is given."""
    app = call.app("bundle.delete", call.app_id(), code="cannot_delete_bundle")
    keeps_linked = since(call.settings, LINKED_BUNDLES_ARE_SAFE)
    version = call.field("version")
    if not truthy(version):
        for bundle in app.bundles.values():
            if not bundle.deleted and not (keeps_linked and app.serves(bundle)):
                retire(call, app, bundle)
        return {"status": "ok"}
    found = app.bundle_named(version)
    if found is None:
        raise Refusal(400, "cannot_delete_version", "Cannot delete version", {"supabaseError": no_single_row()})
    if keeps_linked and app.serves(found):
        raise linked(app, found)
    retire(call, app, found)
    return {"status": "ok"}


def retire(call: Call, app: App, bundle: Bundle) -> None:
    """Soft-delete a bundle: its row and its name remain."""
    before = bundle_row(app, bundle)
    bundle.deleted = True
    bundle.deleted_at = bundle.updated_at = max(micros(call.now), bundle.updated_at + 1)
    call.record(app, "app_versions", bundle.id, before, bundle_row(app, bundle))


def linked(app: App, bundle: Bundle) -> Refusal:
    """Return the refusal to delete a bundle that a channel serves."""
    more = {"app_id": app.app_id, "version": bundle.name}
    return Refusal(400, "cannot_delete_linked_version", "Cannot delete a bundle linked to a channel", more)


def _required(call: Call) -> tuple[str, str, str, str]:
    taken: list[str] = []
    for name in ("app_id", "version", "external_url", "checksum"):
        value = call.field(name)
        if not truthy(value):
            raise Refusal(400, f"missing_{name}", f"Missing required fields: {name}")
        taken.append(str(value) if taken else call.checked(value))
    app_id, version, url, checksum = taken
    return app_id, version, url, checksum


def _all_of(call: Call, *names: str) -> list[object]:
    found = [call.field(name) for name in names]
    if not all(truthy(value) for value in found):
        sent = {name: call.field(name) for name in names if call.sends(name)}
        raise Refusal(400, "missing_required_fields", "Missing required fields", sent)
    return found


def _check_encryption(call: Call, app: App) -> None:
    organization = call.world.organizations.get(app.owner_org)
    if organization is None or not organization.enforce_encrypted_bundles:
        return
    if not truthy(call.field("session_key")):
        raise Refusal(400, "encryption_required", "This organization requires encrypted bundles")
    needed = organization.required_encryption_key
    key_id = _text(call, "key_id")
    if needed is not None and key_id is None:
        raise Refusal(400, "encryption_key_required", "This organization requires a specific encryption key")
    if needed is not None and not needed.startswith(key_id or ""):
        raise Refusal(400, "encryption_key_mismatch", "The bundle is encrypted with another key")


def _text(call: Call, name: str) -> str | None:
    value = call.field(name)
    return None if value is None or value == "" else str(value)
