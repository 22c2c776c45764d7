"""The commands of `capgo-async orgs`."""

from typing import Annotated

import msgspec
import typer

from ...api.endpoints.organizations import AuditFilter, NewOrganization, OrganizationSettings
from ...api.models import AuditEntry, Organization
from ...api.words import AuditOperation, AuditTable
from ..framework import Invocation, command
from ..job.asking import ask_before
from ..options.options import Connection, OrgId, Yes
from ..options.settings import Settings, SomeSettings, names_of, read_settings
from ..output.exit_codes import ExitCode
from ..output.listing import print_item, print_listing

commands = typer.Typer(name="orgs", no_args_is_help=True)


class OrganizationDeleted(msgspec.Struct, frozen=True):
    """An organization was deleted: its id."""

    deleted: str


Name = Annotated[str, typer.Argument(metavar="NAME", help="The name of the organization.", show_default=False)]


Table = Annotated[AuditTable | None, typer.Option("--table", help="List only changes of this table.")]
Operation = Annotated[AuditOperation | None, typer.Option("--operation", help="List only changes of this kind.")]


@command(commands, "list", Organization)
async def list_organizations(connection: Connection, invocation: Invocation) -> int:
    """List the organizations that the key can see."""
    async with connection.client() as client:
        columns = ("id", "name", "management_email", "created_at")
        return await print_listing(client.organizations.list(), columns, invocation.speech)


@command(commands, "get", Organization)
async def get_organization(org_id: OrgId, connection: Connection, invocation: Invocation) -> int:
    """Show one organization."""
    async with connection.client() as client:
        return print_item(await client.organizations.get(org_id), invocation.speech)


@command(commands, "create", Organization, epilog=names_of(NewOrganization))
async def create_organization(name: Name, connection: Connection, invocation: Invocation, settings: SomeSettings = None) -> int:
    """Create an organization."""
    new = read_settings([*(settings or ()), f"name={name}"], NewOrganization)
    async with connection.client() as client:
        return print_item(await client.organizations.create(new), invocation.speech)


@command(commands, "update", Organization, epilog=names_of(OrganizationSettings), short="Change an organization.")
async def update_organization(org_id: OrgId, settings: Settings, connection: Connection, invocation: Invocation) -> int:
    """Change an organization. Never creates one, whatever the server's generation."""
    changes = read_settings(settings, OrganizationSettings)
    async with connection.client() as client:
        return print_item(await client.organizations.update(org_id, changes), invocation.speech)


@command(commands, "delete", OrganizationDeleted, short="Delete an organization and everything in it.")
async def delete_organization(org_id: OrgId, connection: Connection, invocation: Invocation, *, yes: Yes = False) -> int:
    """Delete an organization with all its apps, channels, bundles and members. This cannot be undone."""
    await ask_before(f"Delete organization {org_id} and everything in it", yes=yes)
    async with connection.client() as client:
        await client.organizations.delete(org_id)
    invocation.speech.done(f"deleted organization {org_id}", OrganizationDeleted(org_id))
    return ExitCode.OK


@command(commands, "audit", AuditEntry, short="List the changes in an organization.")
async def list_audit(
    org_id: OrgId,
    connection: Connection,
    invocation: Invocation,
    table: Table = None,
    operation: Operation = None,
) -> int:
    """List the changes in an organization in the last 90 days, newest first."""
    chosen = AuditFilter(table=table, operation=operation)
    async with connection.client() as client:
        columns = ("created_at", "table_name", "operation", "record_id", "actor_type", "actor_apikey_name", "actor_user_email")
        return await print_listing(client.organizations.audit_log(org_id, chosen), columns, invocation.speech)
