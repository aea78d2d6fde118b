"""``python -m benchmarks [SMALL LARGE]``: every measurement in a process of its own, printed as Markdown."""

import datetime
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.measure import MEASUREMENTS

SMALL, LARGE = 100_000, 1_000_000
MAX_RATIO, MAX_MB = 1.3, 600
"""The goals: peak RSS of the large run against the small one's, and in MB."""

Figures = dict[str, Any]


def measured(orders: int) -> dict[str, Figures]:
    """Every measurement's figures for a shop of so many orders."""
    with tempfile.TemporaryDirectory(prefix="medallion-benchmark-") as folder:
        return {what: _measured(what, orders, folder) for what in MEASUREMENTS}


def _measured(what: str, orders: int, folder: str) -> Figures:
    command = [sys.executable, "-m", "benchmarks.measure", what, str(orders), folder]
    answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
    return dict(json.loads(answer))


def main() -> None:
    """Measure and print; exit code 1 if memory is past its goal."""
    small, large = (int(given) for given in sys.argv[1:3]) if len(sys.argv) > 2 else (SMALL, LARGE)
    now = datetime.datetime.now(datetime.UTC)
    print(f"{now:%Y-%m-%d %H:%M} UTC, {_machine()}, Python {platform.python_version()}, ", end="")
    print(f"load at the start {os.getloadavg()[0]:.1f}\n", flush=True)
    found = {orders: measured(orders) for orders in (small, large)}
    _print_layers(found)
    _print_comparison(found)
    _print_startup()
    met = [_memory_is_flat(run, found[small][run], found[large][run]) for run in ("first run", "second run")]
    sys.exit(0 if all(met) else 1)


def _print_layers(found: dict[int, dict[str, Figures]]) -> None:
    print("| orders | run | layer | key | rows read | rows written | seconds | rows/s |")
    print("|---:|---|---|---:|---:|---:|---:|---:|")
    for orders, figures in found.items():
        for run in ("first run", "second run"):
            for layer in figures[run]["layers"]:
                print(
                    f"| {orders:,} | {run} | {layer['layer']} | {layer['key']} | {layer['rows']:,} "
                    f"| {layer['written']:,} | {layer['seconds']:.1f} | {layer['rows'] / layer['seconds']:,.0f} |"
                )


def _print_comparison(found: dict[int, dict[str, Figures]]) -> None:
    print("\n| orders | measurement | seconds | peak RSS, MB | the first run takes |")
    print("|---:|---|---:|---:|---:|")
    for orders, figures in found.items():
        first = figures["first run"]["seconds"]
        for what, figure in figures.items():
            times = f"{first / figure['seconds']:.1f} times as long" if what != "first run" else ""
            print(f"| {orders:,} | {what} | {figure['seconds']:.1f} | {figure['peak_mb']:.0f} | {times} |")


def _print_startup() -> None:
    answer = subprocess.run(
        [sys.executable, "-m", "benchmarks.startup"], check=True, stdout=subprocess.PIPE, text=True
    ).stdout
    print("\n| command | seconds | CPU seconds | peak RSS, MB |\n|---|---:|---:|---:|")
    for command, cost in json.loads(answer).items():
        print(f"| {command} | {cost['seconds']:.2f} | {cost['cpu_seconds']:.2f} | {cost['peak_mb']:.0f} |")


def _memory_is_flat(run: str, small: Figures, large: Figures) -> bool:
    """Whether the goals are met; says so."""
    ratio = large["peak_mb"] / small["peak_mb"]
    met = bool(ratio <= MAX_RATIO and large["peak_mb"] < MAX_MB)
    print(f"\nPeak RSS, {run}: {large['peak_mb']:.0f} MB, {ratio:.2f} times the small shop's ", end="")
    print(f"(goal: at most {MAX_RATIO} times, under {MAX_MB} MB: {'met' if met else 'NOT met'})")
    return met


def _machine() -> str:
    model = platform.processor() or platform.machine()
    information = Path("/proc/cpuinfo")
    if information.exists():
        lines = [line for line in information.read_text().splitlines() if line.startswith("model name")]
        model = lines[0].split(":", 1)[1].strip() if lines else model
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{model}, {os.cpu_count()} cores, {memory:.0f} GB"


if __name__ == "__main__":
    main()
