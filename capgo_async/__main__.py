"""`python -m capgo_async`, and the console script."""

import importlib.util
import sys
from typing import Final

_WRONG_USAGE: Final = 2
_NEEDED: Final = ("typer", "rich", "platformdirs")


def main() -> None:
    """Run the command, or say which extra it needs."""
    missing = [name for name in _NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        sys.stderr.write(f'the command needs {" and ".join(missing)}: pip install "capgo-async[cli]"\n')
        sys.exit(_WRONG_USAGE)
    from .cli.program import program  # noqa: PLC0415 - needs what was looked for above

    program()


if __name__ == "__main__":
    main()
