"""Plans, runs, kills, lost answers, changes by others, proofs and ways back, in any order, against a model of who wrote last.

`HYPOTHESIS_PROFILE=thorough` tries many more orders.
"""

import asyncio
import os
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import pytest
from fleet import copy_job, looked_up
from hypothesis import HealthCheck, note, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec import UNSET
from msgspec.structs import asdict

from capgo_async import BundleMetadata, CapgoClient, ChannelSettings
from capgo_async.bulk import Job, Options, Report, Which, from_operations
from capgo_async.bulk.jobfile.schema import Outcome, Verdict
from capgo_async.bulk.operations.operations import (
    Change,
    DeleteBundle,
    DeleteChannel,
    LinkDevice,
    Operation,
    PromoteBundle,
    RenewDevice,
    SetBundleMetadata,
    Target,
    TargetKind,
    UnlinkDevice,
    UpdateChannel,
    operation_of,
)
from capgo_async.errors import ConnectionLost, SafetyStop
from capgo_async.sandbox import Arrival, Reply, Sandbox, Settings, fleet, parameters, thresholds
from capgo_async.sandbox.faults import Faults, parse
from capgo_async.sandbox.inprocess import InProcessTransport
from capgo_async.sandbox.seeding import SUPER_ADMIN_KEY
from capgo_async.sandbox.virtual_time import run_in_virtual_time

pytestmark = pytest.mark.slow

APPS = ("com.example.app01", "com.example.app02")
DEVICES = 8
"""Devices of an app; two more are linked and unlinked that no inventory knows."""
CHANNELS = ("production", "beta", "alpha", "ch04", "ch05")
BUNDLES = ("1.0.0", "1.1.0", "1.2.0", "1.3.0", "1.4.0")
FAULTS = ";".join(
    f"{route}:drop-after=10%,502-after=45%"
    for route in ("POST /device", "DELETE /device", "POST /channel", "DELETE /channel", "PUT /bundle", "DELETE /bundle")
)
FAULTS += ";POST /bundle/metadata:drop-after=10%,502-after=45%"
UNREADY = {Outcome.PENDING, Outcome.SENT}

State = dict[Target, Any]
T = TypeVar("T")


class Witness(Sandbox):
    """A sandbox that tells of each change that it made, whatever becomes of the answer."""

    def __init__(self) -> None:
        world = fleet(len(APPS), len(APPS) * DEVICES, len(CHANNELS), bundles=len(BUNDLES))
        for app in world.apps.values():
            for bundle in list(app.bundles.values())[:3]:
                bundle.comment, bundle.link = "as it was", "https://example.com"
        super().__init__(world, Settings(limits=thresholds("off"), log_size=10))
        self.tell: Callable[[str, Target], None] = lambda _method, _target: None

    def handle(self, arrival: Arrival, now: float, headers: Mapping[str, str]) -> Reply:
        target = None if arrival.request.method == "GET" else self._target(arrival)
        reply = super().handle(arrival, now, headers)
        if target is not None and reply.status == 200:
            self.tell(arrival.request.method, target)
        return reply

    def _target(self, arrival: Arrival) -> Target:
        def sent(name: str) -> Any:
            return parameters.field(arrival.parameters, name)

        app = self.world.apps[sent("app_id")]
        match f"{arrival.request.method} {arrival.route.path}":
            case "POST /device" | "DELETE /device":
                return Target(TargetKind.DEVICE, app.app_id, sent("device_id"))
            case "POST /channel" | "DELETE /channel":
                return Target(TargetKind.CHANNEL, app.app_id, sent("channel"))
            case "PUT /bundle":
                channel = app.channel_numbered(int(sent("channel_id")))
                return Target(TargetKind.CHANNEL, app.app_id, channel.name if channel else "gone")
            case "DELETE /bundle":
                return Target(TargetKind.BUNDLE, app.app_id, sent("version"))
            case _:
                return Target(TargetKind.BUNDLE, app.app_id, app.bundles[int(sent("version_id"))].name)


def seen(sandbox: Sandbox) -> State:
    """Return all that these operations could change, and what else channels have."""
    found: State = {}
    for app_id, app in sandbox.world.apps.items():
        for device, override in app.overrides.items():
            found[Target(TargetKind.DEVICE, app_id, device)] = override.channel.name
        for channel in app.channels.values():
            bundle = app.bundle_numbered(channel.version)
            found[Target(TargetKind.CHANNEL, app_id, channel.name)] = {
                "bundle": bundle.name if bundle else None,
                "disable_auto_update": channel.disable_auto_update,
                "allow_emulator": channel.allow_emulator,
                "others": (channel.id, channel.public, channel.ios, channel.allow_dev, repr(channel.auto_pause)),
            }
        for bundle in app.bundles.values():
            if not bundle.deleted:
                found[Target(TargetKind.BUNDLE, app_id, bundle.name)] = {"link": bundle.link, "comment": bundle.comment}
    return found


def given(values: ChannelSettings | BundleMetadata) -> dict[str, Any]:
    return {name: value for name, value in asdict(values).items() if value is not UNSET}


def write(state: State, operation: Operation, method: str) -> None:
    """Do to a state what one write of an operation does to a server."""
    target = operation.target
    match operation:
        case UnlinkDevice():
            state.pop(target, None)
        case RenewDevice() if method == "DELETE":
            state.pop(target, None)
        case LinkDevice(channel=channel) | RenewDevice(channel=channel):
            state[target] = channel
        case UpdateChannel(settings=values):
            state[target] = {**state[target], **given(values)}
        case PromoteBundle(bundle=bundle):
            state[target] = {**state[target], "bundle": bundle}
        case SetBundleMetadata(metadata=metadata):
            state[target] = {**state[target], **given(metadata)}
        case DeleteBundle():
            del state[target]
        case DeleteChannel():
            del state[target]
            for link in links_to(state, target):
                del state[link]


def links_to(state: State, channel: Target) -> list[Target]:
    links = ((target, value) for target, value in state.items() if target.kind is TargetKind.DEVICE)
    return [target for target, value in links if target.app_id == channel.app_id and value == channel.name]


def holds(state: State, operation: Operation) -> bool:
    """Tell whether a target is as an operation wants it."""
    found = state.get(operation.target)
    match operation:
        case UnlinkDevice() | DeleteBundle() | DeleteChannel():
            return found is None
        case LinkDevice(channel=channel) | RenewDevice(channel=channel):
            return bool(found == channel)
        case PromoteBundle(bundle=bundle):
            return found is not None and found["bundle"] == bundle
        case UpdateChannel(settings=values):
            return found is not None and {**found, **given(values)} == found
        case SetBundleMetadata(metadata=metadata):
            return found is not None and {**found, **given(metadata)} == found
        case _:
            raise AssertionError(operation)


class Entry(NamedTuple):
    """One operation of a job file, and what stands there of it."""

    operation: Operation
    outcome: Outcome
    cause: str | None
    verdict: Verdict


def entries_of(connection: sqlite3.Connection) -> dict[Target, Entry]:
    rows = connection.execute(
        "SELECT app_id, name, kind, argument, outcome, cause, verdict"
        " FROM operations JOIN apps ON apps.id = app JOIN changes ON changes.id = change"
    )
    found = [
        Entry(operation_of(Change(kind, argument), app, name), Outcome(outcome), cause, Verdict(verdict))
        for app, name, kind, argument, outcome, cause, verdict in rows
    ]
    return {entry.operation.target: entry for entry in found}


class Tracked:
    """A job, and what is known of it beside its file.

    `sent` are targets of its writes, `applied` those that one made as it wants them, `elsewise` those that somebody else did,
    `disturbed` all that others touched. With a `goal` all must be like that once it is through.
    """

    def __init__(self, path: Path, rows: int, before: State) -> None:
        self.path = path
        self.rows = rows
        self.before = before
        self.entries: dict[Target, Entry] = {}
        self.sent: set[Target] = set()
        self.applied: set[Target] = set()
        self.elsewise: set[Target] = set()
        self.disturbed: set[Target] = set()
        self.goal: State | None = None

    @property
    def done(self) -> set[Target]:
        return {target for target, entry in self.entries.items() if entry.outcome is Outcome.DONE}

    def is_left(self, which: Which) -> bool:
        """Tell whether a run would find something to send."""
        outcomes = UNREADY if which is Which.OPEN else {Outcome.FAILED}
        return any(entry.outcome in outcomes for entry in self.entries.values())


apps = st.sampled_from(APPS)
device_numbers = st.integers(0, DEVICES + 1)
private = st.sampled_from(CHANNELS[1:])
faults = st.sampled_from(["", FAULTS])
moments = (st.integers(0, 12) | st.integers(0, 60)).map(lambda number: number / 40 + 0.007)
"""When a run is killed or drained: never as something else happens; in it, with lost answers, or never."""


def device_of(app_id: str, number: int) -> str:
    known = KNOWN[app_id]
    return known[number] if number < len(known) else f"00000000-0000-4000-8000-{number:012d}"


KNOWN = {app_id: sorted(app.devices) for app_id, app in fleet(len(APPS), len(APPS) * DEVICES).apps.items()}
channel_settings = st.builds(
    ChannelSettings, disable_auto_update=st.sampled_from(["none", "minor", UNSET]), allow_emulator=st.booleans()
)
metadata = st.builds(
    BundleMetadata,
    comment=st.sampled_from(["checked", "as it was"]),
    link=st.sampled_from(["https://example.com/notes", UNSET]),
)
OF_DEVICES = st.one_of(
    st.builds(
        lambda app, number, channel: LinkDevice(app_id=app, device_id=device_of(app, number), channel=channel),
        apps,
        device_numbers,
        st.sampled_from([*CHANNELS[1:], *CHANNELS[1:], "production", "nowhere"]),
    ),
    st.builds(lambda app, number: UnlinkDevice(app_id=app, device_id=device_of(app, number)), apps, device_numbers),
    st.builds(lambda app, number: RenewDevice(app_id=app, device_id=device_of(app, number)), apps, device_numbers),
)
OF_CHANNELS = st.one_of(
    st.builds(UpdateChannel, app_id=apps, channel=st.sampled_from(CHANNELS), settings=channel_settings),
    st.builds(PromoteBundle, app_id=apps, channel=st.sampled_from(CHANNELS), bundle=st.sampled_from(BUNDLES)),
    st.builds(DeleteChannel, app_id=apps, channel=st.sampled_from(CHANNELS)),
)
OF_BUNDLES = st.one_of(
    st.builds(SetBundleMetadata, app_id=apps, bundle=st.sampled_from(BUNDLES), metadata=metadata),
    st.builds(DeleteBundle, app_id=apps, bundle=st.sampled_from(BUNDLES)),
)
JOBS = st.one_of(
    st.lists(OF_DEVICES, min_size=3, max_size=20),
    st.lists(OF_DEVICES, min_size=3, max_size=20),
    st.lists(OF_CHANNELS, min_size=3, max_size=10),
    st.lists(OF_BUNDLES, min_size=3, max_size=10),
)


class Jobs(RuleBasedStateMachine):
    """One sandbox, and one job at a time with its way back; a new plan lets the job before it lie."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp(prefix="states-"))
        self.sandbox = Witness()
        self.sandbox.tell = self.written
        self.model = seen(self.sandbox)
        self.chance = random.Random(1)
        self.files = 0
        self.job: Tracked | None = None

    def teardown(self) -> None:
        shutil.rmtree(self.directory)

    @invariant()
    def all_is_as_the_last_who_wrote_it_wanted(self) -> None:
        assert seen(self.sandbox) == self.model

    @initialize(operations=JOBS, without_links=st.sampled_from([(), APPS[:1], APPS]))
    def begin(self, operations: list[Operation], without_links: tuple[str, ...]) -> None:
        for app_id in without_links:
            self.sandbox.world.apps[app_id].overrides.clear()
        self.model = seen(self.sandbox)
        self.plan(operations)

    @rule(operations=JOBS)
    def plan(self, operations: list[Operation]) -> None:
        if self.job is not None and self.job.is_left(Which.OPEN):
            return

        async def create() -> Tracked:
            options = Options(reject_bad_rows=True)
            async with self.client() as capgo:
                source = from_operations(operations)
                async with await Job.create(self.new_file(), source, client=capgo, options=options) as job:
                    return await self.look(Tracked(job.path, len(operations), dict(self.model)), job)

        job = run_in_virtual_time(create())
        for target, entry in job.entries.items():
            operation = entry.operation
            needed = not holds(self.model, operation) or not self.shows(target) or isinstance(operation, RenewDevice)
            assert needed, f"{operation} is so already"
        self.job = job

    @rule(moment=moments, which=st.sampled_from(Which), concurrency=st.integers(1, 3), faults=faults)
    def run_and_kill(self, moment: float, which: Which, concurrency: int, faults: str) -> None:
        self.sandbox.faults = Faults(parse(faults))
        run_in_virtual_time(self.run(which, concurrency, killed_at=moment))

    @rule(moment=moments, which=st.sampled_from(Which), faults=faults)
    def run_and_drain(self, moment: float, which: Which, faults: str) -> None:
        self.sandbox.faults = Faults(parse(faults))
        run_in_virtual_time(self.run(which, 2, drained_at=moment))

    @rule(which=st.sampled_from([Which.OPEN, Which.OPEN, Which.FAILED]), concurrency=st.integers(1, 3), faults=faults)
    def run_to_the_end(self, which: Which, concurrency: int, faults: str) -> None:
        self.sandbox.faults = Faults(parse(faults))
        run_in_virtual_time(self.run(which, concurrency))

    @rule()
    def verify(self) -> None:
        tracked = self.tracked()
        if not tracked.done:
            return

        async def prove() -> Report:
            async with self.client() as capgo, await Job.open(tracked.path) as job:
                report = await job.verify(capgo)
                await self.look(tracked, job)
                return report

        report = run_in_virtual_time(prove())
        assert report.unchecked == 0
        for target, entry in tracked.entries.items():
            if entry.outcome is not Outcome.DONE:
                continue
            so = holds(self.model, entry.operation)
            assert entry.verdict is not Verdict.VERIFIED or so, f"{entry} is verified and not so"
            assert entry.verdict is not Verdict.CONTRADICTED or not so, f"{entry} is contradicted and so"
            assert entry.verdict is not Verdict.CANNOT_TELL or not self.shows(target) or not so, f"{entry} could be told"

    @rule()
    def plan_the_way_back(self) -> None:
        tracked = self.tracked()
        if not tracked.sent:
            return
        goal = self.way_back(tracked)
        before = dict(self.model)

        async def create() -> Tracked:
            async with self.client() as capgo, await Job.open(tracked.path) as job:
                async with await job.undo(self.new_file(), client=capgo) as undo:
                    return await self.look(Tracked(undo.path, (await undo.report()).rows, before), undo)

        undo = run_in_virtual_time(create())
        for target in undo.entries:
            operation = tracked.entries[target].operation
            half_done = isinstance(operation, RenewDevice) and target not in self.model
            half_done &= tracked.entries[target].outcome is not Outcome.DONE
            left_alone = holds(self.model, operation) or not self.shows_links(target.app_id) or half_done
            assert left_alone, f"{operation} was changed by others since"
        if goal is not None:
            missing = [target for target in tracked.sent - undo.entries.keys() if goal.get(target) != self.model.get(target)]
            assert not missing, "the way back is not whole"
        undo.goal = goal
        self.job = undo

    @rule(app_id=apps, number=device_numbers, channel=st.one_of(st.none(), private))
    def others_relink(self, app_id: str, number: int, channel: str | None) -> None:
        app, device = self.sandbox.world.apps[app_id], device_of(app_id, number)
        target = Target(TargetKind.DEVICE, app_id, device)
        if channel is None:
            app.unlink(device)
            self.disturb(target, None)
        elif channel in app.channels:
            app.link(device, app.channels[channel], 0.0)
            self.disturb(target, channel)

    @rule(app_id=apps, name=st.sampled_from(CHANNELS), strategy=st.sampled_from(["none", "patch"]), bundle=st.integers(-1, 4))
    def others_change_a_channel(self, app_id: str, name: str, strategy: str, bundle: int) -> None:
        app = self.sandbox.world.apps[app_id]
        channel = app.channels.get(name)
        chosen = app.bundle_named(BUNDLES[bundle]) if bundle >= 0 else None
        if channel is None:
            return
        channel.disable_auto_update = strategy
        channel.version = chosen.id if chosen else None
        target = Target(TargetKind.CHANNEL, app_id, name)
        changed = {**self.model[target], "disable_auto_update": strategy, "bundle": chosen.name if chosen else None}
        self.disturb(target, changed)

    @rule(app_id=apps, name=st.sampled_from(BUNDLES))
    def others_delete_a_bundle(self, app_id: str, name: str) -> None:
        app = self.sandbox.world.apps[app_id]
        bundle = app.bundle_named(name)
        if bundle is None or app.serves(bundle):
            return
        bundle.deleted = True
        self.disturb(Target(TargetKind.BUNDLE, app_id, name), None)
        if self.job is not None:
            # A channel may have to go back to it.
            self.job.disturbed.add(Target(TargetKind.CHANNEL, app_id, ""))
            self.job.goal = None

    def tracked(self) -> Tracked:
        assert self.job is not None
        return self.job

    def new_file(self) -> Path:
        self.files += 1
        return self.directory / f"{self.files}.capgo-job"

    def client(self, concurrency: int = 2) -> CapgoClient:
        transport = InProcessTransport(self.sandbox, request_delay=0.02, reply_delay=0.02, chance=self.chance)
        return CapgoClient(
            api_key=SUPER_ADMIN_KEY,
            transport=transport,
            rate="off",
            concurrency=concurrency,
            retries=1,
            chance=self.chance.random,
        )

    def shows(self, target: Target) -> bool:
        """Tell whether the server shows what is so of a target."""
        return target.kind is not TargetKind.DEVICE or (target.name in KNOWN[target.app_id] and self.shows_links(target.app_id))

    def shows_links(self, app_id: str, state: State | None = None) -> bool:
        found = self.model if state is None else state
        return any(Target(TargetKind.DEVICE, app_id, device) in found for device in KNOWN[app_id])

    def written(self, method: str, target: Target) -> None:
        """Hear of a write that was processed."""
        tracked = self.tracked()
        entry = tracked.entries.get(target)
        assert entry is not None, f"{method} of {target}, which is not in the plan"
        assert entry.outcome is not Outcome.DONE, f"{entry.operation} was done and is sent again"
        write(self.model, entry.operation, method)
        tracked.sent.add(target)
        if holds(self.model, entry.operation):
            tracked.applied.add(target)

    def disturb(self, target: Target, value: Any) -> None:
        """Note a change by others."""
        if value is None:
            self.model.pop(target, None)
        else:
            self.model[target] = value
        if self.job is None:
            return
        entry = self.job.entries.get(target)
        if entry is not None:
            self.job.disturbed.add(target)
            self.job.goal = None
            if holds(self.model, entry.operation):
                self.job.elsewise.add(target)
        elif self.job.goal is not None:
            self.job.goal = {**self.job.goal, target: value}
            if value is None:
                del self.job.goal[target]

    def way_back(self, tracked: Tracked) -> State | None:
        """Return what must be so when the way back from a job was gone; `None` where others have a say in it."""
        if tracked.disturbed:
            return None
        goal = dict(self.model)
        for target in tracked.sent:
            if self.can_be_restored(tracked, tracked.entries[target].operation):
                goal.pop(target, None)
                if target in tracked.before:
                    goal[target] = tracked.before[target]
        return goal

    def can_be_restored(self, tracked: Tracked, operation: Operation) -> bool:
        target, before = operation.target, tracked.before
        match operation:
            case LinkDevice():
                shown = self.shows_links(target.app_id, before) or self.is_counted(tracked, target.app_id)
                return target.name in KNOWN[target.app_id] and shown
            case UnlinkDevice():
                return target.name in KNOWN[target.app_id] and self.shows_links(target.app_id, before)
            case RenewDevice():
                # One that ended between its two writes left the device without its link.
                return target not in self.model
            case UpdateChannel() | PromoteBundle():
                return True
            case SetBundleMetadata(metadata=values):
                return None not in {before[target][name] for name in given(values)}
            case _:
                return False

    def is_counted(self, tracked: Tracked, app_id: str) -> bool:
        """Tell whether the number of links of an app proves that the devices which a job linked had none."""
        before, now = (
            sum(target.kind is TargetKind.DEVICE and target.app_id == app_id for target in state)
            for state in (tracked.before, self.model)
        )
        operations = [tracked.entries[target].operation for target in tracked.done]
        linked = sum(isinstance(operation, LinkDevice) and operation.app_id == app_id for operation in operations)
        return before == 0 or now - before == linked

    async def run(
        self, which: Which, concurrency: int, *, killed_at: float | None = None, drained_at: float | None = None
    ) -> None:
        """Run the job, and look at it: what a kill leaves is a copy of the moment, and the rest never comes to be known."""
        tracked = self.tracked()
        if not any(map(tracked.is_left, Which)):
            return
        was = tracked.entries
        which = which if tracked.is_left(which) else next(filter(tracked.is_left, Which))
        loop = asyncio.get_running_loop()
        async with self.client(concurrency) as capgo:
            async with await Job.open(tracked.path) as job:
                if drained_at is not None:
                    loop.call_later(drained_at, job.drain)
                running = asyncio.create_task(job.run(capgo, which=which))
                ended, _ = await asyncio.wait({running}, timeout=killed_at)
                if not ended:
                    tracked.path = copy_job(tracked.path, self.new_file())
                    running.cancel()
                await asyncio.wait({running})
            async with await Job.open(tracked.path) as left:
                await self.look(tracked, left)
        cut_short = not ended or drained_at is not None
        if ended and isinstance(error := running.exception(), ConnectionLost | SafetyStop):
            note(f"it ended itself: {error}")
            cut_short = True
        elif ended:
            running.result()
        if cut_short:
            return
        for target, entry in tracked.entries.items():
            taken = which is Which.OPEN or was[target].outcome is Outcome.FAILED
            assert not taken or entry.outcome not in UNREADY, f"{entry} is left"
        if tracked.goal is not None and len(tracked.done) == len(tracked.entries):
            assert self.model == tracked.goal, "the way back leads elsewhere"

    async def look(self, tracked: Tracked, job: Job) -> Tracked:
        """Read what a job file says, and compare it with what happened."""
        report = await job.report()
        assert report.rows == tracked.rows == report.rejected + report.skipped + report.planned
        assert report.planned == report.done + report.failed + report.pending
        assert report.done == report.unchecked + report.verified + report.contradicted + report.cannot_tell
        former, tracked.entries = tracked.entries, await looked_up(job.path, entries_of)
        assert len(tracked.entries) == report.planned
        assert len(tracked.done) == report.done
        assert not former or former.keys() == tracked.entries.keys(), "operations came or went"
        for target, entry in former.items():
            assert entry.outcome is not Outcome.DONE or target in tracked.done, f"{entry} is no more done"
        for target in tracked.sent:
            assert tracked.entries[target].outcome is not Outcome.PENDING, f"{target} was sent, and the file does not say so"
        for target in tracked.done:
            operation = tracked.entries[target].operation
            assert target in tracked.applied | tracked.elsewise, f"{operation} is done, and nobody did it"
            assert target in tracked.disturbed or holds(self.model, operation), f"{operation} is done, and is not so"
        return tracked


# The same orders each time, so that a change is not blamed for what it did not do.
SAME = settings(max_examples=40, derandomize=True)
Jobs.TestCase.settings = settings(
    # `HYPOTHESIS_PROFILE=thorough` tries others, and more.
    None if os.environ.get("HYPOTHESIS_PROFILE") == "thorough" else SAME,
    stateful_step_count=24,
    suppress_health_check=list(HealthCheck),
)
TestJobs = Jobs.TestCase
