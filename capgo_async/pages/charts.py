"""The charts that the page about a job has."""

from ..bulk.picture import Picture
from .bars import bars, bars_of_apps, key_of, parts, ribbons, strip_of_waves
from .courses import burn_down, in_flight, key_of_burn_down, key_of_rates, latency, panels, rates, strip
from .frames import both
from .history import History, history_of, slowest
from .sections import adopted, parts_of, refusals_of
from .words import Drawing


def charts_of(picture: Picture) -> dict[str, Drawing]:
    """Return the charts of a picture by name."""
    report, history = picture.report, history_of(picture)
    drawn: dict[str, Drawing] = {}
    if history is not None:
        drawn |= _of_history(picture, history)
    elif picture.apps:
        drawn["apps"] = bars_of_apps(picture.apps)
    if refusals := refusals_of(report.runs):
        drawn["refusals"] = bars([*refusals.items()], "refused")
    if report.failures:
        drawn["failures"] = bars([(failure.cause, failure.count) for failure in report.failures], "failed")
    if report.waves and "waves" not in drawn:
        drawn["waves"] = strip_of_waves(report.waves)
    if picture.flows:
        drawn["flows"] = ribbons(picture.flows)
    if report.done:
        verdicts = [(name, figure.value) for name, figure in parts_of(picture) if name not in {"failed", "pending"}]
        drawn["verdicts"] = parts(verdicts)
    if report.adoption is not None:
        drawn["adoption"] = parts([(name, figure.value) for name, figure in adopted(report.adoption)])
    return drawn


def _of_history(picture: Picture, history: History) -> dict[str, Drawing]:
    drawn = {"burn": both(lambda frame: burn_down(history, frame), key_of_burn_down(history))}
    if history.rates:
        drawn["rates"] = both(lambda frame: rates(history, frame), key_of_rates(history))
        drawn["latency"] = both(
            lambda frame: latency(history, frame), [("median", "done line"), ("95 % are not slower", "refused line")]
        )
        drawn["flight"] = both(lambda frame: in_flight(history, frame), [("mean", "done"), ("most", "refused line")])
    apps = slowest(picture)
    if any(bucket.app and (bucket.done or bucket.failed) for bucket in picture.timeline.buckets):
        drawn["apps"] = Drawing(panels=tuple(panels(picture, apps, history)))
    elif apps:
        drawn["apps"] = bars_of_apps(apps)
    if history.waves:
        drawn["waves"] = both(lambda frame: strip(history.waves, history, frame), key_of(span.state for span in history.waves))
    if history.runs:
        drawn["runs"] = both(lambda frame: strip(history.runs, history, frame), key_of(span.state for span in history.runs))
    return drawn
