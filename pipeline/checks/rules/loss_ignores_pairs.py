from __future__ import annotations

from dataclasses import dataclass

from pipeline.checks.consequences import FAILS_TO_GENERALIZE, LEARNING_RATE
from pipeline.checks.finding import Finding
from pipeline.checks.rule import Rule
from pipeline.errors import list_names
from pipeline.signals.schema import Signals
from pipeline.validation import number


@dataclass(frozen=True)
class LossIgnoresPairs(Rule):
    """Anti-pattern: a loss that broadcasts (N, 1) against (N,), and so compares every output with every label.

    Fires when, on synthetic outputs, the loss changes with other labels and not when the labels trade places among the
    examples: by at most `max_ratio` of the former. It is a warning where an operation of the loss combines (N, 1) with
    (N,) and the loss still sees which label belongs to which example: weights of examples, which then weight nothing.
    """

    check = "loss_ignores_pairs"
    reads = ("pairing_ratio", "loss_broadcasts", "synthetic_loss", "single_loss")
    severities = ("failure", "warning")
    why = (
        "(N, 1) with (N,) gives N x N values, one for each pair of examples. The mean over all pairs has its optimum "
        "where every output is the same, the mean label, whatever the input is."
    )
    source = "torch.nn.functional.mse_loss warns of 'a target size that is different to the input size'; broadcasting"
    advice = "Give outputs, labels and weights the same shape inside the loss."
    code = "outputs = outputs.squeeze(1)"
    explains = (
        "loss_mixes_examples",
        "batch_leak",
        "loss_reduction",
        "loss_disagrees",
        "saturated_units",
        "dead_units",
        "vanishing_gradients",
        "exploding_gradients",
        "initial_loss",
        "input_ignored",
        "unreachable_parameters",
        "frozen_weights",
        *LEARNING_RATE,
        *FAILS_TO_GENERALIZE,
    )

    max_ratio: float

    def __post_init__(self) -> None:
        number("max_ratio", self.max_ratio, above=0, below=1)

    def __call__(self, signals: Signals) -> Finding | None:
        ratio, operations = signals.get("pairing_ratio"), list(signals.get("loss_broadcasts", ()))
        if ratio is None or not (ratio < self.max_ratio or operations):
            return None
        ignores = ratio < self.max_ratio
        measured = {"pairing_ratio": float(ratio)}
        batch, single = signals.get("synthetic_loss"), signals.get("single_loss")
        evidence = ""
        if batch is not None and single is not None:
            measured |= {"loss_of_batch": float(batch), "mean_of_single_losses": float(single)}
            evidence = f" A batch has a loss of {batch:.4g}; given one at a time, its examples have {single:.4g}."
        seen = f" It computes {list_names(operations)}." if operations else ""
        return self.finding(
            "failure" if ignores else "warning",
            measured=measured,
            expected="a loss that changes when labels trade places, and combines only values of the same example",
            message=(
                "The loss does not change when the labels trade places among the examples: it compares every output "
                "with every label."
                if ignores
                else "The loss multiplies or adds values of all pairs of examples."
            )
            + seen
            + evidence,
            step=0,
        )
