"""What is wrong with a folder of images, or passed over, in sentences."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from pipeline.data.sources.folder_walk import FoundFiles, ending_of, show_path
from pipeline.errors import UserError, did_you_mean

_SHOWN = 3  # names in a sentence


def check_train(
    root: Path, found: FoundFiles, split_folders: Sequence[str], classes: Iterable[str], unlabelled: Mapping[str, int]
) -> None:
    """Raise `UserError` where there is no class, or a class folder without images; say what lies there instead."""
    above = ("train",) if split_folders else ()
    folder = root.joinpath(*above)
    if not classes:
        loose = unlabelled["train" if split_folders else "."]
        if loose:
            reason = (
                f"{folder} holds {loose:,} image(s), but not in class folders: expected {folder}/<class>/*. Put the "
                "images of each class into a folder of its own, or set data.path to the folder that holds the class "
                "folders."
            )
        else:
            expected = f"{folder}/<class>/*" if split_folders else f"{root}/<class>/* or {root}/train/<class>/*"
            reason = f"{folder} holds no images in folders: expected {expected}. {_describe_others(found, above)}"
        raise UserError(reason.rstrip(), field="path")
    for parts in found.folders:
        if len(parts) != len(above) + 1 or parts[: len(above)] != above:
            continue
        if class_name(root, parts[-1]) not in classes:
            raise UserError(
                f"there is no image of class {show_path(parts[-1])!r}: {root / show_path(*parts)} holds none. "
                f"{_describe_others(found, parts)} Add images, or remove the folder if it is no class.",
                field="path",
            )


def check_other_splits(
    root: Path, split_folders: Sequence[str], by_split: Mapping[str, set[str]], unlabelled: Mapping[str, int]
) -> None:
    """Raise `UserError` for a split folder without any image, and for classes that training has not."""
    for split in split_folders:
        if not by_split[split] and not unlabelled.get(split):
            raise UserError(
                f"the {split} split is empty: {root / split} holds no images. Remove the folder to have a part of the "
                "training images cut off, or fill it.",
                field="path",
            )
    for split in split_folders:
        if unknown := sorted(by_split[split] - by_split["train"]):
            raise UserError(
                f"the {split} split has {_few(map(repr, unknown))}, of which there is no training example."
                f"{did_you_mean(unknown[0], by_split['train'], most=1)} Folders of one class must have one name in all "
                f"splits; images of no class must lie directly in {root / split}.",
                field="path",
            )


def class_name(root: Path, folder: str) -> str:
    """Return the name of a class folder in the form that all systems can share; raise `UserError` if it is no text."""
    name = unicodedata.normalize("NFC", folder)  # some systems take accents apart
    try:
        name.encode()
    except UnicodeEncodeError:
        raise UserError(
            f"the name of a class folder in {root} is no text in UTF-8: {os.fsencode(folder)!r}. Rename the folder.",
            field="path",
        ) from None
    return name


def describe_no_folder(root: Path) -> str:
    """Return what `root` is, and what to do."""
    if not root.exists():
        return "does not exist. Set data.path to the folder that holds the images."
    option = {".npz": "data=npz", ".csv": "data=csv", ".tsv": "data=csv"}.get(root.suffix.lower())
    advice = (
        f"For such a file use {option}" if option else "Unpack it if it is an archive, or set data.path to a folder"
    )
    return f"is a file and not a folder. {advice}."


def _describe_others(found: FoundFiles, above: tuple[str, ...]) -> str:
    """Return a sentence on the foreign files below a folder, or on there being none."""
    others = [parts for parts in found.foreign if parts[: len(above)] == above]
    if not others:
        return "There is no file in it that could be one."
    endings = Counter(ending_of(parts[-1]) for parts in others)
    listed, first = _list_endings(endings), show_path(*others[0])
    return f"Its {len(others):,} file(s) have no ending of an image: {listed}; the first is {first}."


def describe_foreign(found: FoundFiles, endings: Counter[str]) -> list[str]:
    """Return a sentence on the files that are no images."""
    if not found.foreign:
        return []
    listed, first = _list_endings(endings), show_path(*found.foreign[0])
    return [
        f"passed over {len(found.foreign):,} file(s) that have no ending of an image: {listed}; the first is {first}"
    ]


def describe_unlabelled(unlabelled: Mapping[str, int], by_split: Mapping[str, set[str]]) -> list[str]:
    """Return a sentence for each folder with images that are in no class folder."""
    notes = []
    for place, number in unlabelled.items():
        cut = "" if by_split.get(place, True) else f"; the {place} split is cut off the training images"
        where = f"directly in {place}" if place != "." else "beside the class folders"
        notes.append(f"passed over {number:,} unlabelled image(s), which lie {where} and in no class folder{cut}")
    return notes


def describe_missing(by_split: Mapping[str, set[str]]) -> list[str]:
    """Return a sentence for each split that has classes, but not all of them."""
    missing = {split: sorted(by_split["train"] - own) for split, own in by_split.items() if own}
    return [f"{split} has no image of class {_few(map(repr, names))}" for split, names in missing.items() if names]


def _list_endings(endings: Counter[str]) -> str:
    return _few(f"{number:,} {ending or 'without ending'}" for ending, number in endings.most_common())


def _few(words: Iterable[str]) -> str:
    words = list(words)
    more = f" and {len(words) - _SHOWN} more" if len(words) > _SHOWN else ""
    return ", ".join(words[:_SHOWN]) + more


def check_levels(root: Path, classes: Sequence[str], below_class: Sequence[str]) -> None:
    """Raise `UserError` where the only class folder holds nothing but folders: these are more likely the classes."""
    inner = sorted({path.partition("/")[0] for path in below_class if "/" in path})
    if len(classes) == 1 and len(inner) > 1 and all("/" in path for path in below_class):
        raise UserError(
            f"there must be at least two classes, but the images in {root} are all in {classes[0]!r}, in folders such "
            f"as {_few(map(repr, inner))}. If these are the classes or splits, set data.path={root / classes[0]}.",
            field="path",
        )
