from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals
from pipeline.validation import integer, number


@dataclass(frozen=True)
class DuplicateExamples(Rule):
    """Anti-pattern: validation or test images that are also trained on, so that memorizing looks like generalizing.

    Fires when more than `warning` of the validation or test split, and at least `min_copies` images, are byte for byte
    training images; above `failure` it is a failure. CIFAR-10 has 3.3 % of near duplicates between test and train
    (Barz and Denzler 2020), and hardly any exact ones. Data with less than `min_bits` of information are left out:
    rows of a table with few different values repeat by chance.
    """

    check = "duplicate_examples"
    reads = ("data",)
    severities = ("failure", "warning")
    why = (
        "What was trained on can be memorized, so the score on these images says nothing about new ones. Usual causes: "
        "splits cut from a file with repeats, oversampling before splitting, a folder that is read twice."
    )
    source = "Barz and Denzler 2020, Do we train on test data?"
    advice = "Remove repeated images before the examples are split."
    code = "rows = np.unique(images.reshape(len(images), -1), axis=0, return_index=True)[1]"
    explains = ("near_duplicates", "validation_above_training")

    warning: float
    failure: float
    min_copies: int
    min_bits: float

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
        return self.finding(
            "failure" if share > self.failure else "warning",
            measured={"share": share, "duplicates": float(count), "examples": float(sizes[worst])},
            expected=f"at most {self.warning:.0%} of an evaluation split among the training images",
            message=f"{count} of {sizes[worst]} {worst} images ({share:.1%}) are byte for byte training images.",
            where=worst,
            step=0,
        )
