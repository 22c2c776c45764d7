"""The program: all commands put together."""

import itertools
import os
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from ..version import __version__
from . import (
    api_keys,
    apps,
    bundles,
    calibrate,
    channels,
    demo,
    devices,
    export,
    jobs,
    limits,
    members,
    orgs,
    sandbox,
    stats,
)
from .speech import without


class _Discreet(TyperGroup):
    """Cuts the key out of what is said of wrong usage, which repeats the words that it does not understand."""

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

    def _mask(self, error: Exception) -> None:
        # Exceptions of wrong usage have a message; which class they are depends on the version of typer.
        message = getattr(error, "message", None)
        if isinstance(message, str):
            error.message = without(self._secrets, message)  # type: ignore[attr-defined]  # as looked for above


def _keys_in(words: Sequence[str]) -> list[str]:
    """Return what stands behind `--api-key`."""
    following = [value for name, value in itertools.pairwise(words) if name == "--api-key"]
    return [*following, *(word.partition("=")[2] for word in words if word.startswith("--api-key="))]


program = typer.Typer(
    name="capgo-async",
    cls=_Discreet,
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


program.add_typer(api_keys.commands)
program.add_typer(apps.commands)
program.add_typer(bundles.commands)
program.add_typer(channels.commands)
program.add_typer(devices.commands)
program.add_typer(export.commands)
program.add_typer(jobs.commands)
program.add_typer(members.commands)
program.add_typer(orgs.commands)
program.add_typer(stats.commands)
sandbox.register(program)
demo.register(program)
calibrate.register(program)
limits.register(program)
