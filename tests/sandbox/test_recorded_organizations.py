"""Recorded exchanges about organizations, members, audit and API keys: the sandbox says the same in the same shape."""

import json
from pathlib import Path
from typing import Any

from msgspec.structs import replace
from sandbox.talking import Talk, kind
from tables import on_each

from capgo_async.sandbox import Binding, Key, Settings, World, thresholds
from capgo_async.sandbox.routes.table import match
from capgo_async.sandbox.seeding import EPOCH

RECORDED = Path(__file__).parent.parent / "recorded"
FILES = ("organizations-members-keys.jsonl", "channel-writes-and-404s.jsonl")
LINES: list[dict[str, Any]] = [
    line
    for name in FILES
    for line in map(json.loads, (RECORDED / name).read_text(encoding="utf-8").splitlines())
    if line["request"]["path"].startswith(("/organization", "/apikey"))
]

OURS = "046a36ac-e03c-4590-9257-bd6c9dba9ee8"
SECOND = "34a8c55d-2d0f-4652-a43f-684c7a9403ac"
CREATED = ("1eb08351-821d-4015-bd99-8382fa0e056d", "648a6b14-4d6c-4d82-a00a-bb19506ee6e9")
ALONE = ("b1c2d3e4-f5a6-4b70-8c9d-0e1f2a3b4c5d", "e5f6a7b8-c9d0-4e1f-9a2b-3c4d5e6f7a82")
KEY = "00000000-0000-4000-8000-00000000"
OURSELVES = "6aa76066-55ef-4238-ade6-0b32334a4097"
USERS = {
    "test@capgo.app": OURSELVES,
    "admin@capgo.app": "c591b04e-cf29-4945-b9a0-776d0672061a",
    "test2@capgo.app": "6f0d1a2e-59ed-4769-b9d7-4d9615b28fe5",
}
OTHER_KEYS = (5, 7, 10, 11, 13, 114)


def world() -> World:
    made = World()
    test, admin, test2 = (made.add_user(email, user_id=user_id) for email, user_id in USERS.items())
    for org_id in (OURS, SECOND, *ALONE, *CREATED):
        organization = made.add_organization("Demo org", owner=test2 if org_id == SECOND else test, now=EPOCH, org_id=org_id)
        organization.logo = None if org_id in CREATED else ""
    organizations = made.organizations
    for org_id, user, role in ((OURS, admin, "org_admin"), (OURS, test2, "org_member"), (SECOND, test, "org_member")):
        organization_of = organizations.get(org_id)
        assert organization_of is not None
        organization_of.join(user, role)
    everywhere = tuple(Binding(role="org_super_admin", org_id=organization.id) for organization in organizations)
    only_app = (Binding(role="app_uploader", org_id=OURS, app_id="com.demo.app"),)
    numbered = {6: ("aaaa", everywhere), 4: ("cccc", only_app)} | {number: (f"n{number}", only_app) for number in OTHER_KEYS}
    for number, (end, bindings) in numbered.items():
        granted = ("org.create",) if number == 6 else ()
        made.keys.add(
            Key(
                key_id=number,
                secret=KEY + end,
                user_id=OURSELVES,
                bindings=bindings,
                name=f"key {number}",
                global_permissions=granted,
            )
        )
    for table in ("apps", "apps", "channels", "apps"):
        made.record(OURS, table, "INSERT", "com.rt.newapp", None, {"app_id": "com.rt.newapp"}, now=EPOCH)
    made.add_session("user-session-token", OURSELVES)
    return made


def invited(talk: Talk) -> None:
    body = {"orgId": SECOND, "email": "admin@capgo.app", "invite_type": "read"}
    assert talk.ask("POST", "/organization/members", json_body=body).status == 200


def may_not_create(talk: Talk) -> None:
    keys = talk.sandbox.world.keys
    key = keys.numbered(6)
    assert key is not None
    keys.replace(key, replace(key, global_permissions=()))


def deleted(talk: Talk) -> None:
    for org_id in CREATED:
        talk.sandbox.world.delete_organization(org_id)


def revoked(talk: Talk) -> None:
    assert talk.ask("DELETE", "/apikey/13").status == 200


def locked_out(talk: Talk) -> None:
    for _ in range(20):
        talk.ask("GET", "/app", headers={"capgkey": "wrong"})


PREPARATIONS = {
    "org/GET all": deleted,
    "org/POST {name} (key without org.create)": may_not_create,
    "org/DELETE again": deleted,
    "members/POST invite upload existing user": invited,
    "members/POST invite org_member existing user": invited,
    "members/GET after invite": invited,
    "members/DELETE ok (invited admin)": invited,
    "apikey/DELETE again": revoked,
    "strict/other endpoint while IP blocked": locked_out,
}
"""What was done before a line was recorded, where the seeded world does not show it."""


def asked(line: dict[str, Any]) -> Any:
    limits = thresholds("server") if line["response"]["status"] == 429 else thresholds("off")
    talk = Talk(world(), Settings(limits=limits))
    talk.key = f"{KEY}aaaa"
    PREPARATIONS.get(line["name"], lambda _talk: None)(talk)
    request = line["request"]
    body = request["body"]
    raw = b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return talk.ask(request["method"], request["path"], request["query"], body=raw, headers=request["headers"])


def shape(body: Any) -> Any:
    """Describe an answer; of lists the set of row shapes counts, and what a row of the log holds is its own business."""
    if isinstance(body, list):
        return {json.dumps(kind(row), sort_keys=True) for row in body}
    if isinstance(body, dict) and isinstance(body.get("data"), list):
        rows = [{**row, "new_record": row["new_record"] is None} for row in body["data"]]
        return {**body, "data": shape(rows), "total": "some"}
    return kind(body)


def without_ids(body: Any) -> Any:
    """Leave out what differs from request to request."""
    more = {name: value for name, value in body.get("moreInfo", {}).items() if name not in {"requestId", "rateLimitResetAt"}}
    return {**body, "moreInfo": more}


@on_each(LINES, name=lambda line: line["name"])
def test_recorded(line: dict[str, Any]) -> None:
    answer, response = asked(line), line["response"]
    assert answer.status == response["status"], answer.body
    assert answer.headers["content-type"] == response["headers"]["content-type"]
    assert ("retry-after" in answer.headers) is ("retry-after" in response["headers"])
    assert ("x-database-source" in answer.headers) is ("x-database-source" in response["headers"])
    if answer.status == 200:
        assert shape(answer.json) == shape(response["body"])
    else:
        assert set(answer.json.get("moreInfo", {})) == set(response["body"].get("moreInfo", {}))
        assert without_ids(answer.json) == without_ids(response["body"])


def test_every_line_is_about_a_route_that_is_served() -> None:
    missing = {
        line["name"]
        for line in LINES
        if match(line["request"]["method"], line["request"]["path"], seed=False)[0].kind == "missing"
        and line["response"]["status"] != 404
    }
    assert not missing
    assert len(LINES) > 85
