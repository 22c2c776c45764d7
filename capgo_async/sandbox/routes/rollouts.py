"""Rollouts: how `POST /channel` and the database handle a second bundle (contract C6)."""

from typing import Final

from .. import javascript
from ..exchange import Refusal, unknown_error
from ..state.apps import App, Bundle
from ..state.channels import Channel
from ..state.world import uuid_like
from ..timestamps import micros
from .call import Call
from .channel_settings import Whole, flag, sent, value, within

_SHARE: Final = Whole(column="percentage_bps", most=10_000)
_CACHE_TTL: Final = Whole(column="cache_ttl_seconds", least=60, most=31_536_000)


def promotes(call: Call) -> bool:
    """Return whether the request changes the bundle of devices other than by `version`."""
    if sent(call, "rolloutVersion") or call.field("rollback") or value(call, "promoteToStable"):
        return True
    return call.settings.is_newest and bool(value(call, "advanceRollout"))


def unlinks(call: Call) -> bool:
    """Return whether `rolloutEnabled: false` unlinks the rollout bundle, as on the newest servers."""
    if not call.settings.is_newest or flag(call, "rolloutEnabled") is not False:
        return False
    return not any(flag(call, name) for name in ("promoteToStable", "rollback", "advanceRollout"))


def apply_rollout(call: Call, app: App, draft: Channel) -> None:
    """Apply the rollout settings to a draft, then whatever ends the rollout."""
    advances = call.settings.is_newest and bool(flag(call, "advanceRollout"))
    if advances:
        _advance(call, draft)
    if unlinks(call):
        _link(draft, None)
        draft.rollout.resume()
    elif sent(call, "rolloutVersion"):
        _choose(call, app, draft)
    share = _share(call)
    if share is not None:
        draft.rollout.percentage_bps = share
    enabled = flag(call, "rolloutEnabled")
    if enabled is not None or advances:
        draft.rollout.enabled = enabled is not False
    _pause(call, draft)
    lasting = within(call, "rolloutCacheTtlSeconds", _CACHE_TTL)
    if lasting is not None:
        draft.rollout.cache_ttl_seconds = lasting
    if flag(call, "promoteToStable"):
        if draft.rollout.version is None:
            more = {"app_id": app.app_id, "channel": draft.name}
            raise Refusal(400, "missing_rollout_version", "Cannot promote without a rollout version", more)
        draft.version = draft.rollout.version
        draft.rollout.end()
    elif flag(call, "rollback"):
        draft.rollout.end()


def _choose(call: Call, app: App, draft: Channel) -> None:
    chosen = value(call, "rolloutVersion")
    bundle: Bundle | None = None
    if chosen is not None:
        if draft.version is None:
            more = {"app_id": app.app_id, "channel": draft.name}
            raise Refusal(400, "missing_stable_version", "Cannot set rollout target without a stable bundle", more)
        bundle = app.bundle_named(chosen) if isinstance(chosen, str) else app.bundle_numbered(javascript.whole(chosen))
        if bundle is None:
            raise unknown_error()
    _link(draft, None if bundle is None else bundle.id)


def _link(draft: Channel, number: int | None) -> None:
    if number != draft.rollout.version:
        draft.rollout.id = uuid_like("rollout", draft.rollout.id, number)
        draft.rollout.version = number
        draft.rollout.resume()


def _advance(call: Call, draft: Channel) -> None:
    """Make the rollout bundle the stable one; the new one follows it."""
    if draft.rollout.version is None or value(call, "rolloutVersion") is None:
        raise Refusal(400, "missing_rollout_version", "Channel has no rollout version to advance")
    draft.version = draft.rollout.version
    draft.rollout.resume()


def settle(call: Call, app: App, channel: Channel, draft: Channel) -> None:
    """Drop a rollout and check bundles, as the database of the newest servers does before a change."""
    if not call.settings.is_newest:
        return
    rollout, former = draft.rollout, channel.rollout
    if draft.version != channel.version and rollout.version == former.version and (rollout.enabled or rollout.version):
        rollout.drop(uuid_like("rollout", rollout.id, draft.version))
    changed = {
        new
        for old, new in ((channel.version, draft.version), (former.version, rollout.version))
        if old != new or draft.update_package != channel.update_package
    }
    for bundle in map(app.bundle_numbered, changed):
        _check_package(draft.update_package, bundle)


def _check_package(package: str, bundle: Bundle | None) -> None:
    if bundle is None:
        return
    if package.startswith("zip") and not bundle.has_zip:
        raise Refusal(400, "channel_zip_required", "The channel needs bundles with a zip file")
    if package.startswith("delta") and not bundle.manifest_count:
        raise Refusal(400, "channel_delta_required", "The channel needs bundles with a delta manifest")


def _share(call: Call) -> int | None:
    percent = value(call, "rolloutPercentage")
    if percent is not None and (
        isinstance(percent, bool) or not isinstance(percent, int | float) or not 0 <= percent <= 100  # noqa: PLR2004 -- per cent
    ):
        message = "Rollout percentage must be between 0 and 100"
        raise Refusal(400, "invalid_rollout_percentage", message, {"rolloutPercentage": percent})
    points = within(call, "rolloutPercentageBps", _SHARE)
    if points is None and isinstance(percent, int | float):
        return round(percent * 100)
    return points


def _pause(call: Call, draft: Channel) -> None:
    paused = flag(call, "rolloutPaused")
    if paused is not None:
        if paused:
            draft.rollout.paused_at = micros(call.now)
        else:
            draft.rollout.resume()
    if sent(call, "rolloutPausedAt"):
        at = value(call, "rolloutPausedAt")
        moment = javascript.date(at) if isinstance(at, str) else None
        if at is not None and moment is None:
            raise unknown_error()
        draft.rollout.paused_at = moment
    if sent(call, "rolloutPauseReason"):
        reason = value(call, "rolloutPauseReason")
        draft.rollout.pause_reason = None if reason is None else str(reason)
