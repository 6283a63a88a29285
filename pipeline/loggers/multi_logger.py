"""All logs of a run as one. A log that fails is left out from then on and said once; the training goes on."""

from __future__ import annotations

import contextlib
import json
import logging
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
"""By which runs are compared."""


def open_loggers(loggers: Mapping[str, Logger], run: LoggedRun) -> MultiLogger:
    """Begin the logs, or go on with those of the run that is resumed. Raises a `UserError` where one cannot begin."""
    before = _read(run.resumed_from / FOLDER / STATE) if run.resumed_from else {}
    log = MultiLogger({}, run)
    try:
        for name, logger in loggers.items():
            log.writers[name] = logger.open(run, before.get(name))
    except BaseException:
        log.close("error")
        raise
    return log


class MultiLogger:
    """Without writers it does nothing, at no cost.

    What was measured is handed over as a whole, as it stands; each writer is given what it does not have yet. So it
    makes no difference whether a training is told while it runs, afterwards, or by a run that resumes it.
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
        """Epochs and sampled steps so far (docs/signals.md); `network`: as it is after the last epoch."""
        self.step = int(history[-1]["step"]) if history else self.step
        for name in list(self.writers):
            self._careful(name, lambda writer: _log_new_rows(writer, history, samples, units or {}, network))
        self._write_state()

    def log_stage(
        self, name: str, metrics: Mapping[str, Any], signals: Mapping[str, Any] | None = None, *, passed: bool
    ) -> None:
        """What a stage came to, at the last step of the training so far."""
        numbers = metric_names.stage_metrics(name, metrics, passed=passed)
        self.scores |= {key: float(metrics[key]) for key in SCORES if key in metrics}

        def write(writer: Writer) -> None:
            if name in writer.state["stages"]:  # by the run that this one resumes
                return
            writer.log_scalars(numbers, self.step)
            if confusion := metrics.get("confusion"):
                writer.log_image(f"{name}/confusion", self._drawn(confusion), self.step)
            if writer.histograms and (histograms := (signals or {}).get("histograms")):
                _activations(writer, name, histograms, self.step)
            writer.state["stages"] = [*writer.state["stages"], name]

        for logger in list(self.writers):
            self._careful(logger, write)
        self._write_state()

    def close(self, status: str) -> None:
        """`status` as in `Writer.end`. The run's files are whole by now."""
        scores = self.scores | {"passed": float(status == "passed")}
        for name in list(self.writers):
            self._careful(name, lambda writer: writer.close(status, scores))
        self.writers = {}

    def _drawn(self, confusion: Sequence[Sequence[int]]) -> np.ndarray:
        from pipeline.loggers.confusion_image import draw_confusion_matrix

        return draw_confusion_matrix(confusion, self.run.classes if self.run else ())

    def _careful(self, name: str, write: Callable[[Writer], None]) -> None:
        """A disk that is full or a service that is gone costs the log, not the training."""
        if name not in self.writers:
            return
        try:
            write(self.writers[name])
        except Exception as error:  # noqa: BLE001 - whatever libraries of others raise
            del self.writers[name]
            said = next(iter(str(error).strip().splitlines()), type(error).__name__)
            logging.getLogger(__name__).warning("warning: the log %s has failed and is left out: %s", name, said)

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
    """What the writer does not have yet, in the order of steps."""
    sampled = list(samples["step"]) if samples else []
    new = [(step, 0, i) for i, step in enumerate(sampled)][writer.state["samples"] :]
    new += [(int(row["step"]), 1, i) for i, row in enumerate(history)][writer.state["epochs"] :]
    for step, is_epoch, i in sorted(new):
        if is_epoch:
            writer.log_scalars(
                metric_names.epoch_metrics(history[i]) | metric_names.unit_metrics(units, history[i]["epoch"]), step
            )
        elif samples:
            writer.log_scalars(metric_names.step_metrics(samples, i), step)
    if writer.histograms and network is not None and len(history) > writer.state["epochs"]:
        _weights(writer, network, int(history[-1]["step"]))
    writer.state |= {"epochs": max(writer.state["epochs"], len(history))}
    writer.state |= {"samples": max(writer.state["samples"], len(sampled))}
    writer.flush()


def _weights(writer: Writer, network: nn.Module, step: int) -> None:
    """Histograms of the weights of two or more dimensions; of numbers that are not finite there is none."""
    for name, weight in network.named_parameters():
        if weight.ndim >= 2:
            values = weight.detach().flatten().float().cpu().numpy()
            finite = values[np.isfinite(values)]
            if len(finite):
                writer.histogram(f"weights/{name}", *np.histogram(finite, bins=BINS), step)


def _activations(writer: Writer, stage: str, histograms: Mapping[str, Any], step: int) -> None:
    """`histograms` of docs/signals.md: of the values that are not exactly 0."""
    columns = (histograms[key] for key in ("name", "low", "high", "counts"))
    for name, low, high, counts in zip(*columns, strict=True):
        writer.histogram(f"activations_{stage}/{name}", np.array(counts), np.linspace(low, high, len(counts) + 1), step)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}
