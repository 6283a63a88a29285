from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Numbers, Signals
from pipeline.validation import number


@dataclass(frozen=True)
class TestBelowValidation(Rule):
    """Anti-pattern: a test split of another kind than validation, or a validation split that shares what it measures.

    Fires when the accuracy on the test split is more than `max_drop` below that of the same checkpoint on the
    validation split, and further than chance allows: by `sigmas` binomial standard errors of both scores, after the
    validation score is lowered by what the best of as many epochs gains by luck, sqrt(2 ln epochs) standard errors.
    Both scores are means over the accuracies of the classes, with the test split's shares as weights, so that other
    shares of hard classes are no difference. It is a failure where the test split keeps less than `min_kept` of what
    the validation score is above chance.
    """

    check = "test_below_validation"
    reads = (
        "test_class_accuracy",
        "test_class_counts",
        "val_class_accuracy",
        "val_class_counts",
        "epochs_compared",
    )
    needs = ("test_class_accuracy", "val_class_accuracy")
    severities = ("failure", "warning")
    why = (
        "Two samples of one kind of images give the same score within chance. Where they do not, either the test "
        "images or labels are of another kind (other preprocessing, channels, source or numbering), or the validation "
        "images are not new to the network: copies, neighbouring frames or the same objects are trained on."
    )
    source = "Recht et al. 2019, Do ImageNet Classifiers Generalize to ImageNet?; Quionero-Candela et al. 2009"
    advice = (
        "Load the test split by the same code as the training split, compare some images and labels of both by eye, "
        "and split by object where several images show one (data.groups)."
    )
    code = "x_train, x_val, x_test = (load_and_normalize(split) for split in ('train', 'val', 'test'))"

    max_drop: float
    min_kept: float
    sigmas: float

    def __post_init__(self) -> None:
        number("max_drop", self.max_drop, at_least=0, below=1)
        number("min_kept", self.min_kept, at_least=0, at_most=1)
        number("sigmas", self.sigmas, above=0)

    def __call__(self, signals: Signals) -> Finding | None:
        accuracy, counts = signals.get("test_class_accuracy"), signals.get("test_class_counts")
        val_accuracy, val_counts = signals.get("val_class_accuracy"), signals.get("val_class_counts")
        if accuracy is None or counts is None or val_accuracy is None or val_counts is None:
            return None
        weights = [n if m else 0 for n, m in zip(counts, val_counts, strict=True)]
        if not sum(weights):
            return None
        test, test_error = _weighted_score(accuracy, counts, weights)
        val, val_error = _weighted_score(val_accuracy, val_counts, weights)
        luck = val_error * math.sqrt(2 * math.log(max(1, signals.get("epochs_compared", 1))))
        error = math.hypot(test_error, val_error)
        drop = val - test
        if drop <= self.max_drop or drop - luck <= self.sigmas * error:
            return None
        chance = max(weights) / sum(weights)
        is_far = test - chance < self.min_kept * (val - chance)
        names = "" if sum(weights) == sum(counts) else ", over the classes that both have"
        return self.finding(
            "failure" if is_far else "warning",
            measured={
                "test_accuracy": test,
                "val_accuracy": val,
                "standard_error": error,
                "luck": luck,
                "examples": float(sum(counts)),
                "val_examples": float(sum(val_counts)),
            },
            expected=f"a test accuracy within {self.max_drop:g} of that on validation, or within {self.sigmas:g} "
            "standard errors",
            message=f"The same network is right on {val:.1%} of {sum(val_counts)} validation examples, and on "
            f"{test:.1%} of {sum(counts)} test examples{names}. Chance explains a difference of "
            f"{luck + self.sigmas * error:.1%} at most, the choice of the best epoch included.",
            where="test",
        )


def _weighted_score(accuracy: Numbers, counts: Sequence[int], weights: Sequence[int]) -> tuple[float, float]:
    """Return the mean of the classes' accuracies with `weights`, and its standard error.

    The variance of a class of n examples is p (1 - p) / n with p = (right + 1) / (n + 2), which is not 0 for a class of
    few examples that are all right.
    """
    score = variance = 0.0
    for share, n, weight in zip(accuracy, counts, weights, strict=True):
        if weight and share is not None:
            portion, p = weight / sum(weights), (min(max(share, 0.0), 1.0) * n + 1) / (n + 2)
            score += portion * share
            variance += portion**2 * p * (1 - p) / n
    return score, math.sqrt(variance)
