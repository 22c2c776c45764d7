"""The targets of a change: one by its name, those of a list, or one in every app that has it."""

from collections.abc import Callable, Sequence
from typing import Annotated, Final

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
    """The targets of a change, if it is more than one."""

    source: Annotated[
        str | None,
        Option("--from", metavar="SOURCE", help="Change all targets in this CSV or JSON Lines file (- for stdin)."),
    ] = None
    everywhere: Annotated[
        bool, Option("--everywhere", help="Change the target of this name in each --app, or in every app of the key.")
    ] = False

    @property
    def many(self) -> bool:
        """Whether the change becomes a job."""
        return self.source is not None or self.everywhere

    def split(self, words: Sequence[str] | None, *names: str) -> tuple[list[str], list[str]]:
        """Split the arguments into the names of the target and the rest; raises `ConfigurationError`.

        With `--everywhere` the names do not include the app, and with `--from` there are none.
        """
        if self.source is not None and self.everywhere:
            message = "--from and --everywhere cannot be combined"
            raise ConfigurationError(message)
        given = list(words or ())
        wanted = () if self.source is not None else names[1:] if self.everywhere else names
        if len(given) < len(wanted):
            message = f"pass {' '.join(wanted)}; for many, pass --from SOURCE or --everywhere"
            raise ConfigurationError(message)
        more = given[len(wanted) :]
        if self.everywhere and names[0] == "APP" and more and "=" not in more[0]:
            message = f"--everywhere takes no APP; limit it with --app {given[0]}"
            raise ConfigurationError(message)
        return given[: len(wanted)], more


def aimed(aim: Aim, form: Form, planning: Planning, make: Callable[[str], Operation], argument: str | None = None) -> Intended:
    """Return the changes of a list in `form`, or the operations from `make` for each app with the target."""
    if aim.source is not None:
        return read_rows(aim.source, form, app_id=planning.one_app(), argument=argument, layout=planning.layout())
    return lambda caller: from_operations(in_every_app(caller, make, planning.app or ()), name="one target in every app")


_OF_ONE: Final = ("yes", "end_rollouts")
"""Options of a plan that single changes take, too."""


def nothing_more(words: Sequence[str]) -> None:
    """Raise `ConfigurationError` if a command got more arguments than it takes."""
    if words:
        message = f"unexpected argument: {' '.join(words)}"
        raise ConfigurationError(message)


def only_one(planning: Planning, stopping: Stopping) -> None:
    """Raise `ConfigurationError` if a single change is given options of a job."""
    single = {name: value for name in _OF_ONE if (value := getattr(planning, name, None)) is not None}
    if planning != type(planning)(**single) or stopping != Stopping():
        message = "a single change takes no options of a job; for many changes, pass --from SOURCE or --everywhere"
        raise ConfigurationError(message)
