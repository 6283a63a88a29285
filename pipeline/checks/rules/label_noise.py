from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Data, Neighbours, Signals
from pipeline.validation import integer, number


@dataclass(frozen=True)
class LabelNoise(Rule):
    """Anti-pattern: labels that do not belong to their images: shuffled, moved by one row, renumbered, or often wrong.

    Fires when, comparing each image's label with those of its nearest training images, (1) neighbours share a label no
    more often than by chance, within `sigmas` binomial standard errors: in training neither the nearest one nor all
    that were compared, in the validation or test split where training agrees; (2) the validation or test split calls a
    class what training calls another one: of at least `min_images` examples whose neighbours are of one training class,
    more than `max_renamed` have one other label; or (3) of the quarter of training examples with the clearest
    neighbourhoods more than `max_disagreement` have another label, and these labels are distributed over all classes
    (above `max_evenness`): natural mistakes go to few, similar classes.

    For (2) only classes count that training labels consistently, and of the examples that bear the other label more
    must look like the first class than in training, by `sigmas`: shirts that look like T-shirts do not count, not even
    in a split without T-shirts. For (3) only images (`min_features`) of many classes (`min_classes`) that form clear
    groups (share `min_clear`) count. The rule is silent with fewer than `min_per_class` training examples a class, or
    where a share is known less precisely than `max_standard_error`.
    """

    check = "label_noise"
    reads = ("data",)
    needs = ("data.neighbours",)
    severities = ("warning",)
    why = (
        "Wrong training labels can only be memorized, which happens late and spoils what was learned before. Wrong "
        "evaluation labels count as errors of a network that is right."
    )
    source = "Cover and Hart 1967, Nearest neighbor pattern classification; Northcutt et al. 2021, Confident learning"
    advice = "Look at images beside their labels, and keep both in one order from the file to the batch."
    code = "images, labels = images[order], labels[order]"
    explains = (
        "missing_class",
        "loss_disagrees",
        "input_ignored",
        *LEARNING_RATE,
        *FAILS_TO_GENERALIZE,
        "test_below_validation",
    )

    sigmas: float
    max_standard_error: float
    min_per_class: int
    min_images: int
    max_renamed: float
    max_disagreement: float
    max_evenness: float
    min_clear: float
    min_classes: int
    min_features: int

    def __post_init__(self) -> None:
        number("sigmas", self.sigmas, above=0)
        number("max_standard_error", self.max_standard_error, above=0)
        integer("min_per_class", self.min_per_class, at_least=1)
        integer("min_images", self.min_images, at_least=1)
        for name in ("max_renamed", "max_disagreement", "max_evenness", "min_clear"):
            number(name, getattr(self, name), above=0, below=1)
        integer("min_classes", self.min_classes, at_least=3)
        integer("min_features", self.min_features, at_least=1)

    def __call__(self, signals: Signals) -> Finding | None:
        data = signals.get("data")
        if data is None or "train" not in data["neighbours"]:
            return None
        train = data["neighbours"]["train"]
        chance, n = train["chance"], train["examples"]
        if n < self.min_per_class * len(data["class_names"]) or _error(chance, n) > self.max_standard_error:
            return None
        votes = n * train["nearest"]
        if not (
            _exceeds(train["agreement"], chance, n, self.sigmas)
            or _exceeds(train["vote_agreement"], chance, votes, self.sigmas)
        ):
            return self._unrelated("train", train)
        for split, other in data["neighbours"].items():
            if split == "train":
                continue
            expected = max(train["agreement"] - other["chance"], 0.0) / 2 + other["chance"]
            if not _exceeds(other["agreement"], other["chance"], other["examples"], self.sigmas) and _exceeds(
                expected, other["agreement"], other["examples"], self.sigmas
            ):
                return self._unrelated(split, other)
            if finding := self._renamed(split, train, other, data):
                return finding
        return self._random(train, data)

    def _unrelated(self, split: str, neighbours: Neighbours) -> Finding:
        agreement, chance, n = neighbours["agreement"], neighbours["chance"], neighbours["examples"]
        return self.finding(
            "warning",
            measured={"agreement": agreement, "chance": chance, "examples": float(n)},
            expected=f"labels that agree more often than by chance ({chance:.1%}), by {self.sigmas:g} standard errors",
            message=f"The labels of the {split} split have nothing to do with its pixels: of {n} examples "
            f"{agreement:.1%} have the label of the most similar training image; shuffled labels give {chance:.1%}. "
            "Images and labels were shuffled, sorted or shifted against each other, or the images are noise.",
            where=split,
            step=0,
        )

    def _renamed(self, split: str, train: Neighbours, other: Neighbours, data: Data) -> Finding | None:
        """Return a finding about the training class most of whose look-alikes in `split` have one other label."""
        renamed = []
        names = data["class_names"]
        rows = zip(train.get("clear_labels", ()), other.get("clear_labels", ()), strict=True)
        for majority, (known, labels) in enumerate(rows):
            total, label = sum(labels), max(range(len(labels)), key=labels.__getitem__)
            is_consistent = sum(known) > 0 and known[majority] > self.max_renamed * sum(known)
            if label == majority or total < self.min_images or not is_consistent:
                continue
            share = labels[label] / total
            bearers = sum(row[label] for row in other["clear_labels"])
            usual = (known[label] + 1) / (sum(row[label] for row in train["clear_labels"]) + 2)  # Laplace's estimate
            if share > self.max_renamed and _exceeds(labels[label] / bearers, usual, bearers, self.sigmas):
                renamed.append((share, majority, label, total))
        if not renamed:
            return None
        share, majority, label, total = max(renamed)
        others = f" {len(renamed)} of {len(names)} classes are affected." if len(renamed) > 1 else ""
        return self.finding(
            "warning",
            measured={"share": share, "examples": float(total), "classes": float(len(renamed))},
            expected=f"at most {self.max_renamed:.0%} of the images that look like one training class with one other "
            "label",
            message=f"In the {split} split {names[majority]!r} seems to be labelled {names[label]!r}: {share:.0%} of "
            f"the {total} images that look like the training images of {names[majority]!r} have that label.{others} "
            "The labels were shifted, swapped or numbered in another order than in the training split.",
            where=split,
            step=0,
        )

    def _random(self, train: Neighbours, data: Data) -> Finding | None:
        wrong, evenness = train["pure_disagreement"], train["evenness"]
        if len(data["class_names"]) < self.min_classes or data["features"] < self.min_features or evenness is None:
            return None
        if train["clear"] < self.min_clear or wrong <= self.max_disagreement or evenness <= self.max_evenness:
            return None
        return self.finding(
            "warning",
            measured={"pure_disagreement": wrong, "evenness": evenness, "clear": train["clear"]},
            expected=f"at most {self.max_disagreement:.0%} of other labels amid the clearest groups of similar images",
            message=f"About {wrong:.0%} of the training labels look random: so many images have another label than the "
            "clear group of similar images around them, and these labels are distributed over all classes. The cause "
            "is a broken file, a partial shuffle or careless annotation: natural mistakes go to similar classes.",
            where="train",
            step=0,
        )


def _exceeds(share: float, level: float, n: int, sigmas: float) -> bool:
    """Return whether a share of `n` exceeds `level` by `sigmas` of its binomial standard errors."""
    return share - level > sigmas * _error(level, n)


def _error(share: float, n: int) -> float:
    """Return sqrt(p (1 - p) / n)."""
    return math.sqrt(max(share * (1 - share), 0.0) / n)
