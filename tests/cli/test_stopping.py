"""When a run ends by itself: each option, through the command."""

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from cli.conftest import Command
from cli.served import APP, Served, csv_of, served

from capgo_async.bulk import Bounds, StopRules
from capgo_async.bulk.running import missing
from capgo_async.cli.options import stopping
from capgo_async.cli.options.moments import read_duration, read_moment
from capgo_async.cli.options.stopping import Stopping
from capgo_async.cli.output.speech import Speech
from capgo_async.errors import ConfigurationError
from capgo_async.sandbox import Settings, parse_faults
from capgo_async.sandbox.seeding import device_id

pytestmark = pytest.mark.slow

JOB = ("--job", "m.capgo-job", "--yes", "--json", "--rate", "off", "--retries", "0")
RELINK = ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", *JOB)
UNLINK = ("devices", "unlink", "devices.csv", "--app", APP, *JOB)
NEW_YORK, BERLIN = ZoneInfo("America/New_York"), ZoneInfo("Europe/Berlin")


def with_a_public_channel(server: Served) -> None:
    """Let every link fail for good."""
    server.sandbox.world.apps[APP].channels["beta"].public = True


def without_access(server: Served) -> None:
    server.sandbox.world.apps[APP].owner_org = "046a36ac-0000-4000-8000-00000000000a"


@pytest.mark.parametrize(
    ("arguments", "spoil", "code", "why"),
    [
        ((*RELINK,), with_a_public_channel, 4, "50 operations in a row failed"),
        ((*RELINK, "--stop-consecutive", "7"), with_a_public_channel, 4, "7 operations in a row failed"),
        ((*RELINK, "--stop-consecutive", "off"), with_a_public_channel, 4, "100 of 100 operations failed"),
        (
            (*RELINK, "--stop-consecutive", "off", "--stop-minimum", "20"),
            with_a_public_channel,
            4,
            "20 of 20 operations failed",
        ),
        ((*RELINK, "--stop-consecutive", "off", "--stop-failures", "off"), with_a_public_channel, 3, ""),
        ((*RELINK, "--stop-consecutive", "off", "--stop-failures", "100%"), with_a_public_channel, 3, ""),
        ((*RELINK, "--no-stop"), with_a_public_channel, 3, ""),
        ((*UNLINK,), without_access, 4, f"3 operations in a row had no access to {APP}"),
        ((*UNLINK, "--stop-no-access", "5"), without_access, 4, f"5 operations in a row had no access to {APP}"),
        ((*UNLINK, "--stop-no-access", "off"), without_access, 4, "50 operations in a row failed"),
        ((*UNLINK, "--no-stop"), without_access, 3, ""),
    ],
)
def test_each_rule_can_be_set_and_switched_off(
    unaimed: Command,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    spoil: Callable[[Served], None],
    *,
    code: int,
    why: str,
) -> None:
    monkeypatch.setattr(missing, "LOOK_AFTER_SECONDS", 0.05)
    csv_of(Path("devices.csv"), devices=400)
    with served(devices=400) as server:
        aimed = server.environment
        server.sandbox.on_change = lambda change: spoil(server) if change == 1 else None
        result = unaimed(*arguments, env=aimed)
    report = json.loads(result.stdout)
    assert result.exit_code == code
    assert f"stopped: {why}" in result.stderr if why else "stopped: " not in result.stderr
    assert report["failed"] + report["pending"] == report["planned"]
    assert report["pending"] == 0 or code == 4


@pytest.mark.parametrize(
    ("options", "why"),
    [
        ((), "50 of the last 50 operations failed with a server error"),
        (("--stop-server-errors", "100%"), "50 operations in a row failed"),
        (("--stop-server-errors", "off"), "50 operations in a row failed"),
    ],
)
def test_a_server_that_fails_stops_the_run(here: Path, unaimed: Command, options: tuple[str, ...], why: str) -> None:
    csv_of(here / "devices.csv", devices=400)
    with served(Settings(faults=parse_faults("POST /device:502=100%")), devices=400) as server:
        result = unaimed(*RELINK, *options, env=server.environment)
    assert result.exit_code == 4
    assert f"stopped: {why}" in result.stderr


@pytest.mark.parametrize(("devices", "code"), [(9, 3), (400, 4)])
def test_a_run_whose_every_request_fails_is_never_as_intended(here: Path, unaimed: Command, devices: int, code: int) -> None:
    csv_of(here / "devices.csv", devices=devices)
    with served(Settings(faults=parse_faults("POST /device:429-permanent=100%")), devices=devices) as server:
        result = unaimed(*RELINK, env=server.environment)
    report = json.loads(result.stdout)
    assert (result.exit_code, report["done"]) == (code, 0)
    assert report["failed"] > 0


def test_one_failure_in_two_thousand_is_named(here: Path, unaimed: Command) -> None:
    csv_of(here / "devices.csv", devices=1, more=tuple(f"new-{number:05d}" for number in range(2000)))
    with served(Settings(faults=parse_faults("POST /device:429-permanent=#1000")), devices=1) as server:
        arguments = tuple(argument for argument in RELINK if argument != "--json")
        result = unaimed(*arguments, "--concurrency", "1", env=server.environment)
        (failed,) = [line.target for line in server.sandbox.log if line.status == 429]
    assert result.exit_code == 3
    assert re.search(r"failed: 1 \S+: ", result.stdout)
    assert f"first: {failed}" in result.stdout


@pytest.mark.parametrize("command", [RELINK, ("job", "run", "m.capgo-job", "--yes", "--json", "--rate", "off")])
def test_a_bound_on_requests_ends_the_run_with_4_and_it_can_be_gone_on_with(
    server: Served, here: Path, capgo: Command, command: tuple[str, ...]
) -> None:
    csv_of(here / "devices.csv")
    assert capgo(*RELINK, "--plan-only").exit_code == 0
    result = capgo(*command, "--max-requests", "7")
    assert result.exit_code == 4
    assert sum(server.sent().values()) == 7
    assert "stopped: the limit of 7 requests is reached. --max-requests asked for this." in result.stderr.splitlines()
    assert "to go on: capgo-async job run m.capgo-job" in result.stderr
    assert capgo("job", "run", "m.capgo-job", "--json").exit_code == 0
    assert set(server.sent().values()) == {1}


def test_a_bound_on_time_is_told_with_its_moment(here: Path, unaimed: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    csv_of(here / "devices.csv", devices=400)

    class Earlier(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> "Earlier":
            return cls(2026, 1, 2, 3, 4, 5, tzinfo=tz)

    monkeypatch.setattr(stopping, "datetime", Earlier)
    with served(devices=400) as server:
        aimed = server.environment
        # What was ahead when the command began is over when the run begins: nothing leaves.
        result = unaimed(*RELINK, "--until", "2026-01-02T04:00+01:00", env=aimed)
        assert result.exit_code == 2
        assert "is in the past: it is 2026-01-02 03:04:05 UTC now" in result.stderr
        result = unaimed(*RELINK, "--until", "2026-01-02T05:00+01:00", env=aimed)
        assert (result.exit_code, server.sent()) == (4, {})
        assert result.stderr.splitlines()[0] == "the run ends at 2026-01-02 04:00 UTC at the latest"
        assert "stopped: the end time 2026-01-02 04:00 UTC is reached. --until asked for this." in result.stderr
        assert unaimed("job", "run", "m.capgo-job", "--max-duration", "1h", env=aimed).exit_code == 0


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--stop-failures", "10"), "invalid --stop-failures 10: use a share such as 10%, or off"),
        (("--stop-failures", "101%"), "invalid --stop-failures 101%"),
        (("--stop-server-errors", "x"), "invalid --stop-server-errors x"),
        (("--stop-consecutive", "0"), "invalid --stop-consecutive 0: use a number of at least 1, or off"),
        (("--stop-no-access", "-1"), "invalid --stop-no-access -1"),
        (("--stop-no-access", "many"), "invalid --stop-no-access many"),
        (("--stop-minimum", "0"), "invalid --stop-minimum 0"),
        (("--no-stop", "--stop-consecutive", "9"), "--no-stop turns off all rules"),
        (("--max-requests", "0"), "at most 0 requests could send nothing"),
        (("--max-duration", "0s"), "invalid --max-duration 0s"),
        (("--max-duration", "5"), "invalid --max-duration 5: use a duration such as 90s, 30m, 1h30m or 30d"),
        (("--max-duration", "36501d"), "--max-duration 36501d is too long: at most 36500d"),
        (("--max-duration", f"{'9' * 400}s"), "is too long"),
        (("--until", "9999-12-31T23:59-12:00"), "is too far away: use a time within a hundred years"),
        (("--until", "0001-01-01T00:00+12:00"), "is in the past"),
        (("--until", "25:00"), "invalid --until 25:00: use HH:MM, or a date"),
        (("--until", "2026-01-01T00:00"), "has no time zone: write 2026-01-01T00:00Z for UTC"),
        (("--until", "2020-01-01T00:00Z"), "--until 2020-01-01T00:00Z is in the past"),
    ],
)
@pytest.mark.parametrize("command", [RELINK, UNLINK, ("job", "run", "m.capgo-job")], ids=lambda words: words[1])
def test_options_that_mean_nothing_are_refused_before_anything_is_sent(
    server: Served, capgo: Command, command: tuple[str, ...], options: tuple[str, ...], said: str
) -> None:
    csv_of(Path("devices.csv"))
    result = capgo(*command, *options)
    assert (result.exit_code, result.stdout, server.requests()) == (2, "", 0)
    assert said in result.stderr


def test_unlinking_one_device_takes_no_such_option(server: Served, capgo: Command) -> None:
    result = capgo("devices", "unlink", APP, device_id(APP, 0), "--max-requests", "5")
    assert (result.exit_code, server.requests()) == (2, 0)


def test_what_is_not_given_is_as_in_the_engine() -> None:
    assert Stopping().limits(Speech()) == (StopRules(), Bounds())


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90s", 90), ("30m", 1800), ("2h", 7200), ("1h30m", 5400), ("1h1m1s", 3661), (" 5m ", 300), ("1d", 86400), ("0.5s", 0.5)],
)
def test_durations(text: str, seconds: float) -> None:
    assert read_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "0s", "0h0m", "1", "m", "30m1h", "1.5h", "-1s", "1w", "1h 30m"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="use a duration such as"):
        read_duration(text)


@pytest.mark.parametrize(
    ("text", "now", "zone", "moment"),
    [
        ("05:00", "2026-11-25T20:00Z", UTC, "2026-11-26T05:00Z"),
        ("5:00", "2026-11-25T04:59Z", UTC, "2026-11-25T05:00Z"),
        ("05:00", "2026-11-25T05:00Z", UTC, "2026-11-26T05:00Z"),
        ("00:00", "2026-12-31T23:59:59Z", UTC, "2027-01-01T00:00Z"),
        # What today is, is decided by the clocks there.
        ("23:00", "2026-11-26T03:30Z", NEW_YORK, "2026-11-26T04:00Z"),
        # The clocks are set forward from 02:00 to 03:00: 02:30 is left out, 03:30 comes an hour sooner.
        ("02:30", "2026-03-07T12:00Z", NEW_YORK, "2026-03-09T06:30Z"),
        ("03:30", "2026-03-08T05:00Z", NEW_YORK, "2026-03-08T07:30Z"),
        ("06:00", "2026-03-28T22:00Z", BERLIN, "2026-03-29T04:00Z"),
        # They are set back from 02:00 to 01:00: 01:30 comes twice, and the next one counts.
        ("01:30", "2026-11-01T05:00Z", NEW_YORK, "2026-11-01T05:30Z"),
        ("01:30", "2026-11-01T05:30Z", NEW_YORK, "2026-11-01T06:30Z"),
        ("01:30", "2026-11-01T06:30Z", NEW_YORK, "2026-11-02T06:30Z"),
        ("06:00", "2026-10-24T22:00Z", BERLIN, "2026-10-25T05:00Z"),
        ("2026-11-26T05:00Z", "2026-11-25T20:00Z", NEW_YORK, "2026-11-26T05:00Z"),
        ("2026-11-26T05:00:30-05:00", "2026-11-25T20:00Z", BERLIN, "2026-11-26T10:00:30Z"),
        ("2026-11-26 05:00+01:00", "2026-11-25T20:00Z", None, "2026-11-26T04:00Z"),
    ],
)
def test_moments(text: str, now: str, zone: ZoneInfo | None, moment: str) -> None:
    found = read_moment(text, datetime.fromisoformat(now), zone)
    assert found == datetime.fromisoformat(moment)
    assert found.utcoffset() == timedelta(0)


def test_without_a_zone_the_clocks_are_those_here() -> None:
    now = datetime.now(UTC)
    found = read_moment("12:34", now)
    assert f"{found.astimezone():%H:%M}" == "12:34"
    assert timedelta(0) < found - now <= timedelta(hours=25)


def test_what_failed_is_sent_again_by_one_command(here: Path, unaimed: Command) -> None:
    csv_of(here / "devices.csv", devices=60)
    faults = parse_faults("POST /device:502=#1+#2,429-permanent=#3")
    with served(Settings(faults=faults), devices=60) as server:
        aimed = server.environment
        first = json.loads(unaimed(*RELINK, env=aimed).stdout)
        assert (first["failed"], first["pending"]) == (3, 0)
        again = unaimed("job", "run", "m.capgo-job", "--failed", "--json", "--rate", "off", env=aimed)
        assert again.exit_code == 0
        report = json.loads(again.stdout)
        assert (report["failed"], report["done"]) == (0, report["planned"])
        assert sum(server.sent().values()) == report["planned"] + 3
        none = unaimed("job", "run", "m.capgo-job", "--failed", env=aimed)
        assert none.exit_code == 0
        assert "no operation failed, so there is nothing to send again" in none.stderr
        assert sum(server.sent().values()) == report["planned"] + 3


def test_without_failures_what_is_pending_is_not_sent_by_it(server: Served, here: Path, capgo: Command) -> None:
    csv_of(here / "devices.csv")
    assert capgo(*RELINK, "--max-requests", "7").exit_code == 4
    result = capgo("job", "run", "m.capgo-job", "--failed")
    assert result.exit_code == 130
    assert "no operation failed" in result.stderr
    assert "to go on: " in result.stderr
    assert sum(server.sent().values()) == 7
