"""The program with all its commands.

A command is imported when it is called, so that the others start faster.
"""

import functools
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
    """The module of a command, and its line in the list of commands."""

    module: str
    summary: str


COMMANDS: Final = {
    "sandbox": Entry("sandbox", "Serve the API on this machine, with made-up data."),
    "demo": Entry("demo", "Move 20,000 made-up devices to a channel, on a local server."),
    "calibrate": Entry("calibrate", "Measure latency, page size and rate limits, with reads only."),
    "limits": Entry("limits", "Show what earlier commands learned about servers and limits."),
    "api-keys": Entry("api_keys", "List, create, change and revoke API keys."),
    "apps": Entry("apps", "List, create, change and delete apps."),
    "bundles": Entry("bundles", "List, register, promote and delete bundles."),
    "channels": Entry("channels", "List, create, change and delete channels."),
    "devices": Entry("devices", "List devices, link them to channels and unlink them."),
    "export": Entry("export", "Write all devices, channels, bundles or apps to one file."),
    "job": Entry("jobs", "Show, run, verify and undo jobs."),
    "members": Entry("members", "List, invite and remove members of organizations."),
    "orgs": Entry("orgs", "List, create, change and delete organizations."),
    "schema": Entry("schema", "Show the JSON Schema of what commands print with --json."),
    "stats": Entry("stats", "Show usage of apps, and the versions on devices."),
}


class _Program(TyperGroup):
    """Imports a command when it is called.

    Messages about wrong usage hold no API key, and cannot control a terminal.
    """

    _secrets: tuple[str, ...] = ()

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        self._secrets = (os.environ.get("CAPGO_API_KEY", "").strip(), *_keys_in(args))
        try:
            return super().make_context(info_name, args, parent, **extra)
        except Exception as error:
            self._clean(error)
            raise

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except Exception as error:
            self._clean(error)
            raise

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        del ctx
        return _built(cmd_name) if cmd_name in COMMANDS else None

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        TyperGroup(commands=dict(self.commands)).format_commands(ctx, formatter)  # from the summaries, without importing

    def _clean(self, error: Exception) -> None:
        # Exceptions of wrong usage have a message; which class they are depends on the version of typer.
        message = getattr(error, "message", None)
        if isinstance(message, str):
            # Imported here because it brings msgspec, which help and version start faster without.
            from ..masking import Masks  # noqa: PLC0415
            from ..printable import printable  # noqa: PLC0415

            error.message = printable(Masks(self._secrets)(message))  # type: ignore[attr-defined]  # as looked for above


@functools.cache  # who runs many commands in one process, as tests do, builds each of them once
def _built(name: str) -> Any:
    entry = COMMANDS[name]
    holder = typer.Typer(rich_markup_mode=None)
    holder.add_typer(importlib.import_module(f".commands.{entry.module}", __package__).commands, help=entry.summary)
    return get_group(holder).commands[name]


def _keys_in(words: Sequence[str]) -> list[str]:
    """Return the values of `--api-key`."""
    following = [value for name, value in itertools.pairwise(words) if name == "--api-key"]
    return [*following, *(word.partition("=")[2] for word in words if word.startswith("--api-key="))]


_HELP: Final = """Manage Capgo apps, channels, bundles and devices.

Bulk changes run as jobs: planned, confirmed, sent within the server's limits, verified. A job can be resumed and undone.
"""

program = typer.Typer(
    name="capgo-async",
    cls=_Program,
    help=_HELP,
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _print_version(wanted: bool) -> None:  # noqa: FBT001 - the form that typer asks for
    if wanted:
        typer.echo(f"capgo-async {__version__}")
        raise typer.Exit


@program.callback()
def options(
    *,
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Handle the options of the program itself."""
    del version


for _name, _entry in COMMANDS.items():
    program.command(_name, short_help=_entry.summary)(lambda: None)  # a stand-in for the list of commands
