"""Walk the table of own data and own networks: `make field [ARGS="--only 7 15"]`, `python -m tests.field`.

Each row is a case that makes its data, runs the program and says whether it did what is expected. One line is printed
for each, and a sum at the end; the exit code is 1 if one is wrong. `--slow` adds the data set of 3 GB.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

from tests.field.case import Case, Verdict, judge, read_cases
from tests.field.program import preload

ROOT = Path(__file__).parents[2]
ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")


def parse_arguments(args: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.field", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", nargs="+", type=int, default=[], metavar="N", help="rows with these numbers")
    parser.add_argument("--jobs", type=int, default=2, help="processes, one thread each")
    parser.add_argument("--slow", action="store_true", help="rows that take minutes and gigabytes as well")
    parser.add_argument("--list", action="store_true", help="name the rows and run nothing")
    return parser.parse_args(args)


def main(args: Sequence[str] | None = None) -> int:
    options = parse_arguments(args)
    cases = read_cases()
    chosen = [
        i
        for i, case in enumerate(cases)
        if (options.slow or not case.slow) and (not options.only or case.number in options.only)
    ]
    if options.list or not chosen:
        print(
            "\n".join(f"{cases[i].number:>4}  {cases[i].tried}: {cases[i].expected}" for i in chosen) or "no such row"
        )
        return 0 if chosen else 2
    started = time.perf_counter()
    verdicts = walk(chosen, cases, jobs=options.jobs)
    wrong = sum(not verdict.is_right for verdict in verdicts)
    seconds = time.perf_counter() - started
    print(f"{len(verdicts) - wrong} of {len(verdicts)} cases right, {wrong} wrong, in {seconds:.0f} s")
    return 1 if wrong else 0


def walk(chosen: Sequence[int], cases: Sequence[Case], *, jobs: int) -> list[Verdict]:
    """Judge the cases at `chosen` in `jobs` processes, and print a line for each, in order."""
    os.environ.update(ONE_THREAD)  # before the processes start and import torch
    verdicts = []
    context = multiprocessing.get_context("spawn")
    width = max(len(cases[i].tried) for i in chosen)
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=preload) as pool:
        for verdict in pool.map(judge, chosen):
            verdicts.append(verdict)
            right = "right" if verdict.is_right else "WRONG"
            got = verdict.got if not verdict.is_right else verdict.got[:110]
            print(
                f"{verdict.case_number:>4}  {verdict.tried:{width}}  {right}  {verdict.seconds:5.1f} s  {got}",
                flush=True,
            )
    return verdicts


if __name__ == "__main__":
    sys.exit(main())
