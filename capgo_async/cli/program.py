"""The program: all commands put together. A command is imported when it is called, so that all others start faster."""

import importlib
import itertools
import os
from collections.abc import Sequence
from typing import Annotated, Any, Final, NamedTuple

import typer
from typer.core import TyperGroup
from typer.main import get_group

from ..version import __version__


class Entry(NamedTuple):
    """Where a command is defined, and what the list of commands says of it."""

    module: str
    summary: str


COMMANDS: Final = {
    "sandbox": Entry("sandbox", "Serve the API on this machine, until interrupted."),
    "demo": Entry("demo", "Relink a made-up fleet, end to end, and prove it."),
    "calibrate": Entry("calibrate", "Find out what the server and the key allow, with reads alone."),
    "limits": Entry("limits", "Show what earlier commands learned of servers and keys."),
    "api-keys": Entry("api_keys", "Look at API keys, make, change and revoke them."),
    "apps": Entry("apps", "Look at apps, create, change and delete them."),
    "bundles": Entry("bundles", "Look at bundles, register, promote and delete them."),
    "channels": Entry("channels", "Look at channels, create, change and delete them."),
    "devices": Entry("devices", "Look at devices, link and unlink them."),
    "export": Entry("export", "Write everything of one kind, of many apps, to one file."),
    "job": Entry("jobs", "Look at a job, or go on with it."),
    "members": Entry("members", "Look at members of organizations, invite and remove them."),
    "orgs": Entry("orgs", "Look at organizations, create, change and delete them."),
    "stats": Entry("stats", "What apps used, and which versions devices have."),
}


class _Program(TyperGroup):
    """Imports a command when it is called, and cuts the API key out of messages about wrong usage, which quote the input."""

    _secrets: tuple[str, ...] = ()

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        self._secrets = (os.environ.get("CAPGO_API_KEY", "").strip(), *_keys_in(args))
        try:
            return super().make_context(info_name, args, parent, **extra)
        except Exception as error:
            self._mask(error)
            raise

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            self._mask(error)
            raise

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        del ctx
        if cmd_name not in COMMANDS:
            return None
        entry = COMMANDS[cmd_name]
        holder = typer.Typer(rich_markup_mode=None)
        holder.add_typer(importlib.import_module(f".commands.{entry.module}", __package__).commands, help=entry.summary)
        return get_group(holder).commands[cmd_name]

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        TyperGroup(commands=dict(self.commands)).format_commands(ctx, formatter)  # from the summaries, without importing

    def _mask(self, error: Exception) -> None:
        # Exceptions of wrong usage have a message; which class they are depends on the version of typer.
        message = getattr(error, "message", None)
        if isinstance(message, str):
            from .output.speech import without  # noqa: PLC0415 - brings msgspec, which help and version start faster without

            error.message = without(self._secrets, message)  # type: ignore[attr-defined]  # as looked for above


def _keys_in(words: Sequence[str]) -> list[str]:
    """Return what stands behind `--api-key`."""
    following = [value for name, value in itertools.pairwise(words) if name == "--api-key"]
    return [*following, *(word.partition("=")[2] for word in words if word.startswith("--api-key="))]


program = typer.Typer(
    name="capgo-async",
    cls=_Program,
    help="Speak to a Capgo server: look, change one thing, or change many and prove it.",
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _say_version(wanted: bool) -> None:  # noqa: FBT001 - the form that typer asks for
    if wanted:
        typer.echo(f"capgo-async {__version__}")
        raise typer.Exit


@program.callback()
def options(
    *,
    version: Annotated[bool, typer.Option("--version", callback=_say_version, is_eager=True, help="Say the version.")] = False,
) -> None:
    """Speak to a Capgo server: look, change one thing, or change many and prove it."""
    del version


for _name, _entry in COMMANDS.items():
    program.command(_name, short_help=_entry.summary)(lambda: None)  # a stand-in for the list of commands
