from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import mean, standard_error, to_float, to_floats
from pipeline.signals.schema import Signals
from pipeline.validation import integer, number

REWARDED = {
    "next class": "the class after its own (label + 1)",
    "previous class": "the class before its own (label - 1)",
    "next example": "the label of the next example in the batch",
    "previous example": "the label of the previous example in the batch",
    "another example": "the label of another example in the batch",
    "every class": "every class alike, whatever its label",
}
"""What the loss rewards in an output instead of its own label (`rewarded_labels`), in words."""
MIN_ENTRIES = 5
"""Steps that have to agree, however large the batch is: one may be an accident."""


@dataclass(frozen=True)
class LossDisagrees(Rule):
    """Anti-pattern: a loss with the wrong sign, an update that goes uphill, or labels that are shifted in the loss.

    Fires when (1) before training, the loss is higher for outputs that are 1 for the right class than for outputs that
    are 1 for a wrong one, falls `unbounded_nats` below zero as these outputs grow (log-probabilities cannot grow), or
    raises, from equal outputs, the class that is the label of another example or one beside the label in each example;
    (2) in training, once the loss has changed by `min_loss_change` of its first value, fewer answers are right than a
    guess gives, by `sigmas` standard errors over at least `min_examples` answers; or (3) the loss falls below zero
    while the answers are no better than a guess. A guess that prefers no class is right 1/C of the time whatever the
    frequencies of the classes are, and a guess of a rare class, to which weights may lead, as often as it is: fewer
    right answers than that take knowledge of the labels.
    """

    check = "loss_disagrees"
    reads = (
        "perfect_probability_loss",
        "wrong_probability_loss",
        "certain_loss",
        "output_log_probabilities",
        "rewarded_labels",
        "synthetic_loss",
        "losses",
        "accuracies",
        "chance_accuracy",
        "classes",
        "overfit_examples",
        "batch_size",
        "steps_per_entry",
    )
    needs = ("rewarded_labels|perfect_probability_loss|accuracies",)
    severities = ("failure",)
    why = (
        "Training follows the loss. With a flipped sign or shifted labels it learns to be wrong, and without a lower "
        "bound it makes outputs large instead of right. Look for a minus before the loss, maximize=true, labels that "
        "mean other classes for the loss than for the accuracy, and a missing log-softmax."
    )
    source = "lecture notes, step 3: is the loss reasonable; Stack Overflow 68101077"
    advice = "Let the loss fall as the right class's output rises: check its sign, and which class each label means."
    code = "loss = F.cross_entropy(logits, labels)"
    explains = (
        "nonfinite",
        "initial_loss",
        "input_ignored",
        *LEARNING_RATE,
        *FAILS_TO_GENERALIZE,
    )

    min_loss_change: float
    sigmas: float
    min_examples: int
    unbounded_nats: float

    def __post_init__(self) -> None:
        number("min_loss_change", self.min_loss_change, above=0)
        number("sigmas", self.sigmas, above=0)
        integer("min_examples", self.min_examples, at_least=1)
        number("unbounded_nats", self.unbounded_nats, above=0)

    def __call__(self, signals: Signals) -> Finding | None:
        if reward := REWARDED.get(signals.get("rewarded_labels", "")):
            return self._wrong_label(signals, reward)
        if "perfect_probability_loss" in signals:
            return self._loss_alone(signals)
        losses, accuracies = to_floats(signals.get("losses", ())), to_floats(signals.get("accuracies", ()))
        size = signals.get("overfit_examples") or signals.get("batch_size")
        classes = signals.get("classes")
        if not losses or not accuracies or not size or not classes:
            return None
        steps = int(signals.get("steps_per_entry", 1))
        chance = signals.get("chance_accuracy") or 1 / classes
        # of uneven classes: what the rarest one gives, since a loss may weight it so that it is the first answer
        guess = min(1 / classes, (1 - chance) / max(1, classes - 1))
        evidence = self._below_chance(losses, accuracies, int(size) * steps, guess) or _unbounded(
            losses, accuracies, guess
        )
        if evidence is None:
            return None
        index, accuracy, reason = evidence
        return self.finding(
            "failure",
            measured={"first_loss": losses[0], "loss": losses[index], "accuracy": accuracy},
            expected=f"at least {guess:.3g} right once the loss has moved, and more right answers where the loss falls",
            message=f"The loss went from {losses[0]:.4g} to {losses[index]:.4g} while {accuracy:.1%} of the answers "
            f"were right, where guessing gives {guess:.1%}. {reason}",
            step=(index + 1) * steps,
        )

    def _wrong_label(self, signals: Signals, reward: str) -> Finding:
        return self.finding(
            "failure",
            measured={"synthetic_loss": to_float(signals.get("synthetic_loss"))},
            expected="a loss that rewards the label of the same example",
            message=f"The loss does not reward right answers: each output is rewarded for {reward}.",
            step=0,
            advice="Give the loss the labels as they are, in the order of the outputs: look for labels + 1, roll, "
            "shuffles and axes that do not fit.",
        )

    def _loss_alone(self, signals: Signals) -> Finding | None:
        right = to_float(signals["perfect_probability_loss"])
        wrong, certain = to_float(signals.get("wrong_probability_loss")), to_float(signals.get("certain_loss"))
        if right > wrong:
            reason = f"It is {right:.4g} where the right class gets a 1 and {wrong:.4g} where another class does."
        elif certain < min(right, 0.0) - self.unbounded_nats and not signals.get("output_log_probabilities"):
            reason = f"It falls to {certain:.4g} as the right output grows: it has no lower bound."
        else:
            return None
        return self.finding(
            "failure",
            measured={"right": right, "wrong": wrong, "certain": certain},
            expected="a loss that is lower for the right class than for others, and bounded from below",
            message=f"The loss does not reward right answers. {reason}",
            step=0,
        )

    def _below_chance(
        self, losses: Sequence[float], accuracies: Sequence[float], size: int, guess: float
    ) -> tuple[int, float, str] | None:
        """Look for fewer right answers than a guess gives, over the first or the last entries with a changed loss."""
        changed = [
            i
            for i, (loss, _) in enumerate(zip(losses, accuracies, strict=False))
            if abs(loss - losses[0]) > self.min_loss_change * abs(losses[0])
        ]
        count = min(max(-(-self.min_examples // size), MIN_ENTRIES), len(changed))
        if count < MIN_ENTRIES:
            return None
        for window in (changed[:count], changed[-count:]):
            accuracy = mean(accuracies[i] for i in window)
            if accuracy + self.sigmas * standard_error(guess, size * count) < guess:
                is_rising = losses[window[-1]] > losses[0]
                reason = "Each step goes uphill." if is_rising else "The loss falls by giving wrong answers."
                return window[-1], accuracy, reason
        return None


def _unbounded(losses: Sequence[float], accuracies: Sequence[float], guess: float) -> tuple[int, float, str] | None:
    """Look for a loss that falls below zero, and twice as far below its first value, at the accuracy of a guess."""
    finite = [i for i, (loss, _) in enumerate(zip(losses, accuracies, strict=False)) if math.isfinite(loss)]
    tail = finite[-max(len(finite) // 4, 1) :]
    if len(finite) < 10:
        return None
    low, accuracy = losses[tail[-1]], mean(accuracies[i] for i in tail)
    if low < 0 and low < losses[0] - abs(losses[0]) and accuracy < guess + 0.1 * (1 - guess):
        return tail[-1], accuracy, "It falls without bound: its sign is wrong."
    return None
