"""`job report --html` and `job rehearse --html`: one file, the numbers of `--json`, and what cannot be written."""

import importlib.util
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli.conftest import Command
from cli.served import APP, Served, csv_of, served
from pages.reading import Reader, numbers_of

JOB = "m.capgo-job"
RELINK = ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", "--job", JOB, "--plan-only")


@pytest.fixture(scope="module")
def server() -> Iterator[Served]:
    with served(devices=40) as found:
        yield found


@pytest.fixture
def planned(capgo: Command, here: Path) -> Path:
    csv_of(here / "devices.csv", devices=40)
    assert capgo(*RELINK, "--waves", "10%,100%").exit_code == 0
    return here / JOB


@pytest.mark.slow
def test_a_page_has_the_numbers_of_the_json_report(
    capgo: Command, unaimed: Command, planned: Path, here: Path, server: Served
) -> None:
    assert unaimed("job", "rehearse", JOB, "--html", "rehearsed.html").exit_code == 0
    rehearsed = (here / "rehearsed.html").read_text()
    assert f"<title>Rehearsal of {JOB}</title>" in rehearsed
    assert "</data> devices would be done and verified.</h1>" in rehearsed
    assert "The rehearsal sent nothing. A run that begins now would end at " in rehearsed
    assert not re.search(r"\b(It|Run \d+) ended|under way|<h2>[^<]*(?<! \(rehearsal\))</h2>", rehearsed)
    assert server.base_url in rehearsed
    assert capgo("job", "run", JOB, "--yes").exit_code == 0
    (here / "move.html").write_text("an old page")
    result = unaimed("job", "report", JOB, "--html", "move.html")
    assert (result.exit_code, result.stdout, result.stderr) == (0, "", "wrote the page to move.html\n")
    shown = Reader((here / "move.html").read_text())
    expected = dict(numbers_of(json.loads(unaimed("job", "report", JOB, "--json").stdout)))
    assert all(expected[path] == text for path, text in shown.figures)
    assert {path for path, _ in shown.figures} >= expected.keys() - {"left"}
    assert sorted(path.name for path in here.iterdir() if path.name.startswith("move")) == ["move.html"]
    assert planned.exists()


@pytest.mark.parametrize(
    ("to", "message"),
    [
        ("pipe", "pipe is a pipe, not a page"),
        ("open", "open is no file; - writes the page to stdout"),
        (JOB, f"{JOB} is the job file; choose another name"),
        ("none/move.html", "cannot write none/move.html: there is no directory "),
    ],
)
@pytest.mark.usefixtures("planned")
def test_where_no_page_can_be_written_is_said(unaimed: Command, here: Path, to: str, message: str) -> None:
    os.mkfifo(here / "pipe")
    # As /dev/stdout is, where stdout is a pipe.
    reader, writer = os.pipe()
    (here / "open").symlink_to(f"/proc/self/fd/{writer}")
    for verb in ("report", "rehearse"):
        result = unaimed("job", verb, JOB, "--html", to)
        assert (result.exit_code, message in result.stderr) == (2, True)
    os.close(reader)
    os.close(writer)


def test_without_the_packages_the_extra_is_named(unaimed: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in {"altair", "vl_convert"} else find(name))
    result = unaimed("job", "report", JOB, "--html", "move.html")
    message = "charts need altair and vl-convert-python, not installed here: pip install 'capgo-async[charts]'"
    assert (result.exit_code, message in result.stderr) == (2, True)


def test_outputs_that_exclude_each_other_are_refused(unaimed: Command) -> None:
    for arguments, message in (
        (("report", JOB, "--html", "a", "--json"), "--html and --json cannot be combined"),
        (("rehearse", JOB, "--html", "-", "--json"), "--json and --html - cannot be combined"),
    ):
        result = unaimed("job", *arguments)
        assert (result.exit_code, message in result.stderr) == (2, True)
