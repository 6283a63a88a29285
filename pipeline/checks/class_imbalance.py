from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.consequences import HARM, RATE
from pipeline.checks.finding import Finding, Signals
from pipeline.fields import real


@dataclass(frozen=True)
class ClassImbalance:
    """Anti-pattern: a training split of which one class has nearly all, where a constant answer scores well.

    Rule: the largest class has less than `ratio` times the examples of the smallest, and at most `share` of all.
    """

    ratio: float
    share: float
    explains: ClassVar[tuple[str, ...]] = ("missing_class", "loss_disagrees", "input_ignored", *RATE, *HARM)

    def __post_init__(self) -> None:
        real("ratio", self.ratio, above=1)
        real("share", self.share, above=0, below=1)

    def __call__(self, signals: Signals) -> Finding | None:
        data = signals.get("data")
        if data is None:
            return None
        counts, names = data["class_counts"]["train"], data["class_names"]
        most, least, total = max(counts), min(counts), sum(counts)
        if not least or (most < self.ratio * least and most <= self.share * total):
            return None
        largest, smallest = names[counts.index(most)], names[counts.index(least)]
        return Finding(
            check="class_imbalance",
            severity="warning",
            measured={"ratio": most / least, "largest_share": most / total},
            expected=f"less than {self.ratio:g} times as many examples of the largest class as of the smallest, and at "
            f"most {self.share:.0%} of all",
            message=f"Class {largest!r} has {most} training examples and {smallest!r} has {least}, {most / least:.3g} "
            f"times fewer: answering {largest!r} to everything is right in {most / total:.1%}.",
            why="The loss is a mean over examples, so rare classes hardly count and accuracy hides it. Look at the "
            "accuracy of each class; sample rare classes more often, or weight their loss.",
            remedy=(),
            source="Buda, Maki and Mazurowski 2018, A systematic study of the class imbalance problem",
            step=0,
        )
