from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.finding import Finding, Signals


@dataclass(frozen=True)
class RedundantBias:
    """Anti-pattern: a bias right before batch normalization, which subtracts it again with the mean.

    Rule: no weight layer that batchnorm follows directly has a bias. A hint: the bias costs memory and does no harm.
    """

    explains: ClassVar[tuple[str, ...]] = ()

    def __call__(self, signals: Signals) -> Finding | None:
        layers = signals.get("bias_before_batchnorm")
        if not layers:
            return None
        return Finding(
            check="redundant_bias",
            severity="info",
            measured={"layers": float(len(layers))},
            expected="bias=False in layers that batchnorm follows",
            message=f"{len(layers)} layer{'s have' if len(layers) > 1 else ' has'} a bias that the batchnorm behind "
            f"subtracts again: {', '.join(layers[:3])}{' ...' if len(layers) > 3 else ''}.",
            why="The mean that batchnorm subtracts contains the bias, so it gets no gradient; beta does its work.",
            remedy=(),
            source="Ioffe & Szegedy 2015, Batch Normalization, section 3.2",
            where=layers[0],
            step=0,
        )
