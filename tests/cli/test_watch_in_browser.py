"""`job watch` in Chromium, over real processes: while a job runs, with a wrong token, and by a foreign name."""

import os
import subprocess
import sys
from pathlib import Path

from cli.conftest import Command
from cli.served import APP, Served, csv_of, held_run
from pages.browsers import FLAWS, FOREIGN, chromium, heavy, opened
from playwright.sync_api import expect

pytestmark = heavy

JOB = "m.capgo-job"
NO_BROWSER = {"BROWSER": "no-such-browser", "PATH": "", "DISPLAY": "", "WAYLAND_DISPLAY": ""}


def test_the_page_follows_a_run_to_its_end_and_is_for_nobody_else(capgo: Command, server: Served, here: Path) -> None:
    csv_of(here / "devices.csv")
    relink = ("devices", "relink", "devices.csv", "--app", APP, "--channel", "beta", "--job", JOB, "--plan-only")
    assert capgo(*relink).exit_code == 0
    command = (sys.executable, "-m", "capgo_async", "job", "watch", JOB, "--open")
    with (
        held_run(server, JOB, at=5) as (_, go_on),
        subprocess.Popen(
            command, env={**os.environ, **NO_BROWSER}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        ) as watch,
        chromium() as browser,
    ):
        assert watch.stdout is not None
        url = watch.stdout.readline().strip()
        for address, refusal in (
            (f"{url[:-4]}abc/", "not found"),
            (url.replace("127.0.0.1", FOREIGN), "this page is served for this machine only"),
        ):
            with opened(browser, address) as (page, requests):
                assert (page.inner_text("body"), requests) == (refusal, [address])
        with opened(browser, url) as (page, requests):
            expect(page.locator(".when")).to_contain_text("Run 2 is under way.", timeout=0)
            go_on()
            expect(page.locator(".when")).to_contain_text("It ended at", timeout=0)
            assert "devices are done" in page.inner_text("h1")
            assert page.evaluate(FLAWS) == []
            assert set(requests) == {url}
        _, told = watch.communicate()
    assert watch.returncode == 0
    assert "no browser was found: open the address above in one\n" in told
