"""A folder of image files, with one folder per class."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from pipeline.data.dataset import Images, Source
from pipeline.data.groups import name_groups, number_groups, parse_pattern
from pipeline.data.sources.image_files import FITS, ImageReader, ReadImage
from pipeline.errors import UserError, did_you_mean
from pipeline.signals.data.crop import crop_signals
from pipeline.signals.data.subsample import subsample_indices
from pipeline.signals.schema import Crop, Data, Transparency
from pipeline.validation import boolean, integer, one_of

_SPLITS = ("train", "val", "test")
_SHOWN = 10  # offending files that an error names
_CROPS_COMPARED = 500  # training images that are read again as a whole
_MIN_ASPECT = 1.1  # longer side / shorter side, from which a crop cuts away more than 9 %


class _File(NamedTuple):
    path: Path
    split: str
    class_folder: Path

    @property
    def below_class(self) -> str:
        return self.path.relative_to(self.class_folder).as_posix()


def image_folder(
    *, path: str, size: int | None, grayscale: bool, fit: str, background: Any, groups: str | None
) -> Source:
    """Return the images of `path/train/<class>/*`, `path/val/...` and `path/test/...`, or of `path/<class>/*`.

    The folders `val` and `test` are optional. Classes are the names of the folders, sorted, over all splits; images in
    folders of a class folder belong to that class. Images become RGB, or grey with `grayscale`. Each is turned upright
    by its EXIF data, and composed onto `background` where it is not opaque. With `size`, images become size x size
    (bilinear, antialiased): of what is not square, `fit` takes the centre (crop), adds `background` (pad) or squeezes
    it (stretch); without, all images must have one size. 16-bit grey files are kept as int32 with scale 1/65535, and
    8-bit files in the same folders are multiplied by 257. Hidden files and files with endings that Pillow does not know
    are skipped.

    `groups` says what an image shows, from its path below the class folder: `parent` stands for the folder it is in,
    otherwise a regular expression whose first group is the name. Images of one name are never in two splits, also not
    those of different classes.

    Raises `UserError` (`path`) when there are no images, when files cannot be read (all are counted, ten are named),
    when sizes differ, or when a folder beside `train` is no split; and naming the field for other values.
    """
    if size is not None:
        size = integer("size", size, at_least=1)
    reader = ImageReader(size, boolean("grayscale", grayscale), one_of("fit", fit, FITS), background)
    pattern = None if groups is None else parse_pattern(groups)
    root = Path(path).expanduser()
    folders = _find_split_folders(root)
    classes = sorted({entry.name for folder in folders.values() for entry in _subfolders(folder)})
    files = [file for split, folder in folders.items() for file in _image_files(split, folder)]
    if not files:
        raise UserError(
            f"{root} holds no images in folders: expected {root}/<class>/* or {root}/train/<class>/*.", field="path"
        )
    group_ids = None if pattern is None else number_groups(name_groups([file.below_class for file in files], pattern))
    images = _read_all([file.path for file in files], root, reader)
    arrays = [image.pixels for image in images]
    _check_same_size(files, arrays, root)
    is_16_bit = any(array.dtype == np.int32 for array in arrays)
    if is_16_bit:
        arrays = [array if array.dtype == np.int32 else array.astype(np.int32) * 257 for array in arrays]
    labels = torch.tensor([classes.index(file.class_folder.name) for file in files], dtype=torch.long)
    splits = {split: _select(split, files, arrays, labels, group_ids) for split in folders}
    loading: Data = {}
    if transparency := _transparency(images, str(background)):
        loading["transparency"] = transparency
    if size is not None and fit == "crop" and (crop := _crop(files, images, labels, reader)):
        loading["crop"] = crop
    return Source(
        name=root.resolve().name,
        train=splits["train"],
        val=splits.get("val"),
        test=splits.get("test"),
        classes=tuple(classes),
        scale=1 / 65535 if is_16_bit else 1 / 255,
        path=str(root),
        loading=loading,
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


def _image_files(split: str, folder: Path) -> Iterable[_File]:
    known = Image.registered_extensions()
    for class_folder in _subfolders(folder):
        for directory, subfolders, names in os.walk(class_folder):
            subfolders[:] = sorted(name for name in subfolders if not name.startswith("."))  # in place: what comes next
            for name in sorted(names):
                file = Path(directory, name)
                if file.suffix.lower() in known and not name.startswith(".") and file.is_file():
                    yield _File(file, split, class_folder)


def _select(
    split: str, files: Sequence[_File], arrays: Sequence[np.ndarray], labels: Tensor, groups: Tensor | None
) -> Images:
    """Return the images of one split."""
    chosen = [i for i, file in enumerate(files) if file.split == split]
    pixels = np.stack([arrays[i] for i in chosen]) if chosen else np.empty((0, *arrays[0].shape), np.float32)
    return Images(torch.from_numpy(pixels), labels[chosen], None if groups is None else groups[chosen])


def _read_all(files: Sequence[Path], root: Path, reader: ImageReader) -> list[ReadImage]:
    """Return what `reader` gets from `files`; raise one `UserError` for all that cannot be read."""

    def read(file: Path) -> ReadImage | str:
        try:
            return reader(file)
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


def _check_same_size(files: Sequence[_File], arrays: Sequence[np.ndarray], root: Path) -> None:
    shape = arrays[0].shape
    mismatched = [
        f"{file.path.relative_to(root)} ({array.shape[2]} x {array.shape[1]})"
        for file, array in zip(files, arrays, strict=True)
        if array.shape != shape
    ]
    if mismatched:
        raise UserError(
            f"images must have one size, but {len(mismatched)} in {root} are not {shape[2]} x {shape[1]} (width x "
            f"height) like {files[0].path.relative_to(root)}: {_listed(mismatched)}. Set data.size to resize all.",
            field="path",
        )


def _transparency(images: Sequence[ReadImage], background: str) -> Transparency | None:
    """Return the signal `data.transparency`; None where all images are opaque."""
    lost = [image.lost for image in images if image.lost is not None]
    if not lost:
        return None
    counts = {ground: sum(one[ground] for one in lost) for ground in lost[0]}
    return {"images": len(images), "transparent": len(lost), "background": background, "lost": counts}


def _crop(files: Sequence[_File], images: Sequence[ReadImage], labels: Tensor, reader: ImageReader) -> Crop | None:
    """Return the signal `data.crop`, for which a sample of training images is read again as a whole."""
    elongated = [
        i
        for i, image in enumerate(images)
        if files[i].split == "train" and max(image.aspect, 1 / image.aspect) > _MIN_ASPECT
    ]
    chosen = [elongated[i] for i in subsample_indices(len(elongated), _CROPS_COMPARED).tolist()]
    if not chosen:
        return None
    crops = [images[i] for i in chosen]
    squeezed = replace(reader, fit="stretch")
    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        whole = list(pool.map(squeezed, [files[i].path for i in chosen]))
    wholes, centres = (torch.from_numpy(np.stack([one.pixels for one in part])).float() for part in (whole, crops))
    return crop_signals(wholes, centres, labels[chosen], torch.tensor([crop.aspect for crop in crops]))


def _listed(entries: Iterable[str]) -> str:
    entries = list(entries)
    more = f" and {len(entries) - _SHOWN} more" if len(entries) > _SHOWN else ""
    return ", ".join(entries[:_SHOWN]) + more
