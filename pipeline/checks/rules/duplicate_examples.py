from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.finding import Finding, Signals
from pipeline.validation import integer, number


@dataclass(frozen=True)
class DuplicateExamples:
    """Anti-pattern: validation or test images that are also trained on, so that learning by heart passes for skill.

    Rule: hardly any image of the validation and test splits is, to the byte, a training image. CIFAR-10 has 3.3 % of
    near duplicates between test and train (Barz and Denzler 2020), of exact ones next to none. Rows of a table with few
    different values repeat by chance and are left alone: `min_bits` is what an image must be able to tell apart.
    """

    warning: float
    failure: float
    min_copies: int
    min_bits: float
    explains: ClassVar[tuple[str, ...]] = ()

    def __post_init__(self) -> None:
        number("warning", self.warning, above=0, below=1)
        number("failure", self.failure, at_least=self.warning, below=1)
        integer("min_copies", self.min_copies, at_least=1)
        number("min_bits", self.min_bits, at_least=0)

    def __call__(self, signals: Signals) -> Finding | None:
        data = signals.get("data")
        if data is None or data["value_bits"] < self.min_bits:
            return None
        sizes = {split: sum(counts) for split, counts in data["class_counts"].items()}
        shares = {
            split: count / sizes[split] for split, count in data["duplicates"].items() if count >= self.min_copies
        }
        if not shares or max(shares.values()) <= self.warning:
            return None
        worst = max(shares, key=lambda split: shares[split])
        share, count = shares[worst], data["duplicates"][worst]
        return Finding(
            check="duplicate_examples",
            severity="failure" if share > self.failure else "warning",
            measured={"share": share, "duplicates": float(count), "examples": float(sizes[worst])},
            expected=f"at most {self.warning:.0%} of an evaluation split among the training images",
            message=f"{count} of {sizes[worst]} {worst} images ({share:.1%}) are, to the byte, training images.",
            why="What was trained on can be learned by heart, so the score on these images tells nothing of new ones. "
            "Usual causes: splits cut from a file with repeats, oversampling before splitting, a folder read twice.",
            remedy=(),
            source="Barz and Denzler 2020, Do we train on test data?",
            where=worst,
            step=0,
        )
