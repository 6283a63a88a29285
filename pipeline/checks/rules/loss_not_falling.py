from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import mean

from pipeline.checks.finding import Finding
from pipeline.checks.log_curves import noise
from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import MIN_FALL, rise_of_targets, to_floats
from pipeline.signals.schema import Signals
from pipeline.validation import integer, number


@dataclass(frozen=True)
class LossNotFalling(Rule):
    """Anti-pattern: a training whose loss is at its end where it was at its beginning.

    Fires when the mean of the last fifth of the loss is not below that of the first fifth by `sigmas` standard errors,
    with at least `min_entries` entries. It is a failure where the loss is that of a guess, too, within `chance_margin`.
    Silent where the accuracy on training examples is known beside the number of classes, since that says more: see
    `loss_plateau`; and where R2 of targets is 0.25 or more, or their loss rose clearly: see `rate_too_high`.
    """

    check = "loss_not_falling"
    reads = (
        *("losses", "epochs_planned", "epochs", "exploded", "nonfinite", "running", "classes", "chance_loss"),
        *("train_examples", "probe_examples"),
    )
    needs = ("not exploded", "not nonfinite", "not running", "epochs_planned", "losses|epochs.loss")
    severities = ("failure", "warning")
    why = (
        "No step changed what the network computes in the direction that the loss asks for: the learning rate is far "
        "too low or too high, no gradient arrives, or the optimizer holds other parameters."
    )
    source = "Karpathy, A Recipe for Training Neural Networks: the loss must fall before anything else matters"
    advice = (
        "Fit one batch first. If its loss stands still too, compare model.parameters() with those that the optimizer "
        "holds and look at their gradients; if it falls, change the learning rate."
    )
    code = "print({name: p.grad is not None and float(p.grad.norm()) for name, p in model.named_parameters()})"
    explains = ("undertrained", "underfitting")

    sigmas: float
    min_entries: int
    chance_margin: float

    def __post_init__(self) -> None:
        number("sigmas", self.sigmas, above=0)
        integer("min_entries", self.min_entries, at_least=5)
        number("chance_margin", self.chance_margin, above=0, below=1)

    def __call__(self, signals: Signals) -> Finding | None:
        if "epochs_planned" not in signals or signals.get("running"):
            return None
        if signals.get("exploded") or signals.get("nonfinite") or _knows_accuracy(signals):
            return None
        if _explains_targets(signals) or rise_of_targets(signals):  # what rises is a matter of rate_too_high
            return None
        losses = to_floats(signals.get("losses") or signals.get("epochs", {}).get("loss") or ())
        fifth = len(losses) // 5
        if len(losses) < self.min_entries or not all(map(math.isfinite, losses)):
            return None
        first, last = mean(losses[:fifth]), mean(losses[-fifth:])
        error = noise(losses) * math.sqrt(2 / fifth)
        if first - last > self.sigmas * error:
            return None
        chance_loss = signals.get("chance_loss")
        is_guess = chance_loss is not None and last >= (1 - self.chance_margin) * chance_loss
        level = "" if chance_loss is None else f"; a guess has {chance_loss:.4g}"
        return self.finding(
            "failure" if is_guess else "warning",
            measured={"first_loss": first, "loss": last, "standard_error": error},
            expected=f"a fall by more than {self.sigmas:g} standard errors ({self.sigmas * error:.2g})",
            message=f"The loss is {first:.4g} in the first fifth of the log and {last:.4g} in the last{level}.",
        )


def _knows_accuracy(signals: Signals) -> bool:
    """Return whether `loss_plateau` can judge, which asks for steps, classes, and the accuracy of known examples."""
    epochs = signals.get("epochs", {})
    has_examples = bool(signals.get("train_examples") or signals.get("probe_examples"))
    has_accuracy = bool(epochs.get("accuracy") or epochs.get("probe_accuracy"))
    return has_examples and has_accuracy and bool(signals.get("classes") and signals.get("losses"))


def _explains_targets(signals: Signals) -> bool:
    """Return whether targets were learned at the end, of which a loss that rose and came back on its way says less."""
    r2 = to_floats(signals.get("epochs", {}).get("r2") or ())
    return bool(r2) and r2[-1] >= MIN_FALL
