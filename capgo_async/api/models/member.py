"""Members of organizations (contract C2)."""

from typing import Final

import msgspec

SUPER_ADMIN_ROLES: Final = frozenset({"org_super_admin", "super_admin"})
"""The current name of the role and that of the seed era (contract E)."""

LESSER_ROLES: Final = frozenset(
    {
        *("org_admin", "org_billing_admin", "apikey_manager", "org_member", "apikey_org_reader"),
        *("read", "upload", "write", "admin"),
        *("invite_read", "invite_upload", "invite_write", "invite_admin", "invite_super_admin"),
    }
)
"""Every other known role, and the open invitations of the seed era. Any other word may mean anything."""


def stored_email(email: str) -> str:
    """Return an e-mail address in the form that the server stores: lower case (contract C2)."""
    return email.strip().lower()


class Member(msgspec.Struct, frozen=True, kw_only=True):
    """A member of an organization, or an open invitation (contract C2).

    For an invitation, `is_tmp` is true and `role` is the role offered. `role` is one of the words in contract E, or a word that
    only a later server knows. `image_url` changes on every read (contract D32).
    """

    uid: str
    email: str = ""
    role: str = ""
    image_url: str | None = None
    is_tmp: bool = False

    @property
    def is_super_admin(self) -> bool:
        """Whether this is a super admin who has accepted the invitation."""
        return self.role in SUPER_ADMIN_ROLES and not self.is_tmp

    @property
    def is_no_super_admin(self) -> bool:
        """Whether this is surely no super admin; both properties are false for an unknown role."""
        return self.is_tmp or self.role in LESSER_ROLES
