"""Common parts of the benchmarks: child processes, resource usage, and output."""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parent.parent
"""Working directory of child processes, so that they import this code and not an installed package."""
GENERATIONS = ("2026-07", "2026-11")
LONGEST_RUN = 900.0
"""Seconds after which a process is ended."""


class Benchmark(NamedTuple):
    """A benchmark: its options, its measurement, and how to show the result.

    The result may say whether an aim is `met`. That counts only if the options in `full` have their defaults, because a small
    load proves nothing.
    """

    arguments: Callable[[], argparse.ArgumentParser]
    measure: Callable[[argparse.Namespace], dict[str, Any]]
    show: Callable[[dict[str, Any]], str]
    full: tuple[str, ...] = ()

    def run(self) -> dict[str, Any]:
        """Measure with the options of the command line, print the result, and return it.

        With `--json`, the result is printed as JSON.
        """
        parser = self.arguments()
        parser.add_argument("--json", action="store_true", help="print JSON")
        options = parser.parse_args()
        full = all(getattr(options, name) == parser.get_default(name) for name in self.full)
        found = {**self.measure(options), "full": full}
        print(json.dumps(found) if options.json else self.show(found))
        return found


def choose_generation(parser: argparse.ArgumentParser) -> None:
    """Add the option that chooses the generation of the server (contract J1)."""
    parser.add_argument(
        "--generation", choices=GENERATIONS, default=GENERATIONS[0], help="generation of the server (default: %(default)s)"
    )


def exit_code(*found: dict[str, Any]) -> int:
    """Return 1 if an aim is missed at full size."""
    return int(any(each["full"] and not each.get("met", True) for each in found))


def verdict(aim: str, *, met: bool) -> str:
    """Return a sentence on whether an aim is met."""
    return f"the aim at full size, {aim}: {'met' if met else 'MISSED'}"


class Spent(NamedTuple):
    """What a process has spent: wall seconds and CPU seconds, including threads and ended children."""

    wall: float
    cpu: float

    def since(self, earlier: "Spent") -> "Spent":
        """Return what was spent since `earlier`."""
        return Spent(self.wall - earlier.wall, self.cpu - earlier.cpu)


def spent() -> Spent:
    """Return what this process has spent so far."""
    usages = (resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return Spent(time.perf_counter(), sum(usage.ru_utime + usage.ru_stime for usage in usages))


def peak_bytes() -> int:
    """Return the largest resident set size of this process."""
    # The value of getrusage starts with the size of the parent process; this one does not.
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def python(*arguments: str, timeout: float = LONGEST_RUN, root: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run Python with `arguments` from the `root` of a repository and return the completed process.

    Raises `RuntimeError` if it fails.
    """
    command = [sys.executable, *arguments]
    ended = subprocess.run(command, cwd=root, env=environment(), capture_output=True, text=True, timeout=timeout, check=False)
    if ended.returncode:
        message = f"{' '.join(command)} ended with exit code {ended.returncode}:\n{ended.stderr}"
        raise RuntimeError(message)
    return ended


def environment() -> dict[str, str]:
    """Return the environment for a child process, isolated from the user's settings."""
    unwanted = ("CAPGO_", "PYTHONDONTWRITEBYTECODE")  # without byte code, imports measure the compiler
    return {**{name: value for name, value in os.environ.items() if not name.startswith(unwanted)}, "CAPGO_CACHE": ""}


def child(module: str, *, root: Path = ROOT, **options: object) -> Any:
    """Run a module with `--name value` for each option and return the JSON that it prints.

    It runs from the `root` of a repository.
    """
    arguments = [text for name, value in options.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    if not _Children.forked or root != ROOT:
        return json.loads(python("-m", module, *arguments, root=root).stdout)
    from benchmarks.forked import Forked  # noqa: PLC0415 - what is measured does not need it

    process = Forked(*arguments, module=module, env=environment(), cwd=root, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    out, err = process.communicate()
    if process.returncode:
        message = f"{module} {' '.join(arguments)} ended with exit code {process.returncode}:\n{err}"
        raise RuntimeError(message)
    return json.loads(out)


class _Children:
    forked = False


def fork_children() -> None:
    """Fork children from now on, which start much faster. For loads so tiny that nothing is measured."""
    _Children.forked = True


def table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a text table: the first column to the left, figures to the right."""
    lines = [heads, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(heads))]
    aligned = ([line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:])] for line in lines)
    return "\n".join("  ".join(cells).rstrip() for cells in aligned)
