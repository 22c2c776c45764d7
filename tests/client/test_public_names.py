"""The public surface: whoever changes it stores it anew, with the command that the first test prints."""

import importlib
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.util import find_spec
from types import FunctionType
from typing import Any, Literal, get_args, get_origin, get_type_hints

import aiohttp
import pytest
import surface

import capgo_async
from capgo_async import CapgoClient, CapgoError, errors

MISSING = () if find_spec("opentelemetry") else ("telemetry",)
"""What cannot be imported without an extra; the stored surface has it all the same."""
MODULES = [importlib.import_module(f"capgo_async.{name}".rstrip(".")) for name in surface.MODULES if name not in MISSING]


def test_the_surface_is_the_stored_one() -> None:
    assert surface.STORED.read_text() == surface.surface(), "if this change is meant, run: python tests/surface.py"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_a_public_module_shows_its_names_and_nothing_else(module: Any) -> None:
    assert dir(module) == sorted(module.__all__)
    assert len(set(module.__all__)) == len(module.__all__)
    assert all(hasattr(module, name) for name in module.__all__)
    with pytest.raises(AttributeError):
        _ = module.unknown


@pytest.mark.slow
def test_names_are_there_without_an_import_of_their_modules() -> None:
    """Ask in a new process, because other tests have imported them."""
    code = "import sys, capgo_async; print(*dir(capgo_async)); [getattr(capgo_async, name) for name in sys.argv[1:]]"
    order = ("limits", "NotFound", "models", "Device", "bulk", "CapgoClient", "sandbox", "events")
    shown = subprocess.run([sys.executable, "-c", code, *order], check=True, capture_output=True, text=True).stdout

    assert shown.split() == sorted(capgo_async.__all__)


def test_every_exception_can_be_imported_from_the_top() -> None:
    exceptions = {name for name, value in vars(errors).items() if isinstance(value, type) and issubclass(value, CapgoError)}

    assert exceptions <= set(capgo_async.__all__)
    assert exceptions <= set(errors.__all__)


# Types


MADE_BY_OTHERS = surface.MADE_BY_OTHERS
"""Classes whose constructors are no part of the public surface."""


def exported(*modules: Any) -> Iterator[object]:
    return (getattr(module, name) for module in modules for name in module.__all__)


def signatures_of(thing: object) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the type hints of everything public that a class or a function has."""
    if isinstance(thing, FunctionType):
        yield thing.__qualname__, get_type_hints(thing, localns={"aiohttp": aiohttp, "Transport": capgo_async.Transport})
    if not isinstance(thing, type):
        return
    yield thing.__qualname__, get_type_hints(thing)
    for name, member in vars(thing).items():
        function = getattr(member, "fget", None) or getattr(member, "__func__", member)
        if not name.startswith("_") or (name == "__init__" and thing.__name__ not in MADE_BY_OTHERS):
            yield from signatures_of(function) if isinstance(function, FunctionType) else ()


def types_in(hint: Any) -> Iterator[type]:
    if isinstance(hint, list | tuple):
        parts: Iterable[Any] = hint
    elif get_origin(hint) is Literal:
        parts = ()
    else:
        parts = (get_origin(hint), *get_args(hint)) if get_args(hint) else ()
    for part in parts:
        yield from types_in(part)
    if isinstance(hint, type):
        yield hint


def missing(things: Iterable[object], public: Iterable[object]) -> set[tuple[str, str]]:
    """Return the types of this package that signatures name and that cannot be imported, with the signatures."""
    known = {id(thing) for thing in public}
    return {
        (f"{found.__module__}.{found.__qualname__}", signature)
        for thing in things
        for signature, hints in signatures_of(thing)
        for name, hint in hints.items()
        for found in types_in(hint)
        if found.__module__.startswith("capgo_async") and id(found) not in known and not name.startswith("_")
    }


def test_every_type_of_a_public_signature_can_be_imported() -> None:
    assert missing(exported(*MODULES), exported(*MODULES)) == set()


def test_those_of_the_client_can_be_imported_from_the_top() -> None:
    events = {f"{capgo_async.events.__name__}.{name}" for name in capgo_async.events.__all__}
    found = missing(exported(capgo_async), exported(capgo_async))

    assert {(name, signature) for name, signature in found if name not in events} == set()
    client = CapgoClient(api_key="key")
    assert {type(value).__name__ for value in vars(client).values() if type(value).__name__ in surface.MADE_BY_OTHERS} <= set(
        capgo_async.__all__
    )
