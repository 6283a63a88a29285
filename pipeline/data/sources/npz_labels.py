"""The labels of a .npz file: which task they mean, and how they become tensors."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.data.dataset import CLASSIFICATION, MULTILABEL, REGRESSION, TASKS
from pipeline.errors import UserError, quote_names
from pipeline.validation import one_of

AUTO = "auto"
_FEW = 20  # different whole numbers, stored as floats, up to which they are classes
_SHOWN = 5

Array = NDArray[Any]


@dataclass(frozen=True)
class Labels:
    """The labels of each split as in `Images`, their task, the names of classes or targets, and notes."""

    task: str
    splits: Mapping[str, Tensor]
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()


class _Problem(Exception):
    """What is wrong with the labels; `read_labels` adds the file."""


def read_labels(arrays: Mapping[str, Array], *, file: str, names: Array | None, task: str) -> Labels:
    """Return the arrays of labels, by split, as labels of one task.

    Integers are classes 0 .. C-1, true and false two classes, words are numbered in alphabetical order. Rows of zeros
    and ones are several labels for one example, floats are targets: (N,) or (N, T). Floats that are at most 20
    different whole numbers are classes. `task` other than auto takes them as that. `names` are the names in the file.

    Raises `UserError`: (`task`) for a task that is none, (`path`) for labels of another type or shape, and for those
    that could mean two things.
    """
    one_of("task", task, [AUTO, *TASKS])
    try:
        return _read(arrays, None if names is None else _read_names(names), task)
    except _Problem as problem:
        raise UserError(f"{file} {problem}", field="path") from None


def _read(arrays: Mapping[str, Array], names: tuple[str, ...] | None, task: str) -> Labels:
    flat = {split: _flatten(split, values, task) for split, values in arrays.items()}
    first = next(iter(flat.values()))
    if len({(values.ndim, values.shape[1:], values.dtype.kind in "US") for values in flat.values()}) > 1:
        shapes = ", ".join(f"y_{split} {values.dtype} {values.shape}" for split, values in flat.items())
        raise _Problem(f"must have labels of one kind in all splits, but has {shapes}.")
    every = np.concatenate([*flat.values()])
    if not every.size:
        return Labels(CLASSIFICATION, {s: torch.zeros(len(v), dtype=torch.int64) for s, v in flat.items()}, names or ())
    if first.dtype.kind in "US":
        return _read_words(flat, every, names, task)
    if every.dtype.kind == "f" and not np.isfinite(every).all():
        n = int((~np.isfinite(every)).reshape(len(every), -1).any(1).sum())
        raise _Problem(
            f"must have finite labels in y, but {n} of {len(every)} are NaN or infinite. Remove these examples."
        )
    return _read_rows(flat, every, names, task) if first.ndim == 2 else _read_numbers(flat, every, names, task)


def _flatten(split: str, values: Array, task: str) -> Array:
    """Return labels (N,) or (N, L) of a type that can be labels; (N, 1) becomes (N,), unless it is multilabel."""
    if values.ndim == 2 and values.shape[1] == 1 and task != MULTILABEL:
        values = values[:, 0]
    if values.ndim not in (1, 2):
        raise _Problem(f"must have labels of shape (N,), (N, 1) or (N, L), but y_{split} is {values.shape}.")
    if values.dtype.kind not in "buifUS":
        advice = " Save times as numbers: y.astype('int64').astype('float64')." if values.dtype.kind in "mM" else ""
        raise _Problem(f"must have labels that are numbers or words, but y_{split} is {values.dtype}.{advice}")
    if values.dtype.kind in "US" and values.ndim == 2:
        raise _Problem(f"must have one word as a label, but y_{split} is {values.shape}.")
    return values


def _read_names(names: Array) -> tuple[str, ...]:
    if names.dtype.kind not in "USiu" or names.ndim != 1:
        raise _Problem(f"must have `classes` as a row of words, but they are {names.dtype} of shape {names.shape}.")
    return tuple(_decode(names).tolist())


def _decode(words: Array) -> Array:
    """Return words as text; bytes are UTF-8."""
    if words.dtype.kind != "S":
        return words.astype(str)
    try:
        return np.char.decode(words, "utf-8")
    except UnicodeDecodeError as error:
        raise _Problem(f"has words that are not UTF-8 ({error}). Save them as text: y.astype(str).") from None


def _read_words(flat: Mapping[str, Array], every: Array, names: tuple[str, ...] | None, task: str) -> Labels:
    if task not in (AUTO, CLASSIFICATION):
        raise _Problem(f"has words as labels, such as {_decode(every[:1])[0]!r}: data.task={task} needs numbers.")
    every = _decode(every)
    found = np.unique(every)
    if names is None and len(found) > max(_FEW, len(every) / 2):
        raise _Problem(f"has {len(found)} different words as labels of {len(every)} examples: these are no classes.")
    classes = tuple(found.tolist()) if names is None else names
    index = {name: i for i, name in enumerate(classes)}
    if unknown := [word for word in found.tolist() if word not in index]:
        raise _Problem(f"has labels that are not in `classes`: {quote_names(unknown, most=_SHOWN)}. Add them there.")
    numbers = np.array([index[word] for word in found.tolist()])
    splits = {split: torch.from_numpy(numbers[np.searchsorted(found, _decode(v))]) for split, v in flat.items()}
    return Labels(CLASSIFICATION, {split: labels.long() for split, labels in splits.items()}, classes)


def _read_rows(flat: Mapping[str, Array], every: Array, names: tuple[str, ...] | None, task: str) -> Labels:
    """Return labels (N, L): zeros and ones, or targets."""
    width = every.shape[1]
    if names is not None and len(names) != width:
        raise _Problem(f"has {len(names)} names in `classes`, but {width} columns in its labels. Name each column.")
    classes = names or tuple(map(str, range(width)))
    is_binary = bool(((every == 0) | (every == 1)).all())
    is_one_hot = is_binary and bool((every.sum(1) == 1).all())
    if task == CLASSIFICATION or (task == AUTO and is_one_hot):
        if not is_one_hot:
            raise _Problem(
                f"has labels of shape (N, {width}) that are not one-hot: a row has not exactly one 1. "
                + ("Several labels for one example are data.task=multilabel." if is_binary else "")
            )
        raise _Problem(
            f"has one-hot labels of shape (N, {width}): each row has exactly one 1. Save the classes as y.argmax(1); "
            "if an example can have several labels, set data.task=multilabel."
        )
    if task == MULTILABEL and not is_binary:
        raise _Problem("must have zeros and ones as labels for data.task=multilabel, but has other numbers.")
    if task == AUTO and not is_binary and every.dtype.kind != "f":
        raise _Problem(
            f"has integers other than 0 and 1 as labels of shape (N, {width}). If these are numbers to predict, set "
            "data.task=regression; one class for each example has the shape (N,)."
        )
    if task == AUTO and not is_binary and every.min() >= 0 and np.allclose(every.sum(1), 1, atol=1e-4):
        raise _Problem(
            f"has labels of shape (N, {width}) that look like probabilities: each row has the sum 1. Save the classes "
            "as y.argmax(1), or set data.task=regression to predict the numbers."
        )
    found = MULTILABEL if task == MULTILABEL or (task == AUTO and is_binary) else REGRESSION
    dtype = np.float32 if found == MULTILABEL else np.float64
    return Labels(found, {s: torch.from_numpy(v.astype(dtype)) for s, v in flat.items()}, classes)


def _read_numbers(flat: Mapping[str, Array], every: Array, names: tuple[str, ...] | None, task: str) -> Labels:
    """Return labels (N,): classes 0 .. C-1, or one target."""
    if task == MULTILABEL:
        raise _Problem(
            f"must have labels of shape (N, L) for data.task=multilabel, but has {every.shape}. A single label that "
            "holds or not is y[:, None]."
        )
    is_whole = bool((every == np.round(every)).all()) if every.dtype.kind == "f" else True
    different = np.unique(every)
    is_target = every.dtype.kind == "f" and not (is_whole and len(different) <= _FEW)
    if task == REGRESSION or (task == AUTO and is_target):
        if names is not None and len(names) != 1:
            raise _Problem(f"has {len(names)} names in `classes`, but one target to predict.")
        notes = ("y holds numbers to predict (data.task=classification makes classes of it)",) * (task == AUTO)
        targets = {s: torch.from_numpy(v.astype(np.float64)[:, None]) for s, v in flat.items()}
        return Labels(REGRESSION, targets, names or ("target",), notes)
    if not is_whole:
        raise _Problem("must have whole numbers as classes, but has fractions. Set data.task=regression.")
    if every.dtype.kind == "b":
        names = names or ("False", "True")
    if different[0] < 0:
        split, at = next((split, int((v < 0).argmax())) for split, v in flat.items() if (v < 0).any())
        raise _Problem(
            f"must have labels 0 .. C-1, but y_{split} has {flat[split][at]:.0f} at index {at}. "
            "If it is a class, number the classes: numpy.unique(y, return_inverse=True)[1], of all splits at once. "
            "If it marks examples without a label, remove these examples."
        )
    if names is not None and int(different[-1]) >= len(names):
        raise _Problem(
            f"has {len(names)} names in `classes`, but labels up to {different[-1]}. Name each class, from label 0 on."
        )
    classes = names or _number_classes(different, len(every))
    if max(abs(float(different[0])), abs(float(different[-1]))) >= 2**62:
        raise _Problem(f"must have labels 0 .. C-1, but they are {different[0]} .. {different[-1]}.")
    note = "the whole numbers in y are classes, though stored as floats (data.task=regression predicts them)"
    labels = {split: torch.from_numpy(values.astype(np.int64)) for split, values in flat.items()}
    return Labels(CLASSIFICATION, labels, classes, (note,) * (task == AUTO and every.dtype.kind == "f"))


def _number_classes(different: Array, examples: int) -> tuple[str, ...]:
    """Return the names of the classes 0 .. C-1."""
    lowest, highest, count = int(different[0]), int(different[-1]), len(different)
    if lowest > 0 and count == 1:
        raise _Problem(f"must have labels of at least two classes, but has the label {lowest} alone.")
    if lowest > 0 and highest - lowest + 1 == count:
        raise _Problem(
            f"must have labels 0 .. C-1, but they are {lowest} .. {highest}. Save y - {lowest}, in all splits."
        )
    if highest >= max(examples, 2) or (lowest >= 0 and count < (highest + 1) / 2):
        raise _Problem(
            f"must have labels 0 .. C-1, but the highest is {highest}, with {count} different ones in {examples} "
            "examples. If they are classes, number them: numpy.unique(y, return_inverse=True)[1], of all splits at "
            "once. If they are numbers to predict, set data.task=regression."
        )
    return tuple(str(label) for label in range(highest + 1))
