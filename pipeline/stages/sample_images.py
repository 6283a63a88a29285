"""Images that stages save for people to look at: arrays for pictures.npz. N examples, C channels, H W pixels."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.data import Images, MixedLabels, NoAugmentation, Preprocessing
from pipeline.data.dataset import CLASSIFICATION
from pipeline.data.splits import strata
from pipeline.signals.data.subsample import subsample_indices
from pipeline.workflow.components import Components

MAX_SIDE = 48
"""Height and width in pixels, at most; larger images are averaged down."""
MAX_VALUES = 300_000
"""Values of all example images together."""
MAX_CLASSES, MAX_PER_CLASS = 12, 10
MAX_POINTS = 600
"""Examples in the projection onto a plane."""
MAX_FILTERS = 64
MEAN_EXAMPLES = 5_000
"""Examples in the mean image."""
MIN_SAMPLED, MAX_PLANE_VALUES, MAX_MEAN_VALUES = 100, 1 << 24, 1 << 26
"""Fewer large images are projected and averaged: as many as have so many values, but at least a hundred."""


@torch.no_grad()
def data_images(components: Components) -> dict[str, np.ndarray]:
    """Return what the training split looks like, by the names in pictures.npz.

    `plane` (2, points, 2) is the projection of the data before and after preprocessing, with `plane_labels` (classes,
    or the strata of `pipeline.data.splits`). Unless an
    example is a row of a table there are also the `mean` image, and the `examples` of each class after every one of the
    `steps` of preprocessing.
    """
    data, preprocessing = components.data, components.preprocessing.on("cpu")
    train = data.train
    values = train.pixels.shape[1:].numel()
    index = subsample_indices(len(train), min(MAX_POINTS, max(MIN_SAMPLED, MAX_PLANE_VALUES // values)))
    pixels, labels = train.pixels[index].cpu(), strata(train.labels, len(data.classes))[index].cpu()
    before, after = (pixels * data.scale).flatten(1), preprocessing(pixels).flatten(1)
    planes = [project_to_plane(before), project_to_plane(after)]
    for axis in (0, 1):  # the sign of an axis is arbitrary: both get the same, so that the clouds can be compared
        if float((_centred(planes[0])[:, axis] * _centred(planes[1])[:, axis]).sum()) < 0:
            planes[1][:, axis].neg_()
    plane = torch.stack(planes).numpy().astype(np.float32)
    images = {"plane": plane, "plane_labels": labels.numpy().astype(np.int32)}
    if min(data.input_shape[1:]) < 2:  # columns of a table
        return images
    sampled = subsample_indices(len(train), min(MEAN_EXAMPLES, max(MIN_SAMPLED, MAX_MEAN_VALUES // values)))
    mean = train.pixels[sampled].float().mean(0, keepdim=True).cpu() * data.scale
    return images | {"mean": _to_uint8(mean, low=0, high=1)[0]} | _class_examples(components, preprocessing)


def _class_examples(components: Components, preprocessing: Preprocessing) -> dict[str, np.ndarray]:
    """Return `examples` (steps, classes, examples, H, W, channels) and the names of the `steps`.

    Where values have a sign, zero is grey. Where the augmentation mixes images, `mixed_with` and `mixed_share`
    (classes, examples) are the class of the other image of each augmented one and its share; -1 where there is none.
    """
    data, mixed = components.data, dict[str, np.ndarray]()
    stratum = strata(data.train.labels, len(data.classes))
    n_classes = min(len(data.classes) if data.task == CLASSIFICATION else int(stratum.max()) + 1, MAX_CLASSES)
    side = min(MAX_SIDE, max(data.input_shape[1:]))
    per_class = max(1, min(MAX_PER_CLASS, MAX_VALUES // (4 * n_classes * side**2 * data.input_shape[0])))
    index = [torch.nonzero(stratum == label).flatten()[:per_class] for label in range(n_classes)]
    pixels = data.train.pixels[torch.cat(index)].cpu()
    steps = preprocessing.intermediate_images(pixels, scale=data.scale)
    if not isinstance(components.augmentation, NoAugmentation):
        parameters = components.augmentation.sample_parameters(components.seed, 0, len(pixels), "cpu")
        augmented = components.augmentation(pixels, parameters)
        labels = components.augmentation.mix_labels(stratum[torch.cat(index)].cpu(), parameters, pixels.shape[2:])
        if isinstance(labels, MixedLabels):
            mixed = _mixed_with(labels, [len(i) for i in index], per_class)
        steps = {"pixels": steps.pop("pixels"), "augmented": augmented * data.scale, **steps}
    steps = {name: values for name, values in steps.items() if values.shape[2:] == pixels.shape[2:]}
    sheets = []
    for name, values in steps.items():
        low, high = (0.0, 1.0) if name in ("pixels", "augmented") else _limits_around_zero(values)
        tiles = _to_uint8(values, low=low, high=high)
        sheet = np.full((n_classes, per_class, *tiles.shape[1:]), 127, np.uint8)  # missing examples stay grey
        for label, start in enumerate(np.cumsum([0, *(len(i) for i in index[:-1])])):
            sheet[label, : len(index[label])] = tiles[start : start + len(index[label])]
        sheets.append(sheet)
    return {"examples": np.stack(sheets), "steps": np.array(list(steps))} | mixed


def _mixed_with(labels: MixedLabels, counts: Sequence[int], per_class: int) -> dict[str, np.ndarray]:
    """Return the other class of each mixed example and its share, a row for each class of `counts` examples."""
    partners = np.full((len(counts), per_class), -1, np.int32)
    shares = np.full((len(counts), per_class), -1, np.float32)
    ends = np.cumsum(counts)
    for row, (end, count) in enumerate(zip(ends, counts, strict=True)):
        partners[row, :count] = labels.partner[end - count : end].numpy()
        shares[row, :count] = (1 - labels.share[end - count : end]).numpy()
    return {"mixed_with": partners, "mixed_share": shares}


@torch.no_grad()
def first_layer_filters(network: nn.Module, input_shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """Return `filters` (units, H, W, channels), the first weights that act on pixels; grey is zero.

    Returns nothing where the first weights are no images.
    """
    channels, height, width = input_shape
    for weight in (p.detach().float().cpu() for p in network.parameters() if p.ndim >= 2):
        if weight.ndim == 2 and weight.shape[1] == channels * height * width and min(height, width) > 1:
            weight = weight.unflatten(1, input_shape)
        if weight.ndim != 4 or weight.shape[1] != channels:
            return {}
        if min(weight.shape[2:]) < 2 or not weight.isfinite().all():
            return {}
        low, high = _limits_around_zero(weight[:MAX_FILTERS])
        return {"filters": _to_uint8(weight[:MAX_FILTERS], low=low, high=high)}
    return {}


def select_images(images: Images, index: Tensor, *, scale: float) -> np.ndarray:
    """Return the stored images at `index`: uint8 (n, H, W, channels). Pixels times `scale` are in [0, 1]."""
    return _to_uint8(images.pixels[index.to(images.pixels.device)].cpu() * scale, low=0, high=1)


def project_to_plane(points: Tensor) -> Tensor:
    """Project (N, D) onto the two directions of largest variance: (N, 2). The origin stays where it is.

    The directions follow from the eigenvectors of the (N, N) matrix of dot products of centred points, which needs no
    random numbers and no (D, D) matrix.
    """
    points = points.double()
    centred = _centred(points)
    variances, vectors = torch.linalg.eigh(centred @ centred.T)
    axes = centred.T @ vectors[:, -2:].flip(1) / variances[-2:].flip(0).clamp(min=1e-12).sqrt()
    return points @ axes


def _centred(points: Tensor) -> Tensor:
    return points - points.mean(0)


def _limits_around_zero(values: Tensor) -> tuple[float, float]:
    """Return limits that show zero as grey, and that only 0.2 % of the values exceed."""
    largest = float(values.abs().flatten()[:: max(1, values.numel() // 100_000)].quantile(0.998)) or 1.0
    return -largest, largest


def _to_uint8(values: Tensor, *, low: float, high: float) -> np.ndarray:
    """Convert (N, C, H, W) to uint8 (N, H, W, 3 or 1), where `low` is black and `high` white.

    Other numbers of channels than 1 and 3 are averaged.
    """
    values = values.float()
    if values.shape[1] not in (1, 3):
        values = values.mean(1, keepdim=True)
    if max(values.shape[2:]) > MAX_SIDE:
        factor = MAX_SIDE / max(values.shape[2:])
        size = [max(1, round(length * factor)) for length in values.shape[2:]]
        values = F.interpolate(values, size, mode="area")
    shades = ((values - low) / (high - low)).clamp(0, 1) * 255
    return shades.round().byte().permute(0, 2, 3, 1).contiguous().numpy()
