"""Cancel calls at random, under limits and faults, and look whether anything is lost.

Workers make calls of all sorts. Each call is cancelled at a random wait, in the moment in which a wait is over, or after a
random time. Afterwards the client must be as if it had never been used: no request is in flight, none waits, nothing counts,
and requests leave at the same moments as from a new client. This runs in virtual time against a sandbox in this process. A
smaller part runs over sockets, where no connection may stay in use.
"""

import argparse
import asyncio
import random
import sys
import types
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from typing import Any, Final, TypeVar, cast

import anyio

from benchmarks.measuring import Benchmark, exit_code, table, verdict
from capgo_async import CapgoClient, Request, Response
from capgo_async.errors import CapgoError
from capgo_async.http.transport import AiohttpTransport
from capgo_async.key_ring import pacer_of
from capgo_async.limits.models import FixedWindow, Limit, ScopeKind, SilenceWindow
from capgo_async.sandbox import Sandbox, Settings, fleet, parse_faults, thresholds
from capgo_async.sandbox.faults import Faults
from capgo_async.sandbox.inprocess import InProcessTransport
from capgo_async.sandbox.seeding import SUPER_ADMIN_KEY
from capgo_async.sandbox.server import serve
from capgo_async.sandbox.virtual_time import run_in_virtual_time

T = TypeVar("T")

_APP: Final = "com.example.app01"
_DEVICES: Final = 120
_WORKERS: Final = 25
_IN_A_ROUND: Final = 500
_RESTS_FOR: Final = 1_000.0
"""Seconds after which every limit has forgotten everything."""
_BURST: Final = 100
_FAULTS: Final = "*:latency=5ms..400ms,500=3%,502=2%,drop-before=2%,drop-after=3%,503=2%,429-edge=0.2%,lost-keys=0.1%"
_SERVER: Final = {"RATE_LIMIT_API_KEY": 80, "RATE_LIMIT_CHANNEL_SELF_IP": 60}
_MODELS: Final = (
    Limit(ScopeKind.KEY, SilenceWindow(requests=90)),
    Limit(ScopeKind.APP_ADDRESS, FixedWindow(requests=50)),
    Limit(ScopeKind.DEVICE_OPERATION, FixedWindow(requests=5, window=1.0)),
    Limit(ScopeKind.DEVICE_CHANNEL, FixedWindow(requests=1)),
)
"""The limits as the client knows them. That of the key is smaller on the server, so that some requests are refused."""


_FEW: Final = [f"device-{number}" for number in range(12)]
"""Few devices, so that calls meet the limits of single devices."""


@types.coroutine
def interrupted(coroutine: Coroutine[Any, Any, T], at: int, *, late: bool = False) -> Generator[Any, Any, T]:
    """Await a coroutine, and cancel its task at its wait number `at`, from 1.

    With `late`, the task is cancelled when this wait is over, but before the task goes on.
    """
    error: BaseException | None = None
    waits = 0
    task = asyncio.current_task()
    assert task is not None
    while True:
        try:
            future = coroutine.send(None) if error is None else coroutine.throw(error)
        except StopIteration as end:
            return cast("T", end.value)
        waits += 1
        if waits == at and late and future is not None:
            # The task goes on after this, because it adds its own callback later.
            future.add_done_callback(lambda _: task.cancel())
        elif waits == at:
            task.cancel()
        try:
            yield future
        except BaseException as raised:  # noqa: BLE001 - handed to the coroutine
            error = raised
        else:
            error = None


class Counting(InProcessTransport):
    """Counts the requests that are under way, and remembers when each left."""

    def __init__(self, sandbox: Sandbox, chance: random.Random) -> None:
        super().__init__(sandbox, request_delay=0.02, reply_delay=0.02, chance=chance)
        self.under_way = 0
        self.left_at: list[float] = []

    async def send(self, request: Request, headers: Mapping[str, str], *, fresh: bool = False) -> Response:
        """Send a request."""
        self.under_way += 1
        self.left_at.append(anyio.current_time())
        try:
            return await super().send(request, headers, fresh=fresh)
        finally:
            self.under_way -= 1


Call = Callable[[], Awaitable[object]]


def any_call(capgo: CapgoClient, chance: random.Random) -> Call:
    """Return a call of some sort."""
    device = chance.choice(_FEW)
    channel = chance.choice(("alpha", "beta"))
    client = capgo if chance.random() < 0.7 else capgo.with_options(max_wait=chance.choice((0.0, 1.0, 30.0)))
    calls: tuple[Call, ...] = (
        lambda: client.devices.link(_APP, device, channel=channel),
        lambda: client.devices.link(_APP, device, channel=channel),
        lambda: client.devices.unlink(_APP, device),
        lambda: client.devices.get(_APP, device),
        lambda: client.devices.list(_APP).all(),
        lambda: client.channels.list(_APP).all(),
        lambda: client.bundles.find(_APP, "1.0.0"),
        client.check,
    )
    return chance.choice(calls)


async def cancelled(call: Call, chance: random.Random) -> bool:
    """Make a call and cancel it at random; return whether it was cancelled before it ended."""

    async def made() -> None:
        await call()

    way = chance.random()
    try:
        if way < 0.3:
            async with asyncio.timeout(chance.choice((0.0, 0.01, 0.03, 0.1, 0.5, 5.0, 70.0)) * chance.random()):
                await made()
        else:
            await asyncio.ensure_future(_task_of(interrupted(made(), chance.randint(1, 6), late=way > 0.7)))
    except CapgoError:
        return False
    except (TimeoutError, asyncio.CancelledError):
        return True
    return False


async def _task_of(steps: Awaitable[None]) -> None:
    await steps


async def _many(capgo: CapgoClient, chance: random.Random, wanted: int) -> int:
    """Make calls until `wanted` were cancelled; return how many were made."""
    made = hit = 0

    async def work() -> None:
        nonlocal made, hit
        while hit < wanted:
            made += 1
            if await cancelled(any_call(capgo, chance), chance):
                hit += 1

    async with anyio.create_task_group() as group:
        for _ in range(_WORKERS):
            group.start_soon(work)
    return made


async def departures(capgo: CapgoClient, transport: Counting) -> list[float]:
    """Return when each of many calls leaves that are made at once after a rest, in seconds from then."""
    for _ in range(200):
        # Successes bring the concurrency back that failures have reduced. These count against no limit.
        await capgo.check()
    await capgo.devices.unlink(_APP, "d")
    await anyio.sleep(_RESTS_FOR)
    begun_at, before = anyio.current_time(), len(transport.left_at)
    async with anyio.create_task_group() as group:
        for number in range(_BURST):
            group.start_soon(capgo.devices.unlink, _APP, f"device-{number % (_BURST // 2)}")
    return [round(at - begun_at, 6) for at in transport.left_at[before:]]


def _client(faults: str, chance: random.Random) -> tuple[CapgoClient, Counting]:
    settings = Settings(limits=thresholds("server", _SERVER), faults=parse_faults(faults), log_size=1)
    transport = Counting(Sandbox(fleet(apps=1, devices=_DEVICES), settings), chance)
    capgo = CapgoClient(
        api_key=SUPER_ADMIN_KEY, base_url="http://127.0.0.1", limits=_MODELS, transport=transport, chance=chance.random
    )
    return capgo, transport


async def in_process(chance: random.Random, wanted: int) -> dict[str, Any]:
    """Cancel calls in virtual time; return what was lost, and how many calls were made."""
    capgo, transport = _client(_FAULTS, chance)
    made = await _many(capgo, chance, wanted)
    pacer = pacer_of(capgo)
    now = anyio.current_time()
    lost = Counter(permits=pacer.in_flight, waiting=int(pacer.queue_ends_at(now) > now), under_way=transport.under_way)
    transport.sandbox.faults = Faults(())
    shown = await departures(capgo, transport)
    fresh, its_transport = _client("", random.Random(1))
    lost["departures"] = int(shown != await departures(fresh, its_transport))
    await anyio.sleep(_RESTS_FOR)
    lost["counting"] = len(pacer.gates.usage(anyio.current_time()))
    return {"made": made, "lost": dict(lost)}


async def over_sockets(chance: random.Random, wanted: int) -> dict[str, Any]:
    """Cancel calls over sockets; return how many connections stay in use, and how many calls were made."""
    settings = Settings(faults=parse_faults("*:latency=1ms..2ms"), log_size=1)
    async with serve(Sandbox(fleet(apps=1, devices=_DEVICES), settings)) as address:
        transport = AiohttpTransport(address.base_url)
        async with CapgoClient(
            api_key=SUPER_ADMIN_KEY, base_url=address.base_url, rate="off", transport=transport, chance=chance.random
        ) as capgo:
            made = await _many(capgo, chance, wanted)
            await capgo.check()
            session = transport._owned  # noqa: SLF001 - neither this nor the connections in use can be asked for
            in_use = len(session.connector._acquired) if session and session.connector else -1  # noqa: SLF001 - as above
            return {"made": made, "lost": {"permits": pacer_of(capgo).in_flight, "connections": in_use}}


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return how many calls were cancelled, and what was lost."""
    chance = random.Random(options.seed)
    rounds = [min(_IN_A_ROUND, options.cancellations - begun) for begun in range(0, options.cancellations, _IN_A_ROUND)]
    found = [run_in_virtual_time(in_process(chance, wanted)) for wanted in rounds]
    sockets = asyncio.run(over_sockets(chance, options.sockets))
    lost: Counter[str] = Counter()
    for each in (*found, sockets):
        lost.update(each["lost"])
    return {
        "benchmark": "cancellations",
        "cancelled": options.cancellations,
        "made": sum(each["made"] for each in found),
        "cancelled_over_sockets": options.sockets,
        "made_over_sockets": sockets["made"],
        "lost": dict(lost),
        "met": not lost.total(),
    }


def show(found: dict[str, Any]) -> str:
    """Return the results as a table."""
    rows = [
        ("in virtual time", f"{found['made']:,}", f"{found['cancelled']:,}"),
        ("over sockets", f"{found['made_over_sockets']:,}", f"{found['cancelled_over_sockets']:,}"),
    ]
    lost = ", ".join(f"{name} {number}" for name, number in found["lost"].items())
    return "\n".join(
        (table(("", "calls", "cancelled"), rows), "", f"lost: {lost}", verdict("nothing is lost", met=found["met"]))
    )


def arguments() -> argparse.ArgumentParser:
    """Return the options of this benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.cancellations", description=__doc__)
    parser.add_argument("--cancellations", type=int, default=10_000, help="in virtual time (default: %(default)s)")
    parser.add_argument("--sockets", type=int, default=500, help="over sockets (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=1)
    return parser


BENCHMARK: Final = Benchmark(arguments, measure, show, full=("cancellations", "sockets"))

if __name__ == "__main__":
    sys.exit(exit_code(BENCHMARK.run()))
