"""What plans, jobs and refusals say: what will be done, what will not and why, and how to go on."""

import json
import re
import shlex
import sqlite3
import stat
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
from cli.conftest import Command
from cli.served import APP, Served, csv_of, is_group, served, subcommands

from capgo_async import CapgoClient
from capgo_async.bulk import Cause, Job, Reason, read_operations
from capgo_async.bulk.running import missing
from capgo_async.cli.job import changing, progress
from capgo_async.cli.job.progress import Follower
from capgo_async.cli.job.rejections import Rejections
from capgo_async.cli.options.options import Connection
from capgo_async.cli.output.speech import Speech
from capgo_async.client import requester_of
from capgo_async.key_ring import pacer_of, ring_of
from capgo_async.limits import refused_keys
from capgo_async.limits.lessons import Lessons
from capgo_async.limits.models import ScopeKind
from capgo_async.sandbox import Settings, parse_faults
from capgo_async.sandbox.seeding import device_id

pytestmark = pytest.mark.slow

RELINK = ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta")


@pytest.fixture
def one_server() -> Iterator[Served]:
    """Two devices, of which one is linked to beta."""
    with served(devices=2) as found:
        yield found


def test_a_job_shows_what_it_does_and_which_rows_it_does_not(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv", more=("unknown-1", "unknown-1", "b\x01d"))
    capgo(*RELINK, "--job", "m.capgo-job", "--plan-only", "--reject-bad-rows")
    planned = 1 + sum(server.channel_of(device_id(APP, index)) != "beta" for index in range(30))
    lines = capgo("job", "show", "m.capgo-job").stdout.splitlines()
    assert f"link to beta: {planned} devices of {APP}" in lines
    assert f"{31 - planned} skipped: already linked to beta" in lines
    assert "1 skipped: identical to an earlier row" in lines
    assert "1 rejected: device_id contains the invisible character U+0001" in lines
    assert "1 device was unknown to the server: it is changed anyway, and has no way back" in lines
    shown = json.loads(capgo("job", "show", "m.capgo-job", "--json").stdout)
    change = {"kind": "link_device", "what": "link to beta", "object": "to beta", "app_id": APP, "targets": planned}
    assert shown["changes"] == [change]
    assert {reason["cause"] for reason in shown["reasons"]} == {"already_linked", "duplicate", "invisible_character"}
    assert sum(reason["rows"] for reason in shown["reasons"]) == shown["skipped"] + shown["rejected"]
    assert shown["unknown"] == 1


def test_a_job_lists_its_rows_by_their_fate(
    server: Served, capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(missing, "LOOK_AFTER_SECONDS", 0.05)
    csv_of(here / "devices.csv", more=("b\x01d",))
    server.sandbox.on_change = lambda change: drop_the_channel(server) if change == 5 else None
    capgo(*RELINK, "--job", "m.capgo-job", "--reject-bad-rows", "--yes")
    report = json.loads(capgo("job", "show", "m.capgo-job", "--json").stdout)
    listed: dict[str, list[dict[str, Any]]] = {}
    for fate in ("rejected", "skipped", "failed", "pending", "contradicted"):
        text = capgo("job", "show", "m.capgo-job", "--rows", fate, "--json").stdout
        listed[fate] = [json.loads(line) for line in text.splitlines()]
        assert len(listed[fate]) == report.get(fate)
        result = capgo("job", "show", "m.capgo-job", "--rows", fate)
        header, *rows = result.stdout.splitlines()
        assert result.stderr.splitlines() == ([] if rows else ["none"])
        assert "line" in header.split("\t")
        assert len(rows) == len(listed[fate])
    assert report["failed"] > 5
    failed = listed["failed"][0]
    assert (failed["app_id"], failed["what"], failed["cause"], failed["status"]) == (
        APP,
        "link to beta",
        "channel_not_found",
        404,
    )
    assert device_id(APP, failed["line"] - 2) == failed["target"]
    (rejected,) = listed["rejected"]
    assert (rejected["line"], rejected["target"], rejected["cause"]) == (32, None, "invisible_character")
    assert {(row["cause"], row["reason"]) for row in listed["skipped"]} == {("already_linked", "already linked to beta")}


def drop_the_channel(server: Served) -> None:
    del server.sandbox.world.apps[APP].channels["beta"]


def test_one_is_singular(one_server: Served, unaimed: Command, here: Path) -> None:
    csv_of(here / "devices.csv", devices=1)
    device = device_id(APP, 0)
    app = one_server.sandbox.world.apps[APP]
    app.unlink(device)
    aimed = one_server.environment
    text = unaimed(*RELINK, "--job", "m.capgo-job", "--plan-only", env=aimed).stdout
    text += unaimed("job", "run", "m.capgo-job", "--yes", env=aimed).stdout
    assert "1 row:" in text
    assert f"link to beta: 1 device of {APP}" in text
    assert "1 request to send" in text
    assert not re.search(r"\b1 (\w+ )?(rows|requests|devices|apps|changes)\b", text)


def test_a_mistyped_channel_is_one_line_that_names_the_others(capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv")
    result = capgo("devices", "relink", "devices.csv", "--app", APP, "--channel", "nope", "--yes", "--quiet")
    assert result.exit_code == 2
    assert result.stderr.splitlines() == [
        f"lines 2-31 (30 rows): {APP} has no channel 'nope' (its channels: production, beta, alpha)",
        "error: devices.csv: 30 bad rows, nothing was sent",
        "No row is usable; fix what is listed above.",
    ]
    (here / "devices.csv").write_text("device_id,channel\na,nope\nb,beta\n")
    result = capgo("devices", "relink", "devices.csv", "--app", APP, "--yes", "--quiet")
    assert result.stderr.splitlines()[-1] == "Fix the rows listed above, or leave them out with --reject-bad-rows."


def told_of(*rejected: tuple[int, Reason]) -> list[str]:
    said: list[str] = []
    rejections = Rejections(said.append)
    for bad in rejected:
        rejections([bad])
    rejections.tell(Path("m.capgo-job"))
    return said


def test_each_reason_is_one_line_with_ranges_of_lines_and_what_to_do() -> None:
    missing = Reason(Cause.MISSING_VALUE, ("app_id",))
    bad = [(line, missing) for line in (7, 994, 995, 1016)]
    bad += [(2, Reason(Cause.CONTRADICTION, ("device",), (2, 4))), (4, Reason(Cause.CONTRADICTION, ("device",), (2, 4)))]
    bad += [(5, Reason(Cause.CONTRADICTION, ("device",), (5, 6))), (6, Reason(Cause.CONTRADICTION, ("device",), (5, 6)))]
    assert told_of(*sorted(bad)) == [
        "lines 2, 4 (2 rows): contradicts another row for the same device",
        "lines 5-6 (2 rows): contradicts another row for the same device",
        "lines 7, 994-995, 1016 (4 rows): no app_id in this row; add the column or pass --app",
    ]
    assert told_of((7, Reason(Cause.NOT_UTF8, (), ("E9", 7, 4)))) == ["line 7: not UTF-8 (byte 0xE9 at line 7, column 4)"]


def test_the_first_rows_of_a_reason_are_told_with_their_places() -> None:
    bytes_ = [
        (line, Reason(Cause.NOT_UTF8, (), ("E9", line, column))) for line, column in ((4, 1), (7, 3), (8, 2), (9, 5), (10, 1))
    ]
    first, second, third = (f"{line} (byte 0xE9 at line {line}, column {column})" for line, column in ((4, 1), (7, 3), (8, 2)))
    assert told_of(*bytes_) == [f"lines {first}, {second}, {third}, 9-10 (5 rows): not UTF-8"]
    unpaired = [(line, Reason(Cause.UNPAIRED_QUOTE, (), (3,))) for line in range(4, 90)]
    assert told_of(*unpaired) == ["lines 4-89 (after the broken quoted field on line 3) (86 rows): unpaired quotation mark"]


def test_bad_rows_beyond_counting_are_counted_and_the_command_that_lists_them_is_named() -> None:
    way = (
        "to see all bad rows: repeat the command with --plan-only --reject-bad-rows --job m.capgo-job,"
        " then capgo-async job show m.capgo-job --rows rejected"
    )
    sparse = [(line, Reason(Cause.NOT_UTF8)) for line in range(2, 20_000, 2)]
    said, last = told_of(*sparse)
    assert said.startswith("lines 2, 4, 6, ")
    assert said.endswith(" 200 and 9,899 more (9,999 rows): not UTF-8")
    assert last == way
    own = [(line, Reason(Cause.MALFORMED_APP_ID, (f"own {line}",))) for line in range(2, 20_000)]
    said, rest, last = told_of(*own)[-3:]
    assert said == "line 1001: app_id 'own 1001' is not an app id such as com.example.app"
    assert rest == "and 18,998 rows for other reasons"
    assert last == way


def test_many_contradictions_do_not_hide_other_reasons() -> None:
    pairs = [
        (line + half, Reason(Cause.CONTRADICTION, ("device",), (line, line + 5000)))
        for line in range(2, 2002)
        for half in (0, 5000)
    ]
    *named, others, last = told_of(*sorted(pairs), (9000, Reason(Cause.NUL_BYTE)))
    assert named == [
        f"lines {line}, {line + 5000} (2 rows): contradicts another row for the same device" for line in range(2, 102)
    ]
    assert others.startswith(
        "lines 102 (lines 102 and 5102), 103 (lines 103 and 5103), 104 (lines 104 and 5104), 105-2001, 5102-"
    )
    assert others.endswith("(3,800 rows): contradicts another row for the same device")
    assert last == "line 9000: contains a NUL byte"


@pytest.mark.parametrize("given", [("--yes",), ("--yes", "--reject-bad-rows")])
def test_the_command_that_lists_all_bad_rows_lists_them(
    one_server: Served, unaimed: Command, here: Path, given: tuple[str, ...]
) -> None:
    (here / "devices.csv").write_text("device_id\n" + "".join("a\x01\n" if line % 2 else f"b{line}\n" for line in range(400)))
    told = unaimed(*RELINK, *given, env=one_server.environment).stderr
    (way,) = [line for line in told.splitlines() if line.startswith("to see all bad rows: ")]
    repeat, _, show = way.rpartition("capgo-async ")
    if "--reject-bad-rows" not in given:
        options = re.search(r"repeat the command with (.*), then $", repeat)
        assert options
        assert unaimed(*RELINK, *given, *shlex.split(options[1]), env=one_server.environment).exit_code == 3
    shown = unaimed(*shlex.split(show), "--json").stdout
    assert [json.loads(row)["line"] for row in shown.splitlines()] == [line + 2 for line in range(400) if line % 2]


def test_the_line_that_says_how_to_go_on_keeps_the_options_that_matter(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv")
    given = (
        *("--base-url", server.base_url, "--rate", "900/min", "--concurrency", "3", "--timeout", "2.5", "--retries", "0"),
        *("--auth-header", "capgkey", "--dialect", "modern", "--allow-plain-http"),
    )
    result = capgo(*RELINK, "--job", "m.capgo-job", "--plan-only", *given, "--api-key", server.environment["CAPGO_API_KEY"])
    (line,) = [line for line in result.stderr.splitlines() if line.startswith("to go on: ")]
    words = shlex.split(line.removeprefix("to go on: "))
    assert words == ["capgo-async", "job", "run", "m.capgo-job", *given]
    assert capgo(*words[1:], "--yes").exit_code == 0


def test_every_option_of_a_connection_leads_back_or_is_known_not_to() -> None:
    changed = Connection(
        base_url="http://127.0.0.1:1",
        profile="p",
        rate="1/s",
        headroom="20%",
        concurrency=1,
        timeout=1.0,
        retries=1,
        auth_header="capgkey",  # type: ignore[arg-type]  # a StrEnum
        dialect="seed",  # type: ignore[arg-type]  # a StrEnum
        wait_for_server="1m",
        allow_plain_http=True,
    )
    left_out = {"json", "quiet", "debug", "verbose", "log_file", "api_key"}
    options = {f"--{name.replace('_', '-')}" for name in set(Connection.__struct_fields__) - left_out}
    assert {word for word in changed.server() if word.startswith("--")} == options


def test_jobs_without_a_name_do_not_meet(capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Still(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Still":
            return cls(2026, 1, 2, 3, 4, 5, tzinfo=tz)

    monkeypatch.setattr(changing, "datetime", Still)
    csv_of(here / "devices.csv")
    stem = "relink-20260102T030405Z"
    for number in range(3):
        csv_of(here / "devices.csv", devices=10 + number)
        assert capgo(*RELINK, "--plan-only").exit_code == 0
    assert {path.name for path in here.glob("*.capgo-job")} == {f"{stem}{end}.capgo-job" for end in ("", "-2", "-3")}


def test_a_name_that_somebody_has_claimed_is_not_taken(here: Path) -> None:
    with changing.unused("x") as first, changing.unused("x") as second:
        assert (first, second) == (Path("x.capgo-job"), Path("x-2.capgo-job"))
        second.touch()
    assert {path.name for path in here.iterdir()} == {"x-2.capgo-job", "x-2.capgo-job.lock"}


def test_a_directory_that_takes_no_file_is_wrong_usage(capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    csv_of(here / "devices.csv")

    def refuse(*_arguments: object, **_options: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "touch", refuse)
    assert capgo(*RELINK, "--plan-only").exit_code == 0
    assert stat.S_ISREG(next(here.glob("relink-*Z.capgo-job")).stat().st_mode)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("job", "show", "."), "is a directory, not a job file"),
        (("job", "run", "."), "is a directory, not a job file"),
        ((*RELINK, "--yes", "--job", "."), "is a directory, not a job file"),
        (("devices", "relink", "", "--app", APP, "--channel", "beta", "--yes"), "the source has an empty name"),
    ],
)
def test_a_name_that_is_no_file_is_said(capgo: Command, here: Path, arguments: tuple[str, ...], said: str) -> None:
    csv_of(here / "devices.csv")
    result = capgo(*arguments)
    assert result.exit_code == 2
    assert said in result.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--log", "/nodir/x"), "error: cannot write --log /nodir/x: No such file or directory\n"),
        (("--speed", "nan"), "error: --speed nan is not a number above 0\n"),
        (("--speed", "0"), "error: --speed 0 is not a number above 0\n"),
        (("--speed", "inf"), "error: --speed inf is not a number above 0\n"),
    ],
)
def test_a_sandbox_names_the_option_that_is_wrong(unaimed: Command, arguments: tuple[str, ...], said: str) -> None:
    result = unaimed("sandbox", "--devices", "2", *arguments)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", said)


def test_a_list_that_this_generation_lacks_is_said(unaimed: Command) -> None:
    with served(Settings(generation="seed"), devices=1) as old:
        result = unaimed("apps", "list", env=old.environment)
    assert result.exit_code == 3
    assert "The server has no such route. It may be too old for it" in result.stderr


COMMANDS = dict(subcommands())


@pytest.mark.parametrize("names", [(), *(names for names, found in COMMANDS.items() if is_group(found))], ids=" ".join)
def test_no_sentence_of_a_list_of_commands_is_cut(unaimed: Command, names: tuple[str, ...]) -> None:
    listed = unaimed(*names, "--help", env={"COLUMNS": "80"}).stdout.partition("Commands:")[2]
    assert listed
    assert [line for line in listed.splitlines() if line.endswith("...")] == []


@pytest.mark.parametrize("names", [names for names, found in COMMANDS.items() if not is_group(found)], ids=" ".join)
def test_usage_names_no_types_of_ours(unaimed: Command, names: tuple[str, ...]) -> None:
    text = unaimed(*names, "--help", env={"COLUMNS": "200"}).stdout
    assert not re.search(r"\[\[|<int|<float|range>", text)
    if "--dialect" in text:
        assert "auto|modern|seed" in text
        assert "authorization|capgkey" in text
    if "--unknown" in text and names != ("demo",):
        assert "send|skip|refuse" in text


async def followed(
    server: Served, here: Path, monkeypatch: pytest.MonkeyPatch, steps: Callable[[Follower, CapgoClient], Iterator[None]]
) -> list[str]:
    """Return what a follower says while a run takes `steps`, one for each of its looks."""
    monkeypatch.setattr(progress, "LINE_SECONDS", 0.0)
    source = csv_of(here / "devices.csv")
    operations = read_operations(str(source), app_id=APP, channel="beta")
    said: list[str] = []
    speech = Speech()
    monkeypatch.setattr(speech, "note", said.append)
    async with (
        CapgoClient(api_key=server.environment["CAPGO_API_KEY"], base_url=server.base_url) as client,
        await Job.create(here / "m.capgo-job", operations, client=client) as job,
    ):
        follower = Follower(job, ring_of(client), speech)
        async with anyio.create_task_group() as group:
            group.start_soon(follower.follow)
            for _ in steps(follower, client):
                await anyio.lowlevel.checkpoint()
            group.cancel_scope.cancel()
    return said


async def test_the_same_line_is_not_said_again_and_again(server: Served, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rest(_follower: Follower, client: CapgoClient) -> Iterator[None]:
        pacer_of(client).close(requester_of(client).key_scope, 90.0)
        for _ in range(30):
            yield

    said = await followed(server, here, monkeypatch, rest)
    assert 2 <= len(said) <= 4, "once, and then once in twelve looks"
    assert all(
        re.search(r"waiting: key's limit, until [\d-]+ [\d:]+ UTC, [\d:]+ left, ends [\d-]+ [\d:]+ UTC$", line) for line in said
    )


async def test_the_limit_that_asks_for_a_rest_is_named(server: Served, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rest(_follower: Follower, client: CapgoClient) -> Iterator[None]:
        pacer_of(client).close((ScopeKind.APP_ADDRESS, APP), 90.0)
        for _ in range(5):
            yield

    monkeypatch.setattr(Job, "parked", property(lambda _job: 7))
    (line,) = await followed(server, here, monkeypatch, rest)
    assert re.search(
        rf"limit of {APP}, until [\d-]+ [\d:]+ UTC, [\d:]+ left, ends [\d-]+ [\d:]+ UTC,"
        r" 7 waiting for limits of single devices",
        line,
    )


async def test_a_server_in_trouble_is_told_of_with_what_is_done_about_it(
    server: Served, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(_follower: Follower, client: CapgoClient) -> Iterator[None]:
        yield
        for _ in range(4):
            pacer_of(client).congestion.failed(0.0, 0.0)
        for _ in range(5):
            yield

    said = await followed(server, here, monkeypatch, fail)
    assert not any("in flight because" in line for line in said[:-1])
    assert "only 7 requests in flight because the server has errors" in said[-1]


async def test_somebody_else_with_the_same_key_is_told_of(server: Served, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def meet(_follower: Follower, _client: CapgoClient) -> Iterator[None]:
        yield
        monkeypatch.setattr(Lessons, "others_noticed", lambda *_: True)
        for _ in range(5):
            yield

    said = await followed(server, here, monkeypatch, meet)
    assert "the API key is also used elsewhere" in said[-1]
    assert not any("used elsewhere" in line for line in said[:-1])


def test_the_report_says_that_somebody_else_uses_the_key_and_limits_remembers_it(
    capgo: Command, unaimed: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    csv_of(here / "devices.csv")
    assert "used elsewhere" not in capgo(*RELINK, "--yes", "--job", "one.capgo-job").stdout
    assert "others" not in unaimed("limits").stdout
    monkeypatch.setattr(Lessons, "others_noticed", lambda *_: True)
    result = capgo(*RELINK, "--yes", "--job", "two.capgo-job")
    assert result.exit_code == 0
    assert "note: the API key is also used elsewhere" in result.stdout
    assert "Use a separate API key for each user" in result.stdout
    assert "none, key also used by others" in unaimed("limits").stdout


def test_the_report_says_that_the_server_may_lose_counts(capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    csv_of(here / "devices.csv")
    monkeypatch.setattr(Lessons, "others_noticed", lambda *_: True)
    monkeypatch.setattr(Lessons, "uneven", lambda _: True)
    told = capgo(*RELINK, "--yes").stdout
    assert "note: the server refused the API key after a different number of requests each time: it loses counts, or" in told
    assert "Use a separate API key" not in told


@pytest.mark.parametrize("refused", [True, False])
def test_the_report_says_that_a_refused_key_was_accepted_again(
    unaimed: Command, here: Path, monkeypatch: pytest.MonkeyPatch, *, refused: bool
) -> None:
    monkeypatch.setattr(refused_keys, "KEY_RESTS_FOR", 0.1)
    csv_of(here / "devices.csv")
    with served(Settings(faults=parse_faults("POST /device:lost-keys=#5" if refused else ""))) as server:
        result = unaimed(*RELINK, "--yes", "--rate", "off", env=server.environment)
    assert result.exit_code == 0
    note = "note: the API key was refused in the middle of the run, and accepted again after a rest"
    assert (note in result.stdout) is refused


def test_the_lock_of_a_finished_job_stays(capgo: Command, here: Path) -> None:
    """To remove it would let two processes lock two files of one name; the README says so."""
    csv_of(here / "devices.csv")
    assert capgo(*RELINK, "--job", "m.capgo-job", "--yes").exit_code == 0
    assert (here / "m.capgo-job.lock").exists()
    assert sqlite3.connect(here / "m.capgo-job").execute("SELECT count(*) FROM operations").fetchone() != (0,)
