from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.consequences import FAILS_TO_FIT
from pipeline.checks.finding import Finding, Signals
from pipeline.checks.training_curves import Training, to_floats
from pipeline.validation import integer


@dataclass(frozen=True)
class FrozenWeights:
    """Anti-pattern: a layer that is meant to learn and never changes.

    Rule: every trainable weight changes in at least one of the sampled steps whose rate is not zero. Exact zeros are
    asked for: a layer that learns very slowly is update_ratio_low's. Before training, none has requires_grad off.
    """

    min_samples: int
    explains: ClassVar[tuple[str, ...]] = (*FAILS_TO_FIT,)

    def __post_init__(self) -> None:
        integer("min_samples", self.min_samples, at_least=2)

    def __call__(self, signals: Signals) -> Finding | None:
        if signals.get("frozen_parameters"):
            return self._declared(signals)
        training = Training.from_signals(signals)
        if training is None:
            return None
        samples = signals.get("samples") or {}
        weights, rates = samples.get("weights") or {}, to_floats(samples.get("lr", ()))
        names = list(weights.get("name", ()))
        moving = [i for i, rate in enumerate(rates) if rate > 0]
        if len(moving) < self.min_samples or not names:
            return None
        updates = [to_floats(weights["update"][i]) for i in moving]
        gradients = [to_floats(weights["gradient"][i]) for i in moving]
        frozen = [k for k in range(len(names)) if all(row[k] == 0 for row in updates)]
        if not frozen:
            return None
        silent = [k for k in frozen if all(row[k] == 0 for row in gradients)]
        every = len(frozen) == len(names)
        reason = (
            "No gradient reaches them: they are detached, unused, or all units behind them are off."
            if silent
            else "They get a gradient and do not move: the optimizer does not have them, or the rate is below what "
            "their precision can hold."
        )
        return Finding(
            check="frozen_weights",
            severity="failure" if every else "warning",
            measured={"frozen": float(len(frozen)), "weights": float(len(names)), "samples": float(len(moving))},
            expected="an update that is not exactly zero in at least one sampled step",
            message=f"{len(frozen)} of {len(names)} weights never changed: "
            f"{', '.join(names[k] for k in frozen[:3])}{' ...' if len(frozen) > 3 else ''}. {reason}",
            why="What does not change does not learn; the layers around it have to make do with what it was at first.",
            remedy=("init=he",) if silent and every else (),
            source="an update of exactly zero in every sampled step is no accident of rounding",
            where=names[frozen[0]],
        )

    def _declared(self, signals: Signals) -> Finding:
        frozen, total = signals["frozen_parameters"], signals["parameters"]
        return Finding(
            check="frozen_weights",
            severity="failure" if len(frozen) == total else "warning",
            measured={"frozen": float(len(frozen)), "parameters": float(total)},
            expected="parameters that may learn; what must not is a buffer",
            message=f"{len(frozen)} of {total} parameters have requires_grad=False: {', '.join(frozen[:3])}"
            f"{' ...' if len(frozen) > 3 else ''}.",
            why="They stay what they were at first. Where that is meant, register them as buffers; where it was for an "
            "earlier phase of training, switch them on again.",
            remedy=(),
            source="torch: a parameter that does not require a gradient is not updated",
            where=frozen[0],
            step=0,
        )
