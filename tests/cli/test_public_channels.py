"""Devices without a link follow the public channel: who takes its place is asked, and it is never deleted (contract C6)."""

import json
import os
import pty
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.conftest import Command
from cli.served import APP, Served, served

from capgo_async.cli.job import asking

pytestmark = pytest.mark.slow

PUBLISH = ("channels", "update", APP, "beta", "public=true")


class Typist:
    """A terminal for questions, on which an answer is typed ahead."""

    def __init__(self, master: int) -> None:
        self._master = master

    def answer(self, text: str) -> None:
        os.write(self._master, f"{text}\n".encode())

    def shown(self) -> str:
        """Return the question. The terminal hands it out in parts."""
        shown = ""
        while "[y/N]" not in shown:
            shown += os.read(self._master, 10_000).decode()
        return " ".join(shown.split())


@pytest.fixture
def typist(monkeypatch: pytest.MonkeyPatch) -> Iterator[Typist]:
    master, slave = pty.openpty()
    monkeypatch.setattr(asking, "TERMINAL", Path(os.ttyname(slave)))
    yield Typist(master)
    os.close(master)
    os.close(slave)


def public(server: Served, app_id: str = APP) -> set[str]:
    return {name for name, channel in server.sandbox.world.apps[app_id].channels.items() if channel.public}


@pytest.mark.parametrize("many", [False, True])
def test_the_question_names_the_channel_that_loses_its_place(
    server: Served, capgo: Command, typist: Typist, *, many: bool
) -> None:
    words = ("channels", "update", "--everywhere", "beta", "public=true", "--job", "p.capgo-job") if many else PUBLISH
    for answer, code, then in (("n", 130, {"production"}), ("y", 0, {"beta"})):
        typist.answer(answer)
        assert capgo(*words).exit_code == code
        asked = typist.shown()
        assert f"the public channel of {APP} in place of production" in asked
        assert public(server) == then


def test_a_new_channel_takes_a_place_after_a_question_only(server: Served, capgo: Command, typist: Typist) -> None:
    typist.answer("n")
    assert capgo("channels", "create", APP, "gamma", "public=true").exit_code == 130
    assert "Make gamma the public channel" in typist.shown()
    assert "gamma" not in server.sandbox.world.apps[APP].channels
    assert capgo("channels", "create", APP, "gamma", "public=true", "--yes").exit_code == 0
    assert public(server) == {"gamma"}
    assert capgo("channels", "create", APP, "delta", "public=false").exit_code == 0


def test_the_first_public_channel_and_the_last_are_asked_about_too(server: Served, capgo: Command, typist: Typist) -> None:
    typist.answer("y")
    assert capgo("channels", "update", APP, "production", "public=false").exit_code == 0
    assert "devices without a link no longer follow it" in typist.shown()
    typist.answer("n")
    assert capgo(*PUBLISH).exit_code == 130
    assert "devices without a link follow it" in typist.shown()
    assert public(server) == set()


@pytest.mark.parametrize("words", [("production", "public=true"), ("beta", "public=false"), ("beta", "allow_dev=false")])
def test_what_changes_nobodys_place_is_not_asked_about(
    capgo: Command, words: tuple[str, str], here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "TERMINAL", here / "no-terminal")
    assert capgo("channels", "update", APP, *words).exit_code == 0


def test_without_a_terminal_yes_answers_and_says_what_it_did(
    server: Served, capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "TERMINAL", here / "no-terminal")
    refused = capgo(*PUBLISH)
    assert (refused.exit_code, public(server)) == (2, {"production"})
    asked = f"Make beta the public channel of {APP} in place of production? To do it without asking, pass --yes"
    assert f"there is no terminal to ask for confirmation: {asked}" in refused.stderr
    done = capgo(*PUBLISH, "--yes")
    assert (done.exit_code, public(server)) == (0, {"beta"})
    assert f"make beta the public channel of {APP} in place of production" in done.stderr


def test_what_is_refused_anyway_is_not_asked_about(capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "TERMINAL", here / "no-terminal")
    refused = capgo("channels", "delete", APP, "production")
    assert (refused.exit_code, "--yes" in refused.stderr) == (2, False)
    assert "is public; make another channel public first" in refused.stderr
    private = capgo("channels", "delete", APP, "beta")
    assert f"Delete channel beta of {APP} and the links of all its devices? To do it" in private.stderr


def test_what_one_app_makes_bad_can_be_left_out(unaimed: Command) -> None:
    with served(apps=2) as server:
        for channel in ("beta", "production"):
            server.sandbox.world.apps[APP].channels[channel].public = channel == "beta"
        result = unaimed("channels", "delete", "beta", "--everywhere", "--yes", env=server.environment)
    assert "nothing was sent. To leave out this target, pass --reject-bad-rows, or name the other apps" in result.stderr


def test_a_plan_says_what_an_undo_does_not_make_public_again(capgo: Command) -> None:
    words = ("channels", "update", "--everywhere", "beta", "public=true", "--job", "p.capgo-job", "--plan-only")
    assert "no way back, because an undo does not make production public again" in capgo(*words).stdout


@pytest.mark.parametrize("many", [False, True])
def test_a_public_channel_is_not_deleted_alone_or_with_others(server: Served, capgo: Command, *, many: bool) -> None:
    words = ("--everywhere", "production", "--job", "d.capgo-job") if many else (APP, "production")
    result = capgo("channels", "delete", *words, "--yes")
    assert result.exit_code == 2
    assert "is public; make another channel public first" in result.stderr
    assert public(server) == {"production"}


def test_a_protected_channel_keeps_its_place(
    server: Served, capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    configuration = here / "config.toml"
    configuration.write_text(f'[protected]\nchannels = ["{APP}/production"]\n')
    monkeypatch.setenv("CAPGO_CONFIG", str(configuration))
    many = ("channels", "update", "--everywhere", "beta", "public=true", "--job", "p.capgo-job")
    for words in (PUBLISH, many):
        result = capgo(*words, "--yes")
        assert result.exit_code == 2
        assert f"production of {APP} is protected" in result.stderr
    assert public(server) == {"production"}


def test_the_plan_of_many_names_those_that_lose_their_place(unaimed: Command) -> None:
    with served(apps=8) as server:
        words = ("channels", "update", "--everywhere", "beta", "public=true", "--job", "p.capgo-job", "--plan-only")
        shown = unaimed(*words, env=server.environment)
        assert shown.stdout.count("in place of production") == 5
        assert "3 more channels in the same way" in shown.stdout
        plan = json.loads(unaimed(*words, "--json", env=server.environment).stdout)
        assert len(plan["displaced"]) == 8
        assert plan["displaced"][0] == {"app_id": APP, "channel": "production", "by": "beta"}
