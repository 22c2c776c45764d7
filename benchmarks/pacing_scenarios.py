"""The scenarios of `pacing`, and the engine's run of one in virtual time, through its public API."""

import random
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

import anyio

from benchmarks.optimum import Bounds, Loads, Pipe, least, least_with_repeats
from capgo_async import CapgoClient
from capgo_async.bulk import Job, LinkDevice, from_operations
from capgo_async.key_ring import KeyRing
from capgo_async.limits.models import Limit, ScopeKind, SilenceWindow
from capgo_async.sandbox import Binding, Sandbox, Settings, Thresholds, World, fleet, parse_faults, thresholds
from capgo_async.sandbox.exchange import Generation
from capgo_async.sandbox.inprocess import InProcessTransport
from capgo_async.sandbox.seeding import ORG_ID, SUPER_ADMIN_KEY, USER_ID, device_id

CONCURRENCY: Final = 15
CHANNEL: Final = "ch04"
"""A channel that no device of a seeded fleet is linked to."""
KEYS: Final = (SUPER_ADMIN_KEY, "10000000-0000-4000-8000-000000000002")
_HELD: Final = 61.0
"""Seconds that a request counts from its response: the server's windows plus the client's margin."""
_LOCKED_OUT: Final = 86_400.0
"""Virtual seconds after which an unfinished run is locked out for good."""
_BASE_URL: Final = "http://127.0.0.1"
_SERVER: Final = Bounds(key=1999, app=1000)


class Scenario(NamedTuple):
    """A server, a job, and how the job is paced.

    `operations` are those of each app. The apps are divided among `keys`. The optimum knows the `bounds`; if the client does
    not, it learns those of the scope `learned`. `documented` is the contenders' rate per minute.
    """

    name: str
    operations: tuple[int, ...]
    server: Thresholds
    bounds: Bounds
    rate: str = "auto"
    limits: tuple[Limit, ...] | None = None
    keys: int = 1
    faults: str = ""
    learned: ScopeKind | None = None
    documented: int = 100
    generation: Generation = "2026-07"

    def scaled(self, share: float) -> "Scenario":
        """Return the scenario with a share of the operations."""
        return self._replace(operations=tuple(max(1, round(number * share)) for number in self.operations))

    def key_of(self, app: int) -> str:
        """Return the key for the app with this number."""
        return KEYS[app * self.keys // len(self.operations)]

    def loads(self) -> Loads:
        """Return the number of operations of each app, by key."""
        return [[number for app, number in enumerate(self.operations) if self.key_of(app) == key] for key in KEYS[: self.keys]]

    def world(self) -> World:
        """Return the fleet before the job."""
        apps = len(self.operations)
        world = fleet(apps, apps * max(self.operations), channels=4)
        for key in KEYS[1 : self.keys]:
            world.add_key(key, Binding(role="org_super_admin", org_id=ORG_ID), user_id=USER_ID)
        return world

    def sandbox(self) -> Sandbox:
        """Return the server."""
        return Sandbox(self.world(), Settings(generation=self.generation, limits=self.server, faults=parse_faults(self.faults)))

    def devices(self) -> list[tuple[str, str, str]]:
        """Return the app, device and key of each operation, in a reproducible random order."""
        devices = [
            (app_id, device_id(app_id, index), self.key_of(app))
            for app, (app_id, number) in enumerate(zip(app_ids(len(self.operations)), self.operations, strict=True))
            for index in range(number)
        ]
        random.Random(1).shuffle(devices)
        return devices


def app_ids(apps: int) -> Iterator[str]:
    """Yield the ids of a fleet's apps."""
    return (f"com.example.app{number:02d}" for number in range(1, apps + 1))


SCENARIOS: Final = (
    Scenario("100/min", (500,) * 3, Thresholds(published=100), Bounds(sliding=100), rate="standard"),
    Scenario("1000/min", (4000,) * 3, Thresholds(published=1000), Bounds(sliding=1000), rate="enterprise", documented=1000),
    Scenario(
        "key alone",
        (10_000,),
        Thresholds(api_key=2000),
        Bounds(key=1999),
        limits=(Limit(ScopeKind.KEY, SilenceWindow(requests=1999)),),
    ),
    Scenario("server, 1 app", (10_000,), thresholds("server"), _SERVER),
    Scenario("server, 1 app, 2500", (2_500,), thresholds("server"), _SERVER),
    Scenario("server, 3 apps", (4_000,) * 3, thresholds("server"), _SERVER),
    Scenario("server, 12 apps", (1_000,) * 12, thresholds("server"), _SERVER),
    Scenario("server, 80/15/5 %", (8_000, 1_500, 500), thresholds("server"), _SERVER),
    Scenario("two keys", (1_000,) * 20, thresholds("server"), _SERVER, keys=2),
    Scenario("two keys, 2:1", (1_000,) * 10 + (500,) * 10, thresholds("server"), _SERVER, keys=2),
    Scenario("1 % faults", (4_000,) * 3, thresholds("server"), _SERVER, faults="POST /device:502=0.5%,drop-after=0.5%"),
    Scenario(
        "key learned",
        (3_000,) * 3,
        thresholds("server", {"RATE_LIMIT_API_KEY": 1201}),
        Bounds(key=1200, app=1000),
        learned=ScopeKind.KEY,
    ),
    Scenario(
        "app learned",
        (3_000,) * 3,
        thresholds("server", {"RATE_LIMIT_CHANNEL_SELF_IP": 400}),
        Bounds(key=1999, app=400),
        learned=ScopeKind.APP_ADDRESS,
    ),
)


class Ran(NamedTuple):
    """The measurements of a run. `failed` has the numbers of failed requests from 1, without refusals."""

    makespan: float
    requests: int
    refused: int
    refused_by_scope: int
    failed: tuple[int, ...]


class Optimum(NamedTuple):
    """The least makespan for a client that does not know when the server counts, and for one that does."""

    sure: float
    clairvoyant: float


def optimum_of(scenario: Scenario, latency: float, failed: tuple[int, ...] = ()) -> Optimum:
    """Return the lower bounds for any schedule with these faults."""
    pipe = Pipe(CONCURRENCY, latency, _HELD)
    sure, clairvoyant = (
        least_with_repeats(scenario.loads(), failed, scenario.bounds, each)
        if failed
        else least(scenario.loads(), scenario.bounds, each)
        for each in (pipe, pipe.clairvoyant)
    )
    return Optimum(sure, clairvoyant)


async def plan(path: Path, scenario: Scenario) -> None:
    """Plan the job in a new file, against a server without limits."""
    operations = (LinkDevice(app_id=app, device_id=device, channel=CHANNEL) for app, device, _ in scenario.devices())
    sandbox = Sandbox(scenario.world(), Settings(generation=scenario.generation))
    async with _client(InProcessTransport(sandbox), "off", None) as client:
        await (await Job.create(path, from_operations(operations), client=_ring(client, scenario))).aclose()


async def run(path: Path, scenario: Scenario, latency: float) -> Ran:
    """Run the job with a new client and return the measurements.

    Raises `RuntimeError` if not all operations are done.
    """
    sandbox = scenario.sandbox()
    transport = transport_to(sandbox, latency)
    async with _client(transport, scenario.rate, scenario.limits) as client, await Job.open(path) as job:
        with anyio.fail_after(_LOCKED_OUT):
            report = await job.run(_ring(client, scenario))
    if (
        report.done != report.planned
        or report.planned != sum(scenario.operations)
        or report.runs[-1].requests != len(sandbox.log)
    ):
        message = f"{scenario.name}: {report.done} of {report.planned} operations done, {report.failed} failed"
        raise RuntimeError(message)
    refused = refusals(sandbox, scenario)
    counted = [line for line in sandbox.log if line.status != 429]
    return Ran(
        makespan=report.elapsed_seconds,
        requests=len(counted),
        refused=refused.total(),
        refused_by_scope=max(refused.values(), default=0),
        failed=tuple(number for number, line in enumerate(counted, 1) if line.status != 200),
    )


def transport_to(sandbox: Sandbox, latency: float) -> InProcessTransport:
    """Return a transport to the sandbox with reproducible faults."""
    return InProcessTransport(sandbox, request_delay=latency / 2, reply_delay=latency / 2, chance=random.Random(1))


def refusals(sandbox: Sandbox, scenario: Scenario) -> Counter[str]:
    """Count the 429 responses per app if app limits are learned, otherwise per key."""
    refused = [line for line in sandbox.log if line.status == 429]
    if scenario.learned is ScopeKind.APP_ADDRESS:
        return Counter(line.target.partition("/")[0] for line in refused)
    return Counter(str(line.key) for line in refused)


def _client(transport: InProcessTransport, rate: str, limits: tuple[Limit, ...] | None) -> CapgoClient:
    return CapgoClient(
        api_key=KEYS[0],
        base_url=_BASE_URL,
        rate=rate,
        limits=limits,
        concurrency=CONCURRENCY,
        transport=transport,
        chance=random.Random(1).random,
    )


def _ring(client: CapgoClient, scenario: Scenario) -> KeyRing:
    """Return a ring of the client and the other keys."""
    keys = {app_id: scenario.key_of(app) for app, app_id in enumerate(app_ids(len(scenario.operations)))}
    others = {app_id: key for app_id, key in keys.items() if key != KEYS[0]}
    return KeyRing(client, others)
