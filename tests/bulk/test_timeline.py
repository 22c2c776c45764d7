"""The timeline of a job: totals that equal those of the report, whatever was merged, and a bound on its size."""

import sqlite3
from collections import Counter
from datetime import datetime, timedelta
from fractions import Fraction
from pathlib import Path

import anyio
import msgspec
import pytest
from fleet import client_of, copy_job, relink_everything, sandbox_of
from hypothesis import given, strategies as st
from virtual_time import in_virtual_time

from capgo_async.bulk import Job, Options, Report, read_operations
from capgo_async.bulk.clock import wall_clock
from capgo_async.bulk.jobfile import timelines
from capgo_async.bulk.jobfile.schema import FORMAT, TABLES
from capgo_async.bulk.running.collecting import Collector
from capgo_async.bulk.timeline import WIDTH, Bucket, Timeline, merged
from capgo_async.errors import JobError
from capgo_async.events import AttemptEnded, ForecastMade, LimitMet, RestEnded, RunEnded

BASE = 1_790_000_000.0
APPS = ("com.example.a", "com.example.b", "")
ENDED = AttemptEnded(operation="x", method="GET", path="/x", request_id="r", number=1, status=200, error=None, seconds=0.1)

buckets = st.builds(
    Bucket,
    start=st.integers(0, 400).map(lambda step: int(BASE) // WIDTH * WIDTH + step * WIDTH),
    app=st.sampled_from(APPS),
    done=st.integers(0, 9),
    failed=st.integers(0, 9),
    requests=st.integers(0, 9),
    most_in_flight=st.integers(0, 15),
    refused=st.dictionaries(st.sampled_from(("key", "unnamed")), st.integers(1, 9)),
    latencies=st.dictionaries(st.integers(0, 60), st.integers(1, 9)),
)


def totals(found: Timeline | list[Bucket]) -> dict[str, object]:
    """Return the sums over all buckets."""
    each = found.buckets if isinstance(found, Timeline) else found
    refused: Counter[str] = Counter()
    latencies: Counter[int] = Counter()
    for bucket in each:
        refused.update(bucket.refused)
        latencies.update(bucket.latencies)
    sums = {name: sum(getattr(bucket, name) for bucket in each) for name in ("done", "failed", "requests", "retries")}
    return {**sums, "refused": dict(refused), "latencies": dict(latencies)}


def of_runs(report: Report) -> dict[str, object]:
    """Return the same sums over the runs of a report."""
    refused: Counter[str] = Counter()
    for run in report.runs:
        refused.update(run.limits_met)
    sums = {name: sum(getattr(run, name) for run in report.runs) for name in ("done", "failed", "requests", "retries")}
    return {**sums, "refused": dict(refused)}


def happened(found: Timeline) -> list[str]:
    return [type(moment.event).__name__ for moment in found.moments]


def stored() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:")
    for table in TABLES:
        connection.execute(table)
    return connection


@pytest.mark.slow
@given(st.lists(buckets, max_size=30), st.integers(0, 8))
def test_coarser_buckets_have_the_same_totals(found: list[Bucket], doublings: int) -> None:
    width = WIDTH * 2**doublings
    coarse = merged(found, width)
    assert totals(coarse) == totals(found)
    assert len({(bucket.start, bucket.app) for bucket in coarse}) == len(coarse)
    assert all(bucket.start % width == 0 for bucket in coarse)
    assert merged(merged(found, WIDTH), width) == coarse
    assert max((bucket.most_in_flight for bucket in coarse), default=0) == max((one.most_in_flight for one in found), default=0)


@pytest.mark.slow
@given(st.lists(st.lists(buckets, max_size=10), max_size=6))
def test_what_is_stored_in_parts_is_stored_as_a_whole(parts: list[list[Bucket]]) -> None:
    connection = stored()
    for part in parts:
        timelines.add(connection, 1, part, ())
    found = timelines.timeline_of(connection, ())
    assert found.buckets == tuple(merged((bucket for part in parts for bucket in part), WIDTH))


def test_a_timeline_that_grows_too_large_becomes_coarser_and_keeps_its_totals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timelines, "MOST_BYTES", 20_000)
    connection, added = stored(), []
    for step in range(2000):
        part = [Bucket(step * WIDTH, app, done=step, requests=3, latencies={step % 50: 2}) for app in APPS]
        added += part
        timelines.add(connection, 1, part, ())
    found = timelines.timeline_of(connection, ())
    (size,) = connection.execute("SELECT sum(length(buckets)) FROM steps").fetchone()
    assert size <= 20_000
    assert found.width > WIDTH
    assert totals(found) == totals(added)


def test_moments_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timelines, "MOST_MOMENTS", 10)
    connection, collector = stored(), Collector()
    for second in range(200):
        collector.happened(BASE + second, LimitMet(limit="key", seconds=61.0))
    _, moments = collector.take()
    assert len(moments) == 200 / WIDTH, "one in each span"
    timelines.add(connection, 1, (), moments)
    assert len(timelines.timeline_of(connection, ()).moments) == 10


@given(
    st.lists(st.tuples(st.floats(0, 100_000), st.sampled_from(APPS), st.booleans(), st.booleans()), max_size=60),
    st.integers(1, 20),
)
def test_a_collector_counts_each_attempt_once(attempts: list[tuple[float, str, bool, bool]], parts: int) -> None:
    collector, taken = Collector(BASE), []
    for number, (at, app, again, sent) in enumerate(attempts):
        refused = "key" if number % 7 == 0 and sent else ""
        status = 200 if sent else None
        ended = msgspec.structs.replace(ENDED, app=app, number=1 + again, sent=sent, status=status, refused=refused)
        collector.ended(msgspec.structs.replace(ended, ended_at=at))
        if number % parts == 0:
            taken += collector.take()[0]
    taken += collector.take()[0]
    sums = totals(taken)
    assert sums["requests"] == collector.requests == sum(sent for *_, sent in attempts)
    assert sums["retries"] == collector.retries == sum(again and sent for *_, again, sent in attempts)
    assert sums["refused"] == dict(collector.refused)
    assert sum(sum(bucket.latencies.values()) for bucket in taken) == sum(sent for *_, sent in attempts)


@given(st.floats(0, 1000), st.floats(0.1, 300))
def test_a_rest_is_spread_over_the_buckets_in_which_it_was(since: float, seconds: float) -> None:
    collector = Collector()
    collector.happened(BASE + since + seconds, RestEnded(limit="key", seconds=seconds))
    rested = [bucket.rested["key"] for bucket in collector.take()[0]]
    assert sum(rested) == pytest.approx(seconds)
    assert max(rested) <= WIDTH + 1e-6


def test_percentiles_are_close_to_the_truth() -> None:
    collector = Collector(BASE)
    times = [0.01 * number for number in range(1, 101)]
    for seconds in times:
        collector.ended(msgspec.structs.replace(ENDED, seconds=seconds))
    ((bucket,), _) = collector.take()
    assert bucket.p50 == pytest.approx(0.5, rel=0.1)
    assert bucket.p95 == pytest.approx(0.95, rel=0.1)
    assert Bucket(0, "").p50 is None


@pytest.mark.slow
@in_virtual_time
async def test_the_timeline_of_a_job_with_waves_limits_and_failures(tmp_path: Path) -> None:
    limits = {"RATE_LIMIT_API_KEY": 301}
    sandbox = sandbox_of(apps=3, devices=1200, limits="server", variables=limits, faults="POST /device:500=2%")
    source = read_operations(relink_everything(tmp_path / "devices.csv", sandbox))
    options = Options(waves=(Fraction(1, 4), Fraction(1)), bake_seconds=120.0)
    async with client_of(sandbox) as capgo:
        await (await Job.create(tmp_path / "job.capgo-job", source, client=capgo, options=options)).aclose()
        base = wall_clock()

        def clock() -> datetime:
            return base + timedelta(seconds=anyio.current_time())

        copy = copy_job(tmp_path / "job.capgo-job", tmp_path / "copy.capgo-job")
        async with await Job.open_copy(copy, client=capgo, clock=clock) as job:
            report = await job.run(capgo)
            found = await job.timeline()
    sums = totals(found)
    del sums["latencies"]
    assert sums == of_runs(report)
    assert report.done == report.planned
    ran = [moment for moment in found.moments if moment.run == 2]
    assert happened(Timeline(moments=tuple(ran)))[:5] == [
        *("RunBegan", "LimitInForce", "LimitInForce", "ForecastMade", "WaveBegan")
    ]
    assert happened(found)[-1] == "RunEnded"
    counts = Counter(happened(found))
    forecasts = [moment for moment in ran if isinstance(moment.event, ForecastMade)]
    assert counts["ForecastMade"] == len(forecasts) + 1, "one was made when the job was planned"
    (end,) = (moment.at for moment in ran if isinstance(moment.event, RunEnded))
    told = [moment.at + moment.event.seconds - end for moment in forecasts if isinstance(moment.event, ForecastMade)]
    assert len(told) > 1, "a limit was learned that makes the run longer"
    assert abs(told[-1]) < abs(told[0]), "and the last forecast is the better one"
    assert counts["RunBegan"] == counts["RunEnded"] == 2
    assert counts["WaveBegan"] == counts["WaveEnded"] == 2
    assert counts["BakeBegan"] == counts["BakeEnded"] == 1
    assert counts["RestBegan"] == counts["RestEnded"] > 0
    assert counts["LimitLearned"] == 1
    rested = sum(sum(bucket.rested.values()) for bucket in found.buckets)
    rests = sum(moment.event.seconds for moment in found.moments if isinstance(moment.event, RestEnded))
    assert rested == pytest.approx(rests)
    assert rests == pytest.approx(2 * 61.0), "one for each refusal; pauses of waves and of verification are none"


async def test_a_job_of_an_older_format_is_refused_in_one_sentence(tmp_path: Path) -> None:
    sandbox = sandbox_of(apps=1, devices=3)
    path = tmp_path / "job.capgo-job"
    async with client_of(sandbox) as capgo:
        source = read_operations(relink_everything(tmp_path / "devices.csv", sandbox))
        await (await Job.create(path, source, client=capgo)).aclose()
    with sqlite3.connect(path) as connection:
        connection.execute(f"PRAGMA user_version = {FORMAT - 1}")
    connection.close()
    with pytest.raises(
        JobError, match=f"is a job file of format {FORMAT - 1}; this version of capgo_async reads format {FORMAT}"
    ):
        await Job.open(path)
