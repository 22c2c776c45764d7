"""Members and invitations (contract C2, D28 to D31, D50)."""

from typing import Any

import pytest
from sandbox.talking import APP, Answer, Talk

from capgo_async.sandbox import Binding, Settings, fleet
from capgo_async.sandbox.seeding import (
    ADMIN_KEY,
    DEVELOPER_KEY,
    EPOCH,
    ORG_ID,
    OUTSIDER_EMAIL,
    SUPER_ADMIN_KEY,
    USER_EMAIL,
    USER_ID,
    USER_JWT,
)
from capgo_async.sandbox.state.organizations import Organization

SEED, DOCS = Settings(generation="seed"), Settings(generation="docs")
PATH = "/organization/members"


def talk(settings: Settings | None = None, key: str = SUPER_ADMIN_KEY) -> Talk:
    made = Talk(fleet(1, 0), settings)
    made.key = key
    return made


def held(caller: Talk) -> Organization:
    found = caller.sandbox.world.organizations.get(ORG_ID)
    assert found is not None
    return found


def listed(caller: Talk) -> Any:
    return caller.get(PATH, orgId=ORG_ID).json


def invite(caller: Talk, email: str = OUTSIDER_EMAIL, invite_type: str = "read", **more: Any) -> Answer:
    return caller.ask("POST", PATH, json_body={"orgId": ORG_ID, "email": email, "invite_type": invite_type, **more})


def remove(caller: Talk, email: str = OUTSIDER_EMAIL, **more: Any) -> Answer:
    return caller.ask("DELETE", PATH, {"orgId": ORG_ID, "email": email}, **more)


def joined(caller: Talk, role: str, email: str = OUTSIDER_EMAIL) -> str:
    """Make an account a member who is signed in under its own address."""
    world = caller.sandbox.world
    user = world.organizations.users[email]
    held(caller).join(user, role)
    world.add_session(email, user.id)
    return email


def test_the_seeded_members() -> None:
    owner = {"uid": USER_ID, "email": USER_EMAIL, "image_url": "", "role": "org_super_admin", "is_tmp": False}
    assert listed(talk()) == [owner]


def test_an_invitation_is_pending_until_it_is_accepted() -> None:
    caller = talk()
    answer = invite(caller, role="read")  # an extra key is ignored
    assert (answer.status, answer.json) == (200, {"status": "ok"})
    pending = listed(caller)[1]
    assert (pending["email"], pending["role"], pending["is_tmp"]) == (OUTSIDER_EMAIL, "org_member", True)
    held(caller).accept(caller.sandbox.world.organizations.users[OUTSIDER_EMAIL])
    assert listed(caller)[1] == {**pending, "is_tmp": False}


@pytest.mark.parametrize(
    ("word", "role"),
    [
        ("read", "org_member"),
        ("upload", "org_member"),
        ("write", "org_member"),
        ("admin", "org_admin"),
        ("super_admin", "org_super_admin"),
        ("invite_read", "org_member"),
        ("invite_super_admin", "org_super_admin"),
        ("org_billing_admin", "org_billing_admin"),
    ],
)
def test_old_words_for_roles(word: str, role: str) -> None:
    caller = talk()
    assert invite(caller, invite_type=word).status == 200
    assert listed(caller)[1]["role"] == role


@pytest.mark.parametrize(
    ("email", "reason"),
    [(USER_EMAIL, "ALREADY_INVITED"), ("nobody@example.com", "NO_EMAIL"), (OUTSIDER_EMAIL.upper(), "NO_EMAIL")],
)
def test_who_cannot_be_invited(email: str, reason: str) -> None:
    answer = invite(talk(), email)
    assert (answer.status, answer.code) == (400, "error_inviting_user_to_organization")
    assert answer.json["message"] == "Error inviting user to organization"
    assert answer.more == {"data": reason}


def test_inviting_twice_changes_no_role() -> None:
    caller = talk()
    invite(caller)
    for word in ("read", "admin"):
        assert invite(caller, invite_type=word).more == {"data": "ALREADY_INVITED"}
    assert listed(caller)[1]["role"] == "org_member"


def test_an_invitation_ends_after_a_week() -> None:
    caller = talk()
    invite(caller)
    caller.now = EPOCH + 7 * 86_400
    assert len(listed(caller)) == 2
    caller.now += 1
    assert len(listed(caller)) == 1
    assert invite(caller).status == 200


def test_a_cancelled_invitation_bars_another_for_three_hours_but_a_removed_one_does_not() -> None:
    caller = talk()
    invite(caller)
    assert remove(caller).json == {"status": "ok"}
    assert invite(caller).status == 200
    held(caller).cancel(OUTSIDER_EMAIL, caller.now)
    assert len(listed(caller)) == 1
    caller.now += 3 * 3600 - 1
    assert invite(caller).more == {"data": "TOO_RECENT_INVITATION_CANCELATION"}
    caller.now += 1
    assert invite(caller).status == 200


def test_invitations_without_an_account_are_listed_but_cannot_be_removed() -> None:
    caller = talk()
    held(caller).invite("future@example.com", "org_admin", "a-future-id", EPOCH)
    assert listed(caller)[1]["uid"] == "a-future-id"
    answer = remove(caller, "future@example.com")
    assert (answer.status, answer.code) == (404, "user_not_found")
    assert answer.more["error"]["code"] == "PGRST116"


def test_nobody_offers_a_higher_role_than_the_own() -> None:
    assert invite(talk(key=ADMIN_KEY), invite_type="super_admin").more == {"data": "NO_RIGHTS"}
    assert invite(talk(key=ADMIN_KEY), invite_type="admin").status == 200


def test_removing_twice() -> None:
    caller = talk()
    joined(caller, "org_member")
    assert remove(caller).json == {"status": "ok"}
    assert len(listed(caller)) == 1
    answer = remove(caller)
    assert (answer.status, answer.code) == (404, "organization_member_not_found")
    assert answer.json["message"] == "User is not a member of this organization"
    assert answer.more == {"orgId": ORG_ID, "email": OUTSIDER_EMAIL}
    (line,) = caller.get("/organization/audit", orgId=ORG_ID).json["data"]
    assert (line["table_name"], line["operation"], line["actor_type"]) == ("org_users", "DELETE", "system")


def test_an_invitation_is_written_with_its_key() -> None:
    caller = talk()
    invite(caller)
    (line,) = caller.get("/organization/audit", orgId=ORG_ID).json["data"]
    assert (line["table_name"], line["operation"], line["actor_type"]) == ("org_users", "INSERT", "apikey")


@pytest.mark.parametrize("way", ["query", "body"])
def test_both_ways_of_asking(way: str) -> None:
    caller = talk()
    joined(caller, "org_member")
    named = {"orgId": ORG_ID, "email": OUTSIDER_EMAIL}
    assert (caller.ask("DELETE", PATH, named) if way == "query" else caller.ask("DELETE", PATH, json_body=named)).status == 200
    again = caller.ask("POST", PATH, {**named, "invite_type": "read"})
    assert again.status == 200


def test_a_removed_members_keys_stop_working_for_the_organization() -> None:
    caller = talk()
    joined(caller, "org_member")
    world = caller.sandbox.world
    user_id = world.organizations.users[OUTSIDER_EMAIL].id
    world.add_key("theirs", Binding(role="org_member", org_id=ORG_ID), Binding(role="org_member", org_id="x"), user_id=user_id)
    caller.key = "theirs"
    assert caller.get("/organization", orgId=ORG_ID).status == 200
    caller.key = SUPER_ADMIN_KEY
    remove(caller)
    assert listed(caller)  # other users' keys go on working
    caller.key = "theirs"
    assert (caller.get("/organization").status, caller.get("/organization").json) == (200, [])
    key = world.keys.of("theirs")
    assert key is not None
    assert [binding.org_id for binding in key.bindings] == ["x"]


def test_removing_the_last_super_admin_deletes_the_organization() -> None:
    caller = talk()
    joined(caller, "org_admin")
    answer = remove(caller, USER_EMAIL)
    assert (answer.status, answer.json) == (200, {"status": "ok"})
    gone = caller.get("/organization", orgId=ORG_ID)
    assert (gone.status, gone.code) == (400, "invalid_org_id")
    assert caller.get(f"/app/{APP}").status == 401
    assert APP not in caller.sandbox.world.apps


def test_another_super_admin_who_accepted_keeps_the_organization() -> None:
    caller = talk()
    invite(caller, invite_type="super_admin")
    joined(caller, "org_super_admin")
    assert remove(caller, USER_EMAIL).status == 200
    members = caller.ask("GET", "/organization/audit", {"orgId": ORG_ID}, headers={"authorization": OUTSIDER_EMAIL})
    assert members.status == 200
    assert list(held(caller).members) == [OUTSIDER_EMAIL]


def test_an_invited_super_admin_does_not_count() -> None:
    caller = talk()
    invite(caller, invite_type="super_admin")
    remove(caller, USER_EMAIL)
    assert caller.sandbox.world.organizations.get(ORG_ID) is None


def test_super_admins_whose_roles_expire_do_not_suffice() -> None:
    caller = talk()
    joined(caller, "org_super_admin")
    held(caller).members[OUTSIDER_EMAIL].expires_at = EPOCH + 5
    answer = remove(caller, USER_EMAIL)
    assert (answer.status, answer.code) == (400, "CANNOT_REMOVE_LAST_SUPER_ADMIN")
    assert remove(caller).status == 200  # the other way round it goes


def test_a_higher_role_is_not_removed_by_a_lower_one() -> None:
    caller = talk()
    admin = {"authorization": joined(caller, "org_admin")}
    assert remove(caller, USER_EMAIL, headers=admin).code == "cannot_delete_higher_priority_role"
    assert remove(caller, USER_EMAIL, headers=admin).status == 403


def test_a_user_may_leave() -> None:
    caller = talk()
    member = {"authorization": joined(caller, "org_member")}
    assert remove(caller, USER_EMAIL, headers=member).code == "cannot_access_organization"
    assert remove(caller, headers=member).status == 200
    assert remove(caller, headers=member).code == "cannot_access_organization"


@pytest.mark.parametrize("org_id", [ORG_ID, "nope", "00000000-0000-4000-8000-000000000000"])
def test_without_access(org_id: str) -> None:
    caller = talk(key=DEVELOPER_KEY if org_id == ORG_ID else SUPER_ADMIN_KEY)
    named = {"orgId": org_id, "email": OUTSIDER_EMAIL, "invite_type": "read"}
    for method in ("GET", "POST", "DELETE"):
        answer = caller.ask(method, PATH, named)
        assert (answer.status, answer.code) == (400, "cannot_access_organization")
        assert (answer.json["message"], answer.more) == ("You can't access this organization", {"orgId": org_id})


@pytest.mark.parametrize(
    ("method", "body", "path"),
    [
        ("GET", {"x": 1}, "orgId"),
        ("POST", {"orgId": ORG_ID, "email": "nope", "invite_type": "read"}, "email"),
        ("POST", {"orgId": ORG_ID, "email": OUTSIDER_EMAIL, "role": "read"}, "invite_type"),
        ("POST", {"orgId": ORG_ID, "email": OUTSIDER_EMAIL, "invite_type": "nope"}, "invite_type"),
        ("DELETE", {"orgId": ORG_ID}, "email"),
        ("DELETE", {"email": OUTSIDER_EMAIL}, "orgId"),
        ("DELETE", {"orgId": ORG_ID, "email": 5}, "email"),
    ],
)
def test_bad_bodies(method: str, body: dict[str, Any], path: str) -> None:
    answer = talk().ask(method, PATH, json_body=body)
    assert (answer.status, answer.code) == (400, "invalid_body")
    assert [issue["path"] for issue in answer.more["error"]["issues"]] == [[path]]


def test_seed_members() -> None:
    caller = talk(SEED)
    assert listed(caller) == [{"uid": USER_ID, "email": USER_EMAIL, "image_url": "", "role": "super_admin"}]
    assert invite(caller, invite_type="admin").json == {"status": "OK"}
    assert listed(caller)[1]["role"] == "invite_admin"
    again = invite(caller)
    assert (again.status, again.json) == (
        400,
        {"error": "Error inviting user to organization", "status": "ALREADY_INVITED"},
    )
    assert remove(caller).json == {"status": "OK"}
    assert remove(caller).json == {"status": "OK"}  # nobody looked
    unknown = remove(caller, "nobody@example.com")
    assert (unknown.status, unknown.json) == (400, {"status": "User not found"})
    caller.key = DEVELOPER_KEY
    assert caller.get(PATH, orgId=ORG_ID).json == {"error": "You can't access this organization", "status": "KO"}
    assert set(caller.ask("DELETE", PATH, {"orgId": ORG_ID}).json) == {"status", "error"}


def test_documented_members() -> None:
    caller = talk(DOCS)
    owner = {"uid": USER_ID, "email": USER_EMAIL, "image_url": None, "role": "super_admin"}
    assert listed(caller) == {"data": [owner]}
    named = {"orgId": ORG_ID, "email": OUTSIDER_EMAIL}
    assert caller.ask("POST", PATH, json_body={**named, "invite_type": "read"}).code == "invalid_body"
    answer = caller.ask("POST", PATH, json_body={**named, "role": "admin", "invite_type": "admin"})
    assert (answer.json["status"], set(answer.json)) == ("OK", {"status", "data"})
    assert set(answer.json["data"]) == {"uid", "email", "role", "image_url"}
    assert remove(caller).json == {"status": "OK"}


def test_unknown_roles_are_refused_by_the_world() -> None:
    caller = talk()
    with pytest.raises(ValueError, match="unknown role 'captain'"):
        held(caller).join(caller.sandbox.world.organizations.users[OUTSIDER_EMAIL], "captain")


def test_a_user_session_knows_the_roles_of_the_moment() -> None:
    caller = talk()
    assert remove(caller, USER_EMAIL, headers={"authorization": f"Bearer {USER_JWT}"}).status == 200
    late = caller.ask("GET", "/organization/audit", {"orgId": ORG_ID}, headers={"authorization": f"Bearer {USER_JWT}"})
    assert late.code == "invalid_org_id"
