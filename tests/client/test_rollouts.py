"""Another stable bundle ends a rollout on some servers: what the client sends, and what it refuses (contract K1, K2)."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from scripted import Answer, ScriptedTransport, answer
from virtual_time import in_virtual_time

from capgo_async import CapgoClient, ChannelSettings, errors
from capgo_async.errors import DangerousCall, NotApplied, PermissionDenied, Problem
from capgo_async.http.wire import Request

APP = "com.example.app"
SOURCE: dict[str, Any] = {"x_worker_source": "capgo_api-prod-12.201.7"}
NAMES = {1: "1.0.0", 2: "1.1.0", 3: "2.0.0"}
SERVERS = ["keeps rollouts", "drops rollouts", "prefers rollouts"]


class OneChannel:
    """A server with one channel. Its `kind` says what another stable bundle does to the rollout (contract K1, K2)."""

    def __init__(self, kind: str, *, stable: int = 1, rollout: int | None = None, enabled: bool = True) -> None:
        self.kind = kind
        self.stable, self.rollout, self.enabled = stable, rollout, enabled and rollout is not None
        self.share, self.paused, self.public = 2500, False, False
        self.writes: list[dict[str, Any]] = []
        self.failures: list[Answer] = []

    def __call__(self, request: Request) -> Answer:
        if request.method == "GET":
            return answer(body=self.shown(), **SOURCE)
        assert request.body is not None
        sent = json.loads(request.body)
        self.writes.append({key: value for key, value in sent.items() if key not in {"app_id", "channel", "channel_id"}})
        said = self.assign(sent) if request.method == "PUT" else self.change(sent)
        return self.failures.pop() if self.failures else answer(body=said, **SOURCE)

    def shown(self) -> dict[str, Any]:
        return {
            "id": 8,
            "name": "beta",
            "app_id": APP,
            "version": {"id": self.stable, "name": NAMES[self.stable]},
            "rollout_version": self.rollout,
            "rollout_version_info": self.rollout and {"id": self.rollout, "name": NAMES[self.rollout]},
            "rolloutEnabled": self.enabled,
            "rolloutPercentageBps": self.share,
        }

    def assign(self, sent: dict[str, Any]) -> dict[str, Any]:
        stable = {"ignores the target": False, "prefers rollouts": sent.get("target") == "stable"}.get(self.kind, True)
        if self.rollout is not None and not stable:
            self.rollout = sent["version_id"]
            return {"status": "success", "assignmentTarget": "rollout"}
        self.put(sent["version_id"])
        return {"status": "success", **({"assignmentTarget": "stable"} if self.kind == "prefers rollouts" else {})}

    def put(self, stable: int) -> None:
        if stable != self.stable and self.kind != "keeps rollouts":
            self.rollout, self.enabled, self.paused = None, False, False
        self.stable = stable

    def change(self, sent: dict[str, Any]) -> dict[str, Any]:
        numbers = {name: number for number, name in NAMES.items()}
        if "version" in sent:
            self.put(numbers[sent["version"]])
        if sent.get("rolloutEnabled") is False:
            self.enabled = False
            if self.kind != "keeps rollouts":
                self.rollout = None
                return {"status": "ok"}
        if "rolloutVersion" in sent:
            wanted = sent["rolloutVersion"]
            self.rollout, self.paused = numbers.get(wanted, wanted), False
        self.enabled = sent.get("rolloutEnabled", self.enabled)
        self.paused = sent.get("rolloutPaused", self.paused)
        self.share = sent.get("rolloutPercentageBps", self.share)
        if sent.get("rollback"):
            self.rollout, self.enabled = None, False
        return {"status": "ok"}


class Forgetful(OneChannel):
    """A server that says ok and keeps the former bundle."""

    def put(self, stable: int) -> None:
        pass


class Contradictory(OneChannel):
    """A server that says that the rollout got the bundle, although the channel shows it."""

    def assign(self, sent: dict[str, Any]) -> dict[str, Any]:
        return {**super().assign(sent), "assignmentTarget": "rollout"}


def client_of(server: Callable[[Request], Answer]) -> CapgoClient:
    return CapgoClient(api_key="key", base_url="https://capgo.test", rate="off", transport=ScriptedTransport(last=server))


Change = Callable[[CapgoClient, int | None], Awaitable[None]]
CHANGES: dict[str, tuple[Change, int]] = {
    "promotion": (lambda capgo, ends: capgo.bundles.promote(APP, "beta", bundle_id=3, ends_rollout=ends), 3),
    "another bundle": (
        lambda capgo, ends: capgo.channels.update(APP, "beta", ChannelSettings(bundle="2.0.0"), ends_rollout=ends),
        3,
    ),
    "switched off": (
        lambda capgo, ends: capgo.channels.update(APP, "beta", ChannelSettings(rollout_enabled=False), ends_rollout=ends),
        1,
    ),
}


@pytest.mark.parametrize("kind", SERVERS)
async def test_a_bundle_is_promoted_to_stable_and_looked_at(kind: str) -> None:
    server = OneChannel(kind)
    async with client_of(server) as capgo:
        await capgo.bundles.promote(APP, "beta", bundle_id=3)
    assert (server.stable, server.writes) == (3, [{"version_id": 3, "target": "stable"}])


@pytest.mark.parametrize("kind", SERVERS)
async def test_a_bundle_that_is_there_already_is_not_promoted_again(kind: str) -> None:
    server = OneChannel(kind, rollout=2)
    async with client_of(server) as capgo:
        await capgo.bundles.promote(APP, "beta", bundle_id=1)
    assert (server.writes, server.rollout) == ([], 2)


@pytest.mark.parametrize("allowed", [None, 3])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", SERVERS)
async def test_a_rollout_is_ended_only_by_those_who_name_it(kind: str, change: str, allowed: int | None) -> None:
    server = OneChannel(kind, rollout=2)
    async with client_of(server) as capgo:
        with pytest.raises(DangerousCall, match=r"rollout of 1\.1\.0, which this would end") as caught:
            await CHANGES[change][0](capgo, allowed)
    assert caught.value.problem is Problem.ENDS_ROLLOUT
    assert (server.writes, server.stable, server.rollout) == ([], 1, 2)


@pytest.mark.parametrize("enabled", [True, False])
@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("kind", SERVERS)
async def test_it_is_then_ended_on_every_server(kind: str, change: str, *, enabled: bool) -> None:
    server = OneChannel(kind, rollout=2, enabled=enabled)
    call, stable = CHANGES[change]
    async with client_of(server) as capgo:
        await call(capgo, 2)
    assert (server.stable, server.rollout, server.enabled) == (stable, None, False)
    assert ({"rollback": True} in server.writes) is (kind == "keeps rollouts")
    assert not any(write.get("target") == "rollout" or "advanceRollout" in write for write in server.writes)


async def test_a_promotion_whose_end_was_lost_ends_the_rollout_the_next_time() -> None:
    server = OneChannel("keeps rollouts", stable=3, rollout=2)
    async with client_of(server) as capgo:
        await capgo.bundles.promote(APP, "beta", bundle_id=3, ends_rollout=2)
    assert (server.rollout, server.writes) == (None, [{"rollback": True}])


async def test_a_server_that_gives_the_bundle_to_the_rollout_is_found_out() -> None:
    server = OneChannel("ignores the target", rollout=2)
    async with client_of(server) as capgo:
        with pytest.raises(NotApplied, match="gave the bundle to its rollout"):
            await capgo.bundles.promote(APP, "beta", bundle_id=3, ends_rollout=2)
    assert [write["target"] for write in server.writes] == ["stable"], "no other target is tried"


async def test_one_that_only_says_so_is_not_believed_either() -> None:
    async with client_of(Contradictory("drops rollouts")) as capgo:
        with pytest.raises(NotApplied, match="gave the bundle to its rollout"):
            await capgo.bundles.promote(APP, "beta", bundle_id=3)


async def test_a_channel_that_shows_another_bundle_afterwards_is_no_success() -> None:
    server = Forgetful("drops rollouts")
    async with client_of(server) as capgo:
        with pytest.raises(NotApplied, match="shows another bundle"):
            await capgo.bundles.promote(APP, "beta", bundle_id=3)


DOUBTS: list[Answer] = [
    errors.ConnectionLost("gone"),
    answer(502, {}),
    answer(503, {"error": "upstream_unavailable", "message": "No", "moreInfo": {}}),
    answer(503, {"error": "database_unavailable", "message": "No", "moreInfo": {}}, retry_after="2"),
]


@pytest.mark.parametrize("doubt", DOUBTS)
@pytest.mark.parametrize("kind", SERVERS)
@in_virtual_time
async def test_a_promotion_in_doubt_is_sent_again(kind: str, doubt: Answer) -> None:
    server = OneChannel(kind, rollout=2)
    server.failures = [doubt]
    async with client_of(server) as capgo:
        await capgo.bundles.promote(APP, "beta", bundle_id=3, ends_rollout=2)
    assert (server.stable, server.rollout) == (3, None)
    assert [write for write in server.writes if "version_id" in write] == [{"version_id": 3, "target": "stable"}] * 2


HARMLESS = {
    "a pause": ChannelSettings(rollout_paused=True),
    "another share": ChannelSettings(rollout_percentage_bps=5000),
    "the same bundle": ChannelSettings(bundle="1.0.0", allow_dev=False),
    "another rollout": ChannelSettings(rollout_bundle="2.0.0"),
    "no rollout, by name": ChannelSettings(rollout_bundle=None),
}


@pytest.mark.parametrize("settings", HARMLESS.values(), ids=HARMLESS)
@pytest.mark.parametrize("kind", SERVERS)
async def test_what_keeps_or_names_the_rollout_needs_no_permission(kind: str, settings: ChannelSettings) -> None:
    server = OneChannel(kind, rollout=2)
    async with client_of(server) as capgo:
        await capgo.channels.update(APP, "beta", settings)
    assert len(server.writes) == 1
    assert server.rollout == {"2.0.0": 3, None: None}.get(settings.rollout_bundle, 2)  # type: ignore[arg-type]


@pytest.mark.parametrize("named", ["1.1.0", 2])
@pytest.mark.parametrize("kind", SERVERS)
async def test_a_rollout_is_put_back_after_the_stable_bundle_and_paused_last(kind: str, named: str | int) -> None:
    server = OneChannel(kind, stable=3)
    back = ChannelSettings(
        bundle="1.0.0",
        rollout_bundle=named,
        rollout_percentage_bps=100,
        rollout_enabled=True,
        rollout_paused=True,
        allow_dev=True,
    )
    async with client_of(server) as capgo:
        await capgo.channels.update(APP, "beta", back)
    assert [sorted(write) for write in server.writes] == [
        ["allow_dev", "version"],
        ["rolloutVersion"],
        ["rolloutEnabled", "rolloutPaused", "rolloutPercentageBps"],
    ]
    assert (server.stable, server.rollout, server.enabled, server.paused, server.share) == (1, 2, True, True, 100)


@pytest.mark.parametrize("kind", SERVERS)
async def test_a_rollout_that_goes_on_beside_another_bundle_stays_switched_on(kind: str) -> None:
    server = OneChannel(kind, rollout=2)
    async with client_of(server) as capgo:
        await capgo.channels.update(APP, "beta", ChannelSettings(bundle="2.0.0", rollout_bundle=2))
    assert (server.stable, server.rollout, server.enabled) == (3, 2, True)


@pytest.mark.parametrize("kind", SERVERS)
async def test_a_rollout_can_be_linked_without_being_switched_on(kind: str) -> None:
    server = OneChannel(kind, rollout=3)
    async with client_of(server) as capgo:
        await capgo.channels.update(APP, "beta", ChannelSettings(rollout_bundle=2, rollout_enabled=False))
    assert (server.rollout, server.enabled) == (2, False)


# A new channel becomes public in a second step (contract K9)


class NoChannelYet:
    """A server without channels; `developer` keys may make none public."""

    def __init__(self, *, developer: bool) -> None:
        self.developer = developer
        self.made: dict[str, Any] | None = None

    def __call__(self, request: Request) -> Answer:
        if request.method == "GET":
            if self.made is None:
                return answer(400, {"error": "cannot_find_version", "message": "Cannot find version", "moreInfo": {}})
            return answer(body={"id": 8, "name": "beta", "public": False, **self.made}, **SOURCE)
        assert request.body is not None
        sent = json.loads(request.body)
        if sent.get("public") and self.developer:
            return answer(400, {"error": "cannot_access_app", "message": "No", "moreInfo": {"app_id": APP}}, **SOURCE)
        self.made = {**(self.made or {}), **{key: value for key, value in sent.items() if key in {"public", "allow_dev"}}}
        return answer(**SOURCE)


async def test_a_public_channel_is_made_in_two_steps() -> None:
    server = NoChannelYet(developer=False)
    async with client_of(server) as capgo:
        made = await capgo.channels.create(APP, "beta", ChannelSettings(public=True, allow_dev=False))
    assert (made.public, made.allow_dev) == (True, False)


async def test_a_key_that_may_not_make_it_public_leaves_a_private_one_and_says_so() -> None:
    server = NoChannelYet(developer=True)
    async with client_of(server) as capgo:
        with pytest.raises(PermissionDenied, match=r"was created and is private\..* app\.update_settings"):
            await capgo.channels.create(APP, "beta", ChannelSettings(public=True, allow_dev=False))
    assert server.made == {"allow_dev": False}


# A setting that the server does not know (contract D48)


@pytest.mark.parametrize(
    ("shown", "told"), [({}, "does not know update_package"), ({"updatePackage": "zip"}, "shows update_package zip")]
)
async def test_a_setting_that_was_not_stored_is_told(shown: dict[str, str], told: str) -> None:
    def server(request: Request) -> Answer:
        return answer(body={"id": 8, "name": "beta", **shown} if request.method == "GET" else None, **SOURCE)

    async with client_of(server) as capgo:
        with pytest.raises(NotApplied, match=told):
            await capgo.channels.update(APP, "beta", ChannelSettings(update_package="delta"))
