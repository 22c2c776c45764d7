"""The page about a job: one HTML text without scripts, and without requests to anywhere."""

from collections.abc import Mapping

import jinja2

from ..bulk.clock import local_time
from ..bulk.picture import Picture
from .colours import colour_of
from .sections import facts_of, headline, parts_of, sections, when
from .words import Drawing, Figure, clipped

Charts = Mapping[str, Drawing]
"""Charts by name."""


def page_of(picture: Picture, charts: Charts, *, refresh: int | None = None) -> str:
    """Return the page as HTML. With `refresh`, a browser loads it again after so many seconds."""
    return _TEMPLATE.render(
        charts=charts,
        facts=facts_of(picture),
        headline=headline(picture),
        made=local_time(picture.created_at.replace(microsecond=0)),
        parts=parts_of(picture),
        picture=picture,
        read=local_time(picture.at.replace(microsecond=0)),
        refresh=refresh,
        sections=[*sections(picture)],
        when=when(picture),
    )


def _is_figure(word: object) -> bool:
    return isinstance(word, Figure)


_ENVIRONMENT = jinja2.Environment(
    loader=jinja2.PackageLoader(__package__, "."),
    autoescape=True,
    undefined=jinja2.StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.tests["figure"] = _is_figure
_ENVIRONMENT.filters |= {"clipped": clipped, "colour": colour_of}
_TEMPLATE = _ENVIRONMENT.get_template("page.html.jinja")
