"""What the command says of an undo, before the change and after it, and how it ends."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cli.served import APP, Served, csv_of, served
from typer.testing import Result

Command = Callable[..., Result]

RELINK = ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", "--job", "m.capgo-job")


@pytest.fixture
def server() -> Iterator[Served]:
    with served(devices=40) as found:
        found.sandbox.world.apps[APP].overrides.clear()
        yield found


def test_the_first_links_of_an_app_are_undone(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv", devices=5)
    run = capgo(*RELINK, "--yes")
    assert run.exit_code == 0
    assert "no way back" not in run.stderr
    assert len(server.sandbox.world.apps[APP].overrides) == 5
    undone = capgo("job", "undo", "m.capgo-job", "--job", "u.capgo-job", "--yes")
    assert undone.exit_code == 0
    assert "not undone" not in undone.stdout
    # The undo has set no link.
    assert "may expire" in run.stdout
    assert "may expire" not in undone.stdout
    assert server.sandbox.world.apps[APP].overrides == {}


def test_what_an_undo_leaves_is_said_before_and_after_and_ends_with_3(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv", devices=5)
    with (here / "devices.csv").open("a") as file:
        file.write("stranger-1\nstranger-2\n")
    line = "2 devices were unknown to the server: they are changed anyway, and have no way back"
    plan = capgo(*RELINK, "--plan-only")
    assert plan.exit_code == 0
    assert f"{line} (planning with --unknown skip leaves them out)" in plan.stdout.splitlines()
    assert [text for text in plan.stdout.splitlines() if "unknown" in text or "no way back" in text] == [
        f"{line} (planning with --unknown skip leaves them out)"
    ], "one fact, one line"
    assert capgo("job", "run", "m.capgo-job", "--yes").exit_code == 0
    assert line in capgo("job", "show", "m.capgo-job").stdout
    undo = ("job", "undo", "m.capgo-job", "--job", "u.capgo-job")
    plan = capgo(*undo, "--plan-only", "--json")
    assert (plan.exit_code, json.loads(plan.stdout)["left"]) == (3, 2)
    undone = capgo(*undo, "--yes")
    assert undone.exit_code == 3
    for lines in (undone.stderr.splitlines(), undone.stdout.splitlines()):
        counts = next(index for index, text in enumerate(lines) if text.startswith("7 rows: "))
        assert "not undone: 2 targets" in lines[counts + 1 : counts + 3], "near the counts, above the question"
    assert "to see what is left as it is: capgo-async job show u.capgo-job --rows skipped" in undone.stderr
    assert sorted(server.sandbox.world.apps[APP].overrides) == ["stranger-1", "stranger-2"]
    told = capgo("job", "show", "u.capgo-job", "--json")
    assert (told.exit_code, json.loads(told.stdout)["left"]) == (0, 2)


def test_a_plan_of_deletions_says_that_they_have_no_way_back(server: Served, capgo: Command) -> None:
    del server
    plan = capgo("bundles", "prune", "--keep", "1", "--plan-only")
    assert "1 bundle has no way back, because what is deleted or removed cannot be restored" in plan.stdout
