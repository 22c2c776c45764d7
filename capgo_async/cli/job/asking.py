"""Asks on the terminal, which is not stdin: that may be the source."""

import contextlib
import os
import select
from pathlib import Path
from typing import Final

from anyio import to_thread

from ...errors import ConfigurationError
from ..output.failing import Declined

TERMINAL = Path("/dev/tty")
_GLANCE: Final = 0.2
"""Seconds after which a wait for the answer looks whether it is still wanted."""


async def ask_before(action: str, *, yes: bool) -> None:
    """Ask on the terminal whether to do `action`, unless `yes`.

    Raises `Declined`, or `ConfigurationError` where there is no terminal.
    """
    if yes:
        return
    question = Question("--yes does it without a question")
    try:
        if not await question.confirmed(f"{action}?"):
            message = "declined: nothing was changed"
            raise Declined(message)
    finally:
        question.close()


class Question:
    """An open terminal, to be asked one question."""

    def __init__(self, otherwise: str = "--yes sends without a question, --plan-only stops after the plan") -> None:
        try:
            self._terminal = os.open(TERMINAL, os.O_RDWR | os.O_NOCTTY)
        except OSError as error:
            message = f"there is no terminal to ask on: {otherwise}"
            raise ConfigurationError(message) from error

    def close(self) -> None:
        """Let go of the terminal."""
        os.close(self._terminal)

    async def confirmed(self, question: str) -> bool:
        """Ask, and tell whether the answer is yes; a terminal that goes away says no."""
        return (await self._answer_to(f"{question} [y/N] ")).lower() in {"y", "yes"}

    async def confirmed_by(self, number: int, question: str) -> bool:
        """Ask for a number to be typed, and tell whether it was; a terminal that goes away says no."""
        answer = await self._answer_to(f"{question} [type the number of operations] ")
        return answer.replace(",", "") == str(number)

    async def _answer_to(self, question: str) -> str:
        answer = b""
        try:
            os.write(self._terminal, question.encode())
            while not await to_thread.run_sync(self._answered):
                pass
            answer = os.read(self._terminal, 1024)
        except OSError:
            return ""
        finally:
            # Where nobody pressed return, what is said next would go on in the question's line.
            if not answer.endswith(b"\n"):
                with contextlib.suppress(OSError):
                    os.write(self._terminal, b"\n")
        return answer.decode(errors="replace").strip()

    def _answered(self) -> bool:
        return bool(select.select([self._terminal], [], [], _GLANCE)[0])
