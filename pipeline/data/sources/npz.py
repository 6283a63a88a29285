"""A user's own arrays in one NumPy .npz file: images, or rows of numbers."""

from __future__ import annotations

import math
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from pipeline.data.dataset import Images, Source
from pipeline.data.groups import number_groups
from pipeline.errors import UserError, did_you_mean
from pipeline.validation import number

_GROUPS = "groups"  # the usual name, which a file need not have
_KEYS = ("x_train", "y_train", "x_val", "y_val", "x_test", "y_test", "classes")


def npz(*, path: str, scale: float | None, groups: str | None = None) -> Source:
    """Return the arrays `x_train` and `y_train` of a .npz file.

    The file may also hold the splits `x_val`, `y_val` and `x_test`, `y_test`, and `classes`.

    x is (N, H, W), (N, H, W, C) or (N, C, H, W) with C of 1, 3 or 4, or (N, D), which becomes (N, D, 1, 1). Where both
    the last and the second dimension could be C, as in (N, 3, 3, 3), the last one is. Pixels are kept as uint8, int32
    for other integers, or float32 for floats. y holds integers 0 .. C-1, (N,) or (N, 1). `classes` are the names of the
    classes; by default they are the numbers.

    `groups` names arrays (`groups_train` or `groups`, `groups_val`, `groups_test`) with an integer or a word for each
    example that says what it shows: examples of one group are never cut into two splits. None passes them over.

    `scale` multiplies the stored values. None stands for 1/255 for integers up to 255, 1/65535 for larger ones, and 1
    for floats.

    Raises `UserError` (`path`) when the file does not exist, is no .npz file, or lacks a key; when an array holds
    objects or has a wrong shape; when floats look like 0 .. 255 pixels while `scale` is None. Raises `UserError`
    (`scale`) when `scale` is not above 0, and (`groups`) when groups have a wrong type or number.
    """
    if scale is not None:
        scale = number("scale", scale, above=0)
    file = Path(path).expanduser()
    arrays = _load(file)
    unknown = [key for key in arrays if key not in _KEYS]
    if missing := [key for key in _KEYS[:2] if key not in arrays]:
        meant = did_you_mean(missing[0], unknown)
        raise _error(file, f"has no {' and no '.join(missing)}; it has {', '.join(arrays) or 'nothing'}.{meant}")
    if unpaired := [f"x_{split}" for split in ("val", "test") if (f"x_{split}" in arrays) != (f"y_{split}" in arrays)]:
        raise _error(file, f"has only one of {unpaired[0]} and y{unpaired[0][1:]}; both are needed, or neither.")
    splits = {split: _images(arrays, split, file) for split in ("train", "val", "test") if f"x_{split}" in arrays}
    if groups is not None:
        splits = _with_groups(splits, arrays, groups, file)
    return Source(
        name=file.stem,
        train=splits["train"],
        val=splits.get("val"),
        test=splits.get("test"),
        classes=_class_names(arrays, splits, file),
        scale=_infer_scale(splits, file) if scale is None else scale,
        path=str(file),
    )


def _load(file: Path) -> dict[str, np.ndarray]:
    try:
        with file.open("rb") as stream:  # numpy does not close a file that it cannot read
            loaded = np.load(stream, allow_pickle=False)
            if not isinstance(loaded, np.lib.npyio.NpzFile):
                raise _error(file, "is a single array (.npy). Save with numpy.savez(path, x_train=.., y_train=..).")
            return {key: loaded[key] for key in loaded.files}
    except FileNotFoundError:
        meant = did_you_mean(file.name, [other.name for other in file.parent.glob("*.npz")])
        raise _error(file, f"does not exist.{meant} Set data.path to a .npz file.") from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        hint = (
            "Arrays of objects are refused, since unpickling runs code: save numbers." if "pickle" in str(error) else ""
        )
        raise _error(file, f"cannot be read as .npz ({type(error).__name__}: {error}). {hint}".rstrip()) from error


def _images(arrays: Mapping[str, np.ndarray], split: str, file: Path) -> Images:
    pixels, labels = arrays[f"x_{split}"], arrays[f"y_{split}"]
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if pixels.dtype.kind not in "uif":
        raise _error(file, f"must hold numbers, but x_{split} is of type {pixels.dtype}. Save it as uint8 or float32.")
    if labels.dtype.kind not in "ui":
        raise _error(file, f"must have integer labels, but y_{split} is {labels.dtype}. Save y.astype('int64').")
    if labels.ndim != 1:
        one_hot = " For one-hot labels, save y.argmax(1)." if labels.ndim == 2 else ""
        raise _error(file, f"must have labels of shape (N,) or (N, 1), but y_{split} is {labels.shape}.{one_hot}")
    stored = _to_storage_dtype(_to_nchw(pixels, split, file), split, file)
    return Images(torch.from_numpy(stored), torch.from_numpy(labels.astype(np.int64)))


def _with_groups(
    splits: Mapping[str, Images], arrays: Mapping[str, np.ndarray], name: str, file: Path
) -> dict[str, Images]:
    """Return the splits with the groups that the file has for them; those of training must be among them."""
    keys = {split: f"{name}_{split}" for split in splits}
    if name in arrays and keys["train"] not in arrays:
        keys["train"] = name
    found = {split: arrays[key] for split, key in keys.items() if key in arrays}
    if not found and name == _GROUPS:
        return dict(splits)
    if "train" not in found:
        meant = did_you_mean(keys["train"], [key for key in arrays if key not in _KEYS])
        raise UserError(f"{file} has no {keys['train']}; it has {', '.join(arrays)}.{meant}", field="groups")
    for split, values in found.items():
        if values.dtype.kind not in "iuUS" or values.shape not in ((len(splits[split]),), (len(splits[split]), 1)):
            raise UserError(
                f"{file}: {keys[split]} must hold an integer or a word for each of the {len(splits[split])} examples, "
                f"but it is {values.dtype} of shape {values.shape}.",
                field="groups",
            )
    flat = {split: values.reshape(-1).astype(str) for split, values in found.items()}
    numbers = number_groups(np.concatenate([*flat.values()])).split([len(values) for values in flat.values()])
    by_split = dict(zip(flat, numbers, strict=True))
    return {split: replace(images, groups=by_split.get(split)) for split, images in splits.items()}


def _to_nchw(pixels: np.ndarray, split: str, file: Path) -> np.ndarray:
    """Bring any of the accepted layouts to (N, C, H, W)."""
    shape = pixels.shape
    if len(shape) == 2:
        return pixels[:, :, None, None]
    if len(shape) == 3:
        return pixels[:, None]
    if len(shape) == 4 and shape[3] in (1, 3, 4):
        return pixels.transpose(0, 3, 1, 2)
    if len(shape) == 4 and shape[1] in (1, 3, 4):
        return pixels
    raise _error(
        file,
        f"must have images of shape (N, H, W), (N, H, W, C) or (N, C, H, W) with C of 1, 3 or 4, or rows (N, D), "
        f"but x_{split} is {shape}.",
    )


def _to_storage_dtype(pixels: np.ndarray, split: str, file: Path) -> np.ndarray:
    """Return the same values as uint8, int32 or float32."""
    if pixels.dtype == np.uint8:
        return np.ascontiguousarray(pixels)
    if pixels.dtype.kind == "f":
        with np.errstate(over="ignore"):  # beyond float32 becomes infinite, which `validate_data` refuses
            return np.ascontiguousarray(pixels, dtype=np.float32)
    if pixels.size and (pixels.max() >= 2**31 or pixels.min() < -(2**31)):
        raise _error(file, f"must hold integers of at most 32 bits, but x_{split} has larger ones. Save it as float32.")
    return np.ascontiguousarray(pixels, dtype=np.int32)


def _class_names(arrays: Mapping[str, np.ndarray], splits: Mapping[str, Images], file: Path) -> tuple[str, ...]:
    if "classes" in arrays:
        return tuple(str(name) for name in arrays["classes"].ravel())
    highest = max((int(images.labels.max()) for images in splits.values() if len(images.labels)), default=-1)
    if highest >= len(splits["train"]) > 0:
        raise _error(
            file, f"must have labels 0 .. C-1, but the highest is {highest} with {len(splits['train'])} examples."
        )
    return tuple(str(label) for label in range(highest + 1))


def _infer_scale(splits: Mapping[str, Images], file: Path) -> float:
    """Return the scale that brings the stored values of all splits into [0, 1], by their type and range."""
    all_pixels = [images.pixels for images in splits.values() if images.pixels.numel()]
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


def _error(file: Path, problem: str) -> UserError:
    return UserError(f"{file} {problem}", field="path")
