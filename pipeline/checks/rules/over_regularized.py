from __future__ import annotations

from dataclasses import dataclass
from statistics import median

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding
from pipeline.checks.not_checked import TRAINING_NEEDS
from pipeline.checks.rule import Rule
from pipeline.checks.training_curves import (
    GAP_KEYS,
    TRAINING_KEYS,
    Training,
    is_augmented,
    standard_error,
    to_floats,
)
from pipeline.signals.schema import SampledWeights, Samples, Signals
from pipeline.validation import integer, number


@dataclass(frozen=True)
class OverRegularized(Rule):
    """Anti-pattern: a penalty, dropout or augmentation that outweighs the data.

    Fires when (1) dropout is at least `max_dropout` and normalized training accuracy is below `min_learned`, or dropout
    is at least `suspect_dropout`, accuracy is below `min_learned` and there is no gap to validation that dropout could
    close; (2) with a penalty, the weights of the middle layer end below `min_norm_ratio` of their first norm, or a
    penalty above `typical_l2` has more than `max_penalty_ratio` of the data's gradient while accuracy is below
    `min_learned`; or (3) after `min_epochs` epochs, training accuracy in evaluation mode exceeds that as trained by
    more than `max_eval_gain` and three standard errors, and leaves something to be learned. (1) and (2) are failures
    where less than a tenth was learned.
    """

    check = "over_regularized"
    reads = (
        *TRAINING_KEYS,
        *GAP_KEYS,
        "running",
        "exploded",
        "epochs",
        "dropout",
        "l2",
        "samples",
        "optimizer",
        "augmentation",
    )
    needs = (*TRAINING_NEEDS, "not running")
    severities = ("failure", "warning")
    why = (
        "Regularization should decide between answers that fit the data about equally well; here it decides instead of "
        "the data."
    )
    source = (
        "Srivastava et al. 2014, Dropout: between 0.4 and 0.8 of the units are kept where it works best; Karpathy, "
        "CS231n: the regularization loss must not overwhelm the data loss; Goodfellow et al. 2016, Deep Learning, 7"
    )
    remedies = ("regularization.dropout=...", "regularization.l2=...", "augmentation=none")
    advice = "Lower dropout, weight decay or augmentation until the training examples are learned."
    code = 'for group in optimizer.param_groups: group["weight_decay"] /= 10'
    explains = (
        "loss_exploding",
        "rate_too_high",
        "dead_units",
        "vanishing_activations",
        *FAILS_TO_GENERALIZE,
    )

    min_norm_ratio: float
    max_dropout: float
    suspect_dropout: float
    min_learned: float
    max_eval_gain: float
    min_epochs: int
    typical_l2: float
    max_penalty_ratio: float

    def __post_init__(self) -> None:
        number("min_norm_ratio", self.min_norm_ratio, above=0, below=1)
        number("max_dropout", self.max_dropout, above=0, below=1)
        number("suspect_dropout", self.suspect_dropout, above=0, at_most=self.max_dropout)
        number("min_learned", self.min_learned, at_least=0.5, at_most=1)
        number("max_eval_gain", self.max_eval_gain, above=0, below=1)
        integer("min_epochs", self.min_epochs, at_least=1)
        number("typical_l2", self.typical_l2, at_least=0)
        number("max_penalty_ratio", self.max_penalty_ratio, above=0)

    def __call__(self, signals: Signals) -> Finding | None:
        training = None if signals.get("running") else Training.from_signals(signals)
        if training is None:
            return None
        return self._dropout(training) or self._penalty(training) or self._train_eval_gap(training)

    def _dropout(self, training: Training) -> Finding | None:
        dropout = training.signals.get("dropout") or 0.0
        has_exploded = training.signals.get("exploded")
        accuracy = training.last("probe_accuracy")
        learned = 0.0 if accuracy is None or has_exploded else training.normalized_accuracy(accuracy)
        gap = training.gap()
        has_use = gap is None or gap[0] > 2 * gap[1] or learned >= self.min_learned or has_exploded
        if dropout < self.suspect_dropout:
            return None
        if has_use and (dropout < self.max_dropout or learned >= self.min_learned):
            return None
        return self.finding(
            "failure" if learned < 0.1 else "warning",
            measured={"dropout": dropout, "learned": learned},
            expected=f"dropout below {self.suspect_dropout:g}, or a network that learns in spite of it",
            message=f"Dropout of {dropout:g} leaves {1 - dropout:.0%} of a layer's units, {1 / (1 - dropout):.0f} "
            f"times as large, and the network has learned {max(learned, 0):.0%} of what can be learned.",
            remedy=("regularization.dropout=0.3",),
        )

    def _penalty(self, training: Training) -> Finding | None:
        l2 = training.signals.get("l2") or 0.0
        samples: Samples = training.signals.get("samples") or {}
        weights: SampledWeights = samples.get("weights", {})
        norms = [to_floats(row) for row in weights.get("weight", ())]
        if l2 == 0 or len(norms) < 5 or training.signals.get("exploded"):
            return None
        norm_ratios = [last / first for first, last in zip(norms[0], norms[-1], strict=True) if first > 0]
        accuracy = training.last("probe_accuracy")
        learned = None if accuracy is None else training.normalized_accuracy(accuracy)
        pull = _penalty_ratio(training, l2, norms)
        outweighs_data = (
            l2 > self.typical_l2
            and pull > self.max_penalty_ratio
            and learned is not None
            and learned < self.min_learned
        )
        if not norm_ratios or not (median(norm_ratios) < self.min_norm_ratio or outweighs_data):
            return None
        kept = median(norm_ratios)
        return self.finding(
            "failure" if learned is not None and learned < 0.1 else "warning",
            measured={"kept": kept, "l2": l2, "pull": pull} | ({} if learned is None else {"learned": learned}),
            expected=f"weights that keep at least {self.min_norm_ratio:.0%} of their norm, and a penalty whose "
            "gradient stays below the data's where much is left to learn",
            message=f"The penalty of {l2:g} has a gradient {pull:.2g} times as large as that of the data, and the "
            f"weights of the middle layer end at {kept:.1%} of their first norm: they follow the penalty, not the "
            "data.",
            remedy=(f"regularization.l2={max(l2 / 100, 1e-5):.2g}",),
        )

    def _train_eval_gap(self, training: Training) -> Finding | None:
        signals = training.signals
        probe, epochs = training.last("probe_accuracy"), len(training.column("loss"))
        if probe is None or epochs < self.min_epochs or signals.get("exploded") or not training.accuracies:
            return None
        trained = training.late_accuracy()
        error = standard_error(probe, training.probe_examples)
        if training.normalized_accuracy(probe) >= 0.9 or probe - trained <= self.max_eval_gain + 3 * error:
            return None
        dropout = signals.get("dropout") or 0.0
        return self.finding(
            "warning",
            measured={"accuracy": trained, "probe_accuracy": probe},
            expected=f"answers as trained at most {self.max_eval_gain:g} below those in evaluation mode",
            message=f"As trained, with dropout and augmentation, {trained:.1%} of the answers are right; without, "
            f"{probe:.1%}: training is much harder than evaluation.",
            remedy=(
                *((f"regularization.dropout={dropout / 2:.2g}",) if dropout > 0.2 else ()),
                *(("augmentation=none",) if is_augmented(signals) else ()),
            ),
        )


def _penalty_ratio(training: Training, l2: float, norms: list[tuple[float, ...]]) -> float:
    """Return the penalty's gradient l2 |w| over that of the data, the median over layers and sampled steps."""
    if training.signals.get("optimizer") == "AdamW":  # whose decay is no part of the gradient
        return 0.0
    rows = [to_floats(row) for row in training.signals["samples"]["weights"].get("gradient", ())]
    pairs = [pair for ws, gs in zip(norms, rows, strict=False) for pair in zip(ws, gs, strict=True)]
    ratios = [l2 * weight / gradient for weight, gradient in pairs if gradient > 0]
    return median(ratios) if ratios else 0.0
