"""What servers after 12.201.7 do differently, beside the server of 2026-07 (contract J1, J2)."""

import math
from collections.abc import Callable
from typing import Any

import pytest
from sandbox.talking import APP, Answer, Talk

from capgo_async.sandbox import ROLES, Binding, Dropped, Override, Settings, fleet, parse_faults, thresholds
from capgo_async.sandbox.exchange import Generation
from capgo_async.sandbox.seeding import ADMIN_KEY, DEVELOPER_KEY, EPOCH, ORG_ID, SUPER_ADMIN_KEY, UPLOADER_KEY, USER_ID
from capgo_async.sandbox.settings import FLAGS, flagged

DAY = 86_400.0
OK = {"status": "ok"}
JULY: Generation = "2026-07"
NOVEMBER: Generation = "2026-11"
BOTH = pytest.mark.parametrize("generation", [JULY, NOVEMBER])


def talk(generation: Generation = NOVEMBER, *, devices: int = 4, channels: int = 3, bundles: int = 3, **settings: Any) -> Talk:
    return Talk(
        fleet(1, devices, channels=channels, bundles=bundles, overrides={}), Settings(generation=generation, **settings)
    )


def post(caller: Talk, channel: Any = "beta", **fields: Any) -> Answer:
    return caller.ask("POST", "/channel", json_body={"app_id": APP, "channel": channel, **fields})


def shown(caller: Talk, channel: str = "beta") -> Any:
    return caller.get("/channel", app_id=APP, channel=channel).json


def number_of(caller: Talk, name: str) -> int:
    bundle = caller.sandbox.world.apps[APP].bundle_named(name)
    assert bundle is not None
    return bundle.id


def promote(caller: Talk, name: str, channel: str = "beta", **fields: Any) -> Answer:
    channel_id = caller.sandbox.world.apps[APP].channels[channel].id
    body = {"app_id": APP, "version_id": number_of(caller, name), "channel_id": channel_id, **fields}
    return caller.ask("PUT", "/bundle", json_body=body)


def rolling_out(generation: Generation = NOVEMBER, **settings: Any) -> Talk:
    """Return a caller where beta serves 1.2.0 to all and 1.1.0 to a quarter, paused."""
    caller = talk(generation, **settings)
    begun = {"rolloutVersion": "1.1.0", "rolloutPercentage": 25, "rolloutEnabled": True, "rolloutPaused": True}
    assert post(caller, **begun).json == OK
    return caller


# Rollouts


@pytest.mark.parametrize(
    "change",
    [
        lambda caller: post(caller, version="1.0.0"),
        lambda caller: post(caller, version=None),
        lambda caller: promote(caller, "1.0.0"),
        lambda caller: promote(caller, "1.0.0", target="rollout"),  # ignored like any unknown key
    ],
    ids=["version", "no version", "promotion", "promotion with a target that nobody knows"],
)
@BOTH
def test_a_stable_change_drops_the_rollout_on_newer_servers(generation: Generation, change: Callable[[Talk], Answer]) -> None:
    caller = rolling_out(generation)
    before = shown(caller)
    assert change(caller).status == 200
    after = shown(caller)
    if generation == JULY:
        assert after["rollout_version"] == before["rollout_version"]
        assert (after["rolloutEnabled"], after["rollout_id"]) == (True, before["rollout_id"])
    else:
        assert (after["rollout_version"], after["rollout_version_info"], after["rolloutEnabled"]) == (None, None, False)
        assert after["rolloutPausedAt"] is None
        assert after["rollout_id"] != before["rollout_id"]
    assert after["rolloutPercentageBps"] == 2500


@pytest.mark.parametrize(
    "change",
    [
        lambda caller: post(caller, version="1.2.0", allow_dev=False),
        lambda caller: promote(caller, "1.2.0"),
        lambda caller: post(caller, rolloutPercentage=50),
    ],
    ids=["the same version", "the same bundle", "other settings"],
)
def test_what_leaves_the_stable_bundle_leaves_the_rollout(change: Callable[[Talk], Answer]) -> None:
    caller = rolling_out()
    assert change(caller).status == 200
    assert shown(caller)["rollout_version"] == number_of(caller, "1.1.0")


def test_a_stable_change_with_a_new_rollout_keeps_that_one() -> None:
    caller = rolling_out()
    assert post(caller, version="1.1.0", rolloutVersion="1.0.0").json == OK
    assert (shown(caller)["version"]["name"], shown(caller)["rollout_version_info"]["name"]) == ("1.1.0", "1.0.0")
    assert shown(caller)["rolloutEnabled"] is True


@BOTH
def test_switching_a_rollout_off(generation: Generation) -> None:
    caller = rolling_out(generation)
    assert post(caller, rolloutEnabled=False, rolloutVersion="1.0.0").json == OK
    found = shown(caller)
    assert found["rolloutEnabled"] is False
    kept = None if generation == NOVEMBER else number_of(caller, "1.0.0")  # there the other key is ignored
    assert found["rollout_version"] == kept
    assert found["rolloutPausedAt"] is None


@pytest.mark.parametrize("ending", ["promoteToStable", "rollback"])
def test_switching_off_does_not_take_the_bundle_from_what_ends_the_rollout(ending: str) -> None:
    caller = rolling_out()
    assert post(caller, rolloutEnabled=False, **{ending: True}).json == OK
    assert shown(caller)["version"]["name"] == ("1.1.0" if ending == "promoteToStable" else "1.2.0")


@pytest.mark.parametrize(("generation", "linked", "refused"), [
    (NOVEMBER, True, True), (NOVEMBER, False, False), (JULY, True, False),
])  # fmt: skip
def test_unlinking_needs_the_right_to_promote(
    monkeypatch: pytest.MonkeyPatch, generation: Generation, *, linked: bool, refused: bool
) -> None:
    settings = frozenset({"app.read_channels", "channel.update_settings"})
    monkeypatch.setitem(ROLES, "app_settings", settings)  # no role of the server has these two alone
    caller = rolling_out(generation) if linked else talk(generation)
    caller.sandbox.world.add_key("settings", Binding(role="app_settings", org_id=ORG_ID, app_id=APP), user_id=USER_ID)
    caller.key = "settings"
    answer = post(caller, rolloutEnabled=False)
    assert (answer.status, answer.json["error"] if refused else None) == (
        (400, "cannot_promote_bundle") if refused else (200, None)
    )
    assert shown(caller)["rolloutEnabled"] is refused


@BOTH
def test_advancing_a_rollout(generation: Generation) -> None:
    caller = rolling_out(generation)
    assert post(caller, advanceRollout=True, rolloutVersion="1.0.0").json == OK
    found = shown(caller)
    assert found["rollout_version_info"]["name"] == "1.0.0"
    assert found["version"]["name"] == ("1.1.0" if generation == NOVEMBER else "1.2.0")  # older servers only swap the target
    assert found["rolloutPausedAt"] is None
    assert found["rolloutEnabled"] is True
    again = post(caller, advanceRollout=True, rolloutVersion="1.2.0")
    assert again.json == OK
    assert shown(caller)["version"]["name"] == ("1.0.0" if generation == NOVEMBER else "1.2.0")


@pytest.mark.parametrize("fields", [{"rolloutEnabled": False}, {"rolloutEnabled": True}])
def test_advancing_enables_unless_told_otherwise(fields: dict[str, bool]) -> None:
    caller = rolling_out()
    assert post(caller, advanceRollout=True, rolloutVersion="1.0.0", **fields).json == OK
    assert shown(caller)["rolloutEnabled"] is fields["rolloutEnabled"]
    assert shown(caller)["rollout_version_info"]["name"] == "1.0.0"


def test_there_is_nothing_to_advance_without_a_new_bundle() -> None:
    caller = rolling_out()
    assert post(caller, advanceRollout=True).code == "missing_rollout_version"
    assert shown(caller)["version"]["name"] == "1.2.0"


@pytest.mark.parametrize("fields", [{"version": "1.0.0"}, {"advanceRollout": True, "rolloutVersion": "1.0.0"}])
def test_what_promotes_needs_its_right(fields: dict[str, Any]) -> None:
    caller = rolling_out()
    caller.key = UPLOADER_KEY  # may promote, may not change settings
    assert post(caller, **fields).code == "cannot_access_app"


# The target of a promotion


@pytest.mark.parametrize(
    ("target", "rollout", "set_"),
    [
        (None, True, "rollout"),
        (None, False, "stable"),
        ("auto", True, "rollout"),
        ("auto", False, "stable"),
        ("stable", True, "stable"),
        ("rollout", True, "rollout"),
        ("rollout", False, "rollout"),
    ],
)
@BOTH
def test_the_target_of_a_promotion(generation: Generation, target: str | None, *, rollout: bool, set_: str) -> None:
    caller = rolling_out(generation, bundle_target=True) if rollout else talk(generation, bundle_target=True)
    answer = promote(caller, "1.0.0", **({} if target is None else {"target": target}))
    assert answer.json["assignmentTarget"] == set_
    found = shown(caller)
    if set_ == "stable":
        assert found["version"]["name"] == "1.0.0"
        dropped = rollout and generation == NOVEMBER
        assert found["rollout_version"] == (number_of(caller, "1.1.0") if rollout and not dropped else None)
    else:
        assert (found["version"]["name"], found["rollout_version_info"]["name"]) == ("1.2.0", "1.0.0")
        assert (found["rolloutEnabled"], found["rolloutPercentageBps"]) == ((True, 2500) if rollout else (False, 0))


@pytest.mark.parametrize("target", ["devices", "", 1, ["stable"]])
def test_an_unknown_target_is_refused_only_where_there_are_targets(target: Any) -> None:
    assert promote(talk(bundle_target=True), "1.0.0", target=target).code == "invalid_target"
    assert promote(talk(), "1.0.0", target=target).status == 200


def test_a_rollout_needs_a_stable_bundle() -> None:
    caller = talk(bundle_target=True)
    post(caller, version=None)
    assert promote(caller, "1.0.0", target="rollout").code == "cannot_set_rollout_without_stable"


# Update packages


@pytest.mark.parametrize(
    ("package", "code"),
    [("zip", None), ("zip_from_builtin", None), ("all", None), ("delta", "delta"), ("delta_from_builtin", "delta")],
)
@pytest.mark.parametrize("place", ["mode", "stable", "promotion", "rollout", "creation"])
def test_a_bundle_must_serve_the_package_of_its_channel(package: str, code: str | None, place: str) -> None:
    caller = talk()
    beta = caller.sandbox.world.apps[APP].channels["beta"]
    if place == "mode":
        answer = post(caller, updatePackage=package)
    elif place == "creation":
        answer = post(caller, "fresh", version="1.0.0", update_package=package)
    elif place == "rollout":
        beta.update_package = package
        answer = post(caller, rolloutVersion="1.0.0")
    else:
        beta.version, beta.update_package = None, package
        answer = post(caller, version="1.0.0") if place == "stable" else promote(caller, "1.0.0")
    if code is None:
        assert answer.status == 200
        assert shown(caller, "fresh" if place == "creation" else "beta")["updatePackage"] == package
    else:
        assert (answer.status, answer.code) == (400, f"channel_{code}_required")
        assert beta.version != number_of(caller, "1.0.0")
        assert "fresh" not in caller.sandbox.world.apps[APP].channels


def test_a_bundle_with_a_manifest_serves_deltas_and_one_without_a_zip_no_zips() -> None:
    caller = talk()
    bundle = caller.sandbox.world.apps[APP].bundles[number_of(caller, "1.2.0")]
    bundle.manifest_count, bundle.external_url = 3, None
    assert post(caller, updatePackage="delta").json == OK
    assert post(caller, updatePackage="zip").code == "channel_zip_required"
    assert shown(caller)["updatePackage"] == "delta"


@pytest.mark.parametrize(("sent", "status"), [("tar", 400), (5, 400), (None, 200)])
def test_an_unknown_package(sent: Any, status: int) -> None:
    assert post(talk(), updatePackage=sent).status == status
    assert post(talk(JULY), updatePackage=sent).json == OK


@BOTH
def test_what_a_channel_shows(generation: Generation) -> None:
    caller = talk(generation)
    post(caller, ios=False)
    more = {"updatePackage", "ios", "android"} if generation == NOVEMBER else set()
    for row in (shown(caller), *caller.get("/channel", app_id=APP).json):
        assert {"updatePackage", "ios", "android", "electron"} & set(row) == more
        assert len(row) == 33 + len(more)
    if more:
        assert (shown(caller)["ios"], shown(caller)["android"], shown(caller)["updatePackage"]) == (False, True, "all")


# Rights


@pytest.mark.parametrize(("generation", "key", "allowed"), [
    (JULY, DEVELOPER_KEY, True),
    (NOVEMBER, DEVELOPER_KEY, False),
    (NOVEMBER, ADMIN_KEY, True),
    (NOVEMBER, SUPER_ADMIN_KEY, True),
])  # fmt: skip
def test_who_may_create_a_public_channel(generation: Generation, key: str, *, allowed: bool) -> None:
    caller = talk(generation)
    caller.key = key
    answer = post(caller, "fresh", public=True)
    assert (answer.status == 200) is allowed
    if not allowed:
        assert answer.code == "cannot_access_app"
        assert "fresh" not in caller.sandbox.world.apps[APP].channels
        assert post(caller, "fresh", public=False).json == OK


# Pages


@pytest.mark.parametrize(("page", "expected"), [("0", 50), ("1", 50), ("2", 30), ("3", 0), ("-1", 50), ("x", 50), ("1.5", 50)])
def test_pages_of_channels_have_fifty_rows(page: str, expected: int) -> None:
    assert len(talk(channels=130).get("/channel", app_id=APP, page=page).json) == expected


@pytest.mark.parametrize(("page", "expected"), [("0", 50), ("1", 50), ("2", 10), ("3", 0), ("-1", 50), ("0.9", 50)])
def test_pages_of_bundles_have_fifty_rows_or_none(page: str, expected: int) -> None:
    answer = talk(bundles=110).get("/bundle", app_id=APP, page=page)
    assert (answer.status, len(answer.json)) == (200, expected)


def test_an_app_without_bundles() -> None:
    assert talk(bundles=0).get("/bundle", app_id=APP).json == []
    assert talk(JULY, bundles=0).get("/bundle", app_id=APP).code == "cannot_get_bundle"
    assert talk().get("/bundle", app_id="com.no.app").code == "cannot_get_bundle"


def test_the_page_bug_is_a_flag() -> None:
    assert len(talk(channels=130, page_bug=True).get("/channel", app_id=APP, page="1").json) == 80


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ({"version": "1.1.0"}, ["1.1.0"]),
        ({"version": "1.1.0", "page": "7"}, ["1.1.0"]),
        ({"version": "9.9.9"}, []),
        ({"version": "1.0.0", "id": "FIRST"}, ["1.0.0"]),
        ({"version": "1.1.0", "id": "FIRST"}, []),
        ({"id": "FIRST"}, ["1.0.0"]),
    ],
)
def test_bundles_are_found_by_name_and_number(query: dict[str, str], found: list[str]) -> None:
    caller = talk()
    sent = {name: str(number_of(caller, "1.0.0")) if value == "FIRST" else value for name, value in query.items()}
    assert [row["name"] for row in caller.get("/bundle", app_id=APP, **sent).json] == found
    older = talk(JULY).get("/bundle", app_id=APP, **{**sent, "page": "0"})
    assert len(older.json) == 3


def test_a_deleted_bundle_is_not_found() -> None:
    caller = talk()
    assert caller.ask("DELETE", "/bundle", {"app_id": APP, "version": "1.0.0"}).json == OK
    assert caller.get("/bundle", app_id=APP, version="1.0.0").json == []


@pytest.mark.parametrize("query", [{"id": "x"}, {"id": "1.5"}, {"version": ""}, {"page": "x"}])
def test_filters_of_bundles_that_make_no_sense(query: dict[str, str]) -> None:
    assert talk().get("/bundle", app_id=APP, **query).code == "invalid_query"


# Devices


@pytest.mark.parametrize(("generation", "flag", "filters"), [
    (JULY, None, False), (JULY, True, True), (NOVEMBER, None, True), (NOVEMBER, False, False),
])  # fmt: skip
def test_devices_are_found_by_custom_id(generation: Generation, *, flag: bool | None, filters: bool) -> None:
    caller = talk(generation, devices=30, custom_id_filter=flag)
    found = caller.get("/device", app_id=APP, custom_id=" user-10 ").json
    assert [row["custom_id"] for row in found["data"]] == (
        ["user-10"] if filters else [row["custom_id"] for row in found["data"]]
    )
    assert len(found["data"]) == (1 if filters else 30)
    too_long = caller.get("/device", app_id=APP, limit="1", custom_id="x" * 37)
    assert too_long.status == (400 if filters else 200)


@pytest.mark.parametrize("custom_id", ["", "  ", "x" * 37])
def test_custom_ids_that_make_no_sense(custom_id: str) -> None:
    assert talk().get("/device", app_id=APP, custom_id=custom_id).code == "invalid_custom_id"


def test_a_custom_id_beside_a_device_is_ignored_and_pages_have_cursors() -> None:
    caller = talk(devices=400)
    app = caller.sandbox.world.apps[APP]
    device_id = next(iter(app.devices))
    assert caller.get("/device", app_id=APP, device_id=device_id, custom_id="x" * 40).json["device_id"] == device_id
    for index, device in enumerate(list(app.devices.values())):
        if index % 2:
            app.put_device(type(device)(
                device_id=device.device_id, updated_at=device.updated_at, traits=device.traits, custom_id="shared",
            ))  # fmt: skip
    first = caller.get("/device", app_id=APP, custom_id="shared", limit="150").json
    second = caller.get("/device", app_id=APP, custom_id="shared", limit="150", cursor=first["nextCursor"]).json
    assert [len(first["data"]), len(second["data"]), second["hasMore"]] == [150, 50, False]


@pytest.mark.parametrize(("generation", "window", "waits"), [
    (JULY, None, 60), (NOVEMBER, None, 5), (NOVEMBER, 60, 60), (JULY, 5, 5),
])  # fmt: skip
def test_the_window_of_the_same_set(generation: Generation, window: int | None, waits: int) -> None:
    caller = talk(generation, limits=thresholds("server"), same_set_window=window)
    assert caller.link("d").json == OK
    caller.now += 1
    refused = caller.link("d")
    assert (refused.status, refused.headers["retry-after"]) == (429, str(waits - 1))
    assert refused.more["retryAfterSeconds"] == waits - 1
    caller.now += waits - 1
    assert caller.link("d").json == OK


# Overrides that expire


def overrides(caller: Talk) -> set[str]:
    caller.get("/ok")  # the job runs before the first request of a day
    return set(caller.sandbox.world.apps[APP].overrides)


@pytest.mark.parametrize(("generation", "days", "lifetime"), [
    (JULY, None, 30), (NOVEMBER, None, math.inf), (NOVEMBER, 90, 90), (JULY, 90, 90), (JULY, math.inf, math.inf),
])  # fmt: skip
def test_when_overrides_are_removed(generation: Generation, days: float | None, lifetime: float) -> None:
    caller = talk(generation, override_days=days)
    caller.link("d")
    caller.now += min(lifetime, 1000) * DAY - 1
    assert overrides(caller) == {"d"}
    caller.now += DAY + 2
    assert overrides(caller) == (set() if lifetime < math.inf else {"d"})


def test_the_job_runs_at_half_past_two() -> None:
    caller = talk(JULY)
    night = EPOCH // DAY * DAY + 2.5 * 3600
    caller.now = night - 60
    caller.link("d")
    caller.now = night + 30 * DAY - 61
    assert overrides(caller) == {"d"}
    caller.now = night + 30 * DAY + 1
    assert overrides(caller) == set()


@BOTH
def test_an_identical_link_renews_nothing(generation: Generation) -> None:
    caller = talk(generation, override_days=90)
    caller.link("d")
    caller.now += 60 * DAY
    caller.link("d")
    caller.link("fresh")
    caller.now += 31 * DAY
    assert overrides(caller) == {"fresh"}


def test_what_a_device_sets_itself_expires_until_the_api_sets_it() -> None:
    caller = talk()
    app = caller.sandbox.world.apps[APP]
    caller.get("/ok")
    written = round(EPOCH * 1_000_000)
    app.overrides |= {name: Override(app.channels["beta"], written, by_device=True) for name in ("kept", "idle")}
    caller.now += 10 * DAY
    caller.link("kept")
    caller.now += 100 * DAY
    assert overrides(caller) == {"kept"}


def test_a_seeded_world_keeps_its_overrides_whatever_the_day() -> None:
    caller = Talk(fleet(1, 12), Settings())
    caller.now += 1000 * DAY
    before = set(caller.sandbox.world.apps[APP].overrides)
    assert overrides(caller) == before != set()
    caller.now += 32 * DAY
    assert overrides(caller) == set()


# The database is away


@pytest.mark.parametrize(("generation", "flag", "admits"), [
    (JULY, None, False), (JULY, True, True), (NOVEMBER, None, True), (NOVEMBER, False, False),
])  # fmt: skip
def test_a_good_key_during_database_trouble(generation: Generation, *, flag: bool | None, admits: bool) -> None:
    limits = thresholds("server", {"RATE_LIMIT_FAILED_AUTH": 1})
    faults = parse_faults("GET /app:lost-keys=#1")
    caller = talk(generation, limits=limits, faults=faults, keys_503=flag)
    first = caller.get("/app")
    if admits:
        assert (first.status, first.code, first.headers["retry-after"]) == (503, "database_unavailable", "2")
        assert first.more == {}
    else:
        assert (first.status, first.code) == (401, "invalid_apikey")
    assert caller.get("/app").status == (200 if admits else 429)  # the refusal counts as a failed login


def test_without_a_key_there_is_nothing_to_look_up() -> None:
    caller = talk(faults=parse_faults("GET /app:lost-keys=#1"))
    caller.key = None
    assert caller.ask("GET", "/app", headers={}).code == "no_key_provided"


@pytest.mark.parametrize(
    ("method", "path", "body", "denied", "permission"),
    [
        ("GET", "/device", {"app_id": APP}, (400, "cannot_access_app"), "app.read_devices"),
        (
            "POST",
            "/device",
            {"app_id": APP, "device_id": "d", "channel": "beta"},
            (404, "channel_not_found"),
            "app.read_channels",
        ),
        ("DELETE", "/device", {"app_id": APP, "device_id": "d"}, (400, "cannot_access_app"), "app.manage_devices"),
        ("GET", "/channel", {"app_id": APP}, (400, "cannot_access_app"), "app.read_channels"),
        ("POST", "/channel", {"app_id": APP, "channel": "beta"}, (400, "cannot_access_app"), "channel.update_settings"),
        ("DELETE", "/bundle", {"app_id": APP, "version": "1.0.0"}, (400, "cannot_delete_bundle"), "bundle.delete"),
        ("GET", f"/app/{APP}", None, (401, "cannot_access_app"), "app.read"),
    ],
)
@pytest.mark.parametrize(("generation", "flag", "admits"), [
    (JULY, None, False), (JULY, True, True), (NOVEMBER, None, True), (NOVEMBER, False, False),
])  # fmt: skip
def test_rights_during_database_trouble(  # noqa: PLR0917 -- columns of the table
    method: str,
    path: str,
    body: dict[str, str] | None,
    denied: tuple[int, str],
    permission: str,
    generation: Generation,
    *,
    flag: bool | None,
    admits: bool,
) -> None:
    caller = talk(generation, faults=parse_faults("*:lost-rights=#1"), rights_503=flag)
    caller.sandbox.world.apps[APP].link("d", caller.sandbox.world.apps[APP].channels["beta"], EPOCH)
    before = caller.sandbox.world.apps[APP].overrides.copy()
    more = {"json_body": body} if body is not None else {}
    answer = caller.ask(method, path, **more)
    if admits:
        assert (answer.status, answer.code) == (503, "upstream_unavailable")
        assert answer.more == {"permission": permission, "scope": {"appId": APP}}
    else:
        assert (answer.status, answer.code) == denied
    assert caller.sandbox.world.apps[APP].overrides == before
    assert caller.ask(method, path, **more).status == 200


@pytest.mark.parametrize(
    ("outcome", "code", "happened"),
    [("503", "upstream_unavailable", False), ("503-after", "upstream_unavailable", True),
     ("503-keys-after", "database_unavailable", True), ("lost-keys", "database_unavailable", False)],
)  # fmt: skip
def test_both_codes_before_and_after_the_commit(outcome: str, code: str, *, happened: bool) -> None:
    caller = talk(faults=parse_faults(f"POST /device:{outcome}=#1"))
    answer = caller.link("d")
    assert (answer.status, answer.code, answer.more) == (503, code, {})
    assert answer.headers.get("retry-after") == ("2" if code == "database_unavailable" else None)
    assert ("d" in caller.sandbox.world.apps[APP].overrides) is happened


def test_a_503_is_one_in_the_seed_era_too() -> None:
    assert talk("seed", faults=parse_faults("POST /device:503=#1")).link("d").status == 503


# An organization that does not pay


@BOTH
def test_an_app_whose_organization_does_not_pay(generation: Generation) -> None:
    caller = rolling_out(generation, faults=parse_faults("GET /device:unpaid=#2"))
    assert caller.get("/device", app_id=APP).status == 200
    assert shown(caller)["version"]["name"] == "1.2.0"
    assert caller.get("/device", app_id=APP).status == 200
    assert [(row["version"], row["rollout_version"]) for row in caller.get("/channel", app_id=APP).json] == [(None, None)] * 3
    assert all(bundle.deleted for bundle in caller.sandbox.world.apps[APP].bundles.values())
    assert caller.get("/bundle", app_id=APP).status == (200 if generation == NOVEMBER else 400)


# The audit log, statistics, apps


@BOTH
def test_updates_that_change_nothing_are_noise(generation: Generation) -> None:
    caller = talk(generation)
    before = audit_of(caller)
    post(caller, allow_dev=True)
    assert audit_of(caller) - before == (1 if generation == JULY else 0)
    post(caller, allow_dev=False)
    assert audit_of(caller) - before == (2 if generation == JULY else 1)
    if generation == NOVEMBER:
        post(caller, updatePackage="zip")
        assert audit_of(caller) - before == 2


def audit_of(caller: Talk) -> int:
    total = caller.get("/organization/audit", orgId=ORG_ID, tableName="channels").json["total"]
    assert isinstance(total, int)
    return total


def test_active_devices_by_platform() -> None:
    caller = talk(devices=200)
    sent = {"from": "2026-07-10", "to": "2026-07-14"}
    path = f"/statistics/app/{APP}/native_usage"
    found = caller.ask("GET", path, sent).json
    platforms = {"android", "ios", "electron", "unknown", "total"}
    assert set(found["activeDevices"]) == set(found["previousPeriodActiveDevices"]) == platforms
    daily = found["dailyPlatformActive"]
    assert daily["labels"] == found["labels"]
    assert set(daily) == platforms | {"labels"}
    assert [sum(column) for column in zip(*(daily[name] for name in platforms - {"total"}), strict=True)] == daily["total"]
    assert max(daily["total"]) == found["activeDevices"]["total"] > 0
    older = talk(JULY, devices=200).ask("GET", path, sent).json
    assert {name: found[name] for name in older} == older
    assert set(found) - set(older) == {"activeDevices", "previousPeriodActiveDevices", "dailyPlatformActive"}


@pytest.mark.parametrize(
    ("icon", "status"),
    [("https://signed.example.com/icon.png", 400), ("orgs/other/icon.png", 400), (f"orgs/{ORG_ID}/i.png", 200)],
)
def test_the_icon_of_an_app_is_a_path_of_its_organization(icon: str, status: int) -> None:
    caller = talk()
    answer = caller.ask("PUT", f"/app/{APP}", json_body={"icon": icon})
    assert answer.status == status
    assert status == 200 or answer.code == "invalid_icon_path"
    assert talk(JULY).ask("PUT", f"/app/{APP}", json_body={"icon": icon}).status == 200
    assert "onboarding" in caller.get(f"/app/{APP}").json


# Settings


def test_the_version_is_told_unless_another_was_chosen() -> None:
    assert talk().get("/ok").headers["x-worker-source"] == "capgo_api-sandbox-12.262.1"
    assert talk(JULY).get("/ok").headers["x-worker-source"] == "capgo_api-sandbox-12.201.7"
    assert talk(version="capgo_api-12.300.0").get("/ok").headers["x-worker-source"] == "capgo_api-12.300.0"


@pytest.mark.parametrize(
    ("flag", "name", "value"),
    [
        ("bundle_target=true", "bundle_target", True),
        ("custom_id_filter=false", "custom_id_filter", False),
        ("same_set_window=60", "same_set_window", 60),
        ("override_days=90", "override_days", 90.0),
        ("override_days=inf", "override_days", math.inf),
    ],
)
def test_flags_are_read_from_text(flag: str, name: str, value: object) -> None:
    settings = flagged(Settings(generation="2026-11", row_cap=7), [flag])
    assert getattr(settings, name) == value
    assert (settings.generation, settings.row_cap) == ("2026-11", 7)


@pytest.mark.parametrize(
    "flag",
    ["row_cap=7", "bundle_target", "=on", "same_set_window=soon", "same_set_window=0", "override_days=-1", "keys_503=maybe"],
)
def test_flags_that_make_no_sense(flag: str) -> None:
    with pytest.raises(ValueError, match="flag"):
        flagged(Settings(), [flag])


def test_every_flag_is_a_setting() -> None:
    assert set(FLAGS) <= set(Settings.__struct_fields__)


def test_a_dropped_connection_is_none_of_the_new_outcomes() -> None:
    caller = talk(faults=parse_faults("GET /app:503-after=#1,drop-after=#2"))
    assert caller.get("/app").status == 503
    assert isinstance(caller.hear(caller.incoming("GET", "/app")), Dropped)
