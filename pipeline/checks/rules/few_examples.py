from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.errors import list_names
from pipeline.signals.schema import Signals
from pipeline.validation import integer


@dataclass(frozen=True)
class FewExamples(Rule):
    """Anti-pattern: classes with so few examples that nothing can be said of them.

    Fires when a class has fewer than `min_train` training examples, or fewer than `min_val` for validation: the
    standard error of its accuracy is then up to 1 / (2 sqrt(n)).
    """

    check = "few_examples"
    reads = ("data",)
    needs = ("data.class_counts",)
    severities = ("info",)
    why = (
        "A network cannot learn what varies within a class from a few of its examples, and a score on a few more tells "
        "little about it."
    )
    source = "the binomial standard error of a share: sqrt(p (1 - p) / n), at most 1 / (2 sqrt(n))"
    advice = "Collect more examples of these classes, join them with others, or leave them out."
    code = "rare = [name for name, n in counts.items() if n < 10]"

    min_train: int
    min_val: int

    def __post_init__(self) -> None:
        integer("min_train", self.min_train, at_least=1)
        integer("min_val", self.min_val, at_least=1)

    def __call__(self, signals: Signals) -> Finding | None:
        data = signals.get("data")
        if data is None:
            return None
        counts, names = data["class_counts"], data["class_names"]
        limits = {"train": self.min_train, "val": self.min_val}
        few = {
            split: [names[label] for label, count in enumerate(counts[split]) if 0 < count < limit]
            for split, limit in limits.items()
            if split in counts
        }
        if not any(few.values()):
            return None
        parts = [f"fewer than {limits[split]} in {split}: {list_names(rare)}" for split, rare in few.items() if rare]
        return self.finding(
            "info",
            measured={f"{split}_classes": float(len(rare)) for split, rare in few.items()},
            expected=f"at least {self.min_train} training and {self.min_val} validation examples of each class",
            message=f"Classes with few examples: {'; '.join(parts)}.",
            step=0,
        )
