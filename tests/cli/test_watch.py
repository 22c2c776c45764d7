"""`job watch`: a page for this machine alone, read again while the job runs, until it is over."""

import itertools
import socket
import webbrowser
from pathlib import Path

import aiohttp
import anyio
import pytest
from cli.conftest import Command
from cli.served import APP, Served, csv_of, held_run
from fleet import client_of, relink_everything, sandbox_of
from virtual_time import in_virtual_time

from capgo_async.bulk import Bounds, Job, read_operations
from capgo_async.bulk.picture import Picture
from capgo_async.cli.job import watching
from capgo_async.cli.job.watching import Board, follow, served
from capgo_async.errors import ConfigurationError, SafetyStop
from capgo_async.pages.words import Drawing


async def test_the_page_is_for_this_machine_and_for_those_who_know_its_address() -> None:
    board = Board()
    board.put("<p>the page", last=True)
    async with served(board, 0) as url, aiohttp.ClientSession() as session:
        port = url.split(":")[2].split("/")[0]
        for address, headers, method, status in (
            (f"http://127.0.0.1:{port}/", {}, "GET", 404),
            (f"{url[:-2]}/", {}, "GET", 404),
            (url, {"Host": "evil.example"}, "GET", 403),
            (url, {"Host": f"evil.example:{port}"}, "GET", 403),
            (url, {}, "POST", 405),
        ):
            async with session.request(method, address, headers=headers) as response:
                assert (response.status, "the page" in await response.text()) == (status, False)
        assert not board.fetched.is_set()
        async with session.get(url, headers={"Host": f"localhost:{port}"}) as response:
            assert (response.status, response.headers["Cache-Control"]) == (200, "no-store")
            assert await response.text() == "<p>the page"
        assert board.fetched.is_set()


@in_virtual_time
async def test_numbers_follow_a_run_charts_once_a_minute_and_its_end_ends_it(tmp_path: Path) -> None:
    path = tmp_path / "m.capgo-job"
    sandbox = sandbox_of(devices=60)
    drawn: list[float] = []
    seen: list[str] = []

    async def draw(_: Picture) -> dict[str, Drawing]:
        drawn.append(anyio.current_time())
        return {}

    class Seeing(Board):
        def put(self, html: str, *, last: bool) -> None:
            super().put(html, last=last)
            seen.append(html)

    async with client_of(sandbox, rate="20/min") as capgo:
        source = read_operations(relink_everything(tmp_path / "devices.csv", sandbox))
        async with await Job.create(path, source, client=capgo) as job, anyio.create_task_group() as tasks:
            tasks.start_soon(follow, path, Seeing(), draw)
            await anyio.sleep(12)
            with pytest.raises(SafetyStop):
                await job.run(capgo, bounds=Bounds(max_requests=35))
    assert "Nothing was sent yet" in seen[0]
    assert 'http-equiv="refresh"' in seen[0]
    assert any("is under way" in html for html in seen)
    assert "Run 2 stopped at" in seen[-1]
    assert 'http-equiv="refresh"' not in seen[-1]
    assert ["Charts may be some minutes older" in html for html in seen] == [True] * (len(seen) - 1) + [False]
    assert len(seen) > 2 * len(drawn)
    assert all(later - earlier >= 60 for earlier, later in itertools.pairwise(drawn[:-1]))


@pytest.mark.slow
def test_a_run_that_is_killed_while_it_is_watched_ends_the_watch(capgo: Command, server: Served, here: Path) -> None:
    csv_of(here / "devices.csv", devices=40)
    relink = ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", "--job", "m.capgo-job", "--plan-only")
    assert capgo(*relink).exit_code == 0
    pages: list[str] = []
    with held_run(server, "m.capgo-job", at=5) as (process, _):

        class Killing(Board):
            def put(self, html: str, *, last: bool) -> None:
                super().put(html, last=last)
                pages.append(html)
                process.kill()
                process.wait()

        in_virtual_time(lambda: follow(here / "m.capgo-job", Killing(), no_charts))()
    assert "Run 2 is under way." in pages[0]
    assert "Run 2 was killed after " in pages[-1]
    assert len(pages) == 2


async def no_charts(_: Picture) -> dict[str, Drawing]:
    return {}


def test_what_cannot_be_watched_is_said(unaimed: Command, here: Path) -> None:
    assert unaimed("job", "watch", "none.capgo-job").exit_code == 2
    (here / "other").write_text("no job")
    result = unaimed("job", "watch", "other")
    assert (result.exit_code, "is not a job file" in result.stderr) == (2, True)


def test_a_port_that_is_taken_and_a_browser_that_is_not_there_are_said(
    capgo: Command, unaimed: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    csv_of(here / "devices.csv")
    relink = ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", "--job", "m.capgo-job", "--yes")
    assert capgo(*relink).exit_code == 0
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        result = unaimed("job", "watch", "m.capgo-job", "--port", taken.getsockname()[1])
    assert (result.exit_code, "Choose another --port, or leave it out" in result.stderr) == (2, True), result.stderr
    monkeypatch.setattr(webbrowser, "open", lambda _: False)
    monkeypatch.setattr(watching, "LINGERS", 0.1)
    result = unaimed("job", "watch", "m.capgo-job", "--open")
    assert (result.exit_code, "no browser was found: open the address above in one" in result.stderr) == (0, True)
    assert result.stdout.startswith("http://127.0.0.1:")
    assert "this command ends after the run; Ctrl-C ends it now" in result.stderr
    assert "ends when the last page has been loaded, or in 10 minutes" in result.stderr


async def test_a_port_that_is_taken_is_said() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigurationError, match=f"cannot listen on port {port}: .* Choose another --port"):
            async with served(Board(), port):
                pass
