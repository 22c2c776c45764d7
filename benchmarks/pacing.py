"""Compare the engine's schedule with the best one under the server's limits, and with other pacers.

Everything runs in virtual time with fifteen requests in flight. The ratio is the makespan over a lower bound for any schedule
that keeps the same limits with the same margins; `optimum` computes it from the limits alone. The second ratio is to a client
that knows when the server counts. The contenders run at one latency, keep no margins, and meet their own random faults. A
contender is said never to end if it gets nothing done for an hour while it keeps sending, if it takes twenty times as long as
the optimum and the documented rate, or if it sends twenty requests per operation.
"""

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from benchmarks.measuring import Benchmark, choose_generation, exit_code, table
from benchmarks.pacers import CONTENDERS, Ended, compete
from benchmarks.pacing_scenarios import CONCURRENCY, SCENARIOS, Ran, Scenario, optimum_of, plan, run
from capgo_async.sandbox.virtual_time import run_in_virtual_time

_AIM: Final = 1.02
_AIM_LEARNED: Final = 1.05
"""Aim if a limit has to be learned first: the optimum knows all limits."""
_LATENCIES: Final = (0.02, 0.2, 2.0)
_CONTENDED: Final = 0.2


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the makespans, the optima and the refusals, and whether they meet the aims."""
    wanted = options.scenario or [scenario.name for scenario in SCENARIOS]
    latencies = sorted(set(options.latency or _LATENCIES))
    chosen = [
        scenario.scaled(options.share)._replace(generation=options.generation)
        for scenario in SCENARIOS
        if scenario.name in wanted
    ]
    contenders = options.contender or list(CONTENDERS)
    runs = [entry for scenario in chosen for entry in _measured(scenario, latencies, contenders)]
    return {
        "benchmark": "pacing",
        "concurrency": CONCURRENCY,
        "generation": options.generation,
        "runs": runs,
        "met": all(entry["met"] for entry in runs),
    }


def _measured(scenario: Scenario, latencies: Sequence[float], contenders: Sequence[str]) -> Iterator[dict[str, Any]]:
    contended = _CONTENDED if _CONTENDED in latencies else latencies[0]
    with tempfile.TemporaryDirectory(prefix="pacing-") as directory:
        planned, copy = (Path(directory) / name for name in ("planned.capgo-job", "run.capgo-job"))
        run_in_virtual_time(plan(planned, scenario))
        for latency in latencies:
            shutil.copy(planned, copy)
            ran = run_in_virtual_time(run(copy, scenario, latency))
            yield entry_of(scenario, latency, ran, contenders if latency == contended else ())


def entry_of(scenario: Scenario, latency: float, ran: Ran, contenders: Sequence[str]) -> dict[str, Any]:
    """Return what a run came to, compared with the optimum and with others who send the same."""
    optimum = optimum_of(scenario, latency, ran.failed)
    ratio = ran.makespan / optimum.sure
    aim, allowed = (_AIM, 0) if scenario.learned is None else (_AIM_LEARNED, 1 + CONCURRENCY)
    others = {name: _against(name, scenario, latency, optimum.sure) for name in contenders}
    return {
        "scenario": scenario.name,
        "latency": latency,
        "operations": sum(scenario.operations),
        "requests": ran.requests,
        "makespan": round(ran.makespan, 2),
        "optimum": round(optimum.sure, 2),
        "clairvoyant": round(optimum.clairvoyant, 2),
        "ratio": round(ratio, 4),
        "clairvoyant_ratio": round(ran.makespan / optimum.clairvoyant, 4),
        "rate_limited": ran.refused,
        "rate_limited_by_scope": ran.refused_by_scope,
        "rate_limited_allowed": allowed,
        "aim": aim,
        "met": ran.refused_by_scope <= allowed and ratio <= aim,
        "contenders": others,
    }


def _against(name: str, scenario: Scenario, latency: float, optimum: float) -> dict[str, Any]:
    ended: Ended = run_in_virtual_time(compete(CONTENDERS[name], scenario, latency, optimum))
    return {
        "ends": ended.makespan is not None,
        "ratio": None if ended.makespan is None else round(ended.makespan / optimum, 2),
        "done": ended.done,
        "requests": ended.requests,
        "rate_limited": ended.refused,
    }


def show(found: dict[str, Any]) -> str:
    """Return the results as tables."""
    named = list(dict.fromkeys(name for entry in found["runs"] for name in entry["contenders"]))
    heads = ("", "latency", "operations", "makespan", "optimum", "ratio", "knowing", "429s", "a scope", *named)
    rows = [
        (
            entry["scenario"],
            f"{entry['latency'] * 1e3:g} ms",
            f"{entry['operations']:,}",
            f"{entry['makespan']:,.1f} s",
            f"{entry['optimum']:,.1f} s",
            f"{entry['ratio']:.3f}{'' if entry['met'] else ' !'}",
            f"{entry['clairvoyant_ratio']:.3f}",
            str(entry["rate_limited"]),
            str(entry["rate_limited_by_scope"]),
            *(_ratio(entry["contenders"].get(name)) for name in named),
        )
        for entry in found["runs"]
    ]
    missed = sum(not entry["met"] for entry in found["runs"])
    notes = [f"{name}: {CONTENDERS[name].meaning}" for name in named]
    aims = f"{missed} of {len(found['runs'])} miss their aim (!)" if missed else "all meet their aims"
    return "\n".join([table(heads, rows), "", *notes, aims])


def _ratio(contender: dict[str, Any] | None) -> str:
    if contender is None:
        return ""
    return f"{contender['ratio']:.2f}" if contender["ends"] else "never"


def arguments() -> argparse.ArgumentParser:
    """Return the options of this benchmark."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.pacing", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = [scenario.name for scenario in SCENARIOS]
    parser.add_argument(
        "--scenario",
        action="append",
        choices=names,
        metavar="NAME",
        help=f"one of {', '.join(names).replace('%', '%%')}; repeatable",
    )
    parser.add_argument("--latency", type=float, action="append", help="seconds; repeatable (default: 0.02, 0.2 and 2)")
    parser.add_argument("--contender", action="append", choices=[*CONTENDERS], help="repeatable (default: all)")
    choose_generation(parser)
    parser.add_argument("--share", type=float, default=1.0, help="share of each job's operations (default: all)")
    parser.add_argument(
        "--quick", action="store_const", dest="share", const=0.02, help="tiny jobs: checks that everything works"
    )
    return parser


BENCHMARK: Final = Benchmark(arguments, measure, show, full=("share",))

if __name__ == "__main__":
    sys.exit(exit_code(BENCHMARK.run()))
