"""Examples that a person should look at: blank, repeated, unlike the others, or unlike those of their class.

Everything is measured on stored pixels, without any network. N examples, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from pipeline.signals.data.blank import blank_images
from pipeline.signals.data.duplicates import find_duplicates
from pipeline.signals.data.neighbours import average_down
from pipeline.signals.data.subsample import reduce_images, subsample_indices
from pipeline.signals.schema import NearCopies

MAX_COMPARED = 2000
"""Training examples that are compared with each other."""
NEAREST = 5
MIN_VOTES = 4
"""Of the nearest examples, those that must agree on another class."""


@dataclass(frozen=True)
class Suspect:
    """An example by its split and its index there, what is odd about it, and the other one of a pair."""

    split: str
    index: int
    note: str
    partner: tuple[str, int] | None = None


def blank_suspects(splits: Mapping[str, Tensor], *, limit: int) -> list[Suspect]:
    """Return the blank images of each split, the first `limit`."""
    found = [Suspect(name, i, "one colour") for name, pixels in splits.items() for i in blank_images(pixels).tolist()]
    return found[:limit]


def repeated_suspects(
    splits: Mapping[str, Tensor], labels: Mapping[str, Tensor], name_of: Callable[[Tensor], str], *, limit: int
) -> list[Suspect]:
    """Return images that equal one of another split or of another label to the byte, with the first that they equal."""
    numbers = find_duplicates(splits)
    first: dict[int, tuple[str, int]] = {}
    found = []
    for name, own in numbers.items():
        for index, number in enumerate(own.tolist()):
            split, partner = first.setdefault(number, (name, index))
            if (split, partner) == (name, index):
                continue
            differs = bool((labels[split][partner] != labels[name][index]).any())
            if split != name or differs:
                note = f"also in {split}" if split != name else "the same image"
                note += f", as {name_of(labels[split][partner])}" if differs else ""
                found.append(Suspect(name, index, note, (split, partner)))
    return found[:limit]


def alike_suspects(copies: Mapping[str, NearCopies], *, limit: int) -> list[Suspect]:
    """Return the pairs of an evaluation image and a training image that are most alike without being equal."""
    pairs = [
        (unlike / usual, Suspect(name, query, f"differs {100 * unlike / usual:.0f} % as much as usual",
                                 ("train", partner)))
        for name, near in copies.items()
        for (query, partner), unlike, usual in zip(near["pairs"], near["unlike"], near["usually_unlike"], strict=True)
    ]  # fmt: skip
    return [suspect for _, suspect in sorted(pairs, key=lambda pair: pair[0])[:limit]]


def odd_suspects(
    pixels: Tensor, labels: Tensor, name_of: Callable[[Tensor], str], *, has_classes: bool, limit: int
) -> dict[str, list[Suspect]]:
    """Return training examples `far` from all others, and those whose neighbours have another `class`.

    A sample of examples is compared by Euclidean distance, images averaged down, columns of a table standardized.
    """
    index = subsample_indices(len(pixels), MAX_COMPARED)
    if len(index) <= NEAREST:
        return {"far": [], "class": []}
    points = reduce_images(pixels, index, average_down).flatten(1)
    if pixels.shape[2] * pixels.shape[3] == 1:
        points = (points - points.mean(0)) / points.std(0, correction=0).clamp(min=1e-12)
    distances = torch.cdist(points, points)
    distances.fill_diagonal_(torch.inf)
    nearest = distances.topk(NEAREST, dim=1, largest=False)
    typical = nearest.values[:, 0].median().clamp(min=1e-12)
    far = [
        Suspect("train", int(index[i]), f"{float(nearest.values[i, 0] / typical):.3g} times as far from the nearest")
        for i in nearest.values[:, 0].argsort(descending=True)[:limit].tolist()
        if nearest.values[i, 0] > 2 * typical
    ]
    return {
        "far": far,
        "class": _of_another_class(labels[index], nearest, index, name_of, limit) if has_classes else [],
    }


def _of_another_class(
    labels: Tensor, nearest: torch.return_types.topk, index: Tensor, name_of: Callable[[Tensor], str], limit: int
) -> list[Suspect]:
    around = labels[nearest.indices]
    called = around.mode(1).values
    votes = (around == called[:, None]).sum(1)
    odd = torch.nonzero((called != labels) & (votes >= MIN_VOTES)).flatten()
    order = odd[(nearest.values[odd].mean(1) - 1e6 * votes[odd]).argsort()[:limit]]
    return [
        Suspect("train", int(index[i]), f"{int(votes[i])} of {NEAREST} nearest are {name_of(called[i])}")
        for i in order.tolist()
    ]
