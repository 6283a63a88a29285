"""Checks of a data set before training, against errors that would train without a message."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.data.dataset import Images, Source, Splits
from pipeline.errors import UserError

_CHUNK = 1 << 24  # pixel values that are checked at once
_SHOWN = 5  # missing classes that an error names


def validate_data(data: Source | Splits) -> None:
    """Raise `UserError` for the first thing that is wrong with `data`.

    These are wrong: an empty split; different numbers of images and labels; images of another shape or type than those
    of the training split; labels that are not integers or not in 0 .. C-1; NaN or infinite pixels; fewer than two
    classes; a class without a training example. The field is `path` for data that have a path.
    """
    try:
        for name, images in data.splits.items():
            _check_shapes(name, images, data.train)
            _check_labels(name, images.labels, data.classes)
            _check_finite(name, images.pixels)
        if len(data.classes) < 2:
            raise UserError(f"there must be at least two classes, but there is only {data.classes[0]!r}.")
        _check_all_classes_present(data.train, data.classes)
    except UserError as error:
        title = data.path or f"data set {data.name!r}"
        raise UserError(f"{title}: {error.message}", field="path" if data.path else None) from None


def _check_shapes(name: str, images: Images, train: Images) -> None:
    pixels, labels = images.pixels, images.labels
    if not len(pixels):
        raise UserError(f"the {name} split is empty. Add examples, or leave the split out to have one cut off.")
    if labels.ndim != 1 or len(labels) != len(pixels):
        raise UserError(
            f"each image needs one label, but the {name} split has {len(pixels)} images and labels of shape "
            f"{tuple(labels.shape)}."
        )
    if pixels.shape[1:] != train.pixels.shape[1:] or pixels.dtype != train.pixels.dtype:
        raise UserError(
            f"all splits must hold images of one shape (channels, height, width) and type, but {name} has "
            f"{tuple(pixels.shape[1:])} {pixels.dtype} and train {tuple(train.pixels.shape[1:])} {train.pixels.dtype}."
        )


def _check_labels(name: str, labels: Tensor, classes: tuple[str, ...]) -> None:
    if labels.dtype.is_floating_point or labels.dtype == torch.bool:
        raise UserError(f"labels must be integers; those of the {name} split are {labels.dtype}. Save them as int64.")
    is_wrong = (labels < 0) | (labels >= len(classes))
    if is_wrong.any():
        first = int(is_wrong.int().argmax())
        raise UserError(
            f"labels must be at least 0 and below the number of classes, {len(classes)}, but {int(is_wrong.sum())} in "
            f"the {name} split are not: the first is {int(labels[first])} at index {first}. Remove these examples or "
            f"give them a class."
        )


def _check_finite(name: str, pixels: Tensor) -> None:
    if not pixels.dtype.is_floating_point:
        return
    rows = max(1, _CHUNK // max(1, pixels[0].numel()))
    n_bad = torch.cat([(~chunk.isfinite()).flatten(1).sum(1) for chunk in pixels.split(rows)])  # (N,)
    if n_bad.any():
        raise UserError(
            f"pixels must be finite, but {int(n_bad.sum())} in {int((n_bad > 0).sum())} image(s) of the {name} split "
            f"are NaN or infinite: the first is in image {int((n_bad > 0).int().argmax())}. Repair or remove these "
            "images."
        )


def _check_all_classes_present(train: Images, classes: tuple[str, ...]) -> None:
    counts = torch.bincount(train.labels, minlength=len(classes)).tolist()
    missing = [name for name, count in zip(classes, counts, strict=True) if not count]
    if missing:
        more = f" and {len(missing) - _SHOWN} more" if len(missing) > _SHOWN else ""
        raise UserError(
            f"there is no training example of class {', '.join(map(repr, missing[:_SHOWN]))}{more}. Add some, or "
            "renumber the labels without the missing classes."
        )
