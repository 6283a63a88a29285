"""Images of one split that are, to the byte, also in another; and whether such a thing can happen by chance."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from pipeline.signals.data.subsample import subsample_indices

_KEY = 64  # values of an image that are compared first
_BITS = 64  # features that are counted for `value_bits`; each that varies has at least one bit


def count_duplicates(train: Tensor, other: Tensor) -> int:
    """How many images of `other` are byte for byte an image of `train`; both (N, C, H, W) of one type.

    A few evenly spaced values of every image are compared first, and whole images (by a 128-bit hash) only where those
    agree: 60,000 images cost some hundredths of a second as long as few are copies.
    """
    columns = torch.linspace(0, train[0].numel() - 1, _KEY).long().unique().to(train.device)
    keys, asked = (_rows(pixels.flatten(1)[:, columns]) for pixels in (train, other))
    shared = set(keys) & set(asked)
    whole = {_digest(train[i]) for i, key in enumerate(keys) if key in shared}
    return sum(key in shared and _digest(other[i]) in whole for i, key in enumerate(asked))


def value_bits(pixels: Tensor) -> float:
    """sum_d log2(number of different values of feature d), in bits, over at most 64 features that vary.

    2^bits rows could be told apart; a table of few rough columns cannot, and repeats itself without any leak.
    """
    sample = pixels[subsample_indices(len(pixels), 1000).to(pixels.device)].flatten(1)
    varying = torch.nonzero((sample != sample[0]).any(0)).flatten()[:_BITS]
    values = sample[:, varying].sort(0).values
    different = 1 + (values[1:] != values[:-1]).sum(0)
    return float(different.double().log2().sum())


def _rows(values: Tensor) -> list[bytes]:
    array = np.ascontiguousarray(values.cpu().numpy())
    whole, size = array.tobytes(), array[:1].nbytes
    return [whole[start : start + size] for start in range(0, len(whole), size)]


def _digest(image: Tensor) -> bytes:
    return blake2b(np.ascontiguousarray(image.cpu().numpy()).tobytes(), digest_size=16).digest()
