from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_FIT
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule, list_names
from pipeline.checks.training_curves import TRAINING_KEYS, Training, to_floats
from pipeline.signals.schema import SampledWeights, Samples, Signals
from pipeline.validation import integer


@dataclass(frozen=True)
class FrozenWeights(Rule):
    """Anti-pattern: a layer that is meant to learn and never changes.

    Fires when (1) before training, a parameter has `requires_grad=False`, or (2) in training, the update of a weight
    is exactly zero in all sampled steps with a non-zero learning rate, of which there are at least `min_samples`. It is
    a failure where no weight changes. A layer that learns very slowly is a matter of update_ratio_low.
    """

    check = "frozen_weights"
    reads = ("frozen_parameters", "parameters", "samples", *TRAINING_KEYS)
    severities = ("failure", "warning")
    why = "A weight that does not change does not learn, and the other layers must adapt to its initial value."
    source = "torch: without requires_grad there is no update; zero in every sampled step is no accident of rounding"
    remedies = ("init=he",)
    explains = FAILS_TO_FIT

    min_samples: int

    def __post_init__(self) -> None:
        integer("min_samples", self.min_samples, at_least=2)

    def __call__(self, signals: Signals) -> Finding | None:
        if signals.get("frozen_parameters"):
            return self._without_requires_grad(signals)
        if Training.from_signals(signals) is None:
            return None
        samples: Samples = signals.get("samples") or {}
        weights: SampledWeights = samples.get("weights") or {}
        rates = to_floats(samples.get("lr", ()))
        names = list(weights.get("name", ()))
        steps = [i for i, rate in enumerate(rates) if rate > 0]
        if len(steps) < self.min_samples or not names:
            return None
        updates = [to_floats(weights["update"][i]) for i in steps]
        gradients = [to_floats(weights["gradient"][i]) for i in steps]
        frozen = [k for k in range(len(names)) if all(row[k] == 0 for row in updates)]
        if not frozen:
            return None
        has_silent = any(all(row[k] == 0 for row in gradients) for k in frozen)
        all_frozen = len(frozen) == len(names)
        reason = (
            "No gradient reaches them: they are detached, unused, or all units behind them are off."
            if has_silent
            else "They get a gradient and do not move: the optimizer does not have them, or the learning rate is below "
            "what their precision can represent."
        )
        return self.finding(
            "failure" if all_frozen else "warning",
            measured={"frozen": float(len(frozen)), "weights": float(len(names)), "samples": float(len(steps))},
            expected="an update that is not exactly zero in at least one sampled step",
            message=f"{len(frozen)} of {len(names)} weights never changed: {list_names([names[k] for k in frozen])}. "
            f"{reason}",
            remedy=self.remedies if has_silent and all_frozen else (),
            where=names[frozen[0]],
        )

    def _without_requires_grad(self, signals: Signals) -> Finding:
        frozen, total = signals["frozen_parameters"], signals["parameters"]
        return self.finding(
            "failure" if len(frozen) == total else "warning",
            measured={"frozen": float(len(frozen)), "parameters": float(total)},
            expected="parameters that require a gradient; constants are registered as buffers",
            message=f"{len(frozen)} of {total} parameters have requires_grad=False: {list_names(frozen)}. Register "
            "constants as buffers; if this was for an earlier phase of training, switch requires_grad on again.",
            where=frozen[0],
            step=0,
        )
