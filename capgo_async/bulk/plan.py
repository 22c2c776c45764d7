"""What a job will do, what it will not and why, and what that costs: as data, and in sentences for people."""

from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

import msgspec

from ..limits import Limit, ScopeKind, spending_time
from .report import counted

EXPIRY: Final = "links expire after 30 days on self-hosted servers, 90 on the cloud; the same link again does not renew one"
"""What a plan says of the life of a link (contract C7)."""
_NAMED_APPS: Final = 5
_NAMED_GROUPS: Final = 10
_ASKED_GROUPS: Final = 2


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """What is done to how many devices of one app: `link` to `channel`, or `unlink`."""

    kind: str
    channel: str | None
    app_id: str
    devices: int


class Reason(msgspec.Struct, frozen=True, kw_only=True):
    """Why so many rows need no request: `fate` is `skipped` or `rejected`."""

    fate: str
    reason: str
    rows: int


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a job will do, what it will not and why, and what that costs.

    `changes` are all that is planned, done or not; `requests` are those still to be sent, `apps` where, and how many. `reasons`
    say why rows need none, the commonest by name. `seconds` is how long the client's limits make the requests last at least,
    `None` without a client. `unknown` devices are in no inventory. `remarks` are sentences for people.
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
    changes: tuple[Change, ...] = ()
    reasons: tuple[Reason, ...] = ()

    def __str__(self) -> str:
        rows = f"{counted(self.rows, 'row')}: {self.planned:,} planned, {self.skipped:,} skipped, {self.rejected:,} rejected"
        return "\n".join((rows, *self.contents(), *self._cost(), *self.remarks))

    def contents(self) -> list[str]:
        """Say what is done to which devices, and why rows need nothing: a line each."""
        groups = _groups(self.changes)
        lines = [f"{group.what}: {counted(group.devices, 'device')} of {_named(group.apps)}" for group in groups]
        if len(lines) > _NAMED_GROUPS:
            rest = counted(sum(group.devices for group in groups[_NAMED_GROUPS:]), "device")
            lines[_NAMED_GROUPS:] = [f"and {counted(len(lines) - _NAMED_GROUPS, 'further change')} of {rest}"]
        return [*lines, *(f"{reason.rows:,} {reason.fate}: {reason.reason}" for reason in self.reasons)]

    def question(self, base_url: str) -> str:
        """Return what to ask before anything is sent."""
        groups = _groups(self.changes)
        if len(groups) > _ASKED_GROUPS:
            kinds = " and ".join(sorted({group.kind for group in groups}))
            channels = counted(sum(group.channel is not None for group in groups), "channel")
            asked = f"{kinds} {counted(self.requests, 'device')} of {_number(self.apps)}, {channels},"
        else:
            asked = " and ".join(
                f"{group.kind} {counted(group.devices, 'device')} of {_number(group.apps)}{group.where}" for group in groups
            )
        return f"{asked[:1].upper()}{asked[1:]} at {base_url}?"

    def _cost(self) -> list[str]:
        if not self.requests:
            return ["nothing is left to send"]
        lines = [f"{counted(self.requests, 'request')} to send"]
        if self.seconds:
            lines[0] += f", at least {self.seconds:,.0f} s under the limits"
        if self.unknown:
            lines.append(f"{counted(self.unknown, 'device')} in no inventory: sent all the same")
        if any(change.channel is not None for change in self.changes):
            lines.append(EXPIRY)
        return lines


def time_of(limits: Sequence[Limit], operations_by_app: Sequence[tuple[str, int]]) -> float:
    """Return the seconds that `limits` alone make the operations last (contract B2)."""
    total = sum(count for _, count in operations_by_app)
    by_scope = {
        ScopeKind.KEY: total,
        ScopeKind.APP_ADDRESS: max((count for _, count in operations_by_app), default=0),
    }
    return max((spending_time(limit.limiter, by_scope.get(limit.scope, 1)) for limit in limits), default=0.0)


class _Group(NamedTuple):
    """The same change, in all apps."""

    kind: str
    channel: str | None
    apps: tuple[tuple[str, int], ...]

    @property
    def devices(self) -> int:
        return sum(count for _, count in self.apps)

    @property
    def where(self) -> str:
        return "" if self.channel is None else f" to {self.channel}"

    @property
    def what(self) -> str:
        return self.kind + self.where


def _groups(changes: Iterable[Change]) -> list[_Group]:
    """Return the changes, those of most devices first."""
    apps: dict[tuple[str, str | None], list[tuple[str, int]]] = {}
    for change in changes:
        apps.setdefault((change.kind, change.channel), []).append((change.app_id, change.devices))
    groups = [_Group(*what, tuple(sorted(found, key=lambda app: -app[1]))) for what, found in apps.items()]
    return sorted(groups, key=lambda group: -group.devices)


def _named(apps: Sequence[tuple[str, int]]) -> str:
    if len(apps) == 1:
        return apps[0][0]
    named = [f"{app_id} {count:,}" for app_id, count in apps[:_NAMED_APPS]]
    if len(apps) > _NAMED_APPS:
        named.append(f"and {len(apps) - _NAMED_APPS:,} more")
    return f"{len(apps):,} apps ({', '.join(named)})"


def _number(apps: Sequence[tuple[str, int]]) -> str:
    return apps[0][0] if len(apps) == 1 else f"{len(apps):,} apps"
