"""POST and DELETE /channel (contract C6)."""

from typing import Any

import pytest
from sandbox.talking import APP, Answer, Talk

from capgo_async.sandbox import App, Binding, Channel, Settings, fleet
from capgo_async.sandbox.seeding import (
    ADMIN_KEY,
    DEVELOPER_KEY,
    EPOCH,
    ORG_ID,
    READER_KEY,
    SUPER_ADMIN_KEY,
    UPLOADER_KEY,
    USER_ID,
)

OK = {"status": "ok"}
PREVIEW = "preview"


def talk(version: str | None = None, *, generation: Any = "2026-07", devices: int = 0) -> Talk:
    settings = (
        Settings(generation=generation) if version is None else Settings(generation=generation, version=f"capgo_api-{version}")
    )
    made = Talk(fleet(1, devices), settings)
    made.sandbox.world.add_key(PREVIEW, Binding(role="app_preview", org_id=ORG_ID, app_id=APP), user_id=USER_ID)
    return made


def app(caller: Talk) -> App:
    return caller.sandbox.world.apps[APP]


def channel(caller: Talk, name: str = "beta") -> Channel:
    return app(caller).channels[name]


def post(caller: Talk, name: Any = "beta", **fields: Any) -> Answer:
    return caller.ask("POST", "/channel", json_body={"app_id": APP, "channel": name, **fields})


def shown(caller: Talk, name: str = "beta") -> Any:
    return caller.get("/channel", app_id=APP, channel=name).json


def delete(caller: Talk, name: str = "beta", **fields: Any) -> Answer:
    return caller.ask("DELETE", "/channel", json_body={"app_id": APP, "channel": name, **fields})


def bundle(caller: Talk, name: str) -> int:
    found = app(caller).bundle_named(name)
    assert found is not None
    return found.id


def refused(answer: Answer, status: int, code: str) -> None:
    assert (answer.status, answer.code) == (status, code)


def test_a_new_channel_has_the_defaults() -> None:
    caller = talk()
    assert post(caller, "fresh").json == OK
    row = shown(caller, "fresh")
    assert {name: row[name] for name in row if name not in {"id", "created_at", "updated_at", "rollout_id"}} == {
        "name": "fresh", "app_id": APP, "created_by": USER_ID, "public": False, "version": None,
        "allow_device_self_set": False, "allow_emulator": True, "allow_device": True, "allow_dev": True, "allow_prod": True,
        "disableAutoUpdateUnderNative": True, "disableAutoUpdate": "major",
        "rollout_version": None, "rollout_version_info": None, "rolloutPercentageBps": 0, "rolloutEnabled": False,
        "rolloutPausedAt": None, "rolloutPauseReason": None, "rolloutCacheTtlSeconds": 2592000,
        "autoPauseEnabled": False, "autoPauseWindowMinutes": 60, "autoPauseFailureRateBps": None, "autoPauseConfidence": 0.95,
        "autoPauseMinAttempts": None, "autoPauseMinFailures": None, "autoPauseAction": "pause",
        "autoPauseCooldownMinutes": 60, "autoPauseLastTriggeredAt": None, "autoPauseLastCheckedAt": None,
    }  # fmt: skip
    made = channel(caller, "fresh")
    assert (made.ios, made.android, made.electron) == (True, True, True)


def test_a_creation_with_a_bundle_tells_the_number() -> None:
    caller = talk()
    answer = post(caller, "fresh", version="1.1.0", public=True)
    assert answer.json == {"status": "ok", "id": channel(caller, "fresh").id, "public": True}
    assert shown(caller, "fresh")["version"] == {"id": bundle(caller, "1.1.0"), "name": "1.1.0"}
    assert post(caller, "other", version=None).json == OK
    assert post(talk(generation="docs"), "fresh", version="1.1.0").json == OK


@pytest.mark.parametrize(
    ("field", "value", "column", "expected"),
    [
        ("disableAutoUpdateUnderNative", False, "disable_auto_update_under_native", False),
        ("disableAutoUpdate", "patch", "disable_auto_update", "patch"),
        ("disableAutoUpdate", "version_number", "disable_auto_update", "version_number"),
        ("ios", False, "ios", False),
        ("android", "off", "android", False),
        ("electron", 0, "electron", False),
        ("allow_device_self_set", True, "allow_device_self_set", True),
        ("allow_emulator", False, "allow_emulator", False),
        ("allow_device", False, "allow_device", False),
        ("allow_dev", False, "allow_dev", False),
        ("allow_prod", False, "allow_prod", False),
        ("public", "yes", "public", True),
        ("public", None, "public", False),
        ("disableAutoUpdate", None, "disable_auto_update", "major"),
        ("updatePackage", "zip", "update_package", "all"),  # contract D48: ignored
        ("nonsense", 1, "public", False),
    ],
)
def test_each_setting_is_stored(field: str, value: Any, column: str, expected: object) -> None:
    caller = talk()
    assert post(caller, **{field: value}).json == OK
    assert getattr(channel(caller), column) == expected
    if field in {"disableAutoUpdate", "disableAutoUpdateUnderNative", "public"} or field.startswith("allow"):
        assert shown(caller)[field] == expected


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("rolloutPercentage", 12.5, ("rolloutPercentageBps", 1250)),
        ("rolloutPercentageBps", 77, ("rolloutPercentageBps", 77)),
        ("rolloutEnabled", True, ("rolloutEnabled", True)),
        ("rolloutPaused", True, ("rolloutPausedAt", "2026-07-20T09:00:00+00:00")),
        ("rolloutPausedAt", "2026-07-01T00:00:00Z", ("rolloutPausedAt", "2026-07-01T00:00:00+00:00")),
        ("rolloutPauseReason", "too hot", ("rolloutPauseReason", "too hot")),
        ("rolloutCacheTtlSeconds", 60, ("rolloutCacheTtlSeconds", 60)),
        ("autoPauseEnabled", True, ("autoPauseEnabled", True)),
        ("autoPauseWindowMinutes", 10080, ("autoPauseWindowMinutes", 10080)),
        ("autoPauseFailureRateBps", 500, ("autoPauseFailureRateBps", 500)),
        ("autoPauseConfidence", 0.5, ("autoPauseConfidence", 0.5)),
        ("autoPauseMinAttempts", 0, ("autoPauseMinAttempts", 0)),
        ("autoPauseMinFailures", 3, ("autoPauseMinFailures", 3)),
        ("autoPauseAction", "notify", ("autoPauseAction", "notify")),
        ("autoPauseCooldownMinutes", 0, ("autoPauseCooldownMinutes", 0)),
    ],
)
def test_rollout_and_auto_pause_settings_are_stored_under_both_spellings(field: str, value: Any, expected: Any) -> None:
    caller = talk()
    assert post(caller, **{field: value}).json == OK
    name, stored = expected
    assert shown(caller)[name] == stored
    alias = "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in field)
    other = talk()
    assert post(other, **{alias: value}).json == OK
    assert shown(other)[name] == stored
    assert post(talk(), "fresh", **{field: value}).json == OK  # such a setting creates the channel that is not there


def test_camel_case_wins_and_null_clears_what_may_be_null() -> None:
    caller = talk()
    post(caller, autoPauseMinFailures=3, auto_pause_min_failures=9, rolloutPercentage=50, rolloutPercentageBps=1)
    assert (shown(caller)["autoPauseMinFailures"], shown(caller)["rolloutPercentageBps"]) == (3, 1)
    post(caller, rolloutPaused=True, rolloutPauseReason="hot")
    post(caller, autoPauseMinFailures=None, autoPauseWindowMinutes=None, rolloutPausedAt=None, rolloutPauseReason=None)
    row = shown(caller)
    assert (row["autoPauseMinFailures"], row["autoPauseWindowMinutes"]) == (None, 60)
    assert (row["rolloutPausedAt"], row["rolloutPauseReason"]) == (None, None)
    post(caller, rolloutPaused=True)
    post(caller, rolloutPaused=False)
    assert shown(caller)["rolloutPausedAt"] is None


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"rolloutPercentage": 101}, 400, "invalid_rollout_percentage"),
        ({"rolloutPercentage": "5"}, 400, "invalid_rollout_percentage"),
        ({"rolloutPercentage": 101, "rolloutPercentageBps": 1}, 400, "invalid_rollout_percentage"),
        ({"rolloutPercentageBps": 10001}, 400, "invalid_rollout_config"),
        ({"rolloutPercentageBps": 0.5}, 400, "invalid_rollout_config"),
        ({"rolloutCacheTtlSeconds": 59}, 400, "invalid_rollout_config"),
        ({"rolloutCacheTtlSeconds": 31536001}, 400, "invalid_rollout_config"),
        ({"rolloutPausedAt": "soon"}, 500, "unknown_error"),
        ({"autoPauseWindowMinutes": 0}, 400, "invalid_rollout_config"),
        ({"autoPauseFailureRateBps": 10001}, 400, "invalid_rollout_config"),
        ({"autoPauseMinAttempts": -1}, 400, "invalid_rollout_config"),
        ({"autoPauseCooldownMinutes": 10081}, 400, "invalid_rollout_config"),
        ({"autoPauseConfidence": 1}, 400, "invalid_auto_pause_confidence"),
        ({"autoPauseConfidence": 0}, 400, "invalid_auto_pause_confidence"),
        ({"autoPauseAction": "explode"}, 400, "invalid_auto_pause_action"),
        ({"rolloutVersion": "9.9.9"}, 500, "unknown_error"),
        ({"rolloutVersion": 99}, 500, "unknown_error"),
        ({"promoteToStable": True}, 400, "missing_rollout_version"),
        ({"version": None, "rolloutVersion": "1.1.0"}, 400, "missing_stable_version"),
        ({"version": "9.9.9"}, 500, "unknown_error"),
        ({"version": 5}, 500, "unknown_error"),
        ({"disableAutoUpdate": "metadata"}, 500, "unknown_error"),
        ({"disableAutoUpdate": True}, 500, "unknown_error"),
        ({"public": "perhaps"}, 500, "unknown_error"),
        ({"channel": None}, 500, "unknown_error"),
    ],
)
def test_what_is_refused_changes_nothing(fields: dict[str, Any], status: int, code: str) -> None:
    caller = talk()
    before = shown(caller)
    refused(
        caller.ask("POST", "/channel", json_body={"app_id": APP, "channel": "beta", "allow_dev": False, **fields}), status, code
    )
    assert shown(caller) == before
    assert len(app(caller).channels) == 3


def test_a_creation_that_is_rolled_back_burns_a_number() -> None:
    caller = talk()
    post(caller, "one")
    refused(post(caller, "two", version="9.9.9"), 400, "cannot_find_version")
    assert "two" not in app(caller).channels
    post(caller, "two")
    assert channel(caller, "two").id == channel(caller, "one").id + 2


@pytest.mark.parametrize(
    ("fields", "field", "value", "least", "most"),
    [
        ({"rolloutPercentageBps": -1}, "rolloutPercentageBps", -1, 0, 10_000),
        ({"rolloutPercentageBps": "50"}, "rolloutPercentageBps", "50", 0, 10_000),
        ({"rollout_cache_ttl_seconds": 1}, "rolloutCacheTtlSeconds", 1, 60, 31_536_000),
        ({"autoPauseMinFailures": -7}, "autoPauseMinFailures", -7, 0, 2**53 - 1),
    ],
)
def test_a_number_out_of_bounds_is_refused_with_its_bounds(
    fields: dict[str, Any], field: str, value: object, least: int, most: int
) -> None:
    answer = post(talk(), **fields)
    refused(answer, 400, "invalid_rollout_config")
    assert answer.json["message"] == f"{field} must be an integer between {least} and {most}"
    assert answer.more == {"field": field, "value": value, "min": least, "max": most}


@pytest.mark.parametrize("fields", [{"rolloutVersion": "1.1.0"}, {"rollback": True}, {"promote_to_stable": True}])
def test_what_needs_a_channel_creates_none(fields: dict[str, Any]) -> None:
    caller = talk()
    answer = post(caller, "fresh", **fields)
    refused(answer, 400, "cannot_find_channel")
    assert answer.more == {"app_id": APP, "channel": "fresh"}
    assert "fresh" not in app(caller).channels


@pytest.mark.parametrize("cleared", [None, "", "unknown", "builtin"])
def test_the_bundle_is_kept_when_omitted_and_cleared_by_its_placeholders(cleared: str | None) -> None:
    caller = talk()
    kept = shown(caller)["version"]
    post(caller, allow_dev=False)
    assert shown(caller)["version"] == kept
    post(caller, version=cleared)
    assert shown(caller)["version"] is None


@pytest.mark.parametrize(
    ("version", "generation", "wipes"),
    [
        ("12.188.0", "2026-07", True),
        ("12.188.1", "2026-07", False),
        ("12.99.99", "docs", True),
        ("nameless", "2026-07", False),
        (None, "seed", True),
    ],
)
def test_settings_alone_took_the_bundle_away_on_old_servers(version: str | None, generation: str, *, wipes: bool) -> None:
    caller = talk(version, generation=generation)
    assert channel(caller).version is not None
    assert post(caller, allow_dev=False).json == OK
    assert (channel(caller).version is None) is wipes
    post(caller, version="1.1.0")
    assert channel(caller).version == bundle(caller, "1.1.0")


@pytest.mark.parametrize(
    ("version", "generation", "named"),
    [("12.141.9", "2026-07", "unknown"), ("12.142.0", "2026-07", None), (None, "docs", None), (None, "seed", "unknown")],
)
def test_no_bundle_once_was_a_bundle_of_that_name(version: str | None, generation: str, named: str | None) -> None:
    caller = talk(version, generation=generation)
    channel(caller).version = None
    assert (shown(caller)["version"] or {}).get("name") == named


def test_rollouts_are_unknown_before_their_time() -> None:
    caller = talk("12.188.0")
    assert post(caller, version="1.1.0", rolloutPercentage=500, rolloutVersion="9.9.9", promoteToStable=True).json == OK
    assert channel(caller).rollout.percentage_bps == 0


@pytest.mark.parametrize(
    ("fields", "demoted", "electron"),
    [
        ({}, True, True),
        ({"ios": True}, True, False),  # one missing counts as different
        ({"ios": False, "android": False}, True, True),
        ({"ios": False, "android": False, "electron": False}, False, False),
    ],
)
def test_a_public_channel_demotes_others_of_its_platforms(fields: dict[str, Any], *, demoted: bool, electron: bool) -> None:
    caller = talk()
    post(caller, public=True, **fields)
    assert channel(caller).public
    assert channel(caller).electron is electron
    assert channel(caller, "production").public is not demoted
    post(caller, "alpha", allow_dev=False)
    assert channel(caller).public


def test_a_rollout_from_its_beginning_to_its_promotion() -> None:
    caller = talk()
    first = shown(caller)["rollout_id"]
    assert post(caller, rolloutVersion="1.1.0", rolloutPercentage=10, rolloutEnabled=True).json == OK
    row, number = shown(caller), bundle(caller, "1.1.0")
    assert (row["rollout_version"], row["rollout_version_info"]) == (number, {"id": number, "name": "1.1.0"})
    assert row["rollout_id"] != first
    post(caller, rolloutPaused=True)
    listed = caller.get(f"/app/{APP}").json
    assert (listed["rollout_channel_count"], listed["rollout_paused_version_names"]) == (1, ["1.1.0"])
    post(caller, rolloutVersion=number)
    assert shown(caller)["rollout_id"] == row["rollout_id"]
    assert shown(caller)["rolloutPausedAt"] is not None
    post(caller, rolloutVersion=bundle(caller, "1.0.0"))
    moved = shown(caller)
    assert moved["rollout_id"] != row["rollout_id"]
    assert moved["rolloutPausedAt"] is None
    assert post(caller, promoteToStable=True).json == OK
    ended = shown(caller)
    assert (ended["version"]["name"], ended["rollout_version"]) == ("1.0.0", None)
    assert (ended["rolloutPercentageBps"], ended["rolloutEnabled"]) == (0, False)
    nothing = post(caller, promoteToStable=True)
    refused(nothing, 400, "missing_rollout_version")
    assert nothing.json["message"] == "Cannot promote without a rollout version"
    assert nothing.more == {"app_id": APP, "channel": "beta"}


def test_a_rollback_keeps_the_stable_bundle_and_may_be_repeated() -> None:
    caller = talk()
    stable = shown(caller)["version"]
    post(caller, rolloutVersion="1.1.0", rolloutEnabled=True)
    assert post(caller, rollback=True).json == OK
    assert (shown(caller)["version"], shown(caller)["rollout_version"]) == (stable, None)
    assert post(caller, rollback=True).json == OK
    post(caller, rolloutVersion="1.1.0")
    post(caller, rolloutVersion=None)
    assert shown(caller)["rollout_version"] is None


@pytest.mark.parametrize(
    ("key", "name", "fields", "code"),
    [
        (ADMIN_KEY, "beta", {"version": "1.1.0"}, None),
        (DEVELOPER_KEY, "beta", {}, "cannot_access_app"),
        (DEVELOPER_KEY, "fresh", {"version": "1.1.0"}, None),
        (UPLOADER_KEY, "fresh", {}, "cannot_access_app"),
        (READER_KEY, "beta", {}, "cannot_access_app"),
        (PREVIEW, "fresh", {"version": "1.1.0"}, None),
        (PREVIEW, "beta", {"version": "1.1.0"}, "cannot_access_app"),
    ],
)
def test_who_may_write(key: str, name: str, fields: dict[str, Any], code: str | None) -> None:
    caller = talk()
    caller.key = key
    answer = post(caller, name, **fields)
    if code is None:
        assert answer.status == 200
    else:
        refused(answer, 400, code)
        assert answer.more == ({"app_id": APP, "channel": name} if name == "beta" else {"app_id": APP})


def test_settings_and_promotion_are_two_rights(monkeypatch: pytest.MonkeyPatch) -> None:
    caller = talk()
    caller.key = "settings only"
    roles = {"app_admin": frozenset({"channel.update_settings", "app.create_channel"})}
    monkeypatch.setattr("capgo_async.sandbox.state.access.ROLES", roles)
    caller.sandbox.world.add_key(caller.key, Binding(role="app_admin", org_id=ORG_ID, app_id=APP), user_id=USER_ID)
    assert post(caller, allow_dev=False).status == 200
    for fields in ({"rolloutVersion": None}, {"rollback": True}, {"promoteToStable": True}):
        answer = post(caller, **fields)
        refused(answer, 400, "cannot_promote_bundle")
        assert answer.json["message"] == "You can't promote bundles on this channel"
        assert answer.more == {"app_id": APP, "channel": "beta", "channelId": channel(caller, "beta").id}
    for name in ("beta", "fresh"):
        answer = post(caller, name, version="1.1.0")
        refused(answer, 400, "cannot_access_app")
        assert answer.more == {"app_id": APP, "channel": name}
    assert "fresh" not in app(caller).channels


def test_a_deletion_without_access_finds_no_channel_and_without_the_right_says_which() -> None:
    caller = talk()
    caller.key = READER_KEY
    seen = delete(caller)
    refused(seen, 400, "cannot_access_app")
    assert seen.more == {"app_id": APP, "channel_id": channel(caller, "beta").id}
    caller.key = "of another app"
    caller.sandbox.world.add_key(caller.key, Binding(role="app_admin", org_id=ORG_ID, app_id="com.other"), user_id=USER_ID)
    unseen = delete(caller)
    refused(unseen, 400, "cannot_find_channel")
    assert unseen.more["supabaseError"]["code"] == "PGRST116"
    assert "beta" in app(caller).channels


def test_a_deletion_takes_the_overrides_along_and_leaves_bundles() -> None:
    caller = talk(devices=20)
    linked = [name for name, override in app(caller).overrides.items() if override.channel.name == "beta"]
    others = len(app(caller).overrides) - len(linked)
    assert linked
    bundles = len(app(caller).bundles)
    assert delete(caller).json == OK
    assert "beta" not in app(caller).channels
    assert len(app(caller).overrides) == others
    assert len(app(caller).bundles) == bundles
    again = delete(caller)
    refused(again, 400, "cannot_find_channel")
    assert again.more["supabaseError"]["code"] == "PGRST116"
    assert delete(caller, "production").json == OK
    assert caller.ask("DELETE", "/channel", {"app_id": APP, "channel": "alpha", "delete_bundle": "true"}).json == OK


@pytest.mark.parametrize(
    ("version", "generation", "kept"), [("12.199.3", "2026-07", True), ("12.199.4", "2026-07", False), (None, "seed", True)]
)
def test_old_servers_say_ok_and_keep_a_channel_that_has_overrides(version: str | None, generation: str, *, kept: bool) -> None:
    caller = talk(version, generation=generation, devices=20)
    assert delete(caller).json == OK
    assert ("beta" in app(caller).channels) is kept
    for name in list(app(caller).overrides):
        app(caller).unlink(name)
    if kept:
        assert delete(caller).json == OK
    assert "beta" not in app(caller).channels


@pytest.mark.parametrize("key", [ADMIN_KEY, DEVELOPER_KEY, UPLOADER_KEY, READER_KEY, PREVIEW])
def test_who_may_not_delete(key: str) -> None:
    caller = talk()
    caller.key = key
    refused(delete(caller), 400, "cannot_access_app")
    assert "beta" in app(caller).channels


def test_only_preview_keys_delete_a_bundle_with_its_channel_and_only_their_own() -> None:
    caller = talk()
    refused(delete(caller, delete_bundle=True), 400, "cannot_access_app")
    caller.key = PREVIEW
    body = {"app_id": APP, "version": "3.0.0", "external_url": "https://x.y/z.zip", "checksum": "c"}
    assert caller.ask("POST", "/bundle", json_body=body).status == 200
    assert post(caller, "mine", version="3.0.0").status == 200
    assert post(caller, "foreign", version="1.1.0").status == 200
    assert post(caller, "second", version="3.0.0").status == 200
    refused(delete(caller, "foreign", delete_bundle=True), 400, "cannot_delete_preview_bundle")
    refused(delete(caller, "mine", delete_bundle=True), 400, "cannot_delete_linked_version")
    assert delete(caller, "second").json == OK
    assert delete(caller, "mine", delete_bundle=True).json == OK
    assert app(caller).bundle_named("3.0.0") is None
    assert post(caller, "empty").status == 200
    assert delete(caller, "empty", delete_bundle=True).json == OK


def test_every_write_is_in_the_audit_log() -> None:
    caller = talk()
    post(caller, "fresh")
    post(caller, "fresh", public=True)
    delete(caller, "fresh")
    lines = list(caller.sandbox.world.audit.newest_first(ORG_ID, 0))
    key = caller.sandbox.world.keys.of(SUPER_ADMIN_KEY)
    seen = [(line.operation, line.record_id, line.actor) for line in lines if line.table == "channels"]
    number, demoted = str(lines[-1].record_id), str(channel(caller, "production").id)
    assert seen == [("DELETE", number, key), ("UPDATE", number, key), ("UPDATE", demoted, key), ("INSERT", number, key)]
    assert lines[2].changed_fields() == ["public"]


def test_numbers_and_moments_of_writes() -> None:
    caller = talk()
    before = shown(caller)
    caller.now = EPOCH + 60
    post(caller, allow_dev=False)
    after = shown(caller)
    assert after["updated_at"] == "2026-07-20T09:01:00+00:00"
    assert (after["created_at"], after["id"]) == (before["created_at"], before["id"])
