from __future__ import annotations

from dataclasses import dataclass
from statistics import median
from typing import Any, ClassVar

from pipeline.checks.consequences import FAILS_TO_GENERALIZE
from pipeline.checks.finding import Finding, Signals
from pipeline.checks.training_curves import Training, standard_error, to_floats
from pipeline.validation import integer, number


@dataclass(frozen=True)
class OverRegularized:
    """Anti-pattern: a penalty, dropout or augmentation that wins against the data.

    Rule: the weights of the middle layer keep at least `min_norm_ratio` of their norm while there is a penalty, and one above
    `typical_l2` pulls at them with less than `max_penalty_ratio` of the data's gradient where much is left to learn; a network with
    dropout of `max_dropout` or more learns in spite of it, and one with `suspect_dropout` or more learns `min_learned` of what there is,
    or has a gap that it closes; and answers in evaluation mode are at most `max_eval_gain` better
    than as trained, where they leave something to be learned.
    """

    min_norm_ratio: float
    max_dropout: float
    suspect_dropout: float
    min_learned: float
    max_eval_gain: float
    min_epochs: int
    typical_l2: float
    max_penalty_ratio: float
    explains: ClassVar[tuple[str, ...]] = (
        "loss_exploding",
        "rate_too_high",
        "dead_units",
        "vanishing_activations",
        *FAILS_TO_GENERALIZE,
    )

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
        return self._dropout(training) or self._penalty(training) or self._held_back(training)

    def _dropout(self, training: Training) -> Finding | None:
        dropout = training.signals.get("dropout") or 0.0
        accuracy = training.last("probe_accuracy")
        learned = (
            0.0 if accuracy is None or training.signals.get("exploded") else training.normalized_accuracy(accuracy)
        )
        gap = training.gap()
        room = gap is None or gap[0] > 2 * gap[1] or learned >= self.min_learned or training.signals.get("exploded")
        if dropout < self.suspect_dropout or (room and (dropout < self.max_dropout or learned >= self.min_learned)):
            return None
        return self._finding(
            severity="failure" if learned < 0.1 else "warning",
            measured={"dropout": dropout, "learned": learned},
            expected=f"dropout below {self.suspect_dropout:g}, or a network that learns in spite of it",
            message=f"Dropout of {dropout:g} leaves {1 - dropout:.0%} of a layer's units, {1 / (1 - dropout):.0f} "
            f"times as large, and the network has learned {max(learned, 0):.0%} of what there is.",
            remedy=("regularization.dropout=0.3",),
            source="Srivastava et al. 2014, Dropout: between 0.4 and 0.8 of the units are kept where it works best",
        )

    def _penalty(self, training: Training) -> Finding | None:
        l2 = training.signals.get("l2") or 0.0
        norms = (training.signals.get("samples") or {}).get("weights", {}).get("weight", ())
        rows = [to_floats(row) for row in norms]
        if l2 == 0 or len(rows) < 5 or training.signals.get("exploded"):
            return None
        kept = [last / first for first, last in zip(rows[0], rows[-1], strict=True) if first > 0]
        accuracy = training.last("probe_accuracy")
        learned = None if accuracy is None else training.normalized_accuracy(accuracy)
        pull = self._ratio(training, l2, rows)
        outweighs = (
            l2 > self.typical_l2
            and pull > self.max_penalty_ratio
            and learned is not None
            and learned < self.min_learned
        )
        if not kept or not (median(kept) < self.min_norm_ratio or outweighs):
            return None
        return self._finding(
            severity="failure" if learned is not None and learned < 0.1 else "warning",
            measured={"kept": median(kept), "l2": l2, "pull": pull} | ({} if learned is None else {"learned": learned}),
            expected=f"weights that keep at least {self.min_norm_ratio:.0%} of their norm, and a penalty whose gradient stays "
            "below the data's where much is left to learn",
            message=f"The penalty of {l2:g} pulls at the weights {pull:.2g} times as hard as the data, and has left "
            f"{median(kept):.1%} of them (the middle layer): they follow it, not the data.",
            remedy=(f"regularization.l2={max(l2 / 100, 1e-5):.2g}",),
            source="Karpathy, CS231n: the regularization loss must not overwhelm the data loss",
        )

    def _ratio(self, training: Training, l2: float, weights: list[tuple[float, ...]]) -> float:
        """The penalty's gradient l2 |w| over that of the data, the median over layers and sampled steps."""
        if training.signals.get("optimizer") == "AdamW":  # whose decay is no part of the gradient
            return 0.0
        rows = [to_floats(row) for row in training.signals["samples"]["weights"].get("gradient", ())]
        pairs = [pair for ws, gs in zip(weights, rows, strict=False) for pair in zip(ws, gs, strict=True)]
        ratios = [l2 * weight / gradient for weight, gradient in pairs if gradient > 0]
        return median(ratios) if ratios else 0.0

    def _held_back(self, training: Training) -> Finding | None:
        probe, epochs = training.last("probe_accuracy"), len(training.column("loss"))
        if probe is None or epochs < self.min_epochs or training.signals.get("exploded") or not training.accuracies:
            return None
        trained = training.accuracy_at_the_end()
        error = standard_error(probe, training.probe_examples)
        if training.normalized_accuracy(probe) >= 0.9 or probe - trained <= self.max_eval_gain + 3 * error:
            return None
        signals = training.signals
        dropout = signals.get("dropout") or 0.0
        augmented = signals.get("augmentation", "NoAugmentation") != "NoAugmentation"
        remedy = ([f"regularization.dropout={dropout / 2:.2g}"] if dropout > 0.2 else []) + (
            ["augmentation=none"] if augmented else []
        )
        return self._finding(
            severity="warning",
            measured={"accuracy": trained, "probe_accuracy": probe},
            expected=f"answers as trained at most {self.max_eval_gain:g} below those in evaluation mode",
            message=f"As trained, with dropout and augmentation, {trained:.1%} of the answers are right; without, "
            f"{probe:.1%}: what the network is shown is much harder than what it is asked.",
            remedy=tuple(remedy),
            source="Goodfellow et al. 2016, Deep Learning, 7: too much regularization brings bias, and underfitting",
        )

    def _finding(self, **fields: Any) -> Finding:
        return Finding(
            check="over_regularized",
            why="Regularization should decide between answers that fit the data about as well; here it decides instead "
            "of the data.",
            **fields,
        )
