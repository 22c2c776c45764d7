"""Plans that reach far: their exact number is typed or given, and nothing is sent before."""

import json
from pathlib import Path

import pytest
from cli.conftest import Command
from cli.served import APP, Served, csv_of
from cli.terminals import terminal

RELINK = ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", "--job", "m.capgo-job")
RUN = ("job", "run", "m.capgo-job")


@pytest.fixture
def far(server: Served, capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    """Plan a job that is above the thresholds of its profile; return the number of its operations."""
    (here / "config.toml").write_text(f'[profiles.strict]\nbase_url = "{server.base_url}"\nconfirm_operations = 10\n')
    monkeypatch.setenv("CAPGO_CONFIG", str(here / "config.toml"))
    csv_of(here / "devices.csv")
    result = capgo(*RELINK, "--profile", "strict", "--plan-only", "--json")
    plan = json.loads(result.stdout)
    planned = int(plan["planned"])
    assert plan["needs_confirmation"] == f"{planned} operations, more than 10"
    return planned


@pytest.mark.parametrize("again", [True, False])
def test_yes_alone_is_not_enough(server: Served, capgo: Command, far: int, *, again: bool) -> None:
    result = capgo(*((*RELINK, "--profile", "strict") if again else RUN), "--yes")
    assert result.exit_code == 2
    assert f"pass --confirm {far} to send it" in result.stderr
    assert f"{far} operations, more than 10" in result.stderr
    assert not server.sent()


@pytest.mark.parametrize("more", [(), ("--yes",)])
def test_a_wrong_number_is_refused_and_the_right_one_is_named(
    server: Served, capgo: Command, far: int, more: tuple[str, ...]
) -> None:
    result = capgo(*RUN, "--confirm", far + 1, *more)
    assert result.exit_code == 2
    assert f"--confirm {far + 1} does not match. Nothing was sent; pass --confirm {far} to send it" in result.stderr
    assert f"capgo-async job run m.capgo-job --confirm {far}" in result.stderr
    assert not server.sent()


@pytest.mark.parametrize("more", [(), ("--yes",)])
def test_the_exact_number_sends(server: Served, capgo: Command, far: int, more: tuple[str, ...]) -> None:
    assert capgo(*RUN, "--confirm", far, *more).exit_code == 0
    assert len(server.sent()) == far
    # It was begun, and confirmed then.
    assert capgo(*RUN, "--yes").exit_code == 0


def test_a_number_that_is_given_is_checked_also_below_the_thresholds(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv")
    assert capgo(*RELINK, "--confirm", "3").exit_code == 2
    assert not server.sent()


@pytest.mark.slow
@pytest.mark.parametrize(("typed", "code"), [("y", 130), ("yes", 130), ("", 130), ("7", 130), ("N", 0)])
def test_on_a_terminal_the_number_is_typed(server: Served, here: Path, far: int, typed: str, code: int) -> None:
    with terminal(*RUN, server=server, cwd=here, columns=200) as run:
        run.wait_for("[type the number of operations] ")
        run.type((str(far) if typed == "N" else typed).encode() + b"\n")
        assert run.end() == code
    assert len(server.sent()) == (far if code == 0 else 0)


def test_a_share_of_a_profile_that_is_none_is_said(
    server: Served, capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (here / "config.toml").write_text('[profiles.strict]\nconfirm_share = "half"\n')
    monkeypatch.setenv("CAPGO_CONFIG", str(here / "config.toml"))
    csv_of(here / "devices.csv")
    result = capgo(*RELINK, "--profile", "strict", "--yes")
    assert result.exit_code == 2
    assert "confirm_share of the profile: 'half' is not a share" in result.stderr
    assert not server.requests()


@pytest.mark.parametrize(
    "key", ['confirm_share = "10%"\nconfirm_share_from = 5', "confirm_operations = 5", "confirm_destroying = 5"]
)
def test_every_threshold_of_a_profile_counts(
    server: Served, capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch, key: str
) -> None:
    (here / "config.toml").write_text(f"[profiles.strict]\n{key}\n")
    monkeypatch.setenv("CAPGO_CONFIG", str(here / "config.toml"))
    csv_of(here / "devices.csv")
    result = capgo(*RELINK, "--profile", "strict", "--yes")
    # Links are not destroyed by linking.
    assert result.exit_code == (0 if "destroying" in key else 2), result.stderr
    assert bool(server.sent()) is ("destroying" in key)
