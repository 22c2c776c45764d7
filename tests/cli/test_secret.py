"""No key in anything printed: every command, on every way to fail, with a key that is easy to find."""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli.served import APP, KEY, csv_of, is_group, served, subcommands
from typer.testing import CliRunner

from capgo_async.bulk.running import verification
from capgo_async.cli.program import program
from capgo_async.sandbox import Settings, parse_faults
from capgo_async.sandbox.seeding import ORG_ID, OUTSIDER_EMAIL, device_id

pytestmark = pytest.mark.slow

DEVICE = device_id(APP, 0)
CHANGE = ("--app", APP, "--channel", "beta", "--yes", "--job", "move.capgo-job")
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "api-keys list": (),
    "api-keys get": ("1",),
    "api-keys create": ("ci", "mode=all"),
    "api-keys update": ("1", "name=new"),
    "api-keys regenerate": ("1", "--yes"),
    "api-keys delete": ("1", "--yes"),
    "apps list": (),
    "apps get": (APP,),
    "apps create": ("com.example.new", "New", ORG_ID),
    "apps update": (APP, "name=New"),
    "apps delete": ("com.example.gone", "--yes"),
    "bundles list": (APP,),
    "bundles prune": ("--keep", "1", "--yes"),
    "bundles create": (APP, "9.0.0", "https://cdn.example.com/9.zip", "0" * 64),
    "bundles promote": (APP, "1.0.0", "beta"),
    "bundles set-metadata": (APP, "1.0.0", "comment=good"),
    "bundles delete": (APP, "1.0.0", "--yes"),
    "bundles delete-all": (APP, "--confirm", APP),
    "calibrate": (APP, "--budget", "20"),
    "channels list": (APP,),
    "channels get": (APP, "beta"),
    "channels create": (APP, "gamma", "public=false"),
    "channels update": (APP, "beta", "disable_auto_update=minor"),
    "channels delete": (APP, "alpha", "--yes"),
    "channels roll-back": (APP, "beta"),
    "channels promote-rollout": (APP, "beta"),
    "devices list": (APP,),
    "devices find": (APP, "user-1"),
    "devices get": (APP, DEVICE),
    "devices link": (APP, DEVICE, "beta"),
    "devices renew": ("devices.csv", "--app", APP, "--yes", "--rate", "off"),
    "devices relink": ("devices.csv", *CHANGE),
    "devices unlink": (APP, DEVICE),
    "export apps": (),
    "export bundles": ("-o", "bundles.csv"),
    "export channels": ("--app", APP),
    "export devices": ("-o", "devices.sqlite"),
    "job events": ("move.capgo-job",),
    "job rehearse": ("move.capgo-job",),
    "job report": ("move.capgo-job",),
    "job run": ("move.capgo-job", "--yes"),
    "job show": ("move.capgo-job",),
    "job undo": ("move.capgo-job", "--yes", "--rate", "off"),
    "job adoption": ("move.capgo-job",),
    "job verify": ("move.capgo-job",),
    "limits": (),
    "members list": (ORG_ID,),
    "members invite": (ORG_ID, OUTSIDER_EMAIL, "org_member"),
    "members remove-many": ("--everywhere", "who@example.com", "--yes"),
    "members remove": (ORG_ID, "nobody@example.com", "--yes"),
    "orgs list": (),
    "orgs get": (ORG_ID,),
    "orgs create": ("Second",),
    "orgs update": (ORG_ID, "name=Renamed"),
    "orgs delete": ("046a36ac-0000-4000-8000-00000000ffff", "--yes"),
    "orgs audit": (ORG_ID,),
    "schema": (),
    "stats app": (APP,),
    "stats org": (ORG_ID,),
    "stats user": (),
    "stats bundles": (APP,),
    "stats natives": (APP,),
}
WITHOUT_A_KEY = {"demo", "sandbox", "job watch"}
"""The first two make a server of their own; its well-known key is what they are there to say. The last has none."""

SCENES: dict[str, str] = {
    "as it should be": "",
    "every answer a 500": "*:500=100%",
    "every answer HTML": "*:502=100%",
    "every connection lost": "*:drop-after=100%",
    "refused by the edge for good": "*:429-permanent=100%",
}


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look a second time at once: here all that counts is what is said."""
    monkeypatch.setattr(verification, "SECOND_LOOK_SECONDS", 0.0)


def test_every_command_is_in_the_table() -> None:
    assert sorted(ARGUMENTS) == sorted(
        {" ".join(names) for names, found in subcommands() if not is_group(found)} - WITHOUT_A_KEY
    )


def say(caplog: pytest.LogCaptureFixture, environment: dict[str, str], *words: str) -> str:
    """Run a command and return all that it said, wrote and logged."""
    caplog.clear()
    without = {"job events", "job rehearse", "job report", "job show", "limits", "limits --json", "schema", "schema --json"}
    extra = () if " ".join(words[:2]) in without else ("--retries", "0")
    Path("log.jsonl").unlink(missing_ok=True)
    result = CliRunner().invoke(program, [*words, *extra, "--debug", "-vv", "--log-file", "log.jsonl"], env=environment)
    written = b"".join(path.read_bytes() for path in Path().glob("*") if path.is_file())
    return result.output + result.stderr + repr(result.exception) + caplog.text + written.decode("latin-1")


@pytest.mark.parametrize("faults", SCENES.values(), ids=SCENES)
def test_no_command_says_the_key_whatever_the_server_does(faults: str, here: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    csv_of(here / "devices.csv")
    with served(Settings(faults=parse_faults(faults))) as server:
        for words, arguments in ARGUMENTS.items():
            # Where a command fails, what it says is the same with --json.
            for extra in ((),) if faults else ((), ("--json",)):
                said = say(caplog, server.environment, *words.split(), *arguments, *extra)
                assert KEY not in said, words
    assert said


def test_no_command_says_a_key_that_is_refused_or_has_no_server(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    csv_of(here / "devices.csv")
    wrong = "wrong-5ec2e7-key-of-ours"
    with served() as server:
        for words, arguments in ARGUMENTS.items():
            for environment in (
                {**server.environment, "CAPGO_API_KEY": wrong},
                {"CAPGO_BASE_URL": "http://127.0.0.1:9", "CAPGO_API_KEY": wrong},
                {"CAPGO_BASE_URL": f"http://{wrong}@127.0.0.1:9", "CAPGO_API_KEY": wrong},
            ):
                assert wrong not in say(caplog, environment, *words.split(), *arguments), words


async def _echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answer every request with an error that says back all that was sent."""
    head = await reader.readuntil(b"\r\n\r\n")
    told = head.decode().replace("\r\n", " ").replace('"', "'")
    body = f'{{"error": "bad_thing", "message": "{told}", "moreInfo": {{"headers": "{told}"}}}}'.encode()
    writer.write(b"HTTP/1.1 400 Bad\r\ncontent-length: %d\r\nconnection: close\r\n\r\n%b" % (len(body), body))
    await writer.drain()
    writer.close()


@contextlib.contextmanager
def echoing() -> Iterator[str]:
    loop = asyncio.new_event_loop()
    server = loop.run_until_complete(asyncio.start_server(_echo, "127.0.0.1", 0))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        loop.call_soon_threadsafe(_stop, loop, server)
        thread.join()
        loop.close()


def _stop(loop: asyncio.AbstractEventLoop, server: asyncio.Server) -> None:
    server.close()
    loop.stop()


def test_no_command_says_a_key_that_the_server_says_back(here: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    csv_of(here / "devices.csv")
    with echoing() as base_url:
        for words, arguments in ARGUMENTS.items():
            said = say(caplog, {"CAPGO_BASE_URL": base_url, "CAPGO_API_KEY": KEY}, *words.split(), *arguments)
            assert KEY not in said, words


MISTAKES: dict[str, Callable[[], tuple[str, ...]]] = {
    "a key as a stray argument": lambda: ("devices", "list", APP, KEY),
    "a key as an unknown option": lambda: ("devices", "list", APP, f"--{KEY}"),
    "a key as a number": lambda: ("api-keys", "get", KEY),
    "a key as a command": lambda: (KEY,),
}


@pytest.mark.parametrize("words", MISTAKES.values(), ids=MISTAKES)
def test_a_key_in_the_wrong_place_is_not_said_back(words: Callable[[], tuple[str, ...]]) -> None:
    result = CliRunner().invoke(program, [*words()], env={"CAPGO_API_KEY": KEY})
    assert result.exit_code == 2
    assert KEY not in result.output + result.stderr
