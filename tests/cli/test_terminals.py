"""What a terminal shows, narrow and wide, and what the question leaves on it."""

import re
from pathlib import Path

import pytest
from cli.served import APP, Served, csv_of
from cli.terminals import Terminal, terminal

from capgo_async.sandbox.seeding import device_id

pytestmark = pytest.mark.slow

RELINK = ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", "--job", "m.capgo-job")


def ended(found: Terminal, code: int) -> str:
    assert found.end() == code, found.shown
    return found.shown


@pytest.mark.parametrize(
    ("columns", "shown"),
    [
        (30, ["device_id"]),
        (40, ["device_id"]),
        (80, ["device_id", "custom_id", "channel", "version_name"]),
        (200, ["device_id", "custom_id", "channel", "version_name", "platform", "updated_at"]),
    ],
)
def test_a_device_id_is_whole_at_any_width(server: Served, here: Path, columns: int, shown: list[str]) -> None:
    with terminal("devices", "list", APP, server=server, cwd=here, columns=columns) as found:
        text = ended(found, 0)
    assert all(device_id(APP, index) in text for index in range(30))
    header = next(line for line in found.lines() if "device_id" in line)
    assert re.findall(r"\w+", header) == shown
    assert ("no room for" in text) == (columns < 200)
    if columns >= 40:
        assert max(map(len, text.split("no room for")[0].splitlines())) <= columns


@pytest.mark.parametrize(("columns", "bar"), [(40, False), (80, True), (200, True)])
def test_the_counter_is_whole_at_any_width(server: Served, here: Path, columns: int, bar: bool) -> None:  # noqa: FBT001 - by name
    csv_of(here / "devices.csv")
    with terminal(*RELINK, "--yes", server=server, cwd=here, columns=columns) as found:
        text = ended(found, 0)
    assert "19/19 0 failed" in text
    assert ("━" in text) == bar


def test_nothing_to_send_draws_no_bar_and_promises_nothing(server: Served, here: Path) -> None:
    (here / "devices.csv").write_text(
        "device_id\n"
        + "".join(f"{name}\n" for name in server.sandbox.world.apps[APP].overrides if server.channel_of(name) == "beta")
    )
    with terminal(*RELINK, server=server, cwd=here) as found:
        text = ended(found, 0)
    assert "nothing is left to send" in text
    for wrong in ("0/0", "[y/N]", "at least", "links expire"):
        assert wrong not in text


@pytest.mark.parametrize(("keys", "then"), [(b"\x03", "interrupted"), (b"\x04", "declined"), (b"n\n", "declined")])
def test_what_follows_an_unanswered_question_has_a_line_of_its_own(server: Served, here: Path, keys: bytes, then: str) -> None:
    csv_of(here / "devices.csv")
    with terminal(*RELINK, server=server, cwd=here) as found:
        found.wait_for("[y/N] ")
        found.type(keys)
        ended(found, 130)
    after = found.lines()[next(place for place, line in enumerate(found.lines()) if "[y/N]" in line) + 1 :]
    assert any(line.startswith(then) for line in after)
    assert any(line.startswith("to go on: capgo-async job run m.capgo-job") for line in after)
    assert not server.sent()


def test_the_question_of_a_single_change_ends_its_line_too(server: Served, here: Path) -> None:
    with terminal("channels", "delete", APP, "beta", server=server, cwd=here) as found:
        found.wait_for("[y/N] ")
        found.type(b"\x04")
        ended(found, 130)
    assert any(line.startswith("error: declined") for line in found.lines())
    assert "beta" in server.sandbox.world.apps[APP].channels
