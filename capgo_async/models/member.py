"""Members of organizations (contract C2)."""

from typing import Final

import msgspec

SUPER_ADMIN_ROLES: Final = frozenset({"org_super_admin", "super_admin"})
"""Today's word and the seed era's; with `invite_` before it, the latter is an open invitation (contract E)."""

LESSER_ROLES: Final = frozenset(
    {
        *("org_admin", "org_billing_admin", "apikey_manager", "org_member", "apikey_org_reader"),
        *("read", "upload", "write", "admin"),
        *("invite_read", "invite_upload", "invite_write", "invite_admin", "invite_super_admin"),
    }
)
"""Every other role that is known, and the seed era's open invitations; a word that is in neither may mean anything."""


def stored_email(email: str) -> str:
    """Return an e-mail address as the server stores it: in lower case (contract C2)."""
    return email.strip().lower()


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

    @property
    def is_no_super_admin(self) -> bool:
        """Tell whether this member is known not to be one: neither is true of a role that nobody knows."""
        return self.is_tmp or self.role in LESSER_ROLES
