"""Turns coroutine functions into commands.

Expands groups of options, runs the coroutine, handles signals and turns exceptions into messages and exit codes.
"""

import contextlib
import functools
import importlib.util
import inspect
import signal
import traceback
import typing
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from typing import Any, Final, NamedTuple, TypeVar

import anyio
import msgspec
import typer

from ..concurrency import alongside
from .options.group import Group
from .options.options import Output
from .output.exit_codes import ExitCode
from .output.failing import announce, code_of
from .output.logs import logged
from .output.speech import Speech

Command = TypeVar("Command", bound=Callable[..., Coroutine[Any, Any, int]])


_HANGUP: Final = getattr(signal, "SIGHUP", None)
"""Sent when the terminal closes or a connection of ssh is lost. Windows has no such signal."""


class Interruption:
    """Handles signals: each one calls the next of the current `steps`, or cancels the command."""

    def __init__(self, speech: Speech) -> None:
        self._speech = speech
        self._scope: anyio.CancelScope | None = None
        self._steps: list[Callable[[], None]] = []

    @contextlib.contextmanager
    def steps(self, *steps: Callable[[], None]) -> Iterator[None]:
        """Within the block, call the first step on the first signal, the second step on the second, and so on."""
        former, self._steps = self._steps, list(steps)
        try:
            yield
        finally:
            self._steps = former

    async def guard(self, action: Callable[[], Awaitable[int]]) -> int:
        """Run `action` and return its exit code, or 130 if it was cancelled."""
        with anyio.open_signal_receiver(*_handled()) as signals:
            return await alongside(lambda: self._listen(signals), lambda: self._stoppable(action))

    async def _listen(self, signals: AsyncIterator[signal.Signals]) -> None:
        hung_up = False
        async for received in signals:
            if received == _HANGUP:
                # A terminal that closes may send it twice, from the shell and from the system.
                if hung_up:
                    continue
                hung_up = True
            if self._steps:
                self._steps.pop(0)()
            elif self._scope is not None:
                self._scope.cancel()

    async def _stoppable(self, action: Callable[[], Awaitable[int]]) -> int:
        with anyio.CancelScope() as self._scope:
            return await action()
        self._speech.say("interrupted")
        return ExitCode.INTERRUPTED


def _handled() -> Iterator[signal.Signals]:
    yield from (signal.SIGINT, signal.SIGTERM)
    # `nohup` lets a command ignore it.
    if _HANGUP is not None and signal.getsignal(_HANGUP) is not signal.SIG_IGN:
        yield _HANGUP


class Invocation(NamedTuple):
    """One invocation of the command: its output, and its signals."""

    speech: Speech
    interruption: Interruption


def command(
    app: typer.Typer, name: str, *prints: type[msgspec.Struct], epilog: str | None = None, short: str | None = None
) -> Callable[[Command], Command]:
    """Register a coroutine function as a command.

    It takes an `Output` among its parameters and returns the exit code. `prints` are the types of what `--json` prints, whose
    schemas are published.

    A parameter of a `Group` type becomes the options of that group. A parameter of type `Invocation` is not an option.
    `short` is the line in the list of commands, in case the first sentence of the docstring is too long.
    """

    def register(function: Command) -> Command:
        call = _expanded(function)
        call.prints = prints  # type: ignore[attr-defined]  # for the command that shows the schemas
        app.command(name, epilog=epilog, short_help=short)(call)
        return function

    return register


def _expanded(function: Callable[..., Coroutine[Any, Any, int]]) -> Callable[..., None]:
    parameters = inspect.signature(function).parameters
    groups = {name: p.annotation for name, p in parameters.items() if _is_group(p.annotation)}
    invocations = [name for name, p in parameters.items() if p.annotation is Invocation]

    def call(**values: object) -> None:
        arguments: dict[str, object] = {
            name: group(**{field: values.pop(field) for field in group.__struct_fields__}) for name, group in groups.items()
        }
        output = next(value for value in arguments.values() if isinstance(value, Output))
        speech = output.speech()
        invocation = Invocation(speech, Interruption(speech))
        arguments |= values | dict.fromkeys(invocations, invocation)
        raise typer.Exit(_perform(functools.partial(function, **arguments), output, invocation))

    own = [p for name, p in parameters.items() if name not in groups and name not in invocations]
    expanded = [p.replace(kind=inspect.Parameter.KEYWORD_ONLY) for p in own]
    for group in groups.values():
        expanded += _parameters_of(group)
    call.__doc__ = function.__doc__
    call.__signature__ = inspect.Signature(expanded)  # type: ignore[attr-defined]  # how inspect is told
    call.__annotations__ = {p.name: p.annotation for p in expanded}
    return call


def _is_group(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, Group)


def _parameters_of(group: type[Group]) -> list[inspect.Parameter]:
    hints = typing.get_type_hints(group, include_extras=True)
    return [
        inspect.Parameter(field.name, inspect.Parameter.KEYWORD_ONLY, default=field.default, annotation=hints[field.name])
        for field in msgspec.structs.fields(group)
    ]


def _perform(action: Callable[[], Awaitable[int]], output: Output, invocation: Invocation) -> int:
    try:
        with (
            logged(invocation.speech, verbose=output.verbose, path=output.log_file),
            warnings.catch_warnings(),
        ):
            warnings.simplefilter("once", UserWarning)
            warnings.showwarning = lambda message, *_: invocation.speech.note(f"note: {message}")
            return anyio.run(invocation.interruption.guard, action, backend_options={"use_uvloop": _has_uvloop()})
    except KeyboardInterrupt:
        invocation.speech.say("interrupted")
        return ExitCode.INTERRUPTED
    except Exception as error:  # noqa: BLE001 - the last place that can turn it into a message
        if output.debug:
            invocation.speech.say("".join(traceback.format_exception(error)))
        invocation.speech.say(announce(error))
        return code_of(error)


def _has_uvloop() -> bool:
    return importlib.util.find_spec("uvloop") is not None
