"""Writes the page about a job. Its charts need the packages of the extra `charts`."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import anyio.to_thread
import typer

from ...bulk.picture import Picture
from ...bulk.storage.places import is_stream, new, refused, remove
from ...errors import ConfigurationError
from ...printable import printable
from ..output.charts import check_charts
from ..output.speech import Speech
from .accounts import STDOUT, refuse_job_file

if TYPE_CHECKING:
    from ...pages.page import Charts

ToHtml = Annotated[
    str | None,
    typer.Option("--html", metavar="FILE", help="Write a page with charts to this file (- for stdout).", show_default=False),
]
WAITING: Final = '<!DOCTYPE html><meta charset="utf-8"><meta http-equiv="refresh" content="1"><p>The job is being read.'
"""Page for the first seconds, until the job has been read."""
_BUILDING: Final = ".building"


def check_page(to: str, path: Path) -> None:
    """Raise an error if no page about the job at `path` can be written to `to`."""
    check_charts()
    if to != STDOUT:
        refuse_job_file(to, path)
        new(Path(to), "page")
        if is_stream(Path(to)):
            message = f"{to} is no file; - writes the page to stdout"
            raise ConfigurationError(message)


async def write_page(picture: Picture, to: str, speech: Speech) -> None:
    """Write the page about a job to the file `to`, or to stdout.

    An old page stays until the new one is complete.
    """
    html = html_of(picture, await charts_of(picture))
    if to == STDOUT:
        speech.show(html)
        return
    place = new(Path(to), "page")
    building = place.with_name(place.name + _BUILDING)
    try:
        await anyio.to_thread.run_sync(building.write_text, html, "utf-8")
        building.replace(place)
    except OSError as error:
        with contextlib.suppress(OSError):
            remove(building)
        raise refused(Path(to), error) from error
    speech.note(f"wrote the page to {to}")


async def charts_of(picture: Picture) -> "Charts":
    """Return the charts of the page."""
    from ...pages import charts  # noqa: PLC0415 - it imports what only pages need, and that takes a second

    return await anyio.to_thread.run_sync(charts.charts_of, picture)


def html_of(picture: Picture, charts: "Charts", *, refresh: int | None = None) -> str:
    """Return the page as HTML. Characters that could control a terminal are escaped, as everywhere."""
    from ...pages.page import page_of  # noqa: PLC0415 - as above

    return printable(page_of(picture, charts, refresh=refresh))
