from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.finding import Finding
from pipeline.checks.not_checked import LOSS_NEEDS
from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import FINISHED_KEYS, Training, medians
from pipeline.signals.schema import Signals
from pipeline.validation import integer, number

STRETCHES = 40
"""Into which a curve is divided: their medians hide the noise of a batch, and a start shows to 2.5 %."""


@dataclass(frozen=True)
class LateStart(Rule):
    """Anti-pattern: a loss that is flat for a while, and then falls all of a sudden.

    Fires when (1) the loss stays within `flat_tolerance` of its first level for at least `max_flat_fraction` of the
    run, counted both in steps and in summed learning rates (so that a warm-up is no waiting), (2) for at least
    `min_steps` steps, and (3) a tenth of the run then lowers it by at least `min_sudden_drop` of the first level. A
    loss that moves slowly throughout has another fault.
    """

    check = "late_start"
    reads = (*FINISHED_KEYS, "steps_per_entry")
    needs = LOSS_NEEDS
    severities = ("warning",)
    why = (
        "Until the first layers had grown or left saturation, hardly any gradient reached them. The most likely cause "
        "is the initialization."
    )
    source = "lecture notes: loss flat for a while, then training starts suddenly => bad initialization"
    remedies = ("init=he", "activation=relu", "batchnorm=before_activation")
    advice = "Begin with weights of variance 2 / inputs, so that the gradient reaches the first layers."
    code = "nn.init.kaiming_normal_(layer.weight)"
    explains = (
        "loss_plateau",
        "update_ratio_high",
        "update_ratio_low",
        "undertrained",
        "underfitting",
    )

    max_flat_fraction: float
    min_steps: int
    flat_tolerance: float
    min_sudden_drop: float

    def __post_init__(self) -> None:
        number("max_flat_fraction", self.max_flat_fraction, above=0, below=1)
        integer("min_steps", self.min_steps, at_least=1)
        number("flat_tolerance", self.flat_tolerance, above=0, below=1)
        number("min_sudden_drop", self.min_sudden_drop, above=0, below=1)

    def __call__(self, signals: Signals) -> Finding | None:
        training = Training.if_finished(signals, needs_classes=False)
        if training is None or len(training.losses) < STRETCHES:
            return None
        levels = medians(training.losses, STRETCHES)
        first = min(levels[:2])  # the very first may be wrong certainty, which is unlearned at once
        start = next((i for i, level in enumerate(levels) if level < (1 - self.flat_tolerance) * first), None)
        if not first > 0 or start is None:
            return None
        rates = training.rates()
        waited = min(start / STRETCHES, sum(rates[: start * len(rates) // STRETCHES]) / sum(rates))
        tenth = STRETCHES // 10
        drops = zip(levels[start - 1 :], levels[start - 1 + tenth :], strict=False)
        fastest = max((a - b for a, b in drops), default=0.0)
        step = start * training.steps // STRETCHES
        if waited < self.max_flat_fraction or step < self.min_steps or fastest < self.min_sudden_drop * first:
            return None
        return self.finding(
            "warning",
            measured={"flat_steps": float(step), "steps": float(training.steps), "level": first, "loss": levels[-1]},
            expected=f"a loss that leaves its first level within {self.max_flat_fraction:.0%} of the run",
            message=f"The loss stayed at {first:.4g} for {step} of {training.steps} steps ({waited:.0%} of the run), "
            f"then fell by {fastest:.3g} within a tenth of the run.",
            remedy=self.remedies,
            step=step,
        )
