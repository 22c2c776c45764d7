"""Users, organizations and their members; moments are microseconds, `now` is epoch seconds (contract C1, C2)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from .access import RANKS, ROLES, Binding

SUPER_ADMIN: Final = "org_super_admin"
INVITATION_LASTS: Final = 7 * 86_400
CANCELLATION_BARS: Final = 3 * 3600


@dataclass(slots=True, kw_only=True)
class User:
    """One account; e-mail addresses are compared as they are stored, in lower case."""

    id: str
    email: str
    has_2fa: bool = False


@dataclass(slots=True, kw_only=True)
class Member:
    """One member who accepted; `expires_at` ends the binding of the role."""

    user: User
    role: str
    expires_at: float | None = None


@dataclass(slots=True, kw_only=True)
class Invitation:
    """One invitation that was not accepted; `uid` belongs to an account, or to one that may be made."""

    uid: str
    email: str
    role: str
    sent_at: float
    cancelled_at: float | None = None

    def open(self, now: float) -> bool:
        """Tell whether it still stands: cancelled ones and those older than a week do not."""
        return self.cancelled_at is None and now - self.sent_at <= INVITATION_LASTS


@dataclass(slots=True, kw_only=True)
class Organization:
    """One organization with its settings and people."""

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
        """Make a user a member."""
        if role not in ROLES:
            message = f"unknown role {role!r}"
            raise ValueError(message)
        member = Member(user=user, role=role, expires_at=expires_at)
        self.members[user.email] = member
        return member

    def invite(self, email: str, role: str, uid: str, now: float) -> Invitation:
        """Offer a role to whoever owns an e-mail address."""
        invitation = Invitation(uid=uid, email=email, role=role, sent_at=now)
        self.invitations[email] = invitation
        return invitation

    def accept(self, user: User) -> Member:
        """Turn a user's invitation into a membership."""
        return self.join(user, self.invitations.pop(user.email).role)

    def cancel(self, email: str, now: float) -> None:
        """Cancel an invitation; for a while no other may be sent (contract C2)."""
        self.invitations[email].cancelled_at = now

    def inviting_fails_with(self, email: str, now: float) -> str | None:
        """Name the reason why this address may not be invited now; `None` when it may."""
        earlier = self.invitations.get(email)
        if email in self.members or (earlier is not None and earlier.open(now)):
            return "ALREADY_INVITED"
        if earlier is not None and earlier.cancelled_at is not None and now - earlier.cancelled_at < CANCELLATION_BARS:
            return "TOO_RECENT_INVITATION_CANCELATION"
        return None

    def super_admins_beside(self, email: str) -> list[Member]:
        """List the super admins who would be left without this one."""
        return [member for held, member in self.members.items() if held != email and member.role == SUPER_ADMIN]


class Organizations:
    """All users and organizations of a server."""

    def __init__(self) -> None:
        """Start empty."""
        self.users: dict[str, User] = {}
        self._held: dict[str, Organization] = {}

    def __iter__(self) -> Iterator[Organization]:
        """Walk through the organizations, oldest first."""
        return iter(self._held.values())

    def add_user(self, user: User) -> User:
        """Keep an account under its e-mail address."""
        self.users[user.email] = user
        return user

    def user_numbered(self, user_id: str) -> User | None:
        """Find an account by its id."""
        return next((user for user in self.users.values() if user.id == user_id), None)

    def add(self, organization: Organization) -> Organization:
        """Keep an organization under its id."""
        self._held[organization.id] = organization
        return organization

    def get(self, org_id: object) -> Organization | None:
        """Find an organization; an id of any other form is nobody's."""
        return self._held.get(org_id) if isinstance(org_id, str) else None

    def remove(self, org_id: str) -> None:
        """Forget an organization with its members."""
        del self._held[org_id]

    def bindings_of(self, user_id: str, now: float) -> tuple[Binding, ...]:
        """List the roles that a user holds through memberships."""
        return tuple(
            Binding(role=member.role, org_id=organization.id)
            for organization in self
            for member in organization.members.values()
            if member.user.id == user_id and (member.expires_at is None or member.expires_at > now)
        )


def outranks(role: str, rank: int) -> bool:
    """Tell whether a role stands above a rank."""
    return RANKS[role] > rank
