"""A trained network with its preprocessing, from raw images to class names."""

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
    """`predictor(images)` -> logits; `predictor.classify(images)` -> class names.

    `images`: raw pixels as the run's data set has them, (N, C, H, W) or (C, H, W), uint8 or float, on any device.
    """

    network: nn.Module
    preprocessing: Preprocessing
    augmentation: Augmentation
    classes: tuple[str, ...]
    input_shape: tuple[int, int, int]

    @torch.inference_mode()
    def __call__(self, images: Tensor) -> Tensor:
        """(N, C, H, W) -> logits (N, classes) on the CPU; raises `ValueError` for another image shape."""
        images = images.unsqueeze(0) if images.ndim == 3 else images
        if tuple(images.shape[1:]) != self.input_shape:
            raise ValueError(
                f"images of shape {tuple(images.shape[1:])}; the network was trained on {self.input_shape}. "
                "Bring yours to that shape first, as data.size did with the run's."
            )
        device = next(iter(self.preprocessing.buffers())).device
        pieces = split_batches(torch.arange(len(images)), EVALUATION_BATCH)
        logits = [self.augmentation.average_logits(self._logits, images[index].to(device)).cpu() for index in pieces]
        return torch.cat(logits) if logits else torch.empty(0, len(self.classes))

    def _logits(self, pixels: Tensor) -> Tensor:
        return self.network(self.preprocessing(pixels))

    def predict_classes(self, images: Tensor) -> list[str]:
        return [self.classes[index] for index in self(images).argmax(1).tolist()]


def load_predictor(run: Path, checkpoint: str) -> Predictor:
    """From `<run>/checkpoints/<checkpoint>.ckpt`, which holds all that is needed; the data set is not read."""
    path = run / "checkpoints" / f"{checkpoint}.ckpt"
    if not path.exists():
        raise UserError(f"there is no {str(path)!r}; has the run trained?")
    state = checkpoints.load(path, field="run_directory")
    about, weights = state["pipeline"], state["state_dict"]
    preprocessing = preprocessing_from_state(checkpoints.strip_prefix(weights, "preprocessing."))
    network = uninitialized_network(about["config"], preprocessing=preprocessing, classes=len(about["classes"]))
    network.load_state_dict(checkpoints.strip_prefix(weights, "network."))
    return Predictor(
        network.eval(),
        preprocessing.eval(),
        instantiate(about["config"]["augmentation"], "augmentation"),
        tuple(about["classes"]),
        tuple(about["input_shape"]),
    )
