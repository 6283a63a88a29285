"""Images that equal another one to the byte, in their own split or in the training split, and how likely that is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import blake2b

import numpy as np
import torch
from torch import Tensor

from pipeline.signals.data.subsample import subsample_indices
from pipeline.signals.schema import Repeats

_KEY_VALUES = 64  # values of an image that are compared first
_ROWS = 256  # images that are read at once where they are not in memory
_MAX_FEATURES = 64  # features that count for `value_bits`; each that varies has at least one bit


def find_duplicates(splits: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return for each split the numbers (N,) of its images; images that are equal to the byte have the same number.

    `splits` are pixels (N, C, H, W) of one type. Some evenly spaced values of every image are compared first, and whole
    images (by a 128-bit hash) only where those agree. 60,000 images take some tenths of a second if few are equal.
    Pixels that are not in memory, but have a digest of 64 bits for each image, are compared by these.
    """
    digests = [digest for pixels in splits.values() if (digest := getattr(pixels, "digests", None)) is not None]
    if len(digests) == len(splits):  # pixels that are not in memory
        _, numbered = torch.cat(digests).unique(return_inverse=True)
        return dict(zip(splits, numbered.split([len(pixels) for pixels in splits.values()]), strict=True))
    first = next(iter(splits.values()))
    columns = torch.linspace(0, first[0].numel() - 1, _KEY_VALUES).long().unique().to(first.device)
    keys = {name: _row_bytes(_values_at(pixels, columns)) for name, pixels in splits.items()}
    times = Counter(key for rows in keys.values() for key in rows)
    numbers: dict[bytes, int] = {}
    return {
        name: torch.tensor(
            [
                numbers.setdefault(key if times[key] == 1 else key + _digest(splits[name][i]), len(numbers))
                for i, key in enumerate(rows)
            ],
            dtype=torch.long,
        )
        for name, rows in keys.items()
    }


def is_in_train(numbers: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return for each split but `train` which of its images (N,) equal a training image."""
    return {name: torch.isin(own, numbers["train"]) for name, own in numbers.items() if name != "train"}


def count_repeats(numbers: Mapping[str, Tensor], labels: Mapping[str, Tensor], n_classes: int) -> Repeats:
    """Return how often training images repeat each other, and how often images of all splits do, class by class.

    `numbers` and `labels` (N,) are those of the images of each split.
    """
    _, inverse, times = numbers["train"].unique(return_inverse=True, return_counts=True)
    repeated = (times[inverse] > 1).long()
    classes, own = (torch.cat([part[name].cpu() for name in numbers]) for part in (labels, numbers))
    kinds, times = torch.stack([classes, own], 1).unique(dim=0, return_counts=True)

    def by_class(of: Tensor, values: Tensor) -> Sequence[int]:
        result: list[int] = torch.zeros(n_classes, dtype=torch.long).index_add_(0, of, values).tolist()
        return result

    return {
        "train": by_class(labels["train"].cpu(), repeated),
        "images": by_class(kinds[:, 0], times),
        "pairs": by_class(kinds[:, 0], times * (times - 1) // 2),
        "triples": by_class(kinds[:, 0], times * (times - 1) * (times - 2) // 6),
    }


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


def _values_at(pixels: Tensor, columns: Tensor) -> Tensor:
    if isinstance(pixels, Tensor):
        return pixels.flatten(1)[:, columns]
    return torch.cat([chunk.flatten(1)[:, columns] for chunk in pixels.split(_ROWS)])


def _row_bytes(values: Tensor) -> list[bytes]:
    """Return the bytes of each row of (N, D)."""
    array = np.ascontiguousarray(values.cpu().numpy())
    content, size = array.tobytes(), array[:1].nbytes
    return [content[start : start + size] for start in range(0, len(content), size)]


def _digest(image: Tensor) -> bytes:
    return blake2b(np.ascontiguousarray(image.cpu().numpy()).tobytes(), digest_size=16).digest()
