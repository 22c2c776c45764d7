"""Users, organizations and members; times in microseconds, `now` in epoch seconds (contract C1, C2)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from .access import ROLES, Binding

SUPER_ADMIN: Final = "org_super_admin"
INVITATION_LASTS: Final = 7 * 86_400
CANCELLATION_BARS: Final = 3 * 3600


@dataclass(slots=True, kw_only=True)
class User:
    """An account; e-mail addresses are stored and compared in lower case."""

    id: str
    email: str
    has_2fa: bool = False


@dataclass(slots=True, kw_only=True)
class Member:
    """A member who has accepted; the role ends at `expires_at`."""

    user: User
    role: str
    expires_at: float | None = None


@dataclass(slots=True, kw_only=True)
class Invitation:
    """An invitation that is not accepted yet; `uid` is the account, existing or to be created."""

    uid: str
    email: str
    role: str
    sent_at: float
    cancelled_at: float | None = None

    def open(self, now: float) -> bool:
        """Return whether the invitation is valid: not cancelled and at most a week old."""
        return self.cancelled_at is None and now - self.sent_at <= INVITATION_LASTS


@dataclass(slots=True, kw_only=True)
class Organization:
    """An organization with its settings and people."""

    id: str
    created_by: str
    created_at: int
    updated_at: int
    name: str
    management_email: str
    customer_id: str
    logo: str | None = None
    website: str | None = None
    enforcing_2fa: bool = False
    enforce_hashed_api_keys: bool = False
    enforce_encrypted_bundles: bool = False
    require_apikey_expiration: bool = False
    max_apikey_expiration_days: int | None = None
    required_encryption_key: str | None = None
    password_policy_config: Mapping[str, object] | None = None
    intent: str = "unknown"
    members: dict[str, Member] = field(default_factory=dict)
    invitations: dict[str, Invitation] = field(default_factory=dict)

    def join(self, user: User, role: str, expires_at: float | None = None) -> Member:
        if role not in ROLES:
            message = f"unknown role {role!r}"
            raise ValueError(message)
        member = Member(user=user, role=role, expires_at=expires_at)
        self.members[user.email] = member
        return member

    def invite(self, email: str, role: str, uid: str, now: float) -> Invitation:
        invitation = Invitation(uid=uid, email=email, role=role, sent_at=now)
        self.invitations[email] = invitation
        return invitation

    def accept(self, user: User) -> Member:
        return self.join(user, self.invitations.pop(user.email).role)

    def cancel(self, email: str, now: float) -> None:
        """Cancel an invitation; for a while, the address cannot be invited again (contract C2)."""
        self.invitations[email].cancelled_at = now

    def inviting_fails_with(self, email: str, now: float) -> str | None:
        """Return why an address cannot be invited now; `None` if it can."""
        earlier = self.invitations.get(email)
        if email in self.members or (earlier is not None and earlier.open(now)):
            return "ALREADY_INVITED"
        if earlier is not None and earlier.cancelled_at is not None and now - earlier.cancelled_at < CANCELLATION_BARS:
            return "TOO_RECENT_INVITATION_CANCELATION"
        return None

    def super_admins_beside(self, email: str) -> list[Member]:
        return [member for held, member in self.members.items() if held != email and member.role == SUPER_ADMIN]


class Organizations:
    def __init__(self) -> None:
        self.users: dict[str, User] = {}
        self._held: dict[str, Organization] = {}

    def __iter__(self) -> Iterator[Organization]:
        """Iterate over the organizations, oldest first."""
        return iter(self._held.values())

    def user_numbered(self, user_id: str) -> User | None:
        return next((user for user in self.users.values() if user.id == user_id), None)

    def add(self, organization: Organization) -> Organization:
        self._held[organization.id] = organization
        return organization

    def get(self, org_id: object) -> Organization | None:
        """Return an organization; `None` for an unknown or malformed id."""
        return self._held.get(org_id) if isinstance(org_id, str) else None

    def remove(self, org_id: str) -> None:
        del self._held[org_id]

    def bindings_of(self, user_id: str, now: float) -> tuple[Binding, ...]:
        """Return the roles that a user has through memberships."""
        return tuple(
            Binding(role=member.role, org_id=organization.id)
            for organization in self
            for member in organization.members.values()
            if member.user.id == user_id and (member.expires_at is None or member.expires_at > now)
        )
