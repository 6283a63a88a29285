"""A trained network with its preprocessing: maps images, arrays or files to logits, probabilities or class names."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from numbers import Number
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn

from pipeline.config.instantiate import instantiate
from pipeline.data import Augmentation, Preprocessing, preprocessing_from_state
from pipeline.data.dataset import CLASSIFICATION, MULTILABEL, REGRESSION
from pipeline.data.shuffle import EVALUATION_BATCH
from pipeline.errors import UserError
from pipeline.model.factory import uninitialized_network
from pipeline.model.task import to_probabilities
from pipeline.prediction.input_format import InputFormat, recorded_format
from pipeline.prediction.read_inputs import read_inputs
from pipeline.training import checkpoints

LABEL_THRESHOLD = 0.5
"""The probability from which a label of several is predicted."""


@dataclass(frozen=True)
class Predictor:
    """`predictor(inputs)` returns logits, `predictor.predict_classes(inputs)` class names.

    `inputs` are raw, as the run's data set has them, one or several: a tensor or an array of NumPy, (N, C, H, W) or
    (C, H, W), or with the channels last, (H, W) where the images are grey, rows (N, D) of a table; an image of Pillow;
    the path of an image, of a folder of images, or of a .npz, .npy or .csv file; or a list of such. Files are read as
    the run has read its own. Where the augmentation has several views of an image, its logits are the mean over them.

    Every method raises `ValueError` for inputs of another shape, type or range, and `UserError` for a file that cannot
    be read.
    """

    network: nn.Module
    preprocessing: Preprocessing
    augmentation: Augmentation
    classes: tuple[str, ...]
    """Names of the classes or labels, in the order of the logits; of regression, of the targets."""
    input_format: InputFormat
    task: str = CLASSIFICATION
    target_moments: Tensor | None = None
    """Of regression, (2, T): mean and deviation of the training targets, by which the network's outputs are scaled."""

    @property
    def input_shape(self) -> tuple[int, int, int]:
        """(C, H, W) of an input."""
        return self.input_format.shape

    def with_fit(self, fit: str) -> Predictor:
        """Return a predictor that brings image files to its size by `fit`: crop, pad or stretch."""
        return replace(self, input_format=replace(self.input_format, fit=fit))

    @torch.inference_mode()
    def __call__(self, inputs: Any) -> Tensor:
        """Return the logits (N, classes), on the CPU."""
        logits = [self.predict_batch(pixels) for pixels in self._batches(inputs)]
        return torch.cat(logits) if logits else torch.empty(0, len(self.classes))

    @torch.inference_mode()
    def predict_batch(self, pixels: Tensor) -> Tensor:
        """Return the logits (N, classes) of raw pixels (N, C, H, W), on the CPU, `EVALUATION_BATCH` at a time."""
        device = next(iter(self.preprocessing.buffers())).device
        parts = pixels.split(EVALUATION_BATCH)
        return torch.cat([self.augmentation.average_logits(self._logits, part.to(device)).cpu() for part in parts])

    def _logits(self, pixels: Tensor) -> Tensor:
        return self.network(self.preprocessing(pixels))

    def probabilities(self, inputs: Any) -> Tensor:
        """Return the probability of each class (N, classes), rows that sum to 1; of several labels, of each label.

        Raises `ValueError` for a network that predicts numbers.
        """
        if self.task == REGRESSION:
            raise ValueError("a network that predicts numbers has no probabilities; use predict_values.")
        return to_probabilities(self.task, self(inputs).float())

    def predict_classes(self, inputs: Any) -> list[Any]:
        """Return the name of the most likely class of each input; of several labels, a tuple of those that hold."""
        return self.name_classes(self.probabilities(inputs))

    classify = predict_classes

    def name_classes(self, probabilities: Tensor) -> list[Any]:
        """Return what `predict_classes` does, from probabilities."""
        if self.task == MULTILABEL:
            holds = (probabilities >= LABEL_THRESHOLD).tolist()
            return [tuple(name for name, held in zip(self.classes, row, strict=True) if held) for row in holds]
        return [self.classes[index] for index in probabilities.argmax(1).tolist()]

    def predict_values(self, inputs: Any) -> Tensor:
        """Return the predicted numbers (N, T), in the units of the targets.

        Raises `ValueError` for a network that predicts classes.
        """
        if self.task != REGRESSION:
            raise ValueError("a network that predicts classes has no values; use probabilities.")
        return self.to_answers(self(inputs))

    def to_answers(self, logits: Tensor) -> Tensor:
        """Return what the logits mean: probabilities, or values in the units of the targets."""
        answers = to_probabilities(self.task, logits.float())
        if self.target_moments is None:
            return answers
        mean, deviation = self.target_moments.to(answers)
        return answers * deviation + mean

    def as_module(self, *, logits: bool = False) -> nn.Module:
        """Return a module from raw pixels (N, C, H, W) to probabilities, values, or `logits`, preprocessing inside.

        It shares its weights with the predictor.
        """
        return _PredictionModule(self, logits=logits).eval()

    def _batches(self, inputs: Any) -> Iterator[Tensor]:
        """Yield the pixels (n, C, H, W) of `inputs`, those of files a batch at a time."""
        if isinstance(inputs, Image.Image):
            yield self.input_format.from_picture(inputs)[None]
        elif isinstance(inputs, (str, Path)) or _all_of(inputs, (str, Path)):
            paths = [Path(path) for path in ([inputs] if isinstance(inputs, (str, Path)) else inputs)]
            for batch in read_inputs(paths, self.input_format, on_unreadable=_refuse):
                yield batch.pixels
        elif not isinstance(inputs, (list, tuple)) or _all_of(inputs, Number):
            yield from self.input_format.from_array(inputs).split(EVALUATION_BATCH)
        else:
            rest = iter(inputs)
            while items := list(islice(rest, EVALUATION_BATCH)):
                yield torch.cat([pixels for item in items for pixels in self._batches(item)])


def _all_of(inputs: Any, kinds: Any) -> bool:
    """Return whether `inputs` is a list of things of these kinds, at least one."""
    return isinstance(inputs, (list, tuple)) and bool(inputs) and all(isinstance(item, kinds) for item in inputs)


def _refuse(name: str, reason: str) -> None:
    raise UserError(f"{name} cannot be read: {reason}")


class _PredictionModule(nn.Module):
    """Maps raw pixels (N, C, H, W) to what a `Predictor` answers for them."""

    def __init__(self, predictor: Predictor, *, logits: bool):
        super().__init__()
        self.target_moments: Tensor | None
        self.network, self.preprocessing = predictor.network, predictor.preprocessing
        self.augmentation, self.task, self.logits = predictor.augmentation, predictor.task, logits
        moments = predictor.target_moments
        self.register_buffer("target_moments", None if moments is None else moments.float())

    def forward(self, pixels: Tensor) -> Tensor:
        outputs = self.augmentation.average_logits(lambda view: self.network(self.preprocessing(view)), pixels).float()
        if self.logits:
            return outputs
        answers = to_probabilities(self.task, outputs)
        return answers if self.target_moments is None else answers * self.target_moments[1] + self.target_moments[0]


def load_predictor(checkpoint: Path) -> Predictor:
    """Load a checkpoint, which has everything that is needed but the data.

    Raises `UserError` where it cannot be read, is damaged, or was written by another program.
    """
    state = checkpoints.load(checkpoint, field="run_directory")
    extra, weights = state.get("pipeline"), state.get("state_dict")
    if not isinstance(extra, dict) or not isinstance(weights, dict):
        raise UserError(f"{str(checkpoint)!r} was not written by this program: it does not say what it was trained on.")
    preprocessing = preprocessing_from_state(checkpoints.strip_prefix(weights, "preprocessing."))
    network = uninitialized_network(extra["config"], preprocessing=preprocessing, classes=len(extra["classes"]))
    network.load_state_dict(checkpoints.strip_prefix(weights, "network."))
    return Predictor(
        network.eval(),
        preprocessing.eval(),
        instantiate(extra["config"]["augmentation"], "augmentation"),
        tuple(extra["classes"]),
        recorded_format(extra),
        extra.get("task", CLASSIFICATION),
        extra.get("target_moments"),
    )
