"""The page in Chromium: scripts forbidden, the network blocked, wide and narrow, light and dark."""

from pathlib import Path

from pages.browsers import FLAWS, WIDTHS, chromium, heavy, opened
from pages.pictures import EVIL, full

from capgo_async.cli.job.drawing import html_of
from capgo_async.pages.charts import charts_of

PAPER = 718
"""Pixels between the margins of A4."""

pytestmark = heavy


def test_the_page_is_whole_at_every_width_and_makes_no_request(tmp_path: Path) -> None:
    picture = full(EVIL)
    page = tmp_path / "move.html"
    page.write_text(html_of(picture, charts_of(picture)))
    with chromium() as browser:
        for width, dark in zip(WIDTHS, (False, True), strict=True):
            with opened(browser, page.as_uri(), width=width, dark=dark) as (seen, requests):
                assert seen.evaluate(FLAWS) == []
                background = seen.evaluate("() => getComputedStyle(document.body).backgroundColor")
                assert requests == [page.as_uri()]
                assert ("rgb(255" in background) != dark
                assert "<script>alert" in seen.inner_text(".job")
                assert not seen.locator("table").first.is_visible()
                seen.set_viewport_size({"width": PAPER, "height": 1000})
                seen.emulate_media(media="print", color_scheme="dark" if dark else "light")
                assert all(table.is_visible() for table in seen.locator("table").all())
                assert seen.evaluate(FLAWS) == []
                assert "rgb(255" in seen.evaluate("() => getComputedStyle(document.body).backgroundColor")
