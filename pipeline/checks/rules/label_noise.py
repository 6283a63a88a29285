from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding, Signals
from pipeline.validation import integer, number

_SOURCE = "Cover and Hart 1967, Nearest neighbor pattern classification; Northcutt et al. 2021, Confident learning"


@dataclass(frozen=True)
class LabelNoise:
    """Anti-pattern: labels that do not belong to their images: shuffled, moved by one row, renumbered, or many wrong.

    Rule: of each image's nearest neighbours among the training images,
    - neighbours share a label more often than chance, by `sigmas` binomial standard errors: in training the nearest
      one or all that were asked, where examples and `min_per_class` suffice to know a share to `max_standard_error`; and where they
      do so in training, in the validation and test splits too;
    - no class of the validation or test split is what training calls another one: of the examples amid one training
      class (at least `min_images`) at most `max_renamed` bear one other label. Asked only of classes that training labels
      itself consistently, so that classes which look alike (shirts and T-shirts) do not count;
    - among the quarter of training examples with the clearest neighbourhoods hardly any (`max_disagreement`) bears another
      label. Wrong labels that are natural go to few, similar classes; random ones go evenly (`max_evenness`) to all. Asked
      only of images (`min_features`) of many classes (`min_classes`) that form clear groups (share `min_clear`).
    """

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
    explains: ClassVar[tuple[str, ...]] = (
        "missing_class",
        "loss_disagrees",
        "input_ignored",
        *LEARNING_RATE,
        *FAILS_TO_GENERALIZE,
    )

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
        asked: Mapping[str, Mapping[str, Any]] = data["neighbours"]
        train = asked["train"]
        chance, n = train["chance"], train["examples"]
        if n < self.min_per_class * len(data["class_names"]) or _error(chance, n) > self.max_standard_error:
            return None
        votes = n * train["nearest"]
        if not (
            _above(train["agreement"], chance, n, self.sigmas)
            or _above(train["vote_agreement"], chance, votes, self.sigmas)
        ):
            return self._unrelated("train", train)
        for split, other in asked.items():
            if split == "train":
                continue
            expected = max(train["agreement"] - other["chance"], 0.0) / 2 + other["chance"]
            if not _above(other["agreement"], other["chance"], other["examples"], self.sigmas) and _above(
                expected, other["agreement"], other["examples"], self.sigmas
            ):
                return self._unrelated(split, other)
            if finding := self._renamed(split, train, other, data["class_names"]):
                return finding
        return self._random(train, data)

    def _unrelated(self, split: str, asked: Mapping[str, Any]) -> Finding:
        agreement, chance, n = asked["agreement"], asked["chance"], asked["examples"]
        return _finding(
            measured={"agreement": agreement, "chance": chance, "examples": float(n)},
            expected=f"labels that agree more often than by chance ({chance:.1%}), by {self.sigmas:g} standard errors",
            message=f"The labels of the {split} split have nothing to do with its pixels: of {n} images "
            f"{agreement:.1%} have the label of the most similar training image; shuffled labels give {chance:.1%}.",
            why="Images and labels were shuffled or sorted apart, shifted against each other, or the images hold "
            "nothing but noise. Such labels can be learned by heart, and nothing else.",
            where=split,
        )

    def _renamed(
        self, split: str, train: Mapping[str, Any], other: Mapping[str, Any], names: list[str]
    ) -> Finding | None:
        """The class amid which most examples bear one other label; see the rule."""
        found = []
        rows = zip(train.get("clear_labels", ()), other.get("clear_labels", ()), strict=True)
        for said, (known, labels) in enumerate(rows):
            total, own = sum(labels), max(range(len(labels)), key=labels.__getitem__)
            consistent = sum(known) > 0 and known[said] > self.max_renamed * sum(known)
            if own == said or total < self.min_images or not consistent or not labels[own] > self.max_renamed * total:
                continue
            usual = (known[own] + 1) / (sum(known) + 2)  # Laplace's estimate of training's share with that label
            if _above(labels[own] / total, usual, total, self.sigmas):
                found.append((labels[own] / total, said, own, total))
        if not found:
            return None
        share, said, own, total = max(found)
        others = f" So it is with {len(found)} of {len(names)} classes." if len(found) > 1 else ""
        return _finding(
            measured={"share": share, "examples": float(total), "classes": float(len(found))},
            expected=f"at most {self.max_renamed:.0%} of the images amid one training class with one other label",
            message=f"In the {split} split {names[said]!r} seems to be labelled {names[own]!r}: {share:.0%} of the "
            f"{total} images that look like the training images of {names[said]!r} bear that label.{others}",
            why="Labels of that class were shifted, swapped or numbered in another order than in the training split; "
            "each such image counts as an error of a network that is right.",
            where=split,
        )

    def _random(self, train: Mapping[str, Any], data: Mapping[str, Any]) -> Finding | None:
        wrong, evenness = train["pure_disagreement"], train["evenness"]
        if len(data["class_names"]) < self.min_classes or data["features"] < self.min_features or evenness is None:
            return None
        if train["clear"] < self.min_clear or wrong <= self.max_disagreement or evenness <= self.max_evenness:
            return None
        return _finding(
            measured={"pure_disagreement": wrong, "evenness": evenness, "clear": train["clear"]},
            expected=f"at most {self.max_disagreement:.0%} of other labels amid the clearest groups of similar images",
            message=f"About {wrong:.0%} of the training labels look random: so many images bear another label than the "
            "clear group of similar images around them, and these labels are spread over all classes alike.",
            why="Natural mistakes go to similar classes; labels that go to all alike come from a broken file, a "
            "partial shuffle or careless annotation. They are learned by heart late and spoil what was learned before.",
            where="train",
        )


def _above(share: float, level: float, n: int, errors: float) -> bool:
    """Whether a share of n exceeds `level` by so many of its binomial standard errors."""
    return share - level > errors * _error(level, n)


def _error(share: float, n: int) -> float:
    """sqrt(p (1 - p) / n)."""
    return math.sqrt(max(share * (1 - share), 0.0) / n)


def _finding(**fields: Any) -> Finding:
    return Finding(check="label_noise", severity="warning", remedy=(), source=_SOURCE, step=0, **fields)
