"""Training, validation and test splits of a source: stratified, seeded, and exact in number.

Strata are the classes. Of examples with several labels, a stratum is the rarest label of an example, or that it has
none; of numbers to predict, the tenths of the first target.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from pipeline.data.dataset import CLASSIFICATION, REGRESSION, Images, Source, Splits
from pipeline.data.groups import choose_groups
from pipeline.data.pixels import StoredPixels
from pipeline.data.shuffle import derive_seed
from pipeline.errors import UserError
from pipeline.validation import integer, number

QUANTILES = 10  # strata of a target
_VALIDATION, _TEST = 1, 2  # streams of the seed: the test split stays the same when the validation fraction changes


def split(source: Source, *, validation: float, test: float, seed: int, limit: int | None) -> Splits:
    """Split `source` so that every class is in every split, in proportion.

    `validation` and `test` are fractions of the N training examples of the source. Where the source has no official
    split of that kind, round(fraction * N) examples are cut off, allocated to the strata by largest remainder, at
    least one each; where it has one, the fraction is ignored. Which examples are chosen is a function of `seed`. Where
    the source has groups, whole groups are cut off: the numbers are then as near as these allow.
    `limit` then keeps that many training examples: of every stratum the first in file order, allocated in the same way.
    It does not change the validation and test splits, unless these are cut off images that are still in files: then
    they are limited in the same proportion, so that a quick look does not read all of the files. Targets of regression
    are standardized at the end.

    Raises `UserError` for a fraction outside (0, 1), or one too small or too large to leave every class an example on
    both sides; for a class with fewer examples than splits to cut; for a limit below the number of classes.
    """
    validation = number("validation", validation, above=0, below=1)
    test = number("test", test, above=0, below=1)
    if limit is not None:
        n_classes = len(source.classes) if source.task == CLASSIFICATION else 2
        limit = integer("limit", limit, at_least=n_classes, hint=f"Each of the {n_classes} classes needs an example.")
    train, test_images, n = source.train, source.test, len(source.train)
    if test_images is None:
        train, test_images = _hold_out(train, source, round(test * n), derive_seed(seed, _TEST), "test")
    val = source.val
    if val is None:
        train, val = _hold_out(train, source, round(validation * n), derive_seed(seed, _VALIDATION), "validation")
    if limit is not None:
        share = limit / len(train)
        train = stratified_head(train, len(source.classes), limit)
        if source.test is None:
            test_images = _limit_stored(test_images, source, share)
        if source.val is None:
            val = _limit_stored(val, source, share)
    data = Splits(
        name=source.name,
        train=train,
        val=val,
        test=test_images,
        classes=source.classes,
        scale=source.scale,
        path=source.path,
        loading=source.loading,
        task=source.task,
        reading=source.reading,
    )
    return _standardize_targets(data) if source.task == REGRESSION else data


def _standardize_targets(data: Splits) -> Splits:
    """Return `data` with targets of mean 0 and variance 1 on the training split; a constant one is only centred."""
    targets = data.train.labels.double()
    mean, deviation = targets.mean(0), targets.std(0, correction=0)
    deviation = torch.where(deviation > 0, deviation, 1.0)
    named = {
        name: replace(images, labels=((images.labels.double() - mean) / deviation).float())
        for name, images in data.splits.items()
    }
    moments = torch.stack([mean, deviation])
    return replace(data, train=named["train"], val=named["val"], test=named["test"], target_moments=moments)


def strata(labels: Tensor, n_classes: int) -> Tensor:
    """Return a number from 0 for each example: examples of one number are alike in their labels.

    `labels` are (N,) classes, (N, C) zeros and ones, or (N, T) targets.
    """
    if not labels.is_floating_point():
        return labels
    if n_classes == labels.shape[1] and bool(((labels == 0) | (labels == 1)).all()):
        rarity = torch.where(labels > 0, labels.sum(0), torch.inf)  # of labels that do not hold, infinite
        return torch.where(labels.sum(1) > 0, rarity.argmin(1), n_classes)
    first = labels[:, 0].contiguous()
    edges = torch.quantile(
        first[:: max(1, len(first) // 100_000)].double(), torch.arange(1, QUANTILES).double() / QUANTILES
    )
    return torch.bucketize(first.double(), edges.double())


def allocate_proportionally(counts: list[int], total: int, *, keep: int) -> list[int]:
    """Divide `total` in proportion to `counts` by largest remainder, with 1 .. count - keep for each count above 0.

    The arithmetic is in integers throughout; of equal remainders the first comes first. Where `total` is smaller than
    the number of counts, it gives 1 to evenly spaced ones. The upper bounds must leave room for `total`.
    """
    present = [i for i, count in enumerate(counts) if count > keep]
    if total < len(present):
        chosen = {present[i * len(present) // total] for i in range(total)}
        return [int(i in chosen) for i in range(len(counts))]
    n = sum(counts)
    shares = [min(max(1, count * total // n), count - keep) if count > keep else 0 for count in counts]

    def deficit(i: int) -> int:  # positive: class i has less than its exact share
        return counts[i] * total - shares[i] * n

    while sum(shares) < total:
        shares[max((i for i in present if shares[i] < counts[i] - keep), key=deficit)] += 1
    while sum(shares) > total:
        shares[min((i for i in present if shares[i] > 1), key=deficit)] -= 1
    return shares


def stratified_head(images: Images, n_classes: int, limit: int) -> Images:
    """Return min(limit, N) examples: of every stratum the first in file order, in proportion, at least one each.

    With more strata than `limit`, evenly spaced strata have one each.
    """
    stratum = strata(images.labels, n_classes)
    counts = torch.bincount(stratum, minlength=n_classes).tolist()
    shares = torch.tensor(allocate_proportionally(counts, min(limit, len(images)), keep=0))
    return images.select(_indices(_rank_within(stratum, len(counts)) < shares[stratum]))


def _limit_stored(images: Images, source: Source, share: float) -> Images:
    """Return about a `share` of images that are not in memory, at least one of each class; others as they are."""
    if not isinstance(images.pixels, StoredPixels) or share >= 1:
        return images
    least = len(source.classes) if source.task == CLASSIFICATION else 2
    return stratified_head(images, len(source.classes), max(least, round(share * len(images))))


def _rank_within(stratum: Tensor, n_strata: int) -> Tensor:
    """Return for each example how many of its stratum come before it."""
    order = stratum.argsort(stable=True)
    counts = torch.bincount(stratum, minlength=n_strata)
    starts = counts.cumsum(0) - counts
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order)) - starts[stratum[order]]
    return rank


def _hold_out(images: Images, source: Source, total: int, seed: int, field: str) -> tuple[Images, Images]:
    """Return `images` without, and only, `total` examples drawn at random within each stratum; both in file order.

    Of images with groups, whole groups are drawn, about `total` examples.
    """
    stratum = strata(images.labels, len(source.classes))
    counts = torch.bincount(stratum, minlength=len(source.classes)).tolist()
    least, most = 1, len(images) - 1
    if source.task == CLASSIFICATION:
        for name, count in zip(source.classes, counts, strict=True):
            if count < 2:
                raise UserError(
                    f"class {name!r} has only {count} example(s) to divide between training and {field}, but needs one "
                    "in each. Add examples of it, or leave the class out.",
                    field=field,
                )
        least, most = len(counts), len(images) - len(counts)
    if not least <= total <= most:
        each = f"With {len(counts)} classes it" if source.task == CLASSIFICATION else "It"
        raise UserError(
            f"the {field} split would have {total} of {len(images)} examples. {each} must have {least} to {most}, so "
            "that each class is on both sides. Choose another fraction.",
            field=field,
        )
    keep = int(source.task == CLASSIFICATION)
    shares = allocate_proportionally(counts, total, keep=keep)
    if images.groups is not None:
        chosen = choose_groups(stratum.numpy(), images.groups.numpy(), shares, seed)
        selected = torch.from_numpy(chosen)
        return images.select(_indices(~selected)), images.select(_indices(selected))
    random = np.random.Generator(np.random.PCG64(seed))
    selected = torch.zeros(len(images), dtype=torch.bool)
    for label, share in enumerate(shares):
        members = torch.nonzero(stratum == label).flatten()
        selected[members[torch.from_numpy(random.permutation(len(members))[:share])]] = True
    return images.select(_indices(~selected)), images.select(_indices(selected))


def _indices(selected: Tensor) -> Tensor:
    """Return the positions at which a mask (N,) is true."""
    return torch.nonzero(selected).flatten()
