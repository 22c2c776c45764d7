"""Deterministic worlds, from a handful of devices to a million."""

from collections.abc import Iterator, Mapping
from typing import Final

from .state.access import Binding
from .state.apps import App, Device, Override, Traits
from .state.channels import Channel
from .state.world import World, uuid_like
from .timestamps import micros

EPOCH: Final = 1_784_538_000.0
"""20 July 2026, 09:00 UTC: the default present of seeded worlds."""

ORG_ID: Final = "046a36ac-0000-4000-8000-000000000001"
USER_ID: Final = "6aa76066-0000-4000-8000-000000000001"
USER_EMAIL: Final = "owner@example.com"
OUTSIDER_EMAIL: Final = "new@example.com"
"""An account outside the seeded organization."""
USER_JWT: Final = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJzYW5kYm94LXVzZXIifQ.bm8gc2lnbmF0dXJl"
"""The JWT of the seeded user, without a valid signature."""
SUPER_ADMIN_KEY: Final = "00000000-0000-4000-8000-00000000aaaa"
READER_KEY: Final = "00000000-0000-4000-8000-00000000bbbb"
UPLOADER_KEY: Final = "00000000-0000-4000-8000-00000000cccc"
DEVELOPER_KEY: Final = "00000000-0000-4000-8000-00000000dddd"
ADMIN_KEY: Final = "00000000-0000-4000-8000-00000000ffff"
EXPIRED_KEY: Final = "00000000-0000-4000-8000-00000000eeee"

OVERRIDES: Final[Mapping[str, float]] = {"beta": 1 / 3, "alpha": 1 / 12}

_GOLDEN: Final = 0.6180339887498949
_DAY: Final = 86_400.0
_NAMED: Final = ("production", "beta", "alpha")
_PLATFORMS: Final = (("ios", "18.1"), ("android", "15"), ("android", "14"), ("ios", "17.6"), ("electron", "Linux 6.8"))


def fleet(  # noqa: PLR0913 -- six knobs, each with a default
    apps: int = 1,
    devices: int = 100,
    channels: int = 3,
    *,
    bundles: int = 3,
    now: float = EPOCH,
    overrides: Mapping[str, float] = OVERRIDES,
) -> World:
    """Build one organization with `apps` apps that share `devices` devices evenly; deterministic.

    Apps are named `com.example.app01` and so on, channels `production` (public), `beta`, `alpha`, `ch04` and so on. `overrides`
    gives the share of devices linked to each channel; the others have no override.
    """
    world = World()
    born = now - 90 * _DAY
    add_people(world, born)
    for index in range(apps):
        app = world.add_app(f"com.example.app{index + 1:02d}", org_id=ORG_ID, user_id=USER_ID, now=born)
        _release(world, app, channels, bundles, born)
        share = devices // apps + (index < devices % apps)
        app.load_devices(_devices(app, share, now))
        _link(app, share, overrides, micros(now - _DAY))
    add_keys(world, now)
    return world


def add_people(world: World, now: float = EPOCH) -> None:
    """Add the seeded organization with its owner, signed in with `USER_JWT`, and an account outside it."""
    owner = world.add_user(USER_EMAIL, user_id=USER_ID)
    world.add_user(OUTSIDER_EMAIL)
    world.add_organization("Sandbox", owner=owner, now=now, org_id=ORG_ID)
    world.add_session(USER_JWT, USER_ID)


def add_keys(world: World, now: float = EPOCH) -> None:
    """Add the well-known keys: super admin, admin, reader, uploader, developer, and an expired one."""
    owner = Binding(role="org_super_admin", org_id=ORG_ID)
    world.add_key(SUPER_ADMIN_KEY, owner, user_id=USER_ID, name="super admin", global_permissions=("org.create",))
    for secret, role in ((READER_KEY, "app_reader"), (UPLOADER_KEY, "app_uploader"), (DEVELOPER_KEY, "app_developer")):
        bindings = (Binding(role=role, org_id=ORG_ID, app_id=app_id) for app_id in world.apps)
        world.add_key(secret, *bindings, user_id=USER_ID, name=role.removeprefix("app_"))
    world.add_key(EXPIRED_KEY, owner, user_id=USER_ID, expires_at=now - _DAY, name="expired")
    world.add_key(ADMIN_KEY, Binding(role="org_admin", org_id=ORG_ID), user_id=USER_ID, name="admin")


def channel_name(index: int) -> str:
    """Return the name of a channel of a seeded app, counted from 0."""
    return _NAMED[index] if index < len(_NAMED) else f"ch{index + 1:02d}"


def device_id(app_id: str, index: int) -> str:
    """Return the id of a device of a seeded app, counted from 0."""
    return uuid_like(app_id, index)


def _release(world: World, app: App, channels: int, bundles: int, born: float) -> None:
    released = [world.add_bundle(app, f"1.{minor}.0", now=born + minor * _DAY) for minor in range(bundles)]
    for index in range(channels):
        channel = world.add_channel(app, channel_name(index), now=born + index, public=index == 0)
        if released:
            channel.version = released[max(0, len(released) - 2) if index == 0 else -1].id


def _devices(app: App, count: int, now: float) -> Iterator[Device]:
    versions: list[tuple[str, int | None]] = [(bundle.name, bundle.id) for bundle in app.bundles.values()]
    versions = versions or [("builtin", None)]
    traits = [
        Traits(
            platform=platform,
            os_version=os_version,
            plugin_version=f"7.{4 + number % 2}.0",
            version_name=name,
            version=version,
            is_prod=number % 5 != 0,
            is_emulator=number % 7 == 0,
        )
        for number, (name, version) in enumerate(versions)
        for platform, os_version in _PLATFORMS
    ]
    newest = micros(now)
    for index in range(count):
        yield Device(
            device_id=device_id(app.app_id, index),
            updated_at=newest - index * 1_000_003 % (60 * 86_400_000_000),
            traits=traits[index * 7 % len(traits)],
            custom_id=f"user-{index}" if index % 10 == 0 else "",
        )


def _link(app: App, count: int, overrides: Mapping[str, float], moment: int) -> None:
    shares: list[tuple[Override, float]] = []
    for name, share in overrides.items():
        channel: Channel | None = app.channels.get(name)
        if channel is not None:
            shares.append((Override(channel, moment), share))
    for index in range(count if shares else 0):
        # Multiples of the golden ratio fill the unit interval evenly: exact shares without randomness.
        place = index * _GOLDEN % 1.0
        for override, share in shares:
            place -= share
            if place < 0:
                app.overrides[device_id(app.app_id, index)] = override
                break
