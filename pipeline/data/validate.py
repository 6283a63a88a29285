"""Checks of a data set before training, against errors that would train without a message."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor

from pipeline.data.dataset import CLASSIFICATION, MULTILABEL, Images, Source, Splits
from pipeline.data.pixels import DecodedPixels, Pixels, pixel_chunks
from pipeline.errors import UserError, quote_names

_CHUNK = 1 << 24  # pixel values that are checked at once
_SHOWN = 5  # names that an error lists


def validate_data(data: Source | Splits) -> None:
    """Raise `UserError` for the first thing that is wrong with `data`.

    These are wrong: an empty split; different numbers of images and labels; images of another shape or type than those
    of the training split; NaN or infinite pixels; labels that are not those of the task. Classes are integers 0 .. C-1,
    at least two, each with a training example. Several labels for one example are rows of zeros and ones, and each
    label holds for some training examples and not for others. Targets are finite, and vary. The names of classes,
    labels and targets differ. The field is `path` for data that have a path.
    """
    try:
        _check_names(data.classes)
        for name, images in data.splits.items():
            _check_shapes(name, images, data.train)
            _check_label_shape(name, images, data.task, data.classes)
            if data.task == CLASSIFICATION:
                _check_labels(name, images.labels, data.classes)
            else:
                _check_numbers(name, images.labels, data.task)
            _check_finite(name, images.pixels)
        if data.task == CLASSIFICATION:
            if len(data.classes) < 2:
                raise UserError(f"there must be at least two classes, but there is only {data.classes[0]!r}.")
            _check_all_classes_present(data.train, data.classes)
        else:
            _check_columns_vary(data.train.labels, data.task, data.classes)
    except UserError as error:
        title = data.path or f"data set {data.name!r}"
        raise UserError(f"{title}: {error.message}", field="path" if data.path else None) from None


def _word(images: Images) -> str:
    """Return what an example is called: rows of a table have one value in each channel."""
    return "image" if images.pixels.shape[2] * images.pixels.shape[3] > 1 else "row"


def _check_names(names: Sequence[str]) -> None:
    twice = [name for name, count in Counter(names).items() if count > 1]
    if twice:
        raise UserError(
            f"the names of the {len(names)} classes must differ, but {quote_names(twice, most=_SHOWN)} occurs "
            "more than once."
        )


def _check_shapes(name: str, images: Images, train: Images) -> None:
    pixels = images.pixels
    if not len(pixels):
        raise UserError(f"the {name} split is empty. Add examples, or leave the split out to have one cut off.")
    if pixels.shape[1:] != train.pixels.shape[1:] or pixels.dtype != train.pixels.dtype:
        is_table = _word(images) == "row" and _word(train) == "row"
        what, here, there = (
            ("rows of one number of columns", pixels.shape[1], train.pixels.shape[1])
            if is_table
            else (
                "images of one shape (channels, height, width)",
                tuple(pixels.shape[1:]),
                tuple(train.pixels.shape[1:]),
            )
        )
        raise UserError(
            f"all splits must hold {what} and type, but {name} has {here} {pixels.dtype} and train {there} "
            f"{train.pixels.dtype}."
        )


def _check_label_shape(name: str, images: Images, task: str, classes: Sequence[str]) -> None:
    labels = images.labels
    needed = [len(images)] if task == CLASSIFICATION else [len(images), len(classes)]
    if list(labels.shape) != needed:
        what = "one label" if task == CLASSIFICATION else f"{len(classes)} numbers as its label"
        raise UserError(
            f"each {_word(images)} needs {what}, but the {name} split has {len(images)} {_word(images)}s and labels of "
            f"shape {tuple(labels.shape)}."
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


def _check_numbers(name: str, labels: Tensor, task: str) -> None:
    """Check labels (N, L) of zeros and ones, or targets (N, T)."""
    if not labels.is_floating_point():
        raise UserError(f"labels of {task} must be floats; those of the {name} split are {labels.dtype}.")
    good = (labels == 0) | (labels == 1) if task == MULTILABEL else labels.isfinite()
    if not good.all():
        row, column = (~good).nonzero()[0].tolist()
        rule = "0 or 1" if task == MULTILABEL else "finite numbers"
        raise UserError(
            f"labels must be {rule}, but {int((~good).sum())} in the {name} split are not: the first is "
            f"{float(labels[row, column]):g} at index {row}. Repair or remove these examples."
        )


def _check_finite(name: str, pixels: Pixels) -> None:
    is_undecoded = isinstance(pixels, DecodedPixels) and pixels.digests is None
    if is_undecoded or not pixels.dtype.is_floating_point:
        return
    chunks = pixel_chunks(pixels, max_bytes=_CHUNK * pixels.dtype.itemsize)
    n_bad = torch.cat([(~chunk.isfinite()).flatten(1).sum(1) for chunk in chunks])  # (N,)
    if n_bad.any():
        what, example = ("pixels", "image") if pixels.shape[2] * pixels.shape[3] > 1 else ("values", "row")
        first = int((n_bad > 0).int().argmax())
        column = (
            "" if example == "image" else f" in column {int((~pixels[first : first + 1].isfinite()).int().argmax())}"
        )
        raise UserError(
            f"{what} must be finite, but {int(n_bad.sum())} in {int((n_bad > 0).sum())} {example}(s) of the {name} "
            f"split are NaN or infinite: the first is in {example} {first}{column}. Repair or remove these {example}s."
        )


def _check_all_classes_present(train: Images, classes: tuple[str, ...]) -> None:
    counts = torch.bincount(train.labels, minlength=len(classes)).tolist()
    missing = [name for name, count in zip(classes, counts, strict=True) if not count]
    if missing:
        raise UserError(
            f"there is no training example of class {quote_names(missing, most=_SHOWN)}. Add some, or renumber "
            "the labels without the "
            "missing classes."
        )


def _check_columns_vary(labels: Tensor, task: str, names: Sequence[str]) -> None:
    """Check that each label, or target, differs between training examples."""
    constant = [name for name, same in zip(names, (labels == labels[0]).all(0).tolist(), strict=True) if same]
    if constant:
        what = "label" if task == MULTILABEL else "target"
        raise UserError(
            f"each {what} must differ between training examples, but {quote_names(constant, most=_SHOWN)} has "
            "one value in all "
            f"{len(labels)}: there is nothing to learn. Leave it out, or add examples with another value."
        )
