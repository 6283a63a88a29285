"""The logger `csv`: one table with everything, a row for each step, for spreadsheets and pandas."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.loggers.base import LoggedRun, Logger, Writer
from pipeline.loggers.hyperparameters import flatten_config


@dataclass(frozen=True)
class CSV(Logger):
    """Writes <run>/logs/csv/metrics.csv. A resumed run writes the whole table in its own directory."""

    def open(self, run: LoggedRun, state: Mapping[str, Any] | None) -> Writer:
        """Begin a table. `state` is not needed, since the table is written from the first epoch on."""
        return _CSVWriter(run)


class _CSVWriter(Writer):
    def __init__(self, run: LoggedRun):
        from pytorch_lightning.loggers import CSVLogger

        super().__init__()
        shutil.rmtree(run.logs / "csv", ignore_errors=True)
        self.table = CSVLogger(run.logs / "csv", name="", version="")
        self.table.log_hyperparams(flatten_config(run.config))

    def log_scalars(self, values: Mapping[str, float], step: int) -> None:
        self.table.log_metrics(dict(values), step=step)

    def flush(self) -> None:
        self.table.save()

    def close(self, status: str, scores: Mapping[str, float]) -> None:
        self.table.save()
