"""`runs prune`: remove runs. It prints how many and how large they are, and asks before it removes them."""

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
from pipeline.errors import PASSED, UserError
from pipeline.report.console import console
from pipeline.runs.index import LATEST, RunEntry, last_modified, list_runs

RUNNING_GRACE_SECONDS = 86400.0
"""A run without a verdict may still be running until it has written nothing for so long."""
SUCCESS = ("passed", "searched")


def prune(args: Sequence[str]) -> int:
    """Remove the runs to which all given flags apply. The newest run is never removed."""
    parsed = _parser().parse(args)
    if parsed.older is None and not parsed.failed and parsed.keep_best is None:
        raise UserError("say which runs: --older 30d, --failed, --keep-best 10, or several of them together.")
    runs = list_runs(parsed.outputs)
    roots = _select(
        runs, parsed.outputs, older=parsed.older, failed=parsed.failed, best=parsed.keep_best, name=parsed.name
    )
    out = console()
    if not roots:
        out.print("nothing to remove")
        return PASSED
    sizes = {root: _size_in_bytes(root) for root in roots}
    for root, size in sizes.items():
        out.print(Text(f"  {root.parent.name}/{root.name}  {_format_size(size)}"))
    total = f"{len(roots)} of {len({run.run_root for run in runs})} runs, {_format_size(sum(sizes.values()))}"
    if not parsed.yes:
        if not sys.stdin.isatty():
            raise UserError(f"{total} would be removed. Not a terminal: pass --yes to confirm.")
        if not _confirm(f"Remove {total}? [y/N] "):
            out.print("nothing removed")
            return PASSED
    for root in roots:
        remove_run(root, parsed.outputs)
    out.print(f"removed {total}")
    return PASSED


def remove_run(root: Path, outputs: Path) -> None:
    """Remove the directory of a run, and that of its name if it is empty then.

    Raises `UserError` unless it is a real directory two levels below `outputs`, whatever links are on the way.
    """
    if root.is_symlink() or root.resolve().parent.parent != outputs.resolve():
        raise UserError(f"{str(root)!r} is not a run in {str(outputs)!r}, so it is not removed.")
    try:
        shutil.rmtree(root)
    except OSError as error:
        raise UserError(f"cannot remove {str(root)!r} ({error.strerror or error}).") from error
    with contextlib.suppress(OSError):
        root.parent.rmdir()


def _parser() -> CommandParser:
    parser = CommandParser(
        "runs prune", "Remove the runs to which all flags apply. The newest run and what is running are kept."
    )
    parser.add_argument("--older", type=duration_seconds, metavar="AGE", help="started longer ago: 12h, 30d, 2w")
    parser.add_argument(
        "--failed", action="store_true", help="did not pass: failed, crashed, interrupted, unfinished, broken"
    )
    parser.add_argument(
        "--keep-best", type=positive_int, metavar="N", help="not among the N highest validation accuracies"
    )
    parser.add_argument("--name", help="only runs of this name")
    parser.add_argument("--yes", action="store_true", help="do not ask")
    parser.add_argument("--outputs", type=Path, default=Path("outputs"), help="the folder of all runs")
    return parser


def _confirm(question: str) -> bool:
    try:
        return input(question).strip().lower() in ("y", "yes")
    except EOFError:  # Ctrl-D
        print()
        return False


def _select(
    runs: Sequence[RunEntry], outputs: Path, *, older: float | None, failed: bool, best: int | None, name: str | None
) -> list[Path]:
    """Return the directories to remove.

    All runs in a directory must meet the conditions. The newest run, the one that `latest` points to, and any that may
    still be running are kept.
    """
    ranked = sorted((run for run in runs if run.validation is not None), key=lambda run: -(run.validation or 0.0))
    kept = {run.run_root for run in runs[:1]} | {run.run_root for run in ranked[: best or 0]}
    latest = (outputs / LATEST).resolve()
    selected = []
    for root in dict.fromkeys(run.run_root for run in runs):
        jobs = [run for run in runs if run.run_root == root]
        if (
            root not in kept
            and name in (None, root.parent.name)
            and not latest.is_relative_to(root.resolve())
            and not any(_may_be_running(run) for run in jobs)
            and not (older is not None and time.time() - max(run.started for run in jobs) < older)
            and not (failed and any(run.status in SUCCESS for run in jobs))
        ):
            selected.append(root)
    return selected


def _may_be_running(run: RunEntry) -> bool:
    return (
        run.status in ("running", "unfinished", "broken") and time.time() - last_modified(run) < RUNNING_GRACE_SECONDS
    )


def _size_in_bytes(root: Path) -> int:
    """Return the size of all files below `root`. Links are not followed."""
    return sum((Path(folder) / file).lstat().st_size for folder, _, files in os.walk(root) for file in files)


def _format_size(size: float) -> str:
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"
