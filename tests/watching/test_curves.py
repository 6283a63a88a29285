"""`Curves`: losses of steps and epochs of a watched loop, and whether they have exploded."""

from __future__ import annotations

import pytest
import torch

from pipeline.watching.curves import Curves


def fed(*losses: float) -> Curves:
    curves = Curves(None)
    for loss in losses:
        curves.add([torch.tensor(loss)], None, 32)
    curves.read()
    return curves


def test_an_epoch_has_the_mean_of_its_own_steps() -> None:
    curves = fed(4.0, 2.0)
    assert curves.end_epoch(lr=0.1, metrics={})["loss"] == pytest.approx(3.0)
    for loss in (1.0, 0.0, 0.5):
        curves.add([torch.tensor(loss)], None, 32)
    row = curves.end_epoch(lr=0.1, metrics={"val_loss": 1.5})
    assert (row["loss"], row["step"], row["val_loss"]) == (pytest.approx(0.5), 5, 1.5)
    assert curves.signals()["train_examples"] == 96


def test_a_step_of_several_passes_has_their_mean() -> None:
    curves = Curves(None)
    curves.add([torch.tensor(1.0), torch.tensor(3.0)], None, 64)
    assert curves.read() == [2.0]


def test_an_explosion_is_forgotten_once_the_loss_is_back() -> None:
    curves = fed(2.0, *[9.0] * 5)
    assert curves.signals()["exploded"] is True
    assert curves.signals()["exploded_step"] == 6
    curves.add([torch.tensor(1.0)], None, 32)
    curves.read()
    assert "exploded" not in curves.signals()
