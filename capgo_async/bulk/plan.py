"""Plans: what a job will do, what it will not do and why, and what it costs."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from fractions import Fraction
from typing import Final, NamedTuple

import msgspec

from .operations.kinds import KINDS, Kind
from .operations.operations import TargetKind
from .operations.reasons import Cause
from .report import Wave, about, counted

EARLIEST_EXPIRY: Final = timedelta(days=30)
"""Age at which the first servers delete links.

Others keep them for 90 days or for good (contract C7, K7).
"""
EXPIRY: Final = (
    f"links may expire from {EARLIEST_EXPIRY.days} days after they are set: some servers keep them for 30 days, some for 90,"
    " some for good, and none says which. Linking a device to the same channel again does not renew its link"
)
"""Remark of a plan that links devices."""
EXPIRING: Final = frozenset({"link_device", "renew_device"})
"""Kinds of operations that set links."""
_NAMED_APPS: Final = 5
_NAMED_GROUPS: Final = 10
_ASKED_GROUPS: Final = 2
_WORTH_TELLING: Final = 60.0
"""Seconds by which the time may be wrong; fewer change nobody's mind."""
_NAMED_DISPLACED: Final = 5


class Part(msgspec.Struct, frozen=True, kw_only=True):
    """One change in one app, and its number of targets.

    `kind` is the tag of the operations. `what` is a phrase such as "link to beta", and `object` is the phrase without its verb.
    """

    kind: str
    what: str
    object: str
    app_id: str
    targets: int


class Displaced(msgspec.Struct, frozen=True, kw_only=True):
    """A public channel that loses its place, because the channel `by` becomes public (contract C6)."""

    app_id: str
    channel: str
    by: str

    def __str__(self) -> str:
        return f"{self.by} becomes the public channel of {self.app_id} in place of {self.channel}"


class ReasonCount(msgspec.Struct, frozen=True, kw_only=True):
    """The number of rows that are skipped or rejected, or have no way back, for one reason.

    `fate` is `skipped` or `rejected`, and `planned` for operations without a way back. `cause` is the code of the reason, or
    `None` for the sum of less common reasons. `reason` is a sentence.
    """

    fate: str
    cause: Cause | None
    reason: str
    rows: int


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a job will do, what it will not do and why, and what it costs.

    - `changes`: everything planned, whether done yet or not.
    - `reasons`: why rows need no request; the most common reasons first.
    - `no_way_back`: why an undo could not restore what planned operations change.
    - `left`: in an undo, the number of rows whose target may not be as it was before the job.
    - `displaced`: public channels that lose their place.
    - `unknown`: number of planned devices that no inventory shows.
    - `requests`: number of requests still to be sent; `apps` has the number for each app.
    - `seconds`: expected duration of the rest, verification and bakes of waves included, given the client's remaining limits
      and the measured latencies; `None` without a client. It can be up to `at_most` if requests of a kind that was not
      measured yet take ten times as long as others.
    - `waves`, `bake_seconds`: after each verified wave, the run waits for `bake_seconds`.
    - `needs_confirmation`: why the exact number of operations must be confirmed before the job is sent, if so.
    - `planning_requests`, `saved`: requests that planning took, and those saved by skipping rows that need none.
    - `links_are_kept`: whether the server keeps links for good, as the options of the plan say.
    - `remarks`: further sentences for people.
    """

    rows: int
    planned: int
    skipped: int
    rejected: int
    unknown: int
    apps: tuple[tuple[str, int], ...]
    requests: int
    seconds: float | None = None
    at_most: float | None = None
    remarks: tuple[str, ...] = ()
    changes: tuple[Part, ...] = ()
    displaced: tuple[Displaced, ...] = ()
    reasons: tuple[ReasonCount, ...] = ()
    waves: tuple[Wave, ...] = ()
    bake_seconds: float = 0.0
    needs_confirmation: str | None = None
    planning_requests: int = 0
    saved: int = 0
    no_way_back: tuple[ReasonCount, ...] = ()
    left: int = 0
    links_are_kept: bool = False

    def __str__(self) -> str:
        return self.told()

    def told(self, to_leave_out: str = "") -> str:
        """Return the plan for people. `to_leave_out` says how to leave out unknown devices."""
        rows = f"{counted(self.rows, 'row')}: {self.planned:,} planned, {self.skipped:,} skipped, {self.rejected:,} rejected"
        return "\n".join((rows, *self.contents(to_leave_out), *map(str, self.waves), *self._cost(), *self.remarks))

    def contents(self, to_leave_out: str = "") -> list[str]:
        """Return the changes, which have no way back, and why other rows need no request, one line each."""
        groups = _groups(self.changes)
        lines = [f"{group.what}: {group.counted} of {group.named_apps}" for group in groups]
        if len(lines) > _NAMED_GROUPS:
            rest = counted(sum(group.targets for group in groups[_NAMED_GROUPS:]), self.noun)
            lines[_NAMED_GROUPS:] = [f"and {counted(len(lines) - _NAMED_GROUPS, 'more change')} of {rest}"]
        lines += [*self._displaced(), *self._without_way_back(to_leave_out)]
        if self.left:
            lines.append(f"not undone: {counted(self.left, 'target')}")
        return [*lines, *(f"{reason.rows:,} {reason.fate}: {reason.reason}" for reason in self.reasons)]

    def _without_way_back(self, to_leave_out: str) -> list[str]:
        """Return why changes have no way back. What an unknown device costs stands in one line."""
        lines: list[str] = []
        reasons = list(self.no_way_back)
        if self.unknown:
            were, it_is, has = ("was", "it is", "has") if self.unknown == 1 else ("were", "they are", "have")
            line = f"{counted(self.unknown, 'device')} {were} unknown to the server: {it_is} changed anyway"
            others = [reason for reason in reasons if (reason.cause, reason.rows) != (Cause.NEVER_LISTED, self.unknown)]
            if len(others) < len(reasons):
                reasons = others
                line += f", and {has} no way back"
            lines.append(f"{line} ({to_leave_out})" if to_leave_out else line)
        for reason in reasons:
            has = "has" if reason.rows == 1 else "have"
            lines.append(f"{counted(reason.rows, self.noun)} {has} no way back, because {reason.reason}")
        return lines

    def question(self, base_url: str) -> str:
        """Return the question to ask before anything is sent."""
        groups = _groups(self.changes)
        if len(groups) > _ASKED_GROUPS:
            verbs = " and ".join(sorted({group.kind.verb for group in groups}))
            targets = counted(sum(group.targets for group in groups), self.noun)
            apps = self.apps[0][0] if len(self.apps) == 1 else counted(len(self.apps), "app")
            asked = f"{verbs} {targets} of {apps}, {counted(len(groups), 'change')},"
        else:
            asked = " and ".join(
                f"{group.kind.verb} {group.counted} of {group.numbered_apps} {group.object}".rstrip() for group in groups
            )
        asked = f"{asked[:1].upper()}{asked[1:]} at {base_url}?"
        return " ".join((*(f"{line}." for line in self._displaced()), asked))

    def _displaced(self) -> list[str]:
        lines = [str(each) for each in self.displaced[:_NAMED_DISPLACED]]
        more = len(self.displaced) - len(lines)
        return [*lines, f"{counted(more, 'more channel')} in the same way"] if more else lines

    @property
    def noun(self) -> str:
        """Return the noun for what the job changes, such as "device". A job has one kind of targets."""
        return KINDS[self.changes[0].kind].target if self.changes else TargetKind.DEVICE

    def _cost(self) -> list[str]:
        compared = f"planning took {counted(self.planning_requests, 'request')} and saves {self.saved:,}"
        if not self.requests:
            return ["nothing is left to send", compared]
        lines = [f"{counted(self.requests, 'request')} to send", compared]
        if self.seconds:
            lines[0] += f", {about(self.seconds)}{self._unsure()}"
        if baking := self.bake_seconds * (sum(wave.operations > 0 for wave in self.waves) - 1):
            lines[0] += f", {'including' if self.seconds else 'and'} {baking:,.0f} s of pauses between waves"
        if self.needs_confirmation is not None:
            lines.append(f"large plan ({self.needs_confirmation}): confirm it with its exact number of operations")
        if not self.links_are_kept and any(part.kind in EXPIRING for part in self.changes):
            lines.append(EXPIRY)
        return lines

    def _unsure(self) -> str:
        """Return how long it may take at most, if that differs enough to decide otherwise."""
        seconds, at_most = self.seconds or 0.0, self.at_most or 0.0
        if at_most - seconds < max(_WORTH_TELLING, seconds / 2):
            return ""
        return f" (up to {about(at_most)}: few such requests were measured so far)"


class _Group(NamedTuple):
    """One change in all apps that it is planned for."""

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
    """Return the changes, those with the most targets first."""
    apps: dict[tuple[str, str, str], list[tuple[str, int]]] = {}
    for part in parts:
        apps.setdefault((part.kind, part.what, part.object), []).append((part.app_id, part.targets))
    groups = [
        _Group(KINDS[kind], what, object_, tuple(sorted(found, key=lambda app: -app[1])))
        for (kind, what, object_), found in apps.items()
    ]
    return sorted(groups, key=lambda group: -group.targets)


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """Limits above which a plan needs its exact number of operations as confirmation.

    `operations` is the number in all. `destroying` is the number of operations that cannot be undone. `share` is the part of an
    app's devices; it applies to apps with at least `share_from` operations.
    """

    operations: int = 100_000
    share: Fraction = Fraction(1, 2)
    share_from: int = 50_000
    destroying: int = 50


def reach(parts: Sequence[Part], devices: Mapping[str, int], thresholds: Thresholds) -> str | None:
    """Return why a plan needs its exact number as confirmation, or `None` if it does not.

    `devices` is the number of devices that each app shows.
    """
    reasons: list[str] = []
    planned = sum(part.targets for part in parts)
    if planned > thresholds.operations:
        reasons.append(f"{counted(planned, 'operation')}, more than {thresholds.operations:,}")
    destroying = sum(part.targets for part in parts if KINDS[part.kind].destroys)
    if destroying > thresholds.destroying:
        reasons.append(f"{counted(destroying, 'operation')} that cannot be undone, more than {thresholds.destroying:,}")
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
        more = f" (and of {counted(len(wide) - 1, 'more app')})" if len(wide) > 1 else ""
        share = f"more than {float(thresholds.share * 100):g}%"
        reasons.append(f"{by_app[app_id]:,} of the {devices[app_id]:,} devices of {app_id}{more}, {share}")
    return "; ".join(reasons) or None
