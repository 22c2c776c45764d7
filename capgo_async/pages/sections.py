"""What the page says: its first sentence, and its sections in their order.

Longer than 300 lines because it holds the words of every section.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from ..bulk.adoption import Adoption, Uptake
from ..bulk.clock import local_time
from ..bulk.picture import AppTotals, Picture
from ..bulk.report import Activity, Approval, Decision, Ended, Run, about, counted
from ..events import KEY_DOUBTED, OTHER_JOB
from ..limits.models import UNNAMED, ScopeKind
from .history import READING, History, history_of, how_ended, is_under_way
from .words import MOST_APPS, Card, Chart, Figure, Section, Table, Word, Words, clipped, plain, state_in_words, time_of

_MOST_ROWS: Final = 50
"""Rows of a table; the JSON report holds them all."""
_LIMITS: Final[Mapping[str, str]] = {
    ScopeKind.KEY: "API key",
    ScopeKind.APP_ADDRESS: "app at one address",
    ScopeKind.DEVICE_OPERATION: "single device",
    ScopeKind.DEVICE_CHANNEL: "device and channel",
    UNNAMED: "an unnamed limit",
    KEY_DOUBTED: "a key that was refused",
    OTHER_JOB: "links that another job has just set",
}
_DECISIONS: Final = {
    None: "no answer yet",
    Decision.APPROVED: "approved",
    Decision.AGAIN: "put off",
    Decision.DECLINED: "not approved",
}
_ENDS: Final = {Ended.INTERRUPTED: "was interrupted", Ended.STOPPED: "stopped"}
OUTCOMES: Final = ("verified", "done", "cannot tell", "contradicted", "failed", "pending")
"""The parts of the bar, in their order. `done` is what was not checked, or not yet."""


def parts_of(picture: Picture) -> list[tuple[str, Figure]]:
    """Return the parts of all planned operations, as the bar shows them; empty ones are left out."""
    report = picture.report
    paths = ("verified", "unchecked", "cannot_tell", "contradicted", "failed", "pending")
    figures = [Figure(path, getattr(report, path)) for path in paths]
    named = zip(OUTCOMES, figures, strict=True)
    return [
        ("done, not checked" if name == "done" and report.done > figure.value else name, figure)
        for name, figure in named
        if figure.value
    ]


def limit_called(limit: str) -> str:
    """Return the name of a limit for people, from its code."""
    return _LIMITS.get(limit) or clipped(limit, 60)


def was_begun(picture: Picture) -> bool:
    """Return whether anything of the job was sent."""
    return any(run.ended not in READING for run in picture.report.runs)


def headline(picture: Picture) -> Words:
    """Return the sentence that tells everything."""
    report, noun = picture.report, picture.plan.noun
    planned = Figure("planned", report.planned)
    things = f" {noun}{'' if report.planned == 1 else 's'}"
    if not report.planned:
        return ["Nothing needs a change."]
    if not was_begun(picture):
        return [planned, things, " will be changed. Nothing was sent yet."]
    are = "would be" if picture.rehearsed else "are"
    words: list[Word] = [Figure("done", report.done), " of ", planned, things, f" {are} done"]
    if report.done == report.planned:
        words = ["All ", planned, things, f" {are} done"]
    if report.contradicted:
        words += [", ", Figure("contradicted", report.contradicted), " of them contradicted"]
    for path in ("failed", "pending"):
        if value := getattr(report, path):
            words += [", ", Figure(path, value), f" {path}"]
    if report.verified == report.planned:
        words += [" and verified"]
    return [*words, "."]


def when(picture: Picture) -> str:
    """Return when a job ended, or will end."""
    report = picture.report
    ends = local_time((picture.at + timedelta(seconds=picture.seconds_left)).replace(second=0, microsecond=0))
    if not was_begun(picture):
        return f"Sent now, it takes {about(picture.seconds_left)}, until {ends}." if report.pending else ""
    last = [run for run in report.runs if run.ended not in READING][-1]
    ended = local_time(_end_of(last).replace(microsecond=0))
    if picture.rehearsed:
        return f"The rehearsal sent nothing. A run that begins now would end at {ended}."
    if not report.pending:
        return f"It ended at {ended}."
    left = f"What is pending takes {about(picture.seconds_left)}"
    if is_under_way(picture.activity):
        until = " from then on" if picture.activity.waits_for in {"approval", "server"} else f", until {ends}"
        return f"Run {picture.activity.run} is under way{_waits(picture.activity)}. {left}{until}."
    if last.ended is None:
        return f"Run {last.number} was killed after {ended}. {left}."
    return f"Run {last.number} {_ENDS.get(last.ended, 'ended')} at {ended}. {left}."


def _waits(activity: Activity) -> str:
    """Return what a run waits for, as the rest of a sentence."""
    until = "" if activity.until is None else time_of(activity.until)
    match activity.waits_for:
        case "":
            return ""
        case "bake":
            return f" and pauses between waves until {until}"
        case "approval":
            return " and waits for approval of the next wave"
        case "server":
            return f" and waits for the server, which cannot be reached; it tries again at {until}"
        case limit:
            of_app = f" of {clipped(activity.app, 60)}" if activity.app else ""
            return f" and rests until {until} (limit: {limit_called(limit)}{of_app})"


def _end_of(run: Run) -> datetime:
    return datetime.fromisoformat(run.started_at) + timedelta(seconds=run.elapsed_seconds)


def facts_of(picture: Picture) -> list[tuple[str, Words]]:
    """Return the totals below the bar, each with its name."""
    report = picture.report
    rows: Words = [
        *(Figure("rows", report.rows), ": ", Figure("planned", report.planned), " planned, "),
        *(Figure("skipped", report.skipped), " skipped, ", Figure("rejected", report.rejected), " rejected"),
    ]
    outcomes: Words = [
        *(Figure("done", report.done), " done, ", Figure("failed", report.failed), " failed, "),
        *(Figure("pending", report.pending), " pending"),
    ]
    # A run that was killed, or still goes on, has sent more than it has recorded.
    least = "at least " if any(run.ended is None for run in report.runs) else ""
    requests: Words = [
        *(least, Figure("requests", report.requests), ", of them ", Figure("retries", report.retries), " retries and "),
        *(Figure("rate_limited", report.rate_limited), " refused by a limit"),
    ]
    lasted, last = _last_run(picture)
    facts = [("Rows", rows), ("Outcomes", outcomes), ("Requests", requests), (lasted, last)]
    return [*facts, ("Not undone", [Figure("left", report.left)])] if report.left else facts


def _last_run(picture: Picture) -> tuple[str, Words]:
    """Return what the last run was, and how long it took."""
    report, took = picture.report, Figure("elapsed_seconds", picture.report.elapsed_seconds)
    last = report.runs[-1] if report.runs else None
    if last is None or last.ended is not None:
        name = how_ended(last, picture.activity).capitalize() if last is not None and last.ended in READING else "Last run"
        return name, [took, " s"]
    if is_under_way(picture.activity):
        return "Run under way", [took, " s so far"]
    return "Last run", ["killed after at least ", took, " s"]


def sections(picture: Picture) -> Iterator[Section]:
    """Yield the sections that have something to show, in the order of the page."""
    report, history = picture.report, history_of(picture)
    sent = history is not None and bool(history.rates)
    if history is not None:
        yield _burn_down(picture, history)
    if history is not None and sent:
        yield _rates(history)
    parts: tuple[tuple[object, Callable[[Picture], Section]], ...] = (
        (picture.apps, _apps),
        (any(run.limits_met for run in report.runs), _refusals),
        (report.failures, _failures),
        (report.waves, _waves),
        (picture.flows, _flows),
    )
    yield from (tell(picture) for shown, tell in parts if shown)
    if history is not None and sent:
        yield _latency(history)
    if history is not None and history.runs:
        yield _runs(picture)
    if report.done:
        yield _verdicts(picture)
    if report.adoption is not None:
        yield _adoption(report.adoption)


def _burn_down(picture: Picture, history: History) -> Section:
    report = picture.report
    planned, pending = Figure("planned", report.planned), Figure("pending", report.pending)
    lead: list[Word] = [planned, f" {picture.plan.noun}{'' if report.planned == 1 else 's'} planned, ", pending, " pending."]
    told = f"Operations left over time: from {planned} at {_clock(history.begin)} to {pending}"
    told += f" at {_clock(history.left[-1].at)}." if history.left else "."
    if history.forecast:
        foreseen = f" The plan's forecast was {about(history.forecast[-1].at - history.forecast[0].at)}."
        lead.append(foreseen)
        told += foreseen
    if history.ahead:
        told += f" Expected to reach 0 at {_clock(history.ahead[-1].at)}."
    return Section(name="burn", title="Operations left", lead=lead, charts=(Chart("burn", told),))


def _rates(history: History) -> Section:
    most = max(point.value for point in history.rates)
    rested = sum(span.end - span.begin for span in history.rests)
    rests = f" It rested {about(rested)} in all, {counted(len(history.rests), 'time')}." if history.rests else ""
    limits = "".join(
        f" {'API key' if keys == 1 else f'{keys:,} API keys together'}: {per_minute:,.0f} a minute."
        for keys, per_minute in dict.fromkeys((each.keys, each.per_minute) for each in history.allowed)
    )
    lead = f"At most {most:,.0f} requests a minute.{rests}"
    return Section(
        name="rates",
        title="Requests a minute",
        lead=[lead],
        charts=(Chart("rates", f"Requests a minute over time. {lead}{limits}"),),
    )


def _latency(history: History) -> Section:
    slowest = max((each.p95 for each in history.responses), default=0.0)
    most = max(each.most for each in history.flights)
    lead = f"95 % of the responses came within {slowest:,.2f} s at all times. At most {counted(most, 'request')} in flight."
    return Section(
        name="latency",
        title="Latency and requests in flight",
        lead=[lead],
        charts=(
            Chart("latency", f"Response times in seconds over time, median and 95 %. At worst {slowest:,.2f} s.", "Seconds"),
            Chart("flight", f"Requests in flight over time, at most {most:,}.", "Requests in flight"),
        ),
    )


def _clock(seconds: float) -> str:
    return local_time(datetime.fromtimestamp(round(seconds), UTC))


def _apps(picture: Picture) -> Section:
    apps = picture.apps
    lead = f"{counted(len(apps), 'app')}." if len(apps) > 1 else f"All of {clipped(apps[0].app_id)}."
    if (others := len(apps) - MOST_APPS) > 0:
        lead += f" The chart shows {MOST_APPS} of them one by one, and {counted(others, 'other')} together."
    rows = [_row_of_app(app) for app in apps[:_MOST_ROWS]]
    return Section(
        name="apps",
        title="Apps",
        lead=[lead],
        charts=(
            Chart(
                "apps",
                f"Bars of the operations of {counted(len(apps), 'app')}: done, failed and pending. The table has the numbers.",
            ),
        ),
        tables=(_table(("App", "Planned", "Done", "Failed", "Pending"), rows, len(apps), {1, 2, 3, 4}),),
    )


def _row_of_app(app: AppTotals) -> tuple[Words, ...]:
    return (clipped(app.app_id),), *((f"{count:,}",) for count in (app.planned, app.done, app.failed, app.pending))


def refusals_of(runs: Sequence[Run]) -> dict[str, int]:
    """Return how many requests each limit refused in all runs, by its name for people."""
    sums: dict[str, int] = {}
    for run in runs:
        for kind, count in run.limits_met.items():
            name = limit_called(kind)
            sums[name] = sums.get(name, 0) + count
    return dict(sorted(sums.items(), key=lambda item: -item[1]))


def _refusals(picture: Picture) -> Section:
    runs = picture.report.runs
    refused = sum(run.rate_limited for run in runs)
    sums = refusals_of(runs)
    told = ", ".join(f"{name}: {count:,}" for name, count in sums.items())
    rows = [
        (
            (Figure(f"runs.{index}.number", run.number),),
            (limit_called(kind),),
            (Figure(f"runs.{index}.limits_met.{kind}", count),),
        )
        for index, run in enumerate(runs)
        for kind, count in run.limits_met.items()
    ]
    return Section(
        name="refusals",
        title="Refusals by limit",
        lead=[
            "The server refused ",
            Figure("rate_limited", refused),
            f" request{'' if refused == 1 else 's'} because of its limits, to be sent again later.",
        ],
        charts=(Chart("refusals", f"Bars of the refused requests by limit: {told}."),),
        tables=(_table(("Run", "Limit", "Refused"), rows, len(rows), {0, 2}),),
    )


def _failures(picture: Picture) -> Section:
    failures = picture.report.failures
    cards = [
        Card(
            title=(Figure(f"failures.{index}.count", failure.count), f" {clipped(failure.cause)}"),
            text=clipped(failure.message),
            items=tuple(clipped(target, 160) for target in failure.first),
            advice=failure.what_to_do,
        )
        for index, failure in enumerate(failures[:_MOST_ROWS])
    ]
    told = ", ".join(f"{clipped(failure.cause, 60)}: {failure.count:,}" for failure in failures[:5])
    return Section(
        name="failures",
        title="Failures by cause",
        lead=[Figure("failed", picture.report.failed), f" failed, with {counted(len(failures), 'cause')}."],
        charts=(Chart("failures", f"Bars of the failed operations by cause: {told}."),),
        cards=tuple(cards),
    )


def _waves(picture: Picture) -> Section:
    waves = picture.report.waves
    rows: list[tuple[Words, ...]] = [
        (
            (Figure(f"waves.{index}.number", wave.number),),
            (wave.share,),
            (Figure(f"waves.{index}.operations", wave.operations),),
            (Figure(f"waves.{index}.settled", wave.settled),),
            (Figure(f"waves.{index}.failed", wave.failed),),
            (state_in_words(wave.state),),
            (time_of(wave.verified_at) if wave.verified_at else "",),
            (time_of(wave.bake_until) if wave.bake_until else "",),
            _approval(index, wave.approval),
        )
        for index, wave in enumerate(waves)
    ]
    told = "; ".join(f"wave {wave.number}, to {wave.share}, {state_in_words(wave.state)}" for wave in waves[:_MOST_ROWS])
    heads = ("Wave", "Up to", "Operations", "Finished", "Failed", "Verdict", "Verified at", "Pause until", "Approval")
    verified = sum(wave.verified_at is not None for wave in waves)
    return Section(
        name="waves",
        title="Waves",
        lead=[f"{verified} of {counted(len(waves), 'wave')} {'is' if verified == 1 else 'are'} verified."],
        charts=(Chart("waves", f"A strip of the waves by number of operations: {told}."),),
        tables=(_table(heads, rows, len(waves), {0, 2, 3, 4}),),
    )


def _approval(index: int, approval: Approval | None) -> Words:
    if approval is None:
        return ("",)
    reason = f" ({clipped(approval.reason)})" if approval.reason else ""
    asked = Figure(f"waves.{index}.approval.times", approval.times)
    return f"{_DECISIONS[approval.decision]}{reason}, asked ", asked, " time" if approval.times == 1 else " times"


def _flows(picture: Picture) -> Section:
    flows = picture.flows
    told = "; ".join(f"{flow.operations:,} from {clipped(flow.before, 60)} to {clipped(flow.after, 60)}" for flow in flows[:5])
    rows: list[tuple[Words, ...]] = [
        ((clipped(flow.before),), (clipped(flow.after),), (f"{flow.operations:,}",)) for flow in flows
    ]
    moved = "led" if was_begun(picture) and not picture.rehearsed else "leads"
    return Section(
        name="flows",
        title="From where to where",
        lead=[f"Where each {picture.plan.noun} was when the job was planned, and where the job {moved} it."],
        charts=(Chart("flows", f"Ribbons from the states before the job to those after it: {told}."),),
        tables=(_table(("Before", "After", "Operations"), rows, len(flows), {2}),),
    )


def _runs(picture: Picture) -> Section:
    runs = picture.report.runs
    shown, last = list(enumerate(runs))[-_MOST_ROWS:], runs[-1]
    rows: list[tuple[Words, ...]] = [
        (
            (Figure(f"runs.{index}.number", run.number),),
            (time_of(run.started_at),),
            (how_ended(run, picture.activity),),
            (Figure(f"runs.{index}.elapsed_seconds", run.elapsed_seconds),),
            (Figure(f"runs.{index}.operations", run.operations),),
            (Figure(f"runs.{index}.done", run.done),),
            (Figure(f"runs.{index}.failed", run.failed),),
            (Figure(f"runs.{index}.requests", run.requests),),
            (Figure(f"runs.{index}.retries", run.retries),),
            (Figure(f"runs.{index}.rate_limited", run.rate_limited),),
            (clipped(", ".join(run.servers)),),
            (clipped(run.reason or ""),),
        )
        for index, run in shown
    ]
    heads = (
        "Run",
        "Began",
        "End",
        "Seconds",
        "To send",
        "Done",
        "Failed",
        "Requests",
        "Retries",
        "Refused",
        "Server",
        "Reason",
    )
    ends = [f"run {run.number} {how_ended(run, picture.activity)}" for _, run in shown[-5:]]
    return Section(
        name="runs",
        title="Runs",
        lead=[f"{counted(len(runs), 'run')}, planning and checks among them. The last: {how_ended(last, picture.activity)}."],
        charts=(Chart("runs", f"Runs on the axis of time: {'; '.join(ends)}."),),
        tables=(_table(heads, rows, len(runs), {0, 3, 4, 5, 6, 7, 8, 9}),),
    )


def _verdicts(picture: Picture) -> Section:
    report = picture.report
    paths = ("verified", "contradicted", "cannot_tell", "missing", "unchecked")
    meanings = (
        "A fresh listing shows the change.",
        "A fresh listing shows something else.",
        "The server does not show it.",
        "Of these, the server must show the device and does not.",
        "Not compared with the server yet.",
    )
    rows: list[tuple[Words, ...]] = [
        ((path.replace("_", " "),), (Figure(path, getattr(report, path)),), (meaning,))
        for path, meaning in zip(paths, meanings, strict=True)
    ]
    told = ", ".join(f"{plain((Figure(path, getattr(report, path)),))} {path.replace('_', ' ')}" for path in paths)
    if report.done == report.unchecked:
        lead: Words = ["Nothing was compared with the server yet."]
    else:
        lead = [
            "Of ",
            Figure("done", report.done),
            " done, the server shows ",
            Figure("verified", report.verified),
            " as intended.",
        ]
    return Section(
        name="verdicts",
        title="Proof",
        lead=lead,
        charts=(Chart("verdicts", f"A bar of the verdicts on what is done: {told}."),),
        tables=(Table(heads=("Verdict", "Operations", "Meaning"), rows=tuple(rows), numeric=frozenset({1})),),
    )


_STANDINGS: Final[Mapping[str, str]] = {
    "taken": "runs it",
    "behind": "runs another bundle",
    "unlisted": "unknown to the server",
    "cannot_tell": "cannot tell",
}


def adopted(adoption: Adoption) -> list[tuple[str, Figure]]:
    """Return the moved devices by what they run, as the bar shows them; empty parts are left out."""
    figures = [(name, Figure(f"adoption.{path}", getattr(adoption, path))) for path, name in _STANDINGS.items()]
    return [(name, figure) for name, figure in figures if figure.value]


def _adoption(found: Adoption) -> Section:
    lead: Words = [
        Figure("adoption.taken", found.taken),
        " of ",
        Figure("adoption.devices", found.devices),
        " moved devices run the bundle of their channel, ",
        *(Figure("adoption.behind", found.behind), " run another one, "),
        *(Figure("adoption.unlisted", found.unlisted), " are unknown to the server, and of "),
        *(Figure("adoption.cannot_tell", found.cannot_tell), f" it cannot be told. As of {time_of(found.as_of)}."),
    ]
    told = ", ".join(f"{figure} {name}" for name, figure in adopted(found))
    apps = [((clipped(app.app_id),), *_uptake(f"apps.{index}", app)) for index, app in enumerate(found.apps)]
    days = [((clipped(day.day or "not shown"),), *_uptake(f"days.{index}", day)) for index, day in enumerate(found.days)]
    doubts: list[tuple[Words, ...]] = [
        ((clipped(each.app_id),), (each.doubt.sentence,), (Figure(f"adoption.doubts.{index}.devices", each.devices),))
        for index, each in enumerate(found.doubts)
    ]
    heads = ("Devices", *(f"{name[0].upper()}{name[1:]}" for name in _STANDINGS.values()))
    numeric = {1, 2, 3, 4, 5}
    tables = [
        _table(("App", *heads), apps, len(apps), numeric, "By app"),
        _table(("Last contact", *heads), days, len(days), numeric, "By day of last contact (UTC)"),
    ]
    if doubts:
        tables.append(_table(("App", "Why it cannot be told", "Devices"), doubts, len(doubts), {2}, "What cannot be told"))
    return Section(
        name="adoption",
        title="Adoption",
        lead=lead,
        charts=(Chart("adoption", f"A bar of the moved devices by what they run: {told}."),),
        tables=tuple(tables),
    )


def _uptake(path: str, uptake: Uptake) -> list[Words]:
    return [(Figure(f"adoption.{path}.{name}", getattr(uptake, name)),) for name in Uptake.__struct_fields__]


def _table(
    heads: tuple[str, ...],
    rows: Sequence[tuple[Words, ...]],
    all_of_them: int,
    numeric: set[int],
    called: str = "As a table",
) -> Table:
    shown = tuple(rows[:_MOST_ROWS])
    called = called if all_of_them <= len(shown) else f"{called}: {len(shown)} of {all_of_them:,}"
    return Table(heads=heads, rows=shown, numeric=frozenset(numeric), called=called)
