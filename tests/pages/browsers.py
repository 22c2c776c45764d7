"""Chromium from the system's packages, without a network, and what it makes of a page."""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
FOREIGN = "page.example"
"""A name that leads the browser to this machine, as a foreign site could make it do."""
QUIET = (
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update", "--no-first-run"),
    f"--host-resolver-rules=MAP {FOREIGN} 127.0.0.1",
)
WIDTHS = (1280, 390)

heavy = [
    pytest.mark.heavy,
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None and "CI" not in os.environ, reason="there is no Chromium"),
]

FLAWS = """
() => {
  const flaws = [];
  const shown = (node) => node.checkVisibility() && node.getClientRects().length > 0;
  const scrolls = (node) => node.closest('.scroll') !== null;
  if (document.documentElement.scrollWidth > innerWidth) flaws.push(`the page is wider than the window`);
  for (const node of document.querySelectorAll('main *'))
    if (shown(node) && !scrolls(node) && !node.closest('svg') && node.scrollWidth > node.clientWidth + 1 && node.clientWidth)
      flaws.push(`cut: ${node.tagName} ${node.textContent.trim().slice(0, 60)}`);
  for (const svg of document.querySelectorAll('svg')) {
    if (!shown(svg)) continue;
    const frame = svg.getBoundingClientRect();
    const visible = (each) => each.textContent && getComputedStyle(each).opacity !== '0';
    const texts = [...svg.querySelectorAll('text')].filter(visible);
    const boxes = texts.map((each) => [each.textContent, each.getBoundingClientRect()]);
    for (const [text, box] of boxes)
      if (box.left < frame.left - 1 || box.right > frame.right + 1 || box.top < frame.top - 1 || box.bottom > frame.bottom + 1)
        flaws.push(`outside of its chart: ${text}`);
    boxes.forEach(([text, box], index) => boxes.slice(index + 1).forEach(([other, next]) => {
      if (box.left < next.right - 1 && next.left < box.right - 1 && box.top < next.bottom - 3 && next.top < box.bottom - 3)
        flaws.push(`overlap: ${text} and ${other}`);
    }));
  }
  for (const section of document.querySelectorAll('section')) {
    const name = section.querySelector('h2').textContent;
    const charts = [...section.querySelectorAll('figure')];
    if (!charts.length) flaws.push(`no chart: ${name}`);
    for (const chart of charts) {
      if (chart.getAttribute('role') !== 'img' || chart.getAttribute('aria-label').length < 20) flaws.push(`no text: ${name}`);
      if (![...chart.querySelectorAll('svg')].some(shown)) flaws.push(`no chart is shown: ${name}`);
    }
  }
  return flaws;
}
"""
"""What is cut, overlaps, or lacks a chart or its text. Run by the test; the page itself may run nothing."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """Start the browser."""
    assert CHROMIUM is not None, "install Chromium, for example with `apt-get install chromium`"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=list(QUIET))
        yield browser
        browser.close()


@contextmanager
def opened(browser: Browser, address: str, *, width: int = 1280, dark: bool = False) -> Iterator[tuple[Page, list[str]]]:
    """Open a page with scripts forbidden, and return it with the requests that it made. Only the page itself is let through."""
    context = browser.new_context(viewport={"width": width, "height": 900}, java_script_enabled=False)
    page, requests = context.new_page(), list[str]()
    page.emulate_media(color_scheme="dark" if dark else "light")
    page.on("request", lambda request: requests.append(request.url))
    page.route("**/*", lambda route: route.continue_() if route.request.url == address else route.abort())
    page.goto(address)
    yield page, requests
    context.close()
