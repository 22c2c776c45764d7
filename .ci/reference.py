"""Builds the reference: pages in HTML about everything public, from the docstrings.

    python -W error .ci/reference.py FOLDER

Any warning of pdoc, such as a name that does not resolve, ends it with an error.
"""

import sys
from pathlib import Path
from types import ModuleType

import pdoc

import capgo_async
from capgo_async import telemetry


def main(folder: str) -> None:
    """Write the pages into `folder`."""
    modules = [value for name in capgo_async.__all__ if isinstance(value := getattr(capgo_async, name), ModuleType)]
    # This one needs an extra, so the package does not name it.
    modules.append(telemetry)
    for module in (capgo_async, *modules):
        # pdoc looks at what a module has by now, and some names are imported when they are first used.
        for name in module.__all__:
            setattr(module, name, getattr(module, name))
    public = "|".join(module.__name__.removeprefix("capgo_async.") for module in modules)
    pdoc.render.configure(show_source=False)
    pdoc.pdoc("capgo_async", telemetry.__name__, rf"!capgo_async\.(?!({public})$)", output_directory=Path(folder))


main(sys.argv[1])
