"""Compare starting `capgo-async` with importing typer, and the client with aiohttp and msgspec.

Each program runs in a fresh interpreter, in turns. Figures are medians.
"""

import argparse
import re
import sys
from importlib.util import find_spec
from statistics import median
from typing import Any, Final

from benchmarks.measuring import Benchmark, Spent, exit_code, python, spent, table, verdict

_NOTHING: Final = "an empty program"
_CLIENT: Final = "the client"
_LIBRARIES: Final = "aiohttp and msgspec"
_VERSION: Final = "capgo-async --version"
_TYPER: Final = "typer"
_PROGRAMS: Final = {
    _NOTHING: ("-c", "pass"),
    _CLIENT: ("-c", "from capgo_async import CapgoClient"),
    "everything that a job uses": ("-c", "import capgo_async.bulk, capgo_async.http.transport"),
    _LIBRARIES: ("-c", "import aiohttp, msgspec"),
}
_COMMANDS: Final = {_VERSION: ("-m", "capgo_async", "--version"), _TYPER: ("-c", "import typer")}
"""Programs that need the extra `cli`."""
_HELP: Final = {None: "cannot be tested here", True: "imports aiohttp", False: "does not import aiohttp"}
_IMPORT_AIM: Final = 1.2
_VERSION_AIM: Final = 1.5


def _time(arguments: tuple[str, ...]) -> Spent:
    before = spent()
    python(*arguments)
    return spent().since(before)


def _help_imports_aiohttp() -> bool | None:
    """Return whether the command imports aiohttp to show its help.

    Returns `None` if the extra `cli` is not installed.
    """
    if not _has_command():
        return None
    log = python("-X", "importtime", "-m", "capgo_async", "--help").stderr
    return re.search(r"\| +aiohttp$", log, re.MULTILINE) is not None


def _has_command() -> bool:
    return find_spec("capgo_async.__main__") is not None and find_spec("typer") is not None


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the times of all programs, and the ratios of the imports and of the command."""
    programs = {**_PROGRAMS, **(_COMMANDS if _has_command() else {})}
    for arguments in programs.values():
        _time(arguments)  # the first run writes the byte code
    taken: dict[str, list[Spent]] = {name: [] for name in programs}
    for _ in range(options.rounds):
        for name, times in taken.items():
            times.append(_time(programs[name]))
    found = {
        name: {
            "wall_ms": round(median(one.wall for one in times) * 1e3, 2),
            "cpu_ms": round(median(one.cpu for one in times) * 1e3, 2),
        }
        for name, times in taken.items()
    }
    wall = {name: numbers["wall_ms"] for name, numbers in found.items()}
    # An import is measured by what it adds to starting Python, and the command by all that a user waits for.
    imports = round((wall[_CLIENT] - wall[_NOTHING]) / (wall[_LIBRARIES] - wall[_NOTHING]), 3)
    version = round(wall[_VERSION] / wall[_TYPER], 3) if _has_command() else None
    imported = _help_imports_aiohttp()
    return {
        "benchmark": "startup",
        "rounds": options.rounds,
        "aim": {"client": _IMPORT_AIM, "version": _VERSION_AIM},
        "programs": found,
        "wall_ratio": {"client": imports, "version": version},
        "help_imports_aiohttp": imported,
        "met": imports <= _IMPORT_AIM and (version is None or version <= _VERSION_AIM) and not imported,
    }


def show(found: dict[str, Any]) -> str:
    """Return the results as text."""
    rows = [(name, f"{numbers['wall_ms']:.1f}", f"{numbers['cpu_ms']:.1f}") for name, numbers in found["programs"].items()]
    ratios = found["wall_ratio"]
    compared = [f"importing the client: {ratios['client']:.2f} times as long as {_LIBRARIES}"]
    if ratios["version"] is not None:
        compared.append(f"{_VERSION}: {ratios['version']:.2f} times as long as a program that imports typer")
    compared.append(f"capgo-async --help {_HELP[found['help_imports_aiohttp']]}")
    aim = f"at most {_IMPORT_AIM:g} and {_VERSION_AIM:g} times, and help without aiohttp"
    return "\n".join((table(("program", "ms", "CPU ms"), rows), *compared, verdict(aim, met=found["met"])))


def arguments() -> argparse.ArgumentParser:
    """Return the options of this benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="fresh interpreters for each program (default: %(default)s)")
    return parser


BENCHMARK: Final = Benchmark(arguments, measure, show)

if __name__ == "__main__":
    sys.exit(exit_code(BENCHMARK.run()))
