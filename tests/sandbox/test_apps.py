"""Writes of /app (contract C5)."""

import re
from typing import Any

import pytest
from sandbox.talking import APP, Answer, Talk

from capgo_async.sandbox import Binding, fleet
from capgo_async.sandbox.seeding import ADMIN_KEY, DEVELOPER_KEY, EPOCH, ORG_ID, READER_KEY, SUPER_ADMIN_KEY, USER_ID, USER_JWT

NEW = {"app_id": "com.example.new", "name": "New", "owner_org": ORG_ID}
WIDE = {
    "retention": "2592000",
    "build_timeout_seconds": "900",
    "channel_device_count": "0",
    "manifest_bundle_count": "0",
    "rollout_channel_count": "0",
}


def talk(key: str = SUPER_ADMIN_KEY) -> Talk:
    made = Talk(fleet(1, 3))
    made.key = key
    return made


def create(caller: Talk, **fields: Any) -> Answer:
    return caller.ask("POST", "/app", json_body={**NEW, **fields})


def put(caller: Talk, app_id: str = APP, **fields: Any) -> Answer:
    return caller.ask("PUT", f"/app/{app_id}", json_body=fields)


def test_a_new_app_shows_64_bit_columns_as_strings_this_once() -> None:
    caller = talk()
    row = create(caller).json
    assert len(row) == 30
    assert {name: row[name] for name in WIDE} == WIDE
    assert {row["created_at"], row["build_timeout_updated_at"]} == {"2026-07-20T09:00:00.000Z"}
    expected = {
        "name": "New", "owner_org": ORG_ID, "user_id": USER_ID, "icon_url": "", "last_version": None, "updated_at": None,
        "default_upload_channel": "dev", "block_provider_infra_requests": True, "allow_device_custom_id": True,
        "expose_metadata": False, "need_onboarding": False, "existing_app": False, "ios_store_url": None,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    read = caller.get(f"/app/{NEW['app_id']}").json
    assert {name: read[name] for name in WIDE} == {name: int(number) for name, number in WIDE.items()}
    assert read["created_at"] == "2026-07-20T09:00:00+00:00"
    assert (read["id"], set(read)) == (row["id"], set(row))


def test_a_new_app_takes_its_optional_columns_also_from_the_query() -> None:
    caller = talk()
    more = {"icon": "i.png", "need_onboarding": "true", "existing_app": "1", "ios_store_url": "https://a"}
    row = caller.ask("POST", "/app", {**NEW, **more}).json
    assert (row["icon_url"], row["need_onboarding"], row["existing_app"], row["ios_store_url"]) == (
        "i.png",
        True,
        True,
        "https://a",
    )
    assert create(caller, app_id="com.example.x", need_onboarding="perhaps").code == "cannot_create_app"


@pytest.mark.parametrize(
    ("fields", "status", "code"),
    [
        ({"app_id": None}, 400, "missing_app_id"),
        ({"app_id": "nodots", "name": ""}, 400, "invalid_app_id"),
        ({"name": ""}, 400, "missing_name"),
        ({"owner_org": ""}, 400, "missing_owner_org"),
        ({"owner_org": "nope", "app_id": APP}, 403, "cannot_access_organization"),
        ({"owner_org": 5}, 403, "cannot_access_organization"),
        ({"app_id": APP}, 409, "app_id_already_exists"),
    ],
)
def test_refused_creations(fields: dict[str, Any], status: int, code: str) -> None:
    caller = talk()
    answer = create(caller, **fields)
    assert (answer.status, answer.code) == (status, code)
    assert len(caller.sandbox.world.apps) == 1


def test_an_id_is_taken_whoever_has_it() -> None:
    caller = talk()
    caller.sandbox.world.add_app("com.other.app", org_id="another", user_id="another", now=EPOCH)
    answer = create(caller, app_id="com.other.app")
    assert answer.more == {
        "app_id": "com.other.app",
        "constraint": "apps_pkey",
        "detail": "Key (app_id)=(com.other.app) already exists.",
    }


def test_users_and_keys_of_the_organization_create_apps() -> None:
    caller = talk()
    assert create(caller, app_id="com.by.user").status == 200
    signed_in = caller.ask(
        "POST", "/app", json_body={**NEW, "app_id": "com.by.jwt"}, headers={"authorization": f"Bearer {USER_JWT}"}
    )
    assert (signed_in.status, signed_in.json["user_id"]) == (200, USER_ID)
    caller.key = READER_KEY
    assert create(caller).status == 403


@pytest.mark.parametrize(
    ("field", "value", "column", "expected"),
    [
        ("name", "Renamed", "name", "Renamed"),
        ("icon", "i.png", "icon_url", "i.png"),
        ("retention", 0, "retention", 0),
        ("retention", "63113903", "retention", 63113903),
        ("expose_metadata", True, "expose_metadata", True),
        ("allow_device_custom_id", False, "allow_device_custom_id", False),
        ("need_onboarding", True, "need_onboarding", True),
        ("existing_app", True, "existing_app", True),
        ("block_provider_infra_requests", False, "block_provider_infra_requests", False),
        ("ios_store_url", "https://a", "ios_store_url", "https://a"),
        ("android_store_url", "https://g", "android_store_url", "https://g"),
        ("android_store_url", None, "android_store_url", None),
    ],
)
def test_each_column_is_updated_and_the_rest_stays(field: str, value: Any, column: str, expected: object) -> None:
    caller = talk()
    before = caller.get(f"/app/{APP}").json
    answer = put(caller, **{field: value})
    assert answer.status == 200
    assert answer.json == {**before, column: expected, "updated_at": "2026-07-20T09:00:00+00:00"}
    assert caller.get(f"/app/{APP}").json == answer.json


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"retention": 63113904}, "retention_to_big"),
        ({"retention": -1, "name": "x"}, "retention_to_small"),
        ({"retention": "soon"}, "cannot_update_app"),
        ({"expose_metadata": "perhaps"}, "cannot_update_app"),
        ({"foo": 1}, "cannot_update_app"),
    ],
)
def test_refused_updates_change_nothing(fields: dict[str, Any], code: str) -> None:
    caller = talk()
    before = caller.get(f"/app/{APP}").json
    answer = put(caller, **fields)
    assert (answer.status, answer.code) == (400, code)
    assert caller.get(f"/app/{APP}").json == before


def test_a_deletion_takes_everything_and_the_id_is_free_again() -> None:
    caller = talk()
    old = caller.get(f"/app/{APP}").json["id"]
    assert caller.ask("DELETE", f"/app/{APP}").json == {"status": "ok"}
    assert (caller.get(f"/app/{APP}").status, caller.get(f"/app/{APP}").code) == (401, "cannot_access_app")
    again = caller.ask("DELETE", f"/app/{APP}")
    assert (again.status, again.code) == (400, "cannot_delete_app")
    created = create(caller, app_id=APP)
    assert created.status == 200
    assert created.json["id"] != old
    assert caller.get("/channel", app_id=APP).json == []
    caller.key = READER_KEY  # its binding went with the app
    assert caller.get(f"/app/{APP}").status == 401


@pytest.mark.parametrize(
    ("key", "update", "delete"),
    [
        (SUPER_ADMIN_KEY, 200, 200),
        (ADMIN_KEY, 200, 400),
        ("app admin", 200, 400),
        (DEVELOPER_KEY, 401, 400),
        (READER_KEY, 401, 400),
    ],
)
def test_who_may_update_and_delete(key: str, update: int, delete: int) -> None:
    caller = talk(key)
    caller.sandbox.world.add_key("app admin", Binding(role="app_admin", org_id=ORG_ID, app_id=APP), user_id=USER_ID)
    assert put(caller, name="x").status == update
    assert caller.ask("DELETE", f"/app/{APP}").status == delete
    for method, status in (("PUT", 401), ("DELETE", 400)):
        assert caller.ask(method, "/app/com.nope.app", json_body={"name": "x"}).status == status
        assert caller.ask(method, "/app/nodots", json_body={"name": "x"}).code == "invalid_app_id"


def test_the_audit_log_knows_the_key_of_updates_and_the_system_of_the_rest() -> None:
    caller = talk()
    create(caller)
    put(caller, str(NEW["app_id"]), name="x")
    caller.ask("DELETE", f"/app/{NEW['app_id']}")
    lines = list(caller.sandbox.world.audit.newest_first(ORG_ID, 0))[:3]
    assert [(line.table, line.operation, line.record_id) for line in lines] == [
        ("apps", operation, NEW["app_id"]) for operation in ("DELETE", "UPDATE", "INSERT")
    ]
    assert [line.actor is None for line in lines] == [True, False, True]
    assert lines[1].changed_fields() == ["name", "updated_at"]
    assert re.fullmatch(r"[0-9a-f-]{36}", str((lines[2].new or {})["id"]))
