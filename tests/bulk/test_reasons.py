"""Reasons: code decides by their causes, and sentences are made where they are shown."""

import string
from pathlib import Path

import pytest
from fleet import APP, client_of, ids_of, links_of, sandbox_of, write_csv
from virtual_time import in_virtual_time

from capgo_async.bulk import Cause, Job, Options, Plan, Reason, Rows, read_operations
from capgo_async.bulk.operations import reasons


def fields(template: str) -> int:
    return sum(name is not None for _, name, _, _ in string.Formatter().parse(template))


@pytest.mark.parametrize("cause", Cause)
def test_every_cause_has_a_sentence_that_stands_alone_or_names_a_place(cause: Cause) -> None:
    details = tuple(f"detail {number}" for number in range(fields(reasons.SENTENCES[cause])))
    places = tuple(f"place {number}" for number in range(fields(reasons.PLACES.get(cause, ""))))
    whole = Reason(cause, details, places)
    assert all(named in str(whole) for named in (*details, *places))
    assert str(whole).startswith(str(whole.of_all))
    assert "place" not in str(whole.of_all)
    assert "--" not in str(whole), "the library does not know the command line"


def counts(plan: Plan) -> list[tuple[str, Cause | None, int]]:
    return [(reason.fate, reason.cause, reason.rows) for reason in plan.reasons]


@in_virtual_time
async def test_other_words_change_no_total(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = sandbox_of(devices=100)
    links = links_of(sandbox)
    linked = [device for device in ids_of(sandbox) if links.get(device) == "beta"]
    rows = [(device, "beta") for device in [*ids_of(sandbox), linked[0], linked[0]]]
    rows += [("b1", "alpha"), ("b1", "beta"), ("b2", "alpha"), ("b2", "beta"), ("b3", "nope"), ("", "beta")]
    source = read_operations(write_csv(tmp_path / "rows.csv", rows, ("device_id", "channel")), app_id=APP)
    path = tmp_path / "job.capgo-job"
    async with client_of(sandbox) as capgo:
        async with await Job.create(path, source, client=capgo, options=Options(reject_bad_rows=True)) as job:
            before = job.plan
    assert before.saved == len(linked)
    assert counts(before) == [
        ("skipped", Cause.ALREADY_LINKED, len(linked)),
        ("skipped", Cause.DUPLICATE, 2),
        ("rejected", Cause.CONTRADICTION, 4),
        ("rejected", Cause.NO_CHANNEL, 1),
        ("rejected", Cause.MISSING_VALUE, 1),
    ]
    monkeypatch.setattr(reasons, "SENTENCES", dict.fromkeys(Cause, "said otherwise"))
    monkeypatch.setattr(reasons, "PLACES", dict.fromkeys(Cause, ""))
    async with await Job.open(path) as job:
        after = job.plan
        report = await job.report()
        skipped = [row.cause async for chunk in job.rows(Rows.SKIPPED) for row in chunk]
    assert {reason.reason for reason in after.reasons} == {"said otherwise"}
    assert counts(after) == counts(before)
    assert (after.saved, after.skipped, after.rejected) == (before.saved, before.skipped, before.rejected)
    assert (report.skipped, report.rejected) == (before.skipped, before.rejected)
    assert (skipped.count("already_linked"), skipped.count("duplicate")) == (len(linked), 2)
