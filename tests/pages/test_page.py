"""The page about a job: its order, its numbers, its bounds, and labels that try to be more than text."""

import itertools
import re
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings, strategies as st
from pages.pictures import EVIL, full
from pages.reading import Reader, numbers_of

from capgo_async.bulk import Activity, Ended, Failures
from capgo_async.bulk.operations.advice import Remedy
from capgo_async.bulk.picture import OTHERS, AppTotals, Flow, Picture, joined
from capgo_async.bulk.timeline import Bucket, Moment, Timeline
from capgo_async.cli.job.drawing import html_of
from capgo_async.events import (
    BakeBegan,
    Event,
    ForecastMade,
    LimitInForce,
    LimitLearned,
    RestBegan,
    RunBegan,
    RunEnded,
    WaveBegan,
)
from capgo_async.pages.bars import bars
from capgo_async.pages.charts import charts_of
from capgo_async.pages.courses import key_of_rates, rates
from capgo_async.pages.frames import Frame, svg
from capgo_async.pages.history import history_of
from capgo_async.pages.moments import Allowed
from capgo_async.pages.page import page_of
from capgo_async.pages.ribbons import laid_out
from capgo_async.pages.sections import facts_of, headline, sections, when
from capgo_async.pages.words import Drawing, plain

ORDER = [
    "Operations left",
    "Requests a minute",
    "Apps",
    "Refusals by limit",
    "Failures by cause",
    "Waves",
    "From where to where",
    "Latency and requests in flight",
    "Runs",
    "Proof",
    "Adoption",
]


@pytest.fixture(scope="module")
def drawn() -> dict[str, Drawing]:
    """Charts of a picture with everything in it. Drawing them takes seconds, so it is done once."""
    return charts_of(full(EVIL))


def changed(picture: Picture, **report: object) -> Picture:
    return msgspec.structs.replace(picture, report=msgspec.structs.replace(picture.report, **report))


def planned(picture: Picture) -> Picture:
    """Return a job of which nothing was sent yet."""
    empty = dict.fromkeys(("done", "failed", "verified", "contradicted", "cannot_tell", "missing"), 0)
    waves = tuple(msgspec.structs.replace(wave, settled=0) for wave in picture.report.waves)
    found = changed(
        picture, runs=picture.report.runs[:1], pending=18700, failures=(), warnings=(), waves=waves, adoption=None, **empty
    )
    return msgspec.structs.replace(found, timeline=Timeline())


def test_the_sections_stand_in_their_order() -> None:
    assert Reader(page_of(full(), {})).headings == ORDER
    assert Reader(page_of(planned(full()), {})).headings == ["Operations left", "Apps", "Waves", "From where to where"]


def test_every_number_is_that_of_the_json_report() -> None:
    picture = full()
    shown = Reader(page_of(picture, {})).figures
    expected = dict(numbers_of(msgspec.json.decode(msgspec.json.encode(picture.report))))
    assert dict(shown) == expected
    assert all(expected[path] == text for path, text in shown)


@pytest.mark.slow
def test_each_section_has_its_charts_and_each_chart_a_text(drawn: dict[str, Drawing]) -> None:
    charts = [chart for section in sections(full(EVIL)) for chart in section.charts]
    assert {chart.name for chart in charts} == set(drawn)
    assert all(len(chart.alternative) > 20 for chart in charts)


def test_each_chart_shows_what_its_key_names(drawn: dict[str, Drawing]) -> None:
    keys = {name: [called for called, _ in drawing.key] for name, drawing in drawn.items()}
    assert keys["burn"] == ["left", "forecast of the plan", "rest"]
    assert keys["rates"] == ["requests a minute", "limit of the API key", "rest"]
    assert {*keys["waves"]} == {"interrupted", "verified", "pause", "not shown by the server", "approval: approved"}
    assert keys["runs"] == ["killed", "interrupted", "finished"]
    for name, drawing in drawn.items():
        for called, colour in drawing.key:
            assert all(f"var(--{colour.split()[0]})" in text for text in drawing.variants.values()), (name, called)


def test_a_limit_that_is_the_highest_value_is_drawn_whole() -> None:
    history = history_of(full())
    assert history is not None
    allowed = (Allowed(1, history.begin, history.end, 1e6),)
    drawn = svg(rates(msgspec.structs.replace(history, allowed=allowed), Frame(880)), Frame(880))
    (top,) = re.findall(r'<line transform="translate\([\d.]+,([\d.]+)\)"[^>]*var\(--failed\)', drawn)
    assert 2 < float(top) < 20


def test_names_that_look_alike_when_cut_have_bars_of_their_own() -> None:
    drawing = bars([(f"{'x' * 60}{number}{'x' * 60}", 100 + number) for number in range(15)], "failed")
    for drawn in drawing.variants.values():
        shown = re.findall(r"<text[^>]*,([\d.]+)\)[^>]*>([^<]*x…x[^<]*|3 others)</text>", drawn)
        assert len({at for at, _ in shown}) == 13
        assert re.findall(r">(\d+)</text>", drawn) == [*(f"{number}" for number in range(100, 112)), f"{112 + 113 + 114}"]


def test_labels_are_text_and_nothing_is_asked_of_anybody(drawn: dict[str, Drawing]) -> None:
    html = html_of(full(EVIL), drawn)
    read = Reader(html)
    assert not {"\x1b", "\u202e"} & set(html)
    assert not {"script", "img", "iframe", "object", "image", "use", "foreignobject"} & read.tags
    assert EVIL[:27] in "".join(read.texts)
    assert "<script" not in html
    assert not [part for part in html.split('"') if part.startswith(("http:", "https:", "//")) and "www.w3.org" not in part]


def test_a_page_with_everything_is_small(drawn: dict[str, Drawing]) -> None:
    assert len(page_of(full(EVIL), drawn).encode()) < 300_000


@pytest.mark.slow
def test_many_causes_apps_runs_and_long_messages_stay_bounded() -> None:
    picture = full()
    failures = tuple(
        Failures(f"cause {number}", 1, "x" * 5000, ("y" * 5000,) * 5, "Look.", Remedy.RETRY) for number in range(100_000)
    )
    apps = tuple(AppTotals(app_id=f"app{number}", planned=1, done=1, failed=0, pending=0) for number in range(5000))
    many = msgspec.structs.replace(changed(picture, failures=failures, runs=picture.report.runs * 500), apps=apps)
    assert len(page_of(many, {})) < 200_000


@pytest.mark.parametrize(
    ("report", "sentence", "end"),
    [
        ({}, "18,100 of 18,700 devices are done, 20 of them contradicted, 520 failed, 80 pending.", "Run 4 ended at"),
        (
            {"failed": 0, "pending": 0, "done": 18700, "verified": 18700, "contradicted": 0},
            "All 18,700 devices are done and verified.",
            "It ended at",
        ),
        ({"planned": 0}, "Nothing needs a change.", ""),
    ],
)
def test_the_first_sentence_tells_everything(report: dict[str, int], sentence: str, end: str) -> None:
    picture = changed(full(), **report)
    assert plain(headline(picture)) == sentence
    assert when(picture).startswith(end)


def test_a_plan_and_a_run_under_way_tell_when_they_end() -> None:
    picture = full()
    assert plain(headline(planned(picture))) == "18,700 devices will be changed. Nothing was sent yet."
    assert when(planned(picture)) == "Sent now, it takes about 2 min, until 2026-11-30 16:41 UTC."


@pytest.mark.parametrize(
    ("activity", "sentence"),
    [
        ({"state": "running"}, "Run 2 is under way. {left}, until 2026-11-30 16:41 UTC."),
        ({"state": "killed"}, "Run 2 was killed after 2026-11-30 16:07 UTC. {left}."),
        (
            {"state": "waiting", "waits_for": "approval"},
            "Run 2 is under way and waits for approval of the next wave. {left} from then on.",
        ),
        ({"state": "waiting", "waits_for": "bake"}, "Run 2 is under way and pauses between waves until 2026-11-30 16:41 UTC."),
        ({"state": "waiting", "waits_for": "server"}, "Run 2 is under way and waits for the server, which cannot be reached; "),
        (
            {"state": "resting", "waits_for": "app_address", "app": EVIL},
            "Run 2 is under way and rests until 2026-11-30 16:41 UTC (limit: app at one address of <script>",
        ),
    ],
)
def test_a_run_without_an_end_is_under_way_or_was_killed(activity: dict[str, Any], sentence: str) -> None:
    picture = changed(full(), runs=full().report.runs[:2])
    until = (picture.at + timedelta(minutes=1)).isoformat()
    picture = msgspec.structs.replace(picture, activity=Activity(run=2, until=until, **activity))
    assert when(picture).startswith(sentence.format(left="What is pending takes about 2 min"))
    history = history_of(picture)
    assert history is not None
    killed = activity["state"] == "killed"
    assert [span.state for span in history.runs] == ["killed" if killed else "under way"]
    assert bool(history.ahead) != killed


@pytest.mark.parametrize(
    ("runs", "state", "fact"),
    [
        (1, "idle", ("Planning", "60.0 s")),
        (2, "running", ("Run under way", "60.0 s so far")),
        (2, "killed", ("Last run", "killed after at least 60.0 s")),
        (4, "idle", ("Last run", "60.0 s")),
        (5, "idle", ("Verification", "60.0 s")),
    ],
)
def test_the_last_run_is_told_for_what_it_is(runs: int, state: str, fact: tuple[str, str]) -> None:
    picture = changed(full(), runs=full().report.runs[:runs])
    activity = Activity(state=state, run=None if state == "idle" else runs)
    facts = facts_of(msgspec.structs.replace(picture, activity=activity))
    assert fact in [(name, plain(words)) for name, words in facts]


def test_what_a_killed_run_began_ends_with_its_last_sign_of_life() -> None:
    picture = full()
    began = picture.created_at.timestamp()
    first, second, third, *_ = picture.report.runs
    told: list[tuple[float, int, Event]] = [
        (120, 2, WaveBegan(wave=1, share="1%", operations=187)),
        (400, 2, RestBegan(limit="key", seconds=300.0)),
        (540, 3, RunBegan(run=3, operations=14600, program="1.0")),
        (740, 3, RunEnded(run=3, how="interrupted")),
    ]
    timeline = Timeline(5, (), tuple(Moment(began + at, run, event) for at, run, event in told))
    picture = msgspec.structs.replace(changed(picture, runs=(first, second, third)), timeline=timeline)
    history = history_of(picture)
    assert history is not None
    assert [(span.begin - began, span.end - began) for span in (*history.waves, *history.rests)] == [(120, 420), (400, 420)]


def test_a_run_under_way_is_drawn_up_to_now() -> None:
    picture = full()
    began, at = picture.created_at.timestamp(), 700.0
    now = picture.created_at + timedelta(seconds=at)
    first, second, *_ = picture.report.runs
    told: list[tuple[float, int, Event]] = [
        (160, 2, BakeBegan(wave=1, seconds=900.0)),
        (400, 2, RestBegan(limit="key", seconds=900.0)),
    ]
    buckets = (Bucket(int(began) + 120, "a", done=1500, requests=1500, most_in_flight=9),)
    timeline = Timeline(5, buckets, tuple(Moment(began + second, run, event) for second, run, event in told))
    under_way = msgspec.structs.replace(second, elapsed_seconds=at - 120)
    activity = Activity(state="running", run=2)
    picture = msgspec.structs.replace(changed(picture, runs=(first, under_way)), timeline=timeline, activity=activity, at=now)
    history = history_of(picture)
    assert history is not None
    ends = [history.left[-1].at, history.rates[-1].at, history.flights[-1].at, history.ahead[0].at]
    ends += [span.end for spans in (history.runs, history.waves, history.rests) for span in spans]
    assert [end - began for end in ends] == [at] * 7
    assert {span.state for span in (*history.runs, *history.waves)} == {"under way"}


def test_the_course_of_a_job_begins_and_ends_where_its_runs_do() -> None:
    picture = full()
    history = history_of(picture)
    assert history is not None
    began = picture.created_at.timestamp()
    assert (history.begin, history.end) == (began + 120, began + 1740)
    assert (history.left[0].value, history.left[-1].value) == (18700, 80)
    assert [point.at for point in history.left] == sorted(point.at for point in history.left)
    assert [point.value for point in history.forecast] == [18700, 0]
    assert len(history.left) < 150
    assert {span.state for span in history.waves} >= {"verified", "pause", "interrupted", "approval: approved"}
    assert [(span.row, span.state) for span in history.runs][:2] == [("run 2", "killed"), ("run 3", "interrupted")]
    assert len(history.rests) == 16
    learned = [(each.begin - began, each.end - began, each.per_minute) for each in history.allowed]
    assert learned == [
        *((120, 300, 1999), (300, 600, 1500), (600, 840, 900)),
        *((840, 900, 900), (900, 960, 700), (960, 1740, 900)),
    ]
    ahead = history_of(msgspec.structs.replace(planned(picture), seconds_left=500.0))
    assert ahead is not None
    assert [(point.at, point.value) for point in (ahead.ahead[0], ahead.ahead[-1])] == [
        (picture.at.timestamp(), 18700),
        ((picture.at + timedelta(seconds=500)).timestamp(), 0),
    ]


def test_requests_are_counted_by_minute_and_what_is_left_stands_still_while_nothing_is_settled() -> None:
    picture = full()
    began = int(picture.created_at.timestamp())
    buckets = (Bucket(began + 120, "a", done=1500, requests=1500), Bucket(began + 420, "a", done=500, requests=499))
    history = history_of(msgspec.structs.replace(picture, timeline=Timeline(5, buckets, picture.timeline.moments)))
    assert history is not None
    width = history.width
    assert max(point.value for point in history.rates) == 1500
    assert min(point.value for point in history.rates if began + 250 < point.at < began + 400) == 0
    assert [*dict.fromkeys((point.at - began, point.value) for point in history.left)][:4] == [
        *((120, 18700), (120 + width, 17200), (420 - 420 % width, 17200), (420 - 420 % width + width, 80))
    ]
    # Nothing is in flight from then on, up to the end of the last run.
    after = [(each.at - began, each.most) for each in history.flights if each.at - began > 420]
    assert ({most for _, most in after}, after[0][0], after[-1][0]) == ({0}, 420 - 420 % width + width, 1740)
    assert (history.rates[-1], history.left[-1]) == ((began + 1740, 0), (began + 1740, 80))


def test_the_limits_of_several_keys_are_added_up() -> None:
    def in_force(key: str, requests: int) -> LimitInForce:
        return LimitInForce(limit="key", key=key, requests=requests, seconds=60.0)

    began = full().created_at.timestamp()
    told: list[tuple[float, int, Event]] = [
        *((120.0, 2, in_force("a", 1000)), (120.1, 2, in_force("b", 1000)), (120.1, 2, in_force("c", 300))),
        *(
            (200.0, 2, LimitLearned(limit="key", key="b", requests=700)),
            (300.0, 2, LimitLearned(limit="key", key="x", requests=5)),
        ),
        # Another process gives keys other names.
        *((540.0, 3, in_force("d", 900)), (540.1, 3, in_force("e", 800))),
        (600.0, 3, LimitLearned(limit="key", key="d", requests=None)),
        # A refusal without a name adds a limit, which may then turn out to be smaller still.
        (700.0, 3, LimitInForce(limit="unnamed", key="d", requests=50, seconds=30.0)),
        (800.0, 3, LimitLearned(limit="unnamed", key="d", requests=40)),
    ]
    moments = tuple(Moment(began + at, run, event) for at, run, event in told)
    history = history_of(msgspec.structs.replace(full(), timeline=Timeline(5, full().timeline.buckets, moments)))
    assert history is not None
    assert [(round(each.begin - began), each.keys, each.per_minute) for each in history.allowed] == [
        *((120, 3, 2300), (200, 3, 2000), (300, 3, 2000), (540, 2, 1700), (600, 2, 1700), (700, 2, 900), (800, 2, 840))
    ]
    assert ("limits of 3 API keys together", "failed line") in key_of_rates(history)


def test_the_forecast_falls_wave_by_wave_and_stands_still_in_pauses() -> None:
    picture = planned(full())
    waves = picture.report.waves
    plan = msgspec.structs.replace(picture.plan, waves=waves, bake_seconds=100.0)
    foreseen = ForecastMade(operations=18700, seconds=18900.0, more=0.0, planning=True)
    timeline = Timeline(moments=(Moment(picture.at.timestamp(), 1, foreseen),))
    picture = msgspec.structs.replace(picture, plan=plan, timeline=timeline, seconds_left=18900.0)
    history = history_of(picture)
    assert history is not None
    at = picture.at.timestamp()
    course = [(0, 18700), (187, 18513), (287, 18513), (1970, 16830), (2070, 16830), (18900, 0)]
    for points in (history.forecast, history.ahead):
        assert [(round(point.at - at), point.value) for point in points] == course
    # The first wave has settled, and its pause goes on for 50 s.
    waves = (msgspec.structs.replace(waves[0], settled=187), *waves[1:])
    until = (picture.at + timedelta(seconds=50)).isoformat()
    resting = Activity(state="waiting", run=2, waits_for="bake", until=until)
    later = changed(picture, waves=waves, pending=18513, runs=full().report.runs[:2])
    history = history_of(msgspec.structs.replace(later, activity=resting, at=picture.at, seconds_left=18663.0))
    assert history is not None
    assert [(round(point.at - at), point.value) for point in history.ahead][1:] == [
        *((50, 18513), (1733, 16830), (1833, 16830), (18663, 0))
    ]


@pytest.mark.parametrize(("refused", "noun"), [(1, "request"), (2, "requests")])
def test_refusals_are_counted_in_words(refused: int, noun: str) -> None:
    runs = (msgspec.structs.replace(full().report.runs[-1], rate_limited=refused, limits_met={"key": refused}),)
    told = next(plain(section.lead) for section in sections(changed(full(), runs=runs)) if section.name == "refusals")
    assert told == f"The server refused {refused} {noun} because of its limits, to be sent again later."


def test_the_page_says_what_it_does_not_show_exactly() -> None:
    picture = full()
    facts = dict(facts_of(picture))
    assert plain(facts["Requests"]).startswith("at least 20,008, of them")
    ended = changed(picture, runs=tuple(run for run in picture.report.runs if run.ended is not None))
    assert plain(dict(facts_of(ended))["Requests"]).startswith("20,008, of them")
    apps = next(plain(section.lead) for section in sections(picture) if section.name == "apps")
    assert apps == "17 apps. The chart shows 12 of them one by one, and 5 others together."


def test_a_job_of_which_nothing_is_left_and_nothing_was_sent_has_no_course() -> None:
    assert history_of(changed(planned(full()), pending=0, planned=0)) is None


def test_a_run_that_was_never_ended_ends_its_waves() -> None:
    picture = full()
    moments = tuple(moment for moment in picture.timeline.moments if moment.run <= 2)
    picture = msgspec.structs.replace(picture, timeline=Timeline(5, (), moments))
    for activity, state in (Activity(state="running", run=2), "under way"), (Activity(state="killed", run=2), "interrupted"):
        history = history_of(msgspec.structs.replace(picture, activity=activity))
        assert history is not None
        assert history.waves[-1].state == state
        assert Ended.FINISHED not in {span.state for span in history.waves}


names = st.sampled_from(["alpha", "beta", "no link", "production", "staging", "unknown"])
flows = st.lists(st.tuples(names, names, st.integers(1, 10**6)), min_size=1, max_size=20).map(
    lambda found: [Flow(before=one, after=other, operations=count) for one, other, count in found]
)


@settings(max_examples=50)
@given(flows, st.integers(1, 6))
def test_no_operation_is_lost_between_before_and_after(found: list[Flow], most: int) -> None:
    kept = joined(found, most)
    assert sum(flow.operations for flow in kept) == sum(flow.operations for flow in found)
    for side in ("before", "after"):
        assert len({getattr(flow, side) for flow in kept} - {OTHERS}) <= most
    layout = laid_out(kept)
    for side in ("left", "right"):
        assert not overlapping(getattr(ribbon, side) for ribbon in layout.ribbons)
    assert sum(end.operations for end in layout.before) == sum(end.operations for end in layout.after)


def overlapping(extents: Iterable[tuple[float, float]]) -> bool:
    return any(one[1] > other[0] + 1e-6 for one, other in itertools.pairwise(sorted(extents)))
