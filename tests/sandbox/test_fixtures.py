"""The fixtures of contract H3 for these endpoints, each with the state that it needs."""

import json
from pathlib import Path
from typing import Any

import pytest
from sandbox.talking import Talk, kind

from capgo_async.sandbox import Device, Settings, Traits, World, thresholds
from capgo_async.sandbox.seeding import EPOCH, ORG_ID, USER_ID, add_keys

APP = "com.example.app"
FIRST = "0a1b2c3d-0000-4000-8000-000000000001"
SECOND = "0a1b2c3d-0000-4000-8000-000000000002"
FIXTURES = json.loads((Path(__file__).parent / "fixtures.json").read_text(encoding="utf-8"))


def world() -> World:
    made = World()
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


def state(name: str) -> Talk:
    """Bring a sandbox to the state that a fixture speaks of."""
    talk = Talk(world(), Settings(dialect="seed" if "seed" in name else "modern", limits=thresholds("server")))
    if name.startswith(("same override", "same set")):
        talk.now = 1_784_538_916.412
        assert talk.link(FIRST, "beta", APP).status == 200
        if name.startswith("same set"):
            assert talk.ask("DELETE", "/device", {"app_id": APP, "device_id": FIRST}).status == 200
        talk.now += 13 if name.startswith("same override") else 3
    elif name == "key limiter":
        talk.now = 1_784_538_940.0
        for _ in range(1999):
            talk.get("/app")
    elif name.startswith("devices last page"):
        talk.sandbox.world.apps[APP].forget_device(SECOND + "0")
    elif name == "channels list":
        del talk.sandbox.world.apps[APP].channels["beta"]
    return talk


def comparable(body: Any, name: str) -> object:
    if name.startswith("devices page (seed"):
        return kind(body[:1])
    return kind(body)


@pytest.mark.parametrize("fixture", FIXTURES, ids=[fixture["name"] for fixture in FIXTURES])
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
