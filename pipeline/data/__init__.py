"""Images: where they come from, what is refused, how they are split, measured, prepared, varied and ordered."""

from __future__ import annotations

from pipeline.data.augmentation import Augmentation, CropFlip, Flip, NoAugmentation
from pipeline.data.images import Images, Source, Splits
from pipeline.data.inspect import inspect
from pipeline.data.order import EpochBatches, batches, permutation, seed_from
from pipeline.data.preprocessing import Affine, Preprocessing, Projection, from_state
from pipeline.data.splits import split
from pipeline.data.statistics import channel_moments, covariance, mean_image

__all__ = [
    "Affine",
    "Augmentation",
    "CropFlip",
    "EpochBatches",
    "Flip",
    "Images",
    "NoAugmentation",
    "Preprocessing",
    "Projection",
    "Source",
    "Splits",
    "batches",
    "channel_moments",
    "covariance",
    "from_state",
    "inspect",
    "mean_image",
    "permutation",
    "seed_from",
    "split",
]
