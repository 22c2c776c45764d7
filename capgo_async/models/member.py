"""Members of organizations (contract C2)."""

from typing import Final

import msgspec

SUPER_ADMIN_ROLES: Final = frozenset({"org_super_admin", "super_admin"})
"""Today's word and the seed era's; with `invite_` before it, the latter is an open invitation (contract E)."""


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A member, or somebody who was invited: then `is_tmp` is true and `role` is the one offered (contract C2).

    `role` is a word of contract E, or one that a later server has. `image_url` changes on every read (contract D32).
    """

    uid: str
    email: str = ""
    role: str = ""
    image_url: str | None = None
    is_tmp: bool = False

    @property
    def is_super_admin(self) -> bool:
        """Tell whether this member is a super admin, the invitation accepted."""
        return self.role in SUPER_ADMIN_ROLES and not self.is_tmp
