"""What a run takes from its job file: app by app, each operation once."""

import random
import sqlite3
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from fractions import Fraction
from pathlib import Path

import pytest
from fleet import client_of, ids_of, links_of, statuses, write_csv
from virtual_time import in_virtual_time

from capgo_async.bulk import Job, Options, Which, read_operations
from capgo_async.bulk.jobfile.facts import LastUsage
from capgo_async.bulk.jobfile.journal import Journal
from capgo_async.bulk.jobfile.reaches import reopen
from capgo_async.bulk.jobfile.records import Measures
from capgo_async.bulk.jobfile.schema import Outcome
from capgo_async.bulk.jobfile.waves import stored_waves
from capgo_async.bulk.operations.operations import Planned
from capgo_async.bulk.operations.results import Done, Failed, Settled
from capgo_async.sandbox import Sandbox, Settings, fleet, thresholds

APPS = ("com.example.app01", "com.example.app02", "com.example.app03")
COUNTS = (30, 12, 7)


def measured(_: Sequence[Settled] = ()) -> Measures:
    return Measures("2026-01-01T00:00:00+00:00", 0.0, 0, 0, 0, LastUsage("2026-01-01T00:00:00+00:00", "x", ()))


def sandbox_with(limits: str = "off") -> Sandbox:
    """Return a sandbox with three apps, of which no device is linked to ch04."""
    settings = Settings(limits=thresholds(limits, {"RATE_LIMIT_CHANNEL_SELF_IP": 10} if limits == "server" else None))
    return Sandbox(fleet(3, 90, channels=4), settings)


async def a_job(path: Path, options: Options | None = None) -> Path:
    """Write a job over three apps."""
    sandbox = sandbox_with()
    rows = [(app_id, each) for app_id, count in zip(APPS, COUNTS, strict=True) for each in ids_of(sandbox, app_id)[:count]]
    random.Random(1).shuffle(rows)
    source = read_operations(write_csv(path / "rows.csv", rows, ("app_id", "device_id")), channel="ch04")
    async with client_of(sandbox) as capgo:
        await (await Job.create(path / "x.capgo-job", source, client=capgo, options=options)).aclose()
    return path / "x.capgo-job"


def interleave(path: Path) -> None:
    """Number the operations as an earlier version did: one of each app in turn."""
    with sqlite3.connect(path) as file:
        file.execute(
            """
            CREATE TEMP TABLE renumbered AS
            SELECT id AS before, row_number() OVER (ORDER BY turn, app) AS number
            FROM (SELECT id, app, row_number() OVER (PARTITION BY app ORDER BY id) AS turn FROM operations)
            """
        )
        file.execute("UPDATE operations SET id = -id")
        file.execute("UPDATE operations SET id = (SELECT number FROM renumbered WHERE before = -id)")
        apps = [app for (app,) in file.execute("SELECT app FROM operations ORDER BY id LIMIT 6")]
    file.close()
    assert apps[:3] == apps[3:]
    assert len(set(apps)) == 3


def outcomes(path: Path) -> Counter[int]:
    file = sqlite3.connect(path)
    found = Counter(dict(file.execute("SELECT outcome, count(*) FROM operations GROUP BY outcome")))
    file.close()
    return found


def set_outcomes(path: Path, statement: str) -> None:
    with sqlite3.connect(path) as file:
        file.execute(statement)
    file.close()


@asynccontextmanager
async def run_of(path: Path, which: Which = Which.OPEN) -> AsyncIterator[Journal]:
    journal = await Journal.open(path)
    try:
        await journal.begin_run(measured, which)
        yield journal
    finally:
        await journal.aclose()


async def handed_out(journal: Journal, most: int = 4) -> list[Planned]:
    """Return all that a run is handed out, a few of each app at a time."""
    left = {share.app_id for share in await journal.shares()}
    found: list[Planned] = []
    while left:
        planned = await journal.advance((), (), dict.fromkeys(left, most))
        found += planned
        counts = Counter(each.operation.app_id for each in planned)
        assert all(counts[app_id] <= most for app_id in left)
        assert counts.keys() <= left
        left = {app_id for app_id in left if counts[app_id] == most}
    return found


@pytest.mark.parametrize("interleaved", [False, True])
@in_virtual_time
async def test_each_app_s_operations_are_handed_out_once_and_in_its_order(tmp_path: Path, *, interleaved: bool) -> None:
    path = await a_job(tmp_path)
    if interleaved:
        interleave(path)
    async with run_of(path) as journal:
        assert {share.app_id: share.operations for share in await journal.shares()} == dict(zip(APPS, COUNTS, strict=True))
        async with run_of(path) as another:
            found = await handed_out(another)
    assert len(found) == len({each.id for each in found}) == len({each.operation.target for each in found}) == sum(COUNTS)
    for app_id in APPS:
        mine = [each.id for each in found if each.operation.app_id == app_id]
        assert mine == sorted(mine)
    assert outcomes(path) == {Outcome.SENT: sum(COUNTS)}


@pytest.mark.parametrize("interleaved", [False, True])
@in_virtual_time
async def test_only_what_is_handed_out_is_marked_and_only_of_the_apps_that_are_asked_for(
    tmp_path: Path, *, interleaved: bool
) -> None:
    path = await a_job(tmp_path)
    if interleaved:
        interleave(path)
    async with run_of(path) as journal:
        await journal.shares()
        found = await journal.advance((), (), {APPS[0]: 5, APPS[2]: 2})
        assert Counter(each.operation.app_id for each in found) == {APPS[0]: 5, APPS[2]: 2}
        assert outcomes(path) == {Outcome.SENT: 7, Outcome.PENDING: sum(COUNTS) - 7}
        more = await journal.advance((), (), {APPS[0]: 5})
        assert not {each.id for each in found} & {each.id for each in more}
        assert {each.operation.app_id for each in more} == {APPS[0]}


@in_virtual_time
async def test_what_a_run_was_handed_out_and_returned_it_is_not_handed_out_again(tmp_path: Path) -> None:
    path = await a_job(tmp_path)
    async with run_of(path) as journal:
        found = await handed_out(journal)
        returned = [each.id for each in found[:9]]
        done = [Settled(each.id, Done(), each.operation.app_id) for each in found[9:]]
        await journal.advance(done, returned, {})
        assert outcomes(path) == {Outcome.PENDING: 9, Outcome.DONE: sum(COUNTS) - 9}
        assert await journal.shares() == [], "it is for the next run"
    async with run_of(path) as journal:
        assert {each.id for each in await handed_out(journal)} == set(returned)


@in_virtual_time
async def test_what_an_earlier_run_left_in_doubt_comes_again_and_stays_in_doubt(tmp_path: Path) -> None:
    path = await a_job(tmp_path)
    interleave(path)
    async with run_of(path) as journal:
        await journal.shares()
        first = await journal.advance((), (), dict.fromkeys(APPS, 3))
    async with run_of(path) as journal:
        again = await handed_out(journal)
        assert {each.id for each in first} <= {each.id for each in again}
        await journal.advance((), [each.id for each in again], {})
    assert outcomes(path) == {Outcome.SENT: 9, Outcome.PENDING: sum(COUNTS) - 9}


@pytest.mark.parametrize("interleaved", [False, True])
@in_virtual_time
async def test_of_a_run_of_what_failed_nothing_else_is_handed_out(tmp_path: Path, *, interleaved: bool) -> None:
    path = await a_job(tmp_path)
    if interleaved:
        interleave(path)
    async with run_of(path) as journal:
        await journal.shares()
        found = await journal.advance((), (), dict.fromkeys(APPS, 6))
        # Between what failed stands what was never sent.
        settled = [
            Settled(each.id, Done() if number % 3 else Failed("no_such_thing"), each.operation.app_id)
            for number, each in enumerate(found)
            if number % 3 < 2
        ]
        await journal.advance(settled, [each.id for each in found[2::3]], {})
    failed = {each.id for each in settled if isinstance(each.result, Failed)}
    async with run_of(path, Which.FAILED) as journal:
        await journal.database.run(reopen, Which.FAILED)
        assert sum(share.operations for share in await journal.shares()) == len(failed) == 6
    async with run_of(path, Which.FAILED) as journal:
        assert {each.id for each in await handed_out(journal, most=1)} == failed
    assert outcomes(path) == {Outcome.SENT: 6, Outcome.DONE: 6, Outcome.PENDING: sum(COUNTS) - 12}


@in_virtual_time
async def test_a_wave_is_handed_out_alone_and_then_the_next(tmp_path: Path) -> None:
    path = await a_job(tmp_path, options=Options(waves=(Fraction(1, 10), Fraction(1, 2), Fraction(1))))
    seen: set[int] = set()
    async with run_of(path) as journal:
        spans = await journal.database.run(stored_waves)
        assert len(spans) == 3
        for span in spans:
            journal.confine(span.last)
            ids = {each.id for each in await handed_out(journal)}
            assert ids == set(range(span.after + 1, span.last + 1))
            assert not ids & seen
            seen |= ids
    assert len(seen) == sum(COUNTS)


@pytest.mark.parametrize("limits", ["off", "server"])
@in_virtual_time
async def test_a_job_of_an_earlier_version_runs_all_the_same_and_completely(tmp_path: Path, limits: str) -> None:
    sandbox = sandbox_with(limits)
    path = await a_job(tmp_path)
    interleave(path)
    # Some were done, failed or left in doubt before.
    set_outcomes(path, f"UPDATE operations SET outcome = {Outcome.DONE}, run = 1 WHERE id % 10 = 0")
    set_outcomes(path, f"UPDATE operations SET outcome = {Outcome.SENT} WHERE id % 10 = 1")
    async with client_of(sandbox, concurrency=3) as capgo, await Job.open(path) as job:
        assert await job.to_send() == sum(COUNTS) - 4
        report = await job.run(capgo)
    assert (report.done, report.failed, report.pending) == (sum(COUNTS), 0, 0)
    links = [line.target for line in sandbox.log if line.method == "POST" and line.status == 200]
    assert len(links) == len(set(links)) == sum(COUNTS) - 4
    assert (statuses(sandbox)[429] > 0) is (limits == "server"), "a limit that is learned on the way changes nothing"
    assert sum(list(links_of(sandbox, app_id).values()).count("ch04") for app_id in APPS) == sum(COUNTS) - 4
