"""Asks a command of the user whether the next wave of a job may begin."""

import errno
import os
import shlex
import shutil
import signal
import tempfile
from collections.abc import AsyncGenerator
from contextlib import aclosing
from pathlib import Path
from subprocess import PIPE, STDOUT
from typing import IO, Final

import anyio
import anyio.abc
import msgspec

from ...bulk import Answer, Decision, Question
from ...bulk.running.approval import ASK_AGAIN_SECONDS
from ...errors import ConfigurationError, Problem, SafetyStop
from ..output.speech import Speech

_ASK_AGAIN: Final = 75
"""Exit code with which the command puts its answer off: `EX_TEMPFAIL` of sysexits."""
_LONGEST_LINE: Final = 1000
"""A longer line of the command's output is printed in parts."""
_PROGRAMS: Final = (
    b"#!",
    b"\x7fELF",
    *(bytes.fromhex(magic) for magic in ("feedface", "feedfacf", "cefaedfe", "cffaedfe", "cafebabe", "cafebabf")),
)
"""How programs begin: scripts with an interpreter, and those of Linux and of macOS."""
_LONGEST_MAGIC: Final = 4
LAST_WORDS_SECONDS: Final = 1.0
"""How long output is read after the end of the command: what it started may hold the output open."""


class ApprovalCommand:
    """A command that decides by its exit code.

    It is started directly, not by a shell, and what it prints goes to stderr.

    Raises `ConfigurationError` if `text` is not a command that can be started.
    """

    def __init__(self, text: str, speech: Speech) -> None:
        self.text = text
        self._speech = speech
        try:
            self._words = shlex.split(text)
        except ValueError as error:
            message = f"invalid --approve {text}: {str(error).lower()}"
            raise ConfigurationError(message) from None
        found = shutil.which(self._words[0]) if self._words else None
        if found is None or not _is_program(found):
            why = "it is empty" if not self._words else f"{self._words[0]} is not a command"
            if found is not None:
                why = f"{found} is no program, and no script that begins with #!"
            message = f"--approve cannot be run: {why}"
            raise ConfigurationError(message)

    async def __call__(self, question: Question) -> Answer:
        """Run the command with `question` as JSON on its stdin. One that a signal ended has given no answer."""
        self._speech.note(f"wave {question.wave.number} is verified; asking for approval of wave {question.next_wave.number}")
        code = await self._run(msgspec.json.encode(question) + b"\n")
        if code < 0:
            how = f"was ended by {_name_of(-code)}"
            raise self._unanswered(how)
        if code == 0:
            self._speech.note(f"wave {question.next_wave.number} is approved")
            return Answer(Decision.APPROVED)
        if code == _ASK_AGAIN:
            self._speech.note(f"not yet approved; asking again in {ASK_AGAIN_SECONDS:.0f} s")
            return Answer(Decision.AGAIN)
        return Answer(Decision.DECLINED, f"exit code {code}")

    async def _run(self, question: bytes) -> int:
        # A file, because a pipe that the command does not read would be an error to handle.
        with tempfile.TemporaryFile() as file:
            try:
                file.write(question)
                file.seek(0)
                process = await self._started(file)
            except OSError as error:
                why = f"cannot be run: {error.strerror}"
                raise self._unanswered(why) from error
            # Leaving the block early, when the run is interrupted, ends the command.
            async with process, anyio.create_task_group() as group:
                group.start_soon(self._relay, process)
                code = await process.wait()
                group.cancel_scope.deadline = anyio.current_time() + LAST_WORDS_SECONDS
            return code

    async def _started(self, file: IO[bytes]) -> anyio.abc.Process:
        found = shutil.which(self._words[0])
        if found is not None and not _is_program(found):
            raise OSError(errno.ENOEXEC, os.strerror(errno.ENOEXEC))
        return await anyio.open_process(self._words, stdin=file, stdout=PIPE, stderr=STDOUT)

    async def _relay(self, process: anyio.abc.Process) -> None:
        """Print what the command prints, line by line."""
        assert process.stdout is not None  # noqa: S101 - it was asked for
        async with aclosing(_lines(process.stdout)) as lines:
            async for line in lines:
                self._speech.say(f"--approve: {line}")

    def _unanswered(self, what: str) -> SafetyStop:
        return SafetyStop(f"stopped between waves: the command of --approve {what}", problem=Problem.NOT_APPROVED)


def _is_program(path: str) -> bool:
    """Return whether the system itself can start a file.

    What it cannot start, such as a script without #!, event loops hand to a shell.
    """
    if os.name != "posix":
        return True
    try:
        with Path(path).open("rb") as file:
            return file.read(_LONGEST_MAGIC).startswith(_PROGRAMS)
    except OSError:
        # A shell could not read it either.
        return True


async def _lines(stream: anyio.abc.ByteReceiveStream) -> AsyncGenerator[str, None]:
    rest = b""
    async for data in stream:
        *lines, rest = (rest + data).split(b"\n")
        if len(rest) > _LONGEST_LINE:
            lines, rest = [*lines, rest], b""
        for line in lines:
            yield line.decode(errors="replace").rstrip("\r")
    if rest:
        yield rest.decode(errors="replace")


def _name_of(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
