"""Random variations of training images, as functions of (seed, epoch, index).

The parameters of one epoch (which images are mirrored, how far they are shifted) are drawn at once, for all images and
on the CPU. An image is therefore varied in the same way on every device and in every batch. Only what is mixed into it
(`Mixup`, `CutMix`) is another image of the same batch.

After training nothing is random: an augmentation may average the logits of several views of each image instead.
"""

from pipeline.data.augmentation.base import Augmentation, NoAugmentation
from pipeline.data.augmentation.chain import Chain
from pipeline.data.augmentation.erasing import RandomErasing
from pipeline.data.augmentation.mixing import CutMix, MixedLabels, Mixup
from pipeline.data.augmentation.per_image import PerImage, as_augmentation
from pipeline.data.augmentation.random_operations import RandAugment, TrivialAugment
from pipeline.data.augmentation.shifts import CropFlip, Flip

__all__ = [
    "Augmentation",
    "Chain",
    "CropFlip",
    "CutMix",
    "Flip",
    "MixedLabels",
    "Mixup",
    "NoAugmentation",
    "PerImage",
    "RandAugment",
    "RandomErasing",
    "TrivialAugment",
    "as_augmentation",
]
