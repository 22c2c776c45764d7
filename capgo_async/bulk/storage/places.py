"""Where files really are, and what may be done with them.

Links are followed. Nothing but a regular file is ever replaced or removed. A file that cannot be used is a `JobError`.
"""

import errno
import os
import stat
import tempfile
from pathlib import Path
from typing import Final

from ...errors import DiskFull, JobError

_KINDS: Final = (
    (stat.S_ISDIR, "a directory"),
    (stat.S_ISLNK, "a link that leads nowhere"),
    (stat.S_ISFIFO, "a pipe"),
    (stat.S_ISSOCK, "a socket"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
)
_LONGEST_NAME: Final = 255
_LONGEST_SUFFIX: Final = ".building-journal"
"""The longest that is appended to the name of a job or an output."""


def real(path: Path) -> Path:
    """Return the absolute path of the file that `path` means, with links followed; it need not exist.

    Raises `JobError` if there can be no such file: its name is too long, its directory was deleted, or links lead in a circle.
    """
    try:
        place = Path(os.path.realpath(path))
    except FileNotFoundError as error:
        message = f"cannot use {path}: the current directory was deleted, so change to another one"
        raise JobError(message) from error
    except ValueError as error:
        raise refused(path, error, to="use") from error
    try:
        place.lstat()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise refused(path, error, to="use") from error
    return place


def regular(path: Path, called: str = "file") -> Path:
    """Return `real(path)`. Raises `JobError` if it is not a regular file, or not yet."""
    place = real(path)
    kind = kind_of(place)
    if kind is not None:
        message = f"{path} is {kind}, not a {called}"
        raise JobError(message)
    return place


def new(path: Path, called: str) -> Path:
    """Return `regular(path, called)` for a new file, with others beside it that have longer names.

    Raises `JobError` as well if its directory does not exist, or if there is no room for the longer names.
    """
    place = regular(path, called)
    if not place.parent.is_dir():
        message = f"cannot write {path}: there is no directory {place.parent}"
        raise JobError(message)
    most = _longest_name(place.parent) - len(_LONGEST_SUFFIX)
    if len(os.fsencode(place.name)) > most:
        message = f"cannot write {path}: its name is too long; at most {most} bytes leave room for the files beside it"
        raise JobError(message)
    return place


def is_stream(path: Path) -> bool:
    """Return whether `path` is a pipe, a device, or what a process has open: it can only be written to."""
    try:
        mode = path.stat().st_mode
        if stat.S_ISREG(mode):
            return _is_open_file(path)
    except (OSError, ValueError):
        return False
    return not stat.S_ISDIR(mode)


def _is_open_file(path: Path) -> bool:
    """Return whether `path` leads through the open files of a process, as /dev/stdout does."""
    while not os.path.realpath(path.parent).startswith(("/proc/", "/dev/fd")):
        if not path.is_symlink():
            return False
        path = path.parent / path.readlink()
    return True


def kind_of(place: Path) -> str | None:
    """Return what is at `place`, in words; `None` for a regular file, or nothing."""
    try:
        mode = place.lstat().st_mode
    except (OSError, ValueError):
        return None
    return next((kind for holds, kind in _KINDS if holds(mode)), None)


def remove(place: Path) -> None:
    """Remove a file that this program made, if it is there. Raises `JobError` if it is something else."""
    kind = kind_of(place)
    if kind is not None:
        message = f"{place} is {kind}, and not a file of this program: remove it, or choose another name"
        raise JobError(message)
    try:
        place.unlink(missing_ok=True)
    except OSError as error:
        raise refused(place, error, to="remove") from error


def for_temporary_files() -> str:
    """Return the directory for temporary files. Raises `JobError` if none can be written."""
    try:
        return tempfile.gettempdir()
    except OSError as error:
        message = "there is no directory for temporary files, or it is full: set TMPDIR to one that can be written"
        raise JobError(message) from error


def make_durable(place: Path) -> None:
    """Wait until a file, or the names in a directory, are on disk. Some file systems cannot tell."""
    try:
        descriptor = os.open(place, os.O_RDONLY)
    except PermissionError:
        return
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in {errno.EINVAL, errno.ENOTSUP, errno.ENOSYS, errno.EBADF, errno.EPERM, errno.EACCES}:
            raise
    finally:
        os.close(descriptor)


def refused(path: Path, error: Exception, *, to: str = "write") -> JobError:
    """Return the exception for what the system refuses to do with a file."""
    code = getattr(error, "errno", None)
    if code in {errno.ENOSPC, errno.EDQUOT}:
        return DiskFull(f"no space left for {path}: free some disk space, then try again")
    reason = getattr(error, "strerror", None) or error
    return JobError(f"cannot {to} {path}: {reason}")


def _longest_name(directory: Path) -> int:
    try:
        return os.pathconf(directory, "PC_NAME_MAX")
    except (AttributeError, OSError, ValueError):
        return _LONGEST_NAME
