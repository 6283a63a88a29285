"""A folder of image files, with one folder per class."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from pipeline.data.dataset import Images, Source
from pipeline.data.groups import name_groups, number_groups, parse_pattern
from pipeline.data.sources.decode_files import FilesRead, decode_files
from pipeline.data.sources.folder_listing import list_folder
from pipeline.data.sources.folder_problems import check_levels
from pipeline.data.sources.image_files import EIGHT_BITS, ENLARGED, FIRST_FRAME, FITS, ImageReader
from pipeline.signals.schema import Data, Files
from pipeline.validation import boolean, one_of

ON_ERROR = ("refuse", "skip")
_LISTED = 100  # files that the record names
_SHOWN = 3  # files that a sentence names


def image_folder(
    *,
    path: str,
    size: int | Sequence[int] | None,
    grayscale: bool,
    fit: str,
    background: Any,
    groups: str | None,
    on_error: str,
) -> Source:
    """Return the images of `path/train/<class>/*`, `path/val/...` and `path/test/...`, or of `path/<class>/*`.

    The folders `val` and `test` are optional. Classes are the names of the folders of the training split, sorted;
    images in folders of a class folder belong to that class (see `list_folder` for what is passed over). Images become
    RGB, or grey with `grayscale`. Each is turned upright by its EXIF data, and composed onto `background` where it is
    not opaque. With `size`, images become size x size, or height x width (bilinear, antialiased): of other proportions,
    `fit` takes the centre (crop), adds `background` (pad) or squeezes it (stretch); without, all images must have one
    size. Files with 16 bits, grey or RGB, are kept as int32 with scale 1/65535, and 8-bit files in the same folders are
    multiplied by 257. Of files with several pictures the first is read.

    `groups` says what an image shows, from its path below the class folder: `parent` stands for the folder it is in,
    otherwise a regular expression whose first group is the name. Images of one name are never in two splits, also not
    those of different classes.

    Files that cannot be read are an error that names them, or with `on_error` skip left out and listed in the signal
    `data.files`. Raises `UserError` (`path`) for what `list_folder` refuses, when files cannot be read, and when sizes
    differ; and naming the field for other values.
    """
    reader = ImageReader(size, boolean("grayscale", grayscale), one_of("fit", fit, FITS), background)
    on_error = one_of("on_error", on_error, ON_ERROR)
    pattern = None if groups is None else parse_pattern(groups)
    listing = list_folder(Path(path).expanduser())
    files, root = listing.files, listing.root
    below = [file.below_class for file in files]
    group_ids = None if pattern is None else number_groups(name_groups(below, pattern))
    if pattern is None:
        check_levels(root, listing.classes, below)

    describe = functools.partial(_describe, listing.counts)
    pixels = decode_files([file.path for file in files], reader, root=root, on_error=on_error, describe=describe)
    numbers = {name: number for number, name in enumerate(listing.classes)}
    labels = torch.tensor([numbers[file.label] for file in files])
    loading: Data = {"files": listing.counts}
    if listing.notes:
        loading["notes"] = list(listing.notes)
    splits = {}
    for split in listing.splits:
        index = torch.tensor([i for i, file in enumerate(files) if file.split == split])
        own = None if group_ids is None else group_ids[index]
        splits[split] = Images(pixels.select(index), labels[index], own)
    return Source(
        name=root.resolve().name,
        train=splits["train"],
        val=splits.get("val"),
        test=splits.get("test"),
        classes=listing.classes,
        scale=1 / 255 if pixels.dtype == torch.uint8 else 1 / 65535,
        path=str(root),
        loading=loading,
        reading=reader.reading(),
    )


def _describe(counts: Files, read: FilesRead) -> Data:
    """Return the signal `files`, from what the listing counted, and notes on what was not read as it is."""
    counts = counts.copy()
    if read.errors:
        counts |= {"unreadable": len(read.errors), "unreadable_names": read.reasons[:_LISTED]}
    if names := read.named(FIRST_FRAME):
        counts["first_frame"] = len(names)
    if names := read.named(EIGHT_BITS):
        counts["eight_bits"] = len(names)
    if names := read.named(ENLARGED):
        counts["enlarged"] = len(names)
    notes = read.sentences(shown=_SHOWN)
    return {"files": counts, "notes": notes} if notes else {"files": counts}
