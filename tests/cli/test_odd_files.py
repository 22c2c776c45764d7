"""Jobs, exports and what is remembered in files that are links, pipes or devices, or that go while they are in use."""

import json
import os
import shutil
import sqlite3
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from cli.conftest import Command
from cli.served import APP, Served, csv_of, served

from capgo_async.bulk.inventory import exporting
from capgo_async.bulk.storage.lock import give_name

pytestmark = pytest.mark.slow

RELINK = ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", "--job", "m.capgo-job", "--rate", "off")
RESUME = ("job", "run", "m.capgo-job", "--rate", "off", "--json")


@pytest.fixture
def server() -> Iterator[Served]:
    with served(devices=200) as found:
        yield found


def report_of(capgo: Command, *words: str) -> dict[str, int]:
    result = capgo("job", "report", "m.capgo-job", "--json", *words)
    found: dict[str, int] = json.loads(result.stdout)
    return found


# Jobs


def test_a_job_is_made_and_run_through_a_link(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv", devices=200)
    (here / "elsewhere").mkdir()
    Path("m.capgo-job").symlink_to("elsewhere/real.capgo-job")
    assert capgo(*RELINK, "--yes").exit_code == 0
    assert Path("m.capgo-job").readlink() == Path("elsewhere/real.capgo-job")
    assert {path.name for path in (here / "elsewhere").iterdir()} == {"real.capgo-job", "real.capgo-job.lock"}
    assert report_of(capgo)["done"] == len(server.sent()) > 0


@pytest.mark.parametrize("kind", ["pipe", "device", "directory"])
def test_a_job_that_is_no_file_is_named_and_left(server: Served, capgo: Command, here: Path, kind: str) -> None:
    csv_of(here / "devices.csv")
    path = here / "m.capgo-job"
    {"pipe": os.mkfifo, "device": lambda at: at.symlink_to(os.devnull), "directory": os.mkdir}[kind](path)
    for words in ((*RELINK, "--yes"), RESUME, ("job", "show", "m.capgo-job")):
        result = capgo(*words)
        assert (result.exit_code, server.sent()) == (2, {})
        assert f"m.capgo-job is a {kind}, not a job file" in result.stderr
    assert os.path.lexists(path)


def _move(path: Path) -> None:
    path.rename("moved.capgo-job")


def _replace(path: Path) -> None:
    Path("other").write_bytes(b"another")
    Path("other").replace(path)


@pytest.mark.parametrize(
    ("take", "saved"),
    [(_move, "m.capgo-job"), (Path.unlink, "m.capgo-job"), (_replace, "m.capgo-job.rescued")],
    ids=["moved", "removed", "replaced"],
)
def test_a_job_that_goes_during_its_run_stops_it_and_its_outcomes_are_saved(
    server: Served, capgo: Command, here: Path, take: Callable[[Path], None], saved: str
) -> None:
    csv_of(here / "devices.csv", devices=200)
    server.sandbox.on_change = lambda number: take(here / "m.capgo-job") if number == 20 else None
    result = capgo(*RELINK, "--yes")
    assert result.exit_code == 4
    assert "m.capgo-job was moved, replaced or removed while it was in use; what it held was saved as" in result.stderr
    first = server.sent()
    server.sandbox.on_change = None
    if saved != "m.capgo-job":
        assert Path("m.capgo-job").read_bytes() == b"another"
        Path(saved).replace("m.capgo-job")
    done = report_of(capgo)["done"]
    assert 0 < done <= len(first)
    resumed = capgo(*RESUME)
    assert resumed.exit_code == 0, resumed.stderr
    again = server.sent()
    assert json.loads(resumed.stdout)["done"] == len(again)
    assert sum(again.values()) - len(again) <= len(first) - done, "only what was in doubt is sent again"


def test_a_job_that_goes_before_its_last_record_is_no_success(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv", devices=2)
    server.sandbox.on_change = lambda _number: (here / "m.capgo-job").unlink(missing_ok=True)
    assert capgo(*RELINK, "--yes").exit_code == 4
    assert Path("m.capgo-job").exists()


def test_a_directory_that_goes_during_a_run_is_no_success(server: Served, capgo: Command, here: Path) -> None:
    csv_of(here / "devices.csv", devices=50)
    (here / "jobs").mkdir()
    server.sandbox.on_change = lambda number: shutil.rmtree(here / "jobs") if number == 5 else None
    result = capgo(*RELINK[:-4], "--job", "jobs/m.capgo-job", "--yes")
    assert result.exit_code == 4
    assert "and what it held could not be saved: cannot write jobs/m.capgo-job: there is no directory" in result.stderr


@pytest.mark.parametrize("at", ["m.capgo-job.building-shm", "m.capgo-job-shm"])
def test_without_shared_memory_another_journal_is_used(server: Served, capgo: Command, here: Path, at: str) -> None:
    csv_of(here / "devices.csv", devices=200)
    if at == "m.capgo-job-shm":
        assert capgo(*RELINK, "--plan-only").exit_code == 0
    # SQLite cannot make the file of the shared memory.
    (here / at).mkdir()
    result = capgo(*RELINK, "--yes")
    assert result.exit_code == 0, result.stderr
    assert result.stderr.count("here, so a slower journal is used") == 1
    with closing(sqlite3.connect("m.capgo-job")) as connection:
        assert connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert report_of(capgo)["done"] == len(server.sent()) > 0


# Exports


@pytest.mark.parametrize("name", ["out.csv", "out.jsonl", "out.sqlite"])
def test_an_export_goes_where_a_link_leads(capgo: Command, here: Path, name: str) -> None:
    (here / "elsewhere").mkdir()
    (here / "elsewhere" / name).write_bytes(b"former")
    Path(name).symlink_to(f"elsewhere/{name}")
    assert capgo("export", "devices", "-o", name).exit_code == 0
    assert Path(name).readlink() == Path("elsewhere", name)
    assert Path(name).stat().st_size > 1000
    assert [path.name for path in (here / "elsewhere").iterdir()] == [name]


def test_an_export_can_be_written_to_a_pipe(capgo: Command, here: Path) -> None:
    os.mkfifo("pipe")
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append((here / "pipe").read_text()))
    reader.start()
    result = capgo("export", "devices", "-o", "pipe", "--format", "csv")
    reader.join()
    assert (result.exit_code, len(read[0].splitlines())) == (0, 201)
    assert Path("pipe").is_fifo()
    assert [path.name for path in here.iterdir()] == ["pipe"]
    result = capgo("export", "devices", "-o", "pipe", "--format", "sqlite")
    assert (result.exit_code, "cannot write sqlite to pipe: it needs a file" in result.stderr) == (2, True)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="there is no /dev/full")
def test_what_was_read_is_kept_when_the_last_step_fails(server: Served, capgo: Command) -> None:
    result = capgo("export", "devices", "-o", "/dev/full", "--format", "csv")
    assert result.exit_code == 4
    assert "no space left for /dev/full" in result.stderr
    kept = result.stderr.partition("what was read is kept, and an export to ")[2].partition(" goes on with it")[0]
    listed = server.sandbox.listings
    assert capgo("export", "devices", "-o", kept).exit_code == 0
    assert server.sandbox.listings == listed
    assert len(Path(kept).read_text().splitlines()) == 201
    shutil.rmtree(Path(kept).parent)


def test_an_export_whose_place_is_taken_at_the_end_keeps_what_was_read(server: Served, capgo: Command, here: Path) -> None:
    server.sandbox.on_listing = lambda _number: (here / "out.csv").mkdir(exist_ok=True)
    result = capgo("export", "devices", "-o", "out.csv")
    assert result.exit_code == 2
    assert "out.csv is a directory, not a file" in result.stderr
    server.sandbox.on_listing = None
    Path("out.csv").rmdir()
    listed = server.sandbox.listings
    assert capgo("export", "devices", "-o", "out.csv").exit_code == 0
    assert server.sandbox.listings == listed
    assert [path.name for path in here.iterdir()] == ["out.csv"]


def test_a_working_file_that_was_delivered_is_not_delivered_again(
    server: Served, capgo: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(building: Path, place: Path) -> None:
        give_name(building, place)
        raise PermissionError(1, "killed after the last step but one")

    with monkeypatch.context() as patched:
        patched.setattr(exporting, "give_name", killed)
        assert capgo("export", "devices", "-o", "out.csv").exit_code == 2
    assert {path.name for path in here.iterdir()} >= {"out.csv", "out.csv.building"}
    listed = server.sandbox.listings
    assert capgo("export", "devices", "-o", "out.csv").exit_code == 0
    assert server.sandbox.listings > listed
    assert [path.name for path in here.iterdir()] == ["out.csv"]


@pytest.mark.parametrize("name", ["out.csv.building", "out.csv.writing", "out.csv.building.lock"])
def test_an_export_removes_nothing_that_it_did_not_make(capgo: Command, name: str) -> None:
    os.mkfifo(name)
    result = capgo("export", "devices", "-o", "out.csv")
    assert result.exit_code == 2
    assert f"{name} is a pipe" in result.stderr
    assert Path(name).is_fifo()


# What is remembered


def test_what_is_remembered_goes_where_a_link_leads(server: Served, unaimed: Command) -> None:
    aimed = {**server.environment, "CAPGO_CACHE": "link"}
    Path("link").symlink_to("known.json")
    assert unaimed("apps", "list", env=aimed).exit_code == 0
    assert (Path("link").is_symlink(), Path("known.json").stat().st_size > 0) == (True, True)
    assert unaimed("limits", "--forget", env=aimed).stdout == "deleted 1 record\n"
    assert (Path("link").is_symlink(), Path("known.json").exists()) == (True, False)


@pytest.mark.parametrize("kind", ["pipe", "device"])
def test_what_is_no_file_holds_nothing_and_stays(server: Served, unaimed: Command, kind: str) -> None:
    if kind == "pipe":
        os.mkfifo("place")
    else:
        Path("place").symlink_to(os.devnull)
    aimed = {**server.environment, "CAPGO_CACHE": "place"}
    result = unaimed("apps", "list", env=aimed)
    assert result.exit_code == 0
    assert f"what is learned about servers is not kept: place is a {kind}, not a file of this program" in result.stderr
    assert unaimed("limits", "--forget", env=aimed).exit_code == 2
    assert os.path.lexists("place")
    assert Path(os.devnull).exists()


@pytest.mark.parametrize(
    "words", ["export devices", f"devices relink --all --where TRUE --app {APP} --channel beta --plan-only"]
)
def test_without_a_place_for_temporary_files_commands_say_so(
    capgo: Command, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    def none() -> str:
        raise FileNotFoundError(2, "No usable temporary directory found")

    monkeypatch.setattr(tempfile, "gettempdir", none)
    result = capgo(*words.split())
    assert (result.exit_code, "error: there is no directory for temporary files" in result.stderr) == (2, True)
