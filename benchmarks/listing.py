"""Measure what the client itself costs when it lists the devices of one app.

A loopback server has its pages ready. The client yields typed devices, each once; the script keeps the dictionaries of
`json.loads`. Each contender runs in its own process, in turns. Figures are medians.
"""

import argparse
import sys
from statistics import median
from typing import Any, Final

from benchmarks.loopback import serving
from benchmarks.loops import LOOPS, has_uvloop
from benchmarks.measuring import Benchmark, child, exit_code, table, verdict

_MEANINGS: Final = {
    "client": "client.devices.list, by devices",
    "pages": "client.devices.list, by pages",
    "script": "a script with aiohttp and json.loads",
}
_AIM: Final = 1.0


def compare(base_url: str, loop: str, *, devices: int, limit: int, rounds: int) -> dict[str, Any]:
    """Run the contenders in turns on one event loop, and return the medians and the ratios to the script."""
    taken: dict[str, list[dict[str, Any]]] = {name: [] for name in _MEANINGS}
    for _ in range(rounds):
        for name, runs in taken.items():
            runs.append(child("benchmarks.listers", name=name, base_url=base_url, devices=devices, limit=limit, loop=loop))
    contenders = {
        name: {
            "devices_per_second": round(devices / median(run["wall"] for run in runs)),
            "cpu_us_per_device": round(median(run["cpu"] for run in runs) / devices * 1e6, 3),
            "peak_bytes": round(median(run["peak_bytes"] for run in runs)),
        }
        for name, runs in taken.items()
    }
    script = contenders["script"]
    return {
        "loop": loop,
        "contenders": contenders,
        "speed_ratio": {
            name: round(numbers["devices_per_second"] / script["devices_per_second"], 3) for name, numbers in contenders.items()
        },
        "cpu_ratio": {
            name: round(numbers["cpu_us_per_device"] / script["cpu_us_per_device"], 3) for name, numbers in contenders.items()
        },
    }


def measure(options: argparse.Namespace) -> dict[str, Any]:
    """Return the comparison on each requested event loop."""
    loops = options.loop or [loop for loop in LOOPS if loop != "uvloop" or has_uvloop()]
    load = {"devices": options.devices, "limit": options.limit}
    with serving("--devices", str(options.devices)) as base_url:
        # The server builds each page at its first request.
        child("benchmarks.listers", name="script", base_url=base_url, loop="asyncio", **load)
        compared = [compare(base_url, loop, rounds=options.rounds, **load) for loop in loops]
    met = all(each["speed_ratio"]["client"] >= _AIM for each in compared)
    return {"benchmark": "listing", **load, "rounds": options.rounds, "aim": _AIM, "loops": compared, "met": met}


def show(found: dict[str, Any]) -> str:
    """Return the results as tables."""
    heads = ("", "devices/s", "script = 1", "CPU us/device", "script = 1", "peak, MB")
    texts = [f"{found['devices']:,} devices, {found['limit']} per page, medians of {found['rounds']} rounds"]
    for compared in found["loops"]:
        rows = [
            (
                _MEANINGS[name],
                f"{numbers['devices_per_second']:,}",
                f"{compared['speed_ratio'][name]:.2f}",
                f"{numbers['cpu_us_per_device']:.2f}",
                f"{compared['cpu_ratio'][name]:.2f}",
                f"{numbers['peak_bytes'] / 1e6:,.0f}",
            )
            for name, numbers in compared["contenders"].items()
        ]
        texts.append(table((compared["loop"], *heads[1:]), rows))
    texts.append(verdict(f"by devices at least {_AIM:g} times the script's rate", met=found["met"]))
    return "\n\n".join(texts)


def arguments() -> argparse.ArgumentParser:
    """Return the options of this benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.listing", description=__doc__)
    parser.add_argument("--devices", type=int, default=200_000, help="devices in each listing (default: %(default)s)")
    parser.add_argument("--limit", type=int, default=200, help="devices per page (default: %(default)s, the client's default)")
    parser.add_argument("--rounds", type=int, default=5, help="runs of each contender (default: %(default)s)")
    parser.add_argument("--loop", choices=LOOPS, action="append", help="event loop (repeatable; default: all installed)")
    return parser


BENCHMARK: Final = Benchmark(arguments, measure, show, full=("devices", "limit"))

if __name__ == "__main__":
    sys.exit(exit_code(BENCHMARK.run()))
