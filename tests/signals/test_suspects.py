"""Suspects: planted blank, repeated, far and mislabelled images are found, and sound ones are not."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.signals.data.blank import blank_images
from pipeline.signals.data.suspects import blank_suspects, odd_suspects, repeated_suspects


def clusters(n: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Return images of two classes that are easily told apart."""
    draw = torch.Generator().manual_seed(seed)
    labels = torch.arange(n) % 2
    pixels = torch.randint(0, 30, (n, 1, 6, 6), generator=draw) + 150 * labels.view(-1, 1, 1, 1)
    return pixels.to(torch.uint8), labels


def name_of(label: Tensor) -> str:
    return "ab"[int(label)]


def test_blank() -> None:
    pixels, _ = clusters(20)
    pixels[3], pixels[7] = 9, 0
    assert blank_images(pixels).tolist() == [3, 7]
    assert [one.index for one in blank_suspects({"val": pixels}, limit=1)] == [3]
    colour = torch.zeros(2, 3, 4, 4)
    colour[0, 1], colour[1, 2, 0, 0] = 5, 1
    assert blank_images(colour).tolist() == [0]
    assert not len(blank_images(torch.zeros(4, 5, 1, 1)))


def test_repeated() -> None:
    """An image in two splits, and one with two labels; an image twice with one label is no suspect."""
    (train, labels), (val, val_labels) = clusters(20), clusters(6, seed=1)
    val[2], train[5], train[8] = train[4], train[10], train[12]
    labels[10], labels[5] = 0, 1
    found = repeated_suspects({"train": train, "val": val}, {"train": labels, "val": val_labels}, name_of, limit=9)
    assert [(one.split, one.index, one.partner) for one in found] == [
        ("train", 10, ("train", 5)),
        ("val", 2, ("train", 4)),
    ]


def test_odd() -> None:
    pixels, labels = clusters(60)
    labels[6] = 1
    pixels[9] = torch.where(torch.arange(36).view(1, 6, 6) % 2 == 0, 255, 0).to(torch.uint8)
    found = odd_suspects(pixels, labels, name_of, has_classes=True, limit=5)
    assert [one.index for one in found["far"]] == [9]
    assert [one.index for one in found["class"] if one.index != 9] == [6]
    assert odd_suspects(pixels, labels, name_of, has_classes=False, limit=5)["class"] == []
    assert odd_suspects(pixels[:3], labels[:3], name_of, has_classes=True, limit=5) == {"far": [], "class": []}
