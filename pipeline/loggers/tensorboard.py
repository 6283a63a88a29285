"""TensorBoard: scalars, histograms of the weights, pictures, and the table of hyperparameters with the final scores."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipeline import validation
from pipeline.loggers.base import FOLDER, LoggedRun, Writer
from pipeline.loggers.hyperparameters import flatten_config
from pipeline.validation import require_package

if TYPE_CHECKING:
    from numpy import ndarray


@dataclass(frozen=True)
class TensorBoard:
    """<run>/logs/tensorboard. A resumed run takes the events so far along and goes on behind them."""

    histograms: bool

    def __post_init__(self) -> None:
        validation.boolean("histograms", self.histograms)
        require_package("tensorboard", extra="loggers")

    def open(self, run: LoggedRun, before: Mapping[str, Any] | None) -> Writer:
        return _Events(run, before, histograms=self.histograms)


class _Events(Writer):
    def __init__(self, run: LoggedRun, before: Mapping[str, Any] | None, *, histograms: bool):
        from pytorch_lightning.loggers import TensorBoardLogger

        folder = run.logs / "tensorboard"
        shutil.rmtree(folder, ignore_errors=True)
        goes_on = (
            before is not None
            and run.resumed_from is not None
            and _copy(run.resumed_from / FOLDER / "tensorboard", folder)
        )
        super().__init__(before if goes_on else None)
        self.histograms = histograms
        self.config = flatten_config(run.config)
        self.board = TensorBoardLogger(folder, name="", version="", default_hp_metric=False)
        self.events = self.board.experiment  # opens the file

    def log_scalars(self, values: Mapping[str, float], step: int) -> None:
        self.board.log_metrics(values, step=step)

    def histogram(self, name: str, counts: ndarray, edges: ndarray, step: int) -> None:
        middles = (edges[1:] + edges[:-1]) / 2  # of single values nothing is known any more
        self.events.add_histogram_raw(
            name,
            min=edges[0],
            max=edges[-1],
            num=counts.sum(),
            sum=counts @ middles,
            sum_squares=counts @ middles**2,
            bucket_limits=edges[1:].tolist(),
            bucket_counts=counts.tolist(),
            global_step=step,
        )

    def log_image(self, name: str, pixels: ndarray, step: int) -> None:
        self.events.add_image(name, pixels, step, dataformats="HWC")

    def flush(self) -> None:
        self.events.flush()

    def close(self, status: str, scores: Mapping[str, float]) -> None:
        if status in ("passed", "failed"):  # not of a run that another will go on with
            self.board.log_hyperparams(self.config, metrics=dict(scores))
        self.board.finalize("success" if status == "passed" else status)


def _copy(source: Path, target: Path) -> bool:
    if not source.is_dir():
        return False
    shutil.copytree(source, target)
    return True
