"""What happens to stored pixels on their way into the network; fitted on the training split alone.

Each choice is a function `fit(pixels (N, C, H, W), *, scale, ...) -> Preprocessing` that sees nothing but the training
pixels. With x = scale * pixels in [0, 1], every fit is one of two maps: elementwise affine, or a projection.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pipeline.data import statistics
from pipeline.errors import UserError
from pipeline.validation import integer, number

_LARGEST = 12_288  # 64 x 64 x 3 pixels: a covariance of 1.2 GB


class Preprocessing(nn.Module, ABC):
    """The interface: stored pixels (N, C, H, W) of any type -> float32 (N, *output_shape).

    All it knows is in its buffers, their shapes included: a checkpoint restores it without data or configuration.
    """

    @property
    @abstractmethod
    def output_shape(self) -> tuple[int, int, int]:
        """Of one input, as (channels, height, width)."""

    def on(self, device: torch.device | str) -> Preprocessing:
        """Return this preprocessing on `device`: a copy, unless it is there already. The original is never moved, since
        all stages of a run share it."""
        there = all(buffer.device == torch.device(device) for buffer in self.buffers())
        return self if there else copy.deepcopy(self).to(device)

    @abstractmethod
    def intermediate_images(self, pixels: Tensor, *, scale: float) -> dict[str, Tensor]:
        """What becomes of the pixels step by step, for people to look at: x in [0, 1] first, the inputs last."""


class Affine(Preprocessing):
    """`pixels * factor + shift`; `factor` and `shift` are (C, H, W)."""

    scale: Tensor
    offset: Tensor

    def __init__(self, scale: Tensor, offset: Tensor) -> None:
        super().__init__()
        self.register_buffer("scale", scale.float())
        self.register_buffer("offset", offset.float())

    @property
    def output_shape(self) -> tuple[int, int, int]:
        channels, height, width = self.offset.shape
        return channels, height, width

    def forward(self, pixels: Tensor) -> Tensor:
        return pixels.to(torch.float32, copy=True).mul_(self.scale).add_(self.offset)  # half the time of x * a + b

    def intermediate_images(self, pixels: Tensor, *, scale: float) -> dict[str, Tensor]:
        steps = {"pixels": pixels * scale}
        if self.offset.any():
            steps["centred"] = (pixels + self.offset / self.scale) * scale
        if not torch.allclose(self.scale, torch.full_like(self.scale, scale)):
            steps["divided by the spread"] = self(pixels)
        return steps


class Projection(Preprocessing):
    """`(pixels - centre) @ matrix` on flattened images: `centre` (D,), `matrix` (D, *output_shape)."""

    mean: Tensor
    matrix: Tensor

    def __init__(self, mean: Tensor, matrix: Tensor) -> None:
        super().__init__()
        self.register_buffer("mean", mean.float())
        self.register_buffer("matrix", matrix.float())

    @property
    def output_shape(self) -> tuple[int, int, int]:
        _, channels, height, width = self.matrix.shape
        return channels, height, width

    def forward(self, pixels: Tensor) -> Tensor:
        # Centred first: with large entries in `matrix`, subtracting afterwards would cancel most digits.
        # Without autocast: bfloat16 has three digits, and small variances are what whitening enlarges.
        with torch.autocast(pixels.device.type, enabled=False):
            centred = pixels.flatten(1) - self.mean
            return (centred @ self.matrix.flatten(1)).unflatten(1, self.output_shape)

    def intermediate_images(self, pixels: Tensor, *, scale: float) -> dict[str, Tensor]:
        centred = (pixels - self.mean.view(pixels.shape[1:])) * scale
        return {"pixels": pixels * scale, "centred": centred, "projected": self(pixels)}


def preprocessing_from_state(state: Mapping[str, Tensor]) -> Preprocessing:
    """The preprocessing whose `state_dict()` is `state`."""
    return Projection(**state) if "matrix" in state else Affine(**state)


def none(pixels: Tensor, *, scale: float) -> Affine:
    """x itself, in [0, 1]."""
    zero = torch.zeros(pixels.shape[1:], dtype=torch.float64, device=pixels.device)
    return _affine(scale, mean=zero, std=torch.ones_like(zero))


def mean_image(pixels: Tensor, *, scale: float) -> Affine:
    """x minus the mean image (C, H, W) (AlexNet)."""
    mean = statistics.mean_image(pixels, scale)
    return _affine(scale, mean=mean, std=torch.ones_like(mean))


def channel_mean(pixels: Tensor, *, scale: float) -> Affine:
    """x minus the mean of each channel (VGGNet)."""
    mean, _ = statistics.channel_moments(pixels, scale)
    return _affine(
        scale, mean=_broadcast_channels(mean, pixels), std=_broadcast_channels(torch.ones_like(mean), pixels)
    )


def standardize(pixels: Tensor, *, scale: float) -> Affine:
    """(x - mean) / std per channel; a channel without spread is only centred."""
    mean, std = statistics.channel_moments(pixels, scale)
    std = torch.where(std > 0, std, 1.0)
    return _affine(scale, mean=_broadcast_channels(mean, pixels), std=_broadcast_channels(std, pixels))


def pca(pixels: Tensor, *, scale: float, components: int | None) -> Projection:
    """(x - mean) rotated onto the eigenvectors u of the covariance, largest eigenvalue first.

    All of them (`components` None) keep the shape (C, H, W); k components give (k, 1, 1). The sign of u, which the
    covariance leaves open, makes its largest entry positive.

    Raises UserError: `components` outside 1 .. D = C*H*W, or D too large for a D x D matrix.
    """
    size = _check_dimension(pixels)
    kept = size if components is None else integer("components", components, at_least=1, at_most=size)
    _, vectors = _eigen(pixels, scale)
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    shape = pixels.shape[1:] if components is None else (kept, 1, 1)
    return _projection(pixels, scale, (vectors * largest.sign())[:, :kept], shape)


def whiten(pixels: Tensor, *, scale: float, epsilon: float) -> Projection:
    """ZCA: (x - mean) U diag(1 / sqrt(s + epsilon)) U^T, where U diag(s) U^T is the covariance; shape kept.

    The result's covariance is U diag(s / (s + epsilon)) U^T: the identity where the variance s is well above `epsilon`
    (in squared units of x), and nothing where there is none (Krizhevsky 2009, appendix A).

    Raises UserError: `epsilon` not above 0, or images too large for a D x D matrix.
    """
    epsilon = number("epsilon", epsilon, above=0)
    _check_dimension(pixels)
    variances, vectors = _eigen(pixels, scale)
    return _projection(pixels, scale, (vectors * (variances + epsilon).rsqrt()) @ vectors.T, pixels.shape[1:])


def _affine(scale: float, *, mean: Tensor, std: Tensor) -> Affine:
    """(scale * pixels - mean) / std, for `mean` and `std` (C, H, W)."""
    return Affine(scale / std, -mean / std)


def _broadcast_channels(per_channel: Tensor, pixels: Tensor) -> Tensor:
    """(C,) -> (C, H, W)."""
    return per_channel.view(-1, 1, 1).expand(pixels.shape[1:])


def _projection(pixels: Tensor, scale: float, matrix: Tensor, shape: tuple[int, ...]) -> Projection:
    """(scale * pixels - mean) @ matrix (D, K), K the size of `shape`; the scale moved into the matrix."""
    centre = statistics.mean_image(pixels, 1.0).flatten()
    return Projection(centre, (matrix * scale).unflatten(1, shape))


def _eigen(pixels: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """Variances (D,), largest first and none below 0, and their directions as the columns of a (D, D) matrix."""
    variances, vectors = torch.linalg.eigh(statistics.covariance(pixels, scale))
    return variances.flip(0).clamp(min=0), vectors.flip(1)


def _check_dimension(pixels: Tensor) -> int:
    size = pixels[0].numel()
    if size > _LARGEST:
        raise UserError(
            f"images of {' x '.join(map(str, pixels.shape[1:]))} = {size} values need a covariance of {size} x {size}; "
            f"PCA and whitening are for at most {_LARGEST}. Use preprocessing=channel_mean, or smaller images."
        )
    return size
