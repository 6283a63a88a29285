"""Trained networks that answer together: loaded from checkpoints, each with its own preprocessing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.data import Images, preprocessing_from_state
from pipeline.data.shuffle import split_batches
from pipeline.errors import UserError
from pipeline.training import checkpoints
from pipeline.training.lightning_module import EVALUATION_BATCH
from pipeline.workflow.build import uninitialized_network
from pipeline.workflow.components import Components


@dataclass(frozen=True)
class EnsembleMember:
    """`member(pixels)`: (N, C, H, W) as the data set has them -> logits (N, classes)."""

    path: Path
    network: nn.Module
    preprocessing: nn.Module

    def __call__(self, pixels: Tensor) -> Tensor:
        return self.network(self.preprocessing(pixels))


def load_member(place: Path, parts: Components, *, field: str) -> EnsembleMember:
    """The network of a checkpoint, or of a run's folder its best; raises a `UserError` on `field` where it was trained
    on other data: its validation scores would say nothing, since it may have seen the images."""
    path = place / "checkpoints" / checkpoints.BEST if place.is_dir() else place
    state = checkpoints.load(path, field=field)
    try:
        about, weights = state["pipeline"], state["state_dict"]
        if about["fingerprint"] != parts.data.fingerprint():
            raise UserError(f"{str(path)!r} was trained on other data, or on another split of them.", field=field)
        preprocessing = preprocessing_from_state(checkpoints.strip_prefix(weights, "preprocessing."))
        network = uninitialized_network(about["config"], preprocessing=preprocessing, classes=len(about["classes"]))
        network.load_state_dict(checkpoints.strip_prefix(weights, "network."))
    except (RuntimeError, KeyError, IndexError, TypeError) as error:
        raise UserError(f"{str(path)!r} is no checkpoint of a training run.", field=field) from error
    device = parts.device_config.device
    return EnsembleMember(path, network.to(device).eval(), preprocessing.to(device).eval())


@torch.inference_mode()
def probabilities(members: Sequence[EnsembleMember], parts: Components, images: Images) -> Tensor:
    """softmax of each member's mean logits over the views of each image: (members, N, classes), on the CPU."""
    found = []
    for done, member in enumerate(members):
        pieces = []
        for index in split_batches(torch.arange(len(images)), EVALUATION_BATCH):
            pixels = images.pixels[index].to(parts.device_config.device)
            pieces.append(parts.augmentation.average_logits(member, pixels).softmax(1).float().cpu())
        found.append(torch.cat(pieces))
        parts.progress(done + 1, len(members))
    return torch.stack(found)
