"""The ids of runs: short ones that tell runs apart, and whether a few letters mean a run."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

MIN_LENGTH = 4
"""Letters of a short id; there are as many more as it takes to tell it from the others."""


def short_ids(run_roots: Iterable[Path]) -> dict[Path, str]:
    """Return for each directory the fewest letters of its random part that no other directory has."""
    tails = {root: root.name.rpartition("_")[2] for root in run_roots}
    ordered = sorted(tails.values())
    lengths = {}
    for before, tail, after in zip(["", *ordered], ordered, [*ordered[1:], ""], strict=False):
        lengths[tail] = max(MIN_LENGTH, *(_common_prefix_length(tail, other) + 1 for other in (before, after)))
    return {root: tail[: lengths[tail]] for root, tail in tails.items()}


def id_matches(reference: str, run_id: str, *, name: str) -> bool:
    """Return whether a reference, alone or as `name/reference`, begins or ends a run's id.

    The id of a job is `<id of the multirun>/<number>`, and its reference needs the number.
    """
    root, _, job = run_id.partition("/")
    letters, _, number = reference.removeprefix(f"{name}/").partition("/")
    parts = (root, root.rpartition("_")[2])
    return number == job and bool(letters) and any(part.startswith(letters) or part.endswith(letters) for part in parts)


def _common_prefix_length(a: str, b: str) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
