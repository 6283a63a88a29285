"""Summaries of predictions, compared with counting by hand."""

from __future__ import annotations

import math

import pytest
import torch

from pipeline.training.predictions import BINS, Predictions


def predictions_of(probabilities: list[list[float]], labels: list[int]) -> Predictions:
    predictions = Predictions(len(probabilities[0]))
    logits, truth = torch.tensor(probabilities).log(), torch.tensor(labels)
    for index in torch.arange(len(labels)).split(2):
        predictions.add(logits[index], truth[index])
    return predictions


def test_mistakes() -> None:
    predictions = predictions_of([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]], [1, 1, 0, 1])
    mistakes = predictions.mistakes(2)
    assert [(m["index"], m["label"], m["given"]) for m in mistakes] == [(0, 1, 0), (2, 0, 1)]
    assert [m["confidence"] for m in mistakes] == pytest.approx([0.9, 0.8])
    assert len(predictions.mistakes(9)) == 3


def test_confusion() -> None:
    predictions = predictions_of([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], [1, 0, 1])
    assert predictions.confusion().tolist() == [[1, 0], [1, 1]]


def test_most_confused() -> None:
    """The most frequent confusions come first, then classes that are never wrong; the answer is in order."""
    given = [5, 5, 5, 3, 1]
    predictions = predictions_of(torch.eye(6)[given].tolist(), [2, 2, 2, 4, 1])
    assert predictions.most_confused(2).tolist() == [2, 5]
    assert predictions.most_confused(4).tolist() == [2, 3, 4, 5]
    assert predictions.most_confused(5).tolist() == [0, 2, 3, 4, 5]
    assert predictions.most_confused(9).tolist() == list(range(6))


def test_calibration() -> None:
    """Two bins: 0.9 twice, right once; 0.6 once, right."""
    calibration = predictions_of([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4]], [0, 1, 0]).calibration()
    assert sum(calibration["count"]) == 3
    assert calibration["accuracy"][int(0.9 * BINS)] == pytest.approx(0.5)
    assert calibration["confidence"][int(0.6 * BINS)] == pytest.approx(0.6)
    assert calibration["accuracy"][0] is None
    assert calibration["ece"] == pytest.approx(2 / 3 * 0.4 + 1 / 3 * 0.4)


def test_calibrated_network() -> None:
    """Where labels are drawn from the predicted probabilities, the error is that of counting: 1 / sqrt(n) per bin."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((20_000, 5), generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator).flatten()
    predictions = Predictions(5)
    predictions.add(logits, labels)
    assert predictions.calibration()["ece"] < 0.02
    overconfident = Predictions(5)
    overconfident.add(5 * logits, labels)
    assert overconfident.calibration()["ece"] > 0.2


def test_nonfinite_logits() -> None:
    predictions = Predictions(2)
    predictions.add(torch.full((3, 2), math.nan), torch.tensor([0, 1, 0]))
    assert predictions.confusion().sum() == 3
    assert sum(predictions.calibration()["count"]) == 3
