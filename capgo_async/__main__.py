"""Entry point of `python -m capgo_async` and of the console script."""

import importlib.util
import os
import sys
from typing import Final

_WRONG_USAGE: Final = 2
_LAST_STANDARD_STREAM: Final = 2
_NEEDED: Final = ("typer", "rich", "platformdirs")


def main() -> None:
    """Run the command, or name the extra that it needs."""
    _occupy_closed_streams()
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        if sys.stderr is not None:
            sys.stderr.write(f'the command needs {" and ".join(missing)}: pip install "capgo-async[cli]"\n')
        sys.exit(_WRONG_USAGE)
    _skip_unwritable_key_log()
    from .cli.program import program  # noqa: PLC0415 - needs the packages checked above

    program()


def _occupy_closed_streams() -> None:
    """Occupy standard streams that are closed, so that files opened later do not take their place."""
    while (place := os.open(os.devnull, os.O_RDWR)) <= _LAST_STANDARD_STREAM:
        pass
    os.close(place)


def _skip_unwritable_key_log() -> None:
    """Unset SSLKEYLOGFILE if its file cannot be written, and say so.

    With it, TLS would not start, for any server.
    """
    name = os.environ.get("SSLKEYLOGFILE")
    if not name:
        return
    try:
        # Without O_NONBLOCK, opening a named pipe waits for a reader.
        os.close(os.open(name, os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_NONBLOCK", 0), 0o600))
    except (OSError, ValueError) as error:
        del os.environ["SSLKEYLOGFILE"]
        if sys.stderr is not None:
            reason = getattr(error, "strerror", None) or error
            sys.stderr.write(f"note: SSLKEYLOGFILE is ignored: {name} cannot be written ({reason})\n")


if __name__ == "__main__":
    main()
