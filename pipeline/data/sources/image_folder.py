"""A folder of image files, with one folder per class."""

from __future__ import annotations

import os
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps

from pipeline.data.dataset import Images, Source
from pipeline.errors import UserError, did_you_mean
from pipeline.validation import boolean, integer

_SPLITS = ("train", "val", "test")
_SHOWN = 10  # offending files that an error names


def image_folder(*, path: str, size: int | None, grayscale: bool) -> Source:
    """Return the images of `path/train/<class>/*`, `path/val/...` and `path/test/...`, or of `path/<class>/*`.

    The folders `val` and `test` are optional. Classes are the names of the folders, sorted, over all splits. Images
    become RGB, or grey with `grayscale`. Each is turned upright by its EXIF data. With `size`, the centre square is
    resized to size x size (bilinear, antialiased); without, all images must have one size. 16-bit grey files are kept
    as int32 with scale 1/65535, and 8-bit files in the same folders are multiplied by 257. Hidden files and files with
    endings that Pillow does not know are skipped.

    Raises `UserError` (`path`) when there are no images, when files cannot be read (all are counted, ten are named),
    when sizes differ, or when a folder beside `train` is no split.
    """
    if size is not None:
        size = integer("size", size, at_least=1)
    boolean("grayscale", grayscale)
    root = Path(path).expanduser()
    folders = _find_split_folders(root)
    classes = sorted({entry.name for folder in folders.values() for entry in _subfolders(folder)})
    files = {split: _image_files(folder) for split, folder in folders.items()}
    if not any(files.values()):
        raise UserError(
            f"{root} holds no images in folders: expected {root}/<class>/* or {root}/train/<class>/*.", field="path"
        )
    all_files = [file for split_files in files.values() for file in split_files]
    arrays = _read_all(all_files, root, size, grayscale)
    _check_same_size(all_files, arrays, root)
    is_16_bit = any(array.dtype == np.int32 for array in arrays)
    if is_16_bit:
        arrays = [array if array.dtype == np.int32 else array.astype(np.int32) * 257 for array in arrays]
    splits = _to_splits(files, arrays, classes)
    return Source(
        name=root.resolve().name,
        train=splits["train"],
        val=splits.get("val"),
        test=splits.get("test"),
        classes=tuple(classes),
        scale=1 / 65535 if is_16_bit else 1 / 255,
        path=str(root),
    )


def _find_split_folders(root: Path) -> dict[str, Path]:
    """Return the folder of each split. A folder without `train` in it is the training split."""
    if not root.is_dir():
        raise UserError(f"{root} is not a folder. Set data.path to the folder that holds the images.", field="path")
    if not (root / "train").is_dir():
        return {"train": root}
    for folder in _subfolders(root):
        if folder.name not in _SPLITS:
            meant = did_you_mean(folder.name, _SPLITS)
            raise UserError(
                f"the folders in {root} must be train, val or test, but there is {folder.name!r}.{meant}", field="path"
            )
    return {split: root / split for split in _SPLITS if (root / split).is_dir()}


def _subfolders(root: Path) -> list[Path]:
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _image_files(folder: Path) -> list[Path]:
    known = Image.registered_extensions()
    return [
        file
        for class_folder in _subfolders(folder)
        for file in sorted(class_folder.iterdir())
        if file.suffix.lower() in known and not file.name.startswith(".") and file.is_file()
    ]


def _to_splits(files: dict[str, list[Path]], arrays: list[np.ndarray], classes: list[str]) -> dict[str, Images]:
    """Return the images of each split; `arrays` are those of all `files`, in order."""
    label_of = {name: label for label, name in enumerate(classes)}
    remaining = iter(arrays)
    splits = {}
    for split, split_files in files.items():
        stacked = [next(remaining) for _ in split_files]
        pixels = torch.from_numpy(np.stack(stacked)) if stacked else torch.empty((0, *arrays[0].shape))
        labels = torch.tensor([label_of[file.parent.name] for file in split_files], dtype=torch.long)
        splits[split] = Images(pixels, labels)
    return splits


def _read_all(files: list[Path], root: Path, size: int | None, grayscale: bool) -> list[np.ndarray]:
    """Return the images (C, H, W) of `files`; raise one `UserError` for all that cannot be read."""

    def read(file: Path) -> np.ndarray | str:
        try:
            return _read(file, size, grayscale)
        except Exception as error:  # noqa: BLE001 - Pillow raises OSError, SyntaxError, struct.error and others
            return f"{type(error).__name__}: {error}"

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        results = list(pool.map(read, files))
    broken = [
        f"{file.relative_to(root)} ({result})"
        for file, result in zip(files, results, strict=True)
        if isinstance(result, str)
    ]
    if broken:
        raise UserError(
            f"{len(broken)} file(s) in {root} cannot be read: {_listed(broken)}. Repair or remove them.", field="path"
        )
    return [result for result in results if not isinstance(result, str)]


def _check_same_size(files: list[Path], arrays: list[np.ndarray], root: Path) -> None:
    shape = arrays[0].shape
    mismatched = [
        f"{file.relative_to(root)} ({array.shape[2]} x {array.shape[1]})"
        for file, array in zip(files, arrays, strict=True)
        if array.shape != shape
    ]
    if mismatched:
        raise UserError(
            f"images must have one size, but {len(mismatched)} in {root} are not {shape[2]} x {shape[1]} (width x "
            f"height) like {files[0].relative_to(root)}: {_listed(mismatched)}. Set data.size to resize all.",
            field="path",
        )


def _read(file: Path, size: int | None, grayscale: bool) -> np.ndarray:
    """Return the image (C, H, W): uint8, or int32 for a file with 16 bits."""
    with Image.open(file) as opened:
        image = ImageOps.exif_transpose(opened)
    if image.mode == "F":
        raise ValueError("floating-point pixels; save them in a .npz file")
    is_integer = image.mode.startswith("I")  # 16 or 32 bits
    if is_integer:
        image = Image.fromarray(np.asarray(image).astype(np.float32))  # which Pillow can resize
    else:
        if "transparency" in image.info:
            image = image.convert("RGBA")
        image = image.convert("L" if grayscale else "RGB")
    if size is not None:
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    array = np.asarray(image)
    if not is_integer:
        return array[None] if grayscale else np.ascontiguousarray(array.transpose(2, 0, 1))
    if array.min() < 0 or array.max() > 65535:
        raise ValueError("integers beyond 16 bits; save them in a .npz file")
    return np.repeat(array.round().astype(np.int32)[None], 1 if grayscale else 3, axis=0)


def _listed(entries: Iterable[str]) -> str:
    entries = list(entries)
    more = f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
    return ", ".join(entries[:_SHOWN]) + more
