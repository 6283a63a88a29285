"""A trained network with its preprocessing: maps raw images to logits or class names."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.config.instantiate import instantiate
from pipeline.data import Augmentation, Preprocessing, preprocessing_from_state
from pipeline.data.shuffle import split_batches
from pipeline.errors import UserError
from pipeline.model.factory import uninitialized_network
from pipeline.training import checkpoints
from pipeline.training.lightning_module import EVALUATION_BATCH


@dataclass(frozen=True)
class Predictor:
    """`predictor(images)` returns logits, `predictor.predict_classes(images)` class names.

    `images` are raw pixels as the run's data set has them: (N, C, H, W) or (C, H, W), uint8 or float, on any device.
    Where the augmentation has several views of an image, its logits are the mean over them.
    """

    network: nn.Module
    preprocessing: Preprocessing
    augmentation: Augmentation
    classes: tuple[str, ...]
    """Names of the classes, in the order of the logits."""
    input_shape: tuple[int, int, int]
    """(C, H, W) of an image."""

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """Return the logits (N, classes), on the CPU. Raises `ValueError` for images of another shape."""
        images = images.unsqueeze(0) if images.ndim == 3 else images
        if tuple(images.shape[1:]) != self.input_shape:
            raise ValueError(
                f"images of shape {tuple(images.shape[1:])}, but the network was trained on {self.input_shape}. "
                "Bring them to that shape first, as data.size did in the run."
            )
        device = next(iter(self.preprocessing.buffers())).device
        batches = split_batches(torch.arange(len(images)), EVALUATION_BATCH)
        logits = [self.augmentation.average_logits(self._logits, images[index].to(device)).cpu() for index in batches]
        return torch.cat(logits) if logits else torch.empty(0, len(self.classes))

    def _logits(self, pixels: Tensor) -> Tensor:
        return self.network(self.preprocessing(pixels))

    def predict_classes(self, images: Tensor) -> list[str]:
        """Return the name of the most likely class of each image."""
        return [self.classes[index] for index in self(images).argmax(1).tolist()]


def load_predictor(run_directory: Path, checkpoint: str) -> Predictor:
    """Load `<run_directory>/checkpoints/<checkpoint>.ckpt`, which has everything that is needed but the data.

    Raises `UserError` where there is no such checkpoint, or it is damaged.
    """
    path = run_directory / "checkpoints" / f"{checkpoint}.ckpt"
    if not path.exists():
        raise UserError(f"there is no checkpoint {str(path)!r}. Has the run trained a network?")
    state = checkpoints.load(path, field="run_directory")
    extra, weights = state["pipeline"], state["state_dict"]
    preprocessing = preprocessing_from_state(checkpoints.strip_prefix(weights, "preprocessing."))
    network = uninitialized_network(extra["config"], preprocessing=preprocessing, classes=len(extra["classes"]))
    network.load_state_dict(checkpoints.strip_prefix(weights, "network."))
    return Predictor(
        network.eval(),
        preprocessing.eval(),
        instantiate(extra["config"]["augmentation"], "augmentation"),
        tuple(extra["classes"]),
        tuple(extra["input_shape"]),
    )
