"""Training, validation and test splits of a source: stratified, seeded, and exact in number."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from pipeline.data.dataset import Images, Source, Splits
from pipeline.data.groups import choose_groups
from pipeline.data.shuffle import derive_seed
from pipeline.errors import UserError
from pipeline.validation import integer, number

_VALIDATION, _TEST = 1, 2  # streams of the seed: the test split stays the same when the validation fraction changes


def split(source: Source, *, validation: float, test: float, seed: int, limit: int | None) -> Splits:
    """Split `source` so that every class is in every split, in proportion.

    `validation` and `test` are fractions of the N training examples of the source. Where the source has no official
    split of that kind, round(fraction * N) examples are cut off, allocated to the classes by largest remainder, at
    least one each; where it has one, the fraction is ignored. Which examples are chosen is a function of `seed`. Where
    the source has groups, whole groups are cut off: the numbers are then as near as these allow.
    `limit` then keeps that many training examples: of every class the first in file order, allocated in the same way.
    It does not change the validation and test splits.

    Raises `UserError` for a fraction outside (0, 1), or one too small or too large to leave every class an example on
    both sides; for a class with fewer examples than splits to cut; for a limit below the number of classes.
    """
    validation = number("validation", validation, above=0, below=1)
    test = number("test", test, above=0, below=1)
    n_classes = len(source.classes)
    if limit is not None:
        limit = integer("limit", limit, at_least=n_classes, hint=f"Each of the {n_classes} classes needs an example.")
    train, test_images, n = source.train, source.test, len(source.train)
    if test_images is None:
        train, test_images = _hold_out(train, source.classes, round(test * n), derive_seed(seed, _TEST), "test")
    val = source.val
    if val is None:
        val_seed = derive_seed(seed, _VALIDATION)
        train, val = _hold_out(train, source.classes, round(validation * n), val_seed, "validation")
    if limit is not None:
        train = stratified_head(train, n_classes, limit)
    return Splits(
        name=source.name,
        train=train,
        val=val,
        test=test_images,
        classes=source.classes,
        scale=source.scale,
        path=source.path,
        loading=source.loading,
    )


def allocate_proportionally(counts: list[int], total: int, *, keep: int) -> list[int]:
    """Divide `total` in proportion to `counts` by largest remainder, with 1 .. count - keep for each count.

    The arithmetic is in integers throughout; of equal remainders the first comes first. The bounds must leave room for
    `total`.
    """
    n = sum(counts)
    shares = [min(max(1, count * total // n), count - keep) for count in counts]

    def deficit(i: int) -> int:  # positive: class i has less than its exact share
        return counts[i] * total - shares[i] * n

    while sum(shares) < total:
        shares[max((i for i in range(len(counts)) if shares[i] < counts[i] - keep), key=deficit)] += 1
    while sum(shares) > total:
        shares[min((i for i in range(len(counts)) if shares[i] > 1), key=deficit)] -= 1
    return shares


def stratified_head(images: Images, n_classes: int, limit: int) -> Images:
    """Return min(limit, N) examples: of every class the first in file order, in proportion, at least one each."""
    counts = torch.bincount(images.labels, minlength=n_classes).tolist()
    selected = torch.zeros(len(images), dtype=torch.bool)
    for label, share in enumerate(allocate_proportionally(counts, min(limit, len(images)), keep=0)):
        selected[torch.nonzero(images.labels == label).flatten()[:share]] = True
    return images.select(_indices(selected))


def _hold_out(images: Images, classes: tuple[str, ...], total: int, seed: int, field: str) -> tuple[Images, Images]:
    """Return `images` without, and only, `total` examples drawn at random within each class; both in file order.

    Of images with groups, whole groups are drawn, about `total` examples.
    """
    counts = torch.bincount(images.labels, minlength=len(classes)).tolist()
    for name, count in zip(classes, counts, strict=True):
        if count < 2:
            raise UserError(
                f"class {name!r} has only {count} example(s) to divide between training and {field}, but needs one in "
                "each. Add examples of it, or leave the class out.",
                field=field,
            )
    least, most = len(classes), len(images) - len(classes)
    if not least <= total <= most:
        raise UserError(
            f"the {field} split would have {total} of {len(images)} examples. With {len(classes)} classes it must have "
            f"{least} to {most}, so that each class is on both sides. Choose another fraction.",
            field=field,
        )
    shares = allocate_proportionally(counts, total, keep=1)
    if images.groups is not None:
        chosen = choose_groups(images.labels.numpy(), images.groups.numpy(), shares, seed)
        selected = torch.from_numpy(chosen)
        return images.select(_indices(~selected)), images.select(_indices(selected))
    random = np.random.Generator(np.random.PCG64(seed))
    selected = torch.zeros(len(images), dtype=torch.bool)
    for label, share in enumerate(shares):
        members = torch.nonzero(images.labels == label).flatten()
        selected[members[torch.from_numpy(random.permutation(len(members))[:share])]] = True
    return images.select(_indices(~selected)), images.select(_indices(selected))


def _indices(selected: Tensor) -> Tensor:
    """Return the positions at which a mask (N,) is true."""
    return torch.nonzero(selected).flatten()
