"""Terminals of a width, and the command run on one."""

import fcntl
import os
import re
import struct
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from cli.served import Served, environment

from benchmarks.forked import Forked

_STYLES = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")


class Terminal:
    """A command whose three streams are a terminal, and what the terminal showed so far."""

    def __init__(self, master: int, process: Forked) -> None:
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
    environ = {**kept, "TERM": "xterm"}
    with Forked(*arguments, stdin=slave, stdout=slave, stderr=slave, env=environ, cwd=cwd, terminal=0) as process:
        os.close(slave)
        try:
            yield Terminal(master, process)
        finally:
            process.kill()
            os.close(master)
