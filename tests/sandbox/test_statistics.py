"""All of /statistics (contract C9)."""

import re
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from sandbox.talking import APP, Answer, Talk

from capgo_async.sandbox import Binding, Device, Settings, Traits, fleet, javascript
from capgo_async.sandbox.seeding import ADMIN_KEY, EPOCH, ORG_ID, READER_KEY, SUPER_ADMIN_KEY, UPLOADER_KEY, USER_ID, USER_JWT
from capgo_async.sandbox.state import metrics

OTHER = "com.example.app02"
JULY = {"from": "2026-07-01", "to": "2026-07-05"}
APP_PATH, ORG_PATH, USER_PATH = f"/statistics/app/{APP}", f"/statistics/org/{ORG_ID}", "/statistics/user"
BUNDLE_USAGE, NATIVE_USAGE = f"{APP_PATH}/bundle_usage", f"{APP_PATH}/native_usage"
COUNTED = ("mau", "storage", "storage_byte_hours", "bandwidth", "build_time_seconds")


def talk(generation: Any = "2026-07", *, devices: int = 300, key: str = SUPER_ADMIN_KEY) -> Talk:
    made = Talk(fleet(2, devices), Settings(generation=generation))
    made.key = key
    return made


def points(caller: Talk, path: str = APP_PATH, **query: str) -> Any:
    answer = caller.ask("GET", path, {**JULY, **query})
    assert answer.status == 200, answer.body
    return answer.json


def added(rows: list[dict[str, Any]]) -> list[tuple[int, ...]]:
    totals = [0] * len(COUNTED)
    sums = []
    for row in rows:
        totals = [total + row[name] for total, name in zip(totals, COUNTED, strict=True)]
        sums.append(tuple(totals))
    return sums


def counts(rows: list[dict[str, Any]]) -> list[tuple[int, ...]]:
    return [tuple(row[name] for name in COUNTED) for row in rows]


@pytest.mark.parametrize("path", [APP_PATH, ORG_PATH, USER_PATH])
def test_values_are_running_totals_of_the_daily_ones(path: str) -> None:
    caller = talk()
    running, daily = points(caller, path), points(caller, path, noAccumulate="true")
    assert counts(running) == added(daily)
    assert [row["date"] for row in running] == [f"2026-07-0{day}T00:00:00.000Z" for day in range(1, 5)]
    assert set(running[0]) == {*COUNTED, "date"}
    assert daily[0]["mau"] > 0
    assert daily[0]["bandwidth"] > 0
    assert points(caller, path) == running
    assert points(caller, path, noAccumulate="false") == running


def test_an_organization_is_the_sum_of_its_apps_and_a_user_but_for_the_first_ones_hours() -> None:
    caller = talk()
    one, two = (points(caller, f"/statistics/app/{app_id}") for app_id in (APP, OTHER))
    summed = [tuple(map(sum, zip(*rows, strict=True))) for rows in zip(counts(one), counts(two), strict=True)]
    assert counts(points(caller, ORG_PATH)) == summed
    mine = counts(points(caller, USER_PATH))
    hours = COUNTED.index("storage_byte_hours")
    assert [row[hours] for row in mine] == [row[hours] for row in counts(one)]
    assert [row[:hours] + row[hours + 1 :] for row in mine] == [row[:hours] + row[hours + 1 :] for row in summed]


def test_the_first_days_storage_is_the_offset_from_todays_size() -> None:
    caller = talk()
    app = caller.sandbox.world.apps[APP]
    size = metrics.size_of(app)
    daily = points(caller, noAccumulate="true")
    assert [row["storage"] for row in daily] == [size, 0, 0, 0]
    added_on = 1_783_036_800.0  # 3 July
    caller.sandbox.world.add_bundle(app, "9.0.0", now=added_on)
    grown = metrics.size_of(app) - size
    assert grown > 0
    assert [row["storage"] for row in points(caller, noAccumulate="true")] == [size, 0, grown, 0]
    assert [row["storage"] for row in points(caller)] == [size, size, size + grown, size + grown]
    assert points(caller, **{"from": "2026-07-03", "noAccumulate": "true"})[0]["storage"] == size + grown
    assert caller.ask("DELETE", "/bundle", {"app_id": APP, "version": "9.0.0"}).status == 200
    assert points(caller, noAccumulate="true")[0]["storage"] == max(0, size - grown)


def test_a_breakdown_lists_each_app_without_the_offset() -> None:
    caller = talk()
    caller.sandbox.world.add_app("com.no.traffic", org_id=ORG_ID, user_id=USER_ID, now=EPOCH)
    broken = points(caller, ORG_PATH, breakdown="true")
    assert set(broken) == {"global", "byApp"}
    assert broken["global"] == points(caller, ORG_PATH, breakdown="false")
    assert [row["app_id"] for row in broken["byApp"]] == [app_id for app_id in (APP, OTHER, "com.no.traffic") for _ in range(4)]
    by_app = [row for row in broken["byApp"] if row["app_id"] == APP]
    assert [row["mau"] for row in by_app] == [row["mau"] for row in points(caller)]
    assert [row["storage"] for row in by_app] == [0, 0, 0, 0]
    assert {tuple(row[name] for name in COUNTED) for row in broken["byApp"][8:]} == {(0, 0, 0, 0, 0)}


@pytest.mark.parametrize(
    ("start", "end", "expected"),
    [
        ("2026-07-01", "2026-07-01", 0),
        ("2026-07-01", "2026-07-02", 1),
        ("2026-07-01T00:00:00.000Z", "2026-07-04T23:59:59Z", 4),
        ("2026-07-01", "2026-07-01T11:59:59Z", 0),
        ("2026-07-01", "2026-07-01T12:00:00Z", 1),
        ("2026-07-18", "2026-08-20", 3),  # the present is 20 July
        ("2026-07-25", "2026-07-28", 0),
    ],
)
def test_how_many_points(start: str, end: str, expected: int) -> None:
    assert len(points(talk(), **{"from": start, "to": end})) == expected


def test_points_carry_the_time_of_from() -> None:
    assert points(talk(), **{"from": "2026-07-01T06:30:00Z"})[0]["date"] == "2026-07-01T06:30:00.000Z"


def test_a_range_that_runs_backwards_goes_onward_without_traffic() -> None:
    rows = points(talk(), **{"from": "2026-07-05", "to": "2026-07-01"})
    assert [row["date"][:10] for row in rows] == ["2026-07-05", "2026-07-06", "2026-07-07", "2026-07-08"]
    assert {(row["mau"], row["bandwidth"], row["storage_byte_hours"]) for row in rows} == {(0, 0, 0)}


def test_an_app_without_anything_shows_zeros_and_nothing_before_it_was_made() -> None:
    caller = talk()
    caller.sandbox.world.add_app("com.no.traffic", org_id=ORG_ID, user_id=USER_ID, now=EPOCH)
    assert set(counts(points(caller, "/statistics/app/com.no.traffic"))) == {(0, 0, 0, 0, 0)}
    early = points(caller, **{"from": "2026-01-01", "to": "2026-01-03"})
    assert {(row["mau"], row["bandwidth"]) for row in early} == {(0, 0)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-11-10", "2026-11-10"),
        ("2026-11-10T10:00:00Z", "2026-11-10T10:00"),
        ("2026-11-10T10:00:00.5+02:00", "2026-11-10T08:00"),
        ("Nov 10 2026", "2026-11-10"),
        ("Nov 10, 2026 10:30", "2026-11-10T10:30"),
        ("10 November 2026", "2026-11-10"),
        ("2026/11/14", "2026-11-14"),
        ("11/14/2026", "2026-11-14"),
        ("2026", "2026-01-01"),
        ("2026-03", "2026-03-01"),
        ("2", "2001-02-01"),
        ("0", "2000-01-01"),
        ("49", "2049-01-01"),
        ("70", "1970-01-01"),
        ("13", None),
        ("soon", None),
        ("2026-13-01", None),
        ("", None),
    ],
)
def test_dates_are_read_as_javascript_does(text: str, expected: str | None) -> None:
    moment = javascript.date(text)
    if expected is None:
        assert moment is None
    else:
        again = javascript.date(expected if "T" in expected else f"{expected}T00:00")
        assert again is not None
        assert moment is not None
        assert moment // 60_000_000 == again // 60_000_000


@pytest.mark.parametrize("path", [APP_PATH, ORG_PATH, USER_PATH, BUNDLE_USAGE, NATIVE_USAGE, "/statistics/app/com.nope.app"])
def test_dates_are_required_before_rights_are_looked_at(path: str) -> None:
    answer = talk().get(path)
    assert (answer.status, answer.code, answer.json["message"]) == (400, "invalid_body", "Invalid body")
    issues = [{"message": f"{name} is required", "path": [name], "code": "custom"} for name in ("from", "to")]
    assert answer.more == {"error": {"issues": issues, "name": "SchemaError"}}
    assert issue_paths(talk().ask("GET", path, {"from": "soon", "to": "2026-07-05"})) == ["from"]


def issue_paths(answer: Answer) -> list[str]:
    assert (answer.status, answer.code) == (400, "invalid_body")
    return [issue["path"][0] for issue in answer.more["error"]["issues"]]


@pytest.mark.parametrize("value", ["1", "", "True", "yes"])
def test_switches_take_true_and_false_and_nothing_else(value: str) -> None:
    caller = talk()
    for path in (APP_PATH, ORG_PATH, USER_PATH):
        assert issue_paths(caller.ask("GET", path, {**JULY, "noAccumulate": value})) == ["noAccumulate"]
    assert issue_paths(caller.ask("GET", ORG_PATH, {**JULY, "breakdown": value})) == ["breakdown"]
    for path in (BUNDLE_USAGE, NATIVE_USAGE):
        assert caller.ask("GET", path, {**JULY, "noAccumulate": value}).status == 200
    assert caller.ask("GET", APP_PATH, {**JULY, "breakdown": value}).status == 200


def test_the_graph_is_ignored_today() -> None:
    caller = talk()
    answer = caller.ask("GET", APP_PATH, {**JULY, "graph": "mau"})
    assert answer.headers["content-type"] == "application/json"
    assert answer.json == points(caller)


def test_bundle_shares_total_a_hundred_each_day_both_ends_included() -> None:
    usage = points(talk(), BUNDLE_USAGE)
    assert usage["labels"] == [f"2026-07-0{day}" for day in range(1, 6)]
    assert {row["label"] for row in usage["datasets"]} == {"1.0.0", "1.1.0", "1.2.0"}
    for day in range(5):
        assert round(sum(row["data"][day] for row in usage["datasets"]), 6) == 100
        assert all(round(row["data"][day], 1) == row["data"][day] for row in usage["datasets"])
        assert sum(row["metaCounts"][day] for row in usage["datasets"]) > 0
    daily = points(talk(), noAccumulate="true")
    assert [sum(row["metaCounts"][day] for row in usage["datasets"]) for day in range(4)] == [row["mau"] for row in daily]


def test_equal_thirds_are_rounded_to_a_hundred() -> None:
    assert metrics.split(1000, [50, 50, 50]) == [334, 333, 333]
    assert metrics.split(10, [0, 0]) == [0, 0]
    assert metrics.split(7, [1, 0, 1]) == [4, 0, 3]


def test_bundles_count_from_their_birth_and_unused_ones_are_left_out() -> None:
    caller = talk()
    world = caller.sandbox.world
    app = world.apps[APP]
    world.add_bundle(app, "9.0.0", now=1_783_036_800.0)  # 3 July
    assert "9.0.0" not in {row["label"] for row in points(caller, BUNDLE_USAGE)["datasets"]}
    for index in range(100):
        traits = Traits(version_name="9.0.0", version_build=None)
        app.put_device(Device(device_id=f"new{index}", updated_at=1, traits=traits))
    rows = {row["label"]: row for row in points(caller, BUNDLE_USAGE)["datasets"]}
    assert rows["9.0.0"]["data"][:2] == [0.0, 0.0]
    assert rows["9.0.0"]["data"][2] > 0


def test_usage_that_cannot_be() -> None:
    caller = talk()
    backwards = {"from": "2026-07-05", "to": "2026-07-01"}
    assert caller.ask("GET", BUNDLE_USAGE, backwards).json == {"labels": [], "datasets": []}
    nothing = {"labels": [], "datasets": [], "latestVersion": {"name": "", "percentage": "0.0"}}
    assert caller.ask("GET", NATIVE_USAGE, backwards).json == nothing
    early = caller.ask("GET", BUNDLE_USAGE, {"from": "2026-01-01", "to": "2026-01-03"}).json
    assert (len(early["labels"]), early["datasets"]) == (3, [])


def test_an_empty_past_day_repeats_the_one_before_and_a_future_day_is_empty(monkeypatch: pytest.MonkeyPatch) -> None:
    active = metrics.active
    empty = 1_784_505_600 // 86_400  # 20 July, the present
    monkeypatch.setattr(metrics, "active", lambda app, day: 0 if day == empty else active(app, day))
    usage = talk().ask("GET", BUNDLE_USAGE, {"from": "2026-07-19", "to": "2026-07-21"}).json
    for row in usage["datasets"]:
        assert row["data"][0] == row["data"][1] > 0
        assert row["data"][2] == 0


def test_native_builds_are_labelled_and_the_newest_is_named() -> None:
    caller = talk()
    app = caller.sandbox.world.apps[APP]
    for index in range(50):
        traits = Traits(platform="android", version_build="1.10.0")
        app.put_device(Device(device_id=f"new{index}", updated_at=1, traits=traits))
    usage = points(caller, NATIVE_USAGE)
    rows = {row["label"]: row for row in usage["datasets"]}
    assert set(rows) == {"iOS 1.0.0", "Android 1.0.0", "Electron 1.0.0", "Android 1.10.0"}
    assert usage["latestVersion"] == {"name": "Android 1.10.0", "percentage": f"{rows['Android 1.10.0']['data'][-1]:.1f}"}


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/statistics/app/com.nope.app", "no_access_to_app"),
        ("/statistics/app/nodots", "no_access_to_app"),
        ("/statistics/app/com.nope.app/bundle_usage", "no_access_to_app"),
        ("/statistics/app/com.nope.app/native_usage", "no_access_to_app"),
        ("/statistics/org/nope", "no_access_to_organization"),
    ],
)
def test_no_access_is_told_with_the_user(path: str, code: str) -> None:
    answer = talk().ask("GET", path, JULY)
    assert (answer.status, answer.code, answer.more) == (401, code, {"data": USER_ID})


@pytest.mark.parametrize(
    ("key", "app", "organization", "user"),
    [(ADMIN_KEY, 200, 200, 200), (READER_KEY, 200, 401, 200), (UPLOADER_KEY, 200, 401, 200), ("nothing", 401, 401, 401)],
)
def test_who_may_see(key: str, app: int, organization: int, user: int) -> None:
    caller = talk(key=key)
    caller.sandbox.world.add_key("nothing", user_id=USER_ID)
    seen = tuple(caller.ask("GET", path, JULY).status for path in (APP_PATH, ORG_PATH, USER_PATH))
    assert seen == (app, organization, user)
    if user == 401:
        assert caller.ask("GET", USER_PATH, JULY).code == "no_organizations_found"


def test_without_a_subscription_keys_are_refused_and_users_are_not() -> None:
    caller = talk()
    caller.sandbox.world.unsubscribed.add(ORG_ID)
    for path in (APP_PATH, ORG_PATH, USER_PATH, BUNDLE_USAGE, NATIVE_USAGE):
        answer = caller.ask("GET", path, JULY)
        assert (answer.status, answer.code) == (402, "subscription_required")
        assert answer.more == {"orgId": ORG_ID, "isPayingAndGoodPlan": False}
        assert caller.ask("GET", path, JULY, headers={"authorization": f"Bearer {USER_JWT}"}).status == 200
    old = talk("seed")
    old.sandbox.world.unsubscribed.add(ORG_ID)
    assert old.ask("GET", APP_PATH, JULY).status == 200


def test_one_unpaid_organization_is_enough_for_the_user() -> None:
    caller = talk(key="two")
    bindings = (Binding(role="org_member", org_id="another"), Binding(role="org_admin", org_id=ORG_ID))
    caller.sandbox.world.add_key("two", *bindings, user_id=USER_ID)
    caller.sandbox.world.unsubscribed.add("another")
    assert caller.ask("GET", USER_PATH, JULY).status == 402
    assert caller.ask("GET", ORG_PATH, JULY).status == 200


def test_only_signed_in_users_see_downloads() -> None:
    caller = talk()
    answer = caller.ask("GET", APP_PATH, JULY, headers={"authorization": f"Bearer {USER_JWT}"})
    assert set(answer.json[0]) == {*COUNTED, "date", "get"}
    assert answer.json[0]["get"] > 0


@pytest.mark.parametrize("path", ["/statistics", "/statistics/nope", f"/statistics/org/{ORG_ID}/nope"])
def test_the_key_comes_before_the_404(path: str) -> None:
    caller = talk()
    missing = caller.ask("GET", path, JULY)
    assert (missing.status, missing.json) == (404, {"error": "not_found", "message": "Not found"})
    caller.key = None
    assert caller.ask("GET", path, JULY).status == 401
    assert caller.ask("GET", "/nope").status == 404


def test_the_seed_era_wraps_its_statistics() -> None:
    caller = talk("seed")
    for path in (APP_PATH, ORG_PATH, USER_PATH):
        body = points(caller, path, breakdown="true")
        assert (set(body), body["status"], len(body["statistics"])) == ({"status", "statistics"}, "ok", 4)
        assert set(body["statistics"][0]) == {"mau", "storage", "bandwidth", "date"}
    assert set(points(caller, BUNDLE_USAGE)["statistics"]) == {"labels", "datasets"}
    assert caller.ask("GET", NATIVE_USAGE, JULY).status == 404
    assert caller.ask("GET", "/statistics/app/com.nope.app", JULY).json == {"status": "No access to app"}


@pytest.mark.parametrize(
    ("path", "graph"),
    [(APP_PATH, "mau"), (ORG_PATH, "storage"), (USER_PATH, "bandwidth"), (BUNDLE_USAGE, "true")],
)
def test_the_seed_era_drew_charts(path: str, graph: str) -> None:
    answer = talk("seed").ask("GET", path, {**JULY, "graph": graph})
    assert (answer.status, answer.headers["content-type"]) == (200, "image/svg+xml")
    drawing = ET.fromstring(answer.body)
    assert (drawing.tag, drawing.get("width"), drawing.get("height")) == ("{http://www.w3.org/2000/svg}svg", "700", "700")
    lines = drawing.findall("{http://www.w3.org/2000/svg}polyline")
    assert len(lines) == (3 if path == BUNDLE_USAGE else 1)
    assert re.findall(r"[\d.]+,[\d.]+", lines[0].get("points", ""))
    assert talk("seed").ask("GET", path, {**JULY, "graph": "nothing"}).headers["content-type"] == "application/json"
    empty = talk("seed").ask("GET", path, {"from": "2026-07-01", "to": "2026-07-01", "graph": graph})
    assert ET.fromstring(empty.body).tag == drawing.tag
