"""The names of a job's files, and the lock that lets only one process use a job."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import filelock

from ...errors import JobError, Problem

LOCK: Final = ".lock"
"""Suffix of a job's lock file. The file outlives the run, and reserves the job's name."""
_LOGS: Final = ("-wal", "-shm", "-journal")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of the job at `path`.

    Raises `JobError` if another process holds it, or if the lock file cannot be created.
    """
    # A symbolic link to a job is the same job, so both must use the same lock file.
    path = path.resolve()
    if not path.parent.is_dir():
        message = f"cannot write {path}: there is no directory {path.parent}"
        raise JobError(message)
    lock = filelock.FileLock(path.with_name(path.name + LOCK))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        message = f"another process is running {path}"
        raise JobError(message, problem=Problem.RUNNING_ELSEWHERE) from None
    except OSError as error:
        message = f"cannot create the lock file of {path}: {error.strerror}"
        raise JobError(message) from error
    try:
        yield
    finally:
        if not path.exists():
            # No job was made, so no lock file is left behind.
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def give_name(building: Path, path: Path) -> None:
    """Durably rename the planned job `building` to `path`.

    Logs of an earlier job of that name are deleted first, because SQLite would replay them onto the new one.
    """
    for suffix in _LOGS:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    building.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
