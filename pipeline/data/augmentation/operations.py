"""The operations of RandAugment and TrivialAugment, each with a magnitude of its own for every image of a batch.

They compute what torchvision.transforms.v2.functional does for one magnitude: nearest pixels, and 0 where there is
none. Images are (B, C, H, W) uint8 with 1 or 3 channels, magnitudes (B,), float64 where the device has it. Nothing
waits for the device.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn import functional as F

Operation = Callable[[Tensor, Tensor], Tensor]


def shear_x(pixels: Tensor, level: Tensor) -> Tensor:
    """Shift each row by `level` times its distance from the top."""
    return _transform(pixels, shear=(torch.atan(level), torch.zeros_like(level)), at_corner=True)


def shear_y(pixels: Tensor, level: Tensor) -> Tensor:
    """Shift each column by `level` times its distance from the left."""
    return _transform(pixels, shear=(torch.zeros_like(level), torch.atan(level)), at_corner=True)


def translate_x(pixels: Tensor, columns: Tensor) -> Tensor:
    """Shift to the right by whole `columns`."""
    return _transform(pixels, shift=(columns.trunc(), torch.zeros_like(columns)))


def translate_y(pixels: Tensor, rows: Tensor) -> Tensor:
    """Shift down by whole `rows`."""
    return _transform(pixels, shift=(torch.zeros_like(rows), rows.trunc()))


def rotate(pixels: Tensor, degrees: Tensor) -> Tensor:
    """Rotate counter-clockwise around the centre."""
    return _transform(pixels, angle=torch.deg2rad(-(degrees % 360)))


def brightness(pixels: Tensor, change: Tensor) -> Tensor:
    """Multiply by 1 + change."""
    return _blend(pixels, torch.zeros_like(pixels[:, :1], dtype=torch.float32), 1 + change)


def color(pixels: Tensor, change: Tensor) -> Tensor:
    """Move away from grey by 1 + change; images of one channel stay as they are."""
    return pixels if pixels.shape[1] == 1 else _blend(pixels, _grey(pixels), 1 + change)


def contrast(pixels: Tensor, change: Tensor) -> Tensor:
    """Move away from the mean of grey by 1 + change."""
    return _blend(pixels, _grey(pixels).mean((1, 2, 3), keepdim=True), 1 + change)


def sharpness(pixels: Tensor, change: Tensor) -> Tensor:
    """Move away from the blurred image by 1 + change; the outermost pixels stay as they are."""
    if min(pixels.shape[2:]) <= 2:
        return pixels
    channels = pixels.shape[1]
    kernel = torch.full((channels, 1, 3, 3), 1 / 13, device=pixels.device)
    kernel[:, :, 1, 1] = 5 / 13
    result = pixels.float()
    inner = result[:, :, 1:-1, 1:-1]
    blurred = F.conv2d(result, kernel, groups=channels).round_()
    inner.add_(blurred.sub_(inner).mul_(_by_image((1 - (1 + change)).float())))
    return result.clamp_(0, 255).to(torch.uint8)


def posterize(pixels: Tensor, bits: Tensor) -> Tensor:
    """Keep the highest `bits` of each value."""
    return pixels & _by_image((256 - 2 ** (8 - bits)).clamp(max=255).to(torch.uint8))


def solarize(pixels: Tensor, threshold: Tensor) -> Tensor:
    """Invert values from 255 `threshold` on."""
    return torch.where(pixels.float() >= _by_image((255 * threshold).float()), 255 - pixels, pixels)


def autocontrast(pixels: Tensor, _: Tensor) -> Tensor:
    """Stretch each channel to 0 .. 255, unless all its values are equal."""
    values = pixels.float()
    low, high = values.amin((2, 3), keepdim=True), values.amax((2, 3), keepdim=True)
    scale = (high - low) * (1 / 255)
    stretched = ((values - low) / torch.where(high == low, 1.0, scale)).clamp_(0, 255).to(torch.uint8)
    return torch.where(high == low, pixels, stretched)


def equalize(pixels: Tensor, _: Tensor) -> Tensor:
    """Make the histogram of each channel as flat as it can be."""
    from torchvision.transforms.v2 import functional  # takes half a second to import

    return functional.equalize(pixels)


def identity(pixels: Tensor, _: Tensor) -> Tensor:
    return pixels


OPERATIONS: dict[str, Operation] = {
    "Identity": identity,
    "ShearX": shear_x,
    "ShearY": shear_y,
    "TranslateX": translate_x,
    "TranslateY": translate_y,
    "Rotate": rotate,
    "Brightness": brightness,
    "Color": color,
    "Contrast": contrast,
    "Sharpness": sharpness,
    "Posterize": posterize,
    "Solarize": solarize,
    "AutoContrast": autocontrast,
    "Equalize": equalize,
}
"""By torchvision's names, in its order."""


def _by_image(values: Tensor) -> Tensor:
    return values.view(-1, 1, 1, 1)


def _blend(pixels: Tensor, other: Tensor, ratio: Tensor) -> Tensor:
    """Return ratio pixels + (1 - ratio) other, cut off at 0 and 255 and below the point."""
    blended = pixels * _by_image(ratio.float()) + other * _by_image((1 - ratio).float())
    return blended.clamp_(0, 255).to(torch.uint8)


def _grey(pixels: Tensor) -> Tensor:
    """Return the brightness (B, 1, H, W) float32 in whole numbers (ITU-R 601-2)."""
    if pixels.shape[1] == 1:
        return pixels.float()
    red, green, blue = pixels.unbind(1)
    return red.mul(0.2989).add_(green, alpha=0.587).add_(blue, alpha=0.114).unsqueeze(1).floor_()


def _transform(
    pixels: Tensor,
    *,
    angle: Tensor | None = None,
    shift: tuple[Tensor, Tensor] | None = None,
    shear: tuple[Tensor, Tensor] | None = None,
    at_corner: bool = False,
) -> Tensor:
    """Rotate, shift and shear each image (radians, pixels), around its centre or its first corner."""
    height, width = pixels.shape[2:]
    given = next(values for values in (angle, *(shift or ()), *(shear or ())) if values is not None)
    zero = torch.zeros_like(given)
    angle = zero if angle is None else angle
    right, down = shift or (zero, zero)
    sx, sy = shear or (zero, zero)
    x, y = (-0.5 * width, -0.5 * height) if at_corner else (0.0, 0.0)
    # the inverse of translate, rotate, shear y, shear x, as torchvision writes it
    a = torch.cos(angle - sy) / torch.cos(sy)
    b = -(a * torch.tan(sx) + torch.sin(angle))
    c = torch.sin(angle - sy) / torch.cos(sy)
    d = torch.cos(angle) - c * torch.tan(sx)
    rows = [
        torch.stack([d, -b, x - d * (x + right) + b * (y + down)], dim=1) / (0.5 * width),
        torch.stack([-c, a, y + c * (x + right) - a * (y + down)], dim=1) / (0.5 * height),
    ]
    matrix = torch.stack(rows, dim=2).float()  # (B, 3, 2)
    grid = _pixel_positions(height, width, pixels.device).expand(len(pixels), -1, -1).bmm(matrix)
    moved = F.grid_sample(
        pixels.float(), grid.view(-1, height, width, 2), mode="nearest", padding_mode="zeros", align_corners=False
    )
    return moved.round_().to(torch.uint8)


def _pixel_positions(height: int, width: int, device: torch.device) -> Tensor:
    """Return (1, H W, 3): column and row of each pixel from the centre, and 1."""
    columns = torch.linspace((1 - width) * 0.5, (width - 1) * 0.5, width, device=device)
    rows = torch.linspace((1 - height) * 0.5, (height - 1) * 0.5, height, device=device)
    positions = torch.stack(
        [columns.expand(height, width), rows[:, None].expand(height, width), torch.ones(height, width, device=device)],
        dim=2,
    )
    return positions.view(1, height * width, 3)
