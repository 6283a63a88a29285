from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding, Signals
from pipeline.validation import number


@dataclass(frozen=True)
class ClassImbalance:
    """Anti-pattern: a training split of which one class has nearly all, where a constant answer scores well.

    Rule: the largest class has less than `max_ratio` times the examples of the smallest, and at most `max_share` of all.
    """

    max_ratio: float
    max_share: float
    explains: ClassVar[tuple[str, ...]] = (
        "missing_class",
        "loss_disagrees",
        "input_ignored",
        *LEARNING_RATE,
        *FAILS_TO_GENERALIZE,
    )

    def __post_init__(self) -> None:
        number("max_ratio", self.max_ratio, above=1)
        number("max_share", self.max_share, above=0, below=1)

    def __call__(self, signals: Signals) -> Finding | None:
        data = signals.get("data")
        if data is None:
            return None
        counts, names = data["class_counts"]["train"], data["class_names"]
        most, least, total = max(counts), min(counts), sum(counts)
        if not least or (most < self.max_ratio * least and most <= self.max_share * total):
            return None
        largest, smallest = names[counts.index(most)], names[counts.index(least)]
        return Finding(
            check="class_imbalance",
            severity="warning",
            measured={"ratio": most / least, "largest_share": most / total},
            expected=f"less than {self.max_ratio:g} times as many examples of the largest class as of the smallest, and at "
            f"most {self.max_share:.0%} of all",
            message=f"Class {largest!r} has {most} training examples and {smallest!r} has {least}, {most / least:.3g} "
            f"times fewer: answering {largest!r} to everything is right in {most / total:.1%}.",
            why="The loss is a mean over examples, so rare classes hardly count and accuracy hides it. Look at the "
            "accuracy of each class; sample rare classes more often, or weight their loss.",
            remedy=(),
            source="Buda, Maki and Mazurowski 2018, A systematic study of the class imbalance problem",
            step=0,
        )
