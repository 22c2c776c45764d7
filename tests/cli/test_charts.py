"""Charts of statistics: drawn by the server where it still draws, otherwise here, and the same for every generation."""

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from cli.conftest import Command
from cli.served import APP, Served, served

from capgo_async.api.models import StatPoint, Usage
from capgo_async.api.models.statistics import Dataset
from capgo_async.pages.usage import chart_of_usage, chart_of_versions
from capgo_async.sandbox import Settings
from capgo_async.sandbox.seeding import ORG_ID
from capgo_async.sandbox.state import metrics

pytestmark = pytest.mark.slow

SVG = "{http://www.w3.org/2000/svg}"
SPAN = ("--from", "2026-06-01", "--to", "2026-06-08")


def texts(svg: str) -> list[str]:
    return [element.text or "" for element in ET.fromstring(svg).iter(f"{SVG}text")]


def alternative(svg: str) -> tuple[str, str]:
    """Return the title and the description of a picture."""
    root = ET.fromstring(svg)
    title, description = (root.find(f"{SVG}{tag}") for tag in ("title", "desc"))
    assert title is not None
    assert description is not None
    assert root.get("aria-labelledby") == f"{title.get('id')} {description.get('id')}"
    return title.text or "", description.text or ""


def points(*values: float, month: int = 7) -> list[StatPoint]:
    return [StatPoint(date=f"2026-{month:02d}-{day:02d}", mau=value, storage=value) for day, value in enumerate(values, 1)]


# The command


@pytest.mark.parametrize(
    ("words", "graph"),
    [
        (("app", APP), "mau"),
        (("org", ORG_ID), "storage"),
        (("org", ORG_ID, "--by-app"), "bandwidth"),
        (("user", "--daily"), "storage"),
    ],
)
def test_a_chart_is_drawn_where_the_server_draws_none(capgo: Command, words: tuple[str, ...], graph: str) -> None:
    result = capgo("stats", *words, *SPAN, "--graph", graph, "-o", "chart.svg", "--json")
    assert result.exit_code == 0, result.stderr
    svg = Path("chart.svg").read_text()
    assert json.loads(result.stdout) == {"file": "chart.svg", "bytes": len(svg.encode())}
    assert "04 Jun" in texts(svg)
    assert "2026-06-07" in alternative(svg)[1]


def test_the_chart_shows_the_numbers(capgo: Command) -> None:
    told = [json.loads(line) for line in capgo("stats", "app", APP, *SPAN, "--json").stdout.splitlines()]
    capgo("stats", "app", APP, *SPAN, "--graph", "mau", "-o", "mau.svg")
    title, description = alternative(Path("mau.svg").read_text())
    assert title == f"Active users of {APP}"
    assert f"{told[0]['mau']:g} on 2026-06-01, {told[-1]['mau']:g} on 2026-06-07" in description


def test_the_chart_of_the_server_is_kept_as_it_is(unaimed: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    hide_packages(monkeypatch)
    with served(Settings(generation="seed")) as server:
        result = unaimed(
            *("stats", "app", APP, *SPAN, "--graph", "mau", "-o", "mau.svg", "--auth-header", "capgkey"), env=server.environment
        )
    assert result.exit_code == 0, result.stderr
    assert '<svg xmlns="http://www.w3.org/2000/svg" width="700" height="700">' in Path("mau.svg").read_text()


@pytest.mark.parametrize("kind", ["bundles", "natives"])
def test_versions_are_drawn_by_share(capgo: Command, kind: str) -> None:
    told = [json.loads(line) for line in capgo("stats", kind, APP, *SPAN, "--json").stdout.splitlines()]
    assert capgo("stats", kind, APP, *SPAN, "-o", "versions.svg").exit_code == 0
    svg = Path("versions.svg").read_text()
    shares = {row["version"]: f"{row['percent']:g} %" for row in told if row["day"] == "2026-06-07"}
    assert set(texts(svg)) >= {f"{version} {share}" for version, share in shares.items()}
    assert all(f"{version} {share}" in alternative(svg)[1] for version, share in shares.items())


def hide_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    found = importlib.util.find_spec
    hidden = {"altair", "vl_convert"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name in hidden else found(name, *more))


@pytest.mark.parametrize(
    "words",
    [
        ("app", APP, "--graph", "mau"),
        ("org", ORG_ID, "--by-app", "--graph", "mau"),
        ("bundles", APP),
        ("natives", APP),
    ],
)
def test_without_the_packages_the_command_says_which(
    capgo: Command, server: Served, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    hide_packages(monkeypatch)
    result = capgo("stats", *words, "-o", "chart.svg")
    assert result.exit_code == 2
    assert "charts need altair and vl-convert-python, not installed here: pip install 'capgo-async[charts]'" in result.stderr
    assert not Path("chart.svg").exists()
    assert server.requests() <= 2
    assert capgo("stats", *words[:2]).exit_code == 0


def test_a_chart_that_cannot_be_written_is_an_error(capgo: Command) -> None:
    result = capgo("stats", "bundles", APP, "-o", "missing/chart.svg")
    assert (result.exit_code, result.stdout) == (2, "")
    assert "cannot write missing/chart.svg: No such file or directory" in result.stderr


@pytest.mark.parametrize("words", [("app", APP, "--graph", "mau"), ("bundles", APP), ("natives", APP)])
def test_a_file_named_after_another_format_is_refused(unaimed: Command, words: tuple[str, ...]) -> None:
    result = unaimed("stats", *words, "-o", "chart.png", "--api-key", "k")
    assert (result.exit_code, Path("chart.png").exists()) == (2, False)
    assert "charts are written as SVG, not as .png: use -o chart.svg" in result.stderr


# The pictures


def test_of_many_apps_the_largest_have_lines_and_the_others_one_together() -> None:
    usage = {f"com.example.app{number:02d}": points(number, 2 * number) for number in range(1, 11)}
    shown = texts(chart_of_usage("org", "mau", "running", usage))
    largest = [f"com.example.app{number:02d}" for number in range(10, 4, -1)]
    assert [text for text in shown if text.startswith("com.")] == largest
    assert "4 others" in shown
    description = alternative(chart_of_usage("org", "mau", "running", usage))[1]
    assert "4 others: 10 on 2026-07-01, 20 on 2026-07-02" in description


def test_bytes_are_shown_in_a_unit_that_fits() -> None:
    svg = chart_of_usage("app", "storage", "running", {"app": points(1e9, 2.5e9)})
    assert any("Running total in GB" in text for text in texts(svg))
    assert "1 GB on 2026-07-01, 2.5 GB on 2026-07-02" in alternative(svg)[1]


def test_the_first_daily_storage_is_no_day_and_left_out() -> None:
    assert "2026-07-01" not in alternative(chart_of_usage("app", "storage", "daily", {"app": points(5e9, 10, 20)}))[1]
    assert "2026-07-01" in alternative(chart_of_usage("app", "storage", "running", {"app": points(5e9, 10, 20)}))[1]


def test_a_single_day_of_several_apps_is_drawn_as_points_and_long_names_stay_different() -> None:
    apps = [f"com.example.{'x' * 80}{number}" for number in range(2)]
    svg = chart_of_usage("org", "mau", "running", {app: points(5 + place) for place, app in enumerate(apps)})
    assert svg.count('class="mark-symbol role-mark') > 0
    assert len({text for text in texts(svg) if text.startswith("com.example.x")}) == 2


HOSTILE = "<script>alert(1)</script>&\"'"


def shares(*days: str) -> Usage:
    return Usage(labels=[*days], datasets=[Dataset(label=HOSTILE, data=[100.0] * len(days))])


@pytest.mark.parametrize(
    "draw",
    [
        lambda: chart_of_usage(HOSTILE, "mau", "running", {HOSTILE: points(1, 2), "other": points(2, 1)}),
        lambda: chart_of_versions(HOSTILE, "Bundles", shares("2026-07-01")),
        lambda: chart_of_versions(HOSTILE, "Bundles", shares("2026-07-01", "2026-07-02")),
    ],
)
def test_what_servers_and_devices_call_themselves_is_text(draw: Callable[[], str]) -> None:
    svg = draw()
    root = ET.fromstring(svg)
    assert not [element.tag for element in root.iter() if element.tag.endswith(("script", "foreignObject", "image", "style"))]
    assert HOSTILE in alternative(svg)[0]
    assert any(text.startswith(HOSTILE) for text in texts(svg))
    assert "href" not in svg.replace("xmlns:xlink", "")


def test_what_would_control_a_terminal_is_escaped(capgo: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics, "by_bundle", lambda _app: {"1.0\x1b[2J\x00": 5})
    assert capgo("stats", "bundles", APP, *SPAN, "-o", "chart.svg").exit_code == 0
    assert "1.0\\u001b[2J\\u0000" in Path("chart.svg").read_text()


@pytest.mark.parametrize(
    "draw",
    [
        lambda: chart_of_usage("app", "mau", "running", {"app": []}),
        lambda: chart_of_usage("org", "mau", "running", {}),
        lambda: chart_of_versions("app", "Bundles", Usage(labels=[], datasets=[])),
        lambda: chart_of_versions("app", "Bundles", Usage(labels=["2026-07-01"], datasets=[])),
    ],
)
def test_nothing_to_draw_is_said(draw: Callable[[], str]) -> None:
    assert "no data for these days" in texts(draw())


def test_a_version_without_all_days_is_drawn_with_those_it_has() -> None:
    datasets = [Dataset(label="1.0.0", data=[100]), Dataset(label="2.0.0", data=[0, 100])]
    svg = chart_of_versions("app", "Bundles", Usage(labels=["2026-07-01", "2026-07-02"], datasets=datasets))
    assert "On 2026-07-02: 2.0.0 100 %, 1.0.0 0 %." in alternative(svg)[1]
