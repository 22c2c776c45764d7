"""Prints how many devices took their bundle, and writes those that did not as CSV."""

import contextlib
from collections.abc import Awaitable, Callable, Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Final, NamedTuple

import anyio.to_thread
import msgspec

from ...bulk import Adoption, Doubt, Straggler
from ...bulk.clock import local_time
from ...bulk.inventory.formats import CsvLines, Format
from ...bulk.report import counted
from ...bulk.storage.places import is_stream, new, real, refused, remove
from ...errors import ConfigurationError
from ..output.exit_codes import ExitCode
from ..output.speech import Speech
from .accounts import STDOUT, refuse_job_file

_MOST_LINES: Final = 50
"""Apps, days and notes that are printed, of each."""
_BUILDING: Final = ".building"

Write = Callable[[Sequence[Straggler]], Awaitable[object]]


def print_adoption(found: Adoption, speech: Speech, *, beside: bool) -> int:
    """Print an adoption as the command's result, or `beside` another result, and return the exit code."""
    if speech.json:
        speech.emit(found)
    else:
        (speech.say if beside else speech.show)("\n".join(_told(found)))
    return ExitCode.INCOMPLETE if found.cannot_tell else ExitCode.OK


def _told(found: Adoption) -> Iterator[str]:
    share = f" ({found.taken / found.devices:.1%})" if found.taken else ""
    as_of = local_time(datetime.fromisoformat(found.as_of))
    yield f"{found.taken:,} of {counted(found.devices, 'moved device')} run the bundle of their channel{share}, as of {as_of}"
    yield (
        f"{counted(found.devices, 'device')}: {found.taken:,} run it, {found.behind:,} run another one,"
        f" {found.unlisted:,} unknown to the server, {found.cannot_tell:,} cannot be told"
    )
    yield from _most([f"{app.app_id}: {app.taken:,} of {app.devices:,}" for app in found.apps], "app")
    yield from _most(
        [f"last contact {day.day or 'on a day not shown'}: {day.taken:,} of {day.devices:,}" for day in found.days], "day"
    )
    yield from _most(
        [f"cannot tell: {each.devices:,} of {each.app_id}: {each.doubt.sentence}" for each in found.doubts], "reason"
    )
    yield from _most([f"note: {remark}" for remark in found.remarks], "note")


def _most(lines: Sequence[str], noun: str) -> Iterator[str]:
    yield from lines[:_MOST_LINES]
    if len(lines) > _MOST_LINES:
        yield f"and {counted(len(lines) - _MOST_LINES, f'more {noun}')}; --json shows all"


class Delivery(NamedTuple):
    """What writes stragglers, if they are wanted, and what is called with the adoption in the end."""

    write: Write | None = None
    deliver: Callable[[Adoption], None] = lambda _: None


@contextlib.contextmanager
def to_file(to: str | None, job: Path, inventory: Path | None, speech: Speech) -> Iterator[Delivery]:
    """Provide what writes stragglers as CSV to the file `to`, or to stdout.

    An old file stays until the new one is complete, and if an app shows no device: nobody can tell then who the stragglers are.
    """
    if to is None:
        yield Delivery()
        return
    lines = CsvLines(Format.CSV, Straggler.__struct_fields__)

    def encoded(batch: Sequence[Straggler]) -> str:
        return "\n".join(lines([msgspec.structs.astuple(straggler) for straggler in batch]))

    if to == STDOUT:
        if speech.json:
            message = "--json and --stragglers - cannot be combined: both write to stdout"
            raise ConfigurationError(message)
        speech.show(lines.head[0])

        async def show(batch: Sequence[Straggler]) -> None:
            speech.show(encoded(batch))

        yield Delivery(show)
        return
    place = _place_of(to, job, inventory)
    building = place.with_name(place.name + _BUILDING)
    written = 0
    try:
        remove(building)
        with building.open("w", encoding="utf-8", errors="backslashreplace", newline="") as file:
            file.write(f"{lines.head[0]}\n")

            async def write(batch: Sequence[Straggler]) -> None:
                nonlocal written
                written += len(batch)
                await anyio.to_thread.run_sync(file.write, f"{encoded(batch)}\n")

            def deliver(found: Adoption) -> None:
                hidden = [each.app_id for each in found.doubts if each.doubt is Doubt.HIDDEN]
                if hidden and place.exists():
                    speech.say(f"the server lists no device of {', '.join(hidden)}, although the job moved some: {to} is kept")
                    return
                file.close()
                building.replace(place)
                speech.note(f"wrote {counted(written, 'device')} to {to}")

            yield Delivery(write, deliver)
    except OSError as error:
        raise refused(Path(to), error) from error
    finally:
        with contextlib.suppress(OSError):
            building.unlink(missing_ok=True)


def _place_of(to: str, job: Path, inventory: Path | None) -> Path:
    """Return the real path of an output.

    Raises `ConfigurationError` if it is an input, and `JobError` if it cannot be written.
    """
    refuse_job_file(to, job)
    if inventory is not None and real(Path(to)) == real(inventory):
        message = f"{to} is the inventory; choose another name"
        raise ConfigurationError(message)
    place = new(Path(to), "file")
    if is_stream(Path(to)):
        message = f"{to} is no file; - writes the stragglers to stdout"
        raise ConfigurationError(message)
    return place
