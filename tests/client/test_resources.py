"""The namespaces over a double of the wire: what leaves, what comes back, and what is refused before any I/O."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from scripted import ScriptedTransport, answer

from capgo_async import CapgoClient, DeviceFilter, Listing, errors
from capgo_async.api.models import App, Bundle, Channel, Device
from capgo_async.errors import ConfigurationError
from capgo_async.http.wire import Request, Response
from capgo_async.listing.walks import MASKED_EMPTY, NO_ORDER, SHORT_FIRST, TIES, TRUNCATED, UNREADABLE

APP = "com.example.app"
DEVICE = "0A1B2C3D-0000-4000-8000-000000000001"
KEY = "00000000-0000-4000-8000-00000000aaaa"


def client_of(transport: ScriptedTransport, **options: Any) -> CapgoClient:
    return CapgoClient(api_key=KEY, base_url="https://capgo.test", rate="off", retries=0, transport=transport, **options)


def refused(code: str, message: str, status: int = 400, **more: Any) -> Response:
    return answer(status, {"error": code, "message": message, "moreInfo": more})


NO_BUNDLES = refused("cannot_get_bundle", "Cannot get bundle", supabaseError=None)

Method = Callable[[CapgoClient], Awaitable[object]]

Row = tuple[str, Method, Response, str, str, list[tuple[str, str]], object]
METHODS: list[Row] = [
    (
        "apps.list",
        lambda capgo: capgo.apps.list().all(),
        answer(body=[{"app_id": APP}]),
        "GET",
        "/app",
        [("page", "0"), ("limit", "500")],
        None,
    ),
    (
        "apps.list of an organization",
        lambda capgo: capgo.apps.list(org_id="046a36ac").all(),
        answer(body=[{"app_id": APP}]),
        "GET",
        "/app",
        [("page", "0"), ("limit", "500"), ("org_id", "046a36ac")],
        None,
    ),
    ("apps.get", lambda capgo: capgo.apps.get(APP), answer(body={"app_id": APP}), "GET", f"/app/{APP}", [], None),
    (
        "channels.list",
        lambda capgo: capgo.channels.list(APP).all(),
        answer(body=[{"id": 1, "name": "beta"}]),
        "GET",
        "/channel",
        [("app_id", APP), ("page", "0")],
        None,
    ),
    (
        "channels.get",
        lambda capgo: capgo.channels.get(APP, "béta +|"),
        answer(body={"id": 1, "name": "béta +|"}),
        "GET",
        "/channel",
        [("app_id", APP), ("channel", "béta +|")],
        None,
    ),
    (
        "bundles.list",
        lambda capgo: capgo.bundles.list(APP).all(),
        answer(body=[{"id": 1, "name": "1.0.0"}]),
        "GET",
        "/bundle",
        [("app_id", APP), ("page", "0")],
        None,
    ),
    (
        "devices.list",
        lambda capgo: capgo.devices.list(APP).all(),
        answer(body={"data": [{"device_id": "d"}], "hasMore": False}),
        "GET",
        "/device",
        [("app_id", APP), ("limit", "200")],
        None,
    ),
    (
        "devices.list, filtered",
        lambda capgo: capgo.devices.list(
            APP, DeviceFilter(limit=5, custom_ids_only=True, changed_since="2026-07-01T00:00:00Z", order="asc")
        ).all(),
        answer(body={"data": [{"device_id": "d"}], "hasMore": False}),
        "GET",
        "/device",
        [("app_id", APP), ("limit", "5"), ("customIdMode", "true"), ("updated_at", "2026-07-01T00:00:00Z"), ("order", "asc")],
        None,
    ),
    (
        "devices.list, from behind a device",
        lambda capgo: capgo.devices.list(APP, DeviceFilter(after="D")).all(),
        answer(body={"data": [{"device_id": "d"}], "hasMore": False}),
        "GET",
        "/device",
        [("app_id", APP), ("limit", "200"), ("cursor", "1970-01-01 00:00:00|d")],
        None,
    ),
    (
        "devices.get",
        lambda capgo: capgo.devices.get(APP, DEVICE),
        answer(body={"device_id": "d"}),
        "GET",
        "/device",
        [("app_id", APP), ("device_id", DEVICE.lower())],
        None,
    ),
    (
        "devices.link",
        lambda capgo: capgo.devices.link(APP, DEVICE, channel="Beta"),
        answer(),
        "POST",
        "/device",
        [],
        {"app_id": APP, "device_id": DEVICE.lower(), "channel": "Beta"},
    ),
    (
        "devices.unlink",
        lambda capgo: capgo.devices.unlink(APP, DEVICE),
        answer(),
        "DELETE",
        "/device",
        [("app_id", APP), ("device_id", DEVICE.lower())],
        None,
    ),
    ("check", lambda capgo: capgo.check(), answer(), "GET", "/ok", [], None),
]


@pytest.mark.parametrize("row", METHODS, ids=[row[0] for row in METHODS])
async def test_what_leaves(row: Row) -> None:
    _, method, reply, verb, path, query, body = row
    transport = ScriptedTransport(reply)
    async with client_of(transport) as capgo:
        await method(capgo)

    [request], [headers] = transport.requests, transport.headers
    assert (request.method, request.path, list(request.query)) == (verb, path, query)
    assert (json.loads(request.body) if request.body is not None else None) == body
    key = {} if path == "/ok" else {"authorization": KEY, "User-Agent": headers.get("User-Agent")}
    assert headers == {**key, "X-Request-Id": headers["X-Request-Id"]}


async def test_what_comes_back() -> None:
    async with client_of(ScriptedTransport(*(row[2] for row in METHODS))) as capgo:
        found = [await method(capgo) for _, method, *_ in METHODS]

    app, channel, device = App(app_id=APP), Channel(id=1, name="beta"), Device(device_id="d")
    named, bundle = Channel(id=1, name="béta +|"), Bundle(id=1, name="1.0.0")
    assert found == [[app], [app], app, [channel], named, [bundle], [device], [device], [device], device, None, None, None]


# Listings


def paged(*pages: list[dict[str, Any]] | Response) -> Callable[[Request], Response]:
    """Answer by the page that is asked for; past the end with an empty list."""

    def reply(request: Request) -> Response:
        page = int(dict(request.query).get("page", "0"))
        found = pages[page] if page < len(pages) else []
        return found if isinstance(found, Response) else answer(body=found)

    return reply


def rows_of(numbers: range, **more: object) -> list[dict[str, Any]]:
    return [
        {"id": n, "name": f"n{n}", "app_id": f"a.b{n}", "device_id": f"d{n}", "created_at": str(n), **more} for n in numbers
    ]


@pytest.mark.parametrize("wrap", [lambda rows: rows, lambda rows: {"data": rows}], ids=["bare", "in an envelope"])
async def test_lists_by_page_in_both_generations(wrap: Callable[[object], object]) -> None:
    def reply(request: Request) -> Response:
        page = int(dict(request.query)["page"])
        more = {"id": "uuid"} if request.path == "/app" else {}
        return answer(body=wrap(rows_of(range(50 * page, min(50 * page + 50, 130)), **more)))

    transport = ScriptedTransport(last=reply)
    async with client_of(transport) as capgo:
        channels = capgo.channels.list(APP)
        assert [channel.id async for channel in channels] == list(range(130))
        assert (channels.complete, channels.caveats) == (True, ())
        assert [bundle.id for bundle in await capgo.bundles.list(APP).all()] == list(range(130))
        apps = capgo.apps.list()
        assert len(await apps.all()) == 130
        assert apps.caveats == (NO_ORDER,)
    assert [dict(request.query)["page"] for request in transport.requests] == ["0", "1", "2"] * 3


async def test_devices_by_cursor() -> None:
    transport = ScriptedTransport(
        answer(body={"data": rows_of(range(2)), "hasMore": True, "nextCursor": "2026-07-01T10:20:30.1+00:00|d1"}),
        answer(body={"data": rows_of(range(2, 3)), "hasMore": False}),
    )
    async with client_of(transport) as capgo:
        listing = capgo.devices.list(APP, DeviceFilter(limit=2, order="desc"))
        assert [device.device_id async for device in listing] == ["d0", "d1", "d2"]
        assert (listing.complete, listing.caveats) == (True, ())

    assert transport.requests[1].query == (
        ("app_id", APP),
        ("limit", "2"),
        ("order", "desc"),
        ("cursor", "2026-07-01T10:20:30.1+00:00|d1"),
    )


async def test_devices_of_a_seed_era_server_by_page() -> None:
    def with_version(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**row, "version": {"id": 3, "name": "1.2.0"}} for row in rows]

    transport = ScriptedTransport(last=paged(with_version(rows_of(range(49))), with_version(rows_of(range(50, 60)))))
    async with client_of(transport) as capgo:
        listing = capgo.devices.list(APP)
        found = await listing.all()

    assert [device.device_id for device in found] == [f"d{n}" for n in (*range(49), *range(50, 60))]
    assert {(device.version_id, device.version_name) for device in found} == {(3, "1.2.0")}
    assert listing.caveats == (SHORT_FIRST, NO_ORDER)
    assert [dict(request.query).get("page") for request in transport.requests] == [None, "1", "2"]


async def test_an_app_without_devices_is_asked_for_twice() -> None:
    transport = ScriptedTransport(last=answer(body={"data": [], "hasMore": False}))
    async with client_of(transport) as capgo:
        listing = capgo.devices.list(APP)
        assert await listing.all() == []

    assert [request.path for request in transport.requests] == ["/device", "/device", f"/app/{APP}"]
    assert (listing.complete, listing.caveats) == (True, (MASKED_EMPTY,))


def serving(**bodies: object) -> ScriptedTransport:
    """Serve the body for the first part of each path; nothing is allowed elsewhere."""

    def serve(request: Request) -> Response:
        body = bodies.get(request.path.split("/")[1])
        return refused("cannot_access_app", "You can't access this app") if body is None else answer(body=body)

    return ScriptedTransport(last=serve)


NOTHING = {"data": [], "hasMore": False}


@pytest.mark.parametrize("cursors", [1, 4])
@pytest.mark.parametrize(
    ("app", "doubted"), [({"channel_device_count": 3}, True), ({"channel_device_count": 0}, False), ({}, False)]
)
async def test_no_device_is_believed_unless_the_server_counts_links(
    app: dict[str, int], cursors: int, *, doubted: bool
) -> None:
    transport = serving(device=NOTHING, app={"app_id": APP, **app})
    async with client_of(transport) as capgo:
        listing = capgo.devices.list(APP, cursors=cursors)
        if doubted:
            with pytest.raises(errors.EmptyListing, match=r"linked devices in this app \(3\)"):
                await listing.all()
        else:
            assert await listing.all() == []
    assert listing.complete is not doubted


@pytest.mark.parametrize("chosen", [DeviceFilter(changed_since="2026-07-01T00:00:00Z"), DeviceFilter(after="d")])
async def test_that_no_device_fits_a_filter_is_believed(chosen: DeviceFilter) -> None:
    async with client_of(serving(device=NOTHING, app={"app_id": APP, "channel_device_count": 3})) as capgo:
        assert await capgo.devices.list(APP, chosen).all() == []


async def test_who_may_not_read_the_app_is_told_what_the_listing_shows() -> None:
    async with client_of(serving(device=NOTHING)) as capgo:
        assert await capgo.devices.list(APP).all() == []


@pytest.mark.parametrize(
    ("bodies", "doubted"),
    [
        ({"channel": [], "app": {"app_id": APP, "channel_device_count": 1}}, True),
        ({"channel": [], "app": {"app_id": APP, "channel_device_count": 0}}, False),
        ({"bundle": [], "channel": [{"id": 1, "name": "beta", "version": {"id": 7, "name": "1.0.0"}}]}, True),
        ({"bundle": [], "channel": [{"id": 1, "name": "beta", "version": {"id": 7, "name": "builtin"}}]}, False),
        ({"bundle": [], "channel": [{"id": 1, "name": "beta"}]}, False),
        ({"bundle": []}, False),
        ({"organization": []}, True),
    ],
)
async def test_other_empty_lists_are_believed_unless_something_contradicts_them(
    bodies: dict[str, Any], *, doubted: bool
) -> None:
    kind = next(iter(bodies))
    async with client_of(serving(**bodies)) as capgo:
        lists: dict[str, Listing[Any]] = {
            "channel": capgo.channels.list(APP),
            "bundle": capgo.bundles.list(APP),
            "organization": capgo.members.list("org"),
        }
        if doubted:
            with pytest.raises(errors.EmptyListing):
                await lists[kind].all()
        else:
            assert await lists[kind].all() == []


@pytest.mark.parametrize(
    ("apps", "readable", "doubted"),
    [
        ([{"app_id": APP, "owner_org": "o1"}], True, True),
        ([{"app_id": APP, "owner_org": "o1"}], False, False),
        ([], True, False),
    ],
    ids=["an owner is shown", "a key for apps alone", "no app"],
)
async def test_no_organization_is_believed_unless_an_owner_of_an_app_is_shown(
    apps: list[dict[str, str]], *, readable: bool, doubted: bool
) -> None:
    def serve(request: Request) -> Response:
        if request.path == "/app":
            return answer(body=apps)
        if not request.query:
            return answer(body=[])
        return answer(body={"id": "o1", "name": "One"}) if readable else refused("invalid_org_id", "No")

    async with client_of(ScriptedTransport(last=serve)) as capgo:
        if doubted:
            with pytest.raises(errors.EmptyListing, match="lists no organization, but shows o1"):
                await capgo.organizations.list().all()
        else:
            assert await capgo.organizations.list().all() == []


@pytest.mark.parametrize("namespace", ["channels", "bundles"])
async def test_ties_at_a_border_are_stated(namespace: str) -> None:
    transport = ScriptedTransport(last=paged(rows_of(range(50), created_at="t"), rows_of(range(50, 60), created_at="t")))
    async with client_of(transport) as capgo:
        listing = getattr(capgo, namespace).list(APP)
        assert len(await listing.all()) == 60

    assert listing.caveats == (TIES,)


# The misnamed and ambiguous answers


@pytest.mark.parametrize(
    "reply",
    [refused("cannot_find_version", "Cannot find version"), answer(400, {"status": "Cannot find version"})],
    ids=["modern", "seed"],
)
async def test_a_channel_that_does_not_exist(reply: Response) -> None:
    async with client_of(ScriptedTransport(reply)) as capgo:
        with pytest.raises(
            errors.ChannelNotFound, match=r"get channel beta of com\.example\.app: there is no such channel"
        ) as caught:
            await capgo.channels.get(APP, "beta")

    assert caught.value.advice == "Channel names are case-sensitive."


async def test_other_failures_of_a_channel_stay_what_they_are() -> None:
    async with client_of(ScriptedTransport(refused("cannot_access_app", "No"))) as capgo:
        with pytest.raises(errors.PermissionDenied):
            await capgo.channels.get(APP, "beta")


@pytest.mark.parametrize(
    "nothing", [NO_BUNDLES, answer(400, {"status": "Cannot get bundle", "error": None})], ids=["modern", "seed"]
)
async def test_an_error_may_mean_no_bundles(nothing: Response) -> None:
    async with client_of(ScriptedTransport(last=paged(nothing))) as capgo:
        listing = capgo.bundles.list(APP)
        assert await listing.all() == []
        assert listing.complete

    async with client_of(ScriptedTransport(last=paged(rows_of(range(50)), nothing))) as capgo:
        assert len(await capgo.bundles.list(APP).all()) == 50


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (refused("cannot_get_bundle", "You can't access this app", app_id=APP), errors.PermissionDenied),
        (refused("cannot_get_bundle", "Cannot get bundle", supabaseError={"code": "PGRST103"}), errors.InvalidRequest),
        (refused("cannot_get_bundle", "Cannot get bundle", error="timeout"), errors.InvalidRequest),
        (answer(400, {"status": "Cannot get bundle", "error": {"code": "1"}}), errors.InvalidRequest),
        (refused("cannot_get_bundle", "Cannot get bundle", status=500, supabaseError=None), errors.ServerError),
        (refused("missing_app_id", "Missing"), errors.InvalidRequest),
    ],
)
async def test_or_it_may_not(reply: Response, kind: type[errors.ApiError]) -> None:
    async with client_of(ScriptedTransport(last=reply)) as capgo:
        listing = capgo.bundles.list(APP)
        with pytest.raises(errors.ApiError) as caught:
            await listing.all()

    assert type(caught.value) is kind
    assert not listing.complete


async def test_a_200_with_status_ko_is_an_error() -> None:
    for _, method, *_ in METHODS:
        async with client_of(ScriptedTransport(answer(body={"status": "KO", "error": "Not today"}))) as capgo:
            with pytest.raises(errors.InvalidRequest, match=r"Not today \(HTTP 200, not_today\)"):
                await method(capgo)


async def test_a_200_with_html_is_unreadable() -> None:
    page = Response(status=200, headers={"content-type": "text/html"}, body=b"<html>Welcome to the airport</html>")
    for _, method, *_ in METHODS:
        async with client_of(ScriptedTransport(page)) as capgo:
            with pytest.raises(errors.UnreadableAnswer):
                await method(capgo)


# What is refused before any I/O

WRONG_APPS = ["", " ", "app", "com..x", "com.x.", "com-x.y", "com_x.y", "com.x\n", "com.x/../y", "ä.b", "com.exämple", "a.b c"]

WRONG: list[Method] = [
    lambda capgo: capgo.apps.list(org_id=" ").all(),
    lambda capgo: capgo.channels.get(APP, ""),
    lambda capgo: capgo.channels.get(APP, " \t"),
    lambda capgo: capgo.channels.get(APP, "\ud800"),
    lambda capgo: capgo.devices.get(APP, ""),
    lambda capgo: capgo.devices.get(APP, "\ud800"),
    lambda capgo: capgo.devices.link(APP, " ", channel="beta"),
    lambda capgo: capgo.devices.link(APP, DEVICE, channel=""),
    lambda capgo: capgo.devices.link(APP, DEVICE, channel="\udfff"),
    lambda capgo: capgo.devices.unlink(APP, ""),
]
BY_APP: list[Callable[[CapgoClient, str], Awaitable[object]]] = [
    lambda capgo, app: capgo.apps.get(app),
    lambda capgo, app: capgo.channels.list(app).all(),
    lambda capgo, app: capgo.channels.get(app, "beta"),
    lambda capgo, app: capgo.bundles.list(app).all(),
    lambda capgo, app: capgo.devices.list(app).all(),
    lambda capgo, app: capgo.devices.get(app, DEVICE),
    lambda capgo, app: capgo.devices.link(app, DEVICE, channel="beta"),
    lambda capgo, app: capgo.devices.unlink(app, DEVICE),
]


@pytest.mark.parametrize("method", WRONG)
async def test_blank_arguments_never_leave(method: Method) -> None:
    transport = ScriptedTransport()
    async with client_of(transport) as capgo:
        with pytest.raises(ConfigurationError):
            await method(capgo)

    assert transport.requests == []


@pytest.mark.parametrize("app", WRONG_APPS)
async def test_wrong_app_ids_never_leave(app: str) -> None:
    transport = ScriptedTransport()
    async with client_of(transport) as capgo:
        for method in BY_APP:
            with pytest.raises(ConfigurationError, match="reverse-domain"):
                await method(capgo, app)

    assert transport.requests == []


@pytest.mark.parametrize("app", ["com.example.app", "a.b", "1.2", "COM.X.Y_z-9"])
async def test_app_ids_leave_as_they_are(app: str) -> None:
    transport = ScriptedTransport(answer(body={"app_id": app}))
    async with client_of(transport) as capgo:
        await capgo.apps.get(app)

    assert transport.requests[0].path == f"/app/{app}"


@pytest.mark.parametrize(
    "wrong",
    [
        {"limit": 0},
        {"limit": -1},
        {"limit": 351},
        {"limit": 500},
        {"order": "up"},
        {"order": ""},
        {"changed_since": ""},
        {"changed_since": "yesterday"},
        {"changed_since": "2026-07-01T10:20:30+00:00"},
        {"after": ""},
        {"after": "d1", "order": "asc"},
    ],
)
def test_filters_that_the_server_refuses_or_that_end_a_listing_silently(wrong: dict[str, Any]) -> None:
    with pytest.raises(ConfigurationError):
        DeviceFilter(**wrong)


@pytest.mark.parametrize(
    "right",
    [
        {"limit": 1},
        {"limit": 350},
        {"order": "desc"},
        {"changed_since": "2026-07-01 10:20:30"},
        {"changed_since": "2026-07-01T10:20:30.123Z"},
    ],
)
def test_filters_that_the_server_takes(right: dict[str, Any]) -> None:
    DeviceFilter(**right)


# What is not shown on the first page


def owned(request: Request) -> Response:
    """Answer with fifty organizations, and apps of three of which one may not be read."""
    match request.path, dict(request.query):
        case "/app", {"page": "0"}:
            owners = ("org-0", "org-77", "secret", "org-77", "org-88")
            return answer(body=[{"app_id": f"com.example.app{n}", "owner_org": owner} for n, owner in enumerate(owners)])
        case "/app", _:
            return answer(body=[])
        case _, {"orgId": "secret"}:
            return answer(400, {"error": "invalid_org_id", "message": "You can't access this organization", "moreInfo": {}})
        case _, {"orgId": org_id}:
            return answer(body={"id": org_id})
    return answer(body=[{"id": f"org-{n}"} for n in range(50)])


async def test_an_organization_that_may_not_be_read_does_not_hide_the_others() -> None:
    transport = ScriptedTransport(last=owned)
    async with client_of(transport) as capgo:
        listing = capgo.organizations.list()
        for _ in range(2):
            found = await listing.all()
            assert [row.id for row in found] == [*(f"org-{n}" for n in range(50)), "org-77", "org-88"]
            assert (listing.complete, listing.caveats) == (True, (TRUNCATED, UNREADABLE))

    asked = [dict(request.query)["orgId"] for request in transport.requests if dict(request.query).get("orgId")]
    assert asked == ["org-77", "secret", "org-88"] * 2, "what was listed is not asked for again"


async def test_an_audit_log_goes_on_by_the_limit_that_the_server_keeps() -> None:
    def serve(request: Request) -> Response:
        page = int(dict(request.query)["page"])
        rows = [{"id": n} for n in range(120)][page * 50 : (page + 1) * 50]
        return answer(body={"data": rows, "total": 120, "page": page, "limit": 50})

    async with client_of(ScriptedTransport(last=serve)) as capgo:
        assert len(await capgo.organizations.audit_log("org").all()) == 120


@pytest.mark.parametrize(("rows", "total"), [(0, 3), (50, 120)])
async def test_an_audit_log_that_ends_before_its_own_count_is_an_error(rows: int, total: int) -> None:
    def serve(request: Request) -> Response:
        page = int(dict(request.query)["page"])
        shown = [{"id": n} for n in range(rows)][page * 50 : (page + 1) * 50]
        return answer(body={"data": shown, "total": total, "page": page, "limit": 50})

    async with client_of(ScriptedTransport(last=serve)) as capgo:
        with pytest.raises(errors.ListingError, match="an empty page, but counts more rows: the listing is incomplete"):
            await capgo.organizations.audit_log("org").all()


@pytest.mark.parametrize(("dialect", "body"), [("seed", {"data": [], "hasMore": False}), ("modern", [])])
async def test_devices_that_are_listed_in_the_way_of_the_other_dialect_are_an_error(dialect: str, body: object) -> None:
    async with client_of(ScriptedTransport(last=answer(body=body)), dialect=dialect) as capgo:
        with pytest.raises(errors.ListingError, match=f"but {dialect} was set"):
            await capgo.devices.list(APP).all()
