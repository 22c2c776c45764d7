"""A job that was killed and resumed, with waves, an approval, two learned limits and failures: the page shows all of it."""

import zlib
from collections.abc import Callable
from datetime import datetime, timedelta
from fractions import Fraction
from http import HTTPStatus
from pathlib import Path

import anyio
import msgspec
import pytest
from fleet import APP, client_of, copy_job, ids_of, sandbox_of, write_csv
from pages.reading import Reader, numbers_of
from virtual_time import in_virtual_time

from capgo_async.bulk import Answer, Decision, Job, Options, Question, read_operations
from capgo_async.bulk.clock import wall_clock
from capgo_async.events import LimitLearned
from capgo_async.pages.history import history_of
from capgo_async.pages.page import page_of
from capgo_async.sandbox import Arrival, Dropped, Reply, Sandbox

ANSWERS = [Decision.AGAIN, Decision.APPROVED]
LIMITS = {"RATE_LIMIT_API_KEY": 141, "RATE_LIMIT_CHANNEL_SELF_IP": 61}


async def killed_in_its_first_wave(sandbox: Sandbox, directory: Path, base: datetime) -> Path:
    """Return the file of a job as a kill leaves it, 45 s after the run began."""
    # The smaller apps end first; until then, the limit of the key is met, and from then on, that of the app.
    rows = [
        (app_id, device, "beta")
        for app_id in sandbox.world.apps
        for device in ids_of(sandbox, app_id)[: None if app_id == APP else 160]
    ]
    source = read_operations(write_csv(directory / "devices.csv", rows, ("app_id", "device_id", "channel")))
    options = Options(waves=(Fraction(1, 2), Fraction(1)), bake_seconds=60.0)
    async with client_of(sandbox) as capgo:
        await (await Job.create(directory / "job", source, client=capgo, options=options)).aclose()
        copy = copy_job(directory / "job", directory / "running")
        async with await Job.open_copy(copy, client=capgo, clock=virtual(base)) as job, anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: job.run(capgo, approve=never))
            await anyio.sleep(45)
            killed = copy_job(copy, directory / "move.capgo-job")
            job.abort()
    return killed


def refuse(sandbox: Sandbox, every: int) -> None:
    """Let the server refuse to change each of that many devices."""
    answer = sandbox.answer

    def refusing(arrival: Arrival, now: float) -> Reply | Dropped:
        found = answer(arrival, now)
        if arrival.request.method != "POST" or isinstance(found, Dropped) or found.status != HTTPStatus.OK:
            return found
        device = msgspec.json.decode(arrival.request.body)["device_id"]
        if zlib.crc32(device.encode()) % every:
            return found
        return Reply(status=400, headers=found.headers, body=b'{"error": "device_is_broken", "message": "broken"}')

    sandbox.answer = refusing  # type: ignore[method-assign]  # a double


def virtual(base: datetime) -> Callable[[], datetime]:
    return lambda: base + timedelta(seconds=anyio.current_time())


async def never(_: Question) -> Answer:
    raise AssertionError


@pytest.mark.slow
@in_virtual_time
async def test_the_page_tells_the_whole_story_with_the_numbers_of_the_report(tmp_path: Path) -> None:
    base = wall_clock()
    sandbox = sandbox_of(apps=4, devices=2000, limits="server", variables=LIMITS)
    refuse(sandbox, every=33)
    killed = await killed_in_its_first_wave(sandbox, tmp_path, base)
    answers = iter(ANSWERS)

    async def approve(_: Question) -> Answer:
        return Answer(next(answers))

    async with client_of(sandbox) as capgo, await Job.open_copy(killed, client=capgo, clock=virtual(base)) as job:
        before = await job.picture()
        report = await job.run(capgo, approve=approve)
        picture = await job.picture()
    assert "Run 2 was killed after" in page_of(before, {})
    shown, expected = Reader(page_of(picture, {})), dict(numbers_of(msgspec.json.decode(msgspec.json.encode(report))))
    assert all(expected[path] == text for path, text in shown.figures)
    assert {path for path, _ in shown.figures} >= expected.keys() - {"left"}
    assert report.pending == 0
    assert 0.02 < report.failed / report.planned < 0.04
    assert any(text.startswith("approved, asked ") for text in shown.texts)
    assert {"device_is_broken", "API key", "app at one address"} <= {text.strip() for text in shown.texts}
    history = history_of(picture)
    assert history is not None
    assert [span.state for span in history.runs if span.row != "run 1"] == ["killed", "finished"]
    assert [span.state for span in history.waves] == ["interrupted", "verified", "pause", "approval: approved", "verified"]
    told = [moment.event for moment in picture.timeline.moments if isinstance(moment.event, LimitLearned)]
    learned = {event.limit: event.requests or 0 for event in told}
    assert learned.keys() == {"key", "app_address"}
    assert learned["key"] < LIMITS["RATE_LIMIT_API_KEY"]
    assert [each.per_minute for each in history.allowed] == [1999, 1999, learned["key"]]
