"""How a sandbox behaves (contract H1)."""

import re
from typing import Final

import msgspec

from .exchange import Dialect
from .faults import Rule
from .limiting import Thresholds


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """The knobs of one sandbox.

    `page_bug` is on in `modern` and `seed` unless a test says otherwise (contract C6). `speed` divides the windows of all
    limiters. `shuffle_ties` orders channels and bundles of one `created_at` anew for each request, as a database may.
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
        """Refuse what would make no server at all."""
        if self.speed <= 0 or self.row_cap < 1 or self.log_size == 0:
            message = f"speed {self.speed}, row_cap {self.row_cap}, log_size {self.log_size}: none may be nought or less"
            raise ValueError(message)


_VERSION: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)$", re.ASCII)

Version = tuple[int, int, int]

METADATA_SAYS_OK: Final[Version] = (12, 100, 5)
CHANNELS_MAY_LACK_A_BUNDLE: Final[Version] = (12, 142, 0)
ROLLOUTS: Final[Version] = (12, 188, 1)
LINKED_BUNDLES_ARE_SAFE: Final[Version] = (12, 188, 1)
"""Since then settings leave a channel's bundle alone, and bundles that a channel serves cannot be deleted."""
CHANNELS_ARE_REALLY_DELETED: Final[Version] = (12, 199, 4)


def since(settings: Settings, version: Version) -> bool:
    """Tell whether the server is of that version or newer; the seed era is older than all, a nameless version newest."""
    if settings.dialect == "seed":
        return False
    found = _VERSION.search(settings.version)
    return found is None or tuple(int(part) for part in found.groups()) >= version
