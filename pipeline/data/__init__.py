"""Labelled images: sources, validation, splits, statistics, preprocessing, augmentation and the order of training.

Conventions: N examples, C channels, H W pixels, D = C*H*W values of an image. Pixels stay as stored until
preprocessing.
"""

from __future__ import annotations

from pipeline.data.augmentation import Augmentation, CropFlip, Flip, MixedLabels, NoAugmentation
from pipeline.data.dataset import Images, Source, Splits
from pipeline.data.preprocessing import Affine, Preprocessing, Projection, preprocessing_from_state
from pipeline.data.shuffle import EpochBatchSampler, derive_seed, permutation, split_batches
from pipeline.data.splits import split
from pipeline.data.statistics import channel_moments, covariance, mean_image
from pipeline.data.validate import validate_data

__all__ = [
    "Affine",
    "Augmentation",
    "CropFlip",
    "EpochBatchSampler",
    "Flip",
    "Images",
    "MixedLabels",
    "NoAugmentation",
    "Preprocessing",
    "Projection",
    "Source",
    "Splits",
    "channel_moments",
    "covariance",
    "derive_seed",
    "mean_image",
    "permutation",
    "preprocessing_from_state",
    "split",
    "split_batches",
    "validate_data",
]
