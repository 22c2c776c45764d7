"""Recorded writes of apps, channels and bundles, and statistics: the sandbox says the same in the same shape."""

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from sandbox.talking import Answer, Talk, kind
from tables import on_each

from capgo_async.sandbox import App, Binding, Device, Traits, World
from capgo_async.sandbox.seeding import EPOCH

RECORDED = Path(__file__).parent.parent / "recorded"
FILES = ("devices-apps-channels-bundles.jsonl", "channel-writes-and-404s.jsonl", "statistics.jsonl")


def is_ours(line: Mapping[str, Any]) -> bool:
    """Tell a write of these routes, or statistics, from the reads and unknown routes that `test_recorded` compares."""
    request = line["request"]
    statistics = request["path"].startswith("/statistics/")
    write = request["method"] in {"POST", "PUT", "DELETE"} and re.match(r"/(app|channel|bundle)\b", request["path"]) is not None
    return statistics or (write and line["response"]["status"] != 404)


LINES: list[dict[str, Any]] = [
    line
    for name in FILES
    for line in map(json.loads, (RECORDED / name).read_text(encoding="utf-8").splitlines())
    if is_ours(line)
]
OURS = "046a36ac-e03c-4590-9257-bd6c9dba9ee8"
OURSELVES = "6aa76066-55ef-4238-ade6-0b32334a4097"
KEY = "00000000-0000-4000-8000-00000000"
RECORDED_ON = EPOCH + 126 * 86_400
SCRATCH = "com.rt.scratch"


def world() -> World:
    made = World()
    for app_id in ("com.demo.app", "com.rt.small", "com.rt.empty", SCRATCH, "com.rt.newapp"):
        made.add_app(app_id, org_id=OURS, user_id=OURSELVES, now=EPOCH)
    made.add_app("com.demoadmin.app", org_id="another", user_id="another", now=EPOCH)
    scratch, small, demo = (made.apps[app_id] for app_id in (SCRATCH, "com.rt.small", "com.demo.app"))
    add_bundle(made, scratch, "1.0.1", 408)
    add_bundle(made, scratch, "2.0.0", 409)
    add_bundle(made, demo, "1.0.1", 20)
    for name, number in (("alpha", 819), ("beta", 820), ("gamma", 823)):
        made.add_channel(scratch, name, now=EPOCH).id = number
    for index in range(3):
        add_bundle(made, small, f"1.0.{index}", 30 + index)
    names = [f"1.0.{index % 3}" for index in range(150)]
    for index, name in enumerate(names):
        traits = Traits(version_name=name, version=30 + index % 3, version_build=None)
        small.put_device(Device(device_id=f"d{index}", updated_at=1, traits=traits))
    admin = Binding(role="org_super_admin", org_id=OURS)
    made.add_key(KEY + "aaaa", admin, user_id=OURSELVES)
    made.add_key("plain-text-of-a-hashed-key", admin, user_id=OURSELVES, hashed=True)
    for end, role in (("bbbb", "app_reader"), ("cccc", "app_uploader"), ("dddd", "app_developer")):
        made.add_key(KEY + end, Binding(role=role, org_id=OURS, app_id="com.demo.app"), user_id=OURSELVES)
    return made


def add_bundle(made: World, app: App, name: str, number: int) -> None:
    bundle = made.add_bundle(app, name, now=EPOCH)
    del app.bundles[bundle.id]
    bundle.id = number
    app.bundles[number] = bundle


def scratch_of(talk: Talk) -> App:
    return talk.sandbox.world.apps[SCRATCH]


def without_first_bundle(talk: Talk) -> None:
    del scratch_of(talk).bundles[408]


def first_bundle_deleted(talk: Talk) -> None:
    assert talk.ask("DELETE", "/bundle", {"app_id": SCRATCH, "version": "1.0.1"}).status == 200


def gamma_linked(talk: Talk) -> None:
    scratch_of(talk).channels["gamma"].version = 409


def without_beta(talk: Talk) -> None:
    del scratch_of(talk).channels["beta"]


PREPARATIONS: Mapping[str, Callable[[Talk], None]] = {
    "bundle/POST for channel tests 2": without_first_bundle,
    "bundle/POST re-create deleted version": first_bundle_deleted,
    "bundle/PUT set channel again": gamma_linked,
    "bundle/DELETE linked to channel": gamma_linked,
    "bundle/DELETE all but linked (no version)": gamma_linked,
    "channel/POST create with unknown version": without_beta,
}
"""What was done before a line was recorded, where the common world does not show it."""


def asked(line: Mapping[str, Any]) -> Answer:
    talk = Talk(world())
    talk.now = RECORDED_ON
    talk.key = KEY + "aaaa"
    prepare = PREPARATIONS.get(line["name"])
    if prepare is not None:
        prepare(talk)
    request = line["request"]
    body = request["body"]
    raw = b"" if body is None else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return talk.ask(request["method"], request["path"], request["query"], body=raw, headers=request["headers"])


def dates(body: Any) -> list[tuple[str, str]]:
    """List how the dates of an answer are written: with which fraction, in which zone."""
    text = json.dumps(body)
    found = re.findall(r'"(\w+)": "\d{4}-\d\d-\d\d(?:T\d\d:\d\d:\d\d(?:\.\d+)?(Z|\+00:00))"', text)
    return sorted(set(found))


def rows(body: Any) -> int:
    """Count what the recording cuts away: lists, and lists directly in a body."""
    if isinstance(body, list):
        return len(body)
    return sum(len(inner) for inner in body.values() if isinstance(inner, list)) if isinstance(body, dict) else 0


@on_each(LINES, name=lambda line: line["name"])
def test_recorded(line: dict[str, Any]) -> None:
    answer, response = asked(line), line["response"]
    assert answer.status == response["status"], answer.body
    assert answer.headers["content-type"] == response["headers"]["content-type"]
    assert ("x-database-source" in answer.headers) is ("x-database-source" in response["headers"])
    if answer.status != 200:
        assert answer.json == response["body"]
        return
    assert kind(answer.json) == kind(response["body"])
    assert dates(answer.json) == dates(response["body"])
    if "breakdown" not in line["name"]:  # as many lines as apps with days: of theirs half were cut away
        assert rows(answer.json) == rows(response["body"]) + line.get("truncated_items", 0)


def test_every_line_of_the_recordings_is_compared_here_or_beside() -> None:
    """The sandbox can be brought to say all of them; none is left out."""
    texts = [(RECORDED / name).read_text(encoding="utf-8") for name in FILES]
    beside = [line for text in texts for line in map(json.loads, text.splitlines()) if not is_ours(line)]
    reads = [line for line in beside if not line["request"]["path"].startswith(("/organization", "/apikey"))]
    assert not [line["name"] for line in reads if json.dumps(line["name"], ensure_ascii=False) not in texts[0]]
    assert len(LINES) > 100
