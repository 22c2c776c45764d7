"""The stream of events of a job, as JSON Lines: of a run under way, or of earlier runs."""

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final, Literal

import anyio
import msgspec

from ...bulk import Job
from ...bulk.timeline import Bucket, Moment, Timeline, merged
from ...events import (
    AttemptBegan,
    AttemptEnded,
    Event,
    ForecastMade,
    LimitsInUse,
    Progress,
    RestBegan,
    RestEnded,
    RunBegan,
    RunEnded,
)
from ..output.line_file import LineFile
from ..output.speech import Speech
from .accounts import STDOUT, refuse_job_file

_PROGRESS_SECONDS: Final = 1.0
_ALL_THE_SAME: Final = "The run goes on without them; the job file keeps its own"


class EventLine(msgspec.Struct, frozen=True, kw_only=True):
    """What every line of a stream of events begins with; the fields of the event follow.

    `at` is a time in UTC.
    """

    schema: Literal[1] = 1
    at: str


def line_of(event: Event, at: datetime) -> str:
    """Return an event as one line of JSON."""
    told = EventLine(at=at.astimezone(UTC).isoformat(timespec="milliseconds"))
    return f"{msgspec.json.encode(told)[:-1].decode()},{msgspec.json.encode(event)[1:].decode()}"


class EventStream:
    """Writes the events that it hears, and the `progress` once a second and at the end of a run.

    A stream that cannot be written is given up with a message, and the run goes on. A file is appended to.
    """

    def __init__(self, to: str, job: Path, progress: Callable[[int], Progress], speech: Speech) -> None:
        if to != STDOUT:
            refuse_job_file(to, job)
        self._progress = progress
        self._speech = speech
        self._file = None if to == STDOUT else LineFile(to, "events", _ALL_THE_SAME, speech)
        self._in_flight = 0

    def __call__(self, event: Event) -> None:
        """Write one event. The use of limits is part of the progress."""
        if isinstance(event, LimitsInUse):
            return
        if isinstance(event, AttemptBegan | AttemptEnded):
            self._in_flight = event.in_flight
        elif isinstance(event, RunEnded):
            self._tell(self._progress(self._in_flight))
        self._tell(event)

    def _tell(self, event: Event) -> None:
        line = line_of(event, datetime.now(UTC))
        if self._file is None:
            self._speech.stream(line)
        else:
            self._file.add(line)

    async def follow(self) -> None:
        """Write what is heard, and the progress, until cancelled."""
        while True:
            if self._file is not None:
                self._file.write()
            await anyio.sleep(_PROGRESS_SECONDS)
            self._tell(self._progress(self._in_flight))

    def close(self) -> None:
        """Write the rest, and close the file."""
        if self._file is not None:
            self._file.close()


async def print_events(job: Job, speech: Speech) -> None:
    """Print the events that a job file keeps, with the progress as exact as its timeline."""
    timeline = await job.timeline()
    for moment in moments_of(timeline):
        speech.show(line_of(moment.event, datetime.fromtimestamp(moment.at, UTC)))
        if not speech.heard:
            return


def moments_of(timeline: Timeline) -> Iterator[Moment]:
    """Yield the moments of a timeline, and between them the progress at the end of each bucket."""
    runs = [moment for moment in timeline.moments if isinstance(moment.event, RunBegan | RunEnded)]
    course = _Course()
    together = [msgspec.structs.replace(bucket, app="") for bucket in timeline.buckets]
    buckets = iter([(_until(bucket, timeline.width, runs), bucket) for bucket in merged(together, timeline.width)])
    following = next(buckets, None)
    for moment in (*timeline.moments, None):
        while following is not None and (moment is None or following[0] <= moment.at):
            at, bucket = following
            yield Moment(at, course.run, course.progress(bucket, timeline.width, at))
            following = next(buckets, None)
        if moment is not None:
            course.follow(moment)
            yield moment


def _until(bucket: Bucket, width: int, runs: Sequence[Moment]) -> float:
    """Return when a bucket is over: at its end, or before, when the last run in it ended."""
    end = bucket.start + width
    last = next((moment for moment in reversed(runs) if bucket.start <= moment.at < end), None)
    return last.at if last is not None and isinstance(last.event, RunEnded) else float(end)


class _Course:
    """How far a run was at a time, as the moments and buckets up to then tell."""

    def __init__(self) -> None:
        self.run = 0
        self._operations = self._done = self._failed = 0
        self._foreseen: tuple[float, float] | None = None
        self._resting = ""

    def follow(self, moment: Moment) -> None:
        """Take the next moment."""
        match moment.event:
            case RunBegan(operations=operations):
                self.run, self._operations, self._done, self._failed = moment.run, operations, 0, 0
                self._foreseen, self._resting = None, ""
            case ForecastMade(seconds=seconds, more=more, planning=False):
                self._foreseen = moment.at + seconds, more
            case RestBegan(limit=limit):
                self._resting = limit
            case RestEnded():
                self._resting = ""

    def progress(self, bucket: Bucket, width: int, at: float) -> Progress:
        """Add a bucket that ended at `at`, and return the progress then."""
        self._done, self._failed = self._done + bucket.done, self._failed + bucket.failed
        ends_at, more = self._foreseen or (None, None)
        return Progress(
            done=self._done,
            failed=self._failed,
            pending=max(0, self._operations - self._done - self._failed),
            in_flight=bucket.most_in_flight,
            rate=(bucket.done + bucket.failed) / width,
            seconds_left=None if ends_at is None else max(0.0, ends_at - at),
            more=more,
            resting=self._resting,
        )
