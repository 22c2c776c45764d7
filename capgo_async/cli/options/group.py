"""Groups of options. A parameter of such a type stands for all its fields."""

import msgspec


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Base class of groups of options."""
