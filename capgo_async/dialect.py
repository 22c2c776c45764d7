"""Which generation of the API a server speaks, and what differs (contract 0.2, D)."""

import enum
from typing import Final

Version = tuple[int, int, int]

CURSOR_LISTING: Final[Version] = (12, 56, 16)
"""Since this version `GET /device` answers pages with a cursor."""


class Dialect(enum.StrEnum):
    """The generation of the API: learned from replies, or set by the user."""

    AUTO = "auto"
    MODERN = "modern"
    SEED = "seed"
