"""Which server generation a sandbox is, where behaviour depends on the version and not on the dialect (contract 0.2)."""

import re
from typing import Final

from .settings import Settings

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
