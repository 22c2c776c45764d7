"""The command, or another module, in processes of their own that start in 20 ms instead of half a second.

Each is forked from a server that has imported the command. It has its own id, memory, files and signals, and SIGKILL ends it
like any other. Two things differ from `python -m`: little is imported at the start, and the interpreter is not finalized at the
end. What depends on these has to be shown by a process that Python starts.
"""

import fcntl
import io
import multiprocessing
import os
import runpy
import sys
import tempfile
import termios
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Connection
from pathlib import Path
from subprocess import DEVNULL, PIPE
from types import TracebackType
from typing import IO, Final, Self

_FORKING: Final = multiprocessing.get_context("forkserver")
_FORKING.set_forkserver_preload(
    [
        *("capgo_async.http.transport", "capgo_async.http.direct", "capgo_async.bulk.inventory.exporting", "uvloop"),
        *(f"capgo_async.cli.commands.{name}" for name in ("channels", "devices", "export", "jobs")),
        *("rich.progress", "rich.table"),
    ]
)


class Forked:
    """A running module, with what its users need of `subprocess.Popen`. Streams are text; those not given are the null device.

    `words` are its arguments. `terminal` is the number of the standard stream that becomes the controlling terminal of a new
    session.
    """

    def __init__(  # noqa: PLR0913 - as subprocess.Popen
        self,
        *words: object,
        env: Mapping[str, str],
        cwd: Path,
        stdin: int = DEVNULL,
        stdout: int = DEVNULL,
        stderr: int = DEVNULL,
        terminal: int | None = None,
        module: str = "capgo_async",
    ) -> None:
        self.returncode: int | None = None
        self.stdout, out = _ends(stdout)
        self.stderr, err = _ends(stderr)
        streams = (_ends(stdin)[1], out, err)
        arguments = ([module, *map(str, words)], dict(env), cwd, streams, terminal)
        self._process = _FORKING.Process(target=_become, args=arguments, daemon=True)
        self._process.start()
        for stream in streams:
            stream.close()

    @property
    def pid(self) -> int:
        """Return the id of the process."""
        assert self._process.pid is not None
        return self._process.pid

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()

    def send_signal(self, number: int) -> None:
        """Send a signal, unless the process has ended."""
        if self._process.exitcode is None:
            os.kill(self.pid, number)

    def wait(self) -> int:
        """Wait for the end and return the exit code, or the negative number of the signal that ended it."""
        self._process.join()
        assert self._process.exitcode is not None
        self.returncode = self._process.exitcode
        return self.returncode

    def communicate(self) -> tuple[str, str]:
        """Wait for the end, and return what was written to both streams."""
        with ThreadPoolExecutor(1) as beside:
            err = beside.submit(self.stderr.read)
            out = self.stdout.read()
        with self:
            return out, err.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stdout.close()
        self.stderr.close()
        self.wait()


def _ends(given: int) -> tuple[IO[str], Connection]:
    """Return what this process reads of a stream, and what the command gets."""
    if given == PIPE:
        reading, writing = os.pipe()
        return os.fdopen(reading), Connection(writing)
    theirs = os.open(os.devnull, os.O_RDWR) if given == DEVNULL else os.dup(given)
    return io.StringIO(), Connection(theirs)


def _become(argv: list[str], env: Mapping[str, str], cwd: Path, streams: Sequence[Connection], terminal: int | None) -> None:
    for number, stream in enumerate(streams):
        os.dup2(stream.fileno(), number)
        stream.close()
    os.environ.clear()
    os.environ.update(env)
    time.tzset()
    tempfile.tempdir = None
    os.chdir(cwd)
    if terminal is not None:
        os.setsid()
        fcntl.ioctl(terminal, termios.TIOCSCTTY, 0)
    sys.argv = argv
    sys.stdin = open(0, closefd=False)  # noqa: SIM115 - a standard stream
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115 - a standard stream
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115 - a standard stream
    runpy.run_module(argv[0], run_name="__main__", alter_sys=True)
