"""The authenticator of the routes that take users as well as keys (contract A2)."""

import pytest
from sandbox.talking import Talk
from tables import on_each

from capgo_async.sandbox import Binding, Incoming, Settings, fleet, thresholds
from capgo_async.sandbox.authentication import credential, header_order
from capgo_async.sandbox.routes.call import Call
from capgo_async.sandbox.seeding import EPOCH, EXPIRED_KEY, ORG_ID, SUPER_ADMIN_KEY, USER_ID, USER_JWT

KEY = SUPER_ADMIN_KEY
UNKNOWN = "11111111-2222-4333-8444-555555555555"
MESSAGES = {
    "no_jwt_apikey_or_subkey": "No JWT, apikey or subkey provided",
    "invalid_apikey": "Invalid apikey",
    "invalid_jwt": "Invalid JWT",
    "invalid_subkey": "Invalid x-limited-key-id",
}

TABLE = [
    ({"authorization": KEY}, "key"),
    ({"authorization": KEY, "capgkey": "wrong"}, "key"),
    ({"authorization": KEY.upper()}, "invalid_apikey"),
    ({"authorization": UNKNOWN, "capgkey": KEY}, "invalid_apikey"),
    ({"authorization": USER_JWT}, "user"),
    ({"authorization": f"Bearer {USER_JWT}"}, "user"),
    ({"authorization": USER_JWT, "capgkey": "wrong"}, "user"),
    ({"authorization": USER_JWT, "x-limited-key-id": "abc"}, "user"),
    ({"authorization": "nope", "capgkey": KEY}, "invalid_jwt"),
    ({"authorization": f"Bearer {KEY}"}, "invalid_jwt"),
    ({"authorization": "plain-old-key"}, "invalid_jwt"),
    ({"capgkey": KEY}, "key"),
    ({"capgkey": "plain-old-key"}, "key"),
    ({"capgkey": KEY, "x-api-key": "wrong"}, "key"),
    ({"capgkey": "wrong", "x-api-key": KEY}, "invalid_apikey"),
    ({"capgkey": EXPIRED_KEY}, "invalid_apikey"),
    ({"capgkey": USER_JWT}, "invalid_apikey"),
    ({"x-api-key": KEY}, "key"),
    ({"x-api-key": "wrong"}, "invalid_apikey"),
    ({"capgkey": KEY, "x-limited-key-id": "abc"}, "invalid_subkey"),
    ({}, "no_jwt_apikey_or_subkey"),
]


def talk(settings: Settings | None = None) -> Talk:
    world = fleet(1, 0)
    world.add_key("plain-old-key", Binding(role="org_super_admin", org_id=ORG_ID), user_id=USER_ID)
    return Talk(world, settings)


FOR_USERS_AND_KEYS: list[tuple[str, str, dict[str, str]]] = [
    ("GET", "/apikey", {}),
    ("GET", "/organization/audit", {"orgId": ORG_ID}),
    ("PUT", "/organization", {"orgId": ORG_ID}),
]


@on_each(FOR_USERS_AND_KEYS, TABLE)
def test_users_and_keys(route: tuple[str, str, dict[str, str]], row: tuple[dict[str, str], str]) -> None:
    (method, path, query), (headers, outcome) = route, row
    caller = talk(Settings(limits=thresholds("server", {"RATE_LIMIT_FAILED_AUTH": 1})))
    answer = caller.ask(method, path, query, headers=headers)
    again = caller.ask(method, path, query, headers={"capgkey": KEY})
    logged = caller.sandbox.log[0].key
    if outcome in MESSAGES:
        assert (answer.status, answer.json) == (401, {"error": outcome, "message": MESSAGES[outcome], "moreInfo": {}})
        assert again.status == 429  # the failure was counted
        assert logged is None
    else:
        assert answer.status == again.status == 200
        assert (logged is None) is (outcome == "user")


JULY = {"from": "2026-07-01", "to": "2026-07-03"}
APP = "com.example.app01"


@pytest.mark.parametrize(
    ("method", "path", "query", "status", "code"),
    [
        ("GET", "/apikey/1", {}, 404, "failed_to_get_apikey"),
        ("PUT", "/apikey/1", {}, 404, "api_key_not_found_or_access_denied"),
        ("DELETE", "/apikey/1", {}, 404, "api_key_not_found"),
        ("POST", "/apikey", {}, 500, "failed_to_create_apikey"),
        ("GET", f"/statistics/app/{APP}", JULY, 404, "app_not_found"),
        ("GET", f"/statistics/app/{APP}/bundle_usage", JULY, 404, "app_not_found"),
        ("GET", "/statistics/user", JULY, 401, "no_organizations_found"),
        ("GET", "/statistics/org/another", JULY, 401, "no_access_to_organization"),
    ],
)
def test_a_token_without_bearer_finds_nothing(method: str, path: str, query: dict[str, str], status: int, code: str) -> None:
    caller = talk()
    path = path.replace("/1", f"/{next(iter(caller.sandbox.world.keys)).key_id}")
    answer = caller.ask(method, path, query, json_body={"name": "x"}, headers={"authorization": USER_JWT})
    assert (answer.status, answer.code) == (status, code)


def test_a_token_without_bearer_gets_empty_lists_and_zeros() -> None:
    caller = Talk(fleet(1, 100))
    caller.now += 5 * 86_400
    bare, right = ({"authorization": word + USER_JWT} for word in ("", "Bearer "))
    assert caller.ask("GET", "/apikey", headers=bare).json == []
    assert len(caller.ask("GET", "/apikey", headers=right).json) > 3
    sums = []
    for headers in (bare, right):
        points = caller.ask("GET", f"/statistics/org/{ORG_ID}", JULY, headers=headers).json
        assert len(points) == 2
        sums.append(sum(point["mau"] + point["storage"] + point["bandwidth"] for point in points))
    assert sums[0] == 0 < sums[1]
    log = caller.ask("GET", "/organization/audit", {"orgId": ORG_ID}, headers=bare)
    assert (log.json["data"], log.json["total"]) == ([], 0)


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/organization"),
        ("DELETE", "/organization"),
        ("GET", "/organization/members"),
        ("POST", "/organization/members"),
    ],
)
def test_routes_that_take_keys_only(method: str, path: str) -> None:
    caller = talk()
    for headers, code in (
        ({"authorization": USER_JWT}, "invalid_apikey"),
        ({"x-api-key": KEY}, "no_key_provided"),
        ({"authorization": f"Bearer {KEY}"}, "invalid_apikey"),
    ):
        answer = caller.ask(method, path, {"orgId": ORG_ID}, headers=headers)
        assert (answer.status, answer.code) == (401, code)


def test_a_user_is_limited_by_no_key_limiter() -> None:
    caller = talk(Settings(limits=thresholds("server", {"RATE_LIMIT_API_KEY": 2})))
    headers = {"authorization": USER_JWT}
    assert {caller.ask("GET", "/apikey", headers=headers).status for _ in range(5)} == {200}
    assert [caller.ask("GET", "/apikey", headers={"capgkey": KEY}).status for _ in range(2)] == [200, 429]


def test_a_subkey_narrows_on_these_routes_too() -> None:
    caller = talk()
    narrow = caller.sandbox.world.add_key(
        "narrow", Binding(role="app_reader", org_id=ORG_ID, app_id="com.example.app01"), user_id=USER_ID
    )
    answer = caller.ask("GET", "/apikey", headers={"capgkey": KEY, "x-limited-key-id": str(narrow.key_id)})
    assert (answer.status, answer.code, answer.more) == (401, "cannot_list_apikeys", {"apikeyId": narrow.key_id})


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"authorization": KEY}, 200),
        ({"capgkey": KEY}, 200),
        ({"capgkey": KEY, "authorization": "nope"}, 200),
        ({"authorization": USER_JWT}, 500),
        ({"x-api-key": KEY}, 500),
        ({}, 500),
    ],
)
def test_the_seed_era_knew_no_users_here(headers: dict[str, str], status: int) -> None:
    assert talk(Settings(generation="seed")).ask("GET", "/apikey", headers=headers).status == status


def test_neither_tokens_nor_keys_are_shown() -> None:
    caller = talk()
    caller.ask("GET", "/apikey", headers={"authorization": USER_JWT})
    caller.ask("GET", "/apikey", headers={"capgkey": KEY})
    assert USER_JWT not in repr(list(caller.sandbox.log))
    assert KEY not in repr(list(caller.sandbox.world.keys))


@pytest.mark.parametrize(
    ("headers", "secret", "token"),
    [
        ({"authorization": KEY}, KEY, True),
        ({"authorization": "nope", "capgkey": KEY}, "nope", True),
        ({"capgkey": KEY}, KEY, False),
        ({"x-api-key": KEY}, "", False),
    ],
)
def test_seed_statistics_took_keys_in_capgkey_alone(headers: dict[str, str], secret: str, *, token: bool) -> None:
    order = header_order("user", "/statistics/app/:app_id", seed=True)
    shown = credential(Incoming(method="GET", path="/", headers=headers), order)
    assert (shown.secret, shown.token) == (secret, token)
    assert KEY not in repr(shown)


def test_a_route_for_keys_only_takes_no_session_for_a_key() -> None:
    world = fleet(1, 0)
    session = world.session_of(USER_JWT, EPOCH)
    assert session is not None
    call = Call(world=world, settings=Settings(), now=EPOCH, number=1, path={}, caller=session)
    with pytest.raises(TypeError, match="has no key"):
        _ = call.key
