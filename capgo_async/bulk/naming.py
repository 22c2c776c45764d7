"""The names of a job's files, and the lock by which one process at a time has the job."""

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import filelock

from ..errors import JobError

LOCK: Final = ".lock"
"""What the name of a job's lock file has more than that of the job; one that is there belongs to somebody."""
_LOGS: Final = ("-wal", "-shm", "-journal")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Have the job at `path` alone; raises `JobError` where another process has it or nothing can be written."""
    # Under one name for all: a link to the job is the job.
    path = path.resolve()
    if not path.parent.is_dir():
        message = f"cannot write {path}: there is no directory {path.parent}"
        raise JobError(message)
    lock = filelock.FileLock(path.with_name(path.name + LOCK))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        message = f"another process is running {path}"
        raise JobError(message) from None
    except OSError as error:
        message = f"cannot write beside {path}: {error.strerror}"
        raise JobError(message) from error
    try:
        yield
    finally:
        if not path.exists():
            # Nothing came of it: leave nothing behind.
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def give_name(building: Path, path: Path) -> None:
    """Make a planned job out of `building`, durably; logs of a job that had this name before would be replayed onto it."""
    for suffix in _LOGS:
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    building.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
