"""From a source to training, validation and test splits: stratified, seeded, exact in number."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pipeline.data.dataset import Images, Source, Splits
from pipeline.data.shuffle import derive_seed
from pipeline.errors import UserError
from pipeline.validation import integer, number

_VALIDATION, _TEST = 1, 2  # streams: the test share stays the same when the validation share changes


def split(source: Source, *, validation: float, test: float, seed: int, limit: int | None) -> Splits:
    """Every class is in every split, in proportion.

    `validation` and `test` are shares of the source's N training examples, cut off them where the source has no
    official split of that kind and ignored where it has one: round(share * N) examples, apportioned to the classes by
    largest remainder, at least one each. Which ones is a function of `seed`. `limit` then keeps that many training
    examples, the first in file order of every class, apportioned the same way; validation and test stay as they are.

    Raises UserError: a share outside (0, 1) or too small or too large to leave every class an example on both sides;
    a class with fewer examples than there are splits to cut; a limit below the number of classes.
    """
    validation = number("validation", validation, above=0, below=1)
    test = number("test", test, above=0, below=1)
    classes = len(source.classes)
    if limit is not None:
        limit = integer("limit", limit, at_least=classes, hint=f"Each of the {classes} classes needs an example.")
    train, held_out, total = source.train, source.test, len(source.train)
    if held_out is None:
        train, held_out = _hold_out(train, source.classes, round(test * total), derive_seed(seed, _TEST), "test")
    val = source.val
    if val is None:
        train, val = _hold_out(
            train, source.classes, round(validation * total), derive_seed(seed, _VALIDATION), "validation"
        )
    if limit is not None:
        train = stratified_head(train, classes, limit)
    return Splits(
        name=source.name,
        train=train,
        val=val,
        test=held_out,
        classes=source.classes,
        scale=source.scale,
        path=source.path,
    )


def allocate_proportionally(counts: list[int], total: int, *, keep: int) -> list[int]:
    """`total` divided in proportion to `counts`, by largest remainder, within 1 .. count - keep for each.

    In whole numbers throughout; of equal remainders the first comes first. The bounds must leave room for `total`.
    """
    everything = sum(counts)
    shares = [min(max(1, count * total // everything), count - keep) for count in counts]

    def owed(i: int) -> int:  # positive: class i has less than its exact share
        return counts[i] * total - shares[i] * everything

    while sum(shares) < total:
        shares[max((i for i in range(len(counts)) if shares[i] < counts[i] - keep), key=owed)] += 1
    while sum(shares) > total:
        shares[min((i for i in range(len(counts)) if shares[i] > 1), key=owed)] -= 1
    return shares


def stratified_head(images: Images, classes: int, limit: int) -> Images:
    """min(limit, N) examples: the first in file order of every class, in proportion, at least one each."""
    counts = torch.bincount(images.labels, minlength=classes).tolist()
    chosen = torch.zeros(len(images), dtype=torch.bool)
    for label, share in enumerate(allocate_proportionally(counts, min(limit, len(images)), keep=0)):
        chosen[torch.nonzero(images.labels == label).flatten()[:share]] = True
    return images.select(_indices(chosen))


def _hold_out(images: Images, classes: tuple[str, ...], total: int, seed: int, field: str) -> tuple[Images, Images]:
    """`images` without, and only, `total` examples chosen at random within each class; both in file order."""
    counts = torch.bincount(images.labels, minlength=len(classes)).tolist()
    for name, count in zip(classes, counts, strict=True):
        if count < 2:
            raise UserError(
                f"class {name!r} has {count} example(s) left to divide between training and {field}: too few to be in "
                "both. Add examples of it, or leave the class out.",
                field=field,
            )
    least, most = len(classes), len(images) - len(classes)
    if not least <= total <= most:
        raise UserError(
            f"the {field} share comes to {total} of {len(images)} examples, but with {len(classes)} classes it must be "
            f"between {least} and {most}, so that each class is on both sides. Choose another share.",
            field=field,
        )
    random = np.random.Generator(np.random.PCG64(seed))
    chosen = torch.zeros(len(images), dtype=torch.bool)
    for label, share in enumerate(allocate_proportionally(counts, total, keep=1)):
        members = torch.nonzero(images.labels == label).flatten()
        chosen[members[torch.from_numpy(random.permutation(len(members))[:share])]] = True
    return images.select(_indices(~chosen)), images.select(_indices(chosen))


def _indices(chosen: Tensor) -> Tensor:
    return torch.nonzero(chosen).flatten()
