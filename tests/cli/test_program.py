"""The program as such: what it imports, what it needs, its exit codes, and the question on a real terminal."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from subprocess import PIPE

import pytest
from cli.served import APP, KEY, Served, csv_of, environment, is_group, subcommands
from typer.testing import Result

from benchmarks.forked import Forked
from capgo_async import __main__ as entry, errors
from capgo_async.cli import program as program_module
from capgo_async.cli.output.failing import code_of, explain
from capgo_async.cli.program import COMMANDS
from capgo_async.sandbox.seeding import device_id

Command = Callable[..., Result]

IMPORTED = """
import sys
from capgo_async.cli.program import program
try:
    program({arguments!r})
except SystemExit as end:
    assert not end.code, end.code
assert sys.modules.keys().isdisjoint({unwanted!r}), sys.modules.keys() & {unwanted!r}
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "unwanted"),
    [
        (["--version"], ["aiohttp", "rich", "anyio", "msgspec", "tenacity", "capgo_async.public"]),
        (["--help"], ["aiohttp", "rich", "anyio", "msgspec", "tenacity", "capgo_async.public"]),
        (["devices", "relink", "--help"], ["aiohttp", "rich", "capgo_async.cli.commands.apps"]),
    ],
)
def test_commands_import_only_what_they_need(arguments: list[str], unwanted: list[str]) -> None:
    code = IMPORTED.format(arguments=arguments, unwanted=unwanted)
    ended = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout


@pytest.mark.parametrize("missing", ["typer", "rich"])
def test_without_the_extra_it_says_which_to_install(
    missing: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else found(name))
    with pytest.raises(SystemExit) as end:
        entry.main()
    assert end.value.code == 2
    assert capsys.readouterr().err == f'the command needs {missing}: pip install "capgo-async[cli]"\n'


@pytest.mark.parametrize("place", ["there is no such directory/keys", "pipe"])
def test_a_log_of_tls_keys_that_cannot_be_written_is_left_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], place: str
) -> None:
    os.mkfifo(tmp_path / "pipe")
    monkeypatch.setattr(sys, "argv", ["capgo-async", "--version"])
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / place))
    with pytest.raises(SystemExit):
        entry.main()
    assert "SSLKEYLOGFILE" not in os.environ
    assert f"note: SSLKEYLOGFILE is ignored: {tmp_path / place} cannot be written (No such " in capsys.readouterr().err
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    with pytest.raises(SystemExit):
        entry.main()
    assert os.environ["SSLKEYLOGFILE"] == str(tmp_path / "keys")
    assert capsys.readouterr().err == ""


def test_the_entry_point_runs_the_program(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "argv", ["capgo-async", "--version"])
    with pytest.raises(SystemExit) as end:
        entry.main()
    assert not end.value.code
    assert capsys.readouterr().out.startswith("capgo-async ")


def test_every_command_is_listed_and_can_be_imported() -> None:
    folder = Path(program_module.__file__).parent / "commands"
    defining = {path.stem for path in folder.glob("*.py") if "\ncommands = typer.Typer(" in path.read_text()}
    assert {entry.module for entry in COMMANDS.values()} == defining
    found = {names[0]: command for names, command in subcommands() if len(names) == 1}
    assert [(name, each.name) for name, each in found.items()] == [(name, name) for name in COMMANDS]
    groups = {name: each.help for name, each in found.items() if is_group(each)}
    assert groups == {name: COMMANDS[name].summary for name in groups}


def test_every_command_has_the_options_that_all_have(unaimed: Command) -> None:
    aimed = [
        ("apps", "list"),
        ("apps", "get"),
        ("bundles", "list"),
        ("channels", "list"),
        ("channels", "get"),
        *(("devices", verb) for verb in ("list", "get", "link", "relink", "unlink")),
        ("job", "run"),
    ]
    for names in (*aimed, ("job", "show"), ("demo",), ("sandbox",)):
        text = unaimed(*names, "--help").stdout
        wanted = ["--json", "--quiet", "--debug"]
        if names in aimed:
            wanted += ["--api-key", "--base-url", "--rate", "--concurrency", "--timeout", "--retries", "--auth-header"]
        assert [option for option in wanted if option not in text] == [], names


@pytest.mark.parametrize(
    "arguments",
    [
        ("--api-key", KEY, "apps", "list"),
        (f"--api-key={KEY}", "apps", "list"),
        ("apps", "list", f"--api-kee={KEY}"),
        ("apps", "list", "--api-key", f" {KEY}"),
        ("apps", "list", "--api-key", KEY, "--base-url", "ftp://example.com"),
    ],
)
def test_a_misplaced_key_is_not_repeated(unaimed: Command, arguments: tuple[str, ...]) -> None:
    assert unaimed(*arguments).exit_code == 2


def refusal(kind: type[errors.ApiError], status: int) -> errors.ApiError:
    return kind("What the server says", status=status, code="its_code", operation="link device x")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (refusal(errors.AuthenticationError, 401), 5),
        (errors.NotConnected("cannot connect"), 6),
        (errors.TimedOut("no answer"), 6),
        (errors.DiskFull("no room"), 4),
        (errors.ConfigurationError("no API key"), 2),
        (errors.DangerousCall("no"), 2),
        (errors.InputError("bad rows", rejected=[(7, "missing_value", "no app_id")], count=3), 2),
        (errors.JobError("no job file"), 2),
        (refusal(errors.PublicChannelOverride, 400), 2),
        (refusal(errors.ChannelNotFound, 404), 3),
        (refusal(errors.PermissionDenied, 401), 3),
        (refusal(errors.RateLimited, 429), 3),
        (refusal(errors.ServerError, 500), 3),
        (errors.ListingError("a cursor came again"), 3),
        (errors.UnreadableAnswer("not what the API promises"), 3),
        (KeyError("surprise"), 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_every_error_has_its_exit_code_and_a_sentence(error: Exception, code: int) -> None:
    assert code_of(error) == code
    assert explain(error).strip()


def test_a_refused_input_says_how_to_go_on() -> None:
    message = "x.csv: 3 bad rows, nothing was sent"
    refused = errors.InputError(message, rejected=[(7, "missing_value", "no app_id")], count=3, good=1)
    assert explain(refused).splitlines() == [message, "Fix the rows listed above, or leave them out with --reject-bad-rows."]
    refused = errors.InputError(message, rejected=[(7, "missing_value", "no app_id")], count=3)
    assert explain(refused).splitlines() == [message, "No row is usable; fix what is listed above."]


@pytest.mark.slow
@pytest.mark.parametrize(("answer", "code"), [(b"y\n", 0), (b"n\n", 130), (b"\x03", 130)])
def test_the_question_comes_to_the_terminal_though_stdin_is_the_source(
    server: Served, here: Path, answer: bytes, code: int
) -> None:
    source = csv_of(here / "devices.csv")
    master, slave = os.openpty()
    relink = ("devices", "relink", "-", "--app", APP, "--channel", "beta", "--job", "m.capgo-job", "--json")
    environ = {**environment(server), "TERM": "xterm"}
    with (
        source.open("rb") as rows,
        Forked(*relink, stdin=rows.fileno(), stdout=PIPE, stderr=slave, env=environ, cwd=here, terminal=2) as process,
    ):
        os.close(slave)
        seen = b""
        while b"[y/N]" not in seen:
            seen += os.read(master, 4096)
        assert not server.sent()
        os.write(master, answer)
        out, _ = process.communicate()
        seen += drained(master)
    assert process.returncode == code
    assert b"job file: m.capgo-job" in seen
    assert bool(out) == (code == 0)
    assert KEY not in seen.decode() + out
    assert (server.channel_of(device_id(APP, 1)) == "beta") == (code == 0)
    if code:
        assert b"capgo-async job run m.capgo-job" in seen
        assert not server.sent()
    else:
        assert b"19/19" in seen  # the bar


def drained(master: int) -> bytes:
    """Read what a terminal still holds; Linux says EIO when nobody has it open any more."""
    seen = b""
    try:
        while chunk := os.read(master, 4096):
            seen += chunk
    except OSError:
        pass
    os.close(master)
    return seen
