from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_FIT
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import TRAINING_KEYS, Training, to_floats
from pipeline.errors import list_names
from pipeline.signals.schema import SampledWeights, Samples, Signals
from pipeline.validation import integer, number


@dataclass(frozen=True)
class FrozenWeights(Rule):
    """Anti-pattern: a layer that is meant to learn and never changes.

    Fires when (1) before training, a parameter has `requires_grad=False` and `model.frozen` does not name it, or (2) in
    training, the update of a weight is exactly zero in all sampled steps with a non-zero learning rate, of which there
    are at least `min_samples`. It is a failure where no weight changes, as in a loop whose optimizer makes no step.
    What is frozen as it is in fine-tuning is an info: whole layers with nothing trained before them, or all but a share
    of `max_trained_share` of the network. A layer that learns very slowly is a matter of update_ratio_low.
    """

    check = "frozen_weights"
    reads = (
        "frozen_parameters",
        "parameters",
        "declared_frozen",
        "frozen_inside",
        "frozen_prefixes",
        "trained_share",
        "samples",
        "updates_made",
        "running",
        "steps_per_entry",
        *TRAINING_KEYS,
    )
    needs = ("frozen_parameters|samples.weights|updates_made",)
    severities = ("failure", "warning", "info")
    why = "A weight that does not change does not learn, and the other layers must adapt to its initial value."
    source = "torch: without requires_grad there is no update; zero in every sampled step is no accident of rounding"
    remedies = ("init=he", "model.frozen=[...]")
    advice = "Let the parameters require a gradient, and build the optimizer from all of them."
    code = "model.requires_grad_(True); optimizer = torch.optim.SGD(model.parameters(), lr=lr)"
    explains = FAILS_TO_FIT

    min_samples: int
    max_trained_share: float

    def __post_init__(self) -> None:
        integer("min_samples", self.min_samples, at_least=2)
        number("max_trained_share", self.max_trained_share, at_least=0, at_most=1)

    def __call__(self, signals: Signals) -> Finding | None:
        declared = signals.get("declared_frozen", ())
        undeclared = [name for name in signals.get("frozen_parameters", ()) if name not in declared]
        if undeclared:
            return self._without_requires_grad(signals, undeclared)
        if signals.get("updates_made") == 0 and signals.get("losses") and not signals.get("running"):
            return self._without_updates(signals)
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
            remedy=self.remedies[:1] if has_silent and all_frozen else (),
            where=names[frozen[0]],
        )

    def _without_requires_grad(self, signals: Signals, names: list[str]) -> Finding:
        frozen, total = signals["frozen_parameters"], signals["parameters"]
        state = f"model.frozen=[{','.join(signals.get('frozen_prefixes', ()) or names)}]"
        measured = {"frozen": float(len(names)), "parameters": float(total)}
        message = f"{len(names)} of {total} parameters have requires_grad=False: {list_names(names)}."
        if len(frozen) < total and self._looks_deliberate(signals, names):
            return self.finding(
                "info",
                measured=measured,
                expected="frozen parameters that the configuration names",
                message=f"{message} They are frozen as for fine-tuning; the override states that this is meant.",
                remedy=(state,),
                where=names[0],
                step=0,
            )
        return self.finding(
            "failure" if len(frozen) == total else "warning",
            measured=measured,
            expected="parameters that require a gradient; constants are registered as buffers",
            message=f"{message} Register constants as buffers; if this was for an earlier phase of training, switch "
            "requires_grad on again." + ("" if len(frozen) == total else f" If it is meant, state it: {state}."),
            where=names[0],
            step=0,
        )

    def _looks_deliberate(self, signals: Signals, names: list[str]) -> bool:
        """Return whether the parameters are frozen as they are in fine-tuning; False where this was not measured."""
        inside = signals.get("frozen_inside")
        if inside is None:
            return False
        return not set(inside) & set(names) or signals["trained_share"] <= self.max_trained_share

    def _without_updates(self, signals: Signals) -> Finding:
        steps = len(signals["losses"]) * int(signals.get("steps_per_entry", 1))
        return self.finding(
            "failure",
            measured={"updates": 0.0, "steps": float(steps)},
            expected="a step of the optimizer after each backward pass, or after several",
            message=f"The loop made {steps} backward passes, and the optimizer made no step: no weight has changed.",
            advice="Call step() of the optimizer that was given to the watch, after the backward pass.",
            code="optimizer.step()",
        )
