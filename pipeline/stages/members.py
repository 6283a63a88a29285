"""Trained networks that answer together: loaded from checkpoints, each with its own preprocessing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.assemble import blank_network
from pipeline.data import Images, from_state
from pipeline.data.order import batches
from pipeline.errors import UserError
from pipeline.model.classifier import EVALUATION_BATCH
from pipeline.parts import Parts
from pipeline.stages import checkpoints


@dataclass(frozen=True)
class Member:
    """`member(pixels)`: (N, C, H, W) as the data set has them -> logits (N, classes)."""

    path: Path
    network: nn.Module
    preprocessing: nn.Module

    def __call__(self, pixels: Tensor) -> Tensor:
        return self.network(self.preprocessing(pixels))


def load_member(place: Path, parts: Parts, *, field: str) -> Member:
    """The network of a checkpoint, or of a run's folder its best; raises a `UserError` on `field` where it was trained
    on other data: its validation scores would say nothing, since it may have seen the images."""
    path = place / "checkpoints" / checkpoints.BEST if place.is_dir() else place
    state = checkpoints.load(path, field=field)
    try:
        about, weights = state["pipeline"], state["state_dict"]
        if about["fingerprint"] != parts.data.fingerprint():
            raise UserError(f"{str(path)!r} was trained on other data, or on another split of them.", field=field)
        preprocessing = from_state(checkpoints.under(weights, "preprocessing."))
        network = blank_network(about["config"], preprocessing=preprocessing, classes=len(about["classes"]))
        network.load_state_dict(checkpoints.under(weights, "network."))
    except (RuntimeError, KeyError, IndexError, TypeError) as error:
        raise UserError(f"{str(path)!r} is no checkpoint of a training run.", field=field) from error
    device = parts.engine.device
    return Member(path, network.to(device).eval(), preprocessing.to(device).eval())


@torch.inference_mode()
def probabilities(members: Sequence[Member], parts: Parts, images: Images) -> Tensor:
    """softmax of each member's mean logits over the views of each image: (members, N, classes), on the CPU."""
    found = []
    for done, member in enumerate(members):
        pieces = []
        for index in batches(torch.arange(len(images)), EVALUATION_BATCH):
            pixels = images.pixels[index].to(parts.engine.device)
            pieces.append(parts.augmentation.mean_logits(member, pixels).softmax(1).float().cpu())
        found.append(torch.cat(pieces))
        parts.progress(done + 1, len(members))
    return torch.stack(found)
