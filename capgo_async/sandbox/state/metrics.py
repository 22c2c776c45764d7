"""The numbers behind the statistics, computed from the world alone (contract C9).

Days are counted since the epoch. A day's numbers depend on the app's age, devices and bundles. They never change later, except
as devices and bundles come and go.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from hashlib import blake2b
from typing import Final, NamedTuple

from .apps import App, Device

DAY: Final = 86_400_000_000

_LEAST_ACTIVE: Final = 500
_ACTIVE_SPREAD: Final = 401
_BYTES_PER_DEVICE: Final = 250_000
_GETS_PER_DEVICE: Final = 3


class Totals(NamedTuple):
    """What happened in a period; `storage` is the growth in bytes."""

    mau: int = 0
    storage: int = 0
    storage_byte_hours: int = 0
    bandwidth: int = 0
    build_time_seconds: int = 0
    get: int = 0

    def plus(self, other: "Totals") -> "Totals":
        return Totals(*(mine + theirs for mine, theirs in zip(self, other, strict=True)))


def active(app: App, day: int) -> int:
    """Return the number of devices active on a day: 50 to 90 percent of all, none before the app existed."""
    if not app.devices or day < app.created_at // DAY:
        return 0
    share = _LEAST_ACTIVE + _number(app.app_id, day) % _ACTIVE_SPREAD
    return max(1, len(app.devices) * share // 1000)


def size_of(app: App) -> int:
    """Return the total size in bytes of the bundles that are not deleted."""
    return sum(_size(app, bundle.id) for bundle in app.bundles.values() if not bundle.deleted)


def history(app: App, days: Sequence[int]) -> list[Totals]:
    """Return what happened on each of these days, in ascending order."""
    growth = _growth(app)
    size = sum(grown for day, grown in growth.items() if days and day < days[0])
    told: list[Totals] = []
    for day in days:
        size += growth[day]
        users = active(app, day)
        told.append(
            Totals(
                mau=users,
                storage=growth[day],
                storage_byte_hours=size * 24,
                bandwidth=users * _BYTES_PER_DEVICE,
                get=users * _GETS_PER_DEVICE,
            )
        )
    return told


def by_bundle(app: App) -> Mapping[str, int]:
    return _counted(app, lambda device: device.traits.version_name)


def by_build(app: App) -> Mapping[str, int]:
    """Return the number of devices by native build, such as `iOS 1.0.0`."""
    words = {"ios": "iOS", "android": "Android", "electron": "Electron"}

    def label(device: Device) -> str | None:
        build = device.traits.version_build
        return None if build is None else f"{words.get(device.traits.platform, device.traits.platform)} {build}"

    return _counted(app, label)


def by_platform(app: App) -> Mapping[str, int]:
    return _counted(app, lambda device: device.traits.platform)


def births(app: App) -> Mapping[str, int]:
    """Return the day on which each bundle was registered."""
    return {bundle.name: bundle.created_at // DAY for bundle in app.bundles.values()}


def split(total: int, weights: Sequence[int]) -> list[int]:
    """Split a whole number by weights into whole parts that add up to it, by largest remainder."""
    weight = sum(weights)
    if weight == 0:
        return [0] * len(weights)
    parts = [total * one // weight for one in weights]
    by_remainder = sorted(range(len(weights)), key=lambda index: -(total * weights[index] % weight))
    for index in by_remainder[: total - sum(parts)]:
        parts[index] += 1
    return parts


def _growth(app: App) -> Counter[int]:
    growth: Counter[int] = Counter()
    for bundle in app.bundles.values():
        growth[bundle.created_at // DAY] += _size(app, bundle.id)
        if bundle.deleted_at is not None:
            growth[bundle.deleted_at // DAY] -= _size(app, bundle.id)
    return growth


def _size(app: App, bundle_id: int) -> int:
    return 1_000_000 + _number(app.app_id, bundle_id) % 4_000_000


def _counted(app: App, label: Callable[[Device], str | None]) -> Mapping[str, int]:
    counted = Counter(label(device) for device in app.devices.values())
    return {name: count for name, count in sorted(counted.items(), key=str) if name is not None}


def _number(*parts: object) -> int:
    return int.from_bytes(blake2b(" ".join(map(str, parts)).encode(), digest_size=4).digest())
