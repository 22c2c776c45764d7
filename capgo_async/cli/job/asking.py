"""Asks for confirmation on the terminal. Stdin may be the source of a job, so it is not read."""

import contextlib
import os
import select
from pathlib import Path
from typing import Final

from anyio import to_thread

from ...errors import ConfigurationError
from ...printable import printable
from ..output.failing import Declined

TERMINAL = Path("/dev/tty")
_GLANCE: Final = 0.2
"""Seconds between two checks whether the wait for an answer was cancelled."""


async def ask_before(action: str, *, yes: bool) -> None:
    """Ask on the terminal whether to do `action`, unless `yes`.

    Raises `Declined`, or `ConfigurationError` if there is no terminal.
    """
    if yes:
        return
    question = Question(f"{action}? To do it without asking, pass --yes")
    try:
        if not await question.confirmed(f"{action}?"):
            message = "declined; nothing was changed"
            raise Declined(message)
    finally:
        question.close()


class Question:
    """An open terminal for one question."""

    def __init__(self, otherwise: str) -> None:
        try:
            self._terminal = os.open(TERMINAL, os.O_RDWR | os.O_NOCTTY)
        except OSError as error:
            message = f"there is no terminal to ask for confirmation: {otherwise}"
            raise ConfigurationError(message) from error

    def close(self) -> None:
        """Close the terminal."""
        os.close(self._terminal)

    async def confirmed(self, question: str) -> bool:
        """Ask, and return whether the answer is yes. A terminal that disappears counts as no."""
        return (await self._answer_to(f"{question} [y/N] ")).lower() in {"y", "yes"}

    async def confirmed_by(self, number: int, question: str) -> bool:
        """Ask for a number, and return whether it was typed. A terminal that disappears counts as no."""
        answer = await self._answer_to(f"{question} [type the number of operations] ")
        return answer.replace(",", "") == str(number)

    async def _answer_to(self, question: str) -> str:
        answer = b""
        try:
            os.write(self._terminal, printable(question).encode())
            while not await to_thread.run_sync(self._answered):
                pass
            answer = os.read(self._terminal, 1024)
        except OSError:
            return ""
        finally:
            # Without this, the next message would continue on the line of the question.
            if not answer.endswith(b"\n"):
                with contextlib.suppress(OSError):
                    os.write(self._terminal, b"\n")
        return answer.decode(errors="replace").strip()

    def _answered(self) -> bool:
        return bool(select.select([self._terminal], [], [], _GLANCE)[0])
