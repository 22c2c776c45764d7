"""Compare `import capgo_async` with importing aiohttp and msgspec alone; see whether `capgo-async --help` imports aiohttp.

Each import happens in a fresh interpreter, and they take turns; numbers are medians.
"""

import argparse
import json
import re
import sys
from importlib.util import find_spec
from statistics import median
from typing import Any, Final

from benchmarks.measuring import Benchmark, Spent, exit_code, python, table, verdict

_IMPORTS: Final = {
    "capgo_async": "import capgo_async",
    "aiohttp and msgspec": "import aiohttp, msgspec",
    "all that a job uses": "import capgo_async.bulk, capgo_async.transport",
}
_PROGRAM: Final = """
import json
from benchmarks.measuring import spent
before = spent()
{}
print(json.dumps(spent().since(before)))
"""
_HELP: Final = {None: "cannot be tried here", True: "imports aiohttp", False: "does not import aiohttp"}
_COMPARED: Final = "aiohttp and msgspec"
_AIM: Final = 1.2


def _time(statement: str) -> Spent:
    return Spent(*json.loads(python("-c", _PROGRAM.format(statement)).stdout))


def _help_imports_aiohttp() -> bool | None:
    """Tell whether the command imports aiohttp to show its help; `None` where the extra `cli` is not installed."""
    if find_spec("capgo_async.__main__") is None or find_spec("typer") is None:
        return None
    log = python("-X", "importtime", "-m", "capgo_async", "--help").stderr
    return re.search(r"\| +aiohttp$", log, re.MULTILINE) is not None


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the time of each import, and the ratios to that of aiohttp and msgspec."""
    for statement in _IMPORTS.values():
        _time(statement)  # byte code is written the first time
    taken: dict[str, list[Spent]] = {name: [] for name in _IMPORTS}
    for _ in range(options.rounds):
        for name, spent in taken.items():
            spent.append(_time(_IMPORTS[name]))
    imports = {
        name: {
            "wall_ms": round(median(one.wall for one in spent) * 1e3, 2),
            "cpu_ms": round(median(one.cpu for one in spent) * 1e3, 2),
        }
        for name, spent in taken.items()
    }
    compared = imports[_COMPARED]["wall_ms"]
    ratios = {name: round(numbers["wall_ms"] / compared, 3) for name, numbers in imports.items()}
    imported = _help_imports_aiohttp()
    return {
        "benchmark": "startup",
        "rounds": options.rounds,
        "aim": _AIM,
        "imports": imports,
        "wall_ratio": ratios,
        "help_imports_aiohttp": imported,
        "met": ratios["capgo_async"] <= _AIM and not imported,
    }


def show(found: dict[str, Any]) -> str:
    """Return the times for people."""
    rows = [
        (name, f"{numbers['wall_ms']:.1f}", f"{numbers['cpu_ms']:.1f}", f"{found['wall_ratio'][name]:.2f}")
        for name, numbers in found["imports"].items()
    ]
    imported = f"capgo-async --help {_HELP[found['help_imports_aiohttp']]}"
    aim = f"capgo_async at most {_AIM:g} times as long as {_COMPARED}, and help without aiohttp"
    return "\n".join((table(("import of", "ms", "CPU ms", "ratio"), rows), imported, verdict(aim, met=found["met"])))


def arguments() -> argparse.ArgumentParser:
    """Return the options of this benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.startup", description=__doc__)
    parser.add_argument("--rounds", type=int, default=15, help="fresh interpreters for each import (default: %(default)s)")
    return parser


BENCHMARK: Final = Benchmark(arguments, measure, show)

if __name__ == "__main__":
    sys.exit(exit_code(BENCHMARK.run()))
