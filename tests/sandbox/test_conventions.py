"""Routing, authentication, headers and the seed dialect (contract A1, A2, A5, A6)."""

import pytest
from sandbox.talking import APP, Talk

from capgo_async.sandbox import Binding, Settings, World, fleet, parse_faults, thresholds
from capgo_async.sandbox.seeding import EPOCH, EXPIRED_KEY, ORG_ID, SUPER_ADMIN_KEY, USER_ID

SEED = Settings(generation="seed")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/"),
        ("GET", "//"),
        ("GET", ""),
        ("GET", "/nope"),
        ("GET", "/Device"),
        ("GET", "//device"),
        ("GET", "/device//"),
        ("GET", "/app//"),
        ("GET", "/app/a.b/c"),
        ("GET", "/v1/device"),
        ("PUT", "/device"),
        ("PATCH", "/bundle"),
        ("DELETE", "/app"),
        ("PUT", "/ok"),
        ("GET", "/_sandbox/secrets"),
    ],
)
def test_unknown_routes_are_404_without_authentication(method: str, path: str) -> None:
    talk = Talk(settings=Settings(limits=thresholds("server")))
    talk.key = None
    for _ in range(25):  # none of them counts as a failed login
        answer = talk.ask(method, path)
        assert (answer.status, answer.json) == (404, {"error": "not_found", "message": "Not found"})
    assert len(talk.sandbox.limiters) == 0


@pytest.mark.parametrize("path", ["/device", "/channel", "/bundle", "/app", f"/app/{APP}", "/ok"])
def test_one_trailing_slash_and_head_on_get_routes(path: str) -> None:
    talk = Talk()
    plain, slash, head = (
        talk.ask(method, spelt, {"app_id": APP}) for method, spelt in (("GET", path), ("GET", f"{path}/"), ("HEAD", path))
    )
    assert plain.status == slash.status == head.status == 200
    assert plain.json == slash.json
    assert (head.body, head.headers["content-type"]) == (b"", "application/json")
    assert "content-length" not in head.headers


@pytest.mark.parametrize("path", ["/device", "/nope", "/app/x"])
def test_options_is_answered_everywhere_and_reveals_nothing(path: str) -> None:
    talk = Talk()
    talk.key = None
    answer = talk.ask("OPTIONS", path)
    assert (answer.status, answer.body) == (204, b"")
    assert answer.headers["access-control-allow-methods"] == "GET,HEAD,PUT,POST,DELETE,PATCH"
    assert "capgkey" in answer.headers["access-control-allow-headers"]
    assert answer.headers["vary"] == "Origin, Access-Control-Request-Headers"
    assert not {"content-type", "x-database-source"} & set(answer.headers)
    assert answer.headers["x-worker-source"]


@pytest.mark.parametrize(("path", "status"), [("/ok", 200), ("/app", 200), ("/nope", 404), ("/device", 400)])
def test_every_response_of_a_modern_server_forbids_everything_to_browsers(path: str, status: int) -> None:
    modern, seed = (Talk(settings=Settings(generation=name)).ask("GET", path) for name in ("2026-07", "seed"))
    assert modern.status == status
    assert modern.headers["content-security-policy"].startswith("default-src 'none'; base-uri 'none'; ")
    assert modern.headers["vary"] == "Origin"
    assert not {"content-security-policy", "vary", "x-database-source"} & set(seed.headers)


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_health_needs_no_key(method: str) -> None:
    talk = Talk()
    talk.key = None
    answer = talk.ask(method, "/ok")
    assert answer.status == 200
    assert answer.body == (b"" if method == "HEAD" else b'{"status":"ok"}')


KEY = SUPER_ADMIN_KEY


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"capgkey": KEY}, None),
        ({"authorization": KEY}, None),
        ({"capgkey": KEY, "authorization": "nope"}, None),
        ({}, "no_key_provided"),
        ({"x-api-key": KEY}, "no_key_provided"),
        ({"capgkey": ""}, "no_key_provided"),
        ({"capgkey": "", "authorization": KEY}, "no_key_provided"),
        ({"capgkey": "wrong", "authorization": KEY}, "invalid_apikey"),
        ({"authorization": f"Bearer {KEY}"}, "invalid_apikey"),
        ({"capgkey": KEY.upper()}, "invalid_apikey"),
        ({"capgkey": f"{KEY} "}, "invalid_apikey"),
        ({"capgkey": EXPIRED_KEY}, "invalid_apikey"),
        ({"capgkey": KEY, "x-limited-key-id": "abc"}, "invalid_subkey"),
        ({"capgkey": KEY, "x-limited-key-id": "0"}, "invalid_subkey"),
        ({"capgkey": KEY, "x-limited-key-id": ""}, "invalid_subkey"),
        ({"capgkey": KEY, "x-limited-key-id": "9007199254740992"}, "invalid_subkey"),
    ],
)
def test_the_key_only_authenticator(headers: dict[str, str], code: str | None) -> None:
    for method, path in (("GET", "/device"), ("POST", "/device"), ("GET", "/app"), ("GET", "/bundle")):
        assert_authenticated(method, path, headers, code)


def assert_authenticated(method: str, path: str, headers: dict[str, str], code: str | None) -> None:
    talk = Talk(settings=Settings(limits=thresholds("server", {"RATE_LIMIT_FAILED_AUTH": 1})))
    body = {"app_id": APP} | ({"device_id": "d"} if method == "POST" else {})
    answer = talk.ask(method, path, {}, json_body=body, headers=headers)
    again = talk.ask(method, path, {}, json_body=body, headers={"capgkey": KEY})
    if code is None:
        assert answer.status == again.status == 200
        assert talk.sandbox.log[-1].key is not None
        return
    messages = {
        "no_key_provided": "No key provided",
        "invalid_apikey": "Invalid apikey",
        "invalid_subkey": "Invalid x-limited-key-id",
    }
    assert (answer.status, answer.json) == (401, {"error": code, "message": messages[code], "moreInfo": {}})
    assert again.status == 429  # the failure was counted
    assert talk.sandbox.log[-1].key is None


def test_a_key_expires_at_its_moment() -> None:
    world = fleet(1, 0)
    world.add_key("short", Binding(role="org_member", org_id=ORG_ID), user_id=USER_ID, expires_at=EPOCH + 10)
    talk = Talk(world)
    talk.key = "short"
    assert talk.get("/app").status == 200
    talk.now += 10
    assert talk.get("/app").status == 401


def subkeys() -> tuple[World, dict[str, int]]:
    world = fleet(2, 0)
    one = Binding(role="app_reader", org_id=ORG_ID, app_id=APP)
    wide = Binding(role="org_admin", org_id=ORG_ID)
    keys = {
        "good": world.add_key("good", one, user_id=USER_ID),
        "foreign": world.add_key("foreign", one, user_id="someone else"),
        "hashed": world.add_key("hashed", one, user_id=USER_ID, hashed=True),
        "wide": world.add_key("wide", wide, user_id=USER_ID),
        "expired": world.add_key("expired", one, user_id=USER_ID, expires_at=EPOCH),
    }
    return world, {name: key.key_id for name, key in keys.items()} | {"unknown": 10_000}


@pytest.mark.parametrize("name", ["foreign", "hashed", "wide", "expired", "unknown"])
def test_subkeys_that_are_refused_are_no_failed_login(name: str) -> None:
    world, numbers = subkeys()
    talk = Talk(world, Settings(limits=thresholds("server", {"RATE_LIMIT_FAILED_AUTH": 1})))
    headers = {"capgkey": KEY, "x-limited-key-id": str(numbers[name])}
    for _ in range(2):
        answer = talk.ask("GET", "/app", headers=headers)
        assert (answer.status, answer.code) == (401, "invalid_subkey")


def test_a_subkey_narrows_its_parent() -> None:
    world, numbers = subkeys()
    talk = Talk(world)
    headers = {"capgkey": KEY, "x-limited-key-id": str(numbers["good"])}
    assert [row["app_id"] for row in talk.ask("GET", "/app", headers=headers).json] == [APP]


@pytest.mark.parametrize(
    ("sent", "echoed"),
    [("run1-000001", True), ("A_=-z" * 51, True), ("x" * 256, False), ("with space", False), ("", False), (None, False)],
)
def test_the_request_id_is_echoed_when_it_has_the_right_form(sent: str | None, *, echoed: bool) -> None:
    talk = Talk()
    headers = {} if sent is None else {"x-request-id": sent}
    first, second = (talk.ask("GET", "/ok", headers=headers).headers["x-request-id"] for _ in range(2))
    assert (first == sent) is echoed
    assert (first == second) is echoed
    assert talk.sandbox.log[-1].request_id == second


@pytest.mark.parametrize("path", ["/ok", "/nope", "/device", "/app"])
def test_every_answer_names_server_and_date(path: str) -> None:
    answer = Talk(settings=Settings(version="capgo_api-test-12.188.1")).get(path)
    assert answer.headers["x-worker-source"] == "capgo_api-test-12.188.1"
    assert answer.headers["date"] == "Mon, 20 Jul 2026 09:00:00 GMT"


@pytest.mark.parametrize("wrong", [{"speed": 0}, {"row_cap": 0}, {"log_size": 0}])
def test_settings_that_make_no_server_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must all be above 0"):
        Settings(**wrong)  # type: ignore[arg-type]  # the point of the test


def seed_talk(devices: int = 20, settings: Settings = SEED) -> Talk:
    return Talk(fleet(1, devices), settings)


def test_seed_devices_are_bare_arrays_by_page() -> None:
    talk = seed_talk(130)
    first = talk.get("/device", app_id=APP, limit="2", cursor="x|y").json
    assert isinstance(first, list)
    assert len(first) == 50
    assert set(first[0]) == {
        "updated_at", "device_id", "custom_id", "is_prod", "is_emulator", "version", "app_id", "platform",
        "plugin_version", "os_version", "version_build",
    }  # fmt: skip
    assert set(first[0]["version"]) == {"id", "name"}
    assert first[0]["updated_at"].endswith("+00:00")
    assert len(talk.get("/device", app_id=APP, page="1").json) == 80
    assert len(seed_talk(130, Settings(generation="seed", page_bug=False)).get("/device", app_id=APP, page="1").json) == 50
    assert talk.get("/device", app_id=APP, page="9").json == []
    assert talk.get("/device", app_id=APP, page="abc").json["status"] == "Cannot get devices"
    talk.sandbox.world.device_store_readable = False
    assert talk.get("/device", app_id=APP).json == []


def test_a_single_seed_device_has_fewer_keys() -> None:
    talk = seed_talk()
    known = next(iter(talk.sandbox.world.apps[APP].devices))
    one = talk.get("/device", app_id=APP, device_id=known).json
    assert set(one) == {"updated_at", "device_id", "version", "app_id", "platform", "plugin_version", "os_version"}
    unknown = talk.get("/device", app_id=APP, device_id="nope")
    assert (unknown.status, unknown.json) == (400, {"status": "Cannot find device"})


def test_seed_devices_without_a_bundle_name_the_placeholder() -> None:
    talk = Talk(fleet(1, 1, bundles=0), SEED)
    assert talk.get("/device", app_id=APP).json[0]["version"] == {"id": 1, "name": "builtin"}
    assert talk.get("/channel", app_id=APP).json[0]["version"] == {"id": 2, "name": "unknown"}


def test_seed_channels_and_bundles() -> None:
    talk = seed_talk()
    listed = talk.get("/channel", app_id=APP).json
    single = talk.get("/channel", app_id=APP, channel="beta").json
    assert set(listed[0]) - set(single) == {"allow_dev"}
    assert "rollout_id" not in listed[0]
    assert listed[0]["disableAutoUpdate"] == "major"
    bundle = talk.get("/bundle", app_id=APP).json[0]
    assert {"minUpdateVersion", "bucket_id"} <= set(bundle)
    assert len(bundle) == 16


@pytest.mark.parametrize(
    ("method", "path", "query", "status", "body"),
    [
        ("GET", "/bundle", {"app_id": APP, "page": "9"}, 400, {"status": "Cannot get bundle", "error": None}),
        ("GET", "/channel", {"app_id": APP, "channel": "nope"}, 400, {"status": "Cannot find version"}),
        ("GET", "/device", {}, 400, {"status": "Missing app_id"}),
        ("GET", "/device", {"app_id": "nodots"}, 400, {"status": "You can't access this app"}),
        ("DELETE", "/device", {"app_id": APP}, 400, {"status": "Missing device_id"}),
    ],
)
def test_seed_error_bodies(method: str, path: str, query: dict[str, str], status: int, body: dict[str, object]) -> None:
    answer = seed_talk().ask(method, path, query)
    assert (answer.status, answer.json) == (status, body)
    assert "x-worker-source" not in answer.headers
    assert "x-request-id" not in answer.headers


def test_a_seed_channel_that_is_not_there_carries_the_database_error() -> None:
    answer = seed_talk().link("d", "nope")
    assert (answer.status, answer.json["status"]) == (400, "Cannot find channel")
    assert answer.json["error"]["code"] == "PGRST116"


@pytest.mark.parametrize(("key", "message"), [("wrong", "Invalid apikey"), (None, "No key provided")])
def test_a_wrong_key_is_a_500_in_the_seed_era(key: str | None, message: str) -> None:
    talk = seed_talk()
    talk.key = key
    answer = talk.get("/bundle", app_id=APP)
    body = {"status": "Internal Server Error", "response": {}, "error": "{}", "message": message}
    assert (answer.status, answer.json) == (500, body)


def test_seed_exceptions_limits_and_unknown_routes() -> None:
    limits = thresholds("server", {"RATE_LIMIT_API_KEY": 2})
    talk = seed_talk(settings=Settings(generation="seed", limits=limits, faults=parse_faults("GET /bundle:500=#1")))
    assert talk.get("/bundle", app_id=APP).json["message"] == "Unknown error"
    limited = talk.get("/bundle", app_id=APP)
    assert (limited.status, limited.json) == (429, {"error": "you are beeing rate limited"})
    assert "retry-after" not in limited.headers
    for path in ("/nope", "/app", f"/app/{APP}"):
        missing = talk.get(path)
        assert (missing.status, missing.body) == (404, b"404 Not Found")
        assert missing.headers["content-type"].startswith("text/plain")


def test_seed_links_and_removals_are_as_today() -> None:
    talk = seed_talk(0)
    assert talk.link("D").json == {"status": "ok"}
    assert "d" in talk.sandbox.world.apps[APP].overrides
    assert talk.ask("DELETE", "/device", {"app_id": APP, "device_id": "d"}).json == {"status": "ok"}


def test_the_seed_era_took_a_bundle_for_a_single_device() -> None:
    talk = seed_talk(0)
    app = talk.sandbox.world.apps[APP]
    assert talk.ask("POST", "/device", json_body={"app_id": APP, "device_id": "D", "version_id": "1.1.0"}).json == {
        "status": "ok"
    }
    assert app.pinned == {"d": "1.1.0"}
    body = {"app_id": APP, "device_id": "E", "channel": "beta", "version_id": 4}
    assert talk.ask("POST", "/device", json_body=body).status == 200
    assert app.pinned == {"d": "1.1.0", "e": "4"}
    assert app.overrides["e"].channel.name == "beta"
    assert talk.ask("DELETE", "/device", {"app_id": APP, "device_id": "d"}).status == 200
    assert app.pinned == {"e": "4"}
