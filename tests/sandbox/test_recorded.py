"""Exchanges recorded from a real server: the sandbox, in a fitting state, says the same in the same shape."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from sandbox.talking import Talk, kind
from sandbox.test_recorded_writes import is_ours
from tables import on_each

from capgo_async.sandbox import Binding, Device, Settings, Traits, World, thresholds
from capgo_async.sandbox.seeding import EPOCH, device_id

RECORDED = Path(__file__).parent.parent / "recorded" / "devices-apps-channels-bundles.jsonl"
LINES: list[dict[str, Any]] = [json.loads(line) for line in RECORDED.read_text(encoding="utf-8").splitlines()]

OURS = "046a36ac-e03c-4590-9257-bd6c9dba9ee8"
SECOND_ORG = "34a8c55d-2d0f-4652-a43f-684c7a9403ac"
KEY = "00000000-0000-4000-8000-00000000"

# app: organization, devices, channels, bundles, as the listings of the recording tell
APPS = {
    "com.test2.app": (SECOND_ORG, 0, 0, 1),
    "com.test2b.app": (SECOND_ORG, 0, 0, 0),
    "com.demo.app": (OURS, 5, 4, 5),
    "com.rt.empty": (OURS, 0, 0, 0),
    "com.rt.scratch": (OURS, 0, 4, 0),
    "com.rt.small": (OURS, 7, 3, 3),
    "com.rt.big": (OURS, 350, 130, 230),
    "com.rt.ex50": (OURS, 50, 50, 50),
    "com.rt.ex100": (OURS, 100, 100, 100),
    "com.rt.tie": (OURS, 0, 120, 0),
    "com.rt3.one": (OURS, 1202, 0, 1),
    "com.demoadmin.app": ("another", 0, 0, 0),
}


def rows_of(line: dict[str, Any]) -> list[Any]:
    body = line["response"]["body"]
    if isinstance(body, dict) and "data" in body:
        body = body["data"]
    return body if isinstance(body, list) else [body]


def recorded_ids() -> dict[str, set[str]]:
    ids: dict[str, set[str]] = defaultdict(set)
    for line in LINES:
        for row in rows_of(line):
            if isinstance(row, dict) and "device_id" in row and "app_id" in row:
                ids[row["app_id"]].add(row["device_id"])
        cursor = (line["request"]["query"] or {}).get("cursor", "")
        if cursor.count("-") > 5:  # a timestamp and a UUID
            ids[line["request"]["query"]["app_id"]].add(cursor.partition("|")[2])
    return ids


def world() -> World:
    made = World()
    ids = recorded_ids()
    for app_id, (org_id, devices, channels, bundles) in APPS.items():
        app = made.add_app(app_id, org_id=org_id, user_id="u", now=EPOCH)
        for index in range(bundles):
            made.add_bundle(app, f"1.0.{index}", now=EPOCH)
        for index in range(channels):
            channel = made.add_channel(app, f"ch{index:03d}" if index else "production", now=EPOCH, public=not index)
            channel.version = next(iter(app.bundles), None)
        names = sorted(ids[app_id])
        names += [device_id(app_id, index) for index in range(devices - len(names))]
        version = next(iter(app.bundles), None)
        traits = Traits(version=version, version_name="1.0.0")
        app.load_devices(
            Device(device_id=name, updated_at=1_000_000 + place, traits=traits) for place, name in enumerate(names)
        )
        for name in names[:1] if len(app.channels) > 1 else []:
            app.link(name, app.channels["ch001"], EPOCH)
    for secret, role in (
        ("aaaa", "org_super_admin"),
        ("bbbb", "app_reader"),
        ("cccc", "app_uploader"),
        ("dddd", "app_developer"),
    ):
        scope = None if secret == "aaaa" else "com.demo.app"
        bindings = [Binding(role=role, org_id=org, app_id=scope) for org in (OURS, SECOND_ORG)]
        made.add_key(KEY + secret, *bindings, user_id="u")
    made.add_key(KEY + "eeee", Binding(role="org_super_admin", org_id=OURS), user_id="u", expires_at=EPOCH)
    made.add_key(KEY + "f004", Binding(role="org_super_admin", org_id=OURS), user_id="u")
    made.add_key("plain-text-of-a-hashed-key", *bindings_of_admin(), user_id="u", hashed=True)
    return made


def bindings_of_admin() -> tuple[Binding, ...]:
    return tuple(Binding(role="org_super_admin", org_id=org) for org in (OURS, SECOND_ORG))


def types_seen() -> dict[str, dict[str, set[object]]]:
    """Collect, for each kind of row, the types that the recording shows for each key."""
    seen: dict[str, dict[str, set[object]]] = defaultdict(lambda: defaultdict(set))
    for line in LINES:
        if line["response"]["status"] == 200 and line["request"]["method"] == "GET":
            for row in rows_of(line):
                for name, value in row.items() if isinstance(row, dict) else ():
                    seen[collection(line)][name].add(str(kind(value)))
    return seen


def collection(line: dict[str, Any]) -> str:
    path = line["request"]["path"].strip("/").split("/")[0]
    return str(path)


SEEN = types_seen()
CHECKED = [line for line in LINES if not is_ours(line)]  # the writes are compared in `test_recorded_writes`


def sent_by(talk: Talk, line: dict[str, Any]) -> Any:
    request = line["request"]
    body = request["body"]
    raw = b""
    if line["name"] == "body/json null POST /device":
        raw = b"null"
    elif isinstance(body, str) and ('json "str"' not in line["name"]):
        raw = body.encode()
    elif body is not None:
        raw = json.dumps(body).encode()
    return talk.ask(request["method"], request["path"], request["query"], body=raw, headers=request["headers"])


def prepared(line: dict[str, Any]) -> Talk:
    """Bring a fresh sandbox to the state in which the line was recorded."""
    talk = Talk(WORLD)
    if line["response"]["status"] != 429:
        return talk
    reason = line["response"]["body"]["moreInfo"].get("reason")
    variables = {"RATE_LIMIT_API_KEY": 20} if reason == "api_key_rate_limit_exceeded" else {"RATE_LIMIT_CHANNEL_SELF_IP": 30}
    talk = Talk(WORLD, Settings(limits=thresholds("server", variables)))
    if reason == "too_many_failed_auth_attempts":
        for _ in range(20):
            talk.ask("GET", "/app", headers={"capgkey": "wrong"})
    else:
        repeats = {"api_key_rate_limit_exceeded": 19, "ip_rate_limit_exceeded": 30}.get(reason, 5)
        for _ in range(repeats):
            sent_by(talk, line)
    return talk


WORLD = world()


@on_each(CHECKED, name=lambda line: line["name"])
def test_recorded(line: dict[str, Any]) -> None:
    answer = sent_by(prepared(line), line)
    response = line["response"]
    assert answer.status == response["status"]
    for header in ("content-type", "retry-after"):
        if header in response["headers"] and header != "retry-after":
            assert answer.headers[header] == response["headers"][header]
    assert ("retry-after" in answer.headers) is ("retry-after" in response["headers"])
    assert ("x-database-source" in answer.headers) is ("x-database-source" in response["headers"])
    if response["body"] == "":
        assert answer.body == b""
    elif answer.status == 200:
        compare_rows(answer.json, line)
    else:
        assert kind(answer.json) == kind(response["body"])
        assert (answer.json["error"], answer.json["message"]) == (response["body"]["error"], response["body"]["message"])
        if answer.status != 429:
            assert answer.json == response["body"]


def compare_rows(ours: Any, line: dict[str, Any]) -> None:
    theirs = line["response"]["body"]
    # Where a page of a walk ends depends on ids that were cut away; tests of the listing count walks instead.
    # The demo app grew while it was recorded.
    complete = "cursor walk" not in line["name"] and "com.demo.app" not in str(line["request"])
    if isinstance(theirs, dict) and "data" in theirs:
        if complete:
            assert ours["hasMore"] == theirs["hasMore"]
            assert set(ours) == set(theirs)
        assert set(ours) <= {"data", "hasMore", "nextCursor"}
        ours = ours["data"]
    if isinstance(ours, list):
        if complete:
            assert len(ours) == len(rows_of(line)) + line.get("truncated_items", 0)
        mine = ours
    else:
        mine = [ours]
    for row in mine:
        allowed = SEEN[collection(line)]
        if "status" in theirs:
            assert row == theirs
            continue
        optional = {"channel"} if collection(line) == "device" else set()
        assert set(row) | optional == set(allowed)
        for name, value in row.items():
            assert str(kind(value)) in allowed[name]


def test_enough_of_the_recording_is_checked() -> None:
    assert len(CHECKED) > 230
    assert {line["request"]["path"] for line in CHECKED} > {"/device", "/channel", "/bundle", "/app", "/ok"}
