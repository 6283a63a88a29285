"""Which split a file belongs to, by its name or that of a folder it is in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from pipeline.errors import UserError

SPLITS = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev"),
    "test": ("test", "testing"),
}
"""The words that mean a split."""


def split_of(name: str) -> str | None:
    """Return the split that the first word of `name` means, as in `train-000.tar` or `Validation`; None for others."""
    word = (re.match("[A-Za-z]+", name) or [""])[0].lower()
    return next((split for split, words in SPLITS.items() if word in words), None)


def group_by_split(files: Sequence[Path], root: Path) -> dict[str, list[Path]]:
    """Return the files of each split. Where no name says a split, all are of the training split.

    Raises `UserError` (`path`) where some names say one and others do not, or none are for training.
    """
    found = {file: _find(file.relative_to(root)) for file in files}
    if not any(found.values()):
        return {"train": list(files)}
    unknown = [file for file, split in found.items() if split is None]
    if unknown:
        raise UserError(
            f"the names of the files in {root} must begin with train, val or test, or none of them may, but "
            f"{len(unknown)} of {len(files)} do not, such as {unknown[0].relative_to(root)}. Rename or remove them.",
            field="path",
        )
    grouped = {split: [file for file in files if found[file] == split] for split in SPLITS}
    if not grouped["train"]:
        raise UserError(f"{root} has no files for training: none has a name that begins with train.", field="path")
    return {split: chosen for split, chosen in grouped.items() if chosen}


def _find(file: Path) -> str | None:
    """Return the split that the file's name says, or else a folder above it, the nearest first."""
    return next((split for part in reversed(file.parts) if (split := split_of(part))), None)
