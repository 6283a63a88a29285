"""A folder of image files, one folder per class."""

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
_SHOWN = 10  # offending files named in an error


def image_folder(*, path: str, size: int | None, grayscale: bool) -> Source:
    """`path/train/<class>/*` with `path/val` and `path/test` where there are such splits, or `path/<class>/*`.

    Classes are the folders' names, sorted, over all splits. Images become RGB, or grey with `grayscale`; each is turned
    upright as its EXIF data say, and with `size` its centre square is resized to size x size (bilinear, antialiased);
    without, all must have one size. 16-bit grey files are kept as int32 with scale 1/65535, and 8-bit files
    beside them times 257. Files with endings unknown to Pillow and hidden files are passed over.

    Raises UserError (`path`): no images, files that cannot be read (all are counted, ten named), differing sizes,
    folders beside `train` that are no split.
    """
    if size is not None:
        size = integer("size", size, at_least=1)
    boolean("grayscale", grayscale)
    root = Path(path).expanduser()
    folders = _split_folders(root)
    classes = sorted({entry.name for folder in folders.values() for entry in _folders(folder)})
    files = {part: _files(folder) for part, folder in folders.items()}
    if not any(files.values()):
        raise UserError(
            f"{root} holds no images in folders: expected {root}/<class>/* or {root}/train/<class>/*.", field="path"
        )
    arrays = _read([file for found in files.values() for file in found], root, size, grayscale)
    deep = any(array.dtype == np.int32 for array in arrays)
    if deep:
        arrays = [array if array.dtype == np.int32 else array.astype(np.int32) * 257 for array in arrays]
    label_of = {name: label for label, name in enumerate(classes)}
    remaining = iter(arrays)
    splits = {
        part: Images(
            torch.from_numpy(np.stack([next(remaining) for _ in found]))
            if found
            else torch.empty((0, *arrays[0].shape)),
            torch.tensor([label_of[file.parent.name] for file in found], dtype=torch.long),
        )
        for part, found in files.items()
    }
    return Source(
        name=root.resolve().name,
        train=splits["train"],
        val=splits.get("val"),
        test=splits.get("test"),
        classes=tuple(classes),
        scale=1 / 65535 if deep else 1 / 255,
        path=str(root),
    )


def _split_folders(root: Path) -> dict[str, Path]:
    """The folder of each split; a folder without `train` in it is all training."""
    if not root.is_dir():
        raise UserError(f"{root} is not a folder. Set data.path to the folder that holds the images.", field="path")
    if not (root / "train").is_dir():
        return {"train": root}
    for folder in _folders(root):
        if folder.name not in _SPLITS:
            meant = did_you_mean(folder.name, _SPLITS)
            raise UserError(
                f"beside {root}/train only val and test are read, not {folder.name!r}.{meant}", field="path"
            )
    return {part: root / part for part in _SPLITS if (root / part).is_dir()}


def _folders(root: Path) -> list[Path]:
    return sorted(entry for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    known = Image.registered_extensions()
    return [
        file
        for class_folder in _folders(folder)
        for file in sorted(class_folder.iterdir())
        if file.suffix.lower() in known and not file.name.startswith(".") and file.is_file()
    ]


def _read(files: list[Path], root: Path, size: int | None, grayscale: bool) -> list[np.ndarray]:
    """The images (C, H, W) of `files`, all of one shape."""

    def read(file: Path) -> np.ndarray | str:
        try:
            return _pixels(file, size, grayscale)
        except Exception as error:  # noqa: BLE001 - Pillow raises OSError, SyntaxError, struct.error and others
            return f"{type(error).__name__}: {error}"

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        results = list(pool.map(read, files))
    broken = [
        f"{file.relative_to(root)} ({said})" for file, said in zip(files, results, strict=True) if isinstance(said, str)
    ]
    if broken:
        raise UserError(
            f"{len(broken)} file(s) in {root} cannot be read: {_listed(broken)}. Repair or remove them.", field="path"
        )
    arrays = [result for result in results if not isinstance(result, str)]
    shape = arrays[0].shape
    others = [
        f"{file.relative_to(root)} ({array.shape[2]} x {array.shape[1]})"
        for file, array in zip(files, arrays, strict=True)
        if array.shape != shape
    ]
    if others:
        raise UserError(
            f"images must have one size, but {len(others)} in {root} are not {shape[2]} x {shape[1]} (width x height) "
            f"like {files[0].relative_to(root)}: {_listed(others)}. Set data.size to resize all.",
            field="path",
        )
    return arrays


def _pixels(file: Path, size: int | None, grayscale: bool) -> np.ndarray:
    """(C, H, W): uint8, or int32 of a file with 16 bits."""
    with Image.open(file) as opened:
        image = ImageOps.exif_transpose(opened)
    if image.mode == "F":
        raise ValueError("floating-point pixels; save them in a .npz file")
    deep = image.mode.startswith("I")
    if deep:  # as floats, which Pillow can resize
        image = Image.fromarray(np.asarray(image).astype(np.float32))
    else:
        if "transparency" in image.info:
            image = image.convert("RGBA")
        image = image.convert("L" if grayscale else "RGB")
    if size is not None:
        image = ImageOps.fit(image, (size, size), Image.Resampling.BILINEAR)
    array = np.asarray(image)
    if not deep:
        return array[None] if grayscale else np.ascontiguousarray(array.transpose(2, 0, 1))
    if array.min() < 0 or array.max() > 65535:
        raise ValueError("whole numbers beyond 16 bits; save them in a .npz file")
    return np.repeat(array.round().astype(np.int32)[None], 1 if grayscale else 3, axis=0)


def _listed(entries: Iterable[str]) -> str:
    entries = list(entries)
    more = f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
    return ", ".join(entries[:_SHOWN]) + more
