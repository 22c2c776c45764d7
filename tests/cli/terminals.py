"""Terminals of a width, and the command run on one."""

import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.served import Served, command, environment

ON_A_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(int(sys.argv[1]), termios.TIOCSCTTY, 0)
os.execv(sys.argv[2], sys.argv[2:])
"""
"""Make a terminal the controlling one of a new session, and become the command."""


_STYLES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    """A command whose three streams are a terminal, and what the terminal showed so far."""

    def __init__(self, master: int, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.shown = ""
        self._master = master

    def wait_for(self, text: str) -> None:
        while text not in self.shown:
            assert self._read(), self.shown

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def end(self) -> int:
        """Read until nobody has the terminal any more, and return the exit code."""
        while self._read():
            pass
        self.shown = _STYLES.sub("", self.shown)
        return self.process.wait()

    def lines(self) -> list[str]:
        return self.shown.replace("\r\n", "\n").split("\n")

    def _read(self) -> bool:
        try:
            chunk = os.read(self._master, 4096)
        except OSError:  # what Linux says in place of an end
            return False
        self.shown += chunk.decode(errors="replace")
        return bool(chunk)


@contextmanager
def terminal(*arguments: str | Path, server: Served, cwd: Path, columns: int = 80) -> Iterator[Terminal]:
    master, slave = os.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    kept = {name: value for name, value in environment(server).items() if name not in {"COLUMNS", "LINES"}}
    with subprocess.Popen(
        [sys.executable, "-c", ON_A_TERMINAL, str(slave), *command(*arguments)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        env={**kept, "TERM": "xterm"},
        cwd=cwd,
        pass_fds=[slave],
        start_new_session=True,
    ) as process:
        os.close(slave)
        try:
            yield Terminal(master, process)
        finally:
            process.kill()
            os.close(master)
