"""The names of a job's files, and the lock that lets only one process use a job."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import filelock

from ...errors import JobError, Problem
from .places import make_durable, real, refused, regular, remove

LOCK: Final = ".lock"
"""Suffix of a job's lock file. The file outlives the run, and reserves the job's name."""
_PATIENCE: Final = 0.1
"""Seconds to wait for the lock: whoever asks whether it is free takes it for an instant."""
_LOGS: Final = ("-wal", "-shm", "-journal")


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of the job at `path`.

    Raises `JobError` if another process holds it, or if the lock file cannot be created.
    """
    # A symbolic link to a job is the same job, so both must use the same lock file.
    path = real(path)
    if not path.parent.is_dir():
        message = f"cannot write {path}: there is no directory {path.parent}"
        raise JobError(message)
    lock = filelock.FileLock(regular(path.with_name(path.name + LOCK), "lock file"))
    try:
        lock.acquire(timeout=_PATIENCE, poll_interval=_PATIENCE / 10)
    except filelock.Timeout:
        message = f"another process is running {path}"
        raise JobError(message, problem=Problem.RUNNING_ELSEWHERE) from None
    except OSError as error:
        message = f"cannot create the lock file of {path}: {error.strerror}"
        raise JobError(message) from error
    except NotImplementedError as error:
        message = f"cannot lock {path}: its file system has no locks, so use another one"
        raise JobError(message) from error
    try:
        yield
    finally:
        if not path.exists():
            # No job was made, so no lock file is left behind.
            Path(lock.lock_file).unlink(missing_ok=True)
        lock.release()


def is_locked(path: Path) -> bool:
    """Return whether a process holds the lock of the job at `path`.

    A free lock is taken for an instant. Returns false if the lock file cannot be opened.
    """
    file = real(path).with_name(real(path).name + LOCK)
    if not file.is_file():
        return False
    lock = filelock.FileLock(file)
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        return True
    except (OSError, NotImplementedError):
        return False
    lock.release()
    return False


def give_name(building: Path, path: Path) -> None:
    """Durably rename a finished file to `path`, in the same directory. Only a regular file is replaced.

    Logs of an earlier database of that name are deleted first, because SQLite would replay them onto the new one.
    """
    regular(path)
    for suffix in _LOGS:
        remove(path.with_name(path.name + suffix))
    try:
        building.replace(path)
        make_durable(path.parent)
    except OSError as error:
        raise refused(path, error) from error
