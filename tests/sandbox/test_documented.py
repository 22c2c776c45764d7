"""What the documentation's sandbox has of its own, and what it shares with the server of 2026-07 (contract D, H1)."""

from typing import Any

import pytest
from sandbox.talking import APP, Talk

from capgo_async.sandbox import Settings, fleet
from capgo_async.sandbox.seeding import ORG_ID

JULY = {"from": "2026-07-01", "to": "2026-07-03"}


def talk(generation: Any = "docs", **more: Any) -> Talk:
    return Talk(fleet(2, 130, channels=130, bundles=60), Settings(generation=generation, **more))


@pytest.mark.parametrize(
    ("path", "query"),
    [("/app", {}), (f"/app/{APP}", {}), ("/bundle", {"app_id": APP}), ("/channel", {"app_id": APP})],
)
def test_the_documentation_wraps_what_the_server_sends_bare(path: str, query: dict[str, str]) -> None:
    wrapped, bare = talk().ask("GET", path, query).json, talk("2026-07").ask("GET", path, query).json
    assert set(wrapped) == {"data"}
    rows, plain = ((body if isinstance(body, list) else [body]) for body in (wrapped["data"], bare))
    renamed = {"min_update_version": "minUpdateVersion"}
    more = {"updatePackage": "all"} if path == "/channel" else {}
    assert rows == [{**{renamed.get(name, name): value for name, value in row.items()}, **more} for row in plain]


@pytest.mark.parametrize(
    ("path", "query"),
    [
        ("/channel", {"app_id": APP, "channel": "beta"}),
        ("/device", {"app_id": APP}),
        (f"/statistics/app/{APP}/bundle_usage", JULY),
    ],
)
def test_other_answers_are_as_modern_ones(path: str, query: dict[str, str]) -> None:
    docs, modern = talk().ask("GET", path, query), talk("2026-07").ask("GET", path, query)
    more = {"updatePackage": "all"} if path == "/channel" else {}
    assert docs.json == {**modern.json, **more}
    assert docs.headers["x-worker-source"] == modern.headers["x-worker-source"]


@pytest.mark.parametrize(
    ("method", "path", "query"),
    [
        ("GET", "/channel", {"app_id": "nodots"}),
        ("GET", "/bundle", {"app_id": APP, "page": "9"}),
        ("GET", "/app/com.nope.app", {}),
        ("DELETE", "/channel", {"app_id": APP, "channel": "nope"}),
        ("GET", "/statistics/app/com.nope.app", JULY),
        ("GET", "/nope", {}),
    ],
)
def test_errors_are_as_modern_ones(method: str, path: str, query: dict[str, str]) -> None:
    docs, modern = talk().ask(method, path, query), talk("2026-07").ask(method, path, query)
    assert docs.status == modern.status >= 400
    assert docs.json == modern.json


def test_statistics_show_days() -> None:
    assert [row["date"] for row in talk().ask("GET", f"/statistics/org/{ORG_ID}", JULY).json] == ["2026-07-01", "2026-07-02"]


@pytest.mark.parametrize(
    ("generation", "page_bug", "expected"),
    [
        ("docs", None, 50),
        ("docs", True, 80),
        ("docs", False, 50),
        ("2026-07", None, 80),
        ("2026-07", False, 50),
        ("seed", None, 80),
        ("seed", False, 50),
    ],
)
def test_the_documentation_knows_no_page_bug(generation: str, *, page_bug: bool | None, expected: int) -> None:
    body = talk(generation, page_bug=page_bug).get("/channel", app_id=APP, page="1").json
    assert len(body["data"] if generation == "docs" else body) == expected


@pytest.mark.parametrize(
    ("fields", "shown"),
    [
        ({"disableAutoUpdate": "metadata"}, ("disableAutoUpdate", "metadata")),
        ({"updatePackage": "delta"}, ("updatePackage", "delta")),
        ({"update_package": "zip"}, ("updatePackage", "zip")),
        ({"updatePackage": "nonsense"}, ("updatePackage", "all")),
    ],
)
def test_the_documentations_own_channel_settings_are_kept(fields: dict[str, str], shown: tuple[str, str]) -> None:
    caller = talk()
    assert caller.ask("POST", "/channel", json_body={"app_id": APP, "channel": "beta", **fields}).json == {"status": "ok"}
    name, value = shown
    assert caller.get("/channel", app_id=APP, channel="beta").json[name] == value


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/app"),
        ("POST", "/app"),
        ("PUT", f"/app/{APP}"),
        ("DELETE", f"/app/{APP}"),
        ("POST", "/bundle"),
        ("PUT", "/bundle"),
        ("POST", "/bundle/metadata"),
    ],
)
def test_routes_that_the_seed_era_lacked(method: str, path: str) -> None:
    body = {"app_id": APP}
    assert talk("seed").ask(method, path, json_body=body).body == b"404 Not Found"
    assert talk().ask(method, path, json_body=body).status != 404


def test_the_seed_era_writes_channels_without_rollouts() -> None:
    caller = talk("seed")
    body = {"app_id": APP, "channel": "beta", "version": "1.1.0", "public": True, "rolloutPercentage": 500}
    assert caller.ask("POST", "/channel", json_body=body).json == {"status": "ok"}
    channel = caller.sandbox.world.apps[APP].channels["beta"]
    assert (channel.public, channel.rollout.percentage_bps) == (True, 0)
    missing = caller.ask("DELETE", "/channel", {"app_id": APP, "channel": "nope"})
    assert (missing.status, missing.json["status"]) == (400, "Cannot find channel")
