"""The runs that lie in the outputs folder, read from their records, and found again by a few letters of their name."""

from __future__ import annotations

import contextlib
import datetime
import shlex
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from pipeline.errors import UserError, did_you_mean
from pipeline.runs.json_files import OUTCOME, read_outcome

SEARCH = "search.json"
LATEST = "latest"
STALE_SECONDS = 3600.0
"""Seconds without a word after which a run that says it is running is called unfinished."""
MIN_ID_LENGTH = 4
"""Letters of a reference, as many more as tell it from the others."""


@dataclass(frozen=True)
class RunEntry:
    """A run, a job of a multirun, or a search as a whole."""

    directory: Path
    run_root: Path
    """The folder that is kept or removed as a whole: its own, or that of its multirun."""
    name: str
    short_id: str
    status: str
    """passed, failed, error, interrupted, running, unfinished; of a search searched or unfinished."""
    validation: float | None
    """Accuracy by which runs compare; of a search its best trial's score."""
    test: float | None
    seconds: float
    started: float
    overrides: tuple[str, ...]
    first_finding: str = ""
    """The first of the diagnosis."""

    @property
    def id(self) -> str:
        """`2026-01-31_23-59-59_1f0c9a3e77b2`, of a job with its number: `.../3`."""
        return self.directory.relative_to(self.run_root.parent).as_posix()


def list_runs(outputs: Path) -> list[RunEntry]:
    """All runs, the newest first. What is no run's folder is left alone; a `UserError` where nothing can be read."""
    try:
        next(outputs.iterdir(), None)
    except FileNotFoundError:
        return []
    except OSError as error:
        raise UserError(f"cannot read the folder {str(outputs)!r} ({error.strerror}).", field="outputs") from error
    found = [run for unit in _units(outputs) for run in _runs(unit)]
    short = _references({run.run_root for run in found})
    named = [replace(run, short_id=short[run.run_root] + run.id.removeprefix(run.run_root.name)) for run in found]
    return sorted(named, key=lambda run: (run.started, run.id), reverse=True)


def resolve_run(word: str, outputs: Path) -> Path:
    """The folder of the run that `word` means: a path, `latest`, a name (its newest run), or an end or a beginning of
    an id that only one run has. Raises `UserError` for a word that means none or several."""
    if (Path(word) / OUTCOME).is_file() or (Path(word) / SEARCH).is_file():
        return Path(word)
    runs = list_runs(outputs)
    if word == LATEST and runs:
        pointed = (outputs / LATEST).resolve()
        return next((run.directory for run in runs if run.directory.resolve() == pointed), runs[0].directory)
    fits = [run for run in runs if run.name == word][:1] or [run for run in runs if _means(word, run)]
    if len(fits) == 1:
        return fits[0].directory
    if fits:
        several = ", ".join(f"{run.name}/{run.id}" for run in fits[:4])
        raise UserError(f"{word!r} can mean {len(fits)} runs: {several}{', ...' if len(fits) > 4 else ''}.")
    names = [*dict.fromkeys(run.name for run in runs), *(run.short_id for run in runs), LATEST]
    hint = "`python -m pipeline runs` lists them." if runs else f"there are none in {str(outputs)!r}."
    raise UserError(f"there is no run {word!r}.{did_you_mean(word, names)} Give a folder or a run's name; {hint}")


def last_modified(run: RunEntry) -> float:
    """When anything was last written in the run's folder."""
    folders = [run.directory, run.directory / "checkpoints"]
    files = [path for folder in folders if folder.is_dir() for path in folder.iterdir()]
    return max((path.stat().st_mtime for path in files if path.exists()), default=0.0)


def _units(outputs: Path) -> Iterator[Path]:
    """<outputs>/<name>/<id>, no symbolic links among them."""
    for name in _folders(outputs):
        yield from _folders(name)


def _folders(parent: Path) -> list[Path]:
    try:
        inside = sorted(parent.iterdir())
    except OSError:
        return []
    return [path for path in inside if path.is_dir() and not path.is_symlink() and not path.name.startswith(".")]


def _runs(unit: Path) -> Iterator[RunEntry]:
    if (unit / SEARCH).is_file():
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):
            yield _search(unit)
    elif (record := read_outcome(unit)) is not None:
        yield _run(unit, unit, record)
    else:
        for job in _folders(unit):
            if (record := read_outcome(job)) is not None:
                yield _run(job, unit, record)


def _run(directory: Path, unit: Path, record: dict[str, Any]) -> RunEntry:
    metrics: dict[str, Any] = {}
    for stage in record.get("stages", ()):
        metrics |= stage.get("metrics", {})
    words = shlex.split(record.get("command", ""))
    run = RunEntry(
        directory=directory,
        run_root=unit,
        name=unit.parent.name,
        short_id="",
        status=str(record.get("status", "")),
        validation=_number(metrics.get("val_accuracy")),
        test=_number(metrics.get("test_accuracy")),
        seconds=float(record.get("seconds", 0)),
        started=_started(unit),
        overrides=tuple(words[3:]),
        first_finding=next((str(finding["check"]) for finding in record.get("diagnosis", ())), ""),
    )
    if run.status == "running" and time.time() - last_modified(run) > STALE_SECONDS:
        return replace(run, status="unfinished")
    return run


def _search(unit: Path) -> RunEntry:
    from pipeline.search.records import read_search

    search = read_search(unit)
    best = search.ranking()
    return RunEntry(
        directory=unit,
        run_root=unit,
        name=unit.parent.name,
        short_id="",
        status="searched" if search.finished else "unfinished",
        validation=best[0].score if best and search.metric == "val_accuracy" else None,
        test=None,
        seconds=sum(trial.seconds for trial in search.trials),
        started=_started(unit),
        overrides=tuple(shlex.split(search.command)[3:]),
    )


def _references(units: set[Path]) -> dict[Path, str]:
    """For each folder the fewest letters of its random part that no other has."""
    tails = {unit: unit.name.rpartition("_")[2] for unit in units}
    ordered = sorted(tails.values())
    needed = {}
    for before, tail, after in zip(["", *ordered], ordered, [*ordered[1:], ""], strict=False):
        needed[tail] = max(MIN_ID_LENGTH, *(_alike(tail, other) + 1 for other in (before, after)))
    return {unit: tail[: needed[tail]] for unit, tail in tails.items()}


def _alike(a: str, b: str) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))


def _means(word: str, run: RunEntry) -> bool:
    """Whether the word, after the run's name or alone, is a beginning or an end of its id; a job needs its number."""
    unit, _, job = run.id.partition("/")
    asked, _, number = word.removeprefix(f"{run.name}/").partition("/")
    parts = (unit, unit.rpartition("_")[2])
    return number == job and bool(asked) and any(part.startswith(asked) or part.endswith(asked) for part in parts)


def _started(unit: Path) -> float:
    """By the id, which a copy keeps, else by the folder's own time."""
    try:
        return datetime.datetime.strptime(unit.name[:19], "%Y-%m-%d_%H-%M-%S").timestamp()
    except ValueError:
        return unit.stat().st_mtime


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) else None
