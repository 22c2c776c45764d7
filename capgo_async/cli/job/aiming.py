"""What a change is aimed at: one target by its name, those of a list, or one in every app that has it."""

from collections.abc import Callable, Sequence
from typing import Annotated

from typer import Option

from ...bulk import Operation, from_operations
from ...bulk.operations.forms import Form
from ...bulk.planning.everywhere import in_every_app
from ...bulk.sources.source import read_rows
from ...errors import ConfigurationError
from ..options.group import Group
from ..options.options import Planning
from ..options.stopping import Stopping
from .changing import Intended


class Aim(Group, frozen=True, kw_only=True):
    """Where a change goes, if not to one target."""

    source: Annotated[
        str | None,
        Option("--from", metavar="SOURCE", help="The targets of a CSV or JSON Lines file, - for stdin, in place of a name."),
    ] = None
    everywhere: Annotated[
        bool, Option("--everywhere", help="The target of that name in each --app, or in every app of the key, that has it.")
    ] = False

    @property
    def many(self) -> bool:
        """Tell whether the change becomes a job."""
        return self.source is not None or self.everywhere

    def split(self, words: Sequence[str] | None, *names: str) -> tuple[list[str], list[str]]:
        """Return the names of the target, the app first, and the words behind them; raises `ConfigurationError`.

        In every app there is no name of one, and with a list none at all.
        """
        if self.source is not None and self.everywhere:
            message = "--from and --everywhere are two ways to say where: choose one"
            raise ConfigurationError(message)
        given = list(words or ())
        wanted = () if self.source is not None else names[1:] if self.everywhere else names
        if len(given) < len(wanted):
            message = f"name {' and '.join(wanted)}, or say where with --from SOURCE or --everywhere"
            raise ConfigurationError(message)
        return given[: len(wanted)], given[len(wanted) :]


def aimed(aim: Aim, form: Form, planning: Planning, make: Callable[[str], Operation], argument: str | None = None) -> Intended:
    """Return the changes of a list in `form`, or what `make` makes of each app that has its target."""
    if aim.source is not None:
        return read_rows(aim.source, form, app_id=planning.one_app(), argument=argument)
    return lambda caller: from_operations(in_every_app(caller, make, planning.app or ()), name="one target in every app")


def nothing_more(words: Sequence[str]) -> None:
    """Raise `ConfigurationError` where a command got more words than it takes."""
    if words:
        message = f"{' '.join(words)!r} is one word too many"
        raise ConfigurationError(message)


def only_one(planning: Planning, stopping: Stopping) -> None:
    """Raise `ConfigurationError` where one change is given options of a job."""
    if planning != type(planning)(yes=planning.yes) or stopping != Stopping():
        message = "one change takes no options of a plan: say where with --from SOURCE or --everywhere for many"
        raise ConfigurationError(message)
