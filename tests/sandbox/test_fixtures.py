"""All fixtures of contract H3 and J3, each with the state that it needs."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sandbox.talking import Talk, kind
from tables import on_each

from capgo_async.sandbox import Binding, Device, Settings, Traits, World, parse_faults, thresholds
from capgo_async.sandbox.seeding import DEVELOPER_KEY, EPOCH, ORG_ID, OUTSIDER_EMAIL, USER_ID, add_keys, add_people

APP = "com.example.app"
NINTH_ORG = "046a36ac-0000-4000-8000-000000000009"
NINE = (
    "id", "created_by", "created_at", "updated_at", "logo", "name", "management_email", "customer_id", "website",
)  # fmt: skip
FIRST = "0a1b2c3d-0000-4000-8000-000000000001"
SECOND = "0a1b2c3d-0000-4000-8000-000000000002"
HERE = Path(__file__).parent
FIXTURES = json.loads((HERE / "fixtures.json").read_text(encoding="utf-8"))
NEWER_FIXTURES = json.loads((HERE / "fixtures_2026_11.json").read_text(encoding="utf-8"))


def world() -> World:
    made = World()
    add_people(made, EPOCH)
    app = made.add_app(APP, org_id=ORG_ID, user_id=USER_ID, now=EPOCH)
    older = made.add_bundle(app, "1.2.0", now=EPOCH + 0.123456)
    newer = made.add_bundle(app, "1.3.0-beta.1", now=EPOCH + 1)
    made.add_channel(app, "production", now=EPOCH, public=True).version = older.id
    beta = made.add_channel(app, "beta", now=EPOCH)
    beta.version = newer.id
    known = Traits(version_name="1.2.0", version=older.id)
    builtin = Traits(platform="android", is_prod=False, is_emulator=True)
    for name, traits, custom_id in ((FIRST, known, ""), (SECOND, builtin, "qa-7")):
        app.put_device(Device(device_id=name, updated_at=1_784_538_000_000_000, traits=traits, custom_id=custom_id))
    # A third device, so that a page of two is not the last one.
    app.put_device(Device(device_id=SECOND + "0", updated_at=1_784_538_000_000_000, traits=builtin))
    app.link(FIRST, beta, EPOCH)
    other = made.add_app("com.other.app", org_id="other", user_id="u", now=EPOCH)
    made.add_bundle(other, "1.0.0", now=EPOCH)
    add_keys(made)
    return made


def linked_just_before(talk: Talk) -> None:
    talk.now = 1_784_538_916.412
    assert talk.link(FIRST, "beta", APP).status == 200


def at_the_key_limit(talk: Talk) -> None:
    talk.now = 1_784_538_940.0
    for _ in range(1999):
        talk.get("/app")


def without_third_device(talk: Talk) -> None:
    talk.sandbox.world.apps[APP].forget_device(SECOND + "0")


def without_beta(talk: Talk) -> None:
    del talk.sandbox.world.apps[APP].channels["beta"]


def same_override(talk: Talk) -> None:
    linked_just_before(talk)
    talk.now += 13


def same_set(talk: Talk) -> None:
    linked_just_before(talk)
    assert talk.ask("DELETE", "/device", {"app_id": APP, "device_id": FIRST}).status == 200
    talk.now += 3


def channel_deleted(talk: Talk) -> None:
    assert talk.ask("POST", "/channel", json_body={"app_id": APP, "channel": "old"}).status == 200
    assert talk.ask("DELETE", "/channel", {"app_id": APP, "channel": "old"}).status == 200


def numbered(talk: Talk) -> None:
    app = talk.sandbox.world.apps[APP]
    bundle = app.bundle_named("1.3.0-beta.1")
    assert bundle is not None
    del app.bundles[bundle.id]
    bundle.id, app.channels["beta"].id = 42, 8
    app.bundles[42] = bundle


def long_in_use(talk: Talk) -> None:
    app = talk.sandbox.world.apps[APP]
    app.created_at = 0
    for bundle in app.bundles.values():
        bundle.created_at = 0


def unpaid(talk: Talk) -> None:
    talk.sandbox.world.unsubscribed.add(ORG_ID)


def invited(talk: Talk) -> None:
    body = {"orgId": ORG_ID, "email": OUTSIDER_EMAIL, "invite_type": "read"}
    assert talk.ask("POST", "/organization/members", json_body=body).status == 200


def another_organization(talk: Talk) -> None:
    world = talk.sandbox.world
    owner = world.organizations.user_numbered(USER_ID)
    assert owner is not None
    world.add_organization("Another", owner=owner, now=talk.now, org_id=NINTH_ORG)
    world.add_key("another", Binding(role="org_super_admin", org_id=NINTH_ORG), user_id=USER_ID)
    talk.key = "another"


def without_its_super_admin(talk: Talk) -> None:
    another_organization(talk)
    query = {"orgId": NINTH_ORG, "email": "owner@example.com"}
    assert talk.ask("DELETE", "/organization/members", query).status == 200


STATES: Mapping[str, Callable[[Talk], None]] = {
    "same override again within 60 s": same_override,
    "same set survives DELETE (the device has no override now)": same_set,
    "key limiter": at_the_key_limit,
    "devices last page (cursor percent-encoded on the wire)": without_third_device,
    "channels list": without_beta,
    "create channel with bundle": without_beta,
    "delete channel twice (second)": channel_deleted,
    "promote": numbered,
    "bundle usage (both ends included)": long_in_use,
    "statistics without subscription": unpaid,
    "members": invited,
    "remove the last super admin (deletes the organization)": another_organization,
    "… and the organization is gone": without_its_super_admin,
}
"""What brings the common world to the state that a fixture speaks of."""


def state(name: str) -> Talk:
    talk = Talk(world(), Settings(generation="seed" if "seed" in name else "2026-07", limits=thresholds("server")))
    prepare = STATES.get(name)
    if prepare is not None:
        prepare(talk)
    return talk


def comparable(body: Any, name: str) -> Any:
    if name.startswith("devices page (seed"):
        body = body[:1]
    elif name == "update organization (modern)":  # the fixture shows nine of the row's columns
        body = {**body, "data": {column: body["data"][column] for column in NINE}}
    elif name == "audit past the end":
        body = {**body, "total": 2}
    return kind(body)


@on_each(FIXTURES, name=lambda fixture: fixture["name"])
def test_fixture(fixture: dict[str, Any]) -> None:
    name, request, response = fixture["name"], fixture["request"], fixture["response"]
    talk = state(name)
    headers = request.get("headers") or {"capgkey": str(talk.key)}
    answer = talk.ask(
        request["method"], request["path"], request.get("query"), json_body=request.get("json", ...), headers=headers
    )
    assert answer.status == response["status"]
    assert comparable(answer.json, name) == kind(response["body"])
    if answer.status >= 400:
        for field in ("error", "message", "status"):
            assert answer.json.get(field) == response["body"].get(field)
    for header in ("retry-after", "x-ratelimit-reset", "content-type", "x-worker-source"):
        if header in response.get("headers", {}):
            assert answer.headers[header] == response["headers"][header]
    if answer.status == 429 and "device_id" in answer.more:
        assert answer.json == response["body"]


# Servers after 12.201.7 (contract J3): codes, keys and types count, sentences and times do not


def set_a_second_ago(talk: Talk) -> None:
    assert talk.link(FIRST, "beta", APP).status == 200
    talk.now += 1


def with_a_rollout(talk: Talk) -> None:
    numbered(talk)
    talk.sandbox.world.apps[APP].channels["beta"].rollout.version = 3


def delta_only(talk: Talk) -> None:
    numbered(talk)
    beta = talk.sandbox.world.apps[APP].channels["beta"]
    beta.version, beta.update_package = None, "delta"


def as_a_developer(talk: Talk) -> None:
    del talk.sandbox.world.apps[APP].channels["production"]
    talk.key = DEVELOPER_KEY


NEWER_STATES: Mapping[str, tuple[Callable[[Talk], None], Settings]] = {
    "same set, new window": (set_a_second_ago, Settings(generation="2026-11", limits=thresholds("server"))),
    "promote, target honoured": (numbered, Settings(generation="2026-11", bundle_target=True)),
    "promote, target ignored (no assignmentTarget)": (numbered, Settings(generation="2026-11")),
    "promote without target on an auto server with a rollout": (
        with_a_rollout,
        Settings(generation="2026-11", bundle_target=True),
    ),
    "permission check without database": (
        without_beta,
        Settings(generation="2026-11", faults=parse_faults("GET /device:lost-rights=#1")),
    ),
    "key look-up without database": (
        without_beta,
        Settings(generation="2026-11", faults=parse_faults("GET /app:lost-keys=#1")),
    ),
    "delta-only channel, zip-only bundle": (delta_only, Settings(generation="2026-11")),
    "public channel with a developer key": (as_a_developer, Settings(generation="2026-11")),
}


@on_each(NEWER_FIXTURES, name=lambda fixture: fixture["name"])
def test_fixture_of_a_newer_server(fixture: dict[str, Any]) -> None:
    request, response = fixture["request"], fixture["response"]
    prepare, settings = NEWER_STATES.get(fixture["name"], (lambda _: None, Settings(generation="2026-11")))
    talk = Talk(world(), settings)
    prepare(talk)
    answer = talk.ask(request["method"], request["path"], request.get("query"), json_body=request.get("json", ...))
    assert answer.status == response["status"]
    assert kind(answer.json) == kind(response["body"])
    if answer.status >= 400:
        assert answer.code == response["body"]["error"]
        assert {name: value for name, value in answer.more.items() if name != "rateLimitResetAt"} == {
            name: value for name, value in response["body"]["moreInfo"].items() if name != "rateLimitResetAt"
        }
    elif "assignmentTarget" in response["body"]:
        assert answer.json["assignmentTarget"] == response["body"]["assignmentTarget"]
    for header, value in response.get("headers", {}).items():
        assert answer.headers[header] == value
