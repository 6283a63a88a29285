"""All loggers of a run as one."""

from __future__ import annotations

import contextlib
import json
import logging
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from pipeline.loggers import metric_names
from pipeline.loggers.base import FOLDER, LoggedRun, Logger, Writer
from pipeline.runs.paths import write_text

if TYPE_CHECKING:
    from torch import nn

STATE = "state.json"
BINS = 64
SCORES = ("val_accuracy", "val_loss", "test_accuracy", "test_loss")
"""Metrics by which runs are compared."""


def open_loggers(loggers: Mapping[str, Logger], run: LoggedRun) -> MultiLogger:
    """Open `loggers`, or continue those of the run that `run` resumes.

    Raise `UserError` if one of them cannot begin; those opened before it are closed.
    """
    states = _read_states(run.resumed_from / FOLDER / STATE) if run.resumed_from else {}
    log = MultiLogger({}, run)
    try:
        for name, logger in loggers.items():
            for module in logger.quiet_modules:
                warnings.filterwarnings("ignore", module=rf"{re.escape(module)}(\..*)?$")
            log.writers[name] = logger.open(run, states.get(name))
    except BaseException:
        log.close("error")
        raise
    return log


class MultiLogger:
    """The open loggers of a run. Without any it does nothing.

    It is given everything that was measured so far, and gives each writer what that one does not have yet. So a writer
    gets the same numbers in the same order while a training runs, after it, and from a run that resumes it. A writer
    that raises an exception is reported once and disabled; the run continues.
    """

    def __init__(self, writers: Mapping[str, Writer] | None = None, run: LoggedRun | None = None):
        self.writers, self.run = dict(writers or {}), run
        self.step = 0
        self.scores: dict[str, float] = {}

    def log_training(
        self,
        history: Sequence[Mapping[str, float]],
        samples: Mapping[str, Any] | None,
        units: Mapping[str, Any] | None,
        network: nn.Module | None = None,
    ) -> None:
        """Log the epochs and the sampled steps so far (docs/signals.md). `network` is that after the last epoch."""
        self.step = int(history[-1]["step"]) if history else self.step
        for name in list(self.writers):
            self._guarded(name, lambda writer: _log_new_rows(writer, history, samples, units or {}, network))
        self._write_state()

    def log_stage(
        self, name: str, metrics: Mapping[str, Any], signals: Mapping[str, Any] | None = None, *, passed: bool
    ) -> None:
        """Log the metrics of a finished stage, at the last step of the training so far."""
        keys = self.run.logged_metrics.get(name) if self.run else None
        scalars = metric_names.stage_metrics(name, metrics, passed=passed, keys=keys)
        self.scores |= {key: float(metrics[key]) for key in SCORES if key in metrics}

        def write(writer: Writer) -> None:
            if name in writer.state["stages"]:  # logged by the run that this one resumes
                return
            writer.log_scalars(scalars, self.step)
            if confusion := metrics.get("confusion"):
                writer.log_image(
                    f"{name}/confusion", self._draw(confusion, metrics.get("confusion_classes")), self.step
                )
            if writer.histograms and (histograms := (signals or {}).get("histograms")):
                _log_activations(writer, name, histograms, self.step)
            writer.state["stages"] = [*writer.state["stages"], name]

        for logger in list(self.writers):
            self._guarded(logger, write)
        self._write_state()

    def close(self, status: str) -> None:
        """Finish all logs with a `status` as in `Writer.close`. The files of the run are complete by now."""
        scores = self.scores | {"passed": float(status == "passed")}
        for name in list(self.writers):
            self._guarded(name, lambda writer: writer.close(status, scores))
        self.writers = {}

    def _draw(self, confusion: Sequence[Sequence[int]], labels: Sequence[int] | None) -> np.ndarray:
        from pipeline.loggers.confusion_image import draw_confusion_matrix

        classes = self.run.classes if self.run else ()
        return draw_confusion_matrix(confusion, [classes[label] for label in labels] if labels and classes else classes)

    def _guarded(self, name: str, write: Callable[[Writer], None]) -> None:
        """Call `write` with a writer, and disable the writer if that fails."""
        if name not in self.writers:
            return
        try:
            write(self.writers[name])
        except Exception as error:  # noqa: BLE001 - a library may raise anything
            del self.writers[name]
            reason = next(iter(str(error).strip().splitlines()), type(error).__name__)
            logging.getLogger(__name__).warning("warning: the logger %s failed and is disabled: %s", name, reason)

    def _write_state(self) -> None:
        if self.writers and self.run:
            states = {name: writer.state for name, writer in self.writers.items()}
            with contextlib.suppress(OSError):
                write_text(self.run.logs / STATE, json.dumps(states) + "\n")


def _log_new_rows(
    writer: Writer,
    history: Sequence[Mapping[str, float]],
    samples: Mapping[str, Any] | None,
    units: Mapping[str, Any],
    network: nn.Module | None,
) -> None:
    """Log the epochs and steps that the writer does not have yet, in the order of steps."""
    sampled_steps = list(samples["step"]) if samples else []
    rows = [(step, 0, i) for i, step in enumerate(sampled_steps)][writer.state["samples"] :]
    rows += [(int(row["step"]), 1, i) for i, row in enumerate(history)][writer.state["epochs"] :]
    for step, is_epoch, i in sorted(rows):
        if is_epoch:
            epoch = metric_names.epoch_metrics(history[i])
            writer.log_scalars(epoch | metric_names.unit_metrics(units, history[i]["epoch"]), step)
        elif samples:
            writer.log_scalars(metric_names.step_metrics(samples, i), step)
    if writer.histograms and network is not None and len(history) > writer.state["epochs"]:
        _log_weights(writer, network, int(history[-1]["step"]))
    writer.state |= {"epochs": max(writer.state["epochs"], len(history))}
    writer.state |= {"samples": max(writer.state["samples"], len(sampled_steps))}
    writer.flush()


def _log_weights(writer: Writer, network: nn.Module, step: int) -> None:
    """Log histograms of the finite values of all weights of two or more dimensions."""
    for name, weight in network.named_parameters():
        if weight.ndim >= 2:
            values = weight.detach().flatten().float().cpu().numpy()
            finite = values[np.isfinite(values)]
            if len(finite):
                writer.log_histogram(f"weights/{name}", *np.histogram(finite, bins=BINS), step)


def _log_activations(writer: Writer, stage: str, histograms: Mapping[str, Any], step: int) -> None:
    """Log the `histograms` of docs/signals.md, which hold the values that are not exactly 0."""
    columns = (histograms[key] for key in ("name", "low", "high", "counts"))
    for name, low, high, counts in zip(*columns, strict=True):
        edges = np.linspace(low, high, len(counts) + 1)
        writer.log_histogram(f"activations_{stage}/{name}", np.array(counts), edges, step)


def _read_states(path: Path) -> dict[str, Any]:
    """Return the state of each writer of a resumed run; {} if there is none, and all logs start from the beginning."""
    try:
        states = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return states if isinstance(states, dict) else {}
