"""API keys: listed, made by users, changed and revoked (contract C4, D33 to D35)."""

import re
from typing import Any

import pytest
from sandbox.talking import APP, Answer, Talk

from capgo_async.sandbox import Binding, Key, Settings, fleet
from capgo_async.sandbox.seeding import (
    ADMIN_KEY,
    DEVELOPER_KEY,
    EPOCH,
    ORG_ID,
    OUTSIDER_EMAIL,
    READER_KEY,
    SUPER_ADMIN_KEY,
    UPLOADER_KEY,
    USER_ID,
    USER_JWT,
)
from capgo_async.sandbox.state.organizations import Organization

SEED, DOCS = Settings(generation="seed"), Settings(generation="docs")
AS_USER = {"authorization": f"Bearer {USER_JWT}"}
LISTED = {
    "id", "name", "user_id", "created_at", "updated_at", "expires_at", "rbac_id", "is_hashed_key", "global_permissions",
}  # fmt: skip
BINDING = {"role_name": "org_member", "scope_type": "org", "org_id": ORG_ID}
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def talk(settings: Settings | None = None, key: str = SUPER_ADMIN_KEY) -> Talk:
    made = Talk(fleet(2, 0), settings)
    made.key = key
    return made


def key_of(caller: Talk, secret: str) -> Key:
    found = caller.sandbox.world.keys.of(secret)
    assert found is not None
    return found


def held(caller: Talk) -> Organization:
    found = caller.sandbox.world.organizations.get(ORG_ID)
    assert found is not None
    return found


def make(caller: Talk, **body: Any) -> Answer:
    return caller.ask("POST", "/apikey", json_body={"name": "ci", "bindings": [BINDING], **body}, headers=AS_USER)


def change(caller: Talk, key_id: int, headers: dict[str, str] | None = None, **body: Any) -> Answer:
    return caller.ask("PUT", f"/apikey/{key_id}", json_body=body, headers=headers)


def test_a_listing_holds_no_secrets() -> None:
    caller = talk()
    answer = caller.get("/apikey")
    assert [row["name"] for row in answer.json] == ["super admin", "reader", "uploader", "developer", "expired", "admin"]
    assert all(set(row) == LISTED for row in answer.json)
    assert [row["global_permissions"] for row in answer.json[:2]] == [["org.create"], []]
    assert SUPER_ADMIN_KEY.encode() not in answer.body


def test_a_listing_holds_the_same_users_keys_that_the_caller_may_manage() -> None:
    caller = talk()
    world = caller.sandbox.world
    world.add_key("foreign", Binding(role="org_member", org_id=ORG_ID), user_id="someone else", name="foreign")
    elsewhere = Binding(role="org_member", org_id="another")
    world.add_key("wide", Binding(role="org_member", org_id=ORG_ID), elsewhere, user_id=USER_ID, name="wide")
    names = {row["name"] for row in caller.get("/apikey").json}
    assert not names & {"foreign", "wide"}
    assert {row["name"] for row in caller.ask("GET", "/apikey", headers=AS_USER).json} == names | {"wide"}
    assert caller.get(f"/apikey/{key_of(caller, 'wide').key_id}").code == "cannot_get_apikey"
    assert caller.get(f"/apikey/{key_of(caller, 'foreign').key_id}").code == "failed_to_get_apikey"


@pytest.mark.parametrize("key", [READER_KEY, UPLOADER_KEY, DEVELOPER_KEY])
def test_keys_without_the_right_manage_nothing(key: str) -> None:
    caller = talk(key=key)
    other = key_of(caller, SUPER_ADMIN_KEY).key_id
    for method, path, code in (
        ("GET", "/apikey", "cannot_list_apikeys"),
        ("GET", f"/apikey/{other}", "cannot_get_apikey"),
        ("PUT", f"/apikey/{other}", "cannot_update_apikey"),
        ("DELETE", f"/apikey/{other}", "cannot_delete_apikey"),
    ):
        answer = caller.ask(method, path, json_body={"name": "x"})
        message = "API key management requires RBAC org role management permission"
        assert (answer.status, answer.code, answer.json["message"]) == (401, code, message)
        traced = {"requestId": answer.headers["x-request-id"]} if method == "PUT" else {}
        assert answer.more == {**traced, "apikeyId": key_of(caller, key).key_id}
    assert talk(key=ADMIN_KEY).get("/apikey").status == 200


def test_one_key_by_number_or_plain_text() -> None:
    caller = talk()
    reader = key_of(caller, READER_KEY)
    by_number, by_text = (caller.get(f"/apikey/{name}").json for name in (reader.key_id, READER_KEY))
    assert by_number == by_text
    assert set(by_number) == LISTED
    assert caller.get(f"/apikey/{SUPER_ADMIN_KEY}").json["name"] == "super admin"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/apikey/abc%20d!", 400, "invalid_id_format"),
        ("/apikey/short", 400, "invalid_id_format"),
        ("/apikey/99999999", 404, "failed_to_get_apikey"),
        ("/apikey/11111111-2222-4333-8444-555555555555", 404, "failed_to_get_apikey"),
    ],
)
def test_keys_that_are_not_found(path: str, status: int, code: str) -> None:
    answer = talk().get(path)
    assert (answer.status, answer.code) == (status, code)


def test_hashed_keys_are_found_by_number_only() -> None:
    caller = talk()
    hashed = caller.sandbox.world.add_key(
        "the-plain-text", Binding(role="org_member", org_id=ORG_ID), user_id=USER_ID, hashed=True
    )
    assert caller.get("/apikey/the-plain-text").code == "failed_to_get_apikey"
    assert caller.get(f"/apikey/{hashed.secret}").code == "failed_to_get_apikey"
    assert caller.get(f"/apikey/{hashed.key_id}").json["is_hashed_key"] is True


def test_a_key_makes_no_keys_whatever_it_sends() -> None:
    caller = talk()
    for raw in (b"", b"this is no json", b'{"name": "ci"}'):
        answer = caller.ask("POST", "/apikey", {"org_id": ORG_ID, "mode": "read"}, body=raw)
        message = "API keys cannot create other API keys"
        assert (answer.status, answer.json) == (400, {"error": "cannot_create_apikey", "message": message, "moreInfo": {}})


def test_a_user_makes_a_key_that_works_and_revokes_it() -> None:
    caller = talk()
    app = caller.sandbox.world.apps[APP]
    binding = {"role_name": "app_reader", "scope_type": "app", "org_id": ORG_ID, "app_id": app.id, "reason": "ci"}
    made = make(caller, bindings=[binding])
    assert made.status == 200
    row = made.json
    assert set(row) == {
        "id", "created_at", "user_id", "key", "updated_at", "name", "key_hash", "expires_at", "rbac_id", "global_permissions",
    }  # fmt: skip
    assert UUID.fullmatch(row["key"])
    assert row["key_hash"] is None
    assert re.fullmatch(r"2026-07-20 09:00:00(\.\d+)?\+00", row["created_at"])
    caller.key = row["key"]
    assert [found["app_id"] for found in caller.get("/app").json] == [APP]
    assert caller.link("d").code == "cannot_access_channel"  # it reads, and no more
    revoked = caller.ask("DELETE", f"/apikey/{row['id']}", headers=AS_USER)
    assert (revoked.status, revoked.json) == (200, {"status": "ok"})
    assert (caller.get("/app").status, caller.get("/app").code) == (401, "invalid_apikey")


def test_a_hashed_key_is_shown_once() -> None:
    caller = talk()
    row = make(caller, hashed=True, global_permissions=["org.create"]).json
    assert re.fullmatch(r"[0-9a-f]{64}", row["key_hash"])
    assert row["global_permissions"] == ["org.create"]
    caller.key = row["key"]
    assert caller.get("/organization", orgId=ORG_ID).status == 200
    assert row["key"] not in {key.secret for key in caller.sandbox.world.keys}


def test_a_key_that_expires() -> None:
    caller = talk()
    row = make(caller, expires_at="2026-07-20T09:00:10Z").json
    assert row["expires_at"] == "2026-07-20 09:00:10+00"
    assert caller.get(f"/apikey/{row['id']}").json["expires_at"] == "2026-07-20T09:00:10+00:00"
    caller.key = row["key"]
    assert caller.get("/app").status == 200
    caller.now += 10
    assert caller.get("/app").status == 401


APP_BINDING = {"role_name": "app_reader", "scope_type": "app", "org_id": ORG_ID}


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({"name": None}, 400, "name_is_required"),
        ({"name": "", "bindings": None}, 400, "name_is_required"),
        ({"bindings": None}, 400, "bindings_required"),
        ({"bindings": []}, 400, "bindings_required"),
        ({"bindings": ["x"]}, 400, "invalid_bindings"),
        ({"bindings": [{**BINDING, "scope_type": "x"}]}, 400, "invalid_bindings"),
        ({"bindings": [{**BINDING, "role_name": "zzz"}]}, 404, "binding_failed"),
        ({"bindings": [{**BINDING, "role_name": "app_reader"}]}, 400, "binding_failed"),
        ({"bindings": [{**BINDING, "scope_type": "app"}]}, 400, "binding_failed"),
        ({"bindings": [{**APP_BINDING, "app_id": APP}]}, 404, "binding_failed"),
        ({"bindings": [{**BINDING, "org_id": "another"}]}, 403, "forbidden_binding"),
        ({"bindings": [BINDING, BINDING]}, 409, "duplicate_binding"),
        ({"expires_at": "2001-01-01"}, 400, "invalid_expiration_date"),
        ({"expires_at": "soon"}, 400, "invalid_expiration_date"),
        ({"expires_at": 5}, 400, "invalid_expiration_date"),
        ({"global_permissions": ["org.delete"]}, 400, "invalid_global_permissions"),
        ({"global_permissions": "org.create"}, 400, "invalid_global_permissions"),
    ],
)
def test_what_a_creation_refuses(body: dict[str, Any], status: int, code: str) -> None:
    caller = talk()
    before = len(list(caller.sandbox.world.keys))
    answer = make(caller, **body)
    assert (answer.status, answer.code) == (status, code)
    assert len(list(caller.sandbox.world.keys)) == before


def test_a_user_gives_no_more_than_is_held() -> None:
    caller = talk()
    world = caller.sandbox.world
    user = world.organizations.users[OUTSIDER_EMAIL]
    held(caller).join(user, "org_admin")
    world.add_session("theirs", user.id)
    for role, status in (("org_super_admin", 403), ("org_admin", 200)):
        body = {"name": "ci", "bindings": [{**BINDING, "role_name": role}]}
        assert caller.ask("POST", "/apikey", json_body=body, headers={"authorization": "Bearer theirs"}).status == status


def test_an_unreadable_body_of_a_user() -> None:
    answer = talk().ask("POST", "/apikey", {"name": "ci"}, headers=AS_USER)
    assert (answer.status, answer.code, answer.more) == (400, "invalid_json_parse_body", {"e": {}})


def test_an_organization_may_limit_how_long_keys_live() -> None:
    caller = talk()
    held(caller).require_apikey_expiration = True
    held(caller).max_apikey_expiration_days = 1
    assert make(caller).code == "expiration_required"
    assert make(caller, expires_at="2026-07-21T09:00:01Z").code == "expiration_exceeds_max"
    made = make(caller, expires_at="2026-07-21T09:00:00Z")
    assert made.status == 200
    assert change(caller, made.json["id"], AS_USER, expires_at=None).code == "expiration_required"


def test_renaming_by_path_and_by_body() -> None:
    caller = talk()
    reader = key_of(caller, READER_KEY)
    first = change(caller, reader.key_id, name="renamed")
    assert (first.status, set(first.json)) == (200, LISTED - {"global_permissions"})
    assert first.json["name"] == "renamed"
    assert first.json["updated_at"] > first.json["created_at"]
    second = caller.ask("PUT", "/apikey", json_body={"id": reader.key_id, "name": "again"})
    assert second.json["name"] == caller.get(f"/apikey/{reader.key_id}").json["name"] == "again"
    caller.key = READER_KEY
    assert caller.get("/app").status == 200


def test_rotating_a_secret() -> None:
    caller = talk()
    row = change(caller, key_of(caller, READER_KEY).key_id, regenerate=True).json
    assert set(row) == (LISTED - {"global_permissions"}) | {"key", "key_hash"}
    for secret, status in ((READER_KEY, 401), (row["key"], 200)):
        caller.key = secret
        assert caller.get("/app").status == status


def test_rotating_a_hashed_secret() -> None:
    caller = talk()
    made = make(caller, hashed=True).json
    row = change(caller, made["id"], regenerate=True).json
    assert row["key_hash"] not in {None, made["key_hash"], row["key"]}
    caller.key = row["key"]
    assert caller.get("/app").status == 200


def test_moving_the_end_and_what_a_user_may_change_besides() -> None:
    caller = talk()
    number = key_of(caller, READER_KEY).key_id
    assert change(caller, number, expires_at="2026-07-20T09:00:10Z").json["expires_at"] == "2026-07-20T09:00:10+00:00"
    assert change(caller, number, expires_at=None).json["expires_at"] is None
    assert change(caller, number, bindings=[BINDING]).code == "forbidden_binding"
    assert change(caller, number, global_permissions=[]).code == "forbidden_binding"
    assert change(caller, number, AS_USER, bindings=[]).code == "invalid_bindings"
    answer = change(caller, number, AS_USER, bindings=[BINDING], global_permissions=["org.create"])
    assert answer.json["global_permissions"] == ["org.create"]
    caller.key = READER_KEY
    assert caller.get("/organization", orgId=ORG_ID).status == 200


@pytest.mark.parametrize(
    ("key_id", "body", "status", "code"),
    [
        ("99999999", {"name": "x"}, 404, "api_key_not_found_or_access_denied"),
        ("abc%20d!", {"name": "x"}, 400, "invalid_id_format"),
        ("99999999", {"mode": "read"}, 400, "no_valid_fields_provided_for_update"),
        ("99999999", {"name": ""}, 400, "no_valid_fields_provided_for_update"),
        ("99999999", {"regenerate": False}, 400, "no_valid_fields_provided_for_update"),
        ("99999999", [1], 400, "no_valid_fields_provided_for_update"),
    ],
)
def test_what_an_update_refuses(key_id: str, body: Any, status: int, code: str) -> None:
    answer = talk().ask("PUT", f"/apikey/{key_id}", json_body=body)
    assert (answer.status, answer.code) == (status, code)
    if "requestId" in answer.more:
        assert answer.more["requestId"] == answer.headers["x-request-id"]


def test_an_update_needs_a_number() -> None:
    assert talk().ask("PUT", "/apikey", json_body={"name": "x"}).code == "api_key_id_required"


def test_a_key_without_bindings_is_not_changed() -> None:
    caller = talk()
    bare = caller.sandbox.world.add_key("bare-key", user_id=USER_ID)
    answer = change(caller, bare.key_id, name="x")
    assert (answer.status, answer.code) == (409, "apikey_missing_rbac_bindings")


def test_a_key_neither_changes_nor_revokes_itself() -> None:
    caller = talk()
    own = key_of(caller, SUPER_ADMIN_KEY).key_id
    assert change(caller, own, mode="read").code == "no_valid_fields_provided_for_update"  # looked at first
    changed = change(caller, own, name="x")
    assert (changed.status, changed.code) == (401, "cannot_update_apikey")
    assert changed.more == {"requestId": changed.headers["x-request-id"], "apikeyId": own}
    for name in (own, SUPER_ADMIN_KEY):
        answer = caller.ask("DELETE", f"/apikey/{name}")
        assert (answer.status, answer.code, answer.more) == (401, "cannot_delete_apikey", {"apikeyId": own})
        assert answer.json["message"] == "API keys cannot delete themselves"
    assert caller.get("/apikey").status == 200


@pytest.mark.parametrize("by", ["number", "text"])
def test_revoking(by: str) -> None:
    caller = talk()
    name = key_of(caller, READER_KEY).key_id if by == "number" else READER_KEY
    first = caller.ask("DELETE", f"/apikey/{name}")
    assert (first.status, first.json) == (200, {"status": "ok"})
    again = caller.ask("DELETE", f"/apikey/{name}")
    assert (again.status, again.code) == (404, "api_key_not_found")
    assert again.more["supabaseError"]["code"] == "PGRST116"
    caller.key = READER_KEY
    assert caller.get("/app").code == "invalid_apikey"


def test_revoking_what_has_no_such_form() -> None:
    answer = talk().ask("DELETE", "/apikey/abc%20d!")
    message = "API key ID must be a valid UUID or number"
    assert (answer.status, answer.json["error"], answer.json["message"]) == (400, "invalid_id_format", message)


SEED_COLUMNS = {"id", "name", "key", "mode", "user_id", "created_at", "updated_at"}


@pytest.mark.parametrize(
    ("mode", "reads", "links"), [("read", True, False), ("upload", True, False), ("write", True, True), ("all", True, True)]
)
def test_seed_keys_are_made_by_query(mode: str, *, reads: bool, links: bool) -> None:
    caller = talk(SEED)
    answer = caller.ask("POST", "/apikey", {"org_id": ORG_ID, "mode": mode}, json_body={"name": "ignored"})
    assert (answer.status, set(answer.json)) == (200, {"apikey"})
    row = answer.json["apikey"]
    assert set(row) == SEED_COLUMNS
    assert row["mode"] == mode
    listed = caller.get("/apikey").json
    assert listed[-1] == row
    assert [found["mode"] for found in listed[:4]] == ["all", "read", "upload", "write"]
    caller.key = row["key"]
    assert (caller.get("/channel", app_id=APP).status == 200) is reads
    assert (caller.link("d").status == 200) is links


def test_seed_keys_are_revoked_by_their_text() -> None:
    caller = talk(SEED)
    number = key_of(caller, READER_KEY).key_id
    refused = caller.ask("DELETE", f"/apikey/{number}")
    assert (refused.status, refused.json["error"]) == (400, "API key not found")
    assert set(refused.json) == {"error", "supabaseError"}
    assert caller.ask("DELETE", f"/apikey/{READER_KEY}").json == {"success": True}
    assert caller.ask("POST", "/apikey", {"org_id": ORG_ID, "mode": "x"}).json == {"error": "Invalid mode"}
    assert caller.ask("POST", "/apikey", {"org_id": "another", "mode": "read"}).json == {"error": "Org not found"}
    for method, path in (("GET", f"/apikey/{number}"), ("PUT", f"/apikey/{number}"), ("PUT", "/apikey")):
        assert caller.ask(method, path).status == 404


def test_documented_keys() -> None:
    caller = talk(DOCS)
    made = caller.ask("POST", "/apikey", json_body={"name": "ci", "mode": "read", "limited_to_apps": [APP]})
    assert (made.status, set(made.json)) == (200, {"apikey"})
    row = made.json["apikey"]
    assert (row["mode"], row["limited_to_apps"]) == ("read", [APP])
    listed = caller.get("/apikey").json["data"]
    assert listed[-1] == {**row, "key": None}
    assert caller.ask("POST", "/apikey", json_body={"name": "ci", "mode": "all", "org_id": "x"}).code == "cannot_create_apikey"
    assert change(caller, row["id"], name="renamed").json["name"] == "renamed"
    caller.key = row["key"]
    assert [app["app_id"] for app in _rows(caller.get("/app"))] == [APP]
    caller.key = SUPER_ADMIN_KEY
    assert caller.ask("DELETE", f"/apikey/{row['id']}").json == {"success": True}
    assert set(make(caller).json) == {"apikey"}


def _rows(answer: Answer) -> Any:
    return answer.json["data"] if isinstance(answer.json, dict) else answer.json


def test_documented_keys_span_organizations_without_a_limit() -> None:
    caller = talk(DOCS)
    row = caller.ask("POST", "/apikey", json_body={"name": "ci", "mode": "write"}).json["apikey"]
    assert (row["mode"], row["limited_to_orgs"], row["limited_to_apps"]) == ("write", [ORG_ID], [])
    app = caller.ask("POST", "/apikey", json_body={"name": "ci", "mode": "all", "limited_to_apps": ["com.unknown.app"]})
    assert app.code == "cannot_create_apikey"


def test_minted_secrets_differ() -> None:
    caller = talk()
    assert len({make(caller).json["key"] for _ in range(20)}) == 20
    assert caller.now == EPOCH


@pytest.mark.parametrize("settings", [None, SEED])
def test_the_log_shows_no_key(settings: Settings | None) -> None:
    caller = talk(settings)
    for method, path in (
        ("DELETE", f"/apikey/{SUPER_ADMIN_KEY}"),
        ("GET", f"/apikey/{SUPER_ADMIN_KEY}/"),
        ("GET", "/apikey/12"),
    ):
        caller.ask(method, path)

    assert [line.path for line in caller.sandbox.log] == ["/apikey/[API key]", "/apikey/[API key]", "/apikey/12"]
