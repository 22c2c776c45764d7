"""One suite of scenarios, which the client passes against the sandbox in each of its generations."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from fleet import APP, ids_of

from capgo_async import (
    AppSettings,
    Binding,
    BundleMetadata,
    CapgoClient,
    ChannelSettings,
    Dialect,
    NewApiKey,
    NewApp,
    NewBundle,
    NewOrganization,
    OrganizationSettings,
    errors,
)
from capgo_async.sandbox import Sandbox, Settings, fleet
from capgo_async.sandbox.exchange import Generation
from capgo_async.sandbox.inprocess import InProcessTransport
from capgo_async.sandbox.seeding import EPOCH, ORG_ID, OUTSIDER_EMAIL, SUPER_ADMIN_KEY, USER_EMAIL, USER_JWT

pytestmark = pytest.mark.slow

END = datetime.fromtimestamp(EPOCH, UTC).date() + timedelta(days=1)
START = END - timedelta(days=7)
ZIP = NewBundle(version="9.0.0", external_url="https://cdn.example.com/9.0.0.zip", checksum="0" * 64)


class Scene:
    """A sandbox of one generation, and a client of it that is told nothing of that."""

    def __init__(self, generation: Generation) -> None:
        self.is_seed = generation == "seed"
        self.sandbox = Sandbox(fleet(apps=2, devices=240, bundles=60), Settings(generation=generation))
        self.capgo = self.client(SUPER_ADMIN_KEY)

    def client(self, key: str) -> CapgoClient:
        # The statistics of the seed era take a key in this header alone; it is right everywhere (contract A2).
        return CapgoClient(api_key=key, transport=InProcessTransport(self.sandbox), rate="off", auth_header="capgkey")


@pytest.fixture(params=["2026-07", "2026-11", "docs", "seed"])
def scene(request: pytest.FixtureRequest) -> Scene:
    return Scene(request.param)


@pytest.fixture
def capgo(scene: Scene) -> CapgoClient:
    return scene.capgo


async def test_devices_are_listed_linked_and_unlinked(scene: Scene, capgo: CapgoClient) -> None:
    devices = await capgo.devices.list(APP).all()
    assert [device.device_id for device in devices] == ids_of(scene.sandbox)
    assert {device.version_name for device in devices} <= {bundle.name for bundle in await capgo.bundles.list(APP).all()}
    device = devices[0].device_id
    overrides = scene.sandbox.world.apps[APP].overrides
    await capgo.devices.link(APP, device.upper(), channel="alpha")
    assert overrides[device].channel.name == "alpha"
    assert (await capgo.devices.get(APP, device)).device_id == device
    await capgo.devices.unlink(APP, device)
    assert device not in overrides
    with pytest.raises(errors.DeviceNotFound if not scene.is_seed else errors.CapgoError):
        await capgo.devices.get(APP, "unknown")
    with pytest.raises(errors.PublicChannelOverride if not scene.is_seed else errors.ApiError):
        await capgo.devices.link(APP, device, channel="production")


async def test_a_channel_lives_from_its_creation_to_its_deletion(scene: Scene, capgo: CapgoClient) -> None:
    made = await capgo.channels.create(APP, "gamma", ChannelSettings(bundle="1.5.0", allow_emulator=False))
    assert (made.name, made.bundle_name, made.allow_emulator, made.public) == ("gamma", "1.5.0", False, False)
    with pytest.raises(errors.ConfigurationError, match="already has a channel gamma"):
        await capgo.channels.create(APP, "gamma")
    await capgo.channels.update(APP, "gamma", ChannelSettings(disable_auto_update="minor", allow_dev=False))
    changed = await capgo.channels.get(APP, "gamma")
    assert (changed.disable_auto_update, changed.bundle_name) == ("minor", "1.5.0")
    assert "gamma" in [channel.name async for channel in capgo.channels.list(APP)]
    await capgo.channels.update(APP, "gamma", ChannelSettings(bundle=None))
    assert (await capgo.channels.get(APP, "gamma")).bundle_name is None
    await capgo.channels.delete(APP, "gamma")
    for call in (capgo.channels.get(APP, "gamma"), capgo.channels.delete(APP, "gamma")):
        with pytest.raises(errors.ChannelNotFound):
            await call
    with pytest.raises(errors.ChannelNotFound):
        await capgo.channels.update(APP, "gamma", ChannelSettings(public=True))
    assert "gamma" not in scene.sandbox.world.apps[APP].channels


async def test_bundles_are_listed_past_a_page_and_deleted_one_by_one(scene: Scene, capgo: CapgoClient) -> None:
    names = [bundle.name for bundle in await capgo.bundles.list(APP).all()]
    assert names == [f"1.{minor}.0" for minor in reversed(range(60))]
    await capgo.bundles.delete(APP, "1.3.0")
    with pytest.raises(errors.BundleNotFound):
        await capgo.bundles.delete(APP, "1.3.0")
    linked = (await capgo.channels.get(APP, "beta")).bundle_name
    assert linked is not None
    with pytest.raises((errors.BundleLinked, errors.DangerousCall)):
        await capgo.bundles.delete(APP, linked)
    result = await capgo.bundles.delete_all(APP, confirm=APP)
    assert set(result.kept) == {channel.bundle_name async for channel in capgo.channels.list(APP)}
    assert {bundle.name for bundle in await capgo.bundles.list(APP).all()} == set(result.kept)
    assert len(result.deleted) + len(result.kept) == 59
    assert {bundle.name for bundle in scene.sandbox.world.apps[APP].bundles.values() if not bundle.deleted} == set(result.kept)


async def test_organizations_are_listed_created_and_changed_and_never_doubled(scene: Scene, capgo: CapgoClient) -> None:
    assert [row.id for row in await capgo.organizations.list().all()] == [ORG_ID]
    made = await capgo.organizations.create(NewOrganization(name="Second"))
    assert made.name == "Second"
    assert (await capgo.organizations.get(made.id)).id == made.id
    settings = OrganizationSettings(name="Renamed", management_email="ops@example.com")
    changed = await capgo.organizations.update(made.id, settings)
    assert (changed.id, changed.name, changed.management_email) == (made.id, "Renamed", "ops@example.com")
    assert sorted(row.name for row in await capgo.organizations.list().all()) == ["Renamed", "Sandbox"]
    assert capgo.dialect is (Dialect.SEED if scene.is_seed else Dialect.MODERN)


async def test_members_are_invited_and_removed_but_not_the_last_super_admin(scene: Scene, capgo: CapgoClient) -> None:
    assert [member.email for member in await capgo.members.list(ORG_ID).all()] == [USER_EMAIL]
    await capgo.members.invite(ORG_ID, OUTSIDER_EMAIL.upper(), "admin")
    with pytest.raises(errors.Conflict):
        await capgo.members.invite(ORG_ID, OUTSIDER_EMAIL, "admin")
    assert sorted(member.email for member in await capgo.members.list(ORG_ID).all()) == sorted((OUTSIDER_EMAIL, USER_EMAIL))
    await capgo.members.remove(ORG_ID, OUTSIDER_EMAIL)
    with pytest.raises(errors.DangerousCall, match="last super admin"):
        await capgo.members.remove(ORG_ID, USER_EMAIL)
    assert [member.email for member in await capgo.members.list(ORG_ID).all()] == [USER_EMAIL]
    assert scene.sandbox.world.apps


async def test_an_api_key_is_made_used_and_revoked(scene: Scene, capgo: CapgoClient) -> None:
    # A user's session goes in the header of that name, and the seed era has none.
    session = CapgoClient(api_key=USER_JWT, transport=InProcessTransport(scene.sandbox), rate="off")
    user = capgo if scene.is_seed else session
    binding = Binding(role_name="org_super_admin", scope_type="org", org_id=ORG_ID)
    made = await user.api_keys.create(NewApiKey(name="ci", bindings=[binding], org_id=ORG_ID, mode="all"))
    assert made.key is not None
    assert made.key not in repr(made)
    assert made.id in [key.id for key in await capgo.api_keys.list().all()]
    assert await scene.client(made.key).devices.list(APP).all()
    if scene.is_seed:
        await capgo.api_keys.delete_by_secret(made.key)
    else:
        await capgo.api_keys.delete(made.id)
    with pytest.raises(errors.AuthenticationError):
        await scene.client(made.key).devices.list(APP).all()


async def test_statistics_add_up(capgo: CapgoClient) -> None:
    running = await capgo.statistics.app(APP, START, END)
    assert [point.day for point in running] == [START + timedelta(days=day) for day in range(7)]
    assert [point.mau for point in running] == sorted(point.mau for point in running)
    organization = await capgo.statistics.organization(ORG_ID, START, END)
    user = await capgo.statistics.user(START, END)
    assert [point.bandwidth for point in organization] == [point.bandwidth for point in user]
    assert organization[-1].bandwidth >= running[-1].bandwidth > 0


async def test_a_graph_is_a_picture_or_a_typed_no(scene: Scene, capgo: CapgoClient) -> None:
    if scene.is_seed:
        assert (await capgo.statistics.app(APP, START, END, graph="mau")).lstrip().startswith(b"<svg")
        return
    with pytest.raises(errors.GraphNotSupported, match="draws no charts"):
        await capgo.statistics.app(APP, START, END, graph="mau")


SINCE_THE_SEED: dict[str, Callable[[CapgoClient], object]] = {
    "apps": lambda capgo: capgo.apps.list().all(),
    "app": lambda capgo: capgo.apps.get(APP),
    "new app": lambda capgo: capgo.apps.create(NewApp(app_id="com.example.new", name="New", owner_org=ORG_ID)),
    "changed app": lambda capgo: capgo.apps.update(APP, AppSettings(name="New")),
    "new bundle": lambda capgo: capgo.bundles.create(APP, ZIP),
    "promotion": lambda capgo: capgo.bundles.promote(APP, "beta", bundle_id=3),
    "metadata": lambda capgo: capgo.bundles.set_metadata(APP, 3, BundleMetadata(comment="good")),
    "audit": lambda capgo: capgo.organizations.audit_log(ORG_ID).all(),
    "deleted organization": lambda capgo: capgo.organizations.delete(ORG_ID),
}


@pytest.mark.parametrize("call", SINCE_THE_SEED.values(), ids=SINCE_THE_SEED)
async def test_what_came_after_the_seed_is_not_found_there(call: Callable[[CapgoClient], object]) -> None:
    with pytest.raises(errors.NotFound):
        await call(Scene("seed").capgo)  # type: ignore[misc]  # each makes a coroutine


@pytest.mark.parametrize("generation", ["2026-07", "2026-11", "docs"])
async def test_apps_and_bundles_live_where_there_are_such_routes(generation: Generation) -> None:
    scene = Scene(generation)
    capgo = scene.capgo
    made = await capgo.apps.create(NewApp(app_id="com.example.new", name="New", owner_org=ORG_ID))
    assert (made.app_id, made.retention_seconds) == ("com.example.new", 2_592_000)
    with pytest.raises(errors.Conflict):
        await capgo.apps.create(NewApp(app_id="com.example.new", name="New", owner_org=ORG_ID))
    assert (await capgo.apps.update("com.example.new", AppSettings(retention_seconds=86_400))).retention_seconds == 86_400
    assert len(await capgo.apps.list().all()) == 3
    bundle = await capgo.bundles.create("com.example.new", ZIP)
    await capgo.channels.create("com.example.new", "production", ChannelSettings(public=True))
    await capgo.bundles.promote("com.example.new", "production", bundle_id=bundle.id)
    await capgo.bundles.set_metadata("com.example.new", bundle.id, BundleMetadata(comment="good"))
    found = await capgo.bundles.find("com.example.new", "9.0.0")
    assert found is not None
    assert found.comment == "good"
    assert (await capgo.channels.get("com.example.new", "production")).bundle_name == "9.0.0"
    entries = await capgo.organizations.audit_log(ORG_ID).all()
    assert {entry.table_name for entry in entries} >= {"apps", "app_versions", "channels"}
    await capgo.apps.delete("com.example.new")
    with pytest.raises(errors.PermissionDenied):
        await capgo.apps.get("com.example.new")
    await capgo.organizations.delete(ORG_ID)
    assert await capgo.organizations.list().all() == []


@pytest.mark.parametrize("generation", ["2026-07", "2026-11", "docs"])
async def test_a_rollout_is_begun_and_ended_both_ways(generation: Generation) -> None:
    capgo = Scene(generation).capgo
    begin = ChannelSettings(rollout_bundle="1.2.0", rollout_percentage_bps=500, rollout_enabled=True, auto_pause_enabled=True)
    await capgo.channels.update(APP, "beta", begin)
    begun = await capgo.channels.get(APP, "beta")
    assert begun.rollout_version_info is not None
    assert (begun.rollout_version_info.name, begun.rollout_percentage_bps, begun.auto_pause_enabled) == ("1.2.0", 500, True)
    await capgo.channels.promote_rollout(APP, "beta")
    assert (await capgo.channels.get(APP, "beta")).bundle_name == "1.2.0"
    await capgo.channels.update(APP, "beta", ChannelSettings(rollout_bundle="1.4.0", rollout_enabled=True))
    await capgo.channels.roll_back(APP, "beta")
    ended = await capgo.channels.get(APP, "beta")
    assert (ended.bundle_name, ended.rollout_enabled) == ("1.2.0", False)
