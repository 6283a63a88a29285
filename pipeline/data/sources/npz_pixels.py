"""The inputs of a .npz file: their layout, the type they are stored in, and their scale."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.data.dataset import Images
from pipeline.errors import UserError

_USUAL_CHANNELS = (1, 3, 4)
_HELD = {
    "b": "true and false. Save it as x.astype('float32')",
    "c": "complex numbers. Save its real and imaginary parts as two channels",
    "m": "spans of time. Save it as numbers, such as seconds",
    "M": "times. Save it as numbers, such as seconds",
    "U": "words. Save numbers; data=csv reads tables with words",
    "S": "words. Save numbers; data=csv reads tables with words",
    "V": "records. Save its fields as columns of one array of numbers",
}
"""What an array that holds no numbers has, by the kind of its type, and what to do."""


def read_pixels(array: NDArray[Any], key: str, *, channels_last: bool | None, file: str) -> torch.Tensor:
    """Return the array as pixels (N, C, H, W), uint8, int32 or float32.

    Raises `UserError` (`path`, `channels_last`).
    """
    if array.dtype.kind not in "uif":
        raise _error(file, f"must hold numbers, but {key} ({array.dtype}) has {_HELD.get(array.dtype.kind, 'others')}.")
    if array.ndim and len(array) and not array.size:
        raise _error(file, f"must hold images, or rows with columns, but {key} is {array.shape}: nothing.")
    return torch.from_numpy(_to_storage_dtype(_to_nchw(array, key, channels_last, file), key, file))


def describe_layout(array: NDArray[Any], channels_last: bool | None) -> list[str]:
    """Return a note where the layout of (N, C, H, W) or (N, H, W, C) was found by the sizes alone."""
    last = _is_channels_last(array.shape) if array.ndim == 4 and channels_last is None else None
    if last is None or array.shape[3 if last else 1] in _USUAL_CHANNELS:
        return []
    at, other = ("last", "false") if last else ("second", "true")
    n = array.shape[3 if last else 1]
    return [f"the {at} dimension of {array.shape} is taken as {n} channels (data.channels_last={other} if it is not)"]


def _is_channels_last(shape: tuple[int, ...]) -> bool | None:
    """Return whether the last dimension is C, of a usual size or smaller than the others; None where nothing tells."""
    _, second, third, last = shape
    if last in _USUAL_CHANNELS:
        return True
    if second in _USUAL_CHANNELS:
        return False
    if last < min(second, third):
        return True
    return False if second < min(third, last) else None


def _to_nchw(pixels: NDArray[Any], key: str, channels_last: bool | None, file: str) -> NDArray[Any]:
    """Bring any of the accepted layouts to (N, C, H, W)."""
    shape = pixels.shape
    if len(shape) in (2, 3) and channels_last is not None:
        raise UserError(f"{file}: {key} is {shape}, which has no channels. Leave it null.", field="channels_last")
    if len(shape) == 2:
        return pixels[:, :, None, None]
    if len(shape) == 3:
        return pixels[:, None]
    if len(shape) != 4:
        raise _error(
            file,
            f"must have images of shape (N, H, W), (N, H, W, C) or (N, C, H, W), or rows (N, D), but {key} is {shape}.",
        )
    last = _is_channels_last(shape) if channels_last is None else channels_last
    if last is None:
        raise _error(
            file,
            f"must say where the channels are, since {key} is {shape}: set data.channels_last=true for (N, H, W, C), "
            "or false for (N, C, H, W).",
        )
    return pixels.transpose(0, 3, 1, 2) if last else pixels


def _to_storage_dtype(pixels: NDArray[Any], key: str, file: str) -> NDArray[Any]:
    """Return the same values as uint8, int32 or float32."""
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    if pixels.dtype.kind == "f":
        with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which `validate_data` refuses
            return np.ascontiguousarray(pixels, dtype=np.float32)
    if pixels.size and (pixels.max() >= 2**31 or pixels.min() < -(2**31)):
        raise _error(file, f"must hold integers of at most 32 bits, but {key} has larger ones. Save it as float32.")
    return np.ascontiguousarray(pixels, dtype=np.int32)


def infer_scale(splits: Mapping[str, Images], file: str) -> float:
    """Return the scale that brings the stored values of all splits into [0, 1], by their type and range."""
    in_memory = [images.pixels for images in splits.values() if isinstance(images.pixels, Tensor)]
    all_pixels = [pixels for pixels in in_memory if pixels.numel()]
    if not all_pixels:
        return 1.0
    highest = max(float(pixels.max()) for pixels in all_pixels)
    if not all_pixels[0].is_floating_point():
        lowest = min(float(pixels.min()) for pixels in all_pixels)
        largest = max(highest, -lowest)
        if largest > 65535:
            raise _error(file, f"has integers up to {largest:.0f}; pixels have at most 65535. Set data.scale.")
        return 1 / 255 if largest <= 255 else 1 / 65535
    if any(_looks_like_uint8(pixels) for pixels in all_pixels):
        raise _error(
            file,
            f"holds values up to {highest:g} that look like 0..255 pixels stored as floats: save them as uint8, or "
            "set data.scale=0.00392156862745098 to divide by 255 (data.scale=1 leaves them unchanged).",
        )
    return 1.0


def _looks_like_uint8(pixels: torch.Tensor) -> bool:
    highest, lowest = float(pixels.max()), float(pixels.min())
    is_image = pixels.shape[2] * pixels.shape[3] > 1
    if not math.isfinite(highest):
        return False  # `validate_data` reports these
    return is_image and ((highest > 16 and lowest >= 0) or (highest > 2 and bool((pixels == pixels.round()).all())))


def _error(file: str, problem: str) -> UserError:
    return UserError(f"{file} {problem}", field="path")
