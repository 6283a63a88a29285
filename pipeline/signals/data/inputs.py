"""What the network gets to see: location and spread of the preprocessed images, and pixels that never change."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pipeline.signals.data.subsample import subsample_indices

_EXAMPLES = 1000  # images of each split that are preprocessed; errors of a mean are then 3 % of the images' spread
_VALUES = 1 << 21  # and values: 680 images of 3x32x32, whose whitening costs 13 GFLOP
_CHANNELS = 64  # longer lists of channels (columns of a table) are left out


def input_moments(pixels: Tensor, prepare: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """Mean and standard deviation over all values of a sample, with standard errors, and the same by channel.

    Images are the independent units, not pixels. With m_i the mean of image i and q_i its mean square about the mean m
    of all: m = mean(m_i), std = sqrt(mean(q_i)); their errors are std(m_i) / sqrt(n) and, as d std = d q / (2 std),
    std(q_i) / sqrt(n) / (2 std).
    """
    most = min(_EXAMPLES, max(50, _VALUES // pixels[0].numel()))
    chosen = subsample_indices(len(pixels), most).to(pixels.device)
    inputs = prepare(pixels[chosen]).double()
    means = inputs.flatten(1).mean(1)
    mean = means.mean()
    squares = (inputs - mean).square().flatten(1).mean(1)
    std = float(squares.mean().sqrt())
    n = len(inputs)
    result = {
        "examples": n,
        "mean": float(mean),
        "std": std,
        "mean_error": float(means.std(correction=0)) / math.sqrt(n),
        "std_error": float(squares.std(correction=0)) / math.sqrt(n) / (2 * std) if std > 0 else 0.0,
    }
    if inputs.shape[1] > _CHANNELS:
        return result
    by_channel = inputs.transpose(0, 1).flatten(1)
    return result | {
        "channel_mean": by_channel.mean(1).tolist(),
        "channel_std": by_channel.std(1, correction=0).tolist(),
    }


def constant_share(pixels: Tensor) -> float:
    """The share of the C*H*W stored values that are the same in every image; exact, and cheap where few are."""
    flat = pixels.flatten(1)
    same = torch.arange(flat.shape[1], device=pixels.device)
    for chunk in flat.split(256):
        if not len(same):
            break
        same = same[(chunk[:, same] == flat[0, same]).all(0)]
    return len(same) / flat.shape[1]
