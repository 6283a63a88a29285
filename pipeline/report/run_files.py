"""What a run's directory tells, read from its files."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pipeline.runs.images import read_pictures
from pipeline.runs.json_files import read_outcome, read_signals


@dataclass(frozen=True)
class Run:
    """All that a run's directory tells. `planned`: names of the stages it was to go through."""

    id: str
    record: Mapping[str, Any]
    signals: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    pictures: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    planned: Sequence[str] = ()

    @property
    def stages(self) -> dict[str, Mapping[str, Any]]:
        return {stage["name"]: stage for stage in self.record["stages"]}

    @property
    def findings(self) -> list[Mapping[str, Any]]:
        """Of all stages, the first to mend first."""
        every = {(f["stage"], f["check"], f["where"]): f for s in self.record["stages"] for f in s["findings"]}
        order = [(d["stage"], d["check"], d["where"]) for d in self.record["diagnosis"]]
        return [every[key] for key in order if key in every]


def read_run(directory: Path) -> Run:
    """The run in a directory. Raises `FileNotFoundError` where there is none."""
    record = read_outcome(directory)
    if record is None:
        raise FileNotFoundError(f"{directory} has no readable outcome.json")
    signals = read_signals(directory) or {}
    if "train" not in signals and (rows := read_history(directory)):
        signals["train"] = {"epochs": rows}  # of a training that was interrupted
    return Run(directory.resolve().name, record, signals, read_pictures(directory), _planned(directory))


def _planned(directory: Path) -> list[str]:
    """The stages of the composed configuration, in order."""
    import yaml

    try:
        config = yaml.load(
            (directory / ".hydra" / "config.yaml").read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader)
        )
        return list(config["stages"])
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return []


def read_history(directory: Path) -> dict[str, list[float]]:
    """Columns of history.csv."""
    try:
        with (directory / "history.csv").open(newline="") as file:
            rows = list(csv.DictReader(file))
        return {key: [float(row[key]) for row in rows] for key in rows[0]} if rows else {}
    except (OSError, ValueError, TypeError, KeyError):
        return {}


def outputs_dir_of(directory: Path) -> Path:
    """The folder of all runs, some levels up: where `latest` is; else that of <outputs>/<name>/<run>."""
    above = directory.parents
    return next((folder for folder in above[1:4] if (folder / "latest").is_symlink()), above[1])
