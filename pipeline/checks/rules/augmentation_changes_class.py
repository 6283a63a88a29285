from __future__ import annotations

import math
from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Augmented, Signals
from pipeline.validation import number


@dataclass(frozen=True)
class AugmentationChangesClass(Rule):
    """Anti-pattern: varying images so that one class becomes another: digits turned over, arrows mirrored.

    Fires when varied training images no longer look like their own class: (1) of a class that its neighbours tell well
    without augmentation (`min_unvaried`), `min_moved` more of the varied images, beyond `sigmas` standard errors, have
    neighbours of one other class among the unvaried images, and lie there: they close `min_closed` of the gap between
    the two classes (mirrored shoes are less far from bags than from shoes, and yet far from both); or (2) as a failure,
    among varied and unvaried images together, all classes keep less than `min_kept` of their agreement above chance.
    """

    check = "augmentation_changes_class"
    reads = ("data",)
    needs = ("data.augmented",)
    severities = ("failure", "warning")
    why = (
        "A varied image keeps its label. Where it looks like another class, it teaches that both labels are right for "
        "one image, and the best that a network can do is to give each of them half."
    )
    source = "Shorten and Khoshgoftaar 2019, A survey on image data augmentation (label-preserving transformations)"
    remedies = ("augmentation=none",)
    advice = "Leave out the variation that changes what an image shows, or change the label with it."
    code = "augmentation = NoAugmentation()"
    explains = (*LEARNING_RATE, *FAILS_TO_GENERALIZE, "validation_above_training")

    min_unvaried: float
    min_moved: float
    min_closed: float
    min_kept: float
    sigmas: float

    def __post_init__(self) -> None:
        number("min_unvaried", self.min_unvaried, above=0, at_most=1)
        for name in ("min_moved", "min_closed", "min_kept"):
            number(name, getattr(self, name), above=0, below=1)
        number("sigmas", self.sigmas, above=0)

    def __call__(self, signals: Signals) -> Finding | None:
        data = signals.get("data", {})
        augmented = data.get("augmented")
        if not augmented:
            return None
        names, moved = data["class_names"], self._moved(augmented)
        destroyed = self._is_destroyed(augmented)
        if not moved and not destroyed:
            return None
        agreement, before = augmented["agreement"], augmented["unvaried_agreement"]
        message = (
            f"Of the images most like the varied training images {agreement:.1%} have their class, where "
            f"{before:.1%} have it without augmentation and {augmented['chance']:.1%} by chance."
        )
        measured = {"agreement": agreement, "unvaried_agreement": before, "chance": augmented["chance"]}
        if moved:
            share, own, other = max(moved)
            more = f" {len(moved)} of {len(names)} classes are affected." if len(moved) > 1 else ""
            message = (
                f"Varied images of {names[own]!r} look like {names[other]!r}: {share:.0%} of them are most like "
                f"unvaried images of that class.{more} {message}"
            )
            measured |= {"moved": share, "classes": float(len(moved))}
        return self.finding(
            "failure" if destroyed else "warning",
            measured=measured | {"examples": float(augmented["examples"])},
            expected="varied images that look like their own class",
            message=message,
            remedy=("augmentation=none",),
            where="train",
            step=0,
        )

    def _moved(self, augmented: Augmented) -> list[tuple[float, int, int]]:
        """Return the share that goes over, the class and the class it looks like, for each class that changes."""
        rows = zip(
            augmented.get("class_examples", ()),
            augmented.get("called", ()),
            augmented.get("unvaried_called", ()),
            augmented.get("gap_closed", ()),
            strict=True,
        )
        moved = []
        for own, (n, after, before, closed) in enumerate(rows):
            if not n or (before[own] or 0) < self.min_unvaried:
                continue
            shares = [share or 0.0 for share in after]
            other = max((c for c in range(len(shares)) if c != own), key=shares.__getitem__)
            share, usual, gap = shares[other], before[other] or 0.0, closed[other]
            error = math.hypot(_error(share, n), _error(usual, n))
            if gap is not None and gap > self.min_closed and share - usual > max(self.min_moved, self.sigmas * error):
                moved.append((share, own, other))
        return moved

    def _is_destroyed(self, augmented: Augmented) -> bool:
        chance, before, n = augmented["chance"], augmented["unvaried_agreement"], augmented["examples"]
        above = before - chance
        if above < (self.min_unvaried - chance) / 2 or above <= 0:
            return False
        error = math.hypot(_error(augmented["agreement"], n), _error(before, n))
        lost = before - augmented["agreement"]
        return lost > (1 - self.min_kept) * above and lost > self.sigmas * error


def _error(share: float, n: int) -> float:
    """Return the binomial standard error of a share of n, with one right and one wrong example added."""
    p = (min(max(share, 0.0), 1.0) * n + 1) / (n + 2)
    return math.sqrt(p * (1 - p) / n)
