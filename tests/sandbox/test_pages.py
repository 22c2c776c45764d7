"""Channels, bundles and apps: page arithmetic (contract C6), rows and refusals (C5, C8)."""

from collections.abc import Callable

import pytest
from sandbox.talking import APP, Answer, Talk

from capgo_async.sandbox import Settings, World, fleet
from capgo_async.sandbox.seeding import DEVELOPER_KEY, EPOCH, ORG_ID, READER_KEY, UPLOADER_KEY

NO_ROW = {
    "code": "PGRST116",
    "message": "JSON object requested, multiple (or no) rows returned",
    "details": "The result contains 0 rows",
    "hint": None,
}


def with_rows(kind: str, count: int, settings: Settings | None = None, *, tied: bool = False) -> Talk:
    if kind == "/channel":
        world = fleet(1, 0, channels=count, bundles=0)
        if tied:
            for channel in world.apps[APP].channels.values():
                channel.created_at = 1_000_000
    else:
        world = fleet(1, 0, channels=0, bundles=count)
    return Talk(world, settings)


def rows(answer: Answer) -> list[int]:
    if answer.status == 400:
        assert answer.json == {
            "error": "cannot_get_bundle",
            "message": "Cannot get bundle",
            "moreInfo": {"supabaseError": None},
        }
        return []
    return [row["id"] for row in answer.json]


def enumerate_all(fetch: Callable[[int], list[int]]) -> tuple[set[int], int]:
    """Follow the paging algorithm of contract C6, as channel and bundle listings need it."""
    ids: set[int] = set()
    page = requests = 0
    first_was_long = False
    while True:
        got = fetch(page)
        requests += 1
        new = set(got) - ids
        ids |= new
        if not new or (len(got) % 50 and len(got) < 1000):
            return ids, requests
        if page == 0 and len(got) > 50:
            first_was_long = True
        page += 1 if first_was_long else max(1, len(got) // 50)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "count", "bug", "right"),
    [
        ("/channel", 130, 2, 3),
        ("/bundle", 230, 2, 5),
        ("/channel", 50, 2, 2),
        ("/bundle", 50, 2, 2),
        ("/channel", 100, 3, 3),
        ("/channel", 0, 1, 1),
        ("/bundle", 0, 1, 1),
        ("/channel", 549, 2, 11),
        ("/bundle", 1500, 4, 31),
        ("/channel", 10_000, 13, 201),
    ],
)
def test_complete_listings_take_as_many_requests_as_recorded(kind: str, count: int, bug: int, right: int) -> None:
    for settings, requests in ((Settings(), bug), (Settings(page_bug=False), right)):
        talk = with_rows(kind, 0, settings)
        ours = with_rows(kind, count, settings) if count < 10_000 else _many_channels(talk, count)

        def fetch(page: int, ours: Talk = ours) -> list[int]:
            return rows(ours.get(kind, app_id=APP, page=str(page)))

        ids, asked = enumerate_all(fetch)
        assert (len(ids), asked) == (count, requests)


def _many_channels(talk: Talk, count: int) -> Talk:
    app = talk.sandbox.world.apps[APP]
    for index in range(count):
        talk.sandbox.world.add_channel(app, f"many{index}", now=EPOCH)
    return talk


@pytest.mark.parametrize(
    ("kind", "count", "page", "expected"),
    [
        ("/channel", 130, "0", 50),
        ("/channel", 130, "", 50),
        ("/channel", 130, "1", 80),
        ("/channel", 130, "2", 30),
        ("/channel", 130, "3", 0),
        ("/channel", 130, "99", 0),
        ("/channel", 130, "1.5", 0),
        ("/bundle", 230, "1", 180),
        ("/bundle", 230, "2", 130),
        ("/bundle", 230, "4", 30),
        ("/channel", 2000, "1", 500),
        ("/channel", 2000, "2", 950),
        ("/channel", 2000, "3", 1000),
    ],
)
def test_the_page_bug(kind: str, count: int, page: str, expected: int) -> None:
    talk = with_rows(kind, count)
    everything = rows(talk.get(kind, app_id=APP, page="0"))
    got = rows(talk.get(kind, app_id=APP, page=page))
    assert len(got) == expected
    if page in {"0", ""}:
        assert got == everything


def test_pages_overlap_and_begin_where_they_should() -> None:
    talk = with_rows("/channel", 130)
    one, two = (rows(talk.get("/channel", app_id=APP, page=page)) for page in ("1", "2"))
    assert one[50:] == two


@pytest.mark.parametrize(("page", "expected"), [(2, 30), (3, 0), ("2", 30), ("1", 80), (1, 50), (0, 50), (None, 50)])
def test_a_page_sent_as_a_number_is_right(page: object, expected: int) -> None:
    talk = with_rows("/channel", 130)
    assert len(rows(talk.ask("GET", "/channel", json_body={"app_id": APP, "page": page}))) == expected


@pytest.mark.parametrize(
    ("kind", "code", "message"),
    [("/channel", "cannot_find_channels", "Cannot find channels"), ("/bundle", "cannot_get_bundle", "Cannot get bundle")],
)
@pytest.mark.parametrize(("page", "sentence"), [("abc", "invalid offset: NaN"), ("-1", "invalid offset: -50")])
def test_impossible_pages(kind: str, code: str, message: str, page: str, sentence: str) -> None:
    answer = Talk().get(kind, app_id=APP, page=page)
    error = {"code": "PGRST100", "message": sentence, "details": None, "hint": None}
    assert (answer.status, answer.json["message"], answer.code) == (400, message, code)
    assert answer.more == {"supabaseError": error}
    assert Talk().ask("GET", kind, json_body={"app_id": APP, "page": [1]}).code == code


def test_channels_are_listed_oldest_first_and_bundles_newest_first() -> None:
    talk = Talk(fleet(1, 0, channels=5, bundles=4))
    assert [row["name"] for row in talk.get("/channel", app_id=APP).json] == ["production", "beta", "alpha", "ch04", "ch05"]
    assert [row["name"] for row in talk.get("/bundle", app_id=APP).json] == ["1.3.0", "1.2.0", "1.1.0", "1.0.0"]


def test_ties_stand_still_unless_they_are_shuffled() -> None:
    still = with_rows("/channel", 120, tied=True)
    assert rows(still.get("/channel", app_id=APP)) == rows(still.get("/channel", app_id=APP))
    ids, requests = enumerate_all(lambda page: rows(still.get("/channel", app_id=APP, page=str(page))))
    assert (len(ids), requests) == (120, 2)
    moving = with_rows("/channel", 120, Settings(shuffle_ties=True), tied=True)
    first, second = (rows(moving.get("/channel", app_id=APP)) for _ in range(2))
    assert first != second
    apart = with_rows("/channel", 40, Settings(shuffle_ties=True))
    assert rows(apart.get("/channel", app_id=APP)) == rows(apart.get("/channel", app_id=APP))


def test_one_channel_by_its_exact_name() -> None:
    talk = Talk()
    one = talk.get("/channel", app_id=APP, channel="beta").json
    assert (one["name"], one["public"], set(one["version"])) == ("beta", False, {"id", "name"})
    assert len(one) == 33
    talk.sandbox.world.apps[APP].channels["beta"].version = None
    assert talk.get("/channel", app_id=APP, channel="beta").json["version"] is None
    assert len(talk.get("/channel", app_id=APP, channel="").json) == 3
    for name in ("BETA", "nope"):
        missing = talk.get("/channel", app_id=APP, channel=name)
        assert (missing.status, missing.code, missing.json["message"]) == (400, "cannot_find_version", "Cannot find version")
        assert missing.more == {"supabaseError": NO_ROW}
    assert talk.ask("GET", "/channel", json_body={"app_id": APP, "channel": 5}).code == "cannot_find_version"


def test_deleted_bundles_are_not_listed() -> None:
    talk = Talk()
    bundles = talk.sandbox.world.apps[APP].bundles
    for bundle in bundles.values():
        bundle.deleted, bundle.deleted_at = True, 5
    assert rows(talk.get("/bundle", app_id=APP)) == []


@pytest.mark.parametrize(
    ("path", "query", "code"),
    [
        ("/channel", {}, "missing_app_id"),
        ("/channel", {"app_id": "nodots"}, "invalid_app_id"),
        ("/channel", {"app_id": "com.nope.app"}, "cannot_access_app"),
        ("/bundle", {}, "missing_app_id"),
        ("/bundle", {"app_id": "nodots"}, "invalid_app_id"),
        ("/bundle", {"app_id": "com.nope.app"}, "cannot_get_bundle"),
        ("/device", {}, "missing_app_id"),
        ("/device", {"app_id": "nodots"}, "invalid_app_id"),
        ("/device", {"app_id": "com.nope.app"}, "cannot_access_app"),
    ],
)
def test_refused_listings(path: str, query: dict[str, str], code: str) -> None:
    answer = Talk().ask("GET", path, query)
    assert (answer.status, answer.code) == (400, code)
    if code == "missing_app_id":
        assert answer.more == {"body": {}}
    else:
        assert answer.more == query
    if query.get("app_id") == "com.nope.app":
        assert answer.json["message"] == "You can't access this app"


def two_organizations() -> World:
    world = fleet(3, 0)
    world.add_app("com.other.app", org_id="other-org", user_id="u", now=EPOCH)
    return world


def test_apps_that_the_key_can_read() -> None:
    talk = Talk(two_organizations())
    assert [row["app_id"] for row in talk.get("/app").json] == [f"com.example.app0{n}" for n in (1, 2, 3)]
    assert len(talk.get("/app").json[0]) == 30
    assert len(talk.get("/app", org_id=ORG_ID).json) == 3
    refused = talk.get("/app", org_id="other-org")
    assert (refused.status, refused.code) == (400, "user_does_not_have_access_to_this_organization")
    assert refused.more == {"org_id": "other-org"}
    assert len(talk.ask("GET", "/app", json_body={"limit": 1}).json) == 3  # query only
    assert len(talk.get("/app", orgId="other-org").json) == 3  # a misspelt name is ignored
    assert talk.get("/app", limit="2", page="1").json[0]["app_id"] == "com.example.app03"


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ({"limit": "2abc"}, 2),
        ({"limit": "0"}, 0),
        ({"page": "9"}, 0),
        ({"page": "", "limit": ""}, 3),
        ({"limit": "-1"}, "invalid limit: -1"),
        ({"page": "-1"}, "invalid offset: -50"),
        ({"page": "abc"}, "invalid offset: NaN"),
    ],
)
def test_pages_of_apps_are_read_leniently(query: dict[str, str], expected: object) -> None:
    answer = Talk(two_organizations()).ask("GET", "/app", query)
    if isinstance(expected, int):
        assert len(answer.json) == expected
    else:
        assert (answer.status, answer.code) == (400, "cannot_get_apps")
        assert answer.more["supabaseError"]["message"] == expected


def test_the_row_cap_holds_for_apps_and_pages() -> None:
    assert len(Talk(two_organizations(), Settings(row_cap=2)).get("/app").json) == 2
    assert len(rows(with_rows("/channel", 60, Settings(row_cap=10)).get("/channel", app_id=APP))) == 10


def test_one_app() -> None:
    talk = Talk(two_organizations())
    assert talk.get(f"/app/{APP}").json["app_id"] == APP
    assert talk.get(f"/app/{APP.replace('.', '%2E')}").json["app_id"] == APP
    for hidden in ("com.other.app", "com.nope.app"):
        answer = talk.get(f"/app/{hidden}")
        assert (answer.status, answer.code, answer.more) == (401, "cannot_access_app", {"app_id": hidden})
    assert (talk.get("/app/nodots").status, talk.get("/app/nodots").code) == (400, "invalid_app_id")


def test_app_scoped_keys_see_their_apps_only() -> None:
    world = two_organizations()
    late = world.add_app("com.example.late", org_id=ORG_ID, user_id="u", now=EPOCH)
    late.updated_at = 1
    talk = Talk(world)
    assert len(talk.get("/app").json) == 4
    for key in (READER_KEY, UPLOADER_KEY, DEVELOPER_KEY):
        talk.key = key
        assert len(talk.get("/app").json) == 3
        assert talk.get("/app/com.example.late").status == 401
        assert talk.get("/channel", app_id=APP).status == talk.get("/bundle", app_id=APP).status == 200
        assert talk.get("/device", app_id="com.example.late").code == "cannot_access_app"
