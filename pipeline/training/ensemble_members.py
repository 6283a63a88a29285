"""Trained networks whose answers are averaged: loaded from checkpoints, each with its own preprocessing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from pipeline.data import Augmentation, Images, preprocessing_from_state
from pipeline.data.dataset import CLASSIFICATION
from pipeline.data.shuffle import evaluation_batch, split_batches
from pipeline.errors import UserError
from pipeline.model.factory import uninitialized_network
from pipeline.model.task import to_probabilities
from pipeline.runs.paths import checkpoint_file
from pipeline.training import checkpoints


@dataclass(frozen=True)
class EnsembleMember:
    """`member(pixels)` maps stored pixels (N, C, H, W) to logits (N, classes)."""

    path: Path
    network: nn.Module
    preprocessing: nn.Module

    def __call__(self, pixels: Tensor) -> Tensor:
        return self.network(self.preprocessing(pixels))


def load_member(path: Path, *, fingerprint: str, device: torch.device, field: str) -> EnsembleMember:
    """Load the network of a checkpoint, or the best one of a run's directory, onto `device`.

    Raises `UserError` on `field` where `path` is no checkpoint of a training, or its data do not have `fingerprint`:
    its validation score would say nothing then, since it may have trained on those images.
    """
    path = checkpoint_file(path, "best") if path.is_dir() else path
    state = checkpoints.load(path, field=field)
    try:
        extra, weights = state["pipeline"], state["state_dict"]
        if extra["fingerprint"] != fingerprint:
            raise UserError(f"{str(path)!r} was trained on other data, or on another split of them.", field=field)
        preprocessing = preprocessing_from_state(checkpoints.strip_prefix(weights, "preprocessing."))
        network = uninitialized_network(extra["config"], preprocessing=preprocessing, classes=len(extra["classes"]))
        network.load_state_dict(checkpoints.strip_prefix(weights, "network."))
    except (RuntimeError, KeyError, IndexError, TypeError) as error:
        raise UserError(f"{str(path)!r} is not a checkpoint of a training.", field=field) from error
    return EnsembleMember(path, network.to(device).eval(), preprocessing.to(device).eval())


@torch.inference_mode()
def member_probabilities(
    members: Sequence[EnsembleMember],
    images: Images,
    *,
    augmentation: Augmentation,
    device: torch.device,
    progress: Callable[[float, float], None],
    task: str = CLASSIFICATION,
) -> Tensor:
    """Return the probabilities of each member and image: (members, N, classes), on the CPU.

    They are `to_probabilities` of the mean logits over an image's views; in regression, the mean outputs themselves.
    """
    all_members = []
    for done, member in enumerate(members, start=1):
        pieces = []
        for index in split_batches(torch.arange(len(images)), evaluation_batch(images.pixels.shape[1:])):
            pixels = images.pixels[index].to(device)
            pieces.append(to_probabilities(task, augmentation.average_logits(member, pixels)).float().cpu())
        all_members.append(torch.cat(pieces))
        progress(done, len(members))
    return torch.stack(all_members)
