from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

from pipeline.checks.consequences import HARM, RATE
from pipeline.checks.finding import Finding, Signals
from pipeline.fields import real, whole

_SOURCE = "Cover and Hart 1967, Nearest neighbor pattern classification; Northcutt et al. 2021, Confident learning"


@dataclass(frozen=True)
class LabelNoise:
    """Anti-pattern: labels that do not belong to their images: shuffled, moved by one row, renumbered, or many wrong.

    Rule: of each image's nearest neighbours among the training images,
    - neighbours share a label more often than chance, by `errors` binomial standard errors: in training the nearest
      one or all that were asked, where examples and `per_class` suffice to know a share to `resolution`; and where they
      do so in training, in the validation and test splits too;
    - no class of the validation or test split is what training calls another one: of the examples amid one training
      class (at least `images`) at most `renamed` bear one other label. Asked only of classes that training labels
      itself consistently, so that classes which look alike (shirts and T-shirts) do not count;
    - among the quarter of training examples with the clearest neighbourhoods hardly any (`disagreement`) bears another
      label. Wrong labels that are natural go to few, similar classes; random ones go evenly (`evenness`) to all. Asked
      only of images (`features`) of many classes (`classes`) that form clear groups (share `clear`).
    """

    errors: float
    resolution: float
    per_class: int
    images: int
    renamed: float
    disagreement: float
    evenness: float
    clear: float
    classes: int
    features: int
    explains: ClassVar[tuple[str, ...]] = ("missing_class", "loss_disagrees", "input_ignored", *RATE, *HARM)

    def __post_init__(self) -> None:
        real("errors", self.errors, above=0)
        real("resolution", self.resolution, above=0)
        whole("per_class", self.per_class, at_least=1)
        whole("images", self.images, at_least=1)
        for name in ("renamed", "disagreement", "evenness", "clear"):
            real(name, getattr(self, name), above=0, below=1)
        whole("classes", self.classes, at_least=3)
        whole("features", self.features, at_least=1)

    def __call__(self, signals: Signals) -> Finding | None:
        data = signals.get("data")
        if data is None or "train" not in data["neighbours"]:
            return None
        asked: Mapping[str, Mapping[str, Any]] = data["neighbours"]
        train = asked["train"]
        chance, n = train["chance"], train["examples"]
        if n < self.per_class * len(data["class_names"]) or _error(chance, n) > self.resolution:
            return None
        votes = n * train["nearest"]
        if not (
            _above(train["agreement"], chance, n, self.errors)
            or _above(train["vote_agreement"], chance, votes, self.errors)
        ):
            return self._unrelated("train", train)
        for split, other in asked.items():
            if split == "train":
                continue
            expected = max(train["agreement"] - other["chance"], 0.0) / 2 + other["chance"]
            if not _above(other["agreement"], other["chance"], other["examples"], self.errors) and _above(
                expected, other["agreement"], other["examples"], self.errors
            ):
                return self._unrelated(split, other)
            if finding := self._renamed(split, train, other, data["class_names"]):
                return finding
        return self._random(train, data)

    def _unrelated(self, split: str, asked: Mapping[str, Any]) -> Finding:
        agreement, chance, n = asked["agreement"], asked["chance"], asked["examples"]
        return _finding(
            measured={"agreement": agreement, "chance": chance, "examples": float(n)},
            expected=f"labels that agree more often than by chance ({chance:.1%}), by {self.errors:g} standard errors",
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
            consistent = sum(known) > 0 and known[said] > self.renamed * sum(known)
            if own == said or total < self.images or not consistent or not labels[own] > self.renamed * total:
                continue
            usual = (known[own] + 1) / (sum(known) + 2)  # Laplace's estimate of training's share with that label
            if _above(labels[own] / total, usual, total, self.errors):
                found.append((labels[own] / total, said, own, total))
        if not found:
            return None
        share, said, own, total = max(found)
        others = f" So it is with {len(found)} of {len(names)} classes." if len(found) > 1 else ""
        return _finding(
            measured={"share": share, "examples": float(total), "classes": float(len(found))},
            expected=f"at most {self.renamed:.0%} of the images amid one training class with one other label",
            message=f"In the {split} split {names[said]!r} seems to be labelled {names[own]!r}: {share:.0%} of the "
            f"{total} images that look like the training images of {names[said]!r} bear that label.{others}",
            why="Labels of that class were shifted, swapped or numbered in another order than in the training split; "
            "each such image counts as an error of a network that is right.",
            where=split,
        )

    def _random(self, train: Mapping[str, Any], data: Mapping[str, Any]) -> Finding | None:
        wrong, evenness = train["pure_disagreement"], train["evenness"]
        if len(data["class_names"]) < self.classes or data["features"] < self.features or evenness is None:
            return None
        if train["clear"] < self.clear or wrong <= self.disagreement or evenness <= self.evenness:
            return None
        return _finding(
            measured={"pure_disagreement": wrong, "evenness": evenness, "clear": train["clear"]},
            expected=f"at most {self.disagreement:.0%} of other labels amid the clearest groups of similar images",
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
