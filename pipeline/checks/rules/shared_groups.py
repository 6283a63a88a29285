from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals
from pipeline.validation import integer, number


@dataclass(frozen=True)
class SharedGroups(Rule):
    """Anti-pattern: one patient, object or scene in the training split and in an evaluation split.

    Fires when more than `warning` of the validation or test split, and at least `min_examples` examples, belong to a
    group (`data.groups`) that has training examples too; above `failure` it is a failure. Splits that the program cuts
    off never share a group, so the splits were given.
    """

    check = "shared_groups"
    reads = ("data",)
    needs = ("data.shared_groups",)
    severities = ("failure", "warning")
    why = (
        "Several images of one object share its light, background and peculiarities. A network that remembers the "
        "object is right without knowing the class, so the score says little about new objects."
    )
    source = "Kaufman et al. 2012, Leakage in data mining; Roberts et al. 2017, Cross-validation strategies"
    advice = (
        "Give all images of an object to one split; or leave the splits out of the data, to have them cut by group."
    )
    code = "train, test = next(GroupShuffleSplit(test_size=0.2).split(x, y, groups))"
    explains = ("duplicate_examples", "near_duplicates", "validation_above_training", "test_below_validation")

    warning: float
    failure: float
    min_examples: int

    def __post_init__(self) -> None:
        number("warning", self.warning, above=0, below=1)
        number("failure", self.failure, at_least=self.warning, below=1)
        integer("min_examples", self.min_examples, at_least=1)

    def __call__(self, signals: Signals) -> Finding | None:
        data = signals.get("data", {})
        sizes = {split: sum(counts) for split, counts in data.get("class_counts", {}).items()}
        shared = data.get("shared_groups", {})
        shares = {split: n / sizes[split] for split, n in shared.items() if n >= self.min_examples and split in sizes}
        if not shares or max(shares.values()) <= self.warning:
            return None
        worst = max(shares, key=lambda split: shares[split])
        return self.finding(
            "failure" if shares[worst] > self.failure else "warning",
            measured={"share": shares[worst], "shared": float(shared[worst]), "examples": float(sizes[worst])},
            expected=f"at most {self.warning:.0%} of an evaluation split of groups that are trained on",
            message=f"{shared[worst]} of {sizes[worst]} {worst} examples ({shares[worst]:.1%}) belong to groups that "
            "have training examples too.",
            where=worst,
            step=0,
        )
