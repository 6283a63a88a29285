"""Labels as a data set gives them (numbers, words, vectors, lists) as tensors, with their names and the task."""

from __future__ import annotations

import numbers
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.data.dataset import CLASSIFICATION, MULTILABEL, REGRESSION, TASKS
from pipeline.errors import UserError, did_you_mean
from pipeline.validation import one_of

AUTO = "auto"


@dataclass(frozen=True)
class EncodedLabels:
    """The labels of each split as tensors of `Images`, the task they mean, and the names of classes or targets."""

    splits: dict[str, Tensor]
    task: str
    classes: tuple[str, ...]


def encode_labels(
    splits: Mapping[str, Sequence[Any]], *, task: str = AUTO, names: Sequence[str] | None = None, field: str = "label"
) -> EncodedLabels:
    """Return the labels of `splits` as tensors; all splits have the same names.

    Whole numbers are classes from 0, words are classes in alphabetical order, lists of words and rows of zeros and
    ones are several labels for one example, and numbers with fractions are targets. `task` is one of `TASKS`, or auto:
    what the values mean by themselves. `names` are the names of the classes or targets, in order; None where the data
    set does not know them.

    Raises `UserError` (`field`) for labels that are missing, mixed, not finite, without a name in `names`, or that
    could mean two things and `task` does not say which.
    """
    one_of("task", task, [AUTO, *TASKS])
    plain = {split: [_to_plain(label) for label in labels] for split, labels in splits.items()}
    for split, labels in plain.items():
        _check_present(split, labels, field)
    every = [label for labels in plain.values() for label in labels]
    names = None if names is None else tuple(map(str, names))
    if all(isinstance(label, str) for label in every):
        return _encode_words(plain, task, names, field)
    if all(isinstance(label, list) for label in every):
        if task in (AUTO, MULTILABEL) and _are_lists_of_labels(every, names):
            return _encode_lists(plain, names, field)
        return _encode_rows(plain, task, names, field)
    if all(isinstance(label, (bool, int, float)) for label in every):
        return _encode_numbers(plain, task, names, field)
    first, other = every[0], next(label for label in every if type(label) is not type(every[0]))
    raise UserError(
        f"all labels must be of one kind (numbers, words, or vectors of one length), but there are {_quoted(first)} "
        f"and {_quoted(other)}.",
        field=field,
    )


def _to_plain(label: Any) -> Any:
    """Return a label as None, bool, int, float, str or a list of these."""
    if isinstance(label, (str, bool, int, float)) or label is None:
        return label
    if isinstance(label, bytes):
        return label.decode(errors="replace")
    if isinstance(label, (Tensor, np.ndarray, np.generic)):
        plain = label.tolist()
        return plain[0] if isinstance(plain, list) and np.ndim(label) == 1 and len(plain) == 1 else plain
    if isinstance(label, (list, tuple)):
        return [_to_plain(one) for one in label]
    if isinstance(label, numbers.Integral):
        return int(label)
    return label


def _check_present(split: str, labels: Sequence[Any], field: str) -> None:
    missing = [i for i, label in enumerate(labels) if label is None or label != label]
    if missing:
        advice = "Label these examples or remove them." if len(missing) < len(labels) else "Leave that split out."
        raise UserError(
            f"every example needs a label, but {len(missing)} of {len(labels)} in the {split} split have none: the "
            f"first is example {missing[0]}. {advice}",
            field=field,
        )
    kinds = (str, bool, int, float, list)
    wrong = next((i for i, label in enumerate(labels) if not isinstance(label, kinds)), None)
    if wrong is not None:
        label = labels[wrong]
        keys = f" with the keys {', '.join(map(str, label))}" if isinstance(label, Mapping) else ""
        raise UserError(
            f"a label must be a number, a word, a vector or a list of these, but that of example {wrong} of the "
            f"{split} split is a {type(label).__name__}{keys}. Choose another one.",
            field=field,
        )


def _encode_words(
    plain: Mapping[str, list[str]], task: str, names: tuple[str, ...] | None, field: str
) -> EncodedLabels:
    if task == MULTILABEL:
        return _encode_lists({split: [[word] for word in words] for split, words in plain.items()}, names, field)
    if task == REGRESSION:
        word = next(word for words in plain.values() for word in words)
        raise UserError(f"regression needs numbers as targets, but the labels are words such as {word!r}.", field=field)
    names, index = _vocabulary([word for words in plain.values() for word in words], names, field)
    splits = {split: torch.tensor([index[word] for word in words]) for split, words in plain.items()}
    return EncodedLabels({split: labels.long() for split, labels in splits.items()}, CLASSIFICATION, names)


def _vocabulary(
    words: Sequence[str], names: tuple[str, ...] | None, field: str
) -> tuple[tuple[str, ...], dict[str, int]]:
    """Return the names of the classes, and the label of each."""
    if names is None:
        names = tuple(sorted(set(words)))
    index = {name: i for i, name in enumerate(names)}
    unknown = sorted(set(words) - index.keys())
    if unknown:
        raise UserError(
            f"{len(unknown)} label(s) are none of the {len(names)} classes: {', '.join(map(repr, unknown[:5]))}."
            f"{did_you_mean(unknown[0], names)}",
            field=field,
        )
    return names, index


def _are_lists_of_labels(every: Sequence[list[Any]], names: tuple[str, ...] | None) -> bool:
    """Return whether these lists name the labels that hold, instead of having a value for each label or target."""
    if any(isinstance(one, str) for label in every for one in label):
        return True
    if any(not isinstance(one, int) or isinstance(one, bool) for label in every for one in label):
        return False
    lengths = {len(label) for label in every}
    return len(lengths) > 1 or (names is not None and lengths != {len(names)})


def _encode_lists(plain: Mapping[str, list[list[Any]]], names: tuple[str, ...] | None, field: str) -> EncodedLabels:
    """Return lists of words, or of classes from 0, as rows of zeros and ones."""
    every = [one for labels in plain.values() for label in labels for one in label]
    if every and all(isinstance(one, int) and not isinstance(one, bool) for one in every):
        count = len(names) if names else max(every) + 1
        if min(every) < 0 or max(every) >= count or count > 100_000:
            raise UserError(f"labels must be 0 .. {count - 1}, but there is {min(every)} .. {max(every)}.", field=field)
        names = names or tuple(map(str, range(count)))
        index: Mapping[Any, int] = {i: i for i in range(count)}
    elif all(isinstance(one, str) for one in every):
        names, index = _vocabulary(every, names, field)
    else:
        raise UserError("a list of labels must hold words or classes from 0, not both.", field=field)
    splits = {split: torch.zeros(len(labels), len(names)) for split, labels in plain.items()}
    for split, labels in plain.items():
        for row, label in zip(splits[split], labels, strict=True):
            row[[index[one] for one in label]] = 1
    return EncodedLabels(splits, MULTILABEL, names)


def _encode_rows(
    plain: Mapping[str, list[list[Any]]], task: str, names: tuple[str, ...] | None, field: str
) -> EncodedLabels:
    """Return vectors of numbers: rows of zeros and ones are labels, other numbers are targets."""
    try:
        splits = {split: torch.tensor(labels, dtype=torch.float64) for split, labels in plain.items()}
    except (ValueError, TypeError) as error:
        raise UserError(f"labels must be vectors of numbers of one length ({error}).", field=field) from error
    if any(labels.ndim != 2 for labels in splits.values()) or len({labels.shape[1] for labels in splits.values()}) > 1:
        shapes = ", ".join(str(tuple(labels.shape[1:])) for labels in splits.values())
        raise UserError(f"labels must be vectors of one length, but have the shapes {shapes}.", field=field)
    rows = torch.cat([*splits.values()])
    _check_finite(rows, field)
    is_binary = bool(((rows == 0) | (rows == 1)).all())
    sums_to_one = bool((rows.sum(1) - 1).abs().max() < 1e-4)
    if task == AUTO and sums_to_one:
        kind = "one-hot" if is_binary else "probabilities of classes"
        raise UserError(
            f"the labels are {kind}: each is a vector of {rows.shape[1]} numbers with the sum 1. Set "
            "data.task=classification to train for the largest one, or data.task="
            f"{'multilabel if several could be 1' if is_binary else 'regression to predict the numbers'}.",
            field=field,
        )
    if task == MULTILABEL and not is_binary:
        raise UserError("several labels must be given as zeros and ones, but there are other numbers.", field=field)
    width = rows.shape[1]
    if names is None or len(names) != width:
        names = tuple(map(str, range(width)))
    if task == CLASSIFICATION:
        if not sums_to_one:
            raise UserError("rows that are not of the sum 1 name no single class. Set data.task=auto.", field=field)
        return EncodedLabels({split: rows.argmax(1) for split, rows in splits.items()}, CLASSIFICATION, names)
    found = MULTILABEL if task == MULTILABEL or (task == AUTO and is_binary) else REGRESSION
    return EncodedLabels({split: labels.float() for split, labels in splits.items()}, found, names)


def _encode_numbers(
    plain: Mapping[str, list[Any]], task: str, names: tuple[str, ...] | None, field: str
) -> EncodedLabels:
    """Return whole numbers as classes and others as targets."""
    if task == MULTILABEL:
        raise UserError("several labels need a vector or a list for each example, but labels are numbers.", field=field)
    every = torch.tensor([label for labels in plain.values() for label in labels], dtype=torch.float64)
    _check_finite(every, field)
    is_float = any(isinstance(label, float) for labels in plain.values() for label in labels)
    is_whole = bool((every == every.round()).all())
    if task == AUTO and is_float and is_whole:
        raise UserError(
            f"the labels are floats without fractions ({every.min():g} .. {every.max():g}): classes or targets? Set "
            "data.task=classification or data.task=regression.",
            field=field,
        )
    if task == REGRESSION or (task == AUTO and is_float):
        targets = {split: torch.tensor(labels, dtype=torch.float32)[:, None] for split, labels in plain.items()}
        return EncodedLabels(targets, REGRESSION, names if names and len(names) == 1 else ("target",))
    if not is_whole or every.min() < 0:
        raise UserError(
            f"classes must be whole numbers from 0, but there is {every[every < 0][0] if is_whole else 'a fraction'}.",
            field=field,
        )
    if names is None:
        if every.max() >= len(every):
            raise UserError(
                f"classes must be 0 .. C-1, but there is {every.max():.0f} with {len(every)} examples. Number the "
                "classes from 0, give words as labels, or set data.task=regression.",
                field=field,
            )
        is_bool = all(isinstance(label, bool) for labels in plain.values() for label in labels)
        names = ("False", "True") if is_bool else tuple(map(str, range(int(every.max()) + 1)))
    labels = {split: torch.tensor([int(label) for label in labels]) for split, labels in plain.items()}
    return EncodedLabels({split: values.long() for split, values in labels.items()}, CLASSIFICATION, names)


def _check_finite(values: Tensor, field: str) -> None:
    if not bool(values.isfinite().all()):
        raise UserError("labels must be finite numbers, but some are NaN or infinite.", field=field)


def _quoted(label: Any) -> str:
    text = repr(label)
    return f"{text[:40]}... ({type(label).__name__})" if len(text) > 43 else f"{text} ({type(label).__name__})"
