"""Members of organizations (contract C2)."""

from ...errors import Conflict, MemberNotFound
from ...http.call import Call
from ...http.retry import Repeat
from ...http.wire import Request, encode
from ..models.member import stored_email
from ..words import MemberRole, Unlisted, listed
from .arguments import named


def list_members(org_id: str) -> Call:
    """List the members and the open invitations of an organization, all in one response (contract C2)."""
    query = (("orgId", named(org_id, "organization id")),)
    return Call(f"list members of {org_id}", Request(method="GET", path="/organization/members", query=query))


def invite_member(org_id: str, email: str, role: MemberRole | Unlisted) -> Call:
    """Invite somebody to an organization (contract C2)."""
    email = address(email)
    role = listed(role, MemberRole, "role")
    # Generations of the server read the role under different names (contract D28).
    body = encode({"orgId": named(org_id, "organization id"), "email": email, "invite_type": role, "role": role})
    request = Request(method="POST", path="/organization/members", body=body)
    return Call(f"invite {email} to {org_id}", request, settled_by=(Conflict,))


def remove_member(org_id: str, email: str) -> Call:
    """Remove a member, or an open invitation if the invited person has an account (contract C2).

    Removing the last super admin deletes the organization (contract D50). The call is sent once only: before a second attempt,
    the other super admins may be gone.
    """
    email = address(email)
    query = (("orgId", named(org_id, "organization id")), ("email", email))
    request = Request(method="DELETE", path="/organization/members", query=query)
    # `user_not_found` settles nothing: it stands for people without an account, whose invitations stay open.
    repeat, settled_by = Repeat.AFTER_A_LOOK, (MemberNotFound,)
    return Call(f"remove {email} from {org_id}", request, repeat=repeat, settled_by=settled_by, takes_tokens=True)


def address(email: str) -> str:
    """Return an e-mail address as the server stores it; raises `ConfigurationError` if it is blank."""
    return stored_email(named(email, "e-mail address"))
