"""Groups of options: a parameter of such a type stands for all of its fields."""

import msgspec


class Group(msgspec.Struct, frozen=True, kw_only=True):
    """Options that belong together."""
