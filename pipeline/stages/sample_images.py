"""What stages leave for people to look at: arrays for pictures.npz. Shapes: N examples, C channels, H W pixels."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from pipeline.data import Images, NoAugmentation, Preprocessing
from pipeline.signals.data.subsample import subsample_indices
from pipeline.workflow.components import Components

SIDE = 48
"""Pixels: larger images are averaged down."""
VALUES = 300_000
"""Of all examples together."""
ROWS, EACH = 12, 10
"""Most classes that are shown, and examples of each."""
POINTS = 600
"""Examples in the projection onto a plane."""
FILTERS = 64
MEAN_OF = 5_000


@torch.no_grad()
def data_images(components: Components) -> dict[str, np.ndarray]:
    """`examples` of each class after every step of preprocessing, `mean` image, `plane` before and after."""
    data, preprocessing = components.data, components.preprocessing.on("cpu")
    train = data.train
    chosen = subsample_indices(len(train), POINTS)
    pixels, labels = train.pixels[chosen].cpu(), train.labels[chosen].cpu()
    before, after = (pixels * data.scale).flatten(1), preprocessing(pixels).flatten(1)
    planes = [project_to_plane(before), project_to_plane(after)]
    for axis in (0, 1):  # an axis has no sign of its own: the cloud is not mirrored
        if float((_centred(planes[0])[:, axis] * _centred(planes[1])[:, axis]).sum()) < 0:
            planes[1][:, axis].neg_()
    found = {"plane": torch.stack(planes).numpy().astype(np.float32), "plane_labels": labels.numpy().astype(np.int32)}
    if min(data.input_shape[1:]) < 2:  # columns of a table
        return found
    mean = train.pixels[subsample_indices(len(train), MEAN_OF)].float().mean(0, keepdim=True).cpu() * data.scale
    return found | {"mean": _image(mean, low=0, high=1)[0]} | _examples(components, preprocessing)


def _examples(components: Components, preprocessing: Preprocessing) -> dict[str, np.ndarray]:
    """(steps, classes, examples, H, W, channels) and the steps' names. Grey is zero where values have a sign."""
    data, classes = components.data, min(len(components.data.classes), ROWS)
    side = min(SIDE, max(data.input_shape[1:]))
    each = max(1, min(EACH, VALUES // (4 * classes * side**2 * data.input_shape[0])))
    index = [torch.nonzero(data.train.labels == label).flatten()[:each] for label in range(classes)]
    pixels = data.train.pixels[torch.cat(index)].cpu()
    steps = preprocessing.intermediate_images(pixels, scale=data.scale)
    if not isinstance(components.augmentation, NoAugmentation):
        draws = components.augmentation.sample_parameters(components.seed, 0, len(pixels), "cpu")
        varied = components.augmentation(pixels, draws)
        steps = {"pixels": steps.pop("pixels"), "augmented": varied * data.scale, **steps}
    shown = {name: values for name, values in steps.items() if values.shape[2:] == pixels.shape[2:]}
    sheets = []
    for name, values in shown.items():
        low, high = (0.0, 1.0) if name in ("pixels", "augmented") else _around_zero(values)
        tiles = _image(values, low=low, high=high)
        sheet = np.full((classes, each, *tiles.shape[1:]), 127, np.uint8)  # a class with fewer examples leaves grey
        for label, start in enumerate(np.cumsum([0, *(len(i) for i in index[:-1])])):
            sheet[label, : len(index[label])] = tiles[start : start + len(index[label])]
        sheets.append(sheet)
    return {"examples": np.stack(sheets), "steps": np.array(list(shown))}


@torch.no_grad()
def first_layer_filters(network: nn.Module, input_shape: tuple[int, int, int]) -> dict[str, np.ndarray]:
    """The first weights that look at pixels, as images (units, H, W, channels); grey is zero."""
    channels, height, width = input_shape
    for weight in (p.detach().float().cpu() for p in network.parameters() if p.ndim >= 2):
        if weight.ndim == 2 and weight.shape[1] == channels * height * width and min(height, width) > 1:
            weight = weight.unflatten(1, input_shape)
        if weight.ndim != 4 or weight.shape[1] != channels:
            return {}
        if min(weight.shape[2:]) < 2 or not weight.isfinite().all():
            return {}
        low, high = _around_zero(weight[:FILTERS])
        return {"filters": _image(weight[:FILTERS], low=low, high=high)}
    return {}


def examples(images: Images, index: Tensor, *, scale: float) -> np.ndarray:
    """The stored images at `index`, (n, H, W, channels)."""
    return _image(images.pixels[index.to(images.pixels.device)].cpu() * scale, low=0, high=1)


def project_to_plane(points: Tensor) -> Tensor:
    """(N, D) -> (N, 2): coordinates along the two directions of largest spread. Not centred: the origin stays.

    From the eigenvectors of the N x N matrix of dot products, which needs no random numbers and no D x D matrix.
    """
    points = points.double()
    mean = points.mean(0)
    centred = points - mean
    variances, vectors = torch.linalg.eigh(centred @ centred.T)
    axes = centred.T @ vectors[:, -2:].flip(1) / variances[-2:].flip(0).clamp(min=1e-12).sqrt()
    return points @ axes


def _centred(points: Tensor) -> Tensor:
    return points - points.mean(0)


def _around_zero(values: Tensor) -> tuple[float, float]:
    """Limits that show zero as grey and all but the outermost values."""
    largest = float(values.abs().flatten()[:: max(1, values.numel() // 100_000)].quantile(0.998)) or 1.0
    return -largest, largest


def _image(values: Tensor, *, low: float, high: float) -> np.ndarray:
    """(N, C, H, W) -> uint8 (N, H, W, 3 or 1), `low` black and `high` white; other numbers of channels are averaged."""
    values = values.float()
    if values.shape[1] not in (1, 3):
        values = values.mean(1, keepdim=True)
    if max(values.shape[2:]) > SIDE:
        factor = SIDE / max(values.shape[2:])
        size = [max(1, round(length * factor)) for length in values.shape[2:]]
        values = F.interpolate(values, size, mode="area")
    shades = ((values - low) / (high - low)).clamp(0, 1) * 255
    return shades.round().byte().permute(0, 2, 3, 1).contiguous().numpy()
