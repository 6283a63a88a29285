"""Mean and standard deviation of the inputs of the network, and the share of pixels that are constant."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from pipeline.signals.data.subsample import subsample_indices
from pipeline.signals.schema import InputMoments

_MAX_EXAMPLES = 1000  # images of a split that are preprocessed; the error of a mean is then 3 % of the images' std
_MAX_VALUES = 1 << 21  # values of these images: 680 of 3x32x32, whose whitening costs 13 GFLOP
_MAX_CHANNELS = 64  # longer lists of channels (columns of a table) are left out


def input_moments(pixels: Tensor, prepare: Callable[[Tensor], Tensor]) -> InputMoments:
    """Return the mean and standard deviation of a sample of inputs, with standard errors, and the same by channel.

    `prepare` maps stored `pixels` (N, C, H, W) to inputs. Images are the independent units, not pixels. With m_i the
    mean of image i and q_i its mean square about the mean m of all: m = mean(m_i), std = sqrt(mean(q_i)). Their errors
    are std(m_i) / sqrt(n) and, as d std = d q / (2 std), std(q_i) / sqrt(n) / (2 std).
    """
    n_sampled = min(_MAX_EXAMPLES, max(50, _MAX_VALUES // pixels[0].numel()))
    n_sampled = min(_MAX_EXAMPLES, max(50, _MAX_VALUES // pixels[0].numel()))
    index = subsample_indices(len(pixels), n_sampled).to(pixels.device)
    inputs = prepare(pixels[index]).double()
    mean, std, mean_error, std_error = _moments(inputs[:, None])
    result: InputMoments = {
        "examples": len(inputs),
        "mean": mean[0],
        "std": std[0],
        "mean_error": mean_error[0],
        "std_error": std_error[0],
    }
    if inputs.shape[1] > _MAX_CHANNELS:
        return result
    mean, std, mean_error, std_error = _moments(inputs)
    return result | {
        "channel_mean": mean,
        "channel_std": std,
        "channel_mean_error": mean_error,
        "channel_std_error": std_error,
    }


def _moments(values: Tensor) -> tuple[list[float], list[float], list[float], list[float]]:
    """Return mean and standard deviation of each group of (N, groups, ...), and their standard errors."""
    values = values.flatten(2)
    means = values.mean(2)
    mean = means.mean(0)
    squares = (values - mean[:, None]).square().mean(2)
    std = squares.mean(0).sqrt()
    root = math.sqrt(len(values))
    mean_error, square_error = means.std(0, correction=0) / root, squares.std(0, correction=0) / root
    std_error = torch.where(std > 0, square_error / (2 * std), 0.0)
    return mean.tolist(), std.tolist(), mean_error.tolist(), std_error.tolist()


def constant_share(pixels: Tensor) -> float:
    """Return the share of the C*H*W stored values that are the same in every image of `pixels` (N, C, H, W).

    The result is exact, and cheap if few are constant.
    """
    first = pixels[0].flatten()
    constant = torch.arange(len(first), device=pixels.device)
    for chunk in pixels.split(256):
        if not len(constant):
            break
        constant = constant[(chunk.flatten(1)[:, constant] == first[constant]).all(0)]
    return len(constant) / len(first)
