"""Whether the centre of an image still tells what the whole image tells."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from pipeline.signals.data.recognition import averaged_down, distances, nearest_classes, told_by_ridge
from pipeline.signals.schema import Crop

_ASPECT_TOLERANCE = 0.1  # natural logarithm of width / height, within which images are compared


@torch.no_grad()
def crop_signals(whole: Tensor, crops: Tensor, labels: Tensor, aspects: Tensor) -> Crop | None:
    """Return how well the class can be told from `whole` images and from their `crops`, both (N, C, S, S) of one size.

    `aspects` (N,) are width / height before the images were squeezed. Images are told apart by their nearest neighbours
    or by a linear classifier, whichever is right more often. Neighbours have about the same proportions, and the linear
    classifier knows the proportions of whole images and of crops, so that squeezing itself tells no class. None where
    there are fewer than two classes.
    """
    n_classes = int(labels.max()) + 1
    counts = torch.bincount(labels, minlength=n_classes)
    if int((counts > 0).sum()) < 2:
        return None
    proportions = aspects.double().log()
    is_right = [_recognized(images, labels, proportions, n_classes) for images in (whole, crops)]
    whole_right, crop_right = is_right
    ratio = torch.exp(-proportions.abs())
    return {
        "examples": len(labels),
        "cut": float((1 - ratio).mean()),
        "chance": float(counts.max()) / len(labels),
        "whole_accuracy": float(whole_right.double().mean()),
        "crop_accuracy": float(crop_right.double().mean()),
        "whole_only": int((whole_right & ~crop_right).sum()),
        "crop_only": int((crop_right & ~whole_right).sum()),
    }


def _recognized(images: Tensor, labels: Tensor, proportions: Tensor, n_classes: int) -> Tensor:
    """Return whether the class of each image (N,) is told, by the better of the two ways."""
    values = averaged_down(images)
    distance = distances(values, values).fill_diagonal_(math.inf)
    distance[(proportions[:, None] - proportions).abs() > _ASPECT_TOLERANCE] = math.inf
    by_neighbours = nearest_classes(distance, labels, n_classes).argmax(1) == labels
    features = values.flatten(1).double()
    features = (features - features.mean(0)) / features.std(correction=0).clamp(min=1e-9)
    shape = proportions[:, None] - proportions.mean()
    features = torch.cat([features, shape / shape.std(correction=0).clamp(min=1e-9) * math.sqrt(features.shape[1])], 1)
    by_line = told_by_ridge(features, labels, n_classes) == labels
    return by_neighbours if by_neighbours.sum() >= by_line.sum() else by_line
