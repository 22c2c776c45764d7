"""The command `capgo-async schema`: the form of what `--json` prints, and of what --approve asks."""

import importlib
import re
from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Final

import msgspec
import typer

from ...bulk import Question
from ...errors import ConfigurationError
from ...events import Event
from ..framework import Invocation, command
from ..job.streaming import EventLine
from ..options.options import Output
from ..output.exit_codes import ExitCode
from ..output.listing import print_items
from ..program import COMMANDS

commands = typer.Typer()

_DRAFT: Final = "https://json-schema.org/draft/2020-12/schema"
HANDED: Final[Mapping[type[msgspec.Struct], tuple[str, ...]]] = {Question: ("--approve",)}
"""What commands of the user read on stdin, with the options that name these commands."""
_INNER_CAPITAL: Final = re.compile(r"(?<!^)(?=[A-Z])")

Name = Annotated[
    str | None, typer.Argument(metavar="NAME", help="The document.  [default: list the names]", show_default=False)
]


class SchemaName(msgspec.Struct, frozen=True, kw_only=True):
    """The name of a document, and the commands that print it, or the option whose command reads it."""

    name: str
    printed_by: tuple[str, ...]


@command(commands, "schema", SchemaName)
async def show_schema(output: Output, invocation: Invocation, name: Name = None) -> int:
    """Show the JSON Schema of what commands print with --json, and of what --approve asks.

    Without NAME, lists the names. A command prints one document, or one line for each item of a listing. Newer versions may add
    fields.
    """
    del output
    documents = {**printed(), **HANDED}
    if name is None:
        names = [SchemaName(name=name_of(type_), printed_by=by) for type_, by in documents.items()]
        return await print_items(sorted(names, key=lambda each: each.name), SchemaName.__struct_fields__, invocation.speech)
    found = next((type_ for type_ in documents if name_of(type_) == name), None)
    if found is None:
        message = f"no schema named {name}; `capgo-async schema` lists the names"
        raise ConfigurationError(message)
    invocation.speech.show(msgspec.json.format(msgspec.json.encode(schema_of(found)), indent=2).decode())
    return ExitCode.OK


def schema_of(document: type[msgspec.Struct]) -> Mapping[str, Any]:
    """Return the JSON Schema of a document."""
    if document is not EventLine:
        return {"$schema": _DRAFT, **msgspec.json.schema(document)}
    both, parts = msgspec.json.schema_components((EventLine, Event), ref_template="#/$defs/{name}")
    return {"$schema": _DRAFT, "allOf": list(both), "$defs": parts}


def name_of(document: type[msgspec.Struct]) -> str:
    """Return the name of a document, such as `job-plan` for `JobPlan`."""
    return _INNER_CAPITAL.sub("-", document.__name__).lower()


def printed() -> Mapping[type[msgspec.Struct], tuple[str, ...]]:
    """Return every document that commands print, with these commands."""
    found: dict[type[msgspec.Struct], tuple[str, ...]] = {}
    for words, types in _printing():
        for type_ in types:
            found[type_] = (*found.get(type_, ()), words)
    return found


def _printing() -> Iterator[tuple[str, tuple[type[msgspec.Struct], ...]]]:
    for group, entry in COMMANDS.items():
        module = importlib.import_module(f".{entry.module}", __package__)
        for registered in module.commands.registered_commands:
            words = group if registered.name == group else f"{group} {registered.name}"
            yield words, registered.callback.prints
