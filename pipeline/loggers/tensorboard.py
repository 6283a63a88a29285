"""The logger `tensorboard`: scalars, histograms, images, and the table of hyperparameters with the final scores."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from pipeline import validation
from pipeline.loggers.base import FOLDER, LoggedRun, Logger, Writer
from pipeline.loggers.hyperparameters import flatten_config
from pipeline.validation import require_package

if TYPE_CHECKING:
    from numpy import ndarray


@dataclass(frozen=True)
class TensorBoard(Logger):
    """Writes <run>/logs/tensorboard. A resumed run copies the earlier events and appends to them."""

    quiet_modules: ClassVar[tuple[str, ...]] = ("tensorboard",)

    histograms: bool

    def __post_init__(self) -> None:
        validation.boolean("histograms", self.histograms)
        require_package("tensorboard", extra="loggers")

    def open(self, run: LoggedRun, state: Mapping[str, Any] | None) -> Writer:
        """Begin the events, or append to those of the resumed run where they still exist."""
        folder = run.logs / "tensorboard"
        shutil.rmtree(folder, ignore_errors=True)
        source = run.resumed_from / FOLDER / "tensorboard" if run.resumed_from is not None else None
        if state is None or source is None or not source.is_dir():
            return _EventWriter(run, folder, None, histograms=self.histograms)
        shutil.copytree(source, folder)
        return _EventWriter(run, folder, state, histograms=self.histograms)


class _EventWriter(Writer):
    def __init__(self, run: LoggedRun, folder: Path, state: Mapping[str, Any] | None, *, histograms: bool):
        from pytorch_lightning.loggers import TensorBoardLogger

        super().__init__(state)
        self.histograms = histograms
        self.config = flatten_config(run.config)
        self.board = TensorBoardLogger(folder, name="", version="", default_hp_metric=False)
        self.events = self.board.experiment  # opens the file

    def log_scalars(self, values: Mapping[str, float], step: int) -> None:
        self.board.log_metrics(values, step=step)

    def log_histogram(self, name: str, counts: ndarray, edges: ndarray, step: int) -> None:
        centers = (edges[1:] + edges[:-1]) / 2  # stand for the single values, which are not known here
        self.events.add_histogram_raw(
            name,
            min=edges[0],
            max=edges[-1],
            num=counts.sum(),
            sum=counts @ centers,
            sum_squares=counts @ centers**2,
            bucket_limits=edges[1:].tolist(),
            bucket_counts=counts.tolist(),
            global_step=step,
        )

    def log_image(self, name: str, pixels: ndarray, step: int) -> None:
        self.events.add_image(name, pixels, step, dataformats="HWC")

    def flush(self) -> None:
        self.events.flush()

    def close(self, status: str, scores: Mapping[str, float]) -> None:
        if status in ("passed", "failed"):  # a run that will be resumed has no final scores
            self.board.log_hyperparams(self.config, metrics=dict(scores))
        self.board.finalize("success" if status == "passed" else status)
