"""The benchmark of faulty and healthy runs: `make faults [ARGS="--only zeros --seeds 1"]`, `python -m tests.faults`.

With `--watched` the cases are bare training loops under `pipeline.preflight` and `pipeline.watch` (loops/), and the
networks and losses of the other cases in such a loop. Exit code 0 when the targets of score.py are met, 1 otherwise.
The table goes to the terminal, everything to outputs/faults.json.
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
from tests.faults.case import HERE, SETS, Case, allowed_names, read_cases
from tests.faults.loops.cases import loop_cases, module_cases
from tests.faults.loops.run import run_watched
from tests.faults.run import Record, prepare_worker, run_case
from tests.faults.score import SHOWN, rows_of, totals_of
from tests.faults.table import as_json, missed_targets, print_tables

SCORES = HERE / "scores.yaml"
"""Test accuracies of every case with checks=off, by seed: the evidence that faults are faults."""


def parse_arguments(args: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.faults", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", default=[], metavar="NAME", help="cases or families with this in the name")
    parser.add_argument("--kind", choices=("all", "faults", "healthy"), default="all")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS, metavar="SET", help=f"of {', '.join(SETS)}")
    parser.add_argument("--watched", action="store_true", help="bare loops that are watched, instead of commands")
    parser.add_argument("--seeds", type=int, help="runs of each case, instead of what the case says")
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--fix", action="store_true", help="repair the faults with fix=true, and count the repaired")
    parser.add_argument("--through", action="store_true", help="with checks=off, so that every run reaches a score")
    parser.add_argument("--record", action="store_true", help=f"with --through: write the scores to {SCORES.name}")
    parser.add_argument("--list", action="store_true", help="name the cases and run nothing")
    parser.add_argument("--json", type=Path, default=Path("outputs/faults.json"))
    return parser.parse_args(args)


def select_cases(cases: Mapping[str, Case], options: argparse.Namespace) -> dict[str, Case]:
    """Return the requested cases, and the twins of the faults among them, whose scores are needed."""
    requested = {
        name: case
        for name, case in cases.items()
        if (not options.only or any(part in name or part == case.family for part in options.only))
        and options.kind in ("all", "healthy" if case.healthy else "faults")
        and case.set in options.sets
    }
    twins = {case.twin for case in requested.values() if case.twin} if options.kind == "all" else set()
    selected = {name: case for name, case in cases.items() if name in requested or name in twins}
    if options.seeds:
        selected = {name: replace(case, seeds=options.seeds) for name, case in selected.items()}
    return selected


Job = tuple[Case, int, tuple[str, ...]]


def run_all(
    jobs: Sequence[Job], files: Mapping[str, Path], *, workers: int, allow: str, watched: bool = False
) -> Iterator[Record]:
    """Yield records as runs end. The `workers` processes are spawned once."""
    run_one = run_watched if watched else run_case
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=prepare_worker, initargs=(allow,)) as pool:
        futures = [pool.submit(run_one, case, seed, files.get(case.name), more) for case, seed, more in jobs]
        for future in as_completed(futures):
            yield future.result()


def main(args: Sequence[str] | None = None) -> int:
    options, console = parse_arguments(args), Console(width=None if sys.stdout.isatty() else 200)
    cases = select_cases(loop_cases() | module_cases() if options.watched else read_cases(), options)
    if options.list or not cases:
        print("\n".join(f"{case.family:16} {name}" for name, case in cases.items()) or "no case has such a name")
        return 0 if cases else 2
    os.environ["OMP_NUM_THREADS"] = "1"  # before the processes start and import torch
    started = time.perf_counter()
    more = ("checks=off",) if options.through else ()
    with tempfile.TemporaryDirectory(prefix="faults_data_") as folder:
        with_data = {} if options.watched else {name: case for name, case in cases.items() if case.data is not None}
        files = {name: datasets.write(case.data or {}, Path(folder)) for name, case in with_data.items()}
        allow = allowed_names(cases.values())

        def run(jobs: Sequence[Job]) -> list[Record]:
            done = []
            for record in run_all(jobs, files, workers=options.jobs, allow=allow, watched=options.watched):
                done.append(record)
                if console.is_terminal:
                    console.print(
                        f"{len(done)}/{len(jobs)} {record.case} {record.seed}: {record.first_check}", end="\r"
                    )
            return done

        records = run([(case, seed, more) for case in cases.values() for seed in range(case.seeds)])
        rows = rows_of(cases, records)
        if options.fix:
            faulty = [row for row in rows if row.case.fix]
            fixed = run([(row.case, r.seed, ("fix=true",)) for row in faulty for r in row.counted])
            twins = {row.case.name: row.twin_score or 0.0 for row in faulty}
            repairs: dict[str, list[bool]] = {name: [] for name in twins}
            for record in fixed:
                is_repaired = record.ended == "passed" and (record.score or 0.0) >= SHOWN * twins[record.case]
                repairs[record.case].append(is_repaired)
            rows = rows_of(cases, records, repairs)
    totals = totals_of(rows, time.perf_counter() - started)
    print_tables(rows, totals, console)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(as_json(rows, totals), indent=1) + "\n")
    if options.through and options.record and not options.watched:
        record_scores(records)
    return 1 if missed_targets(rows) else 0


def record_scores(records: Sequence[Record]) -> None:
    """Write the scores of `records` to scores.yaml; those of other cases stay."""
    scores = yaml.safe_load(SCORES.read_text()) if SCORES.exists() else {}
    for name in {record.case for record in records}:
        runs = sorted((r for r in records if r.case == name), key=lambda r: r.seed)
        scores[name] = [None if r.score is None else round(r.score, 3) for r in runs]
    lines = [f"{name}: [{', '.join('null' if s is None else str(s) for s in scores[name])}]" for name in sorted(scores)]
    SCORES.write_text(
        "# Test accuracy by seed with checks=off, null where the run ended before: "
        "python -m tests.faults --through --record\n" + "\n".join(lines) + "\n"
    )


if __name__ == "__main__":
    sys.exit(main())
