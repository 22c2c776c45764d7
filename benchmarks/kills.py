"""Kill the command at random moments, with every kind of operation, and check that nothing is lost.

This measures reliability and not speed, so `python -m benchmarks` leaves it out. The sandbox is served by this process and
loses some responses after the commit, or says 503. The command runs in processes of its own. SIGKILL ends them when a response
is due, up to 50 ms later, or at a random time. Each job is resumed until it ends by itself. Then every operation must have one
outcome. What was recorded as done must not have been sent again. The server's state must be that after an undisturbed run; only
operations that ended as ambiguous may have left the state from before. Longer than 300 lines because each of nine kinds is
planned and judged in its own way.
"""

import argparse
import asyncio
import contextlib
import random
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, Final, NamedTuple

from benchmarks.forked import Forked
from benchmarks.measuring import LONGEST_RUN, ROOT, Benchmark, choose_generation, environment, table
from capgo_async import BundleMetadata, CapgoClient, ChannelSettings
from capgo_async.bulk import (
    DeleteBundle,
    DeleteChannel,
    Job,
    LinkDevice,
    Operation,
    OperationRow,
    Options,
    PromoteBundle,
    RemoveMember,
    RenewDevice,
    SetBundleMetadata,
    Thresholds,
    UnlinkDevice,
    UpdateChannel,
    from_operations,
)
from capgo_async.bulk.operations.kinds import KINDS
from capgo_async.sandbox import Arrival, Dropped, Incoming, Reply, Sandbox, Settings, World, fleet, parameters
from capgo_async.sandbox.exchange import Generation
from capgo_async.sandbox.faults import Chance, parse
from capgo_async.sandbox.seeding import ORG_ID, SUPER_ADMIN_KEY, channel_name
from capgo_async.sandbox.server import serve
from capgo_async.sandbox.state.apps import App

_APPS: Final = 3
_MOST_KILLS: Final = 8
"""Most kills of one job."""
_SLOW: Final = "latency=20ms..60ms"
"""Makes a run last long enough to be killed between its commits."""
_LOST: Final[Mapping[Generation, str]] = {"2026-07": "drop-after=8%", "2026-11": "drop-after=7%,503-after=1%"}
_AT_ONCE: Final = 6
"""Kinds that run concurrently: a run mostly waits."""
_NONE: Final = 1 << 60


def _world(each: int) -> World:
    """Build the initial world of every job, with enough to change for all kinds of operations."""
    overrides = {"beta": 0.5, "alpha": 0.25}
    world = fleet(_APPS, _APPS * each * 3 // 2, channels=each + 1, bundles=each + 3, now=time.time(), overrides=overrides)
    organization = world.organizations.get(ORG_ID)
    assert organization is not None
    for app in world.apps.values():
        for number in range(each):
            organization.join(world.add_user(_email(app, number)), "org_member")
    return world


_SETTINGS: Final = ChannelSettings(allow_dev=False, disable_auto_update="minor")
_METADATA: Final = BundleMetadata(comment="checked", link="https://example.com/notes")
_MAKERS: Final[Mapping[str, Callable[[App, int], Operation]]] = {
    "link_device": lambda app, i: LinkDevice(app_id=app.app_id, device_id=_device(app, i), channel="ch04"),
    "unlink_device": lambda app, i: UnlinkDevice(app_id=app.app_id, device_id=sorted(app.overrides)[i]),
    "renew_device": lambda app, i: RenewDevice(app_id=app.app_id, device_id=sorted(app.overrides)[i]),
    "update_channel": lambda app, i: UpdateChannel(app_id=app.app_id, channel=channel_name(i + 1), settings=_SETTINGS),
    "promote_bundle": lambda app, i: PromoteBundle(app_id=app.app_id, channel=channel_name(i + 1), bundle=f"1.{i}.0"),
    "delete_channel": lambda app, i: DeleteChannel(app_id=app.app_id, channel=channel_name(i + 1)),
    "delete_bundle": lambda app, i: DeleteBundle(app_id=app.app_id, bundle=f"1.{i}.0"),
    "set_bundle_metadata": lambda app, i: SetBundleMetadata(app_id=app.app_id, bundle=f"1.{i}.0", metadata=_METADATA),
    "remove_member": lambda app, i: RemoveMember(org_id=ORG_ID, email=_email(app, i)),
}
"""By kind: makes the operation on an app with a given index."""


def _device(app: App, index: int) -> str:
    # Every tenth device is in no inventory.
    return f"00000000-0000-4000-8000-{index:012d}" if index % 10 == 9 else sorted(app.devices)[index]


def _email(app: App, index: int) -> str:
    return f"member{index}@{app.app_id[-5:]}.example.com"


def state(world: World) -> dict[str, Any]:
    """Return everything that operations can change, by target. Times are left out."""
    organization = world.organizations.get(ORG_ID)
    assert organization is not None
    found: dict[str, Any] = {f"member {ORG_ID}/{email}": True for email in organization.members}
    for app in world.apps.values():
        found |= {f"device {app.app_id}/{name}": override.channel.name for name, override in app.overrides.items()}
        for channel in app.channels.values():
            found[f"channel {app.app_id}/{channel.name}"] = {**asdict(channel), "created_at": None, "updated_at": None}
        found |= {
            f"bundle {app.app_id}/{bundle.name}": (bundle.link, bundle.comment)
            for bundle in app.bundles.values()
            if not bundle.deleted
        }
    return found


class MortalSandbox(Sandbox):
    """A sandbox that calls `strike` before a response leaves, and records the targets of all writes."""

    def __init__(self, each: int, settings: Settings) -> None:
        super().__init__(_world(each), settings)
        self.writes: list[str] = []
        self.due = _NONE
        self.strike: Callable[[], object] = lambda: None

    def arrive(self, request: Incoming, now: float, chance: Chance | None = None) -> Arrival:
        """Receive a request."""
        arrival = super().arrive(request, now, chance)
        if request.method != "GET":
            self.writes.append(self._target(arrival))
        return arrival

    def answer(self, arrival: Arrival, now: float) -> Reply | Dropped:
        """Respond, and strike if a strike is due."""
        reply = super().answer(arrival, now)
        if self.answered >= self.due:
            self.due = _NONE
            self.strike()
        return reply

    def _target(self, arrival: Arrival) -> str:
        def sent(name: str) -> Any:
            return parameters.field(arrival.parameters, name)

        if arrival.route.path == "/organization/members":
            return f"{sent('orgId')}/{sent('email')}"
        app = self.world.apps[sent("app_id")]
        match f"{arrival.request.method} {arrival.route.path}":
            case "POST /device" | "DELETE /device":
                name = sent("device_id")
            case "POST /channel" | "DELETE /channel":
                name = sent("channel")
            case "PUT /bundle":
                channel = app.channel_numbered(int(sent("channel_id")))
                name = channel.name if channel else "?"
            case "DELETE /bundle":
                name = sent("version")
            case _:
                name = app.bundles[int(sent("version_id"))].name
        return f"{app.app_id}/{name}"


class Blow(NamedTuple):
    """When a run is killed: seconds after one of its responses, or after its start."""

    answers: int
    seconds: float


def _blow(draw: random.Random, calm: "Calm") -> Blow:
    if draw.random() < 0.25:
        return Blow(0, draw.uniform(0, calm.seconds))
    answers = draw.randrange(1, 2 + 2 * calm.answers // _MOST_KILLS)
    return Blow(answers, draw.choice((0.0, draw.uniform(0, 0.05))))


class Calm(NamedTuple):
    """An undisturbed job: its server and size, the state before and after, its responses and duration."""

    generation: Generation
    each: int
    before: dict[str, Any]
    after: dict[str, Any]
    answers: int
    seconds: float


class Told:
    """The results for one kind of operation.

    `repeated` counts writes beyond the necessary ones, including retries. `recorded` counts operations that were known to be
    done, summed over all kills.
    """

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.kills = 0
        self.jobs = 0
        self.operations = 0
        self.recorded = 0
        self.done = 0
        self.ambiguous = 0
        self.repeated = 0
        self.problems: list[str] = []

    def expect(self, good: object, problem: str) -> None:
        """Record `problem` unless `good`."""
        if not good:
            self.problems.append(f"job {self.jobs}: {problem}")


class Trial:
    """One job of one kind on one sandbox."""

    def __init__(self, kind: str, directory: Path, generation: Generation, each: int, *faults: str) -> None:
        writes = [request for request in KINDS[kind].requests if not request.startswith("GET")]
        spec = ";".join(f"{route}:{','.join((_SLOW, *faults))}" for route in writes)
        self.sandbox = MortalSandbox(each, Settings(generation=generation, faults=parse(spec), log_size=10))
        self.path = directory / f"{kind}.capgo-job"
        self.hung = False
        maker = _MAKERS[kind]
        self._operations = [maker(app, number) for app in self.sandbox.world.apps.values() for number in range(each)]
        self._base_url = ""

    @contextlib.asynccontextmanager
    async def planned(self, seed: int = 0) -> AsyncIterator[None]:
        """Serve the sandbox within the block, with a planned job for it."""
        for part in self.path.parent.glob(f"{self.path.name}*"):
            part.unlink()
        async with serve(self.sandbox, seed=seed) as address:
            self._base_url = address.base_url
            async with CapgoClient(api_key=SUPER_ADMIN_KEY, base_url=self._base_url, rate="off") as capgo:
                # No confirmation is needed for the number of deletions.
                options = Options(thresholds=Thresholds(destroying=len(self._operations)))
                job = await Job.create(self.path, from_operations(self._operations), client=capgo, options=options)
                await job.aclose()
            yield

    async def run(self, blow: Blow | None) -> int:
        """Run the command, kill it if there is a blow, and return its exit code."""
        words = ("job", "run", self.path, "--yes", "--json", "--rate", "off", "--concurrency", "4")
        aimed = {**environment(), "CAPGO_API_KEY": SUPER_ADMIN_KEY, "CAPGO_BASE_URL": self._base_url}
        process = Forked(*words, cwd=ROOT, env=aimed)
        loop = asyncio.get_running_loop()
        kill = process.kill

        def lose_patience() -> None:
            self.hung = True
            kill()

        timers = [loop.call_later(LONGEST_RUN, lose_patience)]
        if blow and blow.answers:
            self.sandbox.due = self.sandbox.answered + blow.answers
            self.sandbox.strike = lambda: timers.append(loop.call_later(blow.seconds, kill)) if blow.seconds else kill()
        elif blow:
            timers.append(loop.call_later(blow.seconds, kill))
        with process:
            code = await asyncio.to_thread(process.wait)
        self.sandbox.due = _NONE
        for timer in timers:
            timer.cancel()
        return code

    async def rows(self) -> dict[str, OperationRow]:
        """Return the job file's record of each operation, read from a copy so that the file stays as it is."""
        with tempfile.TemporaryDirectory(prefix="kills-") as directory:
            for suffix in ("", "-wal"):
                part = self.path.with_name(self.path.name + suffix)
                if part.exists():
                    shutil.copy(part, directory)
            async with await Job.open(Path(directory, self.path.name)) as job:
                return {f"{row.app_id}/{row.target}": row async for rows in job.operations() for row in rows}


async def _undisturbed(kind: str, directory: Path, generation: Generation, each: int) -> Calm:
    trial = Trial(kind, directory, generation, each)
    before = state(trial.sandbox.world)
    async with trial.planned():
        planned, began_at = trial.sandbox.answered, time.perf_counter()
        code = await trial.run(None)
        seconds = time.perf_counter() - began_at
    if code:
        message = f"{kind}: an undisturbed run ended with exit code {code}"
        raise RuntimeError(message)
    return Calm(generation, each, before, state(trial.sandbox.world), trial.sandbox.answered - planned, seconds)


async def _killed(told: Told, directory: Path, calm: Calm, kills: int, draw: random.Random) -> None:
    """Run and kill one job until it ends by itself, and check the result."""
    told.jobs += 1
    trial = Trial(told.kind, directory, calm.generation, calm.each, _LOST[calm.generation])
    async with trial.planned(draw.randrange(1 << 30)):
        done: set[str] = set()
        rows = await trial.rows()
        targets = set(rows)
        told.expect(len(targets) == _APPS * calm.each, f"{len(targets)} operations were planned")
        struck = 0
        for _ in range(3 * _MOST_KILLS):
            begin = len(trial.sandbox.writes)
            code = await trial.run(_blow(draw, calm) if struck < kills else None)
            again = done.intersection(trial.sandbox.writes[begin:])
            told.expect(not again, f"sent again after being done: {sorted(again)}")
            rows = await trial.rows()
            told.expect(set(rows) == targets, "operations appeared or vanished")
            forgotten = done - (done := {target for target, row in rows.items() if row.outcome == "done"})
            told.expect(not forgotten, f"no longer done: {sorted(forgotten)}")
            told.expect(not trial.hung, f"a run did not end within {LONGEST_RUN:.0f} s")
            if code != -signal.SIGKILL or trial.hung:
                break
            struck += 1
            told.recorded += len(done)
    told.kills += struck
    ambiguous = {target for target, row in rows.items() if row.cause == "ambiguous"}
    told.expect(code == (3 if ambiguous else 0), f"the last run ended with exit code {code}")
    told.expect(len(done) + len(ambiguous) == len(targets), f"not settled: {sorted(targets - done - ambiguous)}")
    told.operations += len(targets)
    told.done += len(done)
    told.ambiguous += len(ambiguous)
    told.repeated += len(trial.sandbox.writes) - len(set(trial.sandbox.writes)) * _writes_of(told.kind)
    for problem in _differences(told.kind, calm, state(trial.sandbox.world), ambiguous):
        told.expect(None, problem)


def _writes_of(kind: str) -> int:
    return sum(not request.startswith("GET") for request in KINDS[kind].requests)


def _differences(kind: str, calm: Calm, now: Mapping[str, Any], ambiguous: set[str]) -> list[str]:
    """Return how the state differs from that after an undisturbed run.

    Ambiguous operations may also have left the state from before.
    """
    doubtful = {f"{KINDS[kind].target} {target}" for target in ambiguous}
    problems = []
    for target in sorted({*calm.before, *calm.after, *now}):
        found, before, after = (states.get(target) for states in (now, calm.before, calm.after))
        # Deleting a channel removes the links to it.
        linked_to = f"channel {target.split()[1].split('/')[0]}/{before}" if target.startswith("device") else target
        allowed = (before, after) if doubtful & {target, linked_to} else (after,)
        if found not in allowed:
            problems.append(f"{target} is {found}, not {' nor '.join(map(str, allowed))}")
    return problems


async def _measure(options: argparse.Namespace) -> dict[str, Any]:
    points, seed = options.points, options.seed
    ends_at = (began_at := time.perf_counter()) + options.seconds
    told = [Told(kind) for kind in options.kind or KINDS]
    turn = asyncio.Semaphore(_AT_ONCE)

    async def try_one(each: Told, wanted: int) -> None:
        draw = random.Random(f"{seed} {each.kind}")
        async with turn:
            calm = await _undisturbed(each.kind, Path(directory), options.generation, options.each)
            while each.kills < wanted and time.perf_counter() < ends_at:
                await _killed(each, Path(directory), calm, min(_MOST_KILLS, wanted - each.kills), draw)

    with tempfile.TemporaryDirectory(prefix="kills-") as directory:
        async with asyncio.TaskGroup() as group:
            for number, each in enumerate(told):
                group.create_task(try_one(each, points // len(told) + (number < points % len(told))))
    kills = sum(each.kills for each in told)
    problems = [f"{each.kind}, {problem}" for each in told for problem in each.problems]
    return {
        "benchmark": "kills",
        "generation": options.generation,
        "seed": seed,
        "points": points,
        "kills": kills,
        "jobs": sum(each.jobs for each in told),
        "operations": sum(each.operations for each in told),
        "done": sum(each.done for each in told),
        "ambiguous": sum(each.ambiguous for each in told),
        "seconds": round(time.perf_counter() - began_at, 1),
        "kinds": [vars(each) for each in told],
        "problems": problems,
        "passed": not problems and kills >= points,
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Kill at random points, spread evenly over the kinds of operations."""
    return asyncio.run(_measure(options))


def show(found: dict[str, Any]) -> str:
    """Return the results as a table."""
    names = ("kind", "kills", "jobs", "operations", "done", "ambiguous", "repeated")
    rows = [
        [*(str(kind[name]) for name in names), f"{kind['recorded'] / max(1, kind['kills']):.0f}", str(len(kind["problems"]))]
        for kind in found["kinds"]
    ]
    lines = [table((*names, "recorded at kills", "problems"), rows), *found["problems"]]
    how = "passed" if found["passed"] else "NOT passed"
    server = f"generation {found['generation']}, seed {found['seed']}"
    lines.append(f"{found['kills']} of {found['points']} kills, {server}, {found['seconds']:.0f} s: {how}")
    return "\n".join(lines)


def arguments() -> argparse.ArgumentParser:
    """Return the options of this program."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kills", description=__doc__)
    parser.add_argument("--points", type=int, default=200, help="kills, spread evenly over the kinds (default: 200)")
    parser.add_argument("--kind", choices=tuple(KINDS), action="append", help="only this kind (repeatable)")
    parser.add_argument("--each", type=int, default=40, help=f"operations on each of {_APPS} apps (default: 40)")
    choose_generation(parser)
    parser.add_argument("--seed", type=int, default=1, help="seed of the random moments (default: 1)")
    parser.add_argument("--seconds", type=float, default=900.0, help="seconds after which no new job begins (default: 900)")
    return parser


BENCHMARK: Final = Benchmark(arguments, measure, show)

if __name__ == "__main__":
    sys.exit(0 if BENCHMARK.run()["passed"] else 1)
