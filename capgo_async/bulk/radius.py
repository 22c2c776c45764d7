"""How far a plan reaches: above a threshold its exact number of operations has to be said before it is sent."""

from collections.abc import Mapping, Sequence
from fractions import Fraction

import msgspec

from .kinds import KINDS
from .plan import Part
from .report import counted


class Thresholds(msgspec.Struct, frozen=True, kw_only=True):
    """Up to what a plan needs no more than a yes.

    `operations` in all; `share` of the devices that an app shows, once `share_from` operations fall in it; `destroying`
    operations, which nothing takes back.
    """

    operations: int = 100_000
    share: Fraction = Fraction(1, 2)
    share_from: int = 50_000
    destroying: int = 50

    def facts(self) -> dict[str, object]:
        """Return this as JSON can hold it."""
        return {**msgspec.structs.asdict(self), "share": str(self.share)}

    @classmethod
    def of_facts(cls, facts: Mapping[str, object]) -> "Thresholds":
        """Return what `facts` told."""
        return msgspec.convert(facts, cls, dec_hook=lambda _, text: Fraction(text))


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
