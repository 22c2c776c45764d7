"""Seeded worlds and the access log."""

import json
from itertools import pairwise

import pytest
from sandbox.talking import APP, Talk

from capgo_async.sandbox import Settings, fleet
from capgo_async.sandbox.seeding import (
    ADMIN_KEY,
    DEVELOPER_KEY,
    EPOCH,
    EXPIRED_KEY,
    ORG_ID,
    OUTSIDER_EMAIL,
    READER_KEY,
    SUPER_ADMIN_KEY,
    UPLOADER_KEY,
    USER_EMAIL,
    device_id,
)


def test_a_fleet_is_as_ordered() -> None:
    world = fleet(12, 20_003, 5)
    apps = list(world.apps.values())
    assert [app.app_id for app in apps] == [f"com.example.app{number:02d}" for number in range(1, 13)]
    assert sum(len(app.devices) for app in apps) == 20_003
    assert {len(app.devices) for app in apps} == {1666, 1667}
    for app in apps:
        assert list(app.channels) == ["production", "beta", "alpha", "ch04", "ch05"]
        assert [channel.public for channel in app.channels.values()] == [True, False, False, False, False]
        assert all(channel.version in app.bundles for channel in app.channels.values())
        assert all(device.traits.version in app.bundles for device in app.devices.values())
        assert all(0 <= EPOCH * 1e6 - device.updated_at <= 60 * 86_400e6 for device in app.devices.values())
        ids = [device.device_id for device in app.devices_after("")]
        assert ids == sorted(app.devices)
        assert all(first < second for first, second in pairwise(ids))
        assert all(name == name.lower() and len(name) == 36 for name in ids)
    assert len({app.owner_org for app in apps}) == 1


def test_the_same_arguments_make_the_same_world() -> None:
    one, two = (Talk(fleet(2, 50)) for _ in range(2))
    for path in ("/app", "/device", "/channel", "/bundle"):
        assert one.get(path, app_id=APP).body == two.get(path, app_id=APP).body
    assert one.get("/_sandbox/state").body == two.get("/_sandbox/state").body


@pytest.mark.parametrize(
    ("overrides", "expected"),
    [
        ({"beta": 1 / 3, "alpha": 1 / 12}, {"beta": 400, "alpha": 100}),
        ({"beta": 1.0}, {"beta": 1200}),
        ({}, {}),
        ({"unknown": 0.5}, {}),
    ],
)
def test_shares_of_overrides(overrides: dict[str, float], expected: dict[str, int]) -> None:
    app = fleet(1, 1200, overrides=overrides).apps[APP]
    found: dict[str, int] = {}
    for override in app.overrides.values():
        found[override.channel.name] = found.get(override.channel.name, 0) + 1
    assert set(found) == set(expected)
    assert all(abs(found[name] - count) <= 5 for name, count in expected.items())
    assert set(app.overrides) <= set(app.devices)


def test_platforms_and_versions_are_mixed() -> None:
    devices = fleet(1, 100).apps[APP].devices.values()
    assert {device.traits.platform for device in devices} == {"ios", "android", "electron"}
    assert len({device.traits.version_name for device in devices}) == 3
    assert {bool(device.custom_id) for device in devices} == {True, False}


def test_the_well_known_keys() -> None:
    world = fleet(2, 0)
    permissions = ("app.delete", "app.manage_devices", "app.upload_bundle", "app.read")
    for secret, expected in (
        (SUPER_ADMIN_KEY, (True, True, True, True)),
        (ADMIN_KEY, (False, True, True, True)),
        (DEVELOPER_KEY, (False, True, True, True)),
        (UPLOADER_KEY, (False, False, True, True)),
        (READER_KEY, (False, False, False, True)),
    ):
        key = world.keys.of(secret)
        assert key is not None
        assert not key.expired(EPOCH)
        held = tuple(world.app_permitting(key, permission, "com.example.app02") is not None for permission in permissions)
        assert held == expected
    expired = world.keys.of(EXPIRED_KEY)
    assert expired is not None
    assert expired.expired(EPOCH)


def test_the_people_of_a_fleet() -> None:
    organizations = fleet(1, 0).organizations
    assert [(org.id, org.name, list(org.members)) for org in organizations] == [(ORG_ID, "Sandbox", [USER_EMAIL])]
    assert set(organizations.users) == {USER_EMAIL, OUTSIDER_EMAIL}


def test_a_fleet_without_bundles_has_builtin_devices() -> None:
    row = Talk(fleet(1, 1, bundles=0)).get("/device", app_id=APP).json["data"][0]
    assert (row["version"], row["version_name"]) == (None, "builtin")


def test_the_log_tells_what_was_asked_and_answered() -> None:
    talk = Talk(fleet(1, 0))
    talk.link("D", "beta")
    talk.get("/channel", app_id=APP, channel="beta")
    talk.get(f"/app/{APP}")
    talk.ask("GET", "/app", headers={})
    talk.ask("POST", "/device", body=b"[1]")
    lines = list(talk.sandbox.log)
    assert [line.target for line in lines] == [f"{APP}/D", f"{APP}/beta", APP, "", ""]
    assert [line.status for line in lines] == [200, 200, 200, 401, 400]
    admin = talk.sandbox.world.keys.of(SUPER_ADMIN_KEY)
    assert admin is not None
    assert [line.key for line in lines] == [admin.key_id] * 3 + [None, admin.key_id]
    assert SUPER_ADMIN_KEY not in repr(lines)


def test_a_refused_request_is_logged_with_its_target() -> None:
    talk = Talk(fleet(1, 0))
    talk.key = "wrong"
    talk.link(device_id(APP, 0))
    assert talk.sandbox.log[-1].target == f"{APP}/{device_id(APP, 0)}"


def test_the_log_can_be_read_on_from_where_one_was() -> None:
    talk = Talk(fleet(1, 0), Settings(log_size=3))
    talk.key = None
    for number in range(5):
        talk.ask("GET", "/ok", headers={"x-request-id": f"id{number}"})

    def ids(**query: str) -> list[str]:
        return [line["request_id"] for line in talk.get("/_sandbox/log", **query).json["lines"]]

    assert ids() == ids(**{"from": "x"}) == ["id2", "id3", "id4"]
    assert ids(**{"from": "4"}) == ["id4"]
    assert ids(**{"from": "9"}) == []
    assert talk.get("/_sandbox/log").json["next"] == 5
    assert len(talk.sandbox.log) == 3  # inspections leave no line


def test_inspections_are_free_of_faults_and_limits() -> None:
    talk = Talk(settings=Settings())
    state = json.loads(talk.get("/_sandbox/state").body)
    assert set(state["overrides"]) == {APP, "com.example.app02"}
    assert set(talk.get("/_sandbox/state", app_id=APP).json["overrides"]) == {APP}
    assert talk.sandbox.answered == 0
