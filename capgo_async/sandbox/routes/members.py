"""All /organization/members routes (contract C2)."""

from collections.abc import Mapping
from typing import Final

from ..exchange import Refusal, no_single_row
from ..state.access import RANKS, Key
from ..state.organizations import SUPER_ADMIN, Invitation, Member, Organization
from ..validation import Rule, email, one_of, text, validate
from .call import Call

_LEGACY: Final = ("read", "upload", "write", "admin", "super_admin")
_OFFERED: Final = (
    "org_member", "org_billing_admin", "org_admin", SUPER_ADMIN, *_LEGACY, *(f"invite_{word}" for word in _LEGACY)
)  # fmt: skip
_MODERN: Final[Mapping[str, str]] = {
    "read": "org_member",
    "upload": "org_member",
    "write": "org_member",
    "admin": "org_admin",
    "super_admin": SUPER_ADMIN,
}
_OLD: Final[Mapping[str, str]] = {"org_admin": "admin", SUPER_ADMIN: "super_admin"}

_LOOK: Final[Mapping[str, Rule]] = {"orgId": text()}
_REMOVAL: Final[Mapping[str, Rule]] = {"orgId": text(), "email": email}


def list_members(call: Call) -> object:
    """List members and open invitations, in no defined order."""
    organization = call.organization("org.read_members", validate(call.parameters, _LOOK)["orgId"])
    people: list[Member | Invitation] = list(organization.members.values())
    people += [invitation for invitation in organization.invitations.values() if invitation.open(call.now)]
    return call.enveloped([_row(call, person) for person in people])


def invite_member(call: Call) -> object:
    """Offer a role to an account; members and those already invited keep their present role."""
    docs = call.settings.generation == "docs"
    word = "role" if docs else "invite_type"
    sent = validate(call.parameters, {**_REMOVAL, word: one_of(_OFFERED)})
    organization = call.organization("org.invite_user", sent["orgId"])
    address, offered = str(sent["email"]), str(sent[word]).removeprefix("invite_")
    role = _MODERN.get(offered, offered)
    user = call.world.organizations.users.get(address)
    reason = "NO_EMAIL" if user is None else organization.inviting_fails_with(address, call.now)
    if reason is None and RANKS[role] > call.caller.rank(organization.id):
        reason = "NO_RIGHTS"
    if user is None or reason is not None:
        message = "Error inviting user to organization"
        raise Refusal(400, "error_inviting_user_to_organization", message, {"data": reason})
    invitation = organization.invite(address, role, user.id, call.now)
    new = {"user_id": user.id, "org_id": organization.id, "rbac_role_name": role}
    call.world.record(organization.id, "org_users", "INSERT", user.id, None, new, key=call.caller, now=call.now)
    if docs:
        return {"status": "OK", "data": _row(call, invitation)}
    return {"status": "OK" if call.settings.generation == "seed" else "ok"}


def remove_member(call: Call) -> object:
    """Remove a member or an invitation.

    Removing the last super admin deletes the organization (contract D50).
    """
    sent = validate(call.parameters, _REMOVAL)
    address = str(sent["email"])
    user = call.world.organizations.users.get(address)
    themselves = user is not None and user.id == call.caller.user_id and not isinstance(call.caller, Key)
    organization = call.organization("org.read" if themselves else "org.update_user_roles", sent["orgId"])
    if user is None:
        raise Refusal(404, "user_not_found", "User not found", {"error": no_single_row()})
    gone = {"status": "ok" if call.settings.is_modern else "OK"}
    member, invitation = organization.members.get(address), organization.invitations.get(address)
    if member is None and (invitation is None or not invitation.open(call.now)):
        if call.settings.generation == "seed":
            return gone  # contract C2: before 12.198 this was not checked
        more = {"orgId": organization.id, "email": address}
        raise Refusal(404, "organization_member_not_found", "User is not a member of this organization", more)
    if member is None:
        del organization.invitations[address]
    else:
        _check_removal(call, organization, member)
        _remove(call, organization, member)
    old = {"user_id": user.id, "org_id": organization.id}
    if call.world.organizations.get(organization.id) is not None:
        call.world.record(organization.id, "org_users", "DELETE", user.id, old, None, now=call.now)
    return gone


def _check_removal(call: Call, organization: Organization, member: Member) -> None:
    if RANKS[member.role] > call.caller.rank(organization.id) and call.caller.user_id != member.user.id:
        message = "You cannot remove a member with a higher role than yours"
        raise Refusal(403, "cannot_delete_higher_priority_role", message)
    others = organization.super_admins_beside(member.user.email)
    if member.role == SUPER_ADMIN and others and all(other.expires_at is not None for other in others):
        raise Refusal(400, "CANNOT_REMOVE_LAST_SUPER_ADMIN", "Cannot remove the last super admin")


def _remove(call: Call, organization: Organization, member: Member) -> None:
    if member.role == SUPER_ADMIN and not organization.super_admins_beside(member.user.email):
        call.world.delete_organization(organization.id)
        return
    del organization.members[member.user.email]
    call.world.keys.unbind(organization.id, member.user.id)


def _row(call: Call, person: Member | Invitation) -> dict[str, object]:
    pending = isinstance(person, Invitation)
    uid, address = (person.uid, person.email) if isinstance(person, Invitation) else (person.user.id, person.user.email)
    row: dict[str, object] = {"uid": uid, "email": address, "image_url": "", "role": person.role}
    if call.settings.is_modern:
        return {**row, "is_tmp": pending}
    old = _OLD.get(person.role, "read")
    picture = None if call.settings.generation == "docs" else ""
    return {**row, "image_url": picture, "role": f"invite_{old}" if pending else old}
