"""What a network predicts for the inputs that a user names, as plain data for a terminal, a file or a page."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from pipeline.data.dataset import CLASSIFICATION
from pipeline.errors import UserError
from pipeline.prediction.predictor import Predictor
from pipeline.prediction.read_inputs import read_inputs

PICTURE_SIDE = 96  # pixels of the longer side, on a page


@dataclass(frozen=True)
class Answer:
    """What is predicted for one input."""

    name: str
    """The path of the input, or its file and row."""
    classes: tuple[str, ...]
    """The predicted class, or the labels that hold; of regression, nothing."""
    numbers: Mapping[str, float]
    """Probabilities of the most likely classes, the highest first; of each label; or each value, by its name."""
    picture: np.ndarray | None = None
    """(H, W, 1 or 3) uint8."""


@dataclass
class Answers:
    """The predictions of one call, and the inputs that could not be read."""

    task: str
    answers: list[Answer] = field(default_factory=list)
    unreadable: dict[str, str] = field(default_factory=dict)
    """The reason, by the name of the input."""
    notes: list[str] = field(default_factory=list)
    """Sentences about inputs that training had none of."""


def predict_inputs(
    predictor: Predictor,
    paths: Sequence[Path],
    *,
    top_k: int,
    max_pictures: int = 0,
    on_progress: Callable[[int], object] = lambda done: None,
) -> Answers:
    """Predict all inputs of `paths`, a batch at a time, and keep the pictures of the first `max_pictures`.

    Of each input the `top_k` most likely classes are kept. `on_progress` gets the number of inputs done. Raises
    `UserError` where no input can be read.
    """
    result = Answers(predictor.task)
    batches = read_inputs(
        paths,
        predictor.input_format,
        on_unreadable=result.unreadable.__setitem__,
        on_note=result.notes.append,
    )
    for batch in batches:
        answers = predictor.to_answers(predictor.predict_batch(batch.pixels))
        rows = _top_numbers(predictor, answers, top_k)
        classes = _class_names(predictor, answers)
        room = max(0, max_pictures - len(result.answers)) if predictor.input_format.is_image else 0
        pictures = [*_to_pictures(batch.pixels[:room] * (predictor.input_format.scale or 1.0))]
        for index, name in enumerate(batch.names):
            picture = pictures[index] if index < len(pictures) else None
            result.answers.append(Answer(name, classes[index], rows[index], picture))
        on_progress(len(result.answers) + len(result.unreadable))
    if not result.answers:
        first = next(iter(result.unreadable.items()), ("there is none", ""))
        raise UserError(f"none of {len(result.unreadable)} inputs can be read: {first[0]} ({first[1]}).")
    return result


def _class_names(predictor: Predictor, answers: Tensor) -> list[tuple[str, ...]]:
    if predictor.target_moments is not None or predictor.task == "regression":
        return [()] * len(answers)
    names = predictor.name_classes(answers)
    return [(name,) if isinstance(name, str) else name for name in names]


def _top_numbers(predictor: Predictor, answers: Tensor, top_k: int) -> list[dict[str, float]]:
    """Return the numbers of each row by name: of classes the highest `top_k`, otherwise all."""
    if predictor.task != CLASSIFICATION:
        return [dict(zip(predictor.classes, row, strict=True)) for row in answers.tolist()]
    values, indices = answers.topk(min(top_k, len(predictor.classes)), dim=1)
    return [
        {predictor.classes[index]: value for index, value in zip(row_of_indices, row, strict=True)}
        for row_of_indices, row in zip(indices.tolist(), values.tolist(), strict=True)
    ]


def _to_pictures(pixels: Tensor) -> Any:
    """Return (n, H, W, 1 or 3) uint8 from pixels in [0, 1], no side above `PICTURE_SIDE`; other channels are averaged.

    Values beyond [0, 1] are brought there, by the lowest and the highest of them.
    """
    if not len(pixels):
        return np.zeros((0, 1, 1, 1), np.uint8)
    pixels = pixels.float() if pixels.shape[1] in (1, 3) else pixels.float().mean(1, keepdim=True)
    low, high = min(0.0, float(pixels.min())), max(1.0, float(pixels.max()))
    longest = max(pixels.shape[2:])
    if longest > PICTURE_SIDE:
        size = [max(1, round(side * PICTURE_SIDE / longest)) for side in pixels.shape[2:]]
        pixels = F.interpolate(pixels, size, mode="area")
    shades = ((pixels - low) / (high - low) * 255).round().to(torch.uint8)
    return shades.permute(0, 2, 3, 1).contiguous().numpy()
