"""Which generation of the API a server speaks, and what differs (contract 0.2, A5, C1, D)."""

import enum
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
    def dialect(self) -> Dialect:
        """Return the dialect, `AUTO` while it is unknown; the header alone proves a modern server (contract C1)."""
        if self.chosen is not Dialect.AUTO:
            return self.chosen
        return Dialect.MODERN if self.worker_source is not None else self.probed

    def hear(self, worker_source: str | None) -> None:
        """Take what an answer tells."""
        if worker_source:
            self.worker_source = worker_source
            if worker_source in self.heard or len(self.heard) < _MOST_SERVERS:
                self.heard[worker_source] = self.heard.get(worker_source, 0) + 1

    def is_since(self, version: Version) -> bool:
        """Tell whether the server is known to be of `version` or later; unknown is no."""
        return self.version is not None and self.version >= version


def dialect_of_probe(status: int, body: bytes) -> Dialect:
    """Return what the answer to the harmless organization probe shows, `AUTO` where that is nothing (contract C1)."""
    if status != 400:  # noqa: PLR2004 - a refusal of the body, in every generation
        return Dialect.AUTO
    return Dialect.MODERN if b"orgId" in body else Dialect.SEED
