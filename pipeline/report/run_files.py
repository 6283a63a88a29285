"""The files of a run, read for its page."""

from __future__ import annotations

import csv
import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from pipeline.runs.images import load_pictures
from pipeline.runs.json_files import OUTCOME, load_json, load_signals
from pipeline.runs.paths import FINETUNE, UnreadableFileError

HISTORY = "history.csv"
T = TypeVar("T")


@dataclass(frozen=True)
class Run:
    """What the files of a run hold."""

    id: str
    record: Mapping[str, Any]
    """The content of outcome.json."""
    signals: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    images: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """The arrays of pictures.npz by stage."""
    planned: Sequence[str] = ()
    """The stages of the configuration, in order."""
    problems: Sequence[str] = ()
    """A sentence for each file that exists and cannot be read."""

    @property
    def is_configured(self) -> bool:
        """Whether the pipeline itself made this run; a watched loop has neither configuration nor seed."""
        return bool(self.record["config_hash"])

    @property
    def stages(self) -> dict[str, Mapping[str, Any]]:
        """The stages that have ended, by name."""
        return {stage["name"]: stage for stage in self.record["stages"]}

    @property
    def metrics(self) -> dict[str, Any]:
        """The metrics of all stages together."""
        return {key: value for stage in self.record["stages"] for key, value in stage["metrics"].items()}

    @property
    def stage_names(self) -> list[str]:
        """All stages in order: planned, ended or begun."""
        return list(dict.fromkeys([*self.planned, *self.stages, *self.signals]))

    @property
    def current_stage(self) -> str | None:
        """The first planned stage that has not ended; None if all have."""
        return next((name for name in self.planned if name not in self.stages), None)

    @property
    def findings(self) -> list[Mapping[str, Any]]:
        """The findings of all stages, ranked, one for each check: the first is the first to fix."""
        findings = {(f["stage"], f["check"], f["where"]): f for s in self.record["stages"] for f in s["findings"]}
        ranking = {(d["stage"], d["check"], d["where"]): d.get("also_in", []) for d in self.record["diagnosis"]}
        return [{**findings[key], "also_in": also_in} for key, also_in in ranking.items() if key in findings]


def read_run(directory: Path) -> Run:
    """Read a run. Raise `FileNotFoundError` without outcome.json, and `UnreadableFileError` if it cannot be read.

    Any other file may be missing. One that cannot be read is noted in `Run.problems`.
    """
    record = load_json(directory / OUTCOME)
    problems: list[str] = []

    def read(load: Callable[[Path], T]) -> T | None:
        try:
            return load(directory)
        except FileNotFoundError:
            return None
        except UnreadableFileError as error:
            problems.append(f"{error}.")
            return None

    signals = read(load_signals) or {}
    for stage, folder in (("train", "."), (FINETUNE, FINETUNE)):
        if stage not in signals and (history := read(functools.partial(_history_in, folder))):
            signals[stage] = {"epochs": history}  # of a training that was interrupted
    images, planned = read(load_pictures) or {}, read(_load_planned_stages) or []
    return Run(directory.resolve().name, record, signals, images, planned, problems)


def _history_in(folder: str, directory: Path) -> dict[str, list[float]]:
    """Return the history of a run that lies in one of its folders."""
    return load_history(directory / folder)


def load_history(directory: Path) -> dict[str, list[float]]:
    """Return the columns of history.csv.

    Raise `FileNotFoundError` if there is no file, and `UnreadableFileError` if it cannot be read.
    """
    path = directory / HISTORY
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        return {key: [float(row[key]) for row in rows] for key in rows[0]} if rows else {}
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, KeyError, csv.Error) as error:
        raise UnreadableFileError(path, error) from error


def _load_planned_stages(directory: Path) -> list[str]:
    """Return the stages of the composed configuration, in order."""
    import yaml

    path = directory / ".hydra" / "config.yaml"
    try:
        config = yaml.load(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))
        return list(config["stages"])
    except FileNotFoundError:
        raise
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError) as error:
        raise UnreadableFileError(path, error) from error


def outputs_dir_of(directory: Path) -> Path:
    """Return the folder of all runs: the one that has `latest`, or that of `<outputs>/<name>/<run>`."""
    parents = directory.parents
    return next((folder for folder in parents[1:4] if (folder / "latest").is_symlink()), parents[1])
