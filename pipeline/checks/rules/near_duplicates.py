from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.errors import list_names
from pipeline.signals.schema import NearCopies, Signals
from pipeline.validation import number


@dataclass(frozen=True)
class NearDuplicates(Rule):
    """Anti-pattern: several pictures of one object in several splits: overlapping crops, resized or re-encoded copies.

    Fires when more than `warning` of the sampled validation or test images are copies, by `sigmas` binomial standard
    errors. An image is one if (1) the most similar training image, shifted, mirrored or turned, leaves at most
    `max_unlike` of its detail unexplained, and at most `max_ratio` of what a training image of the usual rank leaves;
    (2) that is nearer than images of a set with so few dimensions come by chance (`chance`); and (3) most of its pixels
    have detail (`min_detailed`): drawings on plain ground repeat by nature. The faintest of their detail, such as
    grain, must agree as well (`min_faint_agreement`), as in copies only. Above `failure` it is a failure.
    """

    check = "near_duplicates"
    reads = ("data",)
    needs = ("data.near_copies",)
    severities = ("failure", "warning")
    why = (
        "What was trained on can be recognized, so the score on these images says nothing about new objects. Usual "
        "causes: crops, video frames or augmented copies were made first and split afterwards."
    )
    source = "Barz and Denzler 2020, Do we train on test data?; Facco et al. 2017 (ratios of nearest distances)"
    advice = "Split by object, patient, video or source file, and crop, resize and augment afterwards."
    code = 'np.savez("data.npz", x_train=x, y_train=y, groups=object_of_each_image)'
    explains = ("validation_above_training", "test_below_validation")

    warning: float
    failure: float
    max_unlike: float
    max_ratio: float
    chance: float
    min_detailed: float
    min_faint_agreement: float
    sigmas: float

    def __post_init__(self) -> None:
        number("warning", self.warning, above=0, below=1)
        number("failure", self.failure, at_least=self.warning, below=1)
        for name in ("max_unlike", "max_ratio", "chance", "min_detailed", "min_faint_agreement"):
            number(name, getattr(self, name), above=0, below=1)
        number("sigmas", self.sigmas, above=0)

    def __call__(self, signals: Signals) -> Finding | None:
        data = signals.get("data")
        if data is None:
            return None
        copies = {split: self._copies(near) for split, near in data.get("near_copies", {}).items()}
        shares = {split: len(found) / data["near_copies"][split]["examples"] for split, found in copies.items()}
        if not shares:
            return None
        worst = max(shares, key=lambda split: shares[split])
        near, share = data["near_copies"][worst], shares[worst]
        error = math.sqrt(self.warning * (1 - self.warning) / near["examples"])
        agreement = sum(near["faint_agreement"][i] for i in copies[worst]) / max(len(copies[worst]), 1)
        if share <= self.warning + self.sigmas * error or agreement < self.min_faint_agreement:
            return None
        pairs = [f"{worst} {near['pairs'][i][0]} and train {near['pairs'][i][1]}" for i in copies[worst]]
        searched = "" if near["train_share"] == 1 else f" (of which {near['train_share']:.0%} were looked at)"
        return self.finding(
            "failure" if share > self.failure else "warning",
            measured={"share": share, "copies": float(len(copies[worst])), "examples": float(near["examples"])},
            expected=f"at most {self.warning:.1%} of an evaluation split with a training image of the same object",
            message=f"{len(copies[worst])} of {near['examples']} sampled {worst} images ({share:.0%}) are training "
            f"images{searched} that were shifted, resized, re-encoded, mirrored or brightened: "
            f"{list_names(pairs, separator='; ')}.",
            where=worst,
            step=0,
        )

    def _copies(self, near: NearCopies) -> list[int]:
        by_chance = (self.chance / near["usual_rank"]) ** max(near["decay"], 0.0)
        ratio = min(self.max_ratio, by_chance)
        rows = zip(near["unlike"], near["usually_unlike"], near["detailed"], strict=True)
        return [
            i
            for i, (unlike, usually, detailed) in enumerate(rows)
            if unlike <= self.max_unlike and unlike <= ratio * usually and detailed >= self.min_detailed
        ]
