"""All /statistics routes (contract C9)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from itertools import accumulate
from typing import Final

import msgspec

from .. import javascript
from ..charts import chart
from ..exchange import Refusal
from ..state import metrics
from ..state.access import Key
from ..state.apps import App
from ..state.metrics import DAY, Totals
from ..timestamps import device_format, micros
from ..validation import invalid_body
from .call import Call

_GRAPHS: Final = frozenset({"mau", "storage", "bandwidth"})


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """The requested days; with `backwards`, none has traffic."""

    moments: Sequence[int]
    backwards: bool
    daily: bool


def app_statistics(call: Call) -> object:
    window = _window(call)
    app = readable_app(call)
    return _shown(call, _points(call, window, _totals(window, [app])))


def organization_statistics(call: Call) -> object:
    """Return the sums over all apps of an organization, with `breakdown` also those of each app."""
    broken_down = call.field("breakdown") == "true"
    window = _window(call, "breakdown")
    org_id = call.path["org_id"]
    if not call.caller.permits("org.read", org_id=org_id):
        raise Refusal(401, "no_access_to_organization", "No access to organization", {"data": call.caller.user_id})
    _check_paid(call, [org_id])
    apps = [app for app in call.world.apps.values() if app.owner_org == org_id and not call.blind]
    everything = _points(call, window, _totals(window, apps))
    if not broken_down or call.settings.generation == "seed":
        return _shown(call, everything)
    by_app = [
        {"app_id": app.app_id, **point}
        for app in apps
        for point in _points(call, window, _summed(window, _history(window, app)))
    ]
    return {"global": everything, "byApp": by_app}


def user_statistics(call: Call) -> object:
    """Return the sums over all apps that the caller can read; storage hours are the first app's alone."""
    window = _window(call)
    world, caller = call.world, call.caller
    apps = [app for app in world.apps.values() if caller.permits("app.read", org_id=app.owner_org, app_id=app.app_id)]
    if call.blind or not apps:
        raise Refusal(401, "no_organizations_found", "No organizations found", {"data": caller.user_id})
    _check_paid(call, {binding.org_id for binding in caller.bindings})
    totals = _totals(window, apps)
    first = _totals(window, apps[:1])
    mixed = [total._replace(storage_byte_hours=one.storage_byte_hours) for total, one in zip(totals, first, strict=True)]
    return _shown(call, _points(call, window, mixed))


def nothing_here(call: Call) -> object:
    """Refuse a route that does not exist, after the key was checked."""
    del call
    raise Refusal(404, "not_found", "Not found")


def readable_app(call: Call) -> App:
    """Return the app of the path; the form of its id is not checked (contract A4)."""
    app = call.world.app_permitting(call.caller, "app.read", call.path["app_id"])
    if app is None:
        raise Refusal(401, "no_access_to_app", "No access to app", {"data": call.caller.user_id})
    if call.blind:
        raise Refusal(404, "app_not_found", "App not found", {"app_id": app.app_id})
    _check_paid(call, [app.owner_org])
    return app


def _check_paid(call: Call, org_ids: Iterable[str]) -> None:
    """Refuse keys if their organization does not pay; the seed era had no such rule."""
    if call.settings.generation == "seed" or not isinstance(call.caller, Key):
        return
    for org_id in sorted(org_ids):
        if org_id in call.world.unsubscribed:
            more = {"orgId": org_id, "isPayingAndGoodPlan": False}
            raise Refusal(402, "subscription_required", "Organization subscription required or plan invalid", more)


def _window(call: Call, *switches: str) -> Window:
    start, end = span(call, "noAccumulate", *switches)
    days = (abs(end - start) + DAY // 2) // DAY
    last = min(days, micros(call.now) // DAY - start // DAY + 1)  # days in the future are dropped
    return Window(
        moments=range(start, start + max(0, last) * DAY, DAY),
        backwards=end < start,
        daily=call.field("noAccumulate") == "true",
    )


def span(call: Call, *switches: str) -> tuple[int, int]:
    """Parse `from` and `to`, and check the switches that must be true or false."""
    issues: list[dict[str, object]] = []
    read: list[int] = []
    for name in ("from", "to"):
        sent = call.field(name)
        moment = javascript.date(sent) if isinstance(sent, str) else None
        if moment is None:
            issues.append(_issue(name, "must be a valid date" if sent else "is required"))
        else:
            read.append(moment)
    issues += [_issue(name, "must be true or false") for name in switches if call.field(name) not in {None, "true", "false"}]
    if issues:
        raise invalid_body({"issues": issues, "name": "SchemaError"})
    start, end = read
    return start, end


def _issue(name: str, complaint: str) -> dict[str, object]:
    return {"message": f"{name} {complaint}", "path": [name], "code": "custom"}


def _history(window: Window, app: App) -> list[Totals]:
    if window.backwards:
        return [Totals()] * len(window.moments)
    return metrics.history(app, [moment // DAY for moment in window.moments])


def _totals(window: Window, apps: Sequence[App]) -> list[Totals]:
    """Add up apps; the first day's storage is today's minus the growth of all later days."""
    daily = [Totals()] * len(window.moments)
    for app in apps:
        daily = [mine.plus(theirs) for mine, theirs in zip(daily, _history(window, app), strict=True)]
    if daily:
        offset = sum(metrics.size_of(app) for app in apps) - sum(one.storage for one in daily[1:])
        daily[0] = daily[0]._replace(storage=max(0, offset))
    return _summed(window, daily)


def _summed(window: Window, daily: list[Totals]) -> list[Totals]:
    return daily if window.daily else list(accumulate(daily, Totals.plus))


def _points(call: Call, window: Window, totals: Sequence[Totals]) -> list[dict[str, object]]:
    hidden = {"get"} if isinstance(call.caller, Key) else set()
    if call.settings.generation == "seed":
        hidden = {"get", "storage_byte_hours", "build_time_seconds"}
    shown = 10 if call.settings.generation == "docs" else 24  # the documentation shows the date alone
    return [
        {
            **{name: number for name, number in total._asdict().items() if name not in hidden},
            "date": device_format(moment)[:shown],
        }
        for moment, total in zip(window.moments, totals, strict=True)
    ]


def _shown(call: Call, points: list[dict[str, object]]) -> object:
    if call.settings.generation != "seed":
        return points
    graph = call.field("graph")
    if isinstance(graph, str) and graph in _GRAPHS:
        return chart({graph: [float(str(point[graph])) for point in points]})
    return {"status": "ok", "statistics": points}


def bundle_usage(call: Call) -> object:
    """Return the share of active devices that had each bundle, by day, both ends included."""
    days = _days(call)
    app = readable_app(call)
    usage = _usage(call, app, days, metrics.by_bundle(app), metrics.births(app))
    answer = {"labels": _labels(days), "datasets": _datasets(usage, len(days))}
    if call.settings.generation != "seed":
        return answer
    if call.field("graph") == "true":
        return chart(usage)
    return {"status": "ok", "statistics": answer}


def native_usage(call: Call) -> object:
    """Return the share of active devices that had each native build, and the adoption of the newest.

    The newest servers add the number of active devices by platform.
    """
    days = _days(call)
    app = readable_app(call)
    usage = _usage(call, app, days, metrics.by_build(app), {})
    shares = _shares(usage, len(days))
    newest = max(usage, key=_precedence, default="")
    reached = shares[newest][-1] if newest else 0.0
    latest = {"name": newest, "percentage": f"{reached:.1f}"}
    answer = {"labels": _labels(days), "datasets": _datasets(usage, len(days)), "latestVersion": latest}
    return answer | _active(call, app, days) if call.settings.is_newest else answer


def _active(call: Call, app: App, days: Sequence[int]) -> dict[str, object]:
    """Return the active devices by platform: each day, and the most in this and the former period."""
    before = [day - len(days) for day in days]
    daily = _by_platform(call, app, days)
    return {
        "activeDevices": {name: max(column, default=0) for name, column in daily.items()},
        "previousPeriodActiveDevices": {
            name: max(column, default=0) for name, column in _by_platform(call, app, before).items()
        },
        "dailyPlatformActive": {"labels": _labels(days), **daily},
    }


def _by_platform(call: Call, app: App, days: Sequence[int]) -> dict[str, list[int]]:
    usage = _usage(call, app, days, metrics.by_platform(app), {})
    columns = {name: usage.get(name, [0] * len(days)) for name in ("android", "ios", "electron", "unknown")}
    return columns | {"total": [sum(row) for row in zip(*columns.values(), strict=True)]}


def _days(call: Call) -> Sequence[int]:
    start, end = span(call)
    return range(start // DAY, end // DAY + 1)


def _labels(days: Sequence[int]) -> list[str]:
    return [device_format(day * DAY)[:10] for day in days]


def _usage(
    call: Call, app: App, days: Sequence[int], devices: Mapping[str, int], births: Mapping[str, int]
) -> dict[str, list[int]]:
    """Distribute each day's active devices over what existed; an empty day repeats the day before."""
    today = micros(call.now) // DAY
    rows: list[list[int]] = []
    for day in days:
        weights = [count if births.get(name, day) <= day else 0 for name, count in devices.items()]
        row = metrics.split(metrics.active(app, day) if day <= today else 0, weights)
        rows.append(rows[-1] if rows and not any(row) and day <= today else row)
    columns = {name: [row[index] for row in rows] for index, name in enumerate(devices)}
    return {name: column for name, column in columns.items() if any(column)}


def _shares(usage: Mapping[str, Sequence[int]], days: int) -> dict[str, list[float]]:
    """Convert counts to percentages with one decimal that add up to 100 each day."""
    by_day = [metrics.split(1000, [column[index] for column in usage.values()]) for index in range(days)]
    return {name: [tenths[place] / 10 for tenths in by_day] for place, name in enumerate(usage)}


def _datasets(usage: Mapping[str, Sequence[int]], days: int) -> list[dict[str, object]]:
    shares = _shares(usage, days)
    return [{"label": name, "data": shares[name], "metaCounts": list(column)} for name, column in usage.items()]


def _precedence(label: str) -> tuple[list[int], str]:
    return [int(part) for part in re.findall(r"\d+", label)], label
