"""Rows of contract C9 and C10: statistics and health."""

from datetime import date
from typing import Any

import msgspec
from conformance.account import ORG
from conformance.exchanges import Call, Query, Row, Sent, newer, old, one, refusals, said

from capgo_async import ActiveDevices, AppStatPoint, Breakdown, DailyActiveDevices, Dataset, LatestVersion, StatPoint, Usage
from capgo_async.errors import InvalidRequest, NotFound, PermissionDenied, ServerError, SubscriptionRequired

APP = "com.example.app"
START, END = date(2026, 7, 1), date(2026, 7, 2)
SPAN = (("from", "2026-07-01"), ("to", "2026-07-02"))
DAILY = (*SPAN, ("noAccumulate", "true"))
POINT: dict[str, Any] = {"date": "2026-07-01T00:00:00.000Z", "mau": 12, "storage": 1048576, "bandwidth": 52428800}
RICH = {**POINT, "storage_byte_hours": 25165824, "build_time_seconds": 7}
DOCS_POINT = {**POINT, "date": "2026-07-01"}
POINT_MODEL = StatPoint(
    date="2026-07-01T00:00:00.000Z",
    mau=12,
    storage=1048576,
    bandwidth=52428800,
    storage_byte_hours=25165824,
    build_time_seconds=7,
)
PLAIN_MODEL = StatPoint(date="2026-07-01T00:00:00.000Z", mau=12, storage=1048576, bandwidth=52428800)
DOCS_MODEL = StatPoint(date="2026-07-01", mau=12, storage=1048576, bandwidth=52428800)
PICTURE = b"<svg xmlns='http://www.w3.org/2000/svg'/>"
OF_APP, OF_ORG, OF_USER = f"/statistics/app/{APP}", f"/statistics/org/{ORG}", "/statistics/user"
UNPAID = (SubscriptionRequired, 402, "subscription_required")
WRONG = (InvalidRequest, 400, "invalid_body")
REFUSALS = {
    OF_APP: refusals(
        WRONG,
        UNPAID,
        (PermissionDenied, 401, "no_access_to_app"),
        (NotFound, 404, "app_not_found"),
        (ServerError, 500, "cannot_get_app_statistics"),
    ),
    OF_ORG: refusals(
        WRONG,
        UNPAID,
        (PermissionDenied, 401, "no_access_to_organization"),
        (NotFound, 404, "organization_not_found"),
        (ServerError, 500, "cannot_get_organization_statistics"),
    ),
    OF_USER: refusals(
        WRONG,
        UNPAID,
        (PermissionDenied, 401, "no_organizations_found"),
        (NotFound, 404, "apps_not_found user_not_found"),
        (ServerError, 500, "cannot_get_user_statistics"),
    ),
}


def points(method: str, http: str, path: str, call: Call, query: Query = SPAN) -> Row:
    sent = Sent("GET", path, query)
    return Row(
        "C9",
        method,
        http,
        call,
        (POINT_MODEL,),
        (
            one("2026-07", sent, said([RICH])),
            one("docs", sent, said([DOCS_POINT]), found=(DOCS_MODEL,)),
            one("seed", sent, old({"status": "ok", "statistics": [POINT]}), found=(PLAIN_MODEL,)),
            one("seed, as written", sent, old(POINT), found=(PLAIN_MODEL,)),
            one("seed, with capgkey", sent, old({"status": "ok", "statistics": [RICH]}), options={"auth_header": "capgkey"}),
        ),
        REFUSALS[path],
    )


def picture(method: str, http: str, path: str, call: Call) -> Row:
    sent = Sent("GET", path, (*SPAN, ("graph", "mau")))
    return Row("C9", method, http, call, PICTURE, (one("seed", sent, old(PICTURE, kind="image/svg+xml")),), REFUSALS[path])


USAGE = {
    "labels": ["2026-07-01", "2026-07-02"],
    "datasets": [{"label": "1.2.0", "data": [60.0, 20], "metaCounts": [3, 1]}, {"label": "1.3.0", "data": [40, 80.0]}],
}
DATASETS = [Dataset(label="1.2.0", data=[60, 20], counts=[3, 1]), Dataset(label="1.3.0", data=[40, 80])]
LABELS = ["2026-07-01", "2026-07-02"]
BY_APP = Sent("GET", OF_ORG, (*SPAN, ("breakdown", "true"), ("noAccumulate", "true")))
NATIVE = {**USAGE, "latestVersion": {"name": "iOS 1.0.0", "percentage": "12.3"}}
ACTIVE = {"android": 7, "ios": 4, "electron": 1, "unknown": 0, "total": 12}
DAILY_ACTIVE = {"labels": LABELS, **{name: [number, number] for name, number in ACTIVE.items()}}
NATIVE_MODEL = Usage(labels=LABELS, datasets=DATASETS, latest_version=LatestVersion(name="iOS 1.0.0", percentage="12.3"))
NEWER_USAGE = msgspec.structs.replace(
    NATIVE_MODEL,
    active_devices=ActiveDevices(**ACTIVE),
    previous_period_active_devices=ActiveDevices(**ACTIVE),
    daily_platform_active=DailyActiveDevices(
        labels=LABELS, android=[7, 7], ios=[4, 4], electron=[1, 1], unknown=[0, 0], total=[12, 12]
    ),
)
NEWER_NATIVE = {**NATIVE, "activeDevices": ACTIVE, "previousPeriodActiveDevices": ACTIVE, "dailyPlatformActive": DAILY_ACTIVE}
BUNDLE_USAGE = Sent("GET", f"{OF_APP}/bundle_usage", SPAN)
NATIVE_USAGE = Sent("GET", f"{OF_APP}/native_usage", SPAN)
HEALTH = Sent("GET", "/ok")

ROWS = (
    points("statistics.app", "GET /statistics/app/:app_id", OF_APP, lambda capgo: capgo.statistics.app(APP, START, END)),
    points(
        "statistics.app",
        "GET /statistics/app/:app_id?noAccumulate",
        OF_APP,
        lambda capgo: capgo.statistics.app(APP, START, END, totals="daily"),
        DAILY,
    ),
    picture(
        "statistics.app",
        "GET /statistics/app/:app_id?graph",
        OF_APP,
        lambda capgo: capgo.statistics.app(APP, START, END, graph="mau"),
    ),
    points(
        "statistics.organization",
        "GET /statistics/org/:org_id",
        OF_ORG,
        lambda capgo: capgo.statistics.organization(ORG, START, END),
    ),
    points(
        "statistics.organization",
        "GET /statistics/org/:org_id?noAccumulate",
        OF_ORG,
        lambda capgo: capgo.statistics.organization(ORG, START, END, totals="daily"),
        DAILY,
    ),
    picture(
        "statistics.organization",
        "GET /statistics/org/:org_id?graph",
        OF_ORG,
        lambda capgo: capgo.statistics.organization(ORG, START, END, graph="mau"),
    ),
    Row(
        "C9",
        "statistics.breakdown",
        "GET /statistics/org/:org_id?breakdown",
        lambda capgo: capgo.statistics.breakdown(ORG, START, END, totals="daily"),
        Breakdown(
            total=[POINT_MODEL],
            by_app=[AppStatPoint(app_id=APP, date=POINT_MODEL.date, mau=12, storage=1048576, bandwidth=52428800)],
        ),
        (one("2026-07", BY_APP, said({"global": [RICH], "byApp": [{**POINT, "app_id": APP}]})),),
        REFUSALS[OF_ORG],
    ),
    points("statistics.user", "GET /statistics/user", OF_USER, lambda capgo: capgo.statistics.user(START, END)),
    points(
        "statistics.user",
        "GET /statistics/user?noAccumulate",
        OF_USER,
        lambda capgo: capgo.statistics.user(START, END, totals="daily"),
        DAILY,
    ),
    picture(
        "statistics.user",
        "GET /statistics/user?graph",
        OF_USER,
        lambda capgo: capgo.statistics.user(START, END, graph="mau"),
    ),
    Row(
        "C9",
        "statistics.bundle_usage",
        "GET /statistics/app/:app_id/bundle_usage",
        lambda capgo: capgo.statistics.bundle_usage(APP, START, END),
        Usage(labels=LABELS, datasets=DATASETS),
        (
            one("2026-07", BUNDLE_USAGE, said(USAGE)),
            one(
                "2026-07, nothing",
                BUNDLE_USAGE,
                said({"labels": [], "datasets": []}),
                found=Usage(labels=[], datasets=[]),
            ),
        ),
        REFUSALS[OF_APP],
    ),
    Row(
        "C9",
        "statistics.native_usage",
        "GET /statistics/app/:app_id/native_usage",
        lambda capgo: capgo.statistics.native_usage(APP, START, END),
        NATIVE_MODEL,
        (
            one("2026-07", NATIVE_USAGE, said(NATIVE)),
            one("2026-11", NATIVE_USAGE, newer(NEWER_NATIVE), found=NEWER_USAGE),
            one(
                "2026-07, nothing",
                NATIVE_USAGE,
                said({"labels": [], "datasets": [], "latestVersion": {"name": "", "percentage": "0.0"}}),
                found=Usage(labels=[], datasets=[], latest_version=LatestVersion()),
            ),
        ),
        REFUSALS[OF_APP],
    ),
    Row(
        "C10",
        "check",
        "GET /ok",
        lambda capgo: capgo.check(),
        None,
        (one("2026-07", HEALTH, said()), one("seed", HEALTH, old())),
        refusals((NotFound, 404, "not_found")),
    ),
)
