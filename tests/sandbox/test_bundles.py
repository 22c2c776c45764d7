"""Writes of /bundle (contract C8)."""

from typing import Any

import pytest
from sandbox.talking import APP, Answer, Talk

from capgo_async.sandbox import App, Binding, Bundle, Settings, World, fleet
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
ZIP = {"app_id": APP, "version": "2.0.0", "external_url": "https://x.y/z.zip", "checksum": "abcd"}
NO_ROW = "PGRST116"


def talk(version: str | None = None, *, generation: Any = "2026-07", key: str = SUPER_ADMIN_KEY) -> Talk:
    settings = (
        Settings(generation=generation) if version is None else Settings(generation=generation, version=f"capgo_api-{version}")
    )
    made = Talk(fleet(1, 0, bundles=4), settings)
    made.key = key
    return made


def app(caller: Talk) -> App:
    return caller.sandbox.world.apps[APP]


def named(caller: Talk, name: str) -> Bundle:
    found = app(caller).bundle_named(name)
    assert found is not None
    return found


def register(caller: Talk, **fields: Any) -> Answer:
    return caller.ask("POST", "/bundle", json_body={**ZIP, **fields})


def assign(caller: Talk, **fields: Any) -> Answer:
    return caller.ask("PUT", "/bundle", json_body={"app_id": APP, **fields})


def describe(caller: Talk, **fields: Any) -> Answer:
    return caller.ask("POST", "/bundle/metadata", json_body={"app_id": APP, **fields})


def delete(caller: Talk, **query: str) -> Answer:
    return caller.ask("DELETE", "/bundle", {"app_id": APP, **query})


def refused(answer: Answer, code: str) -> None:
    assert (answer.status, answer.code) == (400, code)


def listed(caller: Talk) -> list[str]:
    answer = caller.get("/bundle", app_id=APP)
    return [row["name"] for row in answer.json] if answer.status == 200 else []


def test_a_bundle_is_registered_with_the_defaults_of_a_row() -> None:
    caller = talk()
    answer = register(caller, session_key="a:b", key_id="abcd")
    row = answer.json["bundle"]
    assert (answer.status, answer.json["status"]) == (200, "success")
    assert len(row) == 23
    expected = {
        "name": "2.0.0", "external_url": "https://x.y/z.zip", "checksum": "abcd", "session_key": "a:b", "key_id": "abcd",
        "storage_provider": "external", "deleted": False, "manifest_count": 0, "user_id": USER_ID, "owner_org": ORG_ID,
        "created_by_apikey_rbac_id": None, "manifest": None, "link": None, "deleted_at": None,
    }  # fmt: skip
    assert {name: row[name] for name in expected} == expected
    assert caller.get("/bundle", app_id=APP).json[0] == row
    assert register(talk(generation="docs")).json == OK


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"app_id": ""}, "missing_app_id"),
        ({"app_id": "nodots"}, "invalid_app_id"),
        ({"version": ""}, "missing_version"),
        ({"external_url": None}, "missing_external_url"),
        ({"checksum": ""}, "missing_checksum"),
        ({"version": "v2.0.0"}, "invalid_version_format"),
        ({"version": "2.0"}, "invalid_version_format"),
        ({"version": "02.0.0"}, "invalid_version_format"),
        ({"version": "2.0.0-01"}, "invalid_version_format"),
        ({"external_url": "HTTPS://x.y/z.zip"}, "invalid_protocol"),
        ({"external_url": "http://x.y/z.zip"}, "invalid_protocol"),
        ({"version": "1.0.0"}, "version_already_exists"),
        ({"app_id": "com.nope.app"}, "cannot_create_bundle"),
        ({"app_id": "com.nope.app", "external_url": "http://x"}, "cannot_create_bundle"),
        ({"app_id": "com.nope.app", "version": "x"}, "invalid_version_format"),
    ],
)
def test_refused_registrations_in_the_order_of_the_checks(fields: dict[str, Any], code: str) -> None:
    caller = talk()
    refused(register(caller, **fields), code)
    assert len(app(caller).bundles) == 4


@pytest.mark.parametrize("version", ["0.0.0", "1.2.3-alpha.1", "1.2.3-0a", "1.2.3+build.01", "10.20.30-x-y+z"])
def test_versions_that_pass(version: str) -> None:
    assert register(talk(), version=version).status == 200


def test_a_deleted_name_is_burned() -> None:
    caller = talk()
    register(caller)
    assert delete(caller, version="2.0.0").json == OK
    answer = register(caller)
    refused(answer, "cannot_create_bundle")
    assert answer.more["supabaseError"]["code"] == "23505"


@pytest.mark.parametrize(
    ("required", "fields", "code"),
    [
        (None, {}, "encryption_required"),
        (None, {"session_key": "a:b"}, None),
        ("abcd-and-more", {"session_key": "a:b"}, "encryption_key_required"),
        ("abcd-and-more", {"session_key": "a:b", "key_id": "zzzz"}, "encryption_key_mismatch"),
        ("abcd-and-more", {"session_key": "a:b", "key_id": "abcd"}, None),
    ],
)
def test_an_organization_may_insist_on_encryption(required: str | None, fields: dict[str, str], code: str | None) -> None:
    caller = talk()
    organization = caller.sandbox.world.organizations.get(ORG_ID)
    assert organization is not None
    organization.enforce_encrypted_bundles, organization.required_encryption_key = True, required
    answer = register(caller, **fields)
    assert (None if answer.status == 200 else answer.code) == code


def test_a_bundle_is_assigned_by_numbers_also_in_a_query_and_again() -> None:
    caller = talk()
    bundle, channel = named(caller, "1.0.0"), app(caller).channels["beta"]
    said = {"status": "success", "message": "Bundle 1.0.0 set to channel beta"}
    assert assign(caller, version_id=bundle.id, channel_id=channel.id).json == said
    assert channel.version == bundle.id
    query = {"app_id": APP, "version_id": str(bundle.id), "channel_id": str(channel.id)}
    assert caller.ask("PUT", "/bundle", query).json == said
    lines = [line for line in caller.sandbox.world.audit.newest_first(ORG_ID, 0) if line.table == "channels"]
    assert [line.operation for line in lines] == ["UPDATE"]  # the repeat changed nothing
    assert "version" in (lines[0].changed_fields() or [])


def test_refused_assignments() -> None:
    caller = talk()
    bundle, channel = named(caller, "1.0.0"), app(caller).channels["beta"]
    missing = assign(caller, version_id=bundle.id)
    refused(missing, "missing_required_fields")
    assert missing.more == {"app_id": APP, "version_id": bundle.id}
    refused(assign(caller, app_id="nodots", version_id=1, channel_id=1), "invalid_app_id")
    refused(assign(caller, version_id=999, channel_id=999), "cannot_find_version")
    refused(assign(caller, version_id="one", channel_id=channel.id), "cannot_find_version")
    refused(assign(caller, version_id=bundle.id, channel_id=999), "cannot_find_channel")
    delete(caller, version="1.0.0")
    refused(assign(caller, version_id=bundle.id, channel_id=channel.id), "cannot_find_version")
    caller.key = READER_KEY
    denied = assign(caller, version_id=bundle.id, channel_id=channel.id)
    refused(denied, "cannot_access_app")
    assert denied.more == {"app_id": APP, "channel_id": channel.id}


def test_a_preview_key_promotes_on_its_own_channel_only() -> None:
    caller = talk(key="preview")
    caller.sandbox.world.add_key("preview", Binding(role="app_preview", org_id=ORG_ID, app_id=APP), user_id=USER_ID)
    assert caller.ask("POST", "/channel", json_body={"app_id": APP, "channel": "mine"}).status == 200
    bundle = named(caller, "1.0.0").id
    assert assign(caller, version_id=bundle, channel_id=app(caller).channels["mine"].id).status == 200
    refused(assign(caller, version_id=bundle, channel_id=app(caller).channels["beta"].id), "cannot_access_app")


def test_link_and_comment_are_stored() -> None:
    caller = talk()
    bundle = named(caller, "1.0.0")
    assert describe(caller, version_id=bundle.id, link="https://x.y").json == OK
    assert (bundle.link, bundle.comment) == ("https://x.y", None)
    assert describe(caller, version_id=str(bundle.id), link=None, comment="c").json == OK
    assert (bundle.link, bundle.comment) == (None, "c")
    refused(describe(caller, version_id=bundle.id), "no_fields_to_update")
    refused(describe(caller, version_id=999, comment="c"), "cannot_find_version")
    missing = describe(caller, comment="c")
    refused(missing, "missing_required_fields")
    assert missing.more == {"app_id": APP}
    refused(describe(caller, app_id="nodots", version_id=1), "invalid_app_id")
    caller.key = READER_KEY
    denied = describe(caller, version_id=bundle.id, comment="c")
    refused(denied, "cannot_update_bundle_metadata")
    assert denied.more == {"app_id": APP}


@pytest.mark.parametrize(
    ("version", "generation", "status"),
    [(None, "2026-07", "ok"), (None, "docs", "success"), ("12.100.4", "2026-07", "success"), ("12.100.5", "2026-07", "ok")],
)
def test_the_success_of_metadata_was_renamed(version: str | None, generation: str, status: str) -> None:
    caller = talk(version, generation=generation)
    assert describe(caller, version_id=named(caller, "1.0.0").id, comment="c").json == {"status": status}


def test_one_bundle_is_deleted_softly() -> None:
    caller = talk()
    bundle = named(caller, "1.0.0")
    assert delete(caller, version="1.0.0").json == OK
    assert "1.0.0" not in listed(caller)
    assert bundle.deleted
    assert bundle.deleted_at is not None
    again = delete(caller, version="1.0.0")
    refused(again, "cannot_delete_version")
    assert again.more["supabaseError"]["code"] == NO_ROW
    lines = list(caller.sandbox.world.audit.newest_first(ORG_ID, 0))
    assert (lines[0].table, lines[0].operation, lines[0].record_id) == ("app_versions", "UPDATE", str(bundle.id))
    assert lines[0].actor == caller.sandbox.world.keys.of(SUPER_ADMIN_KEY)


@pytest.mark.parametrize("query", [{}, {"version": ""}])
def test_without_a_name_all_go_but_the_linked(query: dict[str, str]) -> None:
    caller = talk()
    app(caller).channels["alpha"].version = None
    app(caller).channels["alpha"].rollout.version = named(caller, "1.0.0").id
    serving = {named(caller, "1.0.0").name} | {
        app(caller).bundles[channel.version].name for channel in app(caller).channels.values() if channel.version is not None
    }
    assert delete(caller, **query).json == OK
    assert set(listed(caller)) == serving
    assert delete(caller, **query).json == OK
    assert caller.ask("DELETE", "/bundle", json_body={"app_id": APP, "version": None}).json == OK


@pytest.mark.parametrize(
    ("version", "generation", "safe"),
    [("12.188.0", "2026-07", False), ("12.188.1", "2026-07", True), (None, "docs", True), (None, "seed", False)],
)
def test_linked_bundles_are_deleted_by_old_servers(version: str | None, generation: str, *, safe: bool) -> None:
    caller = talk(version, generation=generation)
    number = app(caller).channels["beta"].version
    name = app(caller).bundles[number or 0].name
    answer = delete(caller, version=name)
    if safe:
        refused(answer, "cannot_delete_linked_version")
        assert answer.more == {"app_id": APP, "version": name}
    else:
        assert answer.json == OK
    assert delete(caller).json == OK
    assert bool([one for one in app(caller).bundles.values() if not one.deleted]) is safe


def test_a_bundle_in_a_rollout_is_linked() -> None:
    caller = talk()
    app(caller).channels["beta"].rollout.version = named(caller, "1.0.0").id
    refused(delete(caller, version="1.0.0"), "cannot_delete_linked_version")


@pytest.mark.parametrize(
    ("key", "register_code", "delete_code"),
    [
        (SUPER_ADMIN_KEY, None, None),
        (ADMIN_KEY, None, "cannot_delete_bundle"),
        (DEVELOPER_KEY, None, "cannot_delete_bundle"),
        (UPLOADER_KEY, None, "cannot_delete_bundle"),
        (READER_KEY, "cannot_create_bundle", "cannot_delete_bundle"),
    ],
)
def test_who_may_write(key: str, register_code: str | None, delete_code: str | None) -> None:
    caller = talk(key=key)
    for answer, code in ((register(caller), register_code), (delete(caller, version="1.0.0"), delete_code)):
        if code is None:
            assert answer.status == 200
        else:
            refused(answer, code)
            assert (answer.json["message"], answer.more) == ("You can't access this app", {"app_id": APP})


@pytest.mark.parametrize(("method", "path"), [("POST", "/bundle"), ("PUT", "/bundle"), ("POST", "/bundle/metadata")])
def test_the_seed_era_has_no_such_route(method: str, path: str) -> None:
    assert talk(generation="seed").ask(method, path, json_body=ZIP).status == 404


def test_bundles_of_another_app_are_out_of_reach() -> None:
    world = World()
    for app_id in ("com.one.app", "com.two.app"):
        made = world.add_app(app_id, org_id=ORG_ID, user_id=USER_ID, now=EPOCH)
        world.add_channel(made, "beta", now=EPOCH)
        world.add_bundle(made, "1.0.0", now=EPOCH)
    world.add_key(SUPER_ADMIN_KEY, Binding(role="org_super_admin", org_id=ORG_ID), user_id=USER_ID)
    caller = Talk(world)
    one, two = world.apps.values()
    theirs = next(iter(two.bundles))
    body = {"app_id": one.app_id, "version_id": theirs, "channel_id": one.channels["beta"].id}
    refused(caller.ask("PUT", "/bundle", json_body=body), "cannot_find_version")
