"""All loggers as one: what each writer is given, and what happens when one fails."""

from __future__ import annotations

import logging
import math
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.errors import UserError
from pipeline.loggers import LoggedRun, Logger, MultiLogger, Writer, open_loggers


class RecordingWriter(Writer):
    """Records what it is given, and fails from the `failing`-th call on."""

    def __init__(self, failing: int | None = None):
        super().__init__()
        self.rows: list[tuple[int, dict[str, float]]] = []
        self.statuses: list[str] = []
        self.failing = failing

    def log_scalars(self, values: Mapping[str, float], step: int) -> None:
        if self.failing is not None and len(self.rows) >= self.failing:
            raise OSError(28, "No space left on device")
        self.rows.append((step, dict(values)))

    def close(self, status: str, scores: Mapping[str, float]) -> None:
        self.statuses.append(status)


class HistogramWriter(RecordingWriter):
    """Records histograms too: name -> (count, lowest edge, highest edge)."""

    histograms = True

    def __init__(self) -> None:
        super().__init__()
        self.seen: dict[str, tuple[int, float, float]] = {}

    def log_histogram(self, name: str, counts: np.ndarray, edges: np.ndarray, step: int) -> None:
        self.seen[name] = int(counts.sum()), float(edges[0]), float(edges[-1])


def epochs(n: int) -> list[dict[str, float]]:
    return [{"epoch": float(i), "step": 10.0 * (i + 1), "loss": 1 / (i + 1), "val_loss": 2.0} for i in range(n)]


def samples(*steps: int) -> dict[str, Any]:
    columns = [[1.0, 2.0] for _ in steps]
    return {
        "step": list(steps),
        "lr": [0.1 for _ in steps],
        **{key: [None for _ in steps] for key in ("logit_std", "gradient_noise", "gradient_ratio")},
        "weights": {"name": ["a", "b"], "gradient": columns, "weight": columns, "update": columns},
        "activations": {"name": [], "mean": [[] for _ in steps], "std": [[] for _ in steps]},
    }


def test_each_row_once_in_order() -> None:
    """A writer gets each epoch and each sampled step once, in the order of steps."""
    writer = RecordingWriter()
    log = MultiLogger({"writer": writer})
    log.log_training(epochs(1), samples(1, 5), None)
    log.log_training(epochs(1), samples(1, 5), None)
    log.log_training(epochs(3), samples(1, 5, 12), None)
    assert [step for step, _ in writer.rows] == [1, 5, 10, 12, 20, 30]
    assert writer.rows[0][1]["update_ratio/a"] == 1.0
    assert writer.rows[-1][1]["loss/train"] == pytest.approx(1 / 3)


def test_failing_writer_is_disabled(caplog: pytest.LogCaptureFixture) -> None:
    """It is reported once, and the others continue."""
    good, bad = RecordingWriter(), RecordingWriter(failing=1)
    log = MultiLogger({"bad": bad, "good": good})
    with caplog.at_level(logging.WARNING):
        for n in (1, 2, 3):
            log.log_training(epochs(n), None, None)
        log.log_stage("evaluate", {"test_accuracy": 0.5, "confusion": [[1]]}, passed=True)
        log.close("passed")
    [record] = caplog.records
    assert record.args == ("bad", "[Errno 28] No space left on device")
    assert [step for step, _ in good.rows] == [10, 20, 30, 30]
    assert good.statuses == ["passed"]
    assert bad.statuses == []


@pytest.mark.parametrize(
    ("logged_metrics", "expected"),
    [
        ({}, {"s/a": 1.0, "s/b": 2.5, "s/passed": 1.0}),
        ({"s": None}, {"s/a": 1.0, "s/b": 2.5, "s/passed": 1.0}),
        ({"s": ("b", "missing")}, {"s/b": 2.5, "s/passed": 1.0}),
    ],
)
def test_metrics_of_a_stage(tmp_path: Path, logged_metrics: dict[str, Any], expected: dict[str, float]) -> None:
    """A stage chooses its metrics; those of any other stage are all logged, without lists and strings."""
    writer = RecordingWriter()
    log = MultiLogger({"writer": writer}, LoggedRun("run", tmp_path, {}, logged_metrics=logged_metrics))
    log.log_stage("s", {"a": 1, "b": 2.5, "history": [1], "name": "x"}, passed=True)
    assert writer.rows == [(0, expected)]


def test_nonfinite_weights_are_left_out() -> None:
    network = nn.Sequential(nn.Linear(3, 2), nn.Linear(2, 2))
    with torch.no_grad():
        network[0].weight.copy_(torch.tensor([[1.0, math.nan, math.inf], [2.0, 3.0, -4.0]]))
        network[1].weight.fill_(math.nan)
    writer = HistogramWriter()
    MultiLogger({"writer": writer}).log_training(epochs(1), None, None, network)
    assert writer.seen == {"weights/0.weight": (4, -4.0, 3.0)}


def test_activations_are_histograms() -> None:
    writer, plain = HistogramWriter(), RecordingWriter()
    histograms = {"name": ["relu"], "kind": ["ReLU"], "low": [0.0], "high": [2.0], "zero": [0.5], "counts": [[3, 1]]}
    MultiLogger({"writer": writer, "plain": plain}).log_stage("train", {}, {"histograms": histograms}, passed=True)
    assert writer.seen == {"activations_train/relu": (4, 0.0, 2.0)}


def test_without_loggers_nothing_is_written(tmp_path: Path) -> None:
    log = open_loggers({}, LoggedRun("run", tmp_path, {}))
    log.log_training(epochs(1), None, None)
    log.close("passed")
    assert not list(tmp_path.iterdir())


def test_opened_loggers_are_closed_if_one_fails(tmp_path: Path) -> None:
    writer = RecordingWriter()

    class Opens(Logger):
        def open(self, run: LoggedRun, state: Mapping[str, Any] | None) -> Writer:
            return writer

    class Refuses(Logger):
        def open(self, run: LoggedRun, state: Mapping[str, Any] | None) -> Writer:
            raise UserError("no", field="logger.b")

    with pytest.raises(UserError):
        open_loggers({"a": Opens(), "b": Refuses()}, LoggedRun("run", tmp_path, {}))
    assert writer.statuses == ["error"]


def test_quiet_modules(tmp_path: Path) -> None:
    """Warnings of a logger's packages are hidden, those of others are not."""

    class Quiet(Logger):
        quiet_modules = ("noisy",)

        def open(self, run: LoggedRun, state: Mapping[str, Any] | None) -> Writer:
            return RecordingWriter()

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        open_loggers({"quiet": Quiet()}, LoggedRun("run", tmp_path, {}))
        for module in ("noisy", "noisy.inner", "noisy2"):
            warnings.warn_explicit(module, UserWarning, "file.py", 1, module=module)
    assert [str(warning.message) for warning in caught] == ["noisy2"]
