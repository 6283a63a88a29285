from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals
from pipeline.validation import integer


@dataclass(frozen=True)
class SmallBatchBatchnorm(Rule):
    """Anti-pattern: batch normalization over so few examples that its statistics are mostly noise.

    Fires when there is batchnorm and a batch has fewer than `min_examples` examples; with one example it is a failure.
    The relative error of a variance that is estimated from n independent values is sqrt(2 / (n - 1)): 140 % for 2, 82 %
    for 4, 53 % for 8.
    """

    check = "small_batch_batchnorm"
    reads = ("batch_size", "batchnorm_layers")
    needs = ("batch_size", "batchnorm_layers")
    severities = ("failure", "warning")
    why = "The mean and variance of so few examples are noise, and not those that the network gets in evaluation."
    source = "Wu & He 2018, Group Normalization, figure 1: the error rises steeply below 8 examples a batch"
    remedies = ("data.batch_size=32",)
    advice = "Take larger batches, or group normalization, which does not depend on the batch."
    code = "norm = nn.GroupNorm(8, channels)"
    explains = (*LEARNING_RATE, *FAILS_TO_GENERALIZE)

    min_examples: int

    def __post_init__(self) -> None:
        integer("min_examples", self.min_examples, at_least=2)

    def __call__(self, signals: Signals) -> Finding | None:
        layers, size = signals.get("batchnorm_layers"), signals.get("batch_size")
        if not layers or size is None or size >= self.min_examples:
            return None
        return self.finding(
            "failure" if size == 1 else "warning",
            measured={"batch_size": float(size), "batchnorm_layers": float(layers)},
            expected=f"batches of {self.min_examples} or more with batchnorm",
            message=f"{layers} batchnorm layers normalize by the statistics of {size} "
            f"example{'s' if size > 1 else ''}.",
            remedy=self.remedies,
            step=0,
        )
