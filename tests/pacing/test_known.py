"""What is known of a host and a key: the rules by themselves, and clients that begin with what others learned."""

from datetime import UTC, datetime, timedelta

import anyio
import msgspec
import pytest
from fleet import APP, client_of, ids_of, limits_in, sandbox_of
from hypothesis import given, strategies as st
from virtual_time import in_virtual_time

from capgo_async import CapgoClient, ScopeKind
from capgo_async.client import requester_of
from capgo_async.key_ring import pacer_of
from capgo_async.limits.known import Known, KnownLimit, Latencies, Latency, lasting, with_latency, with_lessons, with_refusal
from capgo_async.sandbox import Sandbox
from capgo_async.sandbox.seeding import DEVELOPER_KEY

NOW = datetime(2026, 7, 20, 10, 0, tzinfo=UTC)
BEFORE = NOW - timedelta(days=2)


def limit(requests: int, *, at: datetime = BEFORE, certain: bool = True, scope: ScopeKind = ScopeKind.KEY) -> KnownLimit:
    return KnownLimit(scope=scope, requests=requests, learned_at=at, certain=certain)


def known(*limits: KnownLimit) -> Known:
    return Known(server_version="12.201.7", version_told_at=BEFORE, page=300, page_found_at=BEFORE, limits=limits)


def test_limits_last_a_week() -> None:
    old = limit(30, at=NOW - timedelta(days=7))
    young = limit(40, at=NOW - timedelta(days=6, hours=23), scope=ScopeKind.APP_ADDRESS)
    assert lasting(known(old, young), NOW) == known(young)


@pytest.mark.parametrize(("days", "kept"), [(6, True), (8, False)])
def test_others_are_remembered_for_a_week(days: int, *, kept: bool) -> None:
    noticed = NOW - timedelta(days=days)
    assert lasting(Known(others_noticed_at=noticed), NOW).others_noticed_at == (noticed if kept else None)


WHAT_ELSE = {
    "server_version": ("version_told_at", "12.201.7"),
    "latency": ("latency_seen_at", Latency(median=0.1, high=0.2, answers=50)),
    "page": ("page_found_at", 120),
    "page_loses": ("page_found_at", 130),
}


@pytest.mark.parametrize("name", WHAT_ELSE)
def test_so_do_version_latency_and_page_each_from_its_own_moment(name: str) -> None:
    moment, value = WHAT_ELSE[name]
    young = msgspec.structs.replace(Known(updated_at=NOW), **{name: value, moment: NOW - timedelta(days=6)})
    old = msgspec.structs.replace(young, **{moment: NOW - timedelta(days=7)})
    of_nobody_knows_when = msgspec.structs.replace(young, **{moment: None})
    assert lasting(young, NOW) == young
    assert lasting(old, NOW) == lasting(of_nobody_knows_when, NOW) == Known(updated_at=NOW)


@pytest.mark.parametrize(
    ("before", "lessons", "after"),
    [
        ((), {}, ()),
        ((limit(30),), {}, (limit(30),)),
        ((limit(30),), {ScopeKind.KEY: 30}, (limit(30),)),
        ((limit(30),), {ScopeKind.KEY: 25}, (limit(25, at=NOW),)),
        ((limit(30),), {ScopeKind.KEY: None}, ()),
        ((limit(30, certain=False),), {ScopeKind.KEY: 30}, (limit(30, at=NOW),)),
        ((limit(30, certain=False),), {ScopeKind.KEY: None}, ()),
        (
            (limit(30),),
            {ScopeKind.APP_ADDRESS: 9},
            (limit(30), limit(9, at=NOW, scope=ScopeKind.APP_ADDRESS)),
        ),
    ],
)
def test_lessons_replace_what_was_known(
    before: tuple[KnownLimit, ...], lessons: dict[ScopeKind, int | None], after: tuple[KnownLimit, ...]
) -> None:
    assert with_lessons(known(*before), lessons, NOW) == known(*after)


@pytest.mark.parametrize(
    ("before", "passed", "after"),
    [
        ((), 0, ()),
        ((), 30, (limit(30, at=NOW, certain=False),)),
        ((limit(30, certain=False),), 30, (limit(30, at=NOW),)),
        ((limit(30, certain=False),), 20, (limit(20, at=NOW, certain=False),)),
        ((limit(30),), 20, (limit(30),)),
    ],
)
def test_one_refusal_is_a_suspicion_and_a_second_at_the_same_number_a_limit(
    before: tuple[KnownLimit, ...], passed: int, after: tuple[KnownLimit, ...]
) -> None:
    assert with_refusal(known(*before), ScopeKind.KEY, passed, NOW) == known(*after)


def test_a_few_answers_do_not_replace_an_estimate_that_rests_on_many() -> None:
    many, few = Latency(median=0.1, high=0.2, answers=5000), Latency(median=9.0, high=9.0, answers=19)
    assert with_latency(Known(), few, NOW) == Known(latency=few, latency_seen_at=NOW)
    before = Known(latency=many, latency_seen_at=BEFORE)
    assert with_latency(before, few, NOW) == with_latency(before, None, NOW) == before
    assert with_latency(Known(latency=few, latency_seen_at=BEFORE), many, NOW) == Known(latency=many, latency_seen_at=NOW)


@given(st.lists(st.floats(0.001, 30.0), min_size=1, max_size=5000))
def test_an_estimate_stays_within_what_was_seen_and_its_samples_stay_few(seconds: list[float]) -> None:
    latencies = Latencies()
    for each in seconds:
        latencies.note(each)
    found = latencies.estimate()
    assert found is not None
    assert min(seconds) <= found.median <= found.high <= max(seconds)
    assert found.answers == len(seconds)
    assert len(latencies._samples) <= 1024


def test_an_estimate_of_many_answers_is_near_the_truth() -> None:
    latencies = Latencies()
    for number in range(100_000):
        latencies.note(number % 1000 / 1000)
    found = latencies.estimate()
    assert found is not None
    assert found.median == pytest.approx(0.5, abs=0.05)
    assert found.high == pytest.approx(0.95, abs=0.03)
    assert Latencies().estimate() is None


async def read(capgo: CapgoClient, requests: int, workers: int = 16) -> None:
    left = iter(range(requests))

    async def work() -> None:
        for _ in left:
            await capgo.apps.get(APP)

    async with anyio.create_task_group() as group:
        for _ in range(workers):
            group.start_soon(work)


def refused(sandbox: Sandbox) -> int:
    return sum(1 for line in sandbox.log if line.status == 429)


def smaller(requests: int) -> Sandbox:
    return sandbox_of(limits="server", variables={"RATE_LIMIT_API_KEY": requests + 1})


@pytest.mark.slow
@in_virtual_time
async def test_a_client_that_recalls_a_limit_is_never_refused_by_it() -> None:
    sandbox = smaller(300)
    first = client_of(sandbox)
    await read(first, 1000)
    learned = first.known()
    assert [(each.scope, each.requests, each.certain) for each in learned.limits] == [(ScopeKind.KEY, 300, True)]
    assert learned.server_version == "12.201.7"
    await anyio.sleep(62.0)
    before = refused(sandbox)
    second = client_of(sandbox)
    second.recall(learned)
    await read(second, 1000)
    assert refused(sandbox) == before > 0
    assert second.known().limits == learned.limits


@in_virtual_time
async def test_a_suspicion_becomes_certain_by_one_refusal() -> None:
    sandbox = smaller(300)
    capgo = client_of(sandbox)
    capgo.recall(known(limit(300, at=datetime.now(UTC), certain=False)))
    await read(capgo, 700)
    assert refused(sandbox) == 1
    assert [(each.requests, each.certain) for each in capgo.known().limits] == [(300, True)]


@pytest.mark.parametrize("workers", [1, 16])
@in_virtual_time
async def test_two_processes_that_are_refused_at_the_same_number_learn_the_limit(workers: int) -> None:
    sandbox = smaller(40)
    first = client_of(sandbox)
    await read(first, 45, workers)
    suspected = first.known()
    assert [(each.requests, each.certain) for each in suspected.limits] == [(40, False)]
    first.recall(suspected)
    assert first.known().limits == suspected.limits, "one refusal confirms itself in no process"
    await anyio.sleep(62.0)
    second = client_of(sandbox)
    second.recall(suspected)
    assert second.known().limits == suspected.limits, "what was recalled confirms nothing"
    await read(second, 45, workers)
    assert [(each.requests, each.certain) for each in second.known().limits] == [(40, True)]
    assert refused(sandbox) <= workers + 1


@in_virtual_time
async def test_of_suspicions_about_several_apps_the_smallest_is_kept() -> None:
    sandbox = sandbox_of(apps=2, devices=400, limits="server", variables={"RATE_LIMIT_CHANNEL_SELF_IP": 40})
    one, other = sandbox.world.apps
    somebody, capgo = client_of(sandbox), client_of(sandbox)
    for client, app_id, reads in ((somebody, other, 10), (capgo, other, 31), (capgo, one, 41)):
        for device in ids_of(sandbox, app_id)[:reads]:
            await client.devices.get(app_id, device)
    assert refused(sandbox) == 2
    assert [(each.requests, each.certain) for each in capgo.known().limits] == [(30, False)]


@pytest.mark.parametrize("certain", [True, False])
@in_virtual_time
async def test_what_proves_too_small_is_forgotten(*, certain: bool) -> None:
    sandbox = sandbox_of(limits="server")
    capgo = client_of(sandbox)
    capgo.recall(known(limit(30, at=datetime.now(UTC), certain=certain)))
    assert [each.requests for each in capgo.known().limits] == [30]
    await read(capgo, 400)
    assert capgo.known().limits == ()
    assert refused(sandbox) == 0


@in_virtual_time
async def test_a_limit_of_an_app_is_recalled_for_every_app() -> None:
    sandbox = sandbox_of(apps=2, devices=400, limits="server", variables={"RATE_LIMIT_CHANNEL_SELF_IP": 40})
    capgo = client_of(sandbox)
    capgo.recall(known(limit(40, at=datetime.now(UTC), scope=ScopeKind.APP_ADDRESS)))
    for app_id in sandbox.world.apps:
        for _ in range(60):
            await capgo.devices.list(app_id).all()
    assert refused(sandbox) == 0


@in_virtual_time
async def test_a_known_limit_above_the_model_is_kept_and_not_used() -> None:
    capgo = client_of(sandbox_of(limits="server"))
    larger = known(limit(2500, at=datetime.now(UTC)))
    capgo.recall(larger)
    await read(capgo, 100)
    assert limits_in(pacer_of(capgo).gates.windows_of(requester_of(capgo).key_scope)) == (1999,)
    assert capgo.known().limits == larger.limits


@in_virtual_time
async def test_a_rate_that_the_user_set_recalls_nothing() -> None:
    capgo = client_of(sandbox_of(limits="server"), rate="server")
    capgo.recall(known(limit(30, at=datetime.now(UTC))))
    assert limits_in(pacer_of(capgo).gates.windows_of(requester_of(capgo).key_scope)) == (1999,)


@in_virtual_time
async def test_a_limit_of_one_key_is_not_that_of_another() -> None:
    capgo = client_of(sandbox_of())
    capgo.recall(known(limit(30, at=datetime.now(UTC))))
    other = capgo.with_key("another-key")
    assert limits_in(pacer_of(other).gates.windows_of(requester_of(other).key_scope)) == (1999,)
    assert other.known().limits == ()


@in_virtual_time
async def test_what_one_key_teaches_is_known_of_that_key_alone() -> None:
    sandbox = smaller(300)
    capgo = client_of(sandbox)
    other = capgo.with_key(DEVELOPER_KEY)
    await read(capgo, 1000)
    await read(other, 10)
    assert [each.requests for each in capgo.known().limits] == [300]
    assert other.known().limits == ()


@in_virtual_time
async def test_what_nobody_tells_anew_keeps_its_age_however_often_it_is_handed_on() -> None:
    capgo = client_of(sandbox_of())
    at = datetime.now(UTC) - timedelta(days=6)
    capgo.recall(Known(server_version="12.1.0", version_told_at=at, page=120, page_found_at=at))
    kept = capgo.known()
    assert (kept.server_version, kept.version_told_at, kept.page, kept.page_found_at) == ("12.1.0", at, 120, at)
    await read(capgo, 1)
    kept = capgo.known()
    assert kept.server_version == "12.201.7"
    assert kept.version_told_at == kept.updated_at
    assert (kept.page, kept.page_found_at) == (120, at)
    capgo.recall(msgspec.structs.replace(kept, page_found_at=at - timedelta(days=1)))
    assert capgo.known().page is None


@in_virtual_time
async def test_a_limit_of_more_than_a_week_ago_is_not_recalled() -> None:
    capgo = client_of(sandbox_of())
    capgo.recall(known(limit(30, at=datetime.now(UTC) - timedelta(days=8))))
    assert limits_in(pacer_of(capgo).gates.windows_of(requester_of(capgo).key_scope)) == (1999,)
    assert capgo.known().limits == ()
