"""`capgo-async api-keys`. A secret is shown once, on stdout, by the command that makes it."""

from typing import Annotated

import msgspec
import typer

from ...api.endpoints.api_keys import ApiKeySettings, NewApiKey
from ...api.models import ApiKey
from ...errors import ConfigurationError
from ..framework import Invocation, command
from ..job.asking import ask_before
from ..options.options import Connection, Yes
from ..options.settings import Settings, SomeSettings, names_of, read_settings
from ..output.exit_codes import ExitCode
from ..output.listing import print_item, print_items
from ..output.speech import Speech

commands = typer.Typer(name="api-keys", no_args_is_help=True)

KeyId = Annotated[str, typer.Argument(metavar="ID", help="The number of the key.", show_default=False)]
Name = Annotated[str, typer.Argument(metavar="NAME", help="What the key is for.", show_default=False)]


@command(commands, "list")
async def list_api_keys(connection: Connection, invocation: Invocation) -> int:
    """List the keys of the key's user, without their secrets."""
    async with connection.client() as client:
        keys = [_without_secret(key) async for key in client.api_keys.list()]
        columns = ("id", "name", "expires_at", "created_at", "rbac_id")
        return await print_items(keys, columns, invocation.speech)


@command(commands, "get")
async def get_api_key(key_id: KeyId, connection: Connection, invocation: Invocation) -> int:
    """Show one key, without its secret."""
    async with connection.client() as client:
        return print_item(_without_secret(await client.api_keys.get(_number(key_id))), invocation.speech)


@command(commands, "create", epilog=names_of(NewApiKey))
async def create_api_key(name: Name, connection: Connection, invocation: Invocation, settings: SomeSettings = None) -> int:
    """Make a key and show its secret, this once. Modern servers want a user's session token in place of the API key."""
    new = read_settings([*(settings or ()), f"name={name}"], NewApiKey)
    _check_reader(invocation.speech)
    async with connection.client() as client:
        return _print_secret(await client.api_keys.create(new), invocation.speech)


@command(commands, "update", epilog=names_of(ApiKeySettings))
async def update_api_key(key_id: KeyId, settings: Settings, connection: Connection, invocation: Invocation) -> int:
    """Change a key; no key can change itself."""
    changes = read_settings(settings, ApiKeySettings)
    async with connection.client() as client:
        return print_item(_without_secret(await client.api_keys.update(_number(key_id), changes)), invocation.speech)


@command(commands, "regenerate", short="Give a key another secret and show it, this once.")
async def regenerate_api_key(key_id: KeyId, connection: Connection, invocation: Invocation, *, yes: Yes = False) -> int:
    """Give a key another secret and show it, this once; the old one stops working."""
    number = _number(key_id)
    _check_reader(invocation.speech)
    await ask_before(f"Give API key {number} another secret", yes=yes)
    async with connection.client() as client:
        return _print_secret(await client.api_keys.regenerate(number), invocation.speech)


@command(commands, "delete")
async def delete_api_key(key_id: KeyId, connection: Connection, invocation: Invocation, *, yes: Yes = False) -> int:
    """Revoke a key; no key can revoke itself."""
    number = _number(key_id)
    await ask_before(f"Revoke API key {number}", yes=yes)
    async with connection.client() as client:
        await client.api_keys.delete(number)
    invocation.speech.done(f"revoked API key {number}", deleted=number)
    return ExitCode.OK


def _number(key_id: str) -> int:
    """Read the number of a key; what is none may be a key itself, and is not said back."""
    if not (key_id.isascii() and key_id.isdecimal()):
        message = "a key is named by its number, which `api-keys list` shows"
        raise ConfigurationError(message)
    return int(key_id)


def _check_reader(speech: Speech) -> None:
    if not speech.heard:
        message = "stdout is closed: nobody could read the secret, which is shown this once"
        raise ConfigurationError(message)


def _print_secret(key: ApiKey, speech: Speech) -> int:
    """Print a key with its secret; one that nobody could read is lost, and that is no success."""
    code = print_item(key, speech)
    if speech.heard:
        return code
    speech.say(f"nobody read the secret of API key {key.id}, and it is not shown again: regenerate the key")
    return ExitCode.STOPPED


def _without_secret(key: ApiKey) -> ApiKey:
    """Leave out the secret, which servers of the seed era show with every key."""
    return msgspec.structs.replace(key, key=None)
