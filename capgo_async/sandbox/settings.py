"""Settings of a sandbox, and which behaviour came with which server version (contract H1, 0.2)."""

import re
from typing import Final

import msgspec

from .exchange import Dialect
from .faults import Rule
from .limiting import Thresholds


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The settings of one sandbox.

    `page_bug` is on by default in `modern` and `seed` (contract C6). `speed` divides the windows of all limiters.
    `shuffle_ties` orders channels and bundles with the same `created_at` at random for each request, as a database may.
    `log_size` bounds the access log.
    """

    dialect: Dialect = "modern"
    page_bug: bool | None = None
    row_cap: int = 1000
    version: str = "capgo_api-sandbox-12.201.7"
    limits: Thresholds = Thresholds()
    speed: float = 1.0
    faults: tuple[Rule, ...] = ()
    shuffle_ties: bool = False
    log_size: int | None = None

    def __post_init__(self) -> None:
        if self.speed <= 0 or self.row_cap < 1 or self.log_size == 0:
            message = f"speed {self.speed}, row_cap {self.row_cap} and log_size {self.log_size} must all be above 0"
            raise ValueError(message)


_VERSION: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)$", re.ASCII)

Version = tuple[int, int, int]

METADATA_SAYS_OK: Final[Version] = (12, 100, 5)
CHANNELS_MAY_LACK_A_BUNDLE: Final[Version] = (12, 142, 0)
ROLLOUTS: Final[Version] = (12, 188, 1)
LINKED_BUNDLES_ARE_SAFE: Final[Version] = (12, 188, 1)
"""First version in which settings keep a channel's bundle, and bundles in use cannot be deleted."""
CHANNELS_ARE_REALLY_DELETED: Final[Version] = (12, 199, 4)


def since(settings: Settings, version: Version) -> bool:
    """Return whether the server has that version or a later one.

    The seed era counts as the oldest, a server without a version as the newest.
    """
    if settings.dialect == "seed":
        return False
    found = _VERSION.search(settings.version)
    return found is None or tuple(int(part) for part in found.groups()) >= version
