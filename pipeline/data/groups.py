"""Groups of examples that show one object, and a split that keeps each group on one side."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pipeline.errors import UserError

PARENT = "parent"
_PASSES = 20  # over all groups; the sum of squares falls in each, and is at rest after a few
_SHOWN = 3  # files that an error names

Ints = NDArray[np.int64]


def parse_pattern(groups: str) -> re.Pattern[str]:
    """Return the regular expression that `groups` is or, for `parent`, one that finds the folder of a file.

    Raises `UserError` (`groups`) for what is no regular expression, or has no group.
    """
    try:
        pattern = re.compile("(.*)/" if groups == PARENT else groups)
    except (re.error, TypeError) as error:
        raise UserError(f"{groups!r} is neither parent nor a regular expression: {error}.", field="groups") from error
    if not pattern.groups:
        raise UserError(
            f"the regular expression {groups!r} has no group: put what names the object into parentheses, as in "
            r"'(.*)_\d+', or give parent for the folder that a file is in.",
            field="groups",
        )
    return pattern


def name_groups(paths: Sequence[str], pattern: re.Pattern[str]) -> list[str]:
    """Return what the first group of `pattern` finds in each of `paths`, which are below the folder of the class.

    Raises `UserError` (`groups`) where it finds nothing: such a file could be any object.
    """
    found = [pattern.search(path) for path in paths]
    names = [match.group(1) if match else None for match in found]
    without = [path for path, name in zip(paths, names, strict=True) if name is None]
    if without:
        raise UserError(
            f"{pattern.pattern!r} names no group for {len(without)} of {len(paths)} files, such as "
            f"{', '.join(without[:_SHOWN])}. Each path below the folder of its class must match it.",
            field="groups",
        )
    return [name for name in names if name is not None]


def number_groups(names: Sequence[str] | NDArray[np.generic]) -> Tensor:
    """Return a number for each of the N names: (N,) int64, equal where the names are.

    Raises `UserError` (`groups`) where all are equal: one group cannot be in two splits.
    """
    different, numbers = np.unique(np.asarray(names), return_inverse=True)
    if len(different) < 2:
        raise UserError(
            f"all {len(names)} examples are in one group, {str(different[0])!r}, so they cannot be split. Groups must "
            "tell objects apart.",
            field="groups",
        )
    return torch.from_numpy(numbers.reshape(-1).astype(np.int64))


def choose_groups(labels: Ints, groups: Ints, targets: Sequence[int], seed: int) -> NDArray[np.bool_]:
    """Choose whole groups, so that of each class about as many examples are chosen as `targets` says; return (N,).

    `labels` and `groups` are (N,). The groups are visited in random order, and each is chosen or given back where that
    lowers sum over classes of (chosen - target)^2 / target, until nothing changes. At least one group is chosen, and
    none with all the examples of a class that are left. Raises `UserError` (`groups`) where that is impossible.
    """
    different, group = np.unique(groups, return_inverse=True)
    members: list[dict[int, int]] = [{} for _ in different]  # examples of each class; lists are faster than arrays here
    for one, label in zip(group.tolist(), labels.tolist(), strict=True):
        members[one][label] = members[one].get(label, 0) + 1
    left = np.bincount(labels, minlength=len(targets)).tolist()
    missing = list(targets)
    chosen = np.zeros(len(different), bool)

    def change(one: int, sign: int) -> float:
        return sum((n**2 - 2 * sign * n * missing[c]) / max(targets[c], 1) for c, n in members[one].items())

    def leaves_each_class(one: int) -> bool:
        return all(left[c] > n for c, n in members[one].items())

    def move(one: int, sign: int) -> None:
        chosen[one] = sign > 0
        for c, n in members[one].items():
            missing[c] -= sign * n
            left[c] -= sign * n

    order = np.random.Generator(np.random.PCG64(seed)).permutation(len(different)).tolist()
    for _ in range(_PASSES):
        before = chosen.copy()
        for one in order:
            sign = -1 if chosen[one] else 1
            if change(one, sign) < 0 and (sign < 0 or leaves_each_class(one)):
                move(one, sign)
        if (chosen == before).all():
            break
    if not chosen.any():
        possible = [one for one in order if leaves_each_class(one)]
        if not possible:
            raise UserError(
                f"{len(different)} groups cannot be split so that each class keeps an example for training: some class "
                "has all its examples in one of them. Give finer groups, or files for each split.",
                field="groups",
            )
        move(min(possible, key=lambda one: change(one, 1)), 1)
    return chosen[group]
