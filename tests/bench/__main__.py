"""`make bench`: how fast the pipeline is, compared with what people would use instead; outputs/bench.json.

Contestants are measured in one run and in turns, as medians of ratios with quartiles, since machines are shared and
noisy.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console, RenderableType
from rich.table import Table

from pipeline.runs.paths import write_text
from pipeline.workflow.process_setup import tune_openmp
from tests.bench import gpu_tables, waiting

PARTS = {"mlp": 2.0, "convnet": 3.0, "signals": 1.5, "watch": 0.5, "startup": 0.8, "statistics": 0.3, "search": 1.4}
"""Name -> minutes of ten. The time of parts that are left out is saved."""
GPU_PARTS = {"gpu": 8.0}
"""The same for parts that need a GPU. By default they run where there is one, beside the ten minutes."""
MORE = ("data", "profile", "operators", "optimizers", "waiting", "gpu_sweep")
"""Parts that explain a figure or a constant; they run only when they are named."""


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="for all parts together (default 10)")
    parser.add_argument(
        "--only", nargs="*", choices=[*PARTS, *GPU_PARTS, *MORE],
        help=f"parts (default: all but {', '.join(MORE)}; {', '.join(GPU_PARTS)} where there is a GPU)",
    )  # fmt: skip
    parser.add_argument(
        "--case", default="", metavar="WORD", help="for signals and watch: only cases with this word in their name"
    )
    parser.add_argument("--busy", action="store_true", help="beside one other busy process")
    parser.add_argument("--compile", action="store_true", help="also a compiled bare loop (takes minutes more)")
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="for gpu and gpu_sweep")
    parser.add_argument("--small", action="store_true", help="for gpu and gpu_sweep: a dry run with a few tiny images")
    parser.add_argument("--json", type=Path, default=Path("outputs/bench.json"))
    options = parser.parse_args()
    if options.busy:  # the process that measures must find the machine busy when it starts
        with waiting.busy():
            args = [arg for arg in sys.argv[1:] if arg != "--busy"]
            sys.exit(subprocess.run([sys.executable, "-m", "tests.bench", *args]).returncode)
    tune_openmp()  # before torch is imported, as the program does
    console, results, started = Console(), {}, time.perf_counter()
    for part in default_parts() if options.only is None else options.only:
        part_started = time.perf_counter()
        results[part] = measure(part, options)
        table = _TABLES.get(part, _plain_table)(part, results[part])
        print(table) if isinstance(table, str) else console.print(table)
        console.print(f"{part}: {time.perf_counter() - part_started:.0f} s", style="dim")
    record = describe_machine() | {"seconds": time.perf_counter() - started, "results": results}
    write_text(options.json, json.dumps(record, indent=1) + "\n")


def measure(part: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return the numbers of a part. Its module is imported only when it runs."""
    seconds = 60 * options.minutes / 10 * (PARTS | GPU_PARTS).get(part, 1.0)
    if part in ("gpu", "gpu_sweep"):
        return measure_on_gpu(part, options, seconds=seconds)
    if part in ("mlp", "convnet"):
        from tests.bench import contest, contestants

        case = contestants.MLP if part == "mlp" else contestants.CONVNET
        return contest.measure(case, seconds=seconds, compiled=options.compile)
    if part == "signals":
        from tests.bench import signals

        return signals.measure(seconds=seconds, only=options.case)
    if part == "watch":
        from tests.bench import watch

        return watch.measure(seconds=seconds, only=options.case)
    if part == "data":
        from tests.bench import data

        return data.measure(seconds=90 * options.minutes / 10)
    if part == "profile":
        from tests.bench import profile

        return profile.measure()
    if part == "operators":
        from tests.bench import operators

        return operators.measure()
    if part == "optimizers":
        from tests.bench import optimizers

        return optimizers.measure()
    if part == "waiting":
        return waiting.measure()
    if part == "startup":
        from tests.bench import startup

        return startup.measure(seconds=seconds)
    if part == "statistics":
        from tests.bench import statistics

        return statistics.measure(seconds=seconds)
    from tests.bench import search

    return search.measure(seconds=seconds)


def default_parts() -> list[str]:
    import torch

    return [*PARTS, *(GPU_PARTS if torch.cuda.is_available() else ())]


def measure_on_gpu(part: str, options: argparse.Namespace, *, seconds: float) -> dict[str, Any]:
    """Return the numbers of `gpu` or `gpu_sweep`. On a CPU nothing is compiled unless it is asked for."""
    from pipeline.workflow.outcome_writer import versions
    from tests.bench import gpu, gpu_cases, gpu_sweep
    from tests.bench.card import describe_card

    card = describe_card() if options.device == "cuda" else {}
    if options.device == "cuda" and not card:
        sys.exit(f"{part} needs a GPU that torch can use. A dry run without one: --device cpu --small")
    trainer, compiled = ("gpu" if card else "cpu"), bool(card) or options.compile
    if part == "gpu_sweep":
        numbers = gpu_sweep.measure(seconds=seconds, trainer=trainer, is_dry=options.small, compiled=compiled)
    else:
        plan = {
            case: [name for name in names if compiled or "compiled" not in name]
            for case, names in gpu_cases.CONTEST.items()
        }
        numbers = {"networks": gpu.measure(plan, seconds=seconds, trainer=trainer, is_dry=options.small)}
    return {"machine": gpu_tables.describe(card, versions()), "card": card} | numbers


def describe_machine() -> dict[str, Any]:
    """Return the versions and the processor, without which no figure means anything."""
    from pipeline.workflow.outcome_writer import versions

    name = next(
        (line.partition(":")[2].strip() for line in _lines(Path("/proc/cpuinfo")) if line.startswith("model name")),
        platform.processor() or platform.machine(),
    )
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"versions": versions(), "processor": name, "cores": os.cpu_count(), "load": load}


def _lines(path: Path) -> list[str]:
    return path.read_text().splitlines() if path.exists() else []


def _contest_table(part: str, numbers: dict[str, Any]) -> Table:
    title = f"{part}: {numbers['steps']} steps, {numbers['rounds']} rounds, {numbers['threads']} threads"
    table = Table("", "steps a second / bare loop", "quartiles", "ms a step", "us more than bare", title=title)
    for name, row in numbers["contestants"].items():
        low, high = row["quartiles"]
        more = f"{row['us_more_than_bare']:+.0f}"
        table.add_row(name, f"{row['ratio']:.2f}", f"{low:.2f} .. {high:.2f}", f"{row['ms_a_step']:.2f}", more)
    return table


def _statistics_table(part: str, numbers: dict[str, Any]) -> Table:
    title = f"{part}: {numbers['images']} images, {numbers['threads']} threads"
    table = Table("", "seconds", "relative error", title=title)
    for name, row in numbers.items():
        if isinstance(row, dict):
            table.add_row(name, f"{row['seconds']:.2f}", f"{row['relative_error']:.1e}")
    return table


def _signals_table(part: str, numbers: dict[str, Any]) -> Table:
    table = Table(f"{part} on / off", "median", "quartiles", "off: seconds")
    for name, row in numbers.items():
        low, high = row["quartiles"]
        table.add_row(name, f"{row['ratio']:.3f}", f"{low:.3f} .. {high:.3f}", f"{row['seconds_off']:.2f}")
    return table


def _plain_table(part: str, numbers: dict[str, Any]) -> Table:
    table = Table(part, "")
    for name, value in numbers.items():
        table.add_row(name, f"{value:.4g}" if isinstance(value, float) else str(value))
    return table


def _profile_table(part: str, numbers: dict[str, dict[str, float]]) -> Table:
    table = Table("us a step", "pipeline", "bare loop")
    for name, value in numbers["pipeline"].items():
        table.add_row(name, f"{value:.0f}", f"{numbers['bare loop'][name]:.0f}" if name in numbers["bare loop"] else "")
    return table


_TABLES: dict[str, Callable[[str, dict[str, Any]], RenderableType]] = {
    "mlp": _contest_table,
    "convnet": _contest_table,
    "signals": _signals_table,
    "watch": _signals_table,
    "statistics": _statistics_table,
    "profile": _profile_table,
    "gpu": lambda part, numbers: gpu_tables.contest_tables(numbers),
    "gpu_sweep": lambda part, numbers: gpu_tables.sweep_markdown(numbers),
}

if __name__ == "__main__":
    main()
