"""What loading, splitting and augmentation do to the data: the part of `sanity.data` that stored pixels do not show."""

from __future__ import annotations

from collections.abc import Collection
from typing import cast

from torch import Tensor

from pipeline.data import NoAugmentation
from pipeline.data.dataset import CLASSIFICATION
from pipeline.signals.data.augmented import augmentation_signals
from pipeline.signals.data.groups import shared_groups
from pipeline.signals.schema import Data
from pipeline.workflow.components import Components


def loading_signals(components: Components, splits: Collection[str]) -> Data:
    """Return what the source noted, groups that `splits` share with training, and what the augmentation changes."""
    data, augmentation = components.data, components.augmentation.without_mixing()
    signals: Data = {**data.loading}
    groups = {name: images.groups for name, images in data.splits.items() if name in splits}
    known = {name: numbers for name, numbers in groups.items() if numbers is not None}
    if "train" in known:
        train = known.pop("train")
        signals["shared_groups"] = shared_groups(train, known)

    def vary(images: Tensor, epoch: int) -> Tensor:
        return augmentation(images, augmentation.sample_parameters(0, epoch, len(images), "cpu"))

    if not isinstance(augmentation, NoAugmentation) and data.task == CLASSIFICATION:
        pixels = cast(Tensor, data.train.pixels)  # of which a sample is taken
        augmented = augmentation_signals(pixels, data.train.labels, vary, len(data.classes))
        if augmented is not None:
            signals["augmented"] = augmented
    return signals
