"""The benchmark of faulty and healthy runs: `make faults [ARGS="--only zeros --seeds 1"]`, `python -m tests.faults`.

Exit code 0 when the targets of score.py are met, 1 otherwise. The table goes to the terminal, everything to
outputs/faults.json.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import replace
from pathlib import Path

import yaml
from rich.console import Console

from tests.faults import datasets
from tests.faults.case import HERE, Case, allowed_names, read_cases
from tests.faults.run import Record, prepare, run_case
from tests.faults.score import SHOWN, rows_of, totals_of
from tests.faults.table import as_json, show

SCORES = HERE / "scores.yaml"
"""Test accuracies of every case with nothing stopped, by seed: the evidence that faults are faults."""


def arguments(words: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="cases or families with this in the name")
    parser.add_argument("--kind", choices=("all", "faults", "healthy"), default="all")
    parser.add_argument("--seeds", type=int, help="runs of each case, instead of what the case says")
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--fix", action="store_true", help="repair the faults with fix=true, and count the repaired")
    parser.add_argument(
        "--through", action="store_true", help="stop at nothing (checks=off): every run reaches a score"
    )
    parser.add_argument("--record", action="store_true", help=f"with --through: keep the scores in {SCORES.name}")
    parser.add_argument("--list", action="store_true", help="name the cases and run nothing")
    parser.add_argument("--json", type=Path, default=Path("outputs/faults.json"))
    return parser.parse_args(words)


def chosen(cases: Mapping[str, Case], options: argparse.Namespace) -> dict[str, Case]:
    """The cases asked for, and the twins of the faults among them (their scores are needed)."""
    found = {
        name: case
        for name, case in cases.items()
        if (not options.only or any(part in name or part == case.family for part in options.only))
        and options.kind in ("all", "healthy" if case.healthy else "faults")
    }
    twins = {case.twin for case in found.values() if case.twin} if options.kind == "all" else set()
    every = {name: case for name, case in cases.items() if name in found or name in twins}
    if options.seeds:
        every = {name: replace(case, seeds=options.seeds) for name, case in every.items()}
    return every


Job = tuple[Case, int, tuple[str, ...]]


def run_all(jobs: Sequence[Job], files: Mapping[str, Path], *, workers: int, allow: str) -> Iterator[Record]:
    """Records as they come; `workers` spawned processes are used again and again."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=prepare, initargs=(allow,)) as pool:
        waiting = [pool.submit(run_case, case, seed, files.get(case.name), more) for case, seed, more in jobs]
        for done in as_completed(waiting):
            yield done.result()


def main(words: Sequence[str] | None = None) -> int:
    options, console = arguments(words), Console(width=None if sys.stdout.isatty() else 200)
    cases = chosen(read_cases(), options)
    if options.list or not cases:
        print("\n".join(f"{case.family:16} {name}" for name, case in cases.items()) or "no case has such a name")
        return 0 if cases else 2
    os.environ["OMP_NUM_THREADS"] = "1"  # before the processes start and import torch
    started = time.perf_counter()
    more = ("checks=off",) if options.through else ()
    with tempfile.TemporaryDirectory(prefix="faults_data_") as folder:
        files = {name: datasets.write(case.data, Path(folder)) for name, case in cases.items() if case.data is not None}

        def run(jobs: Sequence[Job]) -> list[Record]:
            told = []
            for record in run_all(jobs, files, workers=options.jobs, allow=allowed_names(cases.values())):
                told.append(record)
                if console.is_terminal:
                    console.print(f"{len(told)}/{len(jobs)} {record.case} {record.seed}: {record.first}", end="\r")
            return told

        records = run([(case, seed, more) for case in cases.values() for seed in range(case.seeds)])
        rows = rows_of(cases, records)
        if options.fix:
            broken = [row for row in rows if row.case.fix]
            fixed = run([(row.case, r.seed, ("fix=true",)) for row in broken for r in row.counted])
            twins = {row.case.name: row.twin_score or 0.0 for row in broken}
            repairs: dict[str, list[bool]] = {name: [] for name in twins}
            for record in fixed:
                good = record.ended == "passed" and (record.score or 0.0) >= SHOWN * twins[record.case]
                repairs[record.case].append(good)
            rows = rows_of(cases, records, repairs)
    totals = totals_of(rows, time.perf_counter() - started)
    show(rows, totals, console)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(as_json(rows, totals), indent=1) + "\n")
    if options.through and options.record:
        record_scores(records)
    return 1 if totals.missed else 0


def record_scores(records: Sequence[Record]) -> None:
    kept = yaml.safe_load(SCORES.read_text()) if SCORES.exists() else {}
    for name in {record.case for record in records}:
        runs = sorted((r for r in records if r.case == name), key=lambda r: r.seed)
        kept[name] = [None if r.score is None else round(r.score, 3) for r in runs]
    lines = [f"{name}: [{', '.join('null' if s is None else str(s) for s in kept[name])}]" for name in sorted(kept)]
    SCORES.write_text(
        "# Test accuracy by seed with checks=off, null where the run ended before: "
        "python -m tests.faults --through --record\n" + "\n".join(lines) + "\n"
    )


if __name__ == "__main__":
    sys.exit(main())
