"""Histograms of activations: every value in its bin, zeros apart, layers in order."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from pipeline.signals.histograms import BINS, histograms


def test_values_fall_into_their_bins() -> None:
    inputs = torch.rand((30, 7), generator=torch.Generator().manual_seed(0)) * 6 - 3
    found = histograms(nn.Sequential(nn.Tanh(), nn.ReLU()), inputs)
    assert found["kind"] == ["tanh", "relu"]
    assert found["name"] == ["0", "1"]
    tanh = inputs.tanh()
    assert (found["low"][0], found["high"][0]) == (-1.0, 1.0)
    assert found["counts"][0] == torch.histc(tanh, BINS, -1, 1).int().tolist()
    assert sum(found["counts"][0]) == inputs.numel()
    assert found["zero"][1] == pytest.approx(float((tanh <= 0).float().mean()))
    assert sum(found["counts"][1]) == int((tanh > 0).sum())


def test_a_layer_without_life_is_all_zero() -> None:
    found = histograms(nn.Sequential(nn.ReLU()), -torch.ones((4, 3)))
    assert found["zero"] == [1.0]
    assert sum(found["counts"][0]) == 0


def test_what_is_not_finite_is_left_out() -> None:
    inputs = torch.tensor([[1.0, 2.0], [float("nan"), float("inf")]])
    found = histograms(nn.Sequential(nn.LeakyReLU()), inputs)
    assert sum(found["counts"][0]) == 2
    found = histograms(nn.Sequential(nn.LeakyReLU()), torch.full((2, 2), float("nan")))
    assert sum(found["counts"][0]) == 0
