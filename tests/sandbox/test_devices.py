"""All of /device against contract C7."""

from typing import Any

import pytest
from sandbox.talking import APP, Talk

from capgo_async.sandbox import Device, Settings, Traits, World, fleet, thresholds
from capgo_async.sandbox.seeding import DEVELOPER_KEY, EPOCH, READER_KEY, add_keys, device_id

DEVICE_KEYS = {
    "updated_at",
    "device_id",
    "custom_id",
    "is_prod",
    "is_emulator",
    "install_source",
    "version_name",
    "version",
    "app_id",
    "platform",
    "plugin_version",
    "os_version",
    "version_build",
    "key_id",
    "country_code",
}


def walk(talk: Talk, **query: str) -> list[list[str]]:
    pages: list[list[str]] = []
    cursor: dict[str, str] = {}
    while True:
        page = talk.get("/device", app_id=APP, **query, **cursor).json
        pages.append([row["device_id"] for row in page["data"]])
        assert ("nextCursor" in page) is page["hasMore"]
        if not page["hasMore"]:
            return pages
        cursor = {"cursor": page["nextCursor"]}


@pytest.mark.parametrize(
    ("count", "query", "requests"),
    [
        (350, {}, 7),
        (350, {"limit": "100"}, 4),
        (350, {"limit": "100", "order": "asc"}, 4),
        (350, {"limit": "100", "order": "desc"}, 4),
        (350, {"limit": "500"}, 1),
        (50, {}, 1),
        (100, {}, 2),
        (100, {"limit": "100"}, 1),
        (0, {}, 1),
    ],
)
def test_a_walk_brings_every_device_once_in_as_many_requests(count: int, query: dict[str, str], requests: int) -> None:
    talk = Talk(fleet(1, count))
    pages = walk(talk, **query)
    assert len(pages) == requests
    seen = [device for page in pages for device in page]
    assert len(seen) == len(set(seen)) == count
    devices = talk.sandbox.world.apps[APP].devices
    moments = [(devices[device].updated_at, device) for device in seen]
    if "order" in query:
        assert moments == sorted(moments, reverse=query["order"] == "desc")
    else:
        assert seen == sorted(seen)


@pytest.mark.parametrize(
    ("limit", "rows", "more"), [("999", 999, True), ("1000", 1000, False), ("1100", 1000, False), ("1", 1, True)]
)
def test_a_limit_at_the_row_cap_truncates_silently(limit: str, rows: int, *, more: bool) -> None:
    page = Talk(fleet(1, 1202)).get("/device", app_id=APP, limit=limit).json
    assert (len(page["data"]), page["hasMore"], "nextCursor" in page) == (rows, more, more)


def test_the_row_cap_can_be_chosen() -> None:
    talk = Talk(fleet(1, 20), Settings(row_cap=10))
    assert len(talk.get("/device", app_id=APP, limit="9").json["data"]) == 9
    assert talk.get("/device", app_id=APP, limit="10").json["hasMore"] is False


@pytest.mark.parametrize("limit", ["0", "-1", "1.5", "ten", "", " 5"])
def test_limits_that_are_refused(limit: str) -> None:
    answer = Talk().get("/device", app_id=APP, limit=limit)
    assert (answer.status, answer.code, answer.more) == (400, "invalid_limit", {"limit": limit})


def test_a_limit_in_a_body_may_be_a_number() -> None:
    talk = Talk()
    assert len(talk.ask("GET", "/device", json_body={"app_id": APP, "limit": 2}).json["data"]) == 2
    assert talk.ask("GET", "/device", json_body={"app_id": APP, "limit": True}).code == "invalid_limit"


def test_rows_carry_the_recorded_keys_and_channel_only_with_an_override() -> None:
    talk = Talk(fleet(1, 30))
    rows = talk.get("/device", app_id=APP).json["data"]
    overrides = talk.sandbox.world.apps[APP].overrides
    assert 0 < len(overrides) < 30
    for row in rows:
        assert set(row) - {"channel"} == DEVICE_KEYS
        assert row.get("channel") == (overrides[row["device_id"]].channel.name if "channel" in row else None)
        assert ("channel" in row) is (row["device_id"] in overrides)
        assert row["updated_at"].endswith("Z")


def test_the_cursor_has_the_postgres_form_and_only_its_id_matters_in_default_order() -> None:
    talk = Talk(fleet(1, 10))
    app = talk.sandbox.world.apps[APP]
    first, second, third, *_ = sorted(app.devices)
    app.put_device(Device(device_id=second, updated_at=1_782_901_230_123_400, traits=Traits()))
    page = talk.get("/device", app_id=APP, limit="2").json
    assert page["nextCursor"] == f"2026-07-01T10:20:30.123400+00:00|{second}"
    assert page["data"][1]["updated_at"] == "2026-07-01T10:20:30.123Z"
    following = talk.get("/device", app_id=APP, limit="1", cursor=f"anything|{second}").json
    assert following["data"][0]["device_id"] == third
    assert talk.get("/device", app_id=APP, cursor="2026-01-01T00:00:00Z|zzzz").json == {"data": [], "hasMore": False}
    for malformed in ("garbage", f"|{second}", "2026-07-01T10:20:30Z|", ""):
        for order in ({}, {"order": "asc"}):
            again = talk.get("/device", app_id=APP, limit="1", cursor=malformed, **order).json
            expected = first if not order else min(app.devices.values(), key=lambda d: (d.updated_at, d.device_id)).device_id
            assert again["data"][0]["device_id"] == expected


@pytest.mark.parametrize("order", ["asc", "desc"])
@pytest.mark.parametrize("half", ["a", "2026-07-20T08:59:59.000000 00:00", "anything"])
def test_an_ordered_listing_ends_silently_at_a_cursor_without_a_timestamp(order: str, half: str) -> None:
    talk = Talk(fleet(1, 10))
    page = talk.get("/device", app_id=APP, order=order, cursor=f"{half}|b")
    assert (page.status, page.json) == (200, {"data": [], "hasMore": False})


@pytest.mark.parametrize("order", ["asc", "desc"])
def test_devices_of_one_moment_are_all_listed_in_order(order: str) -> None:
    world = fleet(1, 0)
    for index in range(7):
        world.apps[APP].put_device(Device(device_id=f"d{index}", updated_at=5_000_000, traits=Traits()))
    pages = walk(Talk(world), limit="3", order=order)
    seen = [device for page in pages for device in page]
    assert seen == sorted(seen, reverse=order == "desc")
    assert len(seen) == 7


def test_filters() -> None:
    world = fleet(1, 0)
    for index, (second, custom) in enumerate([(1, ""), (2, "qa"), (3, "")]):
        device = Device(device_id=f"d{index}", updated_at=second * 1_000_000 + 500, traits=Traits(), custom_id=custom)
        world.apps[APP].put_device(device)
    talk = Talk(world)

    def found(**query: str) -> list[str]:
        return [row["device_id"] for row in talk.get("/device", app_id=APP, **query).json["data"]]

    assert found(customIdMode="true") == found(customIdMode="false") == ["d1"]
    assert found(customIdMode="") == ["d0", "d1", "d2"]
    assert found(updated_at="1970-01-01T00:00:02.000Z") == ["d1", "d2"]  # the row says 02.000, the store 02.0005
    assert found(updated_at="1970-01-01T00:00:02.000500Z") == ["d2"]
    assert found(updated_at="1970-01-01 00:00:03") == ["d2"]
    assert found(updated_at="2030-01-01T00:00:00Z") == []
    assert found(page="7", foo="bar") == ["d0", "d1", "d2"]
    for wrong in ("1970-01-01T00:00:02+00:00", "yesterday"):
        answer = talk.get("/device", app_id=APP, updated_at=wrong)
        assert (answer.status, answer.code, answer.more) == (400, "invalid_updated_at", {"updated_at": wrong})
    answer = talk.get("/device", app_id=APP, order="up")
    assert (answer.status, answer.code, answer.more) == (400, "invalid_order", {"order": "up"})


def test_a_single_device_by_any_spelling_ignores_list_parameters() -> None:
    world = fleet(1, 3)
    traits = Traits(country_code="DE")
    world.apps[APP].put_device(Device(device_id="0a", updated_at=1_000_000, traits=traits))
    talk = Talk(world)
    one = talk.get("/device", app_id=APP, device_id="0A", limit="0", order="up", cursor="x").json
    assert (one["device_id"], one["country_code"], set(one)) == ("0a", "DE", DEVICE_KEYS)
    listed = talk.get("/device", app_id=APP, limit="1").json["data"][0]
    assert (listed["device_id"] != "0a") or listed["country_code"] is None
    assert "data" in talk.get("/device", app_id=APP, device_id="").json
    unknown = talk.get("/device", app_id=APP, device_id="ABC")
    assert (unknown.status, unknown.code, unknown.more) == (404, "device_not_found", {"device_id": "abc"})
    assert talk.ask("GET", "/device", json_body={"app_id": APP, "device_id": 5}).code == "unknown_error"


def test_linking_writes_one_override_and_the_inventory_does_not_matter() -> None:
    talk = Talk(fleet(1, 1, overrides={}))
    app = talk.sandbox.world.apps[APP]
    known = device_id(APP, 0)
    assert talk.link(known.upper(), "beta").json == {"status": "ok"}
    assert talk.get("/device", app_id=APP, device_id=known).json["channel"] == "beta"
    talk.now += 100
    assert talk.link(known, "alpha").json == {"status": "ok"}
    assert {name: override.channel.name for name, override in app.overrides.items()} == {known: "alpha"}
    assert talk.link("nowhere-seen").json == {"status": "ok"}
    assert "nowhere-seen" in app.overrides
    assert talk.get("/device", app_id=APP, device_id="nowhere-seen").status == 404


def test_the_same_channel_again_does_not_renew() -> None:
    talk = Talk(fleet(1, 0))
    talk.link("d")
    talk.now += 1_000
    talk.link("d")
    override = talk.sandbox.world.apps[APP].overrides["d"]
    assert override.written_at == EPOCH * 1_000_000
    talk.ask("DELETE", "/device", {"app_id": APP, "device_id": "D"})
    talk.link("d")
    assert talk.sandbox.world.apps[APP].overrides["d"].written_at == talk.now * 1_000_000


@pytest.mark.parametrize("channel", [None, "", ...])
def test_linking_without_a_channel_changes_nothing(channel: Any) -> None:
    talk = Talk(fleet(1, 0))
    body = {"app_id": APP, "device_id": "d"} | ({} if channel is ... else {"channel": channel})
    assert talk.ask("POST", "/device", json_body=body).json == {"status": "ok"}
    assert talk.sandbox.world.apps[APP].overrides == {}


D = "bbbbbbbb-0000-4000-8000-000000000002"
REFUSED_LINKS: list[tuple[dict[str, object], int, str]] = [
    ({"device_id": D, "version_id": "1"}, 400, "missing_device_id_or_app_id"),
    ({"app_id": "nodots", "version_id": "1"}, 400, "missing_device_id_or_app_id"),
    ({"app_id": "nodots", "device_id": D, "version_id": "1"}, 400, "invalid_app_id"),
    ({"app_id": "com.nope.app", "device_id": D, "version_id": "1", "channel": "nope"}, 400, "invalid_version_id"),
    ({"app_id": APP, "device_id": D, "version_id": "1", "channel": "beta"}, 400, "invalid_version_id"),
    ({"app_id": "com.nope.app", "device_id": D, "channel": "beta"}, 404, "channel_not_found"),
    ({"app_id": "com.nope.app", "device_id": D}, 400, "cannot_access_app"),
    ({"app_id": APP, "device_id": D, "channel": "nope"}, 404, "channel_not_found"),
    ({"app_id": APP, "device_id": D, "channel": "BETA"}, 404, "channel_not_found"),
    ({"app_id": APP, "device_id": D, "channel": 5}, 404, "channel_not_found"),
    ({"app_id": APP, "device_id": D, "channel": "production"}, 400, "public_channel_override"),
    ({"app_id": APP, "device_id": 123, "channel": "beta"}, 500, "unknown_error"),
]


@pytest.mark.parametrize(("body", "status", "code"), REFUSED_LINKS)
def test_refused_links_in_the_order_of_the_checks(body: dict[str, object], status: int, code: str) -> None:
    talk = Talk(fleet(1, 0))
    answer = talk.ask("POST", "/device", json_body=body)
    assert (answer.status, answer.code) == (status, code)
    assert talk.sandbox.world.apps[APP].overrides == {}


@pytest.mark.parametrize(("limit", "linked"), [(1, True), (350, True), (500, False), (999, False)])
def test_a_large_page_lacks_the_channels_of_all_devices(limit: int, *, linked: bool) -> None:
    talk = Talk(fleet(1, 600, overrides={"beta": 1.0}))
    page = talk.get("/device", app_id=APP, limit=str(limit)).json
    assert len(page["data"]) == min(limit, 600)
    assert {"channel" in device for device in page["data"]} == {linked}
    few = Talk(fleet(1, 60, overrides={"beta": 1.0})).get("/device", app_id=APP, limit=str(limit)).json
    assert all("channel" in device for device in few["data"])  # the rows count, not the limit


def test_rights_to_link_and_unlink() -> None:
    talk = Talk(fleet(1, 0))
    talk.key = READER_KEY
    refused = talk.link("d")
    assert (refused.status, refused.code) == (400, "cannot_access_channel")
    assert refused.json["message"] == "You can't manage forced devices for this channel"
    assert refused.more == {"app_id": APP, "channel": "beta"}
    assert talk.link("d", "production").code == "cannot_access_channel"  # the right is checked before public
    assert talk.link("d", None).code == "cannot_access_app"
    removal = talk.ask("DELETE", "/device", {"app_id": APP, "device_id": "d"})
    assert (removal.status, removal.code, removal.more) == (400, "cannot_access_app", {"app_id": APP})
    talk.key = DEVELOPER_KEY
    assert talk.link("d").status == 200


def test_a_key_that_cannot_see_the_app_finds_no_channel() -> None:
    world = fleet(1, 0)
    other = world.add_app("com.other.app", org_id="other", user_id="u", now=EPOCH)
    world.add_channel(other, "beta", now=EPOCH)
    talk = Talk(world)
    assert (talk.link("d", "beta", "com.other.app").status, talk.link("d", None, "com.other.app").status) == (404, 400)


def test_posting_reads_the_body_only() -> None:
    talk = Talk()
    query = {"app_id": APP, "device_id": "d"}
    answer = talk.ask("POST", "/device", query)
    assert (answer.status, answer.code, answer.more) == (400, "invalid_json_parse_body", {"e": {}})
    assert talk.ask("POST", "/device", query, json_body=[]).more == {"body": []}
    assert talk.ask("POST", "/device", query, json_body=5).more == {"body": 5}


@pytest.mark.parametrize("form", ["query", "body"])
def test_unlinking_is_always_ok(form: str) -> None:
    talk = Talk(fleet(1, 0))
    talk.link("d")
    sent = {"app_id": APP, "device_id": "D"}
    for _ in range(2):
        if form == "query":
            assert talk.ask("DELETE", "/device", sent).json == {"status": "ok"}
        else:
            wrong = {"app_id": "nodots", "device_id": "q"}
            assert talk.ask("DELETE", "/device", wrong, json_body=sent).json == {"status": "ok"}
        assert talk.sandbox.world.apps[APP].overrides == {}


@pytest.mark.parametrize(
    ("query", "status", "code"),
    [
        ({}, 400, "invalid_json_parse_body"),
        ({"device_id": "d"}, 400, "missing_app_id"),
        ({"app_id": "nodots"}, 400, "missing_device_id"),
        ({"app_id": "nodots", "device_id": "d"}, 400, "invalid_app_id"),
        ({"app_id": "com.nope.app", "device_id": "d"}, 400, "cannot_access_app"),
    ],
)
def test_refused_removals(query: dict[str, str], status: int, code: str) -> None:
    answer = Talk().ask("DELETE", "/device", query)
    assert (answer.status, answer.code) == (status, code)


def test_removing_a_device_id_that_is_no_text_crashes() -> None:
    assert Talk().ask("DELETE", "/device", json_body={"app_id": APP, "device_id": 5}).code == "unknown_error"


def limited(**variables: int) -> Talk:
    return Talk(fleet(1, 5), Settings(limits=thresholds("server", variables)))


def test_the_same_set_is_remembered_whatever_came_of_it_and_survives_a_delete() -> None:
    talk = limited()
    assert [talk.link("d", name).status for name in ("beta", "alpha", "BETA", "production")] == [200, 200, 404, 400]
    talk.now += 13
    talk.ask("DELETE", "/device", {"app_id": APP, "device_id": "d"})
    for name in ("beta", "alpha", "BETA", "production"):
        again = talk.link("D", name)
        assert again.status == 429
        assert again.headers["retry-after"] == "47"
        assert again.more["device_id"] == "d"
    assert "d" not in talk.sandbox.world.apps[APP].overrides
    talk.now += 47
    assert talk.link("d").status == 200


def test_flipping_back_within_a_minute_stays_on_the_second_channel() -> None:
    talk = limited()
    assert [talk.link("d", name).status for name in ("beta", "alpha", "beta")] == [200, 200, 429]
    assert talk.sandbox.world.apps[APP].overrides["d"].channel.name == "alpha"


def test_the_burst_key_of_get_is_the_spelling_and_lists_are_exempt() -> None:
    talk = limited()
    known = next(iter(talk.sandbox.world.apps[APP].devices))
    statuses = [talk.get("/device", app_id=APP, device_id=known).status for _ in range(6)]
    assert statuses == [200] * 5 + [429]
    assert talk.get("/device", app_id=APP, device_id=known.upper()).status == 200
    assert all(talk.get("/device", app_id=APP).status == 200 for _ in range(20))
    spelt = [talk.link(spelling, None).status for spelling in ("d", "D", "d", "D", "d", "D")]
    assert spelt == [200] * 5 + [429]


def test_requests_under_way_together_pass_together() -> None:
    talk = limited()
    known = next(iter(talk.sandbox.world.apps[APP].devices))
    body = {"app_id": APP, "device_id": "d", "channel": "beta"}
    arrivals = [
        talk.sandbox.arrive(request, talk.now)
        for request in [talk.incoming("GET", "/device", {"app_id": APP, "device_id": known})] * 12
        + [talk.incoming("POST", "/device", json_body=body)] * 8
    ]
    replies = [talk.sandbox.answer(arrival, talk.now) for arrival in arrivals]
    assert [getattr(reply, "status", 0) for reply in replies] == [200] * 20
    assert talk.link("d").status == 429
    assert talk.get("/device", app_id=APP, device_id=known).status == 429


def test_the_limiters_stand_in_the_servers_order() -> None:
    talk = limited(RATE_LIMIT_API_KEY=4, RATE_LIMIT_CHANNEL_SELF_IP=1, RATE_LIMIT_FAILED_AUTH=2)
    assert talk.link("d").status == 200
    assert talk.link("d").more["reason"] == "ip_rate_limit_exceeded"  # before burst and same set
    unreadable = talk.ask("POST", "/device", {}, body=b"{")
    assert unreadable.code == "invalid_json_parse_body"  # before the app and address limiter
    assert talk.link("d").more["reason"] == "api_key_rate_limit_exceeded"  # refused ones were counted
    good, talk.key = talk.key, "wrong"
    assert [talk.link("d").status for _ in range(3)] == [401, 401, 429]
    talk.key = good
    assert talk.link("d").more["reason"] == "too_many_failed_auth_attempts"
    assert talk.get("/ok").status == 200
    assert talk.get("/nowhere").status == 404
    assert talk.ask("OPTIONS", "/device").status == 204


def test_what_was_refused_or_had_no_app_is_not_recorded() -> None:
    talk = limited(RATE_LIMIT_CHANNEL_SELF_IP=2)
    assert talk.ask("POST", "/device", json_body={"device_id": "d"}).status == 400
    assert talk.ask("POST", "/device", body=b"{").status == 400
    assert talk.link("d").status == 200
    assert talk.link("d").more.get("reason") is None  # same set: not counted for the address
    assert talk.link("nope", "nope").status == 404  # failed in the handler: counted
    assert talk.link("e").more["reason"] == "ip_rate_limit_exceeded"


def test_the_edge_limit_speaks_before_the_server() -> None:
    talk = Talk(settings=Settings(limits=thresholds("published")))
    assert all(talk.get("/app").status == 200 for _ in range(100))
    refused = talk.get("/app")
    assert (refused.status, refused.code, refused.headers["retry-after"]) == (429, "too_many_requests", "60")
    assert "reason" not in refused.more
    assert talk.get("/ok").status == 200
    talk.now += 60
    assert talk.get("/app").status == 200


def test_a_world_can_be_built_by_hand() -> None:
    world = World()
    app = world.add_app("com.hand.made", org_id="046a36ac-0000-4000-8000-000000000001", user_id="u", now=EPOCH)
    add_keys(world)
    talk = Talk(world)
    assert talk.get("/device", app_id=app.app_id).json == {"data": [], "hasMore": False}
