"""What a job will do, what it will not and why, and what that costs: as data, and in sentences for people."""

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from typing import Final, NamedTuple

import msgspec

from .kinds import KINDS, Kind
from .operations import TargetKind
from .reasons import Cause
from .report import Wave, about, counted

EXPIRY: Final = "links expire after 30 days on self-hosted servers, 90 on the cloud; the same link again does not renew one"
"""What a plan says of the life of a link (contract C7)."""
_EXPIRING: Final = frozenset({"link_device", "renew_device"})
_NAMED_APPS: Final = 5
_NAMED_GROUPS: Final = 10
_ASKED_GROUPS: Final = 2


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """What is done to how many targets of one app.

    `kind` is the tag of the operations, `what` a phrase such as "link to beta", and `object` the phrase without its verb.
    """

    kind: str
    what: str
    object: str
    app_id: str
    targets: int


class ReasonCount(msgspec.Struct, frozen=True, kw_only=True):
    """Number of rows that are `skipped` or `rejected`, their `fate`, for one reason.

    `cause` is its code, `None` for the sum of all less common reasons; `reason` is a sentence.
    """

    fate: str
    cause: Cause | None
    reason: str
    rows: int


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a job will do, what it will not and why, and what that costs.

    `changes` are all that is planned, done or not; `requests` are those still to be sent, `apps` where, and how many. `reasons`
    say why rows need none, the commonest by name. `seconds` is how long they take when all goes well, with what the client has
    used of its limits and the latency that the plan saw, verification and bakes of waves included; `None` without a client.
    `unknown` devices are in no inventory. `remarks` are sentences for people. A run with `waves` rests `bake_seconds` after
    each. `needs_confirmation` says why the number of operations has to be said before this is sent. Planning took
    `planning_requests` and saved `saved` others, of rows that are so already.
    """

    rows: int
    planned: int
    skipped: int
    rejected: int
    unknown: int
    apps: tuple[tuple[str, int], ...]
    requests: int
    seconds: float | None = None
    remarks: tuple[str, ...] = ()
    changes: tuple[Part, ...] = ()
    reasons: tuple[ReasonCount, ...] = ()
    waves: tuple[Wave, ...] = ()
    bake_seconds: float = 0.0
    needs_confirmation: str | None = None
    planning_requests: int = 0
    saved: int = 0

    def __str__(self) -> str:
        rows = f"{counted(self.rows, 'row')}: {self.planned:,} planned, {self.skipped:,} skipped, {self.rejected:,} rejected"
        return "\n".join((rows, *self.contents(), *map(str, self.waves), *self._cost(), *self.remarks))

    def contents(self) -> list[str]:
        """Say what is done to which devices, and why rows need nothing: a line each."""
        groups = _groups(self.changes)
        lines = [f"{group.what}: {group.counted} of {group.named_apps}" for group in groups]
        if len(lines) > _NAMED_GROUPS:
            rest = counted(sum(group.targets for group in groups[_NAMED_GROUPS:]), self.noun)
            lines[_NAMED_GROUPS:] = [f"and {counted(len(lines) - _NAMED_GROUPS, 'further change')} of {rest}"]
        return [*lines, *(f"{reason.rows:,} {reason.fate}: {reason.reason}" for reason in self.reasons)]

    def question(self, base_url: str) -> str:
        """Return what to ask before anything is sent."""
        groups = _groups(self.changes)
        if len(groups) > _ASKED_GROUPS:
            verbs = " and ".join(sorted({group.kind.verb for group in groups}))
            targets = counted(sum(group.targets for group in groups), self.noun)
            asked = f"{verbs} {targets} of {_number(self.apps)}, {counted(len(groups), 'change')},"
        else:
            asked = " and ".join(
                f"{group.kind.verb} {group.counted} of {group.numbered_apps} {group.object}".rstrip() for group in groups
            )
        return f"{asked[:1].upper()}{asked[1:]} at {base_url}?"

    @property
    def noun(self) -> str:
        """Return what is changed, such as "device"; a job has one kind of targets."""
        return KINDS[self.changes[0].kind].target if self.changes else TargetKind.DEVICE

    def _cost(self) -> list[str]:
        compared = f"planning took {counted(self.planning_requests, 'request')} and saved {self.saved:,}"
        if not self.requests:
            return ["nothing is left to send", compared]
        lines = [f"{counted(self.requests, 'request')} to send", compared]
        if self.seconds:
            lines[0] += f", {about(self.seconds)}"
        if baking := self.bake_seconds * (sum(wave.operations > 0 for wave in self.waves) - 1):
            lines[0] += f", {baking:,.0f} s of bakes{' among them' if self.seconds else ''}"
        if self.unknown:
            lines.append(f"{counted(self.unknown, 'device')} in no inventory: sent all the same")
        if self.needs_confirmation is not None:
            lines.append(f"this reaches far, and is sent once its exact number is said: {self.needs_confirmation}")
        if any(part.kind in _EXPIRING for part in self.changes):
            lines.append(EXPIRY)
        return lines


class _Group(NamedTuple):
    """The same change, in all apps."""

    kind: Kind
    what: str
    object: str
    apps: tuple[tuple[str, int], ...]

    @property
    def targets(self) -> int:
        return sum(count for _, count in self.apps)

    @property
    def counted(self) -> str:
        return counted(self.targets, self.kind.target)

    @property
    def numbered_apps(self) -> str:
        return self.apps[0][0] if len(self.apps) == 1 else counted(len(self.apps), self._noun)

    @property
    def named_apps(self) -> str:
        if len(self.apps) == 1:
            return self.apps[0][0]
        named = [f"{app_id} {count:,}" for app_id, count in self.apps[:_NAMED_APPS]]
        if len(self.apps) > _NAMED_APPS:
            named.append(f"and {len(self.apps) - _NAMED_APPS:,} more")
        return f"{self.numbered_apps} ({', '.join(named)})"

    @property
    def _noun(self) -> str:
        return "organization" if self.kind.target is TargetKind.MEMBER else "app"


def _groups(parts: Iterable[Part]) -> list[_Group]:
    """Return the changes, those of most targets first."""
    apps: dict[tuple[str, str, str], list[tuple[str, int]]] = {}
    for part in parts:
        apps.setdefault((part.kind, part.what, part.object), []).append((part.app_id, part.targets))
    groups = [
        _Group(KINDS[kind], what, object_, tuple(sorted(found, key=lambda app: -app[1])))
        for (kind, what, object_), found in apps.items()
    ]
    return sorted(groups, key=lambda group: -group.targets)


def _number(apps: Sequence[tuple[str, int]]) -> str:
    return apps[0][0] if len(apps) == 1 else counted(len(apps), "app")


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """Up to what a plan needs no more than a yes.

    `operations` in all; `share` of the devices that an app shows, once `share_from` operations fall in it; `destroying`
    operations, which nothing takes back.
    """

    operations: int = 100_000
    share: Fraction = Fraction(1, 2)
    share_from: int = 50_000
    destroying: int = 50


def reach(parts: Sequence[Part], devices: Mapping[str, int], thresholds: Thresholds) -> str | None:
    """Say why a plan needs its exact number to be said, `None` where it does not; `devices` are those that apps show."""
    reasons: list[str] = []
    planned = sum(part.targets for part in parts)
    if planned > thresholds.operations:
        reasons.append(f"{counted(planned, 'operation')}, more than {thresholds.operations:,}")
    destroying = sum(part.targets for part in parts if KINDS[part.kind].destroys)
    if destroying > thresholds.destroying:
        reasons.append(f"{counted(destroying, 'operation')} that nothing takes back, more than {thresholds.destroying:,}")
    by_app: dict[str, int] = {}
    for part in parts:
        by_app[part.app_id] = by_app.get(part.app_id, 0) + part.targets
    wide = [
        app_id
        for app_id, targets in by_app.items()
        if targets >= thresholds.share_from and app_id in devices and targets > thresholds.share * devices[app_id]
    ]
    if wide:
        app_id = max(wide, key=by_app.__getitem__)
        more = f" (and of {counted(len(wide) - 1, 'further app')})" if len(wide) > 1 else ""
        share = f"more than {float(thresholds.share * 100):g}%"
        reasons.append(f"{by_app[app_id]:,} of the {devices[app_id]:,} devices of {app_id}{more}, {share}")
    return "; ".join(reasons) or None
