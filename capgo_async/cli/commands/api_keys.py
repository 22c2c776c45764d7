"""The commands of `capgo-async api-keys`.

A secret is shown once, on stdout, by the command that creates it.
"""

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


class ApiKeyDeleted(msgspec.Struct, frozen=True):
    """An API key was revoked: its number."""

    deleted: int


KeyId = Annotated[
    str, typer.Argument(metavar="ID", help="The number of the key, as `api-keys list` shows it.", show_default=False)
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="A name for the key.", show_default=False)]


@command(commands, "list", ApiKey)
async def list_api_keys(connection: Connection, invocation: Invocation) -> int:
    """List the API keys of the user, without their secrets."""
    async with connection.client() as client:
        keys = [_without_secret(key) async for key in client.api_keys.list()]
        columns = ("id", "name", "expires_at", "created_at", "rbac_id")
        return await print_items(keys, columns, invocation.speech)


@command(commands, "get", ApiKey)
async def get_api_key(key_id: KeyId, connection: Connection, invocation: Invocation) -> int:
    """Show one API key, without its secret."""
    async with connection.client() as client:
        return print_item(_without_secret(await client.api_keys.get(_number(key_id))), invocation.speech)


@command(commands, "create", ApiKey, epilog=names_of(NewApiKey))
async def create_api_key(name: Name, connection: Connection, invocation: Invocation, settings: SomeSettings = None) -> int:
    """Create an API key and show its secret once.

    Modern servers let only a signed-in user create keys: pass the token of the user's session (a JWT) as --api-key or
    CAPGO_API_KEY.
    """
    new = read_settings([*(settings or ()), f"name={name}"], NewApiKey)
    _check_reader(invocation.speech)
    async with connection.client() as client:
        return _print_secret(await client.api_keys.create(new), invocation.speech)


@command(commands, "update", ApiKey, epilog=names_of(ApiKeySettings))
async def update_api_key(key_id: KeyId, settings: Settings, connection: Connection, invocation: Invocation) -> int:
    """Change an API key. A key cannot change itself."""
    changes = read_settings(settings, ApiKeySettings)
    async with connection.client() as client:
        return print_item(_without_secret(await client.api_keys.update(_number(key_id), changes)), invocation.speech)


@command(commands, "regenerate", ApiKey, short="Replace the secret of a key and show it once.")
async def regenerate_api_key(key_id: KeyId, connection: Connection, invocation: Invocation, *, yes: Yes = False) -> int:
    """Replace the secret of an API key and show it once. The old secret stops working."""
    number = _number(key_id)
    _check_reader(invocation.speech)
    await ask_before(f"Replace the secret of API key {number}", yes=yes)
    async with connection.client() as client:
        return _print_secret(await client.api_keys.regenerate(number), invocation.speech)


@command(commands, "delete", ApiKeyDeleted)
async def delete_api_key(key_id: KeyId, connection: Connection, invocation: Invocation, *, yes: Yes = False) -> int:
    """Revoke an API key. A key cannot revoke itself."""
    number = _number(key_id)
    await ask_before(f"Revoke API key {number}", yes=yes)
    async with connection.client() as client:
        await client.api_keys.delete(number)
    invocation.speech.done(f"revoked API key {number}", ApiKeyDeleted(number))
    return ExitCode.OK


def _number(key_id: str) -> int:
    """Return the number of a key. Anything else may be a secret, so the error does not repeat it."""
    if not (key_id.isascii() and key_id.isdecimal()):
        message = "pass the number of the key, as `api-keys list` shows it"
        raise ConfigurationError(message)
    return int(key_id)


def _check_reader(speech: Speech) -> None:
    if not speech.heard:
        message = "stdout is closed, and the secret is shown only once: nothing was changed"
        raise ConfigurationError(message)


def _print_secret(key: ApiKey, speech: Speech) -> int:
    """Print a key with its secret. A secret that could not be printed is lost, so that is an error."""
    code = print_item(key, speech)
    if speech.heard:
        return code
    speech.say(
        f"the secret of API key {key.id} could not be printed and is lost; run `api-keys regenerate {key.id}` for another one"
    )
    return ExitCode.STOPPED


def _without_secret(key: ApiKey) -> ApiKey:
    """Leave out the secret, which servers until March 2025 send with every key."""
    return msgspec.structs.replace(key, key=None)
