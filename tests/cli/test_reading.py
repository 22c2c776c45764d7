"""The commands that look: listings and single things, for people and for programs."""

import json
import os
import subprocess
from collections.abc import Callable
from typing import Any

import pytest
from cli.served import APP, KEY, Served, command, environment
from typer.testing import Result

from capgo_async.api.models import ApiKey
from capgo_async.cli.output import listing, tables
from capgo_async.cli.output.speech import Speech
from capgo_async.sandbox.seeding import device_id

Command = Callable[..., Result]


@pytest.mark.parametrize(
    ("arguments", "rows", "key"),
    [
        (("devices", "list", APP), 30, "device_id"),
        (("channels", "list", APP), 3, "name"),
        (("bundles", "list", APP), 3, "name"),
        (("apps", "list"), 1, "app_id"),
    ],
)
def test_a_listing_is_a_line_of_json_for_each_item(capgo: Command, arguments: tuple[str, ...], rows: int, key: str) -> None:
    result = capgo(*arguments, "--json")
    assert result.exit_code == 0
    items = [json.loads(line) for line in result.stdout.splitlines()]
    assert len({item[key] for item in items}) == rows


def test_a_listing_is_tab_separated_where_no_terminal_is(capgo: Command) -> None:
    header, *rows = capgo("channels", "list", APP).stdout.splitlines()
    assert header.split("\t")[:3] == ["id", "name", "public"]
    assert {tuple(row.split("\t")[1:3]) for row in rows} == {("production", "yes"), ("beta", "no"), ("alpha", "no")}


def test_a_listing_is_tables_on_a_terminal(capgo: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listing, "is_terminal", lambda _stream: True)
    monkeypatch.setattr(tables, "LARGEST", 10)
    monkeypatch.setenv("COLUMNS", "200")
    text = capgo("devices", "list", APP).stdout
    assert all(device_id(APP, index) in text for index in range(30))
    assert "┃ device_id" in text


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("devices", "get", APP, device_id(APP, 3)), {"device_id": device_id(APP, 3)}),
        (("channels", "get", APP, "beta"), {"name": "beta", "public": False}),
        (("apps", "get", APP), {"app_id": APP}),
    ],
)
def test_one_thing_is_a_document_or_lines(capgo: Command, arguments: tuple[str, ...], told: dict[str, Any]) -> None:
    found = json.loads(capgo(*arguments, "--json").stdout)
    assert {name: found[name] for name in told} == told
    text = capgo(*arguments).stdout
    assert all(f"{name} " in text for name in told)


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("devices", "get", APP, "nobody"), 3, "nobody"),
        (("channels", "get", APP, "gamma"), 3, "case-sensitive"),
        (("apps", "get", "com.example.other"), 3, "Check the spelling of the id"),
        (("devices", "get", "no-app-id", "x"), 2, "com.example.app"),
        (("devices", "list", APP, "--rate", "fast"), 2, "rate 'fast'"),
        (("devices", "list", APP, "--auth-header", "cookie"), 2, "capgkey"),
        (("devices", "list", APP, "--concurrency", "0"), 2, "invalid concurrency 0"),
        (("devices", "list", APP, "--timeout", "0"), 2, "invalid timeout 0"),
        (("devices", "list", APP, "--retries", "-1"), 2, "invalid retries -1"),
        (("devices", "list", APP, "--base-url", "http://example.com"), 2, "--allow-plain-http"),
        (("devices", "list"), 2, "Missing argument"),
        (("devices", "paint"), 2, "paint"),
    ],
)
def test_errors_say_what_and_end_with_their_code(capgo: Command, arguments: tuple[str, ...], code: int, said: str) -> None:
    result = capgo(*arguments, "--json") if code == 3 else capgo(*arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert said in result.stderr
    assert "Traceback" not in result.stderr


def test_a_missing_key_is_wrong_usage(unaimed: Command) -> None:
    result = unaimed("apps", "list")
    assert result.exit_code == 2
    assert "no API key: set CAPGO_API_KEY or pass one. --api-key passes one, --profile uses a stored one.\n" in result.stderr


def test_a_wrong_key_costs_one_request(server: Served, unaimed: Command) -> None:
    wrong = "11111111-2222-4333-8444-555555555555"
    result = unaimed("devices", "list", APP, "--api-key", wrong, "--base-url", server.base_url)
    assert result.exit_code == 5
    assert server.requests() == 1
    assert wrong not in result.output


def test_no_server_is_exit_code_6(unaimed: Command) -> None:
    result = unaimed("apps", "list", "--api-key", KEY, "--base-url", "http://127.0.0.1:1", "--retries", "0")
    assert result.exit_code == 6
    assert "(connection refused); nothing was sent. Check --base-url, and that the server runs." in result.stderr


def test_the_key_is_not_in_the_help(capgo: Command) -> None:
    assert "CAPGO_API_KEY" in capgo("apps", "list", "--help").stdout


def test_quiet_keeps_results(capgo: Command) -> None:
    result = capgo("apps", "list", "--quiet")
    assert APP in result.stdout
    assert result.stderr == ""


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_error(server: Served) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        ended = subprocess.run(
            command("devices", "list", APP),
            stdout=writing,
            stderr=subprocess.PIPE,
            env=environment(server),
            check=False,
        )
    finally:
        os.close(writing)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_speech_never_says_the_secret(capsys: pytest.CaptureFixture[str]) -> None:
    speech = Speech(secrets=[KEY])
    speech.say(f"the server said {KEY}")
    speech.show(f"{KEY}")
    speech.emit(ApiKey(id=1, key=KEY))
    heard = capsys.readouterr()
    assert KEY not in heard.out + heard.err
    assert json.loads(heard.out.splitlines()[1])["key"] == "[API key]"
