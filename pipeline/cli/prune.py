"""`runs prune`: remove runs that nobody needs any more; says how many and how large, and asks first."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from rich.text import Text

from pipeline.cli.parser import CommandParser, duration_seconds, positive_int
from pipeline.errors import UserError
from pipeline.report.console import console
from pipeline.runs.index import LATEST, RunEntry, last_modified, list_runs

RUNNING_GRACE_SECONDS = 86400.0
"""Seconds without a word after which a run that never said its end is surely over."""
SUCCESS = ("passed", "searched")


def prune(words: Sequence[str]) -> int:
    """Remove the runs that all the flags name; the newest is never among them."""
    parser = CommandParser(
        "runs prune", "Remove runs that fit every flag given. The newest run is kept, and what is running."
    )
    parser.add_argument("--older", type=duration_seconds, metavar="AGE", help="started longer ago: 12h, 30d, 2w")
    parser.add_argument("--failed", action="store_true", help="did not pass: failed, crashed, interrupted, unfinished")
    parser.add_argument(
        "--keep-best", type=positive_int, metavar="N", help="all but the N highest validation accuracies"
    )
    parser.add_argument("--name", help="only runs of this name")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="the folder in which runs are kept")
    asked = parser.parse(words)
    if asked.older is None and not asked.failed and asked.keep_best is None:
        raise UserError("say which: --older 30d, --failed, --keep-best 10, or several of them together.")
    runs = list_runs(asked.outputs)
    units = _chosen(runs, asked.outputs, older=asked.older, failed=asked.failed, best=asked.keep_best, name=asked.name)
    out = console()
    if not units:
        out.print("nothing to remove")
        return 0
    for unit in units:
        out.print(Text(f"  {unit.parent.name}/{unit.name}  {_size(_bytes(unit))}"))
    total = f"{len(units)} of {len({run.run_root for run in runs})} runs, {_size(sum(map(_bytes, units)))}"
    if not asked.yes:
        if not sys.stdin.isatty():
            raise UserError(f"{total}: nobody can be asked here; --yes removes them.")
        if not _confirm(f"Remove {total}? [y/N] "):
            out.print("nothing removed")
            return 0
    for unit in units:
        _remove(unit, asked.outputs)
    out.print(f"removed {total}")
    return 0


def _confirm(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl-D
        print()
        return False


def _chosen(
    runs: Sequence[RunEntry], outputs: Path, *, older: float | None, failed: bool, best: int | None, name: str | None
) -> list[Path]:
    """Folders of which every run fits; not the newest, the one that `latest` points to, or any that may still run."""
    ranked = sorted((run for run in runs if run.validation is not None), key=lambda run: -(run.validation or 0.0))
    spared = {run.run_root for run in runs[:1]} | {run.run_root for run in ranked[: best or 0]}
    pointed = (outputs / LATEST).resolve()
    chosen = []
    for unit in dict.fromkeys(run.run_root for run in runs):
        jobs = [run for run in runs if run.run_root == unit]
        if (
            unit not in spared
            and name in (None, unit.parent.name)
            and not pointed.is_relative_to(unit.resolve())
            and not any(_may_be_running(run) for run in jobs)
            and not (older is not None and time.time() - max(run.started for run in jobs) < older)
            and not (failed and any(run.status in SUCCESS for run in jobs))
        ):
            chosen.append(unit)
    return chosen


def _may_be_running(run: RunEntry) -> bool:
    return run.status in ("running", "unfinished") and time.time() - last_modified(run) < RUNNING_GRACE_SECONDS


def _remove(unit: Path, outputs: Path) -> None:
    """Only what lies two folders deep in the outputs, whatever links there are on the way."""
    if unit.is_symlink() or unit.resolve().parent.parent != outputs.resolve():
        raise UserError(f"{str(unit)!r} does not lie in {str(outputs)!r}; it stays.")
    try:
        shutil.rmtree(unit)
    except OSError as error:
        raise UserError(f"cannot remove {str(unit)!r} ({error.strerror or error}).") from error
    with contextlib.suppress(OSError):
        unit.parent.rmdir()


def _bytes(unit: Path) -> int:
    return sum(
        (Path(folder) / file).lstat().st_size for folder, _, files in os.walk(unit) for file in files
    )  # os.walk follows no links


def _size(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
