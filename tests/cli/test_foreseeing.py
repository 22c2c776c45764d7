"""`job run` says how long it takes before it asks, with the keys that it is run with."""

import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.conftest import Command
from cli.served import APP, KEY, Served, csv_of, served
from cli.terminals import terminal

from capgo_async.bulk import job
from capgo_async.cli.job import asking
from capgo_async.sandbox import Binding
from capgo_async.sandbox.seeding import ORG_ID, device_id

RELINK = ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", "--job", "m.capgo-job")
RUN = ("job", "run", "m.capgo-job")
ENDS = r"if sent now, it ends at \d{4}-\d\d-\d\d \d\d:\d\d UTC\n"
OTHER = "7ead0000-dead-4bee-8bad-c0ffee5ec2e7"


@pytest.mark.slow
def test_the_time_and_the_end_are_told_before_the_question(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv")
    assert capgo(*RELINK, "--plan-only").exit_code == 0
    with terminal(*RUN, server=server, cwd=here, columns=200) as run:
        run.wait_for("[y/N] ")
        shown = run.shown.replace("\r\n", "\n")
        run.type(b"n\n")
        assert run.end() == 130
    assert re.search(rf"\d+ requests to send, about \d+ s\n(.*\n)*{ENDS}Link \d+ devices of", shown)
    assert not server.sent()


def test_it_is_told_also_where_nothing_is_asked_and_once(capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv")
    planned = capgo(*RELINK, "--plan-only").stdout
    result = capgo(*RUN, "--yes")
    assert result.exit_code == 0
    assert planned.splitlines()[0] in result.stderr
    assert len(re.findall(ENDS, result.stderr)) == 1
    assert "if sent now" not in capgo(*RUN, "--yes").stderr, "begun before"


def test_a_planning_command_tells_the_end_before_it_sends(capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv")
    assert len(re.findall(ENDS, capgo(*RELINK, "--yes").stderr)) == 1
    assert "if sent now" not in capgo(*RELINK, "--yes", "--quiet").stderr


@pytest.fixture
def three() -> Iterator[Served]:
    """Serve three apps, of which together more is planned than a key may do without a rest, and of each less."""
    with served(apps=3, devices=3600) as found:
        yield found


@pytest.fixture
def declining(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    master, slave = os.openpty()
    monkeypatch.setattr(asking, "TERMINAL", Path(os.ttyname(slave)))
    os.write(master, b"no\n" * 4)
    yield
    os.close(master)
    os.close(slave)


@pytest.mark.slow
@pytest.mark.usefixtures("declining")
def test_all_keys_of_a_ring_count(unaimed: Command, three: Served, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    apps = sorted(three.sandbox.world.apps)
    three.sandbox.world.add_key(OTHER, Binding(role="org_super_admin", org_id=ORG_ID), user_id="u")
    monkeypatch.setenv("HERE", KEY)
    monkeypatch.setenv("OTHER", OTHER)
    monkeypatch.setenv("CAPGO_CONFIG", str(here / "config.toml"))
    one = f'base_url = "{three.base_url}"\napi_key = {{env = "HERE"}}\n'
    # Which app the organization's key is for, is known once its apps are listed.
    ring = f'"{apps[0]}" = {{env = "HERE"}}\n"{apps[1]}" = {{env = "HERE"}}\n'
    (here / "config.toml").write_text(
        f"[profiles.one]\n{one}[profiles.ring]\n{one}[profiles.ring.apps]\n{ring}"
        f'[profiles.ring.organizations]\n"{ORG_ID}" = {{env = "OTHER"}}\n'
    )
    rows = [f"{app},{device_id(app, index)}" for app in apps for index in range(1200)]
    (here / "devices.csv").write_text("\n".join(("app_id,device_id", *rows, "")))
    relink = ("devices", "relink", "devices.csv", "--channel", "beta", "--job", "m.capgo-job")
    planned = unaimed(*relink, "--plan-only", "--profile", "ring")
    assert planned.exit_code == 0, planned.stderr
    told = {name: unaimed(*RUN, "--profile", name) for name in ("ring", "one")}
    told["planned again"] = unaimed(*relink, "--profile", "ring")
    assert [result.exit_code for result in told.values()] == [130] * 3
    about = re.compile(r" requests to send, about (\d+) s(?: \(up to .*\))?\n")
    seconds = {name: about.findall(result.stderr) for name, result in told.items()}
    (ring_takes,), (one_takes,), (again_takes,) = seconds.values()
    assert int(ring_takes) < 30
    assert int(again_takes) < 30
    assert int(one_takes) > 60, "a rest of the key"


def test_what_is_not_sent_is_not_foretold(capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv")
    assert capgo(*RELINK, "--plan-only").exit_code == 0
    assert "if sent now" not in capgo(*RUN, "--failed", "--yes").stderr


def test_what_is_verified_is_not_foretold(capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    csv_of(here / "devices.csv")
    assert capgo(*RELINK, "--yes").exit_code == 0
    monkeypatch.delattr(job, "outlook_of")
    assert capgo("job", "verify", "m.capgo-job").exit_code == 0
