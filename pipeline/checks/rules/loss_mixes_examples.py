from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.signals.schema import Signals
from pipeline.validation import number


@dataclass(frozen=True)
class LossMixesExamples(Rule):
    """Anti-pattern: a loss over the wrong axis: a softmax or a normalization along the examples (`dim=0`), or along
    positions, instead of along the classes; a `view` where a transpose is meant.

    Fires for labels that are classes when, on synthetic outputs, (1) the gradient of one example turns by more than
    `min_sine` with the outputs of others, and only differences between examples count, or the loss rewards labels of
    no example; or (2) only differences along another axis than that of the classes count. Where examples act on each
    other's gradient in another way it is `info`: a Dice or F1 loss over the batch does so on purpose.
    """

    check = "loss_mixes_examples"
    reads = ("loss_mixing", "compared_axes", "class_axis", "rewarded_labels")
    severities = ("failure", "info")
    why = (
        "The classes of one example must compete with each other. Along another axis, an example's answer counts only "
        "relative to the other examples of its batch: its most probable class is not what was trained, and the loss "
        "changes with the batch."
    )
    source = "torch.nn.functional.log_softmax: `dim` is the axis along which probabilities sum to one"
    advice = "Take softmax and normalization inside the loss along the axis of the classes."
    code = "log_probabilities = F.log_softmax(logits, dim=1)"
    explains = (
        "loss_disagrees",
        "saturated_units",
        "dead_units",
        "vanishing_gradients",
        "exploding_gradients",
        "initial_loss",
        "input_ignored",
        "unreachable_parameters",
        *LEARNING_RATE,
        *FAILS_TO_GENERALIZE,
    )

    min_sine: float

    def __post_init__(self) -> None:
        number("min_sine", self.min_sine, above=0, below=1)

    def __call__(self, signals: Signals) -> Finding | None:
        sine, classes = signals.get("loss_mixing"), signals.get("class_axis")
        axes, is_other = signals.get("compared_axes", ()), signals.get("rewarded_labels") == "other"
        if sine is None or classes is None:
            return None
        mixes = sine > self.min_sine
        along = [axis for axis in axes if axis not in (0, classes) and (classes not in axes or is_other)]
        measured = {"sine": float(sine), "class_axis": float(classes)}
        code = self.code if classes == 1 else "log_probabilities = F.log_softmax(logits, dim=-1)"
        if mixes and (0 in axes or is_other):
            reason = (
                "An example's outputs count only relative to those of the other examples of the batch: it normalizes "
                "along axis 0."
                if 0 in axes
                else "An example's outputs answer the labels of other examples: a view or reshape has mixed them."
            )
        elif along:
            reason = f"It compares outputs along axis {along[0]} and not along axis {classes}, that of the classes."
        elif mixes:
            return self.finding(
                "info",
                measured=measured,
                expected="a loss that is a mean over the examples, unless it is meant otherwise",
                message="The gradient of one example depends on the outputs of the others, as in a Dice or F1 loss "
                "over the batch: it changes with the size of the batch.",
                step=0,
                advice="Leave it if it is meant; else reduce the loss of each example first, and take the mean.",
                code='loss = F.cross_entropy(logits, labels, reduction="none").mean()',
            )
        else:
            return None
        return self.finding(
            "failure",
            measured=measured,
            expected=f"a loss that compares outputs along axis {classes}, that of the classes",
            message=f"The loss is computed over the wrong axis. {reason}",
            step=0,
            code=code,
        )
