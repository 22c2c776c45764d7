"""What commands learn and keep, `limits` and `calibrate`."""

import json
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from cli.served import APP, KEY, Served, csv_of, served
from typer.testing import Result

from capgo_async import CapgoClient, ScopeKind
from capgo_async.calibration import Findings
from capgo_async.cli.commands.calibrate import tells_more
from capgo_async.cli.options.remembering import Memory
from capgo_async.limits.known import Known, KnownLimit, Latency
from capgo_async.sandbox import Binding, Settings, thresholds
from capgo_async.sandbox.seeding import ORG_ID, USER_ID

pytestmark = pytest.mark.slow

Command = Callable[..., Result]
RELINK = ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", "--yes")


@pytest.fixture
def cache() -> Path:
    return Path(os.environ["CAPGO_CACHE"])


@pytest.fixture
def few() -> Iterator[Served]:
    with served(Settings(limits=thresholds("server", {"RATE_LIMIT_API_KEY": 61})), devices=400) as found:
        yield found


def kept(unaimed: Command) -> list[dict[str, Any]]:
    result = unaimed("limits", "--json")
    assert result.exit_code == 0
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_a_run_leaves_what_it_learned_and_no_key(
    server: Served, capgo: Command, unaimed: Command, here: Path, cache: Path
) -> None:
    csv_of(here / "devices.csv")
    assert capgo(*RELINK).exit_code == 0
    (record,) = kept(unaimed)
    assert record["base_url"] == server.base_url
    assert len(record["key"]) == 8
    assert record["known"]["server_version"] == "12.201.7"
    latency = record["known"]["latency"]
    assert 0 <= latency["median"] <= latency["high"]
    assert latency["answers"] == sum(1 for line in server.sandbox.log if line.status == 200)
    content = cache.read_text()
    assert KEY not in content
    assert content.count(server.base_url) == 1
    assert cache.stat().st_mode & 0o077 == 0


def test_commands_go_on_with_one_record_and_other_keys_have_their_own(
    server: Served, capgo: Command, unaimed: Command, here: Path
) -> None:
    csv_of(here / "devices.csv")
    capgo(*RELINK)
    many = kept(unaimed)[0]["known"]["latency"]["answers"]
    capgo("apps", "list")
    (record,) = kept(unaimed)
    assert record["known"]["latency"]["answers"] == many, "one answer replaces no estimate of many"
    other = "11111111-2222-4333-8444-555555555555"
    assert unaimed("apps", "list", "--api-key", other, "--base-url", server.base_url).exit_code == 5
    assert len(kept(unaimed)) == 1, "a refused key learned nothing"
    server.sandbox.world.add_key(other, user_id="u")
    unaimed("apps", "list", "--api-key", other, "--base-url", server.base_url)
    assert len({record["key"] for record in kept(unaimed)}) == 2


def test_each_key_of_a_profile_is_remembered(
    server: Served, unaimed: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "11111111-2222-4333-8444-555555555555"
    server.sandbox.world.add_key(other, Binding(role="org_super_admin", org_id=ORG_ID), user_id=USER_ID)
    profile = f"""
        [profiles.two]
        base_url = "{server.base_url}"
        api_key = {{env = "ONE"}}
        [profiles.two.apps]
        "{APP}" = {{env = "OTHER"}}
    """
    (here / "config.toml").write_text(profile)
    for name, value in {"CAPGO_CONFIG": str(here / "config.toml"), "ONE": KEY, "OTHER": other}.items():
        monkeypatch.setenv(name, value)
    csv_of(here / "devices.csv")
    before = len(server.sandbox.log)
    assert unaimed(*RELINK, "--profile", "two").exit_code == 0
    keys = {line.key for line in list(server.sandbox.log)[before:]}
    records = kept(unaimed)
    assert len(keys) == 1, "the app has a key of its own"
    assert [record["known"]["server_version"] for record in records] == ["12.201.7"] * 2
    assert len({record["key"] for record in records}) == 2


def test_limits_shows_a_line_for_each_and_forgets(capgo: Command, unaimed: Command, server: Served) -> None:
    capgo("apps", "list")
    shown = unaimed("limits")
    assert shown.stdout.splitlines()[0].split("\t") == ["server", "key", "version", "latency", "page", "limits", "age"]
    assert f"{server.base_url}\t" in shown.stdout
    assert "none\t0 min" in shown.stdout
    assert unaimed("limits", "--forget").stdout == "deleted 1 record\n"
    assert kept(unaimed) == []
    assert unaimed("limits", "--forget", "--json").stdout == '{"forgotten":0}\n'


def record_with(**limit: object) -> bytes:
    known = {"limits": [{"scope": "key", **limit}]}
    return json.dumps({"format": 1, "salt": "00", "records": [{"base_url": "u", "key": "k", "known": known}]}).encode()


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff\xfe",
        b"[]",
        b"{}",
        b'{"format":2,"salt":"00","records":[]}',
        b'{"format":1,"salt":"xyz","records":[]}',
        b'{"format":1,"salt":"","records":[]}',
        b'{"format":1,"salt":"00","records":[{"base_url":1}]}',
        record_with(requests=0, learned_at="2026-07-20T10:00:00Z"),
        record_with(requests=9, learned_at="2026-07-20T10:00:00"),
    ],
)
def test_a_foreign_file_is_left_alone_with_a_note(capgo: Command, unaimed: Command, cache: Path, content: bytes) -> None:
    cache.parent.mkdir()
    cache.write_bytes(content)
    result = capgo("apps", "list")
    assert result.exit_code == 0
    assert result.stderr.count("was not written by this version of the program") == 1
    assert cache.read_bytes() == content
    assert unaimed("limits", "--forget").exit_code == 0
    assert not cache.exists()
    assert capgo("apps", "list").stderr == ""


def test_a_file_that_cannot_be_read_or_written_costs_a_note(capgo: Command, cache: Path) -> None:
    cache.mkdir(parents=True)
    result = capgo("apps", "list")
    assert (result.exit_code, "is a directory, not a file of this program" in result.stderr) == (0, True)
    assert capgo("apps", "list", "--quiet").stderr == ""
    cache.rmdir()
    cache.parent.rmdir()
    cache.parent.write_text("a file where a directory should be")
    result = capgo("apps", "list")
    assert (result.exit_code, "not saved" in result.stderr or "not kept" in result.stderr) == (0, True)


def test_nothing_is_kept_where_the_variable_is_empty(capgo: Command, unaimed: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CAPGO_CACHE", "")
    assert capgo("apps", "list").exit_code == 0
    assert kept(unaimed) == []


def test_only_so_many_records_are_kept_those_that_were_used_last(tmp_path: Path) -> None:
    memory = Memory(tmp_path / "known.json")
    for number in range(105):
        memory.keep(CapgoClient(api_key="k" * 8, base_url=f"http://127.0.0.1:{1000 + number}"), Known(page=number + 1))
    assert [record.known.page for record in memory.records()] == list(range(105, 5, -1))


def test_what_another_command_learned_meanwhile_is_kept(cache: Path) -> None:
    client, now = CapgoClient(api_key="k" * 8, base_url="http://127.0.0.1:1000"), datetime.now(UTC)
    calibrated = Known(page=120, page_loses=130, page_found_at=now, server_version="12.1.0", version_told_at=now)
    memory = Memory(cache)
    memory.keep(client, calibrated)
    memory.keep(client, Known(server_version="12.2.0", version_told_at=now + timedelta(hours=1)))
    (record,) = memory.records()
    assert (record.known.page, record.known.page_loses, record.known.server_version) == (120, 130, "12.2.0")
    memory.keep(client, Known(page=200, page_found_at=now + timedelta(hours=1)))
    (record,) = memory.records()
    assert (record.known.page, record.known.page_loses) == (200, None)


@pytest.mark.parametrize(
    ("found", "known", "replaces"),
    [
        ((60, None), (None, None), True),
        ((60, None), (120, 130), False),
        ((130, None), (120, 130), True),
        ((100, 110), (120, 130), True),
        ((500, None), (60, None), True),
    ],
)
def test_a_small_app_says_nothing_of_larger_pages(
    found: tuple[int, int | None], known: tuple[int | None, int | None], *, replaces: bool
) -> None:
    findings = Findings(page=found[0], page_loses=found[1])
    assert tells_more(findings, Known(page=known[0], page_loses=known[1])) is replaces


@pytest.mark.parametrize(("days", "shown"), [(6, "key 30"), (8, "none")])
def test_limits_shows_no_limit_of_more_than_a_week_ago(unaimed: Command, cache: Path, days: int, shown: str) -> None:
    learned = KnownLimit(scope=ScopeKind.KEY, requests=30, learned_at=datetime.now(UTC) - timedelta(days=days))
    client = CapgoClient(api_key="k" * 8, base_url="http://127.0.0.1:1000")
    Memory(cache).keep(client, Known(limits=(learned,)))
    assert shown in unaimed("limits").stdout
    assert len(kept(unaimed)[0]["known"]["limits"]) == (days < 7)


@pytest.mark.parametrize(("days", "kept_yet"), [(6, True), (8, False)])
def test_limits_shows_nothing_of_more_than_a_week_ago(unaimed: Command, cache: Path, days: int, *, kept_yet: bool) -> None:
    at = datetime.now(UTC) - timedelta(days=days)
    latency = Latency(median=0.1, high=0.2, answers=50)
    known = Known(
        server_version="12.201.7", version_told_at=at, latency=latency, latency_seen_at=at, page=120, page_found_at=at
    )
    Memory(cache).keep(CapgoClient(api_key="k" * 8, base_url="http://127.0.0.1:1000"), known)
    found = kept(unaimed)[0]["known"]
    assert [found[name] is not None for name in ("server_version", "latency", "page")] == [kept_yet] * 3
    assert ("100 ms" in unaimed("limits").stdout) is kept_yet


def test_calibrate_finds_out_and_limits_shows_it(server: Served, capgo: Command, unaimed: Command) -> None:
    result = capgo("calibrate", "--budget", "20")
    assert result.exit_code == 0
    assert server.requests() == 20
    assert {line.method for line in server.sandbox.log} == {"GET"}
    assert f"server    {server.base_url}, version 12.201.7" in result.stdout
    assert "none up to 19 requests within 60 s" in result.stdout, "one read lists apps"
    assert "limits above 19 requests within 60 s can be learned only while a job runs" in result.stdout
    assert kept(unaimed)[0]["known"]["latency"]["answers"] == 20


def test_calibrate_denies_no_limit_that_was_not_tried(server: Served, capgo: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    async def slow(client: CapgoClient, app_id: str | None) -> Findings:
        await client.apps.list().all()
        return Findings(app_id=app_id, tried=86)

    monkeypatch.setattr("capgo_async.cli.commands.calibrate.calibrate", slow)
    told = capgo("calibrate", APP).stdout
    assert server.requests() == 1
    assert "none up to 86 requests within 60 s\n" in told
    assert "limits above 86 requests within 60 s can be learned only while a job runs\n" in told


def test_calibrate_speaks_json_and_keeps_the_page(capgo: Command, unaimed: Command) -> None:
    with served(devices=120) as server:
        environment = ("--base-url", server.base_url)
        document = json.loads(capgo("calibrate", APP, "--json", *environment).stdout)
    assert document["page"] == kept(unaimed)[0]["known"]["page"] == 120
    assert document["app_id"] == APP
    assert (document["requests"], document["tried"]) == (150, 150)
    assert document["refused"] is None
    assert document["latency"]["answers"] == 150


@pytest.mark.parametrize(("loses", "page"), [(130, 120), (None, 70)])
def test_calibrating_a_small_app_does_not_undo_what_a_large_one_showed(
    capgo: Command, unaimed: Command, cache: Path, loses: int | None, page: int
) -> None:
    before = datetime.now(UTC) - timedelta(hours=1)
    with served(devices=70) as small:
        known = Known(page=120, page_loses=loses, page_found_at=before)
        Memory(cache).keep(CapgoClient(api_key=KEY, base_url=small.base_url), known)
        document = json.loads(capgo("calibrate", APP, "--json", "--base-url", small.base_url).stdout)
    assert document["page"] == 70
    assert kept(unaimed)[0]["known"]["page"] == page


def test_calibrate_stops_at_the_keys_limit_says_that_it_rests_and_the_next_one_makes_it_certain(
    few: Served, unaimed: Command
) -> None:
    aim = ("--api-key", KEY, "--base-url", few.base_url)
    result = unaimed("calibrate", *aim)
    assert result.exit_code == 0
    assert "refused after 60 requests by the limit of the API key" in result.stdout
    assert "send nothing with this key for 61 s" in result.stdout
    assert "not certain yet" in result.stdout
    assert few.requests() == 61
    assert [limit["certain"] for limit in kept(unaimed)[0]["known"]["limits"]] == [False]
    assert "key 60?" in unaimed("limits").stdout
    few.sandbox.limiters = type(few.sandbox.limiters)(few.sandbox.settings.limits)
    assert "not certain yet" not in unaimed("calibrate", *aim).stdout
    assert [limit["certain"] for limit in kept(unaimed)[0]["known"]["limits"]] == [True]
    assert "key 60\t" in unaimed("limits").stdout
    assert "the limit was already used up" in unaimed("calibrate", *aim).stdout


def test_calibrate_does_not_wait_for_a_limit_that_is_known_and_tells_it(few: Served, unaimed: Command) -> None:
    aim = ("--api-key", KEY, "--base-url", few.base_url)
    for _ in range(2):
        unaimed("calibrate", *aim)
        few.sandbox.limiters = type(few.sandbox.limiters)(few.sandbox.settings.limits)
    before = few.requests()
    result = unaimed("calibrate", *aim)
    assert few.requests() - before == 60
    assert "limits    already known: 60 for the API key\n" in result.stdout
    assert "none below" not in result.stdout
    assert "learned in runs only" not in result.stdout


def test_calibrate_keeps_no_limit_that_the_server_did_not_name(unaimed: Command) -> None:
    with served(Settings(limits=thresholds("published")), devices=10) as server:
        result = unaimed("calibrate", "--api-key", KEY, "--base-url", server.base_url)
    assert "the server did not name the limit" in result.stdout
    assert kept(unaimed)[0]["known"]["limits"] == []


@pytest.mark.parametrize("budget", ["0", "-1", "1001", "many"])
def test_calibrate_refuses_a_budget_that_means_nothing(server: Served, capgo: Command, budget: str) -> None:
    assert capgo("calibrate", "--budget", budget).exit_code == 2
    assert server.requests() == 0


def test_calibrate_with_a_wrong_key_ends_with_5(server: Served, unaimed: Command) -> None:
    result = unaimed("calibrate", "--api-key", "11111111-2222-4333-8444-555555555555", "--base-url", server.base_url)
    assert result.exit_code == 5
    assert server.requests() == 1
    assert kept(unaimed) == []
