"""The program: all commands put together."""

from typing import Annotated

import typer

from ..version import __version__
from . import api_keys, apps, bundles, channels, demo, devices, jobs, members, orgs, sandbox, stats

program = typer.Typer(
    name="capgo-async",
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
program.add_typer(jobs.commands)
program.add_typer(members.commands)
program.add_typer(orgs.commands)
program.add_typer(stats.commands)
sandbox.register(program)
demo.register(program)
