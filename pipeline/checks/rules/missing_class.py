from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.errors import list_names
from pipeline.signals.schema import Signals


@dataclass(frozen=True)
class MissingClass(Rule):
    """Anti-pattern: a split without a single example of a class, whose accuracy says nothing about that class.

    Fires when a class has no example in the validation split, or in the test split where there is one. (A class without
    training examples is an error before anything is measured.)
    """

    check = "missing_class"
    reads = ("data",)
    severities = ("warning",)
    why = (
        "The score says nothing about a class without examples. A class that occurs in training only was often renamed "
        "or renumbered, or cut off by a sorted split."
    )
    source = "Karpathy, A Recipe for Training Neural Networks (become one with the data)"
    advice = "Split the examples of each class by the same share."
    code = "train_rows, val_rows = train_test_split(rows, test_size=0.1, stratify=labels)"

    def __call__(self, signals: Signals) -> Finding | None:
        data = signals.get("data")
        if data is None:
            return None
        names = data["class_names"]
        missing_by_split = {
            split: [names[label] for label, count in enumerate(counts) if not count]
            for split, counts in data["class_counts"].items()
            if split != "train"
        }
        missing_by_split = {split: missing for split, missing in missing_by_split.items() if missing}
        if not missing_by_split:
            return None
        worst = max(missing_by_split, key=lambda split: len(missing_by_split[split]))
        count = len(missing_by_split[worst])
        listed = "; ".join(f"{split}: {list_names([*map(repr, absent)])}" for split, absent in missing_by_split.items())
        return self.finding(
            "warning",
            measured={"missing": float(count), "classes": float(len(names))},
            expected="examples of every class in every split",
            message=f"{count} of {len(names)} classes have no example in the {worst} split ({listed}).",
            where=worst,
            step=0,
        )
