"""The map from stored pixels to the inputs of the network, fitted on the training split alone.

Each option of the `preprocessing` group is a function `fit(pixels (N, C, H, W), *, scale, ...) -> Preprocessing`, which
receives nothing but the training pixels. With x = scale * pixels in [0, 1], every fit returns one of two maps:
elementwise affine, or a projection.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from pipeline import validation
from pipeline.data import statistics
from pipeline.data.pixels import Pixels
from pipeline.errors import UserError
from pipeline.validation import integer, number

_MAX_DIMENSION = 12_288  # 64 x 64 x 3 pixels: a covariance of 1.2 GB


class Preprocessing(nn.Module, ABC):
    """Interface of a fitted preprocessing: stored pixels (N, C, H, W) of any type -> float32 (N, *output_shape).

    Its whole state is in its buffers, their shapes included, so a checkpoint restores it without data or configuration.
    """

    @property
    @abstractmethod
    def output_shape(self) -> tuple[int, int, int]:
        """The shape of one input of the network, as (channels, height, width)."""

    def on(self, device: torch.device | str) -> Preprocessing:
        """Return this preprocessing on `device`: itself if it is there already, else a copy.

        The original is never moved, since all stages of a run share it.
        """
        is_on_device = all(buffer.device == torch.device(device) for buffer in self.buffers())
        return self if is_on_device else copy.deepcopy(self).to(device)

    @abstractmethod
    def intermediate_images(self, pixels: Tensor, *, scale: float) -> dict[str, Tensor]:
        """Return `pixels` after each step of the preprocessing, by the name of the step, for display.

        The first are the pixels in [0, 1], the last the inputs of the network.
        """


class Affine(Preprocessing):
    """`pixels * scale + offset`; `scale` and `offset` are (C, H, W)."""

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
        if pixels.is_cuda:  # two kernels, which convert bytes as they read them
            return torch.mul(pixels, self.scale).add_(self.offset)
        return pixels.to(torch.float32, copy=True).mul_(self.scale).add_(self.offset)  # half the time of x * a + b

    def intermediate_images(self, pixels: Tensor, *, scale: float) -> dict[str, Tensor]:
        steps = {"pixels": pixels * scale}
        if self.offset.any():
            steps["centred"] = (pixels + self.offset / self.scale) * scale
        if not torch.allclose(self.scale, torch.full_like(self.scale, scale)):
            steps["divided by the spread"] = self(pixels)
        return steps


class Projection(Preprocessing):
    """`(pixels - mean) @ matrix` on flattened images; `mean` is (D,), `matrix` (D, *output_shape)."""

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
    """Return the preprocessing whose `state_dict()` is `state`."""
    return Projection(**state) if "matrix" in state else Affine(**state)


def none(pixels: Pixels, *, scale: float) -> Affine:
    """Fit the map to x itself, in [0, 1]."""
    zero = torch.zeros(pixels.shape[1:], dtype=torch.float64, device=pixels.device)
    return _affine(scale, mean=zero, std=torch.ones_like(zero))


def mean_image(pixels: Pixels, *, scale: float) -> Affine:
    """Fit x minus the mean image (C, H, W) (AlexNet)."""
    mean = statistics.mean_image(pixels, scale)
    return _affine(scale, mean=mean, std=torch.ones_like(mean))


def channel_mean(pixels: Pixels, *, scale: float) -> Affine:
    """Fit x minus the mean of each channel (VGGNet)."""
    mean, _ = statistics.channel_moments(pixels, scale)
    std = torch.ones_like(mean)
    return _affine(scale, mean=_broadcast_channels(mean, pixels), std=_broadcast_channels(std, pixels))


def standardize(pixels: Pixels, *, scale: float) -> Affine:
    """Fit (x - mean) / std, per channel; a channel with a standard deviation of 0 is only centred."""
    mean, std = statistics.channel_moments(pixels, scale)
    std = torch.where(std > 0, std, 1.0)
    return _affine(scale, mean=_broadcast_channels(mean, pixels), std=_broadcast_channels(std, pixels))


def network(
    pixels: Pixels, *, scale: float, mean: Sequence[float] | None = None, std: Sequence[float] | None = None
) -> Affine:
    """Fit (x - mean) / std with the numbers that a network's weights were trained with, one for each channel.

    Without them it is `channel_mean`. Raises `UserError` naming the field for another number of channels, or for a
    deviation that is not above 0.
    """
    if mean is None and std is None:
        return channel_mean(pixels, scale=scale)
    numbers = {"mean": mean, "std": std}
    for field, values in numbers.items():
        validation.numbers(field, values, **({"above": 0} if field == "std" else {}))
        if values is None or len(values) != pixels.shape[1]:
            raise UserError(f"expected one number for each of {pixels.shape[1]} channels, got {values!r}.", field=field)
    means, stds = (torch.tensor(values, dtype=torch.float64, device=pixels.device) for values in numbers.values())
    return _affine(scale, mean=_broadcast_channels(means, pixels), std=_broadcast_channels(stds, pixels))


def pca(pixels: Pixels, *, scale: float, components: int | None) -> Projection:
    """Fit (x - mean) rotated onto the eigenvectors u of the covariance, largest eigenvalue first.

    With `components` None all D are kept, in the shape (C, H, W); k components have the shape (k, 1, 1). The sign of u,
    which the covariance leaves open, makes its largest entry positive.

    Raises `UserError` when `components` is outside 1 .. D = C*H*W, or D too large for a D x D matrix.
    """
    dimension = _check_dimension(pixels)
    k = dimension if components is None else integer("components", components, at_least=1, at_most=dimension)
    mean, _, vectors = _eigen(pixels, scale)
    largest = vectors.gather(0, vectors.abs().argmax(0, keepdim=True))
    shape = pixels.shape[1:] if components is None else (k, 1, 1)
    return _projection(mean, scale, (vectors * largest.sign())[:, :k], shape)


def whiten(pixels: Pixels, *, scale: float, epsilon: float) -> Projection:
    """Fit ZCA: (x - mean) U diag(1 / sqrt(s + epsilon)) U^T, where U diag(s) U^T is the covariance; the shape stays.

    The covariance of the result is U diag(s / (s + epsilon)) U^T: the identity in directions whose variance s is well
    above `epsilon` (in squared units of x), and 0 in directions without variance (Krizhevsky 2009, appendix A).

    Raises `UserError` when `epsilon` is not above 0, or the images are too large for a D x D matrix.
    """
    epsilon = number("epsilon", epsilon, above=0)
    _check_dimension(pixels)
    mean, variances, vectors = _eigen(pixels, scale)
    return _projection(mean, scale, (vectors * (variances + epsilon).rsqrt()) @ vectors.T, pixels.shape[1:])


def _affine(scale: float, *, mean: Tensor, std: Tensor) -> Affine:
    """Return (scale * pixels - mean) / std, for `mean` and `std` (C, H, W)."""
    return Affine(scale / std, -mean / std)


def _broadcast_channels(per_channel: Tensor, pixels: Pixels) -> Tensor:
    """Expand (C,) to (C, H, W)."""
    return per_channel.view(-1, 1, 1).expand(pixels.shape[1:])


def _projection(mean: Tensor, scale: float, matrix: Tensor, shape: tuple[int, ...]) -> Projection:
    """Return scale * (pixels - mean) @ matrix (D, K), K the size of `shape`, with the scale moved into the matrix."""
    return Projection(mean, (matrix * scale).unflatten(1, shape))


def _eigen(pixels: Pixels, scale: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the mean (D,) of stored pixels, variances (D,) of scaled ones, and their directions.

    Variances are sorted, largest first and none below 0; directions are the columns of a (D, D) matrix.
    """
    mean, matrix = statistics.mean_and_covariance(pixels, scale)
    variances, vectors = torch.linalg.eigh(matrix)
    return mean, variances.flip(0).clamp(min=0), vectors.flip(1)


def _check_dimension(pixels: Pixels) -> int:
    dimension = pixels.shape[1:].numel()
    if dimension > _MAX_DIMENSION:
        raise UserError(
            f"images of {' x '.join(map(str, pixels.shape[1:]))} = {dimension} values need a covariance of "
            f"{dimension} x {dimension}; PCA and whitening take at most {_MAX_DIMENSION} values. "
            "Use preprocessing=channel_mean, or smaller images."
        )
    return dimension
