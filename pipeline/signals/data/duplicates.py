"""Images of one split that are, to the byte, also in another, and how likely that is by chance."""

from __future__ import annotations

from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from pipeline.signals.data.subsample import subsample_indices

_KEY_VALUES = 64  # values of an image that are compared first
_MAX_FEATURES = 64  # features that count for `value_bits`; each that varies has at least one bit


def count_duplicates(train: Tensor, other: Tensor) -> int:
    """Return how many images of `other` are byte for byte an image of `train`; both (N, C, H, W) of one type.

    Some evenly spaced values of every image are compared first, and whole images (by a 128-bit hash) only where those
    agree. 60,000 images take some hundredths of a second if few are duplicates.
    """
    columns = torch.linspace(0, train[0].numel() - 1, _KEY_VALUES).long().unique().to(train.device)
    train_keys, other_keys = (_row_bytes(pixels.flatten(1)[:, columns]) for pixels in (train, other))
    shared = set(train_keys) & set(other_keys)
    digests = {_digest(train[i]) for i, key in enumerate(train_keys) if key in shared}
    return sum(key in shared and _digest(other[i]) in digests for i, key in enumerate(other_keys))


def value_bits(pixels: Tensor) -> float:
    """Return sum_d log2(number of different values of feature d), in bits, over at most 64 features that vary.

    `pixels` is (N, C, H, W). 2^bits different images are possible. A table with few columns of few values repeats its
    rows without any leak.
    """
    sample = pixels[subsample_indices(len(pixels), 1000).to(pixels.device)].flatten(1)
    varying = torch.nonzero((sample != sample[0]).any(0)).flatten()[:_MAX_FEATURES]
    values = sample[:, varying].sort(0).values
    n_different = 1 + (values[1:] != values[:-1]).sum(0)
    return float(n_different.double().log2().sum())


def _row_bytes(values: Tensor) -> list[bytes]:
    """Return the bytes of each row of (N, D)."""
    array = np.ascontiguousarray(values.cpu().numpy())
    content, size = array.tobytes(), array[:1].nbytes
    return [content[start : start + size] for start in range(0, len(content), size)]


def _digest(image: Tensor) -> bytes:
    return blake2b(np.ascontiguousarray(image.cpu().numpy()).tobytes(), digest_size=16).digest()
