"""The runs and searches in the outputs folder, read from their records, and found by a few letters of their ids."""

from __future__ import annotations

import datetime
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.errors import UserError, did_you_mean
from pipeline.runs.json_files import OUTCOME, read_outcome
from pipeline.runs.run_ids import id_matches, short_ids

SEARCH = "search.json"
LATEST = "latest"
STALE_SECONDS = 3600.0
"""A run whose record says `running` and that has written nothing for so long is listed as unfinished."""
_MALFORMED = (OSError, ValueError, TypeError, KeyError, AttributeError, IndexError)
"""Errors of reading a record that is not as we write it."""


@dataclass(frozen=True)
class RunEntry:
    """A run, a job of a multirun, or a whole search."""

    directory: Path
    run_root: Path
    """The directory that is kept or removed as a whole: the run's own, or that of its multirun."""
    name: str
    short_id: str
    status: str
    """passed, failed, error, interrupted, running or unfinished; of a search searched or unfinished; broken where the
    record cannot be read."""
    validation: float | None
    """The validation accuracy; of a search that of its best trial."""
    test: float | None
    """The test accuracy."""
    seconds: float
    started: float
    """Seconds since the epoch."""
    overrides: tuple[str, ...]
    first_finding: str = ""
    """The name of the first check in the diagnosis."""
    problem: str = ""
    """Why the record cannot be read, where `status` is broken."""

    @property
    def id(self) -> str:
        """`2026-01-31_23-59-59_1f0c9a3e77b2`, and for a job of a multirun its number: `.../3`."""
        return self.directory.relative_to(self.run_root.parent).as_posix()


def list_runs(outputs: Path) -> list[RunEntry]:
    """Return all runs, the newest first. Directories that hold no run are skipped.

    Raise `UserError` if the folder cannot be read; a missing folder has no runs.
    """
    try:
        next(outputs.iterdir(), None)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"cannot read the folder {str(outputs)!r} ({error.strerror}).", field="outputs") from error
    entries = [entry for name in _subfolders(outputs) for root in _subfolders(name) for entry in _entries(root)]
    shortened = short_ids({entry.run_root for entry in entries})
    named = [replace(e, short_id=shortened[e.run_root] + e.id.removeprefix(e.run_root.name)) for e in entries]
    return sorted(named, key=lambda entry: (entry.started, entry.id), reverse=True)


def resolve_run(reference: str, outputs: Path) -> Path:
    """Return the directory of the run that `reference` means.

    A reference is a path, `latest`, a name (its newest run), or the beginning or end of an id that only one run has.
    Raise `UserError` if it means no run or several.
    """
    if (Path(reference) / OUTCOME).is_file() or (Path(reference) / SEARCH).is_file():
        return Path(reference)
    runs = list_runs(outputs)
    if reference == LATEST and runs:
        target = (outputs / LATEST).resolve()
        return next((run.directory for run in runs if run.directory.resolve() == target), runs[0].directory)
    matches = [run for run in runs if run.name == reference][:1]
    matches = matches or [run for run in runs if id_matches(reference, run.id, name=run.name)]
    if len(matches) == 1:
        return matches[0].directory
    if matches:
        several = ", ".join(f"{run.name}/{run.id}" for run in matches[:4])
        raise UserError(f"{reference!r} can mean {len(matches)} runs: {several}{', ...' if len(matches) > 4 else ''}.")
    names = [*dict.fromkeys(run.name for run in runs), *(run.short_id for run in runs), *([LATEST] if runs else [])]
    hint = "`python -m pipeline runs` lists them." if runs else f"there are none in {str(outputs)!r}."
    what = "file, folder or run" if Path(reference).suffix or "/" in reference else "run"
    raise UserError(
        f"there is no {what} {reference!r}.{did_you_mean(reference, names)} Give a folder or a run's name; {hint}"
    )


def last_modified(run: RunEntry) -> float:
    """Return when a file of the run was last written, in seconds since the epoch."""
    folders = [run.directory, run.directory / "checkpoints"]
    files = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    return max((path.stat().st_mtime for path in files if path.exists()), default=0.0)


def _subfolders(parent: Path) -> list[Path]:
    """Return the directories inside `parent`, without hidden ones and symbolic links."""
    try:
        paths = sorted(parent.iterdir())
    except OSError:
        return []
    return [path for path in paths if path.is_dir() and not path.is_symlink() and not path.name.startswith(".")]


def _entries(run_root: Path) -> Iterator[RunEntry]:
    """Yield the search, the run, or the jobs of the multirun in `<outputs>/<name>/<id>`."""
    if (run_root / SEARCH).is_file():
        yield _search_entry(run_root)
    elif (record := read_outcome(run_root)) is not None:
        yield _run_entry(run_root, run_root, record)
    else:
        for job in _subfolders(run_root):
            if (record := read_outcome(job)) is not None:
                yield _run_entry(job, run_root, record)


def _run_entry(directory: Path, run_root: Path, record: dict[str, Any]) -> RunEntry:
    entry = _empty_entry(directory, run_root)
    try:
        metrics: dict[str, Any] = {}
        for stage in record.get("stages", ()):
            metrics |= stage.get("metrics", {})
        entry = replace(
            entry,
            status=str(record.get("status", "")),
            validation=_float_or_none(metrics.get("val_accuracy")),
            test=_float_or_none(metrics.get("test_accuracy")),
            seconds=float(record.get("seconds", 0)),
            overrides=_overrides(record.get("command", "")),
            first_finding=next((str(finding["check"]) for finding in record.get("diagnosis", ())), ""),
        )
    except _MALFORMED as error:
        return _broken(entry, OUTCOME, error)
    if entry.status == "running" and time.time() - last_modified(entry) > STALE_SECONDS:
        return replace(entry, status="unfinished")
    return entry


def _search_entry(run_root: Path) -> RunEntry:
    from pipeline.search.records import read_search

    entry = _empty_entry(run_root, run_root)
    try:
        search = read_search(run_root)
        best = search.ranking()
        return replace(
            entry,
            status="searched" if search.finished else "unfinished",
            validation=best[0].score if best and search.metric == "val_accuracy" else None,
            seconds=sum(trial.seconds for trial in search.trials),
            overrides=_overrides(search.command),
        )
    except _MALFORMED as error:
        return _broken(entry, SEARCH, error)


def _empty_entry(directory: Path, run_root: Path) -> RunEntry:
    """Return an entry with what the directory alone tells."""
    return RunEntry(
        directory=directory,
        run_root=run_root,
        name=run_root.parent.name,
        short_id="",
        status="",
        validation=None,
        test=None,
        seconds=0.0,
        started=_start_time(run_root),
        overrides=(),
    )


def _broken(entry: RunEntry, file: str, error: Exception) -> RunEntry:
    return replace(entry, status="broken", problem=f"{file} cannot be read: {type(error).__name__}: {error}")


def _overrides(command: str) -> tuple[str, ...]:
    return tuple(shlex.split(command)[3:])  # after `python -m pipeline`


def _start_time(run_root: Path) -> float:
    """Return the time in the id, which a copy of the directory keeps, or else that of the directory."""
    try:
        return datetime.datetime.strptime(run_root.name[:19], "%Y-%m-%d_%H-%M-%S").timestamp()
    except ValueError:
        return run_root.stat().st_mtime


def _float_or_none(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
