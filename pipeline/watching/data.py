"""The `data` of `preflight`: tensors, arrays or a dataset, by split, and their signals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pipeline.signals.data import data_signals
from pipeline.signals.schema import Data
from pipeline.watching.errors import PreflightError

TOKENS = (torch.int32, torch.int64)
OF_AMOUNTS = ("inputs", "constant_features", "neighbours", "channel_orders", "layouts", "near_copies", "turns")
"""Signals that inputs which are no amounts, such as tokens, do not have."""
MAX_EXAMPLES = 10_000
"""Examples that are read of a dataset which is not in memory."""


def data_signals_of(data: Any) -> Data:
    """Return the signal `sanity.data` of a pair (inputs, labels), a torch `Dataset`, or such by split.

    Labels that are real numbers have no classes, so only the inputs are measured. Raises `PreflightError` for anything
    else.
    """
    by_split = data if isinstance(data, Mapping) else {"train": data}
    if "train" not in by_split or set(by_split) - {"train", "val", "test"}:
        raise PreflightError(
            f"splits are named train, val and test, and train is needed; got {', '.join(map(str, by_split))}.",
            field="data",
        )
    splits = {name: _read_split(name, split) for name, split in by_split.items()}
    shapes = {pixels.shape[1:] for pixels, _ in splits.values()}
    if len(shapes) > 1:
        raise PreflightError(f"the splits have inputs of different shapes: {sorted(map(tuple, shapes))}.", field="data")
    left_out = OF_AMOUNTS if all(pixels.dtype in TOKENS for pixels, _ in splits.values()) else ()
    names = None
    if all(labels.ndim == 1 and not labels.is_floating_point() for _, labels in splits.values()):
        names = [str(label) for label in range(max(int(labels.max()) for _, labels in splits.values()) + 1)]
    measured = data_signals(splits, lambda pixels: pixels.float(), names)
    return {key: value for key, value in measured.items() if key not in left_out}  # type: ignore[return-value]


def _read_split(name: str, split: Any) -> tuple[Tensor, Tensor]:
    if isinstance(split, (tuple, list)) and len(split) == 2:
        inputs, labels = (_to_tensor(one) for one in split)
    elif hasattr(split, "__getitem__") and hasattr(split, "__len__"):
        rows = [split[i] for i in range(min(len(split), MAX_EXAMPLES))]
        try:
            inputs = torch.stack([_to_tensor(row[0]) for row in rows])
            labels = torch.stack([_to_tensor(row[1]) for row in rows])
        except (TypeError, ValueError, IndexError, RuntimeError, KeyError) as error:
            raise PreflightError(
                f"the items of {name} are no pairs of input and class ({error}).", field="data"
            ) from error
    else:
        raise PreflightError(
            f"{name} is no pair (inputs, labels) and no dataset: {type(split).__name__}.", field="data"
        )
    is_real = labels.is_floating_point()
    if not labels.ndim or len(labels) != len(inputs) or not len(labels):
        raise PreflightError(
            f"{name} needs a label for each of its {len(inputs)} inputs, a class or real numbers; got labels of shape "
            f"{tuple(labels.shape)} and type {str(labels.dtype).removeprefix('torch.')}.",
            field="data",
        )
    if labels.ndim == 1 and not is_real and int(labels.min()) < 0:
        raise PreflightError(f"{name} has the label {int(labels.min())}; classes are numbered from 0.", field="data")
    if inputs.dtype in (torch.bfloat16, torch.float16):  # which NumPy does not have
        inputs = inputs.float()
    return _as_images(inputs), labels if is_real else labels.long()


def _to_tensor(value: Any) -> Tensor:
    return value.detach().cpu() if isinstance(value, Tensor) else torch.as_tensor(np.asarray(value))


def _as_images(inputs: Tensor) -> Tensor:
    """Return (N, C, H, W): rows of a table become (N, features, 1, 1), as in the pipeline."""
    if inputs.ndim == 4:
        return inputs
    if inputs.ndim == 3:
        return inputs.unsqueeze(1)
    return inputs.reshape(len(inputs), -1, 1, 1)
