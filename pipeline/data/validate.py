"""What is refused before anything is trained on it: data that would train, silently, into nonsense."""

from __future__ import annotations

import torch
from torch import Tensor

from pipeline.data.dataset import Images, Source, Splits
from pipeline.errors import UserError

_CHUNK = 1 << 24  # values looked at in one go


def validate_data(data: Source | Splits) -> None:
    """Raises UserError on the first of: an empty split; pixels and labels of different number; images of different
    shape or type than the training split's; labels that are not whole numbers or not in 0 .. C-1; NaN or infinite
    pixels; fewer than two classes; a class without a training example. The field is `path` where there is a path.
    """
    try:
        for name, images in data.splits.items():
            _shapes(name, images, data.train)
            _labels(name, images.labels, data.classes)
            _finite(name, images.pixels)
        if len(data.classes) < 2:
            raise UserError(f"there must be at least two classes to tell apart, but there is only {data.classes[0]!r}.")
        _all_present(data.train, data.classes)
    except UserError as error:
        where = data.path or f"data set {data.name!r}"
        raise UserError(f"{where}: {error.message}", field="path" if data.path else None) from None


def _shapes(name: str, images: Images, train: Images) -> None:
    pixels, labels = images.pixels, images.labels
    if not len(pixels):
        raise UserError(f"the {name} split is empty. Add examples, or leave the split out to have one cut off.")
    if labels.ndim != 1 or len(labels) != len(pixels):
        raise UserError(
            f"the {name} split has {len(pixels)} images, but labels of shape {tuple(labels.shape)}: one label per "
            f"image is needed."
        )
    if pixels.shape[1:] != train.pixels.shape[1:] or pixels.dtype != train.pixels.dtype:
        raise UserError(
            f"all splits must hold the same kind of images, but {name} has {tuple(pixels.shape[1:])} {pixels.dtype} "
            f"and train {tuple(train.pixels.shape[1:])} {train.pixels.dtype} (channels, height, width)."
        )


def _labels(name: str, labels: Tensor, classes: tuple[str, ...]) -> None:
    if labels.dtype.is_floating_point or labels.dtype == torch.bool:
        raise UserError(f"labels must be integers; those of the {name} split are {labels.dtype}. Save them as int64.")
    wrong = (labels < 0) | (labels >= len(classes))
    if wrong.any():
        first = int(wrong.int().argmax())
        raise UserError(
            f"labels must count from 0 and stay below the number of classes, {len(classes)}, but {int(wrong.sum())} in "
            f"the {name} split do not: the first is {int(labels[first])} at index {first}. Remove these examples or "
            f"give them a class."
        )


def _finite(name: str, pixels: Tensor) -> None:
    if not pixels.dtype.is_floating_point:
        return
    rows = max(1, _CHUNK // max(1, pixels[0].numel()))
    bad = torch.cat([(~chunk.isfinite()).flatten(1).sum(1) for chunk in pixels.split(rows)])
    if bad.any():
        raise UserError(
            f"pixels must be finite, but {int(bad.sum())} in {int((bad > 0).sum())} image(s) of the {name} split are "
            f"NaN or infinite: the first is in image {int((bad > 0).int().argmax())}. Repair or remove these images."
        )


def _all_present(train: Images, classes: tuple[str, ...]) -> None:
    counts = torch.bincount(train.labels, minlength=len(classes)).tolist()
    missing = [name for name, count in zip(classes, counts, strict=True) if not count]
    if missing:
        more = f" and {len(missing) - 5} more" if len(missing) > 5 else ""
        raise UserError(
            f"no training example of class {', '.join(map(repr, missing[:5]))}{more}. Add some, or renumber the "
            f"labels without the missing classes."
        )
