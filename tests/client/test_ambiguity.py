"""What is done after an attempt that leaves it open whether it was processed: every row of contract G1."""

import json
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import pytest
from conformance.exchanges import Call
from scripted import Answer, ScriptedTransport, answer, refusal
from virtual_time import in_virtual_time

from capgo_async import (
    ApiKeySettings,
    App,
    AppSettings,
    Bundle,
    BundleMetadata,
    CapgoClient,
    Channel,
    ChannelSettings,
    NewApiKey,
    NewApp,
    NewBundle,
    NewOrganization,
    OrganizationSettings,
    errors,
)
from capgo_async.http.wire import Request, Response

APP = "com.example.app"
ORG = "046a36ac-0000-4000-8000-000000000001"
MODERN = "capgo_api-prod-12.201.7"
NO_ROW = {"code": "PGRST116"}

AMBIGUOUS: dict[str, Answer] = {
    "lost": errors.ConnectionLost("gone"),
    "late": errors.TimedOut("late"),
    "502": Response(status=502, headers={}, body=b"<html>502</html>"),
    "503": answer(503, {}),
    "500": answer(500, {"error": "unknown_error", "message": "Unknown error", "moreInfo": {}}),
    "unreadable": Response(status=200, headers={}, body=b"<html>Welcome</html>"),
}
CLEAR: dict[str, list[Answer]] = {
    "at once": [],
    "not connected": [errors.NotConnected("no")],
    "given up": [answer(408, {})],
    "limited": [refusal("api_key_rate_limit_exceeded", retry_after=5)],
}


def client_of(transport: ScriptedTransport, **options: Any) -> CapgoClient:
    return CapgoClient(
        **{"api_key": "key", "base_url": "https://capgo.test", "rate": "off", "retries": 4, "transport": transport, **options}
    )


def refused(code: str, status: int = 400, message: str = "No", **more: object) -> Response:
    return answer(status, {"error": code, "message": message, "moreInfo": more}, x_worker_source=MODERN)


def said(body: object = None) -> Response:
    return answer(body=body, x_worker_source=MODERN)


def calls_of(transport: ScriptedTransport) -> list[str]:
    return [
        "probe" if request.body == b'{"probe":true}' else f"{request.method} {request.path}" for request in transport.requests
    ]


class Case(NamedTuple):
    """A write, what comes before it, what its repeat is answered with, and the look that decides then."""

    call: Call
    write: str
    repeated: Response
    kind: type[errors.ApiError]
    before: Sequence[Answer] = ()
    again: Sequence[Answer] = ()
    """What is answered between the attempt in doubt and its repeat."""
    looks: Sequence[Answer] = ()
    found: object = None
    unlike: Sequence[Answer | tuple[Answer, ...]] = ()
    """Looks that show that the earlier attempt did nothing, one for each try."""


NEW_APP = NewApp(app_id=APP, name="Example", owner_org=ORG)
NEW_BUNDLE = NewBundle(version="1.3.0", external_url="https://cdn.test/1.zip", checksum="abc")
ROW = {"id": 42, "name": "1.3.0", "checksum": "abc", "external_url": "https://cdn.test/1.zip"}
BUNDLE = Bundle(id=42, name="1.3.0", checksum="abc", external_url="https://cdn.test/1.zip")
ADMIN = {"uid": "a", "email": "a@x.test", "role": "org_super_admin"}

CASES = {
    "organizations.delete": Case(
        lambda capgo: capgo.organizations.delete(ORG),
        "DELETE /organization",
        refused("invalid_org_id", 403),
        errors.PermissionDenied,
        looks=[refused("invalid_org_id")],
        unlike=[said({"id": ORG})],
    ),
    "members.invite": Case(
        lambda capgo: capgo.members.invite(ORG, "b@x.test", "org_member"),
        "POST /organization/members",
        refused("error_inviting_user_to_organization", data="ALREADY_INVITED"),
        errors.Conflict,
    ),
    "members.remove": Case(
        lambda capgo: capgo.members.remove(ORG, "b@x.test"),
        "DELETE /organization/members",
        refused("organization_member_not_found", 404),
        errors.MemberNotFound,
        before=[said([ADMIN])],
        again=[said([ADMIN, {"uid": "b", "email": "b@x.test", "role": "org_member"}])],
    ),
    "api_keys.delete": Case(
        lambda capgo: capgo.api_keys.delete(101),
        "DELETE /apikey/101",
        refused("api_key_not_found", 404),
        errors.NotFound,
    ),
    "api_keys.delete_by_secret": Case(
        lambda capgo: capgo.api_keys.delete_by_secret("9f86d081"),
        "DELETE /apikey/9f86d081",
        refused("api_key_not_found", 404),
        errors.NotFound,
    ),
    "apps.create": Case(
        lambda capgo: capgo.apps.create(NEW_APP),
        "POST /app",
        refused("app_id_already_exists", 409),
        errors.Conflict,
        looks=[said({"app_id": APP, "owner_org": ORG})],
        found=App(app_id=APP, owner_org=ORG),
        unlike=[said({"app_id": APP, "owner_org": "another"}), refused("cannot_access_app", 401)],
    ),
    "apps.delete": Case(
        lambda capgo: capgo.apps.delete(APP),
        f"DELETE /app/{APP}",
        refused("cannot_delete_app"),
        errors.PermissionDenied,
        looks=[refused("cannot_access_app", 401)],
        unlike=[said({"app_id": APP})],
    ),
    "channels.delete": Case(
        lambda capgo: capgo.channels.delete(APP, "beta"),
        "DELETE /channel",
        refused("cannot_find_channel", supabaseError=NO_ROW),
        errors.ChannelNotFound,
        before=[said({"id": 7, "name": "beta"})],
        looks=[refused("cannot_find_version")],
        unlike=[said({"id": 7, "name": "beta"})],
    ),
    "bundles.create": Case(
        lambda capgo: capgo.bundles.create(APP, NEW_BUNDLE),
        "POST /bundle",
        refused("version_already_exists"),
        errors.Conflict,
        looks=[said([ROW])],
        found=BUNDLE,
        unlike=[
            said([{**ROW, "checksum": "another"}]),
            said([{**ROW, "external_url": "https://another.test"}]),
            (said([]), said([{**ROW, "name": "1.2.0"}])),
        ],
    ),
    "bundles.create in a race": Case(
        lambda capgo: capgo.bundles.create(APP, NEW_BUNDLE),
        "POST /bundle",
        refused("cannot_create_bundle", supabaseError={"code": "23505"}),
        errors.Conflict,
        looks=[said([ROW])],
        found=BUNDLE,
        unlike=[said([{**ROW, "checksum": "another"}])],
    ),
    "bundles.delete": Case(
        lambda capgo: capgo.bundles.delete(APP, "1.3.0"),
        "DELETE /bundle",
        refused("cannot_delete_version", supabaseError=NO_ROW),
        errors.BundleNotFound,
        before=[said()],
    ),
}


@pytest.mark.parametrize("doubt", AMBIGUOUS)
@pytest.mark.parametrize("name", CASES)
@in_virtual_time
async def test_what_a_repeat_is_refused_with_counts_as_success(name: str, doubt: str) -> None:
    case = CASES[name]
    transport = ScriptedTransport(
        *case.before, AMBIGUOUS[doubt], *case.again, case.repeated, *case.looks, last=refused("one_too_many")
    )
    async with client_of(transport) as capgo:
        assert await case.call(capgo) == case.found

    assert calls_of(transport).count(case.write) == 2
    assert len(transport.requests) == len(case.before) + 2 + len(case.again) + len(case.looks)


@pytest.mark.parametrize("clear", CLEAR)
@pytest.mark.parametrize("name", CASES)
@in_virtual_time
async def test_but_only_after_an_attempt_that_may_have_been_processed(name: str, clear: str) -> None:
    case = CASES[name]
    again = case.again if CLEAR[clear] else ()
    transport = ScriptedTransport(*case.before, *CLEAR[clear], *again, case.repeated, last=refused("one_too_many"))
    async with client_of(transport) as capgo:
        with pytest.raises(case.kind) as caught:
            await case.call(capgo)

    assert type(caught.value) is case.kind
    assert caught.value.code != "one_too_many"
    assert len(transport.requests) == len(case.before) + len(CLEAR[clear]) + len(again) + 1


@pytest.mark.parametrize(("name", "look"), [(name, look) for name, case in CASES.items() for look in case.unlike])
@in_virtual_time
async def test_and_where_a_look_shows_something_else_it_stays_an_error(name: str, look: Answer | tuple[Answer, ...]) -> None:
    case = CASES[name]
    looks = look if isinstance(look, tuple) else (look,)
    transport = ScriptedTransport(*case.before, AMBIGUOUS["lost"], case.repeated, *looks, last=refused("one_too_many"))
    async with client_of(transport) as capgo:
        with pytest.raises(case.kind) as caught:
            await case.call(capgo)

    assert type(caught.value) is case.kind
    assert caught.value.code != "one_too_many"


@pytest.mark.parametrize("name", ["members.remove", "api_keys.delete"])
@pytest.mark.parametrize(
    "missing", [answer(404, {"error": "not_found", "message": "Not found"}), Response(status=404, headers={}, body=b"404")]
)
@in_virtual_time
async def test_a_missing_route_proves_nothing(name: str, missing: Response) -> None:
    case = CASES[name]
    transport = ScriptedTransport(*case.before, AMBIGUOUS["502"], *case.again, last=missing)
    async with client_of(transport) as capgo:
        with pytest.raises(errors.NotFound):
            await case.call(capgo)


@pytest.mark.parametrize("doubt", AMBIGUOUS)
@in_virtual_time
async def test_an_attempt_in_doubt_does_not_remove_the_invitation_of_somebody_without_an_account(doubt: str) -> None:
    invited = said([ADMIN, {"uid": "b", "email": "b@x.test", "role": "org_member", "is_tmp": True}])
    transport = ScriptedTransport(invited, AMBIGUOUS[doubt], invited, last=refused("user_not_found", 404))
    async with client_of(transport) as capgo:
        with pytest.raises(
            errors.NotFound, match="invitation of somebody without an account cannot be removed through this API"
        ):
            await capgo.members.remove(ORG, "b@x.test")
    assert calls_of(transport).count("DELETE /organization/members") == 2


@in_virtual_time
async def test_the_bundles_of_delete_all_are_each_a_call_of_their_own() -> None:
    gone = CASES["bundles.delete"].repeated
    names = [{"id": n, "name": f"1.0.{n}"} for n in range(3)]
    transport = ScriptedTransport(said([]), said({"app_id": APP}), said(names), AMBIGUOUS["lost"], gone, gone, said())
    async with client_of(transport) as capgo:
        result = await capgo.bundles.delete_all(APP, confirm=APP)

    deleted = [dict(request.query)["version"] for request in transport.requests if request.method == "DELETE"]
    assert deleted == ["1.0.0", "1.0.0", "1.0.1", "1.0.2"]
    assert (result.deleted, result.kept) == (("1.0.0", "1.0.1", "1.0.2"), ())


@pytest.mark.parametrize(("doubt", "kind"), [("502", errors.ServerError), ("lost", errors.ConnectionLost)])
@in_virtual_time
async def test_a_removal_stays_in_doubt_where_the_server_then_lists_nobody(doubt: str, kind: type[errors.CapgoError]) -> None:
    members = said([ADMIN, {"uid": "b", "email": "b@x.test", "role": "org_member"}])
    transport = ScriptedTransport(members, AMBIGUOUS[doubt], last=said([]))
    async with client_of(transport) as capgo:
        with pytest.raises(kind):
            await capgo.members.remove(ORG, "b@x.test")
    assert calls_of(transport).count("DELETE /organization/members") == 1


# What is never sent twice


class Never(NamedTuple):
    """A write that is not repeated after an attempt in doubt; what it looks at before and after."""

    call: Call
    write: str
    before: Sequence[Answer] = ()
    again: Sequence[Answer] = ()
    """What is answered between the attempt in doubt and its repeat."""
    after: Sequence[Answer] = ()
    options: Mapping[str, Any] = MappingProxyType({})


CHANNEL = said({"id": 7, "name": "beta", "rollout_version": 42, "version": {"id": 41, "name": "1.2.0"}})
NEVER = {
    "organizations.create": Never(
        lambda capgo: capgo.organizations.create(NewOrganization(name="Ours")), "POST /organization", before=[said([])]
    ),
    "organizations.create, seed": Never(
        lambda capgo: capgo.organizations.create(NewOrganization(name="Ours")),
        "PUT /organization",
        before=[answer(body=[]), answer(), answer(404, {})],
        options={"dialect": "seed"},
    ),
    "api_keys.create": Never(lambda capgo: capgo.api_keys.create(NewApiKey(name="ci")), "POST /apikey"),
    "api_keys.regenerate": Never(lambda capgo: capgo.api_keys.regenerate(101), "PUT /apikey/101"),
    "channels.update, paused": Never(
        lambda capgo: capgo.channels.update(APP, "beta", ChannelSettings(rollout_paused=True)),
        "POST /channel",
        before=[CHANNEL],
    ),
    "channels.promote_rollout": Never(
        lambda capgo: capgo.channels.promote_rollout(APP, "beta"), "POST /channel", before=[CHANNEL], after=[CHANNEL]
    ),
}


@pytest.mark.parametrize("doubt", AMBIGUOUS)
@pytest.mark.parametrize("name", NEVER)
@in_virtual_time
async def test_what_is_not_harmless_is_never_sent_twice(name: str, doubt: str) -> None:
    case = NEVER[name]
    transport = ScriptedTransport(*case.before, AMBIGUOUS[doubt], *case.after, last=refused("one_too_many"))
    async with client_of(transport, **case.options) as capgo:
        with pytest.raises(errors.CapgoError) as caught:
            await case.call(capgo)

    assert getattr(caught.value, "code", "") != "one_too_many"
    assert calls_of(transport).count(case.write) == 1
    fresh = dict(zip(calls_of(transport), transport.fresh, strict=True))
    assert fresh[case.write], "a reused connection may be dead, and then nobody knows"


@pytest.mark.parametrize("name", NEVER)
@in_virtual_time
async def test_unless_nothing_can_have_left(name: str) -> None:
    case = NEVER[name]
    transport = ScriptedTransport(*case.before, errors.NotConnected("no"), last=refused("missing_app_id"))
    async with client_of(transport, **case.options) as capgo:
        with pytest.raises(errors.InvalidRequest):
            await case.call(capgo)

    assert calls_of(transport).count(case.write) == 2


# What is harmless is repeated until it is answered

HARMLESS: dict[str, tuple[Call, Callable[[Request], Answer]]] = {
    "api_keys.update": (lambda capgo: capgo.api_keys.update(101, ApiKeySettings(name="ci")), lambda _: said({"id": 101})),
    "apps.update": (lambda capgo: capgo.apps.update(APP, AppSettings(name="x")), lambda _: said({"app_id": APP})),
    "bundles.set_metadata": (lambda capgo: capgo.bundles.set_metadata(APP, 1, BundleMetadata(comment="x")), lambda _: said()),
    "devices.link": (lambda capgo: capgo.devices.link(APP, "d", channel="beta"), lambda _: said()),
    "devices.unlink": (lambda capgo: capgo.devices.unlink(APP, "d"), lambda _: said()),
    "channels.update": (
        lambda capgo: capgo.channels.update(APP, "beta", ChannelSettings(public=True)),
        lambda request: CHANNEL if request.method == "GET" else said(),
    ),
}


@pytest.mark.parametrize("doubt", AMBIGUOUS)
@pytest.mark.parametrize("name", HARMLESS)
@in_virtual_time
async def test_what_is_harmless_is_repeated(name: str, doubt: str) -> None:
    call, serve = HARMLESS[name]
    writes: list[Request] = []

    def server(request: Request) -> Answer:
        if request.method != "GET":
            writes.append(request)
            if len(writes) == 1:
                return AMBIGUOUS[doubt]
        return serve(request)

    async with client_of(ScriptedTransport(last=server), dialect="modern") as capgo:
        await call(capgo)

    assert len(writes) == 2
    assert writes[0] == writes[1]


# An organization is updated once more, after the server's generation was made sure of again


def update_organization(capgo: CapgoClient) -> Any:
    return capgo.organizations.update(ORG, OrganizationSettings(name="Ours"))


UPDATED = said({"data": {"id": ORG, "name": "Ours"}})
PASSING = {
    **{name: [found] for name, found in AMBIGUOUS.items() if name != "unreadable"},
    **{n: CLEAR[n] for n in CLEAR if CLEAR[n]},
}


@pytest.mark.parametrize("failure", PASSING)
@in_virtual_time
async def test_an_update_of_an_organization_is_repeated_after_a_look(failure: str) -> None:
    transport = ScriptedTransport(said(), *PASSING[failure], said(), UPDATED, last=refused("one_too_many"))
    async with client_of(transport) as capgo:
        await update_organization(capgo)

    assert calls_of(transport) == ["GET /ok", "PUT /organization"] * 2


@pytest.mark.parametrize("failure", PASSING)
@in_virtual_time
async def test_once(failure: str) -> None:
    transport = ScriptedTransport(said(), *PASSING[failure], said(), *PASSING[failure], last=refused("one_too_many"))
    async with client_of(transport) as capgo:
        with pytest.raises(errors.CapgoError):
            await update_organization(capgo)

    assert calls_of(transport) == ["GET /ok", "PUT /organization"] * 2


@in_virtual_time
async def test_and_not_where_nothing_can_be_asked() -> None:
    transport = ScriptedTransport(said(), AMBIGUOUS["late"], last=errors.NotConnected("no"))
    async with client_of(transport) as capgo:
        with pytest.raises(errors.TimedOut):
            await update_organization(capgo)

    assert calls_of(transport).count("PUT /organization") == 1


# Rollouts and creations of channels


@pytest.mark.parametrize("doubt", AMBIGUOUS)
@in_virtual_time
async def test_a_promotion_that_a_look_shows_is_one(doubt: str) -> None:
    promoted = said({"id": 7, "name": "beta", "rollout_version": None, "version": {"id": 42, "name": "1.3.0"}})
    transport = ScriptedTransport(CHANNEL, AMBIGUOUS[doubt], promoted)
    async with client_of(transport) as capgo:
        await capgo.channels.promote_rollout(APP, "beta")

    assert calls_of(transport) == ["GET /channel", "POST /channel", "GET /channel"]


@pytest.mark.parametrize(
    "now",
    [
        {"rollout_version": 42, "version": {"id": 41, "name": "1.2.0"}},
        {"rollout_version": None, "version": {"id": 41, "name": "1.2.0"}},
        {"rollout_version": None, "version": None},
        {"rollout_version": 43, "version": {"id": 42, "name": "1.3.0"}},
    ],
    ids=["as before", "rolled back", "wiped", "another began"],
)
@in_virtual_time
async def test_and_one_that_it_does_not_show_is_none(now: dict[str, object]) -> None:
    transport = ScriptedTransport(CHANNEL, AMBIGUOUS["late"], said({"id": 7, "name": "beta", **now}))
    async with client_of(transport) as capgo:
        with pytest.raises(errors.TimedOut):
            await capgo.channels.promote_rollout(APP, "beta")


@in_virtual_time
async def test_a_refused_promotion_is_no_success() -> None:
    transport = ScriptedTransport(CHANNEL, refused("missing_rollout_version"), last=CHANNEL)
    async with client_of(transport) as capgo:
        with pytest.raises(errors.InvalidRequest):
            await capgo.channels.promote_rollout(APP, "beta")

    assert calls_of(transport) == ["GET /channel", "POST /channel"]


@in_virtual_time
async def test_a_channel_whose_creation_was_in_doubt_is_repeated() -> None:
    row = said({"id": 7, "name": "beta"})
    transport = ScriptedTransport(refused("cannot_find_version"), AMBIGUOUS["late"], said(), row)
    async with client_of(transport) as capgo:
        assert await capgo.channels.create(APP, "beta") == Channel(id=7, name="beta")

    bodies = [json.loads(request.body) for request in transport.requests if request.body is not None]
    assert bodies == [{"app_id": APP, "channel": "beta"}] * 2


@in_virtual_time
async def test_a_creation_whose_repeat_is_refused_as_an_update_is_looked_for() -> None:
    """A developer's key may create a channel, but not change one: `cannot_access_app` (contract G1)."""
    row = said({"id": 7, "name": "beta"})
    transport = ScriptedTransport(refused("cannot_find_version"), AMBIGUOUS["late"], refused("cannot_access_app"), last=row)
    async with client_of(transport) as capgo:
        assert (await capgo.channels.create(APP, "beta")).id == 7
