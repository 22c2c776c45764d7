"""The generation of the API that a server speaks, and how it is recognized (contract 0.2, A5, C1, D)."""

import enum
import math
import re
from collections.abc import Iterable, Mapping
from typing import Final

from . import wire

Version = tuple[int, int, int]

LINKED_BUNDLES_ARE_SAFE: Final[Version] = (12, 188, 1)
"""First version that refuses to delete a bundle that a channel uses (contract C8, D27)."""
SETTINGS_KEEP_THE_BUNDLE: Final[Version] = (12, 198, 0)
"""First version that keeps a channel's bundle when its settings change (contract C6, D15)."""
DELETION_OF_CHANNELS_IS_TOLD: Final[Version] = (12, 199, 4)
"""First version that reports when a channel could not be deleted (contract C6)."""
_MOST_SERVERS: Final = 16
"""Versions of which responses are counted; this bounds memory if every response names another version."""


class Dialect(enum.StrEnum):
    """The generation of the API, learned from responses or set by the user."""

    AUTO = "auto"
    MODERN = "modern"
    SEED = "seed"


class Generation:
    """What is known about one server, from the user, its responses and a probe.

    A dialect that was set decides only about verbs and listings. Rules that depend on a version need the version itself.
    """

    def __init__(self, chosen: Dialect = Dialect.AUTO) -> None:
        self.chosen = chosen
        self.worker_source: str | None = None
        self.asked = False
        """Whether the server was asked for its version; it is asked once."""
        self.probed = Dialect.AUTO
        self.features: dict[str, bool] = {}
        """Features that responses of the present version have shown or have shown to be missing (contract K0)."""
        self.heard: dict[str, int] = {}
        """The number of responses from each version."""
        self.answered_at = -math.inf
        """Time of the last response of any kind, by `anyio.current_time()`."""
        self.unreadable = 0
        """How many responses in a row were none of the API."""

    @property
    def version(self) -> Version | None:
        """Return the server's version from its last response, or `None` if no response told it."""
        return wire.server_version(self.worker_source)

    @property
    def shown(self) -> Dialect:
        """Return the dialect that responses show, or `AUTO`; the header proves a modern server (contract C1)."""
        return Dialect.MODERN if self.worker_source is not None else self.probed

    @property
    def dialect(self) -> Dialect:
        """Return the dialect that was set, else the one that responses have shown."""
        return self.shown if self.chosen is Dialect.AUTO else self.chosen

    def hear(self, worker_source: str | None) -> None:
        """Note the version that a response tells."""
        if worker_source:
            if worker_source != self.worker_source:
                self.features.clear()
            self.worker_source = worker_source
            if worker_source in self.heard or len(self.heard) < _MOST_SERVERS:
                self.heard[worker_source] = self.heard.get(worker_source, 0) + 1

    def forget(self) -> None:
        """Forget what responses have shown."""
        self.worker_source, self.asked, self.probed = None, False, Dialect.AUTO

    def is_since(self, version: Version) -> bool:
        """Return whether the server is known to have `version` or a later one."""
        return is_since(self.version, version)


def is_since(found: Version | None, version: Version) -> bool:
    """Return whether `found` is `version` or later; an unknown version is not."""
    return found is not None and found >= version


def dialect_of_probe(response: wire.Response) -> Dialect:
    """Return the dialect that the response to the organization probe shows, or `AUTO` (contract C1).

    A proxy may refuse the body, too. Only a refusal that names the missing field comes from the server itself.
    """
    refusal = wire.error_of(response, "")
    if refusal.status != 400 or refusal.code != "invalid_body":  # noqa: PLR2004 - how every generation refuses a body
        return Dialect.AUTO
    missing = {field for text in _texts_in(refusal.details) for field in _FIELD.findall(text)}
    if "orgId" in missing:
        return Dialect.MODERN
    return Dialect.SEED if "name" in missing else Dialect.AUTO


_FIELD: Final = re.compile(r'\b(orgId|name)\b(?!"\s*:)')
"""A field that a refusal names; a quoted `name` before a colon is a key of JSON within the text."""


def _texts_in(value: object) -> Iterable[str]:
    """Return every text in the details of a refusal, without the keys."""
    if isinstance(value, str):
        return (value,)
    children = value.values() if isinstance(value, Mapping) else value if isinstance(value, list) else ()
    return [text for child in children for text in _texts_in(child)]
