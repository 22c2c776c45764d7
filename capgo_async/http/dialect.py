"""Which generation of the API a server speaks, and what differs (contract 0.2, A5, C1, D)."""

import enum
import re
from collections.abc import Iterable, Mapping
from typing import Final

from . import wire

Version = tuple[int, int, int]

LINKED_BUNDLES_ARE_SAFE: Final[Version] = (12, 188, 1)
"""Since this version a bundle that a channel uses cannot be deleted (contract C8, D27)."""
SETTINGS_KEEP_THE_BUNDLE: Final[Version] = (12, 198, 0)
"""Since this version a change of a channel's settings leaves its bundle alone (contract C6, D15)."""
DELETION_OF_CHANNELS_IS_TOLD: Final[Version] = (12, 199, 4)
"""Since this version a channel that could not be deleted is reported (contract C6)."""
_MOST_SERVERS: Final = 16
"""A server that calls itself something else in every answer fills no memory."""


class Dialect(enum.StrEnum):
    """The generation of the API: learned from replies, or set by the user."""

    AUTO = "auto"
    MODERN = "modern"
    SEED = "seed"


class Generation:
    """What is known of one server: the dialect that the user set, what its replies tell, what a probe showed.

    A set dialect settles verbs and listings only; rules that are tied to a version need the version itself.
    """

    def __init__(self, chosen: Dialect = Dialect.AUTO) -> None:
        self.chosen = chosen
        self.worker_source: str | None = None
        self.asked = False
        """Whether the server was asked for its version; one that tells none is not asked again."""
        self.probed = Dialect.AUTO
        self.heard: dict[str, int] = {}
        """How many answers came from each of the first servers that said what they are."""

    @property
    def version(self) -> Version | None:
        """Return the server's version as its last answer told it, `None` when none has."""
        return wire.server_version(self.worker_source)

    @property
    def shown(self) -> Dialect:
        """Return the dialect that the server shows, `AUTO` for none; the header alone proves a modern one (contract C1)."""
        return Dialect.MODERN if self.worker_source is not None else self.probed

    @property
    def dialect(self) -> Dialect:
        """Return the dialect that was set, else the one that the server shows."""
        return self.shown if self.chosen is Dialect.AUTO else self.chosen

    def hear(self, worker_source: str | None) -> None:
        """Take what an answer tells."""
        if worker_source:
            self.worker_source = worker_source
            if worker_source in self.heard or len(self.heard) < _MOST_SERVERS:
                self.heard[worker_source] = self.heard.get(worker_source, 0) + 1

    def forget(self) -> None:
        """Take nothing that was told for granted any more."""
        self.worker_source, self.asked, self.probed = None, False, Dialect.AUTO

    def is_since(self, version: Version) -> bool:
        """Tell whether the server is known to be of `version` or later; unknown is no."""
        return is_since(self.version, version)


def is_since(found: Version | None, version: Version) -> bool:
    """Tell whether `found` is `version` or later; unknown is no."""
    return found is not None and found >= version


def dialect_of_probe(response: wire.Response) -> Dialect:
    """Return what the answer to the harmless organization probe shows, `AUTO` where that is nothing (contract C1).

    Whoever stands before the server refuses bodies, too: only a refusal that names the missing field is the server's own.
    """
    refusal = wire.error_of(response, "")
    if refusal.status != 400 or refusal.code != "invalid_body":  # noqa: PLR2004 - a refusal of the body, in every generation
        return Dialect.AUTO
    missing = {field for text in _texts_in(refusal.details) for field in _FIELD.findall(text)}
    if "orgId" in missing:
        return Dialect.MODERN
    return Dialect.SEED if "name" in missing else Dialect.AUTO


_FIELD: Final = re.compile(r'\b(orgId|name)\b(?!"\s*:)')
"""A field that a refusal names; in JSON within a text `name` is a key as well."""


def _texts_in(value: object) -> Iterable[str]:
    """Return every text in a refusal's details, the keys left out."""
    if isinstance(value, str):
        return (value,)
    children = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return [text for child in children for text in _texts_in(child)]
