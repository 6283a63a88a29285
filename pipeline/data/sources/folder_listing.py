"""Which files of a folder are images of which class and split, and what is passed over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from pipeline.data.sources.folder_problems import (
    check_other_splits,
    check_train,
    class_name,
    describe_foreign,
    describe_missing,
    describe_no_folder,
    describe_unlabelled,
)
from pipeline.data.sources.folder_walk import FoundFiles, ending_of, find_files, show_path
from pipeline.errors import UserError, did_you_mean
from pipeline.signals.schema import Files

SPLITS = ("train", "val", "test")
_OTHER_NAMES = {
    "training": "train",
    "valid": "val",
    "validation": "val",
    "dev": "val",
    "testing": "test",
    **{name: name for name in SPLITS},
}
"""Names that others give to splits, in lower case."""


class ImageFile(NamedTuple):
    """One image of a folder: `below_class` is its path below the folder of its class."""

    path: Path
    split: str
    label: str
    below_class: str


@dataclass(frozen=True)
class Listing:
    """The images of a folder, those of `train` first. `classes` are names, sorted; `splits` those that have images."""

    root: Path
    files: Sequence[ImageFile]
    classes: tuple[str, ...]
    splits: tuple[str, ...]
    counts: Files
    notes: tuple[str, ...]
    """Sentences on what was passed over."""


def list_folder(root: Path) -> Listing:
    """List the images of `root/train/<class>/`, `root/val/..`, `root/test/..`, or of `root/<class>/`, at any depth.

    Folders that hold no images, and images that are in no class folder, are passed over and counted; a `val` or `test`
    with such images only is no split. Raises `UserError` (`path`) where there are no images, where a class folder of
    the training split has none, where another split has a class that training has not, and where a folder's name says
    that it is a split, or none.
    """
    if not root.is_dir():
        raise UserError(f"{root} {describe_no_folder(root)}", field="path")
    found = find_files(root)
    split_folders = _find_splits(root, found)
    files, unlabelled = [], Counter[str]()
    for parts, path in found.images.items():
        split = parts[0] if split_folders else "train"
        above = parts[1:] if split_folders else parts
        if len(above) < 2 or split not in SPLITS:
            unlabelled[split if split_folders and len(parts) > 1 else "."] += 1
        else:
            below = "/".join(above[1:])
            files.append(ImageFile(path, split, class_name(root, above[0]), below))
    files.sort(key=lambda file: SPLITS.index(file.split))
    by_split = {split: {file.label for file in files if file.split == split} for split in SPLITS}
    check_train(root, found, split_folders, by_split["train"], unlabelled)
    check_other_splits(root, split_folders, by_split, unlabelled)
    endings = Counter(ending_of(parts[-1]) for parts in found.foreign)
    counts: Files = {
        "images": len(files),
        "hidden": found.hidden,
        "foreign": dict(endings.most_common()),
        "unlabelled": dict(unlabelled),
    }
    return Listing(
        root=root,
        files=files,
        classes=tuple(sorted(by_split["train"])),
        splits=tuple(split for split in SPLITS if by_split[split]),
        counts=counts,
        notes=(
            *describe_foreign(found, endings),
            *describe_unlabelled(unlabelled, by_split),
            *describe_missing(by_split),
        ),
    )


def _find_splits(root: Path, found: FoundFiles) -> tuple[str, ...]:
    """Return the folders of `root` that are splits; none where its folders are classes."""
    depths: dict[str, set[int]] = {}  # of the images in each folder of the root: 2 for those directly in it
    for parts in found.images:
        if len(parts) > 1:
            depths.setdefault(parts[0], set()).add(len(parts))
    folders = [parts[0] for parts in found.folders if len(parts) == 1]
    foreign = [name for name in depths if name not in SPLITS]
    if "train" in folders and not (foreign and all(depths.get(name) == {2} for name in (*foreign, "train"))):
        if foreign:
            meant = _OTHER_NAMES.get(foreign[0].lower())
            hint = f" Did you mean {meant!r}?" if meant else did_you_mean(foreign[0], SPLITS)
            raise UserError(
                f"the folders in {root} must be train, val or test, but there is {show_path(foreign[0])!r}.{hint}",
                field="path",
            )
        return tuple(name for name in SPLITS if name in folders)
    like_splits = [name for name in depths if name.lower() in _OTHER_NAMES]
    held_out = [name for name in like_splits if _OTHER_NAMES[name.lower()] != "train"]
    if held_out or any(2 not in depths[name] for name in like_splits):
        others = [name for name in sorted(like_splits) if name not in SPLITS]
        meant = ", ".join(f"{_OTHER_NAMES[name.lower()]!r} for {name!r}" for name in others)
        raise UserError(
            f"folders in {root} are named like splits and lie where classes are expected."
            + (f" Did you mean {meant}?" if meant else "")
            + f" Splits are read from train, val and test, each with one folder for each class, as in "
            f"{root}/train/<class>/*; train is needed.",
            field="path",
        )
    return ()
