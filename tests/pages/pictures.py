"""Pictures of jobs, made up: one with everything, and labels that try to be more than text."""

import random
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec

from capgo_async import events
from capgo_async.bulk import (
    Activity,
    Adoption,
    AppUptake,
    DayUptake,
    Decision,
    Doubt,
    DoubtCount,
    Ended,
    Failures,
    Part,
    Plan,
    Report,
    Run,
    Wave,
)
from capgo_async.bulk.operations.advice import Remedy
from capgo_async.bulk.picture import AppTotals, Flow, Picture
from capgo_async.bulk.report import Approval
from capgo_async.bulk.timeline import Bucket, Moment, Timeline, bin_of

BEGAN = datetime(2026, 11, 30, 16, 0, tzinfo=UTC)
EVIL = '<script>alert("x")</script>\x1b[31m&amp;\u202e'
"""A name that would run a script, colour a terminal and turn the text around."""
LONG = "ארוך-" + "W" * 150
"""A name without spaces, whose beginning is written from right to left."""


def run(number: int, minute: float, seconds: float, ended: Ended | None, **more: object) -> Run:
    values: dict[str, object] = {"done": 0, "failed": 0, "requests": 0, "retries": 0, "rate_limited": 0, "limits_met": {}}
    started = (BEGAN + timedelta(minutes=minute)).isoformat()
    values |= {"operations": 0, "reason": None, "program": "1.0", "servers": ("12.1.3",)} | more
    return Run(number=number, started_at=started, ended=ended, elapsed_seconds=seconds, **values)  # type: ignore[arg-type]


def full(name: str = "beta") -> Picture:
    """Return a job of 17 apps: killed, interrupted, resumed and verified, with waves, refusals and failures."""
    runs = (
        run(1, 0, 30.5, Ended.PLANNED, requests=140),
        run(2, 2, 300, None, done=4100, failed=20, requests=4217, limits_met={"key": 3, "app_address": 14}, rate_limited=17),
        run(3, 9, 200, Ended.INTERRUPTED, done=3000, failed=100, requests=3500, retries=200, reason=f"stopped by {name}"),
        run(
            4,
            14,
            900,
            Ended.FINISHED,
            done=11000,
            failed=400,
            requests=12000,
            retries=201,
            limits_met={"key": 5},
            rate_limited=5,
        ),
        run(5, 31, 60, Ended.VERIFIED, requests=151),
    )
    waves = (
        _wave(1, "1%", 187, 187, "verified", verified=3, bake=4),
        msgspec.structs.replace(
            _wave(2, "10%", 1683, 1683, "cannot_tell", verified=16),
            approval=Approval(asked_at=BEGAN.isoformat(), times=2, decision=Decision.APPROVED, reason=name),
        ),
        _wave(3, "100%", 16830, 16750, "begun", failed=520),
    )
    failures = (
        Failures(name, 300, f"Device {name} not found", tuple(f"{name}/{i:036d}" for i in range(5)), "Check.", Remedy.NEW_JOB),
        Failures("ambiguous", 200, "no answer", ("com.example.app01/1",), "Run them again.", Remedy.RETRY),
        Failures(LONG, 20, LONG, (f"com.example.app01/{LONG}",), "Run them again.", Remedy.RETRY),
    )
    report = Report(
        job=f"{name}.capgo-job",
        rows=20012,
        rejected=12,
        skipped=1300,
        planned=18700,
        done=18100,
        failed=520,
        pending=80,
        unchecked=0,
        verified=18050,
        contradicted=20,
        cannot_tell=30,
        missing=4,
        requests=20008,
        retries=401,
        rate_limited=22,
        elapsed_seconds=60.0,
        consistent=False,
        left=7,
        failures=failures,
        runs=runs,
        waves=waves,
        warnings=(f"the version of {name} changed",),
        adoption=adoption(name),
    )
    part = Part(kind="link_device", what="link to beta", object="to beta", app_id="a", targets=18700)
    plan = Plan(rows=20012, planned=18700, skipped=1300, rejected=12, unknown=0, apps=(), requests=80, changes=(part,))
    apps = (name, LONG, *(f"com.example.app{number:02d}" for number in range(15)))
    flows = ((12000, "production"), (5000, "no link"), (1600, f"staging of {name} with a rather long name"), (100, LONG))
    return Picture(
        at=BEGAN + timedelta(minutes=40),
        source=f"{name}.csv",
        base_url="https://api.capgo.app",
        created_at=BEGAN,
        activity=Activity(state="idle"),
        report=report,
        plan=plan,
        seconds_left=100.0,
        apps=tuple(AppTotals(app_id=app, planned=1100, done=1064, failed=31, pending=5) for app in apps),
        flows=tuple(Flow(before=before, after=name, operations=count) for count, before in flows),
        timeline=_timeline(apps),
    )


def adoption(name: str) -> Adoption:
    """Return what 18,100 moved devices run."""
    return Adoption(
        **_uptake(17000, 900, 70, 130),
        as_of=BEGAN.isoformat(),
        apps=[AppUptake(app_id=name, **_uptake(16000, 900, 70, 0)), AppUptake(app_id="a", **_uptake(1000, 0, 0, 130))],
        days=[DayUptake(day="2026-11-30", **_uptake(17000, 850, 0, 0)), DayUptake(day=None, **_uptake(0, 50, 0, 130))],
        doubts=[DoubtCount(app_id=name, doubt=Doubt.NO_BUNDLE, devices=130)],
        remarks=[f"{name}: no order"],
    )


def _uptake(taken: int, behind: int, unlisted: int, cannot_tell: int) -> dict[str, Any]:
    devices = taken + behind + unlisted + cannot_tell
    return {"devices": devices, "taken": taken, "behind": behind, "unlisted": unlisted, "cannot_tell": cannot_tell}


def _wave(number: int, share: str, operations: int, settled: int, state: str, **more: int) -> Wave:
    verified, bake = more.get("verified"), more.get("bake")
    return Wave(
        number=number,
        share=share,
        operations=operations,
        settled=settled,
        failed=more.get("failed", 0),
        state=state,
        verified_at=None if verified is None else (BEGAN + timedelta(minutes=verified)).isoformat(),
        bake_until=None if bake is None else (BEGAN + timedelta(minutes=bake)).isoformat(),
    )


def _timeline(apps: tuple[str, ...]) -> Timeline:
    chance, begin = random.Random(1), int(BEGAN.timestamp())
    buckets = [
        Bucket(
            *(begin + second, app, done := chance.randint(1, 9), 0, done, 0, chance.randint(2, 15), done * 0.3),
            latencies={bin_of(0.2 + 0.1 * chance.random()): done, bin_of(0.9): 1},
        )
        for first, last in ((120, 420), (540, 740), (840, 1740))
        for second in range(first, last, 5)
        if second % 100 < 60
        for app in apps
        if chance.random() < 0.5
    ]
    told: list[tuple[float, int, events.Event]] = [
        (0, 1, events.ForecastMade(operations=18700, seconds=1500, more=100, planning=True)),
        (120, 2, events.RunBegan(run=2, operations=18700, program="1.0")),
        (120, 2, events.LimitInForce(limit="key", requests=1999, seconds=60.0)),
        (120, 2, events.LimitInForce(limit="app_address", requests=1000, seconds=60.0)),
        (120, 2, events.WaveBegan(wave=1, share="1%", operations=187)),
        (160, 2, events.WaveEnded(wave=1, state="verified", done=187, failed=0, contradicted=0)),
        (160, 2, events.BakeBegan(wave=1, seconds=60)),
        (220, 2, events.BakeEnded(wave=1)),
        (220, 2, events.WaveBegan(wave=2, share="10%", operations=1683)),
        (300, 2, events.LimitLearned(limit="key", requests=1500)),
        (600, 3, events.LimitLearned(limit="key", requests=900)),
        (540, 3, events.RunBegan(run=3, operations=14600, program="1.0")),
        (740, 3, events.RunEnded(run=3, how="interrupted")),
        (840, 4, events.RunBegan(run=4, operations=11500, program="1.0")),
        (840, 4, events.LimitInForce(limit="key", requests=900, seconds=60.0)),
        (900, 4, events.LimitLearned(limit="key", requests=700)),
        (960, 4, events.LimitLearned(limit="key", requests=None)),
        (840, 4, events.WaveBegan(wave=2, share="10%", operations=1683)),
        (950, 4, events.WaveEnded(wave=2, state="cannot_tell", done=1683, failed=0, contradicted=0)),
        (950, 4, events.ApprovalAsked(wave=2)),
        (1000, 4, events.ApprovalAnswered(wave=2, answer="approved")),
        (1000, 4, events.WaveBegan(wave=3, share="100%", operations=16830)),
        (1740, 4, events.RunEnded(run=4, how="finished")),
    ]
    for second in range(165, 1700, 100):
        told.append((second, 4, events.RestBegan(limit="key", seconds=30)))
        told.append((second + 33, 4, events.RestEnded(limit="key", seconds=33)))
    moments = sorted((Moment(begin + second, number, event) for second, number, event in told), key=lambda moment: moment.at)
    return Timeline(5, tuple(buckets), tuple(moments))
