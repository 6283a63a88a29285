from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding, Signals
from pipeline.checks.training_curves import mean, standard_error, to_floats
from pipeline.validation import integer, number

LEAST_ENTRIES = 5
"""Steps that have to agree, however large the batch is: one may be an accident."""


@dataclass(frozen=True)
class LossDisagrees:
    """Anti-pattern: a loss with the wrong sign, an update that goes uphill, or labels that are shifted in the loss.

    Rule: once the loss has left its first value by `min_loss_change`, the right answers are no fewer than guessing gives, within
    `sigmas` standard errors; and a loss that falls below zero brings right answers with it. Guessing blindly is right
    1/C of the time whatever the classes' shares are, if no class is preferred: fewer right answers than that take
    knowledge of the labels. Before training, the loss itself is asked: it is lower for outputs that are 1 for the right
    class than for wrong ones, and does not fall without bound as they grow (log-probabilities cannot grow). Reads all
    three objects.
    """

    min_loss_change: float
    sigmas: float
    min_examples: int
    unbounded_nats: float
    explains: ClassVar[tuple[str, ...]] = (
        "nonfinite",
        "initial_loss",
        "input_ignored",
        *LEARNING_RATE,
        *FAILS_TO_GENERALIZE,
    )

    def __post_init__(self) -> None:
        number("min_loss_change", self.min_loss_change, above=0)
        number("sigmas", self.sigmas, above=0)
        integer("min_examples", self.min_examples, at_least=1)
        number("unbounded_nats", self.unbounded_nats, above=0)

    def __call__(self, signals: Signals) -> Finding | None:
        if "perfect_probability_loss" in signals:
            return self._by_itself(signals)
        losses, accuracies = to_floats(signals.get("losses", ())), to_floats(signals.get("accuracies", ()))
        size = signals.get("overfit_examples") or signals.get("batch_size")
        if not losses or not accuracies or not size or not signals.get("classes"):
            return None
        steps = int(signals.get("steps_per_entry", 1))
        blind = 1 / signals["classes"]
        found = self._below(losses, accuracies, int(size) * steps, blind) or _unbounded(losses, accuracies, blind)
        if found is None:
            return None
        place, right, reason = found
        return Finding(
            check="loss_disagrees",
            severity="failure",
            measured={"first_loss": losses[0], "loss": losses[place], "accuracy": right},
            expected=f"at least {blind:.3g} right once the loss has moved, and more right answers where the loss falls",
            message=f"The loss went from {losses[0]:.4g} to {losses[place]:.4g} while {right:.1%} of the answers were "
            f"right, where guessing gives {blind:.1%}. {reason}",
            why="The network learns to avoid the right answers: look for a minus before the loss, maximize=true, or "
            "labels that the loss takes for other classes than the accuracy does.",
            remedy=(),
            source="gradient descent: a step down the loss that is meant makes the right answers likelier",
            step=(place + 1) * steps,
        )

    def _by_itself(self, signals: Signals) -> Finding | None:
        right, wrong, certain = to_floats(
            signals.get(f"{kind}_loss") for kind in ("perfect_probability", "wrong_probability", "certain")
        )
        if right > wrong:
            said = f"It is {right:.4g} where the right class gets a 1 and {wrong:.4g} where another class does."
        elif certain < min(right, 0.0) - self.unbounded_nats and not signals.get("output_log_probabilities"):
            said = f"It falls to {certain:.4g} as the right output grows: nothing bounds it."
        else:
            return None
        return Finding(
            check="loss_disagrees",
            severity="failure",
            measured={"right": right, "wrong": wrong, "certain": certain},
            expected="a loss that is lower for the right class than for others, and bounded from below",
            message=f"The loss does not reward right answers as it should. {said}",
            why="Training follows the loss: with its sign flipped or its labels shifted it learns to be wrong, and "
            "without a bottom it makes outputs large instead of right. A log-softmax may be missing before it.",
            remedy=(),
            source="lecture notes, step 3: is the loss reasonable; Stack Overflow 68101077",
            step=0,
        )

    def _below(
        self, losses: Sequence[float], accuracies: Sequence[float], size: int, blind: float
    ) -> tuple[int, float, str] | None:
        """Fewer right than a blind guess, over the first or the last entries at which the loss had moved."""
        away = [
            i
            for i, (loss, _) in enumerate(zip(losses, accuracies, strict=False))
            if abs(loss - losses[0]) > self.min_loss_change * abs(losses[0])
        ]
        count = min(max(-(-self.min_examples // size), LEAST_ENTRIES), len(away))
        if count < LEAST_ENTRIES:
            return None
        for window in (away[:count], away[-count:]):
            right = mean(accuracies[i] for i in window)
            if right + self.sigmas * standard_error(blind, size * count) < blind:
                rises = losses[window[-1]] > losses[0]
                reason = "Each step goes uphill." if rises else "The loss falls by giving wrong answers."
                return window[-1], right, reason
        return None


def _unbounded(losses: Sequence[float], accuracies: Sequence[float], blind: float) -> tuple[int, float, str] | None:
    """A loss that falls below zero and twice as far below its first value, with as many right answers as guessing."""
    finite = [i for i, (loss, _) in enumerate(zip(losses, accuracies, strict=False)) if math.isfinite(loss)]
    tail = finite[-max(len(finite) // 4, 1) :]
    if len(finite) < 10:
        return None
    low, right = losses[tail[-1]], mean(accuracies[i] for i in tail)
    if low < 0 and low < losses[0] - abs(losses[0]) and right < blind + 0.1 * (1 - blind):
        return tail[-1], right, "It falls without bound: its sign is wrong."
    return None
