from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding, Signals
from pipeline.validation import integer


@dataclass(frozen=True)
class SmallBatchBatchnorm:
    """Anti-pattern: batch normalization over so few examples that its statistics are mostly noise.

    Rule: at least `min_examples` in a batch wherever there is batchnorm. The relative error of a variance estimated from n
    independent values is sqrt(2 / (n - 1)): 140 % for 2, 82 % for 4, 53 % for 8.
    """

    min_examples: int
    explains: ClassVar[tuple[str, ...]] = (*LEARNING_RATE, *FAILS_TO_GENERALIZE)

    def __post_init__(self) -> None:
        integer("min_examples", self.min_examples, at_least=2)

    def __call__(self, signals: Signals) -> Finding | None:
        norms, size = signals.get("batchnorm_layers"), signals.get("batch_size")
        if not norms or size is None or size >= self.min_examples:
            return None
        return Finding(
            check="small_batch_batchnorm",
            severity="failure" if size == 1 else "warning",
            measured={"batch_size": float(size), "batchnorm_layers": float(norms)},
            expected=f"batches of {self.min_examples} or more with batchnorm",
            message=f"{norms} batchnorm layers normalize by the statistics of {size} example{'s' if size > 1 else ''}.",
            why="The mean and variance of so few examples are noise, and not those that the network gets at test time.",
            remedy=("data.batch_size=32",),
            source="Wu & He 2018, Group Normalization, figure 1: the error rises steeply below 8 examples a batch",
            step=0,
        )
