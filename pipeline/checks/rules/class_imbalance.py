from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals
from pipeline.validation import number


@dataclass(frozen=True)
class ClassImbalance(Rule):
    """Anti-pattern: a training split in which one class has nearly all examples, so that a constant answer scores well.

    Fires when (1) the largest class has at least `max_ratio` times the training examples of the smallest, or (2) the
    largest class has more than `max_share` of all training examples. Silent where epochs are balanced or the loss has
    class weights.
    """

    check = "class_imbalance"
    reads = ("data", "options")
    severities = ("warning",)
    why = (
        "The loss is a mean over examples, so rare classes hardly count, and accuracy hides it. Look at the accuracy "
        "of each class or the balanced accuracy; sample rare classes more often, or weight their loss "
        "(loss.weight=balanced)."
    )
    source = "Buda, Maki and Mazurowski 2018, A systematic study of the class imbalance problem"
    remedies = ("data.sampling=balanced",)
    advice = "Weight the loss of rare classes, or draw their examples more often."
    code = "loss_fn = nn.CrossEntropyLoss(weight=counts.sum() / (len(counts) * counts))"
    explains = (
        "missing_class",
        "loss_disagrees",
        "input_ignored",
        *LEARNING_RATE,
        *FAILS_TO_GENERALIZE,
    )

    max_ratio: float
    max_share: float

    def __post_init__(self) -> None:
        number("max_ratio", self.max_ratio, above=1)
        number("max_share", self.max_share, above=0, below=1)

    def __call__(self, signals: Signals) -> Finding | None:
        data, options = signals.get("data"), signals.get("options") or {}
        if data is None or options.get("data.sampling") == "balanced" or options.get("loss.weight") is not None:
            return None
        counts, names = data["class_counts"]["train"], data["class_names"]
        most, fewest, total = max(counts), min(counts), sum(counts)
        if len(counts) < 2 or not fewest or (most < self.max_ratio * fewest and most <= self.max_share * total):
            return None
        largest, smallest = names[counts.index(most)], names[counts.index(fewest)]
        return self.finding(
            "warning",
            measured={"ratio": most / fewest, "largest_share": most / total},
            expected=f"less than {self.max_ratio:g} times as many examples of the largest class as of the smallest, "
            f"and at most {self.max_share:.0%} of all",
            message=f"Class {largest!r} has {most} training examples and {smallest!r} has {fewest}, "
            f"{most / fewest:.3g} times fewer: answering {largest!r} to everything is right in {most / total:.1%}.",
            remedy=self.remedies,
            step=0,
        )
