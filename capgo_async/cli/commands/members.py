"""The commands of `capgo-async members`."""

from typing import Annotated

import msgspec
import typer

from ...api.models import Member
from ...bulk import from_operations
from ...bulk.operations.forms import REMOVING_MEMBERS
from ...bulk.planning.everywhere import in_every_organization
from ...bulk.sources.source import read_rows
from ...errors import ConfigurationError
from ..framework import Invocation, command
from ..job.aiming import Aim, nothing_more
from ..job.asking import ask_before
from ..job.changing import Intended, change_many
from ..job.reporting import OF_A_JOB
from ..options.options import Connection, OrgId, Planning, Yes
from ..options.settings import word_of
from ..options.stopping import Stopping
from ..output.exit_codes import ExitCode
from ..output.listing import print_listing

commands = typer.Typer(name="members", no_args_is_help=True)


class MemberInvited(msgspec.Struct, frozen=True, kw_only=True):
    """A user was invited to an organization."""

    org_id: str
    email: str
    role: str


class MemberRemoved(msgspec.Struct, frozen=True, kw_only=True):
    """A member, or an invitation, was removed from an organization: the email address."""

    org_id: str
    removed: str


Email = Annotated[str, typer.Argument(metavar="EMAIL", help="The e-mail address of the member.", show_default=False)]
Role = Annotated[str, typer.Argument(metavar="ROLE", help="The role, such as org_member or org_admin.", show_default=False)]
Somebody = Annotated[
    str | None, typer.Argument(metavar="EMAIL", help="The e-mail address; only with --everywhere.", show_default=False)
]
Confirm = Annotated[
    str | None,
    typer.Option(
        "--confirm",
        metavar="ORG",
        help="The organization id again, to remove even the last super admin, which deletes the organization.",
    ),
]


@command(commands, "list", Member)
async def list_members(org_id: OrgId, connection: Connection, invocation: Invocation) -> int:
    """List the members and open invitations of an organization."""
    async with connection.client() as client:
        return await print_listing(client.members.list(org_id), ("email", "role", "is_tmp", "uid"), invocation.speech)


@command(commands, "invite", MemberInvited, short="Invite a user who has an account.")
async def invite_member(org_id: OrgId, email: Email, role: Role, connection: Connection, invocation: Invocation) -> int:
    """Invite a user who has an account. Does not change the role of a member."""
    word = word_of(role)
    async with connection.client() as client:
        await client.members.invite(org_id, email, word)  # type: ignore[arg-type]  # the client checks it
    invocation.speech.done(f"invited {email} to {org_id} as {word}", MemberInvited(org_id=org_id, email=email, role=str(word)))
    return ExitCode.OK


@command(commands, "remove", MemberRemoved, short="Remove a member or an open invitation.")
async def remove_member(
    org_id: OrgId, email: Email, connection: Connection, invocation: Invocation, confirm: Confirm = None, *, yes: Yes = False
) -> int:
    """Remove a member, or the open invitation of somebody who has an account.

    Removing the last super admin needs --confirm. The invitation of somebody without an account can only be cancelled in the
    console, or expires 7 days after it was sent.
    """
    await ask_before(f"Remove {email} from {org_id}", yes=yes or confirm is not None)
    async with connection.client() as client:
        await client.members.remove(org_id, email, confirm=confirm)
    invocation.speech.done(f"removed {email} from {org_id}", MemberRemoved(org_id=org_id, removed=email))
    return ExitCode.OK


@command(commands, "remove-many", *OF_A_JOB, short="Remove members from many organizations, as a job.")
async def remove_members(
    aim: Aim, planning: Planning, stopping: Stopping, connection: Connection, invocation: Invocation, email: Somebody = None
) -> int:
    """Remove members from many organizations, as a job.

    Never removes the last super admin of an organization.

    --from names a list with the columns org_id and email. --everywhere EMAIL removes EMAIL from every organization.
    """
    if not aim.many:
        message = "pass --from SOURCE or --everywhere EMAIL; to remove one member, use `members remove ORG EMAIL`"
        raise ConfigurationError(message)
    names, more = aim.split([email] if email else [], "ORG", "EMAIL")
    nothing_more(more)
    return await change_many(_removals(aim, names, planning), "remove", planning, stopping, connection, invocation)


def _removals(aim: Aim, names: list[str], planning: Planning) -> Intended:
    if aim.source is not None:
        return read_rows(aim.source, REMOVING_MEMBERS, layout=planning.layout())
    (email,) = names
    return lambda caller: from_operations(in_every_organization(caller, email), name=f"members {email}")
