"""GET /statistics/app/:app_id/bundle_usage and …/native_usage (contract C9)."""

import re
from collections.abc import Mapping, Sequence

from ..charts import chart
from ..state import metrics
from ..state.apps import App
from ..state.metrics import DAY
from ..timestamps import device_format, micros
from .call import Call
from .statistics import readable_app, span


def bundle_usage(call: Call) -> object:
    """Return the share of active devices that had each bundle, by day, both ends included."""
    days = _days(call)
    app = readable_app(call)
    usage = _usage(call, app, days, metrics.by_bundle(app), metrics.births(app))
    answer = {"labels": _labels(days), "datasets": _datasets(usage, len(days))}
    if call.settings.dialect != "seed":
        return answer
    if call.field("graph") == "true":
        return chart(usage)
    return {"status": "ok", "statistics": answer}


def native_usage(call: Call) -> object:
    """Return the share of active devices that had each native build, and the adoption of the newest."""
    days = _days(call)
    app = readable_app(call)
    usage = _usage(call, app, days, metrics.by_build(app), {})
    shares = _shares(usage, len(days))
    newest = max(usage, key=_precedence, default="")
    reached = shares[newest][-1] if newest else 0.0
    latest = {"name": newest, "percentage": f"{reached:.1f}"}
    return {"labels": _labels(days), "datasets": _datasets(usage, len(days)), "latestVersion": latest}


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
