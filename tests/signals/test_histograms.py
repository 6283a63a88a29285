"""Histograms of activations: every value in its bin, zeros apart, layers in order."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.signals.histograms import BINS, histograms


def test_counts() -> None:
    inputs = torch.rand((30, 7), generator=torch.Generator().manual_seed(0)) * 6 - 3
    measured = histograms(nn.Sequential(nn.Tanh(), nn.ReLU()), inputs)
    assert measured["kind"] == ["tanh", "relu"]
    assert measured["name"] == ["0", "1"]
    tanh = inputs.tanh()
    assert (measured["low"][0], measured["high"][0]) == (-1.0, 1.0)
    assert measured["counts"][0] == torch.histc(tanh, BINS, -1, 1).int().tolist()
    assert sum(measured["counts"][0]) == inputs.numel()
    assert measured["zero"][1] == pytest.approx(float((tanh <= 0).float().mean()))
    assert sum(measured["counts"][1]) == int((tanh > 0).sum())


def test_dead_layer() -> None:
    measured = histograms(nn.Sequential(nn.ReLU()), -torch.ones((4, 3)))
    assert measured["zero"] == [1.0]
    assert sum(measured["counts"][0]) == 0


def test_nonfinite_values_are_left_out() -> None:
    inputs = torch.tensor([[1.0, 2.0], [float("nan"), float("inf")]])
    measured = histograms(nn.Sequential(nn.LeakyReLU()), inputs)
    assert sum(measured["counts"][0]) == 2
    measured = histograms(nn.Sequential(nn.LeakyReLU()), torch.full((2, 2), float("nan")))
    assert sum(measured["counts"][0]) == 0
