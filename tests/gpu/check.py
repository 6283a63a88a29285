"""What only a GPU can show, as one table: target, measured, ok or MISSED. tests/gpu/check.sh runs it.

Commands that are judged by their bits or exit codes run several at a time. Then the benchmark runs alone, since nothing
else may use the card while a clock runs. All numbers go to outputs/gpu_check.json.
"""

from __future__ import annotations

import argparse
import functools
import json
import os
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from pipeline.runs.paths import write_text
from pipeline.workflow.outcome_writer import versions
from pipeline.workflow.process_setup import available_cores
from tests.bench import gpu
from tests.bench.gpu_tables import describe
from tests.gpu import bits, everything, speed
from tests.gpu.commands import ROOT, Machine
from tests.gpu.row import MISSED, Row, count_states, exit_code, judge, print_rows

MAX_SECONDS = 480.0
"""The whole takes less than this on one GPU."""
BENCH_SECONDS = 200.0
"""For the benchmark, two rounds at least."""
JOBS = 6
"""Commands at the same time, at most; each has about 1 GB of the card."""
CARD_TIMEOUT = 120.0
"""Seconds for a look at the card, which a driver that hangs would never end."""


@dataclass(frozen=True)
class Item:
    """Commands and the rows that judge them."""

    part: int
    title: str
    measure: Callable[[Machine], list[Row]]


def items(cards: int) -> list[Item]:
    """Return everything but the benchmark, the longest first."""
    return [
        Item(4, "accuracy of bf16", everything.accuracy_of_bf16),
        Item(2, "determinism", bits.determinism),
        Item(1, "graphs of optimizers", bits.graphs_of_optimizers),
        Item(4, "searches", everything.searches),
        Item(4, "every stage", everything.every_stage),
        Item(1, "graphs of precisions", bits.graphs_of_precisions),
        Item(1, "graphs of accumulated steps", bits.graphs_of_accumulated_steps),
        Item(4, "images on the host", everything.images_on_host),
        Item(4, "fix=true", everything.fixing),
        Item(1, "a network without a graph", bits.network_without_graph),
        Item(4, "batch size", everything.automatic_batch_size),
        Item(4, "out of memory", everything.out_of_memory),
        Item(4, "two devices", functools.partial(everything.two_devices, cards=cards)),
    ]


def run_item(item: Item, machine: Machine) -> list[Row]:
    """Return the rows of an item, or one that says how it failed: the others still run."""
    started = time.perf_counter()
    try:
        rows = item.measure(machine)
    except Exception as error:  # noqa: BLE001 - whatever goes wrong on a machine that nobody has seen
        rows = [Row(item.part, item.title, f"{type(error).__name__}: {error}", MISSED, traceback.format_exc())]
    print(f"{item.title}: {time.perf_counter() - started:.0f} s", file=sys.stderr, flush=True)
    return rows


def find_card() -> dict[str, Any]:
    """Return the description of the GPU, {} without one. Another process looks: this one never touches the driver."""
    command = [sys.executable, "-m", "tests.bench.card"]
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=CARD_TIMEOUT)
    except subprocess.TimeoutExpired:
        sys.exit(f"the driver of the GPU gave no answer within {CARD_TIMEOUT:.0f} s")
    if done.returncode != 0:
        sys.exit(f"torch cannot look at the GPU:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def main() -> int:
    parser = argparse.ArgumentParser(prog="tests/gpu/check.sh", description=__doc__)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="cpu: a dry run, in small")
    parser.add_argument("--json", type=Path, default=ROOT / "outputs" / "gpu_check.json")
    options = parser.parse_args()
    is_gpu, started = options.device == "cuda", time.perf_counter()
    card = find_card() if is_gpu else {}
    if is_gpu and not card:
        print("torch finds no GPU here. A dry run without one: tests/gpu/check.sh --device cpu", file=sys.stderr)
        return 2
    title = describe(card, versions())
    print(title, file=sys.stderr, flush=True)
    os.chdir(ROOT)
    with tempfile.TemporaryDirectory(prefix="gpu_check_") as folder:
        cores = available_cores()
        jobs = max(1, min(JOBS, cores // 2)) if is_gpu else min(JOBS, cores)
        machine = Machine(Path(folder), device=options.device, jobs=jobs, cores=cores)
        try:
            rows = run_commands(machine, card.get("cards", 0))
            networks, measured = run_benchmark(machine)
        finally:
            machine.kill_all()
    rows += measured
    seconds = time.perf_counter() - started
    if is_gpu:
        target = f"all of this takes less than {MAX_SECONDS:.0f} s"
        rows.append(judge(5, target, f"{seconds:.0f} s", seconds < MAX_SECONDS))
    print_rows(Console(width=None if sys.stdout.isatty() else 140), title, rows)
    numbers = {"card": card, "versions": versions(), "cores": cores, "seconds": seconds, "networks": networks}
    write_text(options.json, json.dumps({"rows": [asdict(row) for row in rows]} | numbers, indent=1) + "\n")
    print(f"{count_states(rows)} in {seconds:.0f} s; all numbers are in {options.json}")
    return exit_code(rows)


def run_commands(machine: Machine, cards: int) -> list[Row]:
    """Return the rows of all items, several of which run at a time."""
    pool = ThreadPoolExecutor(machine.jobs)
    try:
        found = list(pool.map(lambda item: run_item(item, machine), items(cards)))
    finally:
        pool.shutdown(cancel_futures=True, wait=False)  # after Ctrl-C nothing else begins
    return [row for rows in found for row in rows] + everything.quiet_output(machine)


def run_benchmark(machine: Machine) -> tuple[dict[str, Any], list[Row]]:
    """Return the numbers of the benchmark and its rows. An error in it must not take the other rows along."""
    try:
        networks = gpu.measure(speed.PLAN, seconds=BENCH_SECONDS, trainer=machine.trainer, is_dry=not machine.is_gpu)
        return networks, speed.rows(networks, is_gpu=machine.is_gpu)
    except Exception as error:  # noqa: BLE001 - as for the commands
        return {}, [Row(5, "the benchmark", f"{type(error).__name__}: {error}", MISSED, traceback.format_exc())]


if __name__ == "__main__":
    sys.exit(main())
