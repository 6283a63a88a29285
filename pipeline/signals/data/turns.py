"""Whether the images of a split lie as those of training do, or turned, mirrored or transposed."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from pipeline.signals.data.neighbours import average_down
from pipeline.signals.data.subsample import reduce_images, subsample_indices
from pipeline.signals.schema import Turn

_MAX_TRAIN, _MAX_QUERIES = 2000, 500  # sampled training images; sampled images of each other split
TURNS = (
    "a quarter turn to the left", "a half turn", "a quarter turn to the right", "mirroring left to right",
    "transposing rows and columns", "mirroring top to bottom", "mirroring at the other diagonal",
)  # fmt: skip
"""What can be done to an image besides leaving it as it is; those of images that are not square are the half turns."""


def turn_signals(train: Tensor, labels: Tensor, others: Mapping[str, tuple[Tensor, Tensor]]) -> dict[str, Turn]:
    """Return for each split how its labels agree with those of the nearest training images, as it is and turned.

    `train` (N, C, H, W) are stored pixels with `labels` (N,); `others` are (pixels, labels) by name. Of the turns the
    one with the highest agreement is given. The result is empty for rows of a table.
    """
    index = subsample_indices(len(train), _MAX_TRAIN).to(train.device)
    known, known_labels = reduce_images(train, index, average_down), labels[index]
    if min(known.shape[2:]) < 2:
        return {}
    result = {}
    for name, (pixels, own_labels) in others.items():
        index = subsample_indices(len(pixels), _MAX_QUERIES).to(pixels.device)
        if len(index):
            queries = reduce_images(pixels, index, average_down)
            result[name] = _compare(queries, own_labels[index], known.flatten(1), known_labels)
    return result


def _compare(images: Tensor, labels: Tensor, known: Tensor, known_labels: Tensor) -> Turn:
    turns = [i for i in range(1, 8) if images.shape[2] == images.shape[3] or i in (2, 4, 6)]
    views = [images] + [turn(images, i) for i in turns]
    mean = known.mean(0)  # which loses less to rounding
    found = [torch.cdist(view.flatten(1) - mean, known - mean).min(1) for view in views]
    right = torch.stack([known_labels[nearest] == labels for _, nearest in found])
    distances = torch.stack([distance for distance, _ in found])
    best = 1 + int(right[1:].sum(1).argmax())
    return {
        "examples": len(images),
        "turn": TURNS[turns[best - 1] - 1],
        "agreement": float(right[0].double().mean()),
        "turned_agreement": float(right[best].double().mean()),
        "turned_only": int((right[best] & ~right[0]).sum()),
        "unturned_only": int((right[0] & ~right[best]).sum()),
        "nearer": float((distances[best] < distances[0]).double().mean()),
    }


def turn(images: Tensor, number: int) -> Tensor:
    """Return images (..., H, W) turned to the left by `number` modulo 4 quarters, mirrored first from 4 on."""
    mirrored = images.flip(-1) if number >= 4 else images
    return mirrored.rot90(number % 4, (-2, -1))
