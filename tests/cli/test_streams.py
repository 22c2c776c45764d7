"""Standard streams that are closed, or that nobody can write to."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from cli.conftest import Command
from cli.served import APP, KEY, Served, command, csv_of, environment

RELINK = ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", "--job", "m.capgo-job", "--yes")
FULL = Path("/dev/full")

on_linux = pytest.mark.skipif(not FULL.exists(), reason="there is no /dev/full")


def run(redirection: str, *arguments: str, server: Served, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the command as a shell with `redirection` does."""
    line = ["sh", "-c", f'exec "$@" {redirection}', "sh", *command(*arguments)]
    return subprocess.run(line, capture_output=True, text=True, env=environment(server), cwd=cwd, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("redirection", ["2>&-", "<&- 2>&-"])
def test_a_run_with_a_closed_stderr_does_its_work(server: Served, here: Path, redirection: str) -> None:
    csv_of(here / "devices.csv")
    ended = run(redirection, *RELINK, "--json", server=server, cwd=here)
    assert ended.returncode == 0
    assert json.loads(ended.stdout)["done"] == len(server.sent()) > 0


ONE_AFTER_THE_OTHER = """
import sys
from capgo_async.__main__ import main
for arguments in {commands!r}:
    sys.argv = ["capgo-async", *arguments]
    try:
        main()
    except SystemExit as end:
        sys.stderr.write(f"ended with {{end.code or 0}}\\n")
"""
"""What runs several commands in one process, for a start takes longer than they do."""


@pytest.mark.slow
def test_a_closed_stdout_is_no_fault(server: Served, here: Path) -> None:
    csv_of(here / "devices.csv")
    listings = [("devices", "list", APP), ("devices", "list", APP, "--json"), ("export", "devices"), ("apps", "get", APP)]
    code = ONE_AFTER_THE_OTHER.format(commands=[*listings, RELINK, ("apps", "lost")])
    line = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-c", code]
    ended = subprocess.run(line, capture_output=True, text=True, env=environment(server), cwd=here, check=False)
    assert ended.returncode == 0
    assert re.findall("ended with (.*)", ended.stderr) == ["0"] * 5 + ["2"], ended.stderr
    assert "unexpected" not in ended.stderr


@pytest.mark.slow
def test_job_show_with_a_closed_stdout_is_no_fault(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv")
    assert capgo(*RELINK).exit_code == 0
    next_step = "to check on the server that the changes are in effect: capgo-async job verify m.capgo-job\n"
    for redirection, said in ((">&-", next_step), ("<&- >&- 2>&-", "")):
        ended = run(redirection, "job", "show", "m.capgo-job", server=server, cwd=here)
        assert (ended.returncode, ended.stderr) == (0, said)


@pytest.mark.slow
@on_linux
def test_a_report_that_cannot_be_written_keeps_the_exit_code_of_the_job(server: Served, here: Path) -> None:
    csv_of(here / "devices.csv", more=("b\x01d",))
    ended = run(">/dev/full", *RELINK, "--reject-bad-rows", server=server, cwd=here)
    assert ended.returncode == 3
    assert "cannot write the result: No space left on device\n" in ended.stderr
    assert "unexpected" not in ended.stderr
    assert len(server.sent()) > 0


@pytest.mark.slow
@on_linux
@pytest.mark.parametrize("more", [(), ("--json",)])
def test_a_listing_that_cannot_be_written_is_not_called_a_success(server: Served, here: Path, more: tuple[str, ...]) -> None:
    ended = run(">/dev/full", "devices", "list", APP, *more, server=server, cwd=here)
    assert (ended.returncode, ended.stderr) == (4, "cannot write the result: No space left on device\n")


@pytest.mark.slow
@on_linux
@pytest.mark.parametrize("more", [(), ("-o", "out.csv", "--json")])
def test_an_export_that_cannot_be_written_is_not_called_a_success(server: Served, here: Path, more: tuple[str, ...]) -> None:
    ended = run(">/dev/full", "export", "devices", *more, server=server, cwd=here)
    assert ended.returncode == 4
    assert ended.stderr.startswith("cannot write the result: No space left on device\n")


@pytest.mark.slow
@on_linux
def test_notes_that_cannot_be_written_stop_nothing(server: Served, here: Path) -> None:
    csv_of(here / "devices.csv")
    ended = run("2>/dev/full", *RELINK, "--json", server=server, cwd=here)
    assert (ended.returncode, json.loads(ended.stdout)["pending"]) == (0, 0)


def test_what_is_opened_later_does_not_take_the_place_of_a_closed_stream(here: Path) -> None:
    code = (
        "import os, sys; sys.argv = ['capgo-async', '--version'];"
        "from capgo_async import __main__\n"
        "try: __main__.main()\n"
        "except SystemExit: pass\n"
        "sys.exit(os.open(os.devnull, os.O_RDONLY))"
    )
    line = ["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-c", code]
    assert subprocess.run(line, env=environment(), cwd=here, check=False).returncode > 2


def test_an_error_before_the_first_page_leaves_stdout_empty(capgo: Command) -> None:
    result = capgo("devices", "list", "com.example.other")
    assert (result.exit_code, result.stdout) == (3, "")


def test_an_empty_listing_still_has_its_header(server: Served, capgo: Command) -> None:
    app = server.sandbox.world.apps[APP]
    app.devices.clear()
    app.overrides.clear()
    result = capgo("channels", "list", APP, "--json")
    assert result.exit_code == 0
    app.channels.clear()
    assert capgo("channels", "list", APP).stdout == "id\tname\tpublic\tbundle_name\tupdated_at\n"
    assert capgo("channels", "list", APP, "--json").stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ("devices", "list", APP, KEY),
        ("devices", KEY),
        (KEY,),
        ("stats", "app", APP, "--from", KEY),
        ("devices", "relink", "x.csv", "--unknown", KEY),
    ],
)
def test_a_key_that_is_typed_in_the_wrong_place_is_not_repeated(capgo: Command, arguments: tuple[str, ...]) -> None:
    result = capgo(*arguments)  # which looks that no stream shows the key
    assert result.exit_code == 2
    assert "[API key]" in result.stderr


@pytest.mark.parametrize("given", [("--api-key", "a-key-of-the-option"), ("--api-key=a-key-of-the-option",)])
def test_the_key_of_the_option_is_not_repeated_either(unaimed: Command, given: tuple[str, ...]) -> None:
    result = unaimed("devices", "list", APP, *given, "a-key-of-the-option")
    assert result.exit_code == 2
    assert "a-key-of-the-option" not in result.output
    assert "unexpected extra argument" in result.stderr
