"""Forecasts: what the plan says of its time is what the run takes, through the real engine, in virtual time."""

import itertools
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple

import anyio
import pytest
from fleet import A_TENTH, APP, LIMITS_OF_A_TENTH, client_of, copy_job, ids_of, write_csv
from hypothesis import given, strategies as st
from virtual_time import in_virtual_time

from capgo_async import CapgoClient
from capgo_async.bulk import Job, Options, RenewDevice, from_operations, read_operations
from capgo_async.bulk.forecast.forecast import Leg, seconds_of, without_first
from capgo_async.bulk.forecast.line import Outlook
from capgo_async.bulk.report import about
from capgo_async.bulk.schedule import resting
from capgo_async.bulk.schedule.resting import Rules
from capgo_async.bulk.schedule.share import Share, share_of
from capgo_async.key_ring import KeyRing
from capgo_async.limits import windows
from capgo_async.limits.known import Known, KnownLimit
from capgo_async.limits.models import FixedWindow, Limit, ScopeKind, SilenceWindow, SlidingWindow, parse_rate, server_limits
from capgo_async.limits.windows import Fixed, Silence, Sliding
from capgo_async.sandbox import Binding, Sandbox, Settings, Thresholds, fleet, thresholds
from capgo_async.sandbox.seeding import ORG_ID, USER_ID
from capgo_async.sandbox.virtual_time import run_in_virtual_time

WITHIN = 0.02


async def planned(
    sandbox: Sandbox, directory: Path, capgo: CapgoClient | KeyRing, targets: Mapping[str, int], options: Options | None = None
) -> Job:
    """Plan to link so many devices of some apps."""
    rows = [(app_id, device) for app_id, count in targets.items() for device in ids_of(sandbox, app_id)[:count]]
    source = read_operations(write_csv(directory / "rows.csv", rows, ("app_id", "device_id")), channel="ch04")
    return await Job.create(directory / "job.capgo-job", source, client=capgo, options=options)


LIMITS = {
    "standard": Thresholds(published=100),
    "enterprise": Thresholds(published=1000),
    "150/min": Thresholds(published=150),
    "server": thresholds("server"),
    "auto": thresholds("server"),
    "a tenth": thresholds("server", A_TENTH),
}


def fleet_for(targets: Mapping[str, int], rate: str = "server") -> Sandbox:
    """Return a sandbox in which all of `targets` can be linked to ch04, with the limits that the rate is for."""
    world = fleet(len(targets), len(targets) * max(targets.values()), channels=4)
    return Sandbox(world, Settings(limits=LIMITS[rate]))


def client_at(sandbox: Sandbox, rate: str, latency: float, headroom: float = 0.0) -> CapgoClient:
    """Return a client of a sandbox with the limits of a rate; of a tenth, with a tenth of the workers."""
    if rate == "a tenth":
        return client_of(sandbox, limits=LIMITS_OF_A_TENTH, delay=latency / 2, concurrency=2)
    return client_of(sandbox, rate=rate, delay=latency / 2, headroom=headroom)


def spread(*counts: int) -> dict[str, int]:
    return {f"com.example.app{number:02d}": count for number, count in enumerate(counts, 1)}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "targets", "latency"),
    [
        ("standard", spread(700), 0.02),
        ("standard", spread(300, 300, 60), 0.2),
        ("standard", spread(700), 2.0),
        ("enterprise", spread(2000), 2.0),
        ("server", spread(4500), 0.02),
        ("a tenth", spread(450), 2.0),
        ("a tenth", spread(250, 250, 250), 0.2),
        ("a tenth", spread(*[50] * 12), 2.0),
        ("a tenth", spread(400, 50, 10), 0.02),
        ("a tenth", spread(400, 50, 10), 2.0),
        ("auto", spread(1100), 0.02),
        ("a tenth", spread(260), 2.0),
        ("150/min", spread(1000, 400), 0.2),
    ],
    ids=str,
)
@in_virtual_time
async def test_the_prediction_before_the_start_is_the_makespan(
    tmp_path: Path, rate: str, targets: dict[str, int], latency: float
) -> None:
    sandbox = fleet_for(targets, rate)
    async with client_at(sandbox, rate, latency) as capgo:
        async with await planned(sandbox, tmp_path, capgo, targets) as job:
            report = await job.run(capgo)
    assert (report.done, report.pending, report.rate_limited) == (report.planned, 0, 0)
    assert job.plan.seconds == pytest.approx(report.elapsed_seconds, rel=WITHIN)


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "targets"), [("server", spread(1000)), ("a tenth", spread(100, 5, 5))], ids=str)
@in_virtual_time
async def test_operations_of_several_requests_are_foreseen_with_the_windows_that_they_wait_for(
    tmp_path: Path, rate: str, targets: dict[str, int]
) -> None:
    sandbox = Sandbox(fleet(len(targets), len(targets) * 3 * max(targets.values())), Settings(limits=LIMITS[rate]))
    operations = [
        RenewDevice(app_id=app_id, device_id=device)
        for app_id, count in targets.items()
        for device in sorted(sandbox.world.apps[app_id].overrides)[:count]
    ]
    async with client_at(sandbox, rate, 0.2) as capgo:
        async with await Job.create(tmp_path / "job.capgo-job", from_operations(operations), client=capgo) as job:
            await anyio.sleep(130.0)
            foreseen = job.remaining(capgo, 0).seconds
            report = await job.run(capgo)
    assert (report.done, report.rate_limited) == (sum(targets.values()), 0)
    assert foreseen == pytest.approx(report.elapsed_seconds, rel=WITHIN)


@pytest.mark.slow
@pytest.mark.parametrize(("headroom", "count"), [(0.998, 20), (0.998, 7), (0.999, 7)])
@in_virtual_time
async def test_operations_that_no_window_takes_whole_are_foreseen(tmp_path: Path, headroom: float, count: int) -> None:
    sandbox = Sandbox(fleet(1, 3 * count), Settings(limits=thresholds("server")))
    operations = [RenewDevice(app_id=APP, device_id=device) for device in sorted(sandbox.world.apps[APP].overrides)[:count]]
    async with client_of(sandbox, headroom=headroom) as capgo:
        async with await Job.create(tmp_path / "job.capgo-job", from_operations(operations), client=capgo) as job:
            await anyio.sleep(130.0)
            foreseen = job.remaining(capgo, 0).seconds
            report = await job.run(capgo)
    assert report.done == count
    assert foreseen == pytest.approx(report.elapsed_seconds, rel=WITHIN)


@pytest.mark.slow
@in_virtual_time
async def test_what_the_planning_used_of_the_key_is_part_of_the_prediction(tmp_path: Path) -> None:
    targets = spread(90, 90)
    sandbox = fleet_for(targets, "a tenth")
    async with client_at(sandbox, "a tenth", 0.04) as capgo:
        for _ in range(150):
            await capgo.bundles.list(APP).all()
        await anyio.sleep(20.0)
        async with await planned(sandbox, tmp_path, capgo, targets) as job:
            report = await job.run(capgo)
    assert report.elapsed_seconds > 60
    assert job.plan.seconds == pytest.approx(report.elapsed_seconds, rel=WITHIN)


@pytest.mark.slow
@in_virtual_time
async def test_a_job_that_is_opened_later_counts_what_was_used_before(tmp_path: Path) -> None:
    targets = spread(30, 30, 40)
    sandbox = fleet_for(targets, "a tenth")
    async with client_at(sandbox, "a tenth", 0.04) as capgo:
        for _ in range(150):
            await capgo.bundles.list(APP).all()
        await (await planned(sandbox, tmp_path, capgo, targets)).aclose()
    async with client_at(sandbox, "a tenth", 0.04) as capgo, await Job.open(tmp_path / "job.capgo-job", client=capgo) as job:
        report = await job.run(capgo)
    assert report.elapsed_seconds > 60
    assert job.plan.seconds == pytest.approx(report.elapsed_seconds, rel=WITHIN)


def test_what_a_kill_left_in_doubt_waits_for_its_devices_in_the_prediction(tmp_path: Path) -> None:
    targets = spread(400)
    sandbox = fleet_for(targets)
    path = tmp_path / "killed.capgo-job"

    async def killed() -> float:
        async with client_of(sandbox) as capgo, await planned(sandbox, tmp_path, capgo, targets) as job:
            with anyio.move_on_after(0.5):
                async with anyio.create_task_group() as group:
                    group.start_soon(job.run, capgo)
                    await anyio.sleep(0.4)
                    copy_job(job.path, path)
        return anyio.current_time()

    async def resumed(killed_at: float) -> None:
        await anyio.sleep(killed_at)
        async with client_of(sandbox) as capgo, await Job.open(path, client=capgo) as job:
            foreseen: list[float] = []

            async def look() -> None:
                await anyio.sleep(30.0)
                foreseen.append(30.0 + job.remaining(capgo, settled).seconds)

            settled = 0

            def note(_result: object) -> None:
                nonlocal settled
                settled += 1

            async with anyio.create_task_group() as group:
                group.start_soon(look)
                report = await job.run(capgo, on_progress=note)
        assert report.elapsed_seconds > 60
        assert [job.plan.seconds, *foreseen] == pytest.approx([report.elapsed_seconds] * 2, rel=WITHIN)

    run_in_virtual_time(resumed(run_in_virtual_time(killed())))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "targets", "bake", "latency"),
    [
        ("server", spread(2000), 600.0, 0.02),
        ("a tenth", spread(200), 600.0, 2.0),
        ("a tenth", spread(120, 6, 30), 30.0, 0.2),
        ("a tenth", spread(120, 6, 30), 30.0, 2.0),
        ("a tenth", spread(150), 0.0, 0.02),
    ],
    ids=str,
)
@in_virtual_time
async def test_waves_with_their_verification_and_bakes_are_part_of_the_prediction(
    tmp_path: Path, rate: str, targets: dict[str, int], bake: float, latency: float
) -> None:
    sandbox = fleet_for(targets, rate)
    options = Options(waves=(Fraction(1, 100), Fraction(1, 10), Fraction(1)), bake_seconds=bake)
    async with client_at(sandbox, rate, latency) as capgo:
        async with await planned(sandbox, tmp_path, capgo, targets, options) as job:
            report = await job.run(capgo)
    assert (report.done, report.contradicted) == (report.planned, 0)
    assert job.plan.seconds == pytest.approx(report.elapsed_seconds, rel=WITHIN)


@pytest.mark.slow
@pytest.mark.parametrize(("rate", "targets"), [("standard", spread(700, 100)), ("a tenth", spread(250, 150))], ids=str)
@in_virtual_time
async def test_what_is_left_is_foreseen_while_it_runs(tmp_path: Path, rate: str, targets: dict[str, int]) -> None:
    sandbox = fleet_for(targets, rate)
    settled = 0
    foreseen: list[float] = []
    async with client_at(sandbox, rate, 0.04) as capgo, await planned(sandbox, tmp_path, capgo, targets) as job:
        assert job.plan.seconds is not None
        began, predicted = anyio.current_time(), job.plan.seconds

        def note(_result: object) -> None:
            nonlocal settled
            settled += 1

        async def look() -> None:
            for part in (0.25, 0.5, 0.8):
                await anyio.sleep_until(began + part * predicted)
                foreseen.append(anyio.current_time() + job.remaining(capgo, settled).seconds)

        async with anyio.create_task_group() as group:
            group.start_soon(look)
            report = await job.run(capgo, on_progress=note)
            ended = anyio.current_time()
    assert foreseen == pytest.approx([ended] * 3, abs=WITHIN * report.elapsed_seconds)


OTHER_KEY = "10000000-0000-4000-8000-000000000002"


def ringed(sandbox: Sandbox, capgo: CapgoClient, apps: int) -> KeyRing:
    """Return a ring in which another key speaks for all but the first apps."""
    sandbox.world.add_key(OTHER_KEY, Binding(role="org_super_admin", org_id=ORG_ID), user_id=USER_ID)
    return KeyRing(capgo, dict.fromkeys(list(sandbox.world.apps)[apps:], OTHER_KEY))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rate", "targets", "latency"),
    [
        ("server", spread(*[700] * 6), 0.02),
        ("a tenth", spread(*[70] * 3, *[35] * 3), 0.2),
        ("a tenth", spread(250, 250), 0.02),
        ("a tenth", spread(250, 250), 2.0),
    ],
    ids=str,
)
@in_virtual_time
async def test_keys_that_take_turns_are_part_of_the_prediction(
    tmp_path: Path, rate: str, targets: dict[str, int], latency: float
) -> None:
    sandbox = fleet_for(targets, rate)
    async with client_at(sandbox, rate, latency) as capgo:
        ring = ringed(sandbox, capgo, len(targets) // 2)
        async with await planned(sandbox, tmp_path, ring, targets) as job:
            report = await job.run(ring)
    assert (report.done, report.pending, report.rate_limited) == (report.planned, 0, 0)
    assert job.plan.seconds == pytest.approx(report.elapsed_seconds, rel=WITHIN)


class Scene(NamedTuple):
    """A job at a server, and what the client knows, by which it has another course than the limits alone say."""

    targets: dict[str, int]
    latency: float = 0.02
    rate: str = "a tenth"
    learned: int | None = None
    headroom: float = 0.0
    keys: int = 1


SCENES = {
    "rests early, 4000": Scene(spread(4000), rate="server"),
    "rests early, 400, slower": Scene(spread(400), latency=0.1),
    "unequal": Scene(spread(500, 90, 30)),
    "limit known": Scene(spread(130, 130, 130), learned=120),
    "headroom": Scene(spread(2400, 900), latency=0.1, rate="server", headroom=0.2),
    "two keys": Scene(spread(210, 210), keys=2),
}


@pytest.mark.slow
@pytest.mark.parametrize("name", SCENES)
@in_virtual_time
async def test_the_course_of_a_job_is_foreseen_before_and_while_it_runs(tmp_path: Path, name: str) -> None:
    scene = SCENES[name]
    variables = A_TENTH if scene.rate == "a tenth" else {}
    if scene.learned is not None:
        variables = {**variables, "RATE_LIMIT_API_KEY": scene.learned + 1}
    world = fleet(len(scene.targets), len(scene.targets) * max(scene.targets.values()), channels=4)
    sandbox = Sandbox(world, Settings(limits=thresholds("server", variables)))
    settled = 0
    foreseen: list[float] = []

    def note(_result: object) -> None:
        nonlocal settled
        settled += 1

    async with client_at(sandbox, scene.rate, scene.latency, scene.headroom) as client:
        if scene.learned is not None:
            learned = KnownLimit(scope=ScopeKind.KEY, requests=scene.learned, learned_at=datetime.now(UTC))
            client.recall(Known(limits=(learned,)))
        capgo = client if scene.keys == 1 else ringed(sandbox, client, 1)
        await (await planned(sandbox, tmp_path, capgo, scene.targets)).aclose()
        # Then nothing of the planning counts any more: that a key rests early saves a rest.
        await anyio.sleep(200.0)
        async with await Job.open(tmp_path / "job.capgo-job", client=capgo) as job, anyio.create_task_group() as group:
            predicted, began = job.plan.seconds, anyio.current_time()
            assert predicted is not None

            async def look(predicted: float) -> None:
                for part in (0.3, 0.55, 0.8):
                    await anyio.sleep_until(began + part * predicted)
                    foreseen.append(anyio.current_time() + job.remaining(capgo, settled).seconds - began)

            group.start_soon(look, predicted)
            report = await job.run(capgo, on_progress=note)
            took = anyio.current_time() - began
    assert (report.done, report.pending, report.rate_limited) == (report.planned, 0, 0)
    assert predicted == pytest.approx(report.elapsed_seconds, rel=WITHIN)
    assert foreseen == pytest.approx([took] * 3, abs=WITHIN * took)


def counts_of(legs: list[Leg]) -> list[list[int]]:
    return [[share.operations for share in leg.shares] for leg in legs]


@pytest.mark.parametrize(
    ("settled", "baking", "left", "rests"),
    [
        (0, None, [[100, 50], [10], [20]], [60.0, 60.0, 0.0]),
        (75, None, [[38, 38], [10], [20]], [60.0, 60.0, 0.0]),
        (150, None, [[], [10], [20]], [60.0, 60.0, 0.0]),
        (150, 5.0, [[], [10], [20]], [5.0, 60.0, 0.0]),
        (155, None, [[5], [20]], [60.0, 0.0]),
        (160, 7.0, [[], [20]], [7.0, 0.0]),
        (180, None, [[]], [0.0]),
    ],
)
def test_what_is_settled_is_no_longer_ahead(
    settled: int, baking: float | None, left: list[list[int]], rests: list[float]
) -> None:
    both = [share_of("com.example.a", "link_device", 100), share_of("com.example.b", "link_device", 50)]
    one, other = ([share_of("com.example.a", "link_device", count)] for count in (10, 20))
    legs = [Leg(both, (), 60.0), Leg(one, (), 60.0), Leg(other)]
    found = without_first(legs, settled, baking)
    assert counts_of(found) == left
    assert [leg.rest for leg in found] == rests


@pytest.mark.parametrize(
    ("settled", "waiting", "rests"),
    [
        # All of the first wave left, and was answered: it is looked at.
        (100, {APP: 0}, [60.0, 60.0, 0.0]),
        # The next wave waits, for a key that rests, or for the answer to its first requests.
        (100, {APP: 10}, [60.0, 0.0]),
        (100, {APP: 4}, [60.0, 0.0]),
        # Before the first wave nothing is handed out.
        (0, {}, [60.0, 60.0, 0.0]),
    ],
)
def test_a_bake_that_is_over_is_not_foreseen_again(settled: int, waiting: dict[str, int], rests: list[float]) -> None:
    legs = [Leg([share_of(APP, "link_device", count)], (), rest) for count, rest in ((100, 60.0), (10, 60.0), (20, 0.0))]
    assert [leg.rest for leg in without_first(legs, settled, None, waiting)] == rests


SERVER = Outlook(server_limits(), 16, 0.05)


def link(app_id: str, operations: int) -> Share:
    return share_of(app_id, "link_device", operations)


def seconds(*shares: Share, outlook: Outlook = SERVER) -> float:
    return seconds_of([Leg(shares)], outlook)


def calls_of(monkeypatch: pytest.MonkeyPatch, *methods: Callable[..., object]) -> list[str]:
    """Return a list that grows with each call of these methods of windows."""
    calls: list[str] = []

    def counting(method: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object) -> object:
            calls.append(method.__qualname__)
            return method(*args)

        return call

    for method in methods:
        kind, _, name = method.__qualname__.partition(".")
        monkeypatch.setattr(getattr(windows, kind), name, counting(method))
    return calls


@pytest.mark.parametrize("headroom", [0.0, 0.5])
@pytest.mark.parametrize("model", [SlidingWindow, FixedWindow, SilenceWindow])
@pytest.mark.parametrize("requests", [1, 7, 8, 15, 700])
def test_a_limiter_alone_makes_it_last(
    model: type[SlidingWindow | FixedWindow | SilenceWindow], headroom: float, requests: int
) -> None:
    limiter = model(requests=14 if headroom else 7, headroom=headroom)
    scope = ScopeKind.APP_ADDRESS if isinstance(limiter, FixedWindow) else ScopeKind.KEY
    rests = (requests - 1) // 7
    assert seconds(link("com.example.a", requests), outlook=Outlook([Limit(scope, limiter)], 7, 0.0)) == rests * 61.0


def test_a_key_of_its_own_has_a_limit_of_its_own() -> None:
    both = (link("com.example.a", 1500), link("com.example.b", 1500))
    assert seconds(*both) > 61
    assert seconds(*both, outlook=SERVER._replace(keys={"com.example.a": "1", "com.example.b": "2"})) < 61 + 15


@pytest.mark.parametrize(
    ("kind", "requests"), [("link_device", 1), ("renew_device", 3), ("update_channel", 2), ("promote_bundle", 3)]
)
def test_each_kind_takes_its_requests(kind: str, requests: int) -> None:
    share = share_of("com.example.a", kind, 160)
    assert share.requests == 160 * requests
    assert seconds(share) == pytest.approx(10 * requests * 0.05)


def test_who_is_removed_one_after_the_other_takes_longer() -> None:
    of_one = share_of("046a36ac-0000-4000-8000-000000000001", "remove_member", 40)
    assert seconds(of_one) == pytest.approx(80 * 0.05)


@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from([0.0, 0.02, 0.3]))
def test_more_takes_no_less(fewer: int, more: int, latency: float) -> None:
    outlook = SERVER._replace(latency=latency)
    one = seconds(link("com.example.a", fewer), link("com.example.b", 100), outlook=outlook)
    assert seconds(link("com.example.a", fewer + more), link("com.example.b", 100), outlook=outlook) >= one


@pytest.mark.slow
@pytest.mark.parametrize("rate", ["standard", "enterprise", "server"])
@pytest.mark.parametrize("latency", [0.02, 2.0])
@pytest.mark.parametrize("apps", [1, 3, 12])
def test_a_long_job_takes_as_many_times_longer_as_it_is_larger_and_a_look_at_few_bursts(
    monkeypatch: pytest.MonkeyPatch, rate: str, latency: float, apps: int
) -> None:
    bursts = calls_of(monkeypatch, Sliding.burst, Silence.burst)
    outlook = Outlook(parse_rate(rate), 16, latency)
    shares = [link(f"com.example.a{number}", 1_200_000 // apps) for number in range(apps)]
    fewer = [link(f"com.example.a{number}", 24_000 // apps) for number in range(apps)]
    assert seconds(*shares, outlook=outlook) == pytest.approx(50 * seconds(*fewer, outlook=outlook), rel=0.05)
    assert len(bursts) < 5000


@pytest.mark.parametrize("rate", ["standard", "enterprise", "server", "7/s", "20/s"])
def test_a_look_at_some_hundred_uneven_apps_takes_few_bursts_too(monkeypatch: pytest.MonkeyPatch, rate: str) -> None:
    bursts = calls_of(monkeypatch, Sliding.burst, Fixed.burst, Silence.burst)
    shares = [link(f"com.example.a{number}", 500 + 17 * number) for number in range(300)]
    assert seconds(*shares, outlook=Outlook(parse_rate(rate), 16, 0.1)) > 3600
    assert len(bursts) < 5000


@pytest.mark.slow
@pytest.mark.parametrize(
    "counts", [(58_000,), (30_000, 20_000, 8000), (300_000, 200_000, 80_000), (19_000, 19_333, 19_667)], ids=str
)
@pytest.mark.parametrize("app", [10, 100, 400])
@pytest.mark.parametrize("keys", [1, 2])
def test_a_look_at_an_app_limit_far_below_the_keys_takes_few_thoughts(
    monkeypatch: pytest.MonkeyPatch, counts: tuple[int, ...], app: int, keys: int
) -> None:
    """Each look at the fewest seconds costs some hundred steps, and a run looks ahead in its loop."""
    thoughts = 0
    least_seconds = resting.least_seconds

    def count(left: Sequence[float], rules: Rules) -> float:
        nonlocal thoughts
        thoughts += 1
        return least_seconds(left, rules)

    monkeypatch.setattr(resting, "least_seconds", count)
    limits = [Limit(ScopeKind.KEY, SilenceWindow(requests=1999)), Limit(ScopeKind.APP_ADDRESS, FixedWindow(requests=app))]
    outlook = Outlook(limits, 16, 0.1, {f"com.example.a{number}": str(number % keys) for number in range(3)})
    shares = [link(f"com.example.a{number}", each) for number, each in enumerate(counts)]
    assert seconds(*shares, outlook=outlook) > 3000
    assert thoughts < 1000


@pytest.mark.parametrize("keys", [1, 2])
def test_apps_that_are_through_let_the_rest_be_passed_over(monkeypatch: pytest.MonkeyPatch, keys: int) -> None:
    looks = calls_of(monkeypatch, Silence.signature)
    limits = [Limit(ScopeKind.KEY, SilenceWindow(requests=1999)), Limit(ScopeKind.APP_ADDRESS, FixedWindow(requests=1))]
    outlook = Outlook(limits, 16, 0.1, {f"com.example.a{number}": str(number % keys) for number in range(3)})
    shares = [link(f"com.example.a{number}", each) for number, each in enumerate((20_000, 10_000, 5000))]
    assert seconds(*shares, outlook=outlook) == pytest.approx(20_000 * 61.1, rel=0.001)
    assert len(looks) < 1000


@pytest.mark.slow
@pytest.mark.parametrize("operations", [(825, 13), (1425, 13), (1425, 213), (2425, 313)], ids=str)
def test_a_rest_that_comes_once_is_not_taken_for_what_goes_on(
    monkeypatch: pytest.MonkeyPatch, operations: tuple[int, int]
) -> None:
    app = FixedWindow(requests=25, window=30.0)
    limits = [Limit(ScopeKind.KEY, SilenceWindow(requests=50)), Limit(ScopeKind.APP_ADDRESS, app)]
    shares = [share_of(f"com.example.a{number}", "renew_device", each) for number, each in enumerate(operations)]
    passed_over = seconds(*shares, outlook=Outlook(limits, 16, 0.2))
    never_twice = itertools.count()
    monkeypatch.setattr(Silence, "signature", lambda _window, _now: (next(never_twice),))
    assert passed_over == pytest.approx(seconds(*shares, outlook=Outlook(limits, 16, 0.2)), rel=WITHIN)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.2, "about 1 s"),
        (61.4, "about 61 s"),
        (125, "about 2 min"),
        (5400, "about 90 min"),
        (12_000, "about 3 h 20 min"),
        (36_000, "about 10 h"),
        (200_000, "about 2 d 8 h"),
    ],
)
def test_times_are_told_as_they_are_known(seconds: float, text: str) -> None:
    assert about(seconds) == text
