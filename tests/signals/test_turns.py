"""Splits that were turned, mirrored or transposed as a whole, and sets that look the same from several sides."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pipeline.checks import Finding
from pipeline.data.sources.embedded import digits, fashion_mnist_5k
from pipeline.signals.data.turns import turn_signals
from tests.checks.rule_cases import rule_of

TURNED: dict[str, tuple[Callable[[Tensor], Tensor], str]] = {
    "to the left": (lambda x: x.rot90(1, (2, 3)), "a quarter turn to the right"),
    "to the right": (lambda x: x.rot90(-1, (2, 3)), "a quarter turn to the left"),
    "half": (lambda x: x.rot90(2, (2, 3)), "a half turn"),
    "mirrored": (lambda x: x.flip(3), "mirroring left to right"),
    "upside down": (lambda x: x.flip(2), "mirroring top to bottom"),
    "transposed": (lambda x: x.transpose(2, 3), "transposing rows and columns"),
    "the other diagonal": (lambda x: x.rot90(2, (2, 3)).transpose(2, 3), "mirroring at the other diagonal"),
}
"""What was done to the images, and what undoes it."""


def splits(name: str) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    images = digits().train if name == "digits" else fashion_mnist_5k().train
    pixels, labels = images.pixels[:1750], images.labels[:1750]
    return pixels[:1400], labels[:1400], pixels[1400:], labels[1400:]


def judged(train: Tensor, labels: Tensor, test: Tensor, test_labels: Tensor) -> Finding | None:
    turns = turn_signals(train, labels, {"test": (test, test_labels)})
    chance = {"chance": 1 / (int(labels.max()) + 1)}
    return rule_of("turned_images")({"data": {"turns": turns, "neighbours": {"test": chance}}})


@pytest.mark.parametrize("how", TURNED)
@pytest.mark.parametrize("name", ["digits", "garments"])
def test_turned_split(name: str, how: str) -> None:
    train, labels, test, test_labels = splits(name)
    turn, back = TURNED[how]
    measured = turn_signals(train, labels, {"test": (turn(test), test_labels)})["test"]
    assert measured["turn"] == back
    gained = measured["turned_agreement"] - measured["agreement"]
    assert measured["turned_only"] - measured["unturned_only"] == pytest.approx(350 * gained)
    finding = judged(train, labels, turn(test), test_labels)
    assert finding is not None
    assert finding.where == "test"


@pytest.mark.parametrize("name", ["digits", "garments"])
def test_sound_split(name: str) -> None:
    """Also with half of the labels wrong, and with other brightness and noise."""
    train, labels, test, test_labels = splits(name)
    assert judged(train, labels, test, test_labels) is None
    wrong = torch.where(torch.arange(350) % 2 == 0, test_labels, test_labels.roll(7))
    assert judged(train, labels, test, wrong) is None
    noise = torch.randn(test.shape, generator=torch.Generator().manual_seed(0))
    darker = 0.5 * test.float() + 0.1 * float(test.max()) * noise
    assert judged(train.float(), labels, darker, test_labels) is None


def test_images_without_an_upper_side() -> None:
    """Spots at random places, whose class is their number."""
    random = torch.Generator().manual_seed(1)
    labels = torch.randint(1, 4, (900,), generator=random)
    pixels = torch.zeros(900, 1, 8, 8)
    for image, number in zip(pixels, labels, strict=True):
        image.view(-1)[torch.randperm(64, generator=random)[:number]] = 1.0
    assert judged(pixels[:600], labels[:600], pixels[600:].rot90(1, (2, 3)), labels[600:]) is None


def test_images_that_are_not_square() -> None:
    """Only half turns and mirrorings keep the shape."""
    train, labels, test, test_labels = splits("digits")
    train, test = train[:, :, :, 1:7], test[:, :, :, 1:7]
    assert (
        turn_signals(train, labels, {"test": (test.flip(2), test_labels)})["test"]["turn"] == "mirroring top to bottom"
    )


def test_table() -> None:
    rows, labels = torch.randn(90, 5, 1, 1), torch.zeros(90, dtype=torch.long)
    assert turn_signals(rows, labels, {"test": (rows, labels)}) == {}
