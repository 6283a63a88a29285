"""What a network answered, against counting by hand."""

from __future__ import annotations

import math

import pytest
import torch

from pipeline.training.predictions import BINS, Predictions


def answers_of(probabilities: list[list[float]], labels: list[int]) -> Predictions:
    answers = Predictions(len(probabilities[0]))
    logits, truth = torch.tensor(probabilities).log(), torch.tensor(labels)
    for index in torch.arange(len(labels)).split(2):
        answers.add(logits[index], truth[index])
    return answers


def test_mistakes() -> None:
    answers = answers_of([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.3, 0.7]], [1, 1, 0, 1])
    found = answers.mistakes(2)
    assert [(m["index"], m["label"], m["given"]) for m in found] == [(0, 1, 0), (2, 0, 1)]
    assert [m["confidence"] for m in found] == pytest.approx([0.9, 0.8])
    assert len(answers.mistakes(9)) == 3


def test_confusion() -> None:
    answers = answers_of([[0.9, 0.1], [0.6, 0.4], [0.2, 0.8]], [1, 0, 1])
    assert answers.confusion().tolist() == [[1, 0], [1, 1]]


def test_calibration() -> None:
    """Two bins: 0.9 twice, right once; 0.6 once, right."""
    found = answers_of([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4]], [0, 1, 0]).calibration()
    assert sum(found["count"]) == 3
    assert found["accuracy"][int(0.9 * BINS)] == pytest.approx(0.5)
    assert found["confidence"][int(0.6 * BINS)] == pytest.approx(0.6)
    assert found["accuracy"][0] is None
    assert found["ece"] == pytest.approx(2 / 3 * 0.4 + 1 / 3 * 0.4)


def test_calibrated_network() -> None:
    """Labels drawn from the very probabilities that are given: the error is that of counting, 1 / sqrt(n) a bin."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn((20_000, 5), generator=generator)
    labels = torch.multinomial(logits.softmax(1), 1, generator=generator).flatten()
    answers = Predictions(5)
    answers.add(logits, labels)
    assert answers.calibration()["ece"] < 0.02
    surer = Predictions(5)
    surer.add(5 * logits, labels)
    assert surer.calibration()["ece"] > 0.2


def test_nonfinite_logits() -> None:
    answers = Predictions(2)
    answers.add(torch.full((3, 2), math.nan), torch.tensor([0, 1, 0]))
    assert answers.confusion().sum() == 3
    assert sum(answers.calibration()["count"]) == 3
