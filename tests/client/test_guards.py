"""What makes the dangerous calls hard to make by accident: each test fails when its guard is taken away."""

import json
from collections.abc import Callable
from typing import Any

import anyio
import pytest
from conformance.exchanges import Call
from msgspec.structs import replace
from scripted import Answer, ScriptedTransport, answer, refusal
from virtual_time import in_virtual_time

from capgo_async import (
    ApiKeySettings,
    AppSettings,
    BundleMetadata,
    CapgoClient,
    ChannelSettings,
    NewApp,
    NewBundle,
    NewOrganization,
    OrganizationSettings,
    Unlisted,
    UpdatePolicy,
    errors,
)
from capgo_async.errors import ConfigurationError, DangerousCall, NotApplied
from capgo_async.http.wire import Request, Response

APP = "com.example.app"
ORG = "046a36ac-0000-4000-8000-000000000001"
OTHER = "046a36ac-0000-4000-8000-000000000002"
NEW_BUNDLE = NewBundle(version="1.0.0", external_url="https://cdn.test/1.zip", checksum="0")
LOST = errors.ConnectionLost("gone")
HTML = Response(status=200, headers={"content-type": "text/html"}, body=b"<html>Welcome</html>")


def client_of(transport: ScriptedTransport, **options: Any) -> CapgoClient:
    return CapgoClient(
        **{"api_key": "key", "base_url": "https://capgo.test", "rate": "off", "retries": 4, "transport": transport, **options}
    )


def source(version: str) -> dict[str, Any]:
    return {"x_worker_source": f"capgo_api-prod-{version}"}


def refused(code: str, status: int = 400, message: str = "No", **more: object) -> Response:
    return answer(status, {"error": code, "message": message, "moreInfo": more})


def sent(transport: ScriptedTransport) -> list[str]:
    return [f"{request.method} {request.path}" for request in transport.requests]


def body_of(request: Request) -> Any:
    return None if request.body is None else json.loads(request.body)


# Organization update never creates (contract C1, D1)

NAMED = OrganizationSettings(name="Ours")
MODERN_PROBE = refused("invalid_body", error={"issues": [{"path": ["orgId"]}]})
SEED_PROBE = answer(400, {"status": "Invalid body", "error": '[{"path":["name"],"message":"Required"}]'})
DONE = {"status": "Organization updated", "id": ORG, "data": {"id": ORG, "name": "Ours"}}


class Organizations:
    """A server that takes one verb to update an organization; the other one creates."""

    def __init__(self, updates: str, *, header: bool = False, probe: Response | None = None) -> None:
        self.updates = updates
        self.header: dict[str, Any] = source("12.201.7") if header else {}
        self.probe = probe or (MODERN_PROBE if updates == "PUT" else SEED_PROBE)
        self.created = 0

    def __call__(self, request: Request) -> Response:
        if request.path != "/organization" or request.method == "GET":
            return answer(body=[] if request.path == "/organization" else None, **self.header)
        if body_of(request) == {"probe": True}:
            assert request.method == "PUT"
            return self.probe
        self.created += request.method != self.updates
        return answer(body=DONE if self.updates == "PUT" else {**DONE, "data": [DONE["data"]]}, **self.header)


ASKED = ["GET /ok"]
PROBED = ["PUT /organization"]


@pytest.mark.parametrize(
    ("server", "options", "calls"),
    [
        (Organizations("PUT", header=True), {}, [*ASKED, "PUT /organization"]),
        (Organizations("PUT", header=True), {"dialect": "modern"}, [*ASKED, "PUT /organization"]),
        (Organizations("PUT"), {}, [*ASKED, *PROBED, "PUT /organization"]),
        (Organizations("POST"), {}, [*ASKED, *PROBED, "POST /organization"]),
        (Organizations("PUT"), {"dialect": "modern"}, [*ASKED, *PROBED, "PUT /organization"]),
        (Organizations("POST"), {"dialect": "seed"}, [*ASKED, *PROBED, "POST /organization"]),
        (Organizations("PUT", probe=answer(404, {})), {"dialect": "modern"}, [*ASKED, *PROBED, "PUT /organization"]),
        (Organizations("POST", probe=answer(404, {})), {"dialect": "seed"}, [*ASKED, *PROBED, "POST /organization"]),
    ],
    ids=[
        *("told by /ok", "told by /ok, set: modern", "probed: modern", "probed: seed", "set: modern", "set: seed"),
        *("set: modern, nothing shows", "set: seed, nothing shows"),
    ],
)
async def test_an_organization_is_updated_with_the_verb_of_its_server(
    server: Organizations, options: dict[str, str], calls: list[str]
) -> None:
    transport = ScriptedTransport(last=server)
    async with client_of(transport, **options) as capgo:
        found = await capgo.organizations.update(ORG, NAMED)
        assert sent(transport) == calls
        await capgo.organizations.update(ORG, NAMED)

    assert (found.id, found.name, server.created) == (ORG, "Ours", 0)
    assert sent(transport) == [*calls, *calls[1:]], "who tells a version is not asked again, a probe is only for one update"


async def test_an_answer_to_any_call_tells_the_dialect() -> None:
    transport = ScriptedTransport(last=Organizations("PUT", header=True))
    async with client_of(transport) as capgo:
        await capgo.devices.unlink(APP, "d")
        await capgo.organizations.update(ORG, NAMED)

    assert sent(transport) == ["DELETE /device", "PUT /organization"]


async def test_a_sibling_with_another_key_knows_what_was_learned() -> None:
    transport = ScriptedTransport(last=Organizations("POST"))
    async with client_of(transport) as capgo:
        await capgo.organizations.update(ORG, NAMED)
        await capgo.with_key("another").organizations.update(ORG, NAMED)

    assert sent(transport).count("GET /ok") == 1


async def test_two_updates_at_once_ask_once() -> None:
    transport = ScriptedTransport(last=Organizations("PUT", header=True))
    async with client_of(transport) as capgo, anyio.create_task_group() as group:
        group.start_soon(capgo.organizations.update, ORG, NAMED)
        group.start_soon(capgo.organizations.update, ORG, NAMED)

    assert sent(transport).count("GET /ok") == 1
    assert sent(transport).count("PUT /organization") == 2


@pytest.mark.parametrize(
    ("server", "dialect", "shown"),
    [
        (Organizations("PUT", header=True), "seed", "modern"),
        (Organizations("PUT"), "seed", "modern"),
        (Organizations("POST"), "modern", "seed"),
    ],
    ids=["by its header", "by the probe: modern", "by the probe: seed"],
)
async def test_a_set_dialect_that_the_server_contradicts_changes_nothing(
    server: Organizations, dialect: str, shown: str
) -> None:
    transport = ScriptedTransport(last=server)
    async with client_of(transport, dialect=dialect) as capgo:
        with pytest.raises(DangerousCall, match=f"set dialect='{shown}'"):
            await capgo.organizations.update(ORG, NAMED)
        with pytest.raises(DangerousCall, match=f"set dialect='{shown}'"):
            await capgo.organizations.create(NewOrganization(name="Ours"))

    assert all(body in (None, {"probe": True}) for body in map(body_of, transport.requests))


@pytest.mark.parametrize("header", [True, False])
async def test_a_server_that_was_renewed_after_a_probe_creates_nothing(*, header: bool) -> None:
    transport = ScriptedTransport(last=Organizations("POST"))
    async with client_of(transport) as capgo:
        await capgo.organizations.update(ORG, NAMED)
        transport.last = renewed = Organizations("PUT", header=header)
        assert (await capgo.organizations.update(ORG, NAMED)).id == ORG

    assert renewed.created == 0


@pytest.mark.parametrize("failure", [LOST, answer(503, {}), errors.NotConnected("no"), answer(408, {})])
@in_virtual_time
async def test_nor_one_that_was_renewed_between_two_attempts(failure: Answer) -> None:
    old, renewed = Organizations("POST"), Organizations("PUT", header=True)
    failed: list[Request] = []

    def serve(request: Request) -> Answer:
        if "orgId" in (body_of(request) or {}) and not failed:
            failed.append(request)
            return failure
        return renewed(request) if failed else old(request)

    async with client_of(ScriptedTransport(last=serve)) as capgo:
        await capgo.organizations.update(ORG, NAMED)

    assert (failed[0].method, renewed.created) == ("POST", 0)


@pytest.mark.parametrize(
    "created", [answer(body={"id": OTHER}), answer(body={"status": "Organization created", "id": OTHER}), HTML]
)
@in_virtual_time
async def test_what_may_have_created_an_organization_is_not_repeated(created: Response) -> None:
    """Nothing shows what the server is, and the user was wrong."""
    server = Organizations("PUT", probe=answer(404, {}))
    transport = ScriptedTransport(last=lambda request: created if request.method == "POST" else server(request))
    async with client_of(transport, dialect="seed") as capgo:
        with pytest.raises(NotApplied, match="or a new one was created"):
            await capgo.organizations.update(ORG, NAMED)

    assert sent(transport).count("POST /organization") == 1


@pytest.mark.parametrize(
    "probe",
    [
        *(
            answer(),
            answer(404, {}),
            answer(403, {}),
            Response(status=200, headers={}, body=b"<html>"),
            answer(422, {"orgId": 1}),
        ),
        Response(status=400, headers={}, body=b"<html>400 Bad Request: name orgId</html>"),
        refused("invalid_json_parse_body", message="Invalid JSON body"),
        refused("invalid_body", error={"issues": [{"path": ["probe"]}], "name": "SchemaError"}),
        answer(400, {"status": "Invalid body", "error": '{"issues":[],"name":"ZodError"}'}),
        refused("blocked", message="Blocked", rule="bad host name"),
        answer(400, {}),
    ],
    ids=[
        *("200", "404", "403", "html", "422", "400 html", "400 no JSON body", "400 another field", "400 in a text"),
        *("400 of a firewall", "400 empty"),
    ],
)
async def test_an_organization_is_not_updated_where_the_dialect_does_not_show(probe: Response) -> None:
    server = Organizations("PUT", probe=probe)
    transport = ScriptedTransport(last=server)
    async with client_of(transport) as capgo:
        with pytest.raises(DangerousCall, match="set dialect='modern' or dialect='seed'"):
            await capgo.organizations.update(ORG, NAMED)

    assert [body_of(request) for request in transport.requests] == [None, {"probe": True}]


@pytest.mark.parametrize("failure", [answer(500, {}), answer(502, {}), LOST])
async def test_nor_where_the_probe_fails(failure: Answer) -> None:
    transport = ScriptedTransport(answer(), last=failure)
    async with client_of(transport, retries=0) as capgo:
        with pytest.raises(errors.CapgoError):
            await capgo.organizations.update(ORG, NAMED)

    assert body_of(transport.requests[-1]) == {"probe": True}


@pytest.mark.parametrize(
    "data",
    [{"id": OTHER, "name": "Ours"}, [{"id": OTHER, "name": "Ours"}], [], [{"id": ORG}, {"id": OTHER}]],
    ids=["another", "another in a list", "none", "two"],
)
async def test_an_answer_about_another_organization_is_no_success(data: object) -> None:
    updated = answer(body={"status": "Organization updated", "id": ORG, "data": data}, **source("12.201.7"))
    transport = ScriptedTransport(answer(**source("12.201.7")), updated)
    async with client_of(transport, dialect="modern") as capgo:
        with pytest.raises(NotApplied, match=ORG):
            await capgo.organizations.update(ORG, NAMED)


@pytest.mark.parametrize("org_id", ["", " "])
async def test_an_organization_without_an_id_is_never_sent(org_id: str) -> None:
    transport = ScriptedTransport()
    async with client_of(transport, dialect="modern") as capgo:
        with pytest.raises(ConfigurationError):
            await capgo.organizations.update(org_id, NAMED)
        with pytest.raises(ConfigurationError):
            await capgo.organizations.delete(org_id)

    assert transport.requests == []


@pytest.mark.parametrize("options", [{}, {"dialect": "modern"}, {"dialect": "seed"}])
async def test_a_creation_has_no_org_id_whatever_the_verb(options: dict[str, str]) -> None:
    replies = {("GET", "/organization"): answer(body=[]), ("GET", "/ok"): answer()}
    probe = MODERN_PROBE if options.get("dialect") == "modern" else SEED_PROBE
    transport = ScriptedTransport(last=lambda request: replies.get((request.method, request.path), probe))
    async with client_of(transport, **options) as capgo:
        with pytest.raises(errors.InvalidRequest):
            await capgo.organizations.create(NewOrganization(name="Ours"))

    bodies = [body for request in transport.requests if (body := body_of(request)) not in (None, {"probe": True})]
    assert bodies
    assert all(body == {"name": "Ours"} for body in bodies)


async def test_a_created_organization_that_was_there_before_is_none() -> None:
    known = answer(body=[{"id": ORG, "name": "Ours"}], **source("12.201.7"))
    transport = ScriptedTransport(known, answer(body={"id": ORG}), last=known)
    async with client_of(transport) as capgo:
        with pytest.raises(NotApplied, match="0 new organizations"):
            await capgo.organizations.create(NewOrganization(name="Ours"))


# Channel settings never wipe a bundle (contract C6, D15)


class OneChannel:
    """A server with one channel, which it looks up and writes."""

    def __init__(self, version: str | None, bundle: str | None = "1.2.0", **more: object) -> None:
        self.headers: dict[str, Any] = source(version) if version else {}
        reference = None if bundle is None else {"id": 41, "name": bundle}
        self.row = {"id": 7, "name": "beta", "app_id": APP, "version": reference, **more}

    def __call__(self, request: Request) -> Response:
        return answer(body=self.row if request.method == "GET" else {"status": "ok"}, **self.headers)


async def written(server: Callable[[Request], Answer], call: Call, **options: Any) -> list[Any]:
    """Return the bodies that left."""
    transport = ScriptedTransport(last=server)
    async with client_of(transport, **options) as capgo:
        await call(capgo)
    return [body_of(request) for request in transport.requests if request.body is not None]


def make_public(capgo: CapgoClient) -> Any:
    return capgo.channels.update(APP, "beta", ChannelSettings(public=True))


@pytest.mark.parametrize("version", [None, "11.9.32", "12.187.0", "12.188.1", "12.197.9"])
@pytest.mark.parametrize("dialect", ["auto", "modern", "seed"])
async def test_settings_carry_the_present_bundle_to_a_server_that_would_wipe_it(version: str | None, dialect: str) -> None:
    [body] = await written(OneChannel(version), make_public, dialect=dialect)

    assert body == {"app_id": APP, "channel": "beta", "public": True, "version": "1.2.0"}


@pytest.mark.parametrize("version", ["12.198.0", "12.201.7", "13.0.0"])
async def test_settings_leave_the_bundle_out_where_the_server_leaves_it_alone(version: str) -> None:
    assert await written(OneChannel(version), make_public) == [{"app_id": APP, "channel": "beta", "public": True}]


@pytest.mark.parametrize("placeholder", ["unknown", "builtin", None])
async def test_the_name_of_a_placeholder_is_never_sent(placeholder: str | None) -> None:
    [body] = await written(OneChannel(None, placeholder), make_public)

    assert "version" not in body


@pytest.mark.parametrize("bundle", ["1.3.0", None])
async def test_a_bundle_that_the_caller_names_goes_before_the_present_one(bundle: str | None) -> None:
    settings = ChannelSettings(bundle=bundle)
    [body] = await written(OneChannel(None), lambda capgo: capgo.channels.update(APP, "beta", settings))

    assert body["version"] == bundle


@pytest.mark.parametrize("call", ["update", "create"])
@pytest.mark.parametrize("name", ["", " ", "\t", "unknown", "builtin", " Unknown "])
@pytest.mark.parametrize("field", ["bundle", "rollout_bundle"])
async def test_a_name_that_the_server_takes_for_none_never_leaves(field: str, name: str, call: str) -> None:
    settings: dict[str, Any] = {field: name}
    transport = ScriptedTransport(last=OneChannel("12.201.7"))
    async with client_of(transport) as capgo:
        with pytest.raises(ConfigurationError, match=f"{field}.* (means 'no bundle'|cannot be empty)"):
            await getattr(capgo.channels, call)(APP, "beta", ChannelSettings(**settings))

    assert transport.requests == []


async def test_a_version_of_an_earlier_answer_is_not_relied_on() -> None:
    """Two servers may stand behind one address, and one of them tells no version."""
    transport = ScriptedTransport(answer(**source("12.201.7")), last=OneChannel(None))
    async with client_of(transport) as capgo:
        await capgo.check()
        await make_public(capgo)

    assert body_of(transport.requests[-1])["version"] == "1.2.0"


@pytest.mark.parametrize("missing", [refused("cannot_find_version"), answer(400, {"status": "Cannot find version"})])
async def test_an_update_never_creates_a_channel(missing: Response) -> None:
    transport = ScriptedTransport(missing)
    async with client_of(transport) as capgo:
        with pytest.raises(errors.ChannelNotFound):
            await capgo.channels.update(APP, "beta", ChannelSettings(public=True))

    assert sent(transport) == ["GET /channel"]


async def test_a_creation_never_changes_a_channel() -> None:
    transport = ScriptedTransport(last=OneChannel("12.201.7"))
    async with client_of(transport) as capgo:
        with pytest.raises(ConfigurationError, match="already"):
            await capgo.channels.create(APP, "beta")

    assert sent(transport) == ["GET /channel"]


@pytest.mark.parametrize("settings", [{}, {"public": "yes"}, {"rollout_percentage_bps": 10001}, {"auto_pause_confidence": 1.0}])
async def test_settings_that_the_server_would_misread_never_leave(settings: dict[str, Any]) -> None:
    transport = ScriptedTransport(last=OneChannel("12.201.7"))
    async with client_of(transport) as capgo:
        with pytest.raises(ConfigurationError):
            await capgo.channels.update(APP, "beta", ChannelSettings(**settings))

    assert transport.requests == []


@pytest.mark.parametrize("action", ["roll_back", "promote_rollout"])
@pytest.mark.parametrize("version", [None, "12.187.0"])
async def test_the_end_of_a_rollout_is_not_sent_to_a_server_that_knows_none(action: str, version: str | None) -> None:
    """It takes the body for a change of settings without a bundle, and wipes that (contract C6, D15)."""
    transport = ScriptedTransport(last=OneChannel(version))
    async with client_of(transport) as capgo:
        with pytest.raises(errors.CapgoError):
            await getattr(capgo.channels, action)(APP, "beta")

    assert "POST /channel" not in sent(transport)


@pytest.mark.parametrize(
    ("given", "as_sent"),
    [(None, "version_number"), ("metadata", "metadata"), ("something", "something")],
)
async def test_metadata_is_spelt_as_the_server_has_it(given: str | None, as_sent: str) -> None:
    settings = ChannelSettings(disable_auto_update="metadata")
    options: dict[str, Any] = {} if given is None else {"metadata_as": given}
    [body] = await written(OneChannel("12.201.7"), lambda capgo: capgo.channels.update(APP, "beta", settings, **options))
    assert body["disableAutoUpdate"] == as_sent


@pytest.mark.parametrize("word", ["major", "minor", "patch", "version_number", "none", Unlisted("a word of next year")])
async def test_every_other_word_is_sent_as_it_is(word: UpdatePolicy | Unlisted) -> None:
    settings = ChannelSettings(disable_auto_update=word)
    [body] = await written(OneChannel("12.201.7"), lambda capgo: capgo.channels.update(APP, "beta", settings))

    assert body["disableAutoUpdate"] == word


@in_virtual_time
async def test_a_500_on_a_channel_is_tried_once_more_and_explained() -> None:
    failed = refused("unknown_error", 500, "Unknown error")
    transport = ScriptedTransport(last=lambda request: OneChannel("12.201.7")(request) if request.method == "GET" else failed)
    async with client_of(transport) as capgo:
        with pytest.raises(errors.ServerError) as caught:
            await capgo.channels.update(APP, "beta", ChannelSettings(bundle="9.9.9", disable_auto_update="metadata"))

    assert sent(transport) == ["GET /channel", "POST /channel", "POST /channel"]
    assert "bundle 9.9.9" in str(caught.value)
    assert "disable_auto_update 'metadata'" in str(caught.value) or "'version_number'" in str(caught.value)


@in_virtual_time
async def test_a_500_that_goes_away_does_no_harm() -> None:
    channel = OneChannel("12.201.7")
    transport = ScriptedTransport(channel(Request(method="GET", path="/channel")), refused("unknown_error", 500), last=answer())
    async with client_of(transport) as capgo:
        await capgo.channels.update(APP, "beta", ChannelSettings(public=True))

    assert sent(transport) == ["GET /channel", "POST /channel", "POST /channel"]


async def test_a_package_that_was_not_stored_is_told() -> None:
    transport = ScriptedTransport(last=OneChannel("12.201.7"))
    async with client_of(transport) as capgo:
        with pytest.raises(NotApplied, match="update_package"):
            await capgo.channels.update(APP, "beta", ChannelSettings(update_package="zip"))
    transport = ScriptedTransport(last=OneChannel("12.201.7", updatePackage="zip"))
    async with client_of(transport) as capgo:
        await capgo.channels.update(APP, "beta", ChannelSettings(update_package="zip"))


async def test_nor_is_a_package_of_a_new_channel_lost_silently() -> None:
    row = answer(body={"id": 7, "name": "beta"}, **source("12.201.7"))
    async with client_of(ScriptedTransport(refused("cannot_find_version"), answer(), row)) as capgo:
        with pytest.raises(NotApplied, match="update_package"):
            await capgo.channels.create(APP, "beta", ChannelSettings(update_package="zip"))


# A channel that is said to be deleted is (contract C6)


@pytest.mark.parametrize("version", [None, "12.199.3"])
async def test_a_deletion_that_did_not_happen_is_told(version: str | None) -> None:
    transport = ScriptedTransport(last=OneChannel(version))
    async with client_of(transport, dialect="modern") as capgo:
        with pytest.raises(NotApplied, match="unlink its devices first"):
            await capgo.channels.delete(APP, "beta")

    assert sent(transport) == ["GET /channel", "DELETE /channel", "GET /channel"]


async def test_a_newer_server_is_trusted() -> None:
    transport = ScriptedTransport(last=OneChannel("12.199.4"))
    async with client_of(transport) as capgo:
        await capgo.channels.delete(APP, "beta")

    assert sent(transport) == ["GET /channel", "DELETE /channel"]


async def test_a_public_channel_is_not_deleted() -> None:
    transport = ScriptedTransport(last=OneChannel("12.201.7", public=True))
    async with client_of(transport) as capgo:
        with pytest.raises(DangerousCall, match="make another channel public first"):
            await capgo.channels.delete(APP, "beta")

    assert sent(transport) == ["GET /channel"]


# Delete one is never delete all (contract C8)


@pytest.mark.parametrize("version", ["", " ", "\t\n", None, 5, 0, False, [], ["1.0.0"], b"1.0.0"])
async def test_a_bundle_without_a_name_is_never_deleted(version: Any) -> None:
    transport = ScriptedTransport()
    async with client_of(transport) as capgo:
        with pytest.raises(ConfigurationError):
            await capgo.bundles.delete(APP, version)

    assert transport.requests == []


async def test_all_parameters_of_a_deletion_are_in_the_query() -> None:
    transport = ScriptedTransport(last=OneChannel("12.201.7"))
    async with client_of(transport) as capgo:
        await capgo.bundles.delete(APP, "1.2.0")
        await capgo.channels.delete(APP, "beta")
        await capgo.devices.unlink(APP, "d")
        await capgo.organizations.delete(ORG)

    deletions = [request for request in transport.requests if request.method == "DELETE"]
    assert [request.body for request in deletions] == [None] * 4
    assert [sorted(dict(request.query)) for request in deletions] == [
        ["app_id", "version"],
        ["app_id", "channel"],
        ["app_id", "device_id"],
        ["orgId"],
    ]


@pytest.mark.parametrize("confirm", [None, "", "yes", "com.example.other", APP.upper()])
async def test_all_bundles_are_deleted_only_by_who_says_so(confirm: str | None) -> None:
    transport = ScriptedTransport()
    async with client_of(transport) as capgo:
        with pytest.raises(DangerousCall, match=f"confirm='{APP}'"):
            await capgo.bundles.delete_all(APP, confirm=confirm)

    assert transport.requests == []


class Shop:
    """A server of bundles and channels; `linked` are refused by name, as newer servers do."""

    def __init__(
        self, version: str | None, *bundles: str, channels: list[dict[str, Any]], refuses: tuple[str, ...] = ()
    ) -> None:
        self.headers: dict[str, Any] = source(version) if version else {}
        self.bundles = list(bundles)
        self.channels = channels
        self.refuses = refuses
        self.deleted: list[str] = []

    def __call__(self, request: Request) -> Response:
        match request.method, request.path:
            case "GET", "/bundle":
                return answer(body=[{"id": n, "name": name} for n, name in enumerate(self.bundles)], **self.headers)
            case "GET", "/channel":
                return answer(body=self.channels, **self.headers)
            case "DELETE", "/bundle":
                query = dict(request.query)
                assert query.keys() == {"app_id", "version"}
                if query["version"] in self.refuses:
                    return refused("cannot_delete_linked_version")
                self.deleted.append(query["version"])
            case "GET", path if path.startswith("/app/"):
                return answer(body={"app_id": APP, "channel_device_count": 0}, **self.headers)
        return answer(**self.headers)


STABLE = {"id": 1, "name": "production", "version": {"id": 0, "name": "1.0.0"}}
ROLLOUT = {"id": 2, "name": "beta", "version": None, "rollout_version": 1, "rollout_version_info": {"id": 1, "name": "1.1.0"}}


@pytest.mark.parametrize("version", [None, "12.187.0", "12.201.7"])
async def test_delete_all_goes_one_by_one_and_skips_what_channels_use(version: str | None) -> None:
    shop = Shop(version, "1.0.0", "1.1.0", "1.2.0", "1.3.0", channels=[STABLE, ROLLOUT], refuses=("1.3.0",))
    async with client_of(ScriptedTransport(last=shop)) as capgo:
        result = await capgo.bundles.delete_all(APP, confirm=APP)

    assert shop.deleted == ["1.2.0"]
    assert (result.deleted, set(result.kept)) == (("1.2.0",), {"1.0.0", "1.1.0", "1.3.0"})


@pytest.mark.parametrize("version", [None, "12.187.0", "12.188.0"])
@pytest.mark.parametrize("dialect", ["auto", "modern"])
@pytest.mark.parametrize("bundle", ["1.0.0", "1.1.0"])
async def test_a_linked_bundle_is_refused_where_the_server_would_delete_it(
    version: str | None, dialect: str, bundle: str
) -> None:
    shop = Shop(version, channels=[STABLE, ROLLOUT])
    async with client_of(ScriptedTransport(last=shop), dialect=dialect) as capgo:
        with pytest.raises(DangerousCall, match=r"is used by channel (production|beta)"):
            await capgo.bundles.delete(APP, bundle)
        assert shop.deleted == []
        await capgo.bundles.delete(APP, "1.2.0")

    assert shop.deleted == ["1.2.0"]


async def test_a_newer_server_refuses_a_linked_bundle_itself() -> None:
    shop = Shop("12.188.1", channels=[STABLE], refuses=("1.0.0",))
    transport = ScriptedTransport(last=shop)
    async with client_of(transport) as capgo:
        with pytest.raises(errors.BundleLinked):
            await capgo.bundles.delete(APP, "1.0.0")

    assert sent(transport) == ["GET /ok", "DELETE /bundle"]


# The last super admin (contract C2, D50)


class Crew:
    """An organization whose members can be removed; without a super admin it is gone."""

    def __init__(self, *members: tuple[str, str, bool]) -> None:
        self.members = list(members)

    @property
    def is_gone(self) -> bool:
        return not any(role.endswith("super_admin") and not pending for _, role, pending in self.members)

    def __call__(self, request: Request) -> Response:
        if request.method == "DELETE":
            email = dict(request.query)["email"]
            found = [member for member in self.members if member[0] == email]
            if not found:
                return refused("user_not_found", 404)
            self.members.remove(found[0])
            return answer()
        rows = [{"uid": email, "email": email, "role": role, "is_tmp": tmp} for email, role, tmp in self.members]
        return answer(body=rows)


@pytest.mark.parametrize("email", ["owner@x.test", "OWNER@X.test"])
@pytest.mark.parametrize("role", ["org_super_admin", "super_admin"])
@pytest.mark.parametrize("confirm", [None, "", "yes", OTHER])
async def test_the_last_super_admin_stays(email: str, role: str, confirm: str | None) -> None:
    crew = Crew(
        ("owner@x.test", role, False),
        ("new@x.test", "org_super_admin", True),
        ("old@x.test", "invite_super_admin", False),
        ("admin@x.test", "org_admin", False),
    )
    transport = ScriptedTransport(last=crew)
    async with client_of(transport) as capgo:
        with pytest.raises(DangerousCall, match="last super admin"):
            await capgo.members.remove(ORG, email, confirm=confirm)

    assert sent(transport) == ["GET /organization/members"]


async def test_the_last_super_admin_goes_when_that_is_said() -> None:
    crew = Crew(("owner@x.test", "org_super_admin", False))
    async with client_of(ScriptedTransport(last=crew)) as capgo:
        await capgo.members.remove(ORG, "Owner@x.test", confirm=ORG)

    assert crew.is_gone


async def test_any_other_member_goes_without_a_word() -> None:
    crew = Crew(
        ("a@x.test", "org_super_admin", False), ("b@x.test", "org_super_admin", False), ("c@x.test", "org_member", True)
    )
    async with client_of(ScriptedTransport(last=crew)) as capgo:
        await capgo.members.remove(ORG, "c@x.test")
        await capgo.members.remove(ORG, "B@x.test")

    assert crew.members == [("a@x.test", "org_super_admin", False)]


@pytest.mark.parametrize(
    ("email", "members"),
    [
        ("owner@x.test", [("admin@x.test", "org_admin", False)]),
        ("owner@x.test", [("owner@x.test", "org_owner", False), ("b@x.test", "org_member", False)]),
        ("owner@x.test", [("owner@x.test", "ORG_SUPER_ADMIN", False)]),
        ("owner@x.test", [("owner@x.test", "org_super_admin", False)] * 2),
        ("owner@x.test", [("owner@x.test", "org_super_admin", False), ("owner@x.test", "org_member", False)]),
        (" owner@x.test ", [("owner@x.test", "org_super_admin", False)]),
        ("owner@x.test", [(" Owner@x.test", "org_super_admin", False)]),
        ("owner@x.test", [("owner@x.test", "org_owner", False), ("b@x.test", "org_super_admin", True)]),
    ],
    ids=[
        *("it does not show", "an unknown role", "a role in capitals", "twice", "twice, with two roles"),
        *("padded", "padded by the server", "the other is only invited"),
    ],
)
async def test_who_may_be_the_last_super_admin_stays(email: str, members: list[tuple[str, str, bool]]) -> None:
    transport = ScriptedTransport(last=Crew(*members))
    async with client_of(transport) as capgo:
        with pytest.raises(DangerousCall, match=r"(is|may be) the last super admin"):
            await capgo.members.remove(ORG, email)

    assert sent(transport) == ["GET /organization/members"]


async def test_nobody_is_removed_if_nobody_is_shown() -> None:
    transport = ScriptedTransport(last=Crew())
    async with client_of(transport) as capgo:
        with pytest.raises(errors.EmptyListing):
            await capgo.members.remove(ORG, "owner@x.test")

    assert sent(transport) == ["GET /organization/members"]


@pytest.mark.parametrize(
    "member",
    [("b@x.test", "org_owner", False), ("b@x.test", "org_super_admin", True), ("b@x.test", "org_member", False)],
)
async def test_and_who_cannot_be_goes(member: tuple[str, str, bool]) -> None:
    crew = Crew(("a@x.test", "org_super_admin", False), member)
    async with client_of(ScriptedTransport(last=crew)) as capgo:
        await capgo.members.remove(ORG, " B@x.test ")

    assert len(crew.members) == 1


@pytest.mark.parametrize("role", ["org_admin", "org_member", "read", "admin", "invite_super_admin"])
async def test_a_known_lesser_role_is_no_danger(role: str) -> None:
    crew = Crew(("b@x.test", role, False))
    async with client_of(ScriptedTransport(last=crew)) as capgo:
        await capgo.members.remove(ORG, "b@x.test")

    assert crew.members == []


@pytest.mark.parametrize("related", [True, False], ids=["two keys of a client", "two clients"])
@in_virtual_time
async def test_of_two_super_admins_removed_at_once_one_stays(*, related: bool) -> None:
    crew = Crew(("a@x.test", "org_super_admin", False), ("b@x.test", "org_super_admin", False))
    refusals: list[DangerousCall] = []

    async def remove(capgo: CapgoClient, email: str) -> None:
        try:
            await capgo.members.remove(ORG, email)
        except DangerousCall as refusal:
            refusals.append(refusal)

    transport = ScriptedTransport(last=crew, latency=1.0)
    async with client_of(transport) as capgo, anyio.create_task_group() as group:
        group.start_soon(remove, capgo, "a@x.test")
        group.start_soon(remove, capgo.with_key("another") if related else client_of(transport), "b@x.test")

    assert len(refusals) == len(crew.members) == 1


@pytest.mark.parametrize(
    "failure",
    [LOST, errors.NotConnected("no"), answer(503, {}), answer(408, {}), refusal("api_key_rate_limit_exceeded", retry_after=5)],
    ids=["lost", "not connected", "503", "given up", "limited"],
)
@in_virtual_time
async def test_a_removal_is_repeated_only_after_another_look(failure: Answer) -> None:
    """Between the two attempts somebody else may have removed the only other super admin."""
    crew = Crew(("a@x.test", "org_super_admin", False), ("b@x.test", "org_super_admin", False))
    lost: list[Request] = []

    def serve(request: Request) -> Answer:
        if request.method == "DELETE" and not lost:
            lost.append(request)
            crew.members.remove(("b@x.test", "org_super_admin", False))
            return failure
        return crew(request)

    async with client_of(ScriptedTransport(last=serve)) as capgo:
        with pytest.raises(DangerousCall):
            await capgo.members.remove(ORG, "a@x.test")

    assert not crew.is_gone


@in_virtual_time
async def test_who_is_gone_before_anything_was_sent_was_not_removed_here() -> None:
    crew = Crew(("a@x.test", "org_super_admin", False))
    refusals: list[Answer] = [errors.NotConnected("no")]
    transport = ScriptedTransport(
        last=lambda request: refusals.pop() if request.method == "DELETE" and refusals else crew(request)
    )
    async with client_of(transport) as capgo:
        with pytest.raises(errors.NotFound):
            await capgo.members.remove(ORG, "b@x.test")


FRESH: dict[str, tuple[Callable[[Request], Answer], Call]] = {
    "members.remove": (
        Crew(("a@x.test", "org_super_admin", False)),
        lambda capgo: capgo.members.remove(ORG, "a@x.test", confirm=ORG),
    ),
    "organizations.update": (Organizations("PUT", header=True), lambda capgo: capgo.organizations.update(ORG, NAMED)),
}


@pytest.mark.parametrize("name", FRESH)
async def test_what_must_not_be_in_doubt_takes_no_connection_that_may_be_dead(name: str) -> None:
    server, call = FRESH[name]
    transport = ScriptedTransport(last=server)
    async with client_of(transport) as capgo:
        await call(capgo)

    assert transport.fresh == [False, True]


# Retention (contract C5, D45)


@pytest.mark.parametrize("seconds", [0, 45, 86_399])
@pytest.mark.parametrize("confirm", [None, "", "yes", "com.example.other"])
async def test_a_retention_below_a_day_is_refused(seconds: int, confirm: str | None) -> None:
    transport = ScriptedTransport()
    async with client_of(transport) as capgo:
        with pytest.raises(DangerousCall, match=f"{seconds} seconds"):
            await capgo.apps.update(APP, AppSettings(retention_seconds=seconds), confirm=confirm)

    assert transport.requests == []


@pytest.mark.parametrize(("seconds", "confirm"), [(45, APP), (86_400, None), (63_113_903, None)])
async def test_a_retention_that_is_meant_is_sent(seconds: int, confirm: str | None) -> None:
    transport = ScriptedTransport(answer(body={"app_id": APP, "retention": seconds}))
    async with client_of(transport) as capgo:
        app = await capgo.apps.update(APP, AppSettings(retention_seconds=seconds), confirm=confirm)

    assert app.retention_seconds == seconds
    assert body_of(transport.requests[0]) == {"retention": seconds}


@pytest.mark.parametrize("seconds", [-1, 63_113_904, "45", 45.5, True])
async def test_a_retention_that_the_server_refuses_never_leaves(seconds: Any) -> None:
    transport = ScriptedTransport()
    async with client_of(transport) as capgo:
        with pytest.raises(ConfigurationError):
            await capgo.apps.update(APP, AppSettings(retention_seconds=seconds), confirm=APP)

    assert transport.requests == []


# What a set dialect settles, and what it does not (contract C7, D18)


@pytest.mark.parametrize("options", [{}, {"dialect": "modern"}])
async def test_a_device_is_linked_to_a_bundle_only_where_the_caller_says_seed(options: dict[str, str]) -> None:
    transport = ScriptedTransport()
    async with client_of(transport, **options) as capgo:
        with pytest.raises(ConfigurationError, match="dialect='seed'"):
            await capgo.devices.link_to_bundle(APP, "d", version_id="1.2.0")

    assert transport.requests == []


async def test_a_probe_is_not_enough_to_link_to_a_bundle() -> None:
    transport = ScriptedTransport(last=Organizations("POST"))
    async with client_of(transport) as capgo:
        await capgo.organizations.update(ORG, NAMED)
        before = len(transport.requests)
        with pytest.raises(ConfigurationError):
            await capgo.devices.link_to_bundle(APP, "d", version_id="1.2.0")

    assert len(transport.requests) == before


async def test_a_set_dialect_tells_no_version() -> None:
    shop = Shop(None, channels=[STABLE])
    transport = ScriptedTransport(last=shop)
    async with client_of(transport, dialect="modern") as capgo:
        assert (capgo.dialect, capgo.server_version) == ("modern", None)
        with pytest.raises(DangerousCall):
            await capgo.bundles.delete(APP, "1.0.0")

    assert sent(transport) == ["GET /ok", "GET /channel"]


async def test_who_tells_no_version_is_asked_once() -> None:
    transport = ScriptedTransport(last=Shop(None, channels=[]))
    async with client_of(transport) as capgo:
        await capgo.bundles.delete(APP, "1.0.0")
        await capgo.bundles.delete(APP, "1.1.0")

    assert sent(transport).count("GET /ok") == 1


async def test_a_server_without_a_health_check_is_of_unknown_version() -> None:
    shop = Shop(None, channels=[STABLE])
    transport = ScriptedTransport(last=lambda request: answer(404, {}) if request.path == "/ok" else shop(request))
    async with client_of(transport) as capgo:
        with pytest.raises(DangerousCall):
            await capgo.bundles.delete(APP, "1.0.0")


async def test_a_health_check_that_is_limited_is_no_answer() -> None:
    shop = Shop(None, channels=[])
    limited = refusal(None, retry_after=None)
    transport = ScriptedTransport(last=lambda request: limited if request.path == "/ok" else shop(request))
    async with client_of(transport) as capgo:
        with pytest.raises(errors.RateLimited):
            await capgo.bundles.delete(APP, "1.0.0")
        with pytest.raises(errors.RateLimited):
            await capgo.bundles.delete(APP, "1.0.0")

    assert sent(transport) == ["GET /ok"] * 2


@pytest.mark.parametrize("status", [301, 400, 401, 403, 405, 500])
@in_virtual_time
async def test_nor_does_another_answer_to_the_health_check_stand_in_the_way(status: int) -> None:
    shop = Shop(None, channels=[STABLE])
    transport = ScriptedTransport(last=lambda request: answer(status, {}) if request.path == "/ok" else shop(request))
    async with client_of(transport) as capgo:
        with pytest.raises(DangerousCall):
            await capgo.bundles.delete(APP, "1.0.0")
        asked = sent(transport).count("GET /ok")
        await capgo.bundles.delete(APP, "1.2.0")

    assert shop.deleted == ["1.2.0"]
    assert sent(transport).count("GET /ok") == asked, "that is an answer, and is asked for once"


# The form of app ids, and how long texts may be (contract A4, D44, F)

APP_CALLS: dict[str, Callable[[CapgoClient, str], Any]] = {
    "apps.get": lambda capgo, app_id: capgo.apps.get(app_id),
    "apps.update": lambda capgo, app_id: capgo.apps.update(app_id, AppSettings(name="x")),
    "apps.delete": lambda capgo, app_id: capgo.apps.delete(app_id),
    "bundles.list": lambda capgo, app_id: capgo.bundles.list(app_id).all(),
    "bundles.create": lambda capgo, app_id: capgo.bundles.create(app_id, NEW_BUNDLE),
    "bundles.promote": lambda capgo, app_id: capgo.bundles.promote(app_id, "beta", bundle_id=1),
    "bundles.set_metadata": lambda capgo, app_id: capgo.bundles.set_metadata(app_id, 1, BundleMetadata(comment="x")),
    "bundles.delete": lambda capgo, app_id: capgo.bundles.delete(app_id, "1.0.0"),
    "bundles.delete_all": lambda capgo, app_id: capgo.bundles.delete_all(app_id, confirm=app_id),
    "channels.list": lambda capgo, app_id: capgo.channels.list(app_id).all(),
    "channels.get": lambda capgo, app_id: capgo.channels.get(app_id, "beta"),
    "channels.create": lambda capgo, app_id: capgo.channels.create(app_id, "beta"),
    "channels.update": lambda capgo, app_id: capgo.channels.update(app_id, "beta", ChannelSettings(public=True)),
    "channels.roll_back": lambda capgo, app_id: capgo.channels.roll_back(app_id, "beta"),
    "channels.promote_rollout": lambda capgo, app_id: capgo.channels.promote_rollout(app_id, "beta"),
    "channels.delete": lambda capgo, app_id: capgo.channels.delete(app_id, "beta"),
    "devices.find": lambda capgo, app_id: capgo.devices.find(app_id, "user-1"),
    "devices.knows_custom_ids": lambda capgo, app_id: capgo.devices.knows_custom_ids(app_id),
    "devices.list": lambda capgo, app_id: capgo.devices.list(app_id).all(),
    "devices.get": lambda capgo, app_id: capgo.devices.get(app_id, "d"),
    "devices.link": lambda capgo, app_id: capgo.devices.link(app_id, "d", channel="beta"),
    "devices.link_to_bundle": lambda capgo, app_id: capgo.devices.link_to_bundle(app_id, "d", version_id="1.0.0"),
    "devices.unlink": lambda capgo, app_id: capgo.devices.unlink(app_id, "d"),
}


@pytest.mark.parametrize("name", APP_CALLS)
async def test_an_unusual_app_id_leaves_with_a_warning_where_the_user_says_seed(name: str) -> None:
    transport = ScriptedTransport(last=refused("missing_app_id"))
    async with client_of(transport, dialect="seed") as capgo:
        with pytest.warns(UserWarning, match="app id 'app_123' is not in reverse-domain form") as told:
            with pytest.raises(errors.CapgoError):
                await APP_CALLS[name](capgo, "app_123")

    assert transport.requests
    assert {warning.filename for warning in told} == {__file__}


@pytest.mark.parametrize("name", APP_CALLS)
@pytest.mark.parametrize(("app_id", "dialect"), [("app_123", "auto"), ("app_123", "modern"), ("", "seed"), (" ", "seed")])
async def test_any_other_is_refused(name: str, app_id: str, dialect: str) -> None:
    transport = ScriptedTransport()
    async with client_of(transport, dialect=dialect) as capgo:
        with pytest.raises(ConfigurationError):
            await APP_CALLS[name](capgo, app_id)

    assert transport.requests == []


async def test_it_leaves_as_it_was_given() -> None:
    transport = ScriptedTransport()
    async with client_of(transport, dialect="seed") as capgo:
        with pytest.warns(UserWarning, match="app_123"):
            await capgo.devices.link("app_123", "d", channel="beta")

    assert body_of(transport.requests[0])["app_id"] == "app_123"


LONG, LONG_URL = "x" * 256, f"https://cdn.test/{'x' * 2048}"
TOO_LONG: dict[str, Call] = {
    "channel": lambda capgo: capgo.channels.create(APP, LONG),
    "bundle of a channel": lambda capgo: capgo.channels.update(APP, "beta", ChannelSettings(bundle=LONG)),
    "reason of a pause": lambda capgo: capgo.channels.update(APP, "beta", ChannelSettings(rollout_pause_reason="x" * 10_001)),
    "bundle": lambda capgo: capgo.bundles.create(APP, replace(NEW_BUNDLE, version=f"1.0.0-{LONG}")),
    "URL of a bundle": lambda capgo: capgo.bundles.create(APP, replace(NEW_BUNDLE, external_url=LONG_URL)),
    "key id of a bundle": lambda capgo: capgo.bundles.create(APP, replace(NEW_BUNDLE, key_id="x" * 21)),
    "link": lambda capgo: capgo.bundles.set_metadata(APP, 1, BundleMetadata(link=LONG_URL)),
    "comment": lambda capgo: capgo.bundles.set_metadata(APP, 1, BundleMetadata(comment="x" * 10_001)),
    "app": lambda capgo: capgo.apps.update(APP, AppSettings(name=LONG)),
    "new app": lambda capgo: capgo.apps.create(NewApp(app_id=APP, name=LONG, owner_org=ORG)),
    "icon": lambda capgo: capgo.apps.update(APP, AppSettings(icon=LONG_URL)),
    "store": lambda capgo: capgo.apps.update(APP, AppSettings(ios_store_url=LONG_URL)),
    "organization": lambda capgo: capgo.organizations.update(ORG, OrganizationSettings(name=LONG)),
    "logo": lambda capgo: capgo.organizations.update(ORG, OrganizationSettings(logo=LONG_URL)),
    "API key": lambda capgo: capgo.api_keys.update(1, ApiKeySettings(name=LONG)),
    "device": lambda capgo: capgo.devices.unlink(APP, LONG),
}


@pytest.mark.parametrize("text", TOO_LONG)
async def test_a_text_that_is_too_long_never_leaves(text: str) -> None:
    transport = ScriptedTransport()
    async with client_of(transport) as capgo:
        with pytest.raises(ConfigurationError, match=r"(255|2048|10000|20)"):
            await TOO_LONG[text](capgo)

    assert transport.requests == []


async def test_the_longest_ones_leave() -> None:
    transport = ScriptedTransport(last=answer())
    async with client_of(transport) as capgo:
        await capgo.devices.unlink(APP, "x" * 255)
        await capgo.bundles.set_metadata(APP, 1, BundleMetadata(link=LONG_URL[:2048], comment="x" * 10_000))

    assert len(transport.requests) == 2
