"""Organizations and their audit log (contract C1, C3, D1 to D4)."""

import json
from typing import Any

import pytest
from sandbox.talking import APP, Answer, Talk, kind

from capgo_async.sandbox import Binding, Settings, fleet
from capgo_async.sandbox.seeding import ADMIN_KEY, EPOCH, ORG_ID, READER_KEY, SUPER_ADMIN_KEY, USER_EMAIL, USER_ID, USER_JWT
from capgo_async.sandbox.state.organizations import Organization

SEED, DOCS = Settings(generation="seed"), Settings(generation="docs")
NINE = {
    "id", "created_by", "created_at", "updated_at", "logo", "name", "management_email", "customer_id", "website",
}  # fmt: skip
AS_USER = {"authorization": f"Bearer {USER_JWT}"}


def talk(settings: Settings | None = None, key: str = SUPER_ADMIN_KEY) -> Talk:
    made = Talk(fleet(1, 3), settings)
    made.key = key
    return made


def held(caller: Talk, org_id: str = ORG_ID) -> Organization:
    found = caller.sandbox.world.organizations.get(org_id)
    assert found is not None
    return found


def post(caller: Talk, body: Any, **more: Any) -> Answer:
    return caller.ask("POST", "/organization", json_body=body, **more)


def put(caller: Talk, body: Any, **more: Any) -> Answer:
    return caller.ask("PUT", "/organization", json_body=body, **more)


def issue(answer: Answer) -> Any:
    assert (answer.status, answer.code, answer.json["message"]) == (400, "invalid_body", "Invalid body")
    error = answer.more["error"]
    assert error["name"] == "SchemaError"
    return error["issues"][0]


def missing(name: str) -> dict[str, object]:
    message = "Invalid input: expected string, received undefined"
    return {"expected": "string", "code": "invalid_type", "path": [name], "message": message}


def test_one_organization_and_all() -> None:
    caller = talk()
    one = caller.get("/organization", orgId=ORG_ID).json
    assert set(one) == NINE
    assert (one["id"], one["name"], one["created_by"], one["management_email"]) == (ORG_ID, "Sandbox", USER_ID, USER_EMAIL)
    assert one["created_at"].endswith("+00:00")
    assert caller.get("/organization").json == caller.get("/organization", orgId="", org_id="x").json == [one]


def test_callers_see_what_they_may_read() -> None:
    assert talk(key=READER_KEY).get("/organization").json == []
    assert len(talk(key=ADMIN_KEY).get("/organization").json) == 1
    for asked in (ORG_ID, "nope"):
        answer = talk(key=READER_KEY).get("/organization", orgId=asked)
        expected = {"error": "invalid_org_id", "message": "You can't access this organization", "moreInfo": {"org_id": asked}}
        assert (answer.status, answer.json) == (400, expected)


def many(caller: Talk, count: int) -> None:
    world = caller.sandbox.world
    owner = world.organizations.users[USER_EMAIL]
    key = world.keys.of(SUPER_ADMIN_KEY)
    assert key is not None
    made = [world.add_organization(f"org {index}", owner=owner, now=EPOCH) for index in range(count)]
    bindings = (Binding(role="org_member", org_id=organization.id) for organization in made)
    world.add_key("many", *bindings, user_id=USER_ID)
    caller.key = "many"


def test_a_listing_stops_at_fifty_and_pages_come_in_a_body_only() -> None:
    caller = talk()
    many(caller, 120)
    pages = [caller.ask("GET", "/organization", json_body={"page": page}).json for page in range(4)]
    assert [len(page) for page in pages] == [50, 50, 20, 0]
    assert len({row["id"] for page in pages for row in page}) == 120
    assert caller.get("/organization").json == pages[0]
    for page in ("0", "1"):
        message = "Invalid input: expected number, received string"
        expected = {"expected": "number", "code": "invalid_type", "path": ["page"], "message": message}
        assert issue(caller.get("/organization", page=page)) == expected
    assert caller.ask("GET", "/organization", json_body={"page": -1}).code == "cannot_get_organizations"
    caller.sandbox = Talk(caller.sandbox.world, SEED).sandbox
    assert len(caller.get("/organization").json) == 120


def test_a_stored_logo_is_signed_anew_for_each_read_but_shown_as_it_is_by_an_update() -> None:
    caller = talk()
    assert put(caller, {"orgId": ORG_ID, "logo": "org/logo.png"}).json["data"]["logo"] == "org/logo.png"
    first, second = (caller.get("/organization", orgId=ORG_ID).json["logo"] for _ in range(2))
    assert first != second
    assert first.startswith("https://")
    put(caller, {"orgId": ORG_ID, "logo": "https://example.com/a.png"})
    assert caller.get("/organization", orgId=ORG_ID).json["logo"] == "https://example.com/a.png"


def test_creating_binds_key_and_user_as_super_admins() -> None:
    caller = talk()
    before = caller.get("/organization").json
    made = post(caller, {"orgId": ORG_ID, "name": "Created", "email": "ops@example.com", "unknown": 1})
    assert made.status == 200
    assert set(made.json) == {"id"}
    org_id = made.json["id"]
    assert org_id != ORG_ID
    row = caller.get("/organization", orgId=org_id).json
    assert (row["name"], row["management_email"], row["customer_id"]) == ("Created", "ops@example.com", f"pending_{org_id}")
    assert row["logo"] is None
    assert [org["id"] for org in caller.get("/organization").json] == [ORG_ID, org_id]
    assert len(before) == 1
    members = caller.get("/organization/members", orgId=org_id).json
    assert [(member["email"], member["role"]) for member in members] == [(USER_EMAIL, "org_super_admin")]
    again = post(caller, {"name": "Created"})
    assert again.json["id"] not in {org_id, ORG_ID}  # names are not unique
    assert caller.ask("DELETE", "/organization", {"orgId": org_id}).status == 200


def test_a_user_creates_too_and_by_query() -> None:
    caller = talk()
    org_id = caller.ask("POST", "/organization", {"name": "By query"}, headers=AS_USER).json["id"]
    assert held(caller, org_id).management_email == USER_EMAIL
    assert caller.get("/organization", orgId=org_id).code == "invalid_org_id"  # no key is bound to it
    assert put(caller, {"orgId": org_id, "name": "Mine"}, headers=AS_USER).json["data"]["name"] == "Mine"


@pytest.mark.parametrize("key", [READER_KEY, ADMIN_KEY])
def test_a_key_needs_the_global_permission_but_first_a_valid_body(key: str) -> None:
    caller = talk(key=key)
    assert issue(post(caller, {"name": "ab"}))["code"] == "too_small"
    answer = post(caller, {"name": "Created"})
    expected = {"error": "permission_denied", "message": "Permission denied: org.create", "moreInfo": {}}
    assert (answer.status, answer.json) == (403, expected)


def test_the_global_permission_alone_is_not_enough() -> None:
    caller = talk(key="granted")
    member = Binding(role="org_member", org_id=ORG_ID)
    caller.sandbox.world.add_key("granted", member, user_id=USER_ID, global_permissions=("org.create",))
    assert post(caller, {"name": "Created"}).code == "permission_denied"


def test_a_key_of_nobody_creates_nothing() -> None:
    caller = talk(key="orphan")
    owner = Binding(role="org_super_admin", org_id=ORG_ID)
    caller.sandbox.world.add_key("orphan", owner, user_id="nobody", global_permissions=("org.create",))
    assert post(caller, {"name": "Created"}).code == "cannot_get_user"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ({"probe": True}, missing("name")),
        ({"orgId": ORG_ID}, missing("name")),
        ([1], {"expected": "object", "code": "invalid_type", "path": []}),
        ({"name": 5}, {"expected": "string", "code": "invalid_type", "path": ["name"]}),
        (
            {"name": "Good", "email": "nope"},
            {"origin": "string", "code": "invalid_format", "format": "email", "path": ["email"]},
        ),
        ({"name": "Good", "estimatedMau": "5"}, {"expected": "number", "code": "invalid_type", "path": ["estimatedMau"]}),
        ({"name": "Good", "estimatedMau": 1.5}, {"expected": "int", "code": "invalid_type", "path": ["estimatedMau"]}),
        ({"name": "Good", "estimatedMau": -1}, {"origin": "number", "code": "too_small", "minimum": 0}),
        ({"name": "Good", "estimatedMau": 1_000_001}, {"origin": "number", "code": "too_big", "maximum": 1_000_000}),
        ({"name": "Good", "intent": "x"}, {"code": "invalid_value", "path": ["intent"]}),
    ],
)
def test_what_a_creation_refuses(body: Any, expected: dict[str, Any]) -> None:
    found = issue(post(talk(), body))
    assert expected.items() <= found.items()


@pytest.mark.parametrize(
    ("sent", "stored"),
    [
        ("example.com", "https://example.com/"),
        ("http://Example.com/a", "http://example.com/a"),
        ("", None),
        ("ftp://example.com", ...),
        ("https://me:secret@example.com", ...),
        ("https://[", ...),
        ("https://", ...),
    ],
)
@pytest.mark.parametrize("verb", [post, put])
def test_websites_are_normalised_or_refused(verb: Any, sent: str, stored: Any) -> None:
    caller = talk()
    answer = verb(caller, {"orgId": ORG_ID, "name": "Good", "website": sent})
    if stored is ...:
        assert (answer.status, answer.code, answer.more) == (400, "invalid_body", {"error": "website_must_be_a_valid_url"})
        return
    org_id = answer.json["id"]
    assert caller.get("/organization", orgId=org_id).json["website"] == stored


def test_an_update_shows_the_whole_row_and_moves_no_date() -> None:
    caller = talk()
    before = caller.get("/organization", orgId=ORG_ID).json
    answer = put(caller, {"orgId": ORG_ID, "name": " <b>New</b> name ", "management_email": "ops@example.com"})
    assert (answer.status, answer.json["status"], answer.json["id"]) == (200, "Organization updated", ORG_ID)
    data = answer.json["data"]
    assert set(data) > NINE
    assert len(data) == 22
    assert (data["name"], data["management_email"]) == ("New name", "ops@example.com")
    assert data["updated_at"].endswith("Z")
    after = caller.get("/organization", orgId=ORG_ID).json
    assert after == {**before, "name": "New name", "management_email": "ops@example.com"}
    nothing = put(caller, {"orgId": ORG_ID})
    assert (nothing.status, nothing.json["data"]) == (200, data)


@pytest.mark.parametrize(
    ("body", "code", "more"),
    [
        ({"probe": True}, "invalid_body", {"error": {"issues": [missing("orgId")], "name": "SchemaError"}}),
        ({"name": "Created"}, "invalid_body", {"error": {"issues": [missing("orgId")], "name": "SchemaError"}}),
        ({"orgId": ORG_ID, "name": "<i> </i>"}, "invalid_body", {"error": "sanitized_name_empty"}),
        ({"orgId": ORG_ID, "enforcing_2fa": "yes"}, "invalid_body", ...),
        ({"orgId": ORG_ID, "max_apikey_expiration_days": "5"}, "invalid_body", ...),
        ({"orgId": ORG_ID, "password_policy_config": {"enabled": True}}, "invalid_body", ...),
        ({"orgId": ORG_ID, "password_policy_config": 5}, "invalid_body", ...),
        ({"orgId": ORG_ID, "max_apikey_expiration_days": 366}, "invalid_max_expiration_days", {}),
        ({"orgId": ORG_ID, "required_encryption_key": "short"}, "invalid_required_encryption_key", {}),
        ({"orgId": ORG_ID, "enforcing_2fa": True}, "requires_2fa_to_enforce_2fa", {}),
        ({"orgId": "nope", "name": "x"}, "cannot_access_organization", {"orgId": "nope"}),
    ],
)
def test_what_an_update_refuses(body: Any, code: str, more: Any) -> None:
    caller = talk()
    before = caller.get("/organization", orgId=ORG_ID).body
    answer = put(caller, body)
    assert (answer.status, answer.code) == (400, code)
    assert more in (..., answer.more)
    assert caller.get("/organization", orgId=ORG_ID).body == before


def test_settings_that_are_kept() -> None:
    caller = talk()
    caller.sandbox.world.organizations.users[USER_EMAIL].has_2fa = True
    policy = {
        "enabled": True, "min_length": 8, "require_uppercase": True, "require_number": True, "require_special": False,
    }  # fmt: skip
    changes = {
        "enforcing_2fa": True,
        "enforce_encrypted_bundles": True,
        "max_apikey_expiration_days": 30,
        "required_encryption_key": "k" * 21,
        "password_policy_config": policy,
        "website": None,
    }
    data = put(caller, {"orgId": ORG_ID, **changes}).json["data"]
    assert {name: data[name] for name in changes} == changes


def test_a_key_without_the_right_updates_and_deletes_nothing() -> None:
    for key in (READER_KEY, "member"):
        caller = talk(key=key)
        caller.sandbox.world.add_key("member", Binding(role="org_member", org_id=ORG_ID), user_id=USER_ID)
        assert put(caller, {"orgId": ORG_ID, "name": "x"}).code == "cannot_access_organization"
        answer = caller.ask("DELETE", "/organization", {"orgId": ORG_ID})
        assert (answer.status, answer.code, answer.more) == (403, "invalid_org_id", {"org_id": ORG_ID})
    assert talk(key=ADMIN_KEY).ask("DELETE", "/organization", {"orgId": ORG_ID}).status == 403


def test_policies_for_keys() -> None:
    caller = talk()
    held(caller).require_apikey_expiration = True
    for method, path in (("GET", "/organization"), ("GET", "/organization/members"), ("GET", "/organization/audit")):
        answer = caller.ask(method, path, {"orgId": ORG_ID})
        assert (answer.status, answer.code) == (401, "org_requires_expiring_key")
    assert caller.ask("GET", "/organization/audit", {"orgId": ORG_ID}, headers=AS_USER).status == 200
    owner = Binding(role="org_super_admin", org_id=ORG_ID)
    caller.sandbox.world.add_key("expiring", owner, user_id=USER_ID, expires_at=EPOCH + 10)
    caller.key = "expiring"
    assert caller.get("/organization", orgId=ORG_ID).status == 200
    held(caller).enforce_hashed_api_keys = True
    assert caller.get("/organization", orgId=ORG_ID).code == "invalid_org_id"
    caller.sandbox.world.add_key("hashed", owner, user_id=USER_ID, expires_at=EPOCH + 10, hashed=True)
    caller.key = "hashed"
    assert caller.get("/organization", orgId=ORG_ID).status == 200


def test_deleting_takes_everything_along() -> None:
    caller = talk()
    assert caller.ask("DELETE", "/organization", {"orgId": ORG_ID}).json == {"status": "ok"}
    assert caller.get("/organization").json == []
    assert caller.get("/app").json == []
    assert caller.get(f"/app/{APP}").status == 401
    caller.sandbox.world.add_app(APP, org_id="another", user_id=USER_ID, now=EPOCH)  # the id is free again
    assert caller.get("/app", org_id=ORG_ID).code == "user_does_not_have_access_to_this_organization"
    for _ in range(2):
        again = caller.ask("DELETE", "/organization", json_body={"orgId": ORG_ID})
        assert (again.status, again.code) == (403, "invalid_org_id")


def test_the_log_goes_with_its_organization() -> None:
    caller = talk()
    world = caller.sandbox.world
    put(caller, {"orgId": ORG_ID, "name": "Renamed"})
    world.delete_organization(ORG_ID)
    world.add_organization("Sandbox", owner=world.organizations.users[USER_EMAIL], now=EPOCH, org_id=ORG_ID)
    assert caller.ask("GET", "/organization/audit", {"orgId": ORG_ID}, headers=AS_USER).json["total"] == 0


def test_deleting_leaves_other_organizations_alone() -> None:
    caller = talk()
    org_id = post(caller, {"name": "Other"}).json["id"]
    caller.sandbox.world.add_app("com.other.app", org_id=org_id, user_id=USER_ID, now=EPOCH)
    caller.ask("DELETE", "/organization", {"orgId": org_id})
    assert caller.get("/organization").json[0]["id"] == ORG_ID
    assert [app["app_id"] for app in caller.get("/app").json] == [APP]


def test_missing_org_id() -> None:
    answer = talk().ask("DELETE", "/organization", {"org_id": ORG_ID})
    expected = {"error": "missing_org_id", "message": "Missing orgId", "moreInfo": {}}
    assert (answer.status, answer.json) == (400, expected)


def complained(answer: Answer) -> set[str]:
    """Name the parameters that a validator refused, in the words of either generation."""
    error = answer.json["error"]
    issues = json.loads(error) if "status" in answer.json else answer.more["error"]["issues"]
    return {one["path"][0] for one in issues}


@pytest.mark.parametrize(
    ("generation", "method", "body", "outcome"),
    [
        ("2026-07", "POST", {"name": "Body"}, "creates"),
        ("2026-07", "PUT", {"name": "Body"}, "orgId"),
        ("seed", "POST", {"name": "Body"}, "orgId"),
        ("seed", "PUT", {"name": "Body"}, "creates"),
        ("2026-07", "POST", {"orgId": ORG_ID}, "name"),
        ("2026-07", "PUT", {"orgId": ORG_ID}, "nothing"),
        ("seed", "POST", {"orgId": ORG_ID}, "nothing"),
        ("seed", "PUT", {"orgId": ORG_ID}, "name"),
        ("2026-07", "POST", {"orgId": ORG_ID, "logo": "l"}, "name"),
        ("2026-07", "PUT", {"orgId": ORG_ID, "logo": "l"}, "updates"),
        ("seed", "POST", {"orgId": ORG_ID, "logo": "l"}, "updates"),
        ("seed", "PUT", {"orgId": ORG_ID, "logo": "l"}, "name"),
        ("2026-07", "POST", {"orgId": ORG_ID, "name": "Body"}, "creates"),
        ("2026-07", "PUT", {"orgId": ORG_ID, "name": "Body"}, "updates"),
        ("seed", "POST", {"orgId": ORG_ID, "name": "Body"}, "updates"),
        ("seed", "PUT", {"orgId": ORG_ID, "name": "Body"}, "creates"),
        ("2026-07", "POST", {"probe": True}, "name"),
        ("2026-07", "PUT", {"probe": True}, "orgId"),
        ("seed", "POST", {"probe": True}, "orgId"),
        ("seed", "PUT", {"probe": True}, "name"),
        ("docs", "POST", {"name": "Body"}, "creates"),
        ("docs", "PUT", {"probe": True}, "orgId"),
    ],
)
def test_the_dangerous_pair(generation: Any, method: str, body: Any, outcome: str) -> None:
    caller = talk(Settings(generation=generation))
    world = caller.sandbox.world
    before = [(org.id, org.name, org.logo) for org in world.organizations]
    answer = caller.ask(method, "/organization", json_body=body)
    after = [(org.id, org.name, org.logo) for org in world.organizations]
    if outcome in {"name", "orgId"}:
        assert answer.status == 400
        assert complained(answer) == {outcome}
        assert after == before
    elif outcome == "creates":
        assert answer.status == 200
        assert (len(after), after[0]) == (len(before) + 1, before[0])
    else:
        assert answer.status == 200
        assert len(after) == 1
        assert (after == before) is (outcome == "nothing")


def test_the_seed_probe_is_told_as_its_validator_printed_it() -> None:
    answer = put(talk(SEED), {"probe": True})
    assert (answer.status, set(answer.json)) == (400, {"status", "error"})
    assert answer.json["status"] == "Invalid body"
    assert answer.json["error"] == (
        '[\n  {\n    "code": "invalid_type",\n    "expected": "string",\n    "received": "undefined",\n'
        '    "path": [\n      "name"\n    ],\n    "message": "Required"\n  }\n]'
    )
    assert "Expected string, received number" in put(talk(SEED), {"name": 5}).json["error"]
    assert "Invalid email" in post(talk(SEED), {"orgId": ORG_ID, "management_email": "x"}).json["error"]


def test_seed_organizations() -> None:
    caller = talk(SEED)
    assert set(caller.get("/organization", orgId=ORG_ID).json) == NINE - {"website"}
    updated = post(caller, {"orgId": ORG_ID, "name": "Renamed"}).json
    assert set(updated) == {"status", "data"}
    assert [row["name"] for row in updated["data"]] == ["Renamed"]
    created = put(caller, {"name": "X"}).json
    # The id of the user, not of the organization: the bug of that time.
    assert created == {"status": "Organization created", "id": USER_ID}
    assert [row["name"] for row in caller.get("/organization").json] == ["Renamed", "X"]
    assert caller.get("/organization", orgId="nope").json == {"status": "You can't access this organization"}
    assert caller.ask("DELETE", "/organization", {"orgId": ORG_ID}).body == b"404 Not Found"
    assert caller.get("/organization/audit", orgId=ORG_ID).status == 404


def test_the_documented_envelopes() -> None:
    caller = talk(DOCS)
    one = caller.get("/organization", orgId=ORG_ID).json
    assert set(one) == {"data"}
    assert caller.get("/organization").json == {"data": [one["data"]]}
    updated = put(caller, {"orgId": ORG_ID, "name": "Renamed"}).json
    assert set(updated) == {"status", "data"}
    assert updated["data"]["name"] == "Renamed"
    assert set(post(caller, {"name": "New"}).json) == {"id"}


COLUMNS = {
    "id", "created_at", "table_name", "record_id", "operation", "user_id", "org_id", "old_record", "new_record",
    "changed_fields", "actor_type", "actor_user_id", "actor_user_email", "actor_apikey_id", "actor_apikey_name",
}  # fmt: skip


def audited(caller: Talk, **query: str) -> Any:
    return caller.get("/organization/audit", orgId=ORG_ID, **query).json


def written(caller: Talk, count: int) -> None:
    for number in range(count):
        table = "channels" if number % 2 else "apps"
        caller.sandbox.world.record(ORG_ID, table, "INSERT", str(number), None, {"n": number}, now=EPOCH + number)


def test_the_log_is_paged_newest_first() -> None:
    caller = talk()
    written(caller, 120)
    caller.now += 120
    first = audited(caller)
    assert (first["total"], first["page"], first["limit"], len(first["data"])) == (120, 0, 50, 50)
    assert [row["record_id"] for row in audited(caller, limit="2", page="1")["data"]] == ["117", "116"]
    assert audited(caller, limit="1000")["limit"] == len(audited(caller, limit="1000")["data"]) == 100
    assert audited(caller, limit="0") == {"data": [], "total": 120, "page": 0, "limit": 0}
    assert audited(caller, page="3") == {"data": [], "total": 120, "page": 3, "limit": 50}
    assert caller.ask("GET", "/organization/audit", json_body={"orgId": ORG_ID, "page": 2}).json["page"] == 2


def test_the_log_is_filtered_and_purged() -> None:
    caller = talk()
    written(caller, 10)
    caller.now += 10
    assert audited(caller, tableName="apps")["total"] == 5
    assert audited(caller, tableName="nope")["total"] == 0
    assert audited(caller, operation="DELETE")["total"] == 0
    assert audited(caller, operation="INSERT")["total"] == 10
    caller.now = EPOCH + 90 * 86_400 + 4
    assert audited(caller)["total"] == 6


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ({}, "invalid_body"),
        ({"orgId": ORG_ID, "page": "x"}, "invalid_body"),
        ({"orgId": ORG_ID, "limit": "ten"}, "invalid_body"),
        ({"orgId": "nope"}, "invalid_org_id"),
    ],
)
def test_what_the_log_refuses(query: dict[str, str], code: str) -> None:
    answer = talk().ask("GET", "/organization/audit", query)
    assert (answer.status, answer.code) == (400, code)


def test_the_log_is_for_administrators() -> None:
    for key, status in ((ADMIN_KEY, 200), (READER_KEY, 400)):
        assert talk(key=key).get("/organization/audit", orgId=ORG_ID).status == status
    assert talk().ask("GET", "/organization/audit", json_body={"orgId": ORG_ID, "page": -1}).code == "cannot_get_audit_logs"


def test_a_line_names_its_actor() -> None:
    caller = talk()
    world = caller.sandbox.world
    key = world.keys.of(SUPER_ADMIN_KEY)
    session = world.session_of(USER_JWT, EPOCH)
    old, new = {"name": "a", "kept": 1}, {"name": "b", "kept": 1}
    for actor in (None, key, session):
        world.record(ORG_ID, "channels", "UPDATE", "7", old, new, key=actor, now=EPOCH)
    rows = audited(caller)["data"]
    assert [row["actor_type"] for row in rows] == ["user", "apikey", "system"]
    assert all(set(row) == COLUMNS for row in rows)
    assert all(row["changed_fields"] == ["name"] for row in rows)
    assert key is not None
    assert [(row["actor_apikey_id"], row["actor_apikey_name"]) for row in rows] == [
        (None, None), (key.key_id, "super admin"), (None, None),
    ]  # fmt: skip
    assert [row["actor_user_email"] for row in rows] == [USER_EMAIL, USER_EMAIL, None]
    assert kind(rows[2])["user_id"] == "None"  # type: ignore[index]  # an object


def test_updates_and_removals_are_written_as_the_system() -> None:
    caller = talk()
    put(caller, {"orgId": ORG_ID})
    assert audited(caller)["total"] == 0  # nothing changed
    put(caller, {"orgId": ORG_ID, "name": "Renamed"})
    (row,) = audited(caller)["data"]
    assert (row["table_name"], row["operation"], row["record_id"]) == ("orgs", "UPDATE", ORG_ID)
    assert (row["actor_type"], row["changed_fields"]) == ("system", ["name"])
    org_id = post(caller, {"name": "New"}).json["id"]
    (created,) = caller.get("/organization/audit", orgId=org_id).json["data"]
    assert (created["operation"], created["old_record"], created["new_record"]["name"]) == ("INSERT", None, "New")
